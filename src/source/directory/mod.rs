//! A folder of manifests on this machine.
//!
//! Each look reads the whole folder: files that end with `.yaml` or `.yml`, in it and in folders
//! down to four levels below. Hidden names and `lost+found` are skipped. A link is followed only
//! as a manifest's own name, and only to a file beneath the folder; links to folders are not.
//!
//! # Guarantees
//! - Looking never blocks on a FIFO or a device and never leaves the folder (fault W14).
//! - A file counts when it is whole and goes when it was missing twice; see [`settle`].
//! - Without any event from the kernel, a change is seen within [`Options::poll`] where events
//!   can't be relied on, and within [`Options::safety_poll`] anywhere (faults W03, W09).
//! - The snapshot's identity is that of the folder, which switching a link on the way to it does
//!   not change; see [`place`]. Another folder in its place begins a new snapshot: nothing of
//!   the old folder is mixed in.
//!
//! # Assumptions
//! It runs within a Tokio runtime. A look is a blocking task; one that hangs is not repeated.

mod list;
mod once;
mod place;
mod read;
mod scan;
mod settle;
mod watch;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until, timeout},
};

use crate::manifest::Snapshot;

pub use self::once::read_once;
use self::{
    place::{Node, Place},
    scan::{Failure, Folders, Scanner},
    settle::{Circumstances, Settle},
    watch::{Ear, Heard, Watch},
};
use super::{Error, Source};

/// After the first word that something is complete, how long more of it is waited for.
const GATHER: Duration = Duration::from_millis(5);
/// For how long the very first snapshot waits for files that are being written.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a look may take before the folder counts as stuck.
const DEADLINE: Duration = Duration::from_mins(1);
/// How often listening is tried again after it failed.
const RETRY: Duration = Duration::from_secs(30);

/// How a folder is watched.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How often to look where the kernel's events can't be relied on.
    pub poll: Duration,
    /// How often to look anyway.
    pub safety_poll: Duration,
    /// Whether to listen to the kernel's events. Without, the folder is only polled.
    pub events: bool,
    /// How much is read.
    pub limits: Limits,
}

/// How much is read of a folder (fault W16).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many files and folders there may be; more make the whole source an error.
    pub files: usize,
    /// How large a file may be; a larger one is unreadable.
    pub file_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(2),
            safety_poll: Duration::from_secs(30),
            events: true,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { files: 20_000, file_bytes: 256 * 1024 }
    }
}

/// A folder of manifests.
pub struct Directory {
    root: PathBuf,
    options: Options,
    ear: Arc<Ear>,
    /// None while a look is under way or after it died.
    eye: Option<Box<Eye>>,
    looking: Option<JoinHandle<Looked>>,
    next: Next,
}

/// When to look again.
#[derive(Default)]
struct Next {
    /// For what was heard to be complete.
    ready: Option<Instant>,
    /// For what is going on, once it is quiet; and when it began.
    quiet: Option<(Instant, Instant)>,
    /// For what was left open by the last look.
    second_look: Option<Instant>,
    /// In any case; none before the first look.
    poll: Option<Instant>,
}

impl Directory {
    /// Watches a folder, which need not be there yet.
    pub fn new(root: impl AsRef<Path>, options: Options) -> Self {
        let root = root.as_ref();
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let ear = Arc::new(Ear::default());
        Self { root, options, ear, eye: None, looking: None, next: Next::default() }
    }

    async fn look(&mut self) -> Result<Arc<Snapshot>, Error> {
        // Until this look ends, nobody has looked: whoever gives it up is woken at once.
        self.next = Next::default();
        let patience = Instant::now() + PATIENCE;
        loop {
            let found = self.look_once(patience <= Instant::now()).await;
            let now = Instant::now();
            let eye = self.eye.as_ref();
            let is_reliable = found.is_ok() && eye.is_some_and(|eye| eye.is_reliable());
            let pause = if is_reliable { self.options.safety_poll } else { self.options.poll };
            self.next.poll = Some(now + pause);
            self.next.second_look = eye.filter(|_| found.is_ok()).and_then(|eye| eye.settle.due());
            if let Some(snapshot) = found? {
                return Ok(snapshot);
            }
            sleep_until(self.next.second_look.unwrap_or(now).min(patience)).await;
        }
    }

    /// One look in a blocking task. One that was given up is waited for first, so that a folder
    /// that hangs holds one thread and no more.
    async fn look_once(&mut self, is_last_chance: bool) -> Result<Option<Arc<Snapshot>>, Error> {
        if self.looking.is_some() {
            // What it found is known to the eye; this look goes on from there.
            let _stale = self.finish().await?;
        }
        let mut eye = self.eye.take().unwrap_or_else(|| {
            Box::new(Eye::new(self.root.clone(), self.options, Arc::clone(&self.ear)))
        });
        let now = Instant::now();
        self.looking = Some(spawn_blocking(move || {
            let found = eye.look(now, is_last_chance);
            (eye, found)
        }));
        self.finish().await?
    }

    /// Waits for the look under way and takes back what it knows.
    async fn finish(&mut self) -> Result<Result<Option<Arc<Snapshot>>, Error>, Error> {
        let Some(looking) = &mut self.looking else { return Ok(Ok(None)) };
        let Ok(looked) = timeout(DEADLINE, looking).await else {
            return Err(Error::Stuck { path: self.root.clone(), seconds: DEADLINE.as_secs() });
        };
        self.looking = None;
        match looked {
            Ok((eye, found)) => {
                self.eye = Some(eye);
                Ok(found)
            }
            Err(died) => {
                let source = io::Error::other(died);
                Err(Error::Unreadable { path: self.root.clone(), source })
            }
        }
    }

    async fn wait(&mut self) {
        loop {
            let (is_ready, is_stirring) = self.ear.take_wakes();
            self.next.note(Instant::now(), is_ready, is_stirring);
            let Some(at) = self.next.at() else { return };
            tokio::select! {
                biased;
                () = sleep_until(at) => return,
                () = self.ear.bell.notified() => {}
            }
        }
    }
}

impl Source for Directory {
    fn describe(&self) -> String {
        format!("folder {}", self.root.display())
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Arc<Snapshot>, Error>> {
        Box::pin(self.look())
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.wait())
    }
}

impl Next {
    fn note(&mut self, now: Instant, is_ready: bool, is_stirring: bool) {
        if is_ready {
            self.ready.get_or_insert(now + GATHER);
        }
        if is_stirring {
            let began = self.quiet.map_or(now, |(_, began)| began);
            // Writing that never ends must not put off the look for ever.
            let at = (now + settle::QUIET).min(began + PATIENCE);
            self.quiet = Some((at, began));
        }
    }

    /// The earliest; none when nobody has looked yet.
    fn at(&self) -> Option<Instant> {
        let poll = self.poll?;
        let quiet = self.quiet.map(|(at, _)| at);
        [self.ready, quiet, self.second_look].into_iter().flatten().chain([poll]).min()
    }
}

/// What a look ends with: what is known comes back with the answer.
type Looked = (Box<Eye>, Result<Option<Arc<Snapshot>>, Error>);

/// All that is known of the folder. It lives where blocking is allowed.
struct Eye {
    root: PathBuf,
    options: Options,
    ear: Arc<Ear>,
    watch: Watch,
    scanner: Scanner,
    settle: Settle,
    seen: Option<(Node, String)>,
    is_local: bool,
    /// Whether something changed that no event told of; until the next event.
    is_deaf: bool,
    retry_at: Option<Instant>,
}

impl Eye {
    fn new(root: PathBuf, options: Options, ear: Arc<Ear>) -> Self {
        Self {
            watch: Watch::new(Arc::clone(&ear), options.events),
            root,
            options,
            ear,
            scanner: Scanner::default(),
            settle: Settle::default(),
            seen: None,
            is_local: false,
            is_deaf: false,
            retry_at: None,
        }
    }

    /// Whether the kernel can be expected to tell of every change.
    fn is_reliable(&self) -> bool {
        self.is_local && !self.is_deaf && self.watch.failure.is_none()
    }

    /// Looks until what was read is of one folder that is listened to.
    fn look(&mut self, now: Instant, is_last: bool) -> Result<Option<Arc<Snapshot>>, Error> {
        let was_reliable = self.is_reliable();
        let mut heard = self.ear.take();
        let mut found = None;
        for _ in 0..8 {
            let place = place::open(&self.root).map_err(|error| self.fail(error))?;
            if self.seen.as_ref().is_some_and(|(_, identity)| *identity != place.identity) {
                (self.scanner, self.settle) = (Scanner::default(), Settle::default());
                self.seen = None;
            }
            self.listen(&place, &mut heard, now);
            let (snapshot, is_steady) = self.scan(&place, &heard, (now, is_last))?;
            found = snapshot;
            if is_steady {
                self.tell_if_deaf(was_reliable);
                return Ok(found);
            }
            let more = self.ear.take();
            heard.is_anything |= more.is_anything;
            heard.is_lost |= more.is_lost;
            heard.whole.extend(more.whole);
        }
        match found {
            Some(snapshot) if self.is_there() => Ok(Some(snapshot)),
            _ => Err(Error::Moving { path: self.root.clone() }),
        }
    }

    /// Listens anew where that is due.
    fn listen(&mut self, place: &Place, heard: &mut Heard, now: Instant) {
        let folders = self.folders(place);
        let is_retry = self.retry_at.is_some_and(|at| at <= now);
        if heard.is_lost || self.is_deaf || is_retry || !self.watch.is_armed(place, &folders) {
            self.watch.arm(&self.root, Some(place), folders);
            self.retry_at = self.watch.failure.is_some().then(|| now + RETRY);
            heard.is_lost = false;
        }
    }

    /// One scan. Answers also whether the folder is still the one that was read, with no folder
    /// in it that is not listened to.
    fn scan(
        &mut self,
        place: &Place,
        heard: &Heard,
        (now, is_last_chance): (Instant, bool),
    ) -> Result<(Option<Arc<Snapshot>>, bool), Error> {
        let changes = self.scanner.scan(place, self.options.limits).map_err(|failure| {
            let path = self.root.clone();
            match failure {
                Failure::TooMany => Error::TooManyFiles { path, limit: self.options.limits.files },
                Failure::System(error) => self.fail(error.into()),
            }
        })?;
        self.is_local = place.is_local;
        let was_quiet = !heard.is_anything && self.settle.due().is_none();
        let is_switched = self.seen.as_ref().is_some_and(|(node, _)| *node != place.node);
        self.is_deaf = was_quiet && (self.is_deaf || (self.seen.is_some() && !changes.is_empty()));
        self.seen = Some((place.node, place.identity.clone()));
        let circumstances = Circumstances {
            identity: &place.identity,
            whole: &heard.whole,
            is_switched,
            is_last_chance,
            now,
        };
        let snapshot = self.settle.offer(changes, &circumstances);
        let is_same = place::node_at(&self.root).is_ok_and(|node| node == place.node);
        Ok((snapshot, is_same && self.watch.is_armed(place, &self.folders(place))))
    }

    fn folders(&self, place: &Place) -> Folders {
        let mut folders = self.scanner.folders();
        folders.insert(String::new(), place.node);
        folders
    }

    fn is_there(&self) -> bool {
        let node = place::node_at(&self.root).ok();
        node.is_some() && node == self.seen.as_ref().map(|(node, _)| *node)
    }

    /// The folder is not to be read. Only its surroundings can be listened to, for its return.
    fn fail(&mut self, source: io::Error) -> Error {
        self.watch.arm(&self.root, None, Folders::new());
        let path = self.root.clone();
        match source.kind() {
            io::ErrorKind::NotFound => Error::Missing { path },
            io::ErrorKind::NotADirectory => Error::NotAFolder { path },
            _ => Error::Unreadable { path, source },
        }
    }

    /// A person may want to know why changes take longer, once.
    fn tell_if_deaf(&self, was_reliable: bool) {
        let is_reliable = self.is_reliable();
        if was_reliable && !is_reliable {
            let reason = self.watch.failure.as_deref().unwrap_or("no event told of a change");
            tracing::warn!(folder = %self.root.display(), reason, "manifest folder is polled");
        }
    }
}
