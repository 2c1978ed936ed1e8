//! What wakes apps that mount stored models: every change of the store.

use std::{sync::Arc, time::Duration};

use super::Controller;

impl Controller {
    /// Has apps that mount stored models looked at whenever the store has changed.
    pub(super) async fn watch_models(self: Arc<Self>) {
        let reconciler = &self.reconciler;
        let Some(depot) = reconciler.jobs.settings().models.clone() else {
            return self.stop.cancelled().await;
        };
        let mut changes = depot.figures().changes.subscribe();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            let desired = Arc::clone(&reconciler.desired.borrow());
            for name in desired.apps.keys() {
                if desired.app(name).is_some_and(|app| app.spec.stored().next().is_some()) {
                    reconciler.queue.ask(name, Duration::ZERO);
                }
            }
        }
    }
}
