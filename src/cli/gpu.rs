//! `berth gpu ls`: the GPUs, and who holds them.

use serde_json::Value;

use super::{
    document::{self, Format, list, text},
    error::{Error, Exit},
    output::Output,
    server::Server,
};
use crate::model::format_bytes;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the GPUs: memory (used, asked for, all), how many share them, use, temperature, power,
    /// holders.
    Ls {
        /// How the answer is written.
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Format,
    },
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let Verb::Ls { output: format } = &args.verb;
    ls(format, server, output).await
}

pub(super) async fn ls(
    format: &Format,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let all = server.get("/api/v1/gpus").await?;
    match format {
        Format::Json | Format::Yaml | Format::Path(_) => {
            document::write_as(output, &all, format)?;
        }
        Format::Name => {
            for gpu in list(&all, "/gpus") {
                output.line(text(gpu, "/uuid"))?;
            }
        }
        Format::Table | Format::Wide => show(&all, *format == Format::Wide, output)?,
    }
    Ok(Exit::Done)
}

fn show(all: &Value, is_wide: bool, output: &mut Output) -> Result<(), Error> {
    let (gpus, note) = (list(all, "/gpus"), text(all, "/note"));
    if gpus.is_empty() {
        let why = if note.is_empty() { "they were not read yet" } else { note };
        output.remark(&format!("this machine has no GPUs that Berth can use: {why}"));
        return Ok(());
    }
    let mut header = vec!["GPU", "MODEL", "USED", "ASKED", "TOTAL", "SHARES", "UTIL"];
    header.extend(["TEMP", "POWER", "HOLDERS", "HEALTH"]);
    if is_wide {
        header.extend(["UUID", "PCI", "NUMA", "MODE", "MIG"]);
    }
    let rows: Vec<_> = gpus.iter().map(|gpu| row(gpu, is_wide)).collect();
    output.table(&header, &rows)?;
    for waiting in list(all, "/queue") {
        output.remark(&format!("{} waits: {}", text(waiting, "/app"), text(waiting, "/message")));
    }
    if !note.is_empty() {
        output.warn(note);
    }
    Ok(())
}

fn row(gpu: &Value, is_wide: bool) -> Vec<String> {
    let bytes = |pointer| number(gpu, pointer).map_or_else(unknown, format_bytes);
    let unit = |pointer, unit| {
        let figure = gpu.pointer(pointer).and_then(Value::as_f64);
        figure.map_or_else(unknown, |figure| format!("{figure:.0}{unit}"))
    };
    let mut row = vec![
        text(gpu, "/uuid").chars().take(12).collect(),
        text(gpu, "/model").to_owned(),
        bytes("/memory/used"),
        bytes("/memory/asked"),
        bytes("/memory/total"),
        shares(gpu),
        unit("/utilizationPercent", "%"),
        unit("/temperatureCelsius", "°C"),
        unit("/powerWatts", "W"),
        holders(gpu),
        health(gpu),
    ];
    if is_wide {
        let numa = number(gpu, "/numa").map_or_else(unknown, |numa| numa.to_string());
        let parts = list(gpu, "/parts").iter().map(|part| text(part, "/profile"));
        let mode = text(gpu, "/computeMode").to_owned();
        let pci = text(gpu, "/pci").to_owned();
        let parts = parts.collect::<Vec<_>>().join(", ");
        row.extend([text(gpu, "/uuid").to_owned(), pci, numa, mode, parts]);
    }
    row
}

/// How many have it, or a part of it.
fn shares(gpu: &Value) -> String {
    match number(gpu, "/shares") {
        None => unknown(),
        Some(_) if gpu.get("isAlone").and_then(Value::as_bool) == Some(true) => "alone".to_owned(),
        Some(count) => count.to_string(),
    }
}

fn holders(gpu: &Value) -> String {
    let name = |holder: &Value| {
        let name = text(holder, "/name");
        match (text(holder, "/kind"), number(holder, "/pid")) {
            ("app", _) if holder.get("isWaited").is_some() => format!("{name} (not running)"),
            ("app", _) => name.to_owned(),
            ("lease", _) => format!("{name} (lease)"),
            (_, Some(pid)) if name.is_empty() => format!("process {pid}"),
            (_, Some(pid)) => format!("{name} (process {pid})"),
            _ => format!("{name} (container)"),
        }
    };
    list(gpu, "/holders").iter().map(name).collect::<Vec<_>>().join(", ")
}

fn health(gpu: &Value) -> String {
    let problems: Vec<_> = list(gpu, "/health/problems").iter().filter_map(Value::as_str).collect();
    if problems.is_empty() { "well".to_owned() } else { problems.join("; ") }
}

fn number(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

/// What a card does not say.
fn unknown() -> String {
    "-".to_owned()
}
