//! What is written down when long work ends. The app's key goes back into the queue; what follows
//! is found out by looking.

use std::time::Duration;

use super::{Reconciler, backoff};
use crate::execute::{Done, Finished, JobError};
use crate::model::{AppName, Reason};
use crate::record::ledger::Facts;
use crate::state::{Failure, Resolved, WorkKind};

/// After so many failures with the same input the pauses no longer grow.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// The pause before what only a person can mend is tried again all the same.
const PERMANENT_PAUSE: Duration = Duration::from_secs(300);

impl Reconciler {
    /// Takes note of long work that has ended.
    pub fn finish(&self, finished: Finished) {
        let Finished { app, kind, input, result, took } = finished;
        self.mind_the_clock();
        let outcome = if result.is_ok() { "ok" } else { "failed" };
        match kind {
            WorkKind::Build => self.metrics.built(outcome, took),
            WorkKind::Fetch => self.metrics.fetched(outcome, took),
            WorkKind::Pull => self.metrics.pulled(outcome, took),
        }
        match result {
            Ok(done) => self.succeed(&app, (kind, &input), &done),
            Err(error) => self.fail(&app, kind, input, error),
        }
        self.queue.ask(&app, Duration::ZERO);
    }

    fn succeed(&self, app: &AppName, (kind, input): (WorkKind, &str), done: &Done) {
        let now = self.clock.now();
        let (reason, message) = match done {
            Done::Fetched(checkout) => {
                (Reason::Fetched, format!("fetched commit {}", checkout.commit))
            }
            Done::Built(_) => (Reason::ImagePresent, "the image was built".to_owned()),
            Done::Pulled(_) => (Reason::ImagePresent, "the image was pulled".to_owned()),
        };
        let is_news = self.ledger.update(app, |facts| {
            facts.failures.remove(&kind);
            match kind {
                WorkKind::Fetch => {
                    let is_first = facts.checked_at.replace(now).is_none();
                    return is_first;
                }
                WorkKind::Pull => {
                    facts.pulled_generation = Some(facts.generation);
                    // What was pulled counts, whatever was listed before that.
                    if let Done::Pulled(id) = done {
                        facts.resolved = Some(pulled(facts, input, id));
                    }
                }
                WorkKind::Build => {
                    if let Done::Built(rebuilds) = done {
                        facts.rebuilt = facts.rebuilt.max(*rebuilds);
                    }
                }
            }
            true
        });
        if is_news {
            self.tell(app, false, reason, message);
        }
    }

    fn fail(&self, app: &AppName, kind: WorkKind, input: String, error: JobError) {
        let now = self.clock.now();
        let JobError { reason, message, is_permanent } = error;
        let told = message.clone();
        let attempts = self.ledger.update(app, |facts| {
            let before = facts.failures.get(&kind).filter(|before| before.input == input);
            let attempts = before.map_or(0, |before| before.attempts) + 1;
            let pause = if is_permanent { PERMANENT_PAUSE } else { pause(attempts) };
            let retry_at = Some(now + pause);
            let failure = Failure { input, reason, message, at: now, attempts, retry_at };
            facts.failures.insert(kind, failure);
            attempts
        });
        tracing::warn!(app = app.as_str(), %kind, attempts, error = told, "work failed");
        self.tell(app, true, reason, told);
    }
}

/// What is known once an image was pulled by its name. One that was pulled by its digest is what
/// was known already.
fn pulled(facts: &Facts, name: &str, id: &str) -> Resolved {
    let by_digest = facts.resolved.clone().filter(|known| known.digest.as_deref() == Some(name));
    let (name, id) = (name.to_owned(), id.to_owned());
    match by_digest {
        Some(known) => Resolved { id, ..known },
        None => Resolved { reference: name, generation: facts.generation, id, digest: None },
    }
}

/// 10 s, 20 s, 40 s, …: a build or clone costs more than a call.
fn pause(attempts: u32) -> Duration {
    (backoff(attempts) * 10).min(PAUSE_MAX)
}
