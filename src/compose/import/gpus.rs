//! GPUs, in all the forms that compose has for them.

use std::collections::BTreeSet;

use super::super::emit::{Map, Yaml};
use super::{Desk, beyond, tree::Node};

/// Says which GPUs a container sees.
pub(super) const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// What Berth tells an app of its GPUs, beside that.
const TOLD: [&str; 3] = ["NVIDIA_DRIVER_CAPABILITIES", "GPU_COUNT", "GPU_DEVICES"];
/// What an app sees of the driver unless it asks for something else.
const USUAL: [&str; 2] = ["compute", "utility"];

/// What is asked for.
#[derive(Default)]
struct Asked {
    count: u32,
    ids: Vec<String>,
    capabilities: BTreeSet<String>,
    is_amd: bool,
}

/// Whether Berth wrote down what the app asked for.
fn is_own(service: &Node) -> bool {
    service.peek("x-berth").is_some_and(|own| own.peek("gpus").is_some())
}

fn has_runtime(service: &Node) -> bool {
    service.peek("runtime").and_then(Node::text).as_deref() == Some("nvidia")
}

/// Whether a variable of a service says what Berth says of itself.
pub(super) fn is_told(service: &Node, name: &str, value: &str) -> bool {
    match name {
        VISIBLE => value == "void" || is_own(service) || has_runtime(service),
        _ => TOLD.contains(&name) && is_own(service),
    }
}

/// Variables that may be told by Berth.
pub(super) fn told() -> impl Iterator<Item = &'static str> {
    [VISIBLE].into_iter().chain(TOLD)
}

/// Reads the GPUs of a service; `visible` is what its environment says of them.
pub(super) fn read(service: &Node, visible: Option<&str>, spec: &mut Map, desk: &mut Desk<'_>) {
    let reserved = service
        .get("deploy")
        .and_then(|deploy| deploy.get("resources")?.get("reservations")?.get("devices"));
    let short = service.get("gpus");
    if is_own(service) {
        let keys = ["runtime", "devices", "group_add"];
        let nodes =
            keys.into_iter().filter_map(|key| service.get(key)).chain(reserved).chain(short);
        nodes.for_each(Node::use_all);
        return spec.put_some("gpus", beyond::part(service, "gpus"));
    }
    let mut asked = Asked::default();
    if let Some(all) = short.filter(|node| !node.is_list()) {
        match all.text().as_deref() {
            Some("all") => lose_all(all, desk),
            _ => desk.lose(all, "this is neither `all` nor a list of requests"),
        }
    }
    for request in short.into_iter().chain(reserved).flat_map(Node::elements) {
        add(request, &mut asked, desk);
    }
    if let Some(runtime) = service.get("runtime").filter(|_| has_runtime(service)) {
        let list = visible.unwrap_or_default().split(',').map(str::trim);
        let ids: Vec<_> = list.filter(|id| !["", "void", "none"].contains(id)).collect();
        if ids.contains(&"all") {
            lose_all(runtime, desk);
        } else {
            add_ids(runtime, ids.into_iter(), &mut asked, desk);
        }
    } else if let Some(runtime) = service.get("runtime") {
        desk.lose(runtime, super::reasons::of("runtime"));
    }
    spec.put_some("gpus", manifest(&asked));
}

fn lose_all(node: &Node, desk: &mut Desk<'_>) {
    desk.lose(
        node,
        "write how many in the manifest's `gpus`: Berth gives cards by number, never all",
    );
}

fn add(request: &Node, asked: &mut Asked, desk: &mut Desk<'_>) {
    let words = |key: &str| -> Vec<String> {
        request.get(key).into_iter().flat_map(Node::elements).filter_map(Node::text).collect()
    };
    let driver = request.get("driver").and_then(Node::text).unwrap_or_default();
    let capabilities = words("capabilities");
    let (ids, count) = (words("device_ids"), request.get("count"));
    let is_gpu = |word: &String| word == "gpu" || word == "nvidia";
    // Under `gpus` it goes without saying.
    let is_short = capabilities.is_empty() && request.path.contains(".gpus[");
    let is_class = |id: &String| id.starts_with("nvidia.com/") || id.starts_with("amd.com/");
    let is_for_gpus = match driver.as_str() {
        "cdi" => ids.iter().all(is_class),
        "" | "nvidia" | "amd" => is_short || capabilities.iter().any(is_gpu),
        _ => false,
    };
    if !is_for_gpus {
        return desk.lose(request, "Berth gives no other devices than GPUs");
    }
    asked.is_amd |= driver == "amd" || ids.iter().any(|id| id.starts_with("amd.com/"));
    asked.capabilities.extend(capabilities.into_iter().filter(|word| !is_gpu(word)));
    let text = count.and_then(Node::text);
    match (ids.is_empty(), text.as_deref().map(str::parse::<u32>)) {
        (false, None) => {
            let bare = ids.iter().map(|id| id.rsplit_once('=').map_or(id.as_str(), |(_, id)| id));
            add_ids(request, bare, asked, desk);
        }
        (true, Some(Ok(count))) => asked.count += count,
        // Compose gives all where nothing is said.
        (true, _) => lose_all(request, desk),
        (false, Some(_)) => desk.lose(request, "compose takes either `count` or `device_ids`"),
    }
}

fn add_ids<'a>(
    node: &Node,
    ids: impl Iterator<Item = &'a str>,
    asked: &mut Asked,
    desk: &mut Desk<'_>,
) {
    let mut is_by_number = false;
    for id in ids {
        if id == "all" {
            return lose_all(node, desk);
        }
        asked.count += 1;
        if id.starts_with("GPU-") || id.starts_with("MIG-") {
            asked.ids.push(id.to_owned());
        } else {
            is_by_number = true;
        }
    }
    if is_by_number {
        desk.note(node, "numbers of cards change with restarts, so Berth chooses which cards they are; `berth gpu ls` shows their ids");
    }
}

fn manifest(asked: &Asked) -> Option<Yaml> {
    if asked.count == 0 {
        return None;
    }
    let is_usual =
        asked.capabilities.is_empty() || asked.capabilities == USUAL.map(str::to_owned).into();
    let is_exact = asked.ids.len() == asked.count as usize;
    if is_usual && !is_exact && !asked.is_amd {
        return Some(Yaml::Int(i64::from(asked.count)));
    }
    let mut map = Map::new();
    if is_exact {
        map.put("ids", asked.ids.clone());
    } else {
        map.put("count", i64::from(asked.count));
    }
    if asked.is_amd {
        map.put("vendor", "amd");
    }
    if !is_usual {
        map.put("capabilities", asked.capabilities.iter().cloned().collect::<Vec<_>>());
    }
    Some(map.into())
}
