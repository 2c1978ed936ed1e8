//! Volumes, host folders and memory.

use std::collections::BTreeMap;

use super::super::emit::{Map, Yaml};
use super::{Desk, names, tree::Node, values};

/// The file's volumes, each with the name that the engine knows it by.
pub(super) fn volumes(tree: &Node, project: &str, desk: &mut Desk<'_>) {
    let Some(volumes) = tree.get("volumes") else { return };
    if !volumes.is_map() && !volumes.is_null() {
        return desk.lose(volumes, "`volumes` must be a mapping");
    }
    let mut known = BTreeMap::new();
    for (key, node) in volumes.entries() {
        let external = node.get("external");
        let named = external.and_then(|node| node.get("name")).or_else(|| node.get("name"));
        let is_external = external.is_some_and(|node| node.is_map() || node.flag() == Some(true));
        let name = named.and_then(Node::text).unwrap_or_else(|| {
            if is_external || project.is_empty() {
                key.to_owned()
            } else {
                format!("{project}_{key}")
            }
        });
        if !is_external {
            desk.note(node, format!("it stays the engine's volume `{}`", names::shown(&name)));
        }
        known.insert(key.to_owned(), name);
    }
    desk.volumes = known;
}

/// One mount, on its way.
#[derive(Debug, Default)]
struct Mount {
    kind: String,
    source: Option<String>,
    target: String,
    is_read_only: bool,
    size: Option<u64>,
}

/// The mounts of a service; without the one that Berth makes itself, at `workspace`.
pub(super) fn read(service: &Node, workspace: Option<&str>, desk: &mut Desk<'_>) -> Vec<Yaml> {
    let mut found = Vec::new();
    if let Some(node) = service.get("volumes") {
        if !node.is_list() {
            desk.lose(node, "`volumes` must be a list");
        }
        for element in node.elements() {
            let mount = if element.is_map() { long(element, desk) } else { short(element, desk) };
            found.extend(mount.map(|mount| (mount, element)));
        }
    }
    if let Some(node) = service.get("tmpfs") {
        let elements = if node.is_list() { node.elements() } else { std::slice::from_ref(node) };
        for element in elements {
            found.extend(tmpfs(element, desk).map(|mount| (mount, element)));
        }
    }
    let mut list = Vec::new();
    for (mount, node) in found {
        if mount.kind == "bind" && Some(mount.target.as_str()) == workspace {
            continue;
        }
        list.extend(manifest_mount(&mount, node, desk));
    }
    list
}

fn short(node: &Node, desk: &mut Desk<'_>) -> Option<Mount> {
    let Some(text) = node.text() else {
        desk.lose(node, "this is not a mount");
        return None;
    };
    let parts: Vec<_> = text.split(':').collect();
    let (source, target, modes) = match parts.as_slice() {
        [_] => {
            desk.lose(node, "a volume without a name would be a new one each time: give it one");
            return None;
        }
        [source, target] => (*source, *target, ""),
        [source, target, modes] => (*source, *target, *modes),
        _ => {
            desk.lose(node, "this is not a mount such as `data:/data`");
            return None;
        }
    };
    let mut mount = Mount { target: clean(target), ..Mount::default() };
    for mode in modes.split(',').filter(|mode| !mode.is_empty()) {
        match mode {
            "ro" => mount.is_read_only = true,
            "rw" | "rprivate" | "cached" | "delegated" | "consistent" => {}
            other => {
                desk.lose(node, format!("the mount option `{}`", names::shown(other)));
            }
        }
    }
    let is_path = source.starts_with(['/', '.', '~']);
    mount.kind = String::from(if is_path { "bind" } else { "volume" });
    mount.source = Some(source.to_owned());
    Some(mount)
}

fn long(node: &Node, desk: &mut Desk<'_>) -> Option<Mount> {
    let text = |key: &str| node.get(key).and_then(Node::text);
    let Some(target) = text("target") else {
        desk.lose(node, "a mount without a `target`");
        return None;
    };
    let mount = Mount {
        kind: text("type").unwrap_or_else(|| "volume".to_owned()),
        source: text("source"),
        target: clean(&target),
        is_read_only: node.get("read_only").and_then(Node::flag) == Some(true),
        size: node.get("tmpfs").and_then(|t| t.get("size")?.text()).and_then(|t| values::bytes(&t)),
    };
    if let Some(bind) = node.get("bind") {
        if let Some(made) = bind.get("create_host_path").filter(|made| made.flag() == Some(true)) {
            desk.lose(made, "Berth makes no host folders: make it first");
        }
        let propagation = bind.get("propagation");
        if let Some(other) = propagation.filter(|node| node.text().as_deref() != Some("rprivate")) {
            desk.lose(other, "host folders are mounted `rprivate`");
        }
    }
    Some(mount)
}

fn tmpfs(node: &Node, desk: &mut Desk<'_>) -> Option<Mount> {
    let Some(text) = node.text() else {
        desk.lose(node, "this is not a path");
        return None;
    };
    let (target, options) = text.split_once(':').unwrap_or((&text, ""));
    let mut mount = Mount { kind: "tmpfs".to_owned(), target: clean(target), ..Mount::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.strip_prefix("size=").and_then(values::bytes) {
            Some(size) => mount.size = Some(size),
            None => desk.lose(node, format!("the mount option `{}`", names::shown(option))),
        }
    }
    Some(mount)
}

fn manifest_mount(mount: &Mount, node: &Node, desk: &mut Desk<'_>) -> Option<Yaml> {
    let mut map = Map::new();
    map.put("path", mount.target.as_str());
    match (mount.kind.as_str(), &mount.source) {
        ("volume", Some(source)) => {
            let name = desk.volumes.get(source).unwrap_or(source);
            map.put("volume", name.as_str());
        }
        ("bind", Some(source)) => {
            let path = absolute(desk.request.folder, source);
            let Some(path) = path else {
                desk.lose(node, "write this host path out: `~` is not known here");
                return None;
            };
            desk.note(node, format!("the operator allows it with `--allow-host-mount {path}`"));
            map.put("host", path);
        }
        ("tmpfs", _) => match mount.size {
            Some(size) => map.put("tmpfs", values::shown_bytes(size)),
            None => map.put("tmpfs", Map::new()),
        },
        ("volume", None) => {
            desk.lose(node, "a volume without a name would be a new one each time: give it one");
            return None;
        }
        _ => {
            desk.lose(node, "only volumes, host folders and memory can be mounted");
            return None;
        }
    }
    if mount.is_read_only {
        map.put("readOnly", true);
    }
    Some(Yaml::Map(map))
}

/// A path without what is superfluous at its end.
fn clean(path: &str) -> String {
    let cut = path.trim_end_matches('/');
    if cut.is_empty() { path.to_owned() } else { cut.to_owned() }
}

/// A path, absolute and without `.` and `..`; none for one below somebody's home.
pub(super) fn absolute(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('~') {
        return None;
    }
    let whole = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
    let mut parts = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}
