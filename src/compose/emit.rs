//! YAML out: a small tree, and its one text.
//!
//! What is written is read by many readers, of YAML 1.1 and of 1.2. So a text stands bare only
//! where no reader could take it for anything else, and in double quotes everywhere else.

/// A value to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yaml {
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A boolean.
    Bool(bool),
    /// A list.
    List(Vec<Yaml>),
    /// A mapping, in this order.
    Map(Map),
}

/// A mapping, each entry with the remarks that stand above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map(Vec<Entry>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    remarks: Vec<String>,
    key: String,
    value: Yaml,
}

impl Map {
    /// One without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry.
    pub fn put(&mut self, key: &str, value: impl Into<Yaml>) {
        self.put_with(key, value, Vec::new());
    }

    /// Adds an entry with remarks above it.
    pub fn put_with(&mut self, key: &str, value: impl Into<Yaml>, remarks: Vec<String>) {
        self.0.push(Entry { remarks, key: key.to_owned(), value: value.into() });
    }

    /// Adds an entry when there is a value.
    pub fn put_some(&mut self, key: &str, value: Option<impl Into<Yaml>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    /// Adds a mapping unless it is empty.
    pub fn put_map(&mut self, key: &str, map: Self) {
        if !map.is_empty() {
            self.put(key, map);
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.0.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Map> for Yaml {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Yaml {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Yaml {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Vec<Yaml>> for Yaml {
    fn from(list: Vec<Yaml>) -> Self {
        Self::List(list)
    }
}

impl From<Vec<String>> for Yaml {
    fn from(list: Vec<String>) -> Self {
        Self::List(list.into_iter().map(Self::Text).collect())
    }
}

impl FromIterator<(String, Yaml)> for Map {
    fn from_iter<I: IntoIterator<Item = (String, Yaml)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.put(&key, value);
        }
        map
    }
}

/// The text of a document.
pub fn document(map: &Map) -> String {
    let mut text = String::new();
    if map.is_empty() {
        return "{}\n".to_owned();
    }
    entries(map, 0, &mut text);
    text
}

/// A remark as lines that stay remarks, whatever is in it.
pub fn remark(words: &str) -> String {
    let shown: String = words.chars().map(|c| if is_plain(c) { c } else { ' ' }).collect();
    format!("# {}", shown.trim())
}

fn entries(map: &Map, depth: usize, text: &mut String) {
    for (nth, entry) in map.0.iter().enumerate() {
        // The first entry of an element of a list stands behind its dash.
        let is_behind_dash = nth == 0 && text.ends_with("- ");
        if !is_behind_dash {
            for line in &entry.remarks {
                indent(depth, text);
                text.push_str(&remark(line));
                text.push('\n');
            }
            indent(depth, text);
        }
        text.push_str(&scalar(&entry.key));
        text.push(':');
        value(&entry.value, depth, text);
    }
}

/// What stands behind a key's colon, with the end of the line.
fn value(value: &Yaml, depth: usize, text: &mut String) {
    match value {
        Yaml::Map(map) if !map.is_empty() => {
            text.push('\n');
            entries(map, depth + 1, text);
        }
        Yaml::List(list) if !list.is_empty() => {
            text.push('\n');
            elements(list, depth + 1, text);
        }
        flat => {
            text.push(' ');
            text.push_str(&one_line(flat));
            text.push('\n');
        }
    }
}

fn elements(list: &[Yaml], depth: usize, text: &mut String) {
    for element in list {
        indent(depth, text);
        text.push_str("- ");
        match element {
            Yaml::Map(map) if !map.is_empty() => entries(map, depth + 1, text),
            flat => {
                text.push_str(&one_line(flat));
                text.push('\n');
            }
        }
    }
}

/// A value in one line.
fn one_line(value: &Yaml) -> String {
    match value {
        Yaml::Text(text) => scalar(text),
        Yaml::Int(number) => number.to_string(),
        Yaml::Bool(value) => value.to_string(),
        Yaml::List(list) => {
            format!("[{}]", list.iter().map(one_line).collect::<Vec<_>>().join(", "))
        }
        Yaml::Map(map) => {
            let pair =
                |entry: &Entry| format!("{}: {}", scalar(&entry.key), one_line(&entry.value));
            format!("{{{}}}", map.0.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
    }
}

fn indent(depth: usize, text: &mut String) {
    text.extend(std::iter::repeat_n("  ", depth));
}

/// Words that some reader takes for a boolean or for nothing.
const WORDS: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// A text as a scalar: bare where it can't be anything else.
fn scalar(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let is_bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
        && text.chars().all(is_word)
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is_bare { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if is_plain(c) => quoted.push(c),
            c if u32::from(c) <= 0xffff => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether every reader of YAML takes a character as it is, within quotes.
fn is_plain(c: char) -> bool {
    match u32::from(c) {
        0xa0..=0xd7ff => !matches!(c, '\u{2028}' | '\u{2029}'),
        0x20..=0x7e | 0xe000..=0xfefe | 0xff00..=0xfffd => true,
        code => 0x1_0000 <= code && code & 0xfffe != 0xfffe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault Y03: what an old reader takes for a number, a time or a boolean stands in quotes.
    #[test]
    fn a_text_stays_a_text_for_every_reader() {
        for bare in ["chat", "/srv/data", "berth/base", "python3.12-slim", "A_B"] {
            assert_eq!(scalar(bare), bare);
        }
        for odd in ["no", "ON", "1:30", "0x10", "", "~", "a: b", "- a", "1e3", "a b", "$x", ".5"] {
            assert_eq!(scalar(odd), format!("\"{odd}\""));
        }
        assert_eq!(
            scalar("a\"\\\n\u{85}\u{feff}\u{1f600}"),
            "\"a\\\"\\\\\\n\\u0085\\ufeff\u{1f600}\""
        );
    }

    #[test]
    fn a_document_is_written_in_blocks() {
        let mut inner = Map::new();
        inner.put("target", "/a");
        inner.put("size", 5);
        let mut map = Map::new();
        map.put_with(
            "mounts",
            vec![Yaml::Map(inner), Yaml::from("x")],
            vec!["all\nof them".into()],
        );
        map.put("none", Vec::<String>::new());
        map.put("empty", Map::new());
        let text =
            "# all of them\nmounts:\n  - target: /a\n    size: 5\n  - x\nnone: []\nempty: {}\n";
        assert_eq!(document(&map), text);
    }
}
