//! What goes: deleted models, which wait in the trash for a while, and contents without a name.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{
    Error, Figures, OWN, Require, Store, What, disk::Stat, entry::Entry, name::Key, scan::is_absent,
};
use crate::model::{Digest, Timestamp};

/// What a model's folder has; whatever else is in one is somebody's, and is never removed.
const PARTS: [&str; 3] = ["model", "model.onnx", "metadata.json"];

/// A model in the trash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trashed {
    /// What it is called there.
    pub id: String,
    /// What it was called.
    pub project_id: String,
    /// What it was called.
    pub app_name: String,
    /// What it was called.
    pub version: String,
    /// What it was called.
    pub model_name: String,
    /// How long it is.
    pub size: u64,
    /// When it was deleted.
    pub deleted: Timestamp,
}

/// What was swept, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many models left the trash.
    pub trashed: usize,
    /// How many contents went.
    pub blobs: usize,
    /// How many bytes that frees.
    pub bytes: u64,
    /// How many bytes stay because of the history of repositories alone.
    pub history: u64,
}

/// The digest whose blob a path is.
fn digest_of(path: &Path) -> Option<Digest> {
    let first = path.parent()?.file_name()?.to_str()?;
    Digest::parse(&format!("{first}{}", path.file_name()?.to_str()?))
}

impl Trashed {
    fn key(&self) -> Result<Key, Error> {
        Ok(Key::new(&self.project_id, &self.app_name, &self.version, &self.model_name)?)
    }
}

/// Removes from the trash what a kill left there without a model.
pub(super) fn recover(store: &Store) -> io::Result<()> {
    let trash = store.own("trash");
    for name in store.disk.list(&trash)? {
        let folder = trash.join(&name);
        if store.disk.stat(&folder.join("model")).is_err() {
            store.discard(&folder);
        }
    }
    Ok(())
}

impl Store {
    /// Deletes a model; for a while, it can be brought back.
    pub fn delete(
        &self,
        key: &Key,
        require: &Require,
        now: Timestamp,
    ) -> Result<Arc<Entry>, Error> {
        let _project = self.lock(&key.project);
        self.settle(&key.project, &key.app)?;
        self.deletable(key, require)?;
        self.delete_held(key, now)
    }

    /// Deletes a model that may go; its project is locked.
    pub(super) fn delete_held(&self, key: &Key, now: Timestamp) -> Result<Arc<Entry>, Error> {
        let entry = self.get(key)?;
        let done = if self.settings.trash_ttl.is_zero() {
            let gone = self.own("uploads").join(format!("gone-{}", self.number()));
            self.take_away(&entry, &gone, None).map(|()| self.discard(&gone))
        } else {
            self.throw(&entry, now)
        };
        match done {
            Err(error) if is_absent(&error) => {
                // Somebody else has removed it already.
                self.index.remove(key);
                self.recount();
                return Err(Error::not_found(key));
            }
            done => done.map_err(Error::disk("the model can't be deleted"))?,
        }
        self.index.remove(key);
        self.without(key);
        self.recount();
        if let Some(above) = entry.folder().parent() {
            self.prune(above);
        }
        Figures::add(&self.figures.deletions, 1);
        self.tell(What::Deleted { key: key.clone() }, now);
        Ok(entry)
    }

    fn throw(&self, entry: &Entry, now: Timestamp) -> io::Result<()> {
        let Key { project, app, version, model } = entry.key.clone();
        let (id, folder) = loop {
            let id = format!("{:x}-{:x}", now.as_millis(), self.number());
            let folder = self.own("trash").join(&id);
            match self.disk.create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => break made.map(|()| (id, folder))?,
            }
        };
        let trashed = Trashed {
            id,
            project_id: project,
            app_name: app,
            version,
            model_name: model,
            size: entry.size,
            deleted: now,
        };
        let text = serde_json::to_vec_pretty(&trashed)?;
        let thrown = self
            .disk
            .write_file(&folder.join("trash.json"), &text)
            .and_then(|()| self.disk.sync_dir(&self.own("trash")))
            .and_then(|()| self.take_away(entry, &folder.join("model"), Some(&folder)));
        if thrown.is_err() {
            self.discard(&folder);
        }
        thrown
    }

    /// Moves a model's folder; when that can't be made to last, back.
    fn take_away(&self, entry: &Entry, to: &Path, holder: Option<&Path>) -> io::Result<()> {
        let folder = entry.folder();
        let above = folder.parent().unwrap_or(&folder);
        self.disk.rename(&folder, to)?;
        let lasting = holder.map_or(Ok(()), |holder| self.disk.sync_dir(holder));
        lasting.and_then(|()| self.disk.sync_dir(above)).inspect_err(|_| {
            let _ = self.disk.rename(to, &folder);
            let _ = self.disk.sync_dir(above);
        })
    }

    /// What is in the trash, the newest last.
    pub fn trash(&self) -> Result<Vec<Trashed>, Error> {
        let unreadable = || Error::disk("the trash can't be read");
        let trash = self.own("trash");
        let mut found: Vec<Trashed> = Vec::new();
        for name in self.disk.list(&trash).map_err(unreadable())? {
            let text = self.disk.read(&trash.join(&name).join("trash.json")).unwrap_or_default();
            found.extend(serde_json::from_slice(&text).ok());
        }
        found.sort_by(|a, b| (a.deleted, &a.id).cmp(&(b.deleted, &b.id)));
        Ok(found)
    }

    /// One thing in the trash.
    pub fn trashed(&self, id: &str) -> Result<Trashed, Error> {
        let found = self.trash()?.into_iter().find(|trashed| trashed.id == id);
        found.ok_or_else(|| Error::Nothing(format!("nothing in the trash is called `{id}`")))
    }

    /// What is in the trash under this id, and what it would be called again.
    ///
    /// # Errors
    /// Why it can't be brought back.
    pub fn restorable(&self, id: &str) -> Result<(Trashed, Key), Error> {
        let trashed = self.trashed(id)?;
        let key = trashed.key()?;
        if self.index.get(&key).is_some() {
            return Err(Error::Conflict(format!("{key} is there again: delete it first")));
        }
        self.check_mutable(&key, false)?;
        self.check_alias(&key)?;
        self.check_room(&key, trashed.size)?;
        Ok((trashed, key))
    }

    /// Brings a deleted model back.
    pub fn restore(&self, id: &str) -> Result<Arc<Entry>, Error> {
        let key = self.trashed(id)?.key()?;
        let _project = self.lock(&key.project);
        self.settle(&key.project, &key.app)?;
        let (trashed, key) = self.restorable(id)?;
        let folder = self.own("trash").join(&trashed.id);
        let target = self.settings.root.join(key.folder());
        let above = target.parent().map(Path::to_owned).unwrap_or_default();
        let from = folder.join("model");
        let moved = self.make_parents(&key, &above).and_then(|()| {
            self.disk.rename(&from, &target)?;
            self.disk.sync_dir(&above).inspect_err(|_| {
                let _ = self.disk.rename(&target, &from);
                let _ = self.disk.sync_dir(&above);
            })
        });
        let looked = self.look(&key, &target);
        if let Err(error) = moved {
            // What can't be taken back is there, and is shown: nobody stores over it unseen.
            if let Ok(Some(entry)) = looked {
                self.index.put(Arc::new(entry));
                self.recount();
            }
            self.prune(&above);
            return Err(Error::disk("the model can't be brought back")(error));
        }
        self.discard(&folder);
        let looked = looked.map_err(Error::disk("the model can't be read"))?;
        let entry = Arc::new(looked.ok_or_else(|| Error::not_found(&key))?);
        self.index.put(Arc::clone(&entry));
        self.recount();
        self.published(&entry, true, self.now());
        Ok(entry)
    }

    /// Empties the trash of what has been there for its time, and removes contents that no model
    /// has; `is_dry` only says what that would be.
    pub fn sweep(&self, now: Timestamp, is_dry: bool) -> Result<Swept, Error> {
        self.sweep_more(now, is_dry, false)
    }

    /// The same; with `has_history`, the history of repositories goes too, but for what versions and
    /// tags stand for.
    pub fn sweep_more(
        &self,
        now: Timestamp,
        is_dry: bool,
        has_history: bool,
    ) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        // What would be let go of does not keep anything.
        let loose = if is_dry {
            self.let_go(now, has_history)
        } else {
            self.trim_histories(now, has_history)?;
            BTreeSet::new()
        };
        self.sweep_trash(now, is_dry.then_some(&loose), &mut swept)?;
        if !is_dry {
            self.tidy_parts(now);
            self.sweep_reports().map_err(Error::disk("the reports can't be read"))?;
        }
        self.sweep_blobs(now, is_dry.then_some(&loose), &mut swept)?;
        if !is_dry {
            self.tidy_xorbs(now, 0 < swept.blobs);
        }
        let kept = self.history_bytes();
        Figures::set(&self.figures.history, kept);
        swept.history = kept;
        if is_dry {
            let stat = |digest| self.disk.stat(&self.blob(digest));
            let less = loose.iter().filter_map(|digest| stat(digest).ok());
            let less: u64 = less.filter(|stat| stat.links == 1).map(|stat| stat.size).sum();
            swept.history = kept.saturating_sub(less);
        }
        Ok(swept)
    }

    /// Removes what has been in the trash for its time; or says what that would free, when these
    /// contents are let go of by histories.
    fn sweep_trash(
        &self,
        now: Timestamp,
        dry: Option<&BTreeSet<Digest>>,
        swept: &mut Swept,
    ) -> Result<(), Error> {
        // How many names of each file go.
        let mut going: BTreeMap<(u64, u64), (u64, Stat)> = BTreeMap::new();
        for trashed in self.trash()? {
            if now.since(trashed.deleted) < self.settings.trash_ttl {
                continue;
            }
            swept.trashed += 1;
            let folder = self.own("trash").join(&trashed.id);
            if dry.is_none() {
                self.discard(&folder);
            } else if let Ok(stat) = self.disk.stat(&folder.join("model/model")) {
                going.entry(stat.inode).or_insert((0, stat)).0 += 1;
            }
        }
        let Some(loose) = dry.filter(|_| !going.is_empty()) else { return Ok(()) };
        let unreadable = || Error::disk("the contents can't be read");
        let mut needed = BTreeSet::new();
        self.each_blob(&mut |path, digest| {
            if self.is_needed(digest, Some(now)) && !loose.contains(digest) {
                needed.extend(self.disk.stat(path).ok().map(|stat| stat.inode));
            }
        })
        .map_err(unreadable())?;
        for (inode, (names, stat)) in going {
            // The name among the blobs does not keep it, unless a commit has it.
            if stat.links <= names + 1 && !needed.contains(&inode) {
                swept.bytes += stat.size;
            }
        }
        Ok(())
    }

    fn sweep_blobs(
        &self,
        now: Timestamp,
        dry: Option<&BTreeSet<Digest>>,
        swept: &mut Swept,
    ) -> Result<(), Error> {
        let mut all = Vec::new();
        self.each_blob(&mut |path, digest| all.push((path.to_owned(), digest.clone())))
            .map_err(Error::disk("the contents can't be read"))?;
        for (path, digest) in all {
            let is_loose = dry.is_some_and(|loose| loose.contains(&digest));
            if !is_loose && self.is_needed(&digest, Some(now)) {
                continue;
            }
            let Ok(stat) = self.disk.stat(&path) else { continue };
            let changed = i64::try_from(stat.changed / 1_000_000).unwrap_or(0);
            let is_old = self.settings.grace <= now.since(Timestamp::from_millis(changed));
            if stat.links == 1 && is_old && (dry.is_some() || self.sweep_blob(&path)) {
                swept.blobs += 1;
                swept.bytes += stat.size;
            }
        }
        Ok(())
    }

    fn each_blob(&self, each: &mut dyn FnMut(&Path, &Digest)) -> io::Result<()> {
        let blobs = self.own("blobs/sha256");
        for first in self.disk.list(&blobs)? {
            for rest in self.disk.list(&blobs.join(&first))? {
                let path = blobs.join(&first).join(rest);
                if let Some(digest) = digest_of(&path) {
                    each(&path, &digest);
                }
            }
        }
        Ok(())
    }

    /// Removes a blob that has no other name. Whether it went.
    pub(super) fn sweep_blob(&self, path: &Path) -> bool {
        let _all = self.sweeping.write().unwrap_or_else(PoisonError::into_inner);
        if digest_of(path).is_some_and(|digest| self.is_needed(&digest, None)) {
            return false;
        }
        let is_last = self.disk.stat(path).is_ok_and(|stat| stat.links == 1);
        let is_gone = is_last && self.disk.remove_file(path).is_ok();
        if let Some(folder) = path.parent().filter(|_| is_gone) {
            let _ = self.disk.remove_dir(folder);
        }
        is_gone
    }

    /// Removes a folder that is out of sight. What is in it beside a model's parts is somebody's:
    /// then it goes to the trash.
    pub(super) fn discard(&self, path: &Path) {
        if !self.disk.stat(path).is_ok_and(|stat| stat.is_folder) {
            let _ = self.disk.remove_file(path);
            return;
        }
        let names = self.disk.list(path).unwrap_or_default();
        let is_part = |name: &&std::ffi::OsString| {
            PARTS.iter().chain(&["trash.json"]).any(|part| name.as_os_str() == *part)
        };
        if let Some(other) = names.iter().find(|name| !is_part(name)) {
            tracing::warn!(path = %path.display(), other = ?other, "a folder that holds more than a model is kept in the trash");
            let seen = self.disk.stat(path).map_or(0, |stat| stat.inode.1);
            let kept: PathBuf = self.own("trash").join(format!("kept-{seen:x}-{}", self.number()));
            if path.parent() == Some(&self.own("uploads")) {
                let _ = self.disk.rename(path, &kept);
            }
            return;
        }
        for name in names {
            let inner = path.join(name);
            if self.disk.stat(&inner).is_ok_and(|stat| stat.is_folder) {
                self.discard(&inner);
            } else {
                let _ = self.disk.remove_file(&inner);
            }
        }
        let _ = self.disk.remove_dir(path);
    }

    /// Removes the folder of a version, an app, a project that has nothing any more.
    pub(super) fn prune(&self, version: &Path) {
        let mut folder = version;
        for _ in 0..3 {
            if folder == self.settings.root || folder.ends_with(OWN) {
                return;
            }
            if self.disk.remove_dir(folder).is_err() {
                return;
            }
            let Some(above) = folder.parent() else { return };
            let _ = self.disk.sync_dir(above);
            folder = above;
        }
    }
}
