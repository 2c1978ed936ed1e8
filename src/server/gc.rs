//! What was left behind.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Shared,
    actions::ask_for,
    dry::{self, Dry},
    problem::Problem,
    request::{Asked, flag, wants},
};
use crate::model::parse_duration;
use crate::plan::GcRules;
use crate::record::Command;

/// How long looking, and removing what is large, may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_mins(10);

/// How it is meant.
#[derive(Default, Deserialize, schemars::JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Query {
    /// How old something has to be: `24h` unless it is said.
    grace: Option<String>,
    /// Whether what apps kept goes with them.
    with_data: Option<String>,
}

/// `POST /api/v1/gc`
pub(super) async fn collect(
    State(shared): State<Arc<Shared>>,
    Dry(is_dry): Dry,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let grace = query.grace.as_deref().map(parse_duration).transpose();
    let grace = grace.map_err(|error| Problem::bad_request(format!("`grace`: {error}")))?;
    let with_data = flag("withData", query.with_data.as_deref())?;
    let rules = GcRules { grace: grace.unwrap_or(GcRules::GRACE), with_data };
    let told = ask_for(&shared, Command::CollectGarbage { is_dry, rules }, PATIENCE).await?;
    let document: Value = serde_json::from_str(&told).unwrap_or_default();
    if is_dry && wants(&headers, "text/plain") {
        return Ok(dry::text(document["text"].as_str().unwrap_or_default().to_owned()));
    }
    Ok(Json(document).into_response())
}
