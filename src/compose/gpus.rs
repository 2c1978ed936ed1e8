//! GPUs in a compose file: the cards that a container was given, and what the app asked for.

use serde_json::Value;

use super::emit::{Map, Yaml};
use crate::model::{GpuAsk, GpuShare};

/// GPUs, or devices like them.
pub(super) fn request(request: &Value, words: impl Fn(&Value) -> Option<Vec<Yaml>>) -> Yaml {
    let mut map = Map::new();
    map.put_some("driver", request["Driver"].as_str().filter(|driver| !driver.is_empty()));
    match words(&request["DeviceIDs"]).filter(|ids| !ids.is_empty()) {
        Some(ids) => map.put("device_ids", ids),
        None if request["Count"] == -1 => map.put("count", "all"),
        None => map.put_some("count", request["Count"].as_i64()),
    }
    // Compose wants some; by CDI none matters.
    let capabilities = words(&request["Capabilities"][0]).unwrap_or_else(|| vec!["gpu".into()]);
    map.put("capabilities", capabilities);
    Yaml::Map(map)
}

/// Device nodes as compose writes them; none when one of them is not understood.
pub(super) fn nodes(list: &Value) -> Option<Vec<Yaml>> {
    let node = |node: &Value| {
        let text = |key: &str| node[key].as_str();
        let (host, inside) = (text("PathOnHost")?, text("PathInContainer")?);
        Some(Yaml::Text(format!("{host}:{inside}:{}", text("CgroupPermissions")?)))
    };
    list.as_array()?.iter().map(node).collect()
}

/// What the app asked for, as a manifest says it.
pub(super) fn ask(ask: &GpuAsk) -> Yaml {
    if *ask == GpuAsk::whole(ask.count) {
        return Yaml::Int(i64::from(ask.count));
    }
    let mut map = Map::new();
    if ask.ids.is_empty() {
        map.put("count", i64::from(ask.count));
    } else {
        map.put("ids", ask.ids.clone());
    }
    let memory = ask.memory_bytes.map(super::import::shown_bytes);
    map.put_some("memory", memory);
    if ask.share == GpuShare::Memory {
        map.put("share", "memory");
    }
    map.put_some("model", ask.model.clone());
    map.put_some("vendor", ask.vendor.map(|vendor| vendor.to_string()));
    map.put_some("mig", ask.mig.clone());
    if !ask.capabilities.is_empty() {
        map.put("capabilities", ask.capabilities.clone());
    }
    if ask.priority != 0 {
        map.put("priority", i64::from(ask.priority));
    }
    Yaml::Map(map)
}
