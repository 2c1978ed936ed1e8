//! An HTTP server with git behind it.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    process::Stdio,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, process::Command, task::AbortHandle};

/// What a server answers.
#[derive(Clone)]
pub(crate) enum Answers {
    /// What `git http-backend` says about the repositories in a folder.
    Git(PathBuf),
    /// Always this status, with this `Location`.
    Status(u16, Option<String>),
}

/// An HTTP server on the loopback, until it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    task: AbortHandle,
}

impl Server {
    pub(crate) fn start(answers: Answers) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = TcpListener::from_std(listener).unwrap();
        let serve = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answers = answers.clone();
                let service = service_fn(move |request| answer(request, answers.clone()));
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        };
        Self { port, task: tokio::spawn(serve).abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/app.git", self.port)
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
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match answers {
        Answers::Git(folder) => run_git(request, &folder).await,
        Answers::Status(status, location) => {
            let mut response = Response::builder().status(status);
            if status == 401 {
                response = response.header("www-authenticate", "Basic realm=\"x\"");
            }
            if let Some(location) = location {
                response = response.header("location", location);
            }
            response.body(Full::default()).unwrap()
        }
    })
}

/// One request, answered by git's own CGI program.
async fn run_git(request: Request<Incoming>, folder: &Path) -> Response<Full<Bytes>> {
    let header = |name: &str| {
        let value = request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        value.unwrap_or_default()
    };
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", request.method().as_str())
        .env("PATH_INFO", request.uri().path())
        .env("QUERY_STRING", request.uri().query().unwrap_or(""))
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut child = command.env("CONTENT_LENGTH", body.len().to_string()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let write = async move { stdin.write_all(&body).await };
    let (_, output) = tokio::join!(write, child.wait_with_output());
    let output = output.unwrap().stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(&value[..3]),
            _ => response.header(name, value),
        };
    }
    response.body(Full::from(output[end + 4..].to_vec())).unwrap()
}
