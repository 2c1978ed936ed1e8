//! Several sources as one: a folder and repositories, or repositories alone.
//!
//! Each source is looked at by a task of its own, so that one that hangs holds up none of the
//! others. What was read of a source last stays in the snapshot while it can't be read, and the
//! snapshot says so ([`Part::error`]): nothing that came from it is removed meanwhile.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::timeout,
};

use super::{Error, Source};
use crate::manifest::{Part, Snapshot};

/// How long the first snapshot waits for sources that take long.
const FIRST_PATIENCE: Duration = Duration::from_secs(3);
/// How long a snapshot that somebody asked for waits for them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Several sources.
pub struct Several {
    waiting: Vec<Box<dyn Source>>,
    members: Vec<Arc<Member>>,
    /// Counts looks; every look of every member is one more.
    looks: watch::Sender<u64>,
    seen: watch::Receiver<u64>,
    /// Whether the caller was told that a member has looked.
    is_told: bool,
    last: Option<Arc<Snapshot>>,
    tasks: JoinSet<()>,
}

/// One of them.
struct Member {
    /// What is said of it before it was read.
    part: Part,
    state: Mutex<State>,
    look: Notify,
}

#[derive(Default)]
struct State {
    last: Option<Arc<Snapshot>>,
    error: Option<String>,
    looks: u64,
}

impl Several {
    /// These sources together. The parts say what is known of each before it was read; a folder's
    /// prefix is empty, and there is at most one.
    pub fn new(sources: Vec<(Part, Box<dyn Source>)>) -> Self {
        let (parts, waiting): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
        let member = |part| Member { part, state: Mutex::default(), look: Notify::new() };
        let members = parts.into_iter().map(|part| Arc::new(member(part))).collect();
        let (looks, seen) = watch::channel(0);
        let tasks = JoinSet::new();
        Self { waiting, members, looks, seen, is_told: false, last: None, tasks }
    }

    async fn look(&mut self) -> Arc<Snapshot> {
        if !self.waiting.is_empty() {
            for (source, member) in self.waiting.drain(..).zip(&self.members) {
                self.tasks.spawn(watch_one(source, Arc::clone(member), self.looks.clone()));
            }
            let before = vec![0; self.members.len()];
            wait_for(&self.members, &before, self.looks.subscribe(), FIRST_PATIENCE).await;
        } else if !std::mem::take(&mut self.is_told) {
            // Nobody told of a change: a person asked.
            let before: Vec<_> = self.members.iter().map(|member| member.state().looks).collect();
            for member in &self.members {
                member.look.notify_one();
            }
            wait_for(&self.members, &before, self.looks.subscribe(), PATIENCE).await;
        }
        self.seen.mark_unchanged();
        let snapshot = self.merge();
        match &self.last {
            Some(last) if **last == snapshot => Arc::clone(last),
            _ => Arc::clone(self.last.insert(Arc::new(snapshot))),
        }
    }

    fn merge(&self) -> Snapshot {
        let mut merged = Snapshot::default();
        let mut identities = Vec::new();
        for member in &self.members {
            let state = member.state();
            let mut part = member.part.clone();
            if let Some(last) = &state.last {
                merged
                    .files
                    .extend(last.files.iter().map(|(path, file)| (path.clone(), file.clone())));
                part.identity.clone_from(&last.identity);
                part.commit = last.parts.first().and_then(|part| part.commit.clone());
                part.is_read = true;
            }
            part.error.clone_from(&state.error);
            if part.error.is_none() && !part.is_read {
                part.error = Some(format!("{} has not been read yet", part.name));
            }
            identities.push(part.identity.clone());
            merged.parts.push(part);
        }
        merged.identity = identities.join("\n");
        merged
    }
}

impl Member {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until each member has looked more often than `before`, but not for ever.
async fn wait_for(
    members: &[Arc<Member>],
    before: &[u64],
    mut looks: watch::Receiver<u64>,
    patience: Duration,
) {
    let has_looked = |(member, before): (&Arc<Member>, &u64)| *before < member.state().looks;
    let all = looks.wait_for(|_| members.iter().zip(before).all(has_looked));
    let _ = timeout(patience, all).await;
}

/// Looks at one source, again and again.
async fn watch_one(mut source: Box<dyn Source>, member: Arc<Member>, looks: watch::Sender<u64>) {
    loop {
        let found = source.snapshot().await;
        {
            let mut state = member.state();
            state.looks += 1;
            match found {
                Ok(snapshot) => {
                    if state.error.take().is_some() {
                        tracing::info!(source = member.part.name, "source readable again");
                    }
                    state.last = Some(snapshot);
                }
                Err(error) => {
                    let error = said(&error);
                    if state.error.as_ref() != Some(&error) {
                        tracing::warn!(source = member.part.name, error, "source not readable");
                    }
                    state.error = Some(error);
                }
            }
        }
        looks.send_modify(|looks| *looks += 1);
        tokio::select! {
            () = source.changed() => {}
            () = member.look.notified() => {}
        }
    }
}

fn said(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Source for Several {
    fn describe(&self) -> String {
        let names: Vec<_> = self.members.iter().map(|member| member.part.name.as_str()).collect();
        names.join(", ")
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Result<Arc<Snapshot>, Error>> {
        Box::pin(async move { Ok(self.look().await) })
    }

    fn changed(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if self.waiting.is_empty() {
                // The sender lives as long as this does.
                let _ = self.seen.changed().await;
            }
            self.is_told = true;
        })
    }
}
