//! Reads one file: whole, unchanging while it is read, and never waiting for anybody.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::Arc,
};

use rustix::{
    fs::{
        AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, openat2, statx,
    },
    io::Errno,
};

use crate::manifest::FileContent;
use crate::model::{Digest, Timestamp, format_bytes};

use super::place::{Node, node};

/// What changes when a file's content may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) node: Node,
    kind: FileType,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

/// What became of reading a file.
pub(super) enum Outcome {
    /// It is the file known by the stamp that was passed in.
    Same,
    /// Its content, with the stamp it had before and after.
    Text(Stamp, FileContent),
    /// It changed while it was read.
    Unstable,
    /// Why it can't be read.
    Unreadable(String),
    /// It is not there.
    Gone,
}

impl Stamp {
    pub(super) fn of(found: &Statx) -> Self {
        let (modified, changed) = (found.stx_mtime, found.stx_ctime);
        Self {
            node: node(found),
            kind: FileType::from_raw_mode(u32::from(found.stx_mode)),
            size: found.stx_size,
            modified: (modified.tv_sec, modified.tv_nsec),
            changed: (changed.tv_sec, changed.tv_nsec),
        }
    }

    pub(super) fn is_link(&self) -> bool {
        self.kind == FileType::Symlink
    }

    pub(super) fn modified(&self) -> Timestamp {
        millis(self.modified)
    }

    /// Whether the file was touched so close to `now` that a second change could leave the same
    /// stamp: file systems count time in steps of up to two seconds (fault W10).
    pub(super) fn is_racy(&self, now: Timestamp) -> bool {
        [self.modified, self.changed].into_iter().any(|time| {
            let apart = millis(time).as_millis().saturating_sub(now.as_millis());
            apart.unsigned_abs() < 2_000
        })
    }
}

fn millis((seconds, nanoseconds): (i64, u32)) -> Timestamp {
    Timestamp::from_millis(
        seconds.saturating_mul(1_000).saturating_add(i64::from(nanoseconds / 1_000_000)),
    )
}

/// Reads an entry of a folder that is not a link.
///
/// It is opened without waiting and without following a link that took its place (fault W14).
pub(super) fn plain(folder: BorrowedFd<'_>, name: &CStr, stamp: Stamp, limit: u64) -> Outcome {
    if let Err(why) = check_kind(stamp, limit) {
        return Outcome::Unreadable(why);
    }
    match openat(folder, name, FLAGS | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => whole(fd.as_fd(), stamp),
        Err(Errno::NOENT) => Outcome::Gone,
        // A link took its place just now: the next look sees the link.
        Err(Errno::LOOP) => Outcome::Unstable,
        Err(error) => Outcome::Unreadable(cannot_read(error)),
    }
}

/// Reads what a link leads to, if that is a file beneath `root`. `path` begins at `root`.
/// A file that still has the stamp `known` is not read again.
pub(super) fn link(root: BorrowedFd<'_>, path: &str, known: Option<&Stamp>, limit: u64) -> Outcome {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let why = match openat2(root, path, FLAGS, Mode::empty(), how) {
        Ok(fd) => return led_to(fd.as_fd(), known, limit),
        // The kernel could not tell because something was moved meanwhile.
        Err(Errno::AGAIN) => return Outcome::Unstable,
        Err(Errno::NOENT) => "is a link to nothing".to_owned(),
        Err(Errno::XDEV) => {
            "is a link that leads out of the folder; use a relative link that stays in it"
                .to_owned()
        }
        Err(Errno::LOOP) => "is a link that leads back to itself".to_owned(),
        Err(Errno::NOSYS | Errno::PERM) => {
            "is a link, and this system can't follow links safely (it lacks openat2)".to_owned()
        }
        Err(error) => cannot_read(error),
    };
    Outcome::Unreadable(why)
}

/// Reads what a link led to, unless it is known.
fn led_to(fd: BorrowedFd<'_>, known: Option<&Stamp>, limit: u64) -> Outcome {
    let stamp = match stat(fd) {
        Ok(found) => Stamp::of(&found),
        Err(error) => return Outcome::Unreadable(cannot_read(error)),
    };
    if let Err(why) = check_kind(stamp, limit) {
        return Outcome::Unreadable(why);
    }
    if known == Some(&stamp) { Outcome::Same } else { whole(fd, stamp) }
}

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Reads an opened file that had a stamp before, and sees that it still has it afterwards: so
/// it is the file that was looked at, whole, and nobody wrote to it meanwhile (fault W05).
fn whole(fd: BorrowedFd<'_>, stamp: Stamp) -> Outcome {
    let mut bytes = vec![0; usize::try_from(stamp.size).unwrap_or(0)];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(fd, rest) {
            Ok(0) => return Outcome::Unstable,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Outcome::Unreadable(cannot_read(error)),
        }
    }
    if !stat(fd).is_ok_and(|after| Stamp::of(&after) == stamp) {
        return Outcome::Unstable;
    }
    let digest = Digest::of_bytes(&bytes);
    Outcome::Text(stamp, FileContent::Text { bytes: Arc::from(bytes), digest })
}

fn stat(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

fn check_kind(stamp: Stamp, limit: u64) -> Result<(), String> {
    let kind = match stamp.kind {
        FileType::RegularFile if stamp.size <= limit => return Ok(()),
        FileType::RegularFile => {
            let (size, limit) = (format_bytes(stamp.size), format_bytes(limit));
            return Err(format!("is too large for a manifest: {size}, at most {limit} are read"));
        }
        FileType::Directory => "a folder",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something else",
    };
    Err(format!("is {kind}, not a file"))
}

pub(super) fn cannot_read(error: impl Into<io::Error>) -> String {
    format!("can't be read: {}", error.into())
}
