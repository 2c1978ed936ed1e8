//! The queue of keys: which app is looked at next.
//!
//! # Guarantees
//! - One slot per key: however often a key is asked for, it is looked at once, at the earliest
//!   time asked for.
//! - Never two looks at one key at the same time: a key asked for during its own look comes back
//!   right after it.
//! - A key carries no data. Whoever looks finds out what to do by looking.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::model::AppName;
use crate::telemetry::metrics::Load;

/// No wait is longer: a key comes back sooner than its far deadline and waits again.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Keys that can wait come in crowds, this far apart: one list of the engine serves a crowd.
const CROWD: Duration = Duration::from_millis(200);

/// The queue.
#[derive(Debug)]
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
    began: Instant,
}

impl Default for Queue {
    fn default() -> Self {
        Self { inner: Mutex::default(), changed: Notify::default(), began: Instant::now() }
    }
}

#[derive(Debug, Default)]
struct Inner {
    due: BTreeSet<(Instant, AppName)>,
    slots: BTreeMap<AppName, Slot>,
    running: BTreeMap<AppName, Instant>,
    adds: u64,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    due: Instant,
    asked: Instant,
    /// What was seen before this does not count, whatever the deadline.
    since: Instant,
}

/// A key that is to be looked at now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The app.
    pub app: AppName,
    /// What was seen before this does not count.
    pub since: Instant,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look after `delay`. An earlier deadline that stands already is kept.
    pub fn ask(&self, app: &AppName, delay: Duration) {
        let now = Instant::now();
        self.put(app, now + delay.min(WAIT_MAX), now);
    }

    /// Asks for a look after `delay` or up to a fifth of a second later, together with others that
    /// can wait.
    pub fn ask_with_others(&self, app: &AppName, delay: Duration) {
        let since_began = (self.began.elapsed() + delay.min(WAIT_MAX)).as_millis();
        let crowds = since_began.div_ceil(CROWD.as_millis());
        let due = self.began + CROWD * u32::try_from(crowds).unwrap_or(u32::MAX);
        self.put(app, due, Instant::now());
    }

    /// Asks for a look now, for which what was seen at `seen` or later is new enough.
    pub fn ask_since(&self, app: &AppName, seen: Instant) {
        self.put(app, seen, seen);
    }

    fn put(&self, app: &AppName, due: Instant, since: Instant) {
        let mut slot = Slot { due, asked: Instant::now(), since };
        let mut inner = self.lock();
        if let Some(old) = inner.slots.get_mut(app) {
            slot.since = since.max(old.since);
            if old.due <= due {
                old.since = slot.since;
                return;
            }
            let key = (old.due, app.clone());
            inner.due.remove(&key);
        }
        inner.adds += 1;
        inner.slots.insert(app.clone(), slot);
        inner.due.insert((due, app.clone()));
        drop(inner);
        self.changed.notify_one();
    }

    /// The next key that is due. [`Queue::done`] must follow.
    pub async fn next(&self) -> Turn {
        loop {
            let changed = self.changed.notified();
            let wait = match self.take(Instant::now()) {
                Ok(turn) => {
                    self.changed.notify_one();
                    return turn;
                }
                Err(wait) => wait,
            };
            match wait {
                Some(until) => {
                    let _ = tokio::time::timeout_at(until, changed).await;
                }
                None => changed.await,
            }
        }
    }

    /// A due key, or until when there is none.
    fn take(&self, now: Instant) -> Result<Turn, Option<Instant>> {
        let mut inner = self.lock();
        let free = |(_, app): &&(Instant, AppName)| !inner.running.contains_key(app);
        let Some((due, app)) = inner.due.iter().find(free).cloned() else { return Err(None) };
        if now < due {
            return Err(Some(due));
        }
        inner.due.remove(&(due, app.clone()));
        let since = inner.slots.remove(&app).map_or(due, |slot| slot.since.max(due));
        inner.running.insert(app.clone(), now);
        Ok(Turn { app, since })
    }

    /// The look at a key has ended.
    pub fn done(&self, app: &AppName) {
        self.lock().running.remove(app);
        self.changed.notify_one();
    }

    /// How many keys are due or being looked at, how long the oldest has been due, and so on.
    pub fn load(&self) -> Load {
        let now = Instant::now();
        let inner = self.lock();
        let due = inner.slots.values().filter(|slot| slot.due <= now);
        let oldest = due.clone().map(|slot| now.duration_since(slot.asked.max(slot.due))).max();
        let longest = inner.running.values().map(|since| now.duration_since(*since)).max();
        Load {
            depth: due.count() + inner.running.len(),
            oldest: oldest.unwrap_or_default(),
            adds: inner.adds,
            running: inner.running.len(),
            longest: longest.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AppName {
        AppName::new(text).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_has_one_slot_and_the_earliest_deadline_wins() {
        let queue = Queue::default();
        queue.ask(&name("a"), Duration::from_secs(10));
        queue.ask(&name("a"), Duration::from_secs(2));
        queue.ask(&name("a"), Duration::from_secs(5));
        let start = Instant::now();
        assert_eq!(queue.next().await.app, name("a"));
        assert_eq!(start.elapsed().as_secs(), 2);
        queue.done(&name("a"));
        let none = tokio::time::timeout(Duration::from_secs(60), queue.next()).await;
        assert!(none.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_never_looked_at_twice_at_once() {
        let queue = Queue::default();
        queue.ask(&name("a"), Duration::ZERO);
        queue.next().await;
        queue.ask(&name("a"), Duration::ZERO);
        let early = tokio::time::timeout(Duration::from_secs(1), queue.next()).await;
        assert!(early.is_err());
        queue.done(&name("a"));
        assert_eq!(queue.next().await.app, name("a"));
    }

    /// Fault T06: one app that is always due does not starve the others.
    #[tokio::test(start_paused = true)]
    async fn keys_are_served_in_the_order_of_their_deadlines() {
        let queue = Queue::default();
        for app in ["c", "a", "b"] {
            queue.ask(&name(app), Duration::ZERO);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let mut order = Vec::new();
        for _ in 0..3 {
            let turn = queue.next().await;
            queue.done(&turn.app);
            queue.ask(&turn.app, Duration::from_secs(1));
            order.push(turn.app.to_string());
        }
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_rests_on_what_was_seen_when_it_was_last_asked_for() {
        let queue = Queue::default();
        let seen = Instant::now();
        tokio::time::advance(Duration::from_millis(5)).await;
        queue.ask_since(&name("a"), seen);
        queue.ask_since(&name("b"), seen);
        let later = Instant::now();
        queue.ask(&name("b"), Duration::ZERO);
        assert_eq!(queue.next().await.since, seen);
        assert_eq!(queue.next().await.since, later);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_can_wait_come_together() {
        let queue = Queue::default();
        for app in ["a", "b", "c"] {
            tokio::time::advance(Duration::from_millis(30)).await;
            queue.ask_with_others(&name(app), Duration::from_millis(20));
        }
        let start = queue.began;
        for _ in 0..3 {
            queue.next().await;
            assert_eq!(start.elapsed(), CROWD);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_load_tells_of_adds_and_of_the_longest_look() {
        let queue = Queue::default();
        queue.ask(&name("a"), Duration::ZERO);
        queue.ask(&name("b"), Duration::ZERO);
        queue.next().await;
        tokio::time::advance(Duration::from_secs(3)).await;
        let seconds = Duration::from_secs;
        let load = Load { depth: 2, oldest: seconds(3), adds: 2, running: 1, longest: seconds(3) };
        assert_eq!(queue.load(), load);
        queue.next().await;
        queue.done(&name("a"));
        queue.done(&name("b"));
        assert_eq!(queue.load(), Load { adds: 2, ..Load::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn a_far_deadline_is_cut_to_an_hour() {
        let queue = Queue::default();
        queue.ask(&name("a"), Duration::MAX);
        let start = Instant::now();
        queue.next().await;
        assert_eq!(start.elapsed(), WAIT_MAX);
    }
}
