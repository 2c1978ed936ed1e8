//! The daemon: the only place where the parts are put together.

pub mod access;
pub mod backups;
mod builds;
mod cards;
pub mod changes;
mod escapes;
mod hub;
mod models;
mod notices;
mod place;
pub mod repositories;
mod rooms;
mod scans;
mod secrets;
pub mod still;
mod systemd;
mod usage;

pub use place::{place, whole_place};

use std::{
    io,
    os::linux::net::SocketAddrExt as _,
    os::unix::net::{SocketAddr, UnixListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::compose::Writer;
use crate::config::{Config, EngineChoice};
use crate::controller::Controller;
use crate::engine::{
    Dormant, Engine, Hands, docker::Docker, docker::Settings as DockerSettings, fake::Fake,
};
use crate::execute::{Executor, JobSettings, Jobs};
use crate::gpu::{Cards, nodes::Roots};
use crate::health::{
    Prober,
    gpu::{self, GpuWatch},
};
use crate::host;
use crate::manifest;
use crate::model::Digest;
use crate::queue::Queue;
use crate::reconcile::{Devices, Memory, Observer, Reconciler, Times};
use crate::record::{LeaseFigures, Record, keeper::Keeper, ledger::Ledger};
use crate::scan;
use crate::secret::{self, Secrets};
use crate::server::{Compat, Figures, Parts, Server};
use crate::source::Source;
use crate::state::{ContainerId, Desired, Policy};
use crate::telemetry::{Exposed, Metrics};
use crate::workspace::{
    Access, Settings as WorkspaceSettings, Workspace, believe, network_environment,
};

/// How many commands may wait.
const COMMANDS_WAITING: usize = 64;

/// Why Berth could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state folder.
    #[error(transparent)]
    State(#[from] crate::record::file::Error),
    /// The engine's address.
    #[error(transparent)]
    Engine(#[from] crate::engine::Error),
    /// Another Berth of this instance runs on this engine.
    #[error(
        "another Berth of the instance `{instance}` runs on this engine: stop it, or give this one another name with --instance"
    )]
    InstanceTaken {
        /// The instance.
        instance: String,
    },
    /// The server.
    #[error(transparent)]
    Server(#[from] crate::server::Error),
    /// The metrics.
    #[error("the metrics could not be set up: {0}")]
    Metrics(String),
    /// A restore was broken off.
    #[error(
        "a restore to {} did not end: run the same `berth backup restore` again, it goes on where it was", .0.display()
    )]
    Unfinished(std::path::PathBuf),
    /// A file or folder.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// What is put together: a controller and its server, not yet running.
pub struct Daemon {
    controller: Controller,
    reconciler: Arc<Reconciler>,
    source: Box<dyn Source>,
    finished: mpsc::UnboundedReceiver<crate::execute::Finished>,
    commands: mpsc::Receiver<crate::record::CommandEnvelope>,
    command_sender: crate::record::CommandSender,
    stop: CancellationToken,
}

/// What a daemon is made from, with everything that differs between a test and the real thing.
pub struct Plant {
    /// What runs containers.
    pub engine: Arc<dyn Engine>,
    /// Where manifests come from.
    pub source: Box<dyn Source>,
    /// What was kept.
    pub ledger: Arc<Ledger>,
    /// The apps' folders.
    pub workspace: Arc<Workspace>,
    /// What the operator set.
    pub policy: Policy,
    /// What long work needs to know.
    pub jobs: JobSettings,
    /// The time.
    pub clock: Clock,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// How often everything is looked at.
    pub resync: Duration,
    /// What is known of the host's GPUs.
    pub cards: Arc<Cards>,
    /// Where the host's files about GPUs are, and how it is found out whether containers still
    /// reach theirs.
    pub gpu: (Roots, gpu::Check),
    /// What is known of vulnerabilities in images; none without a database.
    pub scans: Option<Arc<scan::Book>>,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Daemon {
    /// Puts the parts together.
    pub fn new(plant: Plant) -> Self {
        let Plant { engine, source, ledger, workspace, policy, jobs, clock, .. } = plant;
        let Plant { metrics, resync, cards, gpu, scans, stop, .. } = plant;
        let record = Arc::new(Record::default());
        let queue = Arc::new(Queue::default());
        let (jobs, finished) =
            Jobs::new(Arc::clone(&engine), Arc::clone(&workspace), jobs, clock.clone());
        let book = Arc::clone(&jobs.settings().book);
        let (desired, desired_now) = watch::channel(Arc::new(Desired::default()));
        let devices = Arc::new(Devices::new(
            Arc::clone(&engine),
            Arc::clone(&cards),
            gpu.0.clone(),
            GpuWatch::new(Arc::clone(&engine), Arc::clone(&queue), Arc::clone(&cards), gpu),
            desired_now.clone(),
        ));
        let reconciler = Arc::new(Reconciler {
            observer: Observer::new(
                Arc::clone(&engine),
                Arc::clone(&ledger),
                Arc::clone(&record),
                Arc::clone(&metrics),
                Arc::clone(&devices),
            ),
            executor: Executor::new(
                Arc::clone(&engine),
                Arc::clone(&workspace),
                Arc::clone(&jobs),
                Arc::clone(&metrics),
            ),
            prober: Prober::new(Arc::clone(&engine), Arc::clone(&queue), clock.clone()),
            engine,
            jobs,
            desired: desired_now,
            ledger,
            record,
            queue,
            workspace,
            policy,
            clock,
            cards,
            metrics,
            times: Times::default(),
            placing: tokio::sync::Mutex::default(),
            memory: Memory::default(),
            devices,
            dormant: Dormant::default(),
            book,
            is_trial: false,
            scans,
        });
        let controller = Controller::new(Arc::clone(&reconciler), desired, resync, stop.clone());
        let (command_sender, commands) = mpsc::channel(COMMANDS_WAITING);
        Self { controller, reconciler, source, finished, commands, command_sender, stop }
    }

    /// Where it is written how things stand.
    pub fn record(&self) -> Arc<Record> {
        Arc::clone(&self.reconciler.record)
    }

    /// Where commands are sent.
    pub fn commands(&self) -> crate::record::CommandSender {
        self.command_sender.clone()
    }

    /// What writes compose files into `folder`, not yet running.
    pub fn compose_writer(&self, folder: &Path) -> Writer {
        let Reconciler { record, desired, policy, .. } = self.reconciler.as_ref();
        let workspaces = Path::new(&policy.workspaces).to_owned();
        let (record, desired) = (Arc::clone(record), desired.clone());
        Writer::new(record, desired, &policy.network, workspaces, folder.to_owned())
    }

    fn book(&self) -> Arc<secret::Book> {
        Arc::clone(&self.reconciler.book)
    }

    fn scans(&self) -> Option<Arc<scan::Book>> {
        self.reconciler.scans.clone()
    }

    /// Begins to look through images, where there is a database.
    fn look_through_images(&self, config: &Config, stop: &CancellationToken) {
        let Reconciler { engine, record, queue, clock, scans, .. } = self.reconciler.as_ref();
        let Some((book, scanning)) = scans.as_ref().zip(config.builds.scanning.clone()) else {
            return;
        };
        let scanner = scans::Scanner {
            book: Arc::clone(book),
            engine: Arc::clone(engine),
            record: Arc::clone(record),
            queue: Arc::clone(queue),
            clock: clock.clone(),
            scanning,
            folder: config.state_dir.join("packages"),
        };
        tokio::spawn(scanner.run(stop.clone()));
    }

    /// What records the changes of manifests in the audit log, not yet running.
    pub fn changes(&self, log: Arc<crate::audit::Log>) -> changes::Changes {
        let Reconciler { record, desired, clock, .. } = self.reconciler.as_ref();
        changes::Changes::new(desired.clone(), Arc::clone(record), log, clock.clone())
    }

    /// Runs until it is told to stop.
    pub async fn run(self) {
        self.controller.run(self.source, self.finished, self.commands).await;
        self.stop.cancel();
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs Berth until SIGTERM or SIGINT. Apps go on running.
pub async fn run(config: Config) -> Result<(), Error> {
    let (stop, clock) = (watch_signals(), Clock::System);
    let folder = backups::folder(&config)?;
    let ledger = backups::ledger(&folder, &clock)?;
    let metrics = Arc::new(Metrics::new(VERSION).map_err(|it| Error::Metrics(it.to_string()))?);
    let (engine, hands) = engine(&config, &clock, Arc::clone(&metrics))?;
    let _lease = lease(&config, engine.as_ref()).await?;
    let settings = workspace_settings(&config)?;
    let (source, repositories) = repositories::source(&config, &settings);
    let workspace = Arc::new(Workspace::new(config.workspaces.clone(), settings));
    let given = (engine, source, Arc::clone(&workspace));
    let models = models::depot(&config);
    let mut plant = plant(&config, given, Arc::clone(&ledger), Arc::clone(&metrics), stop.clone())?;
    plant.jobs.models = Some(Arc::clone(&models));
    let (engine, cards) = (Arc::clone(&plant.engine), Arc::clone(&plant.cards));
    hub::watch(&config, &engine, &clock, &stop);
    let daemon = Daemon::new(plant);
    let known = escapes::follow(&config, (&engine, daemon.record()), &stop);
    cards::watch(&config, &cards, (daemon.record(), Arc::clone(&ledger)), &clock, &stop);
    repositories::report(&config, (daemon.record(), workspace), Arc::clone(&metrics), &stop);
    let (collector, history) = usage::usage(&config, &daemon.record(), cards.follow(), &clock);
    let told = (daemon.record(), repositories.secrets.clone());
    let hooks = models::announce(&config, &models, told, &clock, &stop);
    let seen = (daemon.record(), Arc::clone(&history), Arc::clone(&cards));
    let board = notices::tell(&config, &repositories.secrets, seen, &clock, &stop);
    let mut sources: Vec<Arc<dyn Exposed>> =
        vec![collector, leases(&ledger, &cards), Arc::clone(models.figures()) as _, hooks];
    still::watch(&config, (&engine, &hands), (daemon.record(), &clock), &stop);
    let backing = backups::make(&config, (&daemon.record(), &mut sources), &clock, &stop);
    models::tend(&models, (&engine, &clock), &stop);
    let parts = Parts {
        record: daemon.record(),
        usage: Arc::clone(&history),
        engine,
        commands: daemon.commands(),
        metrics,
        figures: figures(&config, cards, sources).with(known, daemon.scans()).telling(board),
        clock: clock.clone(),
        manifests: config.manifests.clone(),
        repositories,
        compat: compat(&config, hands, Arc::clone(&ledger)),
        workspaces: config.workspaces.clone(),
        models: Arc::clone(&models),
        book: daemon.book(),
        resync: config.resync,
        version: VERSION.to_owned(),
        schema: manifest::schema,
    };
    let log = Arc::new(crate::audit::Log::new(&config.state_dir));
    let (rooms, settings) = (rooms::Rooms::new()?, access::settings(&config, &log));
    let server = rooms.run(async { Ok(Server::bind(settings, parts).await?) }).await?;
    announce(&config, &server, (daemon.record(), &stop));
    // It ends last: what the last passes and answers change is written, too.
    let is_over = CancellationToken::new();
    let keeping = tokio::spawn(Keeper::new(folder, ledger).run(is_over.clone()));
    tokio::spawn(history.run(stop.clone()));
    daemon.look_through_images(&config, &stop);
    let serving = rooms.spawn(server.run(stop.clone()));
    let writing = tokio::spawn(daemon.compose_writer(&config.compose_dir).run(stop.clone()));
    let noting = tokio::spawn(daemon.changes(log).run(stop.clone()));
    daemon.run().await;
    let _ = tokio::join!(serving, writing, noting);
    backing.end().await;
    is_over.cancel();
    let _ = keeping.await;
    tracing::info!("stopped; the apps go on running");
    Ok(())
}

fn leases(ledger: &Arc<Ledger>, cards: &Arc<Cards>) -> Arc<dyn Exposed> {
    Arc::new(LeaseFigures::new(Arc::clone(ledger), Arc::clone(cards)))
}

/// What `/metrics` shows beside what Berth counts.
fn figures(config: &Config, cards: Arc<Cards>, sources: Vec<Arc<dyn Exposed>>) -> Figures {
    let disks = [("state", &config.state_dir), ("workspaces", &config.workspaces)];
    Figures {
        cards,
        sources,
        gpu_names: config.gpus.metric_names,
        disks: disks.map(|(what, folder)| (what, folder.clone())).to_vec(),
        is_engine_local: config.docker_host.starts_with("unix:"),
        ..Figures::default()
    }
}

fn roots(config: &Config) -> Roots {
    let (proc, cgroup) = (config.usage.proc_root.clone(), config.usage.cgroup_root.clone());
    Roots { proc, cgroup, ..Roots::default() }
}

/// Says that Berth runs, to people and to systemd.
fn announce(config: &Config, server: &Server, (record, stop): (Arc<Record>, &CancellationToken)) {
    if !host::is_memory_kept() {
        tracing::warn!(
            "a crash may leave a dump of memory, secrets included: the kernel does not let it be forbidden"
        );
    }
    let fingerprint = server.fingerprint();
    let scheme = if fingerprint.is_some() { "https" } else { "http" };
    tracing::info!(
        address = format!("{scheme}://{}/", server.address()),
        sha256 = fingerprint,
        socket = server.socket().map(|path| path.display().to_string()),
        sign_in = server.is_sign_in_needed(),
        manifests = manifests(config),
        instance = config.instance,
        publish = ?config.publish,
        "berth is running"
    );
    systemd::begin(record, config.resync, stop);
}

/// Where the manifests come from, for people.
fn manifests(config: &Config) -> String {
    let folder = config.gitops.has_folder.then(|| config.manifests.display().to_string());
    let sources = config.gitops.sources.iter().map(ToString::to_string);
    folder.into_iter().chain(sources).collect::<Vec<_>>().join(", ")
}

/// What clients of other systems need.
fn compat(config: &Config, hands: Arc<dyn Hands>, ledger: Arc<Ledger>) -> Compat {
    let own_container = host::own_container().map(ContainerId::new);
    let compat = Compat::new(hands, &config.instance, config.ports);
    Compat { ledger, own_container, ..compat }
}

/// The engine, as passes have it and as people use it by hand.
type Engines = (Arc<dyn Engine>, Arc<dyn Hands>);

fn engine(config: &Config, clock: &Clock, metrics: Arc<Metrics>) -> Result<Engines, Error> {
    Ok(match config.engine {
        EngineChoice::Docker => {
            let builds = &config.builds;
            let settings = DockerSettings {
                builder: builds.builder,
                build_limit: builds.timeout,
                build_idle_limit: builds.idle_timeout,
                build_memory: builds.memory,
                build_cpus: builds.cpus,
                metrics: Some(metrics),
                gate: secrets::gate(config, &policy(config, None)),
                ..DockerSettings::new(&config.docker_host, &config.instance)
            };
            let docker = Docker::connect(settings)?;
            (Arc::new(docker.clone()), Arc::new(docker))
        }
        EngineChoice::Fake => {
            let fake = Fake::new(&config.instance, clock.clone()).with_everything();
            (Arc::new(fake.clone()), Arc::new(fake))
        }
    })
}

/// Claims the instance on this engine, for as long as the answer lives. The kernel lets it go when
/// the process ends, however it ends (fault D22). An engine that does not answer yet can't be
/// claimed; the state folder's lock still holds.
async fn lease(config: &Config, engine: &dyn Engine) -> Result<Option<UnixListener>, Error> {
    let Ok(about) = engine.describe().await else { return Ok(None) };
    let name =
        format!("berth/{}/{}", Digest::of_bytes(about.id.as_bytes()).short(16), config.instance);
    let wrong = |source| Error::Io { what: "failed to claim the instance".to_owned(), source };
    let address = SocketAddr::from_abstract_name(name.as_bytes()).map_err(wrong)?;
    match UnixListener::bind_addr(&address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(Error::InstanceTaken { instance: config.instance.clone() })
        }
        Err(error) => Err(wrong(error)),
    }
}

fn plant(
    config: &Config,
    (engine, source, workspace): (Arc<dyn Engine>, Box<dyn Source>, Arc<Workspace>),
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> Result<Plant, Error> {
    let ca_bundle = config.ca_bundle.as_deref().map(read_bundle).transpose()?;
    let jobs = builds::settings(config, ca_bundle.clone())?;
    Ok(Plant {
        engine,
        source,
        ledger,
        workspace,
        policy: policy(config, ca_bundle.as_deref()),
        jobs,
        clock: Clock::System,
        metrics,
        resync: config.resync,
        cards: Arc::default(),
        gpu: (roots(config), config.gpus.check),
        scans: scans::book(config),
        stop,
    })
}

/// The operator's rules for repositories elsewhere, and the logins.
pub fn access(config: &Config) -> Access {
    let git = &config.git;
    Access {
        secrets: Some(Secrets::new(&git.secrets)),
        logins: git.logins.clone(),
        known_hosts: git.known_hosts.clone(),
        hosts: git.hosts.clone(),
        schemes: git.schemes.clone(),
        is_private_allowed: git.is_private_allowed,
        is_loopback_allowed: config.is_local_git_allowed,
    }
}

fn workspace_settings(config: &Config) -> Result<WorkspaceSettings, Error> {
    let mut env = network_environment();
    if let Some(own) = &config.git.ca_bundle {
        let what = format!("failed to use the CA bundle {} for git", own.display());
        let believed = believe(own, &config.state_dir.join(GIT_CA_BUNDLE), &mut env);
        believed.map_err(|source| Error::Io { what, source })?;
    }
    Ok(WorkspaceSettings {
        env,
        is_local_allowed: config.is_local_git_allowed,
        access: access(config),
        transfer_bytes_max: config.git.transfer_bytes_max,
        tree_bytes_max: config.git.checkout_bytes_max,
        file_bytes_max: config.git.file_bytes_max,
        files_max: config.git.files_max,
        deadline: config.git.timeout,
        idle: config.git.idle_timeout,
        ..WorkspaceSettings::default()
    })
}

fn read_bundle(path: &Path) -> Result<Arc<[u8]>, Error> {
    let what = format!("failed to read the CA bundle {}", path.display());
    std::fs::read(path).map(Arc::from).map_err(|source| Error::Io { what, source })
}

fn policy(config: &Config, ca_bundle: Option<&[u8]>) -> Policy {
    Policy {
        instance: config.instance.clone(),
        poller: format!("{}\0{}", config.instance, host::name_for_itself()),
        network: "berth".to_owned(),
        publish: config.publish,
        ports: config.ports,
        port_quarantine: config.port_quarantine,
        base_image: config.base_image.clone(),
        is_local_git_allowed: config.is_local_git_allowed,
        workspaces: config.workspaces.display().to_string(),
        host_mounts: config.host_mounts.clone(),
        fuse_apps: config.fuse_apps.clone(),
        ca_bundle: ca_bundle.map(Digest::of_bytes),
        keep_images: config.builds.keep_images,
        images_max_age: config.builds.images_max_age,
        images_max_size: config.builds.images_max_size,
        base_images: config.base_images.clone(),
        gpu_bystanders: config.gpus.bystanders.clone(),
        is_gpu_proven: config.gpus.is_proven,
        own_container: host::own_container().map(ContainerId::new),
        profile: config.apps.profile,
        models: models::on_host(config),
        hub: config.models.hub_url.clone(),
        ..Policy::default()
    }
}

/// The authorities that git servers may have, in the folder of the state.
const GIT_CA_BUNDLE: &str = "git-ca.pem";

/// What SIGTERM and SIGINT cancel. Once this returns, neither ends the process by itself.
fn watch_signals() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return stop;
    };
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    stop
}
