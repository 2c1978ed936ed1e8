//! What the engine says, with the time at which it was heard. Both sides are measured by it.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::UnixStream, sync::mpsc, task::JoinHandle, time::Instant};

use crate::{bed::Bed, raw::encode};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(180);

/// Listens to the containers with a label.
pub(crate) struct Watch {
    events: mpsc::UnboundedReceiver<Seen>,
    task: JoinHandle<()>,
}

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) action: String,
    pub(crate) id: String,
    pub(crate) name: String,
}

impl Watch {
    /// Begins to listen; what happens from now on is heard.
    pub(crate) async fn label(bed: &Bed, label: &str) -> Self {
        let filters = encode(&format!(r#"{{"type":["container"],"label":["{label}"]}}"#));
        let stream = TokioIo::new(UnixStream::connect(&bed.socket).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get(format!("/events?filters={filters}"))
            .header("host", "engine")
            .body(String::new())
            .unwrap();
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let (tell, events) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let _sender = sender;
            let mut text = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                let at = Instant::now();
                text.extend_from_slice(&frame.into_data().unwrap_or_default());
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let rest = text.split_off(end + 1);
                    let _ = read(&text, at).map(|seen| tell.send(seen));
                    text = rest;
                }
            }
        });
        Self { events, task }
    }

    pub(crate) async fn instance(bed: &Bed, instance: &str) -> Self {
        Self::label(bed, &format!("{}={instance}", berth::model::label::INSTANCE)).await
    }

    /// The next event of this kind.
    pub(crate) async fn next(&mut self, action: &str) -> Seen {
        self.until(action, |_| true).await
    }

    /// The next event of this kind of which this holds; others are left out.
    pub(crate) async fn until(&mut self, action: &str, holds: impl Fn(&Seen) -> bool) -> Seen {
        let wait = async {
            loop {
                let Some(seen) = self.events.recv().await else { panic!("no more events") };
                if seen.action == action && holds(&seen) {
                    return seen;
                }
            }
        };
        let seen = tokio::time::timeout(PATIENCE, wait).await.ok();
        seen.unwrap_or_else(|| panic!("no `{action}` within {PATIENCE:?}"))
    }

    /// The next `count` events of this kind.
    pub(crate) async fn many(&mut self, action: &str, count: usize) -> Vec<Seen> {
        let mut all = Vec::new();
        while all.len() < count {
            all.push(self.next(action).await);
        }
        all
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn read(line: &[u8], at: Instant) -> Option<Seen> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    Some(Seen {
        at,
        action: text(&event["Action"]),
        id: text(&event["Actor"]["ID"]),
        name: text(&event["Actor"]["Attributes"]["name"]),
    })
}
