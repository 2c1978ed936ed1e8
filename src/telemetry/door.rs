//! The families about connections, who was turned away and why, and the certificate.

use prometheus::{Gauge, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::metrics::{Error, counter, gauge, kept, opts, seconds};
use crate::model::Timestamp;

/// What is counted at the door. Every word that it is given is of a closed set.
#[derive(Debug)]
pub struct Door {
    connections: IntGaugeVec,
    turned_away: IntCounterVec,
    problems: IntCounterVec,
    certificate_expiry: Gauge,
    certificate_loads: IntCounterVec,
    certificate_refused: IntGauge,
}

/// A connection that is open.
#[derive(Debug)]
pub struct Open(Option<IntGauge>);

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0 {
            gauge.dec();
        }
    }
}

impl Door {
    pub(super) fn new(r: &Registry) -> Result<Self, Error> {
        let open = opts("http_connections", "Connections that are open.");
        Ok(Self {
            connections: kept(r, IntGaugeVec::new(open, &["kind"])?)?,
            turned_away: counter(
                r,
                "http_turned_away_total",
                "Connections that were refused or cut, by why.",
                "reason",
            )?,
            problems: counter(
                r,
                "http_problems_total",
                "Requests that were answered with a problem, by its code.",
                "code",
            )?,
            certificate_expiry: seconds(
                r,
                "tls_certificate_expiry_timestamp_seconds",
                "When the certificate that is shown to clients expires; 0 is none.",
            )?,
            certificate_loads: counter(
                r,
                "tls_certificate_loads_total",
                "Certificates that were read from their files, by outcome.",
                "outcome",
            )?,
            certificate_refused: gauge(
                r,
                "tls_certificate_refused",
                "Whether the files hold a certificate that can't be used, so that an older one is.",
            )?,
        })
    }

    /// A connection of this kind is open as long as the answer lives.
    pub fn open(&self, kind: &'static str) -> Open {
        let gauge = self.connections.get_metric_with_label_values(&[kind]).ok();
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        Open(gauge)
    }

    /// A connection was refused, or cut.
    pub fn turned_away(&self, reason: &'static str) {
        if let Ok(counter) = self.turned_away.get_metric_with_label_values(&[reason]) {
            counter.inc();
        }
    }

    /// A request was answered with a problem.
    pub fn problem(&self, code: &'static str) {
        if let Ok(counter) = self.problems.get_metric_with_label_values(&[code]) {
            counter.inc();
        }
    }

    /// This certificate is shown from now on.
    pub fn certificate(&self, expires: Timestamp) {
        #[expect(clippy::cast_precision_loss, reason = "seconds fit")]
        self.certificate_expiry.set((expires.as_millis() / 1000) as f64);
        self.loaded("ok", 0);
    }

    /// What is in the files can't be used.
    pub fn certificate_refused(&self) {
        self.loaded("failed", 1);
    }

    fn loaded(&self, outcome: &'static str, refused: i64) {
        self.certificate_refused.set(refused);
        if let Ok(counter) = self.certificate_loads.get_metric_with_label_values(&[outcome]) {
            counter.inc();
        }
    }
}
