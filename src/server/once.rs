//! Actions that are asked for again: with the same `Idempotency-Key` they are done once.
//!
//! # Guarantees
//! - Who asks again while the first is under way gets the first one's answer.
//! - A client that goes away does not undo what it began: asking again does not do it twice.
//! - What failed is not remembered: nothing was done.
//! - What is remembered is bounded, in number and time, and is forgotten when Berth restarts.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use tokio::time::Instant;

use super::problem::Problem;
use crate::auth::Identity;
use crate::model::Digest;

/// The header that names a request.
pub(super) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How long an answer is remembered.
const WINDOW: Duration = Duration::from_mins(10);
/// How many are.
const KEPT_MAX: usize = 1024;
const KEY_MAX: usize = 255;

type Done = Result<(StatusCode, Value), Problem>;

/// An answer that was given before says so.
pub(super) fn replayed(mut response: Response, is_again: bool) -> Response {
    if is_again {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// Requests that were named, and their answers.
#[derive(Default)]
pub(super) struct Once(Mutex<VecDeque<Arc<Slot>>>);

struct Slot {
    key: Digest,
    body: Digest,
    since: Instant,
    answer: tokio::sync::Mutex<Option<(StatusCode, Value)>>,
}

/// What names a request: its key, who asks, and for what. None when it has no key.
pub(super) fn key(
    headers: &HeaderMap,
    who: &Identity,
    path: &str,
) -> Result<Option<Digest>, Problem> {
    let Some(key) = headers.get(KEY) else { return Ok(None) };
    let key = key.to_str().unwrap_or("");
    if !(1..=KEY_MAX).contains(&key.len()) {
        let detail = format!("`Idempotency-Key` has 1 to {KEY_MAX} visible ASCII characters");
        return Err(Problem::bad_request(detail));
    }
    let all = format!("{:?}\0{}\0{path}\0{key}", who.kind, who.name);
    Ok(Some(Digest::of_bytes(all.as_bytes())))
}

impl Once {
    /// Does the work, unless it was done under this key.
    pub(super) async fn answer(
        &self,
        key: Option<Digest>,
        body: &[u8],
        work: impl Future<Output = Done> + Send + 'static,
    ) -> Result<Response, Problem> {
        let ((status, body), is_again) = self.done(key, body, work).await?;
        Ok(replayed((status, Json(body)).into_response(), is_again))
    }

    /// The same, for who makes an answer of it; and whether it was done before.
    pub(super) async fn done(
        &self,
        key: Option<Digest>,
        body: &[u8],
        work: impl Future<Output = Done> + Send + 'static,
    ) -> Result<((StatusCode, Value), bool), Problem> {
        let Some(key) = key else { return Ok((work.await?, false)) };
        let slot = self.slot(key, Digest::of_bytes(body))?;
        let doing = tokio::spawn(async move {
            let mut answer = slot.answer.lock().await;
            if let Some(answer) = answer.clone() {
                return Ok((answer, true));
            }
            let done = work.await?;
            *answer = Some(done.clone());
            Ok::<_, Problem>((done, false))
        });
        doing.await.map_err(|_| Problem::failed())?
    }

    fn slot(&self, key: Digest, body: Digest) -> Result<Arc<Slot>, Problem> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|slot| slot.since.elapsed() < WINDOW);
        if let Some(slot) = slots.iter().find(|slot| slot.key == key) {
            if slot.body != body {
                let detail = "this `Idempotency-Key` was used for another request";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(Problem::new(status, "request.key-reused", "The key is taken", detail));
            }
            return Ok(Arc::clone(slot));
        }
        if slots.len() == KEPT_MAX {
            slots.pop_front();
        }
        let slot = Slot { key, body, since: Instant::now(), answer: tokio::sync::Mutex::default() };
        let slot = Arc::new(slot);
        slots.push_back(Arc::clone(&slot));
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_named_request_is_done_once_within_the_window_and_what_fails_is_tried_again() {
        let (once, count) = (Once::default(), Arc::new(AtomicU32::new(0)));
        let key = |text: &str| Some(Digest::of_bytes(text.as_bytes()));
        let ask = async |name: Option<Digest>, body: &'static [u8], fails: bool| {
            let count = Arc::clone(&count);
            let work = async move {
                let done = (StatusCode::ACCEPTED, count.fetch_add(1, Ordering::SeqCst).into());
                (!fails).then_some(done).ok_or_else(Problem::failed)
            };
            once.answer(name, body, work)
                .await
                .map(|answer| answer.headers().contains_key(REPLAYED))
        };
        assert!(ask(key("a"), b"", true).await.is_err());
        assert!(!ask(key("a"), b"", false).await.unwrap());
        assert!(ask(key("a"), b"", false).await.unwrap());
        assert!(ask(key("a"), b"other", false).await.is_err());
        assert!(!ask(None, b"", false).await.unwrap());
        assert!(!ask(key("b"), b"", false).await.unwrap());
        assert_eq!(count.load(Ordering::SeqCst), 4);
        tokio::time::advance(WINDOW).await;
        assert!(!ask(key("a"), b"", false).await.unwrap());
        for number in 0..2 * KEPT_MAX {
            ask(key(&number.to_string()), b"", false).await.unwrap();
        }
        assert_eq!(once.0.lock().unwrap().len(), KEPT_MAX);
    }
}
