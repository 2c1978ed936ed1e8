//! What the engine is asked for, and what is read of others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::engine::docker::convert::create_body;
use crate::model::{AppName, Command, GpuRoute, GpuShare, Resources, RestartPolicy, SpecHash};
use crate::plan::Shape;

fn spec(vendor: GpuVendor, way: Option<GpuWay>, capabilities: &[&str]) -> ContainerSpec {
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let grant = GpuGrant {
        vendor,
        devices: texts(&["GPU-a", "GPU-b"]),
        share: GpuShare::Exclusive,
        memory_bytes: None,
        capabilities: texts(capabilities),
    };
    let route = |way| GpuRoute {
        way,
        names: match way {
            GpuWay::Cdi => texts(&["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b"]),
            _ => Vec::new(),
        },
        nodes: if way == GpuWay::Cdi { Vec::new() } else { texts(&["/dev/nvidia0"]) },
        groups: if way == GpuWay::DeviceNodes { vec![44] } else { Vec::new() },
        driver: Some("550.54".to_owned()),
        why: String::new(),
    };
    let shape = Shape {
        image: "x:1".to_owned(),
        command: Command::Image,
        env: BTreeMap::from([("GPU_COUNT".to_owned(), "mine".to_owned())]),
        ports: Vec::new(),
        mounts: Vec::new(),
        resources: Resources::default(),
        restart: RestartPolicy::Always,
        network: "berth".to_owned(),
        gpus: Some(grant),
        secrets: BTreeMap::new(),
        restricted: None,
        services: None,
        models: BTreeMap::new(),
    };
    ContainerSpec {
        name: "chat-0".to_owned(),
        instance: "home".to_owned(),
        app: AppName::new("chat").unwrap(),
        generation: 1,
        spec_hash: SpecHash::of(&shape),
        build: None,
        commit: None,
        fields: String::new(),
        grace_s: 7,
        gpu_way: way.map(route),
        shape,
    }
}

fn body(spec: &ContainerSpec) -> Value {
    serde_json::to_value(create_body(spec, &crate::secret::Given::default())).unwrap()
}

/// The environment as the process sees it, of which the last entry counts.
fn seen(body: &Value, key: &str) -> Option<String> {
    let pairs = body["Env"].as_array().unwrap().iter().filter_map(Value::as_str);
    let same = pairs.filter_map(|pair| pair.split_once('=')).filter(|(name, _)| *name == key);
    let values: Vec<_> = same.map(|(_, value)| value.to_owned()).collect();
    assert!(values.len() < 2, "{key} twice: {values:?}");
    values.into_iter().next()
}

#[test]
fn a_device_request_names_the_cards_by_their_uuids() {
    for way in [None, Some(GpuWay::DeviceRequest)] {
        let body = body(&spec(GpuVendor::Nvidia, way, &[]));
        assert_eq!(
            body["HostConfig"]["DeviceRequests"],
            json!([{
                "Driver": "nvidia",
                "DeviceIDs": ["GPU-a", "GPU-b"],
                "Capabilities": [["gpu", "compute", "utility"]]
            }])
        );
        assert_eq!(seen(&body, "NVIDIA_VISIBLE_DEVICES").as_deref(), Some("GPU-a,GPU-b"));
        assert_eq!(seen(&body, "GPU_DEVICES").as_deref(), Some("GPU-a,GPU-b"));
        assert_eq!(seen(&body, "GPU_COUNT").as_deref(), Some("mine"), "the user's own stays");
    }
}

/// Fault U01: what the engine knows of is there again after a reload.
#[test]
fn nodes_stand_beside_the_hook() {
    let nodes = json!([{
        "PathOnHost": "/dev/nvidia0", "PathInContainer": "/dev/nvidia0", "CgroupPermissions": "rw"
    }]);
    for way in [GpuWay::DeviceRequest, GpuWay::Runtime] {
        assert_eq!(body(&spec(GpuVendor::Nvidia, Some(way), &[]))["HostConfig"]["Devices"], nodes);
    }
    assert!(body(&spec(GpuVendor::Nvidia, None, &[]))["HostConfig"].get("Devices").is_none());
}

#[test]
fn by_cdi_the_devices_come_once() {
    let body = body(&spec(GpuVendor::Nvidia, Some(GpuWay::Cdi), &["compute"]));
    let request =
        json!([{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-a", "nvidia.com/gpu=GPU-b"]}]);
    assert_eq!(body["HostConfig"]["DeviceRequests"], request);
    assert_eq!(seen(&body, "NVIDIA_VISIBLE_DEVICES").as_deref(), Some("void"));
    assert_eq!(seen(&body, "NVIDIA_DRIVER_CAPABILITIES"), None);
    assert_eq!(seen(&body, "GPU_DEVICES").as_deref(), Some("GPU-a,GPU-b"));
}

#[test]
fn the_runtime_is_told_by_the_environment() {
    let body = body(&spec(GpuVendor::Nvidia, Some(GpuWay::Runtime), &["graphics", "utility"]));
    assert_eq!(body["HostConfig"]["Runtime"], "nvidia");
    assert!(body["HostConfig"].get("DeviceRequests").is_none());
    assert_eq!(seen(&body, "NVIDIA_VISIBLE_DEVICES").as_deref(), Some("GPU-a,GPU-b"));
    let capabilities = seen(&body, "NVIDIA_DRIVER_CAPABILITIES");
    assert_eq!(capabilities.as_deref(), Some("graphics,utility"));
}

#[test]
fn amds_nodes_come_with_their_groups() {
    let body = body(&spec(GpuVendor::Amd, Some(GpuWay::DeviceNodes), &[]));
    assert_eq!(body["HostConfig"]["GroupAdd"], json!(["44"]));
    assert_eq!(body["HostConfig"]["Devices"][0]["PathOnHost"], "/dev/nvidia0");
    assert_eq!(seen(&body, "NVIDIA_VISIBLE_DEVICES").as_deref(), Some("void"));
}

/// Fault U09: a manifest can't say it, and if it could it would not count.
#[test]
fn who_asked_for_none_sees_none_and_who_asked_sees_his_own() {
    let mut with = spec(GpuVendor::Nvidia, None, &[]);
    with.shape.env.insert("NVIDIA_VISIBLE_DEVICES".to_owned(), "all".to_owned());
    assert_eq!(seen(&body(&with), "NVIDIA_VISIBLE_DEVICES").as_deref(), Some("GPU-a,GPU-b"));
    let mut without = spec(GpuVendor::Nvidia, None, &[]);
    without.shape.gpus = None;
    without.shape.env.insert("NVIDIA_VISIBLE_DEVICES".to_owned(), "all".to_owned());
    assert_eq!(seen(&body(&without), "NVIDIA_VISIBLE_DEVICES").as_deref(), Some("void"));
    assert_eq!(seen(&body(&without), "GPU_DEVICES"), None);
}

fn held(host: &Value, env: &[&str]) -> Option<GpuHold> {
    let body = json!({"HostConfig": host, "Config": {"Env": env}});
    hold(body.to_string().as_bytes()).unwrap()
}

/// Fault U12: whoever holds a card counts, however he came by it.
#[test]
fn what_others_hold_is_read_from_what_they_were_made_with() {
    let devices =
        |ids: &[&str]| Some(GpuHold::Devices(ids.iter().map(|id| (*id).to_owned()).collect()));
    let request = |request: Value| held(&json!({"DeviceRequests": [request]}), &[]);
    let gpu = json!([["gpu"]]);
    assert_eq!(request(json!({"Count": -1, "Capabilities": gpu})), Some(GpuHold::All));
    assert_eq!(request(json!({"Count": 2, "Capabilities": gpu})), Some(GpuHold::First(2)));
    let ids = json!({"DeviceIDs": ["GPU-a", "1"], "Capabilities": gpu});
    assert_eq!(request(ids), devices(&["GPU-a", "1"]));
    let one = json!({"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-a", "x.com/net=0"]});
    assert_eq!(request(one), devices(&["nvidia.com/gpu=GPU-a"]));
    let all = json!({"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]});
    assert_eq!(request(all), Some(GpuHold::All));
    assert_eq!(request(json!({"Count": -1, "Capabilities": [["tpu"]]})), None);
    let runtime = json!({"Runtime": "nvidia"});
    let visible = |value: &str| held(&runtime, &[&format!("NVIDIA_VISIBLE_DEVICES={value}")]);
    assert_eq!(visible("all"), Some(GpuHold::All));
    assert_eq!(visible("0,GPU-b"), devices(&["0", "GPU-b"]));
    for none in ["void", "none", ""] {
        assert_eq!(visible(none), None, "{none}");
    }
    let twice = ["NVIDIA_VISIBLE_DEVICES=all", "A=1", "NVIDIA_VISIBLE_DEVICES=void"];
    assert_eq!(held(&runtime, &twice), None, "the last one counts");
    assert_eq!(held(&json!({"Runtime": "runc"}), &["NVIDIA_VISIBLE_DEVICES=all"]), None);
    assert_eq!(held(&json!({"Privileged": true}), &[]), Some(GpuHold::All));
    let nodes = json!({"Devices": [
        {"PathOnHost": "/dev/nvidia1"}, {"PathOnHost": "/dev/nvidiactl"}, {"PathOnHost": "/dev/fuse"}
    ]});
    assert_eq!(held(&nodes, &[]), devices(&["1"]));
    assert_eq!(held(&json!({}), &[]), None);
}
