//! What is known of vulnerabilities, in figures.

use std::sync::Arc;

use crate::model::Timestamp;
use crate::scan::Book;
use crate::telemetry::{
    Exposed,
    text::{Family, moment, whole},
};

/// What is known of vulnerabilities.
pub(super) struct Scans(pub(super) Arc<Book>);

impl Exposed for Scans {
    fn write(&self, out: &mut String) {
        let known = self.0.known();
        let help = "Whether the database of vulnerabilities can be read.";
        let is_up = known.error.is_none() && known.fingerprint.is_some();
        Family::gauge(out, "berth_vulnerability_database_up", help)
            .sample(&[], f64::from(u8::from(is_up)));
        if let Some(print) = known.fingerprint {
            let help = "When the newest file of the database of vulnerabilities was written.";
            let at = Timestamp::from_millis(i64::try_from(print.newest_ms).unwrap_or(i64::MAX));
            Family::gauge(out, "berth_vulnerability_database_timestamp_seconds", help)
                .sample(&[], moment(at));
        }
        let help = "Known vulnerabilities of the image that an app wants, but for accepted ones.";
        let mut family = Family::gauge(out, "berth_image_vulnerabilities", help);
        let apps =
            self.0.wanted().into_values().flatten().collect::<std::collections::BTreeSet<_>>();
        for app in apps {
            let Some((_, Some(Ok(scanned)))) = self.0.of_app(&app) else { continue };
            for (severity, count) in scanned.counts() {
                let labels = [("app", app.as_str()), ("severity", severity.word())];
                family.sample(&labels, whole(count as u64));
            }
        }
    }
}
