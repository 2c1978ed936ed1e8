//! What came of a plan.

use crate::model::Reason;

/// What came of a plan's steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many steps changed something.
    pub changed: usize,
    /// The step that failed; those after it were not tried.
    pub failure: Option<StepFailure>,
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// The step, as text.
    pub step: String,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: String,
    /// Whether the engine may have done it all the same.
    pub is_outcome_unknown: bool,
}
