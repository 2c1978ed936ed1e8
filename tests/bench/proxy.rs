//! A proxy between Berth and the engine that writes down every request, as it passes.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::Instant,
};

/// A request, when it came and when its answer began.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) answered: Instant,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn is_mutating(&self) -> bool {
        self.method != Method::GET
    }

    /// The request without ids, queries and the version: `POST /containers/:id/start`.
    pub(crate) fn what(&self) -> String {
        let path = self.path.split('?').next().unwrap_or("");
        let plain = |part: &&str| !part.starts_with("v1.");
        let part = |part: &str| if part.len() == 64 { ":id".to_owned() } else { part.to_owned() };
        let parts: Vec<_> = path.split('/').filter(plain).map(part).collect();
        format!("{} {}", self.method, parts.join("/"))
    }
}

/// The proxy.
pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    calls: Arc<Mutex<Vec<Call>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(crate) fn start(engine: &Path, socket: PathBuf) -> Self {
        let listener = UnixListener::bind(&socket).unwrap();
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let (engine, book) = (engine.to_owned(), Arc::clone(&calls));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (engine, book) = (engine.clone(), Arc::clone(&book));
                let serve = service_fn(move |request| pass(engine.clone(), book.clone(), request));
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(stream), serve));
            }
        });
        Self { socket, calls, task }
    }

    /// What passed since the last time this was asked.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// Whether something passed that nobody has taken.
    pub(crate) fn len(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    engine: PathBuf,
    book: Arc<Mutex<Vec<Call>>>,
    request: Request<Incoming>,
) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (method, path) = (head.method.clone(), head.uri.to_string());
    let stream = TokioIo::new(UnixStream::connect(&engine).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::from_parts(head, Full::new(body.clone()));
    let answer = sender.send_request(request).await?;
    let answered = Instant::now();
    book.lock().unwrap().push(Call { at, answered, method, path, body });
    Ok(answer)
}
