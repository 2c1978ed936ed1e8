//! What is kept of a repository: the history of its branches, its tags, and the commits they name.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::super::{Error, Store};
use super::{
    Names, lock,
    tree::{Files, Tree},
};
use crate::model::{Digest, Timestamp};

/// The branch that every repository has.
pub(super) const MAIN: &str = "main";

/// A commit, as a history names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The id of its tree.
    pub id: String,
    /// Its first line.
    pub title: String,
    /// The rest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Who made it.
    pub author: String,
    /// When.
    pub date: Timestamp,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tag {
    pub(super) commit: Commit,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

/// A commit whose files may not be in their places yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) branch: String,
    pub(super) commit: String,
}

/// What is kept of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) project_id: String,
    pub(super) app_name: String,
    pub(super) created: Timestamp,
    /// The commits of each branch, the newest last.
    #[serde(default)]
    pub(super) branches: BTreeMap<String, Vec<Commit>>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, Tag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Pending>,
    /// What commits were called before the repository was moved: ids are made of its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) former: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn new((project, app): (&str, &str), created: Timestamp) -> Self {
        Self {
            project_id: project.to_owned(),
            app_name: app.to_owned(),
            created,
            branches: BTreeMap::new(),
            tags: BTreeMap::new(),
            pending: None,
            former: BTreeMap::new(),
        }
    }

    /// The same under another name, with the ids that its commits have there.
    pub(super) fn renamed(
        &self,
        (project, app): (&str, &str),
        ids: &BTreeMap<String, String>,
    ) -> Self {
        let mut new = self.clone();
        (new.project_id, new.app_name) = (project.to_owned(), app.to_owned());
        let now = |id: &String| ids.get(id).unwrap_or(id).clone();
        let logs = new.branches.values_mut().flatten();
        for commit in logs.chain(new.tags.values_mut().map(|tag| &mut tag.commit)) {
            commit.id = now(&commit.id);
        }
        new.former.values_mut().for_each(|id| *id = now(id));
        new.former.extend(ids.clone());
        // What is not kept any more has no name to be found by.
        new.former.retain(|_, id| ids.values().any(|known| known == id));
        new
    }

    pub(super) fn names(&self) -> (String, String) {
        (self.project_id.clone(), self.app_name.clone())
    }

    /// Every commit that it names.
    pub(super) fn named(&self) -> BTreeSet<&str> {
        let logs = self.branches.values().flatten().map(|commit| commit.id.as_str());
        let tags = self.tags.values().map(|tag| tag.commit.id.as_str());
        logs.chain(tags).chain(self.pending.iter().map(|pending| pending.commit.as_str())).collect()
    }

    /// The newest commit with this id.
    pub(super) fn find(&self, id: &str) -> Option<&Commit> {
        let logs = self.branches.values().flatten().rev();
        logs.chain(self.tags.values().map(|tag| &tag.commit)).find(|commit| commit.id == id)
    }
}

/// A record, and whether the disk may still have another one.
#[derive(Clone, Debug)]
pub(super) struct Repo {
    pub(super) record: Arc<Record>,
    pub(super) is_unsettled: bool,
}

/// The files of a commit, as they are on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    project_id: String,
    app_name: String,
    files: Files,
}

/// The commits whose files are on the disk, and how often each content is named by them.
#[derive(Debug, Default)]
pub(super) struct Kept {
    manifests: BTreeMap<String, (Names, Box<[Digest]>)>,
    pins: BTreeMap<Digest, u32>,
}

impl Kept {
    pub(super) fn has(&self, id: &str) -> bool {
        self.manifests.contains_key(id)
    }

    pub(super) fn pins(&self, digest: &Digest) -> bool {
        self.pins.contains_key(digest)
    }

    /// Whether a commit in one of these projects has a content.
    pub(super) fn has_in(&self, digest: &Digest, projects: &[String]) -> bool {
        self.pins(digest)
            && self.manifests.values().any(|((project, _), digests)| {
                projects.contains(project) && digests.contains(digest)
            })
    }

    fn add(&mut self, id: &str, owner: (String, String), files: &Files) {
        let digests: BTreeSet<_> = files.values().map(|file| file.sha256.clone()).collect();
        for digest in &digests {
            *self.pins.entry(digest.clone()).or_default() += 1;
        }
        self.manifests.insert(id.to_owned(), (owner, digests.into_iter().collect()));
    }

    fn remove(&mut self, id: &str) {
        for digest in self.manifests.remove(id).into_iter().flat_map(|(_, digests)| digests) {
            if let Some(count) = self.pins.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    self.pins.remove(&digest);
                }
            }
        }
    }

    /// The contents that only these commits have.
    pub(super) fn only_in(&self, ids: &BTreeSet<String>) -> BTreeSet<Digest> {
        let mut counts: BTreeMap<&Digest, u32> = BTreeMap::new();
        for (_, digests) in ids.iter().filter_map(|id| self.manifests.get(id)) {
            for digest in &**digests {
                *counts.entry(digest).or_default() += 1;
            }
        }
        let all =
            counts.into_iter().filter(|(digest, count)| self.pins.get(*digest) == Some(count));
        all.map(|(digest, _)| digest.clone()).collect()
    }

    /// The contents that commits have.
    pub(super) fn all(&self) -> Vec<Digest> {
        self.pins.keys().cloned().collect()
    }

    pub(super) fn of(&self, owner: &(String, String)) -> Vec<String> {
        let all = self.manifests.iter().filter(|(_, (own, _))| own == owner);
        all.map(|(id, _)| id.clone()).collect()
    }
}

impl Store {
    pub(super) fn repo_file(&self, (project, app): (&str, &str)) -> PathBuf {
        let digest = Digest::of_value(&(project, app));
        self.own("hub/repos").join(format!("{}.json", digest.short(32)))
    }

    fn commit_file(&self, id: &str) -> PathBuf {
        self.own("hub/commits").join(format!("{id}.json"))
    }

    /// Whether what is kept of a repository could be read. As long as it can't, its commits stay, and
    /// nothing is written in its place.
    pub(super) fn check_record(&self, repo: (&str, &str)) -> Result<(), Error> {
        if !self.is_lost(repo) {
            return Ok(());
        }
        let file = self.repo_file(repo);
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Err(Error::Conflict(format!(
            "what is kept of {}/{} can't be read: put `.store/hub/repos/{name}` back from a backup, or remove it to go on without its history, and start Berth again",
            repo.0, repo.1
        )))
    }

    fn is_lost(&self, repo: (&str, &str)) -> bool {
        lock(&self.hub.lost).contains(&self.repo_file(repo))
    }

    /// What is kept of a repository.
    pub(super) fn record(&self, (project, app): (&str, &str)) -> Option<Arc<Record>> {
        let repos = self.hub.repos();
        repos.get(&(project.to_owned(), app.to_owned())).map(|repo| Arc::clone(&repo.record))
    }

    /// Writes what is in memory, if the disk may have another one, and ends what is under way:
    /// nothing else is changed before.
    pub(in super::super) fn settle(&self, project: &str, app: &str) -> Result<(), Error> {
        self.settle_moves((project, app))?;
        let names = (project.to_owned(), app.to_owned());
        let repo = self.hub.repos().get(&names).cloned();
        let Some(repo) = repo else { return Ok(()) };
        if repo.is_unsettled {
            self.write_record((*repo.record).clone())?;
        }
        self.finish_commit(&repo.record)
    }

    /// Keeps a record. When that fails, the one before stays, and is written again first of all.
    pub(super) fn write_record(&self, record: Record) -> Result<(), Error> {
        let names = record.names();
        let mut text = serde_json::to_vec(&record).unwrap_or_default();
        text.push(b'\n');
        let path = self.repo_file((&names.0, &names.1));
        let written = self.replace(&self.own("hub/repos"), &path, &text);
        let mut repos = self.hub.repos();
        if let Err(error) = written {
            if let Some(repo) = repos.get_mut(&names) {
                repo.is_unsettled = true;
            }
            return Err(Error::disk("the repository can't be written")(error));
        }
        repos.insert(names, Repo { record: Arc::new(record), is_unsettled: false });
        Ok(())
    }

    /// Holds a record in memory that the disk has not yet.
    pub(super) fn leave_unsettled(&self, record: Record) {
        let repo = Repo { record: Arc::new(record), is_unsettled: true };
        self.hub.repos().insert(repo.record.names(), repo);
    }

    /// Forgets a record.
    pub(super) fn remove_record(&self, repo: (&str, &str)) -> Result<(), Error> {
        let names = (repo.0.to_owned(), repo.1.to_owned());
        let path = self.repo_file(repo);
        let removed = match self.disk.remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        };
        let removed = removed.and_then(|()| self.disk.sync_dir(&self.own("hub/repos")));
        removed.map_err(Error::disk("the repository can't be removed"))?;
        lock(&self.hub.lost).remove(&path);
        self.hub.repos().remove(&names);
        self.forget_commits(&Record::new(repo, Timestamp::default()));
        self.hub.trees().forget(repo);
        Ok(())
    }

    /// Keeps the files of commits, unless they are kept already.
    pub(super) fn write_trees(&self, repo: (&str, &str), trees: &[&Tree]) -> io::Result<()> {
        let new: Vec<_> = trees.iter().filter(|tree| !self.hub.kept().has(&tree.id)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for tree in &new {
            let manifest = Manifest {
                project_id: repo.0.to_owned(),
                app_name: repo.1.to_owned(),
                files: tree.files.clone(),
            };
            let text = serde_json::to_vec(&manifest)?;
            let draft = self.own("uploads").join(format!("commit-{}", self.number()));
            let written = self.disk.write_file(&draft, &text);
            let placed =
                written.and_then(|()| self.disk.rename(&draft, &self.commit_file(&tree.id)));
            if let Err(error) = placed {
                let _ = self.disk.remove_file(&draft);
                return Err(error);
            }
        }
        self.disk.sync_dir(&self.own("hub/commits"))?;
        let mut kept = self.hub.kept();
        for tree in new {
            if !kept.has(&tree.id) {
                kept.add(&tree.id, (repo.0.to_owned(), repo.1.to_owned()), &tree.files);
            }
        }
        Ok(())
    }

    /// The files of a commit that is kept.
    pub(super) fn kept_tree(&self, repo: (&str, &str), id: &str) -> Option<Arc<Tree>> {
        if !self.hub.kept().has(id) {
            return None;
        }
        let text = self.disk.read(&self.commit_file(id)).ok()?;
        let manifest: Manifest = serde_json::from_slice(&text).ok()?;
        let is_own = (manifest.project_id.as_str(), manifest.app_name.as_str()) == repo;
        is_own.then(|| Arc::new(Tree { id: id.to_owned(), files: manifest.files }))
    }

    /// Lets go of the commits of a repository that its record does not name.
    pub(super) fn forget_commits(&self, record: &Record) {
        if self.is_lost((&record.project_id, &record.app_name)) {
            return;
        }
        let named = record.named();
        let all = self.hub.kept().of(&record.names());
        for id in all.iter().filter(|id| !named.contains(id.as_str())) {
            // What stays on the disk is removed at the next start.
            let _ = self.disk.remove_file(&self.commit_file(id));
            self.hub.kept().remove(id);
        }
    }

    /// Reads what is kept of all repositories.
    pub(super) fn load_repos(&self) -> io::Result<()> {
        let (folder, mut named) = (self.own("hub/repos"), BTreeSet::new());
        for name in self.disk.list(&folder)? {
            let bytes = self.disk.read(&folder.join(&name))?;
            match serde_json::from_slice::<Record>(&bytes) {
                Ok(record) => {
                    named.extend(record.named().into_iter().map(str::to_owned));
                    let repo = Repo { record: Arc::new(record), is_unsettled: false };
                    self.hub.repos().insert(repo.record.names(), repo);
                }
                Err(error) => {
                    tracing::error!(file = ?name, %error, "what is kept of a repository makes no sense: it can't be changed until it is put back or removed");
                    lock(&self.hub.lost).insert(folder.join(&name));
                }
            }
        }
        let folder = self.own("hub/commits");
        for name in self.disk.list(&folder)? {
            let path = folder.join(&name);
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            let is_named = named.contains(id);
            // Whose record can't be read may have named it.
            if !is_named && lock(&self.hub.lost).is_empty() {
                let _ = self.disk.remove_file(&path);
                continue;
            }
            match serde_json::from_slice::<Manifest>(&self.disk.read(&path)?) {
                Ok(manifest)
                    if !is_named && !self.is_lost((&manifest.project_id, &manifest.app_name)) =>
                {
                    let _ = self.disk.remove_file(&path);
                }
                Ok(manifest) => {
                    let owner = (manifest.project_id, manifest.app_name);
                    self.hub.kept().add(id, owner, &manifest.files);
                }
                Err(error) => tracing::warn!(id, %error, "a commit makes no sense"),
            }
        }
        Ok(())
    }
}
