//! Sources: where manifests come from.
//!
//! A source answers with a [`Snapshot`] of all its files, and tells when another look is worth
//! its while. What the files mean is none of its business.
//!
//! # Guarantees
//! - A source that can't be read is an error, never an empty snapshot (fault W01).
//! - A file that can't be read is in the snapshot, as unreadable; it is never absent (fault W15).
//! - A snapshot shows one folder at one moment, never half of one and half of another (W06).
//!
//! # Caveats
//! [`Source::changed`] only says "look". It may say so without a reason, and looking again after
//! a while without being told is the source's own task: nobody else has to poll.

pub mod directory;
pub mod fixed;
pub mod git;
mod several;
pub mod writer;

use std::{io, path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;

use crate::manifest::Snapshot;

pub use directory::Directory;
pub use fixed::Fixed;
pub use git::Git;
pub use several::Several;

/// Something that manifests come from.
pub trait Source: Send {
    /// What it is, for messages: `folder /manifests`.
    fn describe(&self) -> String;

    /// All files as they are now. The same `Arc` comes back while nothing has changed, so a
    /// caller may compare with [`Arc::ptr_eq`].
    ///
    /// Dropping the future loses nothing: the next call goes on from what was found.
    fn snapshot(&mut self) -> BoxFuture<'_, Result<Arc<Snapshot>, Error>>;

    /// Waits until another look is worthwhile; returns at once when nobody has looked yet.
    ///
    /// Dropping the future loses no change: the next call returns for it.
    fn changed(&mut self) -> BoxFuture<'_, ()>;
}

/// Why a source gave no snapshot, or a manifest could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such folder.
    #[error("the manifest folder `{}` does not exist", .path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// What is there is not a folder.
    #[error("`{}` is not a folder", .path.display())]
    NotAFolder {
        /// Where it is.
        path: PathBuf,
    },
    /// The folder is there but does not let itself be read.
    #[error("failed to read the manifest folder `{}`", .path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder holds so many files that it is hardly a folder of manifests (fault W16).
    #[error("the manifest folder `{}` holds more than {limit} manifests or folders", .path.display())]
    TooManyFiles {
        /// Where it is.
        path: PathBuf,
        /// How many are read.
        limit: usize,
    },
    /// A repository of manifests did not give its newest commit.
    #[error("the manifests of `{place}` can't be brought up to date: {message}")]
    Repository {
        /// Which repository, branch and folder.
        place: String,
        /// Why.
        message: String,
    },
    /// Another folder took its place each time while it was read.
    #[error("the manifest folder `{}` was replaced while it was read", .path.display())]
    Moving {
        /// Where it is.
        path: PathBuf,
    },
    /// The file system does not answer.
    #[error("the manifest folder `{}` has not answered for {seconds} s", .path.display())]
    Stuck {
        /// Where it is.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// A manifest could not be written or removed.
    #[error("failed to {action} `{}`", .path.display())]
    Write {
        /// What was tried: `write` or `remove`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name that no source would read again.
    #[error("`{name}` can't be the name of a manifest: use a plain name that ends with .yaml")]
    BadName {
        /// The name.
        name: String,
    },
    /// The name is taken by something that is not a file; replacing it could break a setup.
    #[error("`{}` is a link or not a file, so it is left alone", .path.display())]
    NotAFile {
        /// Which one.
        path: PathBuf,
    },
}
