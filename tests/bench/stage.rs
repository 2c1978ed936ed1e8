//! A whole Berth in this process, put together as `berth run` does it, without server and log.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use berth::{
    clock::Clock,
    daemon::{Daemon, Plant},
    engine::{
        CallCounts,
        docker::{Docker, Gate, Settings as DockerSettings},
    },
    execute::JobSettings,
    record::{
        Command, CommandSender, Record,
        file::{Folder, Kept},
        ledger::Ledger,
    },
    source::{Directory, directory::Options},
    state::Policy,
    telemetry::Metrics,
    workspace::{Settings, Workspace},
};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::bed::Bed;

/// As `berth run` writes its state: at most so often.
const SAVE_PAUSE: Duration = Duration::from_secs(1);
/// Longer than a run, so that a resync is never part of what is measured.
const RESYNC: Duration = Duration::from_secs(3600);

/// A Berth that runs.
pub(crate) struct Stage {
    /// A folder in the watched one.
    pub(crate) manifests: PathBuf,
    engine: Docker,
    record: Arc<Record>,
    commands: CommandSender,
    stop: CancellationToken,
    task: JoinHandle<()>,
    saver: JoinHandle<()>,
}

impl Stage {
    /// Starts a Berth on an empty folder, and waits until it has seen that.
    pub(crate) async fn start(bed: &Bed) -> Self {
        Self::start_at(bed, &bed.socket).await
    }

    /// The same with another way to the engine.
    pub(crate) async fn start_at(bed: &Bed, socket: &Path) -> Self {
        let watched = bed.make_folder("manifests");
        let manifests = watched.join("apps");
        std::fs::create_dir(&manifests).unwrap();
        let host = format!("unix://{}", socket.display());
        let workspaces = bed.path("workspaces");
        let policy = Policy {
            instance: bed.instance.clone(),
            network: bed.network.clone(),
            workspaces: workspaces.display().to_string(),
            ..Policy::default()
        };
        let settings =
            DockerSettings { gate: Gate::of(&policy), ..DockerSettings::new(&host, &bed.instance) };
        let engine = Docker::connect(settings).unwrap();
        let ledger = Arc::new(Ledger::new(Kept::default()));
        let stop = CancellationToken::new();
        let daemon = Daemon::new(Plant {
            engine: Arc::new(engine.clone()),
            source: Box::new(Directory::new(&watched, Options::default())),
            ledger: Arc::clone(&ledger),
            workspace: Arc::new(Workspace::new(workspaces.clone(), Settings::default())),
            policy,
            jobs: JobSettings::new(&bed.instance, &watched),
            clock: Clock::System,
            metrics: Arc::new(Metrics::new("bench").unwrap()),
            resync: RESYNC,
            cards: Arc::default(),
            gpu: Default::default(),
            scans: None,
            stop: stop.clone(),
        });
        let (record, commands) = (daemon.record(), daemon.commands());
        let saver = tokio::spawn(save(bed.make_folder("state"), ledger));
        let task = tokio::spawn(daemon.run());
        let stage = Self { manifests, engine, record, commands, stop, task, saver };
        let is_awake = |record: &Record| {
            let overview = record.overview();
            overview.source_read_at.is_some() && overview.resynced_at.is_some()
        };
        stage.until(is_awake).await;
        quiet().await;
        stage
    }

    /// How many calls it has made since the count was `before`, and the count now.
    pub(crate) fn calls(&self, before: &CallCounts) -> (String, CallCounts) {
        let now = self.engine.counts();
        let news = now.iter().filter_map(|(kind, count)| {
            let more = count - before.get(kind).copied().unwrap_or(0);
            (more != 0).then(|| format!("{kind} {more}"))
        });
        (news.collect::<Vec<_>>().join(", "), now)
    }

    async fn until(&self, holds: impl Fn(&Record) -> bool) {
        let wait = async {
            while !holds(&self.record) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), wait).await;
        assert!(in_time.is_ok(), "{:?}", self.record.overview());
    }

    /// Takes all manifests away in one step, and waits until Berth asks whether that is meant so.
    pub(crate) async fn empty(&self, bed: &Bed) {
        let away = bed.make_folder("away").join("apps");
        std::fs::rename(&self.manifests, away).unwrap();
        self.until(|record| record.overview().hold.is_some()).await;
        quiet().await;
    }

    /// Says that the removals are meant so.
    pub(crate) async fn confirm(&self) {
        let (answer, answered) = oneshot::channel();
        self.commands.send((Command::Confirm, answer)).await.unwrap();
        answered.await.unwrap().unwrap();
    }

    /// Ends it. Its containers stay.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
        self.saver.abort();
    }
}

/// Gives a change time to settle, so that the next figure does not contain the end of the last.
pub(crate) async fn quiet() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

async fn save(path: PathBuf, ledger: Arc<Ledger>) {
    let folder = Arc::new(Folder::open(&path).unwrap());
    loop {
        ledger.changed().await;
        tokio::time::sleep(SAVE_PAUSE).await;
        let (folder, kept) = (Arc::clone(&folder), ledger.kept());
        let _ = tokio::task::spawn_blocking(move || folder.save(&kept)).await;
    }
}
