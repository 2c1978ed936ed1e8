//! Tags of documents: what a client has seen, so that it need not read it again, and does not
//! overwrite what it has not seen.
//!
//! An app's tag is `"<manifest>.<document>"`. The first part is the digest of the file that defines
//! it; `If-Match` looks at that part only, because it is what a write replaces: a status that moves
//! on refuses nobody. The second part is the digest of all that is shown.

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{
    Shared,
    folder::{self, Found},
    problem::Problem,
    reading,
};
use crate::model::{AppName, Digest};
use crate::record::Entry;

/// How many digits of a digest are shown.
const DIGITS: usize = 16;

/// The digits of some bytes.
pub(super) fn of_bytes(bytes: &[u8]) -> String {
    Digest::of_bytes(bytes).short(DIGITS).to_owned()
}

/// The manifest's part of an app's tag, as the folder has it.
pub(super) async fn of_app(shared: &Shared, entry: &Entry) -> String {
    let origin = entry.app.as_ref().map(|app| app.origin.file.clone());
    let sources = &shared.parts.repositories.sources;
    let is_ours =
        |file: &String| sources.iter().all(|(place, _)| !file.starts_with(&place.prefix()));
    let of_spec = || {
        let shown = entry.app.as_ref().map(|app| {
            super::view::app(entry)["spec"].to_string()
                + &format!("{:?}{:?}", app.labels, app.annotations)
        });
        of_bytes(shown.unwrap_or_default().as_bytes())
    };
    if origin.as_ref().is_some_and(|file| !is_ours(file)) {
        return of_spec();
    }
    let (root, name) = (shared.parts.manifests.clone(), entry.name.clone());
    let found = tokio::task::spawn_blocking(move || {
        let here = origin.and_then(|file| {
            let bytes = std::fs::read(root.join(&file)).ok()?;
            let names = reading::read(&file, &bytes).names;
            names.contains(&name).then_some(Found { file, names, bytes })
        });
        here.or_else(|| folder::find(&root, &name).ok().flatten())
            .or_else(|| folder::find_broken(&root, &name))
    });
    match found.await {
        Ok(Some(found)) => of_bytes(&found.bytes),
        _ => of_spec(),
    }
}

/// An answer with a tag; 304 when the client has it already.
pub(super) fn answer(headers: &HeaderMap, tag: &str, body: impl FnOnce() -> Value) -> Response {
    answer_with(headers, tag, || Json(body()))
}

/// The same, of a body that is made already.
pub(super) fn answer_with<T: IntoResponse>(
    headers: &HeaderMap,
    tag: &str,
    body: impl FnOnce() -> T,
) -> Response {
    let tag = quoted(tag);
    let place = [(header::ETAG, tag.clone())];
    if has(headers, &header::IF_NONE_MATCH, |known| known == tag || known == "*") {
        return (StatusCode::NOT_MODIFIED, place).into_response();
    }
    (place, body()).into_response()
}

/// A tag as a header.
pub(super) fn quoted(tag: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{tag}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Refuses a write of somebody who has not seen the manifest as it is.
pub(super) fn check(
    headers: &HeaderMap,
    name: &AppName,
    found: Option<&Found>,
) -> Result<(), Problem> {
    let current = found.map(|found| of_bytes(&found.bytes));
    let is_it = |known: &str| {
        let known = known.strip_prefix('"').and_then(|known| known.strip_suffix('"'));
        let manifest = known.map(|known| known.split('.').next().unwrap_or(known));
        manifest.is_some() && manifest == current.as_deref()
    };
    let matches = |known: &str| (known == "*" && current.is_some()) || is_it(known);
    let is_stale =
        headers.contains_key(header::IF_MATCH) && !has(headers, &header::IF_MATCH, matches);
    let is_there = has(headers, &header::IF_NONE_MATCH, matches);
    if !is_stale && !is_there {
        return Ok(());
    }
    let detail = match &current {
        Some(_) => format!("the manifest of `{name}` is not the one that the request is about"),
        None => format!("no manifest defines `{name}`"),
    };
    let status = StatusCode::PRECONDITION_FAILED;
    let problem = Problem::new(status, "manifest.changed", "It is another one by now", detail);
    Err(problem.with("etag", current.map(|tag| format!("\"{tag}\"")).into()))
}

fn has(headers: &HeaderMap, name: &HeaderName, is_meant: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|tag| is_meant(tag.trim()))
}
