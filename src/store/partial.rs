//! Uploads that come in several requests, and go on after a break.
//!
//! ```text
//! {root}/.store/partial/{id}.part   what has come
//! {root}/.store/partial/{id}.json   what it is to become, and how much of it is on the disk
//! ```
//!
//! # Guarantees
//! - The offset that is told is what the disk holds: what came is made to last first, then the offset.
//! - A kill or a loss of power costs what came since the last [`KEEP`] bytes, never more than is told
//!   afterwards. What is there goes on from the offset that is told.
//! - One request at a time adds to an upload; a later one ends an earlier one.
//! - Once all has come, the file becomes a blob as it is: nothing is copied.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{
    Digest as _, Sha256,
    digest::common::hazmat::{SerializableState as _, SerializedState},
};
use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

use super::{
    Entry, Error, Order, Require, Store, Stored, disk::Temp, hashing::Hashing, name::Key,
    scan::is_absent,
};
use crate::model::{Digest, Timestamp};

/// After how many bytes what has come is made to last, while a request goes on.
const KEEP: u64 = 64 << 20;
/// The folder of these uploads.
pub(super) const FOLDER: &str = "partial";

/// What is known of an upload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// What it is to become.
    pub order: Order,
    /// How long it will be, once that is said.
    pub length: Option<u64>,
    /// How much is on the disk.
    pub offset: u64,
    /// Whether no more will come.
    pub is_whole: bool,
    /// What it became.
    pub done: Option<Digest>,
    /// When it is given up.
    pub expires: Timestamp,
    /// What its client said about it, as it said it.
    #[serde(default)]
    pub metadata: Option<String>,
    /// What it has to do with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concat: Option<Concat>,
    /// The hash of what is on the disk, half done.
    hash: String,
}

/// What an upload has to do with others (tus' concatenation).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Concat {
    /// It is a part of one, and no model by itself.
    Part,
    /// It was put together from parts, as its client said.
    Final(String),
}

/// An upload.
#[derive(Debug)]
pub struct Partial {
    /// What it is called.
    pub id: String,
    kept: Mutex<Kept>,
    lock: Arc<tokio::sync::Mutex<()>>,
    holder: Mutex<CancellationToken>,
}

/// The right to add to an upload, or to end it.
#[derive(Debug)]
pub struct Claim {
    _held: OwnedMutexGuard<()>,
    /// Somebody else wants it.
    pub wanted: CancellationToken,
}

/// All uploads, by what they are called.
pub(super) type Partials = BTreeMap<String, Arc<Partial>>;

impl Partial {
    fn new(id: String, kept: Kept) -> Arc<Self> {
        let (lock, holder) = (Arc::default(), Mutex::default());
        Arc::new(Self { id, kept: Mutex::new(kept), lock, holder })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it.
    pub fn kept(&self) -> Kept {
        self.lock().clone()
    }

    /// Ends the request that adds to it, and waits for that; none when it does not end in time.
    pub async fn claim(&self, patience: Duration) -> Option<Claim> {
        let wanted = CancellationToken::new();
        let before = {
            let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *holder, wanted.clone())
        };
        // Who waits before this one ends as soon as it has its turn.
        before.cancel();
        let waiting = Arc::clone(&self.lock).lock_owned();
        let held = tokio::time::timeout(patience, waiting).await.ok()?;
        Some(Claim { _held: held, wanted })
    }
}

/// What adds to an upload. Dropped, it leaves what was made to last.
pub struct Append {
    store: Arc<Store>,
    partial: Arc<Partial>,
    part: Box<dyn Temp>,
    hashing: Hashing,
    at: u64,
    kept: u64,
    /// All of it counts, or nothing.
    is_one: bool,
}

impl std::fmt::Debug for Append {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Append").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Append {
    /// Begins where the disk ends. With `is_one`, nothing is kept before [`Append::keep`] is called.
    pub fn begin(store: &Arc<Store>, partial: &Arc<Partial>, is_one: bool) -> Result<Self, Error> {
        let (at, hasher) = {
            let kept = partial.lock();
            (kept.offset, hasher(&kept.hash))
        };
        let part = store.disk.grow(&store.part(&partial.id), at);
        let part = part.map_err(Error::disk("the upload can't be gone on with"))?;
        let hasher = match hasher {
            Some(hasher) => hasher,
            None => rehash(&*part, at).map_err(Error::disk("the upload can't be read"))?,
        };
        let (store, partial) = (Arc::clone(store), Arc::clone(partial));
        let hashing = Hashing::of(hasher);
        Ok(Self { store, partial, part, hashing, at, kept: at, is_one })
    }

    /// Takes a block.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.take(&Bytes::copy_from_slice(bytes))
    }

    /// Takes a block. Of a large part, it is hashed by another thread while this one writes.
    pub fn take(&mut self, block: &Bytes) -> Result<(), Error> {
        let end = self.at + u64::try_from(block.len()).unwrap_or(u64::MAX);
        self.store.check_size(end)?;
        self.part.write(block).map_err(Error::disk("the content can't be written"))?;
        self.hashing.take(block).map_err(Error::disk("the content can't be hashed"))?;
        self.at = end;
        if !self.is_one && KEEP <= self.at - self.kept {
            self.keep()?;
        }
        Ok(())
    }

    /// How much has come in all.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Makes what has come last, then says so.
    pub fn keep(&mut self) -> Result<(), Error> {
        if self.at == self.kept {
            return Ok(());
        }
        self.part.keep().map_err(Error::disk("the content can't be kept"))?;
        let hasher = self.hashing.now().map_err(Error::disk("the content can't be hashed"))?;
        let hash = frozen(hasher);
        let at = self.at;
        self.store.change_partial(&self.partial, |kept| {
            kept.offset = at;
            kept.hash = hash;
        })?;
        self.kept = at;
        Ok(())
    }
}

/// A hash that is half done, as text.
fn frozen(hasher: &Sha256) -> String {
    let mut text = String::new();
    for byte in &hasher.serialize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn hasher(text: &str) -> Option<Sha256> {
    let mut state = SerializedState::<Sha256>::default();
    if text.len() != state.len() * 2 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in state.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Sha256::deserialize(&state).ok()
}

fn rehash(part: &dyn Temp, length: u64) -> io::Result<Sha256> {
    let (mut hasher, mut block, mut at) = (Sha256::new(), vec![0; 1 << 20], 0);
    while at < length {
        let most = usize::try_from(length - at).unwrap_or(usize::MAX).min(block.len());
        match part.read_at(at, &mut block[..most])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            got => {
                hasher.update(&block[..got]);
                at += u64::try_from(got).unwrap_or(u64::MAX);
            }
        }
    }
    Ok(hasher)
}

impl Store {
    fn partials(&self) -> MutexGuard<'_, Partials> {
        self.partials.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn part(&self, id: &str) -> PathBuf {
        self.own(FOLDER).join(format!("{id}.part"))
    }

    fn partial_file(&self, id: &str) -> PathBuf {
        self.own(FOLDER).join(format!("{id}.json"))
    }

    /// The uploads that may go on.
    pub fn all_partials(&self) -> Vec<Arc<Partial>> {
        self.partials().values().cloned().collect()
    }

    /// An upload; none when there is none, or its time is over.
    pub fn partial(&self, id: &str, now: Timestamp) -> Option<Arc<Partial>> {
        let found = self.partials().get(id).cloned()?;
        let is_late = found.lock().expires <= now;
        (!is_late).then_some(found)
    }

    /// Begins an upload that is called so. `length` is how long it will be, once that is known. One that
    /// has to do with others is put together with them, and is no model before.
    pub fn begin_partial(
        &self,
        (id, metadata): (&str, Option<String>),
        order: Order,
        length: Option<u64>,
        concat: Option<Concat>,
        now: Timestamp,
    ) -> Result<Arc<Partial>, Error> {
        self.check_begin(&order, length)?;
        let hash = frozen(&Sha256::new());
        let expires = now + self.settings.upload_ttl;
        let (offset, is_whole, done) = (0, false, None);
        let kept = Kept { order, length, offset, is_whole, done, expires, metadata, concat, hash };
        let failed = || Error::disk("the upload can't be begun");
        let part = self.part(id);
        drop(self.disk.grow(&part, 0).map_err(failed())?);
        if let Err(error) = self.write_partial(id, &kept) {
            let _ = self.disk.remove_file(&part);
            return Err(failed()(error));
        }
        Ok(self.add_partial(id, kept))
    }

    fn add_partial(&self, id: &str, kept: Kept) -> Arc<Partial> {
        let partial = Partial::new(id.to_owned(), kept);
        self.partials().insert(id.to_owned(), Arc::clone(&partial));
        self.count_partials();
        partial
    }

    /// Takes note of what was put together: whoever asks hears what became of it.
    pub(super) fn note_joined(
        &self,
        (id, metadata, said): (&str, Option<String>, String),
        order: &Order,
        (size, digest): (u64, Digest),
        now: Timestamp,
    ) -> Arc<Partial> {
        let kept = Kept {
            order: order.clone(),
            length: Some(size),
            offset: size,
            is_whole: true,
            done: Some(digest),
            expires: now + self.settings.upload_ttl,
            metadata,
            concat: Some(Concat::Final(said)),
            hash: String::new(),
        };
        // The model is there: lost, only who asks for the upload after a restart hears nothing.
        if let Err(error) = self.write_partial(id, &kept) {
            tracing::warn!(%error, "the end of an upload can't be noted");
        }
        self.add_partial(id, kept)
    }

    /// Whether an upload may begin now that will be so long.
    pub fn check_begin(&self, order: &Order, length: Option<u64>) -> Result<(), Error> {
        let key = &order.key;
        self.admit(key, &order.require, length)?;
        self.check_ending(key, &order.about)?;
        // Two that begin at once do not both take the last room.
        let _one = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, reserved) = self.reserved(&key.project, &[]);
        if self.settings.partial_max <= count {
            return Err(Error::Busy("as many uploads are open as may be; try later".to_owned()));
        }
        length.map_or(Ok(()), |length| self.check_room(key, length.saturating_add(reserved)))
    }

    /// How many uploads are open, and how much those of a project will need, but for these.
    pub(super) fn reserved(&self, project: &str, but: &[Arc<Partial>]) -> (usize, u64) {
        let (mut count, mut reserved) = (0, 0_u64);
        let all = self.all_partials().into_iter();
        for other in all.filter(|other| !but.iter().any(|it| it.id == other.id)) {
            let other = other.lock();
            if other.done.is_none() {
                count += 1;
                let is_same = other.order.key.project == project;
                let length = other.length.filter(|_| is_same).unwrap_or(0);
                reserved = reserved.saturating_add(length);
            }
        }
        (count, reserved)
    }

    /// Says how long an upload will be; with `is_whole`, that no more will come.
    pub fn settle_partial(
        &self,
        partial: &Partial,
        length: u64,
        is_whole: bool,
    ) -> Result<(), Error> {
        let kept = partial.kept();
        if kept.length == Some(length) && kept.is_whole == is_whole {
            return Ok(());
        }
        self.check_size(length)?;
        self.check_room(&kept.order.key, length)?;
        self.change_partial(partial, |kept| {
            kept.length = Some(length);
            kept.is_whole = is_whole;
        })
    }

    /// Makes a model of an upload that has come whole. What can't become one at all is given up;
    /// when only the disk fails, it can be tried again.
    pub fn complete_partial(
        self: &Arc<Self>,
        partial: &Arc<Partial>,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let kept = partial.kept();
        let mut append = Append::begin(self, partial, true)?;
        let hasher = append.hashing.now().map_err(Error::disk("the content can't be hashed"))?;
        let digest = Digest::of_hash(hasher.clone().finalize().into());
        let key = &kept.order.key;
        let is_announced = kept.order.expected.iter().all(|expected| *expected == digest);
        let is_this = |entry: &Arc<Entry>| {
            entry.sha256.as_ref() == Some(&digest) && entry.rotten.is_none() && is_announced
        };
        let is_bound =
            || kept.order.require != Require::Nothing || self.check_mutable(key, true).is_err();
        if let Some(entry) = self.index.get(key).filter(is_this).filter(|_| is_bound()) {
            // A kill came between this model and its note: because of it, it could not be stored now.
            let known = Stored { before: Some(Arc::clone(&entry)), entry, is_known: true };
            self.note_done(partial, digest);
            return Ok(known);
        }
        let stored = self.publish_part(append.part, (kept.offset, digest), &kept.order, now);
        match &stored {
            Ok(stored) => {
                if let Some(digest) = stored.entry.sha256.clone() {
                    self.note_done(partial, digest);
                }
            }
            Err(Error::Full(_) | Error::Disk { .. }) => {}
            Err(_) => self.remove_partial(partial),
        }
        self.count_partials();
        stored
    }

    fn note_done(&self, partial: &Partial, digest: Digest) {
        // Lost, it is found out again that it is there.
        match self.change_partial(partial, |kept| kept.done = Some(digest)) {
            Ok(()) => drop(self.disk.remove_file(&self.part(&partial.id))),
            Err(error) => tracing::warn!(%error, "the end of an upload can't be noted"),
        }
        self.count_partials();
    }

    /// Gives an upload up.
    pub fn remove_partial(&self, partial: &Partial) {
        self.partials().remove(&partial.id);
        // The part without what it is to become is removed at the start too.
        let _ = self.disk.remove_file(&self.partial_file(&partial.id));
        let _ = self.disk.remove_file(&self.part(&partial.id));
        let _ = self.disk.sync_dir(&self.own(FOLDER));
        self.count_partials();
    }

    /// Gives up what has not gone on for its time. How many that were.
    pub fn expire_partials(&self, now: Timestamp) -> usize {
        let mut count = 0;
        for partial in self.all_partials() {
            // What a request adds to is not late.
            let is_late = partial.lock().expires <= now;
            if let (true, Ok(_held)) = (is_late, partial.lock.try_lock()) {
                self.remove_partial(&partial);
                count += 1;
            }
        }
        count
    }

    fn change_partial(
        &self,
        partial: &Partial,
        change: impl FnOnce(&mut Kept),
    ) -> Result<(), Error> {
        // Whoever changes it has claimed it; nobody who only looks waits for the disk.
        let mut new = partial.kept();
        change(&mut new);
        // Whoever goes on has its time again.
        new.expires = new.expires.max(self.now() + self.settings.upload_ttl);
        let written = self.write_partial(&partial.id, &new);
        written.map_err(Error::disk("the upload can't be kept"))?;
        *partial.lock() = new;
        Ok(())
    }

    fn write_partial(&self, id: &str, kept: &Kept) -> io::Result<()> {
        let folder = self.own(FOLDER);
        let new = folder.join(format!("new-{}", self.number()));
        let written = self.disk.write_file(&new, &serde_json::to_vec(kept)?);
        if let Err(error) = written.and_then(|()| self.disk.rename(&new, &self.partial_file(id))) {
            let _ = self.disk.remove_file(&new);
            return Err(error);
        }
        self.disk.sync_dir(&folder)
    }

    /// Reads what was under way when the last Berth ended.
    pub(super) fn load_partials(&self) -> io::Result<()> {
        let folder = self.own(FOLDER);
        let mut found = Partials::new();
        let names = self.disk.list(&folder)?;
        for name in &names {
            let text = name.to_string_lossy();
            let Some(id) = text.strip_suffix(".json") else { continue };
            let kept = self.disk.read(&folder.join(name))?;
            let Ok(mut kept) = serde_json::from_slice::<Kept>(&kept) else { continue };
            let size = self.disk.stat(&self.part(id)).map(|stat| stat.size);
            match size {
                // It is as long as was said, or longer: what is beyond was not said.
                Ok(size) if kept.offset <= size => {}
                _ if kept.done.is_some() => {}
                Ok(size) => {
                    // The disk has lost what it said it had.
                    kept.offset = size;
                    kept.is_whole = false;
                    kept.hash.clear();
                }
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(error),
            }
            found.insert(id.to_owned(), Partial::new(id.to_owned(), kept));
        }
        for name in names {
            let text = name.to_string_lossy();
            let id = text.strip_suffix(".json").or_else(|| text.strip_suffix(".part"));
            let is_needed = id
                .and_then(|id| found.get(id))
                .is_some_and(|partial| !text.ends_with(".part") || partial.lock().done.is_none());
            if !is_needed {
                let _ = self.disk.remove_file(&folder.join(&name));
            }
        }
        *self.partials() = found;
        self.count_partials();
        Ok(())
    }

    fn count_partials(&self) {
        let open = self.partials().values().filter(|partial| partial.lock().done.is_none()).count();
        let open = u64::try_from(open).unwrap_or(u64::MAX);
        self.figures.partials.store(open, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Kept {
    /// What it is to be called.
    pub fn key(&self) -> &Key {
        &self.order.key
    }

    /// Whether it is a part of another upload.
    pub fn is_part(&self) -> bool {
        self.concat == Some(Concat::Part)
    }

    /// Whether all has come, and it is no model yet, but is to be one.
    pub fn is_complete(&self) -> bool {
        let is_open = self.done.is_none() && !self.is_part();
        is_open && self.is_whole && self.length == Some(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_goes_on_where_it_was_left() {
        let mut first = Sha256::new();
        first.update([7; 1000]);
        let text = frozen(&first);
        let mut second = hasher(&text).unwrap();
        for hasher in [&mut first, &mut second] {
            hasher.update([8; 77]);
        }
        assert_eq!(first.finalize(), second.finalize());
        for bad in ["", "00", &text[1..], &text.replace(&text[..2], "zz")] {
            assert!(hasher(bad).is_none(), "{bad}");
        }
    }
}
