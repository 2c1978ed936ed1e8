//! What is remembered of each app's passes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::effect::Calls;
use crate::model::{AppName, Timestamp};

/// So long after something happened to an app its containers are inspected in every pass.
const TROUBLE: Duration = Duration::from_secs(60);

/// A pass that fails so soon after another one that did has a longer pause after it, whatever was
/// between them: an engine that fails each other time is not asked all the time.
const OF_LATE: Duration = Duration::from_secs(120);

/// How often each app's passes failed in a row, when the last one that changed something ended,
/// and when something last happened to the app.
#[derive(Debug, Default)]
pub struct Memory {
    apps: Mutex<BTreeMap<AppName, PassMemory>>,
    born: OnceLock<Timestamp>,
}

#[derive(Debug, Default)]
struct PassMemory {
    failures: u32,
    /// How many passes failed of late, with others between them, and when the last one did.
    failures_of_late: u32,
    failed: Option<Instant>,
    changed: Option<Instant>,
    troubled: Option<Instant>,
    started: Option<Instant>,
    calls: Calls,
    /// The GPUs that it held when it was last looked at.
    gpus: BTreeSet<String>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, PassMemory>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When this Berth first looked at any app.
    pub(super) fn born(&self, now: Timestamp) -> Timestamp {
        *self.born.get_or_init(|| now)
    }

    /// When the last pass that may have changed something ended: what was seen before does not
    /// count any more.
    pub(super) fn changed(&self, app: &AppName) -> Option<Instant> {
        self.lock().get(app).and_then(|memory| memory.changed)
    }

    /// How often in a row the app's passes have failed.
    pub(super) fn failures(&self, app: &AppName) -> u32 {
        self.lock().get(app).map_or(0, |memory| memory.failures)
    }

    /// Whether something happened to the app not long ago.
    pub(super) fn is_troubled(&self, app: &AppName) -> bool {
        let troubled = self.lock().get(app).and_then(|memory| memory.troubled);
        troubled.is_some_and(|since| since.elapsed() < TROUBLE)
    }

    /// Something happened to the app: it is looked at closely for a while.
    pub(super) fn trouble(&self, app: &AppName) {
        self.lock().entry(app.clone()).or_default().troubled = Some(Instant::now());
    }

    /// A pass did steps.
    pub(super) fn change(&self, app: &AppName) {
        self.lock().entry(app.clone()).or_default().changed = Some(Instant::now());
    }

    /// When Berth last began to start a container of the app.
    pub(super) fn started(&self, app: &AppName) -> Option<Instant> {
        self.lock().get(app).and_then(|memory| memory.started)
    }

    /// A container of the app is about to be started.
    pub(super) fn start(&self, app: &AppName) {
        self.lock().entry(app.clone()).or_default().started = Some(Instant::now());
    }

    /// A pass made these calls; answers how often in a row the same were made before.
    pub(super) fn repeats(&self, app: &AppName, steps: Vec<String>) -> u32 {
        self.lock().entry(app.clone()).or_default().calls.note(steps)
    }

    /// The app holds these GPUs now; answers whether there is one that it does not hold any more.
    pub(super) fn holds_less(&self, app: &AppName, gpus: BTreeSet<String>) -> bool {
        let mut apps = self.lock();
        let held = &mut apps.entry(app.clone()).or_default().gpus;
        let has_less = !held.is_subset(&gpus);
        *held = gpus;
        has_less
    }

    /// A pass ended; answers how many have failed of late.
    pub(super) fn end(&self, app: &AppName, is_failed: bool) -> u32 {
        let mut apps = self.lock();
        let memory = apps.entry(app.clone()).or_default();
        memory.failures = if is_failed { memory.failures + 1 } else { 0 };
        if is_failed {
            let is_of_late = memory.failed.is_some_and(|at| at.elapsed() < OF_LATE);
            memory.failures_of_late = if is_of_late { memory.failures_of_late + 1 } else { 1 };
            memory.failed = Some(Instant::now());
        }
        memory.failures_of_late
    }

    /// The app is gone.
    pub(super) fn forget(&self, app: &AppName) {
        self.lock().remove(app);
    }
}
