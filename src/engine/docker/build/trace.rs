//! `BuildKit`'s account of a build: steps and their output, as protocol buffers in base64.
//!
//! Steps run side by side, so their lines are put together apart, and the lines of the one that
//! fails are what the failure is told from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::journal::{Journal, TAIL_LINES};
use super::wire::{Field, fields};

/// How many steps are remembered.
const STEPS_MAX: usize = 1000;
/// The longest line of a step that is waited for.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// What is known of the steps.
#[derive(Default)]
pub(super) struct Trace {
    told: BTreeSet<String>,
    steps: BTreeMap<String, Step>,
}

#[derive(Default)]
struct Step {
    open: Vec<u8>,
    tail: VecDeque<String>,
}

impl Trace {
    /// Takes a piece of the account; what can't be read is left out.
    pub(super) fn take(&mut self, text: &str, journal: &mut Journal) {
        let Ok(bytes) = STANDARD.decode(text) else { return };
        for (number, field) in fields(&bytes) {
            let Field::Bytes(bytes) = field else { continue };
            match number {
                1 => self.vertex(bytes, journal),
                3 => self.output(bytes, journal),
                _ => {}
            }
        }
    }

    fn vertex(&mut self, bytes: &[u8], journal: &mut Journal) {
        let (mut id, mut name, mut problem) = (String::new(), String::new(), String::new());
        let (mut is_cached, mut is_begun, mut is_ended) = (false, false, false);
        for (number, field) in fields(bytes) {
            match (number, field) {
                (1, Field::Bytes(text)) => id = lossy(text),
                (3, Field::Bytes(text)) => name = lossy(text),
                (4, Field::Number(value)) => is_cached = value != 0,
                (5, Field::Bytes(_)) => is_begun = true,
                (6, Field::Bytes(_)) => is_ended = true,
                (7, Field::Bytes(text)) => problem = lossy(text),
                _ => {}
            }
        }
        if (is_begun || is_cached) && self.told.len() < STEPS_MAX && self.told.insert(id.clone()) {
            journal.line(&if is_cached { format!("{name} (cached)") } else { name });
        }
        if !is_ended {
            return;
        }
        let Some(mut step) = self.steps.remove(&id) else { return };
        step.end_line(journal);
        // A step that is only given up has no say in why.
        if !problem.is_empty() && !problem.contains("context canceled") {
            journal.focus(step.tail);
        }
    }

    fn output(&mut self, bytes: &[u8], journal: &mut Journal) {
        let (mut id, mut text): (String, &[u8]) = (String::new(), &[]);
        for (number, field) in fields(bytes) {
            match (number, field) {
                (1, Field::Bytes(value)) => id = lossy(value),
                (4, Field::Bytes(value)) => text = value,
                _ => {}
            }
        }
        if STEPS_MAX <= self.steps.len() && !self.steps.contains_key(&id) {
            return;
        }
        let step = self.steps.entry(id).or_default();
        for piece in text.split_inclusive(|byte| *byte == b'\n') {
            step.open.extend_from_slice(piece);
            if piece.ends_with(b"\n") || LINE_BYTES_MAX < step.open.len() {
                step.end_line(journal);
            }
        }
    }
}

impl Step {
    fn end_line(&mut self, journal: &mut Journal) {
        let line = lossy(&std::mem::take(&mut self.open));
        if line.trim().is_empty() {
            return;
        }
        journal.line(&line);
        if TAIL_LINES <= self.tail.len() {
            self.tail.pop_front();
        }
        self.tail.push_back(super::journal::plain_line(&line));
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a failed build says, in the words of the classic builder: `BuildKit`'s own have changed
/// from version to version.
pub(super) fn in_classic_words(message: &str) -> String {
    let message = message.strip_prefix("failed to solve: ").unwrap_or(message);
    let command = |from: &str, to: &str| {
        let (_, rest) = message.split_once(from)?;
        let (command, code) = rest.rsplit_once(to)?;
        Some(format!("The command '{command}' returned a non-zero code: {code}"))
    };
    command("executor failed running [", "]: exit code: ")
        .or_else(|| command("process \"", "\" did not complete successfully: exit code: "))
        .unwrap_or_else(|| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::{bytes, number};
    use super::*;

    fn vertex(id: &str, name: &str, rest: &[u8]) -> Vec<u8> {
        bytes(1, &[bytes(1, id.as_bytes()), bytes(3, name.as_bytes()), rest.to_vec()].concat())
    }

    fn output(id: &str, text: &str) -> Vec<u8> {
        bytes(3, &[bytes(1, id.as_bytes()), number(3, 1), bytes(4, text.as_bytes())].concat())
    }

    fn play(pieces: &[Vec<u8>]) -> (Journal, Vec<String>) {
        let (sink, mut lines) = tokio::sync::mpsc::channel(100);
        let (mut trace, mut journal) = (Trace::default(), Journal::new(sink));
        for piece in pieces {
            trace.take(&STANDARD.encode(piece), &mut journal);
        }
        (journal, std::iter::from_fn(|| lines.try_recv().ok()).collect())
    }

    #[test]
    fn steps_side_by_side_keep_their_lines_whole() {
        let begun = bytes(5, &[]);
        let (journal, lines) = play(&[
            vertex("a", "[1/2] RUN x", &begun),
            vertex("b", "[2/2] RUN y", &begun),
            output("a", "ERROR: no su"),
            output("b", "all is "),
            output("a", "ch thing\n"),
            output("b", "well\nERROR: of the other step\n"),
            vertex(
                "a",
                "[1/2] RUN x",
                &[begun.clone(), bytes(6, &[]), bytes(7, b"exit code: 1")].concat(),
            ),
            vertex(
                "b",
                "[2/2] RUN y",
                &[begun, bytes(6, &[]), bytes(7, b"context canceled")].concat(),
            ),
            vertex("c", "[3/3] COPY", &number(4, 1)),
        ]);
        assert_eq!(
            lines,
            [
                "[1/2] RUN x",
                "[2/2] RUN y",
                "ERROR: no such thing",
                "all is well",
                "ERROR: of the other step",
                "[3/3] COPY (cached)"
            ]
        );
        assert_eq!(journal.reason("code: 1"), "ERROR: no such thing; code: 1");
    }

    /// Fault D34: what is not understood does no harm.
    #[test]
    fn an_account_that_is_no_account_is_left_out() {
        let (_, lines) = play(&[vec![0xff; 40], vec![0x0a, 0x7f, 1], b"hello".to_vec()]);
        assert_eq!(lines, Vec::<String>::new());
        let (sink, _lines) = tokio::sync::mpsc::channel(1);
        Trace::default().take("no base64!", &mut Journal::new(sink));
    }

    #[test]
    fn a_failure_is_said_in_the_same_words_by_all_builders() {
        let same = "The command '/bin/sh -c x y' returned a non-zero code: 7";
        for message in [
            "executor failed running [/bin/sh -c x y]: exit code: 7",
            "failed to solve: process \"/bin/sh -c x y\" did not complete successfully: exit code: 7",
            same,
        ] {
            assert_eq!(in_classic_words(message), same);
        }
        assert_eq!(in_classic_words("failed to solve: no such file"), "no such file");
    }
}
