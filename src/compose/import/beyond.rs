//! What Berth itself wrote beside compose's own keys, and takes back as it is.

use super::super::emit::{Map, Yaml};
use super::tree::{Kind, Node};

/// A part of `x-berth`.
pub(super) fn part(service: &Node, key: &str) -> Option<Yaml> {
    let node = service.get("x-berth")?.get(key)?;
    node.use_all();
    Some(yaml(node))
}

/// A text within a part of `x-berth`.
pub(super) fn text(service: &Node, part: &str, key: &str) -> Option<String> {
    service.get("x-berth")?.get(part)?.get(key)?.text()
}

/// A value as it is.
fn yaml(node: &Node) -> Yaml {
    match &node.kind {
        Kind::Null => Yaml::Map(Map::new()),
        Kind::Bool(value) => Yaml::Bool(*value),
        Kind::Number(text) => text.parse().map_or_else(|_| Yaml::Text(text.clone()), Yaml::Int),
        Kind::Text(text) => Yaml::Text(text.clone()),
        Kind::List(list) => Yaml::List(list.iter().map(yaml).collect()),
        Kind::Map(map) => {
            Yaml::Map(map.iter().map(|(key, node)| (key.clone(), yaml(node))).collect())
        }
    }
}
