//! Changes of the store that are only tried: what would come of them, as it is told.

use axum::{http::HeaderMap, response::Response};
use serde_json::{Value, json};

use super::used;
use crate::model::{MountSource, format_duration};
use crate::server::{Shared, dry};
use crate::store::{Entry, Kept, Key, Tried};

fn told(headers: &HeaderMap, more: &Value) -> Response {
    dry::shown(headers, "", &[], more)
}

/// The apps that mount a model, or are about to.
fn users(shared: &Shared, key: &Key) -> Vec<String> {
    used::users(shared, key).iter().map(ToString::to_string).collect()
}

/// The apps whose manifests name a version by this word, and so may become others.
pub(in super::super) fn namers(
    shared: &Shared,
    (project, app): (&str, &str),
    word: &str,
) -> Vec<String> {
    let entries = shared.parts.record.entries();
    let names = entries.iter().filter(|entry| {
        let mut mounts = entry.app.iter().flat_map(|app| &app.spec.mounts);
        mounts.any(|mount| match &mount.source {
            MountSource::Model(wanted) => {
                (&*wanted.project, &*wanted.app, &*wanted.version) == (project, app, word)
            }
            _ => false,
        })
    });
    names.map(|entry| entry.name.to_string()).collect()
}

/// An upload that came whole, and that nobody keeps.
pub(super) fn upload(shared: &Shared, headers: &HeaderMap, tried: &Tried) -> Response {
    let Tried { key, size, digest, before, is_known } = tried;
    let mut message = format!("would store {key}, {size} bytes");
    if before.is_some() {
        message += " in place of what is there";
    }
    if *is_known {
        message += "; the content is in the store already";
    }
    let replaces =
        before.as_ref().map(|entry| json!({ "sha256": entry.sha256, "size": entry.size }));
    told(
        headers,
        &json!({
            "message": message, "model": key.to_string(), "size": size, "sha256": digest,
            "replaces": replaces, "isKnown": is_known, "apps": users(shared, key),
        }),
    )
}

/// A model that would go.
pub(super) fn delete(shared: &Shared, headers: &HeaderMap, entry: &Entry) -> Response {
    let (key, ttl) = (&entry.key, shared.parts.models.settings().trash_ttl);
    let message = if ttl.is_zero() {
        format!("would delete {key} for good")
    } else {
        let kept = format_duration(ttl);
        format!("would put {key} into the trash, from where it can be brought back for {kept}")
    };
    told(
        headers,
        &json!({
            "message": message, "model": key.to_string(), "size": entry.size,
            "sha256": entry.sha256, "apps": users(shared, key),
        }),
    )
}

/// An alias that would stand for another version, or for none.
pub(super) fn alias(
    shared: &Shared,
    headers: &HeaderMap,
    ((project, app), alias): ((&str, &str), &str),
    (before, after): (Option<&str>, Option<&str>),
) -> Response {
    let place = format!("{project}/{app}");
    let message = match (before, after) {
        (Some(before), None) => format!("`{alias}` of {place} would no longer stand for {before}"),
        (Some(before), Some(after)) if before == after => {
            format!("`{alias}` of {place} stands for {after} already")
        }
        (Some(before), Some(after)) => {
            format!("`{alias}` of {place} would stand for {after}, and no longer for {before}")
        }
        (None, after) => {
            format!("`{alias}` of {place} would stand for {}", after.unwrap_or("none"))
        }
    };
    let apps = namers(shared, (project, app), alias);
    let more = json!({ "message": message, "was": before, "becomes": after, "apps": apps });
    told(headers, &more)
}

/// A version that would be frozen, or no longer.
pub(super) fn freeze(
    headers: &HeaderMap,
    (project, app, version): (&str, &str, &str),
    (is_new, is_frozen): (bool, bool),
) -> Response {
    let place = format!("{project}/{app}/{version}");
    let message = match (is_new, is_frozen) {
        (true, true) => format!("would freeze {place}"),
        (true, false) => format!("would let {place} be changed again"),
        (false, true) => format!("{place} is frozen already"),
        (false, false) => format!("{place} is not frozen"),
    };
    told(headers, &json!({ "message": message, "frozen": is_frozen }))
}

/// An upload in parts that would begin.
pub(super) fn begin(headers: &HeaderMap, key: &Key, length: Option<u64>) -> Response {
    let long = length.map(|length| format!(" of {length} bytes")).unwrap_or_default();
    let message = format!("would begin an upload of {key}{long}");
    told(headers, &json!({ "message": message, "model": key.to_string(), "length": length }))
}

/// A part that would be added.
pub(super) fn part(headers: &HeaderMap, kept: &Kept, coming: Option<u64>) -> Response {
    let (key, offset) = (kept.key(), kept.offset);
    let long = coming.map_or_else(|| "what comes".to_owned(), |long| format!("{long} bytes"));
    let message = format!("would add {long} to the upload of {key}, which has {offset}");
    told(headers, &json!({ "message": message, "model": key.to_string(), "offset": offset }))
}

/// An upload that would be given up.
pub(super) fn end(headers: &HeaderMap, kept: &Kept) -> Response {
    let message = format!("would give up the upload of {}, which has {}", kept.key(), kept.offset);
    let model = kept.key().to_string();
    told(headers, &json!({ "message": message, "model": model, "offset": kept.offset }))
}
