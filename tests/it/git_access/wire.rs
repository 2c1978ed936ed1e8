//! An HTTP server that remembers what it was asked, and streams what it answers.

use std::{
    convert::Infallible,
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};
use tokio_rustls::TlsAcceptor;

use crate::git_server::run_git;

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;
type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
pub(crate) type Answer = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(super) path: String,
    pub(super) login: Option<String>,
    pub(super) range: Option<String>,
}

/// The server, until it is dropped.
pub(crate) struct Wire {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: AbortHandle,
}

/// Where a server holds those who ask.
pub(super) struct Gate(watch::Receiver<bool>);

impl Gate {
    /// Waits until somebody has asked.
    pub(super) async fn reached(&self) {
        self.0.clone().wait_for(|is_reached| *is_reached).await.unwrap();
    }
}

impl Wire {
    pub(super) fn start(answer: Answer) -> Self {
        Self::speaking(answer, None)
    }

    /// A server that speaks TLS.
    pub(super) fn secured(answer: Answer, acceptor: TlsAcceptor) -> Self {
        Self::speaking(answer, Some(acceptor))
    }

    fn speaking(answer: Answer, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = TcpListener::from_std(listener).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let serve = serve((listener, acceptor), answer, Arc::clone(&seen));
        Self { port, seen, task: tokio::spawn(serve).abort_handle() }
    }

    /// A server that never answers.
    pub(super) fn held() -> (Gate, Self) {
        let (sender, reached) = watch::channel(false);
        let sender = Arc::new(sender);
        let wire = Self::start(Arc::new(move |_| {
            let sender = Arc::clone(&sender);
            Box::pin(async move {
                sender.send_replace(true);
                std::future::pending().await
            })
        }));
        (Gate(reached), wire)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    (listener, acceptor): (TcpListener, Option<TlsAcceptor>),
    answer: Answer,
    known: Arc<Mutex<Vec<Seen>>>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answer, known) = (Arc::clone(&answer), Arc::clone(&known));
        let service = service_fn(move |request: Request<Incoming>| {
            known.lock().unwrap().push(Seen::of(&request));
            let answering = answer(request);
            async move { Ok::<_, Infallible>(answering.await) }
        });
        let http = hyper::server::conn::http1::Builder::new();
        match acceptor.clone() {
            None => drop(tokio::spawn(http.serve_connection(TokioIo::new(stream), service))),
            Some(acceptor) => drop(tokio::spawn(async move {
                // Who does not believe us goes away.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            })),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn of(request: &Request<Incoming>) -> Self {
        let header = |name: &str| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
        Self {
            path: request.uri().path().to_owned(),
            login: header("authorization"),
            range: header("range"),
        }
    }
}

/// The header of a login.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// The repositories below a folder, for those who have the login.
pub(super) fn git(folder: &Path, login: Option<String>) -> Answer {
    let folder = folder.to_owned();
    Arc::new(move |request| {
        let (folder, login) = (folder.clone(), login.clone());
        Box::pin(async move {
            if !has_login(&request, login.as_deref()) {
                return status(401, &[("www-authenticate", "Basic realm=\"x\"")]);
            }
            run_git(request, &folder).await
        })
    })
}

pub(super) fn has_login(request: &Request<Incoming>, login: Option<&str>) -> bool {
    let given = request.headers().get("authorization").map(|value| value.to_str().unwrap());
    login.is_none() || given == login
}

pub(super) fn status(status: u16, headers: &[(&str, &str)]) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(boxed(Full::default())).unwrap()
}

pub(super) fn boxed(body: Full<Bytes>) -> Body {
    body.map_err(|never| match never {}).boxed()
}
