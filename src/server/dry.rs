//! `?dryRun=true`: what would come of a change, as plans, and nothing changed.
//!
//! # Guarantees
//! A route that does not know of it refuses it: nobody who only wants to look changes something.

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    Shared, actions, family,
    problem::Problem,
    request::{flag, wants},
    view,
};
use crate::plan::Plan;
use crate::record::{Command, LeaseOrder, Supposed};

/// The changes that can be tried, by method and path.
const KNOWN: &[(&str, &str)] = &[
    ("POST", "/api/v1/apps"),
    ("PUT", "/api/v1/apps/{name}"),
    ("PATCH", "/api/v1/apps/{name}"),
    ("DELETE", "/api/v1/apps/{name}"),
    ("POST", "/api/v1/apps/{name}/start"),
    ("POST", "/api/v1/apps/{name}/stop"),
    ("POST", "/api/v1/apps/{name}/restart"),
    ("POST", "/api/v1/apps/{name}/install"),
    ("POST", "/api/v1/apps/{name}/rebuild"),
    ("POST", "/api/v1/apps/{name}/reconcile"),
    ("POST", "/api/v1/apps/{name}/undo"),
    ("POST", "/api/v1/gpus/leases"),
    ("POST", "/api/v1/gpus/leases/{id}/renew"),
    ("DELETE", "/api/v1/gpus/leases/{id}"),
    ("POST", "/api/v1/images/gc"),
    ("POST", "/api/v1/gc"),
    ("POST", "/api/v1/notifications/test"),
    ("POST", "/api/v1/models/trash/{id}/restore"),
    ("POST", "/api/v1/models/gc"),
    ("POST", "/api/v1/models/verify/{project}/{app}/{version}/{model}"),
    ("POST", "/api/v1/models/pull"),
    ("POST", "/api/v1/confirm"),
    ("POST", "/api/v1/rescan"),
    ("POST", "/api/v1/hooks/git"),
    ("POST", "/containers/create"),
    ("POST", "/containers/{id}/start"),
    ("POST", "/containers/{id}/stop"),
    ("DELETE", "/containers/{id}"),
];

/// Whether a change is only tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dry(pub(super) bool);

impl<S: Send + Sync> FromRequestParts<S> for Dry {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().copied().ok_or_else(Problem::failed)
    }
}

/// Whether a change can be tried.
pub(super) fn is_known(method: &str, path: &str) -> bool {
    KNOWN.contains(&(method, path))
}

/// Whether a part of a query is the flag.
pub(super) fn is_flag(pair: &str) -> bool {
    pair.split('=').next() == Some("dryRun")
}

/// Whether a request only tries a change.
pub(super) fn asked(
    method: &Method,
    matched: Option<&str>,
    query: Option<&str>,
) -> Result<Dry, Problem> {
    let flags = query.unwrap_or("").split('&').filter(|pair| is_flag(pair));
    let mut is_dry = false;
    for pair in flags {
        is_dry |= flag("dryRun", Some(pair.split_once('=').map_or("", |(_, value)| value)))?;
    }
    let Some(path) = matched.filter(|_| is_dry) else { return Ok(Dry(is_dry)) };
    if method.is_safe() || is_known(method.as_str(), family::bare(path)) {
        return Ok(Dry(true));
    }
    let detail = format!("{method} {path} can't be tried, and was not done");
    let status = StatusCode::BAD_REQUEST;
    Err(Problem::new(status, "request.no-dry-run", "It can't be tried", detail))
}

/// What would come of something.
pub(super) async fn plans(
    shared: &Shared,
    supposed: Supposed,
) -> Result<(String, Vec<Plan>), Problem> {
    let (answer, plans) = oneshot::channel();
    let told = actions::ask(shared, Command::Suppose(supposed, answer)).await?;
    Ok((told, plans.await.unwrap_or_default()))
}

/// Answers with what would come of something. `more` says what else is known of it.
pub(super) async fn answer(
    shared: &Shared,
    headers: &HeaderMap,
    supposed: Supposed,
    more: &Value,
) -> Result<Response, Problem> {
    let (told, plans) = plans(shared, supposed).await?;
    Ok(shown(headers, &told, &plans, more))
}

/// The plans of a change, as JSON or text.
pub(super) fn shown(headers: &HeaderMap, told: &str, plans: &[Plan], more: &Value) -> Response {
    let message = match more["message"].as_str().unwrap_or(told) {
        "" => "nothing was changed",
        message => message,
    };
    if wants(headers, "text/plain") {
        let plans: String = plans.iter().map(view::plan_text).collect();
        return text(format!("{message}\n{plans}"));
    }
    let mut body = json!({
        "dryRun": true,
        "message": message,
        "hasDifferences": plans.iter().any(view::has_differences),
        "items": plans.iter().map(view::plan).collect::<Vec<_>>(),
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    Json(body).into_response()
}

/// Answers with a sentence: no app is concerned.
pub(super) fn said(headers: &HeaderMap, told: &str) -> Response {
    shown(headers, told, &[], &json!({}))
}

/// Answers with the lease that would be.
pub(super) async fn lease(
    shared: &Shared,
    headers: &HeaderMap,
    order: LeaseOrder,
    verb: &str,
) -> Result<Response, Problem> {
    let (told, _) = plans(shared, Supposed::Leased(order)).await?;
    let lease: Value = serde_json::from_str(&told).unwrap_or_default();
    let devices = lease["devices"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let devices = devices.collect::<Vec<_>>().join(", ");
    let more = json!({ "message": format!("{devices} {verb}"), "lease": lease });
    Ok(shown(headers, "", &[], &more))
}

/// An answer for people.
pub(super) fn text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_changes_are_tried_and_no_other_is_done_instead() {
        let ask = |path, query| asked(&Method::POST, Some(path), query).map_err(|_| ());
        let (known, other) = ("/api/v1/rescan", "/models/upload");
        assert_eq!(ask(known, Some("dryRun=true")), Ok(Dry(true)));
        assert_eq!(ask(known, Some("a=b&dryRun")), Ok(Dry(true)));
        assert_eq!(ask(known, Some("dryRun=false")), Ok(Dry(false)));
        assert_eq!(ask(known, None), Ok(Dry(false)));
        assert_eq!(ask(known, Some("dryRun=maybe")), Err(()));
        assert_eq!(ask("/containers/{id}/stop/", Some("dryRun=1")), Ok(Dry(true)));
        assert_eq!(ask(other, Some("dryRun=1")), Err(()));
        assert_eq!(ask(other, Some("dryRun=false")), Ok(Dry(false)));
    }
}
