//! Bytes to documents: the only place that knows the YAML reader.
//!
//! The text is cut into documents before it is parsed, at the marks `---` and `...`, which YAML
//! allows nowhere else at the start of a line. So a syntax error stays within its document.
//! Limits are far below the reader's own: a manifest is small, and Berth must survive any file
//! (faults Y01, W16, W17).

use std::{fmt, marker::PhantomData};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{
    Error,
    options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy},
};

use super::{node::Node, problem::Help};

/// The largest file that is read.
pub(super) const BYTES_MAX: usize = 256 * 1024;
/// The most documents of a file that are read.
pub(super) const DOCUMENTS_MAX: usize = 64;
/// The most values of a document.
const NODES_MAX: usize = 10_000;
/// The deepest nesting.
const DEPTH_MAX: usize = 32;

/// A mistake in the text itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) help: Help,
    /// Line and column within the text, counted from 1; zeros when it is about all of it.
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Flaw {
    fn new(code: &'static str, message: impl Into<String>, (line, column): (usize, usize)) -> Self {
        Self { code, message: message.into(), help: Help::None, line, column }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Help::Text(help.into());
        self
    }
}

/// The text of a file, without a byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Flaw> {
    const ENCODING: &str = "manifest.encoding";
    if BYTES_MAX < bytes.len() {
        let message = format!("the file has {} bytes, at most {BYTES_MAX} are read", bytes.len());
        return Err(Flaw::new("manifest.too-large", message, (0, 0)));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let flaw = Flaw::new(ENCODING, "the file is not UTF-8 but UTF-16", (1, 1));
        return Err(flaw.help("save it as UTF-8"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let at = position(bytes, error.valid_up_to());
        Flaw::new(ENCODING, "the file is not UTF-8 from here on", at).help("save it as UTF-8")
    })?;
    let bad = bytes.iter().enumerate().find(|(at, byte)| match byte {
        b'\t' | b'\n' => false,
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        byte => **byte < b' ' || **byte == 0x7f,
    });
    match bad {
        Some((at, 0)) => Err(Flaw::new(
            ENCODING,
            "the file contains a NUL byte: it is not a text, or not a whole one",
            position(bytes, at),
        )),
        Some((at, b'\r')) => {
            let flaw = Flaw::new(ENCODING, "a carriage return alone", position(bytes, at));
            Err(flaw.help("end lines with a line feed"))
        }
        Some((at, byte)) => Err(Flaw::new(
            ENCODING,
            format!("the control character 0x{byte:02x} is not allowed"),
            position(bytes, at),
        )),
        None => Ok(text),
    }
}

/// Line and column of the byte `at`.
fn position(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at];
    let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let line = before.split(|byte| *byte == b'\n').count();
    (line, String::from_utf8_lossy(&before[line_start..]).chars().count() + 1)
}

/// One document of a file, as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Document<'a> {
    /// Its text, with the mark that opens it.
    pub(super) text: &'a str,
    /// Where its text begins within the file's text.
    pub(super) start: usize,
    /// The line of its first character, counted from 1.
    pub(super) line: usize,
    /// The line of its first content, counted from 1.
    pub(super) content_line: usize,
}

/// Cuts a text into its documents. Those without content are left out.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let mut open = Document { text: "", start: 0, line: 1, content_line: 0 };
    let mut close = |open: &Document<'_>, end: usize| {
        if open.content_line != 0 {
            documents.push(Document { text: &text[open.start..end], ..*open });
        }
    };
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let body = line.trim_end();
        let (opens, ends) = (mark(body, "---"), mark(body, "..."));
        if opens.is_some() {
            close(&open, at);
            open = Document { text: "", start: at, line: number + 1, content_line: 0 };
        }
        let content = opens.or(ends.map(|_| "")).unwrap_or(body).trim_start();
        if open.content_line == 0 && !content.is_empty() && !content.starts_with('#') {
            open.content_line = number + 1;
        }
        at += line.len();
        if ends.is_some() {
            close(&open, at);
            open = Document { text: "", start: at, line: number + 2, content_line: 0 };
        }
    }
    close(&open, at);
    documents
}

/// What follows `mark`, when the line starts with it.
fn mark<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(mark)?;
    (rest.is_empty() || rest.starts_with([' ', '\t'])).then_some(rest)
}

/// Parses one document. With a mistake that leaves the rest readable (a key that is there twice),
/// the rest comes with it.
pub(super) fn parse(text: &str) -> (Option<Node>, Option<Flaw>) {
    if let Some(line) = text.lines().find(|line| !line.trim().is_empty())
        && line.starts_with('%')
    {
        let at = text.lines().position(|other| other == line).unwrap_or(0) + 1;
        let flaw = Flaw::new("manifest.syntax", "YAML directives are not supported", (at, 1));
        return (None, Some(flaw.help("remove this line")));
    }
    match parse_as(text, DuplicateKeyPolicy::Error) {
        Ok(node) => (Some(node), None),
        Err(error) => {
            let flaw = flaw(text, &error);
            let rest = (flaw.code == "manifest.duplicate-key")
                .then(|| parse_as(text, DuplicateKeyPolicy::FirstWins).ok())
                .flatten();
            (rest, Some(flaw))
        }
    }
}

/// Parses one document that [`parse`] could read, into something that knows positions.
pub(super) fn parse_again<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    parse_as(text, DuplicateKeyPolicy::FirstWins).ok()
}

fn parse_as<T: for<'de> Deserialize<'de>>(
    text: &str,
    duplicates: DuplicateKeyPolicy,
) -> Result<T, Error> {
    let options = serde_yaml::options! {
        duplicate_keys: duplicates,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
        emit_comments: false,
        budget: serde_yaml::budget! {
            max_documents: 1,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_anchors: 0,
            max_aliases: 0,
        },
    };
    serde_yaml::from_str_with_options(text, options)
}

/// Our words for what the YAML reader says. Its own words never repeat a value.
fn flaw(text: &str, error: &Error) -> Flaw {
    let error = error.without_snippet();
    let place = error.location().map_or((0, 0), |at| {
        (usize::try_from(at.line()).unwrap_or(0), usize::try_from(at.column()).unwrap_or(0))
    });
    let said = message(error);
    if let Some(tab) = tab_indent(text, place.0) {
        return Flaw::new("manifest.tab", "a tab can't indent YAML", tab)
            .help("indent with spaces");
    }
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or("?");
            Flaw::new("manifest.duplicate-key", format!("the key `{key}` is there twice"), place)
                .help("keep one of them")
        }
        Error::MergeKeyNotAllowed { .. } => {
            Flaw::new("manifest.alias", "merge keys (`<<`) are not supported", place)
                .help("write the fields out")
        }
        Error::UnknownAnchor { .. } => alias(place),
        Error::Budget { .. } if said.contains("Anchors") || said.contains("Aliases") => {
            alias(place)
        }
        Error::Budget { .. } => limit(place),
        _ if said.contains("limit exceeded") => limit(place),
        _ if said.starts_with("unsupported tag") => {
            Flaw::new("manifest.syntax", "YAML tags are not supported", place)
                .help("remove the word that starts with `!`")
        }
        _ if said.starts_with("expected string scalar") => {
            Flaw::new("manifest.syntax", "a key must be a plain text", place)
        }
        _ => {
            let flaw = Flaw::new("manifest.syntax", format!("not valid YAML: {said}"), place);
            if said.contains("mapping values") || said.contains("':'") {
                flaw.help(
                    "a text with `: ` in it needs quotes; else look at brackets and indentation",
                )
            } else {
                flaw
            }
        }
    }
}

fn alias(place: (usize, usize)) -> Flaw {
    Flaw::new("manifest.alias", "anchors (`&`) and aliases (`*`) are not supported", place)
        .help("write the value out, or put it in quotes if it is meant as a text")
}

fn limit(place: (usize, usize)) -> Flaw {
    let message = format!(
        "the document is too large or too deep: at most {NODES_MAX} values, {DEPTH_MAX} levels deep"
    );
    Flaw::new("manifest.limit", message, place)
}

/// What the reader says, without its place.
fn message(error: &Error) -> String {
    let said = error.to_string();
    match said.rfind(" at line ") {
        Some(end) => said[..end].to_owned(),
        None => said,
    }
}

/// The first tab in an indentation, at `line` or right before it.
fn tab_indent(text: &str, line: usize) -> Option<(usize, usize)> {
    let mut lines = text.lines().enumerate().take(line).skip(line.saturating_sub(2));
    lines.find_map(|(at, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        indent.find('\t').map(|tab| (at + 1, tab + 1))
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree(PhantomData::<Self>))
    }
}

/// A value of a tree: what both a [`Node`] and a place are made of.
pub(crate) trait Branch: Sized + for<'de> Deserialize<'de> {
    /// How a key is read.
    type Key: for<'de> Deserialize<'de>;
    /// How a value below is read.
    type Child: for<'de> Deserialize<'de>;

    /// Not a container.
    fn leaf(leaf: Node) -> Self;
    /// A list.
    fn list(list: Vec<Self::Child>) -> Self;
    /// A mapping.
    fn map(map: Vec<(Self::Key, Self::Child)>) -> Self;
}

impl Branch for Node {
    type Key = Option<String>;
    type Child = Self;

    fn leaf(leaf: Node) -> Self {
        leaf
    }

    fn list(list: Vec<Self>) -> Self {
        Self::List(list)
    }

    fn map(map: Vec<(Option<String>, Self)>) -> Self {
        let named = |(key, value): (Option<String>, Self)| {
            (key.unwrap_or_else(|| "null".to_owned()), value)
        };
        Self::Map(map.into_iter().map(named).collect())
    }
}

/// Builds a tree of any kind.
pub(crate) struct Tree<B>(pub(crate) PhantomData<B>);

impl<'de, B: Branch> Visitor<'de> for Tree<B> {
    type Value = B;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<B, E> {
        Ok(B::leaf(Node::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<B, E> {
        Ok(B::leaf(Node::Int(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<B, E> {
        #[expect(clippy::cast_precision_loss, reason = "beyond any number that a manifest needs")]
        let large = || Node::Float(value as f64);
        Ok(B::leaf(i64::try_from(value).map_or_else(|_| large(), Node::Int)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<B, E> {
        Ok(B::leaf(Node::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<B, E> {
        Ok(B::leaf(Node::Text(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<B, E> {
        Ok(B::leaf(Node::Text(value)))
    }

    fn visit_unit<E>(self) -> Result<B, E> {
        Ok(B::leaf(Node::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<B, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = access.next_element()? {
            list.push(value);
        }
        Ok(B::list(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<B, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = access.next_entry()? {
            map.push(entry);
        }
        Ok(B::map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(bytes: &[u8]) -> (&'static str, usize, usize) {
        let flaw = decode(bytes).unwrap_err();
        (flaw.code, flaw.line, flaw.column)
    }

    /// Fault W17.
    #[test]
    fn text_that_is_not_utf_8_is_refused_with_its_place() {
        assert_eq!(decode(b"\xef\xbb\xbfa: 1\r\n"), Ok("a: 1\r\n"));
        assert_eq!(code("a: ä\nb: \u{0}".as_bytes()), ("manifest.encoding", 2, 4));
        assert_eq!(code(b"a: \xe4\n"), ("manifest.encoding", 1, 4));
        assert_eq!(code(b"\xff\xfea\0"), ("manifest.encoding", 1, 1));
        assert_eq!(code("ä\u{1b}[2J".as_bytes()), ("manifest.encoding", 1, 2));
        assert_eq!(code(b"a: 1\rb: 2"), ("manifest.encoding", 1, 5));
        assert_eq!(code(&vec![b' '; BYTES_MAX + 1]), ("manifest.too-large", 0, 0));
    }

    /// Fault Y06.
    #[test]
    fn documents_without_content_are_left_out() {
        let text = "# one\n---\n---\na: 1\n...\n# no\n--- # c\n\n--- {b: 2}\n---x: 1\n";
        let found: Vec<_> =
            split(text).iter().map(|d| (d.text, d.start, d.line, d.content_line)).collect();
        assert_eq!(found, [("---\na: 1\n...\n", 10, 3, 4), ("--- {b: 2}\n---x: 1\n", 37, 9, 9)]);
        assert!(split("").is_empty());
    }

    /// Fault Y03: only `true` and `false` are booleans, and only YAML 1.2 numbers are numbers.
    #[test]
    fn words_of_older_yaml_stay_texts() {
        for text in ["yes", "NO", "on", "off", "1:30", "2026-01-01", "y"] {
            assert_eq!(parse(text), (Some(Node::Text(text.to_owned())), None), "{text}");
        }
        assert_eq!(parse("true"), (Some(Node::Bool(true)), None));
        assert!(matches!(parse("0755").0, Some(Node::Float(_))));
    }

    /// Fault Y04.
    #[test]
    fn a_key_that_is_there_twice_leaves_the_rest_readable() {
        let (node, flaw) = parse("a: 1\na: 2\n");
        assert_eq!(node, Some(Node::Map(vec![("a".to_owned(), Node::Int(1))])));
        assert_eq!(flaw.map(|f| (f.code, f.line)), Some(("manifest.duplicate-key", 2)));
    }
}
