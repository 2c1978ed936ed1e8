//! What each remote was last heard to have: asked once for all apps that want to know at a time
//! (fault G17).

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as Turn, Semaphore},
    time::Instant,
};

use super::{error::Error, heads::Heads};

/// How many remotes are asked at once.
const ASKED_AT_ONCE: usize = 8;
/// How long an answer is kept that nobody uses any more.
const KEPT: Duration = Duration::from_secs(60);

/// The remotes that were asked of late.
#[derive(Debug)]
pub(super) struct Remotes {
    known: Mutex<BTreeMap<String, Arc<Remote>>>,
    gate: Semaphore,
}

#[derive(Debug, Default)]
struct Remote {
    turn: Turn<()>,
    last: Mutex<Option<Heard>>,
}

/// An answer, and when it was asked for.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) asked: Instant,
    pub(super) answer: Result<Arc<Heads>, Error>,
}

impl Default for Remotes {
    fn default() -> Self {
        Self { known: Mutex::default(), gate: Semaphore::new(ASKED_AT_ONCE) }
    }
}

impl Remotes {
    /// What the remote `key` has. An answer to a question that was put at `since` or later is
    /// good; while one is under way it is waited for. Else `ask` asks.
    pub(super) async fn heads(
        &self,
        key: &str,
        since: Instant,
        ask: impl AsyncFnOnce() -> Result<Heads, Error>,
    ) -> Heard {
        let remote = self.remote(key);
        let good = |heard: &Heard| since <= heard.asked;
        if let Some(heard) = remote.last().clone().filter(good) {
            return heard;
        }
        let _turn = remote.turn.lock().await;
        if let Some(heard) = remote.last().clone().filter(good) {
            return heard;
        }
        // The gate is never closed.
        let _permit = self.gate.acquire().await;
        let asked = Instant::now();
        let heard = Heard { asked, answer: ask().await.map(Arc::new) };
        *remote.last() = Some(heard.clone());
        heard
    }

    fn remote(&self, key: &str) -> Arc<Remote> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, remote| {
            let is_used = 1 < Arc::strong_count(remote);
            is_used || remote.last().as_ref().is_some_and(|heard| heard.asked.elapsed() < KEPT)
        });
        Arc::clone(known.entry(key.to_owned()).or_default())
    }
}

impl Remote {
    fn last(&self) -> MutexGuard<'_, Option<Heard>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    /// Fault G17.
    #[tokio::test(start_paused = true)]
    async fn those_who_ask_together_share_one_question() {
        let (remotes, asked) = (Remotes::default(), AtomicUsize::new(0));
        let ask = async |key: &'static str, since: Instant| {
            let question = async || {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok(Heads::default())
            };
            remotes.heads(key, since, question).await
        };
        let start = Instant::now();
        join_all((0..100).map(|_| ask("a", start))).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        ask("a", start).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1, "what is new enough serves");
        join_all((0..2).map(|nth| ask(["a", "b"][nth], Instant::now()))).await;
        assert_eq!(asked.load(Ordering::Relaxed), 3, "what is older does not");
        tokio::time::advance(2 * KEPT).await;
        ask("c", Instant::now()).await;
        assert_eq!(remotes.known.lock().unwrap().len(), 1, "what nobody uses is forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_and_goes_away_leaves_the_turn_to_the_next() {
        let remotes = Arc::new(Remotes::default());
        let start = Instant::now();
        let never = {
            let remotes = Arc::clone(&remotes);
            tokio::spawn(async move {
                remotes.heads("a", start, async || std::future::pending().await).await
            })
        };
        tokio::task::yield_now().await;
        never.abort();
        let heard = remotes.heads("a", start, async || Ok(Heads::default())).await;
        assert!(heard.answer.is_ok());
    }
}
