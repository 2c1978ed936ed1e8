//! HTTP/2, where one connection carries many requests: what is under way on it, and when that is
//! reason to hang up.
//!
//! # Guarantees
//! - A connection on which nothing is asked ends after a while (a head that never ends, too).
//! - A client that leaves an answer unread ends its connection, though it reads others (fault H08).
//! - A client that asks and takes it back, again and again, ends its connection.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use axum::body::{Body, Bytes};
use hyper::body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;

/// How many requests may be taken back, and how long one more takes to be forgiven.
const TAKEN_BACK_MAX: u32 = 200;
const FORGIVEN_AFTER: Duration = Duration::from_millis(100);

/// How long what may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A connection on which nothing is asked.
    pub(super) idle: Duration,
    /// A part of an answer that nobody takes.
    pub(super) unread: Duration,
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Fine,
    /// Nothing is asked on it.
    Idle,
    /// An answer is not read.
    Unread,
    /// Too much was taken back.
    Abused,
}

/// What is under way on one connection.
#[derive(Clone, Debug)]
pub(super) struct Traffic(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// Since when each request's answer waits for the client; none while it waits for Berth.
    under_way: BTreeMap<u64, Option<Instant>>,
    next: u64,
    idle_since: Instant,
    taken_back: u32,
    forgiven_at: Instant,
}

impl Traffic {
    pub(super) fn new(now: Instant) -> Self {
        let under_way = BTreeMap::new();
        let inner = Inner { under_way, next: 0, idle_since: now, taken_back: 0, forgiven_at: now };
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come.
    pub(super) fn begin(&self) -> Passage {
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        inner.under_way.insert(id, None);
        Passage { traffic: self.clone(), id, is_done: false }
    }

    /// What is to be done with it at this moment.
    pub(super) fn verdict(&self, now: Instant, limits: Limits) -> Verdict {
        let inner = self.lock();
        let is_over = |since: Instant, limit| limit <= now.saturating_duration_since(since);
        if TAKEN_BACK_MAX < inner.taken_back {
            Verdict::Abused
        } else if inner.under_way.values().flatten().any(|since| is_over(*since, limits.unread)) {
            Verdict::Unread
        } else if inner.under_way.is_empty() && is_over(inner.idle_since, limits.idle) {
            Verdict::Idle
        } else {
            Verdict::Fine
        }
    }

    fn wait(&self, id: u64, since: Option<Instant>) {
        if let Some(waits) = self.lock().under_way.get_mut(&id) {
            *waits = since;
        }
    }

    fn end(&self, id: u64, is_done: bool, now: Instant) {
        let mut inner = self.lock();
        inner.under_way.remove(&id);
        inner.idle_since = now;
        if is_done {
            return;
        }
        let past = now.saturating_duration_since(inner.forgiven_at).as_millis();
        let forgiven = u32::try_from(past / FORGIVEN_AFTER.as_millis()).unwrap_or(u32::MAX);
        if 0 < forgiven {
            inner.taken_back = inner.taken_back.saturating_sub(forgiven);
            inner.forgiven_at = now;
        }
        inner.taken_back += 1;
    }
}

/// One request, until its answer was given or it was taken back.
#[derive(Debug)]
pub(super) struct Passage {
    traffic: Traffic,
    id: u64,
    is_done: bool,
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.traffic.end(self.id, self.is_done, Instant::now());
    }
}

/// Rings when there is more of an answer: from then on it waits for the client.
struct Bell {
    traffic: Traffic,
    id: u64,
    waker: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(waits) = self.traffic.lock().under_way.get_mut(&self.id) {
            waits.get_or_insert_with(Instant::now);
        }
        self.waker.wake_by_ref();
    }
}

/// An answer's body that says how far it is taken. `keep` is held as long.
pub(super) struct Watched<K> {
    body: Body,
    passage: Passage,
    _keep: K,
}

impl<K> Watched<K> {
    pub(super) fn new(body: Body, mut passage: Passage, keep: K) -> Self {
        passage.is_done = body.is_end_stream();
        if !passage.is_done {
            passage.traffic.wait(passage.id, Some(Instant::now()));
        }
        Self { body, passage, _keep: keep }
    }
}

impl<K: Unpin> hyper::body::Body for Watched<K> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let (traffic, id) = (self.passage.traffic.clone(), self.passage.id);
        traffic.wait(id, None);
        let bell = Bell { traffic: traffic.clone(), id, waker: cx.waker().clone() };
        let waker = Waker::from(Arc::new(bell));
        let polled = Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(&waker));
        // It is asked again when this part is taken.
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            traffic.wait(id, Some(Instant::now()));
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) || self.body.is_end_stream() {
            self.passage.is_done = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { idle: Duration::from_secs(60), unread: Duration::from_secs(30) };

    #[tokio::test(start_paused = true)]
    async fn it_is_idle_only_while_nothing_is_under_way() {
        let traffic = Traffic::new(Instant::now());
        let verdict = || traffic.verdict(Instant::now(), LIMITS);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(verdict(), Verdict::Fine);
        let passage = traffic.begin();
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(verdict(), Verdict::Fine, "Berth takes its time: the client waits, not Berth");
        drop(passage);
        assert_eq!(verdict(), Verdict::Fine);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(verdict(), Verdict::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_nobody_takes_is_noticed() {
        let traffic = Traffic::new(Instant::now());
        let parts = futures_util::stream::iter([Ok::<_, axum::Error>("a"), Ok("b")]);
        let body = Body::from_stream(parts);
        let mut watched = Watched::new(body, traffic.begin(), ());
        let mut poll = || {
            let mut cx = Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut watched).poll_frame(&mut cx).is_ready());
        };
        poll();
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(traffic.verdict(Instant::now(), LIMITS), Verdict::Fine);
        poll();
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(traffic.verdict(Instant::now(), LIMITS), Verdict::Unread);
        poll();
        drop(watched);
        assert_eq!(traffic.verdict(Instant::now(), LIMITS), Verdict::Fine);
        assert_eq!(traffic.lock().taken_back, 0, "it was given to the end");
    }

    /// An event stream whose client has closed its window is asked for no more.
    #[tokio::test(start_paused = true)]
    async fn more_that_nobody_asks_for_is_noticed() {
        let traffic = Traffic::new(Instant::now());
        let (sender, parts) = tokio::sync::mpsc::channel::<Result<&str, axum::Error>>(1);
        let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(parts));
        let mut watched = Watched::new(body, traffic.begin(), ());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut watched).poll_frame(&mut cx).is_pending());
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(traffic.verdict(Instant::now(), LIMITS), Verdict::Fine, "there is nothing yet");
        sender.send(Ok("a")).await.unwrap();
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(traffic.verdict(Instant::now(), LIMITS), Verdict::Unread);
    }

    #[tokio::test(start_paused = true)]
    async fn taking_back_is_forgiven_slowly() {
        let traffic = Traffic::new(Instant::now());
        let verdict = || traffic.verdict(Instant::now(), LIMITS);
        for _ in 0..TAKEN_BACK_MAX {
            drop(traffic.begin());
        }
        assert_eq!(verdict(), Verdict::Fine);
        drop(traffic.begin());
        assert_eq!(verdict(), Verdict::Abused);
        let traffic = Traffic::new(Instant::now());
        for _ in 0..TAKEN_BACK_MAX * 5 {
            tokio::time::advance(FORGIVEN_AFTER).await;
            drop(traffic.begin());
        }
        assert_eq!(traffic.verdict(Instant::now(), LIMITS), Verdict::Fine);
    }
}
