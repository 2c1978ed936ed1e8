//! The engine's answers, as a Docker Engine 20.10 shapes them.

use std::collections::{BTreeMap, BTreeSet};

use berth::{
    engine::{About, Load, fake::Fake},
    model::PortBinding,
    state::{Around, Container, ContainerState, Detail, GpuHold},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::Told;

pub(super) type Query = BTreeMap<String, String>;

/// What an engine says of a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Reads a query.
pub(super) fn query(text: &str) -> Query {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decoded(key), decoded(&value.replace('+', " ")))).collect()
}

/// Takes percent signs out.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let code = digits.and_then(|two| u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap()
}

pub(super) fn version() -> Value {
    json!({
        "Platform": {"Name": ""},
        "Components": [{"Name": "Engine", "Version": "20.10.24", "Details": {"ApiVersion": "1.41"}}],
        "Version": "20.10.24",
        "ApiVersion": "1.41",
        "MinAPIVersion": "1.12",
        "Os": "linux",
        "Arch": "amd64",
    })
}

pub(super) fn info(about: &About) -> Value {
    json!({"ID": about.id, "Driver": "overlay2", "ServerVersion": about.version})
}

/// A container's row in the list. A stopped one shows no ports, whatever it was made with.
pub(super) fn container(one: &Container, labels: &BTreeMap<String, String>) -> Value {
    let runs = matches!(one.state, ContainerState::Running | ContainerState::Paused);
    let port = |port: &PortBinding| {
        json!({
            "IP": port.host_ip,
            "PrivatePort": port.container_port,
            "PublicPort": port.host_port,
            "Type": port.protocol.to_string(),
        })
    };
    let ports: Vec<_> = one.ports.iter().filter(|_| runs).map(port).collect();
    let networks: Map<_, _> = one
        .networks
        .iter()
        .map(|(name, address)| {
            let address = address.as_deref().unwrap_or_default();
            (name.clone(), json!({"NetworkID": "0a".repeat(32), "IPAddress": address}))
        })
        .collect();
    let code = one.exit_code.unwrap_or(0);
    json!({
        "Id": one.id.as_str(),
        "Names": [format!("/{}", one.name)],
        "Image": one.image,
        "ImageID": one.image_id,
        "Command": "sleep 600",
        "Created": one.created.as_millis() / 1000,
        "Ports": ports,
        "Labels": labels,
        "State": word(one.state),
        "Status": match one.state {
            ContainerState::Exited => format!("Exited ({code}) Less than a second ago"),
            ContainerState::Restarting => format!("Restarting ({code}) Less than a second ago"),
            ContainerState::Created => "Created".to_owned(),
            ContainerState::Paused => "Up 1 second (Paused)".to_owned(),
            _ => "Up 1 second".to_owned(),
        },
        "HostConfig": {"NetworkMode": "default"},
        "NetworkSettings": {"Networks": networks},
        "Mounts": [],
    })
}

fn word(state: ContainerState) -> String {
    format!("{state:?}").to_lowercase()
}

pub(super) fn inspection(one: &Container, detail: &Detail, ports: &[PortBinding]) -> Value {
    let time = |at: Option<berth::model::Timestamp>| {
        at.map_or_else(|| NEVER.to_owned(), |at| at.to_string())
    };
    json!({
        "Id": one.id.as_str(),
        "Created": one.created.to_string(),
        "Name": format!("/{}", one.name),
        "RestartCount": detail.restart_count,
        "Image": one.image_id,
        "State": {
            "Status": word(one.state),
            "Running": one.state == ContainerState::Running,
            "OOMKilled": detail.is_oom_killed,
            "ExitCode": detail.exit_code.unwrap_or(0),
            "Error": detail.error.clone().unwrap_or_default(),
            "StartedAt": time(detail.started_at),
            "FinishedAt": time(detail.finished_at),
        },
        "Config": {"Tty": false, "Image": one.image},
        "HostConfig": {
            "DeviceRequests": one.gpus.as_ref().map(request),
            "PortBindings": bindings(ports),
        },
    })
}

/// The host's ports as they were asked for.
fn bindings(ports: &[PortBinding]) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for port in ports {
        let key = format!("{}/{}", port.container_port, port.protocol);
        let binding = json!({"HostIp": port.host_ip, "HostPort": port.host_port.to_string()});
        match all.entry(key).or_insert_with(|| json!([])) {
            Value::Array(list) => list.push(binding),
            other => panic!("{other}"),
        }
    }
    Value::Object(all)
}

/// What a container uses: two looks, a second apart.
pub(super) fn stats(load: &Load) -> Value {
    let second = 1_000_000_000_u32;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small figure")]
    let used = (load.cpu_percent / 100.0 * f64::from(second)) as u64;
    let second = u64::from(second);
    json!({
        "cpu_stats": {
            "cpu_usage": {"total_usage": 7 + used},
            "system_cpu_usage": second + second,
            "online_cpus": 1,
        },
        "precpu_stats": {"cpu_usage": {"total_usage": 7}, "system_cpu_usage": second},
        "memory_stats": {
            "usage": load.memory + 9,
            "limit": load.memory_limit,
            "stats": {"total_inactive_file": 9},
        },
        "networks": {"eth0": {"rx_bytes": load.received, "tx_bytes": load.sent}},
    })
}

/// GPUs as they were asked for.
fn request(hold: &GpuHold) -> Value {
    match hold {
        GpuHold::Granted(grant) => json!([{
            "Driver": "nvidia", "DeviceIDs": grant.devices, "Capabilities": [["gpu"]]
        }]),
        other => panic!("nothing here holds {other:?}"),
    }
}

pub(super) fn images(fake: &Fake) -> Value {
    let world = fake.world();
    let ids: BTreeSet<_> = world.images.values().collect();
    let row = |id: &String| {
        let tags: Vec<_> =
            world.images.iter().filter(|(_, of)| *of == id).map(|(tag, _)| tag).collect();
        let own = world.own_images.iter().find(|image| image.id == *id);
        let labels = fake.image(id).map(|(_, labels)| labels);
        json!({
            "Containers": -1,
            "Created": own.map_or(0, |image| image.created.as_millis() / 1000),
            "Id": id,
            "Labels": labels.filter(|labels| !labels.is_empty()),
            "ParentId": "",
            "RepoDigests": null,
            "RepoTags": tags,
            "Size": 1_985_570,
        })
    };
    ids.into_iter().map(row).collect()
}

/// The list of networks.
pub(super) fn networks(around: &Around) -> Value {
    let row = |network: &berth::state::Network| {
        json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created.map(|at| at.to_string()),
            "Driver": "bridge",
            "Containers": {},
            "Labels": network.labels,
        })
    };
    around.networks.iter().map(row).collect()
}

/// The list of volumes.
pub(super) fn volumes(around: &Around, query: &Query) -> Value {
    let row = |volume: &berth::state::Volume| {
        json!({
            "Name": volume.name,
            "CreatedAt": volume.created.map(|at| at.to_string()),
            "Driver": "local",
            "Labels": volume.labels,
        })
    };
    let is_all = !query.contains_key("filters");
    let all = around.volumes.iter().filter(|volume| is_all || !volume.is_mounted);
    json!({"Volumes": all.map(row).collect::<Vec<_>>(), "Warnings": null})
}

/// What the engine says of its disk.
pub(super) fn measured(volumes: &BTreeMap<String, u64>) -> Value {
    let row = |(name, size): (&String, &u64)| json!({"Name": name, "UsageData": {"Size": size, "RefCount": 0}});
    json!({"LayersSize": 0, "Images": [], "Volumes": volumes.iter().map(row).collect::<Vec<_>>()})
}

/// An event as a line.
pub(super) fn event(told: &Told) -> Bytes {
    let mut attributes: Map<_, _> =
        told.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    attributes.insert("name".to_owned(), json!(told.name));
    let millis = told.at.as_millis();
    let line = json!({
        "status": told.action,
        "id": told.id.as_str(),
        "Type": "container",
        "Action": told.action,
        "Actor": {"ID": told.id.as_str(), "Attributes": attributes},
        "scope": "local",
        "time": millis / 1000,
        "timeNano": millis * 1_000_000,
    });
    Bytes::from(format!("{line}\n"))
}

/// Output with the head that says how long it is.
pub(super) fn frame(bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).unwrap();
    let mut framed = vec![1, 0, 0, 0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(bytes);
    Bytes::from(framed)
}
