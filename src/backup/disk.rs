//! Everything that backups ask of the file system, one call for each thing that they change, so
//! that a test can fail or end it at every one.

use std::{
    any::Any,
    ffi::OsString,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid,
    chmodat, chownat, flock, renameat_with, utimensat,
};

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A symbolic link.
    Link,
    /// A socket, a device, a pipe.
    Other,
}

/// What is known of a path, links not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub sort: Sort,
    /// How long it is.
    pub size: u64,
    /// Who may use it.
    pub mode: u32,
    /// Whose it is.
    pub owner: [u32; 2],
    /// When its content was changed, in nanoseconds since 1970.
    pub modified: i128,
    /// When anything about it was changed.
    pub changed: i128,
    /// Which file it is, whatever its name.
    pub inode: (u64, u64),
    /// How many names it has.
    pub links: u64,
}

/// What a path is given when its content is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dress {
    /// Who may use it.
    pub mode: Option<u32>,
    /// Whose it becomes.
    pub owner: Option<[u32; 2]>,
    /// When its content was changed.
    pub modified: Option<i128>,
}

/// A file that is being written.
pub trait Draft: Write + Send {
    /// Makes what was written last.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file system.
pub trait Disk: fmt::Debug + Send + Sync {
    /// What is known of a path.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// What is in a folder, by name.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// What a symbolic link says.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;
    /// Opens a file for reading, links not followed.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Makes a file that was not there, for its owner alone.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Draft>>;
    /// Makes a folder.
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Makes a symbolic link.
    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()>;
    /// Gives a file one more name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames; a file at `to` is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames to a name that nothing has.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file's name away.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes what happened in a folder last.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Sets what is not content; links are not followed.
    fn dress(&self, path: &Path, dress: &Dress) -> io::Result<()>;
    /// Holds a lock for as long as the answer lives. `WouldBlock` when somebody else has it and
    /// it is not waited for.
    fn hold(&self, path: &Path, waits: bool) -> io::Result<Box<dyn Any + Send + Sync>>;
}

/// The machine's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Disk for Machine {
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let meta = fs::symlink_metadata(path)?;
        let sort = match meta.file_type() {
            kind if kind.is_dir() => Sort::Folder,
            kind if kind.is_file() => Sort::File,
            kind if kind.is_symlink() => Sort::Link,
            _ => Sort::Other,
        };
        let nanos =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Ok(Stat {
            sort,
            size: meta.len(),
            mode: meta.mode() & 0o7777,
            owner: [meta.uid(), meta.gid()],
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
            inode: (meta.dev(), meta.ino()),
            links: meta.nlink(),
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        fs::read_link(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        // What became a pipe meanwhile must not be waited for.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Box::new(file))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Draft>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(Made(file)))
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(target, path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Not every file system can; the lock keeps others of Berth out.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                if fs::symlink_metadata(to).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                fs::rename(from, to)
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

    fn dress(&self, path: &Path, dress: &Dress) -> io::Result<()> {
        if let Some([user, group]) = dress.owner {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            chownat(CWD, path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        // The mode comes after the owner: a change of that one takes bits of it away.
        if let Some(mode) = dress.mode {
            chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        if let Some(nanos) = dress.modified {
            let time = Timespec {
                tv_sec: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default(),
                tv_nsec: i64::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
            };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn hold(&self, path: &Path, waits: bool) -> io::Result<Box<dyn Any + Send + Sync>> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let how = if waits {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        flock(&file, how)?;
        Ok(Box::new(file))
    }
}

struct Made(File);

impl Write for Made {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Draft for Made {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// Reads a file whole that may not be longer than this.
pub(super) fn read_small(disk: &dyn Disk, path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    disk.open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if max < u64::try_from(bytes.len()).unwrap_or(u64::MAX) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Makes a folder and those above it, where they are not there.
pub(super) fn make_dirs(disk: &dyn Disk, path: &Path, mode: u32) -> io::Result<()> {
    if disk.stat(path).is_ok() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        make_dirs(disk, above, 0o755)?;
        disk.create_dir(path, mode)?;
        return disk.sync_dir(above);
    }
    disk.create_dir(path, mode)
}

/// Puts a small file in place as a whole: after a crash there is the old one, or the new one, or
/// none; and `draft` beside it.
pub(super) fn put_small(
    disk: &dyn Disk,
    draft: &Path,
    path: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    if disk.stat(draft).is_ok() {
        disk.remove_file(draft)?;
    }
    let mut file = disk.create(draft)?;
    file.write_all(bytes)?;
    file.sync()?;
    drop(file);
    disk.rename(draft, path)?;
    path.parent().map_or(Ok(()), |folder| disk.sync_dir(folder))
}

/// Removes a folder and all that is in it; links are not followed.
pub(super) fn remove_tree(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    if disk.stat(path)?.sort != Sort::Folder {
        return disk.remove_file(path);
    }
    for name in disk.list(path)? {
        remove_tree(disk, &path.join(name))?;
    }
    disk.remove_dir(path)
}
