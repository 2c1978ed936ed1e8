//! Files that a repository keeps elsewhere, by way of Git LFS (fault G12).
//!
//! A pointer in the tree says which bytes are meant: how many, and with which sha256. They are
//! asked for by the batch API, go to a store that the apps of one repository share, and come from
//! there into the checkout. What broke off goes on where it was; what is not as its pointer says is
//! never used.

mod api;
mod door;
mod fetch;
mod http;
mod pointer;
mod shell;
mod store;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

pub(super) use self::pointer::{Pointer, is_pointer, parse};
use self::store::Store;
use super::{
    failure::Failure,
    modules::Sources,
    report::{self, Report},
    settings,
};
use crate::host::free_bytes;
use crate::model::format_bytes;
use crate::workspace::error::Error;
use crate::workspace::protocol::{Job, Origin, lfs_key};

/// The file in which a repository says where its files are.
pub(super) const CONFIG: &str = ".lfsconfig";
/// How many files an error names.
const NAMED_MAX: usize = 3;
/// What of the disk is left free.
const FREE_MIN: u64 = 64 << 20;

/// A pointer, and where in the tree it is.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) path: Vec<u8>,
    pub(super) is_executable: bool,
    pub(super) pointer: Pointer,
    /// Which of the repositories it is in.
    pub(super) source: usize,
}

/// Bytes that are wanted.
#[derive(Clone, Debug)]
struct Object {
    pointer: Pointer,
    /// A file that has them, for people.
    path: String,
}

/// The files of one repository.
struct Share<'a> {
    job: &'a Job,
    /// Where the repository says that they are.
    named: Option<&'a str>,
    store: Store,
    files: Vec<Placed>,
    missing: Vec<Object>,
}

/// The store of another repository, beside this one.
pub(super) fn beside(folder: &Path, url: &str) -> PathBuf {
    folder.with_file_name(lfs_key(url))
}

/// The address that a repository's own settings say; one for this remote counts when there is none
/// for all.
pub(super) fn named(text: &str) -> Option<String> {
    let settings = settings::read(text);
    let last = |header: &str, name: &str| {
        let mut named =
            settings.iter().rev().filter(|one| one.header == header && one.name == name);
        named.next().map(|one| one.value.clone())
    };
    last("[lfs]", "url").or_else(|| last("[remote \"origin\"]", "lfsurl"))
}

/// Writes the files that are kept in Git LFS into the new tree at `to`.
pub(super) fn fill(
    sources: &Sources,
    files: Vec<Placed>,
    to: &Path,
    report: &Report,
) -> Result<(), Failure> {
    let mut groups = BTreeMap::<usize, Vec<Placed>>::new();
    for file in files {
        groups.entry(file.source).or_default().push(file);
    }
    let mut shares = Vec::new();
    for (source, files) in groups {
        let (job, named) = sources.kept(source).ok_or_else(|| Failure::mirror("it is gone"))?;
        shares.push(Share::of(job, named, files, report)?);
    }
    check_size(&shares)?;
    check_room(&shares)?;
    for share in &shares {
        share.bring(report)?;
        for file in &share.files {
            let path = to.join(OsStr::from_bytes(&file.path));
            let put = share.store.put(&file.pointer, &path, file.is_executable);
            put.map_err(|error| Error::disk(&path, &error))?;
        }
        // What can't be tidied now is tidied next time.
        let _ = share.store.tidy();
    }
    Ok(())
}

/// Refuses what is too much before anything is transferred, of all repositories together.
fn check_size(shares: &[Share<'_>]) -> Result<(), Error> {
    let Some(limit) = shares.first().map(|share| share.job.limits.transfer_bytes) else {
        return Ok(());
    };
    let missing = shares.iter().flat_map(|share| &share.missing);
    let total = missing.fold(0, |sum: u64, object| sum.saturating_add(object.pointer.size));
    if limit < total {
        let message = format!(
            "its files in Git LFS hold {total} bytes, and {limit} may be transferred \
             (git-max-transfer)"
        );
        return Err(Error::TooLarge(message));
    }
    Ok(())
}

/// Refuses what the disk has no room for before anything is transferred. All stores are below one
/// folder; where nobody can tell how much is free there, it is tried.
fn check_room(shares: &[Share<'_>]) -> Result<(), Error> {
    let Some(first) = shares.first() else { return Ok(()) };
    let to_come = |share: &Share<'_>| {
        let parts = share.missing.iter().map(|object| share.store.to_come(&object.pointer));
        parts.fold(0, u64::saturating_add)
    };
    let total = shares.iter().map(to_come).fold(0, u64::saturating_add);
    let folder = first.store.folder();
    let Some(free) = free_bytes(folder).filter(|_| 0 < total) else { return Ok(()) };
    if total.saturating_add(FREE_MIN) <= free {
        return Ok(());
    }
    Err(Error::NoRoom(format!(
        "its files in Git LFS that are still to come hold {}, and {} are free at {}, of which {} are \
         to stay free: make room there, or set `source.git.path` to a folder that needs less",
        format_bytes(total),
        format_bytes(free),
        folder.display(),
        format_bytes(FREE_MIN),
    )))
}

impl<'a> Share<'a> {
    /// Looks which of the files are not here yet.
    fn of(
        job: &'a Job,
        named: Option<&'a str>,
        files: Vec<Placed>,
        report: &Report,
    ) -> Result<Self, Error> {
        let folder = job.lfs.as_deref().unwrap_or(&job.area);
        let on_disk = |error: std::io::Error| Error::disk(folder, &error);
        let store = Store::open(folder).map_err(on_disk)?;
        let mut wanted = BTreeMap::new();
        for file in &files {
            let object = || Object {
                pointer: file.pointer.clone(),
                path: String::from_utf8_lossy(&file.path).into_owned(),
            };
            wanted.entry(file.pointer.oid.clone()).or_insert_with(object);
        }
        report::step(format!("looking for {} files of Git LFS", wanted.len()));
        let mut missing = Vec::new();
        for object in wanted.into_values() {
            if !store.has(&object.pointer, report).map_err(on_disk)? {
                missing.push(object);
            }
        }
        Ok(Self { job, named, store, files, missing })
    }

    fn bring(&self, report: &Report) -> Result<(), Failure> {
        if self.missing.is_empty() {
            return Ok(());
        }
        match &self.job.origin {
            Origin::Remote(url) => {
                let door = door::find(self.job, url, self.named)?;
                fetch::all(self.job, &door, &self.store, &self.missing, report)
            }
            Origin::Local(path) => copy(&self.store, path, &self.missing, report),
        }
    }
}

/// Takes what a repository of this machine has in its own store.
fn copy(store: &Store, path: &Path, missing: &[Object], report: &Report) -> Result<(), Failure> {
    for object in missing {
        let (first, second) = (&object.pointer.oid[..2], &object.pointer.oid[2..4]);
        let below: PathBuf =
            ["lfs", "objects", first, second, &object.pointer.oid].iter().collect();
        let places = [path.join(".git").join(&below), path.join(&below)];
        let Some(found) = places.iter().find(|place| place.is_file()) else {
            let message = "is kept in Git LFS, and the repository on this machine does not have \
                           its content: run `git lfs fetch` there"
                .to_owned();
            return Err(Error::Content { path: object.path.clone(), message }.into());
        };
        let done = store.copy(&object.pointer, found, report);
        if !done.map_err(|error| Error::disk(found, &error))? {
            return Err(damaged(&object.path).into());
        }
    }
    Ok(())
}

fn damaged(path: &str) -> Error {
    let message = "is kept in Git LFS, and what came is not what its pointer says (size or sha256)";
    Error::Content { path: path.to_owned(), message: message.to_owned() }
}

/// Says that files are kept in Git LFS and the app does not ask for them.
pub(super) fn not_asked_for(mut paths: Vec<String>) -> Error {
    paths.sort_unstable();
    let path = paths.first().cloned().unwrap_or_default();
    let others: Vec<_> =
        paths.iter().skip(1).take(NAMED_MAX - 1).map(|path| format!("`{path}`")).collect();
    let rest = paths.len().saturating_sub(NAMED_MAX);
    let others = match (others.is_empty(), rest) {
        (true, _) => String::new(),
        (_, 0) => format!(", as {} are", others.join(" and ")),
        (_, rest) => format!(", as {} and {rest} more are", others.join(", ")),
    };
    let message = format!(
        "is kept in Git LFS{others}: set `source.git.lfs: true` to have such files fetched, or \
         `source.git.path` to a folder without them"
    );
    Error::Content { path, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_says_where_its_files_are() {
        let both = "[remote \"origin\"]\n\tlfsurl = https://r.example/x\n\
                    [lfs]\n\turl = \"https://h.example/a\" ; the server\n\tconcurrent = 8\n";
        assert_eq!(named(both).as_deref(), Some("https://h.example/a"));
        let remote = both.replace("url = \"h", "pushurl = \"h");
        assert_eq!(named(&remote).as_deref(), Some("https://r.example/x"));
        for none in
            ["", "[lfs \"x\"]\nurl = a\n", "url = a\n", "[lfs]\nurl = a\u{1}b\n", "[lfs\nurl=a"]
        {
            assert_eq!(named(none), None, "{none:?}");
        }
    }

    #[test]
    fn files_that_nobody_asked_for_are_named() {
        let told = |paths: &[&str]| {
            not_asked_for(paths.iter().map(|path| (*path).to_owned()).collect()).to_string()
        };
        assert!(told(&["b"]).starts_with("`b` in the repository is kept in Git LFS: set"));
        assert!(
            told(&["b", "a"]).contains("`a` in the repository is kept in Git LFS, as `b` are:")
        );
        let many = told(&["a", "b", "c", "d", "e"]);
        assert!(many.contains("as `b`, `c` and 2 more are: set `source.git.lfs: true`"), "{many}");
    }
}
