//! The fields of a manifest, as the schema has them, in words: for who explains one.

use std::{collections::BTreeSet, sync::LazyLock};

use serde_json::Value;

use super::schema_of_app;

/// A field, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it stands, such as `spec.gpus.count`.
    pub path: String,
    /// What it may be.
    pub kind: String,
    /// What it is for.
    pub doc: String,
    /// What it is when nothing is said; empty where the words do not say.
    pub default: String,
    /// The words that it may be; empty for any.
    pub values: String,
}

static ALL: LazyLock<Vec<Field>> = LazyLock::new(|| {
    let mut found = Vec::new();
    describe("", schema_of_app(), &mut found);
    found
});

/// Every field of an app's manifest, those above before those below.
pub fn all() -> &'static [Field] {
    &ALL
}

fn describe(above: &str, schema: &'static Value, found: &mut Vec<Field>) {
    for (name, schema) in fields(schema) {
        let path = if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
        let (doc, default) = split_default(&doc(schema));
        let values = values(schema).join(", ");
        found.push(Field { path: path.clone(), kind: kind(schema), doc, default, values });
        describe(&path, schema, found);
    }
}

/// Every field of a manifest, as a path.
pub fn paths() -> Vec<String> {
    let mut found = vec!["app".to_owned()];
    add("app", schema_of_app(), &mut found);
    found
}

fn add(path: &str, schema: &'static Value, found: &mut Vec<String>) {
    for (name, schema) in fields(schema) {
        let path = format!("{path}.{name}");
        found.push(path.clone());
        add(&path, schema, found);
    }
}

/// The forms that a value may have: the schema itself, or what it refers to.
pub fn forms(schema: &'static Value) -> Vec<&'static Value> {
    let (mut found, mut open) = (Vec::new(), vec![schema]);
    while let Some(schema) = open.pop() {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            open.extend(schema_of_app().pointer(name.trim_start_matches('#')));
            continue;
        }
        for word in ["oneOf", "allOf", "anyOf"] {
            let parts = schema.get(word).and_then(Value::as_array).into_iter().flatten();
            open.extend(parts.collect::<Vec<_>>().into_iter().rev());
        }
        found.push(schema);
    }
    found
}

/// The mappings among the forms, those of a list's elements too.
pub fn objects(schema: &'static Value) -> Vec<&'static Value> {
    let mut found = Vec::new();
    for form in forms(schema) {
        found.push(form);
        for inner in [form.get("items"), form.get("additionalProperties")].into_iter().flatten() {
            if inner.is_object() {
                found.extend(forms(inner));
            }
        }
    }
    found
}

/// The fields of the mappings among the forms, by their names.
pub fn fields(schema: &'static Value) -> Vec<(&'static str, &'static Value)> {
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for form in objects(schema) {
        let properties = form.get("properties").and_then(Value::as_object);
        for (name, schema) in properties.into_iter().flatten() {
            if seen.insert(name.as_str()) {
                found.push((name.as_str(), schema));
            }
        }
    }
    found
}

/// What a field is for; its own words before those of its type.
pub fn doc(schema: &'static Value) -> String {
    let said = forms(schema).into_iter().find_map(|form| form.get("description")?.as_str());
    said.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A description, and the default that it names.
pub fn split_default(doc: &str) -> (String, String) {
    let Some((doc, rest)) = doc.split_once("Default: ") else {
        return (doc.to_owned(), String::new());
    };
    let end = rest.find(". ").unwrap_or(rest.len());
    let (default, more) = rest.split_at(end);
    let doc = format!("{} {}", doc.trim(), more.trim_start_matches('.').trim());
    (doc.trim().to_owned(), default.trim_end_matches('.').trim_matches('`').to_owned())
}

/// What a value may be, in words.
pub fn kind(schema: &'static Value) -> String {
    let mut kinds = Vec::new();
    for form in forms(schema) {
        let names = match form.get("type") {
            Some(Value::String(name)) => vec![name.as_str()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
            _ if form.get("const").is_some() => vec!["string"],
            _ => Vec::new(),
        };
        for name in names {
            let name = match (name, form.get("items")) {
                ("array", Some(items)) => format!("list of {}", kind(items)),
                ("object", _) if form.get("additionalProperties").is_some_and(Value::is_object) => {
                    "mapping of names to values".to_owned()
                }
                ("object", _) => "mapping".to_owned(),
                ("string", _) => "text".to_owned(),
                (name, _) => name.to_owned(),
            };
            if !kinds.contains(&name) {
                kinds.push(name);
            }
        }
    }
    kinds.join(" or ")
}

/// The words that a value may be.
pub fn values(schema: &'static Value) -> Vec<String> {
    let mut found = Vec::new();
    let items = forms(schema).into_iter().filter_map(|form| form.get("items")).flat_map(forms);
    for form in forms(schema).into_iter().chain(items) {
        let several = form.get("enum").and_then(Value::as_array).into_iter().flatten();
        let words = several.chain(form.get("const")).filter_map(Value::as_str);
        found.extend(words.map(ToOwned::to_owned));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_there_with_what_it_is_for() {
        let count = all().iter().find(|field| field.path == "spec.gpus.count").unwrap();
        assert!(count.kind.contains("integer") && !count.doc.is_empty(), "{count:?}");
        assert_eq!(all().len() + 1, paths().len());
        for field in all() {
            // What is said of some is their default alone.
            let is_said = !field.doc.is_empty() || !field.default.is_empty();
            assert!(!field.kind.is_empty() && is_said, "{field:?}");
        }
    }

    #[test]
    fn a_default_is_taken_out_of_the_words_around_it() {
        let split = |text: &str| split_default(text);
        assert_eq!(split("A. Default: 5m. B."), ("A. B.".to_owned(), "5m".to_owned()));
        assert_eq!(split("A. Default: none."), ("A.".to_owned(), "none".to_owned()));
        assert_eq!(split("A."), ("A.".to_owned(), String::new()));
    }
}
