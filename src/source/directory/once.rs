//! One look at a folder that nobody writes to: a commit's files, written by Berth itself.

use std::{collections::BTreeMap, path::Path};

use crate::manifest::FileContent;

use super::super::Error;
use super::{
    Limits, place,
    scan::{Change, Failure, Scanner},
};

/// All manifests in a folder, by the rules of [`Directory`](super::Directory).
pub fn read_once(root: &Path, limits: Limits) -> Result<BTreeMap<String, FileContent>, Error> {
    let path = || root.to_owned();
    let place = place::open(root).map_err(|source| Error::Unreadable { path: path(), source })?;
    let changes = Scanner::default().scan(&place, limits).map_err(|failure| match failure {
        Failure::TooMany => Error::TooManyFiles { path: path(), limit: limits.files },
        Failure::System(error) => Error::Unreadable { path: path(), source: error.into() },
    })?;
    let files = changes.into_iter().filter_map(|change| match change {
        Change::Seen(path, seen) => {
            let moving = || FileContent::Unreadable("changes while it is read".to_owned());
            Some((path, seen.content.unwrap_or_else(moving)))
        }
        Change::Gone(_) => None,
    });
    Ok(files.collect())
}
