//! Builds: a tar stream in, a log out, and the proof afterwards.
//!
//! `BuildKit` and the classic builder take the same request at the same place, and what fails says
//! so in the same words. Dropping the future closes the connection, and the engine gives the build
//! up.

mod choice;
pub(super) mod item;
mod journal;
mod session;
mod trace;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};
use hyper::{Method, Request, header};

use super::super::labels::{image_labels, is_built_from};
use super::super::{BuildRequest, BuildSecret, Error, Wants};
use super::errors::within;
use super::transport::{ApiVersion, SHORT_LIMIT};
use super::{Docker, Settings};
use crate::plan::Recipe;
pub use choice::Builder;
pub(super) use choice::Offer;
use choice::choose;
use journal::Journal;
pub(super) use journal::plain_line;
use session::Session;
use trace::{Trace, in_classic_words};

/// The period that a share of the processors is counted over, in microseconds.
const CPU_PERIOD_US: u64 = 100_000;

/// From this version on, Docker Engine 23.0, builds without secrets need no session.
const SESSIONLESS: ApiVersion = ApiVersion(1, 42);

impl Docker {
    /// Builds an image and answers its id.
    pub(super) async fn build_image(&self, request: BuildRequest<'_>) -> Result<String, Error> {
        let BuildRequest { recipe, instance, dockerfile, context, log, extras } = request;
        let mut journal = Journal::new(log).telling(extras.steps.clone());
        let watch = Arc::new(Watch::default());
        let query = Query { settings: self.settings(), recipe, instance, dockerfile: &dockerfile };
        let work = async {
            // BuildKit takes the id of an image for a name, and asks a registry for that.
            let is_buildkit = recipe.twin.is_none()
                && self.chosen(&extras.wants, !extras.secrets.is_empty()).await?;
            extras.keeps.store(is_buildkit, Ordering::SeqCst);
            let session = self.session_for(is_buildkit, extras.secrets).await?;
            let query = query.text(is_buildkit, session.as_ref(), &extras.environment);
            let context = watched(context, Arc::clone(&watch));
            self.follow_build(query, context, &watch, &mut journal).await
        };
        let limit = self.settings().build_limit;
        let outcome = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let limit = crate::model::format_duration(limit);
            Err(Error::Work(format!("the build did not end within {limit} (build-timeout)")))
        });
        journal.flush();
        if let Some(problem) = watch.problem() {
            return Err(Error::Work(format!("the build context can't be read: {problem}")));
        }
        outcome.map_err(|error| match error {
            Error::Work(message) => Error::Work(journal.reason(&message)),
            other => other,
        })?;
        match self.image(&recipe.tag()).await? {
            Some((id, labels)) if is_built_from(&labels, instance, recipe) => Ok(id),
            _ => Err(Error::Work(journal.reason("the build ended without an image"))),
        }
    }

    /// Whether `BuildKit` builds.
    pub(super) async fn chosen(&self, wants: &Wants, has_secrets: bool) -> Result<bool, Error> {
        let Settings { builder, build_memory, build_cpus, .. } = self.settings();
        let is_limited = build_memory.is_some() || build_cpus.is_some();
        let offer = match builder {
            Builder::Classic => Offer::Classic,
            Builder::Auto | Builder::Buildkit => self.builders().await?,
        };
        choose(*builder, offer, is_limited, has_secrets, wants).map_err(Error::Work)
    }

    /// What the engine offers. It says which builder it prefers since 23.0; one that says nothing
    /// has both.
    async fn builders(&self) -> Result<Offer, Error> {
        let version = self.transport().version().await?;
        let known = || self.inner.offer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, offer)) = known().filter(|(at, _)| *at == version) {
            return Ok(offer);
        }
        let ping = within("ping", SHORT_LIMIT, self.transport().head("ping", "/_ping")).await?;
        let offer = match ping.get("builder-version").map(header::HeaderValue::as_bytes) {
            _ if ping.contains_key("libpod-api-version") => Offer::Own,
            Some(b"1") => Offer::Classic,
            _ => Offer::Both,
        };
        *known() = Some((version, offer));
        Ok(offer)
    }

    /// A session where one is needed. Engines before 23.0 can't even pull a base image without one.
    async fn session_for(
        &self,
        is_buildkit: bool,
        secrets: Vec<BuildSecret>,
    ) -> Result<Option<Session>, Error> {
        let is_needed = !secrets.is_empty();
        if !is_buildkit || (!is_needed && SESSIONLESS <= self.transport().version().await?) {
            return Ok(None);
        }
        match self.open_session(secrets).await {
            Ok(session) => Ok(Some(session)),
            Err(Error::Refused { message, .. } | Error::NotFound(message)) if is_needed => {
                Err(Error::Work(format!("the build's secrets can't be handed over: {message}")))
            }
            Err(error) if is_needed => Err(error),
            Err(_) => Ok(None),
        }
    }

    async fn follow_build(
        &self,
        query: String,
        context: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
        watch: &Watch,
        journal: &mut Journal,
    ) -> Result<(), Error> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("/build?{query}"))
            .header(header::CONTENT_TYPE, "application/x-tar")
            .body(bollard::body_try_stream(context))
            .map_err(|error| Error::Refused { status: 400, message: error.to_string() })?;
        let idle = self.settings().build_idle_limit;
        // The head of the answer may come only after the whole context.
        let opening = Box::pin(futures_util::stream::once(self.transport().open("build", request)));
        let answer = watch.next(idle, opening).await?;
        let answer = answer.unwrap_or_else(|| Err(Error::Work("no answer".to_owned())));
        let answer = answer.map_err(|error| match error {
            Error::NotFound(message)
            | Error::Refused { message, .. }
            | Error::Failed { message, .. } => Error::Work(message),
            other => other,
        })?;
        let mut items = std::pin::pin!(item::items("build", answer.into_body()));
        let mut trace = Trace::default();
        while let Some(item) = watch.next(idle, items.as_mut()).await? {
            let item = item?;
            if let Some(message) = item.failure() {
                return Err(Error::Work(in_classic_words(message)));
            }
            match item.trace() {
                Some(text) => trace.take(text, journal),
                None => journal.take(&item),
            }
        }
        Ok(())
    }
}

/// What a build is asked for.
struct Query<'a> {
    settings: &'a Settings,
    recipe: &'a Recipe,
    instance: &'a str,
    dockerfile: &'a str,
}

impl Query<'_> {
    /// The query of the request. There is never a network other than the engine's default one, no
    /// host mount and no privilege: none of them is said, and none is the default (fault B05).
    fn text(
        &self,
        is_buildkit: bool,
        session: Option<&Session>,
        environment: &BTreeMap<String, String>,
    ) -> String {
        let Self { settings, recipe, instance, dockerfile } = self;
        let json = |map: &BTreeMap<String, String>| serde_json::json!(map).to_string();
        let mut args = environment.clone();
        args.extend(recipe.args.clone());
        let mut target = recipe.target.clone();
        if recipe.twin.is_some() {
            // Nothing is built, and there are no stages.
            (args, target) = (BTreeMap::new(), None);
        }
        let mut pairs = vec![
            ("dockerfile", (*dockerfile).to_owned()),
            ("t", recipe.tag()),
            ("buildargs", json(&args)),
            // Ours come last in the engine too: a LABEL of the Dockerfile can't change them (D21).
            ("labels", json(&image_labels(instance, recipe))),
        ];
        if recipe.is_from_scratch {
            pairs.push(("nocache", "1".to_owned()));
        }
        pairs.extend(target.map(|target| ("target", target)));
        if is_buildkit {
            pairs.push(("version", "2".to_owned()));
            pairs.extend(session.map(|session| ("session", session.id.clone())));
        } else {
            pairs.extend(
                [("version", "1"), ("rm", "1"), ("forcerm", "1")].map(|(n, v)| (n, v.to_owned())),
            );
            if let Some(bytes) = settings.build_memory {
                // Without more by swapping.
                pairs.extend([("memory", bytes.to_string()), ("memswap", bytes.to_string())]);
            }
            if let Some(millis) = settings.build_cpus {
                pairs.push(("cpuperiod", CPU_PERIOD_US.to_string()));
                pairs.push(("cpuquota", (millis * CPU_PERIOD_US / 1000).to_string()));
            }
        }
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        pairs.join("&")
    }
}

/// A value within a query.
pub(super) fn quoted(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Sees whether anything moves, in either direction, and whether the context could be read.
#[derive(Default)]
struct Watch {
    sent: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Watch {
    fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next item; an error when nothing was sent or received for `idle` (fault B03).
    async fn next<S: Stream + Unpin>(
        &self,
        idle: Duration,
        mut items: S,
    ) -> Result<Option<S::Item>, Error> {
        loop {
            let before = self.sent.load(Ordering::Relaxed);
            if let Ok(item) = tokio::time::timeout(idle, items.next()).await {
                return Ok(item);
            }
            if self.sent.load(Ordering::Relaxed) == before {
                let idle = crate::model::format_duration(idle);
                let silent = format!("the build was silent for {idle} (build-idle-timeout)");
                return Err(Error::Work(silent));
            }
        }
    }
}

fn watched(
    context: BoxStream<'static, Result<Bytes, std::io::Error>>,
    watch: Arc<Watch>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    context.inspect(move |piece| match piece {
        Ok(_) => {
            watch.sent.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => {
            let mut problem = watch.problem.lock().unwrap_or_else(PoisonError::into_inner);
            *problem = Some(error.to_string());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_within_its_place() {
        assert_eq!(quoted("a/b-c.d_e~1"), "a/b-c.d_e~1");
        assert_eq!(quoted("a&b=c d%\n\u{e4}"), "a%26b%3Dc%20d%25%0A%C3%A4");
    }

    /// Fault B03: silence ends a build, a context that still flows does not.
    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_in_both_directions() {
        let watch = Arc::new(Watch::default());
        let feeder = Arc::clone(&watch);
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(45)).await;
                feeder.sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = tokio::time::Instant::now();
        let never = futures_util::stream::pending::<()>();
        let outcome = watch.next(Duration::from_mins(1), never).await;
        assert!(matches!(outcome, Err(Error::Work(message)) if message.contains("silent")));
        assert!(Duration::from_mins(3) <= start.elapsed());
    }
}
