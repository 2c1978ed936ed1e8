//! What a commit has: paths, each with its content. Its id is made of that and nothing else.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::super::{Query, Store, entry::Entry};
use super::path;
use crate::model::{Digest, Timestamp};

/// How many trees that were told to clients are remembered, beside those that are kept.
const RECENT_MAX: usize = 512;

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its digest.
    pub sha256: Digest,
    /// How long it is.
    pub size: u64,
}

/// The files of a commit, by path.
pub type Files = BTreeMap<String, File>;

/// A tree with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// 40 hexadecimal digits, made of the repository's name and the files.
    pub id: String,
    /// The files.
    pub files: Files,
}

impl Tree {
    /// The tree of these files.
    pub(super) fn new((project, app): (&str, &str), files: Files) -> Self {
        let mut text = format!("{project}/{app}\n");
        for (path, File { sha256, size }) in &files {
            text.push_str(&format!("{path}\0{sha256}\0{size}\n"));
        }
        let id = Digest::of_bytes(text.as_bytes()).short(40).to_owned();
        Self { id, files }
    }
}

/// What a version has now.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) tree: Arc<Tree>,
    /// Its models, by path.
    pub(super) entries: BTreeMap<String, Arc<Entry>>,
    /// When the last of them came.
    pub(super) modified: Timestamp,
}

/// Trees in memory: those that versions have, and those that were told lately.
#[derive(Debug, Default)]
pub(super) struct Trees {
    heads: BTreeMap<[String; 3], (u64, Arc<Head>)>,
    recent: BTreeMap<String, ([String; 2], Arc<Tree>)>,
    order: std::collections::VecDeque<String>,
}

impl Trees {
    pub(super) fn told(&self, repo: (&str, &str), id: &str) -> Option<Arc<Tree>> {
        let (owner, tree) = self.recent.get(id)?;
        (owner[0] == repo.0 && owner[1] == repo.1).then(|| Arc::clone(tree))
    }

    pub(super) fn tell(&mut self, repo: (&str, &str), tree: &Arc<Tree>) {
        let owner = [repo.0.to_owned(), repo.1.to_owned()];
        if self.recent.insert(tree.id.clone(), (owner, Arc::clone(tree))).is_some() {
            return;
        }
        self.order.push_back(tree.id.clone());
        while RECENT_MAX < self.order.len() {
            let first = self.order.pop_front().unwrap_or_default();
            self.recent.remove(&first);
        }
    }

    pub(super) fn forget(&mut self, repo: (&str, &str)) {
        let is_other = |owner: &[String]| owner[0] != repo.0 || owner[1] != repo.1;
        self.recent.retain(|_, (owner, _)| is_other(&owner[..]));
        let Self { recent, order, .. } = self;
        order.retain(|id| recent.contains_key(id));
        self.heads.retain(|owner, _| is_other(&owner[..]));
    }
}

impl Store {
    /// What a version has; nothing when there is none. What nobody has hashed yet is left out.
    pub(super) fn head(&self, repo: (&str, &str), version: &str) -> Option<Arc<Head>> {
        let stamp = self.index.stamp();
        let place = [repo.0, repo.1, version].map(str::to_owned);
        if let Some((known, head)) = self.hub.trees().heads.get(&place)
            && *known == stamp
        {
            return Some(Arc::clone(head));
        }
        let [project, app, version] = place.clone().map(Some);
        let page = self.list(&Query { project, app, version, ..Query::default() });
        if page.entries.is_empty() {
            return None;
        }
        let (mut files, mut entries) = (Files::new(), BTreeMap::new());
        let mut modified = 0;
        for entry in page.entries {
            let Some(sha256) = entry.sha256.clone() else { continue };
            modified = entry.modified.max(modified);
            let shown = path::shown(&entry);
            files.insert(shown.clone(), File { sha256, size: entry.size });
            entries.insert(shown, entry);
        }
        let modified = i64::try_from(modified / 1_000_000).unwrap_or(0);
        let tree = Arc::new(Tree::new(repo, files));
        let head = Arc::new(Head { tree, entries, modified: Timestamp::from_millis(modified) });
        let mut trees = self.hub.trees();
        if trees.heads.len() > 4096 {
            trees.heads.clear();
        }
        trees.heads.insert(place, (stamp, Arc::clone(&head)));
        trees.tell(repo, &head.tree);
        Some(head)
    }

    /// The versions that have models.
    pub(super) fn versions(&self, (project, app): (&str, &str)) -> Vec<String> {
        let (project, app) = (Some(project.to_owned()), Some(app.to_owned()));
        let page = self.list(&Query { project, app, ..Query::default() });
        let mut all: Vec<_> = page.entries.iter().map(|entry| entry.key.version.clone()).collect();
        all.dedup();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_of_what_is_there() {
        let file = |text: &[u8]| File { sha256: Digest::of_bytes(text), size: 1 };
        let tree = |files: &[(&str, &[u8])]| {
            let files = files.iter().map(|(path, text)| ((*path).to_owned(), file(text)));
            Tree::new(("p", "a"), files.collect()).id
        };
        let one = tree(&[("a", b"1"), ("b", b"2")]);
        assert_eq!(one, tree(&[("b", b"2"), ("a", b"1")]));
        assert!(one.len() == 40 && one != tree(&[("a", b"2"), ("b", b"1")]));
        assert_ne!(Tree::new(("p", "b"), Files::new()).id, Tree::new(("p", "a"), Files::new()).id);
    }
}
