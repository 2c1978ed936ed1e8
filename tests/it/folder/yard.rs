//! A real folder, the source that reads it, and a whole Berth on an engine in memory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use berth::{
    daemon::{Daemon, Plant},
    execute::JobSettings,
    manifest::Snapshot,
    model::{Phase, Reason},
    plan::render,
    record::{Command, CommandError, CommandSender, Overview, Record, file::Kept, ledger::Ledger},
    source::{Directory, Error, Source, directory::Options},
    state::{Hold, Request},
    telemetry::Metrics,
    workspace::{Settings, Workspace},
};
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, name};

/// The apps that run before anything bad happens.
pub(super) const APPS: [&str; 5] = ["api", "blog", "chat", "docs", "web"];
/// How often everything is looked at. The real figure is 30 s; nothing here depends on it.
const RESYNC: Duration = Duration::from_millis(100);
/// Whoever waits so long waits for ever.
const PATIENCE: Duration = Duration::from_secs(40);

/// A folder in a folder, and what a Berth needs beside it.
pub(super) struct Yard {
    pub(super) top: TempDir,
    pub(super) root: PathBuf,
    pub(super) rig: Rig,
    pub(super) options: Options,
}

/// A Berth that runs on a yard.
pub(super) struct Berth {
    pub(super) record: Arc<Record>,
    pub(super) ledger: Arc<Ledger>,
    rig_clock: berth::clock::Clock,
    looks: Arc<AtomicUsize>,
    commands: CommandSender,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// By what one sees that Berth has noticed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    /// The source can't be read, with these words.
    Source(&'static str),
    /// So many removals are held back.
    Brake(usize),
    /// Removals are held back because the folder is another one.
    OtherFolder,
    /// A diagnostic has this code.
    Mistake(&'static str),
    /// There is nothing to notice.
    Nothing,
}

/// One bad state: how it comes, how it is noticed, how it goes.
pub(super) struct Scenario {
    name: String,
    notice: Notice,
    harm: Deed,
    mend: Deed,
}

type Deed = Box<dyn Fn(&Yard)>;

/// A bad state that ends with the five good files back in place.
pub(super) fn bad(
    name: impl Into<String>,
    notice: Notice,
    harm: impl Fn(&Yard) + 'static,
) -> Scenario {
    Scenario { name: name.into(), notice, harm: Box::new(harm), mend: Box::new(Yard::mend) }
}

impl Scenario {
    /// Ends it in another way.
    pub(super) fn mended(mut self, mend: impl Fn(&Yard) + 'static) -> Self {
        self.mend = Box::new(mend);
        self
    }
}

/// A manifest of which no part is good: what makes it an app comes last. One app has a port; each
/// look at an app with ports reads the host's sockets, which takes the most time here.
pub(super) fn manifest(app: &str) -> String {
    let port = if app == "api" { "  port: 5000\n" } else { "" };
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata:\n  name: {app}\nspec:\n{port}  \
         stopGracePeriod: 1s\n  health:\n    exec: [check]\n    interval: 5s\n  \
         image: shop/app:1\n"
    )
}

impl Yard {
    /// A plain folder, not there yet.
    pub(super) fn bare() -> Self {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("apps");
        let options = Options {
            poll: Duration::from_millis(100),
            safety_poll: Duration::from_secs(1),
            ..Options::default()
        };
        Self { top, root, rig: Rig::new(), options }
    }

    /// A plain folder with the five files.
    pub(super) fn new() -> Self {
        let yard = Self::bare();
        yard.mend();
        yard
    }

    /// A path beside the folder.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(super) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// The folder holds the five good files and nothing else.
    pub(super) fn mend(&self) {
        if !self.root.is_dir() {
            let _ = fs::remove_file(&self.root);
            fs::create_dir(&self.root).unwrap();
        }
        fill(&self.root);
    }

    /// Starts a Berth with what the rig has kept.
    pub(super) fn start(&self) -> Berth {
        let looks = Arc::new(AtomicUsize::new(0));
        let directory = Directory::new(&self.root, self.options);
        let source = Counted { directory, looks: Arc::clone(&looks) };
        let ledger = Arc::new(Ledger::new(self.rig.kept.clone()));
        let stop = CancellationToken::new();
        let workspaces = self.beside("workspaces");
        let daemon = Daemon::new(Plant {
            engine: Arc::new(self.rig.fake.clone()),
            source: Box::new(source),
            ledger: Arc::clone(&ledger),
            workspace: Arc::new(Workspace::new(workspaces, Settings::default())),
            policy: self.rig.policy.clone(),
            jobs: JobSettings::new("default", self.top.path()),
            clock: self.rig.clock.clone(),
            metrics: Arc::new(Metrics::new("test").unwrap()),
            resync: RESYNC,
            cards: Arc::default(),
            gpu: Default::default(),
            scans: None,
            stop: stop.clone(),
        });
        let (record, commands) = (daemon.record(), daemon.commands());
        let task = tokio::spawn(daemon.run());
        let rig_clock = self.rig.clock.clone();
        Berth { record, ledger, rig_clock, looks, commands, stop, task }
    }

    /// Starts a Berth and waits until the five apps run and are healthy.
    pub(super) async fn start_well(&self) -> Berth {
        let berth = self.start();
        berth.until_well().await;
        berth
    }

    /// What was done to one of the five, or to any of them.
    pub(super) fn deeds(&self) -> Vec<String> {
        let is_ours = |line: &String| {
            let what = line.split(' ').nth(1).unwrap_or_default();
            APPS.iter().any(|app| what.starts_with(&format!("{app}-")))
        };
        self.rig.fake.journal().into_iter().filter(is_ours).collect()
    }

    /// Lets one bad state come and go, and sees that nothing happens to what runs.
    pub(super) async fn survives(&self, berth: &Berth, scenario: &Scenario) {
        let Scenario { name, notice, harm, mend } = scenario;
        let before = self.deeds();
        harm(self);
        berth.until(name, |overview| notice.is_given(overview)).await;
        berth.look_twice(name).await;
        assert_eq!(self.deeds(), before, "{name}");
        berth.all_stand(name);
        mend(self);
        berth.until(name, |overview| Notice::Nothing.is_given(overview)).await;
        berth.until_well().await;
        assert_eq!(self.deeds(), before, "after {name}");
    }
}

/// Lets bad states come and go, one after the other, under one Berth.
pub(super) async fn survive(yard: &Yard, scenarios: &[Scenario]) {
    let berth = yard.start_well().await;
    for scenario in scenarios {
        yard.survives(&berth, scenario).await;
    }
    berth.stop().await;
}

/// Makes a folder hold the five good files and nothing else. What stands in the place of one of
/// them is replaced in one step where that is possible.
pub(super) fn fill(folder: &Path) {
    let is_ours = |path: &Path| APPS.iter().any(|app| path.ends_with(format!("{app}.yaml")));
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if !is_ours(&path) {
            fs::remove_file(path).unwrap();
        }
    }
    for app in APPS {
        let unfinished = folder.join(format!(".{app}.yaml.new"));
        fs::write(&unfinished, manifest(app)).unwrap();
        fs::rename(unfinished, folder.join(format!("{app}.yaml"))).unwrap();
    }
}

impl Notice {
    pub(super) fn is_given(self, overview: &Overview) -> bool {
        let error = overview.source_error.as_deref();
        match self {
            Self::Source(words) => error.is_some_and(|error| error.contains(words)),
            Self::Brake(count) => {
                matches!(&overview.hold, Some(Hold::Brake { apps, .. }) if apps.len() == count)
            }
            Self::OtherFolder => matches!(
                &overview.hold,
                Some(Hold::Brake { cause, .. }) if cause.contains("not the one it was")
            ),
            Self::Mistake(code) => overview.diagnostics.iter().any(|found| found.code == code),
            Self::Nothing => {
                error.is_none() && overview.hold.is_none() && overview.diagnostics.is_empty()
            }
        }
    }
}

impl Berth {
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Overview) -> bool) {
        let wait = async {
            while !holds(&self.record.overview()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        let overview = self.record.overview();
        assert!(came, "never came to pass: {what}\n{overview:#?}\n{}", self.show());
    }

    /// Waits until the five run and are healthy and there is nothing to complain about.
    pub(super) async fn until_well(&self) {
        let is_well = |app: &&str| {
            self.record.entry(&name(app)).is_some_and(|entry| {
                (entry.status.phase, entry.status.reason) == (Phase::Running, Reason::Healthy)
            })
        };
        self.until("all is well", |overview| {
            Notice::Nothing.is_given(overview) && APPS.iter().all(is_well)
        })
        .await;
    }

    pub(super) async fn until_gone(&self, app: &str) {
        self.until(&format!("{app} is gone"), |_| self.record.entry(&name(app)).is_none()).await;
    }

    /// Waits until a look at the folder has ended.
    pub(super) async fn look(&self) {
        let looks = self.looks.load(Ordering::SeqCst);
        self.command(Command::Rescan).await.unwrap();
        self.until("a look", |_| looks < self.looks.load(Ordering::SeqCst)).await;
    }

    /// Has the folder read and every app looked at, from the beginning, and all that again.
    pub(super) async fn look_twice(&self, what: &str) {
        for _ in 0..2 {
            let begin = self.rig_clock.now();
            // One look may have begun before; the last one's news must be out.
            for _ in 0..3 {
                self.look().await;
            }
            for app in APPS {
                // Refused for an app that no manifest names at present.
                let _ = self.command(Command::Reconcile(name(app))).await;
                if self.ledger.facts(&name(app)).is_some() {
                    self.ledger.update(&name(app), |facts| facts.request = Some(Request::Fetch));
                }
            }
            // What was asked of an app whose removal is held back is kept until it is wanted again.
            let held = [Reason::RemovalHeld, Reason::SourceUnreadable];
            let is_held = |app: &str| {
                self.record
                    .entry(&name(app))
                    .is_some_and(|entry| held.iter().any(|held| entry.plan.says(*held).is_some()))
            };
            let is_asked = |app: &&str| {
                let facts = self.ledger.facts(&name(app));
                facts.is_some_and(|facts| facts.request.is_some()) && !is_held(app)
            };
            self.until(what, |overview| {
                let is_resynced = overview.resynced_at.is_some_and(|at| begin < at);
                is_resynced && !APPS.iter().any(is_asked)
            })
            .await;
        }
    }

    /// The five run, and no more is said than that nothing good is known of their manifests.
    pub(super) fn all_stand(&self, what: &str) {
        for app in APPS {
            let entry = self.record.entry(&name(app));
            let stands = entry.is_some_and(|entry| match entry.status.phase {
                Phase::Running => true,
                Phase::Degraded => matches!(
                    entry.status.reason,
                    Reason::InvalidManifest | Reason::RemovalHeld | Reason::SourceUnreadable
                ),
                _ => false,
            });
            assert!(stands, "{what}: {app}\n{}", self.show());
        }
    }

    pub(super) async fn command(&self, command: Command) -> Result<String, CommandError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send((command, answer)).await.unwrap();
        answered.await.unwrap()
    }

    fn show(&self) -> String {
        let entries = self.record.entries();
        let lines = entries.iter().map(|entry| {
            let status = &entry.status;
            let plan = render(&entry.plan);
            format!("{}: {} {} {}\n{plan}", entry.name, status.phase, status.reason, status.message)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Ends it politely.
    pub(super) async fn stop(self) -> Kept {
        self.stop.cancel();
        self.task.await.unwrap();
        self.ledger.kept()
    }
}

/// Counts the looks that have ended.
struct Counted {
    directory: Directory,
    looks: Arc<AtomicUsize>,
}

impl Source for Counted {
    fn describe(&self) -> String {
        self.directory.describe()
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Arc<Snapshot>, Error>> {
        Box::pin(async move {
            let found = self.directory.snapshot().await;
            self.looks.fetch_add(1, Ordering::SeqCst);
            found
        })
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        self.directory.changed()
    }
}

/// A file system in memory, mounted for as long as this lives.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// None where mounting is not allowed.
    pub(crate) fn at(path: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let done = Process::new("mount")
            .args(["-t", "tmpfs", "-o", options.as_str(), "none"])
            .arg(path)
            .output();
        done.is_ok_and(|done| done.status.success()).then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a watcher may still look at it.
        let _ = Process::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
