//! What a person asks of the controller: sent on, and answered with 202.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tokio::sync::oneshot;

use super::{
    Shared,
    dry::{self, Dry},
    once,
    problem::Problem,
    request::Named,
};
use crate::auth::Identity;
use crate::model::AppName;
use crate::record::{Command, Order, Supposed};

/// How long the controller may take to say what it makes of a command.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Result<Response, Problem>;

/// `POST /api/v1/apps/{name}/start`
pub(super) async fn start(Named(name): Named, asking: Asking) -> Answer {
    asking.order(name, Order::Start, Command::Start).await
}

/// `POST /api/v1/apps/{name}/stop`
pub(super) async fn stop(Named(name): Named, asking: Asking) -> Answer {
    asking.order(name, Order::Stop, Command::Stop).await
}

/// `POST /api/v1/apps/{name}/restart`
pub(super) async fn restart(Named(name): Named, asking: Asking) -> Answer {
    asking.order(name, Order::Restart, Command::Restart).await
}

/// `POST /api/v1/apps/{name}/install`
pub(super) async fn install(Named(name): Named, asking: Asking) -> Answer {
    asking.order(name, Order::Install, Command::Install).await
}

/// `POST /api/v1/apps/{name}/rebuild`
pub(super) async fn rebuild(Named(name): Named, asking: Asking) -> Answer {
    asking.order(name, Order::Rebuild, Command::Rebuild).await
}

/// `POST /api/v1/apps/{name}/reconcile`
pub(super) async fn reconcile(Named(name): Named, asking: Asking) -> Answer {
    asking.order(name, Order::Reconcile, Command::Reconcile).await
}

/// `POST /api/v1/confirm`
pub(super) async fn confirm(asking: Asking) -> Answer {
    if asking.is_dry {
        return dry::answer(&asking.shared, &asking.headers, Supposed::Confirmed, &json!({})).await;
    }
    let message = ask(&asking.shared, Command::Confirm).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "message": message }))).into_response())
}

/// `POST /api/v1/rescan`
pub(super) async fn rescan(asking: Asking) -> Answer {
    if asking.is_dry {
        return Ok(dry::said(&asking.headers, "would read the manifests now"));
    }
    let message = ask(&asking.shared, Command::Rescan).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "message": message }))).into_response())
}

/// A request for something to be done, and how it is meant.
pub(super) struct Asking {
    pub(super) shared: Arc<Shared>,
    is_dry: bool,
    who: Identity,
    path: String,
    headers: HeaderMap,
}

impl FromRequestParts<Arc<Shared>> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let Dry(is_dry) = Dry::from_request_parts(parts, shared).await?;
        Ok(Self {
            shared: Arc::clone(shared),
            is_dry,
            who: parts.extensions.get().cloned().ok_or_else(Problem::failed)?,
            path: parts.uri.path().to_owned(),
            headers: parts.headers.clone(),
        })
    }
}

impl Asking {
    async fn order(self, name: AppName, order: Order, command: fn(AppName) -> Command) -> Answer {
        self.carry_out(name.clone(), order, command(name), b"").await
    }

    /// Says what would come of it, or has it done: once for each `Idempotency-Key`.
    pub(super) async fn carry_out(
        self,
        name: AppName,
        order: Order,
        command: Command,
        body: &[u8],
    ) -> Answer {
        let Self { shared, is_dry, who, path, headers } = self;
        if is_dry {
            let more = json!({ "name": name });
            return dry::answer(&shared, &headers, Supposed::Asked(name, order), &more).await;
        }
        let key = once::key(&headers, &who, &path)?;
        let work = {
            let shared = Arc::clone(&shared);
            async move {
                let (revision, _) = shared.parts.record.stamp();
                let message = ask(&shared, command).await?;
                let metadata = json!({ "revision": revision });
                let told = json!({ "name": name, "message": message, "metadata": metadata });
                Ok((StatusCode::ACCEPTED, told))
            }
        };
        shared.once.answer(key, body, work).await
    }
}

/// Asks the controller and waits for its answer.
pub(super) async fn ask(shared: &Shared, command: Command) -> Result<String, Problem> {
    ask_for(shared, command, PATIENCE).await
}

/// The same of what may take longer.
pub(super) async fn ask_for(
    shared: &Shared,
    command: Command,
    patience: Duration,
) -> Result<String, Problem> {
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
    tokio::time::timeout(patience, asking).await.map_err(|_| late())?
}
