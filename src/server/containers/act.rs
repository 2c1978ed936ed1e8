//! Start, stop and remove, as a client asks for it and as it comes about.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Id, PATIENCE, Shared, Wait, away, find, info, look, nowhere, other_berth};
use crate::engine::{Deed, Error};
use crate::model::{AppName, Phase, Reason};
use crate::record::{Command, CommandError, Entry, Order, Supposed};
use crate::server::{
    actions, apps,
    dry::{self, Dry},
    leaving,
    problem::Problem,
    trail::Note,
};
use crate::state::{Container, ContainerState, World};

type Answer = Result<Response, Problem>;

/// What a path names.
enum Target {
    /// An app of ours, and its container when there is one.
    Ours(AppName, Option<Container>),
    /// Somebody else's container.
    Foreign(Container),
}

/// `POST /containers/{id}/start`
pub(in crate::server) async fn start(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
    Dry(is_dry): Dry,
    headers: HeaderMap,
) -> Answer {
    let target = target(&shared, &id).await?;
    if is_dry {
        return tried(&shared, &headers, target, Deed::Start).await;
    }
    let before = match target {
        Target::Foreign(container) => return by_hand(&shared, &id, &container, Deed::Start).await,
        Target::Ours(app, container) => {
            start_app(&shared, &app).await?;
            (app, container)
        }
    };
    Ok(done(&id, "started", before, "running"))
}

/// `POST /containers/{id}/stop`
pub(in crate::server) async fn stop(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
    Dry(is_dry): Dry,
    headers: HeaderMap,
) -> Answer {
    let target = target(&shared, &id).await?;
    if is_dry {
        return tried(&shared, &headers, target, Deed::Stop).await;
    }
    let before = match target {
        Target::Foreign(container) => return by_hand(&shared, &id, &container, Deed::Stop).await,
        Target::Ours(app, container) => {
            stop_app(&shared, &app).await?;
            (app, container)
        }
    };
    Ok(done(&id, "stopped", before, "exited"))
}

/// `DELETE /containers/{id}`
pub(in crate::server) async fn remove(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
    Dry(is_dry): Dry,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let keeps = leaving::keeps(uri.query())?;
    let target = target(&shared, &id).await?;
    if is_dry {
        return tried(&shared, &headers, target, Deed::Remove).await;
    }
    match target {
        // It has no workspace.
        Target::Foreign(container) => by_hand(&shared, &id, &container, Deed::Remove).await,
        Target::Ours(app, _) => {
            let (before, mut after) = remove_app(&shared, &app).await?;
            if !keeps && leaving::take_workspace(&shared, &app).await? {
                after = json!({ "workspace": "removed" });
            }
            let mut response = Json(message(&id, "removed")).into_response();
            let object = format!("app/{app}");
            response.extensions_mut().insert(Note { object, before, after });
            Ok(response)
        }
    }
}

/// What would come of it.
async fn tried(shared: &Shared, headers: &HeaderMap, target: Target, deed: Deed) -> Answer {
    let word = match deed {
        Deed::Start => "started",
        Deed::Stop => "stopped",
        Deed::Remove => "removed",
    };
    let (app, supposed) = match (target, deed) {
        (Target::Foreign(container), _) => {
            return Ok(dry::said(headers, &format!("{} would be {word}", container.name)));
        }
        (Target::Ours(app, _), Deed::Start) => {
            may_start(shared, &app)?;
            (app.clone(), Supposed::Asked(app, Order::Start))
        }
        (Target::Ours(app, _), Deed::Stop) => (app.clone(), Supposed::Asked(app, Order::Stop)),
        (Target::Ours(app, _), Deed::Remove) => {
            apps::check_removable(shared, &app).await?;
            (app.clone(), Supposed::Removed(app))
        }
    };
    let more = json!({ "message": format!("the app `{app}` would be {word}") });
    dry::answer(shared, headers, supposed, &more).await
}

/// What a client reads.
fn message(id: &str, word: &str) -> Value {
    json!({ "message": format!("Container {id} {word} successfully") })
}

/// The answer about an app of ours, with what the audit log is to hold.
fn done(id: &str, word: &str, app: (AppName, Option<Container>), after: &str) -> Response {
    let mut response = Json(message(id, word)).into_response();
    let (app, container) = app;
    let before = container.map(|container| json!({ "state": info::word(container.state) }));
    let (object, before) = (format!("app/{app}"), before.unwrap_or_default());
    response.extensions_mut().insert(Note { object, before, after: json!({ "state": after }) });
    response
}

/// Finds what is meant, and refuses what must not be touched from here.
async fn target(shared: &Shared, id: &str) -> Result<Target, Problem> {
    let world = look(shared).await?;
    let (record, compat) = (&shared.parts.record, &shared.parts.compat);
    let refused = |code, detail: String| Problem::conflict(code, "Not touched from here", detail);
    let Some(container) = find(record, &world, id)? else {
        // An app that has no container yet, or not any more.
        let app = AppName::new(id).ok().filter(|app| record.entry(app).is_some());
        return Ok(Target::Ours(app.ok_or_else(nowhere)?, None));
    };
    if compat.own_container.as_ref() == Some(&container.id) {
        let detail = format!("{} is the container that Berth itself runs in", container.name);
        return Err(refused("container.own", detail));
    }
    if let Some(instance) = other_berth(container, &compat.instance) {
        let detail = format!(
            "{} belongs to another Berth, the instance `{instance}`, which would undo it: ask that one",
            container.name
        );
        return Err(refused("container.other-berth", detail));
    }
    let Some(app) = container.ownership.app() else {
        return Ok(Target::Foreign(container.clone()));
    };
    if !info::is_shown(record, &world, container, app) {
        let detail = format!(
            "{} is an earlier version of `{app}`, which Berth keeps to go back to it: name the app instead",
            container.name
        );
        return Err(refused("container.earlier", detail));
    }
    Ok(Target::Ours(app.clone(), Some(container.clone())))
}

/// Does it to a container that is not ours.
async fn by_hand(shared: &Shared, id: &str, container: &Container, deed: Deed) -> Answer {
    let (word, after) = match deed {
        Deed::Start => ("started", "running"),
        Deed::Stop => ("stopped", "exited"),
        Deed::Remove => ("removed", "removed"),
    };
    tracing::info!(container = container.name, id = %container.id, word, "asked for by hand");
    let applied = shared.parts.compat.hands.act(&container.id, deed).await;
    applied.map_err(|error| not_done(&error))?;
    let mut response = Json(message(id, word)).into_response();
    let object = format!("container/{} ({})", container.name, container.id);
    let before = json!({ "state": info::word(container.state) });
    response.extensions_mut().insert(Note { object, before, after: json!({ "state": after }) });
    Ok(response)
}

/// Why an engine did not do what somebody asked by hand.
fn not_done(error: &Error) -> Problem {
    match error {
        Error::NotFound(_) => nowhere(),
        Error::Unreachable { .. } | Error::Broken { .. } | Error::Unsupported(_) => away(error),
        Error::Timeout { .. } => late("container.late", error.to_string()),
        Error::Failed { .. } => {
            let (status, title) = (StatusCode::BAD_GATEWAY, "The engine failed");
            Problem::new(status, error.reason().slug(), title, error.to_string())
        }
        _ => Problem::conflict(error.reason().slug(), "The engine refused", error.to_string()),
    }
}

/// It did not come about in time, and may still do.
pub(super) fn late(code: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, code, "Not done in time", detail)
}

/// Asks the controller. An app that only the engine knows has no manifest to go by.
async fn ask(shared: &Shared, app: &AppName, command: Command) -> Result<(), Problem> {
    actions::ask(shared, command).await.map(drop).map_err(|problem| {
        if problem.status() != StatusCode::NOT_FOUND {
            return problem;
        }
        let detail = CommandError::NotFound(app.clone()).to_string();
        let detail =
            format!("{detail} in the manifests, and its removal is held back or under way");
        Problem::conflict("container.no-manifest", "No manifest", detail)
    })
}

fn may_start(shared: &Shared, app: &AppName) -> Result<(), Problem> {
    let spec = shared.parts.record.entry(app).and_then(|entry| entry.app.clone());
    if spec.is_some_and(|app| app.spec.suspend) {
        let detail = format!("the manifest of `{app}` says `suspend: true`: change it there");
        return Err(Problem::conflict("container.suspended", "Not started", detail));
    }
    Ok(())
}

async fn start_app(shared: &Shared, app: &AppName) -> Result<(), Problem> {
    may_start(shared, app)?;
    ask(shared, app, Command::Start(app.clone())).await?;
    until_it_runs(shared, app, Instant::now() + PATIENCE).await.unwrap_or_else(|| {
        let detail = format!("`{app}` does not run yet{}", why(shared, app));
        Err(late("container.late", detail))
    })
}

/// Whether an app runs, or will not; none when that is not known in time.
pub(super) async fn until_it_runs(
    shared: &Shared,
    app: &AppName,
    end: Instant,
) -> Option<Result<(), Problem>> {
    let mut wait = Wait::new(shared, app, end);
    loop {
        if let Some(verdict) = wait.entry().and_then(|entry| verdict(&entry)) {
            return Some(verdict);
        }
        if !wait.goes_on().await {
            return None;
        }
    }
}

/// Whether an app runs, or will not before somebody does something about it.
fn verdict(entry: &Entry) -> Option<Result<(), Problem>> {
    let status = &entry.status;
    if status.phase == Phase::Running {
        return Some(Ok(()));
    }
    // A port that was taken meanwhile is exchanged, a card that is busy is waited for.
    let passes = [Reason::PortTaken, Reason::WaitingForGpu];
    let refusal = entry.plan.refusals.iter().find(|refusal| !passes.contains(&refusal.reason))?;
    let (code, title) = (refusal.reason.slug(), "It does not run");
    let code_of = match refusal.reason {
        Reason::NoPortFree | Reason::DiskFull => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    Some(Err(Problem::new(code_of, code, title, refusal.message.clone())))
}

/// What an app's status says, after a colon.
pub(super) fn why(shared: &Shared, app: &AppName) -> String {
    let entry = shared.parts.record.entry(app);
    entry.map(|entry| format!(": {}", entry.status.message)).unwrap_or_default()
}

async fn stop_app(shared: &Shared, app: &AppName) -> Result<(), Problem> {
    ask(shared, app, Command::Stop(app.clone())).await?;
    let is_up = |one: &&Container| {
        use ContainerState as S;
        matches!(one.state, S::Running | S::Restarting | S::Paused)
    };
    let is_so = |world: &World, _: bool| !world.containers_of(app).iter().any(is_up);
    settle(shared, app, "stopped", is_so).await
}

/// Removes the manifest, and waits until the app is gone. Answers what it said, and nothing.
async fn remove_app(shared: &Shared, app: &AppName) -> Result<(Value, Value), Problem> {
    let noted = apps::remove_manifest(shared, app).await?;
    until_removed(shared, app).await?;
    Ok(noted)
}

/// Waits until nothing is left of an app, and nothing is known of it any more.
pub(in crate::server) async fn until_removed(
    shared: &Shared,
    app: &AppName,
) -> Result<(), Problem> {
    // Once it is forgotten, another one may be called so.
    let is_so = |world: &World, is_known: bool| !is_known && world.containers_of(app).is_empty();
    settle(shared, app, "removed", is_so).await
}

/// Waits until the engine lists it so; it is also said whether the app is still known.
async fn settle(
    shared: &Shared,
    app: &AppName,
    word: &str,
    is_so: impl Fn(&World, bool) -> bool,
) -> Result<(), Problem> {
    let mut wait = Wait::new(shared, app, Instant::now() + PATIENCE);
    loop {
        let is_known = wait.entry().is_some();
        if is_so(look(shared).await?.as_ref(), is_known) {
            return Ok(());
        }
        if !wait.goes_on().await {
            let detail = format!("`{app}` is not {word} yet{}", why(shared, app));
            return Err(late("container.late", detail));
        }
    }
}
