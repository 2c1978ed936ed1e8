//! Writes a tree to the disk: plain folders, files and links, and nothing that a repository could
//! use to reach outside (faults G06, G12, G14).
//!
//! First all names are read and checked, then folders and files are written, links last: so no
//! file is ever written through a link.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use git2::{Odb, Oid, Repository};

use super::{
    failure::Failure,
    lfs, links,
    modules::{Modules, Sources},
    names, open,
    report::{self, Report},
};
use crate::workspace::error::Error;
use crate::workspace::protocol::{Job, Limits};

const DEPTH_MAX: usize = 128;
const PATH_BYTES_MAX: usize = 3000;
const LINK_BYTES_MAX: usize = 4095;
/// Writing is bound by the system, so a few threads are enough.
const THREADS_MAX: usize = 4;
/// How many files a thread takes at a time.
const BATCH: usize = 32;

/// What a tree holds, by path.
#[derive(Default)]
struct Listing {
    folders: Vec<Vec<u8>>,
    files: Vec<Found>,
    links: Vec<Found>,
    submodules: Vec<Vec<u8>>,
}

/// A file or link.
struct Found {
    path: Vec<u8>,
    id: Oid,
    is_executable: bool,
    /// Which of the repositories it is in.
    source: usize,
}

/// A folder that is still to be read.
struct Ahead {
    path: Vec<u8>,
    /// Its path within its repository.
    inside: Vec<u8>,
    tree: Oid,
    source: usize,
    depth: usize,
}

/// Writes `tree` to the new folder `to`, and makes it last.
pub(super) fn export(
    (source, tree): (usize, Oid),
    sources: &mut Sources,
    to: &Path,
    job: &Job,
    report: &Report,
) -> Result<(), Failure> {
    let limits = &job.limits;
    let modules = job.submodules.then(|| Modules::new(job, report));
    let inside = job.path.clone().into_bytes();
    let root = Ahead { path: Vec::new(), inside, tree, source, depth: 0 };
    let listing = read(root, sources, modules.as_ref(), limits)?;
    let opened: Vec<_> = sources.paths().cloned().collect();
    let links = read_links(&opened, &listing)?;
    for path in &listing.submodules {
        report::note(format!(
            "`{}` is a submodule and stays empty: set `submodules: true` to have it",
            lossy(path)
        ));
    }
    report::step(format!("writing {} files", listing.files.len()));
    make_folder(to)?;
    for path in listing.folders.iter().chain(&listing.submodules) {
        make_folder(&to.join(OsStr::from_bytes(path)))?;
    }
    let kept_elsewhere = write_all(&opened, &listing, to, limits, report)?;
    match &job.lfs {
        _ if kept_elsewhere.is_empty() => {}
        Some(_) => lfs::fill(sources, kept_elsewhere, to, report)?,
        None => {
            let paths = kept_elsewhere.iter().map(|file| lossy(&file.path)).collect();
            return Err(lfs::not_asked_for(paths).into());
        }
    }
    for (path, target) in &links {
        let path = to.join(OsStr::from_bytes(path));
        symlink(OsStr::from_bytes(target), &path).map_err(|error| on_disk(&path, &error))?;
    }
    flush(to)
}

/// Reads all names of a tree, and refuses those that can't be written.
fn read(
    root: Ahead,
    sources: &mut Sources,
    modules: Option<&Modules<'_>>,
    limits: &Limits,
) -> Result<Listing, Failure> {
    let mut listing = Listing::default();
    let mut repositories = Repositories::default();
    let mut ahead = vec![root];
    let mut seen = 0;
    while let Some(folder) = ahead.pop() {
        let source = folder.source;
        let repository = repositories.get(sources, source)?;
        let tree = repository.find_tree(folder.tree).map_err(Failure::mirror)?;
        let mut folded = BTreeSet::new();
        for entry in &tree {
            let name = entry.name_bytes();
            let path = join(&folder.path, name);
            seen += 1;
            if limits.files < seen {
                let message = format!("more than {} files (git-max-files)", limits.files);
                return Err(Error::TooLarge(message).into());
            }
            if let Some(problem) = names::problem(name) {
                return Err(content(&path, problem));
            }
            if !folded.insert(names::folded(name)) {
                return Err(content(
                    &path,
                    "has the name of another file, but for upper and lower case",
                ));
            }
            if DEPTH_MAX < folder.depth || PATH_BYTES_MAX < path.len() {
                return Err(content(&path, "lies too deep"));
            }
            let (id, inside, depth) = (entry.id(), join(&folder.inside, name), folder.depth + 1);
            let found = |path, is_executable| Found { path, id, is_executable, source };
            match (entry.filemode(), modules) {
                (0o040_000, _) => {
                    listing.folders.push(path.clone());
                    ahead.push(Ahead { path, inside, tree: id, source, depth });
                }
                (0o120_000, _) => listing.links.push(found(path, false)),
                (0o160_000, None) => listing.submodules.push(path),
                (0o160_000, Some(modules)) => {
                    let (source, tree) = modules.enter(sources, source, &lossy(&inside), id)?;
                    listing.folders.push(path.clone());
                    ahead.push(Ahead { path, inside: Vec::new(), tree, source, depth });
                }
                (mode, _) => listing.files.push(found(path, mode & 0o111 != 0)),
            }
        }
    }
    Ok(listing)
}

/// The repositories, each opened when it is first needed.
#[derive(Default)]
struct Repositories(BTreeMap<usize, Rc<Repository>>);

impl Repositories {
    fn get(&mut self, sources: &Sources, source: usize) -> Result<Rc<Repository>, Failure> {
        if let Some(known) = self.0.get(&source) {
            return Ok(Rc::clone(known));
        }
        let path = sources.paths().nth(source).ok_or_else(|| Failure::mirror("it is gone"))?;
        let opened = Rc::new(open(path).map_err(Failure::mirror)?);
        self.0.insert(source, Rc::clone(&opened));
        Ok(opened)
    }
}

fn open_all(paths: &[PathBuf]) -> Result<Vec<Repository>, git2::Error> {
    paths.iter().map(|path| open(path)).collect()
}

fn stores(repositories: &[Repository]) -> Result<Vec<Odb<'_>>, git2::Error> {
    repositories.iter().map(Repository::odb).collect()
}

/// Reads all links, and refuses those that lead outside.
fn read_links(opened: &[PathBuf], listing: &Listing) -> Result<links::Links, Failure> {
    let mut found = links::Links::new();
    let repositories = open_all(opened).map_err(Failure::mirror)?;
    let stores = stores(&repositories).map_err(Failure::mirror)?;
    for Found { path, id, source, .. } in &listing.links {
        let odb = &stores[*source];
        let (size, _) = odb.read_header(*id).map_err(Failure::mirror)?;
        if LINK_BYTES_MAX < size {
            return Err(content(path, "is a link with a target that is too long"));
        }
        let blob = odb.read(*id).map_err(Failure::mirror)?;
        if blob.data().contains(&0) {
            return Err(content(path, "is a link to a name that no file can have"));
        }
        found.insert(path.clone(), blob.data().to_vec());
    }
    let outside = found.iter().find(|(path, target)| !links::stays_inside(path, target, &found));
    match outside {
        Some((path, target)) => {
            let problem =
                format!("is a link that leads outside the app's folder, to `{}`", lossy(target));
            Err(content(path, &problem))
        }
        None => Ok(found),
    }
}

/// The threads' common state.
struct Writing<'a> {
    listing: &'a Listing,
    to: &'a Path,
    limits: &'a Limits,
    report: &'a Report,
    next: AtomicUsize,
    bytes: AtomicU64,
    is_over: AtomicBool,
    /// The files that Git LFS keeps elsewhere.
    pointers: Mutex<Vec<lfs::Placed>>,
    /// The failure of the first file in order, whichever thread was first.
    failure: Mutex<Option<(usize, Failure)>>,
}

fn write_all(
    opened: &[PathBuf],
    listing: &Listing,
    to: &Path,
    limits: &Limits,
    report: &Report,
) -> Result<Vec<lfs::Placed>, Failure> {
    let writing = Writing {
        listing,
        to,
        limits,
        report,
        next: AtomicUsize::new(0),
        bytes: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        pointers: Mutex::default(),
        failure: Mutex::new(None),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let threads = threads.min(listing.files.len() / BATCH + 1);
    let work = || {
        let repositories = open_all(opened)?;
        write_some(&writing, &stores(&repositories)?);
        Ok::<_, git2::Error>(())
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                if let Err(error) = work() {
                    writing.fail(0, Failure::mirror(error));
                }
            });
        }
    });
    match writing.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, failure)) => Err(failure),
        None => Ok(writing.pointers.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// One thread: takes files until there are none.
fn write_some(writing: &Writing<'_>, stores: &[Odb<'_>]) {
    let files = &writing.listing.files;
    while !writing.is_over.load(Ordering::Relaxed) {
        let first = writing.next.fetch_add(BATCH, Ordering::Relaxed);
        if files.len() <= first {
            return;
        }
        writing.report.progress(|| format!("writing files: {first} of {}", files.len()));
        let last = files.len().min(first + BATCH);
        for (offset, file) in files[first..last].iter().enumerate() {
            if let Err(failure) = writing.write(&stores[file.source], file) {
                return writing.fail(first + offset, failure);
            }
        }
    }
}

impl Writing<'_> {
    fn write(&self, odb: &Odb<'_>, file: &Found) -> Result<(), Failure> {
        let Found { path, id, is_executable, .. } = file;
        let (id, is_executable) = (*id, *is_executable);
        let (size, _) = odb.read_header(id).map_err(Failure::mirror)?;
        let size = size as u64;
        if self.limits.file_bytes < size {
            let limit = self.limits.file_bytes;
            let problem = format!("holds {size} bytes; {limit} are allowed (git-max-file)");
            return Err(content(path, &problem));
        }
        self.count(size)?;
        let blob = odb.read(id).map_err(Failure::mirror)?;
        if lfs::is_pointer(blob.data()) {
            let Some(pointer) = lfs::parse(blob.data()) else {
                return Err(content(path, "is a pointer of Git LFS that can't be read"));
            };
            self.count(pointer.size)?;
            let (path, source) = (path.clone(), file.source);
            let placed = lfs::Placed { path, is_executable, pointer, source };
            self.pointers.lock().unwrap_or_else(PoisonError::into_inner).push(placed);
            return Ok(());
        }
        let path = self.to.join(OsStr::from_bytes(path));
        let mode = if is_executable { 0o755 } else { 0o644 };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut file| file.write_all(blob.data()))
            .map_err(|error| on_disk(&path, &error))
    }

    /// Counts the bytes of the tree.
    fn count(&self, size: u64) -> Result<(), Failure> {
        let limit = self.limits.tree_bytes;
        let before = self.bytes.fetch_add(size.min(limit.saturating_add(1)), Ordering::Relaxed);
        if limit < before.saturating_add(size) {
            let message = format!("its files hold more than {limit} bytes (git-max-checkout)");
            return Err(Error::TooLarge(message).into());
        }
        Ok(())
    }

    fn fail(&self, index: usize, failure: Failure) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(first, _)| index < *first) {
            *known = Some((index, failure));
        }
    }
}

/// Waits until the disk has it all.
fn flush(folder: &Path) -> Result<(), Failure> {
    report::step("flushing to the disk");
    let file = File::open(folder).map_err(|error| on_disk(folder, &error))?;
    report::alive_while(|| rustix::fs::syncfs(&file).map_err(io::Error::from))
        .flatten()
        .map_err(|error| on_disk(folder, &error))
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new().mode(0o755).create(path).map_err(|error| on_disk(path, &error))
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, name].join(&b'/') }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn content(path: &[u8], problem: &str) -> Failure {
    Error::Content { path: lossy(path), message: problem.to_owned() }.into()
}

fn on_disk(path: &Path, error: &io::Error) -> Failure {
    Error::disk(path, error).into()
}
