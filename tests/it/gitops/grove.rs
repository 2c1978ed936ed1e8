//! A real repository of manifests, perhaps a folder beside it, and a whole Berth on an engine in
//! memory.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use berth::{
    daemon::{
        Daemon, Plant,
        repositories::{folder_part, repository, repository_part},
    },
    execute::JobSettings,
    manifest::{Part, Snapshot},
    model::{Phase, Reason},
    plan::render,
    record::{Command, CommandError, CommandSender, Overview, Record, file::Kept, ledger::Ledger},
    source::{
        Directory, Error, Several, Source,
        directory::Options,
        git::{Bell, Place},
    },
    state::Hold,
    telemetry::Metrics,
    workspace::{Settings, Workspace},
};
use futures_util::future::BoxFuture;
use git2::{Oid, Repository, Signature};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::rig::{Rig, manifest, name};

/// How often everything is looked at.
const RESYNC: Duration = Duration::from_millis(200);
/// Whoever waits so long waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);
/// An interval that does not pass within a test: only bells and people have it looked at.
pub(super) const NEVER: Duration = Duration::from_hours(2);

/// What a Berth needs, and a repository with the branch `main`.
pub(super) struct Grove {
    pub(super) top: TempDir,
    pub(super) rig: Rig,
    pub(super) interval: Duration,
    /// Whether a folder is watched too.
    pub(super) has_folder: bool,
    /// The sources as `--source` names them.
    pub(super) places: Vec<String>,
}

/// A Berth that runs.
pub(super) struct Berth {
    pub(super) record: Arc<Record>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) commands: CommandSender,
    pub(super) bells: Vec<(Place, Bell)>,
    pub(super) looks: Arc<AtomicUsize>,
    ledger: Arc<Ledger>,
    clock: berth::clock::Clock,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A manifest of an app that the engine in memory runs.
pub(super) fn app(text: &str) -> String {
    manifest(text, "shop/app:1", "")
}

/// A repository whose HEAD is `main`.
pub(super) fn bare(path: &Path) -> Repository {
    let repository = Repository::init_bare(path).unwrap();
    repository.set_head("refs/heads/main").unwrap();
    repository
}

/// A new commit of `main` with these files and a README.
pub(super) fn commit(
    repository: &Repository,
    files: &[(&str, &str)],
    parents: &[&git2::Commit<'_>],
) -> Oid {
    let mut index = repository.index().unwrap();
    index.clear().unwrap();
    for (path, text) in files.iter().chain(&[("README.md", "apps")]) {
        let entry = crate::workspace::entry(path, 0o100_644);
        index.add_frombuffer(&entry, text.as_bytes()).unwrap();
    }
    let tree = repository.find_tree(index.write_tree().unwrap()).unwrap();
    let author = Signature::now("a", "a@example.com").unwrap();
    let head = Some("refs/heads/main");
    repository.commit(head, &author, &author, "m", &tree, parents).unwrap()
}

impl Grove {
    /// A repository in `served/app.git`, whose folder `prod` holds these apps.
    pub(super) fn with(apps: &[&str]) -> Self {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("served/app.git");
        bare(&path);
        fs::create_dir(top.path().join("apps")).unwrap();
        let places = vec![format!("git+file://{}#main:prod", path.display())];
        let interval = Duration::from_millis(300);
        let grove = Self { top, rig: Rig::new(), interval, has_folder: false, places };
        grove.push_apps(apps);
        grove
    }

    pub(super) fn repository(&self) -> Repository {
        Repository::open(self.served()).unwrap()
    }

    pub(super) fn served(&self) -> PathBuf {
        self.top.path().join("served/app.git")
    }

    /// A new commit of `main`, in which `prod` holds these apps.
    pub(super) fn push_apps(&self, apps: &[&str]) -> Oid {
        let files: Vec<_> =
            apps.iter().map(|name| (format!("prod/{name}.yaml"), app(name))).collect();
        let files: Vec<_> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        self.push(&files)
    }

    /// A new commit of `main` with these files and a README.
    pub(super) fn push(&self, files: &[(&str, &str)]) -> Oid {
        let repository = self.repository();
        let parent = repository.head().and_then(|head| head.peel_to_commit()).ok();
        commit(&repository, files, &parent.iter().collect::<Vec<_>>())
    }

    /// Writes `main` anew, without a history.
    pub(super) fn force_push(&self, files: &[(&str, &str)]) -> Oid {
        let repository = self.repository();
        repository.find_reference("refs/heads/main").unwrap().delete().unwrap();
        commit(&repository, files, &[])
    }

    pub(super) fn put(&self, app_name: &str) {
        fs::write(self.folder().join(format!("{app_name}.yaml")), app(app_name)).unwrap();
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.top.path().join("apps")
    }

    /// Starts a Berth with what the rig has kept.
    pub(super) fn start(&self) -> Berth {
        let settings = Settings {
            program: PathBuf::from(env!("CARGO_BIN_EXE_berth")),
            is_local_allowed: true,
            ..Settings::default()
        };
        let sources = self.top.path().join("state/sources");
        let kept = Arc::new(Workspace::new(sources, settings.clone()));
        let (mut parts, mut bells) = (Vec::new(), Vec::new());
        if self.has_folder {
            let options = Options { poll: Duration::from_millis(100), ..Options::default() };
            parts.push(folder_part(Directory::new(self.folder(), options)));
        }
        for place in &self.places {
            let git = repository(Place::parse(place).unwrap(), &kept, self.interval);
            bells.push((git.place().clone(), git.bell()));
            parts.push(repository_part(git));
        }
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = |(part, source): (Part, Box<dyn Source>)| {
            let source: Box<dyn Source> = Box::new(Counted { source, looks: Arc::clone(&looks) });
            (part, source)
        };
        let source = Several::new(parts.into_iter().map(counted).collect());
        self.start_on(Box::new(source), settings, bells, Arc::clone(&looks))
    }

    pub(super) fn start_on(
        &self,
        source: Box<dyn Source>,
        settings: Settings,
        bells: Vec<(Place, Bell)>,
        looks: Arc<AtomicUsize>,
    ) -> Berth {
        let ledger = Arc::new(Ledger::new(self.rig.kept.clone()));
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let stop = CancellationToken::new();
        let workspaces = self.top.path().join("workspaces");
        let daemon = Daemon::new(Plant {
            engine: Arc::new(self.rig.fake.clone()),
            source,
            ledger: Arc::clone(&ledger),
            workspace: Arc::new(Workspace::new(workspaces, settings)),
            policy: self.rig.policy.clone(),
            jobs: JobSettings::new("default", self.top.path()),
            clock: self.rig.clock.clone(),
            metrics: Arc::clone(&metrics),
            resync: RESYNC,
            cards: Arc::default(),
            gpu: Default::default(),
            scans: None,
            stop: stop.clone(),
        });
        let (record, commands) = (daemon.record(), daemon.commands());
        let task = tokio::spawn(daemon.run());
        let clock = self.rig.clock.clone();
        Berth { record, metrics, commands, bells, looks, ledger, clock, stop, task }
    }

    /// Starts a Berth and waits until these run.
    pub(super) async fn start_well(&self, apps: &[&str]) -> Berth {
        let berth = self.start();
        berth.until_well(apps).await;
        berth
    }

    /// What was done to containers so far.
    pub(super) fn deeds(&self) -> Vec<String> {
        let verbs = ["create ", "start ", "stop ", "remove "];
        let is_deed = |line: &String| verbs.iter().any(|verb| line.starts_with(verb));
        self.rig.fake.journal().into_iter().filter(is_deed).collect()
    }
}

impl Berth {
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Overview) -> bool) {
        let wait = async {
            while !holds(&self.record.overview()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        let overview = self.record.overview();
        assert!(came, "never came to pass: {what}\n{overview:#?}\n{}", self.show());
    }

    pub(super) fn runs(&self, app: &str) -> bool {
        self.record.entry(&name(app)).is_some_and(|entry| {
            (entry.status.phase, entry.status.reason) == (Phase::Running, Reason::Healthy)
        })
    }

    /// Waits until these run, and there is nothing to complain about.
    pub(super) async fn until_well(&self, apps: &[&str]) {
        self.until("all is well", |overview| {
            overview.source_error.is_none()
                && overview.hold.is_none()
                && overview.diagnostics.is_empty()
                && apps.iter().all(|app| self.runs(app))
        })
        .await;
    }

    pub(super) async fn until_gone(&self, app: &str) {
        self.until(&format!("{app} is gone"), |_| self.record.entry(&name(app)).is_none()).await;
    }

    /// Waits until so many removals are held back; answers why.
    pub(super) async fn until_held(&self, count: usize) -> String {
        let is_held = |overview: &Overview| matches!(&overview.hold, Some(Hold::Brake { apps, .. }) if apps.len() == count);
        self.until(&format!("{count} removals are held"), is_held).await;
        self.record.overview().hold.map(|hold| hold.message()).unwrap_or_default()
    }

    /// Has the sources read and every app looked at, a few times.
    pub(super) async fn look(&self) {
        for _ in 0..3 {
            let (looks, begin) = (self.looks.load(Ordering::SeqCst), self.clock.now());
            self.command(Command::Rescan).await.unwrap();
            self.until("a look", |overview| {
                looks < self.looks.load(Ordering::SeqCst)
                    && overview.resynced_at.is_some_and(|at| begin < at)
            })
            .await;
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
    source: Box<dyn Source>,
    looks: Arc<AtomicUsize>,
}

impl Source for Counted {
    fn describe(&self) -> String {
        self.source.describe()
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Arc<Snapshot>, Error>> {
        Box::pin(async move {
            let found = self.source.snapshot().await;
            self.looks.fetch_add(1, Ordering::SeqCst);
            found
        })
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        self.source.changed()
    }
}
