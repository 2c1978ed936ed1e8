//! The clock: the only place that reads the real time. Tests own theirs.

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
    },
}

impl Clock {
    /// A clock that begins at `origin` and follows the runtime's time.
    pub fn runtime(origin: Timestamp) -> Self {
        Self::Runtime { origin, start: tokio::time::Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => {
                #[expect(clippy::disallowed_methods, reason = "this is the clock")]
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Runtime { origin, start } => *origin + start.elapsed(),
        }
    }
}
