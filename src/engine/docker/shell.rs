//! Shell lines: when a line may be given to `exec`, so that the app itself gets the stop signal.
//!
//! `/bin/sh -c 'python app.py'` may leave the shell between the engine and the app, and a shell does
//! not hand signals on: the app would be killed after the grace period. `exec` makes the app take
//! the shell's place. That is right only for a single simple command: `exec a && b` would never run
//! `b`. A line with `;`, `&`, `|`, parentheses, a newline, an assignment or a shell word in front
//! is run as it is; its author can write `exec` before its last command.

/// Words that the shell itself runs, or that begin something longer than a simple command.
const SHELL_WORDS: &[&str] = &[
    "!", ".", ":", "[[", "alias", "bg", "break", "case", "cd", "command", "continue", "eval",
    "exec", "exit", "export", "fg", "for", "function", "getopts", "hash", "if", "jobs", "local",
    "read", "readonly", "return", "select", "set", "shift", "source", "time", "times", "trap",
    "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while", "{",
];

/// The line as the shell is given it.
pub(super) fn line_for_shell(line: &str) -> String {
    let line = line.trim();
    if is_simple_command(line) { format!("exec {line}") } else { line.to_owned() }
}

fn is_simple_command(line: &str) -> bool {
    let first = line.split_whitespace().next().unwrap_or_default();
    let is_assignment = first.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    });
    !first.is_empty()
        && !first.starts_with(['#', '<', '>', '-'])
        && !is_assignment
        && !SHELL_WORDS.contains(&first)
        && !has_bare_operator(line)
}

/// Whether an operator stands outside of quotes, or the quotes do not match.
fn has_bare_operator(line: &str) -> bool {
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let is_single = quote == Some('\'');
        match c {
            // Within single quotes only their end means anything.
            _ if is_single && c != '\'' => {}
            '\\' => {
                chars.next();
            }
            '\'' | '"' if quote == Some(c) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(c),
            // A substitution may hold anything, quotes among it: such lines are left alone.
            '`' => return true,
            '$' if chars.as_str().starts_with('(') => return true,
            ';' | '&' | '|' | '(' | ')' | '\n' if quote.is_none() => return true,
            _ => {}
        }
    }
    quote.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simple_command_takes_the_shells_place() {
        for line in [
            "python app.py",
            "uvicorn main:app --host 0.0.0.0 --port $PORT",
            "python -c \"import time; time.sleep(1)\"",
            "sh -c 'a && b'",
            "./run.sh > /tmp/log",
            "env A=1 python app.py",
        ] {
            assert_eq!(line_for_shell(line), format!("exec {line}"));
        }
    }

    #[test]
    fn a_line_that_is_more_than_one_command_is_run_as_it_is() {
        for line in [
            "cd src && python app.py",
            "a; b",
            "a | b",
            "a &",
            "(a)",
            "A=1 python app.py",
            "cd /app",
            "exec python app.py",
            "if true",
            "echo $(a; b)",
            "echo \"$(a)\"",
            "echo `a`",
            "echo 'open",
            "a\nb",
            "",
        ] {
            assert_eq!(line_for_shell(line), line);
        }
    }
}
