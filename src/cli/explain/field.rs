//! A field: its type, default, values and example.

use serde_json::Value;

use super::super::{document, error::Error};
use crate::manifest::fields::{doc, fields, forms, kind, objects, paths, split_default, values};
use crate::manifest::{edit, schema_of_app};

/// Manifests that between them use every field. A test holds that they are valid.
const EXAMPLES: &str = include_str!("examples.yaml");

/// What there is to say about a field. None when there is no such field.
pub(super) fn explain(what: &str, is_recursive: bool) -> Result<Option<Vec<String>>, Error> {
    let Some(path) = whole_path(what) else { return Ok(None) };
    let keys = keys(&path);
    let Some(schema) = at(&keys) else { return Ok(None) };
    let doc = doc(schema);
    let title = if path.is_empty() { "app".to_owned() } else { format!("app.{path}") };
    let mut lines = vec![title];
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            lines.push(format!("  {name:<8} {value}"));
        }
    };
    fact("type", kind(schema));
    fact("values", values(schema).join(", "));
    fact("range", range(schema));
    fact("pattern", texts(schema, "pattern").join(" or "));
    let (doc, default) = split_default(&doc);
    fact("default", default);
    fact("needed", if is_required(&keys) { "yes".to_owned() } else { String::new() });
    if !doc.is_empty() {
        lines.extend([String::new(), format!("  {doc}")]);
    }
    let below = fields(schema);
    if !below.is_empty() {
        lines.extend([String::new(), "fields:".to_owned()]);
        list(&below, is_recursive, 1, &mut lines);
    }
    if let Some(example) = example(&keys)? {
        lines.extend([String::new(), "example:".to_owned()]);
        lines.extend(example.lines().map(|line| format!("  {line}")));
    }
    Ok(Some(lines))
}

/// What a manual page says about a field, in one paragraph.
pub(in crate::cli) fn lines_of(path: &str) -> Option<String> {
    let schema = at(&keys(path.strip_prefix("app.")?))?;
    let (doc, default) = split_default(&doc(schema));
    let default = if default.is_empty() { String::new() } else { format!(" Default: {default}.") };
    let values = values(schema).join(", ");
    let values = if values.is_empty() { values } else { format!(" One of {values}.") };
    Some(format!("({}) {doc}{values}{default}", kind(schema)))
}

/// The path from the top that somebody means: `spec.gpus`, `app.spec.gpus` or the end of it.
fn whole_path(what: &str) -> Option<String> {
    let what = what.replace("[]", "");
    let what = what.trim_matches('.');
    if what == "app" || what == "manifest" {
        return Some(String::new());
    }
    let all = paths();
    let exact = [what.to_owned(), format!("app.{what}"), format!("app.spec.{what}")];
    let end = format!(".{what}");
    let found = exact.iter().find(|path| all.contains(path)).or_else(|| {
        let ends = all.iter().filter(|path| path.ends_with(&end));
        ends.min_by_key(|path| (path.matches('.').count(), (*path).clone()))
    });
    found.and_then(|path| path.strip_prefix("app.")).map(ToOwned::to_owned)
}

fn keys(path: &str) -> Vec<&str> {
    path.split('.').filter(|key| !key.is_empty()).collect()
}

fn at(keys: &[&str]) -> Option<&'static Value> {
    let mut schema = schema_of_app();
    for key in keys {
        schema = fields(schema).into_iter().find(|(name, _)| name == key)?.1;
    }
    Some(schema)
}

fn is_required(keys: &[&str]) -> bool {
    let Some((last, above)) = keys.split_last() else { return false };
    let needed = |form: &&Value| {
        let required = form.get("required").and_then(Value::as_array);
        required.is_some_and(|names| names.iter().any(|name| name == last))
    };
    at(above).is_some_and(|schema| objects(schema).iter().any(needed))
}

fn list(
    fields: &[(&'static str, &'static Value)],
    is_recursive: bool,
    depth: usize,
    lines: &mut Vec<String>,
) {
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or_default();
    let wide = longest(&mut fields.iter().map(|(name, _)| name.len()));
    let kinds = longest(&mut fields.iter().map(|(_, schema)| kind(schema).len()));
    for (name, schema) in fields {
        let doc = doc(schema);
        let first = doc.split_once(". ").map_or(doc.as_str(), |(first, _)| first);
        let indent = "  ".repeat(depth);
        let line = format!("{indent}{name:<wide$}  {:<kinds$}  {first}", kind(schema));
        lines.push(line.trim_end().to_owned());
        if is_recursive {
            list(&self::fields(schema), true, depth + 1, lines);
        }
    }
}

fn texts(schema: &'static Value, word: &str) -> Vec<String> {
    let of = |form: &'static Value| form.get(word).and_then(Value::as_str);
    forms(schema).into_iter().filter_map(of).map(ToOwned::to_owned).collect()
}

fn range(schema: &'static Value) -> String {
    let bound = |word: &str| {
        let found = forms(schema).into_iter().find_map(|form| form.get(word)?.as_f64());
        found.map(|number| number.to_string())
    };
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{least} to {most}"),
        (Some(least), None) => format!("{least} or more"),
        (None, Some(most)) => format!("{most} or less"),
        (None, None) => String::new(),
    }
}

/// How the field is written, with what is around it.
fn example(keys: &[&str]) -> Result<Option<String>, Error> {
    let Some((last, above)) = keys.split_last() else { return Ok(None) };
    for text in EXAMPLES.split("---\n") {
        let Ok(document) = edit::read(text.as_bytes()) else { continue };
        if let Some(found) = find(&document, above, last) {
            let shown = serde_json::json!({ *last: found });
            return document::yaml(&shown).map(Some);
        }
    }
    Ok(None)
}

/// The value at a path; of a list, of the first element that has it.
fn find(value: &Value, above: &[&str], last: &str) -> Option<Value> {
    if let Value::Array(items) = value {
        return items.iter().find_map(|item| find(item, above, last));
    }
    let Some((first, rest)) = above.split_first() else { return value.get(last).cloned() };
    if let Some(below) = value.get(first) {
        return find(below, rest, last);
    }
    // The names of a mapping stand for any.
    let inner = value.as_object()?.values();
    inner.filter(|value| value.is_object()).find_map(|value| value.get(last).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{self, Diagnostic};

    #[test]
    fn the_examples_are_valid_and_show_nearly_every_field() {
        for text in EXAMPLES.split("---\n") {
            let reading = manifest::read_file("examples.yaml", text.as_bytes());
            let mistakes: Vec<_> = reading
                .diagnostics
                .iter()
                .filter(|d| d.is_error())
                .map(Diagnostic::summary)
                .collect();
            assert_eq!(mistakes, Vec::<String>::new());
        }
        let all = paths();
        let is_shown = |path: &&String| {
            let path = path.strip_prefix("app.").unwrap_or("");
            example(&keys(path)).unwrap().is_some()
        };
        let missing: Vec<_> = all.iter().filter(|path| *path != "app" && !is_shown(path)).collect();
        assert!(missing.len() * 12 < all.len(), "fields without an example: {missing:?}");
    }

    #[test]
    fn every_field_has_a_type_and_says_what_it_is_for() {
        for path in paths() {
            let lines = explain(&path, false).unwrap().unwrap_or_else(|| panic!("{path}"));
            assert!(lines.iter().any(|line| line.starts_with("  type ")), "{path}: {lines:?}");
            assert!(lines.len() > 2, "{path}: {lines:?}");
        }
    }
}
