//! Events: what happened, and everything that changes, as it changes.
//!
//! # Guarantees
//! - A client first gets a `snapshot`, then every change of it: `upsert`, `delete`, `event`.
//! - `id` is `<boot>-<revision>`. A client that comes back with the id it saw last gets a
//!   `bookmark` when it missed nothing, else `resync` and a new snapshot.
//! - A client that reads too slowly gets `resync` and a new snapshot; what it missed is not kept
//!   for it (fault H08).

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Uri, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{self, error::RecvError},
    },
    time::Interval,
};

use super::{
    Shared, paging,
    problem::Problem,
    request::{Asked, app_name},
    view,
};
use crate::model::AppName;
use crate::record::{Change, Entry};

/// After how long a client that lost its stream comes back.
const RETRY: Duration = Duration::from_secs(2);

/// What the query of both routes may say.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// Only those of this app.
    app: Option<String>,
    /// How many.
    limit: Option<usize>,
    /// Only those before this one.
    before: Option<u64>,
}

impl Query {
    fn app(&self) -> Result<Option<AppName>, Problem> {
        self.app.as_deref().map(app_name).transpose()
    }
}

/// `GET /api/v1/events/recent`
pub(super) async fn recent(
    State(shared): State<Arc<Shared>>,
    Asked(query): Asked<Query>,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut events = shared.parts.record.events(query.app()?.as_ref());
    events.retain(|event| query.before.is_none_or(|before| event.id < before));
    let from = events.len().saturating_sub(query.limit.unwrap_or(usize::MAX));
    let next = events.get(from).filter(|_| 0 < from).map(|event| event.id.to_string());
    let items: Vec<_> = events.iter().skip(from).map(|event| view::event(event)).collect();
    let link = paging::link_with(&uri, "before", next.as_deref());
    Ok((link, Json(json!({ "items": items }))).into_response())
}

/// `GET /api/v1/events`
pub(super) async fn events(
    State(shared): State<Arc<Shared>>,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let slot = slot(&shared)?;
    let last_seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let follower = Follower::new(Arc::clone(&shared), query.app()?, last_seen, slot);
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let events = events.take_until(shared.stop.clone().cancelled_owned());
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// A place among the streams that may be open at once.
pub(super) fn slot(shared: &Shared) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(&shared.streams).try_acquire_owned().map_err(|_| {
        let detail = "as many streams are open as may be; close one, or try later".to_owned();
        Problem::unavailable("server.too-many-streams", "Too many streams", detail)
    })
}

/// One client of the stream.
struct Follower {
    shared: Arc<Shared>,
    app: Option<AppName>,
    changes: broadcast::Receiver<Change>,
    revision: u64,
    sent: u64,
    pending: VecDeque<Bytes>,
    silence: Interval,
    _slot: OwnedSemaphorePermit,
}

impl Follower {
    fn new(
        shared: Arc<Shared>,
        app: Option<AppName>,
        last_seen: Option<&str>,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        let (entries, revision, changes) = shared.parts.record.subscribe();
        let mut silence = tokio::time::interval(shared.keep_alive);
        silence.reset();
        let pending = VecDeque::new();
        let mut follower =
            Self { shared, app, changes, revision, sent: 0, pending, silence, _slot: slot };
        follower.pending.push_back(format!("retry: {}\n", RETRY.as_millis()).into());
        match last_seen {
            None => follower.snapshot(&entries),
            Some(id) if id == follower.id() => follower.push("bookmark", b"{}"),
            Some(_) => {
                follower.push("resync", json!({ "reason": "changes were missed" }).to_string());
                follower.snapshot(&entries);
            }
        }
        follower
    }

    fn id(&self) -> String {
        format!("{}-{}", self.shared.boot, self.revision)
    }

    fn push(&mut self, kind: &str, body: impl AsRef<[u8]>) {
        let mut event = self.begin(kind).into_bytes();
        event.extend_from_slice(body.as_ref());
        event.extend_from_slice(b"\n\n");
        self.pending.push_back(event.into());
    }

    /// An event up to its data, which is one line.
    fn begin(&mut self, kind: &str) -> String {
        self.sent = self.revision;
        format!("event: {kind}\nid: {}\ndata: ", self.id())
    }

    /// All apps. Those who follow all of them share the bytes.
    fn snapshot(&mut self, entries: &[Arc<Entry>]) {
        let mut head = self.begin("snapshot");
        head += &format!("{{\"revision\":{},\"items\":[", self.revision);
        let listed = &self.shared.listed;
        let event = match &self.app {
            None => listed.event(entries, self.revision, head),
            Some(app) => {
                let wanted = entries.iter().find(|entry| entry.name == *app);
                let item = wanted.map_or_else(Bytes::new, |entry| listed.app(entry));
                [head.as_bytes(), &item, b"]}\n\n"].concat().into()
            }
        };
        self.pending.push_back(event);
    }

    fn is_wanted(&self, app: Option<&AppName>) -> bool {
        self.app.is_none() || self.app.as_ref() == app
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.silence.reset();
                return Some(event);
            }
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(change) => self.take(&change),
                    Err(RecvError::Lagged(missed)) => self.resync(missed),
                    Err(RecvError::Closed) => return None,
                },
                _ = self.silence.tick() => return Some(self.sign_of_life()),
            }
        }
    }

    fn take(&mut self, change: &Change) {
        match change {
            Change::Upsert(entry) => {
                self.revision = entry.revision;
                if self.is_wanted(Some(&entry.name)) {
                    let app = self.shared.listed.app(entry);
                    self.push("upsert", app);
                }
            }
            Change::Delete(name) => {
                self.revision += 1;
                if self.is_wanted(Some(name)) {
                    self.push("delete", json!({ "name": name }).to_string());
                }
            }
            Change::Event(event) => {
                if self.is_wanted(event.app.as_ref()) {
                    self.push("event", view::event(event).to_string());
                }
            }
        }
    }

    fn resync(&mut self, missed: u64) {
        let (entries, revision, changes) = self.shared.parts.record.subscribe();
        (self.revision, self.changes) = (revision, changes);
        let why = json!({ "reason": format!("{missed} changes were missed") });
        self.push("resync", why.to_string());
        self.snapshot(&entries);
    }

    /// A comment; or a bookmark, when changes that this client does not want moved the revision.
    fn sign_of_life(&mut self) -> Bytes {
        if self.sent == self.revision {
            return Bytes::from_static(b": still here\n\n");
        }
        (self.begin("bookmark") + "{}\n\n").into()
    }
}
