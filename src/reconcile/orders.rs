//! What a person asks of one app, as notes for its next pass.

use super::Reconciler;
use crate::model::{AppName, Phase, Reason};
use crate::record::{CommandError, Order, ledger::Facts};
use crate::state::{Request, Want, WorkKind};

impl Reconciler {
    /// Takes note of what is asked of an app. The answer says what comes of it.
    pub async fn order(&self, app: &AppName, order: Order) -> Result<String, CommandError> {
        self.must_exist(app)?;
        let ledger = &self.ledger;
        let told = match order {
            Order::Start => {
                ledger.update(app, |facts| {
                    facts.is_paused = false;
                    facts.request.take_if(|request| *request == Request::Install);
                });
                "starting"
            }
            Order::Stop => {
                ledger.update(app, |facts| facts.is_paused = true);
                "stopping; it stays stopped until `berth start`"
            }
            Order::Restart => {
                ledger.update(app, |facts| {
                    facts.ask(Request::Restart);
                    facts.restarting = None;
                });
                "restarting"
            }
            Order::Install => {
                self.install(app);
                "installing; it stays stopped until `berth start`"
            }
            Order::Rebuild => {
                self.rebuild(app);
                let desired = self.desired.borrow();
                let is_git = desired.app(app).is_none_or(|app| app.spec.git().is_some());
                if is_git {
                    "building from scratch"
                } else {
                    "looking up what its image's name means now"
                }
            }
            Order::Reconcile => {
                ledger.update(app, Facts::try_again);
                "looking at it now"
            }
            Order::Undo(revision) => return self.undo(app, revision).await,
        };
        Ok(told.to_owned())
    }

    /// Has an app's image made. What runs is installed, and is left as it is.
    fn install(&self, app: &AppName) {
        let runs = |phase| matches!(phase, Phase::Running | Phase::Degraded);
        if !self.record.entry(app).is_some_and(|entry| runs(entry.status.phase)) {
            self.ledger.update(app, |facts| {
                facts.is_paused = true;
                facts.ask(Request::Install);
                facts.failures.clear();
            });
        }
    }

    fn rebuild(&self, app: &AppName) {
        let is_git = self.desired.borrow().app(app).is_some_and(|app| app.spec.git().is_some());
        self.ledger.update(app, |facts| {
            // What runs is kept back on purpose: now what is there is asked for.
            let kept = facts.failures.get(&WorkKind::Fetch).map(|failure| failure.reason);
            if matches!(kept, Some(Reason::TagMoved | Reason::RefMissing)) {
                facts.ask(Request::Take);
            } else if is_git {
                facts.rebuilds += 1;
            }
            facts.pulled_generation = None;
            facts.look_up_again();
            facts.pin = None;
            facts.bad_revision = None;
            facts.failures.clear();
        });
    }

    /// Refuses what is asked of an app that no manifest names.
    pub fn must_exist(&self, app: &AppName) -> Result<(), CommandError> {
        match self.desired.borrow().want(app) {
            Want::Present(_) | Want::Invalid { .. } => Ok(()),
            Want::Absent | Want::Held(_) => Err(CommandError::NotFound(app.clone())),
        }
    }
}
