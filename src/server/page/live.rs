//! What changes, by name only: a browser then asks for the documents that it shows.
//!
//! # Guarantees
//! - The first event says which Berth this is and at which revision; a browser that comes back and
//!   meets another one asks for everything anew.
//! - Changes that come together are told together: names, at most so many, else `all`.
//! - A browser that reads too slowly is told `all`; nothing is kept for it (fault H08).

use std::{collections::BTreeSet, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::{
    sync::{
        OwnedSemaphorePermit, broadcast,
        broadcast::error::{RecvError, TryRecvError},
        watch,
    },
    time::Interval,
};

use super::{Look, TAG, containers};
use crate::record::Change;
use crate::server::{Shared, stream::slot};
use crate::state::World;

/// For how long what comes is gathered before it is told.
const GATHER: Duration = Duration::from_millis(40);
/// Of how many apps is told by name.
const NAMES_MAX: usize = 50;

/// `GET /ui/live`
pub(in super::super) async fn live(look: Look) -> Response {
    let slot = match slot(&look.shared) {
        Ok(slot) => slot,
        Err(problem) => return problem.into_response(),
    };
    let stop = look.shared.stop.clone();
    let viewer = Viewer::new(look.shared, slot);
    let events = stream::unfold(viewer, |mut viewer| async move {
        let event = viewer.next().await?;
        Some((Ok::<_, Infallible>(event), viewer))
    });
    let headers =
        [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(events.take_until(stop.cancelled_owned()))).into_response()
}

/// One browser.
struct Viewer {
    shared: Arc<Shared>,
    changes: broadcast::Receiver<Change>,
    worlds: watch::Receiver<Arc<World>>,
    /// The containers of others, as they were told last.
    others: u64,
    hello: Option<Bytes>,
    silence: Interval,
    _slot: OwnedSemaphorePermit,
}

/// What is told at once.
#[derive(Default)]
struct News {
    apps: BTreeSet<String>,
    has_events: bool,
    has_others: bool,
    is_all: bool,
}

impl News {
    fn take(&mut self, change: &Change) {
        match change {
            Change::Upsert(entry) => {
                self.apps.insert(entry.name.to_string());
            }
            Change::Delete(name) => {
                self.apps.insert(name.to_string());
            }
            Change::Event(event) => {
                self.has_events = true;
                self.apps.extend(event.app.as_ref().map(ToString::to_string));
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.apps.is_empty() && !self.has_events && !self.has_others && !self.is_all
    }

    fn event(self) -> Bytes {
        let is_all = self.is_all || NAMES_MAX < self.apps.len();
        let apps = if is_all { BTreeSet::new() } else { self.apps };
        let data = json!({
            "all": is_all, "apps": apps, "events": self.has_events, "others": self.has_others,
        });
        format!("event: changed\ndata: {data}\n\n").into()
    }
}

impl Viewer {
    fn new(shared: Arc<Shared>, slot: OwnedSemaphorePermit) -> Self {
        let (_, revision, changes) = shared.parts.record.subscribe();
        let mut worlds = shared.parts.record.worlds();
        worlds.mark_unchanged();
        let mut silence = tokio::time::interval(shared.keep_alive);
        silence.reset();
        let data = json!({ "at": format!("{}-{revision}", shared.boot), "tag": *TAG });
        let hello = Some(format!("retry: 1000\nevent: hello\ndata: {data}\n\n").into());
        let others = containers::mark(&shared);
        Self { shared, changes, worlds, others, hello, silence, _slot: slot }
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(hello) = self.hello.take() {
            return Some(hello);
        }
        loop {
            let mut news = News::default();
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(change) => news.take(&change),
                    Err(RecvError::Lagged(_)) => news.is_all = true,
                    Err(RecvError::Closed) => return None,
                },
                seen = self.worlds.changed() => {
                    seen.ok()?;
                    news.has_others = self.others_differ();
                }
                _ = self.silence.tick() => return Some(Bytes::from_static(b": still here\n\n")),
            }
            if news.is_empty() {
                continue;
            }
            tokio::time::sleep(GATHER).await;
            loop {
                match self.changes.try_recv() {
                    Ok(change) => news.take(&change),
                    Err(TryRecvError::Lagged(_)) => news.is_all = true,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Closed) => return None,
                }
            }
            news.has_others |= self.others_differ();
            self.silence.reset();
            return Some(news.event());
        }
    }

    fn others_differ(&mut self) -> bool {
        let now = containers::mark(&self.shared);
        std::mem::replace(&mut self.others, now) != now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AppName;

    #[test]
    fn many_names_are_all() {
        let mut news = News::default();
        assert!(news.is_empty());
        for number in 0..=NAMES_MAX {
            let name = AppName::new(&format!("app-{number}")).unwrap();
            news.take(&Change::Delete(name.clone()));
            news.take(&Change::Delete(name));
        }
        let event = String::from_utf8(news.event().to_vec()).unwrap();
        assert!(event.contains(r#""all":true,"apps":[]"#) && event.ends_with("\n\n"), "{event}");
    }
}
