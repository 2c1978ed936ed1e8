//! Terminals: commands in the containers of apps, talked with through a websocket.
//!
//! Somebody asks for one by a `POST`, which passes what every change passes — role, origin, audit
//! log — and gets a ticket. A websocket is opened with the ticket; browsers can't send headers of
//! their own with it, and need none (docs/adr/0014).
//!
//! # Guarantees
//! - A ticket is good once, for half a minute, for the one that asked for it.
//! - Only the running container of an app of this Berth is got into, with that container's rights.
//! - There are so many terminals and no more; one that nobody uses ends, and so does one whose
//!   owner may not have it any more; all end with Berth, at once.
//! - That one began and how it ended are both recorded.

mod channel;
mod hello;
mod talk;
mod tickets;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{
    Settings, Shared,
    access::Client,
    problem::Problem,
    request::{self, Named},
    trail::Note,
    turn::Turn,
};
use crate::auth::Identity;
use crate::engine::terminal::Asked;
use crate::model::{AppName, Digest};
use crate::state::{ContainerId, ContainerState};
pub(super) use channel::PROTOCOL;
use talk::Talk;
use tickets::{LIFE, Ticket, Tickets};

/// The words on the line, for the command line.
pub(super) mod line {
    pub(in crate::server) use super::channel::{
        CLOSE, ERRORS, INPUT, OUTPUT, PROTOCOL, RESIZE, STATUS, said,
    };
    pub(in crate::server) use super::hello::{accepts, key};
}

/// The longest command: so many words, and so many bytes in all of them.
const WORDS_MAX: usize = 512;
const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// The kind of a request for a terminal.
const JSON: &str = "application/json";

/// The first shell that is there.
const SHELL: &str = "if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh";

/// What all terminals share.
pub(super) struct Terminals {
    tickets: Tickets,
    places: Arc<Semaphore>,
    max: usize,
    /// How long one may be silent.
    idle: Duration,
}

impl Terminals {
    pub(super) fn new(settings: &Settings) -> Self {
        let max = settings.terminals_max;
        let places = Arc::new(Semaphore::new(max));
        Self { tickets: Tickets::default(), places, max, idle: settings.terminal_idle }
    }

    /// Why there are none here, if there are none.
    pub(super) fn refusal(&self) -> Option<Problem> {
        let detail = "terminals are switched off here: `--terminals-max 0`";
        let status = StatusCode::FORBIDDEN;
        (self.max == 0).then(|| Problem::new(status, "terminal.off", "No terminals", detail))
    }

    /// How long one may be silent.
    pub(super) fn idle(&self) -> Duration {
        self.idle
    }

    fn full(&self) -> Problem {
        let detail =
            format!("{} terminals are open, as many as may be (`--terminals-max`)", self.max);
        Problem::unavailable("terminal.full", "Too many terminals", detail)
    }
}

/// What is to be run, and how.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TerminalOrder")]
pub(super) struct Order {
    /// The command, word by word. Default: `bash`, else `sh`.
    #[serde(default)]
    command: Vec<String>,
    /// Whether it gets a terminal. Default: true.
    tty: Option<bool>,
    /// Whether it can be written to. Default: true.
    stdin: Option<bool>,
    /// How many columns its terminal has.
    cols: Option<u16>,
    /// How many rows its terminal has.
    rows: Option<u16>,
}

impl Order {
    async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Problem> {
        let bytes = request::bytes(body).await?;
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        if request::kind(headers) != JSON {
            let detail = "send the command with `Content-Type: application/json`";
            return Err(request::wrong_kind("Not a command", detail));
        }
        let wrong = |error: serde_json::Error| {
            Problem::bad_request(format!(
                "send nothing, or `{{\"command\": [\"ls\", \"-l\"], \"tty\": true}}`: {error}"
            ))
        };
        serde_json::from_slice(&bytes).map_err(wrong)
    }

    /// What the engine is asked for.
    fn asked(self) -> Result<Asked, Problem> {
        let has_terminal = self.tty.unwrap_or(true);
        let size = match (self.cols, self.rows) {
            (None, None) => None,
            (Some(_), Some(_)) if !has_terminal => {
                return Err(Problem::bad_request("without a `tty` there are no `cols` and `rows`"));
            }
            (Some(columns), Some(rows)) => {
                Some(channel::size(columns, rows).map_err(Problem::bad_request)?)
            }
            _ => return Err(Problem::bad_request("`cols` and `rows` are said together")),
        };
        let bytes: usize = self.command.iter().map(String::len).sum();
        if WORDS_MAX < self.command.len() || COMMAND_BYTES_MAX < bytes {
            let detail =
                format!("a command has at most {WORDS_MAX} words and {COMMAND_BYTES_MAX} bytes");
            return Err(Problem::bad_request(detail));
        }
        let is_odd = self.command.iter().any(|word| word.contains('\0'));
        if is_odd || self.command.first().is_some_and(String::is_empty) {
            return Err(Problem::bad_request(
                "the command can't be run: its name is empty, or a word has a zero byte",
            ));
        }
        let command = if self.command.is_empty() {
            ["sh", "-c", SHELL].map(ToOwned::to_owned).to_vec()
        } else {
            self.command
        };
        let mark = crate::auth::random_text(16).map_err(|_| Problem::failed())?;
        let has_input = self.stdin.unwrap_or(true);
        Ok(Asked { command, has_terminal, has_input, size, mark })
    }
}

/// The container of an app that can be got into.
pub(super) async fn container(shared: &Shared, app: &AppName) -> Result<ContainerId, Problem> {
    let entry = shared.parts.record.entry(app).ok_or_else(|| Problem::no_app(app.as_str()))?;
    let world = shared.parts.engine.observe().await;
    let world = world.map_err(|error| Problem::engine(app, &error))?;
    let mut running = world.containers_of(app);
    running.retain(|container| container.state == ContainerState::Running);
    let current = entry.status.container_id.as_deref();
    let found = running.iter().find(|container| Some(container.id.as_str()) == current);
    let found = found.or(running.last()).map(|container| container.id.clone());
    found.ok_or_else(|| {
        let detail = format!("`{app}` has no container that runs: it is {}", entry.status.phase);
        Problem::conflict("app.not-running", "It does not run", detail)
    })
}

/// `POST /api/v1/apps/{name}/terminal`
pub(super) async fn ask(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
    Extension(who): Extension<Identity>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let terminals = &shared.terminals;
    if let Some(refusal) = terminals.refusal() {
        return Err(refusal);
    }
    let order = Order::read(&headers, body).await?;
    let is_shell = order.command.is_empty();
    let asked = order.asked()?;
    if terminals.places.available_permits() == 0 {
        return Err(terminals.full());
    }
    let container = container(&shared, &name).await?;
    let words = if is_shell { json!("shell") } else { json!(asked.command) };
    let told = json!({ "command": words, "tty": asked.has_terminal });
    let ticket = Ticket { who, client, app: name.clone(), container: container.clone(), asked };
    let id = terminals.tickets.put(ticket, shared.parts.clock.now())?;
    let path = format!("/api/v1/terminals/{id}");
    let answer = json!({
        "id": id,
        "path": path,
        "protocol": PROTOCOL,
        "app": name.as_str(),
        "container": container.as_str(),
        "expiresSeconds": LIFE.as_secs(),
        "idleSeconds": terminals.idle.as_secs(),
    });
    let head = [(header::LOCATION, path)];
    let mut response = (StatusCode::CREATED, head, Json(answer)).into_response();
    let mut after = told;
    after["terminal"] = json!(short(&id));
    let note = Note { object: format!("app/{name}"), before: Value::Null, after };
    response.extensions_mut().insert(note);
    Ok(response)
}

/// What names a terminal in the audit log: it opens nothing.
fn short(id: &str) -> String {
    Digest::of_bytes(id.as_bytes()).short(12).to_owned()
}

/// `GET /api/v1/terminals/{id}`
pub(super) async fn open(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Extension(who): Extension<Identity>,
    request: Request,
) -> Result<Response, Problem> {
    let turn = request.extensions().get::<Turn>().cloned();
    let greeting = hello::greeting(request.headers(), turn.is_some())?;
    let Some(turn) = turn else { return Err(Problem::failed()) };
    let terminals = &shared.terminals;
    let Ok(place) = Arc::clone(&terminals.places).try_acquire_owned() else {
        return Err(terminals.refusal().unwrap_or_else(|| terminals.full()));
    };
    let ticket = terminals.tickets.take(&id, &who, shared.parts.clock.now());
    let ticket = ticket.ok_or_else(|| {
        let detail = format!(
            "a terminal is opened once, within {} s, by the one that asked for it",
            LIFE.as_secs()
        );
        Problem::not_there("terminal.no-ticket", detail)
    })?;
    let talk = Talk::new(Arc::clone(&shared), ticket, short(&id), place);
    turn.give(move |line, read| talk.run(line, read));
    Ok(greeting)
}
