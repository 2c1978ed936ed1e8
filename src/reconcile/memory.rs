//! What is remembered of each app's passes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::AppName;

/// So long after something happened to an app its containers are inspected in every pass.
const TROUBLE: Duration = Duration::from_secs(60);

/// How often each app's passes failed in a row, when the last one that changed something ended,
/// and when something last happened to the app.
#[derive(Debug, Default)]
pub struct Memory {
    apps: Mutex<BTreeMap<AppName, PassMemory>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PassMemory {
    failures: u32,
    changed: Option<Instant>,
    troubled: Option<Instant>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AppName, PassMemory>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, app: &AppName) -> PassMemory {
        self.lock().get(app).copied().unwrap_or_default()
    }

    /// When the last pass that may have changed something ended: what was seen before does not
    /// count any more.
    pub(super) fn changed(&self, app: &AppName) -> Option<Instant> {
        self.of(app).changed
    }

    /// How often in a row the app's passes have failed.
    pub(super) fn failures(&self, app: &AppName) -> u32 {
        self.of(app).failures
    }

    /// Whether something happened to the app not long ago.
    pub(super) fn is_troubled(&self, app: &AppName) -> bool {
        self.of(app).troubled.is_some_and(|since| since.elapsed() < TROUBLE)
    }

    /// Something happened to the app: it is looked at closely for a while.
    pub(super) fn trouble(&self, app: &AppName) {
        self.lock().entry(app.clone()).or_default().troubled = Some(Instant::now());
    }

    /// A pass did steps.
    pub(super) fn change(&self, app: &AppName) {
        self.lock().entry(app.clone()).or_default().changed = Some(Instant::now());
    }

    /// A pass ended; answers how many in a row have failed now.
    pub(super) fn end(&self, app: &AppName, is_failed: bool) -> u32 {
        let mut apps = self.lock();
        let memory = apps.entry(app.clone()).or_default();
        memory.failures = if is_failed { memory.failures + 1 } else { 0 };
        memory.failures
    }

    /// The app is gone.
    pub(super) fn forget(&self, app: &AppName) {
        self.lock().remove(app);
    }
}
