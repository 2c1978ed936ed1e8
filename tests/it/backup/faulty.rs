//! The machine's file system, which fails, ends or loses its power at a step that a test chooses.
//! What was not made to last is undone when the power goes.

use std::{
    any::Any,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use berth::backup::disk::{Disk, Draft, Dress, Machine, Stat};
use rustix::io::Errno;

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing.
    Never,
    /// The process is killed.
    Kill(u64),
    /// The power goes.
    Power(u64),
    /// It fails so, once.
    Once(u64, Errno),
    /// It fails so, and whatever is changed after it.
    From(u64, Errno),
}

/// What was done and is not on the disk yet: the folders that it touched, and how it is undone.
struct Pending {
    folders: Vec<PathBuf>,
    undo: Box<dyn FnOnce() + Send>,
}

#[derive(Default)]
struct Inner {
    steps: AtomicU64,
    is_dead: AtomicBool,
    pending: Mutex<Vec<Pending>>,
    unsynced: Mutex<Vec<(u64, File)>>,
}

/// The file system.
#[derive(Clone)]
pub(super) struct Faulty {
    fault: Fault,
    limbo: PathBuf,
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.fault.fmt(f)
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|meta| meta.ino())
}

fn above(path: &Path) -> PathBuf {
    path.parent().unwrap().to_owned()
}

impl Faulty {
    /// `limbo` is a folder of the same file system, for what may come back.
    pub(super) fn new(fault: Fault, limbo: &Path) -> Self {
        fs::create_dir_all(limbo).unwrap();
        Self { fault, limbo: limbo.to_owned(), inner: Arc::default() }
    }

    /// How many steps there were.
    pub(super) fn steps(&self) -> u64 {
        self.inner.steps.load(Ordering::Relaxed)
    }

    fn alive(&self) -> io::Result<()> {
        if self.inner.is_dead.load(Ordering::Relaxed) { Err(Errno::IO.into()) } else { Ok(()) }
    }

    /// Whether the next step happens.
    fn step(&self) -> io::Result<()> {
        self.alive()?;
        let nth = self.inner.steps.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Fault::Kill(at) | Fault::Power(at) if at == nth => {
                self.inner.is_dead.store(true, Ordering::Relaxed);
                Err(Errno::IO.into())
            }
            Fault::Once(at, errno) if at == nth => Err(errno.into()),
            Fault::From(at, errno) if at <= nth => Err(errno.into()),
            _ => Ok(()),
        }
    }

    fn happened(&self, folders: &[PathBuf], undo: impl FnOnce() + Send + 'static) {
        if matches!(self.fault, Fault::Power(_)) {
            let pending = Pending { folders: folders.to_vec(), undo: Box::new(undo) };
            self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner).push(pending);
        }
    }

    /// Keeps what is at a path, should it have to come back.
    fn save(&self, path: &Path) -> Option<PathBuf> {
        if !matches!(self.fault, Fault::Power(_)) {
            return None;
        }
        let saved = self.limbo.join(self.steps().to_string());
        fs::hard_link(path, &saved).ok().map(|()| saved)
    }

    /// What is on the disk when the power comes back.
    pub(super) fn lose_power(&self) {
        let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for one in std::mem::take(&mut *pending).into_iter().rev() {
            (one.undo)();
        }
        let mut unsynced = self.inner.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, file) in std::mem::take(&mut *unsynced) {
            let length = file.metadata().unwrap().len();
            file.set_len(length / 2).unwrap();
        }
    }

    fn moved(&self, from: &Path, to: &Path, victim: Option<PathBuf>) {
        let (from, to) = (from.to_owned(), to.to_owned());
        let moved = inode(&to);
        self.happened(&[above(&from), above(&to)], move || {
            if inode(&to) == moved {
                let _ = fs::rename(&to, &from);
            }
            if let Some(victim) = victim {
                let _ = fs::rename(victim, &to);
            }
        });
    }
}

impl Disk for Faulty {
    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.alive()?;
        Machine.stat(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.alive()?;
        Machine.list(path)
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.alive()?;
        Machine.read_link(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        self.alive()?;
        Machine.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Draft>> {
        self.step()?;
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path)?;
        let made = inode(path);
        let place = path.to_owned();
        self.happened(&[above(path)], move || {
            if inode(&place) == made {
                let _ = fs::remove_file(&place);
            }
        });
        let number = self.steps();
        let again = file.try_clone().unwrap();
        self.inner.unsynced.lock().unwrap_or_else(PoisonError::into_inner).push((number, again));
        Ok(Box::new(Drafted { disk: self.clone(), file, number }))
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.step()?;
        Machine.create_dir(path, mode)?;
        let (place, made) = (path.to_owned(), inode(path));
        self.happened(&[above(path)], move || {
            if inode(&place) == made {
                let _ = fs::remove_dir_all(&place);
            }
        });
        Ok(())
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.step()?;
        Machine.symlink(target, path)?;
        let place = path.to_owned();
        self.happened(&[above(path)], move || drop(fs::remove_file(&place)));
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        Machine.link(from, to)?;
        let (place, made) = (to.to_owned(), inode(to));
        self.happened(&[above(to)], move || {
            if inode(&place) == made {
                let _ = fs::remove_file(&place);
            }
        });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        let victim = self.save(to);
        Machine.rename(from, to)?;
        self.moved(from, to, victim);
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        Machine.rename_new(from, to)?;
        self.moved(from, to, None);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let saved = self.save(path);
        Machine.remove_file(path)?;
        let place = path.to_owned();
        self.happened(&[above(path)], move || {
            if let Some(saved) = saved
                && inode(&place).is_none()
            {
                let _ = fs::rename(saved, &place);
            }
        });
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        Machine.remove_dir(path)?;
        let place = path.to_owned();
        self.happened(&[above(path)], move || drop(fs::create_dir(&place)));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.retain(|one| !one.folders.iter().any(|folder| folder == path));
        Ok(())
    }

    fn dress(&self, path: &Path, dress: &Dress) -> io::Result<()> {
        self.step()?;
        Machine.dress(path, dress)
    }

    fn hold(&self, path: &Path, waits: bool) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.step()?;
        Machine.hold(path, waits)
    }
}

struct Drafted {
    disk: Faulty,
    file: File,
    number: u64,
}

impl Write for Drafted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.disk.step() {
            // What was cut off is there all the same.
            let _ = self.file.write_all(&bytes[..bytes.len() / 2]);
            return Err(error);
        }
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Draft for Drafted {
    fn sync(&mut self) -> io::Result<()> {
        self.disk.step()?;
        let mut unsynced = self.disk.inner.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        unsynced.retain(|(number, _)| *number != self.number);
        Ok(())
    }
}
