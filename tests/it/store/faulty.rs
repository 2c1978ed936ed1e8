//! A file system that fails, or ends, at a change that a test chooses.

use std::{
    any::Any,
    ffi::OsString,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use berth::store::disk::{Disk, Stat, Temp};
use rustix::io::Errno;

/// What happens at the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    Never,
    /// The process is killed before it.
    Kill(u64),
    /// The process is killed in it, if it is one that can be half done.
    Tear(u64),
    /// It fails so, once.
    Once(u64, Errno),
    /// It fails so, and whatever is changed after it.
    From(u64, Errno),
}

#[derive(Debug, Default)]
struct Count {
    changes: AtomicU64,
    is_dead: AtomicBool,
    failed: AtomicU64,
}

/// The file system.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<dyn Disk>,
    fault: Fault,
    count: Arc<Count>,
    /// A folder that nobody may look into.
    denied: Option<PathBuf>,
}

enum Verdict {
    Go,
    Half,
    Stop(io::Error),
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Disk>, fault: Fault) -> Self {
        Self { inner, fault, count: Arc::default(), denied: None }
    }

    /// One that does not let anybody look into a folder.
    pub(crate) fn denying(inner: Arc<dyn Disk>, folder: PathBuf) -> Self {
        Self { denied: Some(folder), ..Self::new(inner, Fault::Never) }
    }

    /// How many changes there were.
    pub(crate) fn changes(&self) -> u64 {
        self.count.changes.load(Ordering::SeqCst)
    }

    /// How many of them failed.
    pub(crate) fn failed(&self) -> u64 {
        self.count.failed.load(Ordering::SeqCst)
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.count.is_dead.load(Ordering::SeqCst)
    }

    fn look(&self) -> io::Result<()> {
        if self.is_dead() { Err(Errno::IO.into()) } else { Ok(()) }
    }

    fn change(&self) -> io::Result<()> {
        match judge(self.fault, &self.count) {
            Verdict::Go => Ok(()),
            Verdict::Half => Err(Errno::IO.into()),
            Verdict::Stop(error) => Err(error),
        }
    }
}

fn judge(fault: Fault, count: &Count) -> Verdict {
    if count.is_dead.load(Ordering::SeqCst) {
        return Verdict::Stop(Errno::IO.into());
    }
    let number = count.changes.fetch_add(1, Ordering::SeqCst) + 1;
    let die = || count.is_dead.store(true, Ordering::SeqCst);
    match fault {
        Fault::Kill(at) if at == number => {
            die();
            Verdict::Stop(Errno::IO.into())
        }
        Fault::Tear(at) if at == number => {
            die();
            Verdict::Half
        }
        Fault::Once(at, errno) if at == number => {
            count.failed.fetch_add(1, Ordering::SeqCst);
            Verdict::Stop(errno.into())
        }
        Fault::From(at, errno) if at <= number => {
            count.failed.fetch_add(1, Ordering::SeqCst);
            Verdict::Stop(errno.into())
        }
        _ => Verdict::Go,
    }
}

struct Draft {
    inner: Box<dyn Temp>,
    fault: Fault,
    count: Arc<Count>,
}

impl Temp for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match judge(self.fault, &self.count) {
            Verdict::Go => self.inner.write(bytes),
            Verdict::Half => {
                self.inner.write(&bytes[..bytes.len() / 2])?;
                Err(Errno::IO.into())
            }
            Verdict::Stop(error) => Err(error),
        }
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(offset, into)
    }

    fn keep(&mut self) -> io::Result<()> {
        match judge(self.fault, &self.count) {
            Verdict::Go => self.inner.keep(),
            Verdict::Half => Err(Errno::IO.into()),
            Verdict::Stop(error) => Err(error),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match judge(self.fault, &self.count) {
            Verdict::Go => self.inner.sync(),
            Verdict::Half => Err(Errno::IO.into()),
            Verdict::Stop(error) => Err(error),
        }
    }

    fn link(&mut self, to: &Path) -> io::Result<()> {
        match judge(self.fault, &self.count) {
            Verdict::Go => self.inner.link(to),
            Verdict::Half => Err(Errno::IO.into()),
            Verdict::Stop(error) => Err(error),
        }
    }
}

impl Disk for Faulty {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        self.inner.create_dir(path)
    }

    fn temp(&self, folder: &Path, size: Option<u64>) -> io::Result<Box<dyn Temp>> {
        self.change()?;
        let inner = self.inner.temp(folder, size)?;
        Ok(Box::new(Draft { inner, fault: self.fault, count: Arc::clone(&self.count) }))
    }

    fn grow(&self, path: &Path, size: u64) -> io::Result<Box<dyn Temp>> {
        self.change()?;
        let inner = self.inner.grow(path, size)?;
        Ok(Box::new(Draft { inner, fault: self.fault, count: Arc::clone(&self.count) }))
    }

    fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        match judge(self.fault, &self.count) {
            Verdict::Go => self.inner.write_file(path, bytes),
            Verdict::Half => {
                self.inner.write_file(path, &bytes[..bytes.len() / 2])?;
                Err(Errno::IO.into())
            }
            Verdict::Stop(error) => Err(error),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        self.inner.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change()?;
        self.inner.rename(from, to)
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        self.change()?;
        self.inner.exchange(one, other)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.change()?;
        self.inner.sync_dir(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.look()?;
        self.inner.read(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.look()?;
        if self.denied.as_deref() == Some(path) {
            return Err(Errno::ACCESS.into());
        }
        self.inner.list(path)
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.look()?;
        self.inner.stat(path)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        self.look()?;
        self.inner.open(path)
    }

    fn hold(&self, path: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.look()?;
        self.inner.hold(path)
    }
}
