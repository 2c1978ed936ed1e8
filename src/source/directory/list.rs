//! Lists one folder, and asks the system for the stamp of every manifest in it.
//!
//! Of a look at an unchanged folder, asking for stamps is nearly all: so a large folder is
//! shared among two threads.

use std::{
    ffi::{CStr, CString},
    os::fd::BorrowedFd,
    thread,
};

use rustix::{
    fs::{AtFlags, FileType, RawDir, StatxFlags, statx},
    io::Errno,
};

use super::{read::Stamp, scan::Failure};

/// How many bytes of names are listed at once.
const BUFFER: usize = 64 * 1024;
/// From how many files on a second thread pays.
const CROWD: usize = 1_000;

/// What a folder holds.
pub(super) struct Listing {
    /// The names of manifests, each with its closing zero.
    names: Vec<u8>,
    /// Where each name ends, with its stamp.
    files: Vec<(usize, Result<Stamp, Errno>)>,
    /// What is or may be a folder.
    pub(super) folders: Vec<CString>,
}

impl Listing {
    /// Lists a folder, with at most `limit` manifests.
    pub(super) fn of(folder: BorrowedFd<'_>, limit: usize) -> Result<Self, Failure> {
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut listed = Self { names: Vec::new(), files: Vec::new(), folders: Vec::new() };
        let mut listing = RawDir::new(folder, buffer.spare_capacity_mut());
        while let Some(item) = listing.next() {
            let item = item.map_err(Failure::System)?;
            let name = item.file_name();
            if is_hidden(name.to_bytes()) {
            } else if is_manifest(name.to_bytes()) {
                if listed.files.len() == limit {
                    return Err(Failure::TooMany);
                }
                listed.names.extend(name.to_bytes_with_nul());
                listed.files.push((listed.names.len(), Err(Errno::NOENT)));
            } else if matches!(item.file_type(), FileType::Directory | FileType::Unknown) {
                listed.folders.push(name.to_owned());
            }
        }
        listed.stamp(folder);
        Ok(listed)
    }

    /// How many manifests there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The manifests in the folder's order, each with its stamp, a link with its own.
    pub(super) fn files(&self) -> impl Iterator<Item = (&CStr, Result<Stamp, Errno>)> {
        let mut start = 0;
        self.files.iter().filter_map(move |(end, stamp)| {
            let name = name_at(&self.names, &mut start, *end)?;
            Some((name, *stamp))
        })
    }

    fn stamp(&mut self, folder: BorrowedFd<'_>) {
        let Self { names, files, .. } = self;
        if files.len() < CROWD {
            return stamp_all(folder, names, 0, files);
        }
        let half = files.len() / 2;
        let (left, right) = files.split_at_mut(half);
        let middle = left.last().map_or(0, |(end, _)| *end);
        let first = || stamp_all(folder, names, 0, left);
        let is_shared = thread::scope(|scope| {
            let helper = thread::Builder::new().name("look".to_owned()).spawn_scoped(scope, first);
            stamp_all(folder, names, middle, right);
            helper.is_ok()
        });
        if !is_shared {
            stamp_all(folder, names, 0, left);
        }
    }
}

/// Asks for the stamps of some files, of which the first one's name begins at `start`.
fn stamp_all(
    folder: BorrowedFd<'_>,
    names: &[u8],
    mut start: usize,
    files: &mut [(usize, Result<Stamp, Errno>)],
) {
    for (end, stamp) in files {
        let Some(name) = name_at(names, &mut start, *end) else { continue };
        let found = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
        *stamp = found.map(|found| Stamp::of(&found));
    }
}

/// The name from `start` to `end`; moves `start` to where the next one begins.
fn name_at<'a>(names: &'a [u8], start: &mut usize, end: usize) -> Option<&'a CStr> {
    let name = names.get(*start..end);
    *start = end;
    CStr::from_bytes_with_nul(name?).ok()
}

/// Names that belong to editors, to git and to the system, not to the user.
pub(super) fn is_hidden(name: &[u8]) -> bool {
    name.starts_with(b".") || name == b"lost+found"
}

/// Names that a manifest may have (fault W04).
pub(super) fn is_manifest(name: &[u8]) -> bool {
    name.ends_with(b".yaml") || name.ends_with(b".yml")
}
