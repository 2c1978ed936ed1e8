//! What an end-to-end test plays on: folders, an engine, and a Berth put together as the real one.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use berth::{
    clock::Clock,
    daemon::{Daemon, Plant},
    engine::docker::{Builder, Docker, Gate, Settings as DockerSettings},
    execute::JobSettings,
    model::{AppName, Digest, ImageRef, Phase, PortRange, Reason},
    record::{Command, CommandSender, Record, file::Kept, ledger::Ledger},
    source::{Directory, directory::Options},
    state::Policy,
    status::Status,
    telemetry::Metrics,
    workspace::{Settings, Workspace, network_environment},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::engine::{self, Seen, docker, labelled, try_docker};

/// Longer than anything takes that is not broken.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How often a state is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// How many host ports each stage has.
const PORTS: u16 = 20;

/// Counts the stages of this process, so that each has an instance of its own.
static STAGES: AtomicU32 = AtomicU32::new(0);

/// What outlives a Berth. All of it is gone once this is dropped.
pub(super) struct Stage {
    pub(super) instance: String,
    pub(super) network: String,
    pub(super) ports: PortRange,
    pub(super) resync: Duration,
    pub(super) builder: Builder,
    pub(super) ca_bundle: Option<Arc<[u8]>>,
    /// What is different about fetches.
    pub(super) tune: Box<dyn Fn(&mut Settings) + Send + Sync>,
    folder: TempDir,
    /// Held for the ports; the kernel frees it however this process ends.
    _claim: UnixListener,
}

/// Ports that no other stage on this machine has: their number, and what says that they are taken.
fn claim(pid: u32) -> (u16, UnixListener) {
    let wanted = u16::try_from(pid % 500).unwrap();
    let claimed = (0..500).find_map(|nth| {
        let slot = (wanted + nth) % 500;
        let name = SocketAddr::from_abstract_name(format!("berth-e2e-{slot}")).ok()?;
        Some((slot, UnixListener::bind_addr(&name).ok()?))
    });
    claimed.expect("all ports for tests are taken")
}

/// A Berth that runs.
pub(super) struct Berth {
    pub(super) record: Arc<Record>,
    pub(super) engine: Docker,
    commands: CommandSender,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    workspaces: PathBuf,
}

pub(super) fn name(text: &str) -> AppName {
    AppName::new(text).unwrap()
}

/// A manifest of an app on the tiny image that serves its `/www` over HTTP.
pub(super) fn httpd(app: &str, rest: &str) -> String {
    tiny(app, "[httpd, -f, -p, \"8080\", -h, /www]", &format!("port: 8080\n{rest}"))
}

/// A manifest of an app on the tiny image.
pub(super) fn tiny(app: &str, command: &str, rest: &str) -> String {
    let rest: Vec<_> = rest.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  \
         image: {}\n  command: {command}\n{}",
        engine::TINY,
        rest.concat()
    )
}

impl Stage {
    pub(super) fn new() -> Self {
        engine::must_be_ready();
        let nth = STAGES.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let (slot, claim) = claim(pid);
        let first = 20_000 + slot * PORTS;
        let folder = tempfile::tempdir().unwrap();
        for part in ["manifests", "workspaces", "state", "served", "drafts"] {
            fs::create_dir(folder.path().join(part)).unwrap();
        }
        Self {
            instance: format!("e2e-{pid}-{nth}"),
            network: format!("berth-t-{pid}-{nth}"),
            ports: PortRange { first, last: first + PORTS - 1 },
            resync: Duration::from_secs(30),
            builder: Builder::Auto,
            ca_bundle: None,
            tune: Box::new(|_| {}),
            folder,
            _claim: claim,
        }
    }

    pub(super) fn path(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// Puts a manifest into the folder, as a whole.
    pub(super) fn write(&self, file: &str, text: &str) {
        let draft = self.path("drafts").join(file);
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, self.path("manifests").join(file)).unwrap();
    }

    /// Takes a manifest out of the folder.
    pub(super) fn erase(&self, file: &str) {
        fs::remove_file(self.path("manifests").join(file)).unwrap();
    }

    /// A file in an app's workspace.
    pub(super) fn workspace(&self, app: &str, path: &str) -> PathBuf {
        self.path("workspaces").join(app).join(path)
    }

    pub(super) fn start(&self) -> Berth {
        self.start_with(Kept::default())
    }

    /// Starts a Berth that knows what an earlier one kept.
    pub(super) fn start_with(&self, kept: Kept) -> Berth {
        let docker = Docker::connect(self.settings()).unwrap();
        let ledger = Arc::new(Ledger::new(kept));
        let stop = CancellationToken::new();
        let manifests = self.path("manifests");
        let mut settings = Settings {
            program: PathBuf::from(env!("CARGO_BIN_EXE_berth")),
            env: network_environment(),
            is_local_allowed: true,
            ..Settings::default()
        };
        (self.tune)(&mut settings);
        let workspaces = self.path("workspaces");
        let mut jobs = JobSettings::new(&self.instance, &manifests);
        jobs.ca_bundle.clone_from(&self.ca_bundle);
        jobs.compose_dir = Some(self.path("compose"));
        let daemon = Daemon::new(Plant {
            engine: Arc::new(docker.clone()),
            source: Box::new(Directory::new(&manifests, Options::default())),
            ledger: Arc::clone(&ledger),
            workspace: Arc::new(Workspace::new(workspaces.clone(), settings)),
            policy: self.policy(),
            jobs,
            clock: Clock::System,
            metrics: Arc::new(Metrics::new("test").unwrap()),
            resync: self.resync,
            cards: Arc::default(),
            gpu: Default::default(),
            scans: None,
            stop: stop.clone(),
        });
        let (record, commands) = (daemon.record(), daemon.commands());
        tokio::spawn(daemon.compose_writer(&self.path("compose")).run(stop.clone()));
        let task = Some(tokio::spawn(daemon.run()));
        Berth { record, engine: docker, commands, ledger, stop, task, workspaces }
    }

    /// How the engine is spoken with.
    pub(super) fn settings(&self) -> DockerSettings {
        DockerSettings {
            gate: Gate::of(&self.policy()),
            builder: self.builder,
            ..DockerSettings::new(engine::host(), &self.instance)
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            instance: self.instance.clone(),
            network: self.network.clone(),
            ports: self.ports,
            base_image: ImageRef::parse(engine::BASE).unwrap(),
            is_local_git_allowed: true,
            ca_bundle: self.ca_bundle.as_deref().map(Digest::of_bytes),
            workspaces: self.path("workspaces").display().to_string(),
            ..Policy::default()
        }
    }

    /// The containers of an app, running or not.
    pub(super) fn containers(&self, app: &str) -> Vec<Seen> {
        let instance = format!("dev.berth.instance={}", self.instance);
        labelled(&[instance, format!("dev.berth.app={app}")])
    }

    /// The app's container, which is its only one.
    #[track_caller]
    pub(super) fn container(&self, app: &str) -> Seen {
        let mut all = self.containers(app);
        let names: Vec<_> = all.iter().map(Seen::name).collect();
        assert_eq!(all.len(), 1, "containers of {app}: {names:?}");
        all.remove(0)
    }

    /// The ids of the images that were built for an app.
    pub(super) fn images(&self, app: &str) -> Vec<String> {
        let instance = format!("label=dev.berth.image.instance={}", self.instance);
        let app = format!("label=dev.berth.image.app={app}");
        let args = ["images", "--quiet", "--no-trunc", "--filter", &instance, "--filter", &app];
        docker(&args).lines().map(ToOwned::to_owned).collect()
    }

    /// Makes a container by hand; answers its id. It is gone with the stage.
    pub(super) fn make_by_hand(&self, verb: &[&str], args: &[&str]) -> String {
        let label = format!("{}={}", engine::BESIDE, self.instance);
        docker(&[verb, &["--label", &label], args].concat())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        engine::clean(&self.instance, &self.network);
    }
}

impl Berth {
    /// Waits until something holds; fails with how everything stands when it never does.
    pub(super) async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let is_so = eventually(&holds).await;
        assert!(is_so, "never came to pass: {what}\n{}", self.report());
    }

    pub(super) async fn until_status(
        &self,
        app: &str,
        what: &str,
        holds: impl Fn(&Status) -> bool,
    ) -> Status {
        let what = format!("{app}: {what}");
        self.until(&what, || self.status(app).is_some_and(|status| holds(&status))).await;
        self.status(app).unwrap()
    }

    /// Waits until an app runs and nothing more is on its way for it.
    pub(super) async fn until_running(&self, app: &str) -> Status {
        let is_done = |reason| matches!(reason, Reason::Healthy | Reason::RunningUnchecked);
        self.until_status(app, "runs", |s| s.phase == Phase::Running && is_done(s.reason)).await
    }

    /// Waits for a phase and a reason.
    pub(super) async fn until_said(&self, app: &str, phase: Phase, reason: Reason) -> Status {
        let what = format!("{phase}, {reason}");
        self.until_status(app, &what, |s| (s.phase, s.reason) == (phase, reason)).await
    }

    pub(super) async fn until_gone(&self, app: &str) {
        let what = format!("{app} is gone");
        self.until(&what, || self.record.entry(&name(app)).is_none()).await;
    }

    pub(super) fn status(&self, app: &str) -> Option<Status> {
        self.record.entry(&name(app)).map(|entry| entry.status.clone())
    }

    /// Waits until everything was looked at some times more: long enough for whatever Berth would
    /// do of itself.
    pub(super) async fn rounds(&self, count: usize) {
        for _ in 0..count {
            let before = self.record.overview().resynced_at;
            self.until("everything is looked at again", || {
                self.record.overview().resynced_at != before
            })
            .await;
        }
    }

    /// How often the engine was asked to do this.
    pub(super) fn count(&self, call: &str) -> u64 {
        self.engine.counts().get(call).copied().unwrap_or_default()
    }

    /// Asks it for something.
    pub(super) async fn command(&self, command: Command) -> String {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.commands.send((command, answer)).await.unwrap();
        answered.await.unwrap().unwrap()
    }

    /// Ends it politely; answers what it would have written down.
    pub(super) async fn stop(mut self) -> Kept {
        self.stop.cancel();
        self.task.take().unwrap().await.unwrap();
        self.ledger.kept()
    }

    /// How everything stands, for a test that has failed.
    fn report(&self) -> String {
        let mut text = String::new();
        for entry in self.record.entries() {
            let plan = berth::plan::render(&entry.plan);
            text.push_str(&format!("-- {}: {:?}\n{plan}\n", entry.name, entry.status));
            let log = self.workspaces.join(entry.name.as_str()).join(".berth/build.log");
            text.push_str(&end_of(&fs::read_to_string(log).unwrap_or_default()));
            let label = format!("label=dev.berth.app={}", entry.name);
            let ids = try_docker(&["ps", "-aq", "--filter", &label]).unwrap_or_default();
            for id in ids.lines() {
                text.push_str(&format!("-- log of {id}:\n{}\n", engine::log_of(id)));
            }
        }
        for event in self.record.events(None) {
            text.push_str(&format!("{:?} {:?} {}\n", event.app, event.reason, event.message));
        }
        text.push_str(&try_docker(&["ps", "--all"]).unwrap_or_else(|complaint| complaint));
        text
    }
}

/// An end without waiting for the test's own: nothing is made on the engine after this.
impl Drop for Berth {
    fn drop(&mut self) {
        self.stop.cancel();
        let Some(task) = self.task.take() else { return };
        tokio::task::block_in_place(|| {
            let _ = tokio::runtime::Handle::current().block_on(task);
        });
    }
}

fn end_of(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Waits until something holds; answers whether it ever did.
pub(super) async fn eventually(holds: impl Fn() -> bool) -> bool {
    let wait = async {
        while !holds() {
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.is_ok()
}

/// The whole answer to `GET path`; none when nothing answers.
pub(super) async fn get(port: u16, path: &str) -> Option<String> {
    let talk = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(PATIENCE, talk).await.ok()?.filter(|text| !text.is_empty())
}

/// The text of a file of this project.
pub(super) fn project_file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}
