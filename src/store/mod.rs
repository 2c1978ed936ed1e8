//! The model store: files by project, app, version and name, on the disk as systems before Berth
//! kept them, with everything that those did not promise.
//!
//! ```text
//! {root}/{project_id}/{app_name}/{version}/{model_name}/model + metadata.json
//! {root}/.store/blobs/sha256/ab/…   every content once; `model` is another name of the same file
//! {root}/.store/uploads/            what is on its way in, or out; emptied at the start
//! {root}/.store/trash/              what was deleted, until its time is over
//! {root}/.store/apps/               aliases, and versions that are frozen
//! {root}/.store/hub/                histories and tags of the same models as repositories
//! {root}/.store/reports/            what is inside contents; made again when it is lost
//! {root}/.store/downloads.json      how often versions were downloaded
//! {root}/.store/partial/            uploads that may go on after a break
//! {root}/.store/quarantine/         contents that have changed on the disk
//! ```
//!
//! # Guarantees
//! - What was acknowledged is there, whole and with the digest that was said, after a kill and
//!   after a loss of power. What was not is not there, or is there whole.
//! - A model and its `metadata.json` appear together, by one change of a folder's name.
//! - Who reads a model reads all of one content, whatever happens to its name meanwhile.
//! - A failure of the disk at any place leaves what was there, and nothing beside it.
//! - The disk's content alone is the truth; everything in memory can be made from it again.

mod apps;
mod bulletin;
mod compare;
mod content;
pub mod disk;
mod downloads;
mod entry;
mod error;
mod figures;
mod flusher;
mod hashing;
mod hub;
mod idle;
mod index;
mod ingest;
mod joined;
mod lent;
mod mend;
mod name;
mod partial;
mod policy;
mod publish;
mod quarantine;
mod reports;
mod resolve;
mod room;
mod scan;
mod scrub;
mod trash;
mod tried;
mod version;
mod view;
mod whole;

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use apps::AppRecord;
pub use bulletin::{Happening, What};
pub use content::{Content, SLICE, Way};
pub use entry::{About, Entry};
pub use error::Error;
pub use figures::Figures;
pub use hub::{
    Change, Commit, File, Files, FoundCommit, NewCommit, Ref, RepoFacts, Tree, XorbDraft,
    is_repo_name, name_of, ref_name, repo_path, shown,
};
pub use idle::lower_priority;
pub use index::{Page, Query};
pub use ingest::Upload;
pub use joined::PARTS_MAX;
pub use lent::{file_of, lend};
pub use name::{BadName, Key, NAME_MAX, PARTS, name, version_name};
pub use partial::{Append, Claim, Concat, Kept, Partial};
pub use policy::{Danger, Policy};
pub use publish::{Order, Require, Stored};
pub use quarantine::Rotten;
pub use reports::Inspected;
pub use resolve::Resolved;
pub use scrub::{Found, Pace, Progress};
pub use trash::{Swept, Trashed};
pub use tried::Tried;
pub use view::{View, below};

use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::inspect::Limits;
use crate::model::{Digest, Timestamp};
use disk::{Disk, Machine};

/// The folder with all that is not for people.
const OWN: &str = ".store";
/// The folders in it.
const PARTS_OF_OWN: [&str; 8] =
    ["blobs", "blobs/sha256", "uploads", "trash", "apps", "reports", "quarantine", partial::FOLDER];
/// How many locks there are; a project always has the same one.
const LOCKS: usize = 64;

/// Which versions may not be changed once they are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Immutable {
    /// Only those that are frozen.
    #[default]
    Off,
    /// All.
    Versions,
    /// Those that are named as releases are, such as `1.2.0`.
    Releases,
}

/// How the store behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its folder.
    pub root: PathBuf,
    /// How large one file may be.
    pub file_max: Option<u64>,
    /// How much all files of a project may have together.
    pub project_max: Option<u64>,
    /// How many models a project may have.
    pub project_models_max: Option<usize>,
    /// How many commits of a branch are kept with their contents, the newest among them.
    pub history: usize,
    /// How long those are kept that others have followed; none is for ever.
    pub history_age: Option<Duration>,
    /// How long what was deleted can be brought back.
    pub trash_ttl: Duration,
    /// How long contents are kept that no model has: somebody may be about to name them.
    pub grace: Duration,
    /// Which versions may not be changed.
    pub immutable: Immutable,
    /// The same for projects of which it is said otherwise.
    pub immutable_of: BTreeMap<String, Immutable>,
    /// How many uploads may be under way.
    pub uploads_max: usize,
    /// How long a part of a file is, for clients that send files in parts.
    pub part_size: u64,
    /// What is let in and out.
    pub policy: Policy,
    /// How much of a file is looked into.
    pub scan: Limits,
    /// How long that may take.
    pub scan_time: Duration,
    /// How long an upload that was broken off can be taken up again.
    pub upload_ttl: Duration,
    /// How many of these there may be.
    pub partial_max: usize,
}

impl Settings {
    /// The usual behaviour, in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            file_max: None,
            project_max: None,
            project_models_max: None,
            history: 100,
            history_age: None,
            trash_ttl: Duration::from_hours(24 * 7),
            grace: Duration::from_hours(1),
            immutable: Immutable::Off,
            immutable_of: BTreeMap::new(),
            uploads_max: 64,
            part_size: 256 << 20,
            policy: Policy::default(),
            scan: Limits::default(),
            scan_time: Limits::default().time,
            upload_ttl: Duration::from_hours(24),
            partial_max: 256,
        }
    }
}

/// The place of a store, which is opened when somebody first needs it.
#[derive(Debug)]
pub struct Depot {
    settings: Settings,
    disk: Arc<dyn Disk>,
    store: OnceLock<Arc<Store>>,
    opening: Mutex<()>,
    figures: Arc<Figures>,
    bulletin: bulletin::Bulletin,
}

impl Depot {
    /// A store in this machine's file system.
    pub fn new(settings: Settings) -> Self {
        Self::on(settings, Arc::new(Machine))
    }

    /// A store in another file system.
    pub fn on(settings: Settings, disk: Arc<dyn Disk>) -> Self {
        Self {
            settings,
            disk,
            store: OnceLock::new(),
            opening: Mutex::default(),
            figures: Arc::default(),
            bulletin: bulletin::Bulletin::default(),
        }
    }

    /// How it behaves.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it counts.
    pub fn figures(&self) -> &Arc<Figures> {
        &self.figures
    }

    /// What happens in it from now on.
    pub fn listen(&self) -> broadcast::Receiver<Happening> {
        self.bulletin.listen()
    }

    /// The store, if it is open already.
    pub fn opened(&self) -> Option<&Arc<Store>> {
        self.store.get()
    }

    /// The store. The first time, its folder is made and read; that may take a while.
    pub fn store(&self) -> Result<&Arc<Store>, Error> {
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let figures = Arc::clone(&self.figures);
        let mut store = Store::open(self.settings.clone(), Arc::clone(&self.disk), figures)?;
        store.bulletin = self.bulletin.clone();
        let store = self.store.get_or_init(|| Arc::new(store));
        reports::work(store);
        store.inspect_all();
        Ok(store)
    }
}

/// A store that is open.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    /// Its folder, as all models know it.
    root: Arc<Path>,
    disk: Arc<dyn Disk>,
    index: index::Index,
    apps: Mutex<BTreeMap<(String, String), AppRecord>>,
    /// The files of those that can't be read.
    lost_apps: Mutex<BTreeSet<String>>,
    /// Digests of files that are not ours, by what is seen of them.
    known: Mutex<scan::Known>,
    coming: whole::Coming,
    views: view::Views,
    downloads: downloads::Downloads,
    locks: [Mutex<()>; LOCKS],
    /// Held for reading while a blob is about to get another name, for writing while one goes.
    sweeping: RwLock<()>,
    next: AtomicU64,
    hub: hub::Hub,
    figures: Arc<Figures>,
    bulletin: bulletin::Bulletin,
    /// Models that nobody has looked into yet.
    waiting: Arc<reports::Waiting>,
    marks: Mutex<quarantine::Marks>,
    /// Contents that are read again before all others.
    soon: Mutex<BTreeSet<Digest>>,
    partials: Mutex<partial::Partials>,
    beginning: Mutex<()>,
    _held: Held,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.waiting.close();
        // What was counted since it was written down last.
        let _ = self.keep_downloads();
    }
}

/// What keeps other stores away from the root.
struct Held(#[expect(dead_code, reason = "it is held")] Box<dyn Any + Send + Sync>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl Store {
    /// Opens the store of a root: makes its folders, finishes what a kill left half done, and reads
    /// what is there.
    pub fn open(
        settings: Settings,
        disk: Arc<dyn Disk>,
        figures: Arc<Figures>,
    ) -> Result<Self, Error> {
        let own = settings.root.join(OWN);
        make_all(&*disk, &own).map_err(Error::disk("the folder of models can't be made"))?;
        for part in PARTS_OF_OWN {
            make(&*disk, &own.join(part)).map_err(Error::disk("the store can't be made"))?;
        }
        for folder in [own.join("blobs"), own.clone()] {
            disk.sync_dir(&folder).map_err(Error::disk("the store can't be made"))?;
        }
        let held = disk.hold(&own.join("lock"));
        let held = held.map_err(Error::disk("the store is in use by another Berth"))?;
        let mut store = Self {
            root: settings.root.as_path().into(),
            settings,
            disk,
            index: index::Index::default(),
            apps: Mutex::default(),
            lost_apps: Mutex::default(),
            known: Mutex::default(),
            coming: whole::Coming::default(),
            views: view::Views::default(),
            downloads: downloads::Downloads::default(),
            locks: std::array::from_fn(|_| Mutex::default()),
            sweeping: RwLock::default(),
            next: AtomicU64::new(1),
            hub: hub::Hub::default(),
            figures,
            bulletin: bulletin::Bulletin::default(),
            waiting: Arc::default(),
            marks: Mutex::default(),
            soon: Mutex::default(),
            partials: Mutex::default(),
            beginning: Mutex::default(),
            _held: Held(held),
        };
        hub::prepare(&store).map_err(Error::disk("the store can't be made"))?;
        store.recover()?;
        Ok(store)
    }

    /// How it behaves.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it counts.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// A model by its names.
    pub fn get(&self, key: &Key) -> Result<Arc<Entry>, Error> {
        self.index.get(key).ok_or_else(|| Error::not_found(key))
    }

    /// The models that are asked for.
    pub fn list(&self, query: &Query) -> Page {
        self.index.list(query)
    }

    fn tell(&self, what: What, at: Timestamp) {
        self.bulletin.tell(what, at);
    }

    /// The time, for what nobody says the time of.
    #[expect(clippy::unused_self, reason = "a store is in one time")]
    fn now(&self) -> Timestamp {
        Clock::System.now()
    }

    fn own(&self, part: &str) -> PathBuf {
        self.settings.root.join(OWN).join(part)
    }

    /// A number that was not given before since the start.
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Holds up other changes of the same project.
    fn lock(&self, project: &str) -> MutexGuard<'_, ()> {
        self.locks[lock_of(project)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds up other changes of two projects, which may be the same: always in one order, so that two
    /// that want both do not wait for each other.
    fn lock_both(&self, one: &str, other: &str) -> [Option<MutexGuard<'_, ()>>; 2] {
        let (one, other) = (lock_of(one), lock_of(other));
        let first = Some(one.min(other));
        let second = Some(one.max(other)).filter(|_| one != other);
        let hold = |at: usize| self.locks[at].lock().unwrap_or_else(PoisonError::into_inner);
        [first.map(hold), second.map(hold)]
    }

    fn apps(&self) -> MutexGuard<'_, BTreeMap<(String, String), AppRecord>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which of the locks is a project's.
fn lock_of(project: &str) -> usize {
    let add = |sum: usize, byte: u8| sum.wrapping_mul(31).wrapping_add(usize::from(byte));
    project.bytes().fold(0, add) % LOCKS
}

/// Makes a folder, if it is not there.
fn make(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Makes a folder and those above it.
fn make_all(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    if disk.stat(path).is_ok_and(|stat| stat.is_folder) {
        return Ok(());
    }
    match disk.create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(parent) = path.parent() else { return Err(error) };
            make_all(disk, parent)?;
            make(disk, path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // A link to a folder is as good.
            return disk.list(path).map(drop);
        }
        made => made?,
    }
    path.parent().map_or(Ok(()), |parent| disk.sync_dir(parent))
}
