//! What lies in the folder of workspaces that nobody may need any more: found here, judged elsewhere.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::{LFS, metadata, place, remove::LEAVING};
use crate::model::{AppName, Timestamp};

/// A mirror that nobody has fetched into for so long may go.
const UNUSED: Duration = Duration::from_hours(30 * 24);
/// A tree of more entries is not measured to its end.
const ENTRIES_MAX: u64 = 2_000_000;
/// What an app's folder has beside what is kept.
const OWN: [&str; 4] = [place::CODE, place::DATA, place::AREA, metadata::FILE];

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lying {
    /// The folder of an app.
    App {
        /// Which.
        app: AppName,
        /// Whether Berth made it.
        is_ours: bool,
        /// Whether there is a checkout, or what belongs to one.
        has_code: bool,
        /// Whether anything in it is of the app or of a person.
        holds_data: bool,
        /// The bytes of what Berth can make again.
        code_size: u64,
    },
    /// What a fetch that was broken off has left in the folder of an app.
    Broken(AppName),
    /// What was on its way out.
    Leaving,
    /// A file of Git LFS that did not come whole.
    Part,
    /// A mirror that nobody fetches into.
    Mirror,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lies {
    /// Where.
    pub path: PathBuf,
    /// What.
    pub what: Lying,
    /// Its bytes.
    pub size: u64,
    /// When something in it was changed last, as far as that shows.
    pub since: Timestamp,
}

/// What was found, and what could not be read, as sentences.
#[derive(Debug, Default)]
pub struct Found {
    /// What was found.
    pub all: Vec<Lies>,
    /// What could not be read: nothing of it is known.
    pub unread: Vec<String>,
}

/// Looks through the folder of workspaces. The folders of `wanted` apps are not measured.
pub fn look(root: &Path, wanted: &BTreeSet<AppName>, now: Timestamp) -> io::Result<Found> {
    let mut found = Found::default();
    for path in entries(root)? {
        let mut all = Vec::new();
        match look_at(&path, wanted, now, &mut all) {
            Ok(()) => found.all.extend(all),
            Err(error) => found.unread.push(format!("{}: {error}", path.display())),
        }
    }
    Ok(found)
}

fn look_at(
    path: &Path,
    wanted: &BTreeSet<AppName>,
    now: Timestamp,
    all: &mut Vec<Lies>,
) -> io::Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let seen = fs::symlink_metadata(path)?;
    if name == place::MIRRORS && seen.is_dir() {
        mirrors(path, now, all)?;
    } else if name == LFS && seen.is_dir() {
        for store in entries(path)? {
            parts(&store, all)?;
        }
    } else if name.starts_with(LEAVING) {
        all.push(lies(path.to_owned(), Lying::Leaving)?);
    } else if let (Ok(app), true) = (AppName::new(name), seen.is_dir()) {
        broken(path, &app, all)?;
        if !wanted.contains(&app) {
            folder(path, &app, all)?;
        }
    }
    Ok(())
}

/// What fetches that were broken off have left.
fn broken(path: &Path, app: &AppName, all: &mut Vec<Lies>) -> io::Result<()> {
    let area = path.join(place::AREA);
    for entry in if is_folder(&area) { entries(&area)? } else { Vec::new() } {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("new-") || name.starts_with("old-") || name == "git" {
            all.push(lies(entry, Lying::Broken(app.clone()))?);
        }
    }
    Ok(())
}

fn folder(path: &Path, app: &AppName, all: &mut Vec<Lies>) -> io::Result<()> {
    let area = path.join(place::AREA);
    let has_area = is_folder(&area);
    let is_ours = has_area || metadata::read(path).is_some();
    let holds_data = has_data(path)?;
    let mut code = Tally::default();
    for part in [path.join(place::CODE), area.clone()] {
        if fs::symlink_metadata(&part).is_ok() {
            code.add(&part)?;
        }
    }
    let mut whole = Tally::default();
    whole.add(path)?;
    let known = metadata::read(path).and_then(|known| known.updated_at);
    let since = known.map_or(whole.since, |at| at.max(whole.since));
    let has_code = has_area || fs::symlink_metadata(path.join(place::CODE)).is_ok();
    let (app, code_size) = (app.clone(), code.size);
    let what = Lying::App { app, is_ours, has_code, holds_data, code_size };
    all.push(Lies { path: path.to_owned(), what, size: whole.size, since });
    Ok(())
}

/// Whether there is anything in the folder of an app that Berth did not make.
fn has_data(path: &Path) -> io::Result<bool> {
    let is_own = |path: &PathBuf| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| OWN.contains(&name))
    };
    let data = path.join(place::DATA);
    let is_kept = match fs::symlink_metadata(&data) {
        Ok(seen) if seen.is_dir() => fs::read_dir(&data)?.next().is_some(),
        Ok(_) => true,
        Err(_) => false,
    };
    Ok(is_kept || entries(path)?.iter().any(|path| !is_own(path)))
}

fn mirrors(folder: &Path, now: Timestamp, all: &mut Vec<Lies>) -> io::Result<()> {
    for path in entries(folder)? {
        let lock = lock_of(&path);
        let Some(lock) = lock.filter(|_| is_folder(&path)) else { continue };
        let Ok(seen) = fs::metadata(&lock) else { continue };
        let since = Timestamp::from_millis(seen.mtime().saturating_mul(1000));
        if UNUSED <= now.since(since) {
            all.push(Lies { since, ..lies(path, Lying::Mirror)? });
        }
    }
    Ok(())
}

/// The lock of a mirror.
fn lock_of(mirror: &Path) -> Option<PathBuf> {
    let name = mirror.file_name()?.to_str()?.strip_suffix(".git")?;
    let stem = name.strip_suffix("-whole").unwrap_or(name);
    Some(mirror.with_file_name(format!("{stem}.lock")))
}

fn parts(store: &Path, all: &mut Vec<Lies>) -> io::Result<()> {
    if !is_folder(store) {
        return Ok(());
    }
    for path in entries(store)? {
        if path.extension().is_some_and(|end| end == "part") {
            all.push(lies(path, Lying::Part)?);
        }
    }
    Ok(())
}

fn lies(path: PathBuf, what: Lying) -> io::Result<Lies> {
    let mut tally = Tally::default();
    tally.add(&path)?;
    Ok(Lies { path, what, size: tally.size, since: tally.since })
}

/// Takes away what was found, if nobody holds it now. Whether it went.
pub(super) fn take_away(root: &Path, found: &Lies, with_data: bool) -> io::Result<bool> {
    let path = &found.path;
    if !path.starts_with(root) || path == root {
        return Err(io::Error::other("it is not in the folder of workspaces"));
    }
    let lock = match &found.what {
        Lying::Mirror => lock_of(path),
        Lying::Broken(_) => path.parent().map(|area| area.join("lock")),
        Lying::Part => Some(path.clone()),
        Lying::Leaving => None,
        Lying::App { app, holds_data, .. } => {
            let area = path.join(place::AREA);
            let Hold::Mine(_held) = hold(&area.join("lock"))? else { return Ok(false) };
            if !holds_data {
                // Somebody may have put something there since it was looked at.
                return if with_data || !has_data(path)? {
                    super::remove(root, app)
                } else {
                    Ok(false)
                };
            }
            place::remove(&path.join(place::CODE))?;
            place::remove(&area)?;
            return Ok(true);
        }
    };
    let held = lock.map_or(Ok(Hold::Mine(None)), |lock| hold(&lock))?;
    let Hold::Mine(_held) = held else { return Ok(false) };
    place::remove(path)?;
    Ok(true)
}

/// Who has a lock.
enum Hold {
    /// We do; none is that there is no lock, and nobody can have it.
    Mine(Option<File>),
    /// Somebody else.
    Theirs,
}

/// Takes a lock, if nobody has it.
fn hold(lock: &Path) -> io::Result<Hold> {
    match File::options().write(true).open(lock) {
        Ok(file) => match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Hold::Mine(Some(file))),
            Err(_) => Ok(Hold::Theirs),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Hold::Mine(None)),
        Err(error) => Err(error),
    }
}

/// Bytes, and the last change.
#[derive(Debug, Default)]
struct Tally {
    size: u64,
    since: Timestamp,
    count: u64,
}

impl Tally {
    /// Adds a tree. Links are not followed, and other file systems not entered.
    fn add(&mut self, path: &Path) -> io::Result<()> {
        let device = fs::symlink_metadata(path)?.dev();
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            let seen = match fs::symlink_metadata(&path) {
                Ok(seen) => seen,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            self.count += 1;
            if ENTRIES_MAX < self.count {
                return Err(io::Error::other("there are too many files to look through"));
            }
            self.size += seen.blocks() * 512;
            // A tree that was moved here is as old as that.
            let changed = if seen.is_dir() { seen.ctime().max(seen.mtime()) } else { seen.mtime() };
            self.since = self.since.max(Timestamp::from_millis(changed.saturating_mul(1000)));
            if seen.is_dir() && seen.dev() == device {
                open.extend(entries(&path)?);
            }
        }
        Ok(())
    }
}

fn is_folder(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|seen| seen.is_dir())
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = read.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    all.sort();
    Ok(all)
}
