//! `berth gc`: what Berth left behind and nothing needs any more.

use serde_json::Value;

use super::{
    document::{self, Format, ago, list, text},
    error::{Error, Exit},
    output::{Output, plain},
    server::Server,
};
use crate::model::{format_bytes, parse_duration};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only say what would go, what would stay, and why.
    #[arg(long)]
    dry_run: bool,
    /// How old something has to be.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = grace)]
    grace: String,
    /// Have what apps kept in their `data` folders go too, of apps that no manifest names.
    #[arg(long)]
    with_data: bool,
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

fn grace(text: &str) -> Result<String, String> {
    parse_duration(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let Args { dry_run, grace, with_data, .. } = args;
    let path = format!("/api/v1/gc?dryRun={dry_run}&grace={grace}&withData={with_data}");
    let done = server.post(&path).await?;
    match &args.output {
        format @ (Format::Json | Format::Yaml | Format::Path(_)) => {
            document::write_as(output, &done, format)?;
        }
        Format::Name => {
            for left in list(&done, "/going") {
                output.line(&plain(text(left, "/name")))?;
            }
        }
        Format::Table | Format::Wide => show(&done, *dry_run, output)?,
    }
    let is_failed = list(&done, "/going").iter().any(|left| !text(left, "/error").is_empty());
    Ok(if is_failed { Exit::NotSo } else { Exit::Done })
}

fn show(done: &Value, is_dry: bool, output: &mut Output) -> Result<(), Error> {
    let row = |left: &Value, why: &str| {
        vec![
            text(left, "/kind").to_owned(),
            text(left, "/name").to_owned(),
            format_bytes(left["size"].as_u64().unwrap_or_default()),
            ago(text(left, "/since")),
            why.to_owned(),
        ]
    };
    let mut rows = Vec::new();
    for left in list(done, "/going") {
        match text(left, "/error") {
            "" => rows.push(row(left, text(left, "/why"))),
            error => {
                output.warn(&plain(&format!("{} stays: {error}", text(left, "/name"))));
            }
        }
    }
    if is_dry {
        let staying = list(done, "/staying").iter();
        rows.extend(staying.map(|left| row(left, &format!("stays: {}", text(left, "/stays")))));
    }
    if !rows.is_empty() {
        output.table(&["KIND", "NAME", "SIZE", "AGE", "WHY"], &rows)?;
    }
    for unread in list(done, "/unread").iter().filter_map(Value::as_str) {
        output.warn(&plain(&format!("not looked through: {unread}")));
    }
    let verb = if is_dry { "would be freed" } else { "freed" };
    let bytes = format_bytes(done["bytes"].as_u64().unwrap_or_default());
    output.line(&format!("{bytes} {verb} at most: images share layers"))?;
    Ok(())
}
