//! Repositories in folders of this machine.
//!
//! They are read in place: no copy is made, so a shallow clone is as good a source as any.

use std::path::Path;

use git2::{BranchType, ErrorCode, Oid, Repository};

use super::{failure::Failure, names, open, tree};
use crate::workspace::error::Error;
use crate::workspace::protocol::Job;

/// Opens the repository and finds the commit that the job names.
pub(super) fn open_at(job: &Job, path: &Path) -> Result<(Repository, Oid), Failure> {
    let repository = open(path).map_err(|error| {
        let message = match std::fs::metadata(path) {
            Err(error) => error.to_string(),
            Ok(_) if error.code() == ErrorCode::NotFound => {
                "the folder holds no git repository".to_owned()
            }
            Ok(_) => error.message().to_owned(),
        };
        Error::NoRepository { url: job.shown.clone(), message }
    })?;
    let commit = find(&repository, job.reference.as_deref());
    match commit {
        Some(commit) => Ok((repository, commit)),
        None => Err(missing(&repository, job).into()),
    }
}

fn find(repository: &Repository, reference: Option<&str>) -> Option<Oid> {
    let commit_of = |name: &str| {
        let found = repository.find_reference(name).ok()?;
        Some(found.peel_to_commit().ok()?.id())
    };
    let Some(reference) = reference else {
        return Some(repository.head().ok()?.peel_to_commit().ok()?.id());
    };
    if let Some(commit) = names::full_commit(reference) {
        return repository.find_commit(commit).ok().map(|commit| commit.id());
    }
    names::full_references(reference).iter().find_map(|name| commit_of(name))
}

fn missing(repository: &Repository, job: &Job) -> Error {
    let branches = repository.branches(Some(BranchType::Local)).ok();
    let names = branches.into_iter().flatten().filter_map(|branch| {
        let (branch, _) = branch.ok()?;
        branch.name_bytes().ok().map(|name| String::from_utf8_lossy(name).into_owned())
    });
    let reference = job.reference.clone();
    let hint = match tree::list(names) {
        Some(names) if repository.is_shallow() => {
            format!("; branches there: {names}, and it is a shallow clone")
        }
        Some(names) => format!("; branches there: {names}"),
        None => "; the repository is empty".to_owned(),
    };
    let reference = reference.unwrap_or_else(|| "HEAD".to_owned());
    let hint = format!("{}{hint}", names::shortened(&reference));
    Error::RefNotFound { url: job.shown.clone(), reference, hint }
}
