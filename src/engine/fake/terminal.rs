//! Commands to talk with: a shell of a few words, enough to see that everything gets through.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, DuplexStream};
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::super::Error;
use super::super::terminal::{Asked, Control, Size, Terminal, Written};
use super::Fake;
use crate::state::{ContainerId, ContainerState};

/// How much may be on its way to a command.
const PIPE_BYTES: usize = 64 << 10;
/// How many pieces of its output may wait.
const PIECES_WAITING: usize = 64;
/// How often it is looked whether the container still runs.
const LOOK: Duration = Duration::from_millis(50);
/// What a command that was told to hang up, or whose container ended, answers.
const HUNG_UP: i64 = 129;
const KILLED: i64 = 137;

/// The marks of commands that were hung up, so that a test sees it.
pub(super) type HungUp = BTreeMap<String, u64>;

/// What a command and who talks with it share.
struct Run {
    asked: Asked,
    size: Mutex<Size>,
    code: Mutex<Option<i64>>,
    hung_up: CancellationToken,
    written: Sender<Result<Written, Error>>,
}

struct Held {
    fake: Fake,
    run: Arc<Run>,
}

impl Fake {
    pub(super) async fn open(&self, id: &ContainerId, asked: &Asked) -> Result<Terminal, Error> {
        self.call("exec", |state, _| {
            let thing = state.things.get(id);
            let thing = thing.ok_or_else(|| Error::NotFound(format!("No such container: {id}")))?;
            if thing.state != ContainerState::Running {
                return Err(Error::Conflict(format!("container {id} is not running")));
            }
            Ok(())
        })
        .await?;
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (written, output) = channel(PIECES_WAITING);
        let run = Arc::new(Run {
            asked: asked.clone(),
            size: Mutex::new(asked.size.unwrap_or(Size { columns: 0, rows: 0 })),
            code: Mutex::default(),
            hung_up: CancellationToken::new(),
            written,
        });
        tokio::spawn(live(self.clone(), id.clone(), Arc::clone(&run), far));
        Ok(Terminal {
            input: Box::new(near),
            output: ReceiverStream::new(output)
                .take_while(|piece| std::future::ready(!is_end(piece)))
                .boxed(),
            control: Box::new(Held { fake: self.clone(), run }),
        })
    }

    /// How often the processes of a command were told to hang up, by the command's mark.
    pub fn hung_up(&self) -> BTreeMap<String, u64> {
        self.with(|state, _| state.hung_up.clone())
    }
}

/// An empty piece says that there are no more.
fn is_end(piece: &Result<Written, Error>) -> bool {
    matches!(piece, Ok(Written::Out(bytes)) if bytes.is_empty())
}

impl Control for Held {
    fn resize(&self, size: Size) -> BoxFuture<'_, Result<(), Error>> {
        *self.run.size.lock().unwrap_or_else(PoisonError::into_inner) = size;
        async { Ok(()) }.boxed()
    }

    fn exit_code(&self) -> BoxFuture<'_, Result<Option<i64>, Error>> {
        let code = *self.run.code.lock().unwrap_or_else(PoisonError::into_inner);
        async move { Ok(code) }.boxed()
    }

    fn hang_up(&self) -> BoxFuture<'_, Result<(), Error>> {
        let mark = self.run.asked.mark.clone();
        self.fake.with(|state, _| *state.hung_up.entry(mark).or_default() += 1);
        self.run.hung_up.cancel();
        async { Ok(()) }.boxed()
    }
}

/// A command's life.
async fn live(fake: Fake, id: ContainerId, run: Arc<Run>, input: DuplexStream) {
    let ended = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let runs = |state: &mut super::State| {
                let thing = state.things.get(&id);
                thing.is_some_and(|thing| thing.state == ContainerState::Running)
            };
            if !fake.with(|state, _| runs(state)) {
                return;
            }
        }
    };
    let code = tokio::select! {
        code = work(&run, input) => code,
        () = run.hung_up.cancelled() => HUNG_UP,
        () = ended => KILLED,
    };
    *run.code.lock().unwrap_or_else(PoisonError::into_inner) = Some(code);
    let _ = run.written.send(Ok(Written::Out(Bytes::new()))).await;
}

async fn work(run: &Run, input: DuplexStream) -> i64 {
    let words: Vec<_> = run.asked.command.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["sh" | "bash"] => shell(run, input).await,
        // The shell that is there: what is asked for when nobody names a command.
        ["sh", "-c", line] if line.contains("exec bash") => shell(run, input).await,
        ["sh" | "bash", "-c", line, ..] => {
            let words: Vec<_> = line.split_whitespace().collect();
            one(run, &words, input).await.unwrap_or_else(|code| code)
        }
        words => one(run, words, input).await.unwrap_or_else(|code| code),
    }
}

/// Reads lines and does what they say.
async fn shell(run: &Run, input: DuplexStream) -> i64 {
    let mut lines = BufReader::new(input);
    let mut code = 0;
    loop {
        if run.asked.has_terminal {
            say(run, "$ ").await;
        }
        let mut line = Vec::new();
        match read_line(run, &mut lines, &mut line).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return code,
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<_> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let (none, _) = tokio::io::duplex(1);
        match one(run, &words, none).await {
            Ok(done) => code = done,
            Err(left) => return left,
        }
    }
}

/// A line; false at the end. A terminal echoes what is typed.
async fn read_line(
    run: &Run,
    input: &mut BufReader<DuplexStream>,
    line: &mut Vec<u8>,
) -> std::io::Result<bool> {
    if !run.asked.has_terminal {
        return Ok(input.read_until(b'\n', line).await? != 0);
    }
    loop {
        match input.read_u8().await {
            Ok(b'\r' | b'\n') => {
                say(run, "\n").await;
                return Ok(true);
            }
            Ok(4) if line.is_empty() => return Ok(false),
            Ok(3) => {
                line.clear();
                say(run, "^C\n").await;
                return Ok(true);
            }
            Ok(127 | 8) => {
                if line.pop().is_some() {
                    say(run, "\u{8} \u{8}").await;
                }
            }
            Ok(byte) => {
                line.push(byte);
                put(run, Written::Out(Bytes::copy_from_slice(&[byte]))).await;
            }
            Err(_) => return Ok(false),
        }
    }
}

/// Does one thing. `Err` leaves the shell with a code.
async fn one(run: &Run, words: &[&str], mut input: DuplexStream) -> Result<i64, i64> {
    match words {
        ["exit", code] => return Err(code.parse().unwrap_or(2)),
        ["exit"] => return Err(0),
        ["true"] | [] => {}
        ["false"] => return Ok(1),
        ["echo", rest @ .., ">&2"] => {
            put(run, Written::Err(format!("{}\n", rest.join(" ")).into())).await;
        }
        ["echo", rest @ ..] => say(run, &format!("{}\n", rest.join(" "))).await,
        ["stty", "size"] => {
            let size = *run.size.lock().unwrap_or_else(PoisonError::into_inner);
            say(run, &format!("{} {}\n", size.rows, size.columns)).await;
        }
        ["cat"] => {
            let mut piece = vec![0; 4096];
            while let Ok(length @ 1..) = input.read(&mut piece).await {
                put(run, Written::Out(Bytes::copy_from_slice(&piece[..length]))).await;
            }
        }
        ["sleep", ..] => std::future::pending().await,
        [name, ..] => {
            put(run, Written::Err(format!("sh: {name}: not found\n").into())).await;
            return Ok(127);
        }
    }
    Ok(0)
}

async fn say(run: &Run, text: &str) {
    put(run, Written::Out(text.to_owned().into())).await;
}

/// A terminal has one output, and lines that begin at the left.
async fn put(run: &Run, written: Written) {
    let written = match written {
        Written::Out(bytes) | Written::Err(bytes) if run.asked.has_terminal => {
            let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
            Written::Out(lines.join(&b"\r\n"[..]).into())
        }
        other => other,
    };
    let is_none = matches!(&written, Written::Out(bytes) if bytes.is_empty());
    if !is_none {
        let _ = run.written.send(Ok(written)).await;
    }
}
