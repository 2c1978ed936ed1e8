//! `berth describe`: all that is known of an app, on as many screens as it takes.

use serde_json::Value;

use super::{
    document::{self, list, text},
    error::{Error, Exit},
    get::origin,
    output::{Output, phase, plain, plain_lines},
    said::{self, Said},
    server::{Server, app_name},
    status, table,
};
use crate::model::AppName;

/// How many events are shown.
const EVENTS: usize = 30;
/// Among so many events those that say the same are one.
const LOOKED_BACK: usize = 200;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let name = &args.name;
    let app = server.get(&format!("/api/v1/apps/{name}")).await?;
    head(&app, output)?;
    let mut said = Said::new(text(&app, "/status/message"));
    status::section("Conditions", &conditions(&app, &mut said), output)?;
    let spec = document::yaml(&app["spec"])?;
    let spec: Vec<_> = plain_lines(spec.trim_end()).lines().map(ToOwned::to_owned).collect();
    status::section("Spec, with defaults", &spec, output)?;
    status::section("Ports", &ports(&app), output)?;
    let usage = app.pointer("/status/usage").filter(|usage| usage.is_object());
    if let Some(usage) = usage {
        let usage = document::yaml(usage)?;
        let lines: Vec<_> = usage.trim_end().lines().map(plain).collect();
        status::section("Usage", &lines, output)?;
    }
    if let Ok(all) = server.get(&format!("/api/v1/apps/{name}/revisions")).await {
        status::section("Rollouts", &rollouts(&all), output)?;
    }
    if let Ok(plan) = server.get(&format!("/api/v1/apps/{name}/plan")).await {
        let lines: Vec<_> = said.plan(text(&plan, "/text")).iter().map(|it| plain(it)).collect();
        status::section(&format!("Plan {}", plain(text(&plan, "/id"))), &lines, output)?;
    }
    let events = format!("/api/v1/events/recent?app={name}&limit={LOOKED_BACK}");
    if let Ok(events) = server.get(&events).await {
        status::section("Events", &happened(&events, &mut said), output)?;
    }
    Ok(Exit::Done)
}

fn head(app: &Value, output: &mut Output) -> Result<(), Error> {
    let field = |pointer: &str| plain(text(app, pointer));
    let number = |pointer: &str| app.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let pairs = |pointer: &str| {
        let pairs = app.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        let pairs = pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")));
        plain(&pairs.collect::<Vec<_>>().join(", "))
    };
    let gpus: Vec<_> = list(app, "/status/gpus").iter().filter_map(Value::as_str).collect();
    for (title, value) in [
        ("Name", field("/metadata/name")),
        ("Labels", pairs("/metadata/labels")),
        ("Annotations", pairs("/metadata/annotations")),
        ("Manifest", plain(&origin(app))),
        ("Generation", number("/metadata/generation").to_string()),
        ("Phase", phase(text(app, "/status/phase"))),
        ("Reason", field("/status/reason")),
        ("Message", field("/status/message")),
        ("Since", field("/status/since")),
        ("URL", field("/status/url")),
        ("Commit", field("/status/commit")),
        ("Behind", document::behind_in_words(app).unwrap_or_default()),
        ("Shape", field("/status/revision")),
        ("Image", field("/status/image")),
        ("Digest", field("/status/imageDigest")),
        ("Container", field("/status/containerId")),
        ("Restarts", number("/status/restarts").to_string()),
        ("GPUs", plain(&gpus.join(", "))),
    ] {
        if !value.is_empty() {
            output.line(&format!("{title:<12} {value}"))?;
        }
    }
    Ok(())
}

fn conditions(app: &Value, said: &mut Said) -> Vec<String> {
    let fields = ["/type", "/status", "/reason", "/lastTransitionTime"];
    let mut row = |condition: &Value| {
        let mut row = fields.map(|name| text(condition, name).to_owned()).to_vec();
        row.push(said.once(text(condition, "/message")));
        row
    };
    let rows: Vec<_> = list(app, "/status/conditions").iter().map(&mut row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    table::lines(&["TYPE", "HOLDS", "REASON", "SINCE", "MESSAGE"], &rows)
}

fn ports(app: &Value) -> Vec<String> {
    list(app, "/status/ports").iter().map(|port| plain(&status::port(port))).collect()
}

fn rollouts(all: &Value) -> Vec<String> {
    let one = |rollout: &Value| {
        let number = rollout.pointer("/revision").and_then(Value::as_u64).unwrap_or_default();
        let (result, image) = (text(rollout, "/result"), text(rollout, "/image"));
        plain(&format!("{number}  {result}  {}  {image}", text(rollout, "/started")))
    };
    list(all, "/items").iter().map(one).collect()
}

fn happened(events: &Value, said: &mut Said) -> Vec<String> {
    let mut row = |(event, times): (&Value, usize)| {
        let fields = ["/at", "/type", "/reason"];
        let mut row = fields.map(|name| text(event, name).to_owned()).to_vec();
        row.push(said.event(event, times));
        row
    };
    let events = said::folded(list(events, "/items"), EVENTS);
    let rows: Vec<_> = events.into_iter().map(&mut row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    table::lines(&["WHEN", "TYPE", "REASON", "MESSAGE"], &rows)
}
