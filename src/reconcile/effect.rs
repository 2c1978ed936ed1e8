//! Calls that the engine answers well and that have no effect.
//!
//! An engine whose disk is full starts a container, can't write that down, lists it as not started,
//! and answers the next start with "it runs". Who only goes by such answers calls without end.

use std::time::Duration;

use super::{AFTER_CHANGE, Reconciler};
use crate::model::Reason;
use crate::plan::{Outcome, Plan, Step, StepFailure, render_step};

/// So often the same calls may be needed again, with growing pauses of 1.2 s together, before that
/// is a failure: what an engine lists may lag behind what it answers.
const REPEATS: u32 = 6;

/// The calls of the last pass, and how often they have been needed again since.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    steps: Vec<String>,
    repeats: u32,
}

impl Calls {
    /// Takes note of a pass's calls; answers how often the same were made before.
    pub(super) fn note(&mut self, steps: Vec<String>) -> u32 {
        self.repeats = if !steps.is_empty() && steps == self.steps { self.repeats + 1 } else { 0 };
        self.steps = steps;
        self.repeats
    }
}

impl Reconciler {
    /// Answers when to look again after a pass with calls. The same calls again and again are
    /// answered with longer pauses, then with a failure (faults D18, D41, T13).
    pub(super) fn expect_effect(&self, plan: &Plan, outcome: &mut Outcome) -> Duration {
        let calls = plan.steps.iter().filter(|step| matches!(step.step, Step::Call(_)));
        let calls: Vec<_> = calls.map(|step| render_step(&step.step)).collect();
        let last = calls.last().cloned().unwrap_or_default();
        let repeats = self.memory.repeats(&plan.app, calls);
        if REPEATS <= repeats && outcome.failure.is_none() {
            let message = format!(
                "the engine answers that `{last}` is done and shows no effect of it; its own log may say why"
            );
            // Whatever it is, it is not this version's fault.
            let is_outcome_unknown = true;
            let reason = Reason::EngineError;
            outcome.failure = Some(StepFailure { step: last, reason, message, is_outcome_unknown });
        }
        AFTER_CHANGE * (1 << repeats.min(REPEATS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_calls_in_a_row_are_repeats() {
        let mut calls = Calls::default();
        let steps = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        let noted: Vec<_> =
            ["a b", "a b", "a b", "a", "", "", "a", "a"].map(|text| calls.note(steps(text))).into();
        assert_eq!(noted, [0, 1, 2, 0, 0, 0, 0, 1]);
    }
}
