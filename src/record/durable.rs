//! Whether what was changed is on the disk: who answers for a change waits for that.

use std::time::Duration;

use tokio::sync::{Notify, watch};

/// How long the disk may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a change is not known to be on the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// It could not be written.
    #[error("the state could not be written: {0}")]
    Failed(String),
    /// The disk takes its time.
    #[error("the disk did not take the state within {} s", PATIENCE.as_secs())]
    Slow,
    /// Nobody writes any more.
    #[error("Berth is ending")]
    Ended,
}

/// How far the disk is behind the ledger.
#[derive(Debug, Default)]
pub(super) struct Durable {
    marks: watch::Sender<Marks>,
    urge: Notify,
}

#[derive(Clone, Debug, Default)]
struct Marks {
    /// Who writes; nobody does in a Berth that keeps nothing.
    keeper: Keeper,
    /// How many writes have begun, and how many have ended. There is one at a time.
    begun: u64,
    ended: u64,
    /// Up to which change all is on the disk.
    saved: u64,
    /// Why the last write failed, if it did.
    problem: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Keeper {
    #[default]
    Nobody,
    There,
    Gone,
}

impl Durable {
    pub(super) fn attend(&self) {
        self.marks.send_modify(|marks| marks.keeper = Keeper::There);
    }

    pub(super) fn leave(&self) {
        self.marks.send_modify(|marks| marks.keeper = Keeper::Gone);
    }

    pub(super) fn begin(&self) {
        self.marks.send_modify(|marks| marks.begun += 1);
    }

    /// A write of all up to this change has ended.
    pub(super) fn end(&self, number: u64, problem: Option<String>) {
        self.marks.send_modify(|marks| {
            marks.ended = marks.begun;
            if problem.is_none() {
                marks.saved = marks.saved.max(number);
            }
            marks.problem = problem;
        });
    }

    /// Up to which change all is on the disk.
    pub(super) fn saved(&self) -> u64 {
        self.marks.borrow().saved
    }

    /// Waits until somebody waits for the disk.
    pub(super) async fn urged(&self) {
        self.urge.notified().await;
    }

    /// Waits until this change is on the disk, or a write that began later has failed.
    pub(super) async fn wait(&self, number: u64) -> Result<(), NotKept> {
        let mut marks = self.marks.subscribe();
        let begun = marks.borrow().begun;
        let is_decided = |marks: &Marks| {
            marks.keeper != Keeper::There
                || number <= marks.saved
                || (begun < marks.ended && marks.problem.is_some())
        };
        if !is_decided(&marks.borrow()) {
            self.urge.notify_one();
        }
        let waiting = tokio::time::timeout(PATIENCE, marks.wait_for(is_decided));
        let marks = waiting.await.map_err(|_| NotKept::Slow)?.map_err(|_| NotKept::Ended)?;
        match (marks.keeper, &marks.problem) {
            (Keeper::Nobody, _) => Ok(()),
            _ if number <= marks.saved => Ok(()),
            (Keeper::There, Some(problem)) => Err(NotKept::Failed(problem.clone())),
            (Keeper::There | Keeper::Gone, _) => Err(NotKept::Ended),
        }
    }
}
