//! `berth version`.

use clap::ValueEnum;
use serde_json::json;

use super::{
    document,
    error::{Error, Exit},
    output::Output,
};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// As text.
    Text,
    /// As JSON.
    Json,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Exit, Error> {
    let version = env!("CARGO_PKG_VERSION");
    match args.output {
        Format::Text => output.line(&format!("berth {version}"))?,
        Format::Json => document::write(output, &json!({ "version": version }), false)?,
    }
    Ok(Exit::Done)
}
