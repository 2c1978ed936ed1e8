//! Scripts and style: parts of the program, each under an address that changes with them.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::super::problem::Problem;
use crate::model::Digest;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const FILES: [(&str, &str, &str); 13] = [
    ("page.css", STYLE, include_str!("../assets/page.css")),
    ("main.js", SCRIPT, include_str!("../assets/main.js")),
    ("patch.js", SCRIPT, include_str!("../assets/patch.js")),
    ("stream.js", SCRIPT, include_str!("../assets/stream.js")),
    ("worker.js", SCRIPT, include_str!("../assets/worker.js")),
    ("logs.js", SCRIPT, include_str!("../assets/logs.js")),
    ("keys.js", SCRIPT, include_str!("../assets/keys.js")),
    ("chart.js", SCRIPT, include_str!("../assets/chart.js")),
    ("terminal.js", SCRIPT, include_str!("../assets/terminal.js")),
    ("vt.js", SCRIPT, include_str!("../assets/vt.js")),
    ("upload.js", SCRIPT, include_str!("../assets/upload.js")),
    ("editor.js", SCRIPT, include_str!("../assets/editor.js")),
    ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
];

/// What stands for this version of all of them in their addresses, so that one names another
/// without knowing it.
pub(in super::super) static TAG: LazyLock<String> = LazyLock::new(|| {
    let all: Vec<_> = FILES.iter().flat_map(|(name, _, text)| [*name, *text]).collect();
    Digest::of_bytes(all.join("\0").as_bytes()).short(12).to_owned()
});

/// `GET /ui/assets/{tag}/{file}`
pub(in super::super) async fn asset(Path((tag, file)): Path<(String, String)>) -> Response {
    let Some((_, kind, text)) = FILES.iter().find(|(name, ..)| *name == file) else {
        let (status, detail) = (StatusCode::NOT_FOUND, "the page has no such file");
        return Problem::new(status, "request.not-found", "No such file", detail).into_response();
    };
    // A document of before an upgrade gets what there is, and keeps it no longer than it lasts.
    let keep = if tag == *TAG { "public, max-age=31536000, immutable" } else { "no-store" };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(keep)),
        // A worker takes its own policy from its own answer.
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(super::POLICY)),
    ];
    (headers, *text).into_response()
}
