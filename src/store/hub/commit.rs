//! A commit: many files of one version changed together.
//!
//! 1. What is new is made ready out of sight, each file with its `metadata.json`.
//! 2. The commit's list of files is kept, then the record that names it as under way. From here on
//!    it is going to happen, whatever happens: a start finds the record and does the rest.
//! 3. Folders change places, and the folder above is made to last.
//! 4. The record says that it is done. Then it is acknowledged.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use rustix::io::Errno;

use super::super::{
    Content, Error, Figures, SLICE, Store, Way, What,
    disk::Temp,
    entry::{About, Entry, metadata},
    name::Key,
    room::Room,
    scan::is_absent,
};
use super::{
    MayGo, path,
    record::{Commit, Pending, Record},
    tree::{File, Files, Head, Tree},
};
use crate::model::{Digest, Timestamp};

/// How many files a commit may have.
const FILES_MAX: usize = 100_000;

/// One thing that a commit changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file has this content, which must be there.
    Put(String, Digest),
    /// A file is taken from another commit.
    Copy {
        /// Where it comes to be.
        path: String,
        /// What it was called.
        from: String,
        /// In which commit.
        revision: String,
    },
    /// A file goes.
    Delete(String),
    /// A folder goes, with all in it.
    DeleteFolder(String),
}

/// A commit that is to be.
#[derive(Clone, Debug)]
pub struct NewCommit {
    /// The repository.
    pub project: String,
    /// Its second half.
    pub app: String,
    /// The branch.
    pub branch: String,
    /// Its first line.
    pub title: String,
    /// The rest.
    pub message: String,
    /// Who makes it.
    pub author: String,
    /// What the branch must be at.
    pub parent: Option<String>,
    /// What changes.
    pub changes: Vec<Change>,
    /// The projects whose contents may be used; none is all.
    pub projects: Option<Vec<String>>,
}

/// A folder that changes.
struct Move {
    key: Key,
    /// Where the model's folder is, or comes to be.
    target: PathBuf,
    /// The folder that takes its place; none when it goes.
    new: Option<PathBuf>,
    /// Where the old one goes when they can't change places.
    aside: PathBuf,
    was: Option<Arc<Entry>>,
    done: Done,
}

/// What is to become of a model.
struct Wanted {
    key: Key,
    was: Option<Arc<Entry>>,
    /// The path and what comes there; none when it goes.
    new: Option<(String, File)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Nothing,
    Renamed,
    Exchanged,
    Aside,
    Both,
}

impl Store {
    /// Makes a commit, if the models that it takes away may go.
    pub fn commit(
        &self,
        order: &NewCommit,
        now: Timestamp,
        may_go: MayGo<'_>,
    ) -> Result<Commit, Error> {
        let repo = (order.project.as_str(), order.app.as_str());
        let branch = path::ref_name(&order.branch)?;
        let _project = self.lock(repo.0);
        self.settle(repo.0, repo.1)?;
        self.check_repo(repo)?;
        self.check_record(repo)?;
        let head = self.branch_head(repo, &branch)?;
        // A `main` that is not there yet shows what the newest version has, and begins with it.
        let base = self.hub_resolve(repo, &branch)?.tree;
        if let Some(parent) = order.parent.as_deref().filter(|parent| !parent.is_empty())
            && !base.id.starts_with(parent)
        {
            let text = "A commit has happened since. Please refresh and try again.";
            return Err(Error::Precondition(text.to_owned()));
        }
        let files = self.changed(repo, &base.files, order)?;
        let gone = head.entries.iter().filter(|(path, _)| !files.contains_key(*path));
        may_go(&gone.map(|(_, entry)| entry.key.clone()).collect::<Vec<_>>())?;
        let words = Commit {
            id: String::new(),
            title: order.title.clone(),
            message: order.message.clone(),
            author: order.author.clone(),
            date: now,
        };
        self.advance(repo, &branch, &head, files, words)
    }

    /// The files as they are after the changes.
    fn changed(
        &self,
        repo: (&str, &str),
        before: &Files,
        order: &NewCommit,
    ) -> Result<Files, Error> {
        let mut files = before.clone();
        for change in &order.changes {
            match change {
                Change::Put(path, sha256) => {
                    let path = path::repo_path(path)?;
                    let size = self.holds(sha256, repo.0, order.projects.as_deref());
                    let size = size.ok_or_else(|| {
                        Error::Digest(format!("the content {sha256} of `{path}` was not uploaded"))
                    })?;
                    files.insert(path, File { sha256: sha256.clone(), size });
                }
                Change::Copy { path, from, revision } => {
                    let (path, from) = (path::repo_path(path)?, path::repo_path(from)?);
                    let other = self.hub_resolve(repo, revision)?;
                    let file = other.tree.files.get(&from).cloned();
                    let absent = || Error::Nothing(format!("`{from}` is not in `{revision}`"));
                    files.insert(path, file.ok_or_else(absent)?);
                }
                Change::Delete(path) => {
                    let path = path::repo_path(path)?;
                    let absent = || Error::Nothing(format!("no file is called `{path}`"));
                    files.remove(&path).ok_or_else(absent)?;
                }
                Change::DeleteFolder(path) => {
                    let folder = path::repo_path(path.trim_end_matches('/'))? + "/";
                    files.retain(|path, _| !path.starts_with(&folder));
                }
            }
        }
        check_shape(&files, before)?;
        Ok(files)
    }

    /// Brings a branch to these files, and its history with it.
    pub(super) fn advance(
        &self,
        repo: (&str, &str),
        branch: &str,
        head: &Head,
        files: Files,
        words: Commit,
    ) -> Result<Commit, Error> {
        let tree = Arc::new(Tree::new(repo, files));
        let commit = Commit { id: tree.id.clone(), ..words };
        let now = commit.date;
        let before = self.record(repo).map(|record| (*record).clone());
        let before = before.unwrap_or_else(|| Record::new(repo, now));
        let mut after = before.clone();
        let log = after.branches.entry(branch.to_owned()).or_default();
        let last = log.last().map(|last| last.id.clone());
        if last.as_ref() == Some(&tree.id) && head.tree.id == tree.id {
            return Ok(log.last().cloned().unwrap_or(commit));
        }
        if last.as_ref() != Some(&head.tree.id) && !head.entries.is_empty() {
            log.push(super::outside(&head.tree.id, head.modified));
        }
        log.push(commit.clone());
        self.trim(log, now);
        let failed = Error::disk("the commit can't be kept");
        let wanted = Self::wanted(repo, branch, head, &tree)?;
        self.check_wanted(repo.0, &wanted)?;
        let mut moves = self.plan(wanted, now)?;
        // What the history named last is kept already, unless others have changed the version.
        let base = (last.as_ref() != Some(&head.tree.id)).then_some(&*head.tree);
        let trees: Vec<_> = [&*tree].into_iter().chain(base).collect();
        let lasting = self.keep_names(&trees).and_then(|()| self.write_trees(repo, &trees));
        if let Err(error) = lasting {
            self.drop_moves(&moves);
            return Err(failed(error));
        }
        let pending = Pending { branch: branch.to_owned(), commit: tree.id.clone() };
        let is_moving = !moves.is_empty();
        let under_way = Record { pending: is_moving.then_some(pending), ..after.clone() };
        let done = self.write_record(under_way).and_then(|()| {
            self.carry_out(&mut moves).map_err(Error::disk("the commit can't be put in place"))
        });
        self.reindex(&moves);
        if let Err(error) = done {
            // What could not be taken back is done later; what was, is not to be.
            if moves.iter().all(|step| step.done == Done::Nothing) {
                self.leave_unsettled(before);
                let _ = self.settle(repo.0, repo.1);
                self.drop_moves(&moves);
            }
            return Err(error);
        }
        if is_moving && self.write_record(after.clone()).is_err() {
            // All is in its place: doing it again at a start changes nothing.
            self.leave_unsettled(after.clone());
        }
        self.drop_moves(&moves);
        self.tell_moves(&moves, now);
        self.forget_commits(&after);
        self.hub.trees().tell(repo, &tree);
        Ok(commit)
    }

    /// Makes the names of contents last that the history has not had yet: it may be the only one
    /// that has them one day.
    fn keep_names(&self, trees: &[&Tree]) -> io::Result<()> {
        let files = trees.iter().flat_map(|tree| tree.files.values());
        let new = files.filter(|file| !self.hub.kept().pins(&file.sha256));
        let blobs = new.map(|file| self.blob(&file.sha256));
        let folders: BTreeSet<_> =
            blobs.filter_map(|blob| blob.parent().map(Path::to_owned)).collect();
        if folders.is_empty() {
            return Ok(());
        }
        // What others put there has no name among the contents.
        for folder in folders.iter().filter(|folder| self.disk.stat(folder).is_ok()) {
            self.disk.sync_dir(folder)?;
        }
        self.disk.sync_dir(&self.own("blobs/sha256"))
    }

    /// What must move for a version to become a tree.
    fn wanted(
        repo: (&str, &str),
        branch: &str,
        head: &Head,
        tree: &Tree,
    ) -> Result<Vec<Wanted>, Error> {
        let version = path::version_of(branch);
        let is_new = |(path, file): &(&String, &File)| head.tree.files.get(*path) != Some(*file);
        let mut all = Vec::new();
        for (path, file) in tree.files.iter().filter(is_new) {
            let was = head.entries.get(path).cloned();
            let key = match &was {
                Some(was) => was.key.clone(),
                None => Key::new(repo.0, repo.1, &version, &path::encoded(path))?,
            };
            all.push(Wanted { key, was, new: Some((path.clone(), file.clone())) });
        }
        let gone = head.entries.iter().filter(|(path, _)| !tree.files.contains_key(*path));
        all.extend(gone.map(|(_, was)| Wanted {
            key: was.key.clone(),
            was: Some(Arc::clone(was)),
            new: None,
        }));
        Ok(all)
    }

    /// Whether all of it is allowed.
    fn check_wanted(&self, project: &str, all: &[Wanted]) -> Result<(), Error> {
        let (mut more, mut less) = (Room::default(), Room::default());
        for Wanted { key, was, new } in all {
            self.check_mutable(key, was.is_some())?;
            self.check_alias(key)?;
            if let Some(was) = was {
                less.add(was.size);
            }
            if let Some((path, file)) = new {
                self.check_size(file.size)?;
                self.vet_kept(key, path, &file.sha256)?;
                more.add(file.size);
            }
        }
        self.check_total(project, more, less)
    }

    /// Makes ready what is new.
    fn plan(&self, all: Vec<Wanted>, now: Timestamp) -> Result<Vec<Move>, Error> {
        let mut moves: Vec<Move> = Vec::new();
        for Wanted { key, was, new } in all {
            let target = match &was {
                Some(was) => was.folder(),
                None => self.settings.root.join(key.folder()),
            };
            let ready = |(path, file): (String, File)| self.ready(&key, &path, &file, now);
            let new = new.map(ready).transpose().map_err(|error| {
                self.drop_moves(&moves);
                Error::disk("the commit can't be made ready")(error)
            })?;
            // Nobody puts it back at a start: then the commit is finished.
            let aside = self.own("uploads").join(format!("gone-{}", self.number()));
            moves.push(Move { key, target, new, aside, was, done: Done::Nothing });
        }
        Ok(moves)
    }

    /// Makes a model's folder out of sight.
    fn ready(&self, key: &Key, path: &str, file: &File, now: Timestamp) -> io::Result<PathBuf> {
        let about = About { original_filename: Some(path.to_owned()), ..About::default() };
        let document = metadata(key, &about, (file.size, &file.sha256), now);
        let text = serde_json::to_vec_pretty(&document)?;
        let folder = self.own("uploads").join(format!("new-{}", self.number()));
        let made = self.fill_ready(&folder, file, &text);
        if made.is_err() {
            self.discard(&folder);
        }
        made.map(|()| folder)
    }

    fn fill_ready(&self, folder: &Path, file: &File, text: &[u8]) -> io::Result<()> {
        let disk = &*self.disk;
        let _no_sweep = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
        disk.create_dir(folder)?;
        let (blob, model) = (self.blob(&file.sha256), folder.join("model"));
        match disk.link(&blob, &model) {
            Err(error) if error.raw_os_error() == Some(Errno::MLINK.raw_os_error()) => {
                self.copy(&blob, &model, file.size)?;
            }
            linked => linked?,
        }
        disk.write_file(&folder.join("metadata.json"), text)?;
        disk.sync_dir(folder)
    }

    /// Copies a content that has as many names as it can have.
    fn copy(&self, blob: &Path, to: &Path, size: u64) -> io::Result<()> {
        let mut temp: Box<dyn Temp> = self.disk.temp(&self.own("uploads"), Some(size))?;
        let content = Content::of(self.disk.open(blob)?, size, Way::Read);
        let mut at = 0;
        while at < size {
            let slice =
                content.slice(at, usize::try_from(size - at).unwrap_or(SLICE).min(SLICE))?;
            temp.write(&slice)?;
            at += u64::try_from(slice.len()).unwrap_or(u64::MAX);
        }
        temp.sync()?;
        temp.link(to)
    }

    /// Puts everything in its place, and makes that last; or takes all of it back.
    fn carry_out(&self, moves: &mut [Move]) -> io::Result<()> {
        let mut folders = BTreeSet::new();
        let mut done = Ok(());
        for step in moves.iter_mut() {
            folders.extend(step.target.parent().map(Path::to_owned));
            done = self.carry(step);
            if done.is_err() {
                break;
            }
        }
        let sync = |folder: &PathBuf| match self.disk.sync_dir(folder) {
            Err(error) if is_absent(&error) => Ok(()),
            synced => synced,
        };
        let done = done.and_then(|()| folders.iter().try_for_each(sync));
        if done.is_err() {
            for step in moves.iter_mut().rev() {
                self.take_back(step);
            }
            for folder in &folders {
                let _ = sync(folder);
            }
        }
        for folder in &folders {
            self.prune(folder);
        }
        done
    }

    fn carry(&self, step: &mut Move) -> io::Result<()> {
        let Move { key, target, new, aside, done, .. } = step;
        let disk = &*self.disk;
        let Some(new) = new else {
            match disk.rename(target, aside) {
                Err(error) if is_absent(&error) => return Ok(()),
                moved => moved?,
            }
            *done = Done::Aside;
            return Ok(());
        };
        if disk.stat(target).is_err() {
            let above = target.parent().unwrap_or(target);
            self.make_parents(key, above)?;
            disk.rename(new, target)?;
            *done = Done::Renamed;
            return Ok(());
        }
        match disk.exchange(new, target) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            exchanged => {
                exchanged?;
                *done = Done::Exchanged;
                return Ok(());
            }
        }
        disk.rename(target, aside)?;
        *done = Done::Aside;
        disk.rename(new, target)?;
        *done = Done::Both;
        Ok(())
    }

    fn take_back(&self, step: &mut Move) {
        let disk = &*self.disk;
        let new = step.new.as_ref().unwrap_or(&step.aside);
        let back = match step.done {
            Done::Nothing => return,
            Done::Renamed => disk.rename(&step.target, new),
            Done::Exchanged => disk.exchange(new, &step.target),
            Done::Aside => disk.rename(&step.aside, &step.target),
            Done::Both => {
                disk.rename(&step.target, new).and_then(|()| disk.rename(&step.aside, &step.target))
            }
        };
        match back {
            Ok(()) => step.done = Done::Nothing,
            Err(error) => {
                tracing::error!(model = %step.key, %error, "a commit that failed is not all taken back");
            }
        }
    }

    /// Looks again at everything that may have changed, and shows it at once.
    fn reindex(&self, moves: &[Move]) {
        let mut seen = BTreeMap::new();
        for Move { key, target, was, .. } in moves {
            match self.look(key, target) {
                Ok(entry) => seen.insert(key.clone(), entry.map(Arc::new)),
                // As long as it can't be read, it is thought to be what it was.
                Err(_) => seen.insert(key.clone(), was.clone()),
            };
        }
        self.index.change(seen);
        self.recount();
    }

    /// Tells of what has changed, and has it looked into.
    fn tell_moves(&self, moves: &[Move], now: Timestamp) {
        for Move { key, was, .. } in moves {
            if let Some(entry) = self.index.get(key) {
                self.published(&entry, was.is_none(), now);
            } else {
                self.without(key);
                Figures::add(&self.figures.deletions, 1);
                self.tell(What::Deleted { key: key.clone() }, now);
            }
        }
    }

    /// Removes what was replaced, or did not come to be.
    fn drop_moves(&self, moves: &[Move]) {
        for Move { new, aside, .. } in moves {
            if let Some(new) = new {
                self.discard(new);
            }
            if self.disk.stat(aside).is_ok() {
                self.discard(aside);
            }
        }
    }

    /// Does what a kill left of commits that were under way.
    pub(super) fn finish_commits(&self) -> Result<(), Error> {
        let all: Vec<_> = self.hub.repos().values().map(|repo| Arc::clone(&repo.record)).collect();
        all.iter().try_for_each(|record| self.finish_commit(record))
    }

    /// Does the rest of a commit that was under way.
    pub(super) fn finish_commit(&self, record: &Record) -> Result<(), Error> {
        let Some(pending) = &record.pending else { return Ok(()) };
        let (project, app) = record.names();
        let repo = (project.as_str(), app.as_str());
        let after = Record { pending: None, ..record.clone() };
        let Some(tree) = self.kept_tree(repo, &pending.commit) else {
            tracing::error!(commit = pending.commit, "a commit that was under way is lost");
            return self.write_record(after);
        };
        let version = path::version_of(&pending.branch);
        let head = self.head(repo, &version).unwrap_or_else(|| Arc::new(super::nothing(repo)));
        let date = record.find(&pending.commit).map_or(record.created, |commit| commit.date);
        let wanted = Self::wanted(repo, &pending.branch, &head, &tree)?;
        let is_lost = |file: &File| {
            self.disk.stat(&self.blob(&file.sha256)).is_err_and(|error| is_absent(&error))
        };
        if wanted.iter().any(|wanted| wanted.new.iter().any(|(_, file)| is_lost(file))) {
            // Nothing that is there is held up by what can't be had back.
            tracing::error!(commit = pending.commit, "contents of a commit under way are lost");
            return self.write_record(after);
        }
        let mut moves = self.plan(wanted, date)?;
        let done = self.carry_out(&mut moves);
        self.reindex(&moves);
        self.drop_moves(&moves);
        done.map_err(Error::disk("a commit can't be finished"))?;
        self.tell_moves(&moves, self.now());
        self.write_record(after)
    }
}

/// Whether files can lie beside each other: none may be where another has a folder.
fn check_shape(files: &Files, before: &Files) -> Result<(), Error> {
    if FILES_MAX < files.len() {
        return Err(Error::TooLarge(format!("a commit has at most {FILES_MAX} files")));
    }
    for path in files.keys().filter(|path| !before.contains_key(*path)) {
        let mut above = path.as_str();
        while let Some((folder, _)) = above.rsplit_once('/') {
            if files.contains_key(folder) {
                let text = format!("`{folder}` is a file: `{path}` can't be in it");
                return Err(Error::Bad(text));
            }
            above = folder;
        }
        let folder = format!("{path}/");
        if files.range(folder.clone()..).next().is_some_and(|(next, _)| next.starts_with(&folder)) {
            return Err(Error::Bad(format!("`{path}` is a folder")));
        }
    }
    Ok(())
}
