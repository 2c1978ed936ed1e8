//! Stored models in apps: what is mounted, what a change does, what stays as it is.

mod deleted;
mod fetched;
mod passes;
mod proxied;
mod pulled;
mod unfit;
mod views;

use std::sync::Arc;

use berth::{
    clock::Clock,
    model::{Digest, Timestamp},
    store::{Depot, Key, Order, Settings, Store, Upload},
};

/// A store in a folder of its own, and the folder.
pub(crate) fn depot() -> (Arc<Depot>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let depot = Depot::new(Settings::new(folder.path().join("models")));
    (Arc::new(depot), folder)
}

/// Stores a file: `project/app/version/name`.
pub(crate) fn put(depot: &Depot, name: &str, content: &str) -> Digest {
    let store = depot.store().unwrap();
    let mut upload = Upload::begin(store, None).unwrap();
    upload.write(content.as_bytes()).unwrap();
    let stored = upload.finish(&Order::new(key(name)), now()).unwrap();
    stored.entry.sha256.clone().unwrap()
}

pub(crate) fn key(name: &str) -> Key {
    let parts: Vec<_> = name.split('/').collect();
    Key::new(parts[0], parts[1], parts[2], parts[3]).unwrap()
}

/// The time of the disk: the store does not take for its own what is younger than it says.
fn now() -> Timestamp {
    Clock::System.now()
}

/// Lets `stable` of `demo/llm` stand for a version.
pub(crate) fn stable(store: &Store, version: &str) {
    store.set_alias(("demo", "llm"), "stable", version).unwrap();
}
