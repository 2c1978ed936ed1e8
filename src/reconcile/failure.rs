//! What is written down when a step fails.

use std::time::Duration;

use tokio::time::Instant;

use super::{Reconciler, as_app};
use crate::model::Reason;
use crate::plan::{Call, Input, Outcome, Plan, PlannedStep, Step, StepFailure, Verb};
use crate::state::{BadRevision, Container, ContainerState};

/// Whether the manifest lets the version before come back.
fn is_rolled_back(input: &Input<'_>) -> bool {
    as_app(input.want).is_some_and(|app| app.spec.rollout.auto_rollback)
}

/// So often in a row a new version may fail to start before it is given up (fault D08).
const START_ATTEMPTS: u32 = 3;

impl Reconciler {
    /// A step failed: a port that somebody else holds is given up, and a version that can't be
    /// started while an old one is kept is given up too.
    pub(super) async fn settle_failure(
        &self,
        input: &Input<'_>,
        plan: &Plan,
        failure: &StepFailure,
    ) {
        if failure.reason == Reason::PortTaken {
            if !self.holds_itself(input).await {
                self.ledger.burn(input.app, &input.state.placement.bindings, input.now);
            }
            return;
        }
        let is_start = failure.step.starts_with("start ");
        let has_kept = !input.containers().is_empty();
        // The version before can't be started either: that says nothing about the new one.
        if is_start && plan.verb == Verb::Restore {
            self.ledger.update(input.app, |facts| {
                facts.bad_revision =
                    facts.bad_revision.take().filter(|bad| bad.reason != failure.reason);
            });
            return;
        }
        if !is_start || failure.is_outcome_unknown || !has_kept || plan.verb != Verb::Replace {
            return;
        }
        // No version is to blame for a full disk (fault D41).
        if failure.message.contains("no space left on device") {
            return;
        }
        if !is_rolled_back(input) {
            return;
        }
        // An engine fails for a moment, too: a version is given up once it has failed some times.
        if self.memory.failures(input.app) + 1 < START_ATTEMPTS {
            return;
        }
        if let Some(hash) = &plan.wanted {
            let bad = BadRevision {
                spec_hash: hash.clone(),
                reason: failure.reason,
                message: failure.message.clone(),
                at: input.now,
            };
            self.ledger.update(input.app, |facts| facts.bad_revision = Some(bad));
            // The version before takes its place at once.
            self.queue.ask(input.app, Duration::ZERO);
        }
    }

    /// Writes down whether a container could not be started because its network is gone. It knows
    /// the network by its id, so that a new network does not help it (fault D45).
    pub(super) fn note_network(&self, input: &Input<'_>, plan: &Plan, outcome: &Outcome) {
        let is_start = |step: &PlannedStep| matches!(step.step, Step::Call(Call::Start(_)));
        if !plan.steps.iter().any(is_start) {
            return;
        }
        let is_lost = outcome.failure.as_ref().is_some_and(|failure| {
            let message = &failure.message;
            failure.step.starts_with("start ")
                && message.contains("network ")
                && message.ends_with(" not found")
        });
        // What was just made anew and fails the same way is not made anew again at once: its removal
        // is an event, which would have it looked at without a pause.
        let is_lost = is_lost && !input.state.is_network_lost;
        if is_lost != input.state.is_network_lost {
            self.ledger.update(input.app, |facts| facts.is_network_lost = is_lost);
        }
    }

    /// Whether a port that could not be bound is held by another container of the same app, as the
    /// engine shows it now: one that it said was stopped, or did not show before. While that is not
    /// known nothing is given up.
    async fn holds_itself(&self, input: &Input<'_>) -> bool {
        let Ok(world) = self.observer.fresh(Instant::now()).await else { return true };
        let bindings = &input.state.placement.bindings;
        let holds = |container: &&Container| {
            let is_up = matches!(container.state, ContainerState::Running | ContainerState::Paused);
            is_up && container.ports.iter().any(|port| bindings.contains(port))
        };
        world.containers_of(input.app).iter().any(holds)
    }
}
