//! What flows: events and logs.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::watch;

use super::super::{Error, Hint, LogOptions};
use super::errors::{chain, within};
use super::event::hint_of;
use super::frames::Frames;
use super::lines::{Lines, TooLong};
use super::transport::{Listener, SHORT_LIMIT};
use super::{Docker, full, observe};
use crate::state::ContainerId;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

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
