//! Webhooks of git servers: something was pushed, so look now.
//!
//! The request comes from a machine, perhaps by way of a proxy, so it may name any host; instead
//! it must be signed with a secret of the operator's, and no browser may send it (see `guard`).
//! Whoever sends it learns which apps follow the repository, and nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Shared,
    access::Client,
    actions,
    dry::Dry,
    problem::Problem,
    trail::{self, Heard},
};
use crate::forge::{
    push::{Event, Push},
    signature::Signature,
};
use crate::model::{AppName, Digest};
use crate::record::Command;

/// The largest body that is taken.
const BODY_MAX: usize = 1024 * 1024;
/// How long a client may take to send it.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How many requests a client may make at once, and how long one more takes to be allowed.
const BURST: u32 = 60;
const REFILL: Duration = Duration::from_secs(1);
/// How many clients and deliveries are remembered.
const CLIENTS_MAX: usize = 1024;
const DELIVERIES_MAX: usize = 1024;

/// What is remembered of earlier webhooks.
#[derive(Debug, Default)]
pub(super) struct Gate {
    clients: Mutex<BTreeMap<IpAddr, (u32, Instant)>>,
    deliveries: Mutex<VecDeque<Digest>>,
}

impl Gate {
    /// Whether a client may make one more request.
    fn admits(&self, client: IpAddr, now: Instant) -> bool {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if CLIENTS_MAX <= clients.len() && !clients.contains_key(&client) {
            let oldest = clients.iter().min_by_key(|(_, (_, at))| *at).map(|(client, _)| *client);
            oldest.map(|oldest| clients.remove(&oldest));
        }
        let (left, at) = clients.entry(client).or_insert((BURST, now));
        let periods = now.duration_since(*at).as_secs() / REFILL.as_secs();
        let more = u32::try_from(periods).unwrap_or(u32::MAX);
        if 0 < more {
            (*left, *at) = (left.saturating_add(more).min(BURST), now);
        }
        if *left == 0 {
            return false;
        }
        *left -= 1;
        true
    }

    /// Whether this delivery is new. Its body counts too: an id is not signed.
    fn is_new(&self, id: &str, body: &[u8]) -> bool {
        let key = Digest::of_bytes(format!("{id} {}", Digest::of_bytes(body).as_str()).as_bytes());
        let mut deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        if deliveries.contains(&key) {
            return false;
        }
        if deliveries.len() == DELIVERIES_MAX {
            deliveries.pop_front();
        }
        deliveries.push_back(key);
        true
    }
}

/// `POST /api/v1/hooks/git`
pub(super) async fn git(
    State(shared): State<Arc<Shared>>,
    client: Client,
    Dry(is_dry): Dry,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut heard = Heard::default();
    let asked = (client.address, &headers, is_dry);
    let answered = answer(&shared, asked, body, &mut heard).await;
    let (outcome, response) = match answered {
        Ok((outcome, response)) => (outcome, response),
        Err((outcome, problem)) => (outcome, problem.into_response()),
    };
    if is_dry {
        return response;
    }
    shared.parts.metrics.hook(outcome);
    trail::note_hook(&shared, &client, (heard, outcome), response).await
}

type Outcome<T> = Result<T, (&'static str, Problem)>;

async fn answer(
    shared: &Shared,
    (client, headers, is_dry): (IpAddr, &HeaderMap, bool),
    body: Body,
    heard: &mut Heard,
) -> Outcome<(&'static str, Response)> {
    if !shared.gate.admits(client, Instant::now()) {
        let detail = "this client sends too many webhooks; try again in a moment";
        let status = StatusCode::TOO_MANY_REQUESTS;
        return Err(("limited", Problem::new(status, "hook.limited", "Too many webhooks", detail)));
    }
    let (body, secret) = verified(shared, headers, body).await?;
    heard.secret = Some(secret);
    let header = |name: &str| headers.get(name)?.to_str().ok();
    match Event::find(header) {
        Some(Event::Push) => {}
        Some(Event::Ping) => return Ok(("ping", said("Berth is listening"))),
        Some(Event::Other) => return Ok(("ignored", said("only pushes are looked at"))),
        None => {
            let problem = Problem::bad_request("the request does not say which event it is about");
            return Err(("invalid", problem));
        }
    }
    let ids =
        ["x-forgejo-delivery", "x-gitea-delivery", "x-github-delivery", "x-gitlab-event-uuid"];
    if let Some(id) = ids.into_iter().find_map(header)
        && !is_dry
        && !shared.gate.is_new(id, &body)
    {
        let body = json!({ "queued": [], "sources": [], "message": "this was delivered before" });
        return Ok(("duplicate", (StatusCode::ACCEPTED, Json(body)).into_response()));
    }
    let push = Push::read(&body).map_err(|why| {
        ("invalid", Problem::bad_request(format!("the message can't be read: {why}")))
    })?;
    heard.repository = push.repositories.first().map(ToString::to_string);
    if !is_dry {
        trail::check_ready(shared).await.map_err(|problem| ("failed", problem))?;
    }
    let looked = look(shared, &push, is_dry).await.map_err(|problem| ("failed", problem));
    let (outcome, looked_at, response) = looked?;
    heard.after = json!({ "ref": push.reference, "looked at": looked_at });
    Ok((outcome, response))
}

/// The body, when its signature is good, and the name of the secret that made it.
async fn verified(shared: &Shared, headers: &HeaderMap, body: Body) -> Outcome<(Bytes, String)> {
    let repositories = &shared.parts.repositories;
    let refuse = |outcome, status, code, title, detail: &str| {
        Err((outcome, Problem::new(status, code, title, detail)))
    };
    if repositories.hook_secrets.is_empty() {
        let detail = "no secret for webhooks is set: put one into the secrets folder, name it with `--hook-secret NAME`, and give it to the git server";
        return refuse(
            "unset",
            StatusCode::FORBIDDEN,
            "hook.no-secret",
            "Webhooks are off",
            detail,
        );
    }
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let Some(signature) = Signature::find(header) else {
        let detail = "the request is not signed: set the secret at the git server, with SHA-256";
        return refuse("unsigned", StatusCode::FORBIDDEN, "hook.unsigned", "Not signed", detail);
    };
    let kind = header(header::CONTENT_TYPE.as_str()).unwrap_or("");
    if !kind.split(';').next().unwrap_or("").trim().eq_ignore_ascii_case("application/json") {
        let detail = "set the content type of the webhook to `application/json`";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return refuse("invalid", status, "request.media-type", "Not JSON", detail);
    }
    let body = read(headers, body).await?;
    let mut secrets = Vec::new();
    for name in &repositories.hook_secrets {
        match repositories.secrets.read(name) {
            Ok(secret) => secrets.push((name, secret)),
            Err(why) => tracing::warn!(why, "a webhook's secret can't be read"),
        }
    }
    if secrets.is_empty() {
        let detail = "the secret for webhooks can't be read; Berth's log says why".to_owned();
        let problem = Problem::unavailable("hook.secret", "The secret can't be read", detail);
        return Err(("failed", problem));
    }
    // Each is tried, so that how long it takes does not say which one was good.
    let good: Vec<_> =
        secrets.iter().filter(|(_, secret)| signature.is_good(secret, &body)).collect();
    let Some((name, _)) = good.first() else {
        let detail = "the signature is not of this message with the secret that is set";
        let status = StatusCode::FORBIDDEN;
        return refuse("refused", status, "hook.signature", "Wrong signature", detail);
    };
    Ok((body, (*name).clone()))
}

async fn read(headers: &HeaderMap, body: Body) -> Outcome<Bytes> {
    let too_large = || {
        let detail = format!("a webhook has at most {BODY_MAX} bytes");
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        ("invalid", Problem::new(status, "request.too-large", "The message is too large", detail))
    };
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| (BODY_MAX as u64) < length) {
        return Err(too_large());
    }
    let reading = axum::body::to_bytes(body, BODY_MAX);
    match tokio::time::timeout(BODY_PATIENCE, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let status = StatusCode::REQUEST_TIMEOUT;
            let detail = "the body took too long";
            let title = "The message did not arrive";
            Err(("invalid", Problem::new(status, "request.timeout", title, detail)))
        }
    }
}

/// Has everything looked at that may have something new.
async fn look(
    shared: &Shared,
    push: &Push,
    is_dry: bool,
) -> Result<(&'static str, Value, Response), Problem> {
    let is_concerned = |url: &str, reference: Option<&str>| push.concerns(url, reference);
    let entries = shared.parts.record.entries();
    let apps: Vec<AppName> = entries
        .iter()
        .filter(|entry| {
            let git = entry.app.as_ref().and_then(|app| app.spec.git());
            git.is_some_and(|git| is_concerned(git.url.as_str(), git.reference.as_deref()))
        })
        .map(|entry| entry.name.clone())
        .collect();
    let mut sources = Vec::new();
    for (place, bell) in &shared.parts.repositories.sources {
        if is_concerned(place.url.as_str(), place.reference.as_deref()) {
            if !is_dry {
                bell.ring();
            }
            sources.push(place.to_string());
        }
    }
    if !apps.is_empty() && !is_dry {
        actions::ask(shared, Command::Pushed(apps.clone())).await?;
    }
    let (outcome, message) = match apps.len() + sources.len() {
        0 => ("unmatched", "nothing here follows what was pushed".to_owned()),
        _ => ("queued", format!("looking at {} apps and {} sources", apps.len(), sources.len())),
    };
    let looked_at = json!({ "apps": apps, "sources": sources });
    let mut body = json!({ "queued": apps, "sources": sources, "message": message });
    if is_dry {
        body["dryRun"] = true.into();
        return Ok((outcome, looked_at, Json(body).into_response()));
    }
    Ok((outcome, looked_at, (StatusCode::ACCEPTED, Json(body)).into_response()))
}

fn said(message: &str) -> Response {
    Json(json!({ "message": message })).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_send_a_burst_and_then_one_at_a_time() {
        let (gate, start) = (Gate::default(), Instant::now());
        let one: IpAddr = "127.0.0.1".parse().unwrap();
        let admitted = (0..BURST * 2).filter(|_| gate.admits(one, start)).count();
        assert_eq!(admitted, BURST as usize);
        assert!(gate.admits("127.0.0.2".parse().unwrap(), start), "others are not held up");
        let later = start + REFILL;
        assert!(gate.admits(one, later));
        assert!(!gate.admits(one, later));
        let much_later = start + REFILL * 1_000_000;
        let admitted = (0..BURST * 2).filter(|_| gate.admits(one, much_later)).count();
        assert_eq!(admitted, BURST as usize);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (gate, now) = (Gate::default(), Instant::now());
        for number in 0..5_000_u32 {
            assert!(gate.admits(IpAddr::from(number.to_be_bytes()), now));
            assert!(gate.is_new(&number.to_string(), b"x"));
        }
        assert!(gate.clients.lock().unwrap().len() <= CLIENTS_MAX);
        assert!(gate.deliveries.lock().unwrap().len() <= DELIVERIES_MAX);
        assert!(!gate.is_new("4999", b"x"));
        assert!(gate.is_new("4999", b"another body"));
    }
}
