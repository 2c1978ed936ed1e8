//! The families about passes under way, requests to the engine, and long work.

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
};

use super::metrics::{counted, counter, gauge, histogram, kept, opts, seconds};

/// From one millisecond, what a list of few containers takes, to a call's deadline.
const CALL_BUCKETS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];
const WORK_BUCKETS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];

/// They are told by `Metrics`.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) queue_adds: IntCounter,
    pub(super) reconciles_running: IntGauge,
    pub(super) reconcile_longest_seconds: Gauge,
    pub(super) reconcile_errors: IntCounter,
    pub(super) engine_calls: IntCounterVec,
    pub(super) engine_call_seconds: HistogramVec,
    pub(super) fetches: IntCounterVec,
    pub(super) fetch_seconds: Histogram,
    pub(super) pulls: IntCounterVec,
    pub(super) pull_seconds: Histogram,
    pub(super) rollouts: IntCounterVec,
    pub(super) rollout_seconds: Histogram,
}

impl Work {
    pub(super) fn new(r: &Registry) -> Result<Self, super::metrics::Error> {
        Ok(Self {
            queue_adds: counted(r, "queue_adds_total", "How often apps were put into the queue.")?,
            reconciles_running: gauge(r, "reconcile_running", "Passes that are under way.")?,
            reconcile_longest_seconds: seconds(
                r,
                "reconcile_longest_running_seconds",
                "How long the longest pass that is under way has been.",
            )?,
            reconcile_errors: counted(r, "reconcile_errors_total", "Passes that failed.")?,
            engine_calls: kept(
                r,
                IntCounterVec::new(
                    opts("engine_calls_total", "Requests to the engine, by outcome."),
                    &["call", "outcome"],
                )?,
            )?,
            engine_call_seconds: kept(
                r,
                HistogramVec::new(
                    HistogramOpts::from(opts(
                        "engine_call_duration_seconds",
                        "How long the engine took until it began to answer.",
                    ))
                    .buckets(CALL_BUCKETS.to_vec()),
                    &["call"],
                )?,
            )?,
            fetches: counter(r, "fetches_total", "Looks at repositories, by outcome.", "outcome")?,
            fetch_seconds: histogram(
                r,
                "fetch_duration_seconds",
                "How long looks at repositories took.",
                WORK_BUCKETS,
            )?,
            pulls: counter(r, "pulls_total", "Image pulls, by outcome.", "outcome")?,
            pull_seconds: histogram(
                r,
                "pull_duration_seconds",
                "How long image pulls took.",
                WORK_BUCKETS,
            )?,
            rollouts: counter(r, "rollouts_total", "Rollouts that ended, by outcome.", "outcome")?,
            rollout_seconds: histogram(
                r,
                "rollout_duration_seconds",
                "How long rollouts took, from their begin to their end.",
                WORK_BUCKETS,
            )?,
        })
    }
}
