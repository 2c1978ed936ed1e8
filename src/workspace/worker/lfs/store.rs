//! The store: one file for each content, shared by the apps that have the same repository.
//!
//! A file that was checked has a fixed date. Whoever changes it, also by way of a checkout that
//! shares it, changes the date too, and it is checked again.

use std::{
    fmt::Write as _,
    fs::{self, File, FileTimes, OpenOptions},
    io::{self, Read, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use super::{
    super::report::{self, Report},
    Pointer,
};
use crate::clock::Clock;
use crate::model::Timestamp;

/// The date of a file that was checked: 1980-01-02.
const STAMP_SECONDS: u64 = 315_619_200;
/// What no checkout has used for so long is removed.
const UNUSED: Duration = Duration::from_hours(7 * 24);
const CHUNK: usize = 64 << 10;

pub(super) struct Store {
    folder: PathBuf,
}

/// A file that is not complete yet, and that is ours alone.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    hasher: Sha256,
    /// How many bytes are there.
    pub(super) length: u64,
}

impl Store {
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, pointer: &Pointer) -> PathBuf {
        self.folder.join(&pointer.oid)
    }

    fn part_path(&self, pointer: &Pointer) -> PathBuf {
        self.folder.join(format!("{}.part", pointer.oid))
    }

    /// How many bytes of a missing content are not here yet.
    pub(super) fn to_come(&self, pointer: &Pointer) -> u64 {
        let part = fs::symlink_metadata(self.part_path(pointer)).map_or(0, |seen| seen.len());
        pointer.size.saturating_sub(part)
    }

    /// Whether the content is here, and is what it should be.
    pub(super) fn has(&self, pointer: &Pointer, report: &Report) -> io::Result<bool> {
        let path = self.path(pointer);
        let Ok(seen) = fs::symlink_metadata(&path) else { return Ok(false) };
        let is_stamped = u64::try_from(seen.mtime()) == Ok(STAMP_SECONDS) && seen.mtime_nsec() == 0;
        if seen.is_file() && seen.len() == pointer.size && is_stamped {
            return Ok(true);
        }
        if seen.is_file() && seen.len() == pointer.size {
            let mut file = File::open(&path)?;
            let mut hasher = Sha256::new();
            feed(&mut file, &mut hasher, report)?;
            if hex(hasher) == pointer.oid {
                stamp(&file)?;
                return Ok(true);
            }
        }
        fs::remove_file(&path)?;
        Ok(false)
    }

    /// Opens what is there of a content, for us alone. None when somebody else has brought it.
    pub(super) fn part(&self, pointer: &Pointer, report: &Report) -> io::Result<Option<Part>> {
        let path = self.part_path(pointer);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(&path)?;
            let lock = || rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive);
            report::alive_while(lock)??;
            if self.has(pointer, report)? {
                let _ = fs::remove_file(&path);
                return Ok(None);
            }
            // It may have been completed, or thrown away, while we waited.
            let is_ours = fs::metadata(&path).is_ok_and(|seen| {
                file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (seen.dev(), seen.ino()))
            });
            if !is_ours {
                continue;
            }
            let mut hasher = Sha256::new();
            let length = feed(&mut file, &mut hasher, report)?;
            let mut part = Part { file, path, hasher, length };
            if pointer.size < part.length {
                part.restart()?;
            }
            return Ok(Some(part));
        }
    }

    /// Keeps a complete content. False when it is not what it should be: it is thrown away then.
    pub(super) fn keep(&self, pointer: &Pointer, part: Part) -> io::Result<bool> {
        let Part { file, path, hasher, length } = part;
        if length != pointer.size || hex(hasher) != pointer.oid {
            fs::remove_file(&path)?;
            return Ok(false);
        }
        report::alive_while(|| file.sync_all())??;
        stamp(&file)?;
        fs::rename(&path, self.path(pointer))?;
        Ok(true)
    }

    /// Brings a content from a file of this machine. False when it is not what it should be.
    pub(super) fn copy(&self, pointer: &Pointer, from: &Path, report: &Report) -> io::Result<bool> {
        let Some(mut part) = self.part(pointer, report)? else { return Ok(true) };
        part.restart()?;
        let mut from = File::open(from)?.take(pointer.size.saturating_add(1));
        let mut chunk = vec![0; CHUNK];
        loop {
            let count = from.read(&mut chunk)?;
            if count == 0 {
                return self.keep(pointer, part);
            }
            part.write(&chunk[..count])?;
            report.progress(|| format!("copying from Git LFS: {} KiB", part.length / 1024));
        }
    }

    /// Puts a content into a checkout: shared where the disk can, copied elsewhere.
    pub(super) fn put(&self, pointer: &Pointer, to: &Path, is_executable: bool) -> io::Result<()> {
        let from = self.path(pointer);
        let mode = if is_executable { 0o755 } else { 0o644 };
        let stored = File::open(&from)?;
        // Its other date says that it was used.
        stamp(&stored)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
        if rustix::fs::ioctl_ficlone(&file, &stored).is_ok() {
            return Ok(());
        }
        drop(file);
        fs::remove_file(to)?;
        // The mode belongs to the content and would be that of all who share it.
        if !is_executable && fs::hard_link(&from, to).is_ok() {
            return Ok(());
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
        report::alive_while(|| io::copy(&mut &stored, &mut file)).flatten().map(drop)
    }

    /// Removes what no checkout has used for a week.
    pub(super) fn tidy(&self) -> io::Result<()> {
        let now = Clock::System.now();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let seen = entry.metadata()?;
            let changed = Timestamp::from_millis(seen.ctime().saturating_mul(1000));
            if seen.nlink() == 1 && UNUSED < now.since(changed) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

impl Part {
    /// Throws away what is there.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.hasher = Sha256::new();
        self.length = 0;
        Ok(())
    }

    /// Adds the bytes that come next.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

fn stamp(file: &File) -> io::Result<()> {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(STAMP_SECONDS);
    file.set_times(FileTimes::new().set_modified(date))
}

fn feed(file: &mut impl Read, hasher: &mut Sha256, report: &Report) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut length = 0;
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok(length);
        }
        hasher.update(&chunk[..count]);
        length += count as u64;
        report.progress(|| format!("checking what is here of Git LFS: {} KiB", length / 1024));
    }
}

fn hex(hasher: Sha256) -> String {
    let mut text = String::new();
    for byte in hasher.finalize() {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(text: &str) -> Pointer {
        let mut hasher = Sha256::new();
        hasher.update(text);
        Pointer { oid: hex(hasher), size: text.len() as u64 }
    }

    fn bring(store: &Store, pointer: &Pointer, text: &str) -> bool {
        let mut part = store.part(pointer, &Report::default()).unwrap().unwrap();
        let at = usize::try_from(part.length).unwrap();
        part.write(&text.as_bytes()[at..]).unwrap();
        store.keep(pointer, part).unwrap()
    }

    #[test]
    fn only_what_its_pointer_says_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let good = pointer("content");
        let report = Report::default();
        assert!(!store.has(&good, &report).unwrap());
        assert!(!bring(&store, &good, "cOntent"));
        assert!(!bring(&store, &good, "content and more"));
        assert!(!store.has(&good, &report).unwrap());
        let mut part = store.part(&good, &report).unwrap().unwrap();
        part.write(b"cont").unwrap();
        drop(part);
        assert!(bring(&store, &good, "content"), "what broke off goes on where it was");
        assert!(store.has(&good, &report).unwrap());
        assert!(store.part(&good, &report).unwrap().is_none());
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn a_hand_on_a_checkout_does_not_reach_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let good = pointer("content");
        let report = Report::default();
        bring(&store, &good, "content");
        let (first, program) = (folder.path().join("first"), folder.path().join("program"));
        store.put(&good, &first, false).unwrap();
        store.put(&good, &program, true).unwrap();
        assert_eq!(fs::metadata(&program).unwrap().mode() & 0o777, 0o755);
        assert_eq!(fs::metadata(&first).unwrap().mode() & 0o777, 0o644);
        assert!(store.has(&good, &report).unwrap(), "being used is no change");
        let is_shared = fs::metadata(&first).unwrap().nlink() == 2;
        fs::write(&first, "CONTENT").unwrap();
        assert_eq!(store.has(&good, &report).unwrap(), !is_shared);
        assert_eq!(fs::read_to_string(&program).unwrap(), "content");
    }
}
