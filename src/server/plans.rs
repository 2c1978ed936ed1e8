//! What the next pass would do, and why.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use super::{
    Shared,
    problem::Problem,
    request::{Named, wants},
    view,
};
use crate::plan::{Plan, plan_id, plans_id};

/// `GET /api/v1/apps/{name}/plan`
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let entry = shared.parts.record.entry(&name).ok_or_else(|| Problem::no_app(name.as_str()))?;
    if wants(&headers, "text/plain") {
        return Ok(text([entry.plan.as_ref()]));
    }
    Ok(Json(view::plan(&entry.plan)).into_response())
}

/// `GET /api/v1/plan`
pub(super) async fn all(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let entries = shared.parts.record.entries();
    let plans = || entries.iter().map(|entry| entry.plan.as_ref());
    if wants(&headers, "text/plain") {
        return text(plans().filter(|plan| view::has_differences(plan)));
    }
    let differing = plans().filter(|plan| view::has_differences(plan));
    let body = json!({
        "id": plans_id(&differing.map(plan_id).collect::<Vec<_>>()),
        "hasDifferences": plans().any(view::has_differences),
        "items": plans().map(view::plan).collect::<Vec<_>>(),
    });
    Json(body).into_response()
}

fn text<'a>(plans: impl IntoIterator<Item = &'a Plan>) -> Response {
    let text: String = plans.into_iter().map(view::plan_text).collect();
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
