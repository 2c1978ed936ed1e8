//! The way to the engine: one connection per request, the API version in every path, every request
//! counted.
//!
//! bollard 0.21.1 loses the version on the way and answers an unreachable socket only when it is
//! made, so it is given this transport instead of its own. Requests that bollard decodes badly
//! (lists with unknown words, event and log streams) use the transport directly.
//!
//! A connection lives as long as its exchange: dropping a request or its answer closes it, which is
//! how a build is cancelled, and a replaced socket is found by the next request (fault D49).
//!
//! Another listener at the same socket may be another engine: but for saying who it is, nothing is
//! asked of it before it is trusted (fault D48).

use std::fmt;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::BollardRequest;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::super::{CallCounts, Error};
use super::errors::{chain, is_version_refused, of_status, within};
use super::timing::{Timed, outcome_of};
use crate::telemetry::Metrics;

/// The lowest API version that Berth can work with: Docker Engine 20.10.
const VERSION_MIN: ApiVersion = ApiVersion(1, 41);
/// The highest API version that Berth was written for; a newer engine is asked to speak this one.
const VERSION_MAX: ApiVersion = ApiVersion(1, 53);
/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long a short answer may take.
pub(super) const SHORT_LIMIT: Duration = Duration::from_secs(5);
/// The longest answer that is taken. A list of 80 000 containers fits.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp(String),
}

impl Address {
    /// Reads `unix:///path` or `tcp://host:port`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix://") {
            return path.starts_with('/').then(|| Self::Unix(PathBuf::from(path)));
        }
        let rest = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://"))?;
        let rest = rest.trim_end_matches('/');
        let (host, port) = rest.rsplit_once(':')?;
        (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| Self::Tcp(rest.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
        }
    }
}

/// A version of the engine's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiVersion(pub(super) u32, pub(super) u32);

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }

    /// The version to speak with an engine that speaks `lowest` to `highest`.
    fn agree(lowest: Option<Self>, highest: Self) -> Result<Self, Error> {
        if highest < VERSION_MIN {
            return Err(Error::Unsupported(format!(
                "it speaks API {highest} at most, Berth needs {VERSION_MIN} (Docker Engine 20.10 or later)"
            )));
        }
        if let Some(lowest) = lowest.filter(|lowest| VERSION_MAX < *lowest) {
            return Err(Error::Unsupported(format!(
                "it speaks API {lowest} at least, this Berth knows {VERSION_MAX}: use a newer Berth"
            )));
        }
        Ok(highest.min(VERSION_MAX))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Who listens at a socket: another process or another socket is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    device: u64,
    inode: u64,
    process: Option<i32>,
}

impl Listener {
    fn of(path: &Path, stream: &UnixStream) -> Option<Self> {
        let socket = std::fs::metadata(path).ok()?;
        let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
        Some(Self { device: socket.dev(), inode: socket.ino(), process })
    }

    /// The process that listens, when it is told.
    pub(super) fn process(&self) -> Option<i32> {
        self.process.filter(|pid| 0 < *pid)
    }
}

/// What `/version` says, as far as it matters.
#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct VersionWire {
    api_version: Option<String>,
    #[serde(rename = "MinAPIVersion")]
    min_api_version: Option<String>,
}

/// Makes a connection to an engine that has no socket, such as one in the same process.
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, std::io::Result<DuplexStream>> + Send + Sync>;

/// How connections are made.
pub(super) enum Way {
    At(Address),
    Given(Connect),
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Given(_) => f.write_str("this process"),
        }
    }
}

/// The way to one engine.
pub(super) struct Transport {
    way: Way,
    version: Mutex<Option<ApiVersion>>,
    negotiation: tokio::sync::Mutex<()>,
    counts: Mutex<CallCounts>,
    /// The listener that is trusted; none until the first call.
    trusted: watch::Sender<Option<Listener>>,
    /// The one that said last who it is, with what it said.
    introduced: Mutex<Option<(String, Listener)>>,
    metrics: Option<Arc<Metrics>>,
}

impl Transport {
    pub(super) fn new(way: Way, metrics: Option<Arc<Metrics>>) -> Self {
        Self {
            metrics,
            trusted: watch::Sender::default(),
            introduced: Mutex::default(),
            way,
            version: Mutex::default(),
            negotiation: tokio::sync::Mutex::default(),
            counts: Mutex::default(),
        }
    }

    /// How many requests were sent, by kind.
    pub(super) fn counts(&self) -> CallCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The version that is spoken; asks the engine when it is not known (fault D16).
    pub(super) async fn version(&self) -> Result<ApiVersion, Error> {
        if let Some(version) = self.known_version() {
            return Ok(version);
        }
        let _turn = self.negotiation.lock().await;
        if let Some(version) = self.known_version() {
            return Ok(version);
        }
        let version = within("version", SHORT_LIMIT, self.negotiate()).await?;
        self.set_version(Some(version));
        Ok(version)
    }

    /// Gets a whole answer from whoever listens, with who it was.
    pub(super) async fn introduction(
        &self,
        call: &'static str,
        path: &str,
    ) -> Result<(Option<Listener>, Bytes), Error> {
        let answer = self.open(call, empty(Method::GET, path)?).await?;
        let listener = answer.extensions().get::<Listener>().copied();
        Ok((listener, body_of(call, answer).await?))
    }

    /// Takes note of what a listener said about itself.
    pub(super) fn note(&self, identity: &str, listener: Option<Listener>) {
        let introduced = listener.map(|listener| (identity.to_owned(), listener));
        *self.introduced.lock().unwrap_or_else(PoisonError::into_inner) = introduced;
    }

    /// Has everything asked of the listener that said this about itself.
    pub(super) fn trust(&self, identity: &str) {
        let introduced = self.introduced.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, listener)) = introduced.as_ref().filter(|(said, _)| said == identity) else {
            return;
        };
        let listener = Some(*listener);
        self.trusted.send_if_modified(|trusted| std::mem::replace(trusted, listener) != listener);
    }

    /// Tells when another listener is trusted than now.
    pub(super) fn replaced(&self) -> watch::Receiver<Option<Listener>> {
        self.trusted.subscribe()
    }

    /// Refuses a listener that is not the trusted one. The first that anything is asked of is.
    fn must_be_trusted(&self, kind: &str, listener: Listener) -> Result<(), Error> {
        if matches!(kind, "version" | "info") {
            return Ok(());
        }
        self.trusted.send_if_modified(|trusted| {
            let is_first = trusted.is_none();
            trusted.get_or_insert(listener);
            is_first
        });
        if *self.trusted.borrow() == Some(listener) {
            return Ok(());
        }
        self.set_version(None);
        Err(Error::Unreachable {
            address: self.way.to_string(),
            message: "another program listens there now, which has not said yet who it is"
                .to_owned(),
        })
    }

    async fn negotiate(&self) -> Result<ApiVersion, Error> {
        let asked = self.exchange("version", empty(Method::GET, "/version")?);
        let answer = Box::pin(asked).await?;
        let status = answer.status();
        let body = body_of("version", answer).await?;
        if !status.is_success() {
            return Err(of_status(status.as_u16(), said(&body)));
        }
        let wire: VersionWire = decode("version", &body)?;
        let read = |text: Option<String>| text.as_deref().and_then(ApiVersion::parse);
        let highest = read(wire.api_version).ok_or_else(|| Error::Broken {
            call: "version",
            message: "it does not say its API version".to_owned(),
        })?;
        ApiVersion::agree(read(wire.min_api_version), highest)
    }

    fn known_version(&self) -> Option<ApiVersion> {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for the version again with the next request when `error` says that it is wrong.
    pub(super) fn learn_from(&self, error: &Error) {
        if is_version_refused(error) {
            self.set_version(None);
        }
    }

    fn set_version(&self, version: Option<ApiVersion>) {
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = version;
    }

    /// Gets a whole answer.
    pub(super) async fn get(&self, call: &'static str, path: &str) -> Result<Bytes, Error> {
        body_of(call, self.open(call, empty(Method::GET, path)?).await?).await
    }

    /// Posts JSON and takes the whole answer.
    pub(super) async fn post(
        &self,
        call: &'static str,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Bytes, Error> {
        let request = with_body(Method::POST, path, Bytes::from(body.to_string()))?;
        body_of(call, self.open(call, request).await?).await
    }

    /// Gets an answer whose body is read by the caller.
    pub(super) async fn stream(&self, call: &'static str, path: &str) -> Result<Incoming, Error> {
        Ok(self.open(call, empty(Method::GET, path)?).await?.into_body())
    }

    /// Gets the head of an answer.
    pub(super) async fn head(
        &self,
        call: &'static str,
        path: &str,
    ) -> Result<hyper::HeaderMap, Error> {
        let mut answer = self.open(call, empty(Method::GET, path)?).await?;
        Ok(std::mem::take(answer.headers_mut()))
    }

    /// Sends a request with the version, and answers only what succeeded.
    pub(super) async fn open(
        &self,
        call: &'static str,
        request: BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        self.taken(call, self.send(call, request).await?, |status| status.is_success()).await
    }

    /// The same of a connection that may become another one.
    pub(super) async fn turned(
        &self,
        call: &'static str,
        request: BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        let is_fine =
            |status: StatusCode| status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS;
        self.taken(call, self.send(call, request).await?, is_fine).await
    }

    async fn taken(
        &self,
        call: &'static str,
        answer: Response<Incoming>,
        is_fine: impl Fn(StatusCode) -> bool,
    ) -> Result<Response<Incoming>, Error> {
        if is_fine(answer.status()) {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let body = body_of(call, answer).await?;
        let error = of_status(status, said(&body));
        self.learn_from(&error);
        Err(error)
    }

    /// Puts the version into the path and sends.
    pub(super) async fn send(
        &self,
        call: &'static str,
        mut request: BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        let version = self.version().await?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let versioned = format!("/v{version}{path}");
        *request.uri_mut() = versioned.parse().map_err(|_| Error::Refused {
            status: 400,
            message: format!("bad path {versioned}"),
        })?;
        // Boxed: a whole HTTP connection is a large thing to carry through every future.
        Box::pin(self.exchange(call, request)).await
    }

    /// Serves bollard. Its start and stop take 304 for success, which hides that nothing happened:
    /// here it is an error with that status (fault D07).
    pub(super) async fn serve(
        &self,
        request: BollardRequest,
    ) -> Result<Response<Incoming>, bollard::errors::Error> {
        let kind = kind_of(request.method(), request.uri().path());
        let answer = self.send(kind, request).await.map_err(std::io::Error::other)?;
        if answer.status() == StatusCode::NOT_MODIFIED {
            return Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 304,
                message: String::new(),
            });
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        call: &'static str,
        request: BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        let kind = kind_of(request.method(), request.uri().path());
        let mut timed = Timed::begin(kind, self.metrics.as_deref());
        let answer = self.exchange_untimed(call, kind, request).await;
        timed.outcome = outcome_of(&answer);
        answer
    }

    async fn exchange_untimed(
        &self,
        call: &'static str,
        kind: &'static str,
        mut request: BollardRequest,
    ) -> Result<Response<Incoming>, Error> {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("engine"));
        let answer = match &self.way {
            Way::At(Address::Unix(path)) => {
                let stream = self.connected(UnixStream::connect(path)).await?;
                let listener = Listener::of(path, &stream);
                if let Some(listener) = listener {
                    self.must_be_trusted(kind, listener)?;
                }
                talk(stream, request).await.map(|mut answer| {
                    if let Some(listener) = listener {
                        answer.extensions_mut().insert(listener);
                    }
                    answer
                })
            }
            Way::At(Address::Tcp(authority)) => {
                let stream = self.connected(TcpStream::connect(authority)).await?;
                talk(stream, request).await
            }
            Way::Given(connect) => talk(self.connected(connect()).await?, request).await,
        };
        answer.map_err(|error| {
            self.set_version(None);
            Error::Broken { call, message: chain(&error) }
        })
    }

    async fn connected<S>(
        &self,
        connecting: impl Future<Output = std::io::Result<S>>,
    ) -> Result<S, Error> {
        let outcome = tokio::time::timeout(CONNECT_LIMIT, connecting).await;
        let error = match outcome {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => ErrorKind::TimedOut.into(),
        };
        self.set_version(None);
        let message = match error.kind() {
            ErrorKind::NotFound => "there is no such socket: is the engine running?".to_owned(),
            ErrorKind::PermissionDenied => {
                "permission denied: the user must be in the socket's group".to_owned()
            }
            ErrorKind::ConnectionRefused => "nobody listens: is the engine running?".to_owned(),
            _ => error.to_string(),
        };
        Err(Error::Unreachable { address: self.way.to_string(), message })
    }
}

/// One exchange on a connection of its own.
async fn talk<S>(stream: S, request: BollardRequest) -> hyper::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the exchange; what goes wrong on it is told to the request or to its body.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await
}

fn empty(method: Method, path: &str) -> Result<BollardRequest, Error> {
    with_body(method, path, Bytes::new())
}

fn with_body(method: Method, path: &str, body: Bytes) -> Result<BollardRequest, Error> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(bollard::body_full(body))
        .map_err(|error| Error::Refused { status: 400, message: error.to_string() })
}

async fn body_of(call: &'static str, answer: Response<Incoming>) -> Result<Bytes, Error> {
    let body = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| Error::Broken {
        call,
        message: chain(error.as_ref()),
    };
    body.map(http_body_util::Collected::to_bytes).map_err(broken)
}

/// Reads JSON.
pub(super) fn decode<'a, T: serde::Deserialize<'a>>(
    call: &'static str,
    body: &'a [u8],
) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Broken { call, message: error.to_string() })
}

/// The message of an answer that is an error.
fn said(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        message: String,
    }
    let plain = || String::from_utf8_lossy(body).trim().to_owned();
    serde_json::from_slice(body).map_or_else(|_| plain(), |said: Said| said.message)
}

/// The name under which a request is counted.
fn kind_of(method: &Method, path: &str) -> &'static str {
    let mut parts: Vec<_> = path.split('/').skip(1).collect();
    if parts.first().is_some_and(|part| part.starts_with("v1.")) {
        parts.remove(0);
    }
    match (method.as_str(), parts.as_slice()) {
        ("GET", ["containers", "json"]) => "list_containers",
        ("GET", ["images", "json"]) => "list_images",
        ("GET", ["containers", _, "json"]) => "inspect",
        ("GET", ["containers", _, "logs"]) => "logs",
        ("POST", ["containers", "create"]) => "create",
        ("POST", ["containers", _, "start"]) => "start",
        ("POST", ["containers", _, "stop"]) => "stop",
        ("DELETE", ["containers", _]) => "remove",
        (_, ["containers", _, "exec"] | ["exec", ..]) => "exec",
        ("POST", ["images", "create"]) => "pull",
        ("GET", ["images", .., "json"]) => "inspect_image",
        ("DELETE", ["images", ..]) => "remove_image",
        ("GET", ["networks"]) => "list_networks",
        ("GET", ["volumes"]) => "list_volumes",
        ("DELETE", ["networks", _]) => "remove_network",
        ("GET", ["networks", _]) => "inspect_network",
        ("POST", ["networks", "create"]) => "create_network",
        ("POST", ["build"]) => "build",
        ("POST", ["session"]) => "session",
        ("GET", ["events"]) => "events",
        ("GET", ["version"]) => "version",
        ("GET", ["info"]) => "info",
        ("GET", ["_ping"]) => "ping",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sockets_or_hosts_with_ports() {
        assert!(matches!(Address::parse("unix:///run/x.sock"), Some(Address::Unix(_))));
        assert_eq!(
            Address::parse("tcp://127.0.0.1:2375"),
            Some(Address::Tcp("127.0.0.1:2375".to_owned()))
        );
        for bad in ["", "unix://x", "tcp://", "tcp://host", "ssh://host:22", "/run/x.sock"] {
            assert_eq!(Address::parse(bad), None, "{bad}");
        }
    }

    /// Fault D16: too old or too new is said, anything between is agreed on.
    #[test]
    fn a_version_is_agreed_on_or_refused_with_a_sentence() {
        let v = ApiVersion::parse;
        let agree = |lowest, highest| ApiVersion::agree(v(lowest), v(highest).unwrap());
        assert_eq!(agree("1.12", "1.41").unwrap(), ApiVersion(1, 41));
        assert_eq!(agree("1.44", "1.57").unwrap(), VERSION_MAX);
        assert!(matches!(agree("1.12", "1.40"), Err(Error::Unsupported(_))));
        assert!(matches!(agree("1.60", "1.70"), Err(Error::Unsupported(_))));
    }

    #[test]
    fn requests_are_counted_by_what_they_are() {
        assert_eq!(kind_of(&Method::GET, "/v1.41/containers/json"), "list_containers");
        assert_eq!(kind_of(&Method::GET, "/v1.41/images/berth/tiny:offline/json"), "inspect_image");
        assert_eq!(kind_of(&Method::DELETE, "/v1.41/images/sha256:00"), "remove_image");
        assert_eq!(kind_of(&Method::POST, "/containers/0a/start"), "start");
    }

    /// Fault D49: no socket is a sentence, at each call anew.
    #[tokio::test]
    async fn a_missing_socket_is_said_to_be_missing() {
        let place = Address::parse("unix:///nonexistent/engine.sock").unwrap();
        let outcome = Transport::new(Way::At(place), None).get("list", "/containers/json").await;
        assert!(matches!(outcome, Err(Error::Unreachable { message, .. })
            if message.contains("no such socket")));
    }
}
