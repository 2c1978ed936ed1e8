//! What the server before Berth had not at all: the trash, and sweeping.

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderMap, response::IntoResponse as _};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Named, blocking, refusal::Verb, store};
use crate::server::{
    Shared,
    dry::{self, Dry},
    request::{Asked, flag, wants},
    trail::Note,
};

/// `GET /api/v1/models/trash`
pub(in super::super) async fn trash(State(shared): State<Arc<Shared>>) -> Answer {
    let store = store(&shared, Verb::List).await?;
    let ttl = store.settings().trash_ttl.as_secs();
    let items = blocking(Verb::List, move || store.trash()).await?;
    Ok(Json(json!({ "items": items, "keptSeconds": ttl })).into_response())
}

/// `POST /api/v1/models/trash/{id}/restore`
pub(in super::super) async fn restore(
    State(shared): State<Arc<Shared>>,
    Named(id): Named<String>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
) -> Answer {
    let store = store(&shared, Verb::Change).await?;
    if is_dry {
        let (_, key) = blocking(Verb::Change, move || store.restorable(&id)).await?;
        return Ok(dry::said(&headers, &format!("would bring {key} back")));
    }
    let entry = blocking(Verb::Change, move || store.restore(&id)).await?;
    let document: Value = serde_json::from_str(&entry.listed()).unwrap_or_default();
    let mut response = Json(document).into_response();
    let (object, after) = (format!("model/{}", entry.key), json!({ "sha256": entry.sha256 }));
    response.extensions_mut().insert(Note { object, before: Value::Null, after });
    Ok(response)
}

/// What else is swept.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
pub(in super::super) struct SweepWish {
    /// Whether the history of repositories goes too, but for what versions and tags stand for.
    history: Option<String>,
}

/// `POST /api/v1/models/gc`
pub(in super::super) async fn gc(
    State(shared): State<Arc<Shared>>,
    Dry(is_dry): Dry,
    Asked(SweepWish { history }): Asked<SweepWish>,
    headers: HeaderMap,
) -> Answer {
    let store = store(&shared, Verb::Change).await?;
    let now = shared.parts.clock.now();
    let has_history = flag("history", history.as_deref())?;
    let sweeping = move || store.sweep_more(now, is_dry, has_history);
    let swept = blocking(Verb::Change, sweeping).await?;
    if is_dry && wants(&headers, "text/plain") {
        return Ok(dry::said(&headers, &format!("would free {} bytes", swept.bytes)));
    }
    Ok(Json(json!({
        "dryRun": is_dry, "trashed": swept.trashed, "blobs": swept.blobs, "bytes": swept.bytes,
        "historyBytes": swept.history,
    }))
    .into_response())
}
