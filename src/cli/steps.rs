//! What happens on the way, said on standard error while one waits.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::ValueEnum;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    document::text,
    output::{Output, plain},
};
use crate::clock::Clock;
use crate::model::format_duration;

/// How it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Style {
    /// `tty` on a terminal, else `plain`.
    Auto,
    /// One line that is drawn again, for a terminal.
    Tty,
    /// A line with its time for each step.
    Plain,
    /// A JSON object for each step, one a line.
    Json,
    /// Not at all.
    Quiet,
}

impl Style {
    /// What it comes to here.
    pub(super) fn settled(self, is_quiet: bool) -> Self {
        match self {
            Self::Auto if is_quiet => Self::Quiet,
            Self::Auto if io::stderr().is_terminal() => Self::Tty,
            Self::Auto => Self::Plain,
            said => said,
        }
    }
}

/// The time, as a line begins with it.
pub(super) fn now() -> String {
    Clock::System.now().to_string()
}

/// How an app stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Step {
    app: String,
    phase: String,
    reason: String,
    message: String,
}

impl Step {
    fn of(app: &Value) -> Self {
        let said = |pointer: &str| plain(text(app, pointer));
        Self {
            app: said("/metadata/name"),
            phase: said("/status/phase"),
            reason: said("/status/reason"),
            message: said("/status/message"),
        }
    }

    fn line(&self) -> String {
        let message = match self.message.as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        format!("app/{} {} ({}){message}", self.app, self.phase, self.reason)
    }
}

/// The steps of an app that is waited for.
pub(super) struct Steps {
    style: Style,
    /// How it stands, and since when that is seen.
    last: Option<(Step, Instant)>,
    is_drawn: bool,
}

impl Steps {
    pub(super) fn new(output: &Output) -> Self {
        Self { style: output.progress(), last: None, is_drawn: false }
    }

    /// Looks at how it stands.
    pub(super) fn see(&mut self, app: &Value, output: &mut Output) {
        let step = Step::of(app);
        let is_news = self.last.as_ref().is_none_or(|(last, _)| *last != step);
        match self.style {
            Style::Plain if is_news => output.remark(&format!("{} {}", now(), step.line())),
            Style::Json if is_news => {
                let Step { app, phase, reason, message } = &step;
                let said = json!({
                    "at": now(), "app": app, "phase": phase, "reason": reason, "message": message,
                });
                output.remark(&said.to_string());
            }
            Style::Tty => {
                // What was so is left on the screen, with how long it was.
                if is_news {
                    self.leave();
                }
                let since = self.last.as_ref().filter(|_| !is_news).map(|(_, since)| *since);
                self.draw(&step, since.map_or(Duration::ZERO, |since| since.elapsed()));
            }
            _ => {}
        }
        if is_news {
            self.last = Some((step, Instant::now()));
        }
    }

    /// It is over: what was drawn is left.
    pub(super) fn end(&mut self) {
        self.leave();
    }

    fn draw(&mut self, step: &Step, took: Duration) {
        let took = format_duration(Duration::from_secs(took.as_secs()));
        let room = usize::from(columns()).saturating_sub(took.len() + 2);
        let line: String = step.line().chars().take(room).collect();
        let _ = write!(io::stderr(), "\r\u{1b}[K{line} {took}");
        self.is_drawn = true;
    }

    fn leave(&mut self) {
        if self.is_drawn {
            let _ = writeln!(io::stderr());
            self.is_drawn = false;
        }
    }
}

/// How wide the terminal is.
fn columns() -> u16 {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    size.map(|size| size.ws_col).filter(|columns| 20 < *columns).unwrap_or(80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_one_line_and_steers_nothing() {
        let app = json!({
            "metadata": {"name": "chat"},
            "status": {"phase": "Installing", "reason": "Building", "message": "a\u{1b}[2J\nb"},
        });
        assert_eq!(Step::of(&app).line(), "app/chat Installing (Building): a\\u{1b}[2J b");
        let bare = json!({"metadata": {"name": "chat"}, "status": {"phase": "Running", "reason": "Healthy"}});
        assert_eq!(Step::of(&bare).line(), "app/chat Running (Healthy)");
    }

    #[test]
    fn quiet_is_no_steps_unless_a_style_is_named() {
        assert_eq!(Style::Auto.settled(true), Style::Quiet);
        assert_eq!(Style::Json.settled(true), Style::Json);
        assert_eq!(Style::Quiet.settled(false), Style::Quiet);
    }
}
