//! Changes, as they go into the audit log; and the log, as it is read.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, Uri},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    access::Client,
    paging,
    problem::{Problem, Told},
    request::{Asked, app_name},
};
use crate::audit::{self, Deed, Who};
use crate::auth::{Identity, Kind};
use crate::model::{AppName, Timestamp};

/// How many refused changes are recorded in a minute: whoever may only look must not be able to
/// push what others did out of the log.
const REFUSALS_MAX: u32 = 30;
/// How many records are answered at once.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;

/// What a handler knows of the change that it made; it goes with the answer.
#[derive(Clone, Debug)]
pub(super) struct Note {
    /// To what.
    pub(super) object: String,
    /// What differs, as it was.
    pub(super) before: Value,
    /// What differs, as it is.
    pub(super) after: Value,
}

/// Goes with the answer of a handler that only showed what a change would be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried;

/// How many webhooks are recorded in a minute: those that had something looked at, and the others.
/// The figures count all of them.
const HOOKS_MAX: [u32; 2] = [120, 10];

/// What was recorded lately, of a kind that others can make as much of as they like.
#[derive(Debug)]
pub(super) struct Refusals {
    /// Which minute it is, and how many there were.
    seen: Mutex<(i64, u32)>,
    max: u32,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { seen: Mutex::default(), max: REFUSALS_MAX }
    }
}

/// The same of webhooks.
pub(super) fn hooks() -> [Refusals; 2] {
    HOOKS_MAX.map(|max| Refusals { max, ..Refusals::default() })
}

impl Refusals {
    fn admits(&self, now: Timestamp) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = now.as_millis() / 60_000;
        if seen.0 != minute {
            *seen = (minute, 0);
        }
        seen.1 += 1;
        seen.1 <= self.max
    }
}

/// A change that is asked for, before it is known how it goes.
pub(super) struct Draft(Deed);

impl Draft {
    /// The change that a request is; none when it changes nothing, or nobody is known to ask.
    pub(super) fn new(
        shared: &Shared,
        who: &Identity,
        client: &Client,
        request: &Request,
        matched: Option<&str>,
    ) -> Option<Self> {
        let is_known = !matches!(who.kind, Kind::Nobody | Kind::Hook);
        let matched = matched?;
        let matched = super::family::bare(matched);
        if request.method().is_safe() || !is_known || super::family::only_asks(matched) {
            return None;
        }
        let (object, before) = object(shared, matched, request.uri().path());
        let action = format!("{} {matched}", request.method());
        let outcome = "asked".to_owned();
        let (who, from) = (person(who), Some(place(client)));
        let deed = Deed { who, from, action, object, before, after: Value::Null, outcome };
        Some(Self(deed))
    }

    /// Records that it was refused, as long as there are not too many of these.
    pub(super) fn refuse(mut self, shared: &Shared, response: &Response) {
        let now = shared.parts.clock.now();
        if !shared.refusals.admits(now) {
            return;
        }
        self.0.outcome = outcome(response);
        self.0.before = Value::Null;
        if let Some(log) = shared.door.access.audit.clone() {
            drop(tokio::task::spawn_blocking(move || {
                if let Err(error) = log.append(&self.0, now) {
                    tracing::error!(%error, "a refusal was not recorded");
                }
            }));
        }
    }

    /// Records how it went, before the answer is given.
    pub(super) async fn record(mut self, shared: &Shared, mut response: Response) -> Response {
        if response.extensions_mut().remove::<Tried>().is_some() {
            return response;
        }
        self.0.outcome = outcome(&response);
        if let Some(note) = response.extensions_mut().remove::<Note>() {
            (self.0.object, self.0.before, self.0.after) = (note.object, note.before, note.after);
        }
        match write(shared, self.0).await {
            Ok(()) => response,
            Err(_) if shared.door.is_open() => response,
            Err(problem) => problem.into_response(),
        }
    }
}

/// Who it is, as the log names it.
fn person(who: &Identity) -> Who {
    let kind = serde_json::to_value(who.kind).unwrap_or_default();
    let kind = kind.as_str().unwrap_or_default().to_owned();
    Who { kind, name: who.name.clone(), role: who.role.map(|role| role.to_string()) }
}

fn place(client: &Client) -> String {
    match client.user {
        Some(_) => "this machine".to_owned(),
        None => client.address.to_string(),
    }
}

/// What a path is about; an app with how it stood.
fn object(shared: &Shared, matched: &str, path: &str) -> (String, Value) {
    const PREFIXES: [&str; 2] = ["/api/v1/apps/", "/ui/apps/"];
    let prefix = PREFIXES.iter().find(|prefix| matched.starts_with(&format!("{prefix}{{name}}")));
    let name = prefix.and_then(|prefix| path.strip_prefix(*prefix)?.split('/').next());
    let name = name.and_then(|name| AppName::new(name).ok());
    let Some(name) = name else { return (path.to_owned(), Value::Null) };
    let entry = shared.parts.record.entry(&name);
    let before = entry.map_or(
        Value::Null,
        |entry| json!({ "phase": entry.status.phase.to_string(), "generation": entry.generation }),
    );
    (format!("app/{name}"), before)
}

fn outcome(response: &Response) -> String {
    match response.extensions().get::<Told>() {
        Some(told) => told.code.to_owned(),
        None if response.status() < StatusCode::BAD_REQUEST => "done".to_owned(),
        None => response.status().as_str().to_owned(),
    }
}

/// Whether a change could be recorded.
pub(super) async fn check_ready(shared: &Shared) -> Result<(), Problem> {
    let Some(log) = shared.door.access.audit.clone() else { return Ok(()) };
    let ready = tokio::task::spawn_blocking(move || log.check_ready()).await;
    match ready {
        Ok(Ok(())) => Ok(()),
        // Where nobody signs in, nobody is known either: a full disk must not keep apps running.
        Ok(Err(error)) if shared.door.is_open() => {
            tracing::error!(%error, "the audit log can't be written: a change is not recorded");
            Ok(())
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the audit log can't be written: changes are refused");
            let detail = "the audit log can't be written, so nothing is changed".to_owned();
            Err(Problem::unavailable("audit.unwritable", "Not recorded, not changed", detail))
        }
        Err(_) => Err(Problem::failed()),
    }
}

/// Records a sign-in or sign-out.
pub(super) async fn note_session(
    shared: &Shared,
    who: &Identity,
    client: &Client,
    action: &str,
) -> Result<(), Problem> {
    let deed = Deed {
        who: person(who),
        from: Some(place(client)),
        action: action.to_owned(),
        object: "session".to_owned(),
        before: Value::Null,
        after: Value::Null,
        outcome: "done".to_owned(),
    };
    write(shared, deed).await
}

/// Records how something ended that somebody began.
pub(super) async fn note_end(
    shared: &Shared,
    (who, client): (&Identity, &Client),
    action: &str,
    (object, after): (String, Value),
    outcome: &str,
) {
    let deed = Deed {
        who: person(who),
        from: Some(place(client)),
        action: action.to_owned(),
        object,
        before: Value::Null,
        after,
        outcome: outcome.to_owned(),
    };
    // There is nobody to be told; the log has it.
    let _ = write(shared, deed).await;
}

/// Writes a record to the disk.
async fn write(shared: &Shared, deed: Deed) -> Result<(), Problem> {
    let Some(log) = shared.door.access.audit.clone() else { return Ok(()) };
    let now = shared.parts.clock.now();
    let (action, object) = (deed.action.clone(), deed.object.clone());
    let written = tokio::task::spawn_blocking(move || log.append(&deed, now)).await;
    match written {
        Ok(Ok((seq, hash))) => {
            // In another place than the log: what is here can't be rewritten together with it.
            tracing::info!(seq, hash, action, object, "recorded");
            Ok(())
        }
        Ok(Err(error)) => {
            tracing::error!(%error, action, object, "a change was made and could not be recorded");
            let detail = "it may have been done, but the audit log could not be written".to_owned();
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Err(Problem::new(status, "audit.failed", "Not recorded", detail))
        }
        Err(_) => Err(Problem::failed()),
    }
}

/// Records what was sent to an address that was signed for somebody, before it is answered.
pub(super) async fn note_signed(
    shared: &Shared,
    (client, by): (&Client, &str),
    action: &str,
    (object, after): (String, Value),
) -> Result<(), Problem> {
    let deed = Deed {
        who: Who { kind: "link".to_owned(), name: by.to_owned(), role: None },
        from: Some(place(client)),
        action: action.to_owned(),
        object,
        before: Value::Null,
        after,
        outcome: "done".to_owned(),
    };
    match write(shared, deed).await {
        Err(problem) if !shared.door.is_open() => Err(problem),
        _ => Ok(()),
    }
}

/// What is known of a webhook.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The secret that it is signed with.
    pub(super) secret: Option<String>,
    /// The repository that it is about.
    pub(super) repository: Option<String>,
    /// What was pushed, and what is looked at.
    pub(super) after: Value,
}

/// Records a webhook, as long as there are not too many. What had something looked at is recorded
/// before the answer is given.
pub(super) async fn note_hook(
    shared: &Shared,
    client: &Client,
    (heard, outcome): (Heard, &'static str),
    response: Response,
) -> Response {
    let has_effect = outcome == "queued";
    if !shared.hooks[usize::from(!has_effect)].admits(shared.parts.clock.now()) {
        return response;
    }
    let name = heard.secret.unwrap_or_else(|| "unsigned".to_owned());
    let object = heard.repository.map_or("repository".to_owned(), |at| format!("repository/{at}"));
    let deed = Deed {
        who: Who { kind: "hook".to_owned(), name, role: None },
        from: Some(place(client)),
        action: "POST /api/v1/hooks/git".to_owned(),
        object,
        before: Value::Null,
        after: heard.after,
        outcome: outcome.to_owned(),
    };
    match write(shared, deed).await {
        Err(problem) if has_effect && !shared.door.is_open() => problem.into_response(),
        _ => response,
    }
}

/// What the query may say.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// Only those before this one.
    before: Option<u64>,
    /// How many, from 1 to 1000. Default: 100.
    limit: Option<usize>,
    /// Only those of this app.
    app: Option<String>,
}

/// `GET /api/v1/audit`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Asked(query): Asked<Query>,
    uri: Uri,
) -> Result<Response, Problem> {
    let app = query.app.as_deref().map(app_name).transpose()?;
    let wanted = app.map(|app| format!("app/{app}"));
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let folder = shared.door.access.state_dir.clone();
    if shared.door.access.audit.is_none() {
        return Ok(Json(json!({ "items": [], "next": null })).into_response());
    }
    let read = move || {
        audit::page(&folder, query.before, limit, |record| {
            wanted.as_ref().is_none_or(|wanted| record.deed.object == *wanted)
        })
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|_| Problem::failed())?;
    let (items, has_more) = read.map_err(|error| {
        tracing::error!(%error, "the audit log can't be read");
        Problem::failed()
    })?;
    let next = items.last().map(|record| record.seq).filter(|_| has_more);
    let link = paging::link_with(&uri, "before", next.map(|seq| seq.to_string()).as_deref());
    Ok((link, Json(json!({ "items": items, "next": next }))).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_recorded_so_often_in_a_minute() {
        let (refusals, now) = (Refusals::default(), Timestamp::from_millis(120_000));
        let admitted = (0..100).filter(|_| refusals.admits(now)).count();
        assert_eq!(admitted, REFUSALS_MAX as usize);
        assert!(refusals.admits(now.moved(60_000)));
    }
}
