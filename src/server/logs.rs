//! What an app writes, and what its build wrote.

mod build;
mod events;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{
    Stream, StreamExt as _, future,
    stream::{self, BoxStream},
};
use serde::Deserialize;

use super::{
    Shared,
    problem::Problem,
    request::{Asked, Named, flag, wants},
    stream::slot,
};
use crate::engine::{Error, LogOptions};
use crate::model::{AppName, Timestamp, parse_duration};
use crate::secret::{Veil, Veiled};
use crate::state::ContainerId;
use build::{FileId, Reader, Start};
use events::{Mark, Wanted};

/// How many lines are shown when nothing is said.
const TAIL_USUAL: u64 = 1000;
/// How many bytes are sent of a log that is not followed (fault H14).
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What is said where it was cut.
const OVER: &str = "\n[berth: the log goes on; ask for less of it with `tail` or `since`]\n";
/// What a client asks for that wants events.
const EVENTS: &str = "text/event-stream";

/// What comes of a log.
#[derive(Debug)]
enum Taken {
    /// Bytes of it.
    Part(Bytes),
    /// From here on it is this file, from this byte on.
    Begins(FileId, u64),
    /// Something is missing here, or is another one.
    Gap(&'static str),
    /// It can't be read any more.
    Failed(String),
}

/// What the query may say.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// Whether it goes on with what comes.
    #[schemars(with = "bool")]
    follow: Option<String>,
    /// How many of the last lines, or `all`. Default: 1000.
    tail: Option<String>,
    /// From when on: a time, how long ago, or the id of an event.
    since: Option<String>,
    /// Which log: the app's (default) or its last build's.
    #[schemars(extend("enum" = ["app", "build"]))]
    source: Option<String>,
    /// Whether of the container before the present one.
    #[schemars(with = "bool")]
    previous: Option<String>,
    /// Whether each line begins with its time.
    #[schemars(with = "bool")]
    timestamps: Option<String>,
}

/// How a log is wanted.
struct Wish {
    options: LogOptions,
    /// Whether as events, and after which one.
    is_stream: bool,
    after: Option<Mark>,
}

impl Wish {
    fn read(query: &Query, headers: &HeaderMap, now: Timestamp) -> Result<Self, Problem> {
        let is_stream = wants(headers, EVENTS);
        let last = headers.get("last-event-id").filter(|_| is_stream);
        let last = last.map(|id| id.to_str().ok().and_then(Mark::parse).ok_or_else(bad_id));
        let said = query.since.as_deref();
        let (after, begins) = match said.and_then(Mark::parse).filter(|_| is_stream) {
            Some(mark) => (Some(mark), None),
            None => (None, said.map(|text| since(text, now)).transpose()?),
        };
        let after = last.transpose()?.or(after);
        let options = LogOptions {
            follow: flag("follow", query.follow.as_deref())?,
            // Who goes on wants all that was missed.
            tail: tail(query.tail.as_deref())?.filter(|_| after.is_none()),
            since: match after {
                Some(Mark::Line(at, _)) => {
                    i64::try_from(at / 1_000_000).ok().map(Timestamp::from_millis)
                }
                _ => begins,
            },
            timestamps: flag("timestamps", query.timestamps.as_deref())?,
        };
        Ok(Self { options, is_stream, after })
    }
}

fn bad_id() -> Problem {
    Problem::bad_request("`Last-Event-ID` is the id of an event of this log")
}

/// `GET /api/v1/apps/{name}/logs`
pub(super) async fn logs(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if shared.parts.record.entry(&name).is_none() {
        return Err(Problem::no_app(name.as_str()));
    }
    let wish = Wish::read(&query, &headers, shared.parts.clock.now())?;
    let is_previous = flag("previous", query.previous.as_deref())?;
    match query.source.as_deref() {
        None | Some("app") => {
            let id = container(&shared, &name, is_previous).await?;
            of_app(&shared, &name, &id, wish).await
        }
        Some("build") => of_build(&shared, &name, wish).await,
        Some(_) => Err(Problem::bad_request("`source` is either app or build")),
    }
}

fn tail(text: Option<&str>) -> Result<Option<u64>, Problem> {
    match text {
        None => Ok(Some(TAIL_USUAL)),
        Some("all") => Ok(None),
        Some(text) => {
            text.parse().map(Some).map_err(|_| Problem::bad_request("`tail` is a number or `all`"))
        }
    }
}

/// Reads how long ago, or when.
fn since(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    if let Ok(ago) = parse_duration(text) {
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_millis(now.as_millis().saturating_sub(ago).max(0)));
    }
    let wrong = "`since` is a duration such as `10m`, or a time such as `2025-12-01T00:00:00Z`";
    Timestamp::parse(text).ok_or_else(|| Problem::bad_request(wrong))
}

/// The container that an app runs in, or the one before it.
async fn container(
    shared: &Shared,
    name: &AppName,
    is_previous: bool,
) -> Result<ContainerId, Problem> {
    let entry = shared.parts.record.entry(name);
    let current = entry.and_then(|entry| entry.status.container_id.clone());
    if let (Some(id), false) = (&current, is_previous) {
        return Ok(ContainerId::new(id.as_str()));
    }
    let world = shared.parts.engine.observe().await;
    let world = world.map_err(|error| Problem::engine(name, &error))?;
    let mine = world.containers_of(name);
    let mut others = mine.iter().rev().filter(|c| Some(c.id.as_str()) != current.as_deref());
    others.next().map(|container| container.id.clone()).ok_or_else(|| {
        let which = if is_previous { "previous container" } else { "container" };
        let detail = format!("`{name}` has no {which}");
        let status = axum::http::StatusCode::NOT_FOUND;
        Problem::new(status, "app.no-container", "No container", detail)
    })
}

async fn of_app(
    shared: &Arc<Shared>,
    name: &AppName,
    id: &ContainerId,
    wish: Wish,
) -> Result<Response, Problem> {
    let Wish { mut options, is_stream, after } = wish;
    if matches!(after, Some(Mark::Byte(..))) {
        return Err(bad_id());
    }
    let slot = if options.follow { Some(slot(shared)?) } else { None };
    let is_followed = options.follow;
    options.timestamps |= is_stream;
    let veil = Arc::new(veil(shared, name, id).await?);
    let mut lines = shared.parts.engine.logs(id, options);
    // The first item decides about the status; nothing was sent yet.
    let first = tokio::select! {
        first = lines.next() => first,
        () = tokio::time::sleep(Duration::from_millis(300)), if is_followed => Some(Ok(Bytes::new())),
    };
    let first = first.transpose().map_err(|error| Problem::engine(name, &error))?;
    let taken = |part: Result<Bytes, Error>| match part {
        Ok(bytes) => Taken::Part(bytes),
        Err(error) => Taken::Failed(error.to_string()),
    };
    let lines = stream::iter(first.map(Taken::Part)).chain(lines.map(taken)).boxed();
    if is_stream {
        let wanted = Wanted { lines, veil, after, has_times: true, slot };
        return Ok(events::answer(shared, wanted));
    }
    let bytes = veiled(lines.map(bytes_of), veil).map(move |part| {
        let _holds = &slot;
        part
    });
    if is_followed {
        let stop = shared.stop.clone().cancelled_owned();
        return Ok(text(bytes.take_until(stop).map(Ok::<_, Infallible>)));
    }
    Ok(text(capped(bytes).map(Ok::<_, Infallible>)))
}

/// What an app's container must not be seen to print: the secrets that it was given.
async fn veil(shared: &Shared, name: &AppName, id: &ContainerId) -> Result<Veil, Problem> {
    let given = shared.parts.engine.secrets_of(id).await;
    let given = given.map_err(|error| Problem::engine(name, &error))?;
    Ok(Veil::new(given.into_iter().chain(shared.parts.book.in_files(name))))
}

/// What flows, without what is hidden.
fn veiled(
    parts: impl Stream<Item = Bytes> + Send + 'static,
    veil: Arc<Veil>,
) -> BoxStream<'static, Bytes> {
    let begun = (Box::pin(parts), Some(Veiled::new(veil)));
    let shown = stream::unfold(begun, |(mut parts, veiled)| async move {
        let mut veiled = veiled?;
        Some(match parts.next().await {
            Some(part) => (veiled.take(part), (parts, Some(veiled))),
            None => (veiled.end(), (parts, None)),
        })
    });
    shown.boxed()
}

/// What is sent of a log as a text.
fn bytes_of(taken: Taken) -> Bytes {
    match taken {
        Taken::Part(bytes) => bytes,
        Taken::Begins(..) => Bytes::new(),
        Taken::Gap(why) => Bytes::from(format!("[berth: {why}]\n")),
        Taken::Failed(why) => Bytes::from(format!("\n[berth: the log ends here: {why}]\n")),
    }
}

/// At most [`BYTES_MAX`] bytes, and a word when there were more.
fn capped(bytes: impl Stream<Item = Bytes>) -> impl Stream<Item = Bytes> {
    bytes.scan(Some(BYTES_MAX), |left, part| {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        let shown = left.map(|room| match room.checked_sub(length) {
            Some(rest) => (Some(rest), part),
            None => (None, Bytes::from_static(OVER.as_bytes())),
        });
        future::ready(shown.map(|(rest, part)| {
            *left = rest;
            part
        }))
    })
}

async fn of_build(shared: &Arc<Shared>, name: &AppName, wish: Wish) -> Result<Response, Problem> {
    let Wish { options, is_stream, after } = wish;
    let start = match after {
        None => Start::Tail(options.tail),
        Some(Mark::Byte(file, at)) => Start::At(file, at),
        Some(Mark::Line(..)) => return Err(bad_id()),
    };
    let path = build::path(&shared.parts.workspaces, name.as_str());
    let slot = if options.follow { Some(slot(shared)?) } else { None };
    let reader = Reader::open(path, start, options.follow).await.map_err(|error| {
        let detail = match error.kind() {
            io::ErrorKind::NotFound => format!("there is no log of a build of `{name}`"),
            _ => format!("the log of the build of `{name}` can't be read: {error}"),
        };
        let status = axum::http::StatusCode::NOT_FOUND;
        Problem::new(status, "app.no-build-log", "No build log", detail)
    })?;
    let lines = reader.stream();
    if is_stream {
        let veil = Arc::default();
        let wanted = Wanted { lines, veil, after, has_times: false, slot };
        return Ok(events::answer(shared, wanted));
    }
    let bytes = lines.map(bytes_of).map(move |part| {
        let _holds = &slot;
        part
    });
    let stop = shared.stop.clone().cancelled_owned();
    Ok(text(bytes.take_until(stop).map(Ok::<_, Infallible>)))
}

fn text(parts: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (kind, Body::from_stream(parts)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault H14: what an app writes may be endless.
    #[tokio::test]
    async fn a_log_that_is_not_followed_has_an_end() {
        let endless = stream::repeat(Bytes::from(vec![b'x'; 1024 * 1024]));
        let parts: Vec<_> = capped(endless).collect().await;
        let length: usize = parts.iter().map(Bytes::len).sum();
        assert!(u64::try_from(length).unwrap() <= BYTES_MAX + 100);
        assert!(parts.last().unwrap().starts_with(b"\n[berth: the log goes on"));
    }

    #[test]
    fn since_is_a_duration_or_a_time() {
        let now = Timestamp::from_millis(1_764_547_800_000);
        assert_eq!(since("10m", now).unwrap(), Timestamp::from_millis(1_764_547_200_000));
        assert_eq!(since("2025-12-01T00:00:00Z", now).unwrap().as_millis(), 1_764_547_200_000);
        assert!(since("yesterday", now).is_err());
    }
}
