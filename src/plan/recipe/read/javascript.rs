//! What Node projects say about themselves.

use serde_json::Value;

use crate::state::{FileFacts, Node};

/// `.nvmrc` and `.node-version`.
pub(super) fn version_file(text: &str) -> FileFacts {
    let major = text.lines().next().and_then(first_number);
    FileFacts { node: Some(Node { major, ..Node::default() }), ..FileFacts::default() }
}

/// The first number of `v20.11.0`, `>=18`, `^20` and the like.
fn first_number(text: &str) -> Option<u16> {
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok().filter(|major| (8..100).contains(major))
}

/// `package.json`.
pub(super) fn package(text: &str) -> Result<FileFacts, String> {
    let root: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !root.is_object() {
        return Err("it is not an object".to_owned());
    }
    let has_script = |name: &str| root["scripts"][name].as_str().is_some_and(|s| !s.is_empty());
    let node = Node {
        major: root["engines"]["node"].as_str().and_then(first_number),
        has_build: has_script("build"),
        has_start: has_script("start"),
    };
    Ok(FileFacts { node: Some(node), ..FileFacts::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_says_its_node_and_its_scripts() {
        let node = |text: &str| package(text).unwrap().node.unwrap();
        let seen = node(r#"{"engines": {"node": ">=18.2"}, "scripts": {"start": "node ."}}"#);
        assert_eq!(seen, Node { major: Some(18), has_build: false, has_start: true });
        assert_eq!(node("{}"), Node::default());
        assert!(node(r#"{"scripts": {"build": "x"}}"#).has_build);
        assert!(package("[]").is_err());
        let of_file = |text: &str| version_file(text).node.unwrap().major;
        assert_eq!((of_file("v20.11.0\n"), of_file("lts/*")), (Some(20), None));
    }
}
