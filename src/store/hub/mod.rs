//! The same models as repositories with commits, branches and tags, as the Hub protocol knows them.
//!
//! A repository `{project}/{app}` is an app; a branch is a version, and a file of it a model. What a
//! branch has is what the version has, whoever put it there. Beside that is kept:
//!
//! ```text
//! {root}/.store/hub/repos/…     of each repository, the history of its branches, and its tags
//! {root}/.store/hub/commits/…   of each commit in them, its files by path; they keep the contents
//! {root}/.store/hub/moves/…     repositories that are about to have another name
//! ```
//!
//! # Guarantees
//! - A commit happens as a whole, after a kill and after a loss of power too, or not at all.
//! - What a commit that is kept has can be read, whatever becomes of the version.
//! - A commit's id is made of its files: the same files have the same id, for ever.

mod blobs;
mod commit;
mod history;
mod moved;
mod parts;
mod path;
mod record;
mod refs;
mod tree;
mod xorbs;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use commit::{Change, NewCommit};
pub use path::{encoded as name_of, ref_name, repo_path, shown};
pub use record::Commit;
pub use refs::{FoundCommit, Ref, RepoFacts};
pub use tree::{File, Files, Tree};
pub use xorbs::XorbDraft;

use super::{Error, Key, OWN, Store, make};
use crate::model::{Digest, Timestamp};
use tree::{Head, Trees};

type Names = (String, String);

/// Says whether these models may go, and why not.
type MayGo<'a> = &'a dyn Fn(&[Key]) -> Result<(), Error>;

/// What the store knows of repositories.
#[derive(Debug, Default)]
pub(super) struct Hub {
    repos: Mutex<BTreeMap<Names, record::Repo>>,
    /// The files of those that can't be read.
    lost: Mutex<BTreeSet<PathBuf>>,
    trees: Mutex<Trees>,
    kept: Mutex<record::Kept>,
    /// Contents that came for a commit which has not been made yet, by project.
    fresh: Mutex<BTreeMap<(String, Digest), Timestamp>>,
    xorbs: Mutex<xorbs::Xorbs>,
    parts: Mutex<parts::Parts>,
    moving: Mutex<moved::Moves>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    fn repos(&self) -> MutexGuard<'_, BTreeMap<Names, record::Repo>> {
        lock(&self.repos)
    }

    fn trees(&self) -> MutexGuard<'_, Trees> {
        lock(&self.trees)
    }

    fn kept(&self) -> MutexGuard<'_, record::Kept> {
        lock(&self.kept)
    }

    fn xorbs(&self) -> MutexGuard<'_, xorbs::Xorbs> {
        lock(&self.xorbs)
    }

    fn parts(&self) -> MutexGuard<'_, parts::Parts> {
        lock(&self.parts)
    }
}

/// The commit that stands for what was changed otherwise.
fn outside(id: &str, date: Timestamp) -> Commit {
    Commit {
        id: id.to_owned(),
        title: "Changed through the model store".to_owned(),
        message: String::new(),
        author: "berth".to_owned(),
        date,
    }
}

/// A version without models.
fn nothing(repo: (&str, &str)) -> Head {
    Head {
        tree: std::sync::Arc::new(Tree::new(repo, Files::new())),
        entries: BTreeMap::new(),
        modified: Timestamp::default(),
    }
}

/// Makes the folders.
pub(super) fn prepare(store: &Store) -> io::Result<()> {
    for part in ["hub", "hub/repos", "hub/commits", moved::MOVES] {
        make(&*store.disk, &store.own(part))?;
    }
    store.disk.sync_dir(&store.own("hub"))?;
    // Contents may have no other name than the one among them.
    store.disk.sync_dir(&store.own("blobs"))?;
    store.disk.sync_dir(&store.settings.root.join(OWN))
}

/// Reads what is kept, and ends what was under way.
pub(super) fn recover(store: &Store) -> Result<(), Error> {
    store.finish_commits()
}

/// Reads what is kept.
pub(super) fn load(store: &Store) -> io::Result<()> {
    store.load_repos()
}

/// Whether the halves of a repository's name are such as clients take.
pub fn is_repo_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_edge = |c: char| "-.".contains(c);
    (1..=96).contains(&name.len())
        && name.chars().all(legal)
        && !name.starts_with(is_edge)
        && !name.ends_with(is_edge)
        && !name.contains("--")
        && !name.contains("..")
        && name.strip_suffix(".git").is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories_are_those_that_clients_take() {
        for good in ["a", "my-model_v1.0", "Qwen3", "0x"] {
            assert!(is_repo_name(good), "{good}");
        }
        let long = "x".repeat(97);
        for bad in ["", "-a", "a-", ".a", "a.", "a--b", "a..b", "a.git", "a b", "é", "a/b", &long]
        {
            assert!(!is_repo_name(bad), "{bad}");
        }
    }
}
