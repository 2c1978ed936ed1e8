//! Documents between YAML and JSON, and JSON merge patches (RFC 7396).

use serde_json::{Map, Number, Value};

use crate::manifest::node::Node;

/// A document as JSON; none when JSON lacks one of its numbers.
pub(super) fn of_node(node: &Node) -> Option<Value> {
    Some(match node {
        Node::Null => Value::Null,
        Node::Bool(value) => Value::Bool(*value),
        Node::Int(value) => Value::from(*value),
        Node::Float(value) => Value::Number(Number::from_f64(*value)?),
        Node::Text(text) => Value::String(text.clone()),
        Node::List(list) => Value::Array(list.iter().map(of_node).collect::<Option<_>>()?),
        Node::Map(map) => {
            let entries = map.iter().map(|(key, node)| Some((key.clone(), of_node(node)?)));
            Value::Object(entries.collect::<Option<Map<_, _>>>()?)
        }
    })
}

/// A JSON document as the reader of manifests would have read it.
pub(super) fn to_node(value: &Value) -> Node {
    match value {
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Node::Int(whole),
            None => Node::Float(number.as_f64().unwrap_or(f64::MAX)),
        },
        Value::String(text) => Node::Text(text.clone()),
        Value::Array(list) => Node::List(list.iter().map(to_node).collect()),
        Value::Object(map) => {
            Node::Map(map.iter().map(|(key, value)| (key.clone(), to_node(value))).collect())
        }
    }
}

/// Applies a merge patch: objects are merged, null removes, anything else replaces.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.shift_remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
