//! The families of routes that clients of other systems know: their errors are `{"detail": …}`, as
//! those systems answered them, whoever refused the request.
//!
//! Handlers of a family answer a [`Problem`](super::problem::Problem) as all others do; its detail
//! is what the client reads. A handler that must answer another shape writes it itself.

use axum::{Json, http::Uri, response::IntoResponse as _, response::Response};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::problem::Told;

/// The first part of the paths of each family.
const FAMILIES: [&str; 4] = ["containers", "models", "ports", "system"];

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
    let name = path.strip_prefix("/models/")?.split('/').next().filter(|name| !name.is_empty())?;
    percent_decode_str(name).decode_utf8().ok().map(Into::into)
}

/// Whether a route is known with a slash at its end too, as its clients ask it.
pub(super) fn takes_slash(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
    matches!(first, "containers" | "ports" | "system")
}

/// The path of the route that was found, as the table spells it.
pub(super) fn bare(path: &str) -> &str {
    if takes_slash(path) { path.strip_suffix('/').unwrap_or(path) } else { path }
}

/// Says a problem as the family of the path says it.
pub(super) fn translate(path: &str, mut response: Response) -> Response {
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

#[cfg(test)]
mod tests {
    use axum::http::{StatusCode, header};

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
