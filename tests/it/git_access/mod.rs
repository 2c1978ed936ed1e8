//! Logins, keys of hosts, the operator's rules and Git LFS: with real servers on the loopback.

mod lfs;
mod lfs_places;
pub(crate) mod lfs_server;
mod private;
mod secrets;
mod ssh;
pub(crate) mod sshd;
mod web;
pub(crate) mod wire;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use berth::{
    model::{AppName, GitSource, GitUrl},
    secret::{Secrets, Value},
    state::Checkout,
    workspace::{Access, Error, Settings, Workspace},
};
use git2::{IndexEntry, IndexTime, Oid, Repository, Signature};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A repository that a server has, and a Berth that fetches it with secrets.
struct Yard {
    folder: TempDir,
    repository: Repository,
    secrets: Secrets,
    workspace: Workspace,
}

impl Yard {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::init_bare(folder.path().join("served/app.git")).unwrap();
        repository.set_head("refs/heads/main").unwrap();
        let secrets = Secrets::new(folder.path().join("secrets"));
        let mut settings = Settings {
            program: PathBuf::from(env!("CARGO_BIN_EXE_berth")),
            is_local_allowed: true,
            access: Access {
                secrets: Some(secrets.clone()),
                known_hosts: folder.path().join("known_hosts"),
                ..Access::default()
            },
            ..Settings::default()
        };
        change(&mut settings);
        let workspace = Workspace::new(folder.path().join("workspaces"), settings);
        let yard = Self { folder, repository, secrets, workspace };
        yard.commit(&[("a", "1")]);
        yard
    }

    fn served(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    fn commit(&self, files: &[(&str, &str)]) -> Oid {
        commit_in(&self.repository, files, &[])
    }

    fn keep(&self, name: &str, values: &[(&str, &str)]) {
        for (key, value) in values {
            self.secrets.set(name, Some(key), &Value::new(*value)).unwrap();
        }
    }

    async fn fetch(&self, source: &GitSource) -> Result<Checkout, Error> {
        self.fetch_as("chat", source).await.0
    }

    /// Fetches for an app, and answers with all that was said meanwhile.
    async fn fetch_as(&self, app: &str, source: &GitSource) -> (Result<Checkout, Error>, String) {
        let (sender, mut said) = mpsc::channel(1000);
        let app = AppName::new(app).unwrap();
        let done = self.workspace.fetch(&app, source, self.folder.path(), &[], sender).await;
        let mut lines = Vec::new();
        while let Ok(line) = said.try_recv() {
            lines.push(line);
        }
        (done, lines.join("\n"))
    }

    fn code(&self, path: &str) -> PathBuf {
        self.workspace.code_dir(&AppName::new("chat").unwrap()).join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.code(path)).unwrap()
    }
}

/// Commits these files, and other repositories' commits as folders.
fn commit_in(repository: &Repository, files: &[(&str, &str)], modules: &[(&str, Oid)]) -> Oid {
    let mut index = repository.index().unwrap();
    index.clear().unwrap();
    for (path, text) in files {
        index.add_frombuffer(&entry(path), text.as_bytes()).unwrap();
    }
    for (path, id) in modules {
        index.add(&IndexEntry { mode: 0o160_000, id: *id, ..entry(path) }).unwrap();
    }
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let author = Signature::now("a", "a@example.com").unwrap();
    let parent = repository.head().and_then(|head| head.peel_to_commit()).ok();
    let parents: Vec<_> = parent.iter().collect();
    repository.commit(Some("refs/heads/main"), &author, &author, "m", &tree, &parents).unwrap()
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

fn source(url: &str, auth: Option<&str>) -> GitSource {
    GitSource {
        url: GitUrl::parse(url).unwrap(),
        reference: None,
        path: String::new(),
        depth: None,
        submodules: false,
        interval: Duration::ZERO,
        lfs: false,
        auth: auth.map(ToOwned::to_owned),
    }
}

/// Whether any file below a folder holds these words.
fn is_written(folder: &Path, words: &str) -> bool {
    let found = Command::new("grep").args(["-raqF", words]).arg(folder).status().unwrap();
    found.success()
}
