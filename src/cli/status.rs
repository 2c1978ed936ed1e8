//! `berth status`: how one app stands, on one screen.

use serde_json::Value;

use super::{
    document::{ago, behind_in_words, list, revision, text},
    error::{Error, Exit},
    get::origin,
    output::{Output, log_line, phase, plain},
    said::{self, Said},
    server::{Server, app_name},
    table, wait,
};
use crate::model::AppName;

/// How many events and lines of the log are shown.
const SHOWN: usize = 10;
/// Among so many events those that say the same are one.
const LOOKED_BACK: usize = 100;

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
    section("Conditions", &conditions(&app, &mut said), output)?;
    section("Plan", &plan(&app, &mut said), output)?;
    let events = format!("/api/v1/events/recent?app={name}&limit={LOOKED_BACK}");
    if let Ok(events) = server.get(&events).await {
        section("Events", &recent(&events, &mut said), output)?;
    }
    let build = wait::end_of_build(&app, name, server).await;
    section("Build", &build.iter().map(|line| log_line(line)).collect::<Vec<_>>(), output)?;
    section("Log", &log(name, server).await, output)?;
    if let Ok(all) = server.get("/api/v1/apps?limit=1").await {
        match text(&all, "/engine/warning") {
            "" => {}
            known => output.warn(known),
        }
    }
    Ok(if text(&app, "/status/phase") == "Running" { Exit::Done } else { Exit::NotSo })
}

fn head(app: &Value, output: &mut Output) -> Result<(), Error> {
    let status = |name: &str| plain(text(app, &format!("/status/{name}")));
    output.line(&format!(
        "{}: {} ({}) for {}",
        plain(text(app, "/metadata/name")),
        phase(text(app, "/status/phase")),
        status("reason"),
        ago(text(app, "/status/since")),
    ))?;
    let ports: Vec<_> = list(app, "/status/ports").iter().map(port).collect();
    let container: String = status("containerId").chars().take(12).collect();
    for (title, value) in [
        ("Message", status("message")),
        ("URL", status("url")),
        ("Manifest", plain(&origin(app))),
        ("Revision", plain(&version(app))),
        ("Image", status("image")),
        ("Digest", status("imageDigest")),
        ("Container", container),
        ("Ports", ports.join(", ")),
        ("Models", plain(&models(app))),
        ("Rollout", rollout(app)),
    ] {
        if !value.is_empty() {
            output.line(format!("  {title:<10} {value}").trim_end())?;
        }
    }
    Ok(())
}

/// What runs, and how far that is behind its source.
fn version(app: &Value) -> String {
    match behind_in_words(app) {
        Some(commits) => format!("{}, {commits} behind its source", revision(app)),
        None => revision(app),
    }
}

/// The last rollout, in one line.
fn rollout(app: &Value) -> String {
    let number =
        |name: &str| app.pointer(&format!("/status/rollout/{name}")).and_then(Value::as_u64);
    let Some(revision) = number("revision") else { return String::new() };
    let down = number("downtimeMs").map(|ms| format!(", down for {ms} ms"));
    let result = text(app, "/status/rollout/result");
    format!("revision {revision} {result}{}", down.unwrap_or_default())
}

/// The stored models that are mounted.
fn models(app: &Value) -> String {
    let one = |mounted: &Value| {
        let file = text(mounted, "/file");
        let digest = text(mounted, "/sha256").get(..12).unwrap_or_default();
        format!(
            "{} is {}@{}{}{file} sha256:{digest}",
            text(mounted, "/path"),
            text(mounted, "/model"),
            text(mounted, "/version"),
            if file.is_empty() { "" } else { "/" },
        )
    };
    list(app, "/status/models").iter().map(one).collect::<Vec<_>>().join("; ")
}

pub(super) fn port(port: &Value) -> String {
    let number = |name: &str| port.pointer(name).and_then(Value::as_u64).unwrap_or_default();
    let (host, container) = (number("/hostPort"), number("/containerPort"));
    format!("{}:{host} -> {container}/{}", text(port, "/hostIp"), text(port, "/protocol"))
}

fn conditions(app: &Value, said: &mut Said) -> Vec<String> {
    let mut row = |condition: &Value| {
        let fields = ["/type", "/status", "/reason"];
        let mut row = fields.map(|name| text(condition, name).to_owned()).to_vec();
        row.push(said.once(text(condition, "/message")));
        row
    };
    let rows: Vec<_> = list(app, "/status/conditions").iter().map(&mut row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    table::lines(&["TYPE", "HOLDS", "REASON", "MESSAGE"], &rows)
}

/// What is waited for and what is not done, where nothing above has said so.
fn plan(app: &Value, said: &mut Said) -> Vec<String> {
    let waits = list(app, "/status/plan/waits").iter().map(|wait| ("waits", wait));
    let refusals = list(app, "/status/plan/refusals").iter().map(|refusal| ("refused", refusal));
    let all = waits.chain(refusals).map(|(word, why)| (word, text(why, "/message")));
    let new: Vec<_> = all.filter(|(_, message)| !said.knows(message)).collect();
    new.into_iter().map(|(word, why)| format!("{word}: {}", plain(&said.once(why)))).collect()
}

fn recent(events: &Value, said: &mut Said) -> Vec<String> {
    let line = |(event, times): (&Value, usize)| {
        let (at, message) = (ago(text(event, "/at")), plain(&said.event(event, times)));
        format!("{at} ago  {}  {message}", plain(text(event, "/reason")))
    };
    said::folded(list(events, "/items"), SHOWN).into_iter().map(line).collect()
}

/// The end of the app's log; nothing when there is none.
async fn log(name: &AppName, server: &Server) -> Vec<String> {
    let path = format!("/api/v1/apps/{name}/logs?tail={SHOWN}");
    let Ok(parts) = server.follow(&path, "text/plain").await else { return Vec::new() };
    let Ok(answer) = parts.whole().await else { return Vec::new() };
    String::from_utf8_lossy(&answer.body).lines().map(log_line).collect()
}

pub(super) fn section(title: &str, lines: &[String], output: &mut Output) -> Result<(), Error> {
    if lines.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.line(&format!("{title}:"))?;
    for line in lines {
        output.line(&format!("  {line}"))?;
    }
    Ok(())
}
