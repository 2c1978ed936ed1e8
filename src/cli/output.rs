//! Where answers and remarks go, and what they may look like.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
};

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

use super::{
    Color,
    error::{Error, Exit},
    steps::Style as Progress,
    table,
};
use crate::doctor::Outcome;
use crate::model::code as explained;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HELP: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BUSY: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const QUIET: Style = Style::new().dimmed();

/// Standard output and standard error.
#[derive(Debug)]
pub(super) struct Output {
    out: AutoStream<io::Stdout>,
    err: AutoStream<io::Stderr>,
    is_terminal: bool,
    has_unicode: bool,
    has_hints: bool,
    progress: Progress,
}

impl Output {
    pub(super) fn new(color: Color, is_plain: bool, is_quiet: bool, progress: Progress) -> Self {
        let choice = match color {
            Color::Auto => ColorChoice::Auto,
            Color::Always => ColorChoice::AlwaysAnsi,
            Color::Never => ColorChoice::Never,
        };
        Self {
            out: AutoStream::new(io::stdout(), choice),
            err: AutoStream::new(io::stderr(), choice),
            is_terminal: io::stdout().is_terminal(),
            has_unicode: !is_plain && is_utf8(|name| std::env::var(name).ok()),
            has_hints: !is_quiet && io::stderr().is_terminal(),
            progress: progress.settled(is_quiet),
        }
    }

    /// Whether letters beyond ASCII can be read.
    pub(super) fn has_unicode(&self) -> bool {
        self.has_unicode
    }

    /// How what happens on the way is said.
    pub(super) fn progress(&self) -> Progress {
        self.progress
    }

    /// Says what one may want to do next, to a person who wants to know.
    pub(super) fn hint(&mut self, text: &str) {
        if self.has_hints {
            self.remark(&format!("{HELP}next{HELP:#}: {}", plain(text)));
        }
    }

    /// Whether a person reads along.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Whether the answer may have colours.
    pub(super) fn has_colour(&self) -> bool {
        self.out.current_choice() != ColorChoice::Never
    }

    /// Whether remarks may have colours.
    pub(super) fn has_colour_in_remarks(&self) -> bool {
        self.err.current_choice() != ColorChoice::Never
    }

    /// Writes a line of the answer. Only styles that this program made may be in it.
    pub(super) fn line(&mut self, line: &str) -> Result<(), Error> {
        Ok(writeln!(self.out, "{line}")?)
    }

    /// Writes a table, in the shape that the terminal has room for.
    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) -> Result<(), Error> {
        let columns = self.columns();
        table::fitting(header, rows, columns).iter().try_for_each(|line| self.line(line))
    }

    /// How many letters a line of the terminal has; none where there is no terminal.
    pub(super) fn columns(&self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| 0 < *columns);
        columns.filter(|_| self.is_terminal)
    }

    /// Writes a part of the answer, as it is, and at once.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // The stream below would take out what looks like a colour.
        let mut out = self.out.as_inner();
        out.write_all(bytes)?;
        Ok(out.flush()?)
    }

    /// Says something that is not the answer.
    pub(super) fn remark(&mut self, text: &str) {
        // When nobody hears it, there is nobody to tell that.
        let _ = writeln!(self.err, "{text}");
    }

    /// Says something that somebody should look at.
    pub(super) fn warn(&mut self, text: &str) {
        self.remark(&format!("{WARNING}warning{WARNING:#}: {}", plain(text)));
    }

    /// Says what went wrong.
    pub(super) fn fail(&mut self, error: &Error) -> Exit {
        let Error::Said(said) = error else { return error.exit() };
        let code = said.code.as_ref().map(|code| format!("[{}]", plain(code))).unwrap_or_default();
        let mut text = format!("{ERROR}error{code}{ERROR:#}: {}", plain(&said.what));
        for why in &said.why {
            let _ = write!(text, "\n  {}", plain(why));
        }
        if let Some(fix) = &said.fix {
            let _ = write!(text, "\n{HELP}help{HELP:#}: {}", plain(fix));
        }
        if let Some(code) = said.code.as_deref().filter(|code| explained(code).is_some()) {
            let _ = write!(text, "\n{HELP}see{HELP:#}: berth explain {code}");
        }
        self.remark(&text);
        said.exit
    }
}

impl Output {
    /// What stands before a check.
    pub(super) fn mark(&self, outcome: Outcome) -> String {
        let (style, mark, plain) = match outcome {
            Outcome::Good => (GOOD, "√", "ok"),
            Outcome::Warning => (BUSY, "‼", "!!"),
            Outcome::Error => (BAD, "×", "XX"),
            Outcome::Skipped => (QUIET, "·", "--"),
        };
        let mark = if self.has_unicode { mark } else { plain };
        format!("{style}{mark}{style:#}")
    }
}

/// Whether the locale says that UTF-8 is read: the first of these that is set counts.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let said = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| variable(name).filter(|value| !value.is_empty()));
    said.is_some_and(|value| value.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

/// So many of something, in words.
pub(super) fn several(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// A phase with its colour.
pub(super) fn phase(phase: &str) -> String {
    let style = match phase {
        "Running" => GOOD,
        "Failed" | "Degraded" | "Invalid" => BAD,
        "Paused" | "Suspended" => QUIET,
        _ => BUSY,
    };
    format!("{style}{}{style:#}", plain(phase))
}

/// `text` with everything in it that could steer a terminal written as its code (fault H07).
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == '\t' {
            shown.push(' ');
        } else if is_steering(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Several lines, each of them plain.
pub(super) fn plain_lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

/// A log's line for a terminal: colours stay, everything else that could steer it does not.
pub(super) fn log_line(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if let Some(length) = colour_length(rest) {
            shown.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c == '\t' || !is_steering(c) {
            shown.push(c);
        } else if !(c == '\r' && rest.is_empty()) {
            shown.extend(c.escape_default());
        }
    }
    if shown.contains('\u{1b}') {
        shown.push_str("\u{1b}[0m");
    }
    shown
}

/// How long the colour sequence is that `text` begins with.
fn colour_length(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("\u{1b}[")?;
    let end = inner.find(|c: char| !(c.is_ascii_digit() || c == ';' || c == ':'))?;
    inner[end..].starts_with('m').then_some("\u{1b}[".len() + end + 1)
}

fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault H07: what comes from outside must not steer the terminal.
    #[test]
    fn escapes_from_outside_are_shown_and_not_obeyed() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{202e}"), "a\\u{1b}[2Jb c\\u{202e}");
        assert_eq!(log_line("\u{1b}[31mred\u{1b}[2J"), "\u{1b}[31mred\\u{1b}[2J\u{1b}[0m");
        assert_eq!(log_line("\u{1b}]0;title\u{7}x\r"), "\\u{1b}]0;title\\u{7}x");
        assert_eq!(log_line("50 %\r100 %"), "50 %\\r100 %");
    }
}
