//! The targets and how telling them went, for whoever wants to look or to try.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    send::{Courier, Letter, Outcome, Writer},
    target::Target,
};
use crate::clock::Clock;
use crate::model::Timestamp;
use crate::telemetry::{
    Exposed,
    text::{Family, whole},
};

/// How long one message may take in all.
const LIMIT: Duration = Duration::from_secs(45);

/// How the last message went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Last {
    /// When.
    pub at: Timestamp,
    /// `sent`, `retried` or `refused`.
    pub result: String,
    /// What it said, in a few words.
    pub title: String,
    /// Why it went so, when it went wrong.
    pub error: Option<String>,
}

/// A target, and how telling it goes.
#[derive(Debug)]
pub struct Post {
    /// Who is told.
    pub target: Target,
    sent: AtomicU64,
    retried: AtomicU64,
    refused: AtomicU64,
    waiting: AtomicU64,
    last: Mutex<Option<Last>>,
    sent_at: Mutex<Option<Timestamp>>,
    turn: Arc<Semaphore>,
}

impl Post {
    fn new(target: Target) -> Self {
        Self {
            target,
            sent: AtomicU64::default(),
            retried: AtomicU64::default(),
            refused: AtomicU64::default(),
            waiting: AtomicU64::default(),
            last: Mutex::default(),
            sent_at: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// How the last message went.
    pub fn last(&self) -> Option<Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When it last took a message.
    pub fn sent_at(&self) -> Option<Timestamp> {
        *self.sent_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many conditions wait to be told.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn wait(&self, count: usize) {
        self.waiting.store(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn put(&self, last: Option<Last>) {
        if let Some(sent) = last.as_ref().filter(|last| last.error.is_none()) {
            *self.sent_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(sent.at);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    fn note(&self, outcome: &Outcome, letter: &Letter) {
        let (counter, result, error) = match outcome {
            Outcome::Taken => (&self.sent, "sent", None),
            Outcome::Refused(why) => (&self.refused, "refused", Some(why.clone())),
            Outcome::Later(why) => (&self.retried, "retried", Some(why.clone())),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let (at, result) = (letter.at, result.to_owned());
        self.put(Some(Last { at, result, title: letter.title.clone(), error }));
    }
}

/// All targets.
#[derive(Debug)]
pub struct Board {
    /// The targets.
    pub posts: Vec<Arc<Post>>,
    pub(super) writer: Writer,
    courier: Courier,
    clock: Clock,
    settled: AtomicBool,
}

impl Board {
    /// The targets, told of by nobody yet.
    pub fn new(targets: Vec<Target>, writer: Writer, courier: Courier, clock: Clock) -> Self {
        let posts = targets.into_iter().map(|target| Arc::new(Post::new(target)));
        Self { posts: posts.collect(), writer, courier, clock, settled: AtomicBool::new(false) }
    }

    /// Whether all was looked at for long enough: what goes wrong from now on is news.
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
    }

    /// Sends a test to a target.
    pub async fn test(&self, post: &Arc<Post>) -> Outcome {
        let letter = self.writer.test(&post.target, self.clock.now());
        self.deliver(Arc::clone(post), letter).await
    }

    /// Sends a letter, and takes note of how that went. One at a time for each target: one that
    /// hangs takes a thread and no more.
    pub(super) fn deliver(
        &self,
        post: Arc<Post>,
        letter: Letter,
    ) -> impl Future<Output = Outcome> + Send + use<> {
        let courier = self.courier.clone();
        async move {
            let work = async {
                let Ok(turn) = Arc::clone(&post.turn).acquire_owned().await else {
                    return Outcome::Later("Berth ends".to_owned());
                };
                let (post, letter) = (Arc::clone(&post), letter.clone());
                let sending = tokio::task::spawn_blocking(move || {
                    let _turn = turn;
                    courier.send(&post.target, &letter)
                });
                sending.await.unwrap_or_else(|died| Outcome::Later(died.to_string()))
            };
            let late = || format!("no answer within {} s", LIMIT.as_secs());
            let outcome = tokio::time::timeout(LIMIT, work).await;
            let outcome = outcome.unwrap_or_else(|_| Outcome::Later(late()));
            post.note(&outcome, &letter);
            outcome
        }
    }
}

impl Exposed for Board {
    fn write(&self, out: &mut String) {
        let help = "Messages to targets of notifications, by how they went.";
        let mut family = Family::counter(out, "berth_notifications_total", help);
        for post in &self.posts {
            for (result, counter) in
                [("sent", &post.sent), ("retried", &post.retried), ("refused", &post.refused)]
            {
                let labels = [("target", post.target.name.as_str()), ("result", result)];
                family.sample(&labels, whole(counter.load(Ordering::Relaxed)));
            }
        }
        let help = "Conditions that a target of notifications is still to be told of.";
        let mut family = Family::gauge(out, "berth_notifications_waiting", help);
        for post in &self.posts {
            family.sample(&[("target", post.target.name.as_str())], whole(post.waiting()));
        }
    }
}
