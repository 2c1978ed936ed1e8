//! What containers use: read from trees of files, from the real kernel, and as it is served.

mod kept;
mod served;
mod tree;
mod trees;

use std::sync::Arc;

use berth::{
    clock::Clock,
    gpu::Cards,
    record::Record,
    telemetry::Exposed,
    usage::{Collector, History, Settings},
};

/// Reads this machine, and the containers that `record` knows.
pub(crate) fn of(record: &Record) -> Arc<Collector> {
    Arc::new(Collector::new(Settings::default(), record.worlds(), Clock::System))
}

/// A host made of files, with two containers that Berth is told of.
pub(crate) fn shop() -> Arc<dyn Exposed> {
    let tree = tree::Tree::unpack("v1.tree", |_| ());
    tree.see(trees::two());
    Arc::new(tree)
}

/// A history over it, without GPUs.
pub(crate) fn history(collector: &Arc<Collector>) -> Arc<History> {
    Arc::new(History::new(Arc::clone(collector), Cards::default().follow()))
}
