//! The apps in figures: how each stands, and what waits.

use std::{collections::BTreeMap, sync::Arc};

use super::APPS_MAX;
use crate::model::{Phase, Reason, Timestamp};
use crate::record::{Entry, Overview};
use crate::state::Hold;
use crate::telemetry::{
    Exposed,
    text::{Family, moment, whole},
};

/// The apps, as the record has them.
pub(super) struct Apps<'a> {
    pub(super) entries: &'a [Arc<Entry>],
    pub(super) overview: &'a Overview,
    pub(super) now: Timestamp,
}

impl Exposed for Apps<'_> {
    fn write(&self, out: &mut String) {
        self.all(out);
        let shown = &self.entries[..self.entries.len().min(APPS_MAX)];
        each(out, shown);
        self.queue(out, shown);
        let left = self.entries.len() - shown.len();
        let help = "Apps whose figures are not shown one by one, because there are so many.";
        Family::gauge(out, "berth_apps_left_out", help).sample(&[], whole(left as u64));
    }
}

impl Apps<'_> {
    fn all(&self, out: &mut String) {
        let mut reasons: BTreeMap<(Phase, Reason), u64> = BTreeMap::new();
        for entry in self.entries {
            *reasons.entry((entry.status.phase, entry.status.reason)).or_default() += 1;
        }
        let help = "Apps, by phase and reason; pairs without an app are not shown.";
        let mut family = Family::gauge(out, "berth_apps_by_reason", help);
        for ((phase, reason), count) in &reasons {
            let labels = [("phase", phase.to_string()), ("reason", reason.to_string())];
            let [(p, phase), (r, reason)] = &labels;
            family.sample(&[(p, phase), (r, reason)], whole(*count));
        }
        let waiting = match &self.overview.hold {
            Some(Hold::Brake { apps, .. }) => apps.len(),
            Some(Hold::Unreadable(_)) | None => 0,
        };
        let help = "Apps whose removal waits for `berth confirm`.";
        Family::gauge(out, "berth_removals_waiting", help).sample(&[], whole(waiting as u64));
        if let Some(at) = self.overview.resynced_at {
            let help = "When everything was last looked at with success.";
            let mut family = Family::gauge(out, "berth_resync_timestamp_seconds", help);
            family.sample(&[], moment(at));
        }
    }

    fn queue(&self, out: &mut String, shown: &[Arc<Entry>]) {
        let waits = |entry: &&Arc<Entry>| entry.status.reason == Reason::WaitingForGpu;
        let depth = self.entries.iter().filter(waits).count();
        let help = "Apps that wait for GPUs which others hold.";
        Family::gauge(out, "berth_gpu_queue_depth", help).sample(&[], whole(depth as u64));
        let help = "How long an app has waited for GPUs.";
        let mut family = Family::gauge(out, "berth_gpu_queue_wait_seconds", help);
        for entry in shown.iter().filter(waits) {
            let waited = self.now.since(entry.status.since);
            family.sample(&[("app", entry.name.as_str())], waited.as_secs_f64());
        }
    }
}

/// What is said of each app.
fn each(out: &mut String, shown: &[Arc<Entry>]) {
    let help = "How an app stands; always 1.";
    let mut family = Family::gauge(out, "berth_app_status", help);
    for entry in shown {
        let (phase, reason) = (entry.status.phase.to_string(), entry.status.reason.to_string());
        let labels = [("app", entry.name.as_str()), ("phase", &phase), ("reason", &reason)];
        family.sample(&labels, 1.0);
    }
    let help = "The conditions of an app with the status that each has; always 1.";
    let mut family = Family::gauge(out, "berth_app_condition", help);
    for entry in shown {
        for condition in &entry.status.conditions {
            let (kind, status) = (condition.kind.to_string(), condition.status.to_string());
            let app = entry.name.as_str();
            family.sample(&[("app", app), ("condition", &kind), ("status", &status)], 1.0);
        }
    }
    let help = "Since when an app stands as it does.";
    let mut family = Family::gauge(out, "berth_app_since_timestamp_seconds", help);
    for entry in shown {
        family.sample(&[("app", entry.name.as_str())], moment(entry.status.since));
    }
    let help = "How often an app's container was started again by itself; a new one begins at 0.";
    let mut family = Family::counter(out, "berth_app_restarts_total", help);
    for entry in shown {
        family.sample(&[("app", entry.name.as_str())], whole(entry.status.restarts));
    }
    let help = "The generation of an app's manifest: one more with each change.";
    let mut family = Family::gauge(out, "berth_app_generation", help);
    for entry in shown {
        family.sample(&[("app", entry.name.as_str())], whole(entry.generation));
    }
}
