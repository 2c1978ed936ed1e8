//! Health checks: what compose has run inside the container.

use super::super::emit::{Map, Yaml};
use super::{Desk, tree::Node, values};

/// What compose does when it is not said.
const INTERVAL: &str = "30s";

pub(super) fn read(node: &Node, desk: &mut Desk<'_>) -> Option<Yaml> {
    if node.get("disable").and_then(Node::flag) == Some(true) {
        return Some("none".into());
    }
    let mut map = Map::new();
    if let Some(test) = node.get("test") {
        match command(test) {
            Some(words) if words.is_empty() => return Some("none".into()),
            Some(words) => map.put("exec", words),
            None => desk.lose(test, "this is not a check such as `[CMD, pg_isready]`"),
        }
    }
    if map.is_empty() {
        node.use_all();
        desk.lose(node, "the image's own check is left to the engine; Berth's needs a `test`");
        return None;
    }
    for (key, field, default) in [
        ("start_period", "startPeriod", None),
        ("interval", "interval", Some(INTERVAL)),
        ("timeout", "timeout", Some(INTERVAL)),
    ] {
        let said = node.get(key);
        let value = said.and_then(Node::text).and_then(|text| values::duration(&text));
        if let Some(said) = said.filter(|_| value.is_none()) {
            desk.lose(said, "this is not a duration such as `1m30s`");
        }
        // No time at all to come up: compose means that failures count at once.
        let value = value.filter(|value| value != "0s" && value != "0");
        map.put_some(field, value.or(default.map(ToOwned::to_owned)));
    }
    if let Some(node) = node.get("retries") {
        match node.text().and_then(|text| text.parse::<i64>().ok()) {
            Some(retries) => map.put("retries", retries),
            None => desk.lose(node, "this is not a number"),
        }
    }
    Some(map.into())
}

/// The check as words; empty for none.
fn command(test: &Node) -> Option<Vec<String>> {
    let shell = |line: String| vec!["/bin/sh".to_owned(), "-c".to_owned(), line];
    if let Some(line) = test.text() {
        return Some(shell(line));
    }
    let mut words = test.elements().iter().map(Node::text).collect::<Option<Vec<_>>>()?;
    match words.first().map(String::as_str)? {
        "NONE" => Some(Vec::new()),
        "CMD" if 1 < words.len() => Some(words.split_off(1)),
        "CMD-SHELL" if words.len() == 2 => Some(shell(words.pop()?)),
        _ => None,
    }
}
