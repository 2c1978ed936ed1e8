//! Trees on a terminal.

use super::output::Output;

/// A line with what is below it.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    text: String,
    below: Vec<Self>,
}

impl Branch {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), below: Vec::new() }
    }

    pub(super) fn push(&mut self, branch: Self) {
        self.below.push(branch);
    }

    /// The same, with this below it.
    pub(super) fn with(mut self, branch: Self) -> Self {
        self.push(branch);
        self
    }

    /// All lines.
    pub(super) fn lines(&self, output: &Output) -> Vec<String> {
        let marks = if output.has_unicode() {
            ["├─ ", "└─ ", "│  ", "   "]
        } else {
            ["|- ", "`- ", "|  ", "   "]
        };
        let mut lines = vec![self.text.clone()];
        self.add(&marks, "", &mut lines);
        lines
    }

    fn add(&self, marks: &[&str; 4], indent: &str, lines: &mut Vec<String>) {
        for (at, branch) in self.below.iter().enumerate() {
            let is_last = at + 1 == self.below.len();
            let (mark, further) = if is_last { (marks[1], marks[3]) } else { (marks[0], marks[2]) };
            lines.push(format!("{indent}{mark}{}", branch.text));
            branch.add(marks, &format!("{indent}{further}"), lines);
        }
    }
}
