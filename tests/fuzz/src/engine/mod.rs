//! The readers of the engine's answers, with what they take from their surroundings.

pub(crate) mod docker;
#[path = "../../../../src/engine/hint.rs"]
mod hint;

use std::{
    cell::Cell,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    rc::Rc,
};

pub(crate) use hint::Hint;

/// The one error that a reader of answers gives.
#[derive(Debug)]
#[allow(dead_code, reason = "nobody looks inside")]
pub(crate) enum Error {
    Broken { call: &'static str, message: String },
}

/// Takes the lines of a log, and remembers how many there were and a digest of them all.
#[derive(Clone, Default)]
pub(crate) struct LogSink(Rc<Cell<(usize, u64)>>);

impl LogSink {
    #[allow(clippy::unnecessary_wraps, reason = "the real one may be full")]
    pub(crate) fn try_send(&self, line: String) -> Result<(), String> {
        assert!(line.len() <= 8000 && !line.contains(['\n', '\u{1b}']), "a line is not plain");
        let (count, sum) = self.0.get();
        let mut hasher = DefaultHasher::new();
        (sum, line).hash(&mut hasher);
        self.0.set((count + 1, hasher.finish()));
        Ok(())
    }

    pub(crate) fn taken(&self) -> (usize, u64) {
        self.0.get()
    }
}

/// What the classic builder makes on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StepMade {
    Image(String),
    Container(String),
}

/// Takes what a build makes on its way: ids, which go into a file and are removed by later.
pub(crate) struct StepSink;

impl StepSink {
    #[allow(clippy::unnecessary_wraps, reason = "the real one may be full")]
    pub(crate) fn try_send(&self, made: StepMade) -> Result<(), String> {
        let (StepMade::Image(id) | StepMade::Container(id)) = made;
        let is_digit = |c: char| c.is_ascii_hexdigit() && !c.is_ascii_uppercase();
        assert!(!id.is_empty() && id.len() <= 64 && id.chars().all(is_digit), "not an id: {id}");
        Ok(())
    }
}
