//! `berth notify ls`, `berth notify test`: who is told when something is wrong, and whether it arrives.

use serde_json::Value;

use super::{
    document::{self, Format, ago, list, text},
    error::{Error, Exit},
    output::{Output, plain},
    server::Server,
};

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List the targets, and how the last message to each went.
    Ls {
        /// How the answer is written.
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Format,
    },
    /// Send a test to one target, or to all.
    Test {
        /// The target.
        #[arg(value_parser = name, add = super::completion::targets())]
        target: Option<String>,
    },
}

fn name(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = !text.is_empty() && text.chars().all(legal);
    is_name
        .then(|| text.to_owned())
        .ok_or_else(|| "a target has small letters, digits and `-`".to_owned())
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    match &args.verb {
        Verb::Ls { output: format } => {
            let all = server.get("/api/v1/notifications").await?;
            match format {
                Format::Json | Format::Yaml | Format::Path(_) => {
                    document::write_as(output, &all, format)?;
                }
                Format::Name => {
                    for target in list(&all, "/targets") {
                        output.line(&plain(text(target, "/name")))?;
                    }
                }
                Format::Table | Format::Wide => show(&all, output)?,
            }
            Ok(Exit::Done)
        }
        Verb::Test { target } => {
            let query = target.iter().map(|target| format!("?target={target}"));
            let path = format!("/api/v1/notifications/test{}", query.collect::<String>());
            tell(&server.post(&path).await?, output)
        }
    }
}

fn show(all: &Value, output: &mut Output) -> Result<(), Error> {
    if list(all, "/targets").is_empty() {
        output.remark("nobody is told: `--notifications FILE` names the file of targets");
        return Ok(());
    }
    let rows: Vec<_> = list(all, "/targets")
        .iter()
        .map(|target| {
            let waiting = target["waiting"].as_u64().unwrap_or_default().to_string();
            let last = match text(target, "/last/result") {
                "" => ["never".to_owned(), String::new(), String::new()],
                result => [
                    result.to_owned(),
                    ago(text(target, "/last/at")),
                    match text(target, "/last/error") {
                        "" => text(target, "/last/title").to_owned(),
                        error => error.to_owned(),
                    },
                ],
            };
            let mut row = vec![text(target, "/name").to_owned(), text(target, "/kind").to_owned()];
            row.push(waiting);
            row.extend(last);
            row
        })
        .collect();
    output.table(&["TARGET", "KIND", "WAITING", "LAST", "AGE", "WHAT"], &rows)
}

fn tell(done: &Value, output: &mut Output) -> Result<Exit, Error> {
    let mut exit = Exit::Done;
    for one in list(done, "/results") {
        let (target, result) = (text(one, "/target"), text(one, "/result"));
        match text(one, "/error") {
            "" => output.line(&plain(&format!("{target}: {result}")))?,
            error => {
                output.warn(&plain(&format!("{target}: {result}: {error}")));
                exit = Exit::NotSo;
            }
        }
    }
    Ok(exit)
}
