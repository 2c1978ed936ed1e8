//! `berth audit`: who changed what; and whether that record is whole.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::{
    document::{self, text},
    error::{Error, Exit},
    output::{Output, plain},
    server::{Server, app_name},
    token,
};
use crate::audit;
use crate::model::AppName;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what was changed, the newest first.
    #[command(visible_alias = "ls")]
    List(List),
    /// Look whether a record was changed, removed or cut off; exit code 1 says so.
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of this app.
    #[arg(long, value_parser = app_name)]
    app: Option<AppName>,
    /// How many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Only those before this number.
    #[arg(long, value_name = "N")]
    before: Option<u64>,
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// Where Berth keeps its state [default: that of `berth run`].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// As JSON.
    Json,
}

pub(super) async fn run(
    args: Args,
    server: impl Fn() -> Result<Server, Error>,
    output: &mut Output,
) -> Result<Exit, Error> {
    match args.verb {
        Verb::List(list) => show(&list, &server()?, output).await,
        Verb::Verify(args) => verify(&args, output),
    }
}

async fn show(list: &List, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let mut path = format!("/api/v1/audit?limit={}", list.limit);
    if let Some(app) = &list.app {
        let _ = write!(path, "&app={app}");
    }
    if let Some(before) = list.before {
        let _ = write!(path, "&before={before}");
    }
    let answer = server.get(&path).await?;
    if list.output == Format::Json {
        document::write(output, &answer, false)?;
        return Ok(Exit::Done);
    }
    let items = answer.get("items").and_then(Value::as_array);
    let rows: Vec<_> = items.into_iter().flatten().map(row).collect();
    let header = ["SEQ", "AT", "WHO", "FROM", "ACTION", "OBJECT", "OUTCOME"];
    output.table(&header, &rows)?;
    if let Some(next) = answer.get("next").and_then(Value::as_u64) {
        output.remark(&format!("there are more: --before {next}"));
    }
    Ok(Exit::Done)
}

fn row(item: &Value) -> Vec<String> {
    let seq = item.get("seq").map(ToString::to_string).unwrap_or_default();
    let who = format!("{}/{}", text(item, "/who/kind"), text(item, "/who/name"));
    let rest = ["/from", "/action", "/object", "/outcome"].map(|name| text(item, name).to_owned());
    [vec![seq, text(item, "/at").to_owned(), who], rest.to_vec()].concat()
}

fn verify(args: &Verify, output: &mut Output) -> Result<Exit, Error> {
    let folder = token::state_dir(args.state_dir.as_ref())?;
    let verdict =
        audit::verify(&folder).map_err(|error| Error::new(Exit::Trouble, error.to_string()))?;
    if args.output == Format::Json {
        document::write(output, &serde_json::to_value(&verdict).unwrap_or_default(), false)?;
    } else {
        for flaw in &verdict.flaws {
            output.line(&format!("{}: {}", plain(&flaw.place), plain(&flaw.message)))?;
        }
        let hash = verdict.hash.as_deref().unwrap_or("none");
        let (first, last) = (verdict.first.unwrap_or(0), verdict.last.unwrap_or(0));
        let word = if verdict.flaws.is_empty() { "whole" } else { "NOT whole" };
        let records = verdict.records;
        output.line(&format!("{word}: {records} records, {first} to {last}, hash {hash}"))?;
    }
    Ok(if verdict.flaws.is_empty() { Exit::Done } else { Exit::NotSo })
}
