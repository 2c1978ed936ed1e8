//! What is about to be done, and why: of one app, and of all.

use askama::Template;
use axum::response::Response;
use serde_json::Value;

use super::{
    Look, Shell,
    app::{self, Head},
    show,
};
use crate::record::Entry;
use crate::server::{request::Named, view};

/// A plan, as it is shown.
pub(super) struct PlanView {
    pub(super) app: String,
    pub(super) sign: &'static str,
    pub(super) words: &'static str,
    pub(super) tone: &'static str,
    pub(super) has_differences: bool,
    pub(super) changes: Vec<ChangeRow>,
    /// Each with its cause.
    pub(super) steps: Vec<(String, String)>,
    pub(super) then: Vec<String>,
    /// Each with its reason.
    pub(super) waits: Vec<(String, String)>,
    pub(super) refusals: Vec<(String, String)>,
    pub(super) held: String,
    pub(super) text: String,
}

/// A field that changes.
pub(super) struct ChangeRow {
    pub(super) field: String,
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Template)]
#[template(path = "app-plan.html", config = "src/server/templates/askama.toml")]
struct One {
    shell: Shell,
    head: Head,
    plan: PlanView,
}

#[derive(Template)]
#[template(path = "plans.html", config = "src/server/templates/askama.toml")]
struct All {
    shell: Shell,
    plans: Vec<PlanView>,
    settled: usize,
}

/// The plan of an app's last pass.
pub(super) fn view(entry: &Entry) -> PlanView {
    let document = view::plan(&entry.plan);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = |name: &str| document[name].as_array().cloned().unwrap_or_default();
    let pairs = |name: &str, a: &str, b: &str| {
        rows(name).iter().map(|row| (text(&row[a]), text(&row[b]))).collect::<Vec<_>>()
    };
    let verb = document["verb"].as_str().unwrap_or_default().to_owned();
    let refusals = pairs("refusals", "message", "reason");
    let waits = pairs("waits", "message", "reason");
    let (sign, words, tone) = match verb.as_str() {
        "create" => ("+", "will be created", "good"),
        "replace" => ("-/+", "will be replaced", "busy"),
        "start" => ("~", "will be started", "busy"),
        "stop" => ("~", "will be stopped", "busy"),
        "restart" => ("~", "will be restarted", "busy"),
        "restore" => ("<", "goes back to the version before", "busy"),
        "remove" => ("-", "will be removed", "bad"),
        "refresh" => ("~", "looks for a newer commit", "calm"),
        "tidy" => ("~", "will be tidied up", "calm"),
        _ if !refusals.is_empty() => ("!", "can't be made as wanted", "bad"),
        _ if !waits.is_empty() => ("…", "waits", "busy"),
        _ => ("=", "is as wanted", "good"),
    };
    let changes = rows("changes").into_iter().map(|row| ChangeRow {
        field: text(&row["field"]),
        from: text(&row["from"]),
        to: text(&row["to"]),
    });
    PlanView {
        app: entry.name.to_string(),
        sign,
        words,
        tone,
        has_differences: document["hasDifferences"] == true || !waits.is_empty(),
        changes: changes.collect(),
        steps: pairs("steps", "action", "cause"),
        then: rows("then").iter().map(text).collect(),
        waits,
        refusals,
        held: text(&document["held"]),
        text: text(&document["text"]),
    }
}

/// `GET /ui/apps/{name}/plan`
pub(in super::super) async fn one(look: Look, Named(name): Named) -> Response {
    match app::entry(&look, &name) {
        Ok(entry) => show(&One {
            shell: look.shell(format!("{name}: plan"), "apps"),
            head: app::head(&look, &entry, "plan"),
            plan: view(&entry),
        }),
        Err(problem) => look.problem(&problem),
    }
}

/// `GET /ui/plan`
pub(in super::super) async fn all(look: Look) -> Response {
    let entries = look.shared.parts.record.entries();
    let mut plans: Vec<_> = entries.iter().map(|entry| view(entry)).collect();
    plans.retain(|plan| plan.has_differences);
    plans.sort_by_key(|plan| (plan.refusals.is_empty(), plan.app.clone()));
    let settled = entries.len() - plans.len();
    show(&All { shell: look.shell("Plan", "plan"), plans, settled })
}
