//! Requests to the engine in figures: how many, how they ended, how long they took.

use hyper::{Response, body::Incoming};

use super::super::Error;
use crate::telemetry::Metrics;

/// A request that is counted when it ends, however it ends.
pub(super) struct Timed<'a> {
    kind: &'static str,
    /// What it came to.
    pub(super) outcome: &'static str,
    start: tokio::time::Instant,
    metrics: Option<&'a Metrics>,
}

impl<'a> Timed<'a> {
    pub(super) fn begin(kind: &'static str, metrics: Option<&'a Metrics>) -> Self {
        // Whoever gives a request up, for its deadline or because it is no longer wanted, drops it.
        Self { kind, outcome: "given_up", start: tokio::time::Instant::now(), metrics }
    }
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        if let Some(metrics) = self.metrics {
            metrics.engine_call(self.kind, self.outcome, self.start.elapsed());
        }
    }
}

/// What an answer comes to, as the figures call it.
pub(super) fn outcome_of(answer: &Result<Response<Incoming>, Error>) -> &'static str {
    match answer {
        Ok(answer) if answer.status().is_server_error() => "failed",
        Ok(answer) if answer.status().is_client_error() => "refused",
        Ok(_) => "ok",
        Err(Error::Unreachable { .. }) => "unreachable",
        Err(_) => "broken",
    }
}
