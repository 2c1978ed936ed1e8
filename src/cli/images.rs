//! `berth images ls`, `berth images gc`: the images that Berth built, and those that nothing needs.

use serde_json::Value;

use super::{
    document::{self, Format, ago, list, text},
    error::{Error, Exit},
    output::{Output, plain},
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
    /// List the images that Berth built.
    Ls {
        /// How the answer is written.
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Format,
    },
    /// Remove the images that nothing needs.
    Gc {
        /// Only say which, and why.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    match &args.verb {
        Verb::Ls { output: format } => ls(format, server, output).await,
        Verb::Gc { dry_run } => {
            let path = format!("/api/v1/images/gc?dryRun={dry_run}");
            tell(&server.post(&path).await?, *dry_run, output)
        }
    }
}

pub(super) async fn ls(
    format: &Format,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let all = server.get("/api/v1/images").await?;
    match format {
        Format::Json | Format::Yaml | Format::Path(_) => {
            document::write_as(output, &all, format)?;
        }
        Format::Name => {
            for image in list(&all, "/images") {
                output.line(&plain(&tags(image)))?;
            }
        }
        Format::Table | Format::Wide => show(&all, output)?,
    }
    Ok(Exit::Done)
}

fn show(all: &Value, output: &mut Output) -> Result<(), Error> {
    if list(all, "/images").is_empty() {
        output.remark("Berth has built no image that is still here");
        return Ok(());
    }
    let rows: Vec<_> = list(all, "/images")
        .iter()
        .map(|image| {
            let users: Vec<_> = list(image, "/usedBy").iter().filter_map(Value::as_str).collect();
            let age = ago(text(image, "/created"));
            vec![
                text(image, "/app").to_owned(),
                tags(image),
                size(image, "/size"),
                age,
                users.join(", "),
            ]
        })
        .collect();
    output.table(&["APP", "IMAGE", "SIZE", "AGE", "USED BY"], &rows)
}

fn tell(done: &Value, is_dry: bool, output: &mut Output) -> Result<Exit, Error> {
    let mut exit = Exit::Done;
    for image in list(done, "/going") {
        let (name, why) = (tags(image), text(image, "/why"));
        match text(image, "/error") {
            "" => {
                output.line(&plain(&format!("- {name} ({})    # {why}", size(image, "/size"))))?;
            }
            error => {
                output.warn(&plain(&format!("{name} stays: {error}")));
                exit = Exit::NotSo;
            }
        }
    }
    match text(done, "/held") {
        "" => {}
        held => output.warn(held),
    }
    let verb = if is_dry { "would be freed" } else { "freed" };
    output.line(&format!("{} {verb} at most: images share layers", size(done, "/bytes")))?;
    Ok(exit)
}

fn tags(image: &Value) -> String {
    let tags: Vec<_> = list(image, "/tags").iter().filter_map(Value::as_str).collect();
    if tags.is_empty() { text(image, "/id").to_owned() } else { tags.join(", ") }
}

fn size(value: &Value, pointer: &str) -> String {
    format_bytes(value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default())
}
