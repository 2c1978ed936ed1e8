//! Finds an app's folder and its telling files in a commit.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use git2::{Commit, ObjectType, Repository, Tree};

use super::failure::Failure;
use crate::plan::{is_telling, read_facts};
use crate::state::FileFacts;
use crate::workspace::error::Error;
use crate::workspace::heads::list;
use crate::workspace::protocol::Job;

/// How many first-level files are told.
const FILES_MAX: usize = 4096;
/// How many telling files are read.
const TELLING_MAX: usize = 32;
/// How large a telling file may be.
const TELLING_BYTES_MAX: usize = 256 * 1024;

/// The tree at the path that the job names.
pub(super) fn at<'r>(
    repository: &'r Repository,
    commit: &Commit<'r>,
    job: &Job,
) -> Result<Tree<'r>, Failure> {
    let mut tree = commit.tree().map_err(Failure::mirror)?;
    let mut walked = Vec::new();
    for part in job.path.split('/').filter(|part| !part.is_empty()) {
        let next = tree
            .get_name(part)
            .filter(|entry| entry.kind() == Some(ObjectType::Tree))
            .map(|entry| entry.id());
        let Some(next) = next else {
            return Err(missing(commit, job, &tree, &walked).into());
        };
        tree = repository.find_tree(next).map_err(Failure::mirror)?;
        walked.push(part);
    }
    Ok(tree)
}

fn missing(commit: &Commit<'_>, job: &Job, tree: &Tree<'_>, walked: &[&str]) -> Error {
    let folders = tree
        .iter()
        .filter(|entry| entry.kind() == Some(ObjectType::Tree))
        .map(|entry| String::from_utf8_lossy(entry.name_bytes()).into_owned());
    let place =
        if walked.is_empty() { "there".to_owned() } else { format!("in {}", walked.join("/")) };
    let hint = match list(folders.collect::<BTreeSet<_>>().into_iter().collect()) {
        Some(names) => format!("; folders {place}: {names}"),
        None => format!("; there are no folders {place}"),
    };
    let commit = commit.id().to_string().get(..7).unwrap_or_default().to_owned();
    Error::PathNotFound { path: job.path.clone(), commit, hint }
}

/// The files of the first level, and those of `look_for`, that exist.
pub(super) fn files(tree: &Tree<'_>, look_for: &[String]) -> Vec<String> {
    let first_level = tree
        .iter()
        .filter(|entry| entry.kind() == Some(ObjectType::Blob))
        .filter_map(|entry| std::str::from_utf8(entry.name_bytes()).ok().map(ToOwned::to_owned))
        .take(FILES_MAX);
    let is_file = |path: &&String| {
        let entry = tree.get_path(Path::new(path)).ok();
        entry.is_some_and(|entry| entry.kind() == Some(ObjectType::Blob))
    };
    first_level
        .chain(look_for.iter().filter(is_file).cloned())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// What the telling files among `files` say.
pub(super) fn facts(
    repository: &Repository,
    tree: &Tree<'_>,
    files: &[String],
    look_for: &[String],
) -> BTreeMap<String, FileFacts> {
    let read = |path: &String| {
        let entry = tree.get_path(Path::new(path)).ok()?;
        // A link's own text says nothing about what it leads to.
        if entry.filemode() == i32::from(git2::FileMode::Link) {
            return None;
        }
        let odb = repository.odb().ok()?;
        let (size, kind) = odb.read_header(entry.id()).ok()?;
        if kind != ObjectType::Blob || TELLING_BYTES_MAX < size {
            return None;
        }
        let blob = repository.find_blob(entry.id()).ok()?;
        let text = String::from_utf8_lossy(blob.content());
        Some((path.clone(), read_facts(path, &text)))
    };
    let is_wanted = |path: &&String| {
        is_telling(path) || look_for.contains(path) && path.to_lowercase().ends_with(".txt")
    };
    files.iter().filter(is_wanted).take(TELLING_MAX).filter_map(read).collect()
}
