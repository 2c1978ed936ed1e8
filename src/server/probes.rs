//! For machines that watch this one: health and readiness; and the schema.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use super::Shared;
use crate::model::format_duration;

/// How many full looks may be missed before Berth is not ready.
const MISSES_MAX: u32 = 3;

/// `GET /health`: always 200; the union of what the replaced systems answered.
pub(super) async fn health(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let parts = &shared.parts;
    let now = parts.clock.now();
    let is_up = parts.record.overview().is_engine_up();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit for the next 280 000 years")]
    let unix = now.as_millis() as f64 / 1000.0;
    Json(json!({
        "status": "healthy",
        "docker": if is_up { "healthy" } else { "unhealthy" },
        "timestamp": unix,
        "time": now,
        "storage_path": parts.models.settings().root,
        "version": parts.version,
    }))
}

/// `GET /livez`: whether the controller is there, and not stuck.
pub(super) async fn alive(State(shared): State<Arc<Shared>>) -> Response {
    let mut reasons = Vec::new();
    if shared.parts.commands.is_closed() {
        reasons.push("the controller has ended".to_owned());
    }
    let silence = shared.parts.record.stuck(shared.parts.resync);
    let silence = silence.map(|it| Duration::from_secs(it.as_secs()));
    reasons.extend(
        silence.map(|it| format!("the controller has done nothing for {}", format_duration(it))),
    );
    verdict("alive", &reasons)
}

/// `GET /readyz`: whether what Berth says can be relied on (fault H15).
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    verdict("ready", &reasons(&shared))
}

/// Why what Berth says can't be relied on.
pub(super) fn reasons(shared: &Shared) -> Vec<String> {
    let parts = &shared.parts;
    let overview = parts.record.overview();
    let mut reasons = Vec::new();
    if !overview.is_engine_up() {
        let why = overview.engine_error.unwrap_or_else(|| "it was not asked yet".to_owned());
        reasons.push(format!("the engine does not answer: {why}"));
    }
    match overview.resynced_at {
        None => reasons.push("no full look at everything has succeeded yet".to_owned()),
        Some(at) => {
            let age = parts.clock.now().since(at);
            if parts.resync.saturating_mul(MISSES_MAX) <= age {
                let age = format_duration(age);
                reasons.push(format!("the last full look at everything was {age} ago"));
            }
        }
    }
    if parts.commands.is_closed() {
        reasons.push("the controller has ended".to_owned());
    }
    reasons
}

fn verdict(word: &str, reasons: &[String]) -> Response {
    let (status, word) = if reasons.is_empty() {
        (StatusCode::OK, word.to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not {word}"))
    };
    (status, Json(json!({ "status": word, "reasons": reasons }))).into_response()
}

/// `GET /api/v1/schema`
pub(super) async fn schema(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json((shared.parts.schema)())
}
