//! How far something is: one line on a terminal that is drawn again, elsewhere a line for each tenth.

use std::{
    io::{self, Write as _},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::time::Instant;

use crate::cli::{
    output::plain,
    steps::{self, Style},
};
use crate::model::format_bytes;

/// The line is drawn at most so often.
const PAUSE: Duration = Duration::from_millis(100);
/// A line of its own is written at most so often: what is over sooner is said by its end.
const LINES: Duration = Duration::from_secs(2);
/// How wide the bar is.
const WIDTH: u64 = 24;

/// How far something is.
#[derive(Debug)]
pub(in crate::cli) struct Progress {
    what: String,
    size: u64,
    had: u64,
    done: AtomicU64,
    begun: Instant,
    style: Style,
    /// When it was drawn last, and how many tenths were said.
    drawn: Mutex<(Instant, u64)>,
}

impl Progress {
    /// Nothing has come yet but what was `had` before.
    pub(in crate::cli) fn new(style: Style, what: &str, size: u64, had: u64) -> Self {
        let begun = Instant::now();
        let drawn = Mutex::new((begun, tenths(had, size)));
        Self { what: plain(what), size, had, done: AtomicU64::new(had), begun, style, drawn }
    }

    /// More has come.
    pub(in crate::cli) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.draw(false);
    }

    /// What came is of no use.
    pub(in crate::cli) fn take_back(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// It is over: the line is left.
    pub(in crate::cli) fn end(&self) {
        self.draw(true);
    }

    fn draw(&self, is_last: bool) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = tenths(self.done(), self.size);
        match self.style {
            Style::Tty if PAUSE <= drawn.0.elapsed() || is_last => {
                let end = if is_last { "\n" } else { "" };
                let line = self.line();
                let _ = write!(io::stderr(), "\r\u{1b}[K{line}{end}");
            }
            Style::Plain if drawn.1 < now && LINES <= drawn.0.elapsed() => {
                let _ = writeln!(io::stderr(), "{} {}", steps::now(), self.line());
            }
            Style::Json if drawn.1 < now => {
                let (done, size) = (self.done(), self.size);
                let said =
                    json!({ "at": steps::now(), "what": self.what, "done": done, "size": size });
                let _ = writeln!(io::stderr(), "{said}");
            }
            _ => return,
        }
        *drawn = (Instant::now(), now);
    }

    fn line(&self) -> String {
        line(&self.what, self.done(), (self.had, self.size), self.begun.elapsed())
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

/// How many tenths of it are there.
fn tenths(done: u64, size: u64) -> u64 {
    done.saturating_mul(10).checked_div(size).unwrap_or(10)
}

fn line(what: &str, done: u64, (had, size): (u64, u64), took: Duration) -> String {
    let full = (done * WIDTH).checked_div(size).unwrap_or(WIDTH).min(WIDTH);
    let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
    let percent = (done * 100).checked_div(size).unwrap_or(100).min(100);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = done.saturating_sub(had).saturating_mul(1000) / millis;
    let (done, size, rate) = (format_bytes(done), format_bytes(size), format_bytes(rate));
    format!("{what} [{bar}] {percent:>3} % {done} of {size}, {rate}/s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_fast_that_goes() {
        let second = Duration::from_secs(1);
        assert_eq!(
            line("m", 3 << 20, (1 << 20, 6 << 20), second),
            "m [############............]  50 % 3Mi of 6Mi, 2Mi/s"
        );
        assert!(line("m", 0, (0, 0), second).starts_with("m [########################] 100 %"));
    }
}
