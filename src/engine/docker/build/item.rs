//! What the engine says during a build: one JSON document per line.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::BodyStream;
use hyper::body::Incoming;
use serde::Deserialize;

use super::super::super::Error;
use super::super::errors::chain;

/// The longest document that is taken.
const ITEM_BYTES_MAX: usize = 16 << 20;

/// One document.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Item {
    /// A piece of the log.
    pub(super) stream: Option<String>,
    /// What a pull does.
    pub(super) status: Option<String>,
    /// What `status` or `aux` is about.
    pub(super) id: Option<String>,
    progress_detail: Option<Progress>,
    error: Option<String>,
    error_detail: Option<Detail>,
    aux: Option<serde_json::Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Progress {
    current: Option<i64>,
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

    /// Why the build failed.
    pub(super) fn failure(&self) -> Option<&str> {
        let detail = self.error_detail.as_ref().and_then(|detail| detail.message.as_deref());
        detail.or(self.error.as_deref())
    }

    /// A piece of `BuildKit`'s own account.
    pub(super) fn trace(&self) -> Option<&str> {
        let is_trace = self.id.as_deref() == Some("moby.buildkit.trace");
        self.aux.as_ref().filter(|_| is_trace)?.as_str()
    }
}

/// The documents of an answer. Neither how they are cut into pieces nor how the last line ends
/// matters.
pub(super) fn items(body: Incoming) -> impl Stream<Item = Result<Item, Error>> + Send {
    struct Reading {
        body: BodyStream<Incoming>,
        waiting: BytesMut,
        is_over: bool,
    }
    let broken = |message: String| Error::Broken { call: "build", message };
    let reading = Reading { body: BodyStream::new(body), waiting: BytesMut::new(), is_over: false };
    stream::try_unfold(reading, move |mut reading| async move {
        loop {
            let end = reading.waiting.iter().position(|byte| *byte == b'\n');
            let line = match end {
                Some(end) => Some(reading.waiting.split_to(end + 1).freeze()),
                None if reading.is_over => Some(reading.waiting.split().freeze()),
                None => None,
            };
            match line.map(|line| line.trim_ascii().to_vec()) {
                Some(line) if line.is_empty() && reading.is_over && reading.waiting.is_empty() => {
                    return Ok(None);
                }
                Some(line) if line.is_empty() => continue,
                Some(line) => {
                    let item = serde_json::from_slice(&line);
                    let item = item.map_err(|error| broken(error.to_string()))?;
                    return Ok(Some((item, reading)));
                }
                None => {}
            }
            match reading.body.next().await {
                Some(Ok(frame)) => {
                    let data: Bytes = frame.into_data().unwrap_or_default();
                    if ITEM_BYTES_MAX < reading.waiting.len() + data.len() {
                        return Err(broken("a line of it has no end".to_owned()));
                    }
                    reading.waiting.extend_from_slice(&data);
                }
                Some(Err(error)) => return Err(broken(chain(&error))),
                None => reading.is_over = true,
            }
        }
    })
}
