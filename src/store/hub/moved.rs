//! A repository gets another name, with all that it has: versions, history, tags, aliases.
//!
//! What is to be is written down before anything changes. From then on it is going to happen: a start
//! finds the note and does the rest.
//!
//! 1. The lists of files of its commits are kept under the new name: their ids are made of it.
//! 2. The note is kept, with the record of the repository and of its app as they are to be.
//! 3. These records are written, then the app's folder gets its new name, and that is made to last.
//! 4. Each `metadata.json` says the new names.
//! 5. What was kept under the old name goes, then the note. Then it is acknowledged.
//!
//! Whatever fails up to 3 is taken back. Whatever fails later, or can't be taken back, is done before
//! anything else of these repositories is changed.
//!
//! `{root}/.store/hub/moves/{digest of the old name}.json` is there as long as one is under way.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::{
    AppRecord, Error, Key, PARTS, Query, Store, What, entry::Entry, room::Room, scan::is_absent,
};
use super::{
    MayGo, Names, lock, path,
    record::{Record, Repo},
    tree::Tree,
};
use crate::model::{Digest, Timestamp};

/// The folder of the notes.
pub(super) const MOVES: &str = "hub/moves";

/// A move that is under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Moving {
    from: Names,
    to: Names,
    /// What is kept of it under its new name.
    record: Option<Record>,
    app: Option<AppRecord>,
}

/// What becomes of a move that could neither be ended nor taken back at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Forward,
    Back,
}

/// Moves that wait for being settled, by the old name.
pub(super) type Moves = BTreeMap<Names, (Moving, Course)>;

fn names((project, app): (&str, &str)) -> Names {
    (project.to_owned(), app.to_owned())
}

fn of(names: &Names) -> (&str, &str) {
    (&names.0, &names.1)
}

impl Store {
    /// Gives a repository another name, if its models may go from where they are. Nothing is put over
    /// what is there.
    pub fn move_repo(
        &self,
        from: (&str, &str),
        to: (&str, &str),
        now: Timestamp,
        may_go: MayGo<'_>,
    ) -> Result<(), Error> {
        let _both = self.lock_both(from.0, to.0);
        self.settle(from.0, from.1)?;
        self.settle(to.0, to.1)?;
        let entries = self.check_move(from, to, may_go)?;
        let failed = || Error::disk("the repository can't be moved");
        let moving = self.moving(from, to).map_err(|error| {
            self.forget_commits(&Record::new(to, now));
            failed()(error)
        })?;
        if let Err(error) = self.write_move(&moving).and_then(|()| self.carry_move(&moving)) {
            self.give_up_move(moving, &entries);
            return Err(failed()(error));
        }
        self.show_move(&moving, &entries);
        match self.end_move(&moving) {
            Ok(()) => {
                self.forget_commits(&Record::new(from, now));
                self.prune(&self.settings.root.join(from.0));
            }
            Err(error) => {
                tracing::warn!(%error, from = ?moving.from, "a move is ended later");
                let waits = (moving.from.clone(), (moving.clone(), Course::Forward));
                lock(&self.hub.moving).extend([waits]);
            }
        }
        self.tell_move(&entries, &moving, now);
        Ok(())
    }

    /// Whether a repository may move. The models that it has.
    fn check_move(
        &self,
        from: (&str, &str),
        to: (&str, &str),
        may_go: MayGo<'_>,
    ) -> Result<Vec<Arc<Entry>>, Error> {
        if ![from.0, from.1].into_iter().all(super::is_repo_name) {
            return Err(Error::Repository("Repository not found".to_owned()));
        }
        self.check_repo(from)?;
        super::refs::check_name(to)?;
        let app = self.app(to.0, to.1);
        let is_named = !app.aliases.is_empty() || !app.frozen.is_empty();
        if self.has_repo(to) || is_named || self.disk.stat(&self.app_folder(&names(to))).is_ok() {
            let detail = format!("{}/{} exists already: nothing is put over it", to.0, to.1);
            return Err(Error::Conflict(detail));
        }
        for repo in [from, to] {
            self.check_record(repo)?;
            self.check_app(repo.0, repo.1)?;
        }
        let (project, app) = (Some(from.0.to_owned()), Some(from.1.to_owned()));
        let entries = self.list(&Query { project, app, ..Query::default() }).entries;
        may_go(&entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>())?;
        let mut more = Room::default();
        for entry in &entries {
            let Key { project, app, version, .. } = &entry.key;
            if self.is_part((project, app, version)) {
                let detail = format!(
                    "only a part of {project}/{app}@{version} came: fetch it again, or delete that part, then move"
                );
                return Err(Error::Conflict(detail));
            }
            // The name goes, as it does when a model is deleted.
            self.check_mutable(&entry.key, true)?;
            if let Some(sha256) = entry.sha256.as_ref().filter(|_| from.0 != to.0) {
                self.vet_kept(&moved(&entry.key, &names(to)), &path::shown(entry), sha256)?;
            }
            more.add(entry.size);
        }
        if from.0 != to.0 {
            self.check_total(to.0, more, Room::default())?;
        }
        Ok(entries)
    }

    /// Keeps the commits under the new name, and says what is to be.
    fn moving(&self, from: (&str, &str), to: (&str, &str)) -> io::Result<Moving> {
        let app = self.apps().get(&names(from)).cloned();
        let app = app.map(|app| AppRecord {
            project_id: to.0.to_owned(),
            app_name: to.1.to_owned(),
            ..app
        });
        let mut moving = Moving { from: names(from), to: names(to), record: None, app };
        let Some(record) = self.record(from) else { return Ok(moving) };
        let mut ids = BTreeMap::new();
        for id in record.named() {
            let Some(tree) = self.kept_tree(from, id) else { continue };
            let tree = Tree::new(to, tree.files.clone());
            self.write_trees(to, &[&tree])?;
            ids.insert(id.to_owned(), tree.id);
        }
        moving.record = Some(record.renamed(to, &ids));
        Ok(moving)
    }

    fn move_file(&self, moving: &Moving) -> PathBuf {
        let digest = Digest::of_value(&of(&moving.from));
        self.own(MOVES).join(format!("{}.json", digest.short(32)))
    }

    fn app_folder(&self, (project, app): &Names) -> PathBuf {
        self.settings.root.join(project).join(app)
    }

    fn write_move(&self, moving: &Moving) -> io::Result<()> {
        let text = serde_json::to_vec(moving)?;
        self.replace(&self.own(MOVES), &self.move_file(moving), &text)
    }

    /// Brings it about that the repository has its new name. Done again, it changes nothing.
    fn carry_move(&self, moving: &Moving) -> io::Result<()> {
        let disk = &*self.disk;
        if let Some(record) = &moving.record {
            let text = serde_json::to_vec(record)?;
            self.replace(&self.own("hub/repos"), &self.repo_file(of(&moving.to)), &text)?;
        }
        if let Some(app) = &moving.app {
            self.write_app(app)?;
        }
        let (source, target) = (self.app_folder(&moving.from), self.app_folder(&moving.to));
        let [old, new] = [&moving.from, &moving.to].map(|it| self.settings.root.join(&it.0));
        if disk.stat(&source).is_ok() && disk.stat(&target).is_err() {
            super::make(disk, &new)?;
            disk.sync_dir(&self.settings.root)?;
            disk.rename(&source, &target)?;
        }
        // It may have been moved before a start, and not have been made to last.
        for folder in [new, old].iter().filter(|folder| disk.stat(folder).is_ok()) {
            disk.sync_dir(folder)?;
        }
        Ok(())
    }

    /// Does what is left once it has its new name. Done again, it changes nothing.
    fn end_move(&self, moving: &Moving) -> io::Result<()> {
        for (_, version) in self.folders_of(&self.app_folder(&moving.to))? {
            for (_, model) in self.folders_of(&version)? {
                self.rename_metadata(&model, &moving.to)?;
            }
        }
        self.remove_records(&moving.from)?;
        self.remove_lasting(&self.move_file(moving), &self.own(MOVES))
    }

    fn folders_of(&self, folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
        if self.disk.stat(folder).is_ok() { self.folders(folder) } else { Ok(Vec::new()) }
    }

    /// Has a model's `metadata.json` say whose it is.
    fn rename_metadata(&self, folder: &Path, to: &Names) -> io::Result<()> {
        let file = folder.join("metadata.json");
        let text = match self.disk.read(&file) {
            Err(error) if is_absent(&error) => return Ok(()),
            read => read?,
        };
        // What makes no sense, or does not say it, is left as it is.
        let Ok(mut document) = serde_json::from_slice::<Map<String, Value>>(&text) else {
            return Ok(());
        };
        let mut is_other = false;
        for (name, value) in [(PARTS[0], &to.0), (PARTS[1], &to.1)] {
            if let Some(said) = document.get_mut(name).filter(|said| *said != value) {
                *said = json!(value);
                is_other = true;
            }
        }
        if !is_other {
            return Ok(());
        }
        self.replace(folder, &file, &serde_json::to_vec_pretty(&document)?)
    }

    /// Removes what is kept of a repository and its app beside its models.
    fn remove_records(&self, repo: &Names) -> io::Result<()> {
        self.remove_lasting(&self.repo_file(of(repo)), &self.own("hub/repos"))?;
        self.remove_lasting(&self.app_record(of(repo)), &self.own("apps"))
    }

    fn remove_lasting(&self, file: &Path, folder: &Path) -> io::Result<()> {
        match self.disk.remove_file(file) {
            Err(error) if is_absent(&error) => {}
            removed => removed?,
        }
        self.disk.sync_dir(folder)
    }

    /// Brings it about that nothing has happened. Done again, it changes nothing.
    fn take_move_back(&self, moving: &Moving) -> io::Result<()> {
        let disk = &*self.disk;
        let (source, target) = (self.app_folder(&moving.from), self.app_folder(&moving.to));
        if disk.stat(&target).is_ok() && disk.stat(&source).is_err() {
            disk.rename(&target, &source)?;
        }
        for repo in [&moving.from, &moving.to] {
            let folder = self.settings.root.join(&repo.0);
            if disk.stat(&folder).is_ok() {
                disk.sync_dir(&folder)?;
            }
        }
        self.remove_records(&moving.to)?;
        self.remove_lasting(&self.move_file(moving), &self.own(MOVES))
    }

    fn give_up_move(&self, moving: Moving, entries: &[Arc<Entry>]) {
        let Err(error) = self.take_move_back(&moving) else {
            self.forget_commits(&Record::new(of(&moving.to), Timestamp::default()));
            return self.prune(&self.settings.root.join(&moving.to.0));
        };
        tracing::error!(%error, from = ?moving.from, "a move that failed is not all taken back");
        let is_moved = self.disk.stat(&self.app_folder(&moving.to)).is_ok();
        let course = if is_moved { Course::Forward } else { Course::Back };
        if is_moved {
            self.show_move(&moving, entries);
        }
        lock(&self.hub.moving).insert(moving.from.clone(), (moving, course));
    }

    /// Ends moves of a repository, or to its name, that could not be ended before.
    pub(super) fn settle_moves(&self, repo: (&str, &str)) -> Result<(), Error> {
        let mut moves = lock(&self.hub.moving);
        let is_of = |moving: &Moving| of(&moving.from) == repo || of(&moving.to) == repo;
        let all: Vec<_> = moves.values().filter(|(moving, _)| is_of(moving)).cloned().collect();
        for (moving, course) in all {
            let (done, gone) = match course {
                Course::Forward => {
                    let carried = self.carry_move(&moving);
                    (carried.and_then(|()| self.end_move(&moving)), &moving.from)
                }
                Course::Back => (self.take_move_back(&moving), &moving.to),
            };
            done.map_err(Error::disk("a repository that was being moved can't be settled"))?;
            self.forget_commits(&Record::new(of(gone), Timestamp::default()));
            moves.remove(&moving.from);
        }
        Ok(())
    }

    /// Ends what was under way when the last Berth ended, before anything is read.
    pub(in super::super) fn recover_moves(&self) -> io::Result<()> {
        let folder = self.own(MOVES);
        for name in self.disk.list(&folder)? {
            match serde_json::from_slice::<Moving>(&self.disk.read(&folder.join(&name))?) {
                Ok(moving) => {
                    self.carry_move(&moving)?;
                    self.end_move(&moving)?;
                    self.prune(&self.settings.root.join(&moving.from.0));
                }
                Err(error) => {
                    tracing::error!(file = ?name, %error, "the note of a move makes no sense, and is left");
                }
            }
        }
        Ok(())
    }

    /// Shows everything under its new name, at once.
    fn show_move(&self, moving: &Moving, entries: &[Arc<Entry>]) {
        let (source, target) = (self.app_folder(&moving.from), self.app_folder(&moving.to));
        let mut seen = BTreeMap::new();
        let mut is_unread = false;
        for old in entries {
            let (key, folder) = (moved(&old.key, &moving.to), old.folder());
            let folder = folder.strip_prefix(&source).map(|below| target.join(below));
            seen.insert(old.key.clone(), None);
            let looked = folder.map(|folder| self.look(&key, &folder));
            let Ok(Ok(Some(mut entry))) = looked else {
                tracing::error!(model = %key, "a model that was moved can't be read");
                continue;
            };
            // What is known of files that are not ours is known of the same file still.
            if entry.sha256.is_none()
                && (entry.inode, entry.size, entry.written) == (old.inode, old.size, old.written)
            {
                entry.sha256.clone_from(&old.sha256);
                entry.inspected = old.inspected;
            }
            is_unread |= !entry.is_ours;
            seen.insert(key, Some(Arc::new(entry)));
        }
        self.index.change(seen);
        let mut repos = self.hub.repos();
        repos.remove(&moving.from);
        if let Some(record) = moving.record.clone() {
            let repo = Repo { record: Arc::new(record), is_unsettled: false };
            repos.insert(moving.to.clone(), repo);
        }
        drop(repos);
        let mut apps = self.apps();
        apps.remove(&moving.from);
        apps.extend(moving.app.clone().map(|app| (moving.to.clone(), app)));
        drop(apps);
        self.hub.trees().forget(of(&moving.from));
        self.move_downloads(&moving.from, &moving.to);
        self.recount();
        if is_unread {
            self.write_known();
        }
    }

    /// Tells of the models: each is gone from where it was, and there under its new name.
    fn tell_move(&self, entries: &[Arc<Entry>], moving: &Moving, now: Timestamp) {
        for old in entries {
            self.tell(What::Deleted { key: old.key.clone() }, now);
            if let Some(entry) = self.index.get(&moved(&old.key, &moving.to)) {
                self.published(&entry, true, now);
            }
        }
    }
}

/// A model's names after the move.
fn moved(key: &Key, (project, app): &Names) -> Key {
    Key { project: project.clone(), app: app.clone(), ..key.clone() }
}
