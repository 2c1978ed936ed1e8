//! Backups: everything that a Berth cannot make again, as it was at one moment, in a form that a
//! person can read and mend without Berth.
//!
//! ```text
//! {archive}/berth-backup.json          what it is: kind, format, id
//! {archive}/key.age                    the archive's key, where it is encrypted
//! {archive}/objects/ab/ab01…           every content once, by its SHA-256
//! {archive}/snapshots/{time}-{digest}.json   what was where: one entry a line
//! {archive}/tmp/                       what is being written
//! ```
//!
//! # Guarantees
//! - A snapshot is there only when all that it needs is, on the disk.
//! - A kill or a loss of power at any step leaves every earlier snapshot as it was.
//! - Nothing is removed that a snapshot needs, and no content while one of them that stays can't be
//!   read.
//! - A restore touches nothing before all of the snapshot was read, checked and hashed; and nothing
//!   that is there is lost by it.

mod create;
pub mod disk;
mod format;
mod look;
pub mod path;
mod plan;
mod prune;
mod rclone;
mod restore;
mod roots;
mod seal;
mod stage;
mod target;
mod vault;
mod verify;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use create::{Made, Order, Stop, Watch, create, look_ahead};
pub use format::{About, Encryption, Entry, FORMAT, Header, Root, Snapshot, What};
pub use look::{Found, Scope, Survey, survey};
pub use plan::{Data, Item, Plan, plan, render};
pub use prune::{Pruned, Pruning, prune, pruning};
pub use rclone::{Remote, Spool};
pub use restore::{Ground, Restore, Restored, Way, needed, render as render_restore, restore};
pub use roots::{Roots, UNFINISHED};
pub use seal::Key;
pub use target::{Archive, Opening, Target};
pub use vault::{Name, Vault};
pub use verify::{Verdict, verify};

/// Where a part of a remote archive is kept, in the state folder.
pub const SPOOL: &str = ".backup-spool";
/// What says, in the state folder, which containers stand still for a backup.
pub const PAUSED: &str = ".backup-paused";
/// The folder of a restore that is under way, in each root.
const STAGE: &str = ".berth-restore";
/// What says from where a root was brought back.
const MARKER: &str = ".restored-from.json";
/// How the folder begins in which a restore puts aside what was there.
const ASIDE: &str = ".before-restore-";

/// Whether a name at the top of a root belongs to a restore.
fn is_own_name(name: &[u8]) -> bool {
    [STAGE, MARKER, SPOOL, PAUSED].iter().any(|own| name == own.as_bytes())
        || name.starts_with(ASIDE.as_bytes())
}

/// Why a backup, or a restore, was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error("{what} {}: {source}{}", .path.display(), crate::host::advice(path, source))]
    Disk {
        /// What was tried.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Something else.
    #[error("{0} is no backup of Berth")]
    Foreign(String),
    /// A newer Berth wrote it.
    #[error("{what} was written by a newer Berth (format {found}, this one knows {FORMAT})")]
    Newer {
        /// What.
        what: String,
        /// Its format.
        found: u32,
    },
    /// It is not as it was written.
    #[error("the backup is damaged: {0}")]
    Corrupt(String),
    /// Others are at it.
    #[error("another backup, verification, restore or clean-up uses {}", .0.display())]
    Locked(PathBuf),
    /// It is encrypted, and nobody gave the key.
    #[error("the backup is encrypted: give its passphrase or its key")]
    NoKey,
    /// The key is not its own.
    #[error("the backup does not open: {0}")]
    WrongKey(String),
    /// It is not encrypted, and a key was given.
    #[error("{} is not encrypted: begin an encrypted backup in another folder", .0.display())]
    NotEncrypted(PathBuf),
    /// There is no such snapshot.
    #[error("there is no snapshot `{0}` here")]
    NoSnapshot(String),
    /// A folder has something in it.
    #[error("{} is not empty: it has {names}", .path.display())]
    NotEmpty {
        /// Which.
        path: PathBuf,
        /// What is in it.
        names: String,
    },
    /// Another restore is under way.
    #[error("{} is the target of a restore of another snapshot that did not end", .0.display())]
    Unfinished(PathBuf),
    /// Somebody has it end.
    #[error("the backup was broken off: there is no new snapshot")]
    Stopped,
    /// What is to be put elsewhere is in use.
    #[error("{0}")]
    AppsRun(String),
    /// A Berth runs on it.
    #[error("a Berth runs on the state folder {}", .0.display())]
    Runs(PathBuf),
    /// rclone did not do it.
    #[error("rclone {what}: {why}")]
    Remote {
        /// What it was to do.
        what: String,
        /// Why it did not.
        why: String,
    },
    /// It makes no sense.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// What went wrong at a path.
    fn disk(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Disk { what, path, source }
    }

    /// The code that `berth explain` knows.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Disk { .. } => "backup.disk",
            Self::Foreign(_) => "backup.foreign",
            Self::Newer { .. } => "backup.newer",
            Self::Corrupt(_) => "backup.damaged",
            Self::Locked(_) => "backup.locked",
            Self::NoKey | Self::WrongKey(_) => "backup.no-key",
            Self::NotEncrypted(_) => "backup.not-encrypted",
            Self::NoSnapshot(_) => "backup.not-found",
            Self::NotEmpty { .. } => "backup.not-empty",
            Self::Unfinished(_) => "backup.unfinished",
            Self::Runs(_) => "backup.berth-runs",
            Self::AppsRun(_) => "backup.apps-run",
            Self::Stopped => "backup.stopped",
            Self::Remote { .. } => "backup.remote",
            Self::Refused(_) => "backup.refused",
        }
    }
}
