//! Everything that the store asks of the file system, one call for each thing that it changes, so
//! that a test can fail or end it at every one.

use std::{
    any::Any,
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use super::flusher::Flusher;
use crate::inspect::Source;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, RenameFlags, fallocate, fchmod,
    flock, linkat, open, renameat_with,
};

/// The mode of what is stored: it is never changed again.
const STORED: u32 = 0o444;

/// What is known of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether it is a file, and no link or device.
    pub is_file: bool,
    /// How long it is.
    pub size: u64,
    /// Which file it is, whatever its name.
    pub inode: (u64, u64),
    /// How many names it has.
    pub links: u64,
    /// When it was changed, in nanoseconds since 1970.
    pub modified: i128,
    /// When anything about it was changed.
    pub changed: i128,
    /// Whether its owner may write into it.
    pub is_writable: bool,
}

/// A file that has no name yet. What is never named goes with it.
pub trait Temp: Send {
    /// Adds to it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Reads from it; answers how many bytes there were, none at the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Makes what was written last; more may follow.
    fn keep(&mut self) -> io::Result<()>;
    /// Makes it last.
    fn sync(&mut self) -> io::Result<()>;
    /// Gives it a name that nothing has.
    fn link(&mut self, to: &Path) -> io::Result<()>;
}

/// A file system.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a folder.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file without a name, on the file system of `folder`, that will have `size` bytes.
    fn temp(&self, folder: &Path, size: Option<u64>) -> io::Result<Box<dyn Temp>>;
    /// Opens a file for adding at its end, which is at `size`: what it has beyond that is cut off.
    /// For 0, it is made if it is not there. A shorter one is an error.
    fn grow(&self, path: &Path, size: u64) -> io::Result<Box<dyn Temp>>;
    /// Writes a new, small file that lasts.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file one more name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames; a file, or an empty folder, at `to` is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Has two folders change places in one go; `Unsupported` where that can't be.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()>;
    /// Takes a file's name away.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes what happened in a folder last.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Reads a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// What is in a folder.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// What is known of a path, links not followed.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// Opens a file for reading, links not followed.
    fn open(&self, path: &Path) -> io::Result<File>;
    /// Holds a file so that no other store has this root, for as long as the answer lives.
    fn hold(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>>;
}

/// The machine's own.
#[derive(Debug, Default)]
pub struct Machine;

impl Disk for Machine {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o755).create(path)?;
        crate::host::open_to_others(path)
    }

    fn temp(&self, folder: &Path, size: Option<u64>) -> io::Result<Box<dyn Temp>> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let temp = match open(folder, flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => Draft::of(File::from(file), None),
            // Not every file system has files without a name.
            Err(_) => Draft::named(folder)?,
        };
        if let Some(size) = size.filter(|size| 0 < *size) {
            match fallocate(&temp.file, FallocateFlags::KEEP_SIZE, 0, size) {
                Err(error) if error == rustix::io::Errno::NOSPC => return Err(error.into()),
                // Without it, a full disk is only found out later.
                _ => {}
            }
        }
        Ok(Box::new(temp))
    }

    fn grow(&self, path: &Path, size: u64) -> io::Result<Box<dyn Temp>> {
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(size == 0)
            .truncate(false)
            .mode(0o600)
            .open(path);
        let mut file = match opened {
            // It was whole already, and is as it must be.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path)?,
            opened => opened?,
        };
        let length = file.metadata()?.len();
        if length < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if size < length {
            file.set_len(size)?;
        }
        file.seek(io::SeekFrom::Start(size))?;
        Ok(Box::new(Part { file, flusher: Flusher::from(size), path: path.to_owned() }))
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        use rustix::io::Errno;
        match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            done => Ok(done?),
        }
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(stat_of(&fs::symlink_metadata(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        OpenOptions::new().read(true).custom_flags(flags).open(path)
    }

    fn hold(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(file))
    }
}

/// What the kernel says of a file.
pub(super) fn stat_of(meta: &fs::Metadata) -> Stat {
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    Stat {
        is_folder: meta.is_dir(),
        is_file: meta.is_file(),
        size: meta.len(),
        inode: (meta.dev(), meta.ino()),
        links: meta.nlink(),
        modified: nanos(meta.mtime(), meta.mtime_nsec()),
        changed: nanos(meta.ctime(), meta.ctime_nsec()),
        is_writable: meta.mode() & 0o222 != 0,
    }
}

/// A file that is being written.
struct Draft {
    file: File,
    flusher: Flusher,
    /// Its name, where it must have one.
    named: Option<PathBuf>,
}

impl Draft {
    fn of(file: File, named: Option<PathBuf>) -> Self {
        Self { file, flusher: Flusher::from(0), named }
    }

    fn named(folder: &Path) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("draft-{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self::of(file, Some(path)))
    }
}

impl Temp for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.flusher.note(&self.file, bytes.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        Source::read_at(&self.file, offset, into)
    }

    fn keep(&mut self) -> io::Result<()> {
        self.flusher.end()?;
        self.file.sync_data()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flusher.end()?;
        fchmod(&self.file, Mode::from_raw_mode(STORED))?;
        self.file.sync_all()
    }

    fn link(&mut self, to: &Path) -> io::Result<()> {
        if let Some(path) = &self.named {
            return fs::hard_link(path, to);
        }
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(linkat(CWD, path, CWD, to, AtFlags::SYMLINK_FOLLOW)?)
    }
}

/// A file that has a name and still grows.
struct Part {
    file: File,
    flusher: Flusher,
    path: PathBuf,
}

impl Temp for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.flusher.note(&self.file, bytes.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        Source::read_at(&self.file, offset, into)
    }

    fn keep(&mut self) -> io::Result<()> {
        self.flusher.end()?;
        self.file.sync_data()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.flusher.end()?;
        fchmod(&self.file, Mode::from_raw_mode(STORED))?;
        self.file.sync_all()
    }

    fn link(&mut self, to: &Path) -> io::Result<()> {
        fs::hard_link(&self.path, to)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where files can't be without a name, a name of their own serves as well.
    #[test]
    fn a_draft_with_a_name_is_kept_and_dropped_as_one_without() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        let mut draft = Draft::named(folder.path()).unwrap();
        draft.write(b"abc").unwrap();
        draft.sync().unwrap();
        draft.link(&kept).unwrap();
        assert_eq!(draft.link(&kept).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop(draft);
        drop(Draft::named(folder.path()).unwrap());
        assert_eq!(Machine.list(folder.path()).unwrap(), ["kept"]);
        let stat = Machine.stat(&kept).unwrap();
        assert_eq!((stat.size, stat.links, stat.is_writable), (3, 1, false));
    }

    #[test]
    fn a_root_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Machine.hold(&path).unwrap();
        assert!(Machine.hold(&path).is_err());
        drop(held);
        assert!(Machine.hold(&path).is_ok());
    }
}
