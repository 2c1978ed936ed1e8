//! Who tells: follows the record, beside the passes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    board::Board,
    desk::{Batch, Desk, Key, Seen, Told},
    file::{self, KeptTarget},
    send::Outcome,
    watch,
};
use crate::clock::Clock;
use crate::record::{Change, Entry, Record};

/// How often is looked, and when what is wrong is news.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often the host is looked at.
    pub look: Duration,
    /// After everything was looked at, health checks still have this time before what is wrong is
    /// news.
    pub settling: Duration,
    /// After this time it is news whether or not everything was looked at.
    pub settling_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(2),
            settling: Duration::from_secs(30),
            settling_max: Duration::from_mins(3),
        }
    }
}

/// How the host is, now.
pub type HostFacts = Box<dyn Fn() -> Vec<(Key, Seen)> + Send + Sync>;

/// Who tells.
pub struct Notifier {
    /// What is known.
    pub record: Arc<Record>,
    /// The time.
    pub clock: Clock,
    /// The targets.
    pub board: Arc<Board>,
    /// How the host is.
    pub host: HostFacts,
    /// Where it is kept what was told.
    pub file: PathBuf,
    /// How often is looked.
    pub pace: Pace,
}

struct Desks {
    all: Vec<Desk>,
    start: Instant,
    /// Since when everything was looked at.
    looked: Option<Duration>,
    is_settled: bool,
    /// Why it is not kept what was told, when it is not.
    not_kept: Option<String>,
}

type Sent = (usize, Batch, Outcome);

impl Notifier {
    /// Tells until it is told to stop. What waits then is told after the next start.
    pub async fn run(self, stop: CancellationToken) {
        let mut desks = self.load();
        let (entries, _, mut changes) = self.record.subscribe();
        self.note_all(&mut desks, &entries);
        let mut looks = interval(self.pace.look);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sending = JoinSet::<Sent>::new();
        loop {
            let next = desks.all.iter().filter_map(Desk::next).min();
            let next = next.map(|next| desks.start + next);
            tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(Change::Upsert(entry)) => self.note(&mut desks, &entry),
                    Ok(Change::Delete(app)) => {
                        let at = desks.start.elapsed();
                        desks.all.iter_mut().for_each(|desk| desk.forget(&app, at));
                    }
                    Ok(Change::Event(_)) => {}
                    Err(RecvError::Lagged(_)) => {
                        let (entries, _, again) = self.record.subscribe();
                        changes = again;
                        self.note_all(&mut desks, &entries);
                    }
                    Err(RecvError::Closed) => return,
                },
                _ = looks.tick() => self.look(&mut desks),
                Some(sent) = sending.join_next() => match sent {
                    Ok(sent) => self.finish(&mut desks, sent),
                    Err(died) => tracing::error!(%died, "a notification died"),
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
            self.send_due(&mut desks, &mut sending);
            self.keep(&mut desks).await;
        }
    }

    fn load(&self) -> Desks {
        let mut kept = file::load(&self.file);
        let desk = |post: &Arc<super::Post>| {
            let kept = kept.remove(&post.target.name);
            post.put(kept.as_ref().and_then(|kept| kept.last.clone()));
            Desk::new(post.target.rules, kept.map(|kept| kept.told))
        };
        let all = self.board.posts.iter().map(desk).collect();
        Desks { all, start: Instant::now(), looked: None, is_settled: false, not_kept: None }
    }

    fn note_all(&self, desks: &mut Desks, entries: &[Arc<Entry>]) {
        for entry in entries {
            self.note(desks, entry);
        }
    }

    fn note(&self, desks: &mut Desks, entry: &Entry) {
        self.put(desks, watch::of_entry(entry));
    }

    fn put(&self, desks: &mut Desks, seen: Vec<(Key, Seen)>) {
        let at = desks.start.elapsed();
        for (key, seen) in seen {
            for (desk, post) in desks.all.iter_mut().zip(&self.board.posts) {
                if post.target.wants(&key) {
                    desk.note(&key, seen.clone(), at);
                }
            }
        }
    }

    fn look(&self, desks: &mut Desks) {
        self.put(desks, (self.host)());
        if desks.is_settled {
            return;
        }
        let at = desks.start.elapsed();
        if desks.looked.is_none() && self.record.overview().resynced_at.is_some() {
            desks.looked = Some(at);
        }
        let is_time = desks.looked.is_some_and(|looked| looked + self.pace.settling <= at);
        if is_time || self.pace.settling_max <= at {
            desks.is_settled = true;
            self.board.settle();
            let apps: BTreeSet<_> =
                self.record.entries().iter().map(|entry| entry.name.clone()).collect();
            let known = desks.looked.is_some();
            for desk in &mut desks.all {
                desk.settle(known.then_some(&apps), at);
            }
        }
    }

    fn send_due(&self, desks: &mut Desks, sending: &mut JoinSet<Sent>) {
        let at = desks.start.elapsed();
        for (nth, (desk, post)) in desks.all.iter_mut().zip(&self.board.posts).enumerate() {
            if let Some(batch) = desk.due(at, &post.target.name) {
                let letter = self.board.writer.write(&post.target, &batch, self.clock.now());
                let delivering = self.board.deliver(Arc::clone(post), letter);
                sending.spawn(async move { (nth, batch, delivering.await) });
            }
            post.wait(desk.waiting());
        }
    }

    fn finish(&self, desks: &mut Desks, (nth, batch, outcome): Sent) {
        let at = desks.start.elapsed();
        let (Some(desk), Some(post)) = (desks.all.get_mut(nth), self.board.posts.get(nth)) else {
            return;
        };
        let (target, delivery) = (post.target.name.as_str(), batch.id.as_str());
        let told = match outcome {
            Outcome::Taken => Told::Ended,
            Outcome::Refused(why) => {
                tracing::warn!(target_name = target, delivery, why, "a notification was refused");
                Told::Ended
            }
            Outcome::Later(why) => {
                tracing::debug!(target_name = target, delivery, why, "not notified yet");
                Told::Later
            }
        };
        desk.done(&batch, told, at);
        post.wait(desk.waiting());
    }

    /// Keeps what was told before anything else is: a crash costs one duplicate.
    async fn keep(&self, desks: &mut Desks) {
        let told: Vec<_> = desks.all.iter_mut().map(Desk::changed).collect();
        if told.iter().all(Option::is_none) {
            return;
        }
        let all = desks.all.iter().zip(&self.board.posts).map(|(desk, post)| {
            let kept = KeptTarget { told: desk.kept(), last: post.last() };
            (post.target.name.clone(), kept)
        });
        let (path, all): (_, BTreeMap<_, _>) = (self.file.clone(), all.collect());
        let saved = tokio::task::spawn_blocking(move || file::save(&path, all)).await;
        let saved = saved.map_err(|died| died.to_string());
        let error = saved.and_then(|saved| saved.map_err(|error| error.to_string())).err();
        if let Some(error) = error.as_ref().filter(|_| desks.not_kept != error) {
            tracing::warn!(error, "it is not kept what was told; it is tried again");
        }
        if error.is_some() {
            desks.all.iter_mut().for_each(Desk::not_kept);
        }
        desks.not_kept = error;
    }
}
