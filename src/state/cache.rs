//! What `BuildKit` keeps between builds.

use crate::model::Timestamp;

/// A piece of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRecord {
    /// Its id.
    pub id: String,
    /// The pieces that it rests on.
    pub parents: Vec<String>,
    /// What the engine says that it is: `mount / from exec /bin/sh -c …`.
    pub description: String,
    /// How much it takes, in bytes.
    pub size: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When a build used it last.
    pub used: Timestamp,
    /// Whether a build uses it now.
    pub is_used: bool,
    /// Whether an image rests on it.
    pub is_shared: bool,
}
