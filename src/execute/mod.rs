//! Carrying out a plan: one step after the other, without a decision of its own.

mod cache;
mod context;
mod disk;
mod ends;
mod jobs;
mod models;
mod steps;
mod twins;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};

use crate::engine::{Applied, Engine, Error, ResolvedCall};
use crate::model::{AppName, Reason};
use crate::plan::{
    Call, Look, Outcome, Plan, PlannedStep, Step, StepFailure, Target, Work, render_step,
};
use crate::secret::Given;
use crate::state::ContainerId;
use crate::telemetry::Metrics;
use crate::workspace::Workspace;
pub use cache::Spare;
use ends::Ends;
pub use jobs::{Done, Finished, JobError, JobSettings, Jobs};

/// How many stops may be waiting for their grace periods at once.
const STOPS_AT_ONCE: usize = 64;
/// A stop that takes longer waits for the app and not for the engine: other calls may begin.
const STOP_SHARE: Duration = Duration::from_millis(500);

/// Carries out plans.
pub struct Executor {
    engine: Arc<dyn Engine>,
    workspace: Arc<Workspace>,
    jobs: Arc<Jobs>,
    metrics: Arc<Metrics>,
    calls: Semaphore,
    stops: Semaphore,
    ends: Ends,
    /// The step of each app that is under way.
    doing: Mutex<BTreeMap<AppName, String>>,
}

impl Executor {
    /// An executor for this engine.
    pub fn new(
        engine: Arc<dyn Engine>,
        workspace: Arc<Workspace>,
        jobs: Arc<Jobs>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let calls = Semaphore::new(jobs.settings().calls);
        let stops = Semaphore::new(STOPS_AT_ONCE);
        let (ends, doing) = (Ends::default(), Mutex::default());
        Self { engine, workspace, jobs, metrics, calls, stops, ends, doing }
    }

    /// Whether this container ends because a plan said so, now or just before: events about it are
    /// no news.
    pub fn is_ending(&self, id: &ContainerId) -> bool {
        self.ends.has(id)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, String>> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The app's step that is under way.
    pub fn doing(&self, app: &AppName) -> Option<String> {
        self.lock().get(app).cloned()
    }

    /// Does a plan's steps in order, up to the first that fails.
    pub async fn execute(&self, plan: &Plan, uid: Option<u32>) -> Outcome {
        let outcome = self.do_steps(plan, uid).await;
        self.lock().remove(&plan.app);
        outcome
    }

    async fn do_steps(&self, plan: &Plan, uid: Option<u32>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut created = None;
        for planned in &plan.steps {
            self.lock().insert(plan.app.clone(), render_step(&planned.step));
            let done = match &planned.step {
                Step::Call(call) => self.call(&plan.app, call, uid, &mut created).await,
                Step::Work(work) => {
                    self.jobs.start(&plan.app, work);
                    Ok(true)
                }
                Step::Cancel(kind) => Ok(self.jobs.cancel(&plan.app, *kind)),
            };
            self.tell(&plan.app, planned, done.as_ref().err());
            match done {
                Ok(changed) => outcome.changed += usize::from(changed),
                Err(error) => {
                    outcome.failure = Some(failure(planned, &error));
                    return outcome;
                }
            }
        }
        outcome
    }

    fn tell(&self, app: &AppName, planned: &PlannedStep, error: Option<&Error>) {
        let step = render_step(&planned.step);
        let action = action(&planned.step);
        match error {
            None => {
                self.metrics.step(action, "ok");
                let cause = planned.cause.as_str();
                if matches!(&planned.step, Step::Work(Work::Fetch { look: Look::Polled, .. })) {
                    tracing::debug!(app = app.as_str(), step, cause, "looking for news");
                } else if matches!(planned.step, Step::Work(_)) {
                    tracing::info!(app = app.as_str(), step, cause, "work begun");
                } else {
                    tracing::info!(app = app.as_str(), step, cause, "step done");
                }
            }
            Some(error) => {
                self.metrics.step(action, "failed");
                tracing::warn!(app = app.as_str(), step, %error, "step failed");
            }
        }
    }

    /// Does one call; answers whether it changed something.
    async fn call(
        &self,
        app: &AppName,
        call: &Call,
        uid: Option<u32>,
        created: &mut Option<ContainerId>,
    ) -> Result<bool, Error> {
        let resolve = |target: &Target| target.id.clone().or_else(|| created.clone());
        let mut given = Given::default();
        let id = match call {
            Call::Stop { target, .. } | Call::Start(target) | Call::Remove(target) => {
                resolve(target)
            }
            Call::Create(spec) => {
                self.workspace.prepare(app, uid).map_err(|error| Error::Work(error.to_string()))?;
                models::place(self.jobs.settings().models.as_ref(), &spec.shape.models).await?;
                let book = &self.jobs.settings().book;
                given = book.give(app, &spec.shape.secrets, uid).await.map_err(Error::Secret)?;
                None
            }
            Call::EnsureNetwork { .. } | Call::Prove(_) | Call::RemoveImage { .. } => None,
        };
        let is_stop = matches!(call, Call::Stop { .. });
        let closed = |error: tokio::sync::AcquireError| Error::Work(error.to_string());
        let _stop = if is_stop { Some(self.stops.acquire().await.map_err(closed)?) } else { None };
        let turn = self.calls.acquire().await.map_err(closed)?;
        self.ends.begin(call, id.as_ref());
        let resolved = ResolvedCall { call, id: id.clone(), given };
        let mut work = self.engine.apply(&resolved);
        let early = if is_stop { timeout(STOP_SHARE, &mut work).await.ok() } else { None };
        let applied = match early {
            Some(applied) => applied,
            None if is_stop => {
                drop(turn);
                work.await
            }
            None => work.await,
        };
        self.ends.end(id.as_ref());
        match applied? {
            Applied::AlreadySo => Ok(false),
            Applied::Changed => Ok(true),
            Applied::Created(id) => {
                *created = Some(id);
                Ok(true)
            }
        }
    }
}

fn failure(planned: &PlannedStep, error: &Error) -> StepFailure {
    StepFailure {
        step: render_step(&planned.step),
        reason: match error {
            Error::ImageMissing(_) => Reason::EngineError,
            other => other.reason(),
        },
        message: error.to_string(),
        is_outcome_unknown: error.is_outcome_unknown(),
    }
}

/// The step's word in the metrics.
fn action(step: &Step) -> &'static str {
    match step {
        Step::Work(work) => match work.kind() {
            crate::state::WorkKind::Fetch => "fetch",
            crate::state::WorkKind::Build => "build",
            crate::state::WorkKind::Pull => "pull",
        },
        Step::Cancel(_) => "cancel",
        Step::Call(call) => match call {
            Call::EnsureNetwork { .. } => "network",
            Call::Create(_) => "create",
            Call::Prove(_) => "prove",
            Call::Start(_) => "start",
            Call::Stop { .. } => "stop",
            Call::Remove(_) => "remove",
            Call::RemoveImage { .. } => "remove-image",
        },
    }
}

/// The pause before a pass that failed `attempts` times in a row is tried again.
pub fn backoff(attempts: u32) -> Duration {
    let doubled = 1_u64 << attempts.saturating_sub(1).min(6);
    Duration::from_secs(doubled.min(60))
}
