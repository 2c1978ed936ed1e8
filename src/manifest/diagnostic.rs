//! What there is to say about a manifest, and where.

use std::{fmt::Write as _, ops::Range};

use crate::model::AppName;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The document is not used.
    Error,
    /// The document is used all the same.
    Warning,
}

/// One remark about a manifest. Its texts carry no control characters and no values of the
/// environment that could be secrets (fault Y10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What kind of remark it is, as a stable slug like `manifest.unknown-field`.
    pub code: &'static str,
    /// The field, like `spec.ports[0].name`; empty when it is about the document or the file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead, when that is known.
    pub help: Option<String>,
    /// The file, relative to the manifest folder.
    pub file: String,
    /// The line, counted from 1; 0 when it is about the whole file.
    pub line: u32,
    /// The column in characters, counted from 1; 0 when it is about the whole file.
    pub column: u32,
    /// The bytes of the file that are meant, all on one line.
    pub span: Option<Range<usize>>,
    /// Bytes of the file near the span that must not be shown.
    pub hidden: Vec<Range<usize>>,
    /// The app that the document names, when its name can be told.
    pub app: Option<AppName>,
}

impl Diagnostic {
    /// An error about a whole file.
    pub fn of_file(file: &str, code: &'static str, message: &str) -> Self {
        Self {
            severity: Severity::Error,
            code,
            path: String::new(),
            message: printable(message),
            help: None,
            file: printable(file),
            line: 0,
            column: 0,
            span: None,
            hidden: Vec::new(),
            app: None,
        }
    }

    /// Whether it makes its document unusable.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The remark in one line: `file:line:column: message`.
    pub fn summary(&self) -> String {
        let Self { file, line, column, message, .. } = self;
        if *line == 0 {
            format!("{file}: {message}")
        } else {
            format!("{file}:{line}:{column}: {message}")
        }
    }
}

/// `text` with every character that could steer a terminal or turn the reading direction written
/// as its code, and with passwords in URLs hidden.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_steering(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    for range in passwords(&shown).into_iter().rev() {
        shown.replace_range(range, "***");
    }
    shown
}

fn is_steering(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Where in `text` URLs carry `user:password@`, or a token as the user: the ranges of the secrets.
pub(super) fn passwords(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let length = text[start..]
            .find(|c: char| c.is_whitespace() || "/\"'`,}]".contains(c))
            .unwrap_or(text.len() - start);
        let authority = &text[start..start + length];
        if let Some((user, _)) = authority.rsplit_once('@') {
            // By http a name alone may be a token.
            let is_web = text[..start].ends_with("https://") || text[..start].ends_with("http://");
            match user.find(':') {
                Some(colon) => found.push(start + colon + 1..start + user.len()),
                None if is_web => found.push(start..start + user.len()),
                None => {}
            }
        }
        from = start;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault Y10: a manifest's text must not steer the terminal that shows it.
    #[test]
    fn control_characters_are_written_as_codes() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\n"), "a\\u{1b}[2Jb\\u{202e}c\\u{a}");
        assert_eq!(printable("grün 日本"), "grün 日本");
    }

    /// Fault Y10: a password in a URL is not repeated.
    #[test]
    fn passwords_in_urls_are_not_repeated() {
        assert_eq!(printable("`https://me:s3cret@h/x` no"), "`https://me:***@h/x` no");
        assert_eq!(printable("https://t0ken@h:80/x"), "https://***@h:80/x");
        assert_eq!(printable("ssh://git@h:22/x"), "ssh://git@h:22/x");
        assert_eq!(printable("a://b:c@d e://f:gé@h"), "a://b:***@d e://f:***@h");
    }
}
