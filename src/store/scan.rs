//! From the disk to memory: what is there, and what a kill left half done.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Error, OWN, Store,
    disk::Stat,
    entry::{Entry, Place},
    name::{Key, PARTS},
    trash,
};
use crate::model::{Digest, Timestamp};

/// The names that a model's file may have: ours, and that of an older system.
const FILES: [&str; 2] = ["model", "model.onnx"];
/// What file systems have at their root.
const LOST_AND_FOUND: &str = "lost+found";
/// By how much clocks of a file system and of this process may differ, in nanoseconds.
const SLACK: i128 = 60_000_000_000;
/// What is known of files that are not ours, kept in a file of this name.
const KNOWN: &str = "known.json";

/// For how long what was found out is not written down yet, while more is.
const UNWRITTEN_MAX: Duration = Duration::from_secs(10);

/// Digests of files that are not ours: those of the last Berth, until the models say them, and when
/// they were written down.
#[derive(Debug, Default)]
pub(super) struct Known {
    seen: BTreeMap<PathBuf, Seen>,
    written: Option<Timestamp>,
}

/// What was seen of a file when it was read. As long as all of it is so still, so is its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    inode: (u64, u64),
    size: u64,
    modified: i128,
    sha256: Digest,
}

impl Store {
    /// Finishes what was left half done, and reads what is there.
    pub(super) fn recover(&mut self) -> Result<(), Error> {
        let unreadable = || Error::disk("the folder of models can't be read");
        self.clear_uploads().map_err(unreadable())?;
        self.recover_views();
        self.recover_moves().map_err(Error::disk("a move can't be ended"))?;
        self.load_apps().map_err(unreadable())?;
        super::hub::load(self).map_err(unreadable())?;
        self.load_marks().map_err(unreadable())?;
        trash::recover(self).map_err(unreadable())?;
        let known = self.disk.read(&self.own(KNOWN)).unwrap_or_default();
        self.known().seen = serde_json::from_slice(&known).unwrap_or_default();
        let entries = self.scan().map_err(unreadable())?;
        self.index.fill(entries);
        self.known().seen.clear();
        super::hub::recover(self)?;
        self.mend_views();
        self.load_partials().map_err(unreadable())?;
        self.recover_whole();
        self.load_downloads();
        self.recount();
        Ok(())
    }

    /// Counts the models and their bytes.
    pub(super) fn recount(&self) {
        let all = self.index.all();
        let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        self.figures.models.store(count, Ordering::Relaxed);
        self.figures.bytes.store(all.iter().map(|entry| entry.size).sum(), Ordering::Relaxed);
        self.figures.changes.send_modify(|count| *count += 1);
    }

    /// Removes what was on its way in or out. A folder that was moved aside for one that never
    /// came is put back.
    fn clear_uploads(&self) -> io::Result<()> {
        let uploads = self.own("uploads");
        for name in self.disk.list(&uploads)? {
            let path = uploads.join(&name);
            if name.as_encoded_bytes().starts_with(b"old-")
                && let Some(key) = self.key_of(&path)
                && self.disk.stat(&self.settings.root.join(key.folder())).is_err()
            {
                let target = self.settings.root.join(key.folder());
                match self.disk.rename(&path, &target) {
                    // Its version is gone: it was deleted since.
                    Err(error) if is_absent(&error) => {
                        self.discard(&path);
                        continue;
                    }
                    moved => moved?,
                }
                if let Some(above) = target.parent() {
                    self.disk.sync_dir(above)?;
                }
                continue;
            }
            self.discard(&path);
        }
        Ok(())
    }

    /// The names that a folder's `metadata.json` says.
    fn key_of(&self, folder: &Path) -> Option<Key> {
        let metadata = self.metadata(folder);
        let [project, app, version, model] =
            PARTS.map(|part| metadata.get(part).and_then(Value::as_str).unwrap_or_default());
        Key::new(project, app, version, model).ok()
    }

    fn metadata(&self, folder: &Path) -> Map<String, Value> {
        let bytes = self.disk.read(&folder.join("metadata.json")).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    pub(super) fn folders(&self, path: &Path) -> io::Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        let is_root = path == self.settings.root;
        let names = match self.disk.list(path) {
            // One folder that nobody may look into does not keep all others from being seen.
            Err(error) if !is_root && (is_absent(&error) || is_forbidden(&error)) => {
                tracing::warn!(path = %path.display(), %error, "a folder can't be read, and is left out");
                return Ok(found);
            }
            names => names?,
        };
        for name in names {
            let Some(name) = legible(&name) else { continue };
            // What a file system keeps for itself is no project.
            if is_root && name == LOST_AND_FOUND {
                continue;
            }
            let path = path.join(&name);
            if self.disk.stat(&path).is_ok_and(|stat| stat.is_folder) {
                found.push((name, path));
            }
        }
        Ok(found)
    }

    fn scan(&self) -> io::Result<Vec<Entry>> {
        let mut level = vec![(Vec::new(), self.settings.root.clone())];
        for _ in PARTS {
            let mut below = Vec::new();
            for (names, path) in &level {
                for (name, path) in self.folders(path)? {
                    below.push(([names.as_slice(), &[name]].concat(), path));
                }
            }
            level = below;
        }
        let mut entries = Vec::new();
        for (names, path) in &level {
            let [project, app, version, model] = names.as_slice() else { continue };
            match Key::new(project, app, version, model) {
                Ok(key) => entries.extend(self.look(&key, path)?),
                Err(why) => {
                    tracing::warn!(path = %path.display(), %why, "a folder of no model is left out");
                }
            }
        }
        Ok(entries)
    }

    /// What is in a model's folder; nothing when no file is.
    pub(super) fn look(&self, key: &Key, folder: &Path) -> io::Result<Option<Entry>> {
        let mut found = None;
        for name in FILES {
            let file = folder.join(name);
            match self.disk.stat(&file) {
                Ok(stat) if stat.is_file => {
                    found = Some((name, file, stat));
                    break;
                }
                Ok(_) => {}
                Err(error) if is_absent(&error) || is_forbidden(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let Some((name, file, stat)) = found else { return Ok(None) };
        let metadata = self.metadata(folder);
        let said = metadata.get("sha256").and_then(Value::as_str).and_then(Digest::parse);
        // A content that has changed is ours still, and is no blob any more.
        let is_rotten = self.rotten(stat.inode).is_some();
        let is_ours = is_untouched(&metadata, &stat)
            && said.as_ref().is_some_and(|said| is_rotten || self.is_ours(said, &file));
        let sha256 = if is_ours { said } else { self.seen(key, &file, &stat) };
        let place = if self.settings.root.join(key.folder()) == folder {
            Place::Usual(Arc::clone(&self.root), name)
        } else {
            Place::Other(Box::new((folder.to_owned(), file)))
        };
        let mut entry = Entry::new(key.clone(), place, &stat, sha256, &metadata);
        entry.is_ours = is_ours;
        entry.rotten = self.rotten(entry.inode).map(Box::new);
        if let Some(digest) = &entry.sha256 {
            entry.inspected = self.inspected(digest, super::reports::hint_of(&entry));
        }
        Ok(Some(entry))
    }

    /// Whether a file that looks as we left it has its blob. A blob whose name was lost gets it
    /// back: only we make files that nobody may write to, and only when they are whole.
    fn is_ours(&self, digest: &Digest, file: &Path) -> bool {
        let blob = self.blob(digest);
        // Another file of the same content will do.
        if self.disk.stat(&blob).is_ok() {
            return true;
        }
        let parent = blob.parent().unwrap_or(&blob);
        super::make(&*self.disk, parent).is_ok() && self.disk.link(file, &blob).is_ok()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The digest of a file that is not ours, if it was read and has not changed since.
    fn seen(&self, key: &Key, file: &Path, stat: &Stat) -> Option<Digest> {
        if let Some(entry) = self.index.get(key) {
            return entry.sha256.clone().filter(|_| !entry.is_ours && entry.is_seen(stat));
        }
        let below = file.strip_prefix(&self.settings.root).ok()?;
        let known = self.known();
        let seen = known.seen.get(below)?;
        let is_same =
            (seen.inode, seen.size, seen.modified) == (stat.inode, stat.size, stat.modified);
        is_same.then(|| seen.sha256.clone())
    }

    /// Takes note of the digest of a file that is not ours, for the next start too.
    pub(super) fn learn(&self, key: &Key, stat: &Stat, sha256: &Digest) {
        let is_learnt = self.change_entry(key, |entry| {
            let is_same = !entry.is_ours && entry.is_seen(stat);
            if is_same {
                entry.sha256 = Some(sha256.clone());
                entry.inspected = self.inspected(sha256, super::reports::hint_of(entry));
            }
            is_same
        });
        if is_learnt && self.is_time_to_write() {
            self.write_known();
        }
    }

    /// Whether what was found out is written down now: all of it at once, and not for each of thousands.
    fn is_time_to_write(&self) -> bool {
        let is_last = !self.index.has(|entry| entry.sha256.is_none());
        let now = self.now();
        let mut known = self.known();
        let is_late = known.written.is_none_or(|at| UNWRITTEN_MAX <= now.since(at));
        if is_last || is_late {
            known.written = Some(now);
        }
        is_last || is_late
    }

    pub(super) fn write_known(&self) {
        let mut known = BTreeMap::new();
        for entry in self.index.all().iter().filter(|entry| !entry.is_ours) {
            let file = entry.file();
            let below = file.strip_prefix(&self.settings.root);
            let (Ok(below), Some(sha256)) = (below, entry.sha256.clone()) else { continue };
            let (inode, size, modified) = (entry.inode, entry.size, entry.written);
            known.insert(below.to_owned(), Seen { inode, size, modified, sha256 });
        }
        let text = serde_json::to_vec(&known).unwrap_or_default();
        let new = self.own("uploads").join(format!("known-{}", self.number()));
        // Lost, it is made again.
        if self.disk.write_file(&new, &text).is_err()
            || self.disk.rename(&new, &self.own(KNOWN)).is_err()
        {
            let _ = self.disk.remove_file(&new);
        }
    }

    /// Whether the root is still the one that was opened, as far as that can be told.
    fn is_in_place(&self) -> bool {
        self.disk.stat(&self.settings.root.join(OWN)).is_ok_and(|stat| stat.is_folder)
    }

    /// Reads a model's folder again, as after somebody else has changed it.
    pub fn refresh(&self, key: &Key) -> Result<Arc<Entry>, Error> {
        let _project = self.lock(&key.project);
        let before = self.get(key)?;
        let looked = self.look(key, &before.folder());
        match looked.map_err(Error::disk("the model can't be read"))? {
            Some(entry) => self.index.put(Arc::new(entry)),
            None if self.is_in_place() => self.index.remove(key),
            // A disk that was unmounted has lost nothing (fault S17).
            None => {
                let gone = io::Error::from(io::ErrorKind::NotFound);
                return Err(Error::disk("the store's own folder is not there")(gone));
            }
        }
        self.recount();
        self.get(key)
    }
}

/// Whether nobody but us can have written to a file: nobody may, it is as long as it was, and has not
/// been written to since it came.
fn is_untouched(metadata: &Map<String, Value>, stat: &Stat) -> bool {
    let came = metadata.get("upload_timestamp").and_then(Value::as_str);
    let came = came.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let is_older = came.is_some_and(|came| stat.modified <= came.as_nanosecond() + SLACK);
    let size = metadata.get("size").and_then(Value::as_u64);
    !stat.is_writable && is_older && size == Some(stat.size)
}

fn is_forbidden(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn legible(name: &OsStr) -> Option<String> {
    let name = name.to_str()?;
    (!name.starts_with('.') && name != OWN).then(|| name.to_owned())
}
