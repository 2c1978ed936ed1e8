//! Answers about uploads, as each protocol writes them.

use axum::{
    Json,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use super::super::refusal::{Refused, refuse};
use super::{
    machine::Refusal,
    said::{Dialect, Flaw},
};
use crate::model::Timestamp;
use crate::server::problem::Problem;
use crate::store::{Concat, Kept, PARTS_MAX, Partial, Settings};

/// What of tus is understood beside its core.
pub(super) const EXTENSIONS: &str = "creation,creation-defer-length,creation-with-upload,expiration,checksum,termination,concatenation";
/// How parts may be checked.
pub(super) const ALGORITHMS: &str = "sha1,md5,sha256";

pub(super) fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn http_date(at: Timestamp) -> String {
    let seconds = u64::try_from(at.as_millis() / 1000).unwrap_or(0);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

/// Where an upload is.
pub(super) fn place(partial: &Partial) -> String {
    format!("/uploads/{}", partial.id)
}

/// Says how an upload stands.
pub(super) fn stand(
    headers: &mut HeaderMap,
    dialect: Dialect,
    kept: &Kept,
    settings: &Settings,
    now: Timestamp,
) {
    put(headers, "cache-control", "no-store");
    put(headers, "upload-offset", &kept.offset.to_string());
    if let Some(length) = kept.length {
        put(headers, "upload-length", &length.to_string());
    }
    match dialect {
        Dialect::Tus => {
            put(headers, "tus-resumable", "1.0.0");
            if kept.done.is_none() {
                put(headers, "upload-expires", &http_date(kept.expires));
            }
            if kept.length.is_none() {
                put(headers, "upload-defer-length", "1");
            }
            if let Some(metadata) = &kept.metadata {
                put(headers, "upload-metadata", metadata);
            }
            if let Some(concat) = &kept.concat {
                put(headers, "upload-concat", said(concat));
            }
        }
        Dialect::Draft => {
            put(headers, "upload-complete", if kept.done.is_some() { "?1" } else { "?0" });
            put(headers, "upload-limit", &limit(kept, settings, now));
        }
    }
}

/// What an upload has to do with others, as tus says it.
fn said(concat: &Concat) -> &str {
    match concat {
        Concat::Part => "partial",
        Concat::Final(said) => said,
    }
}

fn limit(kept: &Kept, settings: &Settings, now: Timestamp) -> String {
    let age = kept.expires.since(now).as_secs();
    match settings.file_max {
        Some(max) => format!("max-size={max}, max-age={age}"),
        None => format!("max-age={age}"),
    }
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// What the store can do, for who asks before the first upload.
pub(super) fn options(settings: &Settings) -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    put(headers, "tus-resumable", "1.0.0");
    put(headers, "tus-version", "1.0.0");
    put(headers, "tus-extension", EXTENSIONS);
    put(headers, "tus-checksum-algorithm", ALGORITHMS);
    if let Some(max) = settings.file_max {
        put(headers, "tus-max-size", &max.to_string());
        put(headers, "upload-limit", &format!("max-size={max}"));
    }
    response
}

/// The document of an upload.
pub(super) fn document(partial: &Partial) -> Value {
    let kept = partial.kept();
    json!({
        "id": partial.id,
        "url": place(partial),
        "model": kept.key().to_string(),
        "offset": kept.offset,
        "length": kept.length,
        "announced": kept.order.expected,
        "expires": kept.expires,
        "sha256": kept.done,
        "concat": kept.concat.as_ref().map(said),
    })
}

pub(super) fn list(items: &[Value]) -> Response {
    let headers = [(header::CACHE_CONTROL, "no-store")];
    (headers, Json(json!({ "items": items }))).into_response()
}

/// The request makes no sense.
pub(super) fn flawed(flaw: Flaw) -> Refused {
    let bad = |detail: String| refuse(StatusCode::BAD_REQUEST, "upload.invalid", detail);
    match flaw {
        Flaw::Neither => {
            bad("say `Tus-Resumable: 1.0.0`, or `Upload-Complete: ?0` or `?1`".to_owned())
        }
        Flaw::Header(name) => bad(format!("`{name}` is not readable")),
        Flaw::Parts => bad(format!("an upload is put together from {PARTS_MAX} parts at most")),
        Flaw::Algorithm => bad(format!("parts are checked by one of {ALGORITHMS}")),
        Flaw::Version => {
            let detail = "the protocol's version is 1.0.0";
            let refused =
                refuse(StatusCode::PRECONDITION_FAILED, "upload.version", detail).into_response();
            with(refused, &[("tus-version", "1.0.0".to_owned())])
        }
    }
}

/// tus says its version with every answer.
pub(super) fn dressed(refused: Refused, is_tus: bool) -> Refused {
    if is_tus {
        with(refused.into_response(), &[("tus-resumable", "1.0.0".to_owned())])
    } else {
        refused
    }
}

fn with(mut response: Response, headers: &[(&'static str, String)]) -> Refused {
    for (name, value) in headers {
        put(response.headers_mut(), name, value);
    }
    response.into()
}

/// Nothing may be added.
pub(super) fn refused(refusal: Refusal, kept: &Kept, given: u64) -> Refused {
    let problem = |status, code, detail: String| {
        Problem::new(status, code, "The upload can't go on so", detail)
    };
    // The draft has these registered.
    let kind = |name| json!(format!("https://iana.org/assignments/http-problem-types#{name}"));
    let complete = if kept.is_whole { "?1" } else { "?0" };
    let state =
        [("upload-offset", kept.offset.to_string()), ("upload-complete", complete.to_owned())];
    let problem = match refusal {
        Refusal::Over => {
            problem(StatusCode::BAD_REQUEST, "upload.complete", "the upload is whole".to_owned())
                .with("type", kind("completed-upload"))
        }
        Refusal::Offset => {
            let detail = format!("the upload stands at {}, not at {given}", kept.offset);
            problem(StatusCode::CONFLICT, "upload.offset", detail)
                .with("type", kind("mismatching-upload-offset"))
                .with("expected-offset", json!(kept.offset))
                .with("provided-offset", json!(given))
        }
        Refusal::Length => {
            let detail = "the upload was said to have another length".to_owned();
            problem(StatusCode::BAD_REQUEST, "upload.length", detail)
                .with("type", kind("inconsistent-upload-length"))
        }
        Refusal::TooLong => {
            let detail = "the upload would be longer than it was said to be, or than it may be";
            problem(StatusCode::PAYLOAD_TOO_LARGE, "model.too-large", detail.to_owned())
        }
    };
    with(problem.into_response(), &state)
}
