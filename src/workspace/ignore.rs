//! What a `.dockerignore` file leaves out of a build context, as Docker's own tools read it.
//!
//! Patterns begin at the context's root. The last pattern that matches a path or a folder above
//! it decides, so `!` brings back even what lies in a folder that was left out. Where the
//! documentation and Docker's code differ, this follows the code, with two exceptions: `\` makes
//! the next character an ordinary one also when that is a letter, and an exception with wildcards
//! reaches into ignored folders, as it does in `BuildKit` but not in the classic builder.

use super::context::Error;

/// The patterns of a `.dockerignore` file.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// What becomes of a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is left out.
    pub is_ignored: bool,
    /// Which patterns matched it or a folder above it.
    matched: Vec<bool>,
}

/// One line.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    /// Whether it brings back what it matches.
    is_exception: bool,
    matcher: Matcher,
}

/// How a path is compared. The simple forms are not only faster: Docker gives `**x` at the
/// beginning and `x**` at the end another meaning than in a pattern with other wildcards.
#[derive(Clone, Debug)]
enum Matcher {
    /// The path itself.
    Exact,
    /// `x**`: what begins with this.
    Prefix(String),
    /// `**x`: what ends with this.
    Suffix(String),
    /// Anything else.
    Tokens(Vec<Token>),
}

/// A part of a pattern.
#[derive(Clone, Debug)]
enum Token {
    /// This character.
    Char(char),
    /// `?`: any character but `/`.
    One,
    /// `*`: any characters but `/`.
    Star,
    /// `**` within a pattern: nothing, or anything up to a `/`.
    Folders,
    /// The same after its first character: it has to end with a `/` now.
    FoldersOn,
    /// `**` at the end: anything.
    Rest,
    /// `[a-z]`, or `[^a-z]` when negated.
    Class { is_negated: bool, ranges: Vec<(char, char)> },
}

impl Ignore {
    /// Reads a `.dockerignore` file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let bad = || Error::BadPattern { line: at + 1, text: line.trim().to_owned() };
            patterns.push(Pattern::parse(line.trim()).ok_or_else(bad)?);
        }
        Ok(Self { patterns })
    }

    /// Whether a path is left out. It is relative to the root, without `.` and `..`.
    pub fn is_ignored(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let mut verdict = Verdict::default();
        for part in ends.filter_map(|at| path.get(..at)) {
            verdict = self.judge(part, &verdict);
        }
        verdict.is_ignored
    }

    /// What becomes of a path, given what became of the folder that it is in. For something in
    /// the root that is the default.
    pub fn judge(&self, path: &str, above: &Verdict) -> Verdict {
        let mut verdict = Verdict { is_ignored: false, matched: vec![false; self.patterns.len()] };
        for ((at, pattern), matched) in self.patterns.iter().enumerate().zip(&mut verdict.matched) {
            // A pattern that would change nothing is not tried, here and for what lies below.
            *matched = above.matched.get(at) == Some(&true)
                || (pattern.is_exception == verdict.is_ignored && pattern.matches(path));
            if *matched {
                verdict.is_ignored = !pattern.is_exception;
            }
        }
        verdict
    }

    /// Whether anything below a folder that is left out may be brought back.
    pub fn may_bring_back_below(&self, folder: &str) -> bool {
        let folder = format!("{folder}/");
        self.patterns.iter().filter(|pattern| pattern.is_exception).any(|pattern| {
            let wild = pattern.text.find(['*', '?', '[', '\\']);
            let fixed = wild.and_then(|at| pattern.text.get(..at)).unwrap_or(&pattern.text);
            fixed.starts_with(&folder) || (wild.is_some() && folder.starts_with(fixed))
        })
    }
}

impl Pattern {
    /// None for a pattern that Docker refuses.
    fn parse(line: &str) -> Option<Self> {
        let (is_exception, text) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if text.is_empty() {
            return None;
        }
        let is_root = text.starts_with('/');
        let text = clean(text);
        if text.is_empty() && is_root && is_exception {
            return None;
        }
        let matcher = Matcher::parse(&text)?;
        Some(Self { text, is_exception, matcher })
    }

    fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact => path == self.text,
            Matcher::Prefix(prefix) => path.starts_with(prefix),
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Matcher::Tokens(tokens) => matches(tokens, path),
        }
    }
}

impl Matcher {
    fn parse(text: &str) -> Option<Self> {
        let is_special = |part: &str| part.contains(['*', '?', '[', ']', '\\']);
        if !is_special(text) {
            return Some(Self::Exact);
        }
        if let Some(suffix) = text.strip_prefix("**").filter(|rest| !is_special(rest)) {
            return Some(Self::Suffix(suffix.to_owned()));
        }
        if let Some(prefix) = text.strip_suffix("**").filter(|rest| !is_special(rest)) {
            return Some(Self::Prefix(prefix.to_owned()));
        }
        tokens(text).map(Self::Tokens)
    }
}

/// The parts of a pattern; none when it is malformed.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '*' if rest.next_if_eq(&'*').is_some() => {
                // `**/` is the same as `**`.
                let _slash = rest.next_if_eq(&'/');
                match rest.peek() {
                    None => tokens.push(Token::Rest),
                    Some(_) => tokens.extend([Token::Folders, Token::FoldersOn]),
                }
            }
            '*' => tokens.push(Token::Star),
            '?' => tokens.push(Token::One),
            '[' => tokens.push(class(&mut rest)?),
            '\\' => tokens.push(Token::Char(rest.next()?)),
            other => tokens.push(Token::Char(other)),
        }
    }
    Some(tokens)
}

/// The part after `[`, up to and with `]`.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let is_negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let first = match rest.next()? {
            ']' if ranges.is_empty() => return None,
            ']' => return Some(Token::Class { is_negated, ranges }),
            '-' => return None,
            '\\' => rest.next()?,
            other => other,
        };
        let mut last = first;
        if rest.next_if_eq(&'-').is_some() {
            last = match rest.next()? {
                ']' | '-' => return None,
                '\\' => rest.next()?,
                other => other,
            };
        }
        if last < first {
            return None;
        }
        ranges.push((first, last));
    }
}

/// Follows all ways through the pattern at once, so no pattern takes exponential time; when none is
/// left, the rest of the path is not looked at.
fn matches(tokens: &[Token], path: &str) -> bool {
    let mut now = vec![false; tokens.len() + 1];
    let mut after = now.clone();
    enter(tokens, 0, &mut now);
    for next in path.chars() {
        after.fill(false);
        for (at, token) in tokens.iter().enumerate() {
            if now.get(at) == Some(&true) {
                step(tokens, at, token, next, &mut after);
            }
        }
        std::mem::swap(&mut now, &mut after);
        if !now.contains(&true) {
            return false;
        }
    }
    now.last() == Some(&true)
}

/// Marks where the pattern goes on after `token` took a character.
fn step(tokens: &[Token], at: usize, token: &Token, next: char, after: &mut [bool]) {
    match token {
        Token::Char(expected) if *expected == next => enter(tokens, at + 1, after),
        Token::One if next != '/' => enter(tokens, at + 1, after),
        Token::Star if next != '/' => enter(tokens, at, after),
        Token::Rest => enter(tokens, at, after),
        Token::FoldersOn => {
            if let Some(stay) = after.get_mut(at) {
                *stay = true;
            }
            if next == '/' {
                enter(tokens, at + 1, after);
            }
        }
        Token::Class { is_negated, ranges } => {
            let is_in = ranges.iter().any(|(first, last)| (*first..=*last).contains(&next));
            if is_in != *is_negated {
                enter(tokens, at + 1, after);
            }
        }
        Token::Folders | Token::Char(_) | Token::One | Token::Star => {}
    }
}

/// Marks a place in the pattern, and all places that are reached from there without a character.
fn enter(tokens: &[Token], at: usize, marks: &mut [bool]) {
    let Some(mark) = marks.get_mut(at) else { return };
    if std::mem::replace(mark, true) {
        return;
    }
    match tokens.get(at) {
        Some(Token::Star | Token::Rest) => enter(tokens, at + 1, marks),
        Some(Token::Folders) => {
            if let Some(mark) = marks.get_mut(at + 1) {
                *mark = true;
            }
            enter(tokens, at + 2, marks);
        }
        _ => {}
    }
}

/// The shortest way to write a path: no empty parts, no `.`, no `x/..`, no `/` at either end.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            // Above the root of an absolute path is the root.
            ".." if path.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}
