//! The reader of the engine's answers, with the two things that it takes from its surroundings.

pub(crate) mod docker;

/// The one error that a reader of answers gives.
#[derive(Debug)]
#[allow(dead_code, reason = "nobody looks inside")]
pub(crate) enum Error {
    Broken { call: &'static str, message: String },
}
