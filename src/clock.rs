//! The clock: the only place that reads the real time. Tests own theirs.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::Timestamp;

/// Tells the time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's.
    System,
    /// The runtime's, counted from a fixed moment. In a test with paused time it stands still
    /// until the test moves it.
    Runtime {
        /// What the time was at `start`.
        origin: Timestamp,
        /// The runtime's moment that `origin` belongs to.
        start: tokio::time::Instant,
        /// By how many milliseconds it was set forward, or back, since.
        set: Arc<AtomicI64>,
    },
}

impl Clock {
    /// A clock that begins at `origin` and follows the runtime's time.
    pub fn runtime(origin: Timestamp) -> Self {
        Self::Runtime { origin, start: tokio::time::Instant::now(), set: Arc::default() }
    }

    /// Sets a runtime's clock forward, or back: it and its clones jump, the runtime's own time goes
    /// on (fault D47). The machine's clock is never set.
    pub fn set_forward(&self, milliseconds: i64) {
        if let Self::Runtime { set, .. } = self {
            set.fetch_add(milliseconds, Ordering::SeqCst);
        }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                #[expect(clippy::disallowed_methods, reason = "this is the clock")]
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Runtime { origin, start, set } => {
                let now = *origin + start.elapsed();
                Timestamp::from_millis(now.as_millis() + set.load(Ordering::SeqCst))
            }
        }
    }
}
