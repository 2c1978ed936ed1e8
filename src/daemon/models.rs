//! The wiring of the model store, and what is done for it from time to time.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::store::{Depot, Settings, Store};

/// How often the trash is looked at.
const SWEEP: Duration = Duration::from_mins(10);

/// The model store, not yet open.
pub(super) fn depot(config: &Config) -> Arc<Depot> {
    let models = &config.models;
    Arc::new(Depot::new(Settings {
        file_max: models.file_max,
        project_max: models.project_max,
        trash_ttl: models.trash_ttl,
        immutable: models.immutable,
        ..Settings::new(&config.model_store)
    }))
}

/// Reads files whose digest nobody knows, and empties the trash, until it is told to stop. A folder
/// that is not there is not made for that.
pub(super) async fn tend(models: Arc<Depot>, clock: Clock, stop: CancellationToken) {
    loop {
        let (depot, clock, ending) = (Arc::clone(&models), clock.clone(), stop.clone());
        let work = move || {
            if depot.opened().is_none() && !depot.settings().root.is_dir() {
                return;
            }
            match depot.store() {
                Ok(store) => look_after(store, &clock, &ending),
                Err(error) => tracing::warn!(%error, "the model store can't be opened"),
            }
        };
        let _ = tokio::task::spawn_blocking(work).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

fn look_after(store: &Store, clock: &Clock, stop: &CancellationToken) {
    for key in store.unread() {
        if stop.is_cancelled() {
            return;
        }
        if let Err(error) = store.hash(&key, || !stop.is_cancelled()) {
            tracing::warn!(model = %key, %error, "a model's digest is not known");
        }
    }
    match store.sweep(clock.now(), false) {
        Ok(swept) if 0 < swept.trashed + swept.blobs => {
            let (trashed, blobs, bytes) = (swept.trashed, swept.blobs, swept.bytes);
            tracing::info!(trashed, blobs, bytes, "the model store was swept");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the model store can't be swept"),
    }
}
