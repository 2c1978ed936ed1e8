//! Where things end in a text: lines, values in brackets, comments.

use std::ops::Range;

/// The start of the line that `at` is on.
pub(super) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

/// The end of the line that `at` is on, its line feed included.
pub(super) fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end + 1)
}

/// How a text ends its lines.
pub(super) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Where the value of a field ends that begins at `from`: the end of its last line of content. The
/// blank lines and comments below belong to what follows, unless they are within a text in block
/// form, whose lines are indented by more than `column`.
pub(super) fn content_end(text: &str, from: usize, limit: usize, block: Option<usize>) -> usize {
    let first = line_end(text, from).min(limit);
    let mut end = limit;
    while first < end {
        let start = line_start(text, end - 1);
        let line = text[start..end].trim_end();
        let body = line.trim_start();
        let is_comment =
            body.starts_with('#') && block.is_none_or(|column| line.len() - body.len() <= column);
        if !body.is_empty() && !is_comment {
            return end;
        }
        end = start;
    }
    first
}

/// The first byte of a value behind the colon at `colon`, on the same line or on one below.
pub(super) fn value_start(text: &str, colon: usize, limit: usize) -> Option<usize> {
    let mut at = colon + 1;
    while at < limit {
        let rest = &text[at..limit];
        let body = rest.trim_start();
        at += rest.len() - body.len();
        if !body.starts_with('#') {
            return (at < limit).then_some(at);
        }
        at = line_end(text, at).min(limit);
    }
    None
}

/// The colon that follows a key.
pub(super) fn colon(text: &str, key_end: usize) -> Option<usize> {
    let rest = &text[key_end..];
    let body = rest.trim_start_matches([' ', '\t']);
    body.starts_with(':').then_some(text.len() - body.len())
}

/// The end of what is in brackets from `open` on, the closing one included.
pub(super) fn flow_end(text: &str, open: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, open);
    // Whether a quote would begin a text here, rather than be a part of one.
    let mut is_fresh = true;
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => (depth, is_fresh) = (depth + 1, true),
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
                is_fresh = false;
            }
            quote @ (b'"' | b'\'') if is_fresh => {
                at = quote_end(bytes, at, quote)?;
                is_fresh = false;
                continue;
            }
            b'#' if at == 0 || bytes[at - 1].is_ascii_whitespace() => {
                at = line_end(text, at);
                continue;
            }
            b',' | b':' => is_fresh = true,
            byte if byte.is_ascii_whitespace() => {}
            _ => is_fresh = false,
        }
        at += 1;
    }
    None
}

/// The byte behind a text in quotes that begins at `at`.
fn quote_end(bytes: &[u8], at: usize, quote: u8) -> Option<usize> {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote => {
                if quote == b'\'' && bytes.get(at + 1) == Some(&quote) {
                    at += 2;
                } else {
                    return Some(at + 1);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// The spaces before `at`, when nothing else is before it on its line but dashes of lists; with
/// whether there are such.
pub(super) fn indentation(text: &str, at: usize) -> Option<(usize, bool)> {
    let before = &text[line_start(text, at)..at];
    let is_plain = before.bytes().all(|byte| byte == b' ' || byte == b'-');
    is_plain.then(|| (before.len(), before.contains('-')))
}

/// The dash of the element of a list whose first content is at `at`, on the same line.
pub(super) fn dash(text: &str, at: usize) -> Option<usize> {
    let start = line_start(text, at);
    let before = &text[start..at];
    let dash = before.trim_end_matches(' ');
    let has_room = dash.len() < before.len();
    (has_room && dash.ends_with('-')).then(|| start + dash.len() - 1)
}

/// Where the content of a document ends: before the mark that ends it.
pub(super) fn document_end(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end();
        if body == "..." || body.starts_with("... ") {
            return at;
        }
        at += line.len();
    }
    text.len()
}

/// The lines from `from` on, up to and without `to`.
pub(super) fn lines(from: usize, to: usize) -> Range<usize> {
    from..to.max(from)
}

/// Whether there is a comment: outside the document, or as far as its lines tell, in it.
pub(super) fn has_comments(text: &str, document: &str) -> bool {
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    let trails = |line: &str| {
        let quotes = |part: &str| part.matches(['"', '\'']).count();
        line.match_indices(" #").any(|(at, _)| quotes(&line[..at]).is_multiple_of(2))
    };
    text.lines().any(is_comment) || document.lines().any(trails)
}
