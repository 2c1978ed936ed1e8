//! Problems by field, before anybody knows where in the text the field is.

use std::fmt;

use super::diagnostic::Severity;

/// One step down into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the value of a key.
    Key(String),
    /// To an element of a list, counted from 0.
    Index(usize),
}

/// The way to a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(pub(super) Vec<Step>);

impl Path {
    /// The path as a pattern: every list index is `[]`.
    pub(super) fn pattern(&self) -> String {
        self.show(|_| "[]".to_owned())
    }

    /// The name of the field itself, when it is one.
    pub(super) fn last_key(&self) -> Option<&str> {
        match self.0.last()? {
            Step::Key(key) => Some(key),
            Step::Index(_) => None,
        }
    }

    /// The way to what holds the field.
    pub(super) fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// The way to a field of this.
    pub(super) fn below(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Key(key.to_owned()));
        path
    }

    fn show(&self, index: impl Fn(usize) -> String) -> String {
        let mut shown = String::new();
        for step in &self.0 {
            match step {
                Step::Key(key) => {
                    if !shown.is_empty() {
                        shown.push('.');
                    }
                    shown.push_str(key);
                }
                Step::Index(at) => shown.push_str(&index(*at)),
            }
        }
        shown
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show(|at| format!("[{at}]")))
    }
}

/// The way to a field while walking: it costs nothing until something has to be said.
#[derive(Clone, Copy)]
pub(super) struct Trail<'a> {
    before: Option<&'a Trail<'a>>,
    step: Foot<'a>,
}

#[derive(Clone, Copy)]
enum Foot<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Trail<'a> {
    /// The document itself.
    pub(super) const ROOT: Trail<'static> = Trail { before: None, step: Foot::Root };

    /// The value of `key`.
    pub(super) fn key(&'a self, key: &'a str) -> Trail<'a> {
        Trail { before: Some(self), step: Foot::Key(key) }
    }

    /// The element `at`.
    pub(super) fn index(&'a self, at: usize) -> Trail<'a> {
        Trail { before: Some(self), step: Foot::Index(at) }
    }

    /// The way as a value of its own.
    pub(super) fn path(&self) -> Path {
        let mut steps = Vec::new();
        let mut here = Some(self);
        while let Some(trail) = here {
            match trail.step {
                Foot::Root => {}
                Foot::Key(key) => steps.push(Step::Key(key.to_owned())),
                Foot::Index(at) => steps.push(Step::Index(at)),
            }
            here = trail.before;
        }
        steps.reverse();
        Path(steps)
    }
}

/// Which part of a field is to be pointed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Its name.
    Key,
    /// Its value.
    Value,
}

/// What to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Help {
    /// Nothing is known.
    None,
    /// This.
    Text(String),
    /// The same, in quotes.
    Quote,
}

/// Something wrong with a field.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) severity: Severity,
    pub(super) code: &'static str,
    pub(super) path: Path,
    pub(super) part: Part,
    pub(super) message: String,
    pub(super) help: Help,
    /// It only follows from another problem when one of these fields has one.
    pub(super) unless: Vec<Path>,
    /// The field that was meant.
    pub(super) stands_for: Option<Path>,
}

impl Problem {
    /// An error at the value of `path`.
    pub(super) fn error(code: &'static str, path: Path, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            path,
            part: Part::Value,
            message: message.into(),
            help: Help::None,
            unless: Vec::new(),
            stands_for: None,
        }
    }

    /// Points at the field's name.
    pub(super) fn at_key(&mut self) -> &mut Self {
        self.part = Part::Key;
        self
    }

    /// Says what to write instead.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Help::Text(help.into());
        self
    }

    /// Is not worth a word when `path` has a problem of its own.
    pub(super) fn unless(&mut self, path: Path) -> &mut Self {
        self.unless.push(path);
        self
    }
}

/// A broken rule: what is wrong with a value, and what to write instead.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Broken {
    /// A value that breaks a rule.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { code: "manifest.invalid-value", message: message.into(), help: None }
    }

    /// With what to write instead.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With another code.
    pub(super) fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }
}

/// All the problems of a document.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Adds an error at the value of a field.
    pub(super) fn error(
        &mut self,
        code: &'static str,
        trail: &Trail<'_>,
        message: impl Into<String>,
    ) -> &mut Problem {
        self.push(Problem::error(code, trail.path(), message))
    }

    /// Adds an error about a required field that is not there.
    pub(super) fn missing(&mut self, trail: &Trail<'_>) -> &mut Problem {
        let path = trail.path();
        let message = format!("`{path}` is missing");
        let mut problem = Problem::error("manifest.missing-field", path.clone(), message);
        problem.at_key().unless(path);
        self.push(problem)
    }

    /// Adds a problem.
    pub(super) fn push(&mut self, problem: Problem) -> &mut Problem {
        let at = self.list.len();
        self.list.push(problem);
        &mut self.list[at]
    }

    /// The value, or a note of the rule that it breaks.
    pub(super) fn keep<T>(&mut self, trail: &Trail<'_>, value: Result<T, Broken>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(broken) => {
                self.refuse(trail, broken);
                None
            }
        }
    }

    /// Notes a broken rule.
    pub(super) fn refuse(&mut self, trail: &Trail<'_>, broken: Broken) -> &mut Problem {
        let mut problem = Problem::error(broken.code, trail.path(), broken.message);
        problem.help = broken.help.map_or(Help::None, Help::Text);
        self.push(problem)
    }

    /// The problems, without those that only follow from others.
    pub(super) fn finish(self) -> Vec<Problem> {
        let follows = |problem: &Problem| {
            self.list.iter().any(|cause| {
                cause.unless.is_empty()
                    && problem.unless.iter().any(|path| {
                        cause.path.0.starts_with(&path.0) || cause.stands_for.as_ref() == Some(path)
                    })
            })
        };
        self.list.iter().filter(|problem| !follows(problem)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_that_was_only_mistyped_is_not_reported_again() {
        let mut problems = Problems::default();
        let metadata = Trail::ROOT.key("metadata");
        problems.missing(&metadata.key("name"));
        problems.missing(&Trail::ROOT.key("kind"));
        problems.error("manifest.wrong-type", &metadata.key("name"), "no");
        let left: Vec<_> = problems.finish().into_iter().map(|p| p.message).collect();
        assert_eq!(left, ["`kind` is missing", "no"]);
    }

    #[test]
    fn paths_are_shown_as_people_write_them() {
        let ports = Trail::ROOT.key("spec");
        let ports = ports.key("ports");
        let first = ports.index(0);
        assert_eq!(first.key("name").path().to_string(), "spec.ports[0].name");
        assert_eq!(first.key("name").path().pattern(), "spec.ports[].name");
    }
}
