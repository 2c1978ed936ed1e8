//! What differs between before and after, without what nobody may see.

use serde_json::{Map, Value};

use crate::model::{AppSpec, Digest};

/// How many differences are told.
const DIFFERENCES_MAX: usize = 64;
/// How long a value may be that is told.
const VALUE_MAX: usize = 256;
/// What stands for a value that is not shown.
const HIDDEN: &str = "(set)";
const HIDDEN_OTHER: &str = "(set otherwise)";

/// A spec as a document to compare, in which digests stand for the values that nobody may see.
pub fn of_spec(spec: &AppSpec) -> Value {
    let mut document = serde_json::to_value(spec).unwrap_or_default();
    for secret in ["/env", "/build/args"] {
        let values = document.pointer_mut(secret).and_then(Value::as_object_mut);
        for value in values.into_iter().flat_map(Map::values_mut) {
            *value = Digest::of_bytes(value.to_string().as_bytes()).as_str().into();
        }
    }
    document
}

/// What differs between two specs, by path: as it was, and as it is. Values of the environment and
/// of build arguments are only said to be there, or to be others.
pub fn differences(before: &Value, after: &Value) -> (Value, Value) {
    let (mut was, mut is) = (Map::new(), Map::new());
    let (before, after) = (flat(before), flat(after));
    let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut left_out = 0;
    for path in paths {
        let (old, new) = (before.get(path), after.get(path));
        if old == new {
            continue;
        }
        if DIFFERENCES_MAX <= was.len().max(is.len()) {
            left_out += 1;
            continue;
        }
        if let Some(old) = old {
            was.insert(path.clone(), shown(path, old, HIDDEN));
        }
        if let Some(new) = new {
            let word = if old.is_some() { HIDDEN_OTHER } else { HIDDEN };
            is.insert(path.clone(), shown(path, new, word));
        }
    }
    if 0 < left_out {
        is.insert("…".to_owned(), format!("and {left_out} more").into());
    }
    let document = |map: Map<String, Value>| {
        if map.is_empty() { Value::Null } else { Value::Object(map) }
    };
    (document(was), document(is))
}

fn shown(path: &str, value: &Value, hidden: &str) -> Value {
    if path == "env" || path.starts_with("env.") || path.starts_with("build.args") {
        return hidden.into();
    }
    let text = value.to_string();
    if text.len() <= VALUE_MAX {
        return value.clone();
    }
    let short: String = text.chars().take(VALUE_MAX).collect();
    format!("{short}…").into()
}

/// Every value by its path.
fn flat(value: &Value) -> Map<String, Value> {
    let mut all = Map::new();
    spread(String::new(), value, &mut all);
    all
}

fn spread(path: String, value: &Value, all: &mut Map<String, Value>) {
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, value) in fields {
                spread(below(name), value, all);
            }
        }
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                spread(below(&at.to_string()), value, all);
            }
        }
        value => {
            all.insert(path, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Fault H10: what is compared holds no secret either.
    #[test]
    fn a_spec_is_compared_without_its_secrets() {
        let of = |value: &str| {
            let text = format!(
                "apiVersion: berth/v1\nkind: App\nmetadata: {{name: a}}\nspec:\n  image: x:1\n  env: {{KEY: {value}}}\n"
            );
            let reading = crate::manifest::read_file("a.yaml", text.as_bytes());
            of_spec(&reading.apps[0].spec)
        };
        let (one, two) = (of("hunter2"), of("hunter3"));
        assert!(!one.to_string().contains("hunter"), "{one}");
        assert_eq!(one, of("hunter2"));
        let changed = serde_json::json!({"env.KEY": "(set otherwise)"});
        assert_eq!(differences(&one, &two).1, changed);
    }

    /// Fault H10.
    #[test]
    fn only_what_differs_is_told_and_nothing_that_may_be_secret() {
        let before = json!({"env": {"KEY": "hunter2", "OLD": "x"}, "ports": [{"host": 1}], "a": 1,
            "build": {"args": {"T": "hunter2"}}});
        let after = json!({"env": {"KEY": "hunter3", "NEW": "y"}, "ports": [{"host": 2}], "a": 1,
            "build": {"args": {"T": "hunter3"}}});
        let (was, is) = differences(&before, &after);
        assert_eq!(
            was,
            json!({"build.args.T": "(set)", "env.KEY": "(set)", "env.OLD": "(set)",
            "ports.0.host": 1})
        );
        assert_eq!(
            is,
            json!({"build.args.T": "(set otherwise)", "env.KEY": "(set otherwise)",
            "env.NEW": "(set)", "ports.0.host": 2})
        );
        let (was, is) = differences(&Value::Null, &after);
        assert!(was.is_null() && !is.to_string().contains("hunter"), "{is}");
        assert_eq!(differences(&after, &after), (Value::Null, Value::Null));
    }

    #[test]
    fn what_is_told_is_bounded() {
        let long: Map<_, _> =
            (0..500).map(|n| (format!("k{n}"), "x".repeat(5000).into())).collect();
        let (_, is) = differences(&Value::Null, &Value::Object(long));
        assert!(is.to_string().len() < 32 * 1024 && is["…"] == "and 436 more");
    }
}
