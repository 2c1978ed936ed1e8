//! Reads the GPUs every now and then, on a thread that may hang without anybody noticing.
//!
//! # Guarantees
//! - Nobody waits for a driver. One that does not answer within the deadline leaves what was known
//!   before, marked as stale (fault U08); what it says later is still taken.
//! - A thread that hangs is given up, and another one tries after a pause that grows. At most one
//!   is given up at a time: more would hang in the same place.
//! - On a host without GPUs there is no thread, and it is looked for some with pauses that grow
//!   (fault U07).

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, atomic::Ordering, mpsc as blocking},
    thread,
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Cards, Error, Probe, health::Keeper};
use crate::clock::Clock;
use crate::state::{GpuError, Inventory};

/// A driver that answers late gets more time, up to this.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// Between readings when nobody asks.
    pub idle: Duration,
    /// How long a reading may take; twice as long once one came late.
    pub deadline: Duration,
    /// After a failure: at first, and at most.
    pub failed: (Duration, Duration),
    /// On a host without GPUs: at first, and at most.
    pub absent: (Duration, Duration),
}

impl Default for Pauses {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(5),
            deadline: Duration::from_secs(5),
            failed: (Duration::from_secs(5), Duration::from_secs(300)),
            absent: (Duration::from_secs(15), Duration::from_secs(600)),
        }
    }
}

/// Makes probes, one for each thread.
pub type Make = Arc<dyn Fn() -> Box<dyn Probe> + Send + Sync>;

/// Keeps `cards` at what the probe reads, until `stop`. `known` is what spoke against cards before.
pub async fn watch(
    cards: Arc<Cards>,
    make: Make,
    clock: Clock,
    (pauses, known): (Pauses, BTreeMap<String, GpuError>),
    stop: CancellationToken,
) {
    cards.is_watched.store(true, Ordering::SeqCst);
    let watcher = Watcher {
        cards: Arc::clone(&cards),
        make,
        clock,
        pauses,
        keeper: Keeper::of(known),
        current: None,
        given_up: None,
        misses: 0,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = watcher.run() => {}
    }
    cards.is_watched.store(false, Ordering::SeqCst);
}

struct Reply {
    read: Result<Inventory, Error>,
    xids: Vec<(String, u64)>,
}

/// A thread with a probe.
struct Worker {
    requests: blocking::Sender<()>,
    replies: mpsc::UnboundedReceiver<Reply>,
    is_busy: bool,
}

struct Watcher {
    cards: Arc<Cards>,
    make: Make,
    clock: Clock,
    pauses: Pauses,
    keeper: Keeper,
    current: Option<Worker>,
    /// One that hangs. Its thread ends when its reading does.
    given_up: Option<Worker>,
    /// How many readings in a row gave no cards.
    misses: u32,
}

/// What came of a reading.
enum Seen {
    Cards,
    None,
    Failed,
    Hanging,
}

impl Watcher {
    async fn run(mut self) {
        loop {
            let seen = self.look().await;
            self.misses = if matches!(seen, Seen::Cards) { 0 } else { self.misses + 1 };
            let pause = match seen {
                Seen::Cards => self.pauses.idle,
                Seen::None => grown(self.pauses.absent, self.misses),
                Seen::Failed | Seen::Hanging => grown(self.pauses.failed, self.misses),
            };
            match (seen, &mut self.current) {
                (Seen::Hanging, Some(worker)) => {
                    let late = tokio::time::timeout(pause, worker.replies.recv()).await;
                    if let Ok(reply) = late {
                        worker.is_busy = false;
                        self.take(reply);
                        // A slow driver is not called a hanging one again and again.
                        let longer = self.pauses.deadline.saturating_mul(2);
                        self.pauses.deadline = longer.min(DEADLINE_MAX);
                    }
                }
                // Who asks does not hurry a driver that has just failed.
                (Seen::Failed | Seen::Hanging, _) => sleep(pause).await,
                (Seen::Cards | Seen::None, _) => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.cards.wanted.notified() => {}
                    }
                }
            }
        }
    }

    /// One reading, or what is left of one that hangs.
    async fn look(&mut self) -> Seen {
        self.replace_hanging();
        let mut worker = match self.current.take() {
            Some(worker) => worker,
            None => match start(&self.make) {
                Ok(worker) => worker,
                Err(error) => return self.fail(&format!("no thread for the GPUs: {error}")),
            },
        };
        if !worker.is_busy {
            worker.is_busy = worker.requests.send(()).is_ok();
        }
        let reply = tokio::time::timeout(self.pauses.deadline, worker.replies.recv()).await;
        worker.is_busy = reply.is_err();
        self.current = Some(worker);
        if let Ok(reply) = reply {
            return self.take(reply);
        }
        let limit = self.pauses.deadline.as_secs_f32();
        self.fail(&format!("the driver has not answered for {limit} s"));
        Seen::Hanging
    }

    /// Gives a hanging thread up, unless one is given up already.
    fn replace_hanging(&mut self) {
        // One that ended without an answer is over too.
        let is_over = |worker: &mut Worker| {
            !matches!(worker.replies.try_recv(), Err(mpsc::error::TryRecvError::Empty))
        };
        if self.given_up.as_mut().is_some_and(is_over) {
            self.given_up = None;
        }
        if self.given_up.is_none() && self.current.as_ref().is_some_and(|worker| worker.is_busy) {
            self.given_up = self.current.take();
        }
    }

    fn take(&mut self, reply: Option<Reply>) -> Seen {
        let Some(Reply { read, xids }) = reply else {
            self.current = None;
            return self.fail("the reader of the GPUs has a defect: its thread ended");
        };
        let mut inventory = match read {
            Ok(inventory) => inventory,
            Err(error) => {
                self.current = None;
                let is_mismatched = error == Error::Mismatch;
                return self.keep(&error.to_string(), is_mismatched);
            }
        };
        let is_none = inventory.gpus.is_empty();
        let now = self.clock.now();
        inventory.at = Some(now);
        inventory.is_stale = false;
        self.keeper.judge(&mut inventory, xids, now);
        self.cards.put(inventory);
        if is_none {
            self.current = None;
            return Seen::None;
        }
        Seen::Cards
    }

    fn fail(&mut self, why: &str) -> Seen {
        let is_mismatched = self.cards.latest().is_mismatched;
        self.keep(why, is_mismatched)
    }

    /// Keeps what was known, and says that it is not fresh.
    fn keep(&mut self, why: &str, is_mismatched: bool) -> Seen {
        let known = self.cards.latest();
        self.cards.put(Inventory {
            note: Some(why.to_owned()),
            is_stale: true,
            is_mismatched,
            ..known.as_ref().clone()
        });
        Seen::Failed
    }
}

fn start(make: &Make) -> io::Result<Worker> {
    let (requests, asked) = blocking::channel();
    let (answers, replies) = mpsc::unbounded_channel();
    let make = Arc::clone(make);
    thread::Builder::new().name("gpu".to_owned()).spawn(move || {
        let mut probe = make();
        while asked.recv().is_ok() {
            let read = probe.read();
            let xids = probe.xids();
            if answers.send(Reply { read, xids }).is_err() {
                return;
            }
        }
    })?;
    Ok(Worker { requests, replies, is_busy: false })
}

/// The first pause, doubled with each miss after the first, up to the largest.
fn grown((first, largest): (Duration, Duration), misses: u32) -> Duration {
    first.saturating_mul(1 << misses.saturating_sub(1).min(16)).min(largest)
}
