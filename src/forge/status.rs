//! Commit statuses: how the commit of an app fares, told to the forge that it came from.
//!
//! What is told is read off the record; passes know nothing of it. For each app only the latest is
//! kept until it is sent, so what waits is bounded by the number of apps.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::broadcast::error::RecvError,
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Account, Repository, Secrets,
    request::{Client, Outcome},
};
use crate::model::{AppName, Phase, Reason};
use crate::record::{Change, Entry, Record};
use crate::telemetry::Metrics;

/// How long a description may be.
const DESCRIPTION_MAX: usize = 140;
/// How often one statement is tried.
const ATTEMPTS_MAX: u32 = 8;
/// How many apps may wait to be told about.
const WAITING_MAX: usize = 1000;

/// How a commit fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is being built or rolled out.
    Pending,
    /// It runs and is healthy.
    Success,
    /// It does not.
    Failure,
}

/// What is told about one commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The repository.
    pub repository: Repository,
    /// The commit.
    pub commit: String,
    /// How it fares.
    pub state: State,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub description: String,
    /// Who says so: `berth/<app>`.
    pub context: String,
    /// Where to read more.
    pub target: Option<String>,
}

impl Statement {
    /// Whether a forge that was told `other` knows this: sentences with figures differ each time.
    fn is_told_by(&self, other: &Self) -> bool {
        (&self.repository, &self.commit, self.state, self.reason)
            == (&other.repository, &other.commit, other.state, other.reason)
    }
}

/// What statements are made from. `fetched` is the commit that was fetched last.
pub fn statement(
    entry: &Entry,
    fetched: Option<&str>,
    base_url: Option<&str>,
) -> Option<Statement> {
    let git = entry.app.as_ref()?.spec.git()?;
    let repository = Repository::parse(git.url.as_str())?;
    let status = &entry.status;
    let runs = status.commit.as_deref();
    let fetched = fetched.or(runs)?;
    let (commit, state) = match (status.phase, status.reason) {
        (Phase::Running, _) if runs == Some(fetched) => (fetched, State::Success),
        (Phase::Running, _) => (fetched, State::Pending),
        (_, reason) => match what(reason)? {
            // These are said of the container, which may be of an older commit.
            State::Failure if is_about_the_container(reason) => (runs?, State::Failure),
            state => (fetched, state),
        },
    };
    let described = match state {
        State::Success => "running and healthy".to_owned(),
        State::Pending if status.phase == Phase::Running => "building or rolling out".to_owned(),
        State::Pending | State::Failure => format!("{:?}: {}", status.reason, status.message),
    };
    Some(Statement {
        repository,
        commit: commit.to_owned(),
        state,
        reason: status.reason,
        description: shortened(&described),
        context: format!("berth/{}", entry.name),
        target: base_url.map(|base| format!("{base}/")),
    })
}

/// What a reason says about a commit; nothing where the commit has no part in it.
fn what(reason: Reason) -> Option<State> {
    match reason {
        Reason::Building
        | Reason::Fetched
        | Reason::ImagePresent
        | Reason::WaitingForDependency
        | Reason::Starting
        | Reason::Probing => Some(State::Pending),
        Reason::NothingToBuild
        | Reason::BaseImageMissing
        | Reason::BuildFailed
        | Reason::Unhealthy
        | Reason::ProbeDeadline
        | Reason::CrashLoop
        | Reason::Exited
        | Reason::RolledBack
        | Reason::RolloutFailed => Some(State::Failure),
        _ => None,
    }
}

fn is_about_the_container(reason: Reason) -> bool {
    matches!(reason, Reason::Unhealthy | Reason::CrashLoop | Reason::Exited)
}

/// One line of at most so many characters.
fn shortened(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= DESCRIPTION_MAX {
        return line;
    }
    let kept: String = line.chars().take(DESCRIPTION_MAX - 1).collect();
    format!("{}…", kept.trim_end())
}

/// The commit that was fetched last for an app.
pub type FetchedCommit = Arc<dyn Fn(&AppName) -> Option<String> + Send + Sync>;

/// Tells forges about commits.
pub struct Reporter {
    /// What is known about the apps.
    pub record: Arc<Record>,
    /// What was fetched.
    pub fetched: FetchedCommit,
    /// Whom to tell.
    pub accounts: Vec<Account>,
    /// Where the tokens are.
    pub secrets: Secrets,
    /// Where people reach this Berth.
    pub base_url: Option<String>,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The pause after a first failure, and the longest one.
    pub pauses: (Duration, Duration),
}

/// What waits, what was said, and what is being said.
#[derive(Default)]
struct Desk {
    waiting: BTreeMap<AppName, Waiting>,
    told: BTreeMap<AppName, Statement>,
    sending: Option<(AppName, Statement, JoinHandle<Outcome>)>,
}

struct Waiting {
    statement: Statement,
    attempts: u32,
    at: Instant,
}

impl Reporter {
    /// The usual pauses between attempts.
    pub const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(5));

    /// Runs until it is told to stop. What waits then is told after the next start.
    pub async fn run(self, stop: CancellationToken) {
        let client = Client::default();
        let mut desk = Desk::default();
        let (entries, _, mut changes) = self.record.subscribe();
        self.note_all(&entries, &mut desk).await;
        loop {
            let next = desk.next();
            tokio::select! {
                () = stop.cancelled() => return,
                change = changes.recv() => match change {
                    Ok(Change::Upsert(entry)) => self.note(&entry, &mut desk).await,
                    Ok(Change::Delete(app)) => desk.forget(&app),
                    Ok(Change::Event(_)) => {}
                    Err(RecvError::Lagged(_)) => {
                        let (entries, _, again) = self.record.subscribe();
                        changes = again;
                        self.note_all(&entries, &mut desk).await;
                    }
                    Err(RecvError::Closed) => return,
                },
                outcome = sent(&mut desk.sending) => self.finish(outcome, &mut desk),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.send(&client, &mut desk);
                }
            }
        }
    }

    async fn note_all(&self, entries: &[Arc<Entry>], desk: &mut Desk) {
        for entry in entries {
            self.note(entry, desk).await;
        }
    }

    async fn note(&self, entry: &Arc<Entry>, desk: &mut Desk) {
        let git = entry.app.as_ref().and_then(|app| app.spec.git());
        let Some(repository) = git.and_then(|git| Repository::parse(git.url.as_str())) else {
            return;
        };
        if self.account(&repository).is_none() {
            return;
        }
        let (fetched, app) = (Arc::clone(&self.fetched), entry.name.clone());
        let fetched = spawn_blocking(move || fetched(&app)).await.unwrap_or_default();
        let base_url = self.base_url.as_deref();
        if let Some(statement) = statement(entry, fetched.as_deref(), base_url)
            && !desk.note(&entry.name, statement)
        {
            self.metrics.commit_status("dropped");
        }
    }

    fn account(&self, repository: &Repository) -> Option<&Account> {
        self.accounts.iter().find(|account| account.is_of(repository))
    }

    /// Sends what is due.
    fn send(&self, client: &Client, desk: &mut Desk) {
        let Some(app) = desk.due() else { return };
        let Some(waiting) = desk.waiting.get(&app) else { return };
        let statement = waiting.statement.clone();
        let Some(account) = self.account(&statement.repository).cloned() else { return };
        let (client, secrets, told) = (client.clone(), self.secrets.clone(), statement.clone());
        let task = spawn_blocking(move || {
            let token = match secrets.read(&account.secret) {
                Ok(token) => String::from_utf8_lossy(&token).into_owned(),
                Err(why) => return Outcome::Later(why),
            };
            client.tell(&account, &token, &told)
        });
        desk.sending = Some((app, statement, task));
    }

    fn finish(&self, outcome: (AppName, Statement, Outcome), desk: &mut Desk) {
        let (app, statement, outcome) = outcome;
        let (name, commit) = (app.as_str(), statement.commit.as_str());
        let host = statement.repository.host.as_str();
        match outcome {
            Outcome::Taken => {
                self.metrics.commit_status("sent");
                desk.done(app, statement);
            }
            Outcome::Refused(status) => {
                self.metrics.commit_status("refused");
                tracing::warn!(app = name, commit, host, status, "commit status refused");
                desk.done(app, statement);
            }
            Outcome::Later(why) if desk.retry(&app, &statement, self.pauses) => {
                self.metrics.commit_status("retried");
                tracing::debug!(app = name, commit, host, why, "commit status not sent yet");
            }
            Outcome::Later(why) => {
                self.metrics.commit_status("given_up");
                tracing::warn!(app = name, commit, host, why, "commit status not sent");
            }
        }
    }
}

/// Waits for what is being sent; for ever when there is nothing.
async fn sent(
    sending: &mut Option<(AppName, Statement, JoinHandle<Outcome>)>,
) -> (AppName, Statement, Outcome) {
    let Some((_, _, task)) = sending else { return std::future::pending().await };
    let outcome = task.await.unwrap_or_else(|died| Outcome::Later(died.to_string()));
    match sending.take() {
        Some((app, statement, _)) => (app, statement, outcome),
        None => std::future::pending().await,
    }
}

impl Desk {
    /// Takes note of what is to be told. False when there is no room.
    fn note(&mut self, app: &AppName, statement: Statement) -> bool {
        let is_told = |told: &Statement| statement.is_told_by(told);
        let sending = self.sending.as_ref().filter(|(of, _, _)| of == app);
        let known = match (self.waiting.get(app), sending) {
            (Some(waiting), _) => Some(&waiting.statement),
            (None, Some((_, sent, _))) => Some(sent),
            (None, None) => self.told.get(app),
        };
        if known.is_some_and(is_told) {
            return true;
        }
        if !self.waiting.contains_key(app) && WAITING_MAX <= self.waiting.len() {
            return false;
        }
        let waiting = Waiting { statement, attempts: 0, at: Instant::now() };
        self.waiting.insert(app.clone(), waiting);
        true
    }

    fn forget(&mut self, app: &AppName) {
        self.waiting.remove(app);
        self.told.remove(app);
    }

    /// When to send next; none while something is being sent or nothing waits.
    fn next(&self) -> Option<Instant> {
        let at = self.waiting.values().map(|waiting| waiting.at).min();
        at.filter(|_| self.sending.is_none())
    }

    fn due(&self) -> Option<AppName> {
        let first = self.waiting.iter().min_by_key(|(_, waiting)| waiting.at);
        first.map(|(app, _)| app.clone())
    }

    /// It was told, or is not to be told again.
    fn done(&mut self, app: AppName, statement: Statement) {
        self.waiting.retain(|of, waiting| *of != app || waiting.statement != statement);
        self.told.insert(app, statement);
    }

    /// It is to be told again later. False when that was tried often enough.
    fn retry(
        &mut self,
        app: &AppName,
        statement: &Statement,
        pauses: (Duration, Duration),
    ) -> bool {
        // Something newer may wait by now.
        let Some(waiting) = self.waiting.get_mut(app) else { return true };
        if waiting.statement != *statement {
            return true;
        }
        waiting.attempts += 1;
        if ATTEMPTS_MAX <= waiting.attempts {
            self.done(app.clone(), statement.clone());
            return false;
        }
        let pause = pauses.0.saturating_mul(1 << (waiting.attempts - 1)).min(pauses.1);
        waiting.at = Instant::now() + pause;
        true
    }
}
