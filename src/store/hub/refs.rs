//! Repositories, branches and tags: what there is, and how they come and go.

use std::{
    collections::BTreeSet,
    sync::{Arc, MutexGuard},
};

use super::super::{Error, Key, Query, Store, name};
use super::{
    MayGo, nothing, outside, path,
    record::{Commit, MAIN, Record, Tag},
    tree::{Files, Head, Tree},
};
use crate::model::Timestamp;

/// A commit that was found.
#[derive(Clone, Debug)]
pub struct FoundCommit {
    /// Its files, and id.
    pub tree: Arc<Tree>,
    /// What the history says of it.
    pub commit: Commit,
    /// The branch that was asked for.
    pub branch: Option<String>,
}

/// A branch or tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ref {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub commit: String,
    /// When that was made.
    pub date: Timestamp,
    /// Whether it is a tag.
    pub is_tag: bool,
}

/// What is known of a repository as a whole.
#[derive(Clone, Debug)]
pub struct RepoFacts {
    /// The project.
    pub project: String,
    /// The app.
    pub app: String,
    /// When it was made.
    pub created: Timestamp,
}

impl Store {
    /// The repositories, by name.
    pub fn repos(&self) -> Vec<RepoFacts> {
        let mut names: BTreeSet<_> = self.hub.repos().keys().cloned().collect();
        let mut last = None;
        for entry in self.index.all() {
            let name = (entry.key.project.clone(), entry.key.app.clone());
            if last.as_ref() != Some(&name) {
                names.insert(name.clone());
                last = Some(name);
            }
        }
        names.retain(|(project, app)| super::is_repo_name(project) && super::is_repo_name(app));
        let facts = |(project, app): (String, String)| self.repo_facts((&project, &app));
        names.into_iter().filter_map(|names| facts(names).ok()).collect()
    }

    /// The commit that the version of a model is now; none where clients of the Hub can't name it.
    pub fn commit_of(&self, key: &Key) -> Option<String> {
        let repo = (key.project.as_str(), key.app.as_str());
        if ![repo.0, repo.1].into_iter().all(super::is_repo_name) {
            return None;
        }
        self.head(repo, &key.version).map(|head| head.tree.id.clone())
    }

    /// What is known of a repository.
    pub fn repo_facts(&self, repo: (&str, &str)) -> Result<RepoFacts, Error> {
        self.check_repo(repo)?;
        let first = || {
            let (project, app) = (Some(repo.0.to_owned()), Some(repo.1.to_owned()));
            let all = self.list(&Query { project, app, ..Query::default() }).entries;
            let came = all.iter().map(|entry| entry.modified).min().unwrap_or(0);
            Timestamp::from_millis(i64::try_from(came / 1_000_000).unwrap_or(0))
        };
        let created = self.record(repo).map_or_else(first, |record| record.created);
        Ok(RepoFacts { project: repo.0.to_owned(), app: repo.1.to_owned(), created })
    }

    /// Whether there is a repository.
    pub fn has_repo(&self, repo: (&str, &str)) -> bool {
        let (project, app) = (Some(repo.0.to_owned()), Some(repo.1.to_owned()));
        let query = Query { project, app, limit: Some(1), ..Query::default() };
        self.record(repo).is_some() || 0 < self.list(&query).total
    }

    pub(super) fn check_repo(&self, repo: (&str, &str)) -> Result<(), Error> {
        if self.has_repo(repo) {
            return Ok(());
        }
        Err(Error::Repository("Repository not found".to_owned()))
    }

    /// Makes a repository without files.
    pub fn create_repo(&self, repo: (&str, &str), who: &str, now: Timestamp) -> Result<(), Error> {
        check_name(repo)?;
        let _project = self.lock(repo.0);
        self.settle(repo.0, repo.1)?;
        self.check_record(repo)?;
        if self.has_repo(repo) {
            return Err(Error::Conflict("You already created this model repo".to_owned()));
        }
        let mut record = Record::new(repo, now);
        let head = nothing(repo);
        let first = Commit {
            id: head.tree.id.clone(),
            title: "initial commit".to_owned(),
            message: String::new(),
            author: who.to_owned(),
            date: now,
        };
        record.branches.insert(MAIN.to_owned(), vec![first]);
        let failed = Error::disk("the repository can't be made");
        self.write_trees(repo, &[&head.tree]).map_err(failed)?;
        self.write_record(record)
    }

    /// Deletes a repository, if its models may go. They go to the trash, its history at once.
    pub fn delete_repo(
        &self,
        repo: (&str, &str),
        now: Timestamp,
        may_go: MayGo<'_>,
    ) -> Result<(), Error> {
        let _project = self.lock(repo.0);
        self.settle(repo.0, repo.1)?;
        self.check_repo(repo)?;
        let (project, app) = (Some(repo.0.to_owned()), Some(repo.1.to_owned()));
        self.delete_all(&Query { project, app, ..Query::default() }, now, may_go)?;
        self.remove_record(repo)
    }

    /// Deletes all of it, or nothing: whether each may go is asked first. Its project is locked.
    fn delete_all(&self, query: &Query, now: Timestamp, may_go: MayGo<'_>) -> Result<(), Error> {
        let entries = self.list(query).entries;
        may_go(&entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>())?;
        entries.iter().try_for_each(|entry| self.check_mutable(&entry.key, true))?;
        for entry in entries {
            match self.delete_held(&entry.key, now) {
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Where a branch is.
    pub(super) fn branch_head(&self, repo: (&str, &str), branch: &str) -> Result<Arc<Head>, Error> {
        if let Some(head) = self.head(repo, &path::version_of(branch)) {
            return Ok(head);
        }
        let record = self.record(repo);
        // `main` is there from the beginning.
        if branch == MAIN || record.is_some_and(|record| record.branches.contains_key(branch)) {
            return Ok(Arc::new(nothing(repo)));
        }
        Err(no_revision(branch))
    }

    fn has_branch(&self, repo: (&str, &str), branch: &str) -> bool {
        let record = self.record(repo);
        self.head(repo, &path::version_of(branch)).is_some()
            || record.is_some_and(|record| record.branches.contains_key(branch))
    }

    /// What the history says of a tree.
    fn told(&self, repo: (&str, &str), tree: &Arc<Tree>, modified: Timestamp) -> Commit {
        let record = self.record(repo);
        let found = record.as_ref().and_then(|record| record.find(&tree.id).cloned());
        found.unwrap_or_else(|| outside(&tree.id, modified))
    }

    /// Finds a commit by its id, or by a branch, a tag or an alias.
    pub fn hub_resolve(&self, repo: (&str, &str), revision: &str) -> Result<FoundCommit, Error> {
        let bare = revision.strip_prefix("refs/heads/").or(revision.strip_prefix("refs/tags/"));
        let revision = bare.unwrap_or(revision);
        let of_head = |head: &Head, branch: &str| {
            let commit = self.told(repo, &head.tree, head.modified);
            FoundCommit { tree: Arc::clone(&head.tree), commit, branch: Some(branch.to_owned()) }
        };
        let is_hex = revision.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if is_hex && revision.len() == 40 {
            return self.by_id(repo, revision);
        }
        let composed = name("revision", &path::version_of(revision));
        let version = composed.map_err(|_| no_revision(revision))?;
        if let Some(head) = self.head(repo, &version) {
            return Ok(of_head(&head, &path::branch_of(&version)));
        }
        let record = self.record(repo);
        if let Some(tag) = record.as_ref().and_then(|record| record.tags.get(revision)) {
            return self.by_id(repo, &tag.commit.id);
        }
        let is_branch = record.as_ref().is_some_and(|r| r.branches.contains_key(revision));
        let mut other = self.app(repo.0, repo.1).aliases.get(revision).cloned();
        if other.is_none() && (revision == super::super::resolve::LATEST || revision == MAIN) {
            other = self.latest(repo.0, repo.1).filter(|_| revision != MAIN || !is_branch);
        }
        if let Some(head) = other.and_then(|version| self.head(repo, &version)) {
            return Ok(of_head(&head, revision));
        }
        if is_branch || revision == MAIN {
            return Ok(of_head(&nothing(repo), revision));
        }
        if is_hex && (7..40).contains(&revision.len()) {
            let ids = record.iter().flat_map(|record| record.branches.values().flatten());
            let ids: BTreeSet<_> = ids.map(|commit| commit.id.as_str()).collect();
            let mut found = ids.into_iter().filter(|id| id.starts_with(revision));
            if let (Some(id), None) = (found.next(), found.next()) {
                return self.by_id(repo, id);
            }
        }
        Err(no_revision(revision))
    }

    fn by_id(&self, repo: (&str, &str), id: &str) -> Result<FoundCommit, Error> {
        let former = self.record(repo).and_then(|record| record.former.get(id).cloned());
        let id = former.as_deref().unwrap_or(id);
        let told = self.hub.trees().told(repo, id);
        let tree = told.or_else(|| self.kept_tree(repo, id)).or_else(|| {
            let versions = self.versions(repo).into_iter();
            let mut heads = versions.filter_map(|version| self.head(repo, &version));
            heads.find(|head| head.tree.id == id).map(|head| Arc::clone(&head.tree))
        });
        let tree = tree.ok_or_else(|| no_revision(id))?;
        let date = self.record(repo).map(|record| record.created).unwrap_or_default();
        Ok(FoundCommit { commit: self.told(repo, &tree, date), tree, branch: None })
    }

    /// The branches and tags: `main` first, then the newest.
    pub fn hub_refs(&self, repo: (&str, &str)) -> Result<Vec<Ref>, Error> {
        self.check_repo(repo)?;
        let (record, app) = (self.record(repo), self.app(repo.0, repo.1));
        let versions = self.versions(repo);
        let mut names: BTreeSet<String> = BTreeSet::from([MAIN.to_owned()]);
        names.extend(versions.iter().map(|version| path::branch_of(version)));
        names.extend(record.iter().flat_map(|record| record.branches.keys().cloned()));
        let mut all = Vec::new();
        for name in names {
            let found = self.hub_resolve(repo, &name)?;
            let is_tag = app.frozen.contains(&path::version_of(&name));
            let (commit, date) = (found.tree.id.clone(), found.commit.date);
            all.push(Ref { name, commit, date, is_tag });
        }
        for (name, version) in &app.aliases {
            let Some(head) = self.head(repo, version) else { continue };
            let (commit, date) = (head.tree.id.clone(), head.modified);
            all.push(Ref { name: name.clone(), commit, date, is_tag: true });
        }
        for (name, tag) in record.iter().flat_map(|record| &record.tags) {
            let commit = tag.commit.id.clone();
            all.push(Ref { name: name.clone(), commit, date: tag.commit.date, is_tag: true });
        }
        all.sort_by(|a, b| {
            let rank = |one: &Ref| (one.name != MAIN, std::cmp::Reverse(one.date));
            rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name))
        });
        Ok(all)
    }

    /// The commits up to a revision, the newest first.
    pub fn hub_commits(&self, repo: (&str, &str), revision: &str) -> Result<Vec<Commit>, Error> {
        let found = self.hub_resolve(repo, revision)?;
        let Some(record) = self.record(repo) else { return Ok(vec![found.commit]) };
        let mut logs = record.branches.iter();
        let log = match &found.branch {
            Some(branch) => record.branches.get(branch),
            None => {
                logs.find_map(|(_, log)| log.iter().any(|c| c.id == found.tree.id).then_some(log))
            }
        };
        let mut log: Vec<_> = log.cloned().unwrap_or_default();
        match log.iter().rposition(|commit| commit.id == found.tree.id) {
            Some(at) if found.branch.is_none() || at + 1 == log.len() => log.truncate(at + 1),
            _ => log.push(found.commit),
        }
        log.reverse();
        Ok(log)
    }

    /// Makes a branch of what another revision has.
    pub fn create_branch(
        &self,
        repo: (&str, &str),
        (branch, start): (&str, &str),
        who: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (branch, _project) = self.new_ref(repo, branch)?;
        let found = self.hub_resolve(repo, start)?;
        let files: Files = found.tree.files.clone();
        let words = Commit { author: who.to_owned(), date: now, ..found.commit };
        self.advance(repo, &branch, &nothing(repo), files, words).map(drop)
    }

    /// Takes a name that nothing of a repository has yet, and keeps others from changing it.
    fn new_ref(
        &self,
        repo: (&str, &str),
        name: &str,
    ) -> Result<(String, MutexGuard<'_, ()>), Error> {
        let name = path::ref_name(name)?;
        let project = self.lock(repo.0);
        self.settle(repo.0, repo.1)?;
        self.check_repo(repo)?;
        self.check_record(repo)?;
        let is_tag = self.record(repo).is_some_and(|record| record.tags.contains_key(&name));
        let is_alias = self.app(repo.0, repo.1).aliases.contains_key(&name);
        if is_tag || is_alias || self.has_branch(repo, &name) {
            return Err(Error::Conflict(format!("Reference already exists: {name}")));
        }
        Ok((name, project))
    }

    /// Removes a branch, if its models may go. They go to the trash.
    pub fn delete_branch(
        &self,
        repo: (&str, &str),
        branch: &str,
        now: Timestamp,
        may_go: MayGo<'_>,
    ) -> Result<(), Error> {
        let _project = self.lock(repo.0);
        self.settle(repo.0, repo.1)?;
        self.check_repo(repo)?;
        self.check_record(repo)?;
        if branch == MAIN {
            return Err(Error::Bad("the branch `main` can't be deleted".to_owned()));
        }
        if !self.has_branch(repo, branch) {
            return Err(no_revision(branch));
        }
        let version = path::version_of(branch);
        let (project, app) = (Some(repo.0.to_owned()), Some(repo.1.to_owned()));
        let version = Some(version);
        self.delete_all(&Query { project, app, version, ..Query::default() }, now, may_go)?;
        let Some(record) = self.record(repo) else { return Ok(()) };
        let mut record = (*record).clone();
        record.branches.remove(branch);
        self.write_record(record.clone())?;
        self.forget_commits(&record);
        Ok(())
    }

    /// Names a commit.
    pub fn create_tag(
        &self,
        repo: (&str, &str),
        (tag, revision): (&str, &str),
        message: Option<String>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (tag, _project) = self.new_ref(repo, tag)?;
        let found = self.hub_resolve(repo, revision)?;
        let record = self.record(repo).map(|record| (*record).clone());
        let mut record = record.unwrap_or_else(|| Record::new(repo, now));
        let failed = Error::disk("the tag can't be kept");
        self.write_trees(repo, &[&found.tree]).map_err(failed)?;
        record.tags.insert(tag, Tag { commit: found.commit, message });
        self.write_record(record)
    }

    /// Removes a tag.
    pub fn delete_tag(&self, repo: (&str, &str), tag: &str) -> Result<(), Error> {
        let _project = self.lock(repo.0);
        self.settle(repo.0, repo.1)?;
        self.check_repo(repo)?;
        self.check_record(repo)?;
        let record = self.record(repo).map(|record| (*record).clone());
        let mut record = record.ok_or_else(|| no_revision(tag))?;
        record.tags.remove(tag).ok_or_else(|| no_revision(tag))?;
        self.write_record(record.clone())?;
        self.forget_commits(&record);
        Ok(())
    }
}

/// Whether a repository may be called so.
pub(super) fn check_name(repo: (&str, &str)) -> Result<(), Error> {
    let Some(bad) = [repo.0, repo.1].into_iter().find(|name| !super::is_repo_name(name)) else {
        return Ok(());
    };
    let why = "use at most 96 letters, digits, `-`, `_` and `.`, not at the ends, and neither `--` nor `..`";
    Err(Error::Bad(format!("`{bad}` is no name for a repository: {why}")))
}

/// No such revision.
fn no_revision(revision: &str) -> Error {
    Error::Revision(format!("Invalid rev id: {revision}"))
}
