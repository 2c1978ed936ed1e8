//! Why the store did not do what was asked.

use std::io;

use super::name::{BadName, Key};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name is none.
    #[error("{}: {}", .0.part, .0.why)]
    Name(#[from] BadName),
    /// There is no such model.
    #[error("Model not found: project_id='{}', app_name='{}', version='{}', model_name='{}'", .0.project, .0.app, .0.version, .0.model)]
    NotFound(Box<Key>),
    /// There is no such thing.
    #[error("{0}")]
    Nothing(String),
    /// There is no such repository.
    #[error("{0}")]
    Repository(String),
    /// What was sent makes no sense.
    #[error("{0}")]
    Bad(String),
    /// There is no such revision.
    #[error("{0}")]
    Revision(String),
    /// What is there is no file.
    #[error("Path is not a file")]
    NotAFile,
    /// What was required of what is there does not hold.
    #[error("{0}")]
    Precondition(String),
    /// What is there may not be changed.
    #[error("Version is immutable")]
    Immutable,
    /// Apps mount it.
    #[error("{0}")]
    InUse(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// The content is not what it was said to be.
    #[error("{0}")]
    Digest(String),
    /// The content is larger than it may be.
    #[error("{0}")]
    TooLarge(String),
    /// Files of this kind are not taken.
    #[error("{0}")]
    Ending(String),
    /// The content is dangerous, and that counts.
    #[error("{0}")]
    Blocked(String),
    /// Nobody has looked into the content yet, and that counts.
    #[error("the model is being looked into; try again")]
    Unscanned,
    /// The content has changed on the disk.
    #[error("{0}")]
    Rotten(String),
    /// There is too much of it at present.
    #[error("{0}")]
    Busy(String),
    /// The disk is full.
    #[error("no space left on the device")]
    Full(#[source] io::Error),
    /// The disk failed.
    #[error("{what}: {source}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    /// The disk failed at something.
    pub(super) fn disk(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(source),
            _ => Self::Disk { what, source },
        }
    }

    /// A thread of the store has ended too early.
    pub fn ended(why: &str) -> Self {
        Self::disk("a thread of the store has ended")(io::Error::other(why.to_owned()))
    }

    /// There is no such model.
    pub(super) fn not_found(key: &Key) -> Self {
        Self::NotFound(Box::new(key.clone()))
    }
}
