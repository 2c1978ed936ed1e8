//! GPUs: how the engine can give them, how a container is asked for with them, and who has some.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard::models::{DeviceMapping, DeviceRequest, HostConfig};
use serde::Deserialize;
use serde_json::Value;

use super::super::Error;
use super::errors::within;
use super::transport::decode;
use super::{Docker, LIST_LIMIT, cdi};
use crate::model::{GpuGrant, GpuVendor, GpuWay};
use crate::plan::ContainerSpec;
use crate::state::{ContainerId, GpuHold, GpuWays};

/// Which GPUs a container sees. An image may ask for all of them, so the key is always written
/// (fault U09).
pub(super) const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";
/// No GPU, and no driver files either.
pub(super) const NONE: &str = "void";
/// What of the driver a container sees.
const CAPABILITIES: &str = "NVIDIA_DRIVER_CAPABILITIES";
/// How many GPUs an app was given, for the app.
const COUNT: &str = "GPU_COUNT";
/// Which GPUs an app was given, for the app.
const DEVICES: &str = "GPU_DEVICES";
/// The runtime that reads the environment.
const RUNTIME: &str = "nvidia";
/// Where NVIDIA's device nodes are.
const NODE: &str = "/dev/nvidia";

impl Docker {
    /// How the engine can give GPUs. Folders of descriptions are read as the engine sees them,
    /// where it is one of this machine.
    pub(super) async fn ways(&self) -> Result<GpuWays, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Info {
            discovered_devices: Option<Vec<Device>>,
            #[serde(rename = "CDISpecDirs")]
            folders: Option<Vec<String>>,
            runtimes: Option<BTreeMap<String, Value>>,
        }
        #[derive(Deserialize)]
        struct Device {
            #[serde(rename = "Source")]
            source: Option<String>,
            #[serde(rename = "ID")]
            id: Option<String>,
        }
        let asked = self.transport().introduction("info", "/info");
        let (listener, body) = within("info", LIST_LIMIT, asked).await?;
        let info: Info = decode("info", &body)?;
        let said = info.discovered_devices.into_iter().flatten();
        let mut ways = GpuWays {
            cdi_devices: said
                .filter(|device| device.source.as_deref() == Some("cdi"))
                .filter_map(|device| device.id)
                .collect(),
            cdi_folders: info.folders.unwrap_or_default(),
            cdi_driver: None,
            has_nvidia_runtime: info.runtimes.is_some_and(|all| all.contains_key(RUNTIME)),
        };
        // Without a listener it is no socket of this machine.
        if let Some(listener) = listener.filter(|_| !ways.cdi_folders.is_empty()) {
            let (folders, process) = (ways.cdi_folders.clone(), listener.process());
            let look = move || cdi::read(&folders, |path| seen_by(process, path));
            let described = tokio::task::spawn_blocking(look).await.unwrap_or_default();
            ways.cdi_devices.extend(described.devices);
            ways.cdi_driver = described.driver;
        }
        Ok(ways)
    }

    /// The GPUs that a container holds, by what it was made with.
    pub(super) async fn gpus_of(&self, id: &ContainerId) -> Result<Option<GpuHold>, Error> {
        self.inspection(id).await?.map_or(Ok(None), |body| hold(&body))
    }
}

/// A path as the engine sees it: it may have mounts of its own.
fn seen_by(process: Option<i32>, path: &Path) -> PathBuf {
    let below = path.strip_prefix("/").unwrap_or(path);
    let own = |pid: i32| Path::new("/proc").join(pid.to_string()).join("root").join(below);
    process.map(own).filter(|seen| seen.exists()).unwrap_or_else(|| path.to_owned())
}

/// What a container's environment says of GPUs. What the user wrote under one of these names stays,
/// but for the one that decides which GPUs it sees.
pub(super) fn environment(spec: &ContainerSpec) -> Vec<String> {
    let env = &spec.shape.env;
    let mut said: Vec<(&str, String)> = Vec::new();
    match &spec.shape.gpus {
        None => said.push((VISIBLE, NONE.to_owned())),
        Some(grant) => {
            let devices = grant.devices.join(",");
            // By CDI the devices come without the hook, which would bring them a second time.
            let is_by_hook = matches!(way(spec), GpuWay::DeviceRequest | GpuWay::Runtime);
            if is_by_hook && grant.vendor == GpuVendor::Nvidia {
                said.push((VISIBLE, devices.clone()));
                said.push((CAPABILITIES, capabilities(grant).join(",")));
            } else {
                said.push((VISIBLE, NONE.to_owned()));
            }
            said.push((COUNT, grant.devices.len().to_string()));
            said.push((DEVICES, devices));
        }
    }
    said.retain(|(key, _)| *key == VISIBLE || !env.contains_key(*key));
    said.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// Whether the user's value of a variable is replaced.
pub(super) fn overrides(key: &str) -> bool {
    key == VISIBLE
}

fn way(spec: &ContainerSpec) -> GpuWay {
    spec.gpu_way.as_ref().map_or(GpuWay::DeviceRequest, |route| route.way)
}

/// What of the driver is shown: what GPUs compute with, unless something else was asked for.
fn capabilities(grant: &GpuGrant) -> Vec<String> {
    if grant.capabilities.is_empty() {
        return vec!["compute".to_owned(), "utility".to_owned()];
    }
    grant.capabilities.clone()
}

/// Asks for a container's GPUs.
pub(super) fn put(spec: &ContainerSpec, host: &mut HostConfig) {
    let Some(grant) = &spec.shape.gpus else { return };
    let (names, nodes, groups) = spec.gpu_way.as_ref().map_or_else(Default::default, |route| {
        (route.names.clone(), route.nodes.clone(), route.groups.clone())
    });
    match way(spec) {
        GpuWay::Cdi => {
            host.device_requests = Some(vec![DeviceRequest {
                driver: Some("cdi".to_owned()),
                device_ids: Some(names),
                ..Default::default()
            }]);
        }
        GpuWay::DeviceRequest => {
            let words = ["gpu".to_owned()].into_iter().chain(capabilities(grant)).collect();
            host.device_requests = Some(vec![DeviceRequest {
                driver: Some(grant.vendor.to_string()),
                device_ids: Some(grant.devices.clone()),
                capabilities: Some(vec![words]),
                ..Default::default()
            }]);
        }
        GpuWay::Runtime => host.runtime = Some(RUNTIME.to_owned()),
        GpuWay::DeviceNodes => {}
    }
    if !nodes.is_empty() {
        let mapping = |node: &String| DeviceMapping {
            path_on_host: Some(node.clone()),
            path_in_container: Some(node.clone()),
            cgroup_permissions: Some("rw".to_owned()),
        };
        host.devices.get_or_insert_default().extend(nodes.iter().map(mapping));
    }
    if !groups.is_empty() {
        host.group_add = Some(groups.iter().map(ToString::to_string).collect());
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HoldWire {
    host_config: HostWire,
    config: ConfigWire,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct HostWire {
    device_requests: Option<Vec<RequestWire>>,
    devices: Option<Vec<NodeWire>>,
    runtime: Option<String>,
    privileged: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RequestWire {
    driver: Option<String>,
    count: Option<i64>,
    #[serde(rename = "DeviceIDs")]
    device_ids: Option<Vec<String>>,
    capabilities: Option<Vec<Vec<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NodeWire {
    path_on_host: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigWire {
    env: Option<Vec<String>>,
}

/// The GPUs that an inspected container holds.
fn hold(body: &[u8]) -> Result<Option<GpuHold>, Error> {
    let wire: HoldWire = decode("inspect", body)?;
    let host = wire.host_config;
    // Every device of the host is in there, whatever else it asks for.
    if host.privileged == Some(true) {
        return Ok(Some(GpuHold::All));
    }
    let mut holds: Vec<_> =
        host.device_requests.unwrap_or_default().iter().filter_map(hold_of_request).collect();
    if host.runtime.as_deref() == Some(RUNTIME) {
        let key = format!("{VISIBLE}=");
        let env = wire.config.env.unwrap_or_default();
        let said = env.iter().rev().find_map(|pair| pair.strip_prefix(&key)).map(ToOwned::to_owned);
        holds.extend(said.as_deref().and_then(hold_of_list));
    }
    let nodes = host.devices.unwrap_or_default().into_iter().filter_map(|node| node.path_on_host);
    let numbers: Vec<_> = nodes.filter_map(|node| number_of(&node)).collect();
    if !numbers.is_empty() {
        holds.push(GpuHold::Devices(numbers));
    }
    Ok(holds.into_iter().reduce(both))
}

/// The number in the name of a card's node.
fn number_of(node: &str) -> Option<String> {
    let rest = node.strip_prefix(NODE)?;
    (!rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit())).then(|| rest.to_owned())
}

fn hold_of_request(request: &RequestWire) -> Option<GpuHold> {
    let driver = request.driver.as_deref().unwrap_or_default();
    let ids = request.device_ids.as_deref().unwrap_or_default();
    if driver == "cdi" {
        let class = |id: &&String| id.starts_with("nvidia.com/") || id.starts_with("amd.com/");
        let ids: Vec<_> = ids.iter().filter(class).cloned().collect();
        return hold_of_list(&ids.join(","));
    }
    let words = || request.capabilities.iter().flatten().flatten();
    let is_gpu = ["nvidia", "amd"].contains(&driver)
        || words().any(|word| word == "gpu" || word == "nvidia");
    match (is_gpu, ids, request.count.unwrap_or(0)) {
        (false, ..) => None,
        (true, [], count) => Some(u32::try_from(count).map_or(GpuHold::All, GpuHold::First)),
        (true, ids, _) => hold_of_list(&ids.join(",")),
    }
}

/// Devices, separated by commas, as the environment and requests name them.
fn hold_of_list(text: &str) -> Option<GpuHold> {
    let devices: Vec<_> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    match devices.as_slice() {
        [] | ["void" | "none"] => None,
        all if all.iter().any(|one| *one == "all" || one.ends_with("=all")) => Some(GpuHold::All),
        some => Some(GpuHold::Devices(some.iter().map(|one| (*one).to_owned()).collect())),
    }
}

/// Two holds as one. What is not comparable is everything: too much is waited for, nothing shared.
fn both(one: GpuHold, other: GpuHold) -> GpuHold {
    match (one, other) {
        (GpuHold::Devices(mut some), GpuHold::Devices(more)) => {
            some.extend(more.into_iter().filter(|id| !some.contains(id)).collect::<Vec<_>>());
            GpuHold::Devices(some)
        }
        (GpuHold::First(a), GpuHold::First(b)) => GpuHold::First(a.max(b)),
        (a, b) if a == b => a,
        _ => GpuHold::All,
    }
}

#[cfg(test)]
mod tests;
