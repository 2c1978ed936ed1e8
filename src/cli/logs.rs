//! `berth logs`: what an app writes, or what its build wrote.

use super::{
    error::{Error, Exit},
    output::{Output, log_line},
    server::{Server, app_name},
};
use crate::model::AppName;

/// The longest line that is kept back until its end comes.
const LINE_MAX: usize = 64 * 1024;

/// What it takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The app.
    #[arg(value_parser = app_name, add = super::completion::apps())]
    name: AppName,
    /// Go on with what comes.
    #[arg(short, long)]
    follow: bool,
    /// The log of the app's build instead.
    #[arg(long, conflicts_with_all = ["previous", "since"])]
    build: bool,
    /// How many of the last lines, or `all`.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = tail)]
    tail: String,
    /// From when on: `10m` ago, or a time such as `2025-12-01T00:00:00Z`.
    #[arg(long, value_name = "WHEN", value_parser = plain_time)]
    since: Option<String>,
    /// The log of the container before this one.
    #[arg(long)]
    previous: bool,
    /// Begin each line with its time.
    #[arg(long)]
    timestamps: bool,
}

pub(super) async fn run(args: &Args, server: &Server, output: &mut Output) -> Result<Exit, Error> {
    let mut path = format!("/api/v1/apps/{}/logs?tail={}", args.name, args.tail);
    if let Some(since) = &args.since {
        path.push_str("&since=");
        path.push_str(&since.replace('+', "%2B"));
    }
    for (flag, text) in [
        (args.follow, "&follow=true"),
        (args.build, "&source=build"),
        (args.previous, "&previous=true"),
        (args.timestamps, "&timestamps=true"),
    ] {
        if flag {
            path.push_str(text);
        }
    }
    let mut parts = server.follow(&path, "text/plain").await?;
    let mut held = Vec::new();
    while let Some(part) = parts.next().await? {
        if output.is_terminal() {
            held.extend_from_slice(&part);
            show_lines(&mut held, output)?;
        } else {
            output.raw(&part)?;
        }
    }
    if !held.is_empty() {
        output.line(&log_line(&String::from_utf8_lossy(&held)))?;
    }
    Ok(Exit::Done)
}

/// Writes the whole lines of `held` and takes them out of it.
fn show_lines(held: &mut Vec<u8>, output: &mut Output) -> Result<(), Error> {
    let end = held.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let end = end.or((LINE_MAX < held.len()).then_some(held.len()));
    let Some(end) = end else { return Ok(()) };
    let whole: Vec<_> = held.drain(..end).collect();
    for line in String::from_utf8_lossy(&whole).lines() {
        output.line(&log_line(line))?;
    }
    Ok(())
}

fn tail(text: &str) -> Result<String, String> {
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    if is_number || text == "all" {
        Ok(text.to_owned())
    } else {
        Err("write a number or `all`".into())
    }
}

/// Only what may stand in a query as it is; the server knows whether it is a time.
fn plain_time(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-+:.".contains(c);
    if text.chars().all(legal) { Ok(text.to_owned()) } else { Err("write `10m`, or a time".into()) }
}
