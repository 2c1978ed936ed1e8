//! The HTTP interface: what Berth knows, for people and programs of this machine.
//!
//! The server reads the record and sends commands; it decides nothing. The only thing that it
//! writes is the manifest folder, and only on request.
//!
//! # Guarantees
//! - It listens on loopback only, unless those that ask sign in, and answers only requests that name
//!   this machine (fault H01).
//! - Every route declares what it needs; what declares nothing is refused (fault H05).
//! - The path of webhooks is the exception: any host may be named there, but only who signs with
//!   the operator's secret is heard, and no browser at all.
//! - A page of another site can't change anything (fault H02).
//! - A handler that panics answers 500, and the server lives on.
//! - A client that is slow, silent or gone costs a bounded amount of memory and time (H08, H14).
//! - Environment values and build arguments are never shown (fault H10).

mod access;
mod actions;
mod apps;
pub mod client;
mod containers;
mod direct;
mod dry;
mod etag;
mod family;
mod figures;
mod folder;
mod form;
mod gc;
mod gpus;
mod guard;
mod hooks;
mod host;
mod hub;
mod images;
mod leases;
mod leaving;
mod listed;
mod listen;
mod logs;
mod models;
mod notices;
mod oci;
mod once;
pub mod openapi;
mod page;
mod paging;
mod patience;
mod plans;
mod ports;
mod probes;
mod problem;
mod protocol;
mod reading;
mod request;
mod rollouts;
mod routes;
mod scans;
mod selector;
mod sign_in;
mod socket;
mod stream;
mod targets;
mod terminals;
mod tls;
mod traffic;
mod trail;
mod turn;
mod underway;
mod usage;
mod view;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

pub use access::Access;
pub use containers::{Compat, Latest};
pub use dry::why_not as why_not_tried;
pub use routes::{routes, spelled_routes};
pub use socket::Socket;
pub use tls::{CertificateSource, Error as TlsError, Tls};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Mutex, Semaphore},
};
use tokio_util::sync::CancellationToken;

pub use figures::Figures;

use crate::clock::Clock;
use crate::doctor::Place;
use crate::engine::Engine;
use crate::forge::{Fetches, Repositories};
use crate::record::{CommandSender, Record};
use crate::secret::Book;
use crate::store::Depot;
use crate::telemetry::Metrics;
use crate::usage::History;
use crate::workspace::Reach;

/// How the server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// How long a client may take to send the head of a request, the wait before it included.
    pub header_timeout: Duration,
    /// How long a connection that may carry many requests may carry none.
    pub idle_timeout: Duration,
    /// How long a client may leave what is written to it unread.
    pub write_patience: Duration,
    /// How long requests that are under way may go on after the server was told to stop.
    pub drain_timeout: Duration,
    /// After how much silence a stream says that it is still there.
    pub keep_alive: Duration,
    /// How many connections may be open.
    pub connections_max: usize,
    /// How many of them one address may have, those of trusted proxies aside.
    pub connections_per_address: Option<usize>,
    /// How many uploads one client may have under way.
    pub uploads_per_address: Option<usize>,
    /// How many of them may be event streams or followed logs.
    pub streams_max: usize,
    /// How many terminals may be open; none is that there are none.
    pub terminals_max: usize,
    /// How long nothing need be typed or written in one before it is ended.
    pub terminal_idle: Duration,
    /// Who may ask.
    pub access: Access,
    /// Where it listens for users of this machine.
    pub socket: Option<Socket>,
    /// How it speaks TLS; none is plain HTTP.
    pub tls: Option<Tls>,
    /// What is known of this machine beforehand, for who asks whether it is fit.
    pub place: Option<Arc<Place>>,
    /// Which hosts models may be fetched from.
    pub reach: Reach,
}

impl Settings {
    /// The usual behaviour, at this address.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            write_patience: Duration::from_secs(30),
            drain_timeout: Duration::from_millis(800),
            keep_alive: Duration::from_secs(15),
            connections_max: 384,
            connections_per_address: (!listen.ip().is_loopback()).then_some(64),
            uploads_per_address: (!listen.ip().is_loopback()).then_some(16),
            streams_max: 256,
            terminals_max: 16,
            terminal_idle: Duration::from_mins(15),
            reach: Reach::default(),
            access: Access::default(),
            socket: None,
            tls: None,
            place: None,
        }
    }
}

/// What the server serves.
pub struct Parts {
    /// What is known.
    pub record: Arc<Record>,
    /// Where logs of containers come from.
    pub engine: Arc<dyn Engine>,
    /// Where commands go.
    pub commands: CommandSender,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// What apps use.
    pub usage: Arc<History>,
    /// What `/metrics` shows beside them.
    pub figures: Figures,
    /// The time.
    pub clock: Clock,
    /// The watched folder.
    pub manifests: PathBuf,
    /// The repositories of manifests, and what webhooks need.
    pub repositories: Repositories,
    /// What clients of other systems need.
    pub compat: Compat,
    /// The folder of workspaces.
    pub workspaces: PathBuf,
    /// The model store.
    pub models: Arc<Depot>,
    /// The secrets of apps, which no log shows.
    pub book: Arc<Book>,
    /// How often everything is looked at.
    pub resync: Duration,
    /// Berth's version.
    pub version: String,
    /// Makes the JSON Schema of manifests.
    pub schema: fn() -> serde_json::Value,
}

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can be reached by others.
    #[error(
        "refusing to listen on {0}: whoever reaches it could run anything on this machine; without sign-in only loopback addresses such as 127.0.0.1 are allowed: make a token first (`berth token create NAME --role admin`), or say `--allow-unauthenticated`"
    )]
    NotLoopback(SocketAddr),
    /// The socket can't be listened on.
    #[error("can't listen on the socket {}", .path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The certificate can't be used.
    #[error("no TLS")]
    Tls(#[from] tls::Error),
    /// The kernel gives no random numbers.
    #[error("no random numbers can be had")]
    Random(#[source] std::io::Error),
    /// The address can't be listened on.
    #[error("can't listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A server that listens and does not serve yet.
pub struct Server {
    settings: Settings,
    parts: Parts,
    listener: TcpListener,
    socket: Option<UnixListener>,
    door: access::Door,
    tls: Option<Arc<tls::End>>,
    address: SocketAddr,
    links: hub::Links,
}

/// What all handlers share.
struct Shared {
    parts: Parts,
    address: IpAddr,
    boot: String,
    stop: CancellationToken,
    streams: Arc<Semaphore>,
    keep_alive: Duration,
    writes: Mutex<()>,
    gate: hooks::Gate,
    /// Held while a page of figures is made: how long the next one may become.
    scraping: Mutex<usize>,
    door: access::Door,
    refusals: trail::Refusals,
    under_way: underway::UnderWay,
    /// Webhooks that were recorded lately: those that had something looked at, and the others.
    hooks: [trail::Refusals; 2],
    listed: listed::Listed,
    /// Places for uploads that are under way: in all, and of each client.
    uploads: Arc<Semaphore>,
    uploading: (Arc<listen::Crowd>, Option<usize>),
    /// How many names were made up.
    made_up: std::sync::atomic::AtomicU64,
    once: once::Once,
    /// What signs addresses for uploads.
    links: hub::Links,
    /// Manifests that were made of what is stored.
    registry: oci::Known,
    host: host::Desk,
    fetches: Arc<Fetches>,
    terminals: terminals::Terminals,
}

impl Shared {
    /// A text that no other call answers, in this process and in others.
    fn next(&self) -> String {
        let nth = self.made_up.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("{} {nth} ", self.boot)
    }
}

/// Whether the server may listen there. `is_guarded` says that those that ask sign in, or that the
/// operator wants it so.
pub fn check_address(address: SocketAddr, is_guarded: bool) -> Result<(), Error> {
    if is_guarded || address.ip().is_loopback() { Ok(()) } else { Err(Error::NotLoopback(address)) }
}

impl Server {
    /// Listens, without serving yet.
    pub async fn bind(settings: Settings, parts: Parts) -> Result<Self, Error> {
        let access = &settings.access;
        check_address(settings.listen, access.is_open_allowed || access.is_used())?;
        let now = parts.clock.now();
        let tls = settings.tls.as_ref().map(|tls| tls::End::new(tls, now)).transpose()?;
        let tls = tls.map(Arc::new);
        let wrong = |source| Error::Bind { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let door = access::Door::new(access.clone(), address.ip().is_loopback());
        let door = door.map_err(Error::Random)?;
        let socket = settings.socket.as_ref().map(Socket::listen).transpose()?.flatten();
        let links = hub::Links::new().map_err(Error::Random)?;
        Ok(Self { settings, parts, listener, socket, door, tls, address, links })
    }

    /// The SHA-256 of the certificate that is shown; none without TLS.
    pub fn fingerprint(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.fingerprint())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> Option<&std::path::Path> {
        let socket = self.settings.socket.as_ref().filter(|_| self.socket.is_some());
        socket.map(|socket| socket.path.as_path())
    }

    /// Whether those that ask must sign in, at present.
    pub fn is_sign_in_needed(&self) -> bool {
        !self.door.is_open()
    }

    /// Serves until `stop`, then ends streams at once and lets other requests finish for a moment.
    pub async fn run(self, stop: CancellationToken) {
        let Self { settings, parts, listener, socket, door, tls, address, links } = self;
        let metrics = Arc::clone(&parts.metrics);
        if let Some(end) = &tls {
            let (record, clock) = (Arc::clone(&parts.record), parts.clock.clone());
            let watch = tls::Watch { record, metrics: Arc::clone(&metrics), clock };
            tokio::spawn(watch.run(Arc::clone(end), stop.clone()));
        }
        let boot = format!("{:x}-{:x}", parts.clock.now().as_millis(), std::process::id());
        let uploads = Arc::new(Semaphore::new(parts.models.settings().uploads_max));
        let models = Arc::clone(&parts.models);
        let telling = (Arc::clone(&parts.record), parts.clock.clone());
        let fetches = Fetches::new(models, settings.reach.clone(), telling, stop.clone());
        let shared = Shared {
            parts,
            fetches: Arc::new(fetches),
            address: address.ip(),
            boot: boot.replace('-', ""),
            stop: stop.clone(),
            streams: Arc::new(Semaphore::new(settings.streams_max)),
            keep_alive: settings.keep_alive,
            writes: Mutex::new(()),
            gate: hooks::Gate::default(),
            scraping: Mutex::default(),
            door,
            refusals: trail::Refusals::default(),
            under_way: underway::UnderWay::default(),
            uploads,
            uploading: (Arc::default(), settings.uploads_per_address),
            made_up: std::sync::atomic::AtomicU64::default(),
            once: once::Once::default(),
            links,
            registry: oci::Known::default(),
            host: host::Desk::new(settings.place.clone()),
            hooks: trail::hooks(),
            listed: listed::Listed::default(),
            terminals: terminals::Terminals::new(&settings),
        };
        tracing::info!(%address, "listening");
        let shared = Arc::new(shared);
        let router = routes::router(Arc::clone(&shared));
        let hall = listen::Hall::new(router, &settings, metrics, tls, stop);
        hall.serve(listener, socket).await;
        shared.under_way.end().await;
        if let Some(socket) = &settings.socket {
            socket.remove();
        }
    }
}
