//! One terminal, from its first byte to its last.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{BoxStream, SplitSink, SplitStream},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::OwnedSemaphorePermit,
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    channel::{self, ERRORS, Heard, OUTPUT, STATUS},
    tickets::Ticket,
};
use crate::engine::{
    self,
    terminal::{Control, Terminal, Written},
};
use crate::server::{Shared, trail, turn::Line};

/// The largest message of a client: more than anybody pastes at once. Clients cut what is longer.
const MESSAGE_MAX: usize = 1024 * 1024;
/// How long a client that is told the end may take to hear it.
const LAST_WORD: Duration = Duration::from_millis(300);
/// How long the processes may take to be told that nobody is there any more; less when Berth ends.
const HANG_UP: Duration = Duration::from_secs(4);
const HANG_UP_AT_STOP: Duration = Duration::from_millis(700);
/// A client of which nothing is heard for so many signs of life is gone.
const MISSED_MAX: u32 = 3;
/// What a control character would be that says "end of input" to a terminal.
const END_OF_INPUT: &[u8] = b"\x04";

type Socket = WebSocketStream<Box<dyn Line>>;

/// A terminal that is about to begin.
pub(super) struct Talk {
    shared: Arc<Shared>,
    ticket: Ticket,
    name: String,
    _place: OwnedSemaphorePermit,
}

/// How a terminal ended.
#[derive(Debug)]
enum End {
    /// The command ended, with this code.
    Exited(i64),
    /// The container ended, or is gone.
    Gone,
    /// Nobody typed and nothing was written for too long.
    Idle,
    /// Berth stops.
    Stopping,
    /// Whoever had it may not have it any more.
    Denied,
    /// The client left, or does not answer.
    Left,
    /// The client said something that makes no sense.
    Unclear(String),
    /// The engine did not begin it, or broke off.
    Engine(engine::Error),
}

impl End {
    /// Its code; none for those that are no problem.
    fn code(&self) -> Option<&'static str> {
        match self {
            Self::Exited(_) | Self::Left => None,
            Self::Gone | Self::Engine(engine::Error::NotFound(_)) => Some("terminal.gone"),
            Self::Idle => Some("terminal.idle"),
            Self::Stopping => Some("server.stopping"),
            Self::Denied => Some("terminal.denied"),
            Self::Unclear(_) => Some("terminal.unclear"),
            Self::Engine(engine::Error::Conflict(_)) => Some("app.not-running"),
            Self::Engine(error) => Some(error.reason().slug()),
        }
    }

    fn message(&self, idle: Duration) -> String {
        match self {
            Self::Exited(code) => format!("the command ended with {code}"),
            Self::Gone => "the container ended, and the command with it".to_owned(),
            Self::Idle => format!("nothing was typed or written for {} s", idle.as_secs()),
            Self::Stopping => "Berth stops".to_owned(),
            Self::Denied => "the token or the role that it was opened with is gone".to_owned(),
            Self::Left => "the client left".to_owned(),
            Self::Unclear(why) => why.clone(),
            Self::Engine(error) => error.to_string(),
        }
    }

    /// What the client is told.
    fn status(&self, idle: Duration) -> Option<Value> {
        match self {
            Self::Exited(code) => Some(channel::exited(*code)),
            other => Some(channel::failed(other.code()?, &other.message(idle))),
        }
    }

    fn close(&self) -> CloseCode {
        match self {
            Self::Exited(_) | Self::Left => CloseCode::Normal,
            Self::Stopping | Self::Gone => CloseCode::Away,
            Self::Unclear(_) => CloseCode::Protocol,
            Self::Idle | Self::Denied => CloseCode::Policy,
            Self::Engine(_) => CloseCode::Error,
        }
    }
}

/// What is counted, and when something was heard or said last, in milliseconds since the beginning.
struct Pulse {
    began: Instant,
    heard: AtomicU64,
    touched: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    /// Whether the command is slow to read, so that nothing is heard of the client meanwhile.
    is_held_up: AtomicBool,
}

impl Pulse {
    fn new() -> Self {
        let zero = AtomicU64::default;
        let began = Instant::now();
        let is_held_up = AtomicBool::default();
        Self { began, heard: zero(), touched: zero(), received: zero(), sent: zero(), is_held_up }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn note(&self, at: &AtomicU64) {
        at.store(self.now(), Ordering::Relaxed);
    }

    fn count(&self, of: &AtomicU64, bytes: &[u8]) {
        of.fetch_add(u64::try_from(bytes.len()).unwrap_or(0), Ordering::Relaxed);
        self.note(&self.touched);
    }

    fn silence(&self, at: &AtomicU64) -> Duration {
        Duration::from_millis(self.now().saturating_sub(at.load(Ordering::Relaxed)))
    }

    /// Waits until nothing was typed or written for so long.
    async fn idle(&self, limit: Duration) {
        loop {
            let silence = self.silence(&self.touched);
            let Some(left) = limit.checked_sub(silence).filter(|left| !left.is_zero()) else {
                return;
            };
            tokio::time::sleep(left).await;
        }
    }
}

impl Talk {
    pub(super) fn new(
        shared: Arc<Shared>,
        ticket: Ticket,
        name: String,
        place: OwnedSemaphorePermit,
    ) -> Self {
        Self { shared, ticket, name, _place: place }
    }

    /// Talks until one of both ends it, and records how.
    pub(super) async fn run(self, line: Box<dyn Line>, read: Vec<u8>) {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let mut socket =
            WebSocketStream::from_partially_read(line, read, Role::Server, Some(config)).await;
        let pulse = Pulse::new();
        let Ticket { app, container, asked, .. } = &self.ticket;
        tracing::info!(app = app.as_str(), terminal = self.name, "terminal opened");
        let hands = &self.shared.parts.compat.hands;
        let opened = tokio::select! {
            opened = hands.open_terminal(container, asked) => opened.map_err(End::Engine),
            () = self.shared.stop.cancelled() => Err(End::Stopping),
        };
        let (end, control) = match opened {
            Ok(Terminal { input, output, control }) => {
                let end = self.follow((input, output), &*control, &mut socket, &pulse).await;
                (end, Some(control))
            }
            Err(end) => (end, None),
        };
        let last = tokio::time::timeout(LAST_WORD, self.tell_end(&mut socket, &end));
        let hung_up = self.hang_up(control.as_deref(), &end);
        let (_, hung_up) = tokio::join!(last, hung_up);
        drop(socket);
        self.record(&end, hung_up, &pulse).await;
    }

    /// Passes on what each side says, until there is an end.
    async fn follow(
        &self,
        (input, output): (Box<dyn AsyncWrite + Send + Unpin>, Output),
        control: &dyn Control,
        socket: &mut Socket,
        pulse: &Pulse,
    ) -> End {
        let (mut to, from) = socket.split();
        let ended = tokio::select! {
            end = self.hear(from, input, control, pulse) => return end,
            ended = self.tell(output, &mut to, pulse) => ended,
            () = pulse.idle(self.shared.terminals.idle) => return End::Idle,
            () = self.shared.stop.cancelled() => return End::Stopping,
        };
        if let Err(end) = ended {
            return end;
        }
        match control.exit_code().await {
            Ok(Some(code)) => End::Exited(code),
            Ok(None) => End::Gone,
            Err(error) => End::Engine(error),
        }
    }

    /// Passes on what the client says.
    async fn hear(
        &self,
        mut from: SplitStream<&mut Socket>,
        input: Box<dyn AsyncWrite + Send + Unpin>,
        control: &dyn Control,
        pulse: &Pulse,
    ) -> End {
        let mut input = Some(input).filter(|_| self.ticket.asked.has_input);
        while let Some(message) = from.next().await {
            pulse.note(&pulse.heard);
            let message = match message {
                Ok(Message::Binary(bytes)) => bytes,
                Ok(Message::Text(text)) => Bytes::from(text),
                Ok(Message::Close(_)) => return End::Left,
                Ok(_) => continue,
                Err(tungstenite::Error::Capacity(_)) => {
                    return End::Unclear(format!("a message has at most {MESSAGE_MAX} bytes"));
                }
                Err(_) => return End::Left,
            };
            let ends = match channel::heard(message) {
                Ok(Heard::Nothing) => false,
                Ok(Heard::Input(bytes)) => {
                    pulse.count(&pulse.received, &bytes);
                    pulse.is_held_up.store(true, Ordering::Relaxed);
                    let is_read = write(input.as_mut(), &bytes).await;
                    pulse.is_held_up.store(false, Ordering::Relaxed);
                    pulse.note(&pulse.heard);
                    // A command that reads nothing any more may still have something to say.
                    !is_read
                }
                Ok(Heard::End) => {
                    if self.ticket.asked.has_terminal {
                        write(input.as_mut(), END_OF_INPUT).await;
                    }
                    true
                }
                Ok(Heard::Resized(size)) => {
                    pulse.note(&pulse.touched);
                    if let Err(error) = control.resize(size).await {
                        tracing::debug!(%error, "a terminal keeps the size that it has");
                    }
                    false
                }
                Err(why) => return End::Unclear(why),
            };
            if ends
                && !self.ticket.asked.has_terminal
                && let Some(mut ended) = input.take()
            {
                let _ = ended.shutdown().await;
            }
        }
        End::Left
    }

    /// Passes on what the command says, and looks now and then whether the client is still there and
    /// may still be.
    async fn tell(
        &self,
        mut output: Output,
        to: &mut SplitSink<&mut Socket, Message>,
        pulse: &Pulse,
    ) -> Result<(), End> {
        let every = self.shared.keep_alive;
        let mut tick = tokio::time::interval_at(Instant::now() + every, every);
        loop {
            let piece = tokio::select! {
                piece = output.next() => piece,
                _ = tick.tick() => {
                    let now = self.shared.parts.clock.now();
                    if !self.shared.door.is_still_let_in(&self.ticket.who, now) {
                        return Err(End::Denied);
                    }
                    let is_held_up = pulse.is_held_up.load(Ordering::Relaxed);
                    if !is_held_up && every * MISSED_MAX < pulse.silence(&pulse.heard) {
                        return Err(End::Left);
                    }
                    to.send(Message::Ping(Bytes::new())).await.map_err(|_| End::Left)?;
                    continue;
                }
            };
            let (number, bytes) = match piece {
                None => return Ok(()),
                Some(Ok(Written::Out(bytes))) => (OUTPUT, bytes),
                Some(Ok(Written::Err(bytes))) => (ERRORS, bytes),
                Some(Err(error)) => return Err(End::Engine(error)),
            };
            pulse.count(&pulse.sent, &bytes);
            let message = Message::Binary(channel::said(number, &bytes));
            to.send(message).await.map_err(|_| End::Left)?;
        }
    }

    async fn tell_end(&self, socket: &mut Socket, end: &End) {
        if let Some(status) = end.status(self.shared.terminals.idle) {
            let status = channel::said(STATUS, status.to_string().as_bytes());
            if socket.send(Message::Binary(status)).await.is_err() {
                return;
            }
        }
        let reason = end.code().unwrap_or_default();
        let frame = CloseFrame { code: end.close(), reason: reason.into() };
        if socket.close(Some(frame)).await.is_err() {
            return;
        }
        // The other side answers in its turn, so that nothing of what was said is lost.
        while let Some(Ok(_)) = socket.next().await {}
    }

    /// Tells the processes, when they did not end by themselves. Answers whether that was done.
    async fn hang_up(&self, control: Option<&dyn Control>, end: &End) -> Option<bool> {
        let control = control.filter(|_| !matches!(end, End::Exited(_) | End::Gone))?;
        let patience = if self.shared.stop.is_cancelled() { HANG_UP_AT_STOP } else { HANG_UP };
        match tokio::time::timeout(patience, control.hang_up()).await {
            Ok(Ok(())) => Some(true),
            Ok(Err(error)) => {
                tracing::warn!(%error, terminal = self.name, "a command may go on after its terminal");
                Some(false)
            }
            Err(_) => Some(false),
        }
    }

    async fn record(self, end: &End, hung_up: Option<bool>, pulse: &Pulse) {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let mut after = json!({
            "terminal": self.name,
            "seconds": pulse.now() / 1000,
            "bytesIn": count(&pulse.received),
            "bytesOut": count(&pulse.sent),
            "end": end.message(self.shared.terminals.idle),
        });
        if let End::Exited(code) = end {
            after["exitCode"] = json!(code);
        }
        if let Some(told) = hung_up {
            after["hungUp"] = json!(told);
        }
        let Ticket { who, client, app, .. } = &self.ticket;
        tracing::info!(app = app.as_str(), terminal = self.name, end = %after["end"], "terminal ended");
        let outcome = end.code().unwrap_or("done");
        let about = (format!("app/{app}"), after);
        trail::note_end(&self.shared, (who, client), "terminal ended", about, outcome).await;
    }
}

type Output = BoxStream<'static, Result<Written, engine::Error>>;

/// Writes what a command reads; answers whether it still reads.
async fn write(input: Option<&mut Box<dyn AsyncWrite + Send + Unpin>>, bytes: &[u8]) -> bool {
    let Some(input) = input else { return true };
    let written = async {
        input.write_all(bytes).await?;
        input.flush().await
    };
    written.await.is_ok()
}
