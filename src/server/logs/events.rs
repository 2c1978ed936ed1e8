//! A log as server-sent events: each line is one, with an id by which a client goes on.
//!
//! # Guarantees
//! - A client that returns with the id that it saw last gets what came after it: no line is left
//!   out, and none comes twice unless the engine has put lines of one moment in another order.
//! - A line is kept up to a length only, a client that reads slowly holds nothing but its place.

use std::{collections::VecDeque, convert::Infallible, fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use serde_json::{Value, json};
use tokio::{sync::OwnedSemaphorePermit, time::Interval};

use super::{BYTES_MAX, Taken, build::FileId};
use crate::secret::Veil;
use crate::server::Shared;

/// After how long a client that lost its stream comes back.
const RETRY: Duration = Duration::from_secs(2);
/// The longest line that is told whole.
const LINE_MAX: usize = 64 * 1024;
/// How many digits a nanosecond of this age has.
const NANOSECOND: usize = 19;

/// A place in a log, as ids say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// After a line: when it was written, and its number among those of that nanosecond.
    Line(i128, u32),
    /// After so many bytes of a build's log.
    Byte(FileId, u64),
}

impl Mark {
    /// Reads an id.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (place, number) = text.rsplit_once('-')?;
        if let Some(file) = FileId::parse(place) {
            return Some(Self::Byte(file, number.parse().ok()?));
        }
        let is_digits =
            place.len() == NANOSECOND && place.bytes().all(|byte| byte.is_ascii_digit());
        is_digits.then(|| Some(Self::Line(place.parse().ok()?, number.parse().ok()?)))?
    }

    fn shown(self) -> String {
        match self {
            Self::Line(at, nth) => format!("{at}-{nth}"),
            Self::Byte(file, at) => format!("{file}-{at}"),
        }
    }
}

/// Which lines are told, and what they are called.
#[derive(Debug, Default)]
struct Course {
    /// After which line it goes on; none once that was met.
    after: Option<(i128, u32)>,
    /// The line before.
    last: Option<(i128, u32)>,
    /// Where in a file it is.
    file: Option<(FileId, u64)>,
}

impl Course {
    /// The id of the next line, which was written then and has so many bytes; none when a client
    /// had it already. That of a line without a time is empty.
    fn next(&mut self, at: Option<i128>, length: u64) -> Option<String> {
        if let Some((file, place)) = &mut self.file {
            *place += length;
            return Some(Mark::Byte(*file, *place).shown());
        }
        let Some(at) = at else { return Some(String::new()) };
        let nth = self.last.filter(|(last, _)| *last == at).map_or(0, |(_, nth)| nth + 1);
        self.last = Some((at, nth));
        match self.after {
            Some(after) if after == (at, nth) => {
                self.after = None;
                None
            }
            // What was written in another order than it was seen comes again.
            Some((after, _)) if at <= after => None,
            _ => Some(Mark::Line(at, nth).shown()),
        }
    }
}

/// One client of a log.
struct Teller {
    lines: BoxStream<'static, Taken>,
    veil: Arc<Veil>,
    course: Course,
    has_times: bool,
    /// The line that comes, and how long it is in all.
    held: (Vec<u8>, u64),
    /// How much may still be read; none is without an end.
    left: Option<u64>,
    pending: VecDeque<String>,
    silence: Interval,
    is_over: bool,
    _slot: Option<OwnedSemaphorePermit>,
}

/// What a client wants of a log.
pub(super) struct Wanted {
    /// Its parts.
    pub(super) lines: BoxStream<'static, Taken>,
    /// What is hidden.
    pub(super) veil: Arc<Veil>,
    /// After which line it goes on.
    pub(super) after: Option<Mark>,
    /// Whether each line begins with its time.
    pub(super) has_times: bool,
    /// The place of one who follows.
    pub(super) slot: Option<OwnedSemaphorePermit>,
}

impl Teller {
    fn new(shared: &Shared, wanted: Wanted) -> Self {
        let Wanted { lines, veil, after, has_times, slot } = wanted;
        let mut silence = tokio::time::interval(shared.keep_alive);
        silence.reset();
        let after = after.and_then(|mark| match mark {
            Mark::Line(at, nth) => Some((at, nth)),
            Mark::Byte(..) => None,
        });
        let left = slot.is_none().then_some(BYTES_MAX);
        let course = Course { after, ..Course::default() };
        let pending = [format!("retry: {}\n\n", RETRY.as_millis())].into();
        let held = Default::default();
        Self {
            lines,
            veil,
            course,
            has_times,
            held,
            left,
            pending,
            silence,
            is_over: false,
            _slot: slot,
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.pending.is_empty() {
                self.silence.reset();
                return Some(self.pending.drain(..).collect::<String>().into());
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                taken = self.lines.next() => match taken {
                    Some(taken) => self.take(taken),
                    None => self.end("ended", "that is all"),
                },
                _ = self.silence.tick() => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }

    fn take(&mut self, taken: Taken) {
        match taken {
            Taken::Part(bytes) => self.take_bytes(&bytes),
            Taken::Begins(file, at) => self.course.file = Some((file, at)),
            Taken::Gap(why) => {
                self.held = Default::default();
                self.push("gap", "", &json!({ "reason": why }));
            }
            Taken::Failed(why) => self.end("failed", &why),
        }
    }

    fn take_bytes(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if let Some(left) = &mut self.left {
                let Some(rest) = left.checked_sub(length) else {
                    return self.end("limit", "the log goes on; ask for less of it, or go on here");
                };
                *left = rest;
            }
            let room = LINE_MAX.saturating_sub(self.held.0.len()).min(piece.len());
            self.held.0.extend_from_slice(&piece[..room]);
            self.held.1 += length;
            if piece.ends_with(b"\n") {
                self.line();
            }
        }
    }

    /// Tells the line that has come.
    fn line(&mut self) {
        let (bytes, length) = std::mem::take(&mut self.held);
        let is_cut = u64::try_from(bytes.len()).unwrap_or(u64::MAX) < length;
        let mut text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let mut at = None;
        if self.has_times
            && let Some((time, rest)) = timed(text)
        {
            (at, text) = (Some(time), rest);
        }
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let Some(id) = self.course.next(at.map(jiff::Timestamp::as_nanosecond), length) else {
            return;
        };
        let shown = self.veil.hide_bytes(text, !is_cut);
        let mut told = json!({ "line": String::from_utf8_lossy(&shown) });
        if let Some(at) = at {
            told["at"] = json!(at.to_string());
        }
        if is_cut {
            told["cut"] = json!(true);
        }
        self.push("line", &id, &told);
    }

    fn push(&mut self, kind: &str, id: &str, told: &Value) {
        let mut event = format!("event: {kind}\n");
        if !id.is_empty() {
            let _ = writeln!(event, "id: {id}");
        }
        let _ = write!(event, "data: {told}\n\n");
        self.pending.push_back(event);
    }

    fn end(&mut self, reason: &str, message: &str) {
        if reason != "limit" && !self.held.0.is_empty() {
            self.line();
        }
        self.is_over = true;
        self.push("end", "", &json!({ "reason": reason, "message": message }));
    }
}

/// The time that a line begins with, and the rest of it.
fn timed(line: &[u8]) -> Option<(jiff::Timestamp, &[u8])> {
    let end = line.iter().take(40).position(|byte| *byte == b' ').unwrap_or(line.len());
    let time = std::str::from_utf8(line.get(..end)?).ok()?.parse().ok()?;
    Some((time, line.get(end + 1..).unwrap_or_default()))
}

/// Answers with events until the log ends, or the server.
pub(super) fn answer(shared: &Arc<Shared>, wanted: Wanted) -> Response {
    let teller = Teller::new(shared, wanted);
    let events = stream::unfold(teller, |mut teller| async move {
        let event = teller.next().await?;
        Some((Ok::<_, Infallible>(event), teller))
    });
    let events = events.take_until(shared.stop.clone().cancelled_owned());
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_were_shown() {
        for text in ["1764547200123456789-0", "1764547200123456789-12", "1f.19a0-77", "0.0-0"] {
            assert_eq!(Mark::parse(text).map(Mark::shown).as_deref(), Some(text));
        }
        for bad in
            ["", "-", "1", "a-1", "1-a", "-1-1", "1.g-1", "2025-01", "10m", "2025-12-01T00:00:00Z"]
        {
            assert_eq!(Mark::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_course_goes_on_after_the_line_that_was_seen() {
        let told = |after, times: &[i128]| {
            let mut course = Course { after, ..Course::default() };
            times.iter().filter_map(|at| course.next(Some(*at), 1)).collect::<Vec<_>>()
        };
        let times = [5, 5, 5, 7, 8];
        assert_eq!(told(None, &times), ["5-0", "5-1", "5-2", "7-0", "8-0"]);
        assert_eq!(told(Some((5, 1)), &times), ["5-2", "7-0", "8-0"]);
        assert_eq!(told(Some((8, 0)), &times), [""; 0]);
        // The line is gone: what is younger comes.
        assert_eq!(told(Some((6, 0)), &times), ["7-0", "8-0"]);
        // One that was written late and has an earlier time is not left out.
        assert_eq!(told(Some((7, 0)), &[5, 7, 6, 8]), ["6-0", "8-0"]);
    }

    #[test]
    fn times_are_those_that_lines_begin_with() {
        let read = |text: &'static str| {
            timed(text.as_bytes()).map(|(at, rest)| (at.as_nanosecond(), rest))
        };
        assert_eq!(read("1970-01-01T00:00:01.000000002Z a b"), Some((1_000_000_002, &b"a b"[..])));
        assert_eq!(read("1970-01-01T00:00:01Z"), Some((1_000_000_000, &b""[..])));
        for none in ["", "a b", "[berth: the log ends here]", "2025-12-01 x"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
