//! Commands in containers: made, followed to their end, and asked for their exit code.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::io::StreamReader;

use super::super::Error;
use super::errors::{chain, within};
use super::frames::Tail;
use super::transport::decode;
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
}

impl Docker {
    /// Runs a command in a container; answers its exit code and the end of its output.
    pub(super) async fn run_command(
        &self,
        id: &ContainerId,
        command: &[String],
    ) -> Result<(i64, String), Error> {
        let path = format!("/containers/{}/exec", full(id)?);
        let body = json!({ "AttachStdout": true, "AttachStderr": true, "Cmd": command });
        let making = self.transport().post("exec", &path, &body);
        let made: Made = decode("exec", &within("exec", EXEC_LIMIT, making).await?)?;
        // It becomes a part of paths.
        let is_id = |c: char| c.is_ascii_alphanumeric();
        if made.id.is_empty() || ID_CHARS_MAX < made.id.len() || !made.id.chars().all(is_id) {
            return Err(broken("it names no command".to_owned()));
        }
        let output = self.follow(&made.id).await?;
        let ended = self.transport().get("exec", &format!("/exec/{}/json", made.id)).await?;
        let ended: Ended = decode("exec", &ended)?;
        let code = ended
            .exit_code
            .ok_or_else(|| broken("the command's output ended before the command".to_owned()))?;
        Ok((code, String::from_utf8_lossy(&output).trim_end().to_owned()))
    }

    /// Starts a command; answers the end of its output.
    async fn follow(&self, id: &str) -> Result<BytesMut, Error> {
        let start = json!({ "Detach": false, "Tty": false }).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/exec/{id}/start"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "tcp")
            .body(bollard::body_full(Bytes::from(start)))
            .map_err(|error| Error::Refused { status: 400, message: error.to_string() })?;
        let answer = self.transport().turned("exec", request).await?;
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

fn broken(message: String) -> Error {
    Error::Broken { call: "exec", message }
}
