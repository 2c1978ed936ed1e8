//! A terminal, as the command line talks with it.

use std::io;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{self, Message, protocol::Role},
};

use super::{ANSWER_PATIENCE, Answer, Client, Error, Parts, Way};
use crate::server::terminals::line;

/// The largest piece that is sent at once; a server takes more.
const PIECE: usize = 64 * 1024;

type Upgraded = TokioIo<hyper::upgrade::Upgraded>;

/// A terminal that is open. Its two halves are used at once: whoever only writes until everything is
/// read may wait for a command that waits for its reader.
pub struct Talk {
    /// What the command reads.
    pub input: Input,
    /// What comes from it.
    pub output: Output,
}

/// What a command reads.
pub struct Input {
    base: String,
    to: SplitSink<WebSocketStream<Upgraded>, Message>,
}

/// What comes from a command.
pub struct Output {
    base: String,
    from: SplitStream<WebSocketStream<Upgraded>>,
}

/// What comes from a terminal.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The command's output.
    Out(Bytes),
    /// The command's output for errors.
    Err(Bytes),
    /// How it ended.
    End(Value),
}

/// A terminal, or the answer that there is none.
pub enum Opened {
    /// It is open.
    Talk(Box<Talk>),
    /// It is refused.
    Refused(Answer),
}

impl Client {
    /// Opens the terminal at this path.
    pub async fn terminal(&self, path: &str) -> Result<Opened, Error> {
        let slow = || Error::Slow { base: self.base.clone() };
        let opening = tokio::time::timeout(ANSWER_PATIENCE, self.open(path));
        opening.await.map_err(|_| slow())?
    }

    async fn open(&self, path: &str) -> Result<Opened, Error> {
        let own = |source| Error::Unconnected { base: self.base.clone(), source };
        let key = line::key().map_err(own)?;
        let mut request = Request::builder()
            .uri(path)
            .header(header::HOST, self.host())
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .header(header::SEC_WEBSOCKET_PROTOCOL, line::PROTOCOL);
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        let request = request.body(Body::empty())?;
        let answer = match &self.way {
            Way::Http(_) => upgrade(self.plain().await?, request).await,
            Way::Https(secure) => upgrade(self.secured(secure).await?, request).await,
            Way::Socket(at) => {
                let source = |source| Error::Socket { path: at.clone(), source };
                upgrade(super::local(at).await.map_err(source)?, request).await
            }
        };
        let answer = answer.map_err(own)?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = answer.status().as_u16();
            let parts = Parts { status, base: self.base.clone(), body: answer.into_body() };
            return parts.whole().await.map(Opened::Refused);
        }
        let said = answer.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if said.is_none_or(|said| said.as_bytes() != line::accepts(&key).as_bytes()) {
            return Err(own(io::Error::other("it does not speak websocket")));
        }
        let turned =
            hyper::upgrade::on(answer).await.map_err(|error| own(io::Error::other(error)))?;
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(turned), Role::Client, None);
        let (to, from) = socket.await.split();
        let input = Input { base: self.base.clone(), to };
        let output = Output { base: self.base.clone(), from };
        Ok(Opened::Talk(Box::new(Talk { input, output })))
    }
}

async fn upgrade(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> io::Result<hyper::Response<hyper::body::Incoming>> {
    let broken = |error: hyper::Error| io::Error::other(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(broken)
}

fn lost(base: &str, error: &tungstenite::Error) -> Error {
    Error::Unconnected { base: base.to_owned(), source: io::Error::other(error.to_string()) }
}

impl Output {
    /// What comes next; none when the connection has ended.
    pub async fn next(&mut self) -> Result<Option<Told>, Error> {
        while let Some(message) = self.from.next().await {
            let mut bytes = match message.map_err(|error| lost(&self.base, &error))? {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => return Ok(None),
                _ => continue,
            };
            let Some(channel) = bytes.first().copied() else { continue };
            let rest = bytes.split_off(1);
            match channel {
                line::OUTPUT => return Ok(Some(Told::Out(rest))),
                line::ERRORS => return Ok(Some(Told::Err(rest))),
                line::STATUS => {
                    let status = serde_json::from_slice(&rest).unwrap_or_default();
                    return Ok(Some(Told::End(status)));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

impl Input {
    /// Sends what the command is to read.
    pub async fn send(&mut self, input: &[u8]) -> Result<(), Error> {
        for piece in input.chunks(PIECE) {
            self.send_as(line::INPUT, piece).await?;
        }
        Ok(())
    }

    /// Says that there is nothing more to read.
    pub async fn end_input(&mut self) -> Result<(), Error> {
        self.send_as(line::CLOSE, &[line::INPUT]).await
    }

    /// Says how large the terminal is.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), Error> {
        let size = json!({ "Width": columns, "Height": rows }).to_string();
        self.send_as(line::RESIZE, size.as_bytes()).await
    }

    /// Says something on a channel, as it is.
    pub async fn send_as(&mut self, channel: u8, rest: &[u8]) -> Result<(), Error> {
        let message = Message::Binary(line::said(channel, rest));
        self.to.send(message).await.map_err(|error| lost(&self.base, &error))
    }
}
