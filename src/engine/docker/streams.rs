//! What flows: events and logs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use super::super::{Error, Hint, LogOptions};
use super::errors::{chain, within};
use super::lines::{Lines, TooLong};
use super::transport::{Listener, SHORT_LIMIT};
use super::{Docker, full, observe};
use crate::model::Timestamp;
use crate::state::{ContainerId, owner_of};

/// What is asked for. Commands that run inside containers are left out: health checks make many.
const ACTIONS: &[&str] = &[
    "create",
    "start",
    "die",
    "destroy",
    "oom",
    "kill",
    "stop",
    "pause",
    "unpause",
    "rename",
    "health_status",
];
/// How long events may be silent before the engine is asked whether it is still there.
const EVENTS_IDLE_LIMIT: Duration = Duration::from_mins(1);
/// The longest event that is taken.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// One event.
#[derive(Default, Deserialize)]
#[serde(default)]
struct EventWire {
    #[serde(rename = "Action")]
    action: Option<String>,
    #[serde(rename = "Actor")]
    actor: Option<ActorWire>,
    time: Option<i64>,
    #[serde(rename = "timeNano")]
    time_nano: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ActorWire {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "Attributes")]
    attributes: Option<BTreeMap<String, String>>,
}

/// The engine's events as hints; the first tells that the engine listens to us.
pub(super) fn events(docker: Docker) -> BoxStream<'static, Result<Hint, Error>> {
    stream::try_unfold(Events::New(docker), |state| async move {
        match state {
            Events::New(docker) => {
                let body = subscribe(&docker).await?;
                let replaced = docker.transport().replaced();
                let live = Live { docker, body, lines: Lines::new(EVENT_BYTES_MAX), replaced };
                Ok(Some((Hint::subscribed(), Events::Live(live))))
            }
            Events::Live(mut live) => {
                let hint = live.next().await?;
                Ok(Some((hint, Events::Live(live))))
            }
        }
    })
    .boxed()
}

enum Events {
    New(Docker),
    Live(Live),
}

struct Live {
    docker: Docker,
    body: Incoming,
    lines: Lines,
    replaced: watch::Receiver<Option<Listener>>,
}

async fn subscribe(docker: &Docker) -> Result<Incoming, Error> {
    let filters = json!({ "type": ["container"], "event": ACTIONS }).to_string();
    let path = format!("/events?filters={}", encode(&filters));
    within("events", SHORT_LIMIT, docker.transport().stream("events", &path)).await
}

impl Live {
    async fn next(&mut self) -> Result<Hint, Error> {
        loop {
            let long = |TooLong| broken("an event is too long");
            while let Some(line) = self.lines.next().map_err(long)? {
                let instance = &self.docker.settings().instance;
                if let Some(hint) = hint_of(instance, &line) {
                    return Ok(hint);
                }
            }
            let piece = next_piece("events", &mut self.body);
            let piece = tokio::select! {
                // What the old one goes on to tell is about nothing of ours.
                _ = self.replaced.changed() => return Err(broken("the engine was replaced")),
                piece = tokio::time::timeout(EVENTS_IDLE_LIMIT, piece) => piece,
            };
            match piece {
                Ok(piece) => match piece? {
                    Some(piece) => self.lines.push(&piece),
                    None => return Err(broken("the engine ended it")),
                },
                // Silence is fine as long as the engine answers (fault D12).
                Err(_) => drop(self.docker.get("ping", SHORT_LIMIT, "/_ping").await?),
            }
        }
    }
}

fn broken(message: &str) -> Error {
    Error::Broken { call: "events", message: message.to_owned() }
}

/// The next piece of an answer's body.
async fn next_piece(call: &'static str, body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(Error::Broken { call, message: chain(&error) }),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Reads an event; one that can't be read is still a reason to look.
fn hint_of(instance: &str, line: &[u8]) -> Option<Hint> {
    if line.trim_ascii().is_empty() {
        return None;
    }
    let wire: EventWire = serde_json::from_slice(line).unwrap_or_default();
    let ActorWire { id, attributes } = wire.actor.unwrap_or_default();
    let labels = attributes.unwrap_or_default();
    let action = wire.action.unwrap_or_else(|| "unreadable".to_owned());
    // A renamed container was ours under its old name.
    let key = if action == "rename" { "oldName" } else { "name" };
    let name = labels.get(key).map_or("", |name| name.trim_start_matches('/'));
    let app = owner_of(instance, name, &labels).app().cloned();
    let millis = wire
        .time_nano
        .map(|nanos| nanos / 1_000_000)
        .or_else(|| wire.time.map(|seconds| seconds.saturating_mul(1000)));
    let is_urgent = app.is_some() && Hint::is_urgent_action(&action);
    let (container, at) = (id.map(ContainerId::new), millis.map(Timestamp::from_millis));
    Some(Hint { app, container, action, at, is_urgent })
}

/// Percent-encodes a query value.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A container's output, both streams merged, as bytes.
pub(super) fn logs(
    docker: Docker,
    id: ContainerId,
    options: LogOptions,
) -> BoxStream<'static, Result<Bytes, Error>> {
    stream::try_unfold(Logs::New(docker, id, options), |state| async move {
        let mut live = match state {
            Logs::New(docker, id, options) => open_log(&docker, &id, &options).await?,
            Logs::Live(live) => live,
        };
        let piece = live.next().await?;
        Ok(piece.map(|piece| (piece, Logs::Live(live))))
    })
    .boxed()
}

enum Logs {
    New(Docker, ContainerId, LogOptions),
    Live(LiveLog),
}

struct LiveLog {
    body: Incoming,
    frames: Option<Frames>,
}

/// Looks whether the container has a terminal, then opens its log (fault D37).
async fn open_log(
    docker: &Docker,
    id: &ContainerId,
    options: &LogOptions,
) -> Result<LiveLog, Error> {
    let inspection = docker.inspection(id).await?;
    let inspection = inspection.ok_or_else(|| Error::NotFound(format!("container {id}")))?;
    let frames = (!observe::has_terminal(&inspection)?).then(|| Frames::of("logs"));
    let path = format!("/containers/{}/logs?{}", full(id)?, log_query(options));
    let opening = docker.transport().stream("logs", &path);
    Ok(LiveLog { body: within("logs", SHORT_LIMIT * 2, opening).await?, frames })
}

fn log_query(options: &LogOptions) -> String {
    let tail = options.tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let mut query = format!(
        "stdout=1&stderr=1&follow={}&timestamps={}&tail={tail}",
        u8::from(options.follow),
        u8::from(options.timestamps)
    );
    if let Some(since) = options.since {
        let millis = since.as_millis();
        let _ = write!(query, "&since={}.{:03}", millis / 1000, millis.rem_euclid(1000));
    }
    query
}

impl LiveLog {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(frames) = &mut self.frames
                && let Some(piece) = frames.take()?
            {
                return Ok(Some(piece));
            }
            let Some(piece) = next_piece("logs", &mut self.body).await? else { return Ok(None) };
            match &mut self.frames {
                Some(frames) => frames.push(&piece),
                None => return Ok(Some(piece)),
            }
        }
    }
}

/// Takes the engine's frames apart: 8 bytes of head, then as many bytes as the head says. The bytes
/// are passed on as they come, so a frame that claims gigabytes costs nothing.
pub(super) struct Frames {
    call: &'static str,
    buffer: BytesMut,
    left: usize,
}

impl Frames {
    pub(super) fn of(call: &'static str) -> Self {
        Self { call, buffer: BytesMut::new(), left: 0 }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn not_framed(&self) -> Error {
        Error::Broken { call: self.call, message: "it is not framed".to_owned() }
    }

    pub(super) fn take(&mut self) -> Result<Option<Bytes>, Error> {
        while self.left == 0 {
            let Some([stream, 0, 0, 0, a, b, c, d]) = self.buffer.first_chunk::<8>().copied()
            else {
                if self.buffer.len() < 8 {
                    return Ok(None);
                }
                return Err(self.not_framed());
            };
            if 2 < stream {
                return Err(self.not_framed());
            }
            self.left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            self.buffer.advance(8);
        }
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let piece = self.buffer.split_to(self.left.min(self.buffer.len()));
        self.left -= piece.len();
        Ok(Some(piece.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(pieces: &[&[u8]]) -> Result<Vec<u8>, Error> {
        let mut frames = Frames::of("logs");
        let mut all = Vec::new();
        for piece in pieces {
            frames.push(piece);
            while let Some(bytes) = frames.take()? {
                all.extend_from_slice(&bytes);
            }
        }
        Ok(all)
    }

    /// Fault D37: heads and bodies split anywhere, empty frames, a frame that claims 4 GiB.
    #[test]
    fn a_framed_log_is_taken_apart_wherever_it_is_cut() {
        let whole = b"\x01\0\0\0\0\0\0\x02a\n\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x01b";
        for at in 0..whole.len() {
            let (first, second) = whole.split_at(at);
            assert_eq!(frames(&[first, second]).unwrap(), b"a\nb");
        }
        assert_eq!(frames(&[b"\x01\0\0\0\xff\xff\xff\xffpart"]).unwrap(), b"part");
        assert!(frames(&[b"plain text"]).is_err());
    }

    #[test]
    fn an_event_of_ours_names_its_app() {
        let labels = r#""dev.berth.instance":"home","dev.berth.app":"chat",
            "dev.berth.generation":"1","dev.berth.spec-hash":"v1:0123456789abcdef""#;
        let event = |action: &str, name: &str| {
            let text = format!(
                r#"{{"Action":"{action}","Actor":{{"Attributes":{{{name},{labels}}}}},"timeNano":5000000}}"#
            );
            hint_of("home", text.as_bytes()).unwrap()
        };
        let die = event("die", r#""name":"chat-01234567""#);
        assert_eq!(die.app.map(|app| app.to_string()).as_deref(), Some("chat"));
        assert!(die.is_urgent);
        assert_eq!(die.at, Some(Timestamp::from_millis(5)));
        assert!(!event("kill", r#""name":"chat-01234567""#).is_urgent);
        // It had our name, and a name is part of being ours (fault D21).
        let renamed = event("rename", r#""name":"x","oldName":"/chat-01234567""#);
        assert!(renamed.app.is_some() && renamed.is_urgent);
        assert!(event("die", r#""name":"copy""#).app.is_none());
    }

    #[test]
    fn an_event_that_can_not_be_read_is_still_a_hint() {
        assert_eq!(hint_of("home", b"{\"Action\":5}\n").unwrap().action, "unreadable");
        assert_eq!(hint_of("home", b"\n"), None);
    }

    #[test]
    fn a_log_query_says_what_was_asked_for() {
        let options = LogOptions {
            follow: true,
            tail: Some(10),
            since: Some(Timestamp::from_millis(1_500)),
            timestamps: false,
        };
        assert_eq!(
            log_query(&options),
            "stdout=1&stderr=1&follow=1&timestamps=0&tail=10&since=1.500"
        );
    }
}
