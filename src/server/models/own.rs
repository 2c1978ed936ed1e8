//! What the server before Berth had not at all: the trash, and sweeping.

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderMap, response::IntoResponse as _};
use serde_json::{Value, json};

use super::{Answer, Named, blocking, refusal::Verb, store};
use crate::server::{
    Shared,
    dry::{self, Dry},
    request::wants,
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
    let document: Value = serde_json::from_str(&entry.listed).unwrap_or_default();
    let mut response = Json(document).into_response();
    let (object, after) = (format!("model/{}", entry.key), json!({ "sha256": entry.sha256 }));
    response.extensions_mut().insert(Note { object, before: Value::Null, after });
    Ok(response)
}

/// `POST /api/v1/models/gc`
pub(in super::super) async fn gc(
    State(shared): State<Arc<Shared>>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
) -> Answer {
    let store = store(&shared, Verb::Change).await?;
    let now = shared.parts.clock.now();
    let swept = blocking(Verb::Change, move || store.sweep(now, is_dry)).await?;
    if is_dry && wants(&headers, "text/plain") {
        return Ok(dry::said(&headers, &format!("would free {} bytes", swept.bytes)));
    }
    Ok(Json(json!({
        "dryRun": is_dry, "trashed": swept.trashed, "blobs": swept.blobs, "bytes": swept.bytes,
    }))
    .into_response())
}
