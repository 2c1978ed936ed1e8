//! A rollout, as a status shows it.

use crate::model::{RolloutOrder, Timestamp};
use crate::state::{Asked, Revision, RevisionOutcome};

/// The last rollout of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolloutStatus {
    /// The revision's number.
    pub revision: u64,
    /// When it began.
    pub started: Timestamp,
    /// When it was decided.
    pub finished: Option<Timestamp>,
    /// For how long no version answered, in milliseconds; none when that is not known.
    pub downtime_ms: Option<u64>,
    /// Which of the two versions came first; none while there was one only.
    pub order: Option<RolloutOrder>,
    /// Who or what asked for it.
    pub by: Asked,
    /// What came of it.
    pub outcome: RevisionOutcome,
    /// Why it failed, in a sentence.
    pub message: Option<String>,
    /// The hold at an earlier revision.
    pub held: Option<Held>,
}

/// A hold at an earlier revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The revision.
    pub revision: u64,
    /// Since when.
    pub since: Timestamp,
    /// The hold as a sentence, with what ends it.
    pub message: String,
}

impl RolloutStatus {
    /// The status of a revision.
    pub fn of(revision: &Revision, held: Option<Held>) -> Self {
        Self {
            revision: revision.number,
            started: revision.started,
            finished: revision.finished,
            downtime_ms: revision.downtime_ms,
            order: revision.order,
            by: revision.by,
            outcome: revision.outcome,
            message: revision.message.clone(),
            held,
        }
    }
}
