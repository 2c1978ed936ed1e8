//! Commands in containers: made, followed to their end, and asked for their exit code.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;

use super::super::Error;
use super::errors::{chain, within};
use super::frames::Tail;
use super::transport::{SHORT_LIMIT, decode};
use super::{Docker, full};
use crate::state::ContainerId;

/// How long the engine may take to make a command ready. What comes then is the command's own time.
const EXEC_LIMIT: Duration = Duration::from_secs(3);
/// How much of a command's output is kept: its end.
const OUTPUT_BYTES_MAX: usize = 4096;
/// The longest id of a command.
const ID_CHARS_MAX: usize = 128;

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Deserialize)]
struct Ended {
    #[serde(rename = "ExitCode")]
    exit_code: Option<i64>,
    #[serde(rename = "Running", default)]
    running: bool,
}

impl Docker {
    /// Runs a command in a container; answers its exit code and the end of its output.
    pub(super) async fn run_command(
        &self,
        id: &ContainerId,
        command: &[String],
    ) -> Result<(i64, String), Error> {
        let body = json!({ "AttachStdout": true, "AttachStderr": true, "Cmd": command });
        let made = self.make_command(id, &body).await?;
        let output = self.follow(&made).await?;
        let code = self.ended(&made).await?;
        let code =
            code.ok_or_else(|| broken("the command's output ended before the command".to_owned()))?;
        Ok((code, String::from_utf8_lossy(&output).trim_end().to_owned()))
    }

    /// Makes a command ready in a container; answers its id.
    pub(super) async fn make_command(
        &self,
        id: &ContainerId,
        body: &Value,
    ) -> Result<String, Error> {
        let path = format!("/containers/{}/exec", full(id)?);
        let making = self.transport().post("exec", &path, body);
        let made: Made = decode("exec", &within("exec", EXEC_LIMIT, making).await?)?;
        // It becomes a part of paths.
        let is_id = |c: char| c.is_ascii_alphanumeric();
        if made.id.is_empty() || ID_CHARS_MAX < made.id.len() || !made.id.chars().all(is_id) {
            return Err(broken("it names no command".to_owned()));
        }
        Ok(made.id)
    }

    /// The exit code of a command; none while it runs.
    pub(super) async fn ended(&self, id: &str) -> Result<Option<i64>, Error> {
        let path = format!("/exec/{id}/json");
        let asking = self.transport().get("exec", &path);
        let ended: Ended = decode("exec", &within("exec", SHORT_LIMIT, asking).await?)?;
        Ok(ended.exit_code.filter(|_| !ended.running))
    }

    /// Starts a command; answers the connection, which is the command's own from then on.
    pub(super) async fn start_command(
        &self,
        id: &str,
        start: &Value,
    ) -> Result<TokioIo<Upgraded>, Error> {
        let answer = self.started(id, start).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(broken("the connection was not handed over".to_owned()));
        }
        let turned = hyper::upgrade::on(answer).await;
        Ok(TokioIo::new(turned.map_err(|error| broken(chain(&error)))?))
    }

    async fn started(&self, id: &str, start: &Value) -> Result<Response<Incoming>, Error> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/exec/{id}/start"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "tcp")
            .body(bollard::body_full(Bytes::from(start.to_string())))
            .map_err(|error| Error::Refused { status: 400, message: error.to_string() })?;
        self.transport().turned("exec", request).await
    }

    /// Starts a command; answers the end of its output.
    async fn follow(&self, id: &str) -> Result<BytesMut, Error> {
        let answer = self.started(id, &json!({ "Detach": false, "Tty": false })).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let turned = hyper::upgrade::on(answer).await;
            return read(TokioIo::new(turned.map_err(|error| broken(chain(&error)))?)).await;
        }
        let body = http_body_util::BodyDataStream::new(answer.into_body());
        let body = futures_util::TryStreamExt::map_err(body, std::io::Error::other);
        read(StreamReader::new(body)).await
    }
}

async fn read(mut from: impl AsyncRead + Unpin) -> Result<BytesMut, Error> {
    let (mut tail, mut piece) = (Tail::of("exec", OUTPUT_BYTES_MAX), BytesMut::new());
    loop {
        piece.clear();
        match from.read_buf(&mut piece).await {
            Ok(0) => return Ok(tail.output()),
            Ok(_) => tail.push(&piece)?,
            Err(error) => return Err(broken(chain(&error))),
        }
    }
}

pub(super) fn broken(message: String) -> Error {
    Error::Broken { call: "exec", message }
}
