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

/// No wait is longer: a key comes back sooner than its far deadline and waits again.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    due: BTreeSet<(Instant, AppName)>,
    slots: BTreeMap<AppName, Slot>,
    running: BTreeSet<AppName>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    due: Instant,
    asked: Instant,
}

/// A key that is to be looked at now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The app.
    pub app: AppName,
    /// When it became due: what was seen before that does not count.
    pub due: Instant,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look after `delay`. An earlier deadline that stands already is kept.
    pub fn ask(&self, app: &AppName, delay: Duration) {
        let now = Instant::now();
        let due = now + delay.min(WAIT_MAX);
        let mut inner = self.lock();
        if let Some(slot) = inner.slots.get(app).copied() {
            if slot.due <= due {
                return;
            }
            inner.due.remove(&(slot.due, app.clone()));
        }
        inner.slots.insert(app.clone(), Slot { due, asked: now });
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
        let free = |(_, app): &&(Instant, AppName)| !inner.running.contains(app);
        let Some((due, app)) = inner.due.iter().find(free).cloned() else { return Err(None) };
        if now < due {
            return Err(Some(due));
        }
        inner.due.remove(&(due, app.clone()));
        inner.slots.remove(&app);
        inner.running.insert(app.clone());
        Ok(Turn { app, due })
    }

    /// The look at a key has ended.
    pub fn done(&self, app: &AppName) {
        self.lock().running.remove(app);
        self.changed.notify_one();
    }

    /// How many keys are due or being looked at, and how long the oldest has been due.
    pub fn load(&self) -> (usize, Duration) {
        let now = Instant::now();
        let inner = self.lock();
        let due = inner.slots.values().filter(|slot| slot.due <= now);
        let oldest = due.clone().map(|slot| now.duration_since(slot.asked.max(slot.due))).max();
        (due.count() + inner.running.len(), oldest.unwrap_or_default())
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
    async fn a_far_deadline_is_cut_to_an_hour() {
        let queue = Queue::default();
        queue.ask(&name("a"), Duration::MAX);
        let start = Instant::now();
        queue.next().await;
        assert_eq!(start.elapsed(), WAIT_MAX);
    }
}
