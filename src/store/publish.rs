//! From a content that is whole to a model that is there: one change of a folder's name.
//!
//! 1. The content is made to last, and gets its name among the blobs; or a blob that is the same is
//!    taken instead.
//! 2. A folder is made out of sight, with `model` as another name of the blob and `metadata.json`,
//!    and made to last.
//! 3. It takes the place of the model's folder, which goes the other way, in one go.
//! 4. The folder above is made to last. Only then it is acknowledged.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{
    Error, Figures, Immutable, Store, Upload,
    disk::Temp,
    entry::{About, Entry, metadata},
    make,
    name::Key,
    tried::check_md5,
    version,
};
use crate::model::{Digest, Timestamp};

/// What must hold of what is there, for an upload or a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Require {
    /// Nothing.
    #[default]
    Nothing,
    /// There is none (`If-None-Match: *`).
    Absent,
    /// There is one (`If-Match: *`).
    Present,
    /// It has one of these validators (`If-Match`).
    Is(Vec<String>),
    /// It has none of these (`If-None-Match`).
    IsNot(Vec<String>),
}

/// What an upload is to become.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Under which names.
    pub key: Key,
    /// What is said about it.
    pub about: About,
    /// The digests that the content must have.
    pub expected: Vec<Digest>,
    /// The MD5 that it must have, where somebody says one.
    #[serde(default)]
    pub md5: Option<[u8; 16]>,
    /// What must hold of what is there.
    pub require: Require,
}

impl Order {
    /// An upload without conditions.
    pub fn new(key: Key) -> Self {
        let (about, expected, require) = (About::default(), Vec::new(), Require::Nothing);
        Self { key, about, expected, md5: None, require }
    }
}

/// What became of an upload.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The model.
    pub entry: Arc<Entry>,
    /// What was there before.
    pub before: Option<Arc<Entry>>,
    /// Whether its content was in the store already.
    pub is_known: bool,
}

/// A folder out of sight, with all that a model's folder has.
struct Staged {
    folder: PathBuf,
    blob: PathBuf,
    is_new_blob: bool,
    /// A blob that can't be trusted, and can't be moved away either.
    distrusted: Option<(u64, u64)>,
}

impl Upload {
    /// Makes a model of it.
    pub fn finish(self, order: &Order, now: Timestamp) -> Result<Stored, Error> {
        let store = Arc::clone(&self.store);
        check_md5(self.md5.clone(), order)?;
        let (temp, size, digest) = self.close()?;
        store.publish_part(temp, (size, digest), order, now)
    }
}

impl Store {
    /// Makes a model of a content that is whole.
    pub(super) fn publish_part(
        &self,
        mut temp: Box<dyn Temp>,
        (size, digest): (u64, Digest),
        order: &Order,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        order.check_digest(&digest)?;
        temp.sync().map_err(Error::disk("the content can't be kept"))?;
        let stored = self.publish(&mut *temp, (size, digest), order, now)?;
        let figures = self.figures();
        Figures::add(&figures.received, size);
        Figures::add(&figures.uploads, 1);
        if stored.is_known {
            Figures::add(&figures.saved, size);
        }
        Ok(stored)
    }

    /// Whether an upload of this key, with so many bytes, would be taken now. It may be decided
    /// otherwise when it has come.
    pub fn admit(&self, key: &Key, require: &Require, size: Option<u64>) -> Result<(), Error> {
        if let Some(size) = size {
            self.check_size(size)?;
        }
        let before = self.index.get(key);
        require.check(before.as_deref())?;
        self.check_mutable(key, before.is_some())?;
        self.check_name(key)?;
        self.check_room(key, size.unwrap_or(0))
    }

    fn publish(
        &self,
        temp: &mut dyn Temp,
        (size, digest): (u64, Digest),
        order: &Order,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let key = &order.key;
        self.vet(temp, (size, &digest), order, true)?;
        let document = metadata(key, &order.about, (size, &digest), now);
        let text = serde_json::to_vec_pretty(&document).unwrap_or_default();
        let failed = Error::disk("the model can't be stored");
        let distrusted = self.distrusted(temp, &digest);
        let staged = self.stage(temp, (size, &digest), distrusted, &text);
        let staged = staged.map_err(failed)?;
        let published = {
            let _project = self.lock(&key.project);
            self.settle(&key.project, &key.app).and_then(|()| self.place(&staged, order, size))
        };
        // Afterwards, what was there before is out of sight, or all of what did not come to be.
        self.discard(&staged.folder);
        let (entry, before) = match published {
            Ok(done) => done,
            Err(error) => {
                if staged.is_new_blob {
                    self.sweep_blob(&staged.blob);
                }
                return Err(error);
            }
        };
        if staged.is_new_blob && self.was_rotten(&digest) {
            self.mend_views();
        }
        self.published(&entry, before.is_none(), now);
        Ok(Stored { entry, before, is_known: !staged.is_new_blob })
    }

    /// Makes the folder out of sight.
    fn stage(
        &self,
        temp: &mut dyn Temp,
        (size, digest): (u64, &Digest),
        distrusted: Option<(u64, u64)>,
        metadata: &[u8],
    ) -> io::Result<Staged> {
        let blob = self.blob(digest);
        let folder = self.own("uploads").join(format!("new-{}", self.number()));
        let mut staged = Staged { folder, blob, is_new_blob: false, distrusted };
        let made = {
            let _no_sweep = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
            self.fill(temp, &mut staged, size, metadata)
        };
        if made.is_err() {
            self.discard(&staged.folder);
            if !staged.is_new_blob || !self.sweep_blob(&staged.blob) {
                // A folder for it may have been made; one with others in it stays.
                let _ = staged.blob.parent().map(|parent| self.disk.remove_dir(parent));
            }
        }
        made.map(|()| staged)
    }

    fn fill(
        &self,
        temp: &mut dyn Temp,
        staged: &mut Staged,
        size: u64,
        metadata: &[u8],
    ) -> io::Result<()> {
        let disk = &*self.disk;
        let Staged { folder, blob, is_new_blob, distrusted } = staged;
        if let Some(parent) = blob.parent() {
            make(disk, parent)?;
        }
        match temp.link(blob) {
            Ok(()) => *is_new_blob = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        disk.create_dir(folder)?;
        let model = folder.join("model");
        let is_good =
            |stat: super::disk::Stat| stat.size == size && Some(stat.inode) != *distrusted;
        let is_same = *is_new_blob || disk.stat(blob).is_ok_and(is_good);
        let linked = if is_same { disk.link(blob, &model) } else { Err(Errno::MLINK.into()) };
        match linked {
            // A blob that is not what it should be, or has as many names as it can: one's own copy.
            Err(error) if error.raw_os_error() == Some(Errno::MLINK.raw_os_error()) => {
                temp.link(&model)?;
            }
            linked => linked?,
        }
        disk.write_file(&folder.join("metadata.json"), metadata)?;
        disk.sync_dir(folder)
    }

    /// Puts the folder in its place, and says what is there now, and what was.
    fn place(
        &self,
        staged: &Staged,
        order: &Order,
        size: u64,
    ) -> Result<(Arc<Entry>, Option<Arc<Entry>>), Error> {
        let key = &order.key;
        let before = self.placeable(order, size)?;
        let failed = |error| Error::disk("the model can't be stored")(error);
        let target = match &before {
            Some(before) => before.folder(),
            None => self.settings.root.join(key.folder()),
        };
        let above = target.parent().map(Path::to_owned).unwrap_or_default();
        let placed =
            self.make_parents(key, &above).and_then(|()| self.swap(staged, &target, &above));
        if let Err(error) = placed {
            self.prune(&above);
            return Err(failed(error));
        }
        let entry =
            self.look(key, &target).map_err(failed)?.ok_or_else(|| Error::not_found(key))?;
        let entry = Arc::new(entry);
        self.index.put(Arc::clone(&entry));
        self.recount();
        Ok((entry, before))
    }

    /// Makes the folders above a model's, each made to last.
    pub(super) fn make_parents(&self, key: &Key, above: &Path) -> io::Result<()> {
        if self.disk.stat(above).is_ok_and(|stat| stat.is_folder) {
            return Ok(());
        }
        let mut folder = self.settings.root.clone();
        for name in [&key.project, &key.app, &key.version] {
            let parent = folder.clone();
            folder.push(name);
            match self.disk.create_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            self.disk.sync_dir(&parent)?;
        }
        Ok(())
    }

    fn swap(&self, staged: &Staged, target: &Path, above: &Path) -> io::Result<()> {
        let disk = &*self.disk;
        if disk.stat(target).is_err() {
            disk.rename(&staged.folder, target)?;
            return disk.sync_dir(above).inspect_err(|_| {
                let _ = disk.rename(target, &staged.folder);
                let _ = disk.sync_dir(above);
            });
        }
        match disk.exchange(&staged.folder, target) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            done => {
                done?;
                return disk.sync_dir(above).inspect_err(|_| {
                    let _ = disk.exchange(&staged.folder, target);
                    let _ = disk.sync_dir(above);
                });
            }
        }
        self.swap_in_steps(staged, target, above)
    }

    /// Without an exchange. After a kill before the old one is where it should be, or the new one,
    /// the old one is put back at the start. Once it is acknowledged, none is left to put back: one
    /// whose removal was not on the disk yet could come back in place of what came later.
    fn swap_in_steps(&self, staged: &Staged, target: &Path, above: &Path) -> io::Result<()> {
        let disk = &*self.disk;
        let uploads = self.own("uploads");
        let number = self.number();
        let old = uploads.join(format!("old-{number}"));
        let gone = uploads.join(format!("gone-{number}"));
        disk.rename(target, &old)?;
        let placed = disk
            .sync_dir(&uploads)
            .and_then(|()| disk.rename(&staged.folder, target))
            .and_then(|()| disk.sync_dir(above))
            .and_then(|()| disk.rename(&old, &gone))
            .and_then(|()| disk.sync_dir(&uploads));
        if let Err(error) = placed {
            let _ = disk.rename(&gone, &old);
            let _ = disk.rename(target, &staged.folder);
            let _ = disk.rename(&old, target);
            let _ = disk.sync_dir(above);
            return Err(error);
        }
        self.discard(&gone);
        Ok(())
    }

    /// Whether a model may be put there, or changed.
    pub(super) fn check_mutable(&self, key: &Key, is_there: bool) -> Result<(), Error> {
        self.check_app(&key.project, &key.app)?;
        let of_project = self.settings.immutable_of.get(&key.project).copied();
        let is_policy = match of_project.unwrap_or(self.settings.immutable) {
            Immutable::Off => false,
            Immutable::Versions => is_there,
            Immutable::Releases => is_there && version::is_release(&key.version),
        };
        if is_policy || self.is_frozen(key) { Err(Error::Immutable) } else { Ok(()) }
    }

    /// Where the blob of a digest is.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let (first, rest) = digest.as_str().split_at(2);
        self.own("blobs/sha256").join(first).join(rest)
    }
}

impl Require {
    /// Whether it holds.
    pub(super) fn check(&self, there: Option<&Entry>) -> Result<(), Error> {
        let etag = there.map(Entry::etag);
        let has = |tags: &[String]| etag.as_ref().is_some_and(|etag| tags.contains(etag));
        let holds = match self {
            Self::Nothing => true,
            Self::Absent => etag.is_none(),
            Self::Present => etag.is_some(),
            Self::Is(tags) => has(tags),
            Self::IsNot(tags) => !has(tags),
        };
        if holds {
            return Ok(());
        }
        Err(Error::Precondition(match etag {
            Some(etag) => format!("the model is there already, as {etag}"),
            None => "the model is not there".to_owned(),
        }))
    }
}
