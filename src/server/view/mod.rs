//! The wire form of everything that is shown: the only place that says how it is spelled.
//!
//! # Guarantees
//! Values of environment variables and build arguments are shown as [`HIDDEN`], in documents and
//! in plans (fault H10).

mod app;
mod plan;
mod rollout;
mod spec;

use serde_json::{Value, json};

pub(super) use app::{app, apps};
pub(super) use plan::{has_differences, plan, plan_text};
pub(super) use rollout::revisions;
pub(super) use spec::spec;

use super::reading::severity;
use crate::manifest::{Diagnostic, Part};
use crate::record::{Event, Overview};
use crate::state::Hold;

/// What stands for a value that is not shown.
pub(super) const HIDDEN: &str = "(set)";

/// The API version of every document.
pub(super) const API_VERSION: &str = "berth/v1";

/// An event.
pub(super) fn event(event: &Event) -> Value {
    json!({
        "id": event.id,
        "at": event.at,
        "app": event.app,
        "type": if event.is_warning { "Warning" } else { "Normal" },
        "reason": event.reason,
        "message": event.message,
    })
}

/// A mistake in a manifest.
pub(super) fn diagnostic(diagnostic: &Diagnostic) -> Value {
    json!({
        "severity": severity(diagnostic),
        "code": diagnostic.code,
        "path": diagnostic.path,
        "message": diagnostic.message,
        "help": diagnostic.help,
        "file": diagnostic.file,
        "line": diagnostic.line,
        "column": diagnostic.column,
    })
}

/// How the manifests' source stands.
pub(super) fn source(overview: &Overview) -> Value {
    json!({
        "path": overview.source,
        "error": overview.source_error,
        "readAt": overview.source_read_at,
        "sources": overview.sources.iter().map(part).collect::<Vec<_>>(),
        "hold": overview.hold.as_ref().map(hold),
        "diagnostics": overview.diagnostics.iter().map(diagnostic).collect::<Vec<_>>(),
    })
}

fn part(part: &Part) -> Value {
    json!({ "name": part.name, "commit": part.commit, "error": part.error })
}

/// How the engine stands.
pub(super) fn engine(overview: &Overview) -> Value {
    json!({
        "reachable": overview.is_engine_up(),
        "version": overview.engine.as_ref().map(|about| &about.version),
        "apiVersion": overview.engine.as_ref().map(|about| &about.api_version),
        "error": overview.engine_error,
        "warning": overview.engine_warning,
    })
}

/// The certificate of the interface; null without TLS.
pub(super) fn certificate(overview: &Overview) -> Value {
    let shown = overview.certificate.as_ref();
    shown.map_or(Value::Null, |shown| {
        json!({
            "expiresAt": shown.expires,
            "sha256": shown.fingerprint,
            "names": shown.names,
            "warning": shown.warning,
        })
    })
}

fn hold(hold: &Hold) -> Value {
    let apps = match hold {
        Hold::Unreadable(_) => Vec::new(),
        Hold::Brake { apps, .. } => apps.clone(),
    };
    json!({ "message": hold.message(), "apps": apps })
}
