//! Values as text.

use super::scan;
use crate::manifest::{document, node::Node};

/// How a new value is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style<'a> {
    /// How lines end.
    pub(super) newline: &'a str,
    /// Whether texts and keys are written as JSON does.
    pub(super) is_json: bool,
}

/// A whole document in block form, below the comments that begin the old one.
pub(super) fn anew(old: &str, wanted: &Node) -> String {
    let style = Style { newline: scan::newline(old), is_json: false };
    let is_head = |line: &&str| {
        let body = line.trim();
        let is_mark = line.trim_end() == "---" || line.starts_with("--- #");
        body.is_empty() || body.starts_with('#') || is_mark
    };
    let mut text: String = old.split_inclusive('\n').take_while(is_head).collect();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(style.newline);
    }
    match wanted {
        Node::Map(map) if !map.is_empty() => {
            text.push_str(&entries(map, 0, style));
        }
        other => {
            text.push_str(flow(other, style).as_str());
            text.push_str(style.newline);
        }
    }
    let end = scan::document_end(old);
    text.push_str(&old[end..]);
    text
}

/// Fields in block form, each on lines of its own, indented by `column`.
pub(super) fn entries(map: &[(String, Node)], column: usize, style: Style<'_>) -> String {
    let mut text = String::new();
    for (name, value) in map {
        text.push_str(&" ".repeat(column));
        text.push_str(&key(name, style));
        text.push(':');
        text.push_str(&below(value, column, style));
    }
    text
}

/// What follows a colon: a space and the value, or lines below; with the end of the line.
pub(super) fn below(value: &Node, column: usize, style: Style<'_>) -> String {
    let newline = style.newline;
    match value {
        Node::Null => newline.to_owned(),
        Node::Map(map) if !map.is_empty() => {
            format!("{newline}{}", entries(map, column + 2, style))
        }
        Node::List(list) if !list.is_empty() && list.iter().any(is_large) => {
            format!("{newline}{}", items(list, column + 2, style))
        }
        other => format!(" {}{newline}", flow(other, style)),
    }
}

fn is_large(node: &Node) -> bool {
    matches!(node, Node::Map(_) | Node::List(_))
}

/// Elements in block form, each on lines of its own, with their dashes at `column`.
pub(super) fn items(list: &[Node], column: usize, style: Style<'_>) -> String {
    let mut text = String::new();
    for value in list {
        text.push_str(&" ".repeat(column));
        text.push('-');
        text.push_str(&element(value, column, style));
    }
    text
}

/// What follows a dash at `column`.
pub(super) fn element(value: &Node, column: usize, style: Style<'_>) -> String {
    match value {
        Node::Map(map) if !map.is_empty() => {
            let text = entries(map, column + 2, style);
            format!(" {}", text.trim_start_matches(' '))
        }
        other => format!(" {}{}", flow(other, style), style.newline),
    }
}

/// A value on one line.
pub(super) fn flow(value: &Node, style: Style<'_>) -> String {
    match value {
        Node::Null => "null".to_owned(),
        Node::Bool(value) => value.to_string(),
        Node::Int(value) => value.to_string(),
        Node::Float(value) => float(*value),
        Node::Text(text) => self::text(text, style),
        Node::List(list) => {
            let parts: Vec<_> = list.iter().map(|value| flow(value, style)).collect();
            format!("[{}]", parts.join(", "))
        }
        Node::Map(map) => {
            let entry = |(name, value): &(String, Node)| {
                format!("{}: {}", key(name, style), flow(value, style))
            };
            format!("{{{}}}", map.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

fn float(value: f64) -> String {
    if value.is_nan() {
        ".nan".to_owned()
    } else if value.is_infinite() {
        if value < 0.0 { "-.inf" } else { ".inf" }.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// A key, without quotes where it needs none.
pub(super) fn key(name: &str, style: Style<'_>) -> String {
    let is_plain = !style.is_json && !name.contains(' ') && is_plain(name);
    if is_plain { name.to_owned() } else { quoted(name) }
}

/// A text, without quotes where it needs none.
pub(super) fn text(text: &str, style: Style<'_>) -> String {
    if !style.is_json && is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// A text in the quotes of the one that it takes the place of.
pub(super) fn text_like(old: &str, new: &str, style: Style<'_>) -> String {
    let is_printable = !new.is_empty() && new.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    match old.bytes().next() {
        Some(b'"') => quoted(new),
        Some(b'\'') if is_printable => format!("'{}'", new.replace('\'', "''")),
        _ => text(new, style),
    }
}

/// Whether a text means itself without quotes, within brackets too.
fn is_plain(text: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"_./@+-= :()~".contains(&byte);
    let starts = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./(".contains(byte);
    text.bytes().all(is_safe)
        && text.as_bytes().first().is_some_and(starts)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.starts_with("...")
        && matches!(document::parse(text), (Some(Node::Text(read)), None) if read == text)
}

/// A text in double quotes, as JSON writes it; what YAML does not print is escaped, too.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        let code = u32::from(c);
        let is_printable = matches!(code, 0x20..=0x7e | 0xa0..=0xd7ff | 0xe000..=0xfefe | 0xff00..=0xfffd | 0x1_0000..=0x10_ffff)
            && !matches!(code, 0x2028 | 0x2029);
        if is_printable {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}
