//! Keeps the certificate up to date with its files, and says when somebody must see to it.
//!
//! The files are looked at every few seconds, by what the names lead to: that sees writes, renames
//! and swapped links alike, and costs two system calls.

use std::{os::unix::fs::MetadataExt as _, path::Path, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    End,
    pair::{About, Error, Pair},
};
use crate::clock::Clock;
use crate::model::{Reason, Timestamp, format_duration};
use crate::record::{Certificate, Event, Record};
use crate::telemetry::Metrics;

/// How long before its end a certificate is warned about, and how often that is repeated.
const WARN_BEFORE: Duration = Duration::from_hours(30 * 24);
const WARN_EVERY: Duration = Duration::from_hours(24);

/// Which file a name leads to, and its content as far as that can be told without reading it.
pub(super) type Mark = Option<(u64, u64, u64, i64, i64)>;

/// Where it is said how the certificate stands.
pub(in crate::server) struct Watch {
    pub(in crate::server) record: Arc<Record>,
    pub(in crate::server) metrics: Arc<Metrics>,
    pub(in crate::server) clock: Clock,
}

/// How it stands.
struct Standing {
    about: About,
    /// Why what the files hold is not used.
    refused: Option<String>,
    warned: Option<Timestamp>,
}

impl Watch {
    /// Watches until it is told to stop.
    pub(in crate::server) async fn run(self, end: Arc<End>, stop: CancellationToken) {
        let mut standing = Standing { about: end.about.clone(), refused: None, warned: None };
        self.metrics.door().certificate(standing.about.to);
        self.tell(&mut standing);
        let mut read = end.marks;
        let mut last = read;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(end.settings.look) => {}
            }
            let now = marks(&end).await;
            // Two files are not written in one step: what changes still is looked at later.
            let is_settled = now == last;
            last = now;
            if is_settled && now != read {
                read = now;
                self.take(&end, &mut standing).await;
            }
            self.tell(&mut standing);
        }
    }

    /// Shows what the files hold now, if that is good.
    async fn take(&self, end: &Arc<End>, standing: &mut Standing) {
        let now = self.clock.now();
        let reading = Arc::clone(end);
        let read = move || {
            let pair = Pair::read(&reading.cert, &reading.key)?;
            let About { from, to, .. } = pair.about;
            // One that is over is no better than the one that is shown.
            let path = reading.cert.clone();
            if pair.about.is_good(now) {
                Ok(pair)
            } else {
                Err(Error::OutOfTime { path, from, to })
            }
        };
        let read = tokio::task::spawn_blocking(read).await;
        match read {
            Ok(Ok(pair)) => {
                let is_other = pair.about != standing.about;
                end.shown.replace(pair.shown);
                self.metrics.door().certificate(pair.about.to);
                *standing = Standing { about: pair.about, refused: None, warned: None };
                if is_other {
                    let (sha256, expires) = (&standing.about.fingerprint, standing.about.to);
                    tracing::info!(sha256, %expires, "another certificate is shown from now on");
                    let text = format!("the interface shows another certificate, until {expires}");
                    self.event(Reason::CertificateChanged, false, text);
                }
            }
            Ok(Err(error)) => {
                let mut why = error.to_string();
                let mut cause = std::error::Error::source(&error);
                while let Some(source) = cause {
                    why = format!("{why}: {source}");
                    cause = source.source();
                }
                tracing::warn!(why, "the new certificate is not used; the old one goes on");
                self.metrics.door().certificate_refused();
                let text = format!("the new certificate is not used, the old one goes on: {why}");
                self.event(Reason::CertificateRefused, true, text.clone());
                standing.refused = Some(text);
            }
            Err(error) => tracing::error!(%error, "the certificate could not be read"),
        }
    }

    /// Says how it stands, and warns of its end.
    fn tell(&self, standing: &mut Standing) {
        let now = self.clock.now();
        let About { to, fingerprint, names, .. } = &standing.about;
        let end = if *to <= now {
            Some(format!("the certificate has expired at {to}"))
        } else if to.since(now) < WARN_BEFORE {
            let left = format_duration(Duration::from_hours(to.since(now).as_secs() / 3600));
            Some(format!("the certificate expires in {left}, at {to}"))
        } else {
            None
        };
        let is_due = standing.warned.is_none_or(|at| WARN_EVERY <= now.since(at));
        if let Some(text) = end.as_ref().filter(|_| is_due) {
            standing.warned = Some(now);
            tracing::warn!(%to, "{text}");
            self.event(Reason::CertificateExpiring, true, text.clone());
        }
        let certificate = Certificate {
            expires: *to,
            fingerprint: fingerprint.clone(),
            names: names.clone(),
            warning: standing.refused.clone().or(end),
        };
        let is_known = self.record.overview().certificate.as_deref() == Some(&certificate);
        if !is_known {
            self.record.update_overview(|overview| {
                overview.certificate = Some(Arc::new(certificate));
            });
        }
    }

    fn event(&self, reason: Reason, is_warning: bool, message: String) {
        let at = self.clock.now();
        self.record.tell(Event { id: 0, at, app: None, is_warning, reason, message });
    }
}

async fn marks(end: &Arc<End>) -> [Mark; 2] {
    let end = Arc::clone(end);
    let look = move || [mark(&end.cert), mark(&end.key)];
    tokio::task::spawn_blocking(look).await.unwrap_or([None; 2])
}

pub(super) fn mark(path: &Path) -> Mark {
    let seen = path.metadata().ok()?;
    Some((seen.dev(), seen.ino(), seen.len(), seen.mtime(), seen.mtime_nsec()))
}
