//! The host's GPUs: who reads them, and what is told of them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::gpu::{self, Cards, Machine};
use crate::record::{Event, Record, ledger::Ledger};

/// Has the GPUs read, and what changes written into the log and told as events.
pub(super) fn watch(
    config: &Config,
    cards: &Arc<Cards>,
    (record, ledger): (Arc<Record>, Arc<Ledger>),
    clock: &Clock,
    stop: &CancellationToken,
) {
    let settings = gpu::Settings {
        library: config.gpus.nvml_library.clone(),
        proc_root: config.usage.proc_root.clone(),
        is_profiled: config.gpus.is_profiled,
        ..gpu::Settings::default()
    };
    cards.put(Machine::first_sight(&settings));
    tokio::spawn(tell(Arc::clone(cards), record, clock.clone(), stop.clone()));
    let boot = config.usage.proc_root.join("sys/kernel/random/boot_id");
    let boot = std::fs::read_to_string(boot).unwrap_or_default().trim().to_owned();
    let known = ledger.gpu_errors(&boot, &config.gpus.trusted);
    tokio::spawn(keep(Arc::clone(cards), (ledger, clock.clone()), boot, stop.clone()));
    let time = clock.clone();
    let make: gpu::watch::Make =
        Arc::new(move || Box::new(Machine::new(settings.clone(), time.clone())));
    let pauses = gpu::watch::Pauses::default();
    let watching =
        gpu::watch::watch(Arc::clone(cards), make, clock.clone(), (pauses, known), stop.clone());
    tokio::spawn(watching);
}

/// Keeps what speaks against cards until they are reset, and which driver they have.
async fn keep(
    cards: Arc<Cards>,
    (ledger, clock): (Arc<Ledger>, Clock),
    boot: String,
    stop: CancellationToken,
) {
    let mut following = cards.follow();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = following.changed() => if changed.is_err() { return },
        }
        let inventory = Arc::clone(&following.borrow_and_update());
        if inventory.at.is_some() && !inventory.is_stale {
            ledger.note_gpu_errors(&boot, &inventory.gpus);
            if let Some(driver) = &inventory.driver {
                ledger.note_gpu_driver(driver, clock.now());
            }
        }
    }
}

/// Tells what changes, each matter once.
async fn tell(cards: Arc<Cards>, record: Arc<Record>, clock: Clock, stop: CancellationToken) {
    let mut following = cards.follow();
    let mut before = Arc::clone(&following.borrow_and_update());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = following.changed() => if changed.is_err() { return },
        }
        let after = Arc::clone(&following.borrow_and_update());
        for change in gpu::changes(&before, &after) {
            let gpu::Change { is_warning, is_event, reason, message } = change;
            if is_warning {
                tracing::warn!(%reason, "{message}");
            } else {
                tracing::info!("{message}");
            }
            if is_event {
                let at = clock.now();
                record.tell(Event { id: 0, at, app: None, is_warning, reason, message });
            }
        }
        before = after;
    }
}
