//! The other side of the interface: how the command line asks a server.

mod terminal;
mod trust;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::body::{Body, Bytes};
use futures_util::Stream;
use http_body_util::BodyExt as _;
pub use hyper::Method;
pub use terminal::{Input, Opened, Output, Talk, Told};
pub use trust::{Error as TrustError, Trust};

use hyper::{Request, Response, Uri, body::Incoming, client::conn::http1, header};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::auth::Secret;

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take, its body included.
const ANSWER_PATIENCE: Duration = Duration::from_mins(1);
/// How large an answer may be.
const ANSWER_MAX: usize = 256 * 1024 * 1024;

/// Asks one server.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    way: Way,
    token: Option<Secret>,
}

/// How a server is reached.
#[derive(Clone, Debug)]
enum Way {
    Http(Box<legacy::Client<HttpConnector, Body>>),
    Https(Box<Secure>),
    Socket(PathBuf),
}

/// A server that is reached by TLS.
#[derive(Clone, Debug)]
struct Secure {
    speaker: trust::Speaker,
    trust: Trust,
    host: String,
    port: u16,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer that comes in parts.
#[derive(Debug)]
pub struct Parts {
    /// The HTTP status.
    pub status: u16,
    base: String,
    body: Incoming,
}

/// A body to send, with its media type.
pub type Content = (&'static str, Vec<u8>);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address makes no sense.
    #[error(
        "`{0}` is not the address of a Berth: write http://host:port, https://host:port or unix:///path/of/its/socket"
    )]
    Address(String),
    /// The request could not be made.
    #[error("the request makes no sense")]
    Request(#[from] hyper::http::Error),
    /// Nobody answers there.
    #[error("no Berth answers at {base}")]
    Unreachable {
        /// The address.
        base: String,
        /// Why.
        source: legacy::Error,
    },
    /// Nobody is believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// There is no TLS with it, or its certificate is not believed.
    #[error("no TLS with {base}")]
    Tls {
        /// The address.
        base: String,
        /// What a person can do.
        advice: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("no Berth answers at {base}")]
    Unconnected {
        /// The address.
        base: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody answers at the socket.
    #[error("no Berth answers at the socket {}", .path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The answer broke off.
    #[error("the answer of {base} broke off")]
    Broken {
        /// The address.
        base: String,
        /// Why.
        source: hyper::Error,
    },
    /// The answer did not come in time.
    #[error("the Berth at {base} did not answer within {} s", ANSWER_PATIENCE.as_secs())]
    Slow {
        /// The address.
        base: String,
    },
    /// The answer is larger than any answer should be.
    #[error("the answer of {base} is too large")]
    TooLarge {
        /// The address.
        base: String,
    },
}

impl Client {
    /// A client of the server at `base`, such as `http://127.0.0.1:8000` or
    /// `unix:///run/berth/berth.sock`.
    pub fn new(base: &str) -> Result<Self, Error> {
        Self::with_trust(base, &Trust::Machine)
    }

    /// The same, where an `https` one is believed by this.
    pub fn with_trust(base: &str, trust: &Trust) -> Result<Self, Error> {
        let wrong = || Error::Address(base.to_owned());
        if let Some(path) = base.strip_prefix("unix://") {
            let path = Path::new(path);
            return if path.is_absolute() { Ok(Self::of_socket(path)) } else { Err(wrong()) };
        }
        let trimmed = base.trim_end_matches('/');
        let uri: Uri = trimmed.parse().map_err(|_| wrong())?;
        let host = uri.host().filter(|_| uri.path().len() <= 1).ok_or_else(wrong)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                let speaker = trust::Speaker::new(trust)?;
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let port = uri.port_u16().unwrap_or(443);
                let way =
                    Way::Https(Box::new(Secure { speaker, trust: trust.clone(), host, port }));
                return Ok(Self { base: trimmed.to_owned(), way, token: None });
            }
            _ => return Err(wrong()),
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        connector.set_nodelay(true);
        // A connection for each request: one kept open may be closed by the server, which cuts
        // idle ones, at the moment in which it is used again.
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self { base: trimmed.to_owned(), way: Way::Http(Box::new(http)), token: None })
    }

    /// A client of the server at a socket of this machine.
    pub fn of_socket(path: &Path) -> Self {
        let base = "http://localhost".to_owned();
        Self { base, way: Way::Socket(path.to_owned()), token: None }
    }

    /// The same, signed in by a token.
    #[must_use]
    pub fn with_token(self, token: Option<Secret>) -> Self {
        Self { token, ..self }
    }

    /// The address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks, and waits for the whole answer.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        content: Option<Content>,
    ) -> Result<Answer, Error> {
        let asking = async {
            let response = self.send(method, path, "application/json", content).await?;
            let status = response.status().as_u16();
            let parts = Parts { status, base: self.base.clone(), body: response.into_body() };
            parts.whole().await
        };
        let slow = || Error::Slow { base: self.base.clone() };
        tokio::time::timeout(ANSWER_PATIENCE, asking).await.map_err(|_| slow())?
    }

    /// Asks, and gives the answer as it comes.
    pub async fn follow(&self, path: &str, accept: &str) -> Result<Parts, Error> {
        let sending = self.send(Method::GET, path, accept, None);
        let slow = || Error::Slow { base: self.base.clone() };
        let response =
            tokio::time::timeout(ANSWER_PATIENCE, sending).await.map_err(|_| slow())??;
        let status = response.status().as_u16();
        Ok(Parts { status, base: self.base.clone(), body: response.into_body() })
    }

    /// Asks for the bytes from a first to a last one, if the content still has this validator.
    pub async fn range(
        &self,
        path: &str,
        (first, last): (u64, u64),
        etag: &str,
    ) -> Result<Parts, Error> {
        let request = Request::builder()
            .uri(format!("{}{path}", self.base))
            .header(header::RANGE, format!("bytes={first}-{last}"))
            .header(header::IF_RANGE, etag);
        let slow = || Error::Slow { base: self.base.clone() };
        let asking = self.deliver(request, Body::empty());
        let response =
            tokio::time::timeout(ANSWER_PATIENCE, asking).await.map_err(|_| slow())??;
        let status = response.status().as_u16();
        Ok(Parts { status, base: self.base.clone(), body: response.into_body() })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        content: Option<Content>,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::ACCEPT, accept);
        let body = match content {
            None => Body::empty(),
            Some((kind, bytes)) => {
                request = request.header(header::CONTENT_TYPE, kind);
                Body::from(bytes)
            }
        };
        self.deliver(request, body).await
    }

    /// Sends a file whose blocks are these, however long that takes.
    pub async fn upload(
        &self,
        path: &str,
        size: u64,
        is_new: bool,
        blocks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Answer, Error> {
        let mut request = Request::builder()
            .method(Method::PUT)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, size);
        if is_new {
            request = request.header(header::IF_NONE_MATCH, "*");
        }
        let response = self.deliver(request, Body::from_stream(blocks)).await?;
        let status = response.status().as_u16();
        Parts { status, base: self.base.clone(), body: response.into_body() }.whole().await
    }

    /// Sends blocks of a file, of which there are so many bytes, however long that takes.
    pub async fn part(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        size: u64,
        blocks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<Answer, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_LENGTH, size);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let response = self.deliver(request, Body::from_stream(blocks)).await?;
        let status = response.status().as_u16();
        Parts { status, base: self.base.clone(), body: response.into_body() }.whole().await
    }

    async fn deliver(
        &self,
        mut request: hyper::http::request::Builder,
        body: Body,
    ) -> Result<Response<Incoming>, Error> {
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        match &self.way {
            Way::Http(http) => {
                let unreachable = |source| Error::Unreachable { base: self.base.clone(), source };
                http.request(request.body(body)?).await.map_err(unreachable)
            }
            Way::Https(secure) => {
                let request = request.header(header::HOST, self.host()).body(body)?;
                self.send_securely(secure, request).await
            }
            Way::Socket(path) => {
                let request = request.header(header::HOST, "localhost").body(body)?;
                let source = |source| Error::Socket { path: path.clone(), source };
                send_by_socket(path, request).await.map_err(source)
            }
        }
    }
}

impl Client {
    /// The machine and the port, as a request names them.
    fn host(&self) -> String {
        let host = Uri::try_from(&self.base).ok();
        host.as_ref().and_then(Uri::authority).map_or_else(String::new, ToString::to_string)
    }

    async fn connected(&self, host: &str, port: u16) -> Result<TcpStream, Error> {
        let connecting = TcpStream::connect((host, port));
        let connected = tokio::time::timeout(CONNECT_PATIENCE, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let unconnected = |source| Error::Unconnected { base: self.base.clone(), source };
        let stream = connected.map_err(unconnected)?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    /// A connection of its own, without TLS.
    async fn plain(&self) -> Result<TcpStream, Error> {
        let uri = Uri::try_from(&self.base).ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let port = uri.as_ref().and_then(Uri::port_u16).unwrap_or(80);
        self.connected(host.trim_start_matches('[').trim_end_matches(']'), port).await
    }

    /// A connection of its own, by TLS.
    async fn secured(
        &self,
        Secure { speaker, trust, host, port }: &Secure,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, Error> {
        let stream = self.connected(host, *port).await?;
        let shaking = tokio::time::timeout(CONNECT_PATIENCE, speaker.secure(stream, host)).await;
        let stream = shaking.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        stream.map_err(|source| {
            let file = match trust {
                Trust::Roots(path) => Some(path.as_path()),
                Trust::Machine | Trust::Fingerprint(_) => None,
            };
            let base = self.base.clone();
            Error::Tls { base, advice: trust::advice(speaker, file), source }
        })
    }

    async fn send_securely(
        &self,
        secure: &Secure,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Error> {
        let stream = self.secured(secure).await?;
        let unconnected = |source| Error::Unconnected { base: self.base.clone(), source };
        send_by(stream, request).await.map_err(unconnected)
    }
}

async fn send_by_socket(path: &Path, request: Request<Body>) -> io::Result<Response<Incoming>> {
    send_by(local(path).await?, request).await
}

/// A connection of its own, by a socket of this machine.
async fn local(path: &Path) -> io::Result<UnixStream> {
    let connecting = tokio::time::timeout(CONNECT_PATIENCE, UnixStream::connect(path));
    connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Sends a request by a connection of its own.
async fn send_by(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    mut request: Request<Body>,
) -> io::Result<Response<Incoming>> {
    let broken = |error: hyper::Error| io::Error::other(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends with the answer, or when nobody wants that any more.
    tokio::spawn(connection);
    // By a connection of one's own, only the path is named.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(broken)
}

impl Parts {
    /// The next part.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            let broken = |source| Error::Broken { base: self.base.clone(), source };
            if let Ok(part) = frame.map_err(broken)?.into_data() {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    /// All of it.
    pub async fn whole(mut self) -> Result<Answer, Error> {
        let mut body = Vec::new();
        while let Some(part) = self.next().await? {
            if ANSWER_MAX < body.len() + part.len() {
                return Err(Error::TooLarge { base: self.base });
            }
            body.extend_from_slice(&part);
        }
        Ok(Answer { status: self.status, body })
    }
}
