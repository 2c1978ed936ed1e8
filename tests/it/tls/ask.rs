//! A client of both protocols.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Harbour, PATIENCE};
use crate::api::stage::Answer;

/// A connection by HTTP/2.
pub(super) struct Many {
    pub(super) sender: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Many {
    pub(super) async fn open(harbour: &Harbour) -> Self {
        let stream = harbour.connect(&["h2"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let made = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream));
        let (sender, connection) = made.await.unwrap();
        tokio::spawn(connection);
        Self { sender, authority: harbour.stage.address.to_string() }
    }

    /// Asks, and gives the answer as it comes.
    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Response<Incoming>, hyper::Error> {
        let mut request =
            Request::builder().method(method).uri(format!("https://{}{path}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).unwrap();
        let asking = self.sender.clone().send_request(request);
        tokio::time::timeout(PATIENCE, asking).await.expect("no answer came")
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn get(&self, path: &str) -> (u16, String) {
        self.whole("GET", path, &[]).await
    }

    pub(super) async fn whole(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, String) {
        let answer = self.ask(method, path, headers).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

impl Harbour {
    /// Asks by HTTP/1 and TLS.
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut stream = self.connect(&["http/1.1"]).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            self.stage.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        let reading = stream.read_to_string(&mut text);
        tokio::time::timeout(PATIENCE, reading).await.expect("the answer did not end").unwrap();
        Answer::read(&text)
    }
}

impl Many {
    /// Asks for another host from now on.
    pub(super) fn rename(&mut self, authority: &str) {
        authority.clone_into(&mut self.authority);
    }
}
