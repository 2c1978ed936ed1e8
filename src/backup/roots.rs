//! Where the folders are that are kept.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{Root, STAGE};

/// The folder that tells, in the state folder, that a restore did not end.
pub const UNFINISHED: &str = STAGE;

/// The folders, each absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots(pub BTreeMap<Root, PathBuf>);

impl Roots {
    /// Where this one is.
    pub fn get(&self, root: Root) -> Option<&Path> {
        self.0.get(&root).map(PathBuf::as_path)
    }

    /// Whether a path is a root of its own, so that it does not belong to the one around it.
    pub(super) fn is_root(&self, path: &Path) -> bool {
        self.0.values().any(|root| root == path)
    }

    /// Whether a root lies somewhere below this path, or is it.
    pub(super) fn is_above_one(&self, path: &Path) -> bool {
        self.0.values().any(|root| root.starts_with(path))
    }
}
