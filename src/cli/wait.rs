//! `berth wait`: until an app is ready, or gone.

use std::time::Duration;

use serde_json::Value;

use super::{
    document::{condition, text},
    error::{Error, Exit},
    output::{Output, plain},
    server::{Server, app_name},
    steps::Steps,
};
use crate::model::{AppName, format_duration, parse_duration};

/// How often the app is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// How long an app may be unknown that was registered a moment ago.
const UNKNOWN_MAX: Duration = Duration::from_secs(5);

/// How much of the log of a build that failed is shown.
const BUILD_LINES: usize = 5;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    /// For what: `condition=Ready`, another condition, `condition=Ready=False`, or `delete`.
    #[arg(long = "for", value_name = "WHAT", default_value = "condition=Ready", value_parser = goal)]
    goal: Goal,
    /// For how long.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Holds { kind: String, status: String },
    Delete,
}

impl Goal {
    /// That it runs and answers.
    pub(super) fn ready() -> Self {
        Self::Holds { kind: "Ready".to_owned(), status: "True".to_owned() }
    }
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    until(&args.name, &args.goal, args.timeout, (server, output)).await
}

/// Waits until it is so, and says what happens on the way.
pub(super) async fn until(
    name: &AppName,
    goal: &Goal,
    timeout: Duration,
    (server, output): (&Server, &mut Output),
) -> Result<Exit, Error> {
    let mut steps = Steps::new(output);
    let ended = look_until(name, goal, timeout, (server, &mut *output, &mut steps)).await;
    steps.end();
    ended?;
    output.line(&format!("app/{name} {}", said(goal)))?;
    Ok(Exit::Done)
}

async fn look_until(
    name: &AppName,
    goal: &Goal,
    timeout: Duration,
    (server, output, steps): (&Server, &mut Output, &mut Steps),
) -> Result<(), Error> {
    let path = format!("/api/v1/apps/{name}");
    let start = tokio::time::Instant::now();
    loop {
        let app = match server.get(&path).await {
            Ok(app) => Some(app),
            Err(error) if error.exit() == Exit::NotFound => {
                if *goal != Goal::Delete && UNKNOWN_MAX.min(timeout) <= start.elapsed() {
                    return Err(error);
                }
                None
            }
            Err(error) => return Err(error),
        };
        if let Some(app) = &app {
            steps.see(app, output);
        }
        if is_reached(goal, app.as_ref()) {
            return Ok(());
        }
        if let Some(app) = app.filter(|app| is_hopeless(goal, app)) {
            return Err(standing(Exit::NotSo, name, &app, server).await);
        }
        if timeout <= start.elapsed() {
            let waited = format_duration(timeout);
            let what = format!("`{name}` is not so after {waited}");
            return Err(Error::new(Exit::TimedOut, what)
                .fix(format!("`berth status {name}` says how it stands")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn is_reached(goal: &Goal, app: Option<&Value>) -> bool {
    match (goal, app) {
        (Goal::Delete, app) => app.is_none(),
        (Goal::Holds { .. }, None) => false,
        (Goal::Holds { kind, status }, Some(app)) => {
            let is_current =
                app.pointer("/metadata/generation") == app.pointer("/status/observedGeneration");
            is_current && condition(app, kind) == Some(status)
        }
    }
}

/// Whether waiting longer is of no use: only a change by a person helps a failed app.
fn is_hopeless(goal: &Goal, app: &Value) -> bool {
    matches!(goal, Goal::Holds { status, .. } if status == "True")
        && text(app, "/status/phase") == "Failed"
}

async fn standing(exit: Exit, name: &AppName, app: &Value, server: &Server) -> Error {
    let (phase, reason) = (text(app, "/status/phase"), text(app, "/status/reason"));
    let error = Error::new(exit, format!("`{name}` is {} ({})", plain(phase), plain(reason)));
    let error = error.why(text(app, "/status/message"));
    let end = end_of_build(app, name, server).await;
    if end.is_empty() {
        return error.fix(format!("`berth status {name}` says more"));
    }
    let error = end.into_iter().fold(error.why("the end of the build's log:"), Error::why);
    error.fix(format!("`berth logs {name} --build` shows all of it"))
}

/// The last lines of a build that failed; none where none did.
pub(super) async fn end_of_build(app: &Value, name: &AppName, server: &Server) -> Vec<String> {
    if text(app, "/status/reason") != "BuildFailed" {
        return Vec::new();
    }
    let path = format!("/api/v1/apps/{name}/logs?source=build&tail={BUILD_LINES}");
    let Ok(parts) = server.follow(&path, "text/plain").await else { return Vec::new() };
    let Ok(answer) = parts.whole().await else { return Vec::new() };
    String::from_utf8_lossy(&answer.body).lines().map(ToOwned::to_owned).collect()
}

fn said(goal: &Goal) -> String {
    match goal {
        Goal::Delete => "is gone".to_owned(),
        Goal::Holds { kind, status } if status == "True" => format!("is {kind}"),
        Goal::Holds { kind, status } => format!("has {kind}={status}"),
    }
}

fn goal(text: &str) -> Result<Goal, String> {
    if text == "delete" {
        return Ok(Goal::Delete);
    }
    let wrong = || "write `condition=Ready`, `condition=Ready=False` or `delete`".to_owned();
    let condition = text.strip_prefix("condition=").ok_or_else(wrong)?;
    let (kind, status) = condition.split_once('=').unwrap_or((condition, "True"));
    let kinds = [
        "Accepted",
        "SourceReady",
        "ImageReady",
        "Available",
        "Ready",
        "Progressing",
        "ScanPassed",
    ];
    let kind = kinds.iter().find(|known| known.eq_ignore_ascii_case(kind)).ok_or_else(wrong)?;
    let statuses = ["True", "False", "Unknown"];
    let status =
        statuses.iter().find(|known| known.eq_ignore_ascii_case(status)).ok_or_else(wrong)?;
    Ok(Goal::Holds { kind: (*kind).to_owned(), status: (*status).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_a_known_condition_or_deletion() {
        let ready = |status: &str| Goal::Holds { kind: "Ready".into(), status: status.into() };
        assert_eq!(goal("condition=ready"), Ok(ready("True")));
        assert_eq!(goal("condition=Ready=False"), Ok(ready("False")));
        assert_eq!(goal("delete"), Ok(Goal::Delete));
        for wrong in ["", "ready", "condition=Happy", "condition=Ready=Maybe"] {
            assert!(goal(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_status_about_an_older_manifest_does_not_count() {
        let app = serde_json::json!({
            "metadata": {"generation": 2},
            "status": {
                "observedGeneration": 1,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        });
        assert!(!is_reached(&goal("condition=Ready").unwrap(), Some(&app)));
    }
}
