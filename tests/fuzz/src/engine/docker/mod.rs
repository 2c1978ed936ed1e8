//! What Docker Engine lists, inspects, tells and writes.

pub(crate) mod build;
#[path = "../../../../../src/engine/docker/event.rs"]
mod event;
#[path = "../../../../../src/engine/docker/frames.rs"]
mod frames;
#[path = "../../../../../src/engine/docker/lines.rs"]
mod lines;
#[path = "../../../../../src/engine/docker/observe.rs"]
mod observe;
#[path = "../../../../../src/engine/docker/progress.rs"]
mod progress;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use futures_util::{FutureExt as _, StreamExt as _};

use super::{Error, Hint};
use crate::state::{Detail, World};

mod errors {
    pub(super) fn chain(error: &dyn std::error::Error) -> String {
        error.to_string()
    }
}

mod transport {
    use super::Error;

    pub(super) fn decode<'a, T: serde::Deserialize<'a>>(
        call: &'static str,
        body: &'a [u8],
    ) -> Result<T, Error> {
        let broken = |error: serde_json::Error| Error::Broken { call, message: error.to_string() };
        serde_json::from_slice(body).map_err(broken)
    }
}

pub(crate) fn world(instance: &str, containers: &[u8], images: &[u8]) -> Result<World, Error> {
    observe::world(instance, containers, images)
}

pub(crate) fn detail(body: &[u8]) -> Result<Detail, Error> {
    observe::detail(body)
}

pub(crate) fn has_terminal(body: &[u8]) -> Result<bool, Error> {
    observe::has_terminal(body)
}

pub(crate) fn image(body: &[u8]) -> Result<(String, BTreeMap<String, String>), Error> {
    observe::image(body)
}

/// Events that come in pieces: how many hints they make and a digest of these, or nothing when
/// a line is longer than `bytes_max`.
pub(crate) fn hints(
    pieces: &[&[u8]],
    bytes_max: usize,
    mut see: impl FnMut(&Hint),
) -> Option<(usize, u64)> {
    let (mut lines, mut count, mut hasher) =
        (lines::Lines::new(bytes_max), 0, DefaultHasher::new());
    for piece in pieces {
        lines.push(piece);
        while let Some(line) = lines.next().ok()? {
            let hint = event::hint_of("home", &line);
            assert_eq!(hint.is_none(), line.trim_ascii().is_empty(), "an event was left out");
            if let Some(hint) = hint {
                see(&hint);
                count += 1;
                (&hint.action, hint.at, hint.is_urgent, &hint.app).hash(&mut hasher);
            }
        }
    }
    Some((count, hasher.finish()))
}

/// What frames hold that come in pieces, and whether they were frames to the end.
pub(crate) fn framed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let (mut frames, mut all) = (frames::Frames::of("logs"), Vec::new());
    for piece in pieces {
        frames.push(piece);
        loop {
            match frames.take() {
                Ok(Some(bytes)) => all.extend_from_slice(&bytes),
                Ok(None) => break,
                Err(_) => return (all, false),
            }
        }
    }
    (all, true)
}

/// The end of an output that comes in pieces.
pub(crate) fn end_of(pieces: &[&[u8]], bytes_max: usize) -> Option<Vec<u8>> {
    let mut tail = frames::Tail::of("exec", bytes_max);
    for piece in pieces {
        tail.push(piece).ok()?;
    }
    Some(tail.output().to_vec())
}

/// Follows a pull whose answer comes in pieces, as the engine does it; answers what the log took,
/// and whether the answer was whole.
pub(crate) fn pull_of(pieces: &[&[u8]]) -> ((usize, u64), bool) {
    let mut items = std::pin::pin!(build::items_of(pieces));
    let (sink, mut progress) = (super::LogSink::default(), progress::Progress::default());
    while let Some(item) = items.next().now_or_never().expect("nothing is waited for") {
        let Ok(item) = item else { return (sink.taken(), false) };
        if item.failure().is_some() {
            break;
        }
        if let Some(line) = progress.line(&item) {
            sink.try_send(line).expect("it takes all");
        }
    }
    (sink.taken(), true)
}
