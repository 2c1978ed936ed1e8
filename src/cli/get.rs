//! `berth get`: the apps, or one of them.

use serde_json::Value;

use super::{
    document::{self, Format, ago, condition, list, revision, text},
    error::{Error, Exit},
    output::Output,
    server::{Server, app_name},
    table, watch,
};
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app; all of them when none is named.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: Option<AppName>,
    /// Go on, and show each app again as it changes; with `-o json` one object per line.
    #[arg(short, long)]
    watch: bool,
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    if args.watch {
        return watch::run(args.name.as_ref(), &args.output, server, output).await;
    }
    let (document, apps) = if let Some(name) = &args.name {
        let app = server.get(&format!("/api/v1/apps/{name}")).await?;
        (app.clone(), vec![app])
    } else {
        let all = server.get("/api/v1/apps").await?;
        let apps = list(&all, "/items").to_vec();
        (all, apps)
    };
    match &args.output {
        Format::Json | Format::Yaml | Format::Path(_) => {
            document::write_as(output, &document, &args.output)?;
        }
        Format::Name => {
            for app in &apps {
                output.line(&format!("app/{}", text(app, "/metadata/name")))?;
            }
        }
        Format::Table | Format::Wide => show(&apps, args.output == Format::Wide, output)?,
    }
    if args.name.is_none() {
        warn(&document, output);
    }
    Ok(Exit::Done)
}

fn show(apps: &[Value], is_wide: bool, output: &mut Output) -> Result<(), Error> {
    if apps.is_empty() {
        output.remark("no app is registered; `berth apply -f FILE` registers one");
        return Ok(());
    }
    let is_absolute = is_wide || !output.is_terminal();
    let header = header(is_absolute, is_wide);
    let rows: Vec<_> = apps.iter().map(|app| row(app, is_absolute, is_wide)).collect();
    for line in table::lines(&header, &rows) {
        output.line(&line)?;
    }
    Ok(())
}

/// What the columns are called.
pub(super) fn header(is_absolute: bool, is_wide: bool) -> Vec<&'static str> {
    let mut header = vec!["NAME", "READY", "STATUS", "REASON", "URL", "REVISION"];
    header.push(if is_absolute { "SINCE" } else { "AGE" });
    if is_wide {
        header.extend(["RESTARTS", "IMAGE", "CONTAINER", "MANIFEST"]);
    }
    header
}

/// What they say of an app.
pub(super) fn row(app: &Value, is_absolute: bool, is_wide: bool) -> Vec<String> {
    let ready = match condition(app, "Ready") {
        Some("True") => "yes",
        Some("False") => "no",
        _ => "unknown",
    };
    let since = text(app, "/status/since");
    let mut row = vec![
        text(app, "/metadata/name").to_owned(),
        ready.to_owned(),
        text(app, "/status/phase").to_owned(),
        text(app, "/status/reason").to_owned(),
        text(app, "/status/url").to_owned(),
        revision(app),
        if is_absolute { since.to_owned() } else { ago(since) },
    ];
    if is_wide {
        let restarts = app.pointer("/status/restarts").and_then(Value::as_u64).unwrap_or_default();
        row.extend([
            restarts.to_string(),
            text(app, "/status/image").to_owned(),
            text(app, "/status/containerId").chars().take(12).collect(),
            origin(app),
        ]);
    }
    row
}

/// Where an app's manifest is.
pub(super) fn origin(app: &Value) -> String {
    match app.pointer("/metadata/origin/line").and_then(Value::as_u64) {
        Some(line) => format!("{}:{line}", text(app, "/metadata/origin/file")),
        None => String::new(),
    }
}

/// Says what is wrong beside the apps.
pub(super) fn warn(all: &Value, output: &mut Output) {
    for pointer in [
        "/source/error",
        "/source/hold/message",
        "/engine/error",
        "/engine/warning",
        "/certificate/warning",
    ] {
        match text(all, pointer) {
            "" => {}
            trouble => output.warn(trouble),
        }
    }
    for diagnostic in list(all, "/source/diagnostics") {
        let line = diagnostic.pointer("/line").and_then(Value::as_u64).unwrap_or_default();
        let message = text(diagnostic, "/message");
        output.warn(&format!("{}:{line}: {message}", text(diagnostic, "/file")));
    }
}
