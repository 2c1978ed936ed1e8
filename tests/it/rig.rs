//! A whole Berth on an engine in memory, with time that the test owns.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    clock::Clock,
    daemon::{Daemon, Plant},
    engine::{
        Engine,
        fake::{Behaviour, Fake},
    },
    execute::JobSettings,
    gpu::{Cards, nodes::Roots},
    health::gpu::Check,
    model::{AppName, Phase, PortRange, Timestamp},
    record::{Command, CommandError, CommandSender, Record, file::Kept, ledger::Ledger},
    secret::Book,
    source::{Fixed, fixed::Handle},
    state::Policy,
    status::Status,
    store::Depot,
    telemetry::Metrics,
    workspace::{Settings, Workspace},
};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// The resync period of these tests.
pub(crate) const RESYNC: Duration = Duration::from_secs(30);
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What outlives a Berth: the engine, the manifests, the folders and what was kept.
pub(crate) struct Rig {
    pub(crate) fake: Fake,
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) kept: Kept,
    pub(crate) policy: Policy,
    pub(crate) clock: Clock,
    pub(crate) folder: TempDir,
    pub(crate) cards: Arc<Cards>,
    /// Where the host's files about GPUs are, and how containers are checked for theirs.
    pub(crate) gpu: (Roots, Check),
    /// What apps get of secrets.
    pub(crate) book: Arc<Book>,
    /// The models that apps may mount.
    pub(crate) models: Option<Arc<Depot>>,
}

/// A Berth that runs.
pub(crate) struct Berth {
    pub(crate) record: Arc<Record>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) manifests: Handle,
    pub(crate) commands: CommandSender,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) fn name(text: &str) -> AppName {
    AppName::new(text).unwrap()
}

/// A manifest of an image app with a health check that the fake engine answers.
pub(crate) fn manifest(app: &str, image: &str, rest: &str) -> String {
    let mut text = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  image: {image}\n  \
         port: 5000\n  health: {{exec: [check], startPeriod: 30s, interval: 5s}}\n  \
         stopGracePeriod: 1s\n"
    );
    for line in rest.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text
}

impl Rig {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::runtime(Timestamp::from_millis(1_800_000_000_000));
        let fake = Fake::new("default", clock.clone());
        for tag in ["shop/app:1", "shop/app:2", "shop/app:3"] {
            fake.add_image(tag, Behaviour::default());
        }
        let policy = Policy {
            workspaces: folder.path().join("workspaces").display().to_string(),
            ports: PortRange { first: 28_001, last: 28_999 },
            ..Policy::default()
        };
        let (files, kept) = (BTreeMap::new(), Kept::default());
        Self {
            fake,
            files,
            kept,
            policy,
            clock,
            folder,
            cards: Arc::default(),
            gpu: Default::default(),
            book: Arc::default(),
            models: None,
        }
    }

    /// Writes a manifest before Berth starts.
    pub(crate) fn has(mut self, app: &str, image: &str) -> Self {
        self.files.insert(format!("{app}.yaml"), manifest(app, image, ""));
        self
    }

    pub(crate) fn start(&self) -> Berth {
        self.start_on(Arc::new(self.fake.clone()))
    }

    pub(crate) fn start_on(&self, engine: Arc<dyn Engine>) -> Berth {
        let files = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        let (source, manifests) = Fixed::new(files);
        let ledger = Arc::new(Ledger::new(self.kept.clone()));
        let stop = CancellationToken::new();
        let workspaces = self.folder.path().join("workspaces");
        let daemon = Daemon::new(Plant {
            engine,
            source: Box::new(source),
            ledger: Arc::clone(&ledger),
            workspace: Arc::new(Workspace::new(workspaces, Settings::default())),
            policy: self.policy.clone(),
            jobs: JobSettings {
                book: Arc::clone(&self.book),
                models: self.models.clone(),
                compose_dir: Some(self.folder.path().join("compose")),
                ..JobSettings::new("default", self.folder.path())
            },
            clock: self.clock.clone(),
            metrics: Arc::new(Metrics::new("test").unwrap()),
            resync: RESYNC,
            cards: Arc::clone(&self.cards),
            gpu: self.gpu.clone(),
            scans: None,
            stop: stop.clone(),
        });
        let (record, commands) = (daemon.record(), daemon.commands());
        let task = tokio::spawn(daemon.run());
        Berth { record, ledger, manifests, commands, stop, task }
    }

    /// How often each of these was done to the containers of an app.
    pub(crate) fn count(&self, verb: &str, app: &str) -> usize {
        let begins = format!("{verb} {app}-");
        self.fake.journal().iter().filter(|line| line.starts_with(&begins)).count()
    }
}

impl Berth {
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Record) -> bool) {
        let wait = async {
            while !holds(&self.record) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let entries = self.record.entries();
            let lines: Vec<_> = entries
                .iter()
                .map(|e| format!("{}: {:?}\n{}", e.name, e.status, berth::plan::render(&e.plan)))
                .collect();
            panic!("never came to pass: {what}\n{}", lines.join("\n"));
        }
    }

    pub(crate) fn status(&self, app: &str) -> Option<Status> {
        self.record.entry(&name(app)).map(|entry| entry.status.clone())
    }

    pub(crate) async fn until_running(&self, app: &str) {
        let what = format!("{app} runs");
        self.until(&what, |record| is(record, app, |status| status.phase == Phase::Running)).await;
    }

    pub(crate) async fn until_gone(&self, app: &str) {
        let what = format!("{app} is gone");
        self.until(&what, |record| record.entry(&name(app)).is_none()).await;
    }

    pub(crate) async fn command(&self, command: Command) -> Result<String, CommandError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send((command, answer)).await.unwrap();
        answered.await.unwrap()
    }

    /// Ends it politely.
    pub(crate) async fn stop(self) -> Kept {
        self.stop.cancel();
        self.task.await.unwrap();
        self.ledger.kept()
    }

    /// Ends it as kill -9 does: nothing more is done or written.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        self.stop.cancel();
    }
}

/// Whether an app's status is so.
pub(crate) fn is(record: &Record, app: &str, holds: impl Fn(&Status) -> bool) -> bool {
    record.entry(&name(app)).is_some_and(|entry| holds(&entry.status))
}
