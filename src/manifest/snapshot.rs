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
    /// The sources that it is put together from; none when it is a single folder's.
    pub parts: Vec<Part>,
}

/// One of several sources, as a snapshot shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// What the names of its files begin with in the snapshot: empty for the folder, of which
    /// there is one at most.
    pub prefix: String,
    /// What it is, for messages.
    pub name: String,
    /// What it is, as [`Snapshot::identity`]; empty while that is not known.
    pub identity: String,
    /// The commit that its files are of.
    pub commit: Option<String>,
    /// Why it can't be read at present. What was read of it last is in the snapshot all the same.
    pub error: Option<String>,
    /// Whether it was read at all.
    pub is_read: bool,
}

impl Part {
    /// Whether a file of the snapshot is its own.
    pub fn has(&self, file: &str) -> bool {
        // Only the name of a repository holds these characters: a path never does.
        if self.prefix.is_empty() { !file.contains("://") } else { file.starts_with(&self.prefix) }
    }

    /// A text with the commit named wherever it names a file of this source.
    pub fn with_commit(&self, text: &str) -> Option<String> {
        let commit = self.commit.as_deref().filter(|_| !self.prefix.is_empty())?;
        if !text.contains(&self.prefix) {
            return None;
        }
        let (repository, reference) = self.prefix.split_once('#')?;
        let (reference, path) = reference.split_once(':')?;
        let commit = commit.get(..12).unwrap_or(commit);
        Some(text.replace(&self.prefix, &format!("{repository}#{reference}@{commit}:{path}")))
    }
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
    /// Why something of it can't be read at present.
    pub fn trouble(&self) -> Option<String> {
        let errors = self.parts.iter().filter_map(|part| part.error.as_deref());
        let errors: Vec<_> = errors.collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

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
