//! `berth rollout status`, `history`, `undo`: how versions took each other's place, and the way back.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    document::{self, ago, list, text},
    dry::{self, Dry},
    error::{Error, Exit},
    output::{Output, plain},
    server::{Server, app_name},
};
use crate::model::AppName;

/// How often the app is looked at while one waits.
const LOOK: Duration = Duration::from_millis(300);

/// What is asked.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Show the last rollout; exit code 1 says that it failed or is on its way.
    Status(Status),
    /// List the rollouts that are remembered.
    History(History),
    /// Run an earlier version until the manifest or the repository changes.
    Undo(Undo),
}

/// What `status` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    /// Wait until it is decided.
    #[arg(short, long)]
    watch: bool,
}

/// What `history` takes.
#[derive(Debug, clap::Args)]
pub(super) struct History {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// How a history is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table for people.
    Table,
    /// The API's document, as JSON.
    Json,
}

/// What `undo` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Undo {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    /// To which revision; else to the last good one before.
    #[arg(long, visible_alias = "to", value_name = "N")]
    to_revision: Option<u64>,
    #[command(flatten)]
    dry: Dry,
}

pub(super) async fn run(verb: &Verb, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    match verb {
        Verb::Status(args) => status(args, server, output).await,
        Verb::History(args) => history(args, server, output).await,
        Verb::Undo(args) => undo(args, server, output).await,
    }
}

async fn status(args: &Status, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let path = format!("/api/v1/apps/{}", args.name);
    let mut last = Vec::new();
    loop {
        let app = server.get(&path).await?;
        let lines = lines(&app);
        if lines != last {
            for line in &lines {
                output.line(line)?;
            }
            last = lines;
        }
        let is_decided = is_decided(&app);
        if is_decided || !args.watch {
            let is_good = is_decided && text(&app, "/status/rollout/result") == "succeeded";
            return Ok(if is_good { Exit::Done } else { Exit::NotSo });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether the last rollout is the one of the present manifest, and over.
fn is_decided(app: &Value) -> bool {
    let is_seen = app.pointer("/metadata/generation") == app.pointer("/status/observedGeneration");
    let is_moving = document::condition(app, "Progressing") == Some("True");
    let result = text(app, "/status/rollout/result");
    let is_stuck = text(app, "/status/phase") == "Failed" || result == "restored";
    is_seen && !matches!(result, "" | "progressing") && (!is_moving || is_stuck)
}

/// How the last rollout stands.
fn lines(app: &Value) -> Vec<String> {
    let rollout = |name: &str| text(app, &format!("/status/rollout/{name}")).to_owned();
    let Some(number) = app.pointer("/status/rollout/revision").and_then(Value::as_u64) else {
        let message = plain(text(app, "/status/message"));
        return vec![format!("no rollout yet: {message}")];
    };
    let mut line = format!("revision {number}: {}", rollout("result"));
    let asked = match rollout("by").as_str() {
        "manifest" => "by the manifest",
        "commit" => "by a newer commit",
        "rebuild" => "by a rebuild",
        "undo" => "by an undo",
        "retry" => "by a retry",
        "operator" => "by a setting or a port",
        _ => "found",
    };
    line.push_str(&format!(" ({asked}"));
    if !rollout("order").is_empty() {
        line.push_str(&format!(", {}", rollout("order")));
    }
    line.push(')');
    if let Some(ms) = app.pointer("/status/rollout/downtimeMs").and_then(Value::as_u64) {
        line.push_str(&format!(", down for {ms} ms"));
    }
    let mut lines = vec![line];
    for message in [rollout("message"), text(app, "/status/message").to_owned()] {
        if !message.is_empty() {
            lines.push(format!("  {}", plain(&message)));
        }
    }
    lines
}

async fn history(args: &History, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let all = server.get(&format!("/api/v1/apps/{}/revisions", args.name)).await?;
    if args.output == Format::Json {
        document::write(output, &all, false)?;
        return Ok(Exit::Done);
    }
    let items = list(&all, "/items");
    if items.is_empty() {
        output.remark("nothing was rolled out yet");
        return Ok(Exit::Done);
    }
    let is_absolute = !output.is_terminal();
    let age = if is_absolute { "STARTED" } else { "AGE" };
    let header = ["REVISION", "RESULT", "BY", "IMAGE", "COMMIT", "THERE", "DOWN", age, "MESSAGE"];
    let rows: Vec<_> = items.iter().map(|item| row(item, is_absolute)).collect();
    output.table(&header, &rows)?;
    match text(&all, "/held/message") {
        "" => {}
        held => output.remark(&plain(held)),
    }
    Ok(Exit::Done)
}

fn row(item: &Value, is_absolute: bool) -> Vec<String> {
    let number = |name: &str| item.pointer(name).and_then(Value::as_u64);
    let is = |name: &str| item.pointer(name).and_then(Value::as_bool) == Some(true);
    let mut revision = number("/revision").unwrap_or_default().to_string();
    if is("/held") {
        revision.push_str(" (held)");
    }
    let by = match number("/again") {
        Some(again) => format!("{} to {again}", text(item, "/by")),
        None => text(item, "/by").to_owned(),
    };
    let down = number("/downtimeMs").map(|ms| format!("{ms} ms"));
    let started = text(item, "/started");
    vec![
        revision,
        text(item, "/result").to_owned(),
        by,
        text(item, "/image").to_owned(),
        text(item, "/commit").chars().take(7).collect(),
        if is("/imagePresent") { "yes" } else { "no" }.to_owned(),
        down.unwrap_or_else(|| "-".to_owned()),
        if is_absolute { started.to_owned() } else { ago(started) },
        text(item, "/message").to_owned(),
    ]
}

async fn undo(args: &Undo, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let name = &args.name;
    let body = match args.to_revision {
        Some(number) => json!({ "revision": number }),
        None => json!({}),
    };
    let content = ("application/json", body.to_string().into_bytes());
    let path = args.dry.path(&format!("/api/v1/apps/{name}/undo"));
    let done = server.post_with(&path, content).await?;
    if args.dry.dry_run {
        dry::show(&format!("app/{name}"), &done, output)?;
        return Ok(Exit::Done);
    }
    output.line(&format!("app/{name}: {}", plain(text(&done, "/message"))))?;
    Ok(Exit::Done)
}
