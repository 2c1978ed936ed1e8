//! Host ports that are given to nobody for a while.

use crate::model::{AppName, Timestamp};

/// Why a host port is given to nobody, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Until when.
    pub until: Timestamp,
    /// Who had it, or has it, in words for people.
    pub why: String,
    /// The app that had it, which may have it again at once.
    pub app: Option<AppName>,
}
