//! Whether this machine is fit: the checks of [`doctor`](crate::doctor), for the page and clients.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Shared, probes, problem::Problem, request::Asked, view};
use crate::doctor::{self, Controller, Group, Host, Place, Report};
use crate::model::{Source, Timestamp};

/// How long an answer is good for others.
const FRESH: Duration = Duration::from_secs(30);
/// How long it is for those that want a fresh one: they can't have the machine looked at for ever.
const FRESHER: Duration = Duration::from_secs(3);

/// What is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    /// One group of checks: `host`, `docker`, `gpu`, `network`, `state`, `controller`,
    /// `certificates`. Default: all.
    group: Option<String>,
    /// Whether to look now, and not to answer what was found up to 30 s ago.
    fresh: bool,
}

/// What is known beforehand, and what was found last.
#[derive(Default)]
pub(super) struct Desk {
    place: Option<Arc<Place>>,
    last: Mutex<Option<Looked>>,
    /// Held by who looks.
    turn: tokio::sync::Mutex<()>,
}

/// What was found, and when.
#[derive(Clone)]
pub(super) struct Looked {
    since: Instant,
    /// The time.
    pub(super) at: Timestamp,
    /// What was found.
    pub(super) reports: Arc<Vec<Report>>,
}

impl Desk {
    pub(super) fn new(place: Option<Arc<Place>>) -> Self {
        Self { place, ..Self::default() }
    }

    fn last(&self) -> Option<Looked> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// `GET /api/v1/host`
pub(super) async fn look(
    State(shared): State<Arc<Shared>>,
    Asked(query): Asked<Query>,
) -> Result<Json<Value>, Problem> {
    let only = query.group.as_deref().map(group).transpose()?;
    let looked = latest(&shared, if query.fresh { FRESHER } else { FRESH }).await;
    let shown: Vec<_> = looked
        .reports
        .iter()
        .filter(|report| only.is_none_or(|only| report.group == only))
        .collect();
    let worst = shown.iter().map(|report| report.outcome).max();
    let outcome = worst.unwrap_or(doctor::Outcome::Skipped);
    Ok(Json(json!({ "outcome": outcome, "at": looked.at.to_string(), "checks": shown })))
}

fn group(text: &str) -> Result<Group, Problem> {
    let found = Group::ALL.into_iter().find(|group| group.name() == text);
    found.ok_or_else(|| Problem::bad_request(format!("there is no group of checks `{text}`")))
}

/// What was found at most so long ago, by one look for all that ask meanwhile.
async fn latest(shared: &Shared, fresh: Duration) -> Looked {
    let is_fresh = |looked: &Looked| looked.since.elapsed() < fresh;
    if let Some(looked) = shared.host.last().filter(is_fresh) {
        return looked;
    }
    let _turn = shared.host.turn.lock().await;
    if let Some(looked) = shared.host.last().filter(is_fresh) {
        return looked;
    }
    let place = Arc::new(place(shared));
    let at = place.now;
    let reports = Arc::new(doctor::examine(&place, None).await);
    let looked = Looked { since: Instant::now(), at, reports };
    let mut last = shared.host.last.lock().unwrap_or_else(PoisonError::into_inner);
    *last = Some(looked.clone());
    looked
}

/// What was found last, for who can't wait: when it is old, somebody begins to look. None when
/// nobody has looked yet and it takes longer than `patience`.
pub(super) async fn glance(shared: &Arc<Shared>, patience: Duration) -> Option<Looked> {
    let last = shared.host.last();
    if last.as_ref().is_some_and(|looked| looked.since.elapsed() < FRESH) {
        return last;
    }
    if last.is_some() && shared.host.turn.try_lock().is_err() {
        return last;
    }
    let looking = tokio::spawn({
        let shared = Arc::clone(shared);
        async move {
            tokio::select! {
                looked = latest(&shared, FRESH) => Some(looked),
                () = shared.stop.cancelled() => None,
            }
        }
    });
    if last.is_some() {
        return last;
    }
    tokio::time::timeout(patience, looking).await.ok()?.ok()?
}

/// What is looked at: what was said beforehand, with what is known by now.
fn place(shared: &Shared) -> Place {
    let parts = &shared.parts;
    let overview = parts.record.overview();
    let entries = parts.record.entries();
    let differing = entries.iter().filter(|entry| view::has_differences(&entry.plan)).count();
    let mistakes = overview.diagnostics.iter().filter(|found| found.is_error()).count();
    let controller = Controller {
        version: parts.version.clone(),
        reasons: probes::reasons(shared),
        differing,
        mistakes,
        certificate: overview.certificate.as_ref().map(|shown| shown.expires),
        read_at: overview.source_read_at,
        unreadable: overview.source_error.clone(),
        queue: Some(parts.metrics.waiting()),
    };
    let known = shared.host.place.as_deref().cloned();
    let known = known.unwrap_or_else(|| Place {
        manifests: Some(parts.manifests.clone()),
        workspaces: parts.workspaces.clone(),
        models: parts.models.settings().root.clone(),
        ports: parts.compat.ports,
        ..Place::default()
    });
    // By now manifests may name others than at the start, those of repositories too.
    let (mut git_hosts, mut images) = (known.git_hosts.clone(), known.images.clone());
    for app in entries.iter().filter_map(|entry| entry.app.as_ref()) {
        match &app.spec.source {
            Source::Git(git) => git_hosts.extend(Host::of_repository(git.url.as_str())),
            Source::Image { reference, .. } => images.push(reference.as_str().to_owned()),
        }
    }
    git_hosts.sort();
    git_hosts.dedup();
    Place {
        git_hosts,
        images,
        engine: Some(Arc::clone(&parts.engine)),
        gpus: parts.figures.cards.latest(),
        controller: Some(controller),
        version: parts.version.clone(),
        now: parts.clock.now(),
        ..known
    }
}
