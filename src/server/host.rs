//! Whether this machine is fit: the checks of [`doctor`](crate::doctor), for the page and clients.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};

use super::{Shared, probes, problem::Problem, request::Asked, view};
use crate::doctor::{self, Controller, Group, Place, Report};

/// How long an answer is good for others.
const FRESH: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    /// One group of checks: `host`, `docker`, `gpu`, `network`, `state`, `controller`,
    /// `certificates`. Default: all.
    group: Option<String>,
}

/// What is known beforehand, and what was found last.
#[derive(Default)]
pub(super) struct Desk {
    place: Option<Arc<Place>>,
    last: Mutex<Option<(Instant, Arc<Vec<Report>>)>>,
}

impl Desk {
    pub(super) fn new(place: Option<Arc<Place>>) -> Self {
        Self { place, last: Mutex::default() }
    }
}

/// `GET /api/v1/host`
pub(super) async fn look(
    State(shared): State<Arc<Shared>>,
    Asked(query): Asked<Query>,
) -> Result<Json<Value>, Problem> {
    let only = query.group.as_deref().map(group).transpose()?;
    let reports = latest(&shared).await;
    let shown: Vec<_> =
        reports.iter().filter(|report| only.is_none_or(|only| report.group == only)).collect();
    let worst = shown.iter().map(|report| report.outcome).max();
    let outcome = worst.unwrap_or(doctor::Outcome::Skipped);
    Ok(Json(json!({ "outcome": outcome, "checks": shown })))
}

fn group(text: &str) -> Result<Group, Problem> {
    let found = Group::ALL.into_iter().find(|group| group.name() == text);
    found.ok_or_else(|| Problem::bad_request(format!("there is no group of checks `{text}`")))
}

/// What was found lately, by one look for all that ask meanwhile.
async fn latest(shared: &Shared) -> Arc<Vec<Report>> {
    let mut last = shared.host.last.lock().await;
    if let Some((at, reports)) = last.as_ref()
        && at.elapsed() < FRESH
    {
        return Arc::clone(reports);
    }
    let place = Arc::new(place(shared));
    let reports = Arc::new(doctor::examine(&place, None).await);
    *last = Some((Instant::now(), Arc::clone(&reports)));
    reports
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
    };
    let known = shared.host.place.as_deref().cloned();
    let known = known.unwrap_or_else(|| Place {
        manifests: Some(parts.manifests.clone()),
        workspaces: parts.workspaces.clone(),
        models: parts.models.settings().root.clone(),
        ports: parts.compat.ports,
        ..Place::default()
    });
    Place {
        engine: Some(Arc::clone(&parts.engine)),
        gpus: parts.figures.cards.latest(),
        controller: Some(controller),
        version: parts.version.clone(),
        now: parts.clock.now(),
        ..known
    }
}
