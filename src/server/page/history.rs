//! What ran before, who changed what, and the way back.

use askama::Template;
use axum::response::Response;
use serde_json::Value;

use super::{
    Look, Shell,
    app::{self, Head},
    audit::{self, DeedRow},
    show,
    words::{self, EventRow, Moment},
};
use crate::auth::Role;
use crate::model::{Timestamp, format_duration};
use crate::server::{request::Named, view};

/// How many events and records are shown.
const ROWS: usize = 30;

#[derive(Template)]
#[template(path = "history.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    head: Head,
    held: Option<String>,
    rows: Vec<Row>,
    deeds: Option<Vec<DeedRow>>,
    events: Vec<EventRow>,
}

struct Row {
    number: u64,
    result: String,
    tone: &'static str,
    by: String,
    what: String,
    image: String,
    started: Option<Moment>,
    took: String,
    downtime: String,
    message: String,
    is_current: bool,
    can_go_back: bool,
}

/// `GET /ui/apps/{name}/history`
pub(in super::super) async fn history(look: Look, Named(name): Named) -> Response {
    let entry = match app::entry(&look, &name) {
        Ok(entry) => entry,
        Err(problem) => return look.problem(&problem),
    };
    let document = view::revisions(&entry);
    let items = document["items"].as_array().cloned().unwrap_or_default();
    let latest = items.last().and_then(|item| item["revision"].as_u64());
    let rows = items.iter().rev().map(|item| row(item, latest, look.now)).collect();
    let deeds = if look.may(Role::Operator) {
        audit::of(&look, Some(format!("app/{name}")), None, ROWS).await.ok().map(|(rows, _)| rows)
    } else {
        None
    };
    let events = look.shared.parts.record.events(Some(&name));
    let events = events.iter().rev().take(ROWS).map(|event| words::event(event, look.now));
    show(&Page {
        shell: look.shell(format!("{name}: history"), "apps"),
        head: app::head(&look, &entry, "history"),
        held: document["held"]["message"].as_str().map(str::to_owned),
        rows,
        deeds,
        events: events.collect(),
    })
}

fn row(item: &Value, latest: Option<u64>, now: Timestamp) -> Row {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let at = |name: &str| item[name].as_str().and_then(Timestamp::parse);
    let number = item["revision"].as_u64().unwrap_or(0);
    let result = text("result");
    let again = item["again"].as_u64().map(|again| format!(", revision {again} again"));
    let commit = text("commit");
    let what = match commit.get(..7) {
        Some(commit) => commit.to_owned(),
        None => {
            text("specHash").chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect()
        }
    };
    let is_current = latest == Some(number);
    Row {
        number,
        tone: match result.as_str() {
            "succeeded" => "good",
            "failed" | "restored" => "bad",
            "progressing" => "busy",
            _ => "quiet",
        },
        result,
        by: text("by") + &again.unwrap_or_default(),
        what,
        image: text("image"),
        started: at("started").map(|at| words::moment(at, now)),
        took: match (at("started"), at("finished")) {
            (Some(from), Some(to)) => format_duration(to.since(from)),
            _ => String::new(),
        },
        downtime: match item["downtimeMs"].as_u64() {
            Some(0) => "none".to_owned(),
            Some(ms) => format_duration(std::time::Duration::from_millis(ms)),
            None => "not known".to_owned(),
        },
        message: text("message"),
        is_current,
        can_go_back: !is_current && item["imagePresent"] == true,
    }
}
