//! Rollouts: what is remembered of them, and the way back.

use std::sync::Arc;

use axum::{Json, body::Body, extract::State, response::Response};
use serde::Deserialize;
use serde_json::Value;

use super::{Shared, actions::Asking, problem::Problem, request::Named, view};
use crate::record::{Command, Order};

/// The longest body that makes sense.
const BODY_MAX: usize = 1024;

/// What may be said when going back.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Undo {
    /// To which revision; none is the last good one before.
    revision: Option<u64>,
}

/// `GET /api/v1/apps/{name}/revisions`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
) -> Result<Json<Value>, Problem> {
    let entry = shared.parts.record.entry(&name).ok_or_else(|| Problem::no_app(name.as_str()))?;
    Ok(Json(view::revisions(&entry)))
}

/// `POST /api/v1/apps/{name}/undo`
pub(super) async fn undo(
    Named(name): Named,
    asking: Asking,
    body: Body,
) -> Result<Response, Problem> {
    let wrong = |why: String| {
        Problem::bad_request(format!("send nothing, or `{{\"revision\": N}}`: {why}"))
    };
    let bytes =
        axum::body::to_bytes(body, BODY_MAX).await.map_err(|error| wrong(error.to_string()))?;
    let asked = if bytes.trim_ascii().is_empty() {
        Undo::default()
    } else {
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?
    };
    let command = Command::Undo(name.clone(), asked.revision);
    asking.carry_out(name, Order::Undo(asked.revision), command, &bytes).await
}
