//! The images that Berth built.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Uri},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;

use super::{
    Shared,
    actions::ask,
    dry::{self, Dry},
    paging::{self, Page},
    problem::Problem,
    request::{Asked, wants},
};
use crate::record::Command;

/// `GET /api/v1/images`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Asked(page): Asked<Page>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut document = collect(&shared, true).await?;
    let images = document.get_mut("images").and_then(Value::as_array_mut).map(std::mem::take);
    let id = |image: &Value| image["id"].as_str().unwrap_or_default().to_owned();
    let (images, next) = page.cut(images.unwrap_or_default(), id)?;
    document["images"] = Value::Array(images);
    Ok((paging::link(&uri, next.as_deref()), Json(document)).into_response())
}

/// `POST /api/v1/images/gc`
pub(super) async fn gc(
    State(shared): State<Arc<Shared>>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let document = collect(&shared, is_dry).await?;
    if !(is_dry && wants(&headers, "text/plain")) {
        return Ok(Json(document).into_response());
    }
    let going = document["going"].as_array().into_iter().flatten();
    let line = |image: &Value| {
        let tags = image["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let tags = tags.collect::<Vec<_>>().join(", ");
        format!("remove {} ({tags}): {}\n", id_of(image), image["why"].as_str().unwrap_or_default())
    };
    Ok(dry::text(going.map(line).collect()))
}

fn id_of(image: &Value) -> &str {
    image["id"].as_str().unwrap_or("an image")
}

async fn collect(shared: &Shared, is_dry: bool) -> Result<Value, Problem> {
    let document = ask(shared, Command::CollectImages { is_dry }).await?;
    Ok(serde_json::from_str(&document).unwrap_or_default())
}
