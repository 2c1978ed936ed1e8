//! What an app writes, and what its build wrote.

use std::{
    convert::Infallible,
    io::{self, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::{Stream, StreamExt as _, future, stream};
use serde::Deserialize;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
};

use super::{
    Shared,
    problem::Problem,
    request::{Asked, Named, flag},
    stream::slot,
};
use crate::engine::LogOptions;
use crate::model::{AppName, Timestamp, parse_duration};
use crate::state::ContainerId;

/// How many lines are shown when nothing is said.
const TAIL_USUAL: u64 = 1000;
/// How many bytes are sent of a log that is not followed (fault H14).
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What is said where it was cut.
const OVER: &str = "\n[berth: the log goes on; ask for less of it with `tail` or `since`]\n";
/// What is said where a build's log begins later than it should.
const CUT: &str = "[berth: the log is longer; this is its end]\n";
/// How much of a build's log is searched for its last lines.
const BUILD_READ_MAX: u64 = 4 * 1024 * 1024;
/// How often a build's log is looked at while it is followed.
const BUILD_LOOK: Duration = Duration::from_millis(250);

/// What the query may say.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// Whether it goes on with what comes.
    #[schemars(with = "bool")]
    follow: Option<String>,
    /// How many of the last lines, or `all`. Default: 1000.
    tail: Option<String>,
    /// From when on: a time, or how long ago.
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

/// Where the log of an app's last build is.
fn build_log_path(workspaces: &Path, name: &AppName) -> PathBuf {
    workspaces.join(name.as_str()).join(".berth").join("build.log")
}

/// `GET /api/v1/apps/{name}/logs`
pub(super) async fn logs(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
    Asked(query): Asked<Query>,
) -> Result<Response, Problem> {
    if shared.parts.record.entry(&name).is_none() {
        return Err(Problem::no_app(name.as_str()));
    }
    let options = LogOptions {
        follow: flag("follow", query.follow.as_deref())?,
        tail: tail(query.tail.as_deref())?,
        since: query
            .since
            .as_deref()
            .map(|text| since(text, shared.parts.clock.now()))
            .transpose()?,
        timestamps: flag("timestamps", query.timestamps.as_deref())?,
    };
    let is_previous = flag("previous", query.previous.as_deref())?;
    match query.source.as_deref() {
        None | Some("app") => {
            let id = container(&shared, &name, is_previous).await?;
            of_app(&shared, &name, &id, options).await
        }
        Some("build") => of_build(&shared, &name, &options).await,
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
    shared: &Shared,
    name: &AppName,
    id: &ContainerId,
    options: LogOptions,
) -> Result<Response, Problem> {
    let slot = if options.follow { Some(slot(shared)?) } else { None };
    let is_followed = options.follow;
    let mut lines = shared.parts.engine.logs(id, options);
    // The first item decides about the status; nothing was sent yet.
    let first = tokio::select! {
        first = lines.next() => first,
        () = tokio::time::sleep(Duration::from_millis(300)), if is_followed => Some(Ok(Bytes::new())),
    };
    let first = first.transpose().map_err(|error| Problem::engine(name, &error))?;
    let rest = lines.map(move |part| {
        let _holds = &slot;
        part.unwrap_or_else(|error| Bytes::from(format!("\n[berth: the log ends here: {error}]\n")))
    });
    let bytes = stream::iter(first).chain(rest);
    if is_followed {
        let stop = shared.stop.clone().cancelled_owned();
        return Ok(text(bytes.take_until(stop).map(Ok::<_, Infallible>)));
    }
    Ok(text(capped(bytes).map(Ok::<_, Infallible>)))
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

async fn of_build(
    shared: &Shared,
    name: &AppName,
    options: &LogOptions,
) -> Result<Response, Problem> {
    let path = build_log_path(&shared.parts.workspaces, name);
    let slot = if options.follow { Some(slot(shared)?) } else { None };
    let (first, at) = match last_lines(&path, options.tail).await {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.follow => {
            (Bytes::new(), 0)
        }
        Err(_) => {
            let detail = format!("there is no log of a build of `{name}`");
            let status = axum::http::StatusCode::NOT_FOUND;
            return Err(Problem::new(status, "app.no-build-log", "No build log", detail));
        }
    };
    let first = stream::once(future::ready(first));
    if slot.is_none() {
        return Ok(text(first.map(Ok::<_, Infallible>)));
    }
    let grown = stream::unfold((path, at), |(path, at)| async move {
        tokio::time::sleep(BUILD_LOOK).await;
        let (part, at) = grown(&path, at).await.unwrap_or((Bytes::new(), at));
        Some((part, (path, at)))
    });
    let grown = grown.filter(|part| future::ready(!part.is_empty())).map(move |part| {
        let _holds = &slot;
        part
    });
    let stop = shared.stop.clone().cancelled_owned();
    Ok(text(first.chain(grown).take_until(stop).map(Ok::<_, Infallible>)))
}

/// The last lines of a file, and where it ends.
async fn last_lines(path: &Path, tail: Option<u64>) -> io::Result<(Bytes, u64)> {
    let mut file = File::open(path).await?;
    let end = file.metadata().await?.len();
    let limit = if tail.is_some() { BUILD_READ_MAX } else { BYTES_MAX };
    file.seek(SeekFrom::Start(end.saturating_sub(limit))).await?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).await?;
    let from = tail.map_or(0, |lines| start_of_last(&bytes, lines));
    if from == 0 && limit < end {
        return Ok((cut(&bytes), end));
    }
    Ok((Bytes::from(bytes).slice(from..), end))
}

/// The whole lines of a text whose beginning is not here, and a word about that.
fn cut(bytes: &[u8]) -> Bytes {
    let from = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    [CUT.as_bytes(), &bytes[from..]].concat().into()
}

/// Where the last `lines` lines begin.
fn start_of_last(bytes: &[u8], lines: u64) -> usize {
    let body = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut ends = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match lines.checked_sub(1).map(|skip| usize::try_from(skip).unwrap_or(usize::MAX)) {
        None => bytes.len(),
        Some(skip) => ends.nth(skip).map_or(0, |(at, _)| at + 1),
    }
}

/// What was added to a file since it ended at `at`; all of it when another took its place.
async fn grown(path: &Path, at: u64) -> io::Result<(Bytes, u64)> {
    let mut file = File::open(path).await?;
    let end = file.metadata().await?.len();
    let from = if end < at { 0 } else { at };
    file.seek(SeekFrom::Start(from)).await?;
    let mut bytes = Vec::new();
    let read = file.take(BUILD_READ_MAX.min(end - from)).read_to_end(&mut bytes).await?;
    Ok((bytes.into(), from + u64::try_from(read).unwrap_or(0)))
}

fn text(parts: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (kind, Body::from_stream(parts)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole_lines() {
        let text = b"one\ntwo\nthree\n";
        let last = |lines| &text[start_of_last(text, lines)..];
        assert_eq!(last(0), b"");
        assert_eq!(last(1), b"three\n");
        assert_eq!(last(2), b"two\nthree\n");
        assert_eq!(last(9), text);
        assert_eq!(&b"a\nb"[start_of_last(b"a\nb", 1)..], b"b");
    }

    /// Fault H14: what a build writes may be endless, too.
    #[tokio::test]
    async fn a_long_log_of_a_build_is_shown_from_a_whole_line_on_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.log");
        let line = format!("{}\n", "x".repeat(1022));
        let count = usize::try_from(BYTES_MAX).unwrap() / line.len() + 9;
        std::fs::write(&path, line.repeat(count)).unwrap();
        let (all, end) = last_lines(&path, None).await.unwrap();
        assert_eq!(end, u64::try_from(count * line.len()).unwrap());
        let rest = all.strip_prefix(CUT.as_bytes()).expect("it does not say that it was cut");
        assert!(rest.starts_with(b"x") && rest.len() % line.len() == 0, "{}", rest.len());
        let (few, _) = last_lines(&path, Some(2)).await.unwrap();
        assert_eq!(few.len(), 2 * line.len());
        std::fs::write(&path, "short\n").unwrap();
        assert_eq!(&last_lines(&path, None).await.unwrap().0[..], b"short\n");
    }

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
