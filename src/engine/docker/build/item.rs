//! What the engine says during a build or a pull: one JSON document per line.

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Body;
use serde::Deserialize;

use super::super::super::Error;
use super::super::lines::documents;

/// The longest document that is taken.
const ITEM_BYTES_MAX: usize = 16 << 20;

/// One document.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in super::super) struct Item {
    /// A piece of the log.
    pub(super) stream: Option<String>,
    /// What a pull does.
    pub(in super::super) status: Option<String>,
    /// What `status` or `aux` is about.
    pub(in super::super) id: Option<String>,
    pub(in super::super) progress_detail: Option<Progress>,
    error: Option<String>,
    error_detail: Option<Detail>,
    aux: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Progress {
    pub(in super::super) current: Option<i64>,
    pub(in super::super) total: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail {
    message: Option<String>,
}

impl Item {
    /// Whether it only counts the bytes of a pull.
    pub(super) fn is_counting(&self) -> bool {
        self.progress_detail.as_ref().is_some_and(|at| at.current.is_some())
    }

    /// Why the build or the pull failed.
    pub(in super::super) fn failure(&self) -> Option<&str> {
        let detail = self.error_detail.as_ref().and_then(|detail| detail.message.as_deref());
        detail.or(self.error.as_deref())
    }

    /// A piece of `BuildKit`'s own account.
    pub(super) fn trace(&self) -> Option<&str> {
        let is_trace = self.id.as_deref() == Some("moby.buildkit.trace");
        self.aux.as_ref().filter(|_| is_trace)?.as_str()
    }
}

/// The documents of an answer to `call`.
pub(in super::super) fn items<B>(
    call: &'static str,
    body: B,
) -> impl Stream<Item = Result<Item, Error>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    documents(call, body, ITEM_BYTES_MAX)
}
