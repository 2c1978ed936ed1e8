//! What one screen says: each cause once, however many of the API's documents name it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document::text;

/// What stands in place of a text that was shown already.
const AS_ABOVE: &str = "(as above)";

/// The texts that a screen has shown.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeSet<String>);

impl Said {
    /// The screen begins with this one.
    pub(super) fn new(first: &str) -> Self {
        let mut said = Self::default();
        said.once(first);
        said
    }

    /// The text, or where it is to be read already.
    pub(super) fn once(&mut self, message: &str) -> String {
        if self.knows(message) {
            return AS_ABOVE.to_owned();
        }
        if !message.is_empty() {
            self.0.insert(message.to_owned());
        }
        message.to_owned()
    }

    /// Whether it was shown, alone or as the beginning of more.
    pub(super) fn knows(&self, message: &str) -> bool {
        let begins = format!("{message}; ");
        !message.is_empty() && self.0.iter().any(|it| it == message || it.starts_with(&begins))
    }

    /// What an event says. A warning repeats the cause that the status has; the rest is history.
    pub(super) fn event(&mut self, event: &Value, times: usize) -> String {
        let message = text(event, "/message");
        let said = match message.split_once(": ") {
            _ if text(event, "/type") != "Warning" => message.to_owned(),
            Some((phase, cause)) if self.knows(cause) => format!("{phase}: {AS_ABOVE}"),
            _ => self.once(message),
        };
        if times == 1 { said } else { format!("{said} ({times} times)") }
    }

    /// The lines of a plan, each cause among them once.
    pub(super) fn plan(&self, lines: &str) -> Vec<String> {
        let line = |line: &str| {
            let reason = line.rfind(" (").filter(|_| line.ends_with(')'));
            let cause = ["waits: ", "refused: "].iter().find_map(|word| {
                let begin = line.find(word)? + word.len();
                line.get(begin..reason?).filter(|cause| self.knows(cause))
            });
            cause.map_or_else(|| line.to_owned(), |cause| line.replacen(cause, AS_ABOVE, 1))
        };
        lines.lines().map(line).collect()
    }
}

/// Events that say the same as one, the last of them, with how often it happened: at most so many,
/// oldest first.
pub(super) fn folded(events: &[Value], most: usize) -> Vec<(&Value, usize)> {
    let mut kept: Vec<(&Value, usize)> = Vec::new();
    for event in events.iter().rev() {
        let is_same = |other: &Value| {
            ["/app", "/reason", "/message"].iter().all(|it| text(event, it) == text(other, it))
        };
        match kept.iter_mut().find(|(other, _)| is_same(other)) {
            Some((_, times)) => *times += 1,
            None => kept.push((event, 1)),
        }
    }
    kept.truncate(most);
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cause_is_said_once_and_then_pointed_at() {
        let mut said = Said::new("no such file; held at revision 2");
        assert_eq!(said.once("no such file"), AS_ABOVE);
        assert_eq!(said.once("no such"), "no such", "part of a word is another text");
        assert_eq!(said.once(""), "");
        let event = |kind: &str, message: &str| json!({"type": kind, "message": message});
        assert_eq!(said.event(&event("Warning", "Failed: no such file"), 1), "Failed: (as above)");
        assert_eq!(said.event(&event("Warning", "no such file"), 3), "(as above) (3 times)");
        assert_eq!(said.event(&event("Normal", "no such file"), 1), "no such file");
        assert_eq!(said.event(&event("Warning", "another: one"), 2), "another: one (2 times)");
        let plan = "= app/a waits\n    refused: no such file (BuildFailed)\n    refused: no (X)";
        let lines =
            ["= app/a waits", "    refused: (as above) (BuildFailed)", "    refused: no (X)"];
        assert_eq!(said.plan(plan), lines);
    }

    #[test]
    fn what_happens_again_and_again_is_one_line_with_its_last_time() {
        let event = |at: &str, message: &str| json!({"at": at, "reason": "R", "message": message});
        let all = [event("1", "a"), event("2", "b"), event("3", "a"), event("4", "c")];
        let rows = |most: usize| {
            let rows = folded(&all, most).into_iter();
            rows.map(|(event, times)| (text(event, "/at"), times)).collect::<Vec<_>>()
        };
        assert_eq!(rows(9), [("2", 1), ("3", 2), ("4", 1)]);
        assert_eq!(rows(2), [("3", 2), ("4", 1)]);
    }
}
