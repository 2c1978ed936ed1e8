//! A proxy between Berth and an engine that does to the HTTP between them what networks, disks,
//! proxies and dying engines do. It understands each request: which endpoint, about which
//! container, the how manieth; a script decides what comes of it. Its log is the trace.
//!
//! It stands before a socket of its own, or within the process, before a real engine or before the
//! one in memory. Each request has a connection of its own, as Berth's client makes them.

mod events;
mod message;
mod serve;
mod upgrade;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    io::{Error, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use berth::engine::docker::Connect;
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::Instant,
};

pub(crate) use events::EventRule;

/// How much may be on its way on a connection within the process.
const PIPE_BYTES: usize = 256 << 10;
/// How many older answers of a list are kept.
const ANSWERS_KEPT: usize = 64;
/// How long a request takes within the process. Without it one that comes after another would be at
/// the same time, where time is paused.
const LATENCY: Duration = Duration::from_millis(1);

/// One request, as a script sees it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// How many requests came before it.
    pub(crate) nth: u64,
    /// Method and path template as one word: `create`, `list_containers`, ….
    pub(crate) endpoint: &'static str,
    /// The container or image that it is about, by name.
    pub(crate) about: String,
}

impl Call {
    /// Whether it is about this app's container or image.
    pub(crate) fn is_about(&self, app: &str) -> bool {
        let is_name = |rest: &str| rest.starts_with(['-', ':']);
        let name = self.about.rsplit('/').next().unwrap_or_default();
        name.strip_prefix(app).is_some_and(is_name)
    }
}

/// Something a test does at a moment, such as to kill Berth or to stop the engine.
pub(crate) type Hook = Arc<dyn Fn() + Send + Sync>;

/// When a hook is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Moment {
    /// The engine has heard nothing.
    Before,
    /// It has the request, and may or may not have begun.
    Sent,
    /// It has done it and answered; the answer has not been passed on.
    Done,
    /// Half of the first piece of the answer, or of the stream, has been passed on.
    Mid,
}

/// What comes of a request.
#[derive(Clone)]
pub(crate) enum Outcome {
    Pass,
    /// Nothing listens, for so long; this request is lost.
    Refuse(Duration),
    /// The connection closes before the engine hears of it.
    Close,
    /// The engine does it, and the answer is lost (fault D01).
    Lose,
    /// The engine never hears of it, and nothing is answered (fault D35).
    Stall,
    /// The engine does it, and nothing is answered (fault D09).
    StallDone,
    /// The engine does it, and the answer ends after this part of it, in percent.
    Cut(usize),
    /// The engine does it, and the answer comes in pieces of so many bytes, with this pause.
    Drip(usize, Duration),
    /// It reaches the engine so much later.
    Late(Duration),
    /// The engine does not hear of it; these bytes are the answer.
    Say(Bytes),
    /// The engine's answer of so many requests of this endpoint ago.
    Stale(usize),
    /// The hook is called, and the connection closes.
    Do(Moment, Hook),
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("pass"),
            Self::Refuse(time) => write!(f, "refuse for {time:?}"),
            Self::Close => f.write_str("close"),
            Self::Lose => f.write_str("lose the answer"),
            Self::Stall => f.write_str("stall"),
            Self::StallDone => f.write_str("do it and stall"),
            Self::Cut(percent) => write!(f, "cut at {percent} %"),
            Self::Drip(bytes, pause) => write!(f, "drip {bytes} bytes each {pause:?}"),
            Self::Late(time) => write!(f, "late by {time:?}"),
            Self::Say(bytes) => {
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
                write!(f, "say {text:?}")
            }
            Self::Stale(ago) => write!(f, "answer of {ago} ago"),
            Self::Do(moment, _) => write!(f, "act {moment:?}"),
        }
    }
}

impl Outcome {
    /// A whole answer with a status and a body.
    pub(crate) fn say(status: u16, kind: &str, body: &str) -> Self {
        let length = body.len();
        Self::Say(Bytes::from(format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )))
    }

    /// An engine's error.
    pub(crate) fn fail(status: u16, message: &str) -> Self {
        Self::say(status, "application/json", &serde_json::json!({"message": message}).to_string())
    }

    pub(crate) fn is_pass(&self) -> bool {
        matches!(self, Self::Pass)
    }
}

/// What a script decides with.
pub(crate) type Script = Box<dyn FnMut(&Call) -> Outcome + Send>;

/// A line of the trace.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) call: Call,
    /// What was decided, unless it passed.
    pub(crate) fault: Option<String>,
}

/// Both ways of a connection.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

type Upstream = Arc<dyn Fn() -> BoxFuture<'static, std::io::Result<Box<dyn Wire>>> + Send + Sync>;

struct Book {
    script: Script,
    lines: Vec<Line>,
    /// Names of containers by their ids, and by the ids of commands in them.
    names: BTreeMap<String, String>,
    answers: BTreeMap<&'static str, VecDeque<Bytes>>,
    refuses_until: Option<Instant>,
    events: EventRule,
}

/// The proxy. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Proxy {
    upstream: Upstream,
    latency: Duration,
    began: Instant,
    book: Arc<Mutex<Book>>,
}

impl Proxy {
    fn new(upstream: Upstream) -> Self {
        let book = Book {
            script: Box::new(|_| Outcome::Pass),
            lines: Vec::new(),
            names: BTreeMap::new(),
            answers: BTreeMap::new(),
            refuses_until: None,
            events: EventRule::AsTheyAre,
        };
        let book = Arc::new(Mutex::new(book));
        Self { upstream, latency: Duration::ZERO, began: Instant::now(), book }
    }

    /// Before an engine within the process.
    pub(crate) fn before(connect: Connect) -> Self {
        let upstream: Upstream = Arc::new(move || {
            let connecting = connect();
            async move { Ok(Box::new(connecting.await?) as Box<dyn Wire>) }.boxed()
        });
        Self { latency: LATENCY, ..Self::new(upstream) }
    }

    /// Before an engine at a socket.
    pub(crate) fn before_socket(engine: &Path) -> Self {
        let engine = engine.to_owned();
        Self::new(Arc::new(move || {
            let engine = engine.clone();
            async move { Ok(Box::new(UnixStream::connect(engine).await?) as Box<dyn Wire>) }.boxed()
        }))
    }

    /// Connections to it within the process.
    pub(crate) fn connect(&self) -> Connect {
        let proxy = self.clone();
        Arc::new(move || {
            let proxy = proxy.clone();
            async move {
                if proxy.refuses_for().is_some() {
                    return Err(Error::from(ErrorKind::ConnectionRefused));
                }
                let (near, far) = tokio::io::duplex(PIPE_BYTES);
                tokio::spawn(async move { proxy.serve(far).await });
                Ok(near)
            }
            .boxed()
        })
    }

    /// Listens at a socket of its own, for as long as the answer lives.
    pub(crate) fn listen(&self, socket: PathBuf) -> Listening {
        let proxy = self.clone();
        let mut listener = Some(UnixListener::bind(&socket).unwrap());
        let address = format!("unix://{}", socket.display());
        let task = tokio::spawn(async move {
            loop {
                if let Some(wait) = proxy.refuses_for() {
                    // Nobody listens there, as after the end of an engine.
                    drop(listener.take());
                    tokio::time::sleep(wait).await;
                    continue;
                }
                let listening = listener.get_or_insert_with(|| {
                    let _ = std::fs::remove_file(&socket);
                    UnixListener::bind(&socket).unwrap()
                });
                let accepted = tokio::time::timeout(Duration::from_millis(10), listening.accept());
                let Ok(Ok((stream, _))) = accepted.await else { continue };
                let proxy = proxy.clone();
                tokio::spawn(async move { proxy.serve(stream).await });
            }
        });
        Listening { address, task }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has this script decide from now on.
    pub(crate) fn script(&self, script: impl FnMut(&Call) -> Outcome + Send + 'static) {
        let mut book = self.book();
        book.script = Box::new(script);
        book.refuses_until = None;
    }

    /// Lets everything pass from now on.
    pub(crate) fn heal(&self) {
        self.script(|_| Outcome::Pass);
    }

    /// What is done to events from now on.
    pub(crate) fn events(&self, rule: EventRule) {
        self.book().events = rule;
    }

    /// Looks at what has passed, and what was done to it.
    pub(crate) fn lines<T>(&self, look: impl FnOnce(&[Line]) -> T) -> T {
        look(&self.book().lines)
    }

    /// The trace as text: what is needed to see how a test failed.
    pub(crate) fn trace(&self) -> String {
        let tell = |line: &Line| {
            let Call { nth, endpoint, about, .. } = &line.call;
            let at = line.at.duration_since(self.began).as_secs_f64();
            let fault = line.fault.as_deref().unwrap_or("-");
            format!("{at:9.3} {nth:4} {endpoint:16} {about:32} {fault}\n")
        };
        self.book().lines.iter().map(tell).collect()
    }

    fn refuses_for(&self) -> Option<Duration> {
        let until = self.book().refuses_until?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Writes a request down and asks the script.
    fn decide(&self, endpoint: &'static str, about: String) -> Outcome {
        let mut book = self.book();
        let nth = book.lines.len() as u64;
        let call = Call { nth, endpoint, about };
        let outcome = (book.script)(&call);
        if let Outcome::Refuse(time) = outcome {
            book.refuses_until = Some(Instant::now() + time);
        }
        let fault = (!outcome.is_pass()).then(|| format!("{outcome:?}"));
        book.lines.push(Line { at: Instant::now(), call, fault });
        outcome
    }
}

/// A proxy that listens.
pub(crate) struct Listening {
    /// Where, as Berth takes it.
    pub(crate) address: String,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
