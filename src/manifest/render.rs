//! A diagnostic as people read it: the line, a mark below it, and what to write instead.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::diagnostic::{Diagnostic, Severity, passwords};

/// The longest line that is shown.
const LINE_MAX: usize = 2000;

/// Shows a diagnostic with the line of `source_text` that it is about. `source_text` is the whole
/// file; when it is another one by now, the line is left out.
pub fn render(diagnostic: &Diagnostic, source_text: &str, colour: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code);
    let excerpt =
        diagnostic.span.as_ref().and_then(|span| Excerpt::of(source_text, span, diagnostic));
    let place: Element<'_> = match &excerpt {
        Some(excerpt) => Snippet::source(excerpt.line.as_str())
            .line_start(diagnostic.line as usize)
            .path(diagnostic.file.as_str())
            .annotation(AnnotationKind::Primary.span(excerpt.span.clone()))
            .into(),
        None if diagnostic.line == 0 => Origin::path(diagnostic.file.as_str()).into(),
        None => Origin::path(diagnostic.file.as_str())
            .line(diagnostic.line as usize)
            .char_column(diagnostic.column as usize)
            .into(),
    };
    let mut group: Group<'_> = title.element(place);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.render(&[group])
}

/// The one line that is shown.
struct Excerpt {
    line: String,
    span: Range<usize>,
}

impl Excerpt {
    fn of(text: &str, span: &Range<usize>, diagnostic: &Diagnostic) -> Option<Self> {
        let start = text.get(..span.start)?.rfind('\n').map_or(0, |end| end + 1);
        // A byte order mark has no place in a terminal.
        let mark =
            if start == 0 && text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let start = start + mark;
        let end = text.get(start..)?.find(['\n', '\r']).map_or(text.len(), |end| start + end);
        let is_inside = start <= span.start && span.end <= end && text.is_char_boundary(span.end);
        let count = text[..start].matches('\n').count() + 1;
        if !is_inside || count != diagnostic.line as usize || LINE_MAX < end - start {
            return None;
        }
        let mut line = text.as_bytes()[start..end].to_vec();
        let inside = |range: &Range<usize>| {
            range.start.saturating_sub(start).min(line.len())
                ..range.end.saturating_sub(start).min(line.len())
        };
        let hidden: Vec<_> = diagnostic.hidden.iter().map(inside).collect();
        for range in hidden.into_iter().chain(passwords(&text[start..end])) {
            line[range].fill(b'*');
        }
        let line = String::from_utf8(line).ok()?;
        Some(Self { line, span: span.start - start..span.end - start })
    }
}
