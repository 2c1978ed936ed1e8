//! When the engine takes long.

use std::{future::Future, sync::Arc, time::Duration};

use super::Reconciler;
use crate::model::{AppName, Reason};
use crate::record::Entry;

/// After so long a status says what a pass waits for.
const SLOW: Duration = Duration::from_millis(1500);

impl Reconciler {
    /// Does a pass's work; where that takes long the status says what it waits for (fault D35).
    pub(super) async fn saying_why_it_takes_long<T>(
        &self,
        app: &AppName,
        work: impl Future<Output = T>,
    ) -> T {
        let mut work = std::pin::pin!(work);
        if let Ok(done) = tokio::time::timeout(SLOW, work.as_mut()).await {
            return done;
        }
        let what = self.executor.doing(app).map_or_else(
            || "the engine has not answered yet".to_owned(),
            |step| format!("the engine has not answered yet: {step}"),
        );
        match self.record.entry(app) {
            None => self.lose_sight(app, Reason::EngineUnreachable, &what),
            // Nothing else is known to have changed.
            Some(entry) => {
                let mut status = entry.status.clone();
                status.message = what;
                self.record.write(Entry { status, revision: 0, ..Arc::unwrap_or_clone(entry) });
            }
        }
        work.await
    }
}
