//! Reads an event stream.

use std::collections::VecDeque;

use super::error::Error;
use crate::server::client::Parts;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    /// What it is.
    pub(super) kind: String,
    /// What it says.
    pub(super) body: String,
}

/// Events from bytes, in whatever parts they come.
#[derive(Debug, Default)]
struct Decoder {
    held: Vec<u8>,
    event: Event,
}

impl Decoder {
    fn take(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        self.held.extend_from_slice(bytes);
        while let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.held.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                if !event.kind.is_empty() {
                    events.push(event);
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => value.clone_into(&mut self.event.kind),
                "data" => self.event.body.push_str(value),
                _ => {}
            }
        }
        events
    }
}

/// An event stream.
pub(super) struct Stream {
    parts: Parts,
    decoder: Decoder,
    pending: VecDeque<Event>,
}

impl Stream {
    pub(super) fn new(parts: Parts) -> Self {
        Self { parts, decoder: Decoder::default(), pending: VecDeque::new() }
    }

    /// The next event; none when the server has ended the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            let Some(part) = self.parts.next().await? else { return Ok(None) };
            self.pending.extend(self.decoder.take(&part));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_the_bytes_are_cut() {
        let text = "retry: 2000\nevent: snapshot\nid: 1-2\ndata: {}\n\n: still here\n\nevent: event\ndata: {\"ü\":1}\n\n";
        let whole = Decoder::default().take(text.as_bytes());
        let mut decoder = Decoder::default();
        let cut: Vec<_> = text.bytes().flat_map(|byte| decoder.take(&[byte])).collect();
        assert_eq!(whole, cut);
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[1].kind.as_str(), whole[1].body.as_str()), ("event", "{\"ü\":1}"));
    }
}
