//! What wakes apps that wait for GPUs, beside other apps.

use std::{sync::Arc, time::Duration};

use super::Controller;

/// Longer than any lease: it is looked at again then.
const NO_END: Duration = Duration::from_secs(86_400);

impl Controller {
    /// Ends leases when their time has come. Without any it only waits.
    pub(super) async fn end_leases(self: Arc<Self>) {
        let reconciler = &self.reconciler;
        loop {
            let next = reconciler.next_lease_end();
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = reconciler.ledger.leases_changed() => {}
                () = tokio::time::sleep(next.unwrap_or(NO_END)), if next.is_some() => {}
            }
            reconciler.expire_leases();
        }
    }

    /// Has apps that wait for GPUs looked at whenever the GPUs were read anew. A host without any
    /// reads them once.
    pub(super) async fn watch_gpus(self: Arc<Self>) {
        let mut inventories = self.reconciler.cards.follow();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = inventories.changed() => if changed.is_err() {
                    return self.stop.cancelled().await;
                },
            }
            self.reconciler.wake_waiting(None);
        }
    }
}
