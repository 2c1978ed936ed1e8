//! Refusals as clients of registries read them.

use axum::http::StatusCode;
use serde_json::{Value, json};

/// The word of the specification for a refusal.
fn word(path: &str, status: StatusCode, code: &str) -> &'static str {
    match (status, code) {
        (StatusCode::UNAUTHORIZED, _) => "UNAUTHORIZED",
        (StatusCode::FORBIDDEN, _) => "DENIED",
        (StatusCode::METHOD_NOT_ALLOWED, _) => "UNSUPPORTED",
        (StatusCode::TOO_MANY_REQUESTS, _) => "TOOMANYREQUESTS",
        (StatusCode::NOT_FOUND, "model.repository" | "request.not-found") => "NAME_UNKNOWN",
        (StatusCode::NOT_FOUND | StatusCode::GONE, _) if path.contains("/blobs/") => "BLOB_UNKNOWN",
        (StatusCode::NOT_FOUND | StatusCode::GONE, _) => "MANIFEST_UNKNOWN",
        (StatusCode::BAD_REQUEST, _) if path.contains("/blobs/") => "DIGEST_INVALID",
        (StatusCode::BAD_REQUEST, "model.digest") => "DIGEST_INVALID",
        _ => "UNKNOWN",
    }
}

/// The document of a refusal.
pub(in super::super) fn document(
    path: &str,
    status: StatusCode,
    (code, detail): (&str, &str),
) -> Value {
    let error = json!({
        "code": word(path, status, code), "message": detail, "detail": { "code": code },
    });
    json!({ "errors": [error] })
}
