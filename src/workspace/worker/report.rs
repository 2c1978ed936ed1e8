//! What a worker says while it works.

use std::{
    io::{self, Write as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::workspace::protocol::Message;

/// The time between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// The time between two signs of life.
const ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Says how far the work is; every thread of the worker may use it.
#[derive(Debug, Default)]
pub(super) struct Report {
    last: Mutex<Option<Instant>>,
    received: AtomicU64,
}

impl Report {
    /// How many bytes came from all remotes so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// So many bytes came so far.
    pub(super) fn set_received(&self, bytes: u64) {
        self.received.store(bytes, Ordering::Relaxed);
    }

    /// Says how far the work is, unless that was said a moment ago.
    pub(super) fn progress(&self, text: impl FnOnce() -> String) {
        let now = Instant::now();
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| now.duration_since(last) < PROGRESS_INTERVAL) {
                return;
            }
            *last = Some(now);
        }
        step(text());
    }
}

/// Says what is done now.
pub(super) fn step(text: impl Into<String>) {
    send(&Message::Progress(text.into()));
}

/// Says something that a person should know.
pub(super) fn note(text: impl Into<String>) {
    send(&Message::Note(text.into()));
}

/// Does work that a busy disk may make long, and gives signs of life meanwhile.
pub(super) fn alive_while<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let (done, wait) = mpsc::channel();
        scope.spawn(move || done.send(work()));
        loop {
            match wait.recv_timeout(ALIVE_INTERVAL) {
                Ok(result) => return Ok(result),
                Err(mpsc::RecvTimeoutError::Timeout) => send(&Message::Alive),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("a thread of the git worker has died"));
                }
            }
        }
    })
}

/// Sends one message. When nobody reads any more, the worker is about to be ended anyway.
pub(super) fn send(message: &Message) {
    let Ok(mut line) = serde_json::to_vec(message) else { return };
    line.push(b'\n');
    let mut out = io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
