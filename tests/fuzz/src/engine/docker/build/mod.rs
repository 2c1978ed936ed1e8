//! What the engine says during a build.

#[path = "../../../../../../src/engine/docker/build/item.rs"]
pub(crate) mod item;
#[path = "../../../../../../src/engine/docker/build/journal.rs"]
mod journal;
#[path = "../../../../../../src/engine/docker/build/trace.rs"]
mod trace;
#[path = "../../../../../../src/engine/docker/build/wire.rs"]
mod wire;

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::super::{LogSink, StepSink};
pub(super) use journal::plain_line;

/// What the engine says, when it comes in pieces.
pub(super) fn items_of(
    pieces: &[&[u8]],
) -> impl futures_util::Stream<Item = Result<item::Item, super::super::Error>> {
    let frames: Vec<_> = pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect();
    let frames = frames.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    item::items("build", StreamBody::new(stream::iter(frames)))
}

/// Follows a build whose answer comes in pieces, as the engine's builder does; answers what the
/// log took, and whether the answer was whole.
pub(crate) fn log_of(pieces: &[&[u8]]) -> ((usize, u64), bool) {
    let mut items = std::pin::pin!(items_of(pieces));
    let sink = LogSink::default();
    let mut journal = journal::Journal::new(sink.clone()).telling(Some(StepSink));
    let mut trace = trace::Trace::default();
    let mut is_whole = true;
    while let Some(item) = items.next().now_or_never().expect("nothing is waited for") {
        let Ok(item) = item else {
            is_whole = false;
            break;
        };
        if let Some(message) = item.failure() {
            let reason = journal.reason(&trace::in_classic_words(message));
            assert!(reason.chars().count() <= 600, "a reason without an end");
            break;
        }
        match item.trace() {
            Some(text) => trace.take(text, &mut journal),
            None => journal.take(&item),
        }
    }
    journal.flush();
    (sink.taken(), is_whole)
}
