//! Changes of a manifest's text that leave everything else as it is: comments, order, quotes and
//! blank lines of what stays the same.
//!
//! # Guarantees
//! - What comes out means exactly what was asked for: it is read again and compared. Where a change
//!   in place does not come out so, the document is written anew, below the comments that begin it.
//! - A text that can't be read, or that holds several documents, is not changed.

mod change;
mod json;
mod scan;
mod write;

use super::{
    document::{self, Document},
    node::Node,
    place::Place,
};
use change::Changes;

pub use json::merge;

/// Why a text is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It has mistakes.
    #[error("the text can't be read, so it can't be changed in place")]
    Unreadable,
    /// It holds none, or several.
    #[error("the text does not hold exactly one document")]
    NotOne,
    /// The document has numbers that JSON does not have.
    #[error("the document holds a number that JSON can't say")]
    NotJson,
    /// The wanted document goes beyond what is read.
    #[error("what is wanted is larger or deeper than a manifest may be")]
    TooMuch,
}

/// A text that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The whole text.
    pub text: String,
    /// Whether the document had to be written anew.
    pub is_anew: bool,
}

/// The document of a text, as JSON.
pub fn read(bytes: &[u8]) -> Result<serde_json::Value, Error> {
    let (_, _, node) = one(bytes)?;
    json::of_node(&node).ok_or(Error::NotJson)
}

/// Whether a text says anything beside its document: a comment.
pub fn has_comments(bytes: &[u8]) -> bool {
    let Ok((text, document, _)) = one(bytes) else { return false };
    scan::has_comments(text, document.text)
}

/// The text, changed so that its document is `wanted`.
pub fn edit(bytes: &[u8], wanted: &serde_json::Value) -> Result<Edited, Error> {
    let (text, document, have) = one(bytes)?;
    let wanted = json::to_node(wanted);
    if is_same(&have, &wanted) {
        let text = String::from_utf8_lossy(bytes).into_owned();
        return Ok(Edited { text, is_anew: false });
    }
    let (head, tail) = (&text[..document.start], &text[document.start + document.text.len()..]);
    let mark = if bytes.starts_with(b"\xef\xbb\xbf") { "\u{feff}" } else { "" };
    let whole = |body: &str| format!("{mark}{head}{body}{tail}");
    let in_place = Place::of(document.text)
        .and_then(|place| Changes::between(document.text, &place, &have, &wanted))
        .map(|body| whole(&body))
        .filter(|text| means(text, &wanted));
    if let Some(text) = in_place {
        return Ok(Edited { text, is_anew: false });
    }
    // What begins an odd text may not be able to begin another one.
    let texts = [document.text, ""].map(|old| whole(&write::anew(old, &wanted)));
    let text = texts.into_iter().find(|text| means(text, &wanted)).ok_or(Error::TooMuch)?;
    Ok(Edited { text, is_anew: true })
}

/// A document as the text of a manifest.
pub fn write(wanted: &serde_json::Value) -> String {
    write::anew("", &json::to_node(wanted))
}

/// A value on one line, as a manifest says it.
pub fn scalar(value: &serde_json::Value) -> String {
    write::flow(&json::to_node(value), write::Style { newline: "\n", is_json: false })
}

fn one(bytes: &[u8]) -> Result<(&str, Document<'_>, Node), Error> {
    let text = document::decode(bytes).map_err(|_| Error::Unreadable)?;
    let [document] = document::split(text)[..] else { return Err(Error::NotOne) };
    match document::parse(document.text) {
        (Some(node), None) => Ok((text, document, node)),
        _ => Err(Error::Unreadable),
    }
}

fn means(text: &str, wanted: &Node) -> bool {
    one(text.as_bytes()).is_ok_and(|(_, _, node)| is_same(&node, wanted))
}

/// Whether two documents mean the same: the order of fields means nothing.
fn is_same(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (Node::Map(one), Node::Map(other)) => {
            let has = |(key, value): &(String, Node)| {
                other.iter().any(|(name, node)| name == key && is_same(value, node))
            };
            one.len() == other.len() && one.iter().all(has)
        }
        (Node::List(one), Node::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_same(a, b))
        }
        (Node::Float(one), Node::Float(other)) => one.to_bits() == other.to_bits(),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests;
