//! The JSON Schema of manifests, for editors, and the names of fields that typos are compared
//! with.

use std::sync::LazyLock;

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};

use super::{
    problem::{Path, Step},
    v1,
};

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| generator().into_root_schema_for::<v1::Manifest>().to_value());

fn generator() -> SchemaGenerator {
    SchemaSettings::draft07()
        .for_deserialize()
        .with_transform(RecursiveTransform(without_null as fn(&mut Schema)))
        .into_generator()
}

/// The JSON Schema (draft-07) of a document of manifests, whatever its kind.
pub fn schema() -> Value {
    let mut generator = generator();
    let secret = generator.subschema_for::<v1::SecretManifest>();
    let app = generator.subschema_for::<v1::Manifest>();
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A manifest of Berth",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": { "enum": [v1::VERSION], "description": "The version of this format." },
            "kind": {
                "enum": [v1::APP, v1::SECRET],
                "description": "An app, or where the values of a secret come from.",
            },
        },
        "if": { "required": ["kind"], "properties": { "kind": { "const": v1::SECRET } } },
        "then": secret,
        "else": app,
        "definitions": definitions,
    })
}

/// The JSON Schema (draft-07) of an app's manifest alone.
pub fn schema_of_app() -> &'static Value {
    &SCHEMA
}

/// The schema of a manifest, among others of a document.
pub fn schema_of_manifest(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<v1::Manifest>()
}

/// The same of its spec.
pub fn schema_of_spec(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<v1::Spec>()
}

/// Takes `null` out of what an optional field may be: editors would offer it everywhere.
pub fn without_null(schema: &mut Schema) {
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    for word in ["type", "anyOf", "enum"] {
        let Some(list) = schema.get_mut(word).and_then(Value::as_array_mut) else { continue };
        list.retain(|value| {
            !value.is_null() && value != "null" && value.get("type").is_none_or(|t| t != "null")
        });
        if word != "enum"
            && let [one] = list.as_mut_slice()
        {
            let one = one.take();
            simplify(schema, word, one);
        }
    }
}

/// Writes a choice of one as that one.
fn simplify(schema: &mut Schema, word: &str, one: Value) {
    match one {
        // In draft-07 a reference hides its siblings; `allOf` keeps the description.
        Value::Object(form) if form.contains_key("$ref") => {
            schema.remove(word);
            schema.insert("allOf".to_owned(), Value::Array(vec![Value::Object(form)]));
        }
        Value::Object(form) => {
            schema.remove(word);
            for (key, value) in form {
                schema.insert(key, value);
            }
        }
        one => {
            schema.insert(word.to_owned(), one);
        }
    }
}

/// The names of the fields that the mapping at `path` may have; none when it is not one.
pub(super) fn fields(path: &Path) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut places = vec![&*SCHEMA];
    for step in &path.0 {
        places = places.into_iter().flat_map(|schema| below(schema, step)).collect();
    }
    for schema in places {
        for form in forms(schema) {
            if let Some(fields) = form.get("properties").and_then(Value::as_object) {
                found.extend(fields.keys().map(String::as_str));
            }
        }
    }
    found
}

/// Every way to a field called `name`, as patterns, the shortest first.
pub(super) fn ways_to(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(Path::default(), &*SCHEMA)];
    while let Some((path, schema)) = open.pop() {
        for form in forms(schema) {
            if let Some(items) = form.get("items") {
                let mut path = path.clone();
                path.0.push(Step::Index(0));
                open.push((path, items));
            }
            let fields = form.get("properties").and_then(Value::as_object);
            for (key, schema) in fields.into_iter().flatten() {
                let mut path = path.clone();
                path.0.push(Step::Key(key.clone()));
                if key == name {
                    found.push(path.pattern());
                }
                open.push((path, schema));
            }
        }
    }
    found.sort_by_key(|path| (path.matches(['.', '[']).count(), path.clone()));
    found
}

fn below(schema: &'static Value, step: &Step) -> Vec<&'static Value> {
    let next = |form: &'static Value| match step {
        Step::Key(key) => form
            .get("properties")
            .and_then(|fields| fields.get(key))
            .or_else(|| form.get("additionalProperties").filter(|other| other.is_object())),
        Step::Index(_) => form.get("items"),
    };
    forms(schema).into_iter().filter_map(next).collect()
}

/// The forms that a value may have: the schema itself, or what it refers to.
fn forms(schema: &'static Value) -> Vec<&'static Value> {
    let mut found = Vec::new();
    let mut open = vec![schema];
    while let Some(schema) = open.pop() {
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            open.extend(SCHEMA.pointer(name.trim_start_matches('#')));
            continue;
        }
        for word in ["anyOf", "allOf", "oneOf"] {
            open.extend(schema.get(word).and_then(Value::as_array).into_iter().flatten());
        }
        found.push(schema);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(keys: &[&str]) -> Path {
        Path(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    #[test]
    fn the_schema_knows_the_fields_of_every_mapping() {
        assert_eq!(fields(&path(&[])), ["apiVersion", "kind", "metadata", "spec"]);
        let git = ["url", "ref", "path", "depth", "submodules", "lfs", "auth"];
        assert_eq!(fields(&path(&["spec", "source", "git"])), git);
        assert!(fields(&path(&["spec", "port"])).is_empty());
        let mut mounts = path(&["spec", "mounts"]);
        mounts.0.push(Step::Index(3));
        assert!(fields(&mounts).contains(&"readOnly"));
        assert_eq!(ways_to("image"), ["spec.image"]);
    }

    /// Editors speak draft-07, and an optional field is not a field that may be null.
    #[test]
    fn the_schema_is_draft_07_without_null() {
        let schema = schema();
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        let text = schema.to_string();
        assert!(!text.contains("null"), "{text}");
        let must = json!(["apiVersion", "kind", "metadata", "spec"]);
        assert_eq!((&schema["required"], &SCHEMA["required"]), (&must, &must));
        for branch in ["then", "else"] {
            let name = schema[branch]["$ref"].as_str().unwrap_or_default();
            let form = schema.pointer(name.trim_start_matches('#'));
            assert_eq!(form.map(|form| &form["required"]), Some(&must), "{branch}: {name}");
        }
    }
}
