//! How a command ends: what is said, and the exit code.

use std::{error::Error as _, io, process::ExitCode};

use serde_json::Value;

use crate::model::code as explained;
use crate::server::client;

/// How a command ended, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// 0: done; no differences; ready.
    Done,
    /// 1: what was asked about is not so, or an operation failed.
    NotSo,
    /// 2: wrong use, or the manifests have mistakes.
    Trouble,
    /// 3: there is no such app.
    NotFound,
    /// 4: it took too long.
    TimedOut,
    /// 5: the controller or the engine can't be reached.
    Unreachable,
    /// 6: refused.
    Refused,
    /// Somebody ended it.
    Interrupted,
    /// The code of a command that ran elsewhere.
    Theirs(u8),
}

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotSo => 1,
            Self::Trouble => 2,
            Self::NotFound => 3,
            Self::TimedOut => 4,
            Self::Unreachable => 5,
            Self::Refused => 6,
            Self::Interrupted => 130,
            Self::Theirs(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Error {
    /// Something to tell.
    Said(Box<Said>),
    /// Nobody reads what is written any more.
    Pipe,
}

/// What went wrong, why, and what to do.
#[derive(Debug)]
pub(super) struct Said {
    /// The exit code.
    pub(super) exit: Exit,
    /// A slug for it, when there is one.
    pub(super) code: Option<String>,
    /// What, in one line.
    pub(super) what: String,
    /// Why, line by line.
    pub(super) why: Vec<String>,
    /// What to do.
    pub(super) fix: Option<String>,
}

/// Beginnings of codes by which a controller says that itself, or its engine, does not answer. Other
/// codes that come with 503 are its own: it was reached, and can't do what is asked.
const UNREACHED: &[&str] = &["controller.", "engine.", "docker.", "server.stopping"];

impl Error {
    pub(super) fn new(exit: Exit, what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Said(Box::new(Said { exit, code: None, what, why: Vec::new(), fix: None }))
    }

    /// With a code that `berth explain` knows.
    pub(super) fn code(mut self, code: &str) -> Self {
        if let Self::Said(said) = &mut self {
            said.code = Some(code.to_owned());
        }
        self
    }

    /// With other words for what the API calls otherwise.
    pub(super) fn reworded(mut self, theirs: &str, ours: &str) -> Self {
        if let Self::Said(said) = &mut self {
            said.what = said.what.replace(theirs, ours);
        }
        self
    }

    /// With another exit code.
    pub(super) fn with_exit(mut self, exit: Exit) -> Self {
        if let Self::Said(said) = &mut self {
            said.exit = exit;
        }
        self
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Self {
        if let Self::Said(said) = &mut self {
            said.why.push(why.into());
        }
        self
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        if let Self::Said(said) = &mut self {
            said.fix = Some(fix.into());
        }
        self
    }

    /// What went wrong, in one line.
    pub(super) fn what(&self) -> &str {
        match self {
            Self::Said(said) => &said.what,
            Self::Pipe => "nobody reads what is written any more",
        }
    }

    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Said(said) => said.exit,
            Self::Pipe => Exit::Done,
        }
    }

    /// What a server answered instead of what was asked for.
    pub(super) fn of_answer(status: u16, body: &[u8]) -> Self {
        let exit = match status {
            404 => Exit::NotFound,
            401 | 403 | 409 | 412 | 421 | 429 => Exit::Refused,
            400..500 => Exit::Trouble,
            502..505 => Exit::Unreachable,
            _ => Exit::NotSo,
        };
        let Ok(problem) = serde_json::from_slice::<Value>(body) else {
            return Self::new(
                exit,
                format!("the server answered {status}, which is not Berth's way"),
            )
            .fix("check that --server or BERTH_SERVER names a Berth");
        };
        let text = |name: &str| problem.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let what = text("detail").unwrap_or_else(|| format!("the server answered {status}"));
        let mistakes = problem.get("errors").and_then(Value::as_array);
        let why = mistakes.into_iter().flatten().map(mistake).collect();
        let code = text("code");
        // Whoever says why was reached.
        let is_of = |code: &str| UNREACHED.iter().any(|begins| code.starts_with(begins));
        let is_down = code.as_deref().is_none_or(is_of);
        let exit = if exit == Exit::Unreachable && !is_down { Exit::NotSo } else { exit };
        let fix = code.as_deref().and_then(explained).map(|code| code.fix.to_owned());
        Self::Said(Box::new(Said { exit, code, what, why, fix }))
    }
}

fn mistake(mistake: &Value) -> String {
    let text = |name: &str| mistake.get(name).and_then(Value::as_str).unwrap_or_default();
    let line = mistake.get("line").and_then(Value::as_u64).unwrap_or_default();
    let help = mistake.get("help").and_then(Value::as_str);
    let help = help.map(|help| format!(" (help: {help})")).unwrap_or_default();
    format!("{}:{line}: {}: {}{help}", text("file"), text("path"), text("message"))
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        let exit = match error {
            client::Error::Address(_) | client::Error::Request(_) | client::Error::Trust(_) => {
                Exit::Trouble
            }
            _ => Exit::Unreachable,
        };
        let mut said = Self::new(exit, error.to_string());
        let mut cause = error.source();
        while let Some(source) = cause {
            said = said.why(source.to_string());
            cause = source.source();
        }
        match &error {
            client::Error::Unreachable { .. } | client::Error::Unconnected { .. } => {
                said.fix("start it with `berth run`, or name another with --server or BERTH_SERVER")
            }
            client::Error::Tls { advice, .. } => said.fix(advice.clone()),
            _ => said,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::new(Exit::NotSo, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_a_controller_is_not_taken_for_none() {
        let exit = |status, code: &str| {
            let body = format!(r#"{{"code": "{code}", "detail": "x"}}"#);
            Error::of_answer(status, body.as_bytes()).exit()
        };
        assert_eq!(exit(503, "audit.unwritable"), Exit::NotSo);
        assert_eq!(exit(503, "terminal.full"), Exit::NotSo);
        assert_eq!(exit(503, "engine.unreachable"), Exit::Unreachable);
        assert_eq!(exit(503, "controller.busy"), Exit::Unreachable);
        assert_eq!(exit(409, "source.read-only"), Exit::Refused);
        assert_eq!(Error::of_answer(502, b"<html>").exit(), Exit::Unreachable);
    }
}
