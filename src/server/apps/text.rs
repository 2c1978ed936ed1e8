//! Manifests as text, as the page shows and changes them: every byte, and no value of the
//! environment (fault H10).

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
    response::Response,
};
use serde_json::Value;

use super::{
    Change, check_alone, check_name, check_writable, edit, etag, find, keep_hidden, single, view,
};
use crate::model::AppName;
use crate::server::{Shared, problem::Problem};

/// A manifest, as it is written, with the tag that a change of it names.
pub(in super::super) struct Written {
    pub(in super::super) file: String,
    pub(in super::super) bytes: Vec<u8>,
    pub(in super::super) tag: String,
}

/// The manifest of an app that can be changed here, or why it can't.
pub(in super::super) async fn written(shared: &Shared, name: &AppName) -> Result<Written, Problem> {
    check_writable(shared, name)?;
    let found = find(shared, name).await?.ok_or_else(|| {
        let detail = format!("no file in the folder defines `{name}`");
        Problem::conflict("container.no-manifest", "No manifest", detail)
    })?;
    check_alone(name, &found)?;
    let tag = etag::of_bytes(&found.bytes);
    Ok(Written { file: found.file, bytes: found.bytes, tag })
}

/// The places in a manifest that hold values which are shown to nobody.
pub(super) const HIDDEN_PLACES: [&str; 2] = ["/spec/env", "/spec/build/args"];

/// A manifest's text without those values; none where they can't be told from the rest.
pub(in super::super) fn masked(bytes: &[u8]) -> Option<String> {
    let mut wanted = edit::read(bytes).ok()?;
    for place in HIDDEN_PLACES {
        let Some(Value::Object(values)) = wanted.pointer_mut(place) else { continue };
        // What is given by a secret's name is no value.
        for value in values.values_mut().filter(|value| !value.is_object()) {
            *value = view::HIDDEN.into();
        }
    }
    edit::edit(bytes, &wanted).ok().map(|edited| edited.text)
}

/// The text with the values that were not shown, as the present manifest has them.
pub(in super::super) async fn unmasked(
    shared: &Shared,
    name: &AppName,
    sent: &Bytes,
) -> Result<Bytes, Problem> {
    let Some(found) = find(shared, name).await? else { return Ok(sent.clone()) };
    let (Ok(mut wanted), Ok(have)) = (edit::read(sent), edit::read(&found.bytes)) else {
        return Ok(sent.clone());
    };
    for place in HIDDEN_PLACES {
        keep_hidden(wanted.pointer_mut(place), have.pointer(place));
    }
    Ok(edit::edit(sent, &wanted).map_or_else(|_| sent.clone(), |edited| edited.text.into()))
}

/// Writes an app's manifest as it is sent, every byte of it; for `dry` headers says what would come
/// of it. Answers whether nothing differs.
pub(in super::super) async fn replace(
    shared: &Shared,
    name: &AppName,
    bytes: &Bytes,
    tag: &str,
    dry: Option<&HeaderMap>,
) -> Result<(Response, bool), Problem> {
    let (named, reading) = single(bytes)?;
    check_name(name, &named)?;
    check_writable(shared, name)?;
    let _writing = shared.writes.lock().await;
    let found = find(shared, name).await?.ok_or_else(|| Problem::no_app(name.as_str()))?;
    check_alone(name, &found)?;
    let seen = HeaderMap::from_iter([(header::IF_MATCH, etag::quoted(tag))]);
    etag::check(&seen, name, Some(&found))?;
    let change = Change { name, found: Some(&found), bytes, reading: &reading };
    let response = change.make(shared, dry).await?;
    Ok((response, found.bytes == *bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_and_all_else_is_as_written() {
        let text = "# mine\nkind: App\nspec:\n  run: x  # so\n  env:\n    KEY: hunter2 # why\n    N: 7\n    S: {secret: db}\n";
        let shown = masked(text.as_bytes()).unwrap();
        assert!(!shown.contains("hunter2") && !shown.contains('7'), "{shown}");
        for kept in ["# mine", "run: x  # so", "# why", "{secret: db}", "(set)"] {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        let plain = "kind: App # a\nspec: {run: x}\n";
        assert_eq!(masked(plain.as_bytes()).as_deref(), Some(plain));
    }
}
