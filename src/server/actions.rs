//! What a person asks of the controller: sent on, and answered with 202.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tokio::sync::oneshot;

use super::{Shared, problem::Problem, request::Named};
use crate::model::AppName;
use crate::record::Command;

/// How long the controller may take to say what it makes of a command.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Result<Response, Problem>;

/// `POST /api/v1/apps/{name}/start`
pub(super) async fn start(State(shared): State<Arc<Shared>>, Named(name): Named) -> Answer {
    for_app(&shared, name, Command::Start).await
}

/// `POST /api/v1/apps/{name}/stop`
pub(super) async fn stop(State(shared): State<Arc<Shared>>, Named(name): Named) -> Answer {
    for_app(&shared, name, Command::Stop).await
}

/// `POST /api/v1/apps/{name}/restart`
pub(super) async fn restart(State(shared): State<Arc<Shared>>, Named(name): Named) -> Answer {
    for_app(&shared, name, Command::Restart).await
}

/// `POST /api/v1/apps/{name}/install`
pub(super) async fn install(State(shared): State<Arc<Shared>>, Named(name): Named) -> Answer {
    for_app(&shared, name, Command::Install).await
}

/// `POST /api/v1/apps/{name}/rebuild`
pub(super) async fn rebuild(State(shared): State<Arc<Shared>>, Named(name): Named) -> Answer {
    for_app(&shared, name, Command::Rebuild).await
}

/// `POST /api/v1/apps/{name}/reconcile`
pub(super) async fn reconcile(State(shared): State<Arc<Shared>>, Named(name): Named) -> Answer {
    for_app(&shared, name, Command::Reconcile).await
}

/// `POST /api/v1/confirm`
pub(super) async fn confirm(State(shared): State<Arc<Shared>>) -> Answer {
    let message = ask(&shared, Command::Confirm).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "message": message }))).into_response())
}

/// `POST /api/v1/rescan`
pub(super) async fn rescan(State(shared): State<Arc<Shared>>) -> Answer {
    let message = ask(&shared, Command::Rescan).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "message": message }))).into_response())
}

async fn for_app(shared: &Shared, name: AppName, command: fn(AppName) -> Command) -> Answer {
    let message = ask(shared, command(name.clone())).await?;
    let body = json!({ "name": name, "message": message });
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// Asks the controller and waits for its answer.
pub(super) async fn ask(shared: &Shared, command: Command) -> Result<String, Problem> {
    let busy = |detail: &str| {
        Problem::unavailable("controller.busy", "The controller does not answer", detail.to_owned())
    };
    let asking = async {
        let (answer, answered) = oneshot::channel();
        let gone = || busy("the controller has ended");
        shared.parts.commands.send((command, answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map_err(Problem::from)
    };
    let late = || busy("the controller is busy; the command may still be carried out");
    tokio::time::timeout(PATIENCE, asking).await.map_err(|_| late())?
}
