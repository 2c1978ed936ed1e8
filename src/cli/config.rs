//! `berth config view`: what `berth run` would run with, and why.

use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::{
    document,
    error::{Error, Exit},
    flags::Flags,
    output::Output,
    run,
};
use crate::config::{Config, Setting};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show every option's value.
    View(View),
}

#[derive(Debug, clap::Args)]
struct View {
    /// Say where each value comes from.
    #[arg(long)]
    origin: bool,
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As a table.
    Table,
    /// As JSON.
    Json,
    /// As YAML: without origins, a configuration file.
    Yaml,
}

pub(super) fn run(args: Args, output: &mut Output) -> Result<Exit, Error> {
    let Verb::View(view) = args.verb;
    let config = run::read(view.flags)?;
    if view.output == Format::Table {
        show(&config, view.origin, output)?;
    } else {
        let document = values(&config, view.origin);
        document::write(output, &document, view.output == Format::Yaml)?;
    }
    Ok(Exit::Done)
}

fn show(config: &Config, has_origin: bool, output: &mut Output) -> Result<(), Error> {
    let mut header = vec!["OPTION", "VALUE"];
    if has_origin {
        header.push("ORIGIN");
    }
    let row = |setting: &Setting| {
        let mut row = vec![setting.name.to_owned(), setting.values.join(", ")];
        if has_origin {
            row.push(setting.origin.to_string());
        }
        row
    };
    let rows: Vec<_> = config.settings.iter().map(row).collect();
    output.table(&header, &rows)
}

fn values(config: &Config, has_origin: bool) -> Value {
    let mut values = Map::new();
    for setting in config.settings.iter().filter(|setting| !setting.values.is_empty()) {
        let value = match setting.values.as_slice() {
            [one] => json!(one),
            several => json!(several),
        };
        let value = if has_origin {
            json!({ "value": value, "origin": setting.origin.to_string() })
        } else {
            value
        };
        values.insert(setting.name.to_owned(), value);
    }
    Value::Object(values)
}
