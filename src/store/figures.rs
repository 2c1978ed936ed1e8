//! What the store counts.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

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
    /// How many models there are.
    pub models: AtomicU64,
    /// How many bytes they have, one for one.
    pub bytes: AtomicU64,
}

impl Figures {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

impl Exposed for Figures {
    fn write(&self, out: &mut String) {
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
            ("models", "gauge", "Models that are stored.", &self.models),
            (
                "bytes",
                "gauge",
                "Bytes that the stored models have, each counted by itself.",
                &self.bytes,
            ),
        ] {
            let value = value.load(Ordering::Relaxed);
            let _ = write!(
                out,
                "# HELP berth_models_{name} {help}\n# TYPE berth_models_{name} {kind}\nberth_models_{name} {value}\n"
            );
        }
    }
}
