//! The page: how everything stands, for people, as documents that need no script.
//!
//! # Guarantees
//! - Every screen is made here, complete; the scripts only keep it fresh, by asking for the same
//!   documents again and changing what differs.
//! - What is changed goes through the functions of the API: the page has no logic of its own.
//! - Every text from elsewhere is escaped, nothing is inline, and only the page's own scripts run
//!   (fault H06).
//! - Values of the environment are shown nowhere, manifests included (fault H10).

mod act;
mod ansi;
mod app;
mod apps;
mod assets;
mod audit;
mod care;
mod chart;
mod confirm;
mod containers;
mod differ;
mod events;
mod gpus;
mod grouping;
mod history;
mod host;
mod live;
mod log;
mod manifest;
mod metrics;
mod model;
mod models;
mod plan;
mod register;
mod scan;
mod settings;
mod terminal;
mod words;

use std::{fmt::Display, sync::Arc};

use askama::Template;
use axum::{
    body::Body,
    extract::{Form, FromRequest as _, FromRequestParts},
    http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header, request::Parts},
    response::{Html, IntoResponse, Redirect, Response},
};
use serde_json::Value;

pub(super) use act::{install, rebuild, reconcile, remove, restart, start, stop, undo};
pub(super) use app::overview;
pub(super) use apps::root;
pub(super) use assets::asset;
pub(super) use audit::audit;
pub(super) use confirm::{ask as confirm, release};
pub(super) use containers::change as container;
pub(super) use events::events;
pub(super) use gpus::gpus;
pub(super) use history::history;
pub(super) use host::host;
pub(super) use live::live;
pub(super) use log::{lines, logs};
pub(super) use manifest::{manifest, save};
pub(super) use metrics::metrics;
pub(super) use model::model;
pub(super) use models::{models, remove as remove_model, upload as upload_model};
pub(super) use plan::{all as plans, one as plan};
pub(super) use register::{create, register};
pub(super) use settings::{revoke, settings, token};
pub(super) use terminal::terminal;

use super::{Shared, access::Client, problem::Problem, request, sign_in};
use crate::auth::{Identity, Kind, Role};
use crate::model::Timestamp;
use crate::state::Hold;

pub(super) use assets::TAG;

/// What a document of the page may do in a browser: run its own scripts, and ask its own server.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Who looks at the page, and at what.
pub(super) struct Look {
    shared: Arc<Shared>,
    who: Identity,
    client: Client,
    headers: HeaderMap,
    uri: Uri,
    /// Whether the screen answers a form: it is not to be asked for again.
    is_answer: bool,
    now: Timestamp,
}

impl FromRequestParts<Arc<Shared>> for Look {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        Ok(Self {
            shared: Arc::clone(shared),
            who: parts.extensions.get().cloned().ok_or_else(Problem::failed)?,
            client: parts.extensions.get().copied().ok_or_else(Problem::failed)?,
            headers: parts.headers.clone(),
            uri: parts.uri.clone(),
            is_answer: !parts.method.is_safe(),
            now: shared.parts.clock.now(),
        })
    }
}

/// What is around every screen.
struct Shell {
    title: String,
    here: &'static str,
    tag: &'static str,
    version: String,
    now: Timestamp,
    /// How many apps need somebody.
    problems: usize,
    alerts: Vec<Alert>,
    notice: Option<String>,
    is_answer: bool,
    visitor: Option<Visitor>,
    may_operate: bool,
}

/// Who looks at the page.
struct Visitor {
    name: String,
    role: &'static str,
    /// What the form for signing out holds; none for who has no session.
    sign_out: Option<String>,
}

/// Something about all of Berth that a person must see to.
struct Alert {
    title: &'static str,
    text: String,
    /// What the button that settles it says.
    release: Option<&'static str>,
}

impl Look {
    fn may(&self, role: Role) -> bool {
        Some(role) <= self.who.role && self.who.scopes.is_empty()
    }

    /// What is around a screen. `here` is its place in the navigation.
    fn shell(&self, title: impl Into<String>, here: &'static str) -> Shell {
        let parts = &self.shared.parts;
        let sign_out =
            sign_in::sign_out_token(&self.shared, &self.who, &self.client, &self.headers);
        let role = self.who.role.filter(|_| self.who.kind != Kind::Open);
        let name = self.who.name.clone();
        let entries = parts.record.entries();
        Shell {
            title: title.into(),
            here,
            tag: &TAG,
            version: parts.version.clone(),
            now: self.now,
            problems: entries.iter().filter(|entry| words::needs_somebody(entry)).count(),
            alerts: self.alerts(),
            notice: self.notice(),
            is_answer: self.is_answer,
            visitor: role.map(|role| Visitor { name, role: role.word(), sign_out }),
            may_operate: self.may(Role::Operator),
        }
    }

    fn alerts(&self) -> Vec<Alert> {
        let overview = self.shared.parts.record.overview();
        let brake = matches!(overview.hold, Some(Hold::Brake { .. }));
        let release = (brake && self.may(Role::Admin)).then_some("Let them pass");
        let certificate = overview.certificate.as_ref().and_then(|shown| shown.warning.clone());
        let all = [
            ("The manifests can't be read", overview.source_error.clone(), None),
            ("Removals are held back", overview.hold.as_ref().map(Hold::message), release),
            ("The engine does not answer", overview.engine_error.clone(), None),
            ("The certificate needs care", certificate, None),
        ];
        let some = all.into_iter();
        some.filter_map(|(title, text, release)| Some(Alert { title, text: text?, release }))
            .collect()
    }

    /// What a change that went before says. The words are ours; an address can't bring its own.
    fn notice(&self) -> Option<String> {
        let done = self.asked("done")?;
        let (_, words) = words::DONE.iter().find(|(code, _)| *code == done)?;
        Some((*words).to_owned())
    }

    /// A parameter of the address.
    fn asked(&self, name: &str) -> Option<String> {
        let pairs =
            self.uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('='));
        let text = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()?;
        let text = text.replace('+', " ");
        let text = percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned();
        (!text.is_empty()).then_some(text)
    }

    /// A problem, as a screen of its own.
    fn problem(&self, problem: &Problem) -> Response {
        let shell = self.shell(problem.title(), "");
        let (code, detail) = (problem.code(), problem.detail().to_owned());
        let errors = mistakes(problem);
        let mut response = show(&Wrong { shell, code, detail, errors });
        *response.status_mut() = problem.status();
        response.extensions_mut().insert(problem.told());
        response
    }

    fn answer(&self, answer: Result<Response, Problem>) -> Response {
        answer.unwrap_or_else(|problem| self.problem(&problem))
    }
}

/// Anything that went wrong.
#[derive(Template)]
#[template(path = "wrong.html", config = "src/server/templates/askama.toml")]
struct Wrong {
    shell: Shell,
    code: &'static str,
    detail: String,
    errors: Vec<Mistake>,
}

/// A mistake in what was sent.
struct Mistake {
    field: String,
    place: String,
    message: String,
    help: String,
}

/// The mistakes that a problem lists.
fn mistakes(problem: &Problem) -> Vec<Mistake> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = problem.more("errors").and_then(Value::as_array).into_iter().flatten();
    all.map(|one| {
        let line = one["line"].as_u64().unwrap_or(0);
        let column = one["column"].as_u64().unwrap_or(0);
        let at = if line == 0 { String::new() } else { format!("line {line}, column {column}") };
        let place = match text(&one["path"]) {
            path if path.is_empty() => at,
            path if at.is_empty() => path,
            path => format!("{path}, {at}"),
        };
        let (field, message) = (text(&one["field"]), text(&one["message"]));
        Mistake { field, place, message, help: text(&one["help"]) }
    })
    .collect()
}

/// A screen.
fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(page) => {
            let policy = (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
            ([policy], Html(page)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the page could not be made");
            Problem::failed().into_response()
        }
    }
}

/// Goes to where what was done shows. What is to be recorded of it goes along.
fn onward(mut done: Response, to: impl Display) -> Response {
    let mut response = Redirect::to(&to.to_string()).into_response();
    if let Some(note) = done.extensions_mut().remove::<super::trail::Note>() {
        response.extensions_mut().insert(note);
    }
    response
}

/// The fields of a form that the page sent.
struct Fields(Vec<(String, String)>);

impl Fields {
    async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let bytes = request::bytes(body).await?;
        let wrong = |why: String| Problem::bad_request(format!("the form can't be read: {why}"));
        let mut asked = Request::builder().method("POST");
        if let Some(kind) = headers.get(header::CONTENT_TYPE) {
            asked = asked.header(header::CONTENT_TYPE, kind);
        }
        let asked = asked.body(Body::from(bytes)).map_err(|error| wrong(error.to_string()))?;
        let form = Form::<Vec<(String, String)>>::from_request(asked, &()).await;
        form.map(|Form(fields)| Self(fields)).map_err(|error| wrong(error.body_text()))
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }
}

/// The headers of a request that carries `kind`, for a function of the API.
fn carrying(kind: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))])
}

/// What a function of the API answered, as text.
async fn body_of(response: Response) -> String {
    /// More than any screen shows.
    const MAX: usize = 20 * 1024 * 1024;
    let bytes = axum::body::to_bytes(response.into_body(), MAX).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A form that makes no sense.
fn unclear(detail: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "request.invalid", "Not understood", detail)
}
