//! The metrics, in a registry of their own.
//!
//! # Guarantees
//! - No method panics, and none fails: a number that can't be kept is left out.
//! - Labels come from closed sets, but for `app` and `source`; the series of an app end with it
//!   (fault H09), and sources are those of the configuration.

use std::time::Duration;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

use super::door::Door;
use super::exposed::Exposed;
use super::work::Work;
use crate::manifest::Part;
use crate::model::{AppName, Phase, Timestamp};

/// Every phase, so that those without an app are shown as 0.
const PHASES: [Phase; 8] = [
    Phase::Uninstalled,
    Phase::Installing,
    Phase::Installed,
    Phase::Running,
    Phase::Degraded,
    Phase::Failed,
    Phase::Paused,
    Phase::Unknown,
];

const DRIFTS: &str = "Passes that found an app other than it was left.";
const LOSSES: &str = "How often an app's container was made anew because it lost its GPUs.";

/// How the queue stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// How many apps are due.
    pub depth: usize,
    /// Since when the first of them is due.
    pub oldest: Duration,
    /// How often an app was put into the queue, ever.
    pub adds: u64,
    /// How many passes are under way.
    pub running: usize,
    /// How long the longest of them has been.
    pub longest: Duration,
}

/// Why the metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("a metric is not well defined")]
pub struct Error(#[from] prometheus::Error);

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: Histogram,
    queue_depth: IntGauge,
    queue_oldest_seconds: Gauge,
    work: Work,
    drifts: IntCounterVec,
    gpu_losses: IntCounterVec,
    steps: IntCounterVec,
    manifest_errors: IntGauge,
    engine_up: IntGauge,
    builds: IntCounterVec,
    build_seconds: Histogram,
    apps: IntGaugeVec,
    source_read: Gauge,
    removals_held: IntGauge,
    source_up: IntGaugeVec,
    hooks: IntCounterVec,
    commit_statuses: IntCounterVec,
    door: Door,
}

impl Metrics {
    /// Metrics of a Berth of this version, all at zero.
    pub fn new(version: &str) -> Result<Self, Error> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            reconciles: counter(r, "reconcile_total", "Passes, by outcome.", "outcome")?,
            reconcile_seconds: histogram(
                r,
                "reconcile_duration_seconds",
                "How long passes took.",
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0],
            )?,
            queue_depth: gauge(r, "queue_depth", "Apps that wait for a pass.")?,
            queue_oldest_seconds: seconds(
                r,
                "queue_oldest_age_seconds",
                "How long the app that waits longest has been due.",
            )?,
            work: Work::new(r)?,
            drifts: counter(r, "drift_total", DRIFTS, "app")?,
            gpu_losses: counter(r, "app_gpu_losses_total", LOSSES, "app")?,
            steps: kept(
                r,
                IntCounterVec::new(
                    opts("steps_total", "Steps that were carried out."),
                    &["action", "outcome"],
                )?,
            )?,
            manifest_errors: gauge(r, "manifest_errors", "Mistakes in the manifests.")?,
            engine_up: gauge(r, "engine_up", "Whether the engine answers.")?,
            builds: counter(r, "builds_total", "Image builds, by outcome.", "outcome")?,
            build_seconds: histogram(
                r,
                "build_duration_seconds",
                "How long image builds took.",
                &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0],
            )?,
            apps: kept(r, IntGaugeVec::new(opts("apps", "Apps, by phase."), &["phase"])?)?,
            source_read: seconds(
                r,
                "source_read_timestamp_seconds",
                "When the manifests were last read completely; 0 is never.",
            )?,
            removals_held: gauge(r, "removals_held", "Whether removals are held back.")?,
            source_up: kept(
                r,
                IntGaugeVec::new(
                    opts("source_up", "Whether each of several sources could be read last."),
                    &["source"],
                )?,
            )?,
            hooks: counter(r, "hooks_total", "Webhooks, by outcome.", "outcome")?,
            commit_statuses: counter(
                r,
                "commit_statuses_total",
                "Commit statuses sent to forges, by outcome.",
                "outcome",
            )?,
            door: Door::new(r)?,
            registry: registry.clone(),
        };
        let build = opts("build_info", "Which Berth this is; always 1.");
        let build = kept(&registry, IntGaugeVec::new(build, &["version"])?)?;
        build.get_metric_with_label_values(&[version])?.set(1);
        metrics.apps(std::iter::empty());
        Ok(metrics)
    }

    /// A pass ended. `outcome` is a word of a closed set.
    pub fn reconciled(&self, outcome: &'static str, took: Duration) {
        count(&self.reconciles, &[outcome]);
        if matches!(outcome, "failed" | "unseen") {
            self.work.reconcile_errors.inc();
        }
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// How many apps wait for a pass or are in one, and how long the first of those that wait has
    /// been due.
    pub fn waiting(&self) -> (u64, Duration) {
        let apps = u64::try_from(self.queue_depth.get()).unwrap_or_default();
        let oldest = Duration::try_from_secs_f64(self.queue_oldest_seconds.get());
        (apps, oldest.unwrap_or_default())
    }

    /// How the queue stands.
    pub fn queue(&self, load: &Load) {
        self.queue_depth.set(whole(load.depth));
        self.queue_oldest_seconds.set(load.oldest.as_secs_f64());
        self.work.queue_adds.inc_by(load.adds.saturating_sub(self.work.queue_adds.get()));
        self.work.reconciles_running.set(whole(load.running));
        self.work.reconcile_longest_seconds.set(load.longest.as_secs_f64());
    }

    /// A request to the engine ended. Both words are of closed sets.
    pub fn engine_call(&self, call: &'static str, outcome: &'static str, took: Duration) {
        count(&self.work.engine_calls, &[call, outcome]);
        if let Ok(seconds) = self.work.engine_call_seconds.get_metric_with_label_values(&[call]) {
            seconds.observe(took.as_secs_f64());
        }
    }

    /// A look at a repository ended, with a clone or fetch when there was news. `outcome` is a word
    /// of a closed set.
    pub fn fetched(&self, outcome: &'static str, took: Duration) {
        count(&self.work.fetches, &[outcome]);
        self.work.fetch_seconds.observe(took.as_secs_f64());
    }

    /// A pull ended. `outcome` is a word of a closed set.
    pub fn pulled(&self, outcome: &'static str, took: Duration) {
        count(&self.work.pulls, &[outcome]);
        self.work.pull_seconds.observe(took.as_secs_f64());
    }

    /// A rollout ended. `outcome` is a word of a closed set.
    pub fn rolled_out(&self, outcome: &'static str, took: Duration) {
        count(&self.work.rollouts, &[outcome]);
        self.work.rollout_seconds.observe(took.as_secs_f64());
    }

    /// An app was found other than it was left.
    pub fn drifted(&self, app: &AppName) {
        count(&self.drifts, &[app.as_str()]);
    }

    /// An app has GPUs: from now on it is counted how often it loses them. One that was never seen
    /// at 0 would not be seen to rise.
    pub fn has_gpus(&self, app: &AppName) {
        let _ = self.gpu_losses.get_metric_with_label_values(&[app.as_str()]);
    }

    /// An app's container is made anew because it lost its GPUs.
    pub fn gpus_lost(&self, app: &AppName) {
        count(&self.gpu_losses, &[app.as_str()]);
    }

    /// A step was carried out. Both words are of closed sets.
    pub fn step(&self, action: &'static str, outcome: &'static str) {
        count(&self.steps, &[action, outcome]);
    }

    /// How many mistakes the manifests have.
    pub fn manifest_errors(&self, errors: usize) {
        self.manifest_errors.set(whole(errors));
    }

    /// Whether the engine answers.
    pub fn engine_up(&self, is_up: bool) {
        self.engine_up.set(i64::from(is_up));
    }

    /// A build ended. `outcome` is a word of a closed set.
    pub fn built(&self, outcome: &'static str, took: Duration) {
        count(&self.builds, &[outcome]);
        self.build_seconds.observe(took.as_secs_f64());
    }

    /// In which phase each app is.
    pub fn apps(&self, phases: impl IntoIterator<Item = Phase>) {
        let phases: Vec<_> = phases.into_iter().collect();
        for phase in PHASES {
            if let Ok(gauge) = self.apps.get_metric_with_label_values(&[phase.to_string()]) {
                gauge.set(whole(phases.iter().filter(|seen| **seen == phase).count()));
            }
        }
    }

    /// When the manifests were last read completely.
    pub fn source_read(&self, at: Timestamp) {
        let ms = u64::try_from(at.as_millis()).unwrap_or(0);
        self.source_read.set(Duration::from_millis(ms).as_secs_f64());
    }

    /// Whether removals are held back.
    pub fn removals_held(&self, is_held: bool) {
        self.removals_held.set(i64::from(is_held));
    }

    /// How each of several sources stands.
    pub fn sources(&self, parts: &[Part]) {
        for part in parts {
            if let Ok(gauge) = self.source_up.get_metric_with_label_values(&[part.name.as_str()]) {
                gauge.set(i64::from(part.error.is_none()));
            }
        }
    }

    /// A webhook was answered. `outcome` is a word of a closed set.
    pub fn hook(&self, outcome: &'static str) {
        count(&self.hooks, &[outcome]);
    }

    /// A commit status was sent, or given up. `outcome` is a word of a closed set.
    pub fn commit_status(&self, outcome: &'static str) {
        count(&self.commit_statuses, &[outcome]);
    }

    /// What is counted of connections, refusals and the certificate.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Ends the series of an app that is gone.
    pub fn forget_app(&self, app: &AppName) {
        // It fails when the app never had a series, which is as good.
        let _ = self.drifts.remove_label_values(&[app.as_str()]);
        let _ = self.gpu_losses.remove_label_values(&[app.as_str()]);
    }

    /// All of it, in Prometheus' text format.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl Exposed for Metrics {
    fn write(&self, out: &mut String) {
        // It fails for families that are not well defined only: then what is there already stays.
        let _ = TextEncoder::new().encode_utf8(&self.registry.gather(), out);
    }
}

pub(super) fn counted(r: &Registry, name: &str, help: &str) -> Result<IntCounter, Error> {
    kept(r, IntCounter::with_opts(opts(name, help))?)
}

pub(super) fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("berth")
}

pub(super) fn kept<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

pub(super) fn counter(
    r: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<IntCounterVec, Error> {
    kept(r, IntCounterVec::new(opts(name, help), &[label])?)
}

pub(super) fn gauge(r: &Registry, name: &str, help: &str) -> Result<IntGauge, Error> {
    kept(r, IntGauge::with_opts(opts(name, help))?)
}

pub(super) fn seconds(r: &Registry, name: &str, help: &str) -> Result<Gauge, Error> {
    kept(r, Gauge::with_opts(opts(name, help))?)
}

pub(super) fn histogram(
    r: &Registry,
    name: &str,
    help: &str,
    to: &[f64],
) -> Result<Histogram, Error> {
    let opts = HistogramOpts::new(name, help).namespace("berth").buckets(to.to_vec());
    kept(r, Histogram::with_opts(opts)?)
}

fn count(counter: &IntCounterVec, labels: &[&str]) {
    if let Ok(counter) = counter.get_metric_with_label_values(labels) {
        counter.inc();
    }
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> Metrics {
        let metrics = Metrics::new("1.2.3").unwrap();
        metrics.reconciled("changed", Duration::from_millis(20));
        metrics.reconciled("failed", Duration::from_millis(20));
        let (oldest, longest) = (Duration::from_millis(1500), Duration::from_secs(2));
        metrics.queue(&Load { depth: 3, oldest, adds: 5, running: 1, longest });
        metrics.queue(&Load { depth: 3, oldest, adds: 7, running: 1, longest });
        metrics.engine_call("start", "ok", Duration::from_millis(2));
        metrics.fetched("ok", Duration::from_millis(300));
        metrics.pulled("failed", Duration::from_secs(20));
        metrics.rolled_out("succeeded", Duration::from_secs(4));
        metrics.drifted(&AppName::new("chat").unwrap());
        metrics.step("create", "done");
        metrics.manifest_errors(2);
        metrics.engine_up(true);
        metrics.built("failed", Duration::from_secs(9));
        metrics.apps([Phase::Running, Phase::Running, Phase::Failed]);
        metrics.source_read(Timestamp::from_millis(1_764_547_200_500));
        metrics.removals_held(true);
        metrics
    }

    #[test]
    fn every_number_is_shown_under_its_name() {
        let text = busy().render();
        for line in [
            "berth_reconcile_total{outcome=\"changed\"} 1",
            "berth_reconcile_duration_seconds_count 2",
            "berth_reconcile_errors_total 1",
            "berth_queue_adds_total 7",
            "berth_reconcile_running 1",
            "berth_reconcile_longest_running_seconds 2",
            "berth_engine_calls_total{call=\"start\",outcome=\"ok\"} 1",
            "berth_engine_call_duration_seconds_bucket{call=\"start\",le=\"0.005\"} 1",
            "berth_fetches_total{outcome=\"ok\"} 1",
            "berth_pull_duration_seconds_bucket{le=\"30\"} 1",
            "berth_pulls_total{outcome=\"failed\"} 1",
            "berth_rollouts_total{outcome=\"succeeded\"} 1",
            "berth_rollout_duration_seconds_sum 4",
            "berth_queue_depth 3",
            "berth_queue_oldest_age_seconds 1.5",
            "berth_drift_total{app=\"chat\"} 1",
            "berth_steps_total{action=\"create\",outcome=\"done\"} 1",
            "berth_manifest_errors 2",
            "berth_engine_up 1",
            "berth_builds_total{outcome=\"failed\"} 1",
            "berth_build_duration_seconds_bucket{le=\"15\"} 1",
            "berth_apps{phase=\"Running\"} 2",
            "berth_apps{phase=\"Unknown\"} 0",
            "berth_source_read_timestamp_seconds 1764547200.5",
            "berth_removals_held 1",
            "berth_build_info{version=\"1.2.3\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }

    /// Fault H09: series of removed apps must not pile up.
    #[test]
    fn the_series_of_an_app_end_with_it() {
        let metrics = busy();
        metrics.forget_app(&AppName::new("chat").unwrap());
        metrics.forget_app(&AppName::new("never-seen").unwrap());
        assert!(!metrics.render().contains("chat"));
    }

    #[test]
    fn every_family_has_help_and_a_type_and_counters_end_in_total() {
        let text = busy().render();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        }
    }
}
