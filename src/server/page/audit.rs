//! Who changed what.

use askama::Template;
use axum::response::Response;
use serde_json::Value;

use super::{
    Look, Shell, show,
    words::{self, Moment},
};
use crate::audit::{self, Record};
use crate::model::Timestamp;
use crate::server::problem::Problem;

/// How many records a screen has.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "audit.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    deeds: Vec<DeedRow>,
    next: Option<u64>,
    app: String,
}

/// A change.
pub(super) struct DeedRow {
    pub(super) seq: u64,
    pub(super) when: Moment,
    pub(super) who: String,
    pub(super) kind: String,
    pub(super) from: String,
    pub(super) action: String,
    pub(super) object: String,
    pub(super) outcome: String,
    pub(super) tone: &'static str,
    pub(super) before: String,
    pub(super) after: String,
}

/// `GET /ui/audit`
pub(in super::super) async fn audit(look: Look) -> Response {
    let app = look.asked("app").unwrap_or_default();
    let object = (!app.is_empty()).then(|| format!("app/{app}"));
    let before = look.asked("before").and_then(|text| text.parse().ok());
    let read = of(&look, object, before, ROWS).await;
    look.answer(read.map(|(deeds, has_more)| {
        let next = deeds.last().map(|row| row.seq).filter(|_| has_more);
        show(&Page { shell: look.shell("Audit log", "events"), deeds, next, app })
    }))
}

/// The records about an object, or all; and whether there are more.
pub(super) async fn of(
    look: &Look,
    object: Option<String>,
    before: Option<u64>,
    limit: usize,
) -> Result<(Vec<DeedRow>, bool), Problem> {
    let access = &look.shared.door.access;
    if access.audit.is_none() {
        return Ok((Vec::new(), false));
    }
    let (folder, now) = (access.state_dir.clone(), look.now);
    let read = move || {
        audit::page(&folder, before, limit, |record| {
            object.as_ref().is_none_or(|object| record.deed.object == *object)
        })
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|_| Problem::failed())?;
    let (records, has_more) = read.map_err(|error| {
        tracing::error!(%error, "the audit log can't be read");
        Problem::failed()
    })?;
    Ok((records.iter().map(|record| row(record, now)).collect(), has_more))
}

fn row(record: &Record, now: Timestamp) -> DeedRow {
    let deed = &record.deed;
    let text = |value: &Value| match value {
        Value::Null => String::new(),
        value => value.to_string(),
    };
    DeedRow {
        seq: record.seq,
        when: words::moment(record.at, now),
        who: deed.who.name.clone(),
        kind: deed.who.kind.clone(),
        from: deed.from.clone().unwrap_or_default(),
        action: deed.action.clone(),
        object: deed.object.clone(),
        outcome: deed.outcome.clone(),
        tone: if deed.outcome == "done" { "good" } else { "bad" },
        before: text(&deed.before),
        after: text(&deed.after),
    }
}
