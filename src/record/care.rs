//! What is known of how Berth looks after itself.

use std::time::Duration;

use crate::model::Timestamp;

/// How the backups stand that are made by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSeen {
    /// Where they are kept.
    pub to: String,
    /// How often one is made.
    pub every: Duration,
    /// When the newest was begun.
    pub newest: Option<Timestamp>,
    /// When the next one is tried.
    pub due: Timestamp,
    /// How much the newest holds, when this Berth made it.
    pub bytes: Option<u64>,
}

/// A cleanup that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// When.
    pub at: Timestamp,
    /// How many things went.
    pub gone: usize,
    /// How many could not.
    pub failed: usize,
    /// How much they took.
    pub bytes: u64,
}
