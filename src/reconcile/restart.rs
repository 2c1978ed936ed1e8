//! A restart that was asked for: it is done once, whenever Berth ends meanwhile.
//!
//! Which run of the container it ends is written down before that is stopped. Whoever finds the
//! request later can see whether that run is over.

use std::collections::BTreeMap;

use super::Reconciler;
use crate::model::AppName;
use crate::plan::{Call, Input, Plan, Step, Verb};
use crate::record::ledger::Facts;
use crate::state::{ContainerId, ContainerState, Detail, Life, Request, World};

impl Reconciler {
    /// What a person asked for that is still to be done.
    pub(super) fn still_asked(
        &self,
        app: &AppName,
        facts: &Facts,
        world: &World,
        details: &BTreeMap<ContainerId, Detail>,
    ) -> Option<Request> {
        let request = facts.request?;
        let Some(life) = facts.restarting.as_ref().filter(|_| request == Request::Restart) else {
            return Some(request);
        };
        let mine = world.containers_of(app);
        let container = mine.into_iter().find(|container| container.id.as_str() == life.id);
        let is_over = match container {
            None => true,
            Some(container) if container.state != ContainerState::Running => false,
            // What can't be seen is not stopped a second time (fault D01).
            Some(container) => details.get(&container.id)?.started_at? != life.started_at,
        };
        if !is_over {
            return Some(request);
        }
        self.ledger.update(app, |facts| {
            if facts.request == Some(request) && facts.restarting.as_ref() == Some(life) {
                (facts.request, facts.restarting) = (None, None);
            }
        });
        None
    }

    /// Writes down which run a restart ends, before it does.
    pub(super) async fn note_restart(&self, input: &Input<'_>, plan: &Plan) {
        if plan.verb != Verb::Restart || input.state.request != Some(Request::Restart) {
            return;
        }
        let stopped = plan.steps.iter().find_map(|step| match &step.step {
            Step::Call(Call::Stop { target, .. }) => target.id.as_ref(),
            _ => None,
        });
        let started = |id| input.state.details.get(id).and_then(|detail| detail.started_at);
        let Some((id, started_at)) = stopped.and_then(|id| Some((id, started(id)?))) else {
            return;
        };
        let life = Life { id: id.as_str().to_owned(), started_at };
        self.ledger.update(input.app, |facts| facts.restarting = Some(life));
        if let Err(why) = self.ledger.until_kept().await {
            // Without that a kill right now could make it two restarts, and nothing worse.
            tracing::debug!(app = input.app.as_str(), %why, "restart not written down");
        }
    }
}
