//! Models fetched from elsewhere: begun, and looked at.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Asker;
use crate::auth::Secret;
use crate::forge::{Fetch, Origin, Wanted};
use crate::model::{Digest, ModelRef};
use crate::server::{
    Shared,
    dry::{self, Dry},
    once,
    problem::Problem,
    trail::Note,
};

/// The longest body that makes sense.
const BODY_MAX: usize = 16 * 1024;

type Answer = Result<Response, Problem>;

/// What is asked for.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in super::super) struct Pull {
    /// From where: `https://…`, `berth+https://host/project/app@version[/file]`, or
    /// `hf://namespace/repository@revision[/file]`.
    from: String,
    /// What it becomes: `project/app@version`, of a single file with `/name`.
    #[serde(rename = "as")]
    to: String,
    /// The digest that a single file must have, in hexadecimal. Needed where the server says none.
    sha256: Option<String>,
    /// What to sign in with there.
    token: Option<String>,
    /// The server that `hf://` means. Default: the Hub.
    endpoint: Option<String>,
    /// Whether none of these names may be there. Default: false.
    #[serde(default)]
    create_only: bool,
}

fn wanted(asked: Pull) -> Result<Wanted, String> {
    let origin = Origin::parse(&asked.from, asked.endpoint.as_deref())?;
    let ModelRef { project, app, version, file } = ModelRef::parse(&asked.to)?;
    let sha256 = asked.sha256.map(|hex| {
        Digest::parse(&hex.to_ascii_lowercase()).ok_or("`sha256` is 64 hexadecimal digits")
    });
    let token = asked.token.map(|token| Secret::given(token.trim()));
    if token.as_ref().is_some_and(|token| token.reveal().contains(|c: char| !c.is_ascii_graphic()))
    {
        return Err("the token holds what no token holds".to_owned());
    }
    Ok(Wanted {
        origin,
        version: (project, app, version),
        name: file,
        sha256: sha256.transpose()?,
        token,
        is_new: asked.create_only,
    })
}

fn document(fetch: &Fetch) -> Value {
    json!({
        "id": fetch.id,
        "from": fetch.from,
        "as": fetch.to,
        "phase": fetch.phase,
        "error": fetch.error,
        "files": fetch.files,
        "filesDone": fetch.files_done,
        "size": fetch.size,
        "bytes": fetch.bytes,
        "startedAt": fetch.started,
        "finishedAt": fetch.finished,
    })
}

/// `POST /api/v1/models/pull`
pub(in super::super) async fn pull(
    State(shared): State<Arc<Shared>>,
    Dry(is_dry): Dry,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let bytes = axum::body::to_bytes(body, BODY_MAX).await;
    let bytes = bytes.map_err(|_| Problem::bad_request("the body is longer than 16 KiB"))?;
    let wrong = |error: serde_json::Error| Problem::bad_request(error.to_string());
    let wanted = wanted(serde_json::from_slice(&bytes).map_err(wrong)?);
    let wanted = wanted.map_err(Problem::bad_request)?;
    let refused = |why: String| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Problem::new(status, "model.pull", "It can't be fetched", why)
    };
    if is_dry {
        shared.fetches.check(&wanted).map_err(refused)?;
        let from = wanted.origin.shown();
        return Ok(dry::said(&headers, &format!("would fetch {from}")));
    }
    let key = once::key(&headers, asker.identity(), "/api/v1/models/pull")?;
    let starting = Arc::clone(&shared);
    let work = async move {
        let fetch = starting.fetches.start(wanted).map_err(refused)?;
        Ok((StatusCode::ACCEPTED, document(&fetch)))
    };
    let ((status, fetch), is_again) = shared.once.done(key, &bytes, work).await?;
    let after = json!({ "from": fetch["from"] });
    let object = format!("model/{}", fetch["as"].as_str().unwrap_or_default());
    let mut response = once::replayed((status, Json(fetch)).into_response(), is_again);
    response.extensions_mut().insert(Note { object, before: Value::Null, after });
    Ok(response)
}

/// `GET /api/v1/models/pulls`
pub(in super::super) async fn pulls(State(shared): State<Arc<Shared>>) -> Response {
    let items: Vec<_> = shared.fetches.list().iter().map(document).collect();
    Json(json!({ "items": items })).into_response()
}
