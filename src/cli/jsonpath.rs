//! `-o jsonpath=…`: parts of a document, in the notation that users of kubectl know.
//!
//! `{.items[*].metadata.name}`, `.status.url`, `[0]`, `[-1]`, `['a.b']`, `..name`, and filters as
//! `[?(@.status.phase=="Running")]`; text around braces is written as it is, `{"\n"}` is a newline.

use serde_json::Value;

/// A template, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonPath(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Path(Vec<Step>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(i64),
    All,
    Anywhere(String),
    Filter { path: Vec<Step>, is_same: bool, value: String },
}

impl JsonPath {
    /// Reads a template; a path without braces is one too.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("write what to show, such as `jsonpath={.status.url}`".to_owned());
        }
        if !text.contains('{') {
            return Ok(Self(vec![Piece::Path(steps(text)?)]));
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                pieces.push(Piece::Text(unescape(before)));
            }
            let end = closing(after).ok_or("a `{` is not closed")?;
            let inner = after[..end].trim();
            pieces.push(match inner.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                Some(text) => Piece::Text(unescape(text)),
                None => Piece::Path(steps(inner)?),
            });
            rest = &after[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(unescape(rest)));
        }
        Ok(Self(pieces))
    }

    /// What it finds in a document. Several values are written with spaces between.
    pub(super) fn show(&self, document: &Value) -> String {
        let mut shown = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => shown.push_str(text),
                Piece::Path(path) => {
                    let found: Vec<_> = find(document, path).into_iter().map(plain).collect();
                    shown.push_str(&found.join(" "));
                }
            }
        }
        shown
    }
}

/// Where the brace is closed; those in quotes do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '}') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t")
}

fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut rest = text.strip_prefix('$').unwrap_or(text).trim();
    let mut steps = Vec::new();
    if !rest.starts_with(['.', '[']) && !rest.is_empty() {
        return Err(format!("`{text}` is not a path: begin with a dot"));
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("..") {
            let (key, after) = key(after);
            if key.is_empty() {
                return Err(format!("`{text}`: a name has to follow `..`"));
            }
            steps.push(Step::Anywhere(key.to_owned()));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('.') {
            let (key, after) = key(after);
            match key {
                "" => {}
                "*" => steps.push(Step::All),
                key => steps.push(Step::Key(key.to_owned())),
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let end = bracket(after).ok_or_else(|| format!("`{text}`: a `[` is not closed"))?;
            steps.push(index(&after[..end])?);
            rest = &after[end + 1..];
        } else {
            return Err(format!("`{text}`: `{rest}` is not understood"));
        }
    }
    Ok(steps)
}

fn key(text: &str) -> (&str, &str) {
    text.split_at(text.find(['.', '[']).unwrap_or(text.len()))
}

fn bracket(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            (None, '[') => depth += 1,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn index(text: &str) -> Result<Step, String> {
    let text = text.trim();
    if text == "*" {
        return Ok(Step::All);
    }
    if let Some(inner) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        let (is_same, (path, value)) = match (inner.split_once("=="), inner.split_once("!=")) {
            (Some(parts), _) => (true, parts),
            (None, Some(parts)) => (false, parts),
            (None, None) => return Err(format!("`{inner}`: compare with `==` or `!=`")),
        };
        let path = path.trim().strip_prefix('@').ok_or("a filter begins with `@`")?;
        return Ok(Step::Filter {
            path: steps(path)?,
            is_same,
            value: value.trim().trim_matches(['"', '\'']).to_owned(),
        });
    }
    for quote in ['\'', '"'] {
        if let Some(key) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return Ok(Step::Key(key.to_owned()));
        }
    }
    text.parse().map(Step::Index).map_err(|_| format!("`[{text}]` is not understood"))
}

fn find<'a>(document: &'a Value, path: &[Step]) -> Vec<&'a Value> {
    let mut found = vec![document];
    for step in path {
        found = found.into_iter().flat_map(|value| below(value, step)).collect();
    }
    found
}

fn below<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match step {
        Step::Key(key) => value.get(key).into_iter().collect(),
        Step::Index(at) => {
            let list = value.as_array().map_or(&[][..], Vec::as_slice);
            let at = usize::try_from(*at)
                .ok()
                .or_else(|| list.len().checked_sub(usize::try_from(at.unsigned_abs()).ok()?));
            at.and_then(|at| list.get(at)).into_iter().collect()
        }
        Step::All => children(value),
        Step::Anywhere(key) => {
            let mut found: Vec<_> = value.get(key).into_iter().collect();
            found.extend(children(value).into_iter().flat_map(|child| below(child, step)));
            found
        }
        Step::Filter { path, is_same, value: wanted } => {
            let fits = |one: &&Value| {
                let found = find(one, path);
                found.iter().any(|value| plain(value) == *wanted) == *is_same
            };
            children(value).into_iter().filter(fits).collect()
        }
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    }
}

/// A text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn show(text: &str) -> String {
        let apps = json!({"items": [
            {"metadata": {"name": "a", "labels": {"x.y/z": "1"}}, "status": {"phase": "Running", "restarts": 0}},
            {"metadata": {"name": "b", "labels": {}}, "status": {"phase": "Failed", "restarts": 3}},
        ]});
        JsonPath::parse(text).unwrap().show(&apps)
    }

    #[test]
    fn parts_of_documents_are_found_as_users_of_kubectl_write_it() {
        assert_eq!(show("{.items[*].metadata.name}"), "a b");
        assert_eq!(show(".items[0].status.phase"), "Running");
        assert_eq!(show("$.items[-1].status.restarts"), "3");
        assert_eq!(show("{.items[0].metadata.labels['x.y/z']}"), "1");
        assert_eq!(show("{..name}"), "a b");
        assert_eq!(show("{.items[?(@.status.phase==\"Failed\")].metadata.name}"), "b");
        assert_eq!(show("{.items[?(@.status.phase!='Failed')].metadata.name}"), "a");
        assert_eq!(show("n={.items[1].metadata.name}{\"\\n\"}"), "n=b\n");
        assert_eq!(show("{.nothing[7].here}"), "");
        assert_eq!(show("{.items[0].status}"), r#"{"phase":"Running","restarts":0}"#);
    }

    #[test]
    fn what_is_no_path_is_said() {
        for wrong in ["", "{.a", "a.b", "{.a[x]}", "{.a[0}", "{..}", "{.a[?(@.b)]}"] {
            assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
