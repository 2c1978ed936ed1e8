//! The mirrors: bare repositories of our own, one for each remote, shared by all apps.
//!
//! A mirror is a cache: whatever is wrong with one, it is thrown away and made again. Whoever
//! changes one holds its lock; whoever only reads objects needs none, because objects are only
//! ever added. One that is thrown away under a reader makes the reader try again.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use git2::{Repository, RepositoryInitOptions};
use rustix::fs::{FlockOperation, Timespec, Timestamps, UTIME_NOW, flock, futimens};

use super::{failure::Failure, modules::Sources, open, remote::PACKS_MAX, report};
use crate::workspace::error::Error;
use crate::workspace::place;
use crate::workspace::protocol::{Job, mirror_key};

/// A mirror that nobody has fetched into for so long is removed.
const UNUSED: Duration = Duration::from_hours(30 * 24);
const LOCK: &str = "lock";

/// Where the mirror of a remote is.
pub(super) fn path(job: &Job, url: &str, is_whole: bool) -> PathBuf {
    let key = mirror_key(url, job.approach.login_name());
    job.mirrors.join(if is_whole { format!("{key}-whole.git") } else { format!("{key}.git") })
}

/// Waits for the right to change a remote's mirrors.
pub(super) fn lock(job: &Job, url: &str) -> Result<File, Failure> {
    let path = job.mirrors.join(mirror_key(url, job.approach.login_name())).with_extension(LOCK);
    let on_disk = |error: io::Error| Failure::Told(Error::disk(&path, &error));
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(on_disk)?;
    let take = || flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from);
    report::alive_while(take).flatten().map_err(on_disk)?;
    touch(&file).map_err(on_disk)?;
    Ok(file)
}

/// Opens a mirror, or makes it.
pub(super) fn open_at(path: &Path) -> Result<Repository, Failure> {
    let on_disk = |error: io::Error| Failure::Told(Error::disk(path, &error));
    if path.exists() {
        let packs = tidy_packs(&path.join("objects/pack"));
        match open(path) {
            Ok(mirror) if mirror.is_bare() && packs.is_ok_and(|packs| packs <= PACKS_MAX) => {
                return Ok(mirror);
            }
            _ => forget(path).map_err(on_disk)?,
        }
    }
    let mut options = RepositoryInitOptions::new();
    options.bare(true).external_template(false).no_reinit(true);
    let failed = |error: git2::Error| {
        let message = error.message().to_owned();
        Failure::Told(Error::Disk { path: path.display().to_string(), message })
    };
    let mirror = Repository::init_opts(path, &options).map_err(failed)?;
    // Nobody is sent to another host (fault G05).
    let mut config = mirror.config().map_err(failed)?;
    config.set_bool("http.followRedirects", false).map_err(failed)?;
    Ok(mirror)
}

/// Throws a mirror away.
pub(super) fn forget(path: &Path) -> io::Result<()> {
    report::alive_while(|| place::remove(path)).flatten()
}

/// Throws away all mirrors that a job has used.
pub(super) fn forget_all(job: &Job, sources: &Sources) -> Result<(), Failure> {
    for url in &sources.urls {
        let _lock = lock(job, url)?;
        for path in [path(job, url, false), path(job, url, true)] {
            forget(&path).map_err(|error| Error::disk(&path, &error))?;
        }
    }
    Ok(())
}

/// Removes what a transfer that failed has left in the mirrors that a job has used.
pub(super) fn tidy(job: &Job, sources: &Sources) -> Result<(), Failure> {
    for url in &sources.urls {
        let _lock = lock(job, url)?;
        for path in [path(job, url, false), path(job, url, true)] {
            // One that is not there has nothing.
            let _ = tidy_packs(&path.join("objects/pack"));
        }
    }
    Ok(())
}

/// Removes mirrors that nobody needs any more. The newest of their locks was taken just now.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    let mut locks = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == LOCK) {
            locks.push((fs::metadata(&path)?.modified()?, path));
        }
    }
    let Some(now) = locks.iter().map(|(at, _)| *at).max() else { return Ok(()) };
    for (at, path) in locks {
        if now.duration_since(at).is_ok_and(|age| age < UNUSED) {
            continue;
        }
        // The lock itself stays: it is empty, and somebody may wait for it.
        let file = File::options().write(true).open(&path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let stem = path.with_extension("");
            for end in [".git", "-whole.git"] {
                let mut name = stem.clone().into_os_string();
                name.push(end);
                forget(Path::new(&name))?;
            }
        }
    }
    Ok(())
}

/// Says that a lock was taken now.
fn touch(file: &File) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    Ok(futimens(file, &times)?)
}

/// Removes what broken transfers have left, and counts the packs.
fn tidy_packs(folder: &Path) -> io::Result<usize> {
    let mut packs = 0;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("pack") => packs += 1,
            Some("idx") => {}
            _ => place::remove(&path)?,
        }
    }
    Ok(packs)
}
