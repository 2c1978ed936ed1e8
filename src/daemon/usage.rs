//! What containers use: the parts that read and keep it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Config;
use crate::record::Record;
use crate::state::Inventory;
use crate::usage::{Collector, History, Settings};

/// What reads, and what keeps the last hour. Neither runs yet.
pub(super) fn usage(
    config: &Config,
    record: &Record,
    gpus: watch::Receiver<Arc<Inventory>>,
    clock: &Clock,
) -> (Arc<Collector>, Arc<History>) {
    let usual = Settings::default();
    let settings = Settings {
        proc_root: config.usage.proc_root.clone(),
        cgroup_root: config.usage.cgroup_root.clone(),
        disk: config.workspaces.clone(),
        labels: usual.labels.iter().chain(&config.usage.labels).cloned().collect(),
        ..usual
    };
    let collector = Arc::new(Collector::new(settings, record.worlds(), clock.clone()));
    let history = Arc::new(History::new(Arc::clone(&collector), gpus));
    (collector, history)
}
