//! What the store counts.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::sync::watch;

use crate::inspect::Safety;
use crate::telemetry::Exposed;

/// Counters, since the start.
#[derive(Debug, Default)]
pub struct Figures {
    /// Bytes of contents that came and were kept, or were known already.
    pub received: AtomicU64,
    /// Bytes of contents that were sent.
    pub sent: AtomicU64,
    /// Uploads that were kept.
    pub uploads: AtomicU64,
    /// Downloads that began.
    pub downloads: AtomicU64,
    /// Deleted models.
    pub deletions: AtomicU64,
    /// Requests and uploads that were not done.
    pub refusals: AtomicU64,
    /// Bytes that need no room, because their content was there already.
    pub saved: AtomicU64,
    /// Contents that were looked into and are safe.
    pub scans_safe: AtomicU64,
    /// Contents that were looked into and are suspicious.
    pub scans_suspicious: AtomicU64,
    /// Contents that could not be looked into to their end.
    pub scans_inconclusive: AtomicU64,
    /// Contents that were looked into and are dangerous.
    pub scans_dangerous: AtomicU64,
    /// Contents that the disk would not give.
    pub scan_failures: AtomicU64,
    /// Bytes of contents that were read again.
    pub scrubbed: AtomicU64,
    /// How often all contents were.
    pub scrub_rounds: AtomicU64,
    /// Contents that could not be read again.
    pub scrub_failures: AtomicU64,
    /// Contents that are in quarantine.
    pub quarantined: AtomicU64,
    /// Uploads that may go on.
    pub partials: AtomicU64,
    /// Parts that went on with an upload.
    pub resumed: AtomicU64,
    /// Requests about models.
    pub requests: AtomicU64,
    /// How many models there are.
    pub models: AtomicU64,
    /// How many bytes they have, one for one.
    pub bytes: AtomicU64,
    /// How many bytes only the history of repositories has.
    pub history: AtomicU64,
    /// Counts the changes of what the store has and what its aliases mean, for who waits for some.
    pub changes: watch::Sender<u64>,
}

impl Figures {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    /// Sets a gauge.
    pub(super) fn set(gauge: &AtomicU64, value: u64) {
        gauge.store(value, Ordering::Relaxed);
    }

    /// The counter of contents that are so.
    pub(super) fn scans(&self, safety: Safety) -> &AtomicU64 {
        match safety {
            Safety::Safe => &self.scans_safe,
            Safety::Suspicious => &self.scans_suspicious,
            Safety::Inconclusive => &self.scans_inconclusive,
            Safety::Dangerous => &self.scans_dangerous,
        }
    }

    fn write_scans(&self, out: &mut String) {
        out.push_str("# HELP berth_models_scans_total Contents that were looked into.\n# TYPE berth_models_scans_total counter\n");
        for safety in [Safety::Safe, Safety::Suspicious, Safety::Inconclusive, Safety::Dangerous] {
            let value = self.scans(safety).load(Ordering::Relaxed);
            let word = safety.word();
            let _ = writeln!(out, "berth_models_scans_total{{safety=\"{word}\"}} {value}");
        }
    }

    /// What is done to keep the store as it is, and what waits.
    fn write_care(&self, out: &mut String) {
        for (name, kind, help, value) in [
            (
                "scan_failures_total",
                "counter",
                "Contents that could not be looked into because the disk failed.",
                &self.scan_failures,
            ),
            (
                "scrubbed_bytes_total",
                "counter",
                "Bytes of stored contents that were read again.",
                &self.scrubbed,
            ),
            (
                "scrub_rounds_total",
                "counter",
                "How often all stored contents were read again.",
                &self.scrub_rounds,
            ),
            (
                "scrub_failures_total",
                "counter",
                "Stored contents that could not be read again.",
                &self.scrub_failures,
            ),
            (
                "uploads_resumed_total",
                "counter",
                "Parts that went on with an upload.",
                &self.resumed,
            ),
            ("uploads_open", "gauge", "Uploads that may go on after a break.", &self.partials),
            (
                "quarantined",
                "gauge",
                "Contents that have changed on the disk and are in quarantine.",
                &self.quarantined,
            ),
        ] {
            one(out, (name, kind, help), value);
        }
    }
}

fn one(out: &mut String, (name, kind, help): (&str, &str, &str), value: &AtomicU64) {
    let value = value.load(Ordering::Relaxed);
    let _ = write!(
        out,
        "# HELP berth_models_{name} {help}\n# TYPE berth_models_{name} {kind}\nberth_models_{name} {value}\n"
    );
}

impl Exposed for Figures {
    fn write(&self, out: &mut String) {
        self.write_scans(out);
        self.write_care(out);
        for (name, kind, help, value) in [
            (
                "received_bytes_total",
                "counter",
                "Bytes of models that came and were kept.",
                &self.received,
            ),
            ("sent_bytes_total", "counter", "Bytes of models that were sent.", &self.sent),
            ("uploads_total", "counter", "Models that were stored.", &self.uploads),
            ("downloads_total", "counter", "Downloads of models that began.", &self.downloads),
            ("deletions_total", "counter", "Models that were deleted.", &self.deletions),
            (
                "refusals_total",
                "counter",
                "Uploads and deletions that were refused or failed.",
                &self.refusals,
            ),
            (
                "dedupe_saved_bytes_total",
                "counter",
                "Bytes that took no room, since their content was there.",
                &self.saved,
            ),
            (
                "history_bytes",
                "gauge",
                "Bytes that only the history of repositories has.",
                &self.history,
            ),
            ("requests_total", "counter", "Requests about models.", &self.requests),
            ("models", "gauge", "Models that are stored.", &self.models),
            (
                "bytes",
                "gauge",
                "Bytes that the stored models have, each counted by itself.",
                &self.bytes,
            ),
        ] {
            one(out, (name, kind, help), value);
        }
    }
}
