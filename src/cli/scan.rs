//! `berth scan`, `berth sbom`: known vulnerabilities of the apps' images, and what is in them.

use serde_json::Value;

use super::{
    document::{self, Format, ago, list, text},
    error::{Error, Exit},
    output::{Output, plain},
    server::{Server, app_name},
};
use crate::model::AppName;

/// The severities, the worst first.
const SEVERITIES: [&str; 5] = ["critical", "high", "medium", "low", "unknown"];

/// What `berth scan` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app: all of its findings. Without one, all apps in short.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: Option<AppName>,
    /// How the answer is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// What `berth sbom` takes.
#[derive(Debug, clap::Args)]
pub(super) struct PartsArgs {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let path = match &args.name {
        Some(name) => format!("/api/v1/apps/{name}/scan"),
        None => "/api/v1/scans".to_owned(),
    };
    let answer = server.get(&path).await?;
    match &args.output {
        format @ (Format::Json | Format::Yaml | Format::Path(_)) => {
            document::write_as(output, &answer, format)?;
        }
        Format::Name => {
            for app in list(&answer, "/scans") {
                output.line(&plain(text(app, "/app")))?;
            }
            for finding in list(&answer, "/findings") {
                output.line(&plain(text(finding, "/id")))?;
            }
        }
        Format::Table | Format::Wide if args.name.is_some() => show(&answer, output)?,
        Format::Table | Format::Wide => overview(&answer, output)?,
    }
    let blocked = |scan: &Value| text(scan, "/status") == "blocked";
    let is_blocked = blocked(&answer) || list(&answer, "/scans").iter().any(blocked);
    Ok(if is_blocked { Exit::NotSo } else { Exit::Done })
}

/// Prints the list of parts of an app's image.
pub(super) async fn parts(
    args: &PartsArgs,
    server: &Server,
    output: &mut Output,
) -> Result<Exit, Error> {
    let path = format!("/api/v1/apps/{}/sbom", args.name);
    document::write(output, &server.get(&path).await?, false)?;
    Ok(Exit::Done)
}

fn overview(answer: &Value, output: &mut Output) -> Result<(), Error> {
    if answer["isEnabled"] != true {
        output.remark("images are not looked through: give Berth a folder of OSV records with --vulnerability-database");
        return Ok(());
    }
    warn_of_database(answer, output);
    let rows: Vec<_> = list(answer, "/scans").iter().map(row).collect();
    output
        .table(&["APP", "STATUS", "CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN", "SCANNED"], &rows)
}

fn row(scan: &Value) -> Vec<String> {
    let mut row = vec![text(scan, "/app").to_owned(), text(scan, "/status").to_owned()];
    row.extend(SEVERITIES.map(|severity| {
        scan["counts"][severity].as_u64().map_or_else(|| "-".to_owned(), |count| count.to_string())
    }));
    row.push(ago(text(scan, "/scannedAt")));
    row
}

fn show(answer: &Value, output: &mut Output) -> Result<(), Error> {
    warn_of_database(answer, output);
    output.line(&plain(&format!("{}: {}", text(answer, "/status"), text(answer, "/message"))))?;
    let accepted = list(answer, "/accepted");
    let until = |finding: &Value| {
        let is_it = |one: &&Value| one["finding"] == *finding;
        accepted
            .iter()
            .find(is_it)
            .map(|one| format!("until {}: {}", text(one, "/until"), text(one, "/reason")))
    };
    let rows: Vec<_> = list(answer, "/findings")
        .iter()
        .map(|finding| {
            vec![
                text(finding, "/id").to_owned(),
                text(finding, "/severity").to_owned(),
                format!("{} {}", text(finding, "/package/name"), text(finding, "/package/version")),
                text(finding, "/fixed").to_owned(),
                until(finding).unwrap_or_default(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        output.table(&["ID", "SEVERITY", "PACKAGE", "FIXED IN", "ACCEPTED"], &rows)?;
    }
    for unread in list(answer, "/unread") {
        output.warn(&plain(&format!("{}: {}", text(unread, "/what"), text(unread, "/why"))));
    }
    Ok(())
}

fn warn_of_database(answer: &Value, output: &mut Output) {
    match text(answer, "/database/error") {
        "" => {}
        error => output.warn(&plain(error)),
    }
}
