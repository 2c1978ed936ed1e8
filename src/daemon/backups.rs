//! What backups are made of here, and who makes them by the clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Error, still::Still};
use crate::audit::{Deed, Log, Who};
use crate::auth::random_text;
use crate::backup::{
    self, About, Archive, Data, Key, Made, Opening, Order, Pruned, Root, Roots, SPOOL, Stop,
    Target, UNFINISHED, disk::Machine,
};
use crate::clock::Clock;
use crate::config::{Config, Origin};
use crate::model::{Reason, Timestamp, format_bytes};
use crate::record::{BackupSeen, Event, Record, file::Folder, ledger::Ledger};
use crate::store::lower_priority;
use crate::telemetry::{
    Exposed,
    text::{Family, moment, whole},
};

/// How long it is waited before what failed is tried again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));
/// How often it is looked whether a backup is due: the machine may have slept.
const LOOK: Duration = Duration::from_secs(30);
/// How long one that is broken off has to let go on what stands still for it.
const LAST: Duration = Duration::from_secs(10);
/// How long the id of an archive is.
const ID: usize = 20;

/// Opens the state folder; refuses a machine that is half restored, whichever folder it is.
pub(super) fn folder(config: &Config) -> Result<Folder, Error> {
    if let Some(half) = roots(config).0.into_values().find(|root| root.join(UNFINISHED).is_dir()) {
        return Err(Error::Unfinished(half));
    }
    Ok(Folder::open(&config.state_dir)?)
}

/// What is kept there.
pub(super) fn ledger(folder: &Folder, clock: &Clock) -> Result<Arc<Ledger>, Error> {
    let (kept, told) = folder.load(clock.now())?;
    if let Some(told) = told {
        tracing::warn!(told, "state not readable");
    }
    Ok(Arc::new(Ledger::new(kept)))
}

/// The folders that are backed up, and restored.
pub fn roots(config: &Config) -> Roots {
    let folders = [
        (Root::State, &config.state_dir),
        (Root::Secrets, &config.git.secrets),
        (Root::Models, &config.model_store),
        (Root::Workspaces, &config.workspaces),
        (Root::Manifests, &config.manifests),
    ];
    let has = |root: Root| root != Root::Manifests || config.gitops.has_folder;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folders = folders.into_iter().filter(|(root, _)| has(*root));
    Roots(folders.map(|(root, path)| (root, absolute(path))).collect())
}

/// What is backed up of what is configured so.
pub fn order(config: &Config, data: Data) -> Order {
    // An address may hold a password.
    let is_plain = |value: &String| !(value.contains("://") && value.contains('@'));
    let settings = config.settings.iter().filter(|it| it.origin != Origin::Default);
    let settings = settings.filter(|it| it.values.iter().all(is_plain));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Order {
        roots: roots(config),
        data,
        pause: BTreeSet::new(),
        is_thorough: false,
        stop: Stop::default(),
        about: About {
            berth: env!("CARGO_PKG_VERSION").to_owned(),
            host: host.trim().to_owned(),
            instance: config.instance.clone(),
            settings: settings.map(|it| (it.name.to_owned(), it.values.clone())).collect(),
        },
    }
}

/// Opens the archive; where none is, it is begun if it may be.
pub fn open(
    config: &Config,
    target: &Target,
    key: Option<Key>,
    may_begin: bool,
) -> Result<Archive, backup::Error> {
    let id = may_begin.then(|| random_text(ID)).transpose();
    let id = id.map_err(|error| backup::Error::Refused(error.to_string()))?;
    let opening = Opening {
        disk: Arc::new(Machine),
        key,
        spool: config.state_dir.join(SPOOL),
        id,
        now: Clock::System.now(),
    };
    Archive::open(target, opening)
}

/// What is known of the backups that are made by themselves.
#[derive(Debug, Default)]
pub struct Figures {
    every: Duration,
    inner: Mutex<Known>,
    made: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Known {
    last: Option<Timestamp>,
    seconds: Option<Duration>,
    bytes: u64,
    new_bytes: u64,
    is_incomplete: bool,
}

impl Figures {
    /// Those of backups that are made so often.
    pub fn new(every: Duration) -> Self {
        Self { every, ..Self::default() }
    }

    /// One was made, from then on, in so long; with so many bytes, so many of them new.
    pub fn note(&self, at: Timestamp, took: Duration, made: (u64, u64), is_incomplete: bool) {
        self.made.fetch_add(1, Ordering::Relaxed);
        let (bytes, new_bytes) = made;
        let (last, seconds) = (Some(at), Some(took));
        self.change(|known| *known = Known { last, seconds, bytes, new_bytes, is_incomplete });
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Exposed for Figures {
    fn write(&self, out: &mut String) {
        let known = self.inner.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "How often a backup is made.";
        Family::gauge(out, "berth_backup_interval_seconds", help)
            .sample(&[], self.every.as_secs_f64());
        if let Some(last) = known.last {
            let help = "When the newest backup was begun.";
            Family::gauge(out, "berth_backup_last_success_timestamp_seconds", help)
                .sample(&[], moment(last));
        }
        let help = "Backups that were tried since the start, by how they went.";
        let mut family = Family::counter(out, "berth_backups_total", help);
        family.sample(&[("outcome", "made")], whole(self.made.load(Ordering::Relaxed)));
        family.sample(&[("outcome", "failed")], whole(self.failed.load(Ordering::Relaxed)));
        let Some(seconds) = known.seconds else { return };
        let help = "How long the newest backup took.";
        Family::gauge(out, "berth_backup_duration_seconds", help)
            .sample(&[], seconds.as_secs_f64());
        let help = "How much the newest backup holds.";
        Family::gauge(out, "berth_backup_bytes", help).sample(&[], whole(known.bytes));
        let help = "How much of the newest backup was not in one before.";
        Family::gauge(out, "berth_backup_new_bytes", help).sample(&[], whole(known.new_bytes));
        let help = "1 when something could not be read for the newest backup.";
        Family::gauge(out, "berth_backup_incomplete", help)
            .sample(&[], f64::from(u8::from(known.is_incomplete)));
    }
}

/// Begins to make backups, where somebody said where to.
pub(super) fn make(
    config: &Config,
    (record, exposed): (&Arc<Record>, &mut Vec<Arc<dyn Exposed>>),
    clock: &Clock,
    stop: &CancellationToken,
) -> Backing {
    let (Some(target), Some(every)) = (config.backups.to.clone(), config.backups.every) else {
        return Backing(None);
    };
    let figures = Arc::new(Figures::new(every));
    let keeper = Backups {
        config: config.clone(),
        target,
        every,
        record: Arc::clone(record),
        clock: clock.clone(),
        figures: Arc::clone(&figures),
    };
    exposed.push(figures);
    Backing(Some(tokio::spawn(keeper.run(stop.clone()))))
}

/// The backups that are made by themselves.
pub(super) struct Backing(Option<JoinHandle<()>>);

impl Backing {
    /// Waits until one that is being broken off has let go on what stands still for it.
    pub(super) async fn end(self) {
        if let Some(task) = self.0 {
            let _ = tokio::time::timeout(LAST, task).await;
        }
    }
}

/// What is known of one that was made.
struct Kept {
    made: Made,
    /// Why it is not written down which archive this is.
    known: Result<(), String>,
    /// What was let go of older ones, or why nothing could be.
    pruned: Result<Pruned, String>,
    /// What still stands still for it.
    stands: Option<String>,
}

struct Backups {
    config: Config,
    target: Target,
    every: Duration,
    record: Arc<Record>,
    clock: Clock,
    figures: Arc<Figures>,
}

impl Backups {
    async fn run(self, stop: CancellationToken) {
        let mut due = self.due().await;
        let mut pause = PAUSES.0;
        loop {
            self.show(due);
            while self.clock.now() < due {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK.min(due.since(self.clock.now()))) => {}
                }
            }
            let (began, end) = (self.clock.now(), Stop::default());
            let work = self.once(began, end.clone());
            tokio::pin!(work);
            let made = tokio::select! {
                () = stop.cancelled() => {
                    // What is half made is of no harm, and is taken away by the next one; what
                    // stands still for it goes on.
                    end.now();
                    let _ = work.await;
                    return;
                }
                made = &mut work => made,
            };
            match made {
                Ok(kept) => {
                    self.note(&kept.made);
                    self.note_pruning(&kept);
                    if let Some(stands) = &kept.stands {
                        self.tell(true, stands.clone());
                    }
                    let trouble = kept.stands.or_else(|| self.trouble_of(&kept.made));
                    self.stands(trouble, Some(began));
                    pause = PAUSES.0;
                    due = began + self.every;
                }
                Err(why) => {
                    self.figures.failed.fetch_add(1, Ordering::Relaxed);
                    let wait = pause.min(self.every);
                    tracing::error!(to = %self.target, why, "no backup was made; it is tried again");
                    let message = format!("no backup was made to {}: {why}", self.target);
                    self.stands(Some(message.clone()), None);
                    self.tell(true, message);
                    due = self.clock.now() + wait;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// When the next one is due: so long after the newest that is there.
    async fn due(&self) -> Timestamp {
        let (config, target) = (self.config.clone(), self.target.clone());
        let newest = aside(move || {
            let archive = open(&config, &target, key(&config)?, false).ok();
            let vault = archive.as_ref().map(Archive::vault);
            let name = vault.and_then(|vault| vault.find("latest").ok());
            Ok(name.and_then(|name| vault?.snapshot(&name).ok()).map(|it| it.made))
        });
        let last = newest.await.ok().flatten();
        self.figures.change(|known| known.last = last);
        self.stands(None, Some(last.unwrap_or_else(|| self.clock.now())));
        last.map_or_else(|| self.clock.now(), |last| last + self.every)
    }

    async fn once(&self, now: Timestamp, stop: Stop) -> Result<Kept, String> {
        let (config, target) = (self.config.clone(), self.target.clone());
        let (began, runtime) = (self.clock.now(), tokio::runtime::Handle::current());
        let made = aside(move || {
            let mut archive = open_known(&config, &target)?;
            let pause = config.backups.pause.clone();
            let order = Order { pause, stop, ..order(&config, config.backups.data.clone()) };
            let mut still = Still::new(&config, runtime);
            let made = archive.create(&order, now, &mut still).map_err(|it| it.to_string());
            let stands = still.end().err();
            let made = made.map_err(|why| match &stands {
                Some(stands) => format!("{why}; {stands}"),
                None => why,
            })?;
            let known = remember(&config, &target, &archive);
            let pruned = archive.prune(config.backups.keep).map_err(|it| it.to_string());
            Ok(Kept { made, known, pruned, stands })
        });
        let made = made.await;
        self.record(&made).await;
        let kept = made?;
        let (took, made) = (self.clock.now().since(began), &kept.made);
        self.figures.note(began, took, (made.bytes, made.new_bytes), made.is_incomplete);
        Ok(kept)
    }

    fn note(&self, made: &Made) {
        let (bytes, new) = (format_bytes(made.bytes), format_bytes(made.new_bytes));
        let mut text = format!("{} is at {}: {bytes}, {new} of it new", made.name, self.target);
        if let Some(trouble) = self.trouble_of(made) {
            text = format!("{text}; {trouble}");
            tracing::warn!(to = %self.target, trouble, "a backup is not as it should be");
        } else {
            tracing::info!(snapshot = %made.name, to = %self.target, bytes, new, "backed up");
        }
        self.tell(made.is_incomplete || made.is_torn, text);
    }

    /// Shows which is the newest, and when the next one is tried.
    fn show(&self, due: Timestamp) {
        let mut seen = BackupSeen {
            to: self.target.to_string(),
            every: self.every,
            newest: None,
            due,
            bytes: None,
        };
        self.figures.change(|known| {
            seen.newest = known.last;
            seen.bytes = known.seconds.map(|_| known.bytes);
        });
        self.record.update_overview(|overview| overview.backups = Some(Arc::new(seen)));
    }

    /// Writes down for everybody how backups stand, and when the newest was made if that is news.
    fn stands(&self, trouble: Option<String>, newest: Option<Timestamp>) {
        let overdue = newest.map(|newest| newest + self.every * 2);
        self.record.update_overview(|overview| {
            overview.backup_trouble = trouble;
            overview.backup_overdue = overdue.or(overview.backup_overdue);
        });
    }

    /// What somebody should know of one that was made.
    fn trouble_of(&self, made: &Made) -> Option<String> {
        let remarks = || made.remarks.join("; ");
        let what = if made.is_incomplete {
            format!("the backup at {} lacks something: {}", self.target, remarks())
        } else if made.is_torn {
            format!(
                "files of the backup at {} were written while they were read; `--backup-pause APP` \
                 has an app stand still: {}",
                self.target,
                remarks()
            )
        } else {
            return None;
        };
        Some(what)
    }

    /// A backup that was made is one, whatever becomes of older ones.
    fn note_pruning(&self, kept: &Kept) {
        let made = format!("a backup was made to {}", self.target);
        let message = match (&kept.pruned, &kept.known) {
            (Err(why), _) | (_, Err(why)) => format!(
                "{made}, and older ones are not let go: {why}; they take more room each time"
            ),
            (Ok(pruned), Ok(())) => match pruned.trouble() {
                Some(trouble) => format!("{made}, and of older ones {trouble}"),
                None => return,
            },
        };
        tracing::warn!(what = message, "backups are not tidied up");
        self.tell(true, message);
    }

    /// Records in the audit log what was made, and what of older ones went.
    async fn record(&self, made: &Result<Kept, String>) {
        let at = self.target.to_string();
        let mut deeds = vec![match made {
            Ok(Kept { made, .. }) => {
                let Made { files, bytes, new_bytes, is_incomplete, is_torn, .. } = made;
                let after = json!({
                    "at": at, "files": files, "bytes": bytes, "newBytes": new_bytes,
                    "isIncomplete": is_incomplete, "isTorn": is_torn,
                });
                deed("backup.create", format!("backup/{}", made.name), after, "done")
            }
            Err(why) => {
                deed("backup.create", "backup".to_owned(), json!({"at": at, "why": why}), "failed")
            }
        }];
        match made.as_ref().map(|kept| &kept.pruned) {
            Ok(Ok(gone)) if !gone.snapshots.is_empty() => {
                let snapshots: Vec<_> = gone.snapshots.iter().map(backup::Name::as_str).collect();
                let after = json!({
                    "at": at, "snapshots": snapshots, "objects": gone.objects.len(), "bytes": gone.bytes,
                });
                deeds.push(deed("backup.prune", "backup".to_owned(), after, "done"));
            }
            Ok(Err(why)) => {
                let after = json!({"at": at, "why": why});
                deeds.push(deed("backup.prune", "backup".to_owned(), after, "failed"));
            }
            _ => {}
        }
        let (log, now) = (Log::new(&self.config.state_dir), self.clock.now());
        let write = move || deeds.iter().try_for_each(|deed| log.append(deed, now).map(drop));
        if let Ok(Err(error)) = tokio::task::spawn_blocking(write).await {
            tracing::warn!(%error, "the audit log does not say what became of a backup");
        }
    }

    fn tell(&self, is_warning: bool, message: String) {
        let reason = if is_warning { Reason::BackupFailed } else { Reason::BackupMade };
        let at = self.clock.now();
        self.record.tell(Event { id: 0, at, app: None, is_warning, reason, message });
    }
}

/// What Berth itself did.
fn deed(action: &str, object: String, after: Value, outcome: &str) -> Deed {
    let who = Who { kind: "berth".to_owned(), name: "berth".to_owned(), role: None };
    let (action, outcome) = (action.to_owned(), outcome.to_owned());
    Deed { who, from: None, action, object, before: Value::Null, after, outcome }
}

/// Where it is written down which archive is where.
const ARCHIVES: &str = "backup-archives.json";

/// The archives that backups were made to, by where they are.
fn remembered(config: &Config) -> BTreeMap<String, String> {
    let bytes = std::fs::read(config.state_dir.join(ARCHIVES)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

/// Opens the archive, or begins it, where none was before: a folder that a disk should be mounted
/// at is empty, too, when the disk is not.
fn open_known(config: &Config, target: &Target) -> Result<Archive, String> {
    let is_known = remembered(config).contains_key(&target.to_string());
    let opened = open(config, target, key(config)?, !is_known);
    opened.map_err(|error| match error {
        backup::Error::Foreign(_) if is_known => format!(
            "the archive that was at {target} is not there any more, and no other one is begun by \
             itself: mount its disk, or begin another one with `berth backup create --at {target}`"
        ),
        error => error.to_string(),
    })
}

fn remember(config: &Config, target: &Target, archive: &Archive) -> Result<(), String> {
    let (mut all, place) = (remembered(config), target.to_string());
    let id = archive.vault().header().id.clone();
    if all.get(&place) == Some(&id) {
        return Ok(());
    }
    all.insert(place, id);
    let (path, draft) = (config.state_dir.join(ARCHIVES), config.state_dir.join("archives.new"));
    let bytes = serde_json::to_vec_pretty(&all).map_err(|error| error.to_string())?;
    let written = std::fs::write(&draft, bytes).and_then(|()| std::fs::rename(&draft, &path));
    written.map_err(|error| format!("{} can't be written: {error}", path.display()))
}

fn key(config: &Config) -> Result<Option<Key>, String> {
    config.backups.key.as_ref().map(crate::config::KeyFile::read).transpose()
}

/// Does it on a thread that gives way to others.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (answer, answered) = oneshot::channel();
    let thread = std::thread::Builder::new().name("backup".to_owned()).spawn(move || {
        lower_priority();
        let _ = answer.send(work());
    });
    thread.map_err(|error| error.to_string())?;
    answered.await.unwrap_or_else(|_| Err("it broke off".to_owned()))
}

/// The options that a person would set for backups as they are configured now.
pub fn lines(config: &Config) -> BTreeMap<&'static str, String> {
    let names = config.settings.iter().filter(|it| it.name.starts_with("backup-"));
    names.map(|it| (it.name, it.values.join(", "))).collect()
}
