//! Writes a tree to the disk: plain folders, files and links, and nothing that a repository could
//! use to reach outside (faults G06, G12, G14).
//!
//! First all names are read and checked, then folders and files are written, links last: so no
//! file is ever written through a link.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink},
    },
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use git2::{Odb, Oid, Repository, Tree};

use super::{
    failure::Failure,
    links, names, open,
    report::{self, Report},
};
use crate::workspace::error::Error;
use crate::workspace::protocol::Limits;

const DEPTH_MAX: usize = 128;
const PATH_BYTES_MAX: usize = 3000;
const LINK_BYTES_MAX: usize = 4095;
/// Writing is bound by the system, so a few threads are enough.
const THREADS_MAX: usize = 4;
/// How many files a thread takes at a time.
const BATCH: usize = 32;
const LFS_POINTER_BYTES_MAX: usize = 1024;
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What a tree holds, by path.
#[derive(Default)]
struct Listing {
    folders: Vec<Vec<u8>>,
    files: Vec<(Vec<u8>, Oid, bool)>,
    links: Vec<(Vec<u8>, Oid)>,
    submodules: Vec<Vec<u8>>,
}

/// Writes `tree` to the new folder `to`, and makes it last.
pub(super) fn export(
    repository: &Repository,
    tree: &Tree<'_>,
    to: &Path,
    limits: &Limits,
    report: &Report,
) -> Result<(), Failure> {
    let mut listing = Listing::default();
    read(repository, tree, &mut listing, limits)?;
    let links = read_links(repository, &listing)?;
    for path in &listing.submodules {
        report::note(format!(
            "`{}` is a submodule and stays empty: submodules are not supported yet",
            lossy(path)
        ));
    }
    report::step(format!("writing {} files", listing.files.len()));
    make_folder(to)?;
    for path in listing.folders.iter().chain(&listing.submodules) {
        make_folder(&to.join(OsStr::from_bytes(path)))?;
    }
    write_all(repository, &listing, to, limits, report)?;
    for (path, target) in &links {
        let path = to.join(OsStr::from_bytes(path));
        symlink(OsStr::from_bytes(target), &path).map_err(|error| on_disk(&path, &error))?;
    }
    flush(to)
}

/// Reads all names of a tree, and refuses those that can't be written.
fn read(
    repository: &Repository,
    root: &Tree<'_>,
    listing: &mut Listing,
    limits: &Limits,
) -> Result<(), Failure> {
    let mut ahead = vec![(Vec::new(), root.id(), 0)];
    let mut seen = 0;
    while let Some((folder, id, depth)) = ahead.pop() {
        let tree = repository.find_tree(id).map_err(Failure::mirror)?;
        let mut folded = BTreeSet::new();
        for entry in &tree {
            let name = entry.name_bytes();
            let path = join(&folder, name);
            seen += 1;
            if limits.files < seen {
                return Err(Error::TooLarge(format!("more than {} files", limits.files)).into());
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
            if DEPTH_MAX < depth || PATH_BYTES_MAX < path.len() {
                return Err(content(&path, "lies too deep"));
            }
            match entry.filemode() {
                0o040_000 => {
                    ahead.push((path.clone(), entry.id(), depth + 1));
                    listing.folders.push(path);
                }
                0o120_000 => listing.links.push((path, entry.id())),
                0o160_000 => listing.submodules.push(path),
                mode => listing.files.push((path, entry.id(), mode & 0o111 != 0)),
            }
        }
    }
    Ok(())
}

/// Reads all links, and refuses those that lead outside.
fn read_links(repository: &Repository, listing: &Listing) -> Result<links::Links, Failure> {
    let mut found = links::Links::new();
    let odb = repository.odb().map_err(Failure::mirror)?;
    for (path, id) in &listing.links {
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
    /// The failure of the first file in order, whichever thread was first.
    failure: Mutex<Option<(usize, Failure)>>,
}

fn write_all(
    repository: &Repository,
    listing: &Listing,
    to: &Path,
    limits: &Limits,
    report: &Report,
) -> Result<(), Failure> {
    let writing = Writing {
        listing,
        to,
        limits,
        report,
        next: AtomicUsize::new(0),
        bytes: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let threads = threads.min(listing.files.len() / BATCH + 1);
    let path = repository.path();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let done = open(path)
                    .map(|repository| repository.odb().map(|odb| write_some(&writing, &odb)));
                if let Err(error) = done.and_then(|done| done) {
                    writing.fail(0, Failure::mirror(error));
                }
            });
        }
    });
    match writing.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, failure)) => Err(failure),
        None => Ok(()),
    }
}

/// One thread: takes files until there are none.
fn write_some(writing: &Writing<'_>, odb: &Odb<'_>) {
    let files = &writing.listing.files;
    while !writing.is_over.load(Ordering::Relaxed) {
        let first = writing.next.fetch_add(BATCH, Ordering::Relaxed);
        if files.len() <= first {
            return;
        }
        writing.report.progress(|| format!("writing files: {first} of {}", files.len()));
        let last = files.len().min(first + BATCH);
        for (offset, (path, id, is_executable)) in files[first..last].iter().enumerate() {
            if let Err(failure) = writing.write(odb, path, *id, *is_executable) {
                return writing.fail(first + offset, failure);
            }
        }
    }
}

impl Writing<'_> {
    fn write(
        &self,
        odb: &Odb<'_>,
        path: &[u8],
        id: Oid,
        is_executable: bool,
    ) -> Result<(), Failure> {
        let (size, _) = odb.read_header(id).map_err(Failure::mirror)?;
        let size = size as u64;
        if self.limits.file_bytes < size {
            let problem = format!("holds {size} bytes; {} are allowed", self.limits.file_bytes);
            return Err(content(path, &problem));
        }
        if self.limits.tree_bytes < self.bytes.fetch_add(size, Ordering::Relaxed) + size {
            let limit = self.limits.tree_bytes;
            return Err(Error::TooLarge(format!("its files hold more than {limit} bytes")).into());
        }
        let blob = odb.read(id).map_err(Failure::mirror)?;
        if is_lfs_pointer(blob.data()) {
            return Err(content(path, "is kept in Git LFS, which is not supported yet"));
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

    fn fail(&self, index: usize, failure: Failure) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut known = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(first, _)| index < *first) {
            *known = Some((index, failure));
        }
    }
}

fn is_lfs_pointer(data: &[u8]) -> bool {
    data.len() <= LFS_POINTER_BYTES_MAX && data.starts_with(LFS_POINTER)
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
