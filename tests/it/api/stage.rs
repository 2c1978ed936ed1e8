//! A server over a record that the test fills, with an engine that only has logs.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use berth::{
    clock::Clock,
    engine::{self, About, Applied, BuildRequest, Engine, Hint, LogOptions, LogSink, ResolvedCall},
    forge::Repositories,
    manifest,
    model::{
        AppName, Condition, ConditionStatus, ConditionType, Digest, ImageRef, Phase, Reason,
        SpecHash, Timestamp,
    },
    plan::Plan,
    record::{Command, CommandEnvelope, CommandError, Entry, Event, LeaseOrder, Record, Supposed},
    server::{Figures, Parts, Server, Settings},
    state::{Container, ContainerId, ContainerState, Detail, Owner, Ownership, World},
    status::Status,
    store::{self, Depot},
    telemetry::Metrics,
    usage::History,
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream, stream::BoxStream};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// What an app of the tests is made from.
pub(crate) const MANIFEST: &str = "apiVersion: berth/v1
kind: App
metadata:
  name: chat
  labels: {team: vision}
spec:
  source: {git: {url: https://git.example.com/acme/chat.git, ref: main, path: app}}
  build: {args: {CODE: hunter2}, packages: [ffmpeg]}
  run: python app.py
  ports: [{name: http, containerPort: 7860, hostPort: 8010, bind: loopback}]
  env: {API_KEY: hunter2}
  mounts:
    - {path: /outputs, volume: chat-outputs}
    - {path: /scratch, tmpfs: 1Gi}
    - {path: /ram, tmpfs: {}}
  resources: {cpus: 1500m, memory: 2Gi}
  health: {http: {path: /healthz}, startPeriod: 1m30s}
  dependsOn: [db]
  stopGracePeriod: 20s
";

/// A running server.
pub(crate) struct Stage {
    pub(crate) record: Arc<Record>,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<()>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// While somebody writes here, the controller hears commands and answers none.
    pub(crate) held: Arc<tokio::sync::RwLock<()>>,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) metrics: Arc<Metrics>,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// One with repositories of manifests, or with webhooks.
    pub(crate) async fn with_repositories(repositories: Repositories) -> Self {
        Self::of(|_| (), repositories, Figures::default()).await
    }

    /// One with another model store.
    pub(crate) async fn with_models(models: Depot) -> Self {
        Self::kept_in(Arc::new(models), |_| ()).await
    }

    /// One with another model store that the test sees, too.
    pub(crate) async fn kept_in(models: Arc<Depot>, change: impl FnOnce(&mut Settings)) -> Self {
        Self::made(change, Default::default(), Some(models), None).await
    }

    /// One with more to show at `/metrics`.
    pub(crate) async fn with_figures(figures: Figures) -> Self {
        Self::of(|_| (), Repositories::default(), figures).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::of(change, Repositories::default(), Figures::default()).await
    }

    /// One with what apps used in the last hour.
    pub(crate) async fn with_usage(usage: Arc<History>) -> Self {
        Self::made(|_| (), Default::default(), None, Some(usage)).await
    }

    /// One with all that may differ.
    pub(crate) async fn of(
        change: impl FnOnce(&mut Settings),
        repositories: Repositories,
        figures: Figures,
    ) -> Self {
        Self::made(change, (repositories, figures), None, None).await
    }

    async fn made(
        change: impl FnOnce(&mut Settings),
        given: (Repositories, Figures),
        models: Option<Arc<Depot>>,
        usage: Option<Arc<History>>,
    ) -> Self {
        Self::built(change, |_| (), given, (models, usage)).await
    }

    /// One with an engine of its own.
    pub(crate) async fn on(
        change: impl FnOnce(&mut Settings),
        alter: impl FnOnce(&mut Parts),
    ) -> Self {
        Self::built(change, alter, Default::default(), (None, None)).await
    }

    async fn built(
        change: impl FnOnce(&mut Settings),
        alter: impl FnOnce(&mut Parts),
        (repositories, mut figures): (Repositories, Figures),
        (models, usage): (Option<Arc<Depot>>, Option<Arc<History>>),
    ) -> Self {
        let metrics = Arc::new(Metrics::new("0.0.0").unwrap());
        let folder = tempfile::tempdir().unwrap();
        let (manifests, workspaces) = (folder.path().join("manifests"), folder.path().join("ws"));
        std::fs::create_dir(&manifests).unwrap();
        let (commands, inbox) = mpsc::channel(4);
        let record = Arc::new(Record::default());
        let mut settings = Settings::new("127.0.0.1:0".parse().unwrap());
        change(&mut settings);
        let collector = crate::usage::of(&record);
        if figures.sources.is_empty() {
            figures.sources.push(Arc::clone(&collector) as Arc<dyn berth::telemetry::Exposed>);
        }
        let escapes = Arc::clone(&figures.escapes);
        let scans = figures.scans.take().unwrap_or_else(looked_through);
        let notices = figures.notices.take().unwrap_or_else(crate::notice::nobody);
        let figures = figures.with(escapes, Some(scans)).telling(Some(notices));
        let usual = store::Settings::new(folder.path().join("models"));
        let mut parts = Parts {
            record: Arc::clone(&record),
            engine: Arc::new(Logs),
            commands,
            metrics: Arc::clone(&metrics),
            usage: usage.unwrap_or_else(|| crate::usage::history(&collector)),
            figures,
            clock: Clock::System,
            manifests,
            repositories,
            compat: crate::compat::without_hands(),
            workspaces,
            models: models.unwrap_or_else(|| Arc::new(Depot::new(usual))),
            book: Arc::default(),
            resync: Duration::from_secs(30),
            version: "0.0.0".to_owned(),
            schema: manifest::schema,
        };
        alter(&mut parts);
        let server = Server::bind(settings, parts).await.unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        let served = tokio::spawn(server.run(stop.clone()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let held = Arc::default();
        let doing = (Arc::clone(&asked), Arc::clone(&held));
        tokio::spawn(answer(inbox, Arc::clone(&record), doing));
        Self { record, address, stop, served, asked, held, folder, metrics }
    }

    pub(crate) fn manifests(&self) -> PathBuf {
        self.folder.path().join("manifests")
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts an app into the record.
    pub(crate) fn put(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        let mut entry = entry(name);
        change(&mut entry);
        self.record.write(entry);
    }

    /// Says that something happened.
    pub(crate) fn tell(&self, app: &str, message: &str) {
        self.record.tell(Event {
            id: 0,
            at: now(),
            app: AppName::new(app).ok(),
            is_warning: false,
            reason: Reason::Healthy,
            message: message.to_owned(),
        });
    }

    /// Says that the engine answers and that everything was looked at.
    pub(crate) fn settle(&self) {
        self.record.update_overview(|overview| {
            "folder ./manifests".clone_into(&mut overview.source);
            overview.source_read_at = Some(now());
            overview.resynced_at = Some(now());
            overview.engine = Some(About {
                id: "engine".into(),
                version: "20.10.24".into(),
                api_version: "1.41".into(),
            });
        });
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// Asks with these headers, and reads until the connection ends.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut head = vec![format!("{method} {path} HTTP/1.1"), "connection: close".to_owned()];
        if !headers.iter().any(|(name, _)| *name == "host") {
            head.push(format!("host: {}", self.address));
        }
        head.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        head.push(format!("content-length: {}\r\n\r\n{body}", body.len()));
        let text = head.join("\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // A server that refuses a large head may hang up while it is still being sent.
        let _ = stream.write_all(text.as_bytes()).await;
        let mut bytes = Vec::new();
        let reading = stream.read_to_end(&mut bytes);
        let ended = tokio::time::timeout(Duration::from_secs(20), reading).await;
        assert!(ended.is_ok(), "{method} {path} did not end");
        Answer::read(&String::from_utf8(bytes).unwrap())
    }

    pub(crate) async fn put_manifest(&self, path: &str, method: &str, text: &str) -> Answer {
        self.ask(method, path, &[("content-type", "application/yaml")], text).await
    }

    /// Opens a stream and answers what reads it.
    pub(crate) async fn open(&self, path: &str, headers: &str) -> Follower {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Follower { stream, seen: String::new() }
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let head = head.to_ascii_lowercase();
        let is_chunked = head.contains("transfer-encoding: chunked");
        let body = if is_chunked { unchunk(body) } else { body.to_owned() };
        Self { status, head, body }
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line == header)
    }
}

fn unchunk(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&rest[..size]);
        body = &rest[(size + 2).min(rest.len())..];
    }
    text
}

/// Reads a stream.
pub(crate) struct Follower {
    pub(crate) stream: TcpStream,
    pub(crate) seen: String,
}

impl Follower {
    /// Reads until `text` was seen.
    pub(crate) async fn until(&mut self, text: &str) {
        let reading = async {
            while !self.seen.contains(text) {
                let mut bytes = [0; 16_000];
                let length = self.stream.read(&mut bytes).await.unwrap();
                assert!(0 < length, "the stream ended before `{text}`: {}", self.seen);
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        };
        let reading = tokio::time::timeout(Duration::from_secs(20), reading).await;
        assert!(reading.is_ok(), "`{text}` did not come");
    }

    /// What was seen of one kind of event, as documents.
    pub(crate) fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        let blocks = self.seen.split("\n\n");
        let of_kind = blocks.filter(|block| block.contains(&format!("event: {kind}\n")));
        let data = of_kind.filter_map(|block| block.lines().find_map(|l| l.strip_prefix("data: ")));
        data.map(|text| serde_json::from_str(text).unwrap()).collect()
    }

    /// The id that was seen last.
    pub(crate) fn last_id(&self) -> &str {
        self.seen.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap()
    }
}

pub(crate) fn now() -> Timestamp {
    Clock::System.now()
}

/// An app that runs.
pub(crate) fn entry(name: &str) -> Entry {
    let text = MANIFEST.replace("name: chat\n", &format!("name: {name}\n"));
    let reading = manifest::read_file("apps/chat.yaml", text.as_bytes());
    assert_eq!(reading.diagnostics, [], "the tests' manifest is valid");
    let name = AppName::new(name).unwrap();
    Entry {
        app: Some(Arc::clone(&reading.apps[0])),
        generation: 3,
        status: Status {
            phase: Phase::Running,
            reason: Reason::Healthy,
            message: "it answers".to_owned(),
            url: Some("http://127.0.0.1:8010".to_owned()),
            conditions: vec![Condition {
                kind: ConditionType::Ready,
                status: ConditionStatus::True,
                reason: Reason::Healthy,
                message: "it answers".to_owned(),
                last_transition: now(),
            }],
            observed_generation: 3,
            revision: Some(SpecHash::from_label("v1:0123456789abcdef")),
            commit: Some("abcdef0123456789abcdef0123456789abcdef01".to_owned()),
            commits_behind: None,
            image: Some("berth/chat:0123".to_owned()),
            image_digest: Some("sha256:0123".to_owned()),
            container_id: Some("c".repeat(64)),
            ports: Vec::new(),
            gpus: Vec::new(),
            gpu_way: None,
            models: std::collections::BTreeMap::default(),
            restarts: 0,
            rollout: None,
            since: now(),
        },
        plan: Arc::new(Plan::empty(name.clone())),
        past: Arc::default(),
        revision: 0,
        name,
    }
}

fn left_behind(is_dry: bool, rules: berth::plan::GcRules) -> String {
    let left = serde_json::json!({
        "kind": "temporary", "name": "/ws/.leaving-a", "app": null, "size": 7,
        "since": now(), "why": "it was being removed", "stays": null, "error": null,
    });
    let all = serde_json::json!({
        "dryRun": is_dry, "going": [left], "staying": [], "unread": [], "bytes": 7,
        "text": format!("- temporary a    # {:?}\n", rules.grace),
    });
    all.to_string()
}

/// A controller that remembers what it was asked.
async fn answer(
    mut inbox: mpsc::Receiver<CommandEnvelope>,
    record: Arc<Record>,
    (asked, held): (Arc<Mutex<Vec<String>>>, Arc<tokio::sync::RwLock<()>>),
) {
    while let Some((command, reply)) = inbox.recv().await {
        asked.lock().unwrap().push(format!("{command:?}"));
        drop(held.read().await);
        let said = match command {
            Command::Confirm => Err(CommandError::NothingToConfirm),
            Command::Rescan => Ok("read".to_owned()),
            Command::Pushed(_) => Ok("looking".to_owned()),
            Command::Undo(_, Some(9)) => Err(CommandError::Undo {
                code: "rollout.no-such-revision",
                message: "no revision 9 is remembered".to_owned(),
                revisions: vec![1, 2],
            }),
            Command::Undo(_, Some(1)) => Err(CommandError::Undo {
                code: "rollout.image-gone",
                message: "the image of revision 1 is gone".to_owned(),
                revisions: vec![2],
            }),
            Command::ListGpus => {
                let none = serde_json::json!({"gpus": [], "queue": [], "note": "no driver"});
                Ok(none.to_string())
            }
            Command::CollectImages { is_dry } => {
                let going = serde_json::json!({"tags": ["berth/chat:0"], "size": 7, "why": "old"});
                let images =
                    serde_json::json!({"app": "chat", "tags": ["berth/chat:1"], "size": 9});
                let all = serde_json::json!({
                    "dryRun": is_dry, "images": [images], "going": [going], "bytes": 7,
                });
                Ok(all.to_string())
            }
            Command::CollectGarbage { is_dry, rules } => Ok(left_behind(is_dry, rules)),
            Command::Lease(order) => lease(order),
            Command::Suppose(supposed, plans) => {
                let _ = plans.send(Vec::new());
                match supposed {
                    Supposed::Leased(order) => lease(order),
                    Supposed::Confirmed => Err(CommandError::NothingToConfirm),
                    Supposed::Asked(name, _) if record.entry(&name).is_none() => {
                        Err(CommandError::NotFound(name))
                    }
                    _ => Ok("it would".to_owned()),
                }
            }
            Command::Stop(name) if name.as_str() == "stubborn" => {
                Err(CommandError::Refused("it is being removed".to_owned()))
            }
            Command::Start(name)
            | Command::Stop(name)
            | Command::Restart(name)
            | Command::Install(name)
            | Command::Rebuild(name)
            | Command::Undo(name, _)
            | Command::Reconcile(name) => match record.entry(&name) {
                Some(_) => Ok("on its way".to_owned()),
                None => Err(CommandError::NotFound(name)),
            },
        };
        let _ = reply.send(said);
    }
}

/// One GPU that one program has.
fn lease(order: LeaseOrder) -> Result<String, CommandError> {
    let refused = |code, message: &str| CommandError::Gpu { code, message: message.to_owned() };
    let lease = serde_json::json!({"id": "gpu-1", "fence": 7, "devices": ["GPU-a"]});
    match order {
        LeaseOrder::List => Ok(serde_json::json!({ "items": [lease] }).to_string()),
        LeaseOrder::Acquire { ask, .. } if 1 < ask.count => {
            Err(refused("gpu.none", "only 1 of this host's is of that kind"))
        }
        LeaseOrder::Acquire { holder, .. } if holder == "late" => {
            Err(refused("gpu.busy", "GPU-a held by trainer (a lease)"))
        }
        LeaseOrder::Renew { id, .. } | LeaseOrder::Release { id, .. } if id != "gpu-1" => {
            Err(refused("gpu.no-lease", "there is no such lease"))
        }
        LeaseOrder::Renew { token, .. } | LeaseOrder::Release { token, .. } if token != 7 => {
            Err(refused("gpu.fenced", "the token is another one"))
        }
        _ => Ok(lease.to_string()),
    }
}

/// An engine that has one old container of `chat`, and logs.
struct Logs;

impl Logs {
    fn refuse<T: Send>() -> BoxFuture<'static, Result<T, engine::Error>> {
        async { Err(engine::Error::Work("the tests' engine does nothing".to_owned())) }.boxed()
    }
}

impl Engine for Logs {
    fn describe(&self) -> BoxFuture<'_, Result<About, engine::Error>> {
        Self::refuse()
    }

    fn observe(&self) -> BoxFuture<'_, Result<World, engine::Error>> {
        let container = Container {
            id: ContainerId::new("d".repeat(64)),
            name: "chat-01234567".to_owned(),
            ownership: Ownership::Ours(Owner {
                app: AppName::new("chat").unwrap(),
                generation: 2,
                spec_hash: SpecHash::from_label("v1:01234567"),
                build: Digest::parse(&"0".repeat(64)),
                commit: None,
                fields: std::collections::BTreeMap::new(),
            }),
            image: "x".to_owned(),
            image_id: "x".to_owned(),
            state: ContainerState::Exited,
            exit_code: Some(1),
            ports: Vec::new(),
            networks: std::collections::BTreeMap::new(),
            created: Timestamp::from_millis(1),
            gpus: None,
            labels: std::collections::BTreeMap::new(),
        };
        async { Ok(World { containers: vec![container], ..World::default() }) }.boxed()
    }

    fn inspect<'a>(
        &'a self,
        _: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Option<Detail>, engine::Error>> {
        Self::refuse()
    }

    fn apply<'a>(
        &'a self,
        _: &'a ResolvedCall<'a>,
    ) -> BoxFuture<'a, Result<Applied, engine::Error>> {
        Self::refuse()
    }

    fn build<'a>(&'a self, _: BuildRequest<'a>) -> BoxFuture<'a, Result<String, engine::Error>> {
        Self::refuse()
    }

    fn pull<'a>(
        &'a self,
        _: &'a ImageRef,
        _: LogSink,
    ) -> BoxFuture<'a, Result<String, engine::Error>> {
        Self::refuse()
    }

    fn exec<'a>(
        &'a self,
        _: &'a ContainerId,
        _: &'a [String],
        _: Duration,
    ) -> BoxFuture<'a, Result<(i64, String), engine::Error>> {
        Self::refuse()
    }

    fn events(&self) -> BoxStream<'static, Result<Hint, engine::Error>> {
        stream::pending().boxed()
    }

    fn logs<'a>(
        &'a self,
        id: &'a ContainerId,
        options: LogOptions,
    ) -> BoxStream<'static, Result<Bytes, engine::Error>> {
        assert!(!id.as_str().starts_with("panic"), "the engine's reader has a defect");
        if id.as_str().starts_with("gone") {
            let gone = engine::Error::NotFound("no such container".to_owned());
            return stream::iter([Err(gone)]).boxed();
        }
        let which = if id.as_str().starts_with('d') { "old" } else { "new" };
        let tail = options.tail.map_or("all".to_owned(), |lines| lines.to_string());
        let said = Bytes::from(format!("{which} log, tail {tail}\n\u{1b}[2Jcleared\n"));
        let said = stream::iter([Ok(said)]);
        if options.follow { said.chain(stream::pending()).boxed() } else { said.boxed() }
    }
}

/// The image of `chat` was looked through, and nothing was found.
pub(crate) fn looked_through() -> Arc<berth::scan::Book> {
    use berth::scan::{Book, Fingerprint, Known, Policy, Report, Scanned};
    let (book, image) = (Book::new(false), format!("sha256:{}", "a".repeat(64)));
    let fingerprint = Some(Fingerprint { digest: "1".repeat(64), newest_ms: 1_700_000_000_000 });
    book.know(Known { fingerprint, ..Known::default() });
    book.want(&AppName::new("chat").unwrap(), &image);
    let judged = (&Policy::default(), jiff::civil::date(2026, 1, 1));
    let scanned =
        Scanned::new(&image, Arc::default(), Report::default(), judged, Timestamp::default());
    book.put(&image, Ok(scanned));
    Arc::new(book)
}
