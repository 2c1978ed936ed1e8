//! The page: how everything stands, as one document that needs no script.

use std::sync::Arc;

use askama::Template;
use axum::{
    Json,
    extract::{Extension, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse as _, Response},
};
use serde_json::json;

use super::{
    Shared, access::Client, problem::Problem, reading::severity, request::wants, routes::routes,
    sign_in,
};
use crate::auth::{Identity, Kind, Role};
use crate::manifest::Diagnostic;
use crate::model::{Phase, Timestamp, format_duration};
use crate::record::{Entry, Event, Overview};

/// How many events the page shows.
const EVENTS_SHOWN: usize = 20;

#[derive(Template)]
#[template(path = "page.html", config = "src/server/templates/askama.toml")]
struct Page {
    headline: String,
    version: String,
    now: Timestamp,
    manifests: String,
    alerts: Vec<Alert>,
    apps: Vec<AppRow>,
    diagnostics: Vec<DiagnosticRow>,
    events: Vec<EventRow>,
    source: String,
    source_age: String,
    engine: String,
    visitor: Option<Visitor>,
}

/// Who looks at the page.
struct Visitor {
    name: String,
    role: &'static str,
    /// Whether this one may see who changed what.
    may_see_audit: bool,
    /// What the form for signing out holds; none for who has no session.
    sign_out: Option<String>,
}

struct Alert {
    title: &'static str,
    text: String,
}

struct AppRow {
    name: String,
    origin: Option<String>,
    phase: Phase,
    tone: &'static str,
    reason: String,
    message: String,
    url: Option<String>,
    revision: String,
    since: Timestamp,
    age: String,
}

struct DiagnosticRow {
    severity: &'static str,
    summary: String,
    help: Option<String>,
}

struct EventRow {
    at: Timestamp,
    age: String,
    kind: &'static str,
    app: String,
    reason: String,
    message: String,
}

/// `GET /`: the page for a browser, else what there is.
pub(super) async fn root(
    State(shared): State<Arc<Shared>>,
    Extension(who): Extension<Identity>,
    client: Client,
    headers: HeaderMap,
) -> Response {
    if wants(&headers, "text/html") {
        let sign_out = sign_in::sign_out_token(&shared, &who, &client, &headers);
        return match page(&shared, visitor(who, sign_out)).render() {
            Ok(page) => Html(page).into_response(),
            Err(error) => {
                tracing::error!(%error, "the page could not be made");
                Problem::failed().into_response()
            }
        };
    }
    let endpoints: Vec<_> = routes().map(|(method, path, _)| format!("{method} {path}")).collect();
    let body = json!({
        "message": "Berth is running",
        "service": "berth",
        "version": shared.parts.version,
        "endpoints": endpoints,
    });
    (StatusCode::OK, Json(body)).into_response()
}

/// `GET /page.css`
pub(super) async fn style() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/css; charset=utf-8")];
    (kind, include_str!("templates/page.css")).into_response()
}

/// Who looks; none where nobody signs in.
fn visitor(who: Identity, sign_out: Option<String>) -> Option<Visitor> {
    let role = who.role.filter(|_| who.kind != Kind::Open)?;
    let may_see_audit = Role::Operator <= role;
    Some(Visitor { name: who.name, role: role.word(), may_see_audit, sign_out })
}

fn page(shared: &Shared, visitor: Option<Visitor>) -> Page {
    let parts = &shared.parts;
    let (now, overview) = (parts.clock.now(), parts.record.overview());
    let mut entries = parts.record.entries();
    entries.sort_by_key(|entry| (urgency(entry.status.phase), entry.name.clone()));
    let running = entries.iter().filter(|entry| entry.status.phase == Phase::Running).count();
    let events = parts.record.events(None);
    let latest = events.iter().rev().take(EVENTS_SHOWN);
    Page {
        headline: format!("{running} of {} apps running", entries.len()),
        version: parts.version.clone(),
        now,
        manifests: parts.manifests.display().to_string(),
        alerts: alerts(&overview),
        apps: entries.iter().map(|entry| app_row(entry, now)).collect(),
        diagnostics: overview.diagnostics.iter().map(diagnostic_row).collect(),
        events: latest.map(|event| event_row(event, now)).collect(),
        source_age: match overview.source_read_at {
            Some(at) => format!("read {} ago", format_duration(now.since(at))),
            None => "not read yet".to_owned(),
        },
        engine: match &overview.engine {
            Some(about) => format!("{} (API {})", about.version, about.api_version),
            None => "does not answer".to_owned(),
        },
        source: overview.source,
        visitor,
    }
}

fn alerts(overview: &Overview) -> Vec<Alert> {
    let source = overview.source_error.clone();
    let hold = overview.hold.as_ref().map(crate::state::Hold::message);
    let engine = overview.engine_error.clone();
    let certificate = overview.certificate.as_ref().and_then(|shown| shown.warning.clone());
    [
        ("The manifests can't be read", source),
        ("Removals are held back", hold),
        ("The engine does not answer", engine),
        ("The certificate needs care", certificate),
    ]
    .into_iter()
    .filter_map(|(title, text)| Some(Alert { title, text: text? }))
    .collect()
}

/// Problems first, what was stopped on purpose last.
fn urgency(phase: Phase) -> u8 {
    match phase {
        Phase::Failed => 0,
        Phase::Degraded => 1,
        Phase::Unknown => 2,
        Phase::Uninstalled | Phase::Installing | Phase::Installed => 3,
        Phase::Running => 4,
        Phase::Paused => 5,
    }
}

fn app_row(entry: &Entry, now: Timestamp) -> AppRow {
    let status = &entry.status;
    let origin = entry.app.as_ref().map(|app| &app.origin);
    let is_web = |url: &&String| url.starts_with("http://") || url.starts_with("https://");
    AppRow {
        name: entry.name.to_string(),
        origin: origin.map(|origin| format!("{}:{}", origin.file, origin.line)),
        phase: status.phase,
        tone: match status.phase {
            Phase::Running => "good",
            Phase::Failed | Phase::Degraded => "bad",
            Phase::Paused => "quiet",
            _ => "busy",
        },
        reason: status.reason.to_string(),
        message: status.message.clone(),
        url: status.url.as_ref().filter(is_web).cloned(),
        revision: revision(entry),
        since: status.since,
        age: format_duration(now.since(status.since)),
    }
}

fn revision(entry: &Entry) -> String {
    let status = &entry.status;
    let commit = status.commit.as_deref().map(|commit| commit.get(..7).unwrap_or(commit));
    let shape = status.revision.as_ref().map(crate::model::SpecHash::suffix);
    commit.or(shape).unwrap_or("").to_owned()
}

fn diagnostic_row(diagnostic: &Diagnostic) -> DiagnosticRow {
    DiagnosticRow {
        severity: severity(diagnostic),
        summary: diagnostic.summary(),
        help: diagnostic.help.clone(),
    }
}

fn event_row(event: &Event, now: Timestamp) -> EventRow {
    EventRow {
        at: event.at,
        age: format_duration(now.since(event.at)),
        kind: if event.is_warning { "Warning" } else { "Normal" },
        app: event.app.as_ref().map(ToString::to_string).unwrap_or_default(),
        reason: event.reason.to_string(),
        message: event.message.clone(),
    }
}
