//! What is told to one target, and when: one condition of one app once within a window, what comes
//! together as one message, never more often than the target's rate, and what ended as ended.
//!
//! It decides and does nothing else: times are given to it, counted from its start, and a clock that
//! is set changes nothing.
//!
//! # Guarantees
//! - What waits is one entry for each condition of each app: the latest.
//! - A trouble is told at most once within a window, whatever it does meanwhile.
//! - Only what was told to be wrong is told to be over.
//! - What was told and kept is not told again after a restart.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::model::{AppName, Digest, Timestamp};

/// How many conditions are remembered; what comes on top is not told.
const KEYS_MAX: usize = 20_000;
/// So many messages may follow each other at once.
const BURST_MAX: u32 = 10;

/// A condition of an app, or of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Key {
    /// The app; none is the host.
    pub app: Option<AppName>,
    /// Which condition: `Ready`, `Engine`, `Gpu:GPU-…`.
    pub what: String,
}

impl Key {
    /// A condition of an app.
    pub fn of_app(app: &AppName, what: impl fmt::Display) -> Self {
        Self { app: Some(app.clone()), what: what.to_string() }
    }

    /// A condition of the host.
    pub fn of_host(what: impl Into<String>) -> Self {
        Self { app: None, what: what.into() }
    }

    /// The condition's word, without what it is of.
    pub fn word(&self) -> &str {
        self.what.split(':').next().unwrap_or_default()
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        format!("{}/{}", key.app.as_ref().map_or("", AppName::as_str), key.what)
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (app, what) = text.split_once('/').ok_or("a condition without `/`")?;
        let name = |app: &str| AppName::new(app).map_err(|error| error.to_string());
        let app = if app.is_empty() { None } else { Some(name(app)?) };
        Ok(Self { app, what: what.to_owned() })
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// How a condition was seen to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Something is wrong.
    Trouble(Trouble),
    /// All is well, with a sentence.
    Fine(String),
    /// Nobody can tell, or it is on its way: what was so counts on.
    Unclear,
}

/// How much a target is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Within this time, a trouble is told once.
    pub window: Duration,
    /// How long a message waits for what else comes.
    pub group: Duration,
    /// How many messages an hour may have.
    pub per_hour: u32,
    /// Whether what is over is told.
    pub tells_end: bool,
    /// The pause after a first failure, and the longest one.
    pub pauses: (Duration, Duration),
}

/// One change to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of what.
    pub key: Key,
    /// What is wrong, or was.
    pub trouble: Trouble,
    /// What is said of its end; none is that it goes on.
    pub over: Option<String>,
}

/// What is told as one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The same whenever the same is told.
    pub id: String,
    /// What has changed, by app and condition.
    pub changes: Vec<Change>,
}

/// What came of telling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It was taken, or will never be.
    Ended,
    /// It is to be told again.
    Later,
}

/// What was told and is not over, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTold {
    /// Of what.
    pub key: Key,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// It was so before anybody was told anything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_old: bool,
}

struct Now {
    trouble: Option<Trouble>,
    said: String,
    changed: Duration,
}

#[derive(Clone)]
struct Known {
    reason: Option<String>,
    since: Timestamp,
    is_old: bool,
    /// When a trouble was told last.
    told: Option<Duration>,
}

/// What one target was told, and is to be.
pub struct Desk {
    rules: Rules,
    now: BTreeMap<Key, Now>,
    known: BTreeMap<Key, Known>,
    /// Whether what is wrong was so before Berth ever told anything.
    is_first: bool,
    is_settled: bool,
    is_sending: bool,
    /// Messages that may go at once, in millionths.
    purse: u64,
    filled: Duration,
    attempts: u32,
    retry_at: Duration,
    is_changed: bool,
    dropped: u64,
}

const MILLION: u64 = 1_000_000;

impl Desk {
    /// A desk that was told what is kept; none is that it never was.
    pub fn new(rules: Rules, kept: Option<Vec<KeptTold>>) -> Self {
        let is_first = kept.is_none();
        let known = kept.unwrap_or_default().into_iter().map(|kept| {
            let KeptTold { key, reason, since, is_old } = kept;
            (key, Known { reason: Some(reason), since, is_old, told: Some(Duration::ZERO) })
        });
        Self {
            rules,
            now: BTreeMap::new(),
            known: known.collect(),
            is_first,
            is_settled: false,
            is_sending: false,
            purse: burst(rules) * MILLION,
            filled: Duration::ZERO,
            attempts: 0,
            retry_at: Duration::ZERO,
            is_changed: is_first,
            dropped: 0,
        }
    }

    /// Takes note of how a condition is.
    pub fn note(&mut self, key: &Key, seen: Seen, at: Duration) {
        match seen {
            Seen::Unclear => {}
            Seen::Trouble(trouble) => self.note_trouble(key, trouble, at),
            Seen::Fine(said) => self.note_end(key, said, at),
        }
    }

    fn note_trouble(&mut self, key: &Key, trouble: Trouble, at: Duration) {
        let is_old = self.is_first && !self.is_settled && key.app.is_some();
        if is_old && !self.known.contains_key(key) && self.now.len() < KEYS_MAX {
            let reason = Some(trouble.reason.clone());
            let since = trouble.since;
            self.known.insert(key.clone(), Known { reason, since, is_old, told: None });
            self.is_changed = true;
        }
        let is_full = KEYS_MAX <= self.now.len();
        match self.now.get_mut(key) {
            Some(now) => {
                // Other words for the same are no news, and it is as old as it was.
                let same = now.trouble.as_ref().filter(|it| it.reason == trouble.reason);
                let since = same.map(|same| same.since);
                if since.is_none() {
                    now.changed = at;
                }
                let since = since.unwrap_or(trouble.since);
                now.trouble = Some(Trouble { since, ..trouble });
            }
            None if is_full => self.dropped += 1,
            None => {
                let now = Now { trouble: Some(trouble), said: String::new(), changed: at };
                self.now.insert(key.clone(), now);
            }
        }
    }

    fn note_end(&mut self, key: &Key, said: String, at: Duration) {
        let tells = self.rules.tells_end;
        if let Some(known) = self.known.get_mut(key).filter(|known| known.is_old || !tells) {
            // Nobody was told that it began, or wants to know that it ended.
            (known.reason, known.is_old) = (None, false);
            self.now.remove(key);
            self.is_changed = true;
            return;
        }
        let known = self.known.get(key);
        let is_told = known.is_some_and(|known| known.reason.is_some());
        // What is being told now may turn out to have been told.
        if !is_told && !self.is_sending {
            self.now.remove(key);
            return;
        }
        let is_new = self.now.get(key).is_none_or(|now| now.trouble.is_some());
        if is_new {
            self.now.insert(key.clone(), Now { trouble: None, said, changed: at });
        }
    }

    /// An app is gone: what was wrong with it is over.
    pub fn forget(&mut self, app: &AppName, at: Duration) {
        let keys: BTreeSet<_> = self.now.keys().chain(self.known.keys()).cloned().collect();
        for key in keys.iter().filter(|key| key.app.as_ref() == Some(app)) {
            self.note_end(key, "the app was removed".to_owned(), at);
        }
    }

    /// What is wrong from now on is news. When these are all apps, what was told of others is over.
    pub fn settle(&mut self, apps: Option<&BTreeSet<AppName>>, at: Duration) {
        if self.is_settled {
            return;
        }
        self.is_settled = true;
        let Some(apps) = apps else { return };
        let gone = self.known.keys().filter_map(|key| key.app.clone());
        let gone: BTreeSet<_> = gone.filter(|app| !apps.contains(app)).collect();
        for app in &gone {
            self.forget(app, at);
        }
    }

    /// Whether a condition is to be told, and from when on.
    fn pending(&self, key: &Key, now: &Now) -> Option<Duration> {
        let known = self.known.get(key);
        let told = known.and_then(|known| known.reason.as_deref());
        match &now.trouble {
            Some(trouble) if told == Some(trouble.reason.as_str()) => None,
            Some(_) => {
                let free = known.and_then(|known| known.told).map(|told| told + self.rules.window);
                Some(now.changed.max(free.unwrap_or_default()))
            }
            None => told.map(|_| now.changed),
        }
    }

    /// When to ask what is due; none when nothing waits or something is being told.
    pub fn next(&self) -> Option<Duration> {
        if self.is_sending || !self.is_settled {
            return None;
        }
        let ready = self.now.iter().filter_map(|(key, now)| self.pending(key, now)).min()?;
        let paid = if MILLION <= self.purse {
            Duration::ZERO
        } else {
            let missing = MILLION - self.purse;
            // In millionths of a message: per_hour / 3600 a second.
            let micros = missing.saturating_mul(3600) / u64::from(self.rules.per_hour.max(1));
            self.filled + Duration::from_micros(micros + 1)
        };
        Some((ready + self.rules.group).max(self.retry_at).max(paid))
    }

    /// What is to be told now, if anything is.
    pub fn due(&mut self, at: Duration, target: &str) -> Option<Batch> {
        self.fill(at);
        if self.next().is_none_or(|next| at < next) {
            return None;
        }
        let ready = |(key, now): (&Key, &Now)| {
            self.pending(key, now).filter(|ready| *ready <= at)?;
            let trouble = now.trouble.clone().or_else(|| {
                let known = self.known.get(key)?;
                let (reason, since) = (known.reason.clone()?, known.since);
                Some(Trouble { reason, message: String::new(), since })
            })?;
            let over = now.trouble.is_none().then(|| now.said.clone());
            Some(Change { key: key.clone(), trouble, over })
        };
        let changes: Vec<_> = self.now.iter().filter_map(ready).collect();
        if changes.is_empty() {
            return None;
        }
        self.is_sending = true;
        self.purse -= MILLION;
        Some(Batch { id: id(target, &changes), changes })
    }

    fn fill(&mut self, at: Duration) {
        let passed = at.saturating_sub(self.filled);
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let earned = micros.saturating_mul(u64::from(self.rules.per_hour)) / 3600;
        // Less than a millionth is not lost.
        if 0 < earned {
            self.filled = at;
            self.purse = self.purse.saturating_add(earned).min(burst(self.rules) * MILLION);
        }
    }

    /// What came of telling it.
    pub fn done(&mut self, batch: &Batch, told: Told, at: Duration) {
        self.is_sending = false;
        match told {
            Told::Later => {
                self.attempts = self.attempts.saturating_add(1);
                let (first, longest) = self.rules.pauses;
                let pause = first.saturating_mul(1 << (self.attempts - 1).min(16)).min(longest);
                self.retry_at = at + pause;
                // It was not told: it costs nothing.
                self.purse = (self.purse + MILLION).min(burst(self.rules) * MILLION);
                self.now.retain(|key, now| {
                    let known = self.known.get(key).and_then(|known| known.reason.as_ref());
                    now.trouble.is_some() || known.is_some()
                });
            }
            Told::Ended => {
                (self.attempts, self.retry_at) = (0, Duration::ZERO);
                for change in &batch.changes {
                    self.told(change, at);
                }
                self.is_changed = true;
                let window = self.rules.window;
                self.known.retain(|_, known| {
                    known.reason.is_some() || known.told.is_some_and(|told| at < told + window)
                });
            }
        }
    }

    fn told(&mut self, change: &Change, at: Duration) {
        let Change { key, trouble, over } = change;
        let before = self.known.get(key).and_then(|known| known.told);
        let is_over = over.is_some();
        // Who is not told of ends begins anew with what comes after one.
        let has_ended =
            !self.rules.tells_end && self.now.get(key).is_none_or(|now| now.trouble.is_none());
        if has_ended {
            self.now.remove(key);
        }
        let known = Known {
            reason: (!is_over && !has_ended).then(|| trouble.reason.clone()),
            since: trouble.since,
            is_old: false,
            told: if is_over { before } else { Some(at) },
        };
        self.known.insert(key.clone(), known);
        let is_fine = self.now.get(key).is_some_and(|now| now.trouble.is_none());
        if is_over && is_fine {
            self.now.remove(key);
        }
    }

    /// How many conditions wait to be told.
    pub fn waiting(&self) -> usize {
        self.now.iter().filter(|(key, now)| self.pending(key, now).is_some()).count()
    }

    /// How many were not taken note of, since there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What is to be kept, when that has changed since it was asked last.
    pub fn changed(&mut self) -> Option<Vec<KeptTold>> {
        // Killed before that, the next start is the first one again.
        let is_due = self.is_settled && std::mem::take(&mut self.is_changed);
        is_due.then(|| self.kept())
    }

    /// What was to be kept is not: it is still to be.
    pub fn not_kept(&mut self) {
        self.is_changed = true;
    }

    /// What is to be kept.
    pub fn kept(&self) -> Vec<KeptTold> {
        let kept = |(key, known): (&Key, &Known)| {
            let (reason, since, is_old) = (known.reason.clone()?, known.since, known.is_old);
            Some(KeptTold { key: key.clone(), reason, since, is_old })
        };
        self.known.iter().filter_map(kept).collect()
    }
}

fn burst(rules: Rules) -> u64 {
    u64::from(rules.per_hour.clamp(1, BURST_MAX))
}

fn id(target: &str, changes: &[Change]) -> String {
    let mut text = target.to_owned();
    for Change { key, trouble, over } in changes {
        let (state, since) = (if over.is_some() { "over" } else { "is" }, trouble.since);
        text.push_str(&format!(
            "\n{} {state} {} {since}",
            String::from(key.clone()),
            trouble.reason
        ));
    }
    Digest::of_bytes(text.as_bytes()).short(16).to_owned()
}
