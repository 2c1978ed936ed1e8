//! Answers that come line by line: none of them is longer than it may be, however it is cut.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::BodyStream;
use hyper::body::Body;
use serde::de::DeserializeOwned;

use super::super::Error;
use super::errors::chain;

/// Takes bytes apart into lines.
pub(super) struct Lines {
    waiting: BytesMut,
    /// So much of what waits has no end of a line in it.
    looked: usize,
    bytes_max: usize,
}

/// A line is longer than it may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Lines {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { waiting: BytesMut::new(), looked: 0, bytes_max }
    }

    /// More of the answer.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole line, with its end.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        let unseen = self.waiting.get(self.looked..).unwrap_or_default();
        match unseen.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let line = self.waiting.split_to(self.looked + at + 1).freeze();
                self.looked = 0;
                if self.bytes_max < line.len() { Err(TooLong) } else { Ok(Some(line)) }
            }
            None if self.bytes_max < self.waiting.len() => Err(TooLong),
            None => {
                self.looked = self.waiting.len();
                Ok(None)
            }
        }
    }

    /// What came after the last end of a line.
    pub(super) fn rest(&mut self) -> Bytes {
        self.looked = 0;
        self.waiting.split().freeze()
    }
}

/// The JSON documents of an answer, one a line. Neither how they are cut into pieces nor how the
/// last line ends matters.
pub(super) fn documents<T, B>(
    call: &'static str,
    body: B,
    bytes_max: usize,
) -> impl Stream<Item = Result<T, Error>>
where
    T: DeserializeOwned,
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error,
{
    let reading = (BodyStream::new(body), Lines::new(bytes_max), false);
    let broken = move |message: String| Error::Broken { call, message };
    stream::try_unfold(reading, move |(mut body, mut lines, mut is_over)| async move {
        loop {
            let line = lines.next().map_err(|_| broken("a line of it has no end".to_owned()))?;
            let is_last = is_over && line.is_none();
            let line = if is_last { Some(lines.rest()) } else { line };
            let line = line.unwrap_or_default();
            let text = line.trim_ascii();
            if !text.is_empty() {
                let document =
                    serde_json::from_slice(text).map_err(|error| broken(error.to_string()))?;
                return Ok(Some((document, (body, lines, is_over))));
            }
            if is_last {
                return Ok(None);
            }
            if !line.is_empty() || is_over {
                continue;
            }
            match body.next().await {
                Some(Ok(frame)) => lines.push(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(broken(chain(&error))),
                None => is_over = true,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_wherever_they_are_cut() {
        let whole = b"one\n\ntwo\r\nthree";
        for at in 0..=whole.len() {
            let mut lines = Lines::new(10);
            let mut seen = Vec::new();
            for piece in [&whole[..at], &whole[at..]] {
                lines.push(piece);
                while let Some(line) = lines.next().unwrap() {
                    seen.push(line);
                }
            }
            seen.push(lines.rest());
            assert_eq!(seen, [&b"one\n"[..], b"\n", b"two\r\n", b"three"], "cut at {at}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let mut lines = Lines::new(10);
        lines.push(b"0123456789");
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"0");
        assert_eq!(lines.next(), Err(TooLong));
    }
}
