//! Repositories in folders of this machine.
//!
//! They are read in place: no copy is made, so a shallow clone is as good a source as any.

use std::{collections::BTreeMap, path::Path};

use git2::{ErrorCode, Oid, Repository};

use super::{failure::Failure, open};
use crate::model::{is_full_commit, is_short_commit};
use crate::workspace::error::Error;
use crate::workspace::heads::{Found, Heads, Sought, described_commit};
use crate::workspace::protocol::Job;

/// Opens the repository and finds the commit that the job names.
pub(super) fn open_at(job: &Job, path: &Path) -> Result<(Repository, Found), Failure> {
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
    let reference = job.reference.as_deref();
    if let Some(found) = reference.and_then(|text| commit(&repository, text)) {
        return Ok((repository, found));
    }
    let heads = heads(&repository).map_err(Failure::mirror)?;
    let found = match heads.seek(reference) {
        Sought::Found(found) if has(&repository, &found) => found,
        _ => {
            let by_digits = reference.filter(|text| is_short_commit(text));
            let found = by_digits.and_then(|text| by_prefix(&repository, text));
            let aside = if repository.is_shallow() { ", and it is a shallow clone" } else { "" };
            found.ok_or_else(|| heads.missing(&job.shown, reference, aside))?
        }
    };
    if let Some(had) = job.had.as_ref().filter(|_| !job.takes_moved) {
        heads.check_moved(had, &found, &job.shown)?;
    }
    Ok((repository, found))
}

/// Whether the repository has the commit.
pub(super) fn has(repository: &Repository, found: &Found) -> bool {
    Oid::from_str(&found.commit).is_ok_and(|commit| repository.find_commit(commit).is_ok())
}

fn commit(repository: &Repository, text: &str) -> Option<Found> {
    let id = is_full_commit(text).then(|| Oid::from_str(text).ok())??;
    let commit = repository.find_commit(id).ok()?.id().to_string();
    let what = described_commit(&commit);
    Some(Found { name: commit.clone(), commit, what })
}

/// The one commit that begins with these digits.
pub(super) fn by_prefix(repository: &Repository, digits: &str) -> Option<Found> {
    let commit = repository.find_commit_by_prefix(digits).ok()?.id().to_string();
    let what = described_commit(&commit);
    Some(Found { name: commit.clone(), commit, what })
}

fn heads(repository: &Repository) -> Result<Heads, git2::Error> {
    let mut names = BTreeMap::new();
    for reference in repository.references()? {
        let reference = reference?;
        // What is broken, or no commit, is as good as not there.
        let (Ok(name), Ok(commit)) = (reference.name(), reference.peel_to_commit()) else {
            continue;
        };
        names.insert(name.to_owned(), commit.id().to_string());
    }
    let head = repository.find_reference("HEAD")?;
    if let Ok(commit) = head.peel_to_commit() {
        names.insert("HEAD".to_owned(), commit.id().to_string());
    }
    let branch = head.symbolic_target().ok().flatten().map(ToOwned::to_owned);
    Ok(Heads::new(names, branch))
}
