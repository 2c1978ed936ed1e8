//! What can be done to a stream of events.

use std::collections::BTreeSet;

use super::message::Chunks;

/// What is done to the engine's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventRule {
    /// Nothing.
    AsTheyAre,
    /// None is passed on; the stream stays open.
    Silence,
    /// Those with these numbers are lost, counted in each stream.
    Without(BTreeSet<usize>),
    /// Each is told twice.
    Twice,
    /// Each two are told in the wrong order.
    Swapped,
}

/// A stream of events under a rule: chunks in, chunks out.
pub(super) struct Events {
    rule: EventRule,
    chunks: Chunks,
    open: Vec<u8>,
    seen: usize,
    held: Option<Vec<u8>>,
}

impl Events {
    pub(super) fn new(rule: EventRule) -> Self {
        Self { rule, chunks: Chunks::default(), open: Vec::new(), seen: 0, held: None }
    }

    /// What is passed on once these bytes have come.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.open.extend(self.chunks.take(bytes));
        let mut out = Vec::new();
        while let Some(end) = self.open.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.open.drain(..=end).collect();
            self.tell(line, &mut out);
            self.seen += 1;
        }
        out
    }

    fn tell(&mut self, line: Vec<u8>, out: &mut Vec<u8>) {
        match &self.rule {
            EventRule::Silence => {}
            EventRule::Without(lost) if lost.contains(&self.seen) => {}
            EventRule::AsTheyAre | EventRule::Without(_) => put(out, &line),
            EventRule::Twice => {
                put(out, &line);
                put(out, &line);
            }
            EventRule::Swapped => match self.held.take() {
                None => self.held = Some(line),
                Some(earlier) => {
                    put(out, &line);
                    put(out, &earlier);
                }
            },
        }
    }

    /// What was held back for one that did not come.
    pub(super) fn release(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(line) = self.held.take() {
            put(&mut out, &line);
        }
        out
    }
}

fn put(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", line.len()).as_bytes());
    out.extend_from_slice(line);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rule: EventRule) -> String {
        let mut events = Events::new(rule);
        let mut out = events.take(b"4\r\na\nb\n\r\n3\r\nc");
        out.extend(events.take(b"\nd\r\n2\r\n\nx\r\n0\r\n\r\n"));
        out.extend(events.release());
        String::from_utf8(Chunks::default().take(&out)).unwrap()
    }

    #[test]
    fn events_are_lost_doubled_and_swapped() {
        assert_eq!(told(EventRule::AsTheyAre), "a\nb\nc\nd\n");
        assert_eq!(told(EventRule::Silence), "");
        assert_eq!(told(EventRule::Without(BTreeSet::from([1, 2]))), "a\nd\n");
        assert_eq!(told(EventRule::Twice), "a\na\nb\nb\nc\nc\nd\nd\n");
        assert_eq!(told(EventRule::Swapped), "b\na\nd\nc\n");
    }
}
