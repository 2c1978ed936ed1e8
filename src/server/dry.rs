//! `?dryRun=true`: what would come of a change, as plans, and nothing changed.
//!
//! # Guarantees
//! What can't be tried is named here with the reason, and refuses it: nobody who only wants to look
//! changes something. Every other change knows of it; a test walks the table.

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

/// The changes that can't be tried, by method and how their paths begin, and why.
const NONE: &[(&str, &str, &str)] = &[
    ("POST", "/sign-in", "a session begins or it does not; there is nothing to plan"),
    ("POST", "/sign-out", "a session ends; there is nothing to plan"),
    ("POST", "/api/v1/apps/{name}/terminal", "what is typed is not known before"),
    ("POST", "/ui/", "the page shows what would come of a change before it asks for it"),
    ("POST", "/api/repos/", HUB),
    ("DELETE", "/api/repos/", HUB),
    ("POST", "/api/models/{ns}/", HUB),
    ("PUT", "/api/models/{ns}/", HUB),
    ("DELETE", "/api/models/{ns}/", HUB),
    ("POST", "/api/validate-yaml", HUB),
    ("POST", "/{ns}/", HUB),
    ("PUT", "/_lfs/", HUB),
    ("POST", "/_lfs/", HUB),
    ("POST", "/xet/", HUB),
];
const HUB: &str = "a step of the Hub's protocol, whose next step needs what this one has done; \
                   the routes below /models try the same changes";

/// Whether a change is only tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dry(pub(super) bool);

impl<S: Send + Sync> FromRequestParts<S> for Dry {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().copied().ok_or_else(Problem::failed)
    }
}

/// Whether a route is a change that can be tried.
pub(super) fn is_known(method: &str, path: &str) -> bool {
    !["GET", "HEAD"].contains(&method) && why_not(method, path).is_none()
}

/// Why a change can't be tried; none when it can be.
pub fn why_not(method: &str, path: &str) -> Option<&'static str> {
    let mut none = NONE.iter().filter(|(of, start, _)| *of == method && path.starts_with(start));
    none.next().map(|(_, _, why)| *why)
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
    let Some(why) = why_not(method.as_str(), family::bare(path)) else { return Ok(Dry(true)) };
    let detail = format!("{method} {path} can't be tried, and was not done: {why}");
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
        let (known, other) = ("/api/v1/rescan", "/sign-out");
        assert_eq!(ask(known, Some("dryRun=true")), Ok(Dry(true)));
        assert_eq!(ask(known, Some("a=b&dryRun")), Ok(Dry(true)));
        assert_eq!(ask(known, Some("dryRun=false")), Ok(Dry(false)));
        assert_eq!(ask(known, None), Ok(Dry(false)));
        assert_eq!(ask(known, Some("dryRun=maybe")), Err(()));
        assert_eq!(ask("/containers/{id}/stop/", Some("dryRun=1")), Ok(Dry(true)));
        assert_eq!(ask(other, Some("dryRun=1")), Err(()));
        assert_eq!(ask("/hf/api/models/{ns}/{name}/commit/{rev}", Some("dryRun")), Err(()));
        assert_eq!(ask(other, Some("dryRun=false")), Ok(Dry(false)));
        let looked = asked(&Method::GET, Some("/ui/plan"), Some("dryRun")).map_err(|_| ());
        assert_eq!(looked, Ok(Dry(true)));
    }
}
