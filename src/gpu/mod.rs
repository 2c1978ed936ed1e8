//! The host's GPUs: what reads them, and what is known of them.

pub mod nodes;

use std::sync::Arc;

use tokio::sync::watch;

use crate::state::Inventory;

/// Something that reads the host's GPUs. It may hang: whoever calls it does so on a thread of its
/// own.
pub trait Probe: Send + 'static {
    /// Reads all of it. A host without GPUs is an empty inventory with a note, not an error.
    fn read(&mut self) -> Result<Inventory, Error>;
}

/// Why the GPUs could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the GPUs can't be read: {0}")]
pub struct Error(pub String);

/// What was read last. Reading it never waits for a driver.
pub struct Cards {
    latest: watch::Sender<Arc<Inventory>>,
}

impl Default for Cards {
    fn default() -> Self {
        Self { latest: watch::Sender::new(Arc::default()) }
    }
}

impl Cards {
    /// What was read last; empty with `at: None` before the first time.
    pub fn latest(&self) -> Arc<Inventory> {
        Arc::clone(&self.latest.borrow())
    }

    /// Follows what is read.
    pub fn follow(&self) -> watch::Receiver<Arc<Inventory>> {
        self.latest.subscribe()
    }

    /// Puts in place what was read.
    pub fn put(&self, inventory: Inventory) {
        self.latest.send_replace(Arc::new(inventory));
    }
}
