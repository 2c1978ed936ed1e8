//! The record: the latest status, plan and events of every app, for whoever wants to look.
//!
//! The controller writes, the server reads. Nothing here decides anything.

mod asked;
mod beats;
mod care;
mod driver;
pub mod durable;
pub mod file;
mod gone;
pub mod history;
pub mod keeper;
mod leases;
pub mod ledger;
mod supposed;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use beats::{Beat, Pass};
pub use care::{BackupSeen, Cleaned};
pub use supposed::{Order, Supposed};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::engine::About;
use crate::manifest::{Diagnostic, Part};
use crate::model::{App, AppName, GpuAsk, Reason, Timestamp};
use crate::plan::{GcRules, Plan};
use crate::state::{Hold, Revision, World};
use crate::status::Status;

use beats::Beats;
pub use leases::LeaseFigures;

/// How many events are kept.
const EVENTS_MAX: usize = 1000;
/// How many changes a slow reader may lag behind before it must read everything again.
const CHANGES_MAX: usize = 1024;

/// Who has not asked for figures for so long does not follow them.
const ASKED_LIMIT: Duration = Duration::from_mins(5);

/// The latest of everything.
#[derive(Debug)]
pub struct Record {
    inner: Mutex<Inner>,
    changes: broadcast::Sender<Change>,
    worlds: watch::Sender<Arc<World>>,
    /// When somebody last asked for the figures of all containers.
    asked: Mutex<Option<Timestamp>>,
    /// When each part of the controller was last heard of.
    beats: Mutex<Beats>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<AppName, Arc<Entry>>,
    events: VecDeque<Arc<Event>>,
    overview: Overview,
    /// How often the overview was written.
    overviews: u64,
    revision: u64,
    event_id: u64,
    moves: u64,
}

/// What is known about one app.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: AppName,
    /// The app as it should run; none when it is only being removed, or never was valid.
    pub app: Option<Arc<App>>,
    /// The generation of its manifest.
    pub generation: u64,
    /// How it stands.
    pub status: Status,
    /// The plan of the last pass.
    pub plan: Arc<Plan>,
    /// Its rollouts, as far as they are remembered, oldest first.
    pub past: Arc<Vec<Past>>,
    /// The record's revision at which this was written.
    pub revision: u64,
}

/// A rollout of an app, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// What is remembered of it.
    pub revision: Revision,
    /// Whether its image is there, so that one can go back to it.
    pub is_image_here: bool,
    /// Whether the app is held at it.
    pub is_held: bool,
}

/// What is known about everything else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overview {
    /// Where the manifests come from.
    pub source: String,
    /// Why the source can't be read, when it can't.
    pub source_error: Option<String>,
    /// When it was last read completely.
    pub source_read_at: Option<Timestamp>,
    /// Each of several sources; none when there is only a folder.
    pub sources: Vec<Part>,
    /// Why removals are held back, when they are.
    pub hold: Option<Hold>,
    /// All mistakes in the manifests.
    pub diagnostics: Arc<Vec<Diagnostic>>,
    /// Who the engine is, when it answers.
    pub engine: Option<About>,
    /// Why it does not answer, when it does not.
    pub engine_error: Option<String>,
    /// What it is known for that somebody should look at.
    pub engine_warning: Option<String>,
    /// When everything was last looked at with success.
    pub resynced_at: Option<Timestamp>,
    /// The certificate of the interface, when it has one.
    pub certificate: Option<Arc<Certificate>>,
    /// What is wrong with the backups that are made by themselves.
    pub backup_trouble: Option<String>,
    /// From when on the next backup is overdue, where they are made by themselves.
    pub backup_overdue: Option<Timestamp>,
    /// How the backups stand that are made by themselves, where they are.
    pub backups: Option<Arc<BackupSeen>>,
    /// The last cleanup, if there was one since the start.
    pub cleaned: Option<Cleaned>,
    /// Why what is known of vulnerabilities can't be read, or not all of it.
    pub database_trouble: Option<String>,
}

/// The certificate that the interface shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// When it expires.
    pub expires: Timestamp,
    /// Its SHA-256, as hexadecimal digits.
    pub fingerprint: String,
    /// The names and addresses that it is for.
    pub names: Vec<String>,
    /// What a person must see to.
    pub warning: Option<String>,
}

impl Overview {
    /// Whether the engine answered when it was last asked. Who it was stays known when it does not.
    pub fn is_engine_up(&self) -> bool {
        self.engine.is_some() && self.engine_error.is_none()
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// To which app; none is to Berth itself.
    pub app: Option<AppName>,
    /// Whether a person may have to act.
    pub is_warning: bool,
    /// What, in one word.
    pub reason: Reason,
    /// What, in a sentence.
    pub message: String,
}

/// A change of the record.
#[derive(Clone, Debug)]
pub enum Change {
    /// An app's entry is new or different.
    Upsert(Arc<Entry>),
    /// An app is gone.
    Delete(AppName),
    /// Something happened.
    Event(Arc<Event>),
}

/// What a person may ask of the controller.
#[derive(Debug)]
pub enum Command {
    /// Say which GPUs there are and who holds them; the answer is a JSON document.
    ListGpus,
    /// Remove the images that nothing needs, or only say which; the answer is a JSON document.
    CollectImages {
        /// Whether nothing is removed.
        is_dry: bool,
    },
    /// Remove what was left behind and nothing needs, or only say which; the answer is a JSON
    /// document.
    CollectGarbage {
        /// Whether nothing is removed.
        is_dry: bool,
        /// How it is meant.
        rules: GcRules,
    },
    /// Undo `Stop`.
    Start(AppName),
    /// Stop it, and keep it stopped over restarts of Berth.
    Stop(AppName),
    /// Stop and start what runs.
    Restart(AppName),
    /// Get its image, and leave it stopped.
    Install(AppName),
    /// Build it from scratch.
    Rebuild(AppName),
    /// Run an earlier revision: this one, else the last good one before.
    Undo(AppName, Option<u64>),
    /// Look at it now, the repository included, and try again what failed.
    Reconcile(AppName),
    /// Look at these repositories now: something was pushed.
    Pushed(Vec<AppName>),
    /// Go on with another engine that answers, else with the removals that are held back.
    Confirm,
    /// Read the manifests now.
    Rescan,
    /// Something about GPUs for a program outside; the answer is a JSON document.
    Lease(LeaseOrder),
    /// Say what would come of something, and change nothing. The plans go to their own place; the
    /// answer says it in a sentence, or is a lease as a JSON document.
    Suppose(Supposed, oneshot::Sender<Vec<Plan>>),
}

/// What a program outside asks about GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOrder {
    /// All leases.
    List,
    /// A lease of its own.
    Acquire {
        /// What it calls itself.
        holder: String,
        /// What it needs.
        ask: GpuAsk,
        /// For how long.
        ttl: Duration,
    },
    /// The same for longer, from now on.
    Renew {
        /// Which.
        id: String,
        /// Its token.
        token: u64,
        /// For how long from now.
        ttl: Duration,
    },
    /// No more of it.
    Release {
        /// Which.
        id: String,
        /// Its token.
        token: u64,
    },
}

impl Command {
    /// Whether it changes what is kept, so that its answer waits for the disk.
    pub fn is_kept(&self) -> bool {
        match self {
            Self::Start(_)
            | Self::Stop(_)
            | Self::Restart(_)
            | Self::Install(_)
            | Self::Rebuild(_)
            | Self::Undo(..)
            | Self::Reconcile(_)
            | Self::Confirm => true,
            Self::CollectImages { .. }
            | Self::CollectGarbage { .. }
            | Self::Pushed(_)
            | Self::Rescan
            | Self::Lease(_)
            | Self::Suppose(..)
            | Self::ListGpus => false,
        }
    }
}

/// A command with the place for its answer: `Err` says why it was refused.
pub type CommandEnvelope = (Command, oneshot::Sender<Result<String, CommandError>>);

/// Where commands are sent.
pub type CommandSender = mpsc::Sender<CommandEnvelope>;

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No manifest names the app and nothing of it runs.
    #[error("no app is called `{0}`")]
    NotFound(AppName),
    /// There is nothing to confirm.
    #[error("no removal is held back and no other engine answers, so there is nothing to confirm")]
    NothingToConfirm,
    /// There is no such way back.
    #[error("{message}")]
    Undo {
        /// Why, as the problem's code.
        code: &'static str,
        /// Why, as a sentence.
        message: String,
        /// The revisions that one can go to.
        revisions: Vec<u64>,
    },
    /// There is no such lease of GPUs, or none to be had.
    #[error("{message}")]
    Gpu {
        /// Why, as the problem's code.
        code: &'static str,
        /// Why, as a sentence.
        message: String,
    },
    /// The engine did not do it.
    #[error("{message}")]
    Engine {
        /// Why, in one word.
        reason: Reason,
        /// Why, in a sentence.
        message: String,
    },
    /// It makes no sense at present.
    #[error("{0}")]
    Refused(String),
    /// It is being done, and would be forgotten if Berth ended now.
    #[error("{done}; but that is not on the disk, and is lost if Berth ends before it is: {why}")]
    NotKept {
        /// What is being done.
        done: String,
        /// Why it is not on the disk.
        why: durable::NotKept,
    },
}

impl Default for Record {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
            worlds: watch::Sender::new(Arc::default()),
            asked: Mutex::default(),
            beats: Mutex::default(),
        }
    }
}

impl Record {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an app's entry, unless it says what the record says already.
    pub fn write(&self, mut entry: Entry) {
        let mut inner = self.lock();
        if let Some(old) = inner.entries.get(&entry.name) {
            entry.revision = old.revision;
            if **old == entry {
                return;
            }
        }
        inner.revision += 1;
        entry.revision = inner.revision;
        let entry = Arc::new(entry);
        inner.entries.insert(entry.name.clone(), Arc::clone(&entry));
        let _ = self.changes.send(Change::Upsert(entry));
    }

    /// Tells that the controller still moves.
    pub fn moved(&self) {
        self.lock().moves += 1;
    }

    /// How often the controller has said that it still moves.
    pub fn moves(&self) -> u64 {
        self.lock().moves
    }

    /// Forgets an app.
    pub fn forget(&self, name: &AppName) {
        let mut inner = self.lock();
        if inner.entries.remove(name).is_some() {
            inner.revision += 1;
            let _ = self.changes.send(Change::Delete(name.clone()));
        }
    }

    /// Tells that something happened.
    pub fn tell(&self, mut event: Event) {
        let mut inner = self.lock();
        inner.event_id += 1;
        event.id = inner.event_id;
        let event = Arc::new(event);
        if inner.events.len() == EVENTS_MAX {
            inner.events.pop_front();
        }
        inner.events.push_back(Arc::clone(&event));
        let _ = self.changes.send(Change::Event(event));
    }

    /// Whether the last that happened to an app has said just this, and why.
    pub fn has_told(&self, app: &AppName, reason: Reason, message: &str) -> bool {
        let inner = self.lock();
        let last = inner.events.iter().rev().find(|event| event.app.as_ref() == Some(app));
        last.is_some_and(|last| last.reason == reason && message.starts_with(&last.message))
    }

    /// Changes the overview.
    pub fn update_overview(&self, change: impl FnOnce(&mut Overview)) {
        let mut inner = self.lock();
        inner.overviews += 1;
        change(&mut inner.overview);
    }

    /// What differs once an app or the overview was written: the record's revision, and how often
    /// the overview was.
    pub fn stamp(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.revision, inner.overviews)
    }

    /// The overview.
    pub fn overview(&self) -> Overview {
        self.lock().overview.clone()
    }

    /// One app.
    pub fn entry(&self, name: &AppName) -> Option<Arc<Entry>> {
        self.lock().entries.get(name).cloned()
    }

    /// All apps, by name.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.lock().entries.values().cloned().collect()
    }

    /// The events that are kept, oldest first, of one app or of all.
    pub fn events(&self, app: Option<&AppName>) -> Vec<Arc<Event>> {
        let inner = self.lock();
        let wanted = |event: &&Arc<Event>| app.is_none() || event.app.as_ref() == app;
        inner.events.iter().filter(wanted).cloned().collect()
    }

    /// Writes what the engine listed last.
    pub fn see(&self, world: &Arc<World>) {
        self.worlds.send_replace(Arc::clone(world));
    }

    fn beats(&self) -> MutexGuard<'_, Beats> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows what the engine lists.
    pub fn worlds(&self) -> watch::Receiver<Arc<World>> {
        self.worlds.subscribe()
    }

    /// What the engine listed last; nothing before the first time.
    pub fn world(&self) -> Arc<World> {
        Arc::clone(&self.worlds.borrow())
    }

    /// Somebody asks for the figures of all containers.
    pub fn ask_figures(&self, now: Timestamp) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// Whether somebody asks for them every now and then, so that news of containers that are not
    /// ours are worth a look.
    pub fn are_figures_asked(&self, now: Timestamp) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.is_some_and(|at| now.since(at) < ASKED_LIMIT)
    }

    /// All entries and the changes that follow them, without a gap between the two.
    pub fn subscribe(&self) -> (Vec<Arc<Entry>>, u64, broadcast::Receiver<Change>) {
        let inner = self.lock();
        let entries = inner.entries.values().cloned().collect();
        (entries, inner.revision, self.changes.subscribe())
    }
}
