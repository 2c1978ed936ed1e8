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
    /// Only lines that hold this text; in small letters, it is found in capitals too.
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
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
        if output.is_terminal() || args.grep.is_some() {
            held.extend_from_slice(&part);
            show_lines(&mut held, args.grep.as_deref(), output)?;
        } else {
            output.raw(&part)?;
        }
    }
    if !held.is_empty() {
        show(&held, args.grep.as_deref(), output)?;
    }
    Ok(Exit::Done)
}

/// Writes a line, if it is wanted: for a person without what could steer the terminal, else as it is.
fn show(line: &[u8], grep: Option<&str>, output: &mut Output) -> Result<(), Error> {
    let bare = line.strip_suffix(b"\n").unwrap_or(line);
    let text = String::from_utf8_lossy(bare);
    if grep.is_some_and(|words| !holds(&text, words)) {
        return Ok(());
    }
    if output.is_terminal() { output.line(&log_line(&text)) } else { output.raw(line) }
}

/// Whether a line holds a text, colours aside.
fn holds(line: &str, words: &str) -> bool {
    let line = anstream::adapter::strip_str(line).to_string();
    if words.chars().any(char::is_uppercase) {
        line.contains(words)
    } else {
        line.to_lowercase().contains(words)
    }
}

/// Writes the whole lines of `held` and takes them out of it.
fn show_lines(held: &mut Vec<u8>, grep: Option<&str>, output: &mut Output) -> Result<(), Error> {
    let end = held.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let end = end.or((LINE_MAX < held.len()).then_some(held.len()));
    let Some(end) = end else { return Ok(()) };
    let whole: Vec<_> = held.drain(..end).collect();
    whole.split_inclusive(|byte| *byte == b'\n').try_for_each(|line| show(line, grep, output))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_in_small_letters_is_found_in_any() {
        assert!(holds("An \u{1b}[31mERROR\u{1b}[0m of it", "error of"));
        assert!(holds("an error", "error") && !holds("an error", "Error"));
        assert!(holds("", ""));
    }
}
