//! The content of a model, as it is read.
//!
//! Where the kernel sends files well by itself, a slice of one of our own files only says which
//! part is meant. Else it is a mapping of its pages: nothing is copied before the kernel sends it. Nobody may write to these files, and none is ever made shorter. Should somebody do so
//! all the same, the slices that are mapped afterwards fail, and a send of those that were mapped
//! already fails in the kernel, as long as nothing of Berth looks into them. What is not ours, and
//! what is encrypted on its way, is therefore read into memory instead.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use rustix::io::ReadWriteFlags;
use sha2::{Digest as _, Sha256};

use super::{Entry, Error, Figures, Key, Store, disk::stat_of, lent::lend};
use crate::inspect::Safety;
use crate::model::Digest;

/// How long a slice is, at most.
pub const SLICE: usize = 1 << 20;
/// Shorter slices are read: a mapping of them costs more.
const MAPPED_MIN: usize = 64 << 10;

/// One page of so much is asked for: what is dropped from the page cache goes in long runs, and to
/// ask for each costs what sending a few of them does.
const LOOKED_AT: usize = 512 << 10;
/// What the kernel reads ahead at least, of a file that is read from front to back.
const READ_AHEAD: usize = 128 << 10;
/// The first kernel whose `sendfile` hands whole pages to the network: before, it costs more than
/// to send from a mapping.
const SENDS_WELL: (u32, u32) = (6, 5);

/// How slices are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Left to the kernel, where it sends files well by itself; else mapped.
    Send,
    /// Mapped.
    Map,
    /// Read into memory.
    Read,
}

/// A content that is open. It stays what it is, whatever happens to the model's name.
#[derive(Clone, Debug)]
pub struct Content {
    file: Arc<File>,
    /// How long it is.
    pub size: u64,
    /// How its slices are best taken.
    pub way: Way,
}

impl Content {
    /// What an open file has.
    pub(super) fn of(file: File, size: u64, way: Way) -> Self {
        Self { file: Arc::new(file), size, way }
    }

    /// All of it as the kernel may send it, where it does so well and it is worth it.
    pub fn lent(&self) -> Option<Bytes> {
        if self.way != Way::Send || !sends_well() {
            return None;
        }
        map_all(&self.file, self.size).ok().map(|map| lend(map, Arc::clone(&self.file)))
    }

    /// Whether a slice can be sent without waiting for the disk, as far as a few of its pages tell.
    pub fn is_cached(&self, from: u64, length: usize) -> bool {
        let end = from + u64::try_from(length).unwrap_or(u64::MAX);
        let starts = (from..end).step_by(LOOKED_AT);
        starts.chain(end.checked_sub(1)).all(|at| {
            let mut one = [0];
            let parts = &mut [io::IoSliceMut::new(&mut one)];
            rustix::io::preadv2(&self.file, parts, at, ReadWriteFlags::NOWAIT).is_ok_and(|n| n == 1)
        })
    }

    /// Has the disk bring a slice. It waits for it.
    pub fn fetch(&self, from: u64, length: usize) -> io::Result<()> {
        let (mut at, end) = (from, from + u64::try_from(length).unwrap_or(u64::MAX));
        let mut bytes = vec![0; READ_AHEAD];
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(READ_AHEAD).min(READ_AHEAD);
            self.file.read_exact_at(&mut bytes[..length], at)?;
            at += u64::try_from(length).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// A slice, at most [`SLICE`] long, all of it in memory. It may wait for the disk.
    pub fn slice(&self, from: u64, length: usize) -> io::Result<Bytes> {
        let length = length.min(SLICE);
        if self.way != Way::Read && MAPPED_MIN <= length {
            return map(&self.file, from, length);
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(bytes.into())
    }
}

/// Whether this kernel sends files well by itself.
fn sends_well() -> bool {
    static SENDS: LazyLock<bool> = LazyLock::new(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        matches!((parts.next(), parts.next()), (Some(Ok(major)), Some(Ok(minor))) if SENDS_WELL <= (major, minor))
    });
    *SENDS
}

#[expect(unsafe_code, reason = "a mapping is sound as long as nobody writes to the file")]
fn map_all(file: &File, size: u64) -> io::Result<memmap2::Mmap> {
    let length = usize::try_from(size).map_err(io::Error::other)?;
    // SAFETY: as below.
    unsafe { memmap2::MmapOptions::new().len(length).map(file) }
}

#[expect(unsafe_code, reason = "a mapping is sound as long as nobody writes to the file")]
fn map(file: &File, from: u64, length: usize) -> io::Result<Bytes> {
    // SAFETY: the file is a blob: it has mode 0444, and Berth never writes to one or makes it
    // shorter once it has a name.
    let map = unsafe { memmap2::MmapOptions::new().offset(from).len(length).map(file)? };
    // No page is waited for later, by a thread that others wait for; and a file that has become
    // too short is found out here.
    match map.advise(memmap2::Advice::PopulateRead) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            // Kernels before 5.14 can't be asked.
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, from)?;
            Ok(bytes.into())
        }
        populated => populated.map(|()| Bytes::from_owner(map)),
    }
}

impl Store {
    /// Opens the content of a model that may be given to others. One that somebody else has changed
    /// is looked at again.
    pub fn open_content(&self, entry: &Arc<Entry>) -> Result<(Arc<Entry>, Content), Error> {
        self.check_served(entry)?;
        let (entry, content) = self.open_any(entry)?;
        self.check_served(&entry)?;
        Ok((entry, content))
    }

    fn open_any(&self, entry: &Arc<Entry>) -> Result<(Arc<Entry>, Content), Error> {
        let mut entry = Arc::clone(entry);
        for _ in 0..3 {
            let opened = self.disk.open(&entry.file());
            let opened = opened.and_then(|file| Ok((stat_of(&file.metadata()?), file)));
            match opened {
                Ok((stat, _)) if !stat.is_file => return Err(Error::NotAFile),
                Ok((stat, file)) if entry.is_seen(&stat) => {
                    let way = if entry.is_ours { Way::Send } else { Way::Read };
                    let content = Content::of(file, stat.size, way);
                    return Ok((entry, content));
                }
                Err(error) if !super::scan::is_absent(&error) => {
                    return Err(Error::disk("the model can't be read")(error));
                }
                _ => entry = self.refresh(&entry.key)?,
            }
        }
        Err(Error::not_found(&entry.key))
    }

    /// The model as it is now: one that somebody else has changed is looked at again.
    pub fn current(&self, entry: &Arc<Entry>) -> Result<Arc<Entry>, Error> {
        // What is Berth's own is never written to.
        match self.disk.stat(&entry.file()) {
            Ok(stat) if entry.is_ours || entry.is_seen(&stat) => Ok(Arc::clone(entry)),
            Err(error) if !super::scan::is_absent(&error) => {
                Err(Error::disk("the model can't be read")(error))
            }
            _ => self.refresh(&entry.key),
        }
    }

    /// Reads a model, and says what its digest is; `go_on` is asked after each slice. What is known of
    /// one that is not Berth's is set right.
    pub fn hash(&self, key: &Key, mut go_on: impl FnMut() -> bool) -> Result<Digest, Error> {
        let (entry, content) = self.open_any(&self.get(key)?)?;
        let content = Content { way: Way::Read, ..content };
        let mut hasher = Sha256::new();
        let mut at = 0;
        while at < content.size {
            let length = usize::try_from(content.size - at).unwrap_or(SLICE).min(SLICE);
            let slice = content.slice(at, length);
            let slice = slice.map_err(Error::disk("the model can't be read"))?;
            hasher.update(&slice);
            at += u64::try_from(length).unwrap_or(u64::MAX);
            if !go_on() {
                return Err(Error::Conflict("given up".to_owned()));
            }
        }
        let digest = Digest::of_hash(hasher.finalize().into());
        if !entry.is_ours {
            let stat = content.file.metadata().map(|meta| stat_of(&meta));
            let stat = stat.map_err(Error::disk("the model can't be read"))?;
            if !entry.is_seen(&stat) {
                self.refresh(key)?;
                return Err(Error::Conflict(format!("{key} was changed while it was read")));
            }
            if entry.sha256.as_ref() != Some(&digest) {
                self.learn(key, &stat, &digest);
            }
        }
        Ok(digest)
    }

    /// The models whose digest nobody knows yet.
    pub fn unread(&self) -> Vec<Key> {
        let all = self.index.all();
        all.iter().filter(|e| e.sha256.is_none()).map(|e| e.key.clone()).collect()
    }

    /// A model that has this content, of these projects (none is every one): one that may be given to
    /// others, if there is such a one.
    pub fn with_content(&self, digest: &Digest, projects: Option<&[String]>) -> Option<Arc<Entry>> {
        let is_this = |entry: &Entry| {
            entry.sha256.as_ref() == Some(digest)
                && projects.is_none_or(|all| all.contains(&entry.key.project))
        };
        let is_good = |entry: &Entry| is_this(entry) && self.check_served(entry).is_ok();
        self.index.find(is_good).or_else(|| self.index.find(is_this))
    }

    /// Whether a model is known to be safe to load.
    pub fn check_safe(entry: &Entry) -> Result<(), Error> {
        match entry.inspected.map(|inspected| inspected.safety) {
            None => Err(Error::Unscanned),
            Some(Safety::Safe) => Ok(()),
            Some(safety) => Err(Error::Blocked(format!(
                "the model is {} to load, and only what is safe was asked for (`require=safe`)",
                safety.word()
            ))),
        }
    }

    /// Counts what was sent.
    pub fn count_sent(&self, bytes: u64) {
        Figures::add(&self.figures.sent, bytes);
    }
}
