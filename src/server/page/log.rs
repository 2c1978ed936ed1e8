//! Logs: read, searched and followed.

use std::convert::Infallible;

use askama::Template;
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::{
    Look, Shell,
    ansi::{Pen, Span},
    app::{self, Head},
    body_of, show,
};
use crate::model::{AppName, Timestamp};
use crate::server::{
    logs::{self, Query},
    problem::Problem,
    request::{Asked, Named},
};

/// How many lines a screen has when nothing is said, and at most.
const LINES: u64 = 500;
const LINES_MAX: usize = 5000;
/// The longest line that is shown whole.
const LINE_MAX: usize = 16 * 1024;

#[derive(Template)]
#[template(path = "logs.html", config = "src/server/templates/askama.toml")]
struct Logs {
    shell: Shell,
    head: Head,
    source: String,
    tail: String,
    since: String,
    search: String,
    log: Shown,
    follow: String,
    download: String,
}

/// A log, as it is shown.
#[derive(Default)]
pub(super) struct Shown {
    pub(super) lines: Vec<Line>,
    /// Why there is none.
    pub(super) problem: Option<String>,
}

/// A line of a log.
pub(super) struct Line {
    /// When, as the engine says it; empty for logs without times.
    pub(super) at: String,
    pub(super) spans: Vec<Span>,
}

impl Line {
    /// What it says.
    pub(super) fn text(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }

    /// The time of the day.
    pub(super) fn clock(&self) -> &str {
        self.at.get(11..19).unwrap_or_default()
    }
}

#[derive(Template)]
#[template(path = "part/line.html", config = "src/server/templates/askama.toml")]
struct One<'a> {
    line: &'a Line,
}

/// The last lines of a log, without waiting long.
pub(super) async fn tail(look: &Look, name: &AppName, source: &str, lines: u64) -> Shown {
    let asked = json!({ "source": source, "tail": lines.to_string() });
    read(look, name, asked, source == "app").await
}

async fn read(look: &Look, name: &AppName, mut asked: Value, has_times: bool) -> Shown {
    /// Longer than an engine that is well takes.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);
    if has_times {
        asked["timestamps"] = json!("true");
    }
    let reading = async {
        let query = serde_json::from_value(asked).map_err(|e| super::unclear(&e.to_string()))?;
        let answer = ask(look, name, query).await?;
        Ok::<_, Problem>(body_of(answer).await)
    };
    match tokio::time::timeout(PATIENCE, reading).await {
        Ok(Ok(text)) => {
            let mut pen = Pen::default();
            let lines: Vec<_> = text.lines().map(|text| line(text, has_times, &mut pen)).collect();
            Shown { lines, problem: None }
        }
        Ok(Err(problem)) => Shown { lines: Vec::new(), problem: Some(problem.detail().to_owned()) },
        Err(_) => {
            let problem = "the engine does not give the log at present".to_owned();
            Shown { lines: Vec::new(), problem: Some(problem) }
        }
    }
}

async fn ask(look: &Look, name: &AppName, query: Query) -> Result<Response, Problem> {
    let (shared, name) = (State(look.shared.clone()), Named(name.clone()));
    logs::logs(shared, name, Asked(query), HeaderMap::new()).await
}

/// A line, with its time taken off when it begins with one.
fn line(text: &str, has_times: bool, pen: &mut Pen) -> Line {
    let (at, text) = match text.split_once(' ') {
        Some((at, rest)) if has_times && Timestamp::parse(at).is_some() => (at, rest),
        _ if has_times && Timestamp::parse(text).is_some() => (text, ""),
        _ => ("", text),
    };
    let end = text.char_indices().map(|(at, _)| at).find(|at| LINE_MAX <= *at);
    let spans = pen.line(&text[..end.unwrap_or(text.len())]);
    Line { at: at.to_owned(), spans }
}

/// What a search keeps of a log.
fn keep(shown: &mut Shown, search: &str) {
    let search = search.to_lowercase();
    shown.lines.retain(|line| search.is_empty() || line.text().to_lowercase().contains(&search));
    let over = shown.lines.len().saturating_sub(LINES_MAX);
    shown.lines.drain(..over);
}

/// `GET /ui/apps/{name}/logs`
pub(in super::super) async fn logs(look: Look, Named(name): Named) -> Response {
    let entry = match app::entry(&look, &name) {
        Ok(entry) => entry,
        Err(problem) => return look.problem(&problem),
    };
    let source =
        look.asked("source").filter(|source| ["build", "previous"].contains(&source.as_str()));
    let source = source.unwrap_or_else(|| "app".to_owned());
    let tail = look.asked("tail").unwrap_or_else(|| LINES.to_string());
    let since = look.asked("since").unwrap_or_default();
    let search = look.asked("q").unwrap_or_default();
    let asked = question(&source, &tail, &since);
    let mut log = read(&look, &name, asked, source != "build").await;
    keep(&mut log, &search);
    let real = if source == "build" { "build" } else { "app" };
    let previous = if source == "previous" { "&previous=true" } else { "" };
    show(&Logs {
        shell: look.shell(format!("{name}: logs"), "apps"),
        head: app::head(&look, &entry, "logs"),
        follow: match source.as_str() {
            "previous" => String::new(),
            source => format!("/ui/apps/{name}/lines?follow=true&source={source}"),
        },
        download: format!("/api/v1/apps/{name}/logs?source={real}&tail=all{previous}"),
        source,
        tail,
        since,
        search,
        log,
    })
}

fn question(source: &str, tail: &str, since: &str) -> Value {
    let mut asked = json!({ "source": if source == "build" { "build" } else { "app" } });
    asked["tail"] = json!(tail);
    if source == "previous" {
        asked["previous"] = json!("true");
    }
    if !since.is_empty() && source != "build" {
        asked["since"] = json!(since);
    }
    asked
}

/// `GET /ui/apps/{name}/lines`: a log as elements of the page, one a line; with `follow`, what comes.
pub(in super::super) async fn lines(look: Look, Named(name): Named) -> Response {
    let source = look.asked("source").unwrap_or_else(|| "app".to_owned());
    let has_times = source != "build";
    let tail = look.asked("tail").unwrap_or_else(|| "0".to_owned());
    let mut asked = question(&source, &tail, &look.asked("since").unwrap_or_default());
    if look.asked("follow").is_some() {
        asked["follow"] = json!("true");
    }
    if has_times {
        asked["timestamps"] = json!("true");
    }
    let answer = async {
        let query = serde_json::from_value(asked).map_err(|e| super::unclear(&e.to_string()))?;
        ask(&look, &name, query).await
    };
    let body = match answer.await {
        Ok(answer) => answer.into_body().into_data_stream(),
        Err(problem) => return problem.into_response(),
    };
    let begun = (body, Vec::new(), Pen::default());
    let parts = stream::unfold(begun, move |(mut body, mut rest, mut pen)| async move {
        let part = body.next().await?.ok()?;
        rest.extend_from_slice(&part);
        let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // A line without an end is cut rather than kept for ever (fault H14).
        let end = if end == 0 && LINE_MAX * 4 < rest.len() { rest.len() } else { end };
        let whole: Vec<u8> = rest.drain(..end).collect();
        let text = String::from_utf8_lossy(&whole);
        let html = text.lines().map(|text| element(&line(text, has_times, &mut pen)));
        let html: String = html.collect();
        Some((Ok::<_, Infallible>(Bytes::from(html)), (body, rest, pen)))
    });
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    // The head goes out at once: an app may say nothing for long.
    let begin = stream::once(async { Ok(Bytes::from_static(b"\n")) });
    (kind, Body::from_stream(begin.chain(parts))).into_response()
}

/// A line as the page has it, and the end of it.
fn element(line: &Line) -> String {
    One { line }.render().map(|html| html.trim().replace('\n', " ") + "\n").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_off_and_texts_are_texts() {
        let mut pen = Pen::default();
        let one = line("2025-12-01T00:00:01.123456789Z <b>x</b>", true, &mut pen);
        assert_eq!((one.clock(), one.text().as_str()), ("00:00:01", "<b>x</b>"));
        let html = element(&one);
        assert!(
            !html.contains("<b>") && html.ends_with('\n') && html.lines().count() == 1,
            "{html}"
        );
        let build = line("2025-12-01T00:00:01Z x", false, &mut pen);
        assert_eq!((build.clock(), build.text().as_str()), ("", "2025-12-01T00:00:01Z x"));
        assert_eq!(line(&"é".repeat(LINE_MAX), false, &mut pen).text().len(), LINE_MAX);
    }

    #[test]
    fn a_search_keeps_what_holds_it() {
        let mut pen = Pen::default();
        let lines =
            ["One", "two", "\u{1b}[31mo\u{1b}[0mne"].map(|text| line(text, false, &mut pen));
        let mut shown = Shown { lines: lines.into(), problem: None };
        keep(&mut shown, "ONE");
        assert_eq!(shown.lines.len(), 2);
    }
}
