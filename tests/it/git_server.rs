//! An HTTP server on the loopback with git's own program behind it: smart HTTP as real hosts speak
//! it, with optional logins, counted connections and a few ways to be less able than others.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::Command,
    task::AbortHandle,
};
use tokio_util::io::ReaderStream;

type Body = BoxBody<Bytes, std::io::Error>;

/// What a server answers.
#[derive(Clone)]
pub(crate) enum Answers {
    /// What `git http-backend` says about the repositories in a folder.
    Git(PathBuf),
    /// The same, for whoever sends this `Authorization` header.
    Private(PathBuf, String),
    /// The same, from a server that can't give a part of a history.
    Whole(PathBuf),
    /// Always this status, with this `Location`.
    Status(u16, Option<String>),
}

/// An HTTP server on the loopback, until it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Seen>,
    task: AbortHandle,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Server {
    pub(crate) fn start(answers: Answers) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = TcpListener::from_std(listener).unwrap();
        let seen = Arc::<Seen>::default();
        let counted = Arc::clone(&seen);
        let serve = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let (answers, seen) = (answers.clone(), Arc::clone(&counted));
                let service = service_fn(move |request: Request<Incoming>| {
                    let line = format!("{} {}", request.method(), request.uri());
                    seen.requests.lock().unwrap().push(line);
                    answer(request, answers.clone())
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        };
        Self { port, seen, task: tokio::spawn(serve).abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        self.url_of("app.git")
    }

    /// The address of one of the repositories.
    pub(crate) fn url_of(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// How many questions for a pack there were so far; one fetch has one or two.
    pub(crate) fn posts(&self) -> usize {
        let requests = self.seen.requests.lock().unwrap();
        requests.iter().filter(|line| line.starts_with("POST ")).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    answers: Answers,
) -> Result<Response<Body>, Infallible> {
    let sent = request.headers().get("authorization");
    let sent = sent.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    Ok(match answers {
        Answers::Git(folder) => run_git(request, &folder).await,
        Answers::Private(folder, expected) if sent == expected => run_git(request, &folder).await,
        Answers::Private(..) => status(401, None),
        Answers::Whole(folder) => without_parts(run_git(request, &folder).await).await,
        Answers::Status(code, location) => status(code, location),
    })
}

fn status(code: u16, location: Option<String>) -> Response<Body> {
    let mut response = Response::builder().status(code);
    if code == 401 {
        response = response.header("www-authenticate", "Basic realm=\"x\"");
    }
    if let Some(location) = location {
        response = response.header("location", location);
    }
    response.body(full(Bytes::new())).unwrap()
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed()
}

/// The answer without the word that says that a part of a history can be had.
async fn without_parts(response: Response<Body>) -> Response<Body> {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let (word, other) = (b" shallow ", b" sha11ow ");
    let at = bytes.windows(word.len()).position(|seen| seen == word);
    let mut bytes = bytes.to_vec();
    if let Some(at) = at {
        bytes[at..at + word.len()].copy_from_slice(other);
    }
    Response::from_parts(head, full(bytes.into()))
}

/// One request, answered by git's own CGI program. What it says is passed on as it comes.
pub(crate) async fn run_git(request: Request<Incoming>, folder: &Path) -> Response<Body> {
    let header = |name: &str| {
        let value = request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        value.unwrap_or_default()
    };
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REQUEST_METHOD", request.method().as_str())
        .env("PATH_INFO", request.uri().path())
        .env("QUERY_STRING", request.uri().query().unwrap_or(""))
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut child = command.env("CONTENT_LENGTH", body.len().to_string()).spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
        drop(stdin);
        let _ = child.wait().await;
    });
    let mut output = BufReader::with_capacity(1 << 16, stdout);
    let mut response = Response::builder();
    let mut line = String::new();
    while output.read_line(&mut line).await.unwrap() != 0 && !line.trim_end().is_empty() {
        let (name, value) = line.trim_end().split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(&value[..3]),
            _ => response.header(name, value),
        };
        line.clear();
    }
    let frames = ReaderStream::with_capacity(output, 1 << 16).map(|read| read.map(Frame::data));
    response.body(BodyExt::boxed(StreamBody::new(frames))).unwrap()
}
