//! Who is told when something is wrong, and how that goes.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    dry::{self, Dry},
    problem::Problem,
    request::Asked,
    view,
};
use crate::notice::{Board, Outcome, Post};

/// What a test may name.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Query {
    /// The target; all without one.
    target: Option<String>,
}

/// `GET /api/v1/notifications`
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let targets: Vec<_> = posts(&shared).map(|post| target(post)).collect();
    Json(json!({
        "apiVersion": view::API_VERSION,
        "kind": "NotificationTargets",
        "targets": targets,
    }))
}

/// `POST /api/v1/notifications/test`
pub(super) async fn test(
    State(shared): State<Arc<Shared>>,
    Dry(is_dry): Dry,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted =
        |post: &&Arc<Post>| query.target.as_ref().is_none_or(|wanted| *wanted == post.target.name);
    let chosen: Vec<_> = posts(&shared).filter(wanted).cloned().collect();
    let Some(board) = shared.parts.figures.notices.clone().filter(|_| !chosen.is_empty()) else {
        let none = "there is no such target: `berth notify ls` lists them";
        return Err(Problem::not_there("notify.no-target", none));
    };
    if is_dry {
        let names: Vec<_> = chosen.iter().map(|post| post.target.name.as_str()).collect();
        let told = format!("would send a test to {}", names.join(", "));
        return Ok(dry::said(&headers, &told));
    }
    let sending = chosen.iter().map(|post| try_one(&board, post));
    let results = futures_util::future::join_all(sending).await;
    Ok(Json(json!({ "results": results })).into_response())
}

async fn try_one(board: &Board, post: &Arc<Post>) -> Value {
    let (result, error) = match board.test(post).await {
        Outcome::Taken => ("sent", None),
        Outcome::Refused(why) => ("refused", Some(why)),
        Outcome::Later(why) => ("failed", Some(why)),
    };
    json!({ "target": post.target.name, "result": result, "error": error })
}

fn posts(shared: &Shared) -> impl Iterator<Item = &Arc<Post>> {
    shared.parts.figures.notices.iter().flat_map(|board| &board.posts)
}

fn target(post: &Post) -> Value {
    json!({
        "name": post.target.name,
        "kind": post.target.kind(),
        "on": post.target.on,
        "apps": post.target.apps,
        "resolved": post.target.resolved,
        "waiting": post.waiting(),
        "last": post.last(),
    })
}
