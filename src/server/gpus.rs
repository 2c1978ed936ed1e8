//! The GPUs, and who holds them.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

use super::{Shared, actions::ask, problem::Problem};
use crate::record::Command;

/// `GET /api/v1/gpus`
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Result<Response, Problem> {
    // The figures are made fresh first: the loop below must not wait for a driver.
    shared.parts.figures.cards.ask().await;
    let document = ask(&shared, Command::ListGpus).await?;
    let document: Value = serde_json::from_str(&document).unwrap_or_default();
    Ok((StatusCode::OK, Json(document)).into_response())
}
