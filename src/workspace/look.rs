//! Looking whether a repository has news for an app, without fetching anything.

use std::{path::Path, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    Workspace,
    child::{self, Said},
    error::{self, Error},
    heads::{Found, Heads, Sought},
    protocol::{Had, Job, Origin, Task, mirror_key},
};
use crate::model::{AppName, GitSource, is_full_commit, is_short_commit};
use crate::plan::Look;
use crate::state::Checkout;

/// Apps that are due together ask within this time of each other: one question serves them all
/// (fault G17).
const SHARED: Duration = Duration::from_secs(5);

/// What a look has found.
#[derive(Debug)]
pub enum Seen {
    /// What is in place is what is wanted.
    Same(Checkout),
    /// Something else is wanted, or nobody can tell yet.
    News(News),
}

/// What is to be fetched.
#[derive(Debug, Default)]
pub struct News {
    pub(super) found: Option<Found>,
    pub(super) takes_moved: bool,
    pub(super) look_for: Vec<String>,
    pub(super) behind: Vec<String>,
}

impl News {
    /// The same, where it is counted how far these commits are behind what is fetched.
    #[must_use]
    pub fn counting(self, behind: &[String]) -> Self {
        Self { behind: behind.to_vec(), ..self }
    }

    /// Whether this is certainly something else than what is in place. Of a folder of this machine,
    /// or a commit that is named only in part, that is known once it is fetched.
    pub fn is_another(&self, known: &Checkout, source: &GitSource) -> bool {
        let is_commit_new =
            || self.found.as_ref().is_some_and(|found| found.commit != known.commit);
        !is_of(known, source)
            || known.path != source.path
            || known.submodules != source.submodules
            || is_commit_new()
    }
}

impl Workspace {
    /// Looks what `source` is now. Apps of one remote share the answers: none is older than
    /// `since`, but for polls, where a few seconds do not count.
    pub async fn look(
        &self,
        app: &AppName,
        source: &GitSource,
        manifests: &Path,
        look_for: &[String],
        (look, since): (Look, Instant),
    ) -> Result<Seen, Error> {
        let takes_moved = look == Look::Take;
        let origin = self.origin(source, manifests)?;
        let known = self.load(app).filter(|known| is_of(known, source));
        let is_whole = |known: &Checkout| {
            known.path == source.path
                && known.submodules == source.submodules
                && known.looked_for.is_some()
                && known.was_looked_for(look_for)
        };
        let news = |found| {
            let (look_for, behind) = (look_for.to_vec(), Vec::new());
            Ok(Seen::News(News { found, takes_moved, look_for, behind }))
        };
        if matches!(origin, Origin::Local(_)) {
            return news(None);
        }
        if let Some(known) = known.as_ref().filter(|known| is_pinned(known)) {
            let found = Found {
                name: known.commit.clone(),
                commit: known.commit.clone(),
                what: what(known).to_owned(),
            };
            return if is_whole(known) { Ok(Seen::Same(known.clone())) } else { news(Some(found)) };
        }
        if source.reference.as_deref().is_some_and(is_full_commit) {
            return news(None);
        }
        let not_before = match look {
            Look::Polled => since.checked_sub(SHARED).unwrap_or(since),
            Look::Asked | Look::Take => since,
        };
        let job = Job { task: Task::List, ..self.job(app, source, origin)? };
        let heads = self.heads(app, &job, source, not_before, since).await;
        let heads = heads.map_err(|error| kept(error, known.as_ref()))?;
        let found = match heads.seek(source.reference.as_deref()) {
            Sought::Found(found) => found,
            Sought::Commit => return news(None),
            Sought::Missing => {
                let error = heads.missing(&job.shown, source.reference.as_deref(), "");
                return Err(kept(error, known.as_ref()));
            }
        };
        let Some(known) = known else { return news(Some(found)) };
        if !takes_moved {
            let had = Had { what: what(&known).to_owned(), commit: known.commit.clone() };
            heads.check_moved(&had, &found, &job.shown)?;
        }
        let is_same = known.commit == found.commit && what(&known) == found.what;
        if is_same && is_whole(&known) { Ok(Seen::Same(known)) } else { news(Some(found)) }
    }

    /// Looks at once, and brings `code/` to what was found.
    pub async fn fetch(
        &self,
        app: &AppName,
        source: &GitSource,
        manifests: &Path,
        look_for: &[String],
        progress: mpsc::Sender<String>,
    ) -> Result<Checkout, Error> {
        let now = (Look::Asked, Instant::now());
        match self.look(app, source, manifests, look_for, now).await? {
            Seen::Same(checkout) => Ok(checkout),
            Seen::News(news) => self.take(app, source, manifests, news, progress).await,
        }
    }

    /// What the remote has. What is missing in an answer that others got may be there by now.
    async fn heads(
        &self,
        app: &AppName,
        job: &Job,
        source: &GitSource,
        not_before: Instant,
        since: Instant,
    ) -> Result<std::sync::Arc<Heads>, Error> {
        let key = mirror_key(source.url.as_str(), job.approach.login_name());
        let heard = self.remotes.heads(&key, not_before, async || self.ask(app, job).await).await;
        let is_enough = heard
            .answer
            .as_ref()
            .is_ok_and(|heads| !matches!(heads.seek(source.reference.as_deref()), Sought::Missing));
        if is_enough || since <= heard.asked {
            return heard.answer;
        }
        self.remotes.heads(&key, since, async || self.ask(app, job).await).await.answer
    }

    async fn ask(&self, app: &AppName, job: &Job) -> Result<Heads, Error> {
        self.make_folders(app).map_err(|error| Error::disk(&self.folder(app), &error))?;
        let (unheard, _) = mpsc::channel(1);
        match child::run(&self.settings, job, &unheard).await? {
            Said::Listed(heads) => Ok(heads),
            Said::Done(_) => {
                let message = "the git worker did something else".to_owned();
                Err(Error::Failed { url: job.shown.clone(), message })
            }
        }
    }
}

/// Whether a checkout came from this repository and what this source names of it.
pub(super) fn is_of(known: &Checkout, source: &GitSource) -> bool {
    known.url == source.url.as_str() && known.reference == source.reference
}

/// What a checkout is, without what happened to it.
pub(super) fn what(known: &Checkout) -> &str {
    let resolved = known.resolved.as_deref().unwrap_or_default();
    resolved.split(", ").next().unwrap_or_default()
}

/// A commit is what it is: nobody needs to be asked again.
fn is_pinned(known: &Checkout) -> bool {
    let reference = known.reference.as_deref().unwrap_or_default();
    is_full_commit(reference) && known.commit.eq_ignore_ascii_case(reference)
        || is_short_commit(reference) && what(known).starts_with("commit ")
}

/// What is not there any more is told with what is kept.
pub(super) fn kept(error: Error, had: Option<&Checkout>) -> Error {
    match (error, had) {
        (Error::RefNotFound { url, hint, .. }, Some(had)) if !is_pinned(had) => {
            let asked = had.reference.as_deref().unwrap_or("HEAD");
            let what = if what(had).is_empty() { asked } else { what(had) };
            let commit = error::short(&had.commit);
            Error::RefGone { url, what: what.to_owned(), commit, hint }
        }
        (error, _) => error,
    }
}
