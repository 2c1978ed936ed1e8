//! One file: its apps, and everything there is to say about it.

use std::{ops::Range, sync::Arc};

use crate::model::{App, AppName, Origin, SecretSpec};

use super::{
    diagnostic::{Diagnostic, Severity, printable},
    document::{self, Document, Flaw},
    lower,
    node::Node,
    place::{self, Place},
    problem::{Help, Path, Problem, Problems, Trail},
    suggest, v1,
};

/// The most diagnostics that a document gets.
const DIAGNOSTICS_MAX: usize = 100;

/// What one file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReading {
    /// The apps without mistakes, in the order of the file.
    pub apps: Vec<Arc<App>>,
    /// Everything there is to say, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// Every `metadata.name` that was seen, also in documents with mistakes.
    pub names: Vec<String>,
    /// Every app that the file names, also in documents with mistakes.
    pub mentions: Vec<Mention>,
    /// Every secret that the file describes; none stands for one with mistakes.
    pub secrets: Vec<(String, Option<Arc<SecretSpec>>)>,
}

/// A document that names an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The app.
    pub name: AppName,
    /// Where the document is.
    pub origin: Origin,
    /// Whether the document has mistakes.
    pub is_bad: bool,
}

/// Reads one file. `path` is only used to say where things are.
pub fn read_file(path: &str, bytes: &[u8]) -> FileReading {
    let mut reading = FileReading::default();
    let file = printable(path);
    let text = match document::decode(bytes) {
        Ok(text) => text,
        Err(flaw) => {
            let span = (flaw.line != 0).then(|| offset(bytes, flaw.line, flaw.column)).flatten();
            reading.diagnostics.push(of_flaw(&flaw, &file, None, span));
            return reading;
        }
    };
    let documents = document::split(text);
    for document in documents.iter().take(document::DOCUMENTS_MAX) {
        // Spans count from the start of the file, where a byte order mark may be.
        let start = bytes.len() - text.len() + document.start;
        Reader { file: &file, path, document, start, reading: &mut reading }.read();
    }
    if let Some(document) = documents.get(document::DOCUMENTS_MAX) {
        let message = format!("at most {} documents of a file are read", document::DOCUMENTS_MAX);
        let flaw = Flaw {
            code: "manifest.limit",
            message,
            help: Help::Text("use more files".to_owned()),
            line: document.line,
            column: 1,
        };
        reading.diagnostics.push(of_flaw(&flaw, &file, None, None));
    }
    reading
}

/// The byte of a line and column in a file that may not be UTF-8.
fn offset(bytes: &[u8], line: usize, column: usize) -> Option<Range<usize>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.trim_start_matches('\u{feff}');
    let start = bytes.len() - text.len();
    line_span(text, line, column).map(|span| span.start + start..span.end + start)
}

/// The character at a line and column of `text`; the end of the line when there is none.
fn line_span(text: &str, line: usize, column: usize) -> Option<Range<usize>> {
    let line_start = match line {
        0 => return None,
        1 => 0,
        line => text.match_indices('\n').nth(line - 2)?.0 + 1,
    };
    let rest = text[line_start..].lines().next().unwrap_or("");
    let mut chars = rest.char_indices().skip(column.saturating_sub(1));
    let (at, length) = chars.next().map_or((rest.len(), 0), |(at, c)| (at, c.len_utf8()));
    Some(line_start + at..line_start + at + length)
}

fn of_flaw(
    flaw: &Flaw,
    file: &str,
    app: Option<AppName>,
    span: Option<Range<usize>>,
) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: flaw.code,
        path: String::new(),
        message: printable(&flaw.message),
        help: match &flaw.help {
            Help::Text(text) => Some(text.clone()),
            Help::None | Help::Quote => None,
        },
        file: file.to_owned(),
        line: u32::try_from(flaw.line).unwrap_or(u32::MAX),
        column: u32::try_from(flaw.column).unwrap_or(u32::MAX),
        span,
        hidden: Vec::new(),
        app,
    }
}

/// Reads one document.
struct Reader<'a> {
    file: &'a str,
    path: &'a str,
    document: &'a Document<'a>,
    start: usize,
    reading: &'a mut FileReading,
}

impl Reader<'_> {
    fn read(mut self) {
        let (node, flaw) = document::parse(self.document.text);
        let name = match &node {
            Some(node) => name_in(node),
            None => guess_name(self.document.text),
        };
        self.reading.names.extend(name.clone());
        let before = self.reading.diagnostics.len();
        if let Some(flaw) = &flaw {
            self.report_flaw(flaw, name.as_deref());
        }
        if node.as_ref().map_or_else(|| says_secret(self.document.text), is_secret) {
            return self.read_secret(node.as_ref(), name.as_deref(), before);
        }
        let app = node.as_ref().and_then(|node| self.interpret(node, name.as_deref()));
        let is_bad = self.reading.diagnostics[before..].iter().any(Diagnostic::is_error);
        let is_app = node.as_ref().is_none_or(|node| !is_other_kind(node));
        if let Some(name) = app_name(name.as_deref())
            && is_app
        {
            self.reading.mentions.push(Mention { name, origin: self.origin(), is_bad });
        }
        self.reading.apps.extend(app.filter(|_| !is_bad).map(Arc::new));
    }

    fn origin(&self) -> Origin {
        let line = u32::try_from(self.document.content_line).unwrap_or(u32::MAX);
        Origin { file: self.path.to_owned(), line }
    }

    fn interpret(&mut self, node: &Node, name: Option<&str>) -> Option<App> {
        let mut problems = Problems::default();
        let app = envelope(node, &mut problems).then(|| {
            let (manifest, unknown) = node.read::<v1::Manifest>(&mut problems);
            for path in unknown {
                problems.push(suggest::unknown_field(path));
            }
            manifest.and_then(|manifest| lower::app(&manifest, self.origin(), &mut problems))
        });
        let problems = problems.finish();
        if !problems.is_empty() {
            self.report(problems, name);
        }
        app.flatten()
    }

    /// Reads a document of kind `Secret`. `before` is how many diagnostics there were before it.
    fn read_secret(&mut self, node: Option<&Node>, name: Option<&str>, before: usize) {
        let mut problems = Problems::default();
        let read = node.filter(|node| is_of_our_version(node, &mut problems)).and_then(|node| {
            let (manifest, unknown) = node.read::<v1::SecretManifest>(&mut problems);
            for path in unknown {
                problems.push(lower::unknown_field_of_secret(path));
            }
            manifest.and_then(|manifest| lower::secret(&manifest, self.origin(), &mut problems))
        });
        let problems = problems.finish();
        if !problems.is_empty() {
            self.report(problems, None);
        }
        let is_bad = self.reading.diagnostics[before..].iter().any(Diagnostic::is_error);
        let name = read.as_ref().map(|secret| secret.name.as_str()).or(name);
        if let Some(name) = name.map(ToOwned::to_owned) {
            self.reading.secrets.push((name, read.filter(|_| !is_bad).map(Arc::new)));
        }
    }

    fn report(&mut self, mut problems: Vec<Problem>, name: Option<&str>) {
        let text = self.document.text;
        let place = Place::of(text);
        let secrets = place.as_ref().map(|place| place.secrets(text)).unwrap_or_default();
        let count = problems.len();
        problems.truncate(DIAGNOSTICS_MAX);
        let mut found: Vec<_> = problems
            .into_iter()
            .map(|mut problem| {
                suggest::explain(&mut problem);
                let span = place.as_ref().and_then(|place| place.find(&problem.path, problem.part));
                self.locate(&problem, span.as_ref(), &secrets, name)
            })
            .collect();
        found.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        self.reading.diagnostics.extend(found);
        if DIAGNOSTICS_MAX < count {
            let message = "there are more problems in this document";
            let problem = Problem::error("manifest.too-many-problems", Path::default(), message);
            let more = self.locate(&problem, None, &[], name);
            self.reading.diagnostics.push(more);
        }
    }

    fn locate(
        &self,
        problem: &Problem,
        span: Option<&Range<usize>>,
        secrets: &[Range<usize>],
        name: Option<&str>,
    ) -> Diagnostic {
        let text = self.document.text;
        let at = span.map_or(0, |span| span.start);
        let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let line_end = text[at..].find(['\n', '\r']).map_or(text.len(), |end| at + end);
        let raw = span.and_then(|span| text.get(span.clone())).unwrap_or("");
        let is_secret = span.is_some_and(|span| secrets.contains(span));
        let help = match &problem.help {
            Help::None => None,
            Help::Text(text) => Some(printable(text)),
            Help::Quote if is_secret || raw.is_empty() || raw.contains('\n') => {
                Some("write it in quotes".to_owned())
            }
            Help::Quote => Some(printable(&format!("write it in quotes: \"{raw}\""))),
        };
        let clip = |range: &Range<usize>| range.start.max(line_start)..range.end.min(line_end);
        let shift = |range: Range<usize>| range.start + self.start..range.end + self.start;
        let hidden = secrets.iter().map(clip).filter(|range| range.start < range.end);
        let line = match span {
            Some(_) => self.document.line + text[..at].matches('\n').count(),
            None => self.document.content_line,
        };
        Diagnostic {
            severity: problem.severity,
            code: problem.code,
            path: printable(&problem.path.to_string()),
            message: printable(&problem.message),
            help,
            file: self.file.to_owned(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(text[line_start..at].chars().count() + 1).unwrap_or(u32::MAX),
            span: span.map(|span| shift(clip(span))),
            hidden: hidden.map(shift).collect(),
            app: app_name(name),
        }
    }

    fn report_flaw(&mut self, flaw: &Flaw, name: Option<&str>) {
        let text = self.document.text;
        let span = line_span(text, flaw.line, flaw.column)
            .map(|span| span.start + self.start..span.end + self.start);
        let mut diagnostic = of_flaw(flaw, self.file, app_name(name), span);
        diagnostic.hidden = hidden_by_text(text, flaw.line)
            .map(|range| range.start + self.start..range.end + self.start)
            .into_iter()
            .collect();
        diagnostic.line = match flaw.line {
            0 => u32::try_from(self.document.content_line).unwrap_or(u32::MAX),
            line => u32::try_from(self.document.line + line - 1).unwrap_or(u32::MAX),
        };
        self.reading.diagnostics.push(diagnostic);
    }
}

/// Checks what a document says it is. Answers whether the rest can be read by today's rules.
fn envelope(node: &Node, problems: &mut Problems) -> bool {
    let root = Trail::ROOT;
    if !matches!(node, Node::Map(_)) {
        problems
            .error("manifest.not-a-mapping", &root, "a manifest is a mapping of fields")
            .help("start with `apiVersion: berth/v1`");
        return false;
    }
    if !is_of_our_version(node, problems) {
        return false;
    }
    match node.get("kind").and_then(Node::text) {
        Some(kind) if kind != v1::APP => unknown_kind(kind, problems),
        _ => true,
    }
}

fn is_of_our_version(node: &Node, problems: &mut Problems) -> bool {
    let Some(version) = node.get("apiVersion").and_then(Node::text) else { return true };
    if version == v1::VERSION {
        return true;
    }
    let message = format!("`{version}` is not a version that this Berth knows");
    problems
        .error("manifest.unknown-version", &Trail::ROOT.key("apiVersion"), message)
        .help(format!("it knows `{}`", v1::VERSION));
    false
}

/// Whether the document says that it is about a secret.
fn is_secret(node: &Node) -> bool {
    node.get("kind").and_then(Node::text) == Some(v1::SECRET)
}

fn unknown_kind(kind: &str, problems: &mut Problems) -> bool {
    let trail = Trail::ROOT.key("kind");
    if v1::LATER_KINDS.contains(&kind) {
        let message = format!("the kind `{kind}` is not yet supported");
        problems.error("manifest.not-yet-supported", &trail, message);
        return false;
    }
    let kinds = || [v1::APP, v1::SECRET].into_iter().chain(v1::LATER_KINDS);
    let nearest = suggest::nearest(kind, kinds());
    let problem = problems.error("manifest.unknown-kind", &trail, format!("unknown kind `{kind}`"));
    match nearest {
        Some(name) => problem.help(format!("did you mean `{name}`?")),
        None => problem.help(format!("the kinds are {}", kinds().collect::<Vec<_>>().join(", "))),
    };
    nearest == Some(v1::APP)
}

/// Whether the document is of a known kind that is not an app: it does not name one.
fn is_other_kind(node: &Node) -> bool {
    node.get("kind").and_then(Node::text).is_some_and(|kind| v1::LATER_KINDS.contains(&kind))
}

fn app_name(name: Option<&str>) -> Option<AppName> {
    name.and_then(|name| AppName::new(name).ok())
}

fn name_in(node: &Node) -> Option<String> {
    Some(node.get("metadata")?.get("name")?.text()?.to_owned())
}

/// The name in a document that can't be parsed, as far as its lines tell.
fn guess_name(text: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("metadata:"));
    let first = lines.next()?;
    let below = lines.take_while(|line| line.starts_with([' ', '\t', '#']) || line.is_empty());
    for line in std::iter::once(first).chain(below) {
        for (at, _) in line.match_indices("name:") {
            if !line[..at].ends_with([' ', '{', '\t', ',']) {
                continue;
            }
            let value = line[at + "name:".len()..].trim_start_matches([' ', '"', '\'']);
            let end = value.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let value = &value[..end.unwrap_or(value.len())];
            return AppName::new(value).is_ok().then(|| value.to_owned());
        }
    }
    None
}

/// Whether a text that can't be parsed says that it is about a secret.
fn says_secret(text: &str) -> bool {
    let kind = |line: &str| line.split_once("kind:").map(|(_, kind)| kind.trim().to_owned());
    text.lines().filter_map(kind).any(|kind| kind.trim_matches(['"', '\'']).starts_with(v1::SECRET))
}

/// What of a line must not be shown when the text around it can't be parsed: all after the first
/// name, when the line is part of an environment or sounds like a secret (fault Y10).
fn hidden_by_text(text: &str, line: usize) -> Option<Range<usize>> {
    let at = line_span(text, line, 1)?.start;
    let body = text[at..].lines().next()?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let key = |line: &str| line.split(':').next().unwrap_or("").trim().to_owned();
    if says_secret(text) {
        return Some(at..at + body.len());
    }
    let mut is_inside = place::is_sensitive(body) || place::holds_values(&key(body));
    let mut outer = indent(body);
    for above in text[..at].lines().rev().filter(|line| !line.trim().is_empty()) {
        if indent(above) < outer {
            outer = indent(above);
            is_inside |= place::holds_values(&key(above));
        }
    }
    let is_flow = body.split(['{', ',']).any(|part| place::holds_values(&key(part)));
    if !is_inside && !is_flow {
        return None;
    }
    let from = body.find(':').map_or(indent(body), |colon| colon + 1);
    Some(at + from..at + body.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_a_document_that_cannot_be_parsed() {
        assert_eq!(
            guess_name("kind: App\nmetadata:\n  # x\n  name: chat # y\nx: [").as_deref(),
            Some("chat")
        );
        assert_eq!(guess_name("metadata: {labels: {}, name: \"a-b\"}\n]").as_deref(), Some("a-b"));
        assert_eq!(guess_name("metadata:\nspec:\n  name: x\n"), None);
        assert_eq!(guess_name("metadata: {hostname: x}\n"), None);
    }

    /// Fault Y10.
    #[test]
    fn a_syntax_error_in_the_environment_hides_the_line() {
        let text = "spec:\n  env:\n    TOKEN: \"abc\n    X: y\n  run: z\n";
        let hidden = |line| hidden_by_text(text, line).map(|range| &text[range]);
        assert_eq!(hidden(3), Some(" \"abc"));
        assert_eq!(hidden(4), Some(" y"));
        assert_eq!(hidden(5), None);
        assert!(hidden_by_text("spec: {env: {A: \"x}}", 1).is_some());
    }
}
