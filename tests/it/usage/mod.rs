//! What containers use: read from trees of files, from the real kernel, and as it is served.

mod kept;
mod tree;
mod trees;

use std::sync::Arc;

use berth::{
    clock::Clock,
    gpu::Cards,
    record::Record,
    usage::{Collector, History, Settings},
};

/// Reads this machine, and the containers that `record` knows.
pub(crate) fn of(record: &Record) -> Arc<Collector> {
    Arc::new(Collector::new(Settings::default(), record.worlds(), Clock::System))
}

/// A history over it, without GPUs.
pub(crate) fn history(collector: &Arc<Collector>) -> Arc<History> {
    Arc::new(History::new(Arc::clone(collector), Cards::default().follow()))
}
