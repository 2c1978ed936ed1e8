//! The wiring of the model store, and what is done for it from time to time.

use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::forge::{
    Secrets,
    outgoing::{Receiver, Sent, tell_all},
};
use crate::inspect::Safety;
use crate::model::{Reason, label};
use crate::record::{Event, Record};
use crate::state::{Container, models_of};
use crate::store::{Depot, Happening, Pace, Settings, Store, What, lower_priority};

/// How long reading everything again rests after a round, and where there is nothing.
const REST: Duration = Duration::from_mins(10);

/// How often the trash is looked at.
const SWEEP: Duration = Duration::from_mins(10);

/// The model store, not yet open.
pub(super) fn depot(config: &Config) -> Arc<Depot> {
    let models = &config.models;
    Arc::new(Depot::new(Settings {
        file_max: models.file_max,
        project_max: models.project_max,
        history: models.history,
        history_age: models.history_age,
        trash_ttl: models.trash_ttl,
        grace: models.grace,
        immutable: models.immutable,
        immutable_of: models.immutable_of.clone(),
        project_models_max: models.count_max,
        policy: models.policy.clone(),
        upload_ttl: models.upload_ttl,
        ..Settings::new(&config.model_store)
    }))
}

/// Begins to read the store again and again, and has everybody told what happens in it: the record,
/// and who is named by `--model-hook`.
pub(super) fn announce(
    config: &Config,
    models: &Arc<Depot>,
    (record, secrets): (Arc<Record>, Secrets),
    clock: &Clock,
    stop: &CancellationToken,
) -> Arc<Sent> {
    let sent = Arc::<Sent>::default();
    let boot = format!("{:x}", clock.now().as_millis());
    let receivers = config.models.hooks.iter().map(|url| Receiver {
        url: url.clone(),
        secret: config.models.hook_secret.clone(),
        secrets: secrets.clone(),
        boot: boot.clone(),
        sent: Arc::clone(&sent),
        pauses: Receiver::PAUSES,
    });
    scrub(Arc::clone(models), config.models.scrub, stop.clone());
    tell_all(receivers.collect(), models, stop);
    tokio::spawn(note(models.listen(), record, stop.clone()));
    sent
}

/// Writes what happens in the store into the record.
async fn note(
    mut happenings: broadcast::Receiver<Happening>,
    record: Arc<Record>,
    stop: CancellationToken,
) {
    loop {
        let happening = tokio::select! {
            () = stop.cancelled() => return,
            happening = happenings.recv() => happening,
        };
        match happening {
            Ok(happening) => {
                // All of a store is looked into again with a new scanner: then only what a person
                // must know is told.
                let is_news = !matches!(happening.what, What::Scanned { is_new: false, safety, .. } if safety != Safety::Dangerous);
                if is_news {
                    record.tell(event(&happening));
                }
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(missed, "more happens in the model store than is noted");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn event(happening: &Happening) -> Event {
    let reason = match &happening.what {
        What::Stored { .. } => Reason::ModelStored,
        What::Alias { .. } => Reason::ModelAlias,
        What::Deleted { .. } => Reason::ModelDeleted,
        What::Scanned { .. } => Reason::ModelScanned,
        What::Quarantined { .. } => Reason::ModelQuarantined,
    };
    Event {
        id: 0,
        at: happening.at,
        app: None,
        is_warning: happening.what.is_warning(),
        reason,
        message: happening.what.message(),
    }
}

/// Reads all contents again, slowly, until it is told to stop.
fn scrub(models: Arc<Depot>, rate: Option<u64>, stop: CancellationToken) {
    let Some(rate) = rate else { return };
    let (ended, waiting) = mpsc::channel::<()>();
    tokio::spawn(async move {
        stop.cancelled().await;
        drop(ended);
    });
    let scrubbing = move || {
        lower_priority();
        let pace = Pace::new(rate);
        // Nothing is ever sent: a wait ends early only when all is over.
        let pause = |time| waiting.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout);
        loop {
            let goes_on = match models.opened() {
                Some(store) => round(store, &mut |bytes| pause(pace.wait(bytes))),
                None => true,
            };
            if !goes_on || !pause(REST) {
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("scrub".to_owned()).spawn(scrubbing) {
        tracing::error!(%error, "the model store is not read again");
    }
}

/// Reads until the end of a round. Whether to go on after that.
fn round(store: &Store, pause: &mut dyn FnMut(usize) -> bool) -> bool {
    let mut goes_on = true;
    while goes_on {
        let found = store.scrub_next(&mut |bytes| {
            goes_on &= pause(bytes);
            goes_on
        });
        match found {
            Ok(Some(_)) => {}
            Ok(None) => return goes_on,
            // It was told, and the next content may be readable. Nothing is tried without a pause.
            Err(_) => goes_on &= pause(1 << 20),
        }
    }
    false
}

/// Reads files whose digest nobody knows, and empties the trash, until it is told to stop. A folder
/// that is not there is not made for that.
pub(super) fn tend(
    models: &Arc<Depot>,
    (engine, clock): (&Arc<dyn Engine>, &Clock),
    stop: &CancellationToken,
) {
    let (models, engine, clock) = (Arc::clone(models), Arc::clone(engine), clock.clone());
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            sweep_views(&models, engine.as_ref(), &clock).await;
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
                () = stop.cancelled() => {
                    let _ = models.opened().map(|store| store.keep_downloads());
                    return;
                }
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
    });
}

/// Where the store is for the engine, which mounts from there.
pub(super) fn on_host(config: &Config) -> String {
    let root = config.models.on_host.as_ref().unwrap_or(&config.model_store);
    std::path::absolute(root).unwrap_or_else(|_| root.clone()).display().to_string()
}

/// Removes what was put in place for containers that are gone. Only who sees the engine knows.
async fn sweep_views(models: &Arc<Depot>, engine: &dyn Engine, clock: &Clock) {
    let Some(store) = models.opened().cloned() else { return };
    let Ok(world) = engine.observe().await else { return };
    // Of what another Berth wrote, which nobody here can read, nothing is known to be unused.
    let is_read = |container: &Container| {
        !container.labels.contains_key(label::MODELS) || !models_of(container).is_empty()
    };
    if !world.containers.iter().all(is_read) {
        return;
    }
    let used: BTreeSet<_> = world
        .containers
        .iter()
        .flat_map(|container| models_of(container).into_values())
        .map(|mounted| mounted.digest)
        .collect();
    let now = clock.now();
    let _ = tokio::task::spawn_blocking(move || store.sweep_views(&used, now)).await;
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
    store.inspect_all();
    store.expire_partials(clock.now());
    if let Err(error) = store.keep_downloads() {
        tracing::warn!(%error, "the downloads that were counted can't be written down");
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
