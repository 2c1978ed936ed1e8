//! What handlers take from a request, with errors as problem documents.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Path, Query},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{dry, problem::Problem};
use crate::model::AppName;

/// The largest manifest that is taken.
const BODY_MAX: usize = 1024 * 1024;
/// How long a client may take to send it.
const BODY_PATIENCE: Duration = Duration::from_secs(30);

/// The app that the path names.
pub(super) struct Named(pub(super) AppName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::no_route(parts.uri.path()))?;
        AppName::new(&name).map(Self).map_err(|_| Problem::no_app(&name))
    }
}

/// The query, with nothing unknown in it.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wrong = || Problem::bad_request("the query can't be read");
        // Whether it is meant is read for every route at one place.
        let pairs = parts.uri.query().unwrap_or("").split('&');
        let own: Vec<_> = pairs.filter(|pair| !dry::is_flag(pair)).collect();
        let uri = format!("/?{}", own.join("&")).parse().map_err(|_| wrong())?;
        let query = Query::<T>::try_from_uri(&uri);
        query.map(|Query(asked)| Self(asked)).map_err(|e| Problem::bad_request(e.body_text()))
    }
}

/// Reads `?flag`, `?flag=true` and `?flag=false`.
pub(super) fn flag(name: &str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false" | "0") => Ok(false),
        Some("" | "true" | "1") => Ok(true),
        Some(_) => Err(Problem::bad_request(format!("`{name}` is either true or false"))),
    }
}

/// Reads the name of an app in a query.
pub(super) fn app_name(text: &str) -> Result<AppName, Problem> {
    AppName::new(text).map_err(|error| Problem::bad_request(format!("`{text}`: {error}")))
}

/// Whether the client prefers `kind` to JSON, as far as it says.
pub(super) fn wants(headers: &HeaderMap, kind: &str) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut kinds = accept.split(',').map(|part| part.split(';').next().unwrap_or("").trim());
    kinds.find(|asked| *asked == kind || *asked == "application/json") == Some(kind)
}

/// The kind of what a request carries, without its parameters.
pub(super) fn kind(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// Whether a kind is that of a manifest.
pub(super) fn is_manifest(kind: &str) -> bool {
    const KINDS: [&str; 5] =
        ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "application/json"];
    KINDS.contains(&kind)
}

/// Refuses what is not of a kind that is taken.
pub(super) fn wrong_kind(title: &'static str, detail: &'static str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "request.media-type", title, detail)
}

/// Reads the manifest that a request carries.
pub(super) async fn manifest(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    if !is_manifest(&kind(headers)) {
        let detail =
            "send the manifest with `Content-Type: application/yaml` or `application/json`";
        return Err(wrong_kind("Not a manifest", detail));
    }
    bytes(body).await
}

/// Reads a manifest, or what else is not larger.
pub(super) async fn bytes(body: Body) -> Result<Bytes, Problem> {
    let reading = axum::body::to_bytes(body, BODY_MAX);
    match tokio::time::timeout(BODY_PATIENCE, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request.too-large",
            "The manifest is too large",
            format!("a manifest has at most {BODY_MAX} bytes"),
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "request.timeout",
            "The manifest did not arrive",
            "the body took too long",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_gets_the_page_and_a_program_gets_json() {
        let accept = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, text.parse().unwrap());
            headers
        };
        let browser = accept("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
        assert!(wants(&browser, "text/html"));
        for program in ["*/*", "application/json", "application/json, text/html"] {
            assert!(!wants(&accept(program), "text/html"), "{program}");
        }
        assert!(!wants(&HeaderMap::new(), "text/html"));
    }
}
