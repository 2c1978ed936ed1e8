//! Builds, by the classic builder: a tar stream in, a log out, and the proof afterwards.
//!
//! Dropping the future closes the connection, and the engine gives the build up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};

use super::super::labels::{image_labels, is_built_from};
use super::super::{BuildRequest, Error, LogSink};
use super::Docker;
use super::errors::is_false_end;

/// How many of the last lines are kept to say why a build failed.
const TAIL_LINES: usize = 80;
/// The longest line of a log; the rest of it is cut.
const LINE_CHARS_MAX: usize = 2000;
/// The longest reason of a failure.
const REASON_CHARS_MAX: usize = 600;

impl Docker {
    /// Builds an image and answers its id.
    pub(super) async fn build_image(&self, request: BuildRequest<'_>) -> Result<String, Error> {
        let BuildRequest { recipe, instance, dockerfile, context, log } = request;
        let options = BuildImageOptions {
            dockerfile,
            t: Some(recipe.tag()),
            rm: true,
            forcerm: true,
            nocache: 0 < recipe.rebuilds,
            buildargs: Some(recipe.args.clone().into_iter().collect()),
            // Ours come last in the engine too: a LABEL of the Dockerfile can't change them (D21).
            labels: Some(image_labels(instance, recipe).into_iter().collect()),
            target: recipe.target.clone().unwrap_or_default(),
            version: BuilderVersion::BuilderV1,
            ..Default::default()
        };
        let watch = Arc::new(Watch::default());
        let body = bollard::body_try_stream(watched(context, Arc::clone(&watch)));
        let items = self.client().build_image(options, None, Some(body));
        let mut journal = Journal::new(log);
        let work = self.follow_build(items, &watch, &mut journal);
        let limit = self.settings().build_limit;
        let outcome = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(Error::Work(format!("the build did not end within {} min", limit.as_secs() / 60)))
        });
        journal.flush();
        if let Some(problem) = watch.problem() {
            return Err(Error::Work(format!("the build context can't be read: {problem}")));
        }
        outcome.map_err(|error| match error {
            Error::Work(message) => Error::Work(journal.reason(&message)),
            other => other,
        })?;
        match self.image(&recipe.tag()).await? {
            Some((id, labels)) if is_built_from(&labels, instance, recipe) => Ok(id),
            _ => Err(Error::Work(journal.reason("the build ended without an image"))),
        }
    }

    async fn follow_build(
        &self,
        items: impl Stream<Item = Result<BuildInfo, bollard::errors::Error>>,
        watch: &Watch,
        journal: &mut Journal,
    ) -> Result<(), Error> {
        let idle = self.settings().build_idle_limit;
        let mut items = std::pin::pin!(items);
        loop {
            match watch.next(idle, items.as_mut()).await? {
                None => return Ok(()),
                Some(Ok(item)) => journal.take(&item),
                Some(Err(error)) if is_false_end(&error) => return Ok(()),
                Some(Err(error)) => {
                    return Err(match self.failure("build", error) {
                        Error::NotFound(message)
                        | Error::Refused { message, .. }
                        | Error::Failed { message, .. } => Error::Work(message),
                        other => other,
                    });
                }
            }
        }
    }
}

/// Sees whether anything moves, in either direction, and whether the context could be read.
#[derive(Default)]
struct Watch {
    sent: AtomicU64,
    problem: Mutex<Option<String>>,
}

impl Watch {
    fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next item; an error when nothing was sent or received for `idle` (fault B03).
    async fn next<S: Stream + Unpin>(
        &self,
        idle: Duration,
        mut items: S,
    ) -> Result<Option<S::Item>, Error> {
        loop {
            let before = self.sent.load(Ordering::Relaxed);
            if let Ok(item) = tokio::time::timeout(idle, items.next()).await {
                return Ok(item);
            }
            if self.sent.load(Ordering::Relaxed) == before {
                let minutes = idle.as_secs() / 60;
                return Err(Error::Work(format!("the build was silent for {minutes} min")));
            }
        }
    }
}

fn watched(
    context: BoxStream<'static, Result<Bytes, std::io::Error>>,
    watch: Arc<Watch>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    context.inspect(move |piece| match piece {
        Ok(_) => {
            watch.sent.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => {
            let mut problem = watch.problem.lock().unwrap_or_else(PoisonError::into_inner);
            *problem = Some(error.to_string());
        }
    })
}

/// The log of a build: whole lines to the sink, the last of them kept.
struct Journal {
    sink: LogSink,
    open: String,
    tail: VecDeque<String>,
}

impl Journal {
    fn new(sink: LogSink) -> Self {
        Self { sink, open: String::new(), tail: VecDeque::new() }
    }

    fn take(&mut self, item: &BuildInfo) {
        if let Some(text) = &item.stream {
            self.push(text);
        }
        // The base image is being pulled: its steps are told, its bytes are not.
        let is_counting = item.progress_detail.as_ref().is_some_and(|at| at.current.is_some());
        if let Some(status) = item.status.as_ref().filter(|_| !is_counting) {
            let id = item.id.as_ref().map(|id| format!("{id}: ")).unwrap_or_default();
            self.push(&format!("{id}{status}\n"));
        }
    }

    fn push(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            self.open.push_str(piece);
            if piece.ends_with('\n') || LINE_CHARS_MAX * 4 < self.open.len() {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let line = plain_line(&std::mem::take(&mut self.open));
        if line.is_empty() {
            return;
        }
        if TAIL_LINES <= self.tail.len() {
            self.tail.pop_front();
        }
        self.tail.push_back(line.clone());
        // A full log loses lines rather than holding the build up.
        let _ = self.sink.try_send(line);
    }

    /// Why the build failed, in one sentence: what the tool said, then what the engine said.
    fn reason(&self, message: &str) -> String {
        let mut said: Vec<&str> =
            self.tail.iter().map(String::as_str).filter(|line| is_complaint(line)).collect();
        if said.is_empty() {
            let lines = self.tail.iter().rev().map(String::as_str);
            said.extend(lines.filter(|line| !is_frame(line)).take(1));
        }
        said.dedup();
        let from = said.len().saturating_sub(2);
        let mut parts: Vec<_> = said.split_off(from);
        let message = message.trim();
        parts.retain(|part| !message.contains(part));
        parts.push(message);
        parts.join("; ").chars().take(REASON_CHARS_MAX).collect()
    }
}

/// A line in which a tool complains.
fn is_complaint(line: &str) -> bool {
    let lower = line.trim_start().to_ascii_lowercase();
    lower.starts_with("error") || lower.starts_with("fatal") || lower.starts_with("e: ")
}

/// A line that the builder writes around the tools' output.
fn is_frame(line: &str) -> bool {
    line.starts_with("Step ")
        || line.starts_with(" --->")
        || line.starts_with("Removing intermediate container")
}

/// A line without colours and without what a carriage return has overwritten.
fn plain_line(text: &str) -> String {
    let text = text.trim_end_matches(['\n', '\r']);
    let text = text.rsplit('\r').next().unwrap_or_default();
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // `ESC [ … letter`
            let _ = chars.by_ref().find(char::is_ascii_alphabetic);
        } else if !c.is_control() || c == '\t' {
            plain.push(c);
        }
    }
    plain.chars().take(LINE_CHARS_MAX).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(lines: &[&str]) -> (Journal, tokio::sync::mpsc::Receiver<String>) {
        let (sink, lines_out) = tokio::sync::mpsc::channel(100);
        let mut journal = Journal::new(sink);
        for line in lines {
            journal.push(line);
        }
        (journal, lines_out)
    }

    #[test]
    fn a_failed_build_says_what_the_tool_said() {
        let (journal, _lines) = journal(&[
            "Step 2/3 : RUN pip install -r requirements.txt\n",
            " ---> Running in 0123456789ab\n",
            "\u{1b}[91mERROR: Could not find a version that satisfies the requirement nosuch\n\u{1b}[0m",
            "\u{1b}[91mERROR: No matching distribution found for nosuch\n\u{1b}[0m",
        ]);
        assert_eq!(
            journal.reason("The command '/bin/sh -c pip' returned a non-zero code: 1"),
            "ERROR: Could not find a version that satisfies the requirement nosuch; \
             ERROR: No matching distribution found for nosuch; \
             The command '/bin/sh -c pip' returned a non-zero code: 1"
        );
    }

    #[test]
    fn without_a_complaint_the_last_line_is_the_reason() {
        let (journal, _lines) = journal(&["Step 1/1 : RUN x\n", "sh: x: not found\n"]);
        assert_eq!(journal.reason("code: 127"), "sh: x: not found; code: 127");
    }

    #[test]
    fn log_lines_are_whole_and_plain() {
        let (mut journal, mut lines) = journal(&["a\nb", "c\n 10%\r 20%\n", "\u{1b}[1mbold"]);
        journal.flush();
        let seen: Vec<_> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
        assert_eq!(seen, ["a", "bc", " 20%", "bold"]);
    }

    /// Fault B03: a build whose log is not read is not held up.
    #[test]
    fn a_full_log_loses_lines_and_keeps_the_tail() {
        let (sink, _lines) = tokio::sync::mpsc::channel(1);
        let mut journal = Journal::new(sink);
        journal.push("a\nb\nc\n");
        assert_eq!(journal.tail, ["a", "b", "c"]);
    }

    /// Fault B03: silence ends a build, a context that still flows does not.
    #[tokio::test(start_paused = true)]
    async fn silence_is_measured_in_both_directions() {
        let watch = Arc::new(Watch::default());
        let feeder = Arc::clone(&watch);
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(45)).await;
                feeder.sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = tokio::time::Instant::now();
        let never = futures_util::stream::pending::<()>();
        let outcome = watch.next(Duration::from_mins(1), never).await;
        assert!(matches!(outcome, Err(Error::Work(message)) if message.contains("silent")));
        assert!(Duration::from_mins(3) <= start.elapsed());
    }
}
