//! Making a backup.

use std::{
    any::Any,
    collections::BTreeSet,
    io,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    About, Data, Entry, Error, Item, Name, Plan, Root, Roots, Snapshot, Vault, What,
    disk::{Disk, Sort},
    look::{Scope, survey},
    plan::{plan, stamp},
};
use crate::model::Timestamp;

/// How often a file is read again that changes while it is read.
const TRIES: u32 = 3;

/// What is to be kept.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where the folders are.
    pub roots: Roots,
    /// The apps whose data is kept.
    pub data: Data,
    /// The apps that are paused while their data is read.
    pub pause: BTreeSet<String>,
    /// Whether everything is read, also what did not change.
    pub is_thorough: bool,
    /// What the snapshot says beside its entries.
    pub about: About,
    /// Ends it before its time.
    pub stop: Stop,
}

/// Has a backup end before its time, from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on it ends as soon as it can.
    pub fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }
}

/// Who is told while a backup is made.
pub trait Watch {
    /// An app's data is about to be read, or was.
    fn pause(&mut self, _app: &str, _begins: bool) -> Result<(), Error> {
        Ok(())
    }
    /// So many bytes of a new object are in the folder of the archive.
    fn written(&mut self, _vault: &mut Vault, _bytes: u64) -> Result<(), Error> {
        Ok(())
    }
}

/// Nobody.
impl Watch for () {}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The snapshot.
    pub name: Name,
    /// How many files it has.
    pub files: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many objects are new.
    pub new_objects: u64,
    /// How many bytes these hold.
    pub new_bytes: u64,
    /// What is not in it, and why.
    pub left_out: Vec<String>,
    /// What somebody should look at.
    pub remarks: Vec<String>,
    /// Whether something that should be in it is not.
    pub is_incomplete: bool,
    /// Whether a file is in it that never was so: it was written while it was read.
    pub is_torn: bool,
}

/// What would be done.
pub fn look_ahead(vault: &Vault, order: &Order) -> Result<Plan, Error> {
    let before = before(vault, order);
    let none = BTreeSet::new();
    let found = survey(vault.disk.as_ref(), &scope(vault, order, (&none, false)))?;
    let is_known = |content: &_, size| !order.is_thorough && vault.has(content, size);
    Ok(plan(found, before.as_ref(), is_known))
}

/// The newest snapshot that can be read.
fn before(vault: &Vault, order: &Order) -> Option<Snapshot> {
    let names = vault.names().ok().filter(|_| !order.is_thorough)?;
    names.iter().rev().find_map(|name| vault.snapshot(name).ok())
}

fn scope<'a>(vault: &'a Vault, order: &'a Order, apps: (&'a BTreeSet<String>, bool)) -> Scope<'a> {
    Scope {
        roots: &order.roots,
        data: &order.data,
        is_sealed: vault.is_encrypted(),
        archive: &vault.root,
        apps,
    }
}

/// Makes a backup. What is in the archive stays as it is, whatever happens.
pub fn create(
    vault: &mut Vault,
    order: &Order,
    now: Timestamp,
    watch: &mut dyn Watch,
) -> Result<Made, Error> {
    vault.clear_drafts()?;
    vault.is_thorough = order.is_thorough;
    let before = before(vault, order);
    let mut snapshot = Snapshot::new(&vault.header().id, now, &order.about);
    let (new, is_incomplete, is_torn) = ((0, 0), false, false);
    let mut run = Run { order, watch, snapshot: &mut snapshot, new, is_incomplete, is_torn };
    let found = survey(vault.disk.as_ref(), &scope(vault, order, (&order.pause, false)))?;
    run.carry_out(vault, found, before.as_ref())?;
    for app in &order.pause {
        run.watch.pause(app, true)?;
        let done = run.paused(vault, app, before.as_ref());
        run.watch.pause(app, false)?;
        done?;
    }
    let (new, is_incomplete, is_torn) = (run.new, run.is_incomplete, run.is_torn);
    snapshot.incomplete = is_incomplete;
    snapshot.left_out.sort();
    snapshot.left_out.dedup();
    for root in snapshot.roots.clone().keys() {
        let place = order.roots.get(*root).map(|path| path.display().to_string());
        snapshot.roots.insert(*root, place.unwrap_or_default());
    }
    order.stop.check()?;
    let root = vault.root.clone();
    vault.sync().map_err(Error::disk("failed to write", &root))?;
    let (name, _) = vault.put_snapshot(&snapshot).map_err(Error::disk("failed to write", &root))?;
    let files = snapshot.entries.iter().filter_map(|entry| match &entry.what {
        What::File { size, .. } => Some(*size),
        _ => None,
    });
    let (files, bytes) = files.fold((0, 0), |(count, sum), size| (count + 1, sum + size));
    let Snapshot { left_out, remarks, .. } = snapshot;
    let (new_objects, new_bytes) = new;
    Ok(Made {
        name,
        files,
        bytes,
        new_objects,
        new_bytes,
        left_out,
        remarks,
        is_incomplete,
        is_torn,
    })
}

struct Run<'a> {
    order: &'a Order,
    watch: &'a mut dyn Watch,
    snapshot: &'a mut Snapshot,
    new: (u64, u64),
    is_incomplete: bool,
    is_torn: bool,
}

/// How a file was found.
enum Outcome {
    Kept(Entry, Option<String>),
    Gone,
    Unread(String),
}

impl Run<'_> {
    fn paused(
        &mut self,
        vault: &mut Vault,
        app: &str,
        before: Option<&Snapshot>,
    ) -> Result<(), Error> {
        let only = BTreeSet::from([app.to_owned()]);
        let workspaces = self.order.roots.0.get_key_value(&Root::Workspaces);
        let all = Roots(workspaces.into_iter().map(|(r, p)| (*r, p.clone())).collect());
        let found = {
            let scope = scope(vault, self.order, (&only, true));
            survey(vault.disk.as_ref(), &Scope { roots: &all, ..scope })?
        };
        self.carry_out(vault, found, before)
    }

    fn carry_out(
        &mut self,
        vault: &mut Vault,
        found: super::Survey,
        before: Option<&Snapshot>,
    ) -> Result<(), Error> {
        let is_known = |content: &_, size| !self.order.is_thorough && vault.has(content, size);
        let plan = plan(found, before, is_known);
        self.is_incomplete |= !plan.unread.is_empty();
        self.snapshot.left_out.extend(plan.left_out);
        self.snapshot.remarks.extend(plan.unread);
        self.snapshot.roots.extend(plan.roots.into_iter().map(|root| (root, String::new())));
        let mut gone = BTreeSet::new();
        let mut audit: Option<Box<dyn Any + Send + Sync>> = None;
        for item in plan.items {
            self.order.stop.check()?;
            let (entry, path, known) = match item {
                Item::Ready(entry) => match &entry.what {
                    // The name that was to be read is gone: this one is read in its place.
                    What::Same { of } if gone.contains(&(entry.root, of.clone())) => {
                        let name = super::path::unescape(&entry.path).unwrap_or_default();
                        (entry, PathBuf::from(std::ffi::OsString::from_vec(name)), None)
                    }
                    _ => {
                        self.snapshot.entries.push(entry);
                        continue;
                    }
                },
                Item::Read { entry, path, known, .. } => (entry, path, known),
            };
            // No record is written while the log is read: its files belong together.
            let is_audit = entry.root == Root::State && entry.path.starts_with("audit/");
            if is_audit && audit.is_none() {
                let lock = self.place(Root::State).join("audit/lock");
                // What can't be held, such as on a disk that is read only, is read all the same.
                audit = Some(vault.disk.hold(&lock, true).unwrap_or_else(|error| {
                    let why = format!("the audit log was read without its lock: {error}");
                    self.snapshot.remarks.push(why);
                    Box::new(())
                }));
            } else if !is_audit {
                audit = None;
            }
            let (root, name) = (entry.root, entry.path.clone());
            match self.read(vault, entry, &path, known)? {
                Outcome::Kept(entry, remark) => {
                    self.snapshot.entries.push(entry);
                    self.snapshot.remarks.extend(remark);
                }
                Outcome::Gone => drop(gone.insert((root, name))),
                Outcome::Unread(why) => {
                    self.is_incomplete = true;
                    self.snapshot.remarks.push(why);
                    gone.insert((root, name));
                }
            }
        }
        Ok(())
    }

    fn place(&self, root: Root) -> PathBuf {
        self.order.roots.get(root).map(Path::to_owned).unwrap_or_default()
    }

    /// Reads a file into the archive, until it did not change meanwhile.
    fn read(
        &mut self,
        vault: &mut Vault,
        mut entry: Entry,
        path: &Path,
        known: Option<crate::model::Digest>,
    ) -> Result<Outcome, Error> {
        let place = self.place(entry.root).join(path);
        let disk = Arc::clone(&vault.disk);
        let unwritable = |vault: &Vault| Error::disk("failed to write", &vault.root);
        let unread = |error: &io::Error| {
            Outcome::Unread(format!("{} could not be read: {error}", place.display()))
        };
        let is_there = known.as_ref().is_some_and(|known| vault.holds(known));
        if let Some(known) = &known
            && let Some(size) = vault.adopt(&place, known).map_err(unwritable(vault))?
        {
            if !is_there {
                self.note(vault, size)?;
            }
            entry.what = What::File { size, sha256: known.clone(), stamp: None };
            return Ok(Outcome::Kept(entry, None));
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let (seen, file) = match seen(disk.as_ref(), &place) {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(Outcome::Gone),
                Err(error) => return Ok(unread(&error)),
            };
            let mut file = Source { file, failure: None, stop: &self.order.stop };
            let put = vault.put(&mut file);
            self.order.stop.check()?;
            if let Some(error) = file.failure {
                return Ok(unread(&error));
            }
            let (sha256, size, is_new) = put.map_err(unwritable(vault))?;
            if is_new {
                self.note(vault, size)?;
            }
            let after = disk.stat(&place).ok();
            let is_steady = after.is_some_and(|after| {
                (after.size, after.modified, after.changed)
                    == (seen.size, seen.modified, seen.changed)
            });
            if !is_steady && tries < TRIES && after.is_some() {
                continue;
            }
            let remark = if known.is_some_and(|known| known != sha256) {
                Some(format!("{} is not what the model store keeps it as", place.display()))
            } else {
                let what = format!("{} changed while it was read", place.display());
                let is_torn = !is_steady && after.is_some();
                self.is_torn |= is_torn;
                is_torn.then_some(what)
            };
            entry.modified = super::format::modified(seen.modified);
            let stamp = is_steady.then(|| stamp(&seen));
            entry.what = What::File { size, sha256, stamp };
            return Ok(Outcome::Kept(entry, remark));
        }
    }

    fn note(&mut self, vault: &mut Vault, size: u64) -> Result<(), Error> {
        self.new = (self.new.0 + 1, self.new.1 + size);
        self.watch.written(vault, size)
    }
}

type Seen = (super::disk::Stat, Box<dyn io::Read + Send>);

/// A file as it is now; none when it is no file any more.
fn seen(disk: &dyn Disk, place: &Path) -> io::Result<Option<Seen>> {
    let found = disk.stat(place).and_then(|stat| {
        if stat.sort == Sort::File { Ok(Some((stat, disk.open(place)?))) } else { Ok(None) }
    });
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found,
    }
}

/// A file that remembers that it could not be read: that is another matter than an archive that
/// can't be written.
struct Source<'a> {
    file: Box<dyn io::Read + Send>,
    failure: Option<io::Error>,
    stop: &'a Stop,
}

impl io::Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stop.check().map_err(io::Error::other)?;
        self.file.read(into).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failure = Some(error);
            }
            kind.into()
        })
    }
}
