//! A snapshot: all files of a source, read at one moment.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::Digest;

/// All files of a source, read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The files that may be manifests, by path relative to the source.
    pub files: BTreeMap<String, FileContent>,
    /// What the folder is: equal identities are the same folder, not another one mounted or put
    /// in its place (fault W01).
    pub identity: String,
}

/// What was read of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// All of it.
    Text {
        /// The bytes.
        bytes: Arc<[u8]>,
        /// Their digest.
        digest: Digest,
    },
    /// It is there but could not be read, or not as a whole.
    Unreadable(String),
}

impl Snapshot {
    /// The digest of all names and contents.
    pub fn revision(&self) -> String {
        let parts: Vec<_> = self
            .files
            .iter()
            .map(|(path, content)| match content {
                FileContent::Text { digest, .. } => (path, digest.as_str()),
                FileContent::Unreadable(why) => (path, why.as_str()),
            })
            .collect();
        Digest::of_value(&parts).short(16).to_owned()
    }
}
