//! The log of a build, and what of it says why the build failed.

use std::collections::VecDeque;

use super::super::super::{LogSink, StepMade, StepSink};
use super::item::Item;

/// How many of the last lines are kept to say why a build failed.
pub(super) const TAIL_LINES: usize = 80;
/// How many digits of an id the classic builder says.
const SHORT_ID: usize = 12;
/// The longest line of a log; the rest of it is cut.
const LINE_CHARS_MAX: usize = 2000;
/// The longest reason of a failure.
const REASON_CHARS_MAX: usize = 600;

/// The log of a build: whole lines to the sink, the last of them kept.
pub(super) struct Journal {
    sink: LogSink,
    open: String,
    tail: VecDeque<String>,
    steps: Option<StepSink>,
}

impl Journal {
    pub(super) fn new(sink: LogSink) -> Self {
        Self { sink, open: String::new(), tail: VecDeque::new(), steps: None }
    }

    /// Has somebody told what the classic builder makes on its way.
    pub(super) fn telling(self, steps: Option<StepSink>) -> Self {
        Self { steps, ..self }
    }

    pub(super) fn take(&mut self, item: &Item) {
        if let Some(text) = &item.stream {
            self.push(text);
        }
        // The base image is being pulled: its steps are told, its bytes are not.
        let is_counting = item.is_counting();
        if let Some(status) = item.status.as_ref().filter(|_| !is_counting) {
            let id = item.id.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
            self.push(&format!("{id}{status}\n"));
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            self.open.push_str(piece);
            if piece.ends_with('\n') || LINE_CHARS_MAX * 4 < self.open.len() {
                self.flush();
            }
        }
    }

    pub(super) fn flush(&mut self) {
        let line = plain_line(&std::mem::take(&mut self.open));
        if line.is_empty() {
            return;
        }
        if TAIL_LINES <= self.tail.len() {
            self.tail.pop_front();
        }
        if let (Some(steps), Some(made)) = (&self.steps, made(&line)) {
            let _ = steps.try_send(made);
        }
        self.tail.push_back(line.clone());
        // A full log loses lines rather than holding the build up.
        let _ = self.sink.try_send(line);
    }

    /// Has the reason be found among these lines alone: those of the step that failed.
    pub(super) fn focus(&mut self, lines: impl IntoIterator<Item = String>) {
        self.flush();
        self.tail = lines.into_iter().collect();
    }

    /// A whole line.
    pub(super) fn line(&mut self, text: &str) {
        self.flush();
        self.open.push_str(text);
        self.flush();
    }

    /// Why the build failed, in one sentence: what the tool said, then what the engine said.
    pub(super) fn reason(&self, message: &str) -> String {
        let mut said: Vec<&str> =
            self.tail.iter().map(String::as_str).filter(|line| is_complaint(line)).collect();
        if said.is_empty() {
            let lines = self.tail.iter().rev().map(String::as_str);
            said.extend(lines.filter(|line| !is_frame(line)).take(1));
        }
        said.dedup();
        let from = said.len().saturating_sub(2);
        let mut parts: Vec<_> = said.split_off(from);
        let message = message.trim();
        parts.retain(|part| !message.contains(part));
        parts.push(message);
        parts.join("; ").chars().take(REASON_CHARS_MAX).collect()
    }
}

/// What a line of the classic builder says that it has made. A step can print such a line too: what
/// it names is held against its age before anything is done to it.
fn made(line: &str) -> Option<StepMade> {
    let rest = line.strip_prefix(" ---> ")?;
    let is_id = |text: &str| {
        text.len() == SHORT_ID
            && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
    };
    match rest.strip_prefix("Running in ") {
        Some(id) => is_id(id).then(|| StepMade::Container(id.to_owned())),
        None => is_id(rest).then(|| StepMade::Image(rest.to_owned())),
    }
}

/// A line in which a tool complains.
fn is_complaint(line: &str) -> bool {
    let lower = line.trim_start().to_ascii_lowercase();
    lower.starts_with("error") || lower.starts_with("fatal") || lower.starts_with("e: ")
}

/// A line that the builder writes around the tools' output.
fn is_frame(line: &str) -> bool {
    line.starts_with("Step ")
        || line.starts_with(" --->")
        || line.starts_with("Removing intermediate container")
}

/// A line without colours and without what a carriage return has overwritten.
pub(in super::super) fn plain_line(text: &str) -> String {
    let text = text.trim_end_matches(['\n', '\r']);
    let text = text.rsplit('\r').next().unwrap_or_default();
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // `ESC [ … letter`
            let _ = chars.by_ref().find(char::is_ascii_alphabetic);
        } else if !c.is_control() || c == '\t' {
            plain.push(c);
        }
    }
    plain.chars().take(LINE_CHARS_MAX).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(lines: &[&str]) -> (Journal, tokio::sync::mpsc::Receiver<String>) {
        let (sink, lines_out) = tokio::sync::mpsc::channel(100);
        let mut journal = Journal::new(sink);
        for line in lines {
            journal.push(line);
        }
        (journal, lines_out)
    }

    #[test]
    fn a_failed_build_says_what_the_tool_said() {
        let (journal, _lines) = journal(&[
            "Step 2/3 : RUN pip install -r requirements.txt\n",
            " ---> Running in 0123456789ab\n",
            "\u{1b}[91mERROR: Could not find a version that satisfies the requirement nosuch\n\u{1b}[0m",
            "\u{1b}[91mERROR: No matching distribution found for nosuch\n\u{1b}[0m",
        ]);
        assert_eq!(
            journal.reason("The command '/bin/sh -c pip' returned a non-zero code: 1"),
            "ERROR: Could not find a version that satisfies the requirement nosuch; \
             ERROR: No matching distribution found for nosuch; \
             The command '/bin/sh -c pip' returned a non-zero code: 1"
        );
    }

    #[test]
    fn without_a_complaint_the_last_line_is_the_reason() {
        let (journal, _lines) = journal(&["Step 1/1 : RUN x\n", "sh: x: not found\n"]);
        assert_eq!(journal.reason("code: 127"), "sh: x: not found; code: 127");
    }

    #[test]
    fn log_lines_are_whole_and_plain() {
        let (mut journal, mut lines) = journal(&["a\nb", "c\n 10%\r 20%\n", "\u{1b}[1mbold"]);
        journal.flush();
        let seen: Vec<_> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
        assert_eq!(seen, ["a", "bc", " 20%", "bold"]);
    }

    /// Fault B03: a build whose log is not read is not held up.
    #[test]
    fn a_full_log_loses_lines_and_keeps_the_tail() {
        let (sink, _lines) = tokio::sync::mpsc::channel(1);
        let mut journal = Journal::new(sink);
        journal.push("a\nb\nc\n");
        assert_eq!(journal.tail, ["a", "b", "c"]);
    }

    #[test]
    fn what_a_build_makes_is_told_and_nothing_else() {
        let (steps, mut told) = tokio::sync::mpsc::channel(8);
        let (log, _lines) = tokio::sync::mpsc::channel(64);
        let mut journal = Journal::new(log).telling(Some(steps));
        journal.push(
            "Step 1/2 : FROM a\n ---> 0123456789ab\nStep 2/2 : RUN x\n ---> Running in ab0123456789\n\
             Removing intermediate container ab0123456789\n ---> Using cache\n ---> 0123456789AB\n\
             ---> 0123456789ab\n ---> 0123456789abc\n ---> Running in x\n ---> fedcba987654\n",
        );
        let seen: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
        let image = |id: &str| StepMade::Image(id.to_owned());
        let container = StepMade::Container("ab0123456789".to_owned());
        assert_eq!(seen, [image("0123456789ab"), container, image("fedcba987654")]);
    }
}
