//! The images that Berth built.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;

use super::{Shared, actions::ask, problem::Problem, request::Asked};
use crate::record::Command;

/// What a removal takes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Query {
    dry_run: bool,
}

/// `GET /api/v1/images`
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    collect(&shared, true).await
}

/// `POST /api/v1/images/gc`
pub(super) async fn gc(
    State(shared): State<Arc<Shared>>,
    Asked(query): Asked<Query>,
) -> Result<Response, Problem> {
    collect(&shared, query.dry_run).await
}

async fn collect(shared: &Shared, is_dry: bool) -> Result<Response, Problem> {
    let document = ask(shared, Command::CollectImages { is_dry }).await?;
    let document: Value = serde_json::from_str(&document).unwrap_or_default();
    Ok((StatusCode::OK, Json(document)).into_response())
}
