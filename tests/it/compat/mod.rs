//! The routes that clients of other systems know, over a whole Berth on an engine in memory.

mod ci;
mod containers;
mod described;
mod foreign;
mod install;
mod ports;
mod table;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use berth::{
    audit::Log,
    clock::Clock,
    daemon::{Daemon, Plant},
    engine::{
        Applied, Deed, Error, Hands, Load,
        fake::{Behaviour, Fake},
        terminal::{Asked, Terminal},
    },
    execute::JobSettings,
    forge::Repositories,
    model::{PortRange, Protocol},
    record::{Record, file::Kept, ledger::Ledger},
    server::{Access, Compat, Figures, Parts, Server, Settings},
    source::{Directory, directory::Options},
    state::{ContainerId, Policy},
    store::{self, Depot},
    telemetry::Metrics,
    workspace::{Settings as WorkspaceSettings, Workspace},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::api::stage::Answer;

/// Longer than any request of these tests takes.
const PATIENCE: Duration = Duration::from_secs(90);
/// The image that a client gets who names none.
const USUAL: &str = "base-api-server:latest";
const RANGE: PortRange = PortRange { first: 19_001, last: 19_020 };

/// Hands that no engine has.
struct NoHands;

/// What a server of a test needs that has no engine behind these routes.
pub(crate) fn without_hands() -> Compat {
    Compat::new(Arc::new(NoHands), "default", RANGE)
}

fn none<T: Send>() -> BoxFuture<'static, Result<T, Error>> {
    async { Err(Error::Unsupported("there is no engine".to_owned())) }.boxed()
}

impl Hands for NoHands {
    fn act<'a>(&'a self, _: &'a ContainerId, _: Deed) -> BoxFuture<'a, Result<Applied, Error>> {
        none()
    }

    fn pause<'a>(&'a self, _: &'a ContainerId, _: bool) -> BoxFuture<'a, Result<Applied, Error>> {
        none()
    }

    fn load<'a>(&'a self, _: &'a ContainerId) -> BoxFuture<'a, Result<Option<Load>, Error>> {
        none()
    }

    fn open_terminal<'a>(
        &'a self,
        _: &'a ContainerId,
        _: &'a Asked,
    ) -> BoxFuture<'a, Result<Terminal, Error>> {
        none()
    }

    fn exposed<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<(u16, Protocol)>>, Error>> {
        none()
    }
}

/// A Berth that watches a folder, with its interface.
struct Stage {
    fake: Fake,
    record: Arc<Record>,
    address: SocketAddr,
    folder: TempDir,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Stage {
    async fn start() -> Self {
        Self::with(|_| (), |_| ()).await
    }

    async fn with(fill: impl FnOnce(&Fake), change: impl FnOnce(&mut Parts)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manifests = folder.path().join("manifests");
        std::fs::create_dir(&manifests).unwrap();
        let fake = Fake::new("default", Clock::System);
        // The prober can't reach what is only in memory: no TCP, no check.
        for image in [USUAL, "shop/app:1"] {
            fake.add_image(image, Behaviour::default());
            fake.expose(image, &[(5000, Protocol::Udp)]);
        }
        fill(&fake);
        let (ledger, stop) = (Arc::new(Ledger::new(Kept::default())), CancellationToken::new());
        let workspaces = folder.path().join("workspaces");
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let daemon = Daemon::new(Plant {
            engine: Arc::new(fake.clone()),
            source: Box::new(Directory::new(&manifests, Options::default())),
            ledger: Arc::clone(&ledger),
            workspace: Arc::new(Workspace::new(workspaces.clone(), WorkspaceSettings::default())),
            policy: Policy {
                workspaces: workspaces.display().to_string(),
                ports: RANGE,
                ..Policy::default()
            },
            jobs: JobSettings::new("default", folder.path()),
            clock: Clock::System,
            metrics: Arc::clone(&metrics),
            resync: Duration::from_secs(30),
            cards: Arc::default(),
            gpu: Default::default(),
            scans: None,
            stop: stop.clone(),
        });
        let record = daemon.record();
        let mut parts = Parts {
            record: Arc::clone(&record),
            engine: Arc::new(fake.clone()),
            commands: daemon.commands(),
            metrics,
            usage: crate::usage::history(&crate::usage::of(&record)),
            figures: Figures::default(),
            clock: Clock::System,
            manifests,
            repositories: Repositories::default(),
            compat: Compat { ledger, ..Compat::new(Arc::new(fake.clone()), "default", RANGE) },
            workspaces,
            models: Arc::new(Depot::new(store::Settings::new(folder.path().join("models")))),
            book: Arc::default(),
            resync: Duration::from_secs(30),
            version: "0.0.0".to_owned(),
            schema: berth::manifest::schema,
        };
        change(&mut parts);
        let access = Access {
            audit: Some(Arc::new(Log::new(folder.path()))),
            state_dir: folder.path().to_owned(),
            ..Access::default()
        };
        let settings = Settings { access, ..Settings::new("127.0.0.1:0".parse().unwrap()) };
        let server = Server::bind(settings, parts).await.unwrap();
        let address = server.address();
        let tasks = vec![tokio::spawn(daemon.run()), tokio::spawn(server.run(stop.clone()))];
        Self { fake, record, address, folder, stop, tasks }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        assert!(ended.is_ok(), "{method} {path} did not end");
        Answer::read(&String::from_utf8(bytes).unwrap())
    }

    /// What is answered with 200.
    async fn good(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = self.ask(method, path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        answer.json()
    }

    /// What is refused, in the words that these clients know.
    async fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self.ask(method, path, body).await;
        let said = answer.json();
        let fields: Vec<_> = said.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["detail"], "{method} {path}: {answer:?}");
        (answer.status, said["detail"].as_str().unwrap().to_owned())
    }

    /// The files of the folder.
    fn files(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.folder.path().join("manifests")).unwrap();
        let mut files: Vec<_> =
            folder.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
        files.sort();
        files
    }

    /// What was recorded of changes, oldest first: the object, before, after, outcome.
    async fn trail(&self) -> Vec<(String, String, String, String)> {
        let answer = self.good("GET", "/api/v1/audit", "").await;
        let mut items: Vec<_> = answer["items"].as_array().unwrap().clone();
        items.reverse();
        let of = |item: &Value, key: &str| item[key].clone();
        let text = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let row = |item: &Value| {
            let part = |key: &str| text(of(item, key));
            (part("object"), part("before"), part("after"), part("outcome"))
        };
        items.iter().map(row).collect()
    }

    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
