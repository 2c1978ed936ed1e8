//! Files that a repository keeps elsewhere, by way of Git LFS (fault G12).
//!
//! A pointer in the tree says which bytes are meant: how many, and with which sha256. They are
//! asked for by the batch API, go to a store that the apps of one repository share, and come from
//! there into the checkout. What broke off goes on where it was; what is not as its pointer says is
//! never used.

mod api;
mod fetch;
mod http;
mod pointer;
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
    report::{self, Report},
};
use crate::workspace::error::Error;
use crate::workspace::protocol::{Job, Origin};

/// How many files an error names.
const NAMED_MAX: usize = 3;

/// A pointer, and where in the tree it is.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) path: Vec<u8>,
    pub(super) is_executable: bool,
    pub(super) pointer: Pointer,
}

/// Bytes that are wanted.
#[derive(Clone, Debug)]
struct Object {
    pointer: Pointer,
    /// A file that has them, for people.
    path: String,
}

/// Writes the files that are kept in Git LFS into the new tree at `to`.
pub(super) fn fill(
    job: &Job,
    folder: &Path,
    files: &[Placed],
    to: &Path,
    report: &Report,
) -> Result<(), Failure> {
    let store = Store::open(folder).map_err(|error| Error::disk(folder, &error))?;
    let mut wanted = BTreeMap::new();
    for file in files {
        let object = || Object {
            pointer: file.pointer.clone(),
            path: String::from_utf8_lossy(&file.path).into_owned(),
        };
        wanted.entry(file.pointer.oid.clone()).or_insert_with(object);
    }
    report::step(format!("looking for {} files of Git LFS", wanted.len()));
    let mut missing = Vec::new();
    for object in wanted.into_values() {
        let is_here = store.has(&object.pointer, report);
        if !is_here.map_err(|error| Error::disk(folder, &error))? {
            missing.push(object);
        }
    }
    if !missing.is_empty() {
        match &job.origin {
            Origin::Remote(url) => fetch::all(job, url, &store, &missing, report)?,
            Origin::Local(path) => copy(&store, path, &missing, report)?,
        }
    }
    for file in files {
        let path = to.join(OsStr::from_bytes(&file.path));
        store
            .put(&file.pointer, &path, file.is_executable)
            .map_err(|error| Error::disk(&path, &error))?;
    }
    // What can't be tidied now is tidied next time.
    let _ = store.tidy();
    Ok(())
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
