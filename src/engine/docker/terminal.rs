//! Commands that somebody talks with: a connection that is turned into the command's own streams.
//!
//! # Caveats
//! The engine's API can't end a command. When nobody is there any more, a second command in the
//! same container sends the hang-up signal to the processes of the first, which bear a mark in their
//! environment; that takes `sh`, `tr` and `grep` in the container.

use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, ReadHalf};

use super::super::Error;
use super::super::terminal::{Asked, Control, MARK, Size, Terminal, Written};
use super::Docker;
use super::errors::{chain, within};
use super::exec::broken;
use super::frames::Frames;
use super::transport::{ApiVersion, SHORT_LIMIT};
use crate::state::ContainerId;

/// The first version of the API that is told the size of a terminal before the command starts.
const SIZED_AT_START: ApiVersion = ApiVersion(1, 42);
/// How often, and how long apart, a command whose output has ended is asked for its code.
const CODE_LOOKS: u32 = 40;
const CODE_LOOK: Duration = Duration::from_millis(25);
/// How long the second command may take.
const HANG_UP_LIMIT: Duration = Duration::from_secs(3);
/// How much is read at once.
const PIECE: usize = 16 << 10;

/// Sends the signal to every process that has the mark, given as the first argument.
const HANG_UP: &str = r#"for p in /proc/[0-9]*; do
  if [ -r "$p/environ" ] && tr '\000' '\n' <"$p/environ" | grep -qx "$1"; then
    kill -HUP "${p#/proc/}"
  fi
done 2>/dev/null
exit 0"#;

type Turned = TokioIo<hyper::upgrade::Upgraded>;

/// What is asked of the engine. It never asks for more rights than the container has.
fn body(asked: &Asked) -> Value {
    let mut body = json!({
        "AttachStdin": asked.has_input,
        "AttachStdout": true,
        "AttachStderr": true,
        "Tty": asked.has_terminal,
        "Privileged": false,
        "Env": [format!("{MARK}={}", asked.mark)],
        "Cmd": asked.command,
    });
    if asked.has_terminal {
        // The usual keys are the command's own; nobody types these.
        body["DetachKeys"] = json!("ctrl-^,ctrl-@,ctrl-^,ctrl-@");
    }
    body
}

impl Docker {
    /// Runs a command in a container, to be talked with.
    pub(super) async fn open(&self, id: &ContainerId, asked: &Asked) -> Result<Terminal, Error> {
        let command = self.make_command(id, &body(asked)).await?;
        let mut start = json!({ "Detach": false, "Tty": asked.has_terminal });
        let version = self.transport().version().await?;
        if let Some(size) = asked.size.filter(|_| SIZED_AT_START <= version) {
            start["ConsoleSize"] = json!([size.rows, size.columns]);
        }
        let starting = self.start_command(&command, &start);
        let turned = within("exec", SHORT_LIMIT, starting).await?;
        let (output, input) = tokio::io::split(turned);
        let control = Held {
            docker: self.clone(),
            container: id.clone(),
            command,
            mark: format!("{MARK}={}", asked.mark),
        };
        if let Some(size) = asked.size.filter(|_| version < SIZED_AT_START)
            && let Err(error) = control.resize(size).await
        {
            // A command that has ended by now has no terminal any more.
            tracing::debug!(%error, "a terminal keeps the size that it has");
        }
        let frames = (!asked.has_terminal).then(|| Frames::of("exec"));
        let output = written(output, frames);
        Ok(Terminal { input: Box::new(input), output, control: Box::new(control) })
    }
}

fn written(
    from: ReadHalf<Turned>,
    frames: Option<Frames>,
) -> BoxStream<'static, Result<Written, Error>> {
    stream::try_unfold((from, frames), |(mut from, mut frames)| async move {
        loop {
            let told = frames.as_mut().map(Frames::take_told).transpose()?.flatten();
            if let Some((is_error, piece)) = told {
                let written = if is_error { Written::Err(piece) } else { Written::Out(piece) };
                return Ok(Some((written, (from, frames))));
            }
            let mut piece = BytesMut::with_capacity(PIECE);
            match from.read_buf(&mut piece).await {
                Ok(0) => return Ok(None),
                Ok(_) => match &mut frames {
                    Some(frames) => frames.push(&piece),
                    None => return Ok(Some((Written::Out(piece.freeze()), (from, frames)))),
                },
                Err(error) => return Err(broken(chain(&error))),
            }
        }
    })
    .boxed()
}

/// A command of this engine.
struct Held {
    docker: Docker,
    container: ContainerId,
    command: String,
    mark: String,
}

impl Held {
    async fn code(&self) -> Result<Option<i64>, Error> {
        for _ in 0..CODE_LOOKS {
            match self.docker.ended(&self.command).await {
                Ok(Some(code)) => return Ok(Some(code)),
                Ok(None) => tokio::time::sleep(CODE_LOOK).await,
                Err(Error::NotFound(_)) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Control for Held {
    fn resize(&self, size: Size) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let Size { columns, rows } = size;
            let path = format!("/exec/{}/resize?h={rows}&w={columns}", self.command);
            let asking = self.docker.transport().post("exec", &path, &Value::Null);
            within("exec", SHORT_LIMIT, asking).await.map(drop)
        })
    }

    fn exit_code(&self) -> BoxFuture<'_, Result<Option<i64>, Error>> {
        Box::pin(self.code())
    }

    fn hang_up(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let words = ["sh", "-c", HANG_UP, "sh", &self.mark].map(ToOwned::to_owned);
            let telling = self.docker.run_command(&self.container, &words);
            match within("exec", HANG_UP_LIMIT, telling).await? {
                (0, _) => Ok(()),
                (code, said) => Err(broken(format!("nobody could be told ({code}): {said}"))),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever gets into a container has there what the container has, and no more.
    #[test]
    fn no_command_has_more_rights_than_its_container() {
        let asked = Asked {
            command: vec!["id".to_owned()],
            has_terminal: true,
            has_input: true,
            size: None,
            mark: "m1".to_owned(),
        };
        let body = body(&asked);
        assert_eq!(body["Privileged"], false);
        let said: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(!said.contains(&"User") && !said.contains(&"WorkingDir"), "{said:?}");
        assert_eq!(body["Env"], json!(["BERTH_TERMINAL=m1"]));
    }
}
