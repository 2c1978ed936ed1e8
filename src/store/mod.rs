//! The model store: files by project, app, version and name, on the disk as systems before Berth
//! kept them, with everything that those did not promise.
//!
//! ```text
//! {root}/{project_id}/{app_name}/{version}/{model_name}/model + metadata.json
//! {root}/.store/blobs/sha256/ab/…   every content once; `model` is another name of the same file
//! {root}/.store/uploads/            what is on its way in, or out; emptied at the start
//! {root}/.store/trash/              what was deleted, until its time is over
//! {root}/.store/apps/               aliases, and versions that are frozen
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
mod content;
pub mod disk;
mod entry;
mod error;
mod figures;
mod index;
mod ingest;
mod name;
mod publish;
mod resolve;
mod scan;
mod trash;
mod version;

use std::{
    any::Any,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use apps::AppRecord;
pub use content::{Content, SLICE, Way};
pub use entry::{About, Entry};
pub use error::Error;
pub use figures::Figures;
pub use index::{Page, Query};
pub use ingest::Upload;
pub use name::{BadName, Key, NAME_MAX, PARTS, name, version_name};
pub use publish::{Order, Require, Stored};
pub use resolve::Resolved;
pub use trash::{Swept, Trashed};

use disk::{Disk, Machine};

/// The folder with all that is not for people.
const OWN: &str = ".store";
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its folder.
    pub root: PathBuf,
    /// How large one file may be.
    pub file_max: Option<u64>,
    /// How much all files of a project may have together.
    pub project_max: Option<u64>,
    /// How long what was deleted can be brought back.
    pub trash_ttl: Duration,
    /// Which versions may not be changed.
    pub immutable: Immutable,
    /// How many uploads may be under way.
    pub uploads_max: usize,
}

impl Settings {
    /// The usual behaviour, in this folder.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            file_max: None,
            project_max: None,
            trash_ttl: Duration::from_hours(24 * 7),
            immutable: Immutable::Off,
            uploads_max: 64,
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
        let store = Store::open(self.settings.clone(), Arc::clone(&self.disk), figures)?;
        Ok(self.store.get_or_init(|| Arc::new(store)))
    }
}

/// A store that is open.
#[derive(Debug)]
pub struct Store {
    settings: Settings,
    disk: Arc<dyn Disk>,
    index: index::Index,
    apps: Mutex<BTreeMap<(String, String), AppRecord>>,
    /// Digests of files that are not ours, by what is seen of them.
    known: Mutex<scan::Known>,
    locks: [Mutex<()>; LOCKS],
    /// Held for reading while a blob is about to get another name, for writing while one goes.
    sweeping: RwLock<()>,
    next: AtomicU64,
    figures: Arc<Figures>,
    _held: Held,
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
        for part in ["blobs", "blobs/sha256", "uploads", "trash", "apps"] {
            make(&*disk, &own.join(part)).map_err(Error::disk("the store can't be made"))?;
        }
        disk.sync_dir(&own).map_err(Error::disk("the store can't be made"))?;
        let held = disk.hold(&own.join("lock"));
        let held = held.map_err(Error::disk("the store is in use by another Berth"))?;
        let mut store = Self {
            settings,
            disk,
            index: index::Index::default(),
            apps: Mutex::default(),
            known: Mutex::default(),
            locks: std::array::from_fn(|_| Mutex::default()),
            sweeping: RwLock::default(),
            next: AtomicU64::new(1),
            figures,
            _held: Held(held),
        };
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

    fn own(&self, part: &str) -> PathBuf {
        self.settings.root.join(OWN).join(part)
    }

    /// A number that was not given before since the start.
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Holds up other changes of the same project.
    fn lock(&self, project: &str) -> MutexGuard<'_, ()> {
        let sum = project
            .bytes()
            .fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        self.locks[sum % LOCKS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apps(&self) -> MutexGuard<'_, BTreeMap<(String, String), AppRecord>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
