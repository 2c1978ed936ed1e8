//! What a message says: placeholders in braces, and nothing more.

use std::collections::BTreeMap;

/// What may stand in braces in the line of a change.
pub const OF_CHANGE: &[&str] =
    &["app", "condition", "state", "reason", "message", "since", "url", "instance"];
/// What may stand in braces in the title of a message of several changes.
pub const OF_GROUP: &[&str] = &["count", "instance"];
/// The longest text that is sent, in characters.
const TEXT_MAX: usize = 4000;

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// Reads `{name}`; `{{` and `}}` are braces.
    pub fn parse(text: &str, known: &[&str]) -> Result<Self, String> {
        let (mut parts, mut open) = (Vec::new(), String::new());
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' | '}' if chars.peek() == Some(&c) => {
                    chars.next();
                    open.push(c);
                }
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(c) => name.push(c),
                            None => return Err(format!("`{{{name}` has no `}}`")),
                        }
                    }
                    if !known.contains(&name.as_str()) {
                        let all = known.iter().map(|name| format!("{{{name}}}"));
                        let all = all.collect::<Vec<_>>().join(", ");
                        return Err(format!("`{{{name}}}` is not known: there are {all}"));
                    }
                    parts.push(Part::Text(std::mem::take(&mut open)));
                    parts.push(Part::Name(name));
                }
                '}' => return Err("`}` without `{`: write `}}` for a brace".to_owned()),
                c => open.push(c),
            }
        }
        parts.push(Part::Text(open));
        Ok(Self(parts))
    }

    /// The text with values in place.
    pub fn fill(&self, values: &BTreeMap<&str, String>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name) => {
                    out.push_str(values.get(name.as_str()).map_or("", String::as_str));
                }
            }
        }
        out
    }
}

/// A text as one line, without what a terminal or a header would act on.
pub fn line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text that is not too long.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
