//! What the files of a model that was split have inside, in one answer: the headers of all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};

use super::{
    Answer, Repo, blocking,
    errors::{no_entry, of_commit},
    read::{Below, find},
    store,
};
use crate::server::Shared;
use crate::store::{Error, FoundCommit, Store};

/// The branch that is asked about: clients can't name another.
const BRANCH: &str = "main";
/// How long an index may be, one header, and all that is told.
const INDEX_MAX: u64 = 32 << 20;
const HEADER_MAX: u64 = 25_000_000;
const TOLD_MAX: usize = 64 << 20;

/// What says in which file each tensor is.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    metadata: Value,
    weight_map: BTreeMap<String, String>,
}

/// `GET /api/models/{ns}/{name}/safetensors-metadata/{path}`
pub(in super::super) async fn tensors(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    Below(path): Below,
) -> Answer {
    let store = store(&shared).await?;
    let found = find(&store, &repo, BRANCH)?;
    let id = found.tree.id.clone();
    if !found.tree.files.contains_key(&path) {
        return Err(no_entry(&path, &id));
    }
    let text =
        blocking(move || told(&Reading { store: &store, repo: &repo, found: &found }, &path));
    let response: Response =
        ([(header::CONTENT_TYPE, "application/json")], text.await?).into_response();
    Ok(of_commit(response, &id))
}

struct Reading<'a> {
    store: &'a Store,
    repo: &'a Repo,
    found: &'a FoundCommit,
}

impl Reading<'_> {
    /// How long a file is.
    fn size(&self, path: &str) -> Result<u64, Error> {
        let file = self.found.tree.files.get(path);
        let absent = || Error::Nothing(format!("the index names `{path}`, which is not there"));
        file.map(|file| file.size).ok_or_else(absent)
    }

    fn bytes(&self, path: &str, from: u64, length: u64) -> Result<Vec<u8>, Error> {
        let file = self.found.tree.files.get(path);
        let absent = || Error::Nothing(format!("the index names `{path}`, which is not there"));
        let file = file.ok_or_else(absent)?;
        self.store.hub_part(self.repo.names(), (BRANCH, path), file, (from, length))
    }

    /// The header of a file, as it stands there.
    fn header(&self, path: &str) -> Result<String, Error> {
        let bad = |why| Error::Bad(format!("`{path}` is no file of safetensors: {why}"));
        let size = self.size(path)?;
        let length = self.bytes(path, 0, 8.min(size))?;
        let length = length.try_into().map(u64::from_le_bytes);
        let length = length.map_err(|_| bad("it has no header"))?;
        if size - 8 < length || HEADER_MAX < length {
            return Err(bad("its header is longer than it may be"));
        }
        let text = String::from_utf8(self.bytes(path, 8, length)?);
        let text = text.map_err(|_| bad("its header is no text"))?;
        let is_document =
            text.starts_with('{') && serde_json::from_str::<IgnoredAny>(&text).is_ok();
        if is_document { Ok(text) } else { Err(bad("its header can't be read")) }
    }
}

fn told(reading: &Reading<'_>, path: &str) -> Result<String, Error> {
    let size = reading.size(path)?;
    if INDEX_MAX < size {
        return Err(Error::TooLarge(format!("an index may have {INDEX_MAX} bytes")));
    }
    let index = serde_json::from_slice::<Index>(&reading.bytes(path, 0, size)?);
    let wrong = |error| Error::Bad(format!("`{path}` is no index of safetensors: {error}"));
    let Index { metadata, weight_map } = index.map_err(wrong)?;
    let folder = path.rfind('/').map_or("", |at| &path[..=at]);
    let mut text = format!("{{\"index\":{},\"headers\":{{", json!({ "metadata": metadata }));
    for (at, name) in weight_map.into_values().collect::<BTreeSet<_>>().iter().enumerate() {
        let header = reading.header(&format!("{folder}{name}"))?;
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}:{header}", json!(name));
        if TOLD_MAX < text.len() {
            return Err(Error::TooLarge(format!("all headers together may have {TOLD_MAX} bytes")));
        }
    }
    Ok(text + "}}")
}
