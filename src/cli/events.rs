//! `berth events`: what happened.

use clap::ValueEnum;
use serde_json::Value;

use super::{
    document::{ago, list, text},
    error::{Error, Exit},
    output::{Output, plain},
    server::{Server, app_name},
    sse::Stream,
};
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app; all of them when none is named.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: Option<AppName>,
    /// Go on with what comes.
    #[arg(short, long)]
    watch: bool,
    /// How many of the latest events.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// How events are written; with `json`, one object per line.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As a table.
    Table,
    /// One JSON object per line.
    Json,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let app = args.name.as_ref().map(|name| format!("app={name}")).unwrap_or_default();
    // The stream is opened first, so that nothing falls between the list and it.
    let mut stream = None;
    if args.watch {
        let path = format!("/api/v1/events?{app}");
        stream = Some(Stream::new(server.follow(&path, "text/event-stream").await?));
    }
    let recent = format!("/api/v1/events/recent?limit={}&{app}", args.limit);
    let recent = server.get(recent.trim_end_matches('&')).await?;
    let events = list(&recent, "/items");
    show(events, args.output, output)?;
    let last = events.last().map(id).unwrap_or_default();
    match stream {
        Some(stream) => watch(stream, last, args.output, output).await,
        None => Ok(Exit::Done),
    }
}

fn show(events: &[Value], format: Format, output: &mut Output) -> Result<(), Error> {
    if format == Format::Json {
        return events.iter().try_for_each(|event| output.line(&event.to_string()));
    }
    if events.is_empty() {
        output.remark("nothing has happened yet");
        return Ok(());
    }
    let is_terminal = output.is_terminal();
    let rows: Vec<_> = events.iter().map(|event| row(event, is_terminal).to_vec()).collect();
    let header = ["WHEN", "TYPE", "APP", "REASON", "MESSAGE"];
    output.table(&header, &rows)
}

fn row(event: &Value, is_terminal: bool) -> [String; 5] {
    let at = text(event, "/at");
    let at = if is_terminal { ago(at) } else { at.to_owned() };
    let [kind, app, reason, message] =
        ["/type", "/app", "/reason", "/message"].map(|name| text(event, name).to_owned());
    [at, kind, app, reason, message]
}

async fn watch(
    mut stream: Stream,
    last: u64,
    format: Format,
    output: &mut Output,
) -> Result<Exit, Error> {
    while let Some(event) = stream.next().await? {
        if event.kind == "resync" {
            output.warn("some events were missed");
        }
        let Ok(body) = serde_json::from_str::<Value>(&event.body) else { continue };
        if event.kind != "event" || id(&body) <= last {
            continue;
        }
        match format {
            Format::Json => output.line(&body.to_string())?,
            Format::Table => {
                let cells: Vec<_> = row(&body, false).iter().map(|cell| plain(cell)).collect();
                output.line(&cells.join("   "))?;
            }
        }
    }
    Err(Error::new(Exit::Unreachable, "the controller has ended the stream"))
}

fn id(event: &Value) -> u64 {
    event.pointer("/id").and_then(Value::as_u64).unwrap_or_default()
}
