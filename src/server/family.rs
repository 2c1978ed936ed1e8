//! The families of routes that clients of other systems know: their errors are `{"detail": …}`, as
//! those systems answered them, whoever refused the request.
//!
//! Handlers of a family answer a [`Problem`](super::problem::Problem) as all others do; its detail
//! is what the client reads. A handler that must answer another shape writes it itself.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::IntoResponse as _,
    response::Response,
};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::{oci, problem::Told};

/// The first part of the paths of each family.
const FAMILIES: [&str; 4] = ["containers", "models", "ports", "system"];

/// Whether a route is one of the Hub's, and is below `/hf` as well.
pub(super) fn is_hub_route(path: &str) -> bool {
    let begins = |start: &&str| path.starts_with(start);
    let starts = ["/api/models", "/api/repos/", "/api/whoami", "/api/validate", "/{ns}/", "/_lfs/"];
    starts.iter().any(begins) || path.starts_with("/xet/")
}

/// Whether a route of the Hub's only asks, though by a method that changes things elsewhere.
pub(super) fn only_asks(path: &str) -> bool {
    let ends = ["/paths-info/{rev}", "/preupload/{rev}", "/validate-yaml", "/batch", "/verify"];
    is_hub_route(bare(path)) && ends.iter().any(|end| path.ends_with(end))
}

/// Whether a request is about to change what the Hub's routes are about.
pub(super) fn changes_hub(method: &Method, path: &str) -> bool {
    let asks =
        ["/preupload/", "/paths-info/", "/objects/batch", "/objects/verify", "validate-yaml"];
    !method.is_safe() && of_hub(path).is_some() && !asks.iter().any(|word| path.contains(word))
}

/// The path as it is without `/hf`.
fn at_root(path: &str) -> &str {
    path.strip_prefix("/hf").filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

/// Whether a path is one of a registry's.
pub(super) fn is_registry(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// What a path of the Hub's is about.
enum Subject<'a> {
    Namespace(&'a str),
    /// Nothing that the path names.
    Unnamed,
}

/// What a path is about, if it is one of the Hub's.
fn of_hub(path: &str) -> Option<Subject<'_>> {
    let parts: Vec<_> = at_root(path).trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api", "models", ns, ..] => Some(Subject::Namespace(ns)),
        ["api", "models" | "repos" | "whoami-v2" | "validate-yaml", ..] | ["_lfs" | "xet", ..] => {
            Some(Subject::Unnamed)
        }
        [first, ..] if is_compatible(first) || *first == "api" => None,
        [ns, _, "resolve", _, ..] | [ns, _, "info", "lfs", ..] => Some(Subject::Namespace(ns)),
        _ => None,
    }
}

/// Whether a path belongs to a family of another system.
pub(super) fn is_compatible(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
    FAMILIES.contains(&first)
}

/// The address without the slash at its end, where a family's clients are used to be sent there.
pub(super) fn without_slash(uri: &Uri) -> Option<String> {
    let bare = uri.path().strip_suffix('/').filter(|bare| bare.starts_with("/models/"))?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{bare}{query}"))
}

/// The project of the model store that a path names.
pub(super) fn project(path: &str) -> Option<String> {
    let name = match of_hub(path) {
        Some(Subject::Namespace(ns)) => Some(ns),
        Some(Subject::Unnamed) => None,
        None => path.strip_prefix("/models/").and_then(|rest| rest.split('/').next()),
    };
    let name = name.filter(|name| !name.is_empty())?;
    percent_decode_str(name).decode_utf8().ok().map(Into::into)
}

/// Whether a route is known with a slash at its end too, as its clients ask it.
pub(super) fn takes_slash(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
    matches!(first, "containers" | "ports" | "system") || path.trim_end_matches('/') == "/v2"
}

/// The path of the route that was found, as the table spells it.
pub(super) fn bare(path: &str) -> &str {
    if let Some(rest) = path.strip_prefix("/hf").filter(|rest| is_hub_route(rest)) {
        return rest;
    }
    if takes_slash(path) { path.strip_suffix('/').unwrap_or(path) } else { path }
}

/// Says a problem as the family of the path says it.
pub(super) fn translate(path: &str, mut response: Response) -> Response {
    if is_registry(path) {
        return of_the_registry(path, response);
    }
    if let Some(subject) = of_hub(path) {
        return of_the_hub(matches!(subject, Subject::Namespace(_)), response);
    }
    if !is_compatible(path) {
        return response;
    }
    let Some(told) = response.extensions_mut().remove::<Told>() else { return response };
    let mut answer = Json(json!({ "detail": told.detail })).into_response();
    *answer.status_mut() = response.status();
    for (name, value) in response.headers() {
        answer.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    answer.extensions_mut().insert(told);
    answer
}

/// Says a problem as clients of registries read it, and which protocol it is.
fn of_the_registry(path: &str, mut response: Response) -> Response {
    const PROTOCOL: HeaderName = HeaderName::from_static("docker-distribution-api-version");
    if let Some(told) = response.extensions_mut().remove::<Told>() {
        let status = response.status();
        let body = oci::refusal(path, status, (told.code, &told.detail));
        let mut answer = Json(body).into_response();
        *answer.status_mut() = status;
        for (name, value) in response.headers() {
            answer.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        if status == StatusCode::UNAUTHORIZED {
            // Clients know how to send a name and a password; the password is the token.
            let challenge = HeaderValue::from_static("Basic realm=\"berth\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        answer.extensions_mut().insert(told);
        response = answer;
    }
    response.headers_mut().insert(PROTOCOL, HeaderValue::from_static("registry/2.0"));
    response
}

/// Says a problem as clients of the Hub read it: in the body, and in headers.
fn of_the_hub(is_named: bool, mut response: Response) -> Response {
    let Some(told) = response.extensions_mut().remove::<Told>() else { return response };
    let body = json!({ "error": told.detail, "code": told.code });
    let mut answer = Json(body).into_response();
    *answer.status_mut() = response.status();
    for (name, value) in response.headers() {
        answer.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    if let Ok(text) = HeaderValue::from_str(&told.detail) {
        answer.headers_mut().insert("x-error-message", text);
    }
    // Whoever has no token is told what is told of a repository that is not there.
    if is_named && told.code == "auth.required" {
        let code = HeaderValue::from_static("RepoNotFound");
        answer.headers_mut().insert("x-error-code", code);
    }
    answer.extensions_mut().insert(told);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::problem::Problem;

    #[tokio::test]
    async fn only_a_family_says_detail() {
        let problem =
            || Problem::unavailable("docker.down", "No engine", "no engine".into()).into_response();
        let native = translate("/api/v1/containers", problem());
        assert_eq!(native.headers()[header::CONTENT_TYPE], "application/problem+json");
        let told = translate("/containers/x", problem());
        assert_eq!(told.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(told.headers()[header::CONTENT_TYPE], "application/json");
        assert_eq!(told.headers()[header::RETRY_AFTER], "2");
        assert_eq!(told.extensions().get::<Told>().unwrap().code, "docker.down");
        let body = axum::body::to_bytes(told.into_body(), 100).await.unwrap();
        assert_eq!(&body[..], br#"{"detail":"no engine"}"#);
    }

    #[test]
    fn a_project_is_the_one_that_the_handler_sees() {
        assert_eq!(project("/models/vision/x").as_deref(), Some("vision"));
        assert_eq!(project("/models/visi%6Fn").as_deref(), Some("vision"));
        assert_eq!(project("/models/a%2Fb/c").as_deref(), Some("a/b"));
        for none in ["/models", "/models/", "/models//vision", "/api/v1/models/x", "/models/%ff"] {
            assert_eq!(project(none), None, "{none}");
        }
    }

    #[test]
    fn only_a_slash_at_the_end_is_taken_off() {
        let of = |text: &str| without_slash(&text.parse().unwrap());
        assert_eq!(of("/models/list/?a=1").as_deref(), Some("/models/list?a=1"));
        for none in ["/models/list", "/models/", "/api/v1/apps/", "//models/list/", "/"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_family_is_known_by_its_first_part() {
        for path in ["/containers", "/containers/", "/models/a/b", "/system/stats", "/ports"] {
            assert!(is_compatible(path), "{path}");
        }
        for path in ["/", "/api/v1/apps", "/portsmouth", "/hf/models"] {
            assert!(!is_compatible(path), "{path}");
            assert_eq!(bare(path), path);
        }
        assert_eq!(bare("/containers/{id}/"), "/containers/{id}");
        assert_eq!(bare("/api/v1/apps/"), "/api/v1/apps/");
    }
}
