//! The host's GPUs: what reads them, and what is known of them.
//!
//! A driver may hang, vanish or talk nonsense. Nothing here ever waits for it but the one thread
//! that asks it ([`watch`]); everybody else reads [`Cards`].

mod amd;
mod health;
mod kernel;
mod machine;
pub mod nodes;
mod nvml;
mod plausible;
pub mod scripted;
mod smi;
pub mod watch;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch as channel},
    time::Instant,
};

pub use health::{Change, changes};
pub use machine::{Machine, Settings};

use crate::state::Inventory;

/// What is at most so old is fresh enough for everybody.
const FRESH: Duration = Duration::from_secs(1);
/// The same, on a host without GPUs: that it got some is noticed early enough.
const FRESH_WITHOUT: Duration = Duration::from_secs(60);
/// Who asks waits at most so long.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// Something that reads the host's GPUs. It may hang: whoever calls it does so on a thread of its
/// own.
pub trait Probe: Send + 'static {
    /// Reads all of it. A host without GPUs is an empty inventory with a note, not an error.
    fn read(&mut self) -> Result<Inventory, Error>;

    /// The errors that the driver reported since the last time: the card's UUID and the number.
    fn xids(&mut self) -> Vec<(String, u64)> {
        Vec::new()
    }
}

/// Why the GPUs could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The driver does not say.
    #[error("the GPUs can't be read: {0}")]
    Unreadable(String),
    /// The driver was replaced since the host started.
    #[error(
        "the driver's library and its kernel module are of different versions: restart the host, or load the new module; until then nothing new with GPUs starts"
    )]
    Mismatch,
}

/// What was read last. Reading it never waits for a driver.
pub struct Cards {
    latest: channel::Sender<Arc<Inventory>>,
    put_at: Mutex<Option<Instant>>,
    wanted: Notify,
    is_watched: AtomicBool,
}

impl Default for Cards {
    fn default() -> Self {
        Self {
            latest: channel::Sender::new(Arc::default()),
            put_at: Mutex::default(),
            wanted: Notify::new(),
            is_watched: AtomicBool::new(false),
        }
    }
}

impl Cards {
    /// What was read last; empty with `at: None` before the first time.
    pub fn latest(&self) -> Arc<Inventory> {
        Arc::clone(&self.latest.borrow())
    }

    /// Follows what is read.
    pub fn follow(&self) -> channel::Receiver<Arc<Inventory>> {
        self.latest.subscribe()
    }

    /// Puts in place what was read.
    pub fn put(&self, inventory: Inventory) {
        self.latest.send_replace(Arc::new(inventory));
        *self.put_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// What is known, at most a second old, as long as the driver answers: all who ask within one
    /// second cost it one reading. With a driver that does not, this is what was known before, at
    /// once.
    pub async fn ask(&self) -> Arc<Inventory> {
        let mut following = self.follow();
        let known = Arc::clone(&following.borrow_and_update());
        if !self.is_watched.load(Ordering::SeqCst) || !self.is_old(&known) {
            return known;
        }
        self.wanted.notify_one();
        if known.is_stale {
            return known;
        }
        let _ = tokio::time::timeout(ANSWER_LIMIT, following.changed()).await;
        self.latest()
    }

    fn is_old(&self, known: &Inventory) -> bool {
        let limit = if known.gpus.is_empty() { FRESH_WITHOUT } else { FRESH };
        let put_at = *self.put_at.lock().unwrap_or_else(PoisonError::into_inner);
        put_at.is_none_or(|at| limit <= at.elapsed())
    }
}
