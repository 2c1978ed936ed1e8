//! What is inside models: looked at once for each content, kept by its digest, and found out again
//! when it is lost or when the scanner has changed.
//!
//! A scan reads at most so much and takes at most so long ([`Limits`]); one runs at a time, on a
//! thread of low priority. Where dangerous files are blocked, a content is looked into before it
//! gets a name; elsewhere afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
};

use serde::{Deserialize, Serialize};

use super::{
    Error, Figures, Store,
    bulletin::What,
    disk::Temp,
    entry::{About, Entry},
    name::Key,
    name_of,
    policy::Danger,
    publish::Order,
};
use crate::inspect::{self, Format, Limits, Report, Safety, Source};
use crate::model::{Digest, Timestamp};

/// What is known of a content, in two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// What kind of file it is.
    pub format: Format,
    /// Whether loading it runs code.
    pub safety: Safety,
}

/// What is kept of a content: a report for each hint that a name gave.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    scanner: u32,
    by: BTreeMap<String, Report>,
}

/// What waits for being looked into.
#[derive(Debug, Default)]
struct Queue {
    /// Models, with whether they were stored just now.
    keys: BTreeMap<Key, bool>,
    /// Contents that only a history has, with what their names hint at.
    contents: BTreeSet<(Digest, &'static str)>,
    /// No more will come.
    is_closed: bool,
}

enum Job {
    Model(Key, bool),
    Content(Digest, &'static str),
}

/// The models that wait for being looked into.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, key: Key, is_new: bool) {
        *self.lock().keys.entry(key).or_default() |= is_new;
        self.changed.notify_all();
    }

    fn add_content(&self, digest: Digest, hint: &'static str) {
        self.lock().contents.insert((digest, hint));
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    pub(super) fn count(&self) -> usize {
        let queue = self.lock();
        queue.keys.len() + queue.contents.len()
    }

    /// The next one; it waits for it. None when no more will come.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.is_closed {
                return None;
            }
            // Somebody waits for these.
            if let Some((digest, hint)) = queue.contents.pop_first() {
                return Some(Job::Content(digest, hint));
            }
            if let Some((key, is_new)) = queue.keys.pop_first() {
                return Some(Job::Model(key, is_new));
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Looks into models until the store is gone.
pub(super) fn work(store: &Arc<Store>) {
    let (waiting, store) = (Arc::clone(&store.waiting), Arc::downgrade(store));
    let looking = move || look(&waiting, &store);
    if let Err(error) = std::thread::Builder::new().name("inspection".to_owned()).spawn(looking) {
        tracing::error!(%error, "models are not looked into");
    }
}

fn look(waiting: &Waiting, store: &Weak<Store>) {
    super::idle::lower_priority();
    while let Some(job) = waiting.next() {
        let Some(store) = store.upgrade() else { return };
        let (what, done) = match job {
            Job::Model(key, is_new) => (key.to_string(), store.inspect(&key, is_new).map(drop)),
            Job::Content(digest, hint) => {
                (digest.to_string(), store.inspect_content(&digest, hint).map(drop))
            }
        };
        match done {
            Ok(()) | Err(Error::NotFound(_)) => {}
            Err(error) => {
                Figures::add(&store.figures.scan_failures, 1);
                tracing::warn!(what, %error, "a model could not be looked into");
            }
        }
    }
}

/// What of a model's names the scanner looks at: the name that loaders see wins.
fn hint(key: &Key, file: Option<&str>) -> &'static str {
    match inspect::hint(&key.model) {
        "" => inspect::hint(file.unwrap_or_default()),
        hint => hint,
    }
}

pub(super) fn hint_of(entry: &Entry) -> &'static str {
    hint(&entry.key, entry.filename())
}

/// A content that has no name yet.
struct Draft<'a> {
    temp: &'a dyn Temp,
    size: u64,
}

impl Source for Draft<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.temp.read_at(offset, into)
    }
}

impl Store {
    /// How many models wait for being looked into.
    pub fn uninspected(&self) -> usize {
        self.waiting.count()
    }

    /// Has all models looked into that nobody has looked into yet.
    pub fn inspect_all(&self) {
        for entry in self.index.all() {
            if entry.inspected.is_none() && entry.sha256.is_some() && entry.rotten.is_none() {
                self.waiting.add(entry.key.clone(), false);
            }
        }
    }

    /// What is done once a model is in its place: it is told, and looked into.
    pub fn published(&self, entry: &Entry, is_new: bool, now: Timestamp) {
        if let Some(sha256) = &entry.sha256 {
            let (key, sha256) = (entry.key.clone(), sha256.clone());
            self.tell(What::Stored { key, sha256, size: entry.size, is_new }, now);
        }
        match (entry.inspected, entry.sha256.clone()) {
            (Some(Inspected { safety, .. }), Some(sha256)) => {
                let key = entry.key.clone();
                self.tell(What::Scanned { key, sha256, safety, is_new: true }, now);
            }
            _ => self.waiting.add(entry.key.clone(), true),
        }
    }

    /// Whether a content may become this model; where dangerous ones may not, it is looked into
    /// for that, and what was found is kept unless it is only tried.
    pub(super) fn vet(
        &self,
        temp: &dyn Temp,
        (size, digest): (u64, &Digest),
        order: &Order,
        is_kept: bool,
    ) -> Result<(), Error> {
        let Order { key, about, .. } = order;
        self.check_ending(key, about)?;
        if self.settings.policy.of(&key.project) != Danger::Block {
            return Ok(());
        }
        let About { original_filename, .. } = about;
        let hint = hint(key, original_filename.as_deref());
        let inspected = match self.inspected(digest, hint) {
            Some(inspected) => inspected,
            None if is_kept => self.look_into(digest, hint, &Draft { temp, size })?,
            None => self.look_at(hint, &Draft { temp, size })?.1,
        };
        self.check_content(key, inspected)
    }

    /// The same of a content that lies in the store already.
    pub(super) fn vet_kept(&self, key: &Key, path: &str, digest: &Digest) -> Result<(), Error> {
        let about = About { original_filename: Some(path.to_owned()), ..About::default() };
        self.check_ending(key, &about)?;
        let is_absent = self.disk.stat(&self.blob(digest)).is_err();
        if is_absent && self.quarantined().iter().any(|rotten| rotten.sha256 == *digest) {
            let why = "has changed on the disk, and is in quarantine: upload it again";
            return Err(Error::Rotten(format!("the content of `{path}` {why}")));
        }
        if self.settings.policy.of(&key.project) != Danger::Block {
            return Ok(());
        }
        let inspected = self.inspect_content(digest, hint(key, Some(path)))?;
        self.check_content(key, inspected)
    }

    /// Looks into a content that lies in the store, if nobody has.
    fn inspect_content(&self, digest: &Digest, hint: &str) -> Result<Inspected, Error> {
        if let Some(inspected) = self.inspected(digest, hint) {
            return Ok(inspected);
        }
        let file = self.disk.open(&self.blob(digest));
        let file = file.map_err(Error::disk("the content can't be read"))?;
        self.look_into(digest, hint, &file)
    }

    /// Has a content looked into that no model has, where nobody gets it before that: those of models
    /// have their turn anyway.
    pub(super) fn inspect_soon(&self, entry: &Entry) {
        let is_blocked = self.settings.policy.of(&entry.key.project) == Danger::Block;
        if let Some(digest) = entry.sha256.clone().filter(|_| is_blocked) {
            self.waiting.add_content(digest, hint_of(entry));
        }
    }

    /// Looks into a model, if nobody has; `is_new` says that it was stored just now.
    pub fn inspect(&self, key: &Key, is_new: bool) -> Result<Inspected, Error> {
        let entry = self.get(key)?;
        if let Some(inspected) = entry.inspected {
            return Ok(inspected);
        }
        let digest = match &entry.sha256 {
            Some(digest) => digest.clone(),
            None => self.hash(key, || true)?,
        };
        let hint = hint_of(&entry);
        let inspected = if let Some(inspected) = self.inspected(&digest, hint) {
            inspected
        } else {
            let file = self.disk.open(&entry.file());
            let file = file.map_err(Error::disk("the model can't be read"))?;
            self.look_into(&digest, hint, &file)?
        };
        let is_marked = self.change_entry(key, |entry| {
            let is_same = entry.sha256.as_ref() == Some(&digest);
            entry.inspected = entry.inspected.or(is_same.then_some(inspected));
            is_same
        });
        if is_marked {
            let (key, safety) = (key.clone(), inspected.safety);
            self.tell(What::Scanned { key, sha256: digest, safety, is_new }, self.now());
        }
        Ok(inspected)
    }

    /// Puts a changed entry in the place of one. Whether it was changed.
    pub(super) fn change_entry(&self, key: &Key, change: impl FnOnce(&mut Entry) -> bool) -> bool {
        let _project = self.lock(&key.project);
        let Some(entry) = self.index.get(key) else { return false };
        let mut entry = Entry::clone(&entry);
        if !change(&mut entry) {
            return false;
        }
        self.index.put(Arc::new(entry));
        // Who mounts it may do so now, or must know.
        self.figures.changes.send_modify(|count| *count += 1);
        true
    }

    /// What is known of a content.
    pub(super) fn inspected(&self, digest: &Digest, hint: &str) -> Option<Inspected> {
        let report = self.kept(digest)?.by.remove(hint)?;
        Some(Inspected { format: report.format, safety: report.safety })
    }

    /// All that is known of what is inside a model.
    pub fn report(&self, entry: &Entry) -> Option<Report> {
        self.kept(entry.sha256.as_ref()?)?.by.remove(hint_of(entry))
    }

    /// The same of a file of a repository.
    pub fn report_of(&self, path: &str, digest: &Digest) -> Option<Report> {
        let hint = match inspect::hint(&name_of(path)) {
            "" => inspect::hint(path),
            hint => hint,
        };
        self.kept(digest)?.by.remove(hint)
    }

    fn kept(&self, digest: &Digest) -> Option<Kept> {
        let bytes = self.disk.read(&self.report_file(digest)).ok()?;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        (kept.scanner == inspect::VERSION).then_some(kept)
    }

    fn report_file(&self, digest: &Digest) -> PathBuf {
        self.own("reports").join(format!("{digest}.json"))
    }

    fn look_into(
        &self,
        digest: &Digest,
        hint: &str,
        source: &dyn Source,
    ) -> Result<Inspected, Error> {
        let (report, inspected) = self.look_at(hint, source)?;
        self.keep_report(digest, hint, report);
        Ok(inspected)
    }

    fn look_at(&self, hint: &str, source: &dyn Source) -> Result<(Report, Inspected), Error> {
        let limits = Limits { time: self.settings.scan_time, ..self.settings.scan };
        let looked = catch_unwind(AssertUnwindSafe(|| inspect::inspect(hint, source, &limits)));
        let report = match looked {
            Ok(report) => report.map_err(Error::disk("the content can't be read"))?,
            // What the scanner can't bear is nothing that is known to be harmless.
            Err(_) => Report::unreadable("the scanner failed"),
        };
        let inspected = Inspected { format: report.format, safety: report.safety };
        Figures::add(self.figures.scans(report.safety), 1);
        Ok((report, inspected))
    }

    /// Keeps a report. Lost, it is made again.
    fn keep_report(&self, digest: &Digest, hint: &str, report: Report) {
        let mut kept = self.kept(digest).unwrap_or_default();
        kept.scanner = inspect::VERSION;
        kept.by.insert(hint.to_owned(), report);
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        let new = self.own("reports").join(format!("new-{}", self.number()));
        let written = self.disk.write_file(&new, &text);
        if let Err(error) = written.and_then(|()| self.disk.rename(&new, &self.report_file(digest)))
        {
            let _ = self.disk.remove_file(&new);
            tracing::warn!(%digest, %error, "what is inside a model can't be kept");
        }
    }

    /// Removes reports about contents that are not there any more, and what a kill left.
    pub(super) fn sweep_reports(&self) -> io::Result<()> {
        let reports = self.own("reports");
        for name in self.disk.list(&reports)? {
            let text = name.to_string_lossy();
            let digest = text.strip_suffix(".json").and_then(Digest::parse);
            let is_needed = digest.is_some_and(|digest| {
                self.disk.stat(&self.blob(&digest)).is_ok() || self.index.has_content(&digest)
            });
            if !is_needed {
                let _ = self.disk.remove_file(&reports.join(&name));
            }
        }
        Ok(())
    }
}
