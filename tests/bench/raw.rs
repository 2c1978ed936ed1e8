//! The raw client: what the engine can do when nobody decides anything.
//!
//! Connections are kept, eight requests are in flight, and nothing is asked that is not needed.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// More requests in flight make nothing faster.
pub(crate) const IN_FLIGHT: usize = 8;

/// A kept connection.
pub(crate) struct Line {
    sender: SendRequest<Full<Bytes>>,
}

impl Line {
    pub(crate) async fn open(socket: &Path) -> std::io::Result<Self> {
        let stream = TokioIo::new(UnixStream::connect(socket).await?);
        let shaken = hyper::client::conn::http1::handshake(stream).await;
        let (sender, connection) = shaken.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// One request with its whole answer.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> (u16, Bytes) {
        let body = Full::new(Bytes::copy_from_slice(body.unwrap_or("").as_bytes()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "engine")
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.into_body().collect().await.unwrap().to_bytes())
    }

    /// A call that has to succeed.
    pub(crate) async fn must(&mut self, method: &str, path: &str, body: Option<&str>) -> Bytes {
        let (status, answer) = self.call(method, path, body).await;
        let is_fine = (200..300).contains(&status) || status == 304;
        assert!(is_fine, "{method} {path}: {status} {}", String::from_utf8_lossy(&answer));
        answer
    }

    /// Makes a container; answers its id.
    pub(crate) async fn create(&mut self, version: &str, name: &str, body: &str) -> String {
        let path = format!("{version}/containers/create?name={name}");
        let answer = self.must("POST", &path, Some(body)).await;
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        answer["Id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn start(&mut self, version: &str, id: &str) {
        self.must("POST", &format!("{version}/containers/{id}/start"), None).await;
    }

    /// Stops and removes it, with the calls that Berth uses.
    pub(crate) async fn end(&mut self, version: &str, id: &str) {
        self.must("POST", &format!("{version}/containers/{id}/stop?t=10"), None).await;
        self.must("DELETE", &format!("{version}/containers/{id}?force=true"), None).await;
    }
}

/// Does something with each item, [`IN_FLIGHT`] at a time, each on a kept connection.
pub(crate) async fn each<T>(socket: &Path, items: &[T], work: impl AsyncFn(&mut Line, &T)) {
    let next = AtomicUsize::new(0);
    let worker = async || {
        let mut line = Line::open(socket).await.unwrap();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(&mut line, item).await;
        }
    };
    let workers = (0..IN_FLIGHT.min(items.len())).map(|_| worker());
    futures_util::future::join_all(workers).await;
}

/// Percent-encodes a query value.
pub(crate) fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let one = |byte| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(one).collect()
}
