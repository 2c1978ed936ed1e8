//! Outgoing webhooks: what happens in the model store, told to others.
//!
//! # Guarantees
//! - The store waits for nobody: what a receiver misses while it is too slow is dropped and counted.
//! - A message is signed (`X-Hub-Signature-256`), and has the same `X-Berth-Delivery` each time it is
//!   tried, so that a receiver can tell what it knows already.
//! - What says the same as a message that still waits is not sent twice.
//! - A receiver that hangs or is away holds up no other.

use std::{collections::VecDeque, fmt, fmt::Write as _, sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Secrets,
    request::{Client, Outcome},
    signature,
};
use crate::store::{Depot, Happening};
use crate::telemetry::Exposed;

/// How many messages may wait for a receiver.
const WAITING_MAX: usize = 1000;
/// How often one is tried.
const ATTEMPTS_MAX: u32 = 10;

/// What was sent, and what was not.
#[derive(Debug, Default)]
pub struct Sent {
    taken: std::sync::atomic::AtomicU64,
    failed: std::sync::atomic::AtomicU64,
    dropped: std::sync::atomic::AtomicU64,
}

impl Exposed for Sent {
    fn write(&self, out: &mut String) {
        out.push_str("# HELP berth_models_hooks_total Messages about models that were sent to receivers, tries that failed, and messages that were given up.\n# TYPE berth_models_hooks_total counter\n");
        for (word, counter) in
            [("sent", &self.taken), ("failed", &self.failed), ("dropped", &self.dropped)]
        {
            let value = counter.load(std::sync::atomic::Ordering::Relaxed);
            let _ = writeln!(out, "berth_models_hooks_total{{outcome=\"{word}\"}} {value}");
        }
    }
}

/// Who is told.
pub struct Receiver {
    /// Where.
    pub url: String,
    /// The name of the secret that messages are signed with.
    pub secret: Option<String>,
    /// Where secrets are.
    pub secrets: Secrets,
    /// What tells this start of Berth from others.
    pub boot: String,
    /// Figures.
    pub sent: Arc<Sent>,
    /// The pause after a first failure, and the longest one.
    pub pauses: (Duration, Duration),
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address may hold what is for nobody else.
        f.write_str("Receiver")
    }
}

struct Message {
    id: String,
    word: &'static str,
    facts: Map<String, Value>,
    body: String,
    attempts: u32,
    at: Instant,
}

impl Receiver {
    /// The usual pauses between attempts.
    pub const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));

    /// Tells what happens until it is told to stop. Call [`Depot::listen`] before anything happens.
    pub async fn run(
        self,
        mut happenings: broadcast::Receiver<Happening>,
        stop: CancellationToken,
    ) {
        let client = Client::default();
        let mut waiting: VecDeque<Message> = VecDeque::new();
        let mut sending: Option<JoinHandle<Outcome>> = None;
        loop {
            let due = waiting.front().map(|message| message.at).filter(|_| sending.is_none());
            tokio::select! {
                () = stop.cancelled() => return,
                happening = happenings.recv() => match happening {
                    Ok(happening) => self.note(&happening, &mut waiting, sending.is_some()),
                    Err(RecvError::Lagged(missed)) => {
                        count(&self.sent.dropped, missed);
                        tracing::warn!(missed, "a receiver of webhooks is too slow: messages are lost");
                    }
                    Err(RecvError::Closed) => return,
                },
                outcome = ended(&mut sending) => self.finish(outcome, &mut waiting),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    sending = waiting.front().map(|message| self.send(&client, message));
                }
            }
        }
    }

    fn note(&self, happening: &Happening, waiting: &mut VecDeque<Message>, is_sending: bool) {
        let (word, facts) = (happening.what.word(), happening.what.facts());
        // The first one may be under way with what it says.
        let is_known = |message: &Message| message.word == word && message.facts == facts;
        if waiting.iter().skip(usize::from(is_sending)).next_back().is_some_and(is_known) {
            return;
        }
        if WAITING_MAX <= waiting.len() {
            count(&self.sent.dropped, 1);
            return;
        }
        let id = format!("{}-{}", self.boot, happening.id);
        let mut body = json!({ "id": id, "type": word, "at": happening.at });
        if let Some(body) = body.as_object_mut() {
            body.extend(facts.clone());
        }
        let body = body.to_string();
        waiting.push_back(Message { id, word, facts, body, attempts: 0, at: Instant::now() });
    }

    fn send(&self, client: &Client, message: &Message) -> JoinHandle<Outcome> {
        let (client, secrets, secret) = (client.clone(), self.secrets.clone(), self.secret.clone());
        let (url, id, word, body) =
            (self.url.clone(), message.id.clone(), message.word, message.body.clone());
        spawn_blocking(move || {
            let secret = match secret.map(|name| secrets.read(&name)).transpose() {
                Ok(secret) => secret,
                Err(why) => return Outcome::Later(why),
            };
            let mut headers = vec![
                ("content-type", "application/json".to_owned()),
                ("x-berth-event", word.to_owned()),
                ("x-berth-delivery", id),
            ];
            headers.extend(signature::signed(secret.as_deref(), body.as_bytes()));
            client.post(&url, &headers, body)
        })
    }

    fn finish(&self, outcome: Outcome, waiting: &mut VecDeque<Message>) {
        let Some(mut message) = waiting.pop_front() else { return };
        let why = match outcome {
            Outcome::Taken => return count(&self.sent.taken, 1),
            Outcome::Refused(status) => format!("it answers {status}"),
            Outcome::Later(why) => {
                message.attempts += 1;
                if message.attempts < ATTEMPTS_MAX {
                    count(&self.sent.failed, 1);
                    let (first, longest) = self.pauses;
                    let pause = first.saturating_mul(1 << message.attempts.min(16)) / 2;
                    message.at = Instant::now() + pause.min(longest);
                    return waiting.push_front(message);
                }
                why
            }
        };
        count(&self.sent.dropped, 1);
        tracing::warn!(event = message.word, delivery = message.id, why, "a webhook was given up");
    }
}

fn count(counter: &std::sync::atomic::AtomicU64, amount: u64) {
    counter.fetch_add(amount, std::sync::atomic::Ordering::Relaxed);
}

async fn ended(sending: &mut Option<JoinHandle<Outcome>>) -> Outcome {
    match sending {
        Some(task) => {
            let outcome = task.await.unwrap_or_else(|error| Outcome::Later(error.to_string()));
            *sending = None;
            outcome
        }
        None => std::future::pending().await,
    }
}

/// Begins to tell everybody what happens in a store.
pub fn tell_all(receivers: Vec<Receiver>, models: &Depot, stop: &CancellationToken) {
    for receiver in receivers {
        tokio::spawn(receiver.run(models.listen(), stop.clone()));
    }
}
