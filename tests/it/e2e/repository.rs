//! Git repositories that tests push to.

use std::path::{Path, PathBuf};

use git2::{IndexEntry, IndexTime, Oid, RepositoryInitOptions, Signature};

/// A repository on this machine, with the branch `main`.
pub(crate) struct Repository {
    inner: git2::Repository,
    path: PathBuf,
}

impl Repository {
    /// A bare repository at `path`.
    pub(crate) fn bare(path: &Path) -> Self {
        Self::make(path, true)
    }

    /// A repository with a folder to work in, at `path`.
    pub(crate) fn with_folder(path: &Path) -> Self {
        Self::make(path, false)
    }

    fn make(path: &Path, is_bare: bool) -> Self {
        let mut options = RepositoryInitOptions::new();
        options.bare(is_bare).initial_head("main");
        let inner = git2::Repository::init_opts(path, &options).unwrap();
        Self { inner, path: path.to_owned() }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.path.display().to_string()
    }

    /// Makes a commit with these files and no others; answers its id.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> String {
        self.commit_with(files, &[], &[])
    }

    /// The same, with links and what they lead to, and submodules and their commits.
    pub(crate) fn commit_with(
        &self,
        files: &[(&str, &str)],
        links: &[(&str, &str)],
        modules: &[(&str, &str)],
    ) -> String {
        let mut index = self.inner.index().unwrap();
        index.clear().unwrap();
        for (path, text) in files {
            index.add_frombuffer(&entry(path), text.as_bytes()).unwrap();
        }
        for (path, target) in links {
            let link = IndexEntry { mode: 0o120_000, ..entry(path) };
            index.add_frombuffer(&link, target.as_bytes()).unwrap();
        }
        for (path, commit) in modules {
            let id = Oid::from_str(commit).unwrap();
            index.add(&IndexEntry { mode: 0o160_000, id, ..entry(path) }).unwrap();
        }
        let tree = self.inner.find_tree(index.write_tree().unwrap()).unwrap();
        let author = Signature::now("a", "a@example.com").unwrap();
        let parent = self.inner.head().and_then(|head| head.peel_to_commit()).ok();
        let parents: Vec<_> = parent.iter().collect();
        let head = Some("refs/heads/main");
        self.inner.commit(head, &author, &author, "m", &tree, &parents).unwrap().to_string()
    }
}

fn entry(path: &str) -> IndexEntry {
    IndexEntry {
        ctime: IndexTime::new(0, 0),
        mtime: IndexTime::new(0, 0),
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id: Oid::ZERO_SHA1,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}
