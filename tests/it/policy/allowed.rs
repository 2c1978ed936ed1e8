//! The policy, as a list of what a create call may say. What is not named here is not allowed.

use std::collections::BTreeSet;

use berth::{
    model::{App, Profile, label},
    state::Policy,
};
use serde_json::{Value, json};

pub(super) const INSTANCE: &str = "home";
/// The host folder below which the generous operator lets manifests mount.
pub(super) const ROOT: &str = "/srv/data";

const BODY: &[&str] = &[
    "Image",
    "Entrypoint",
    "Cmd",
    "User",
    "Env",
    "Labels",
    "ExposedPorts",
    "StopTimeout",
    "HostConfig",
    "NetworkingConfig",
];

/// Without `Binds`, `CapAdd`, `Devices`, `DeviceRequests`, `PidMode`, `UTSMode`, `UsernsMode`,
/// `CgroupParent`, `Sysctls`, `VolumesFrom`, `ExtraHosts`, `Runtime`, `PublishAllPorts` ….
const HOST: &[&str] = &[
    "NetworkMode",
    "PortBindings",
    "Mounts",
    "RestartPolicy",
    "Memory",
    "MemorySwap",
    "NanoCpus",
    "ShmSize",
    "PidsLimit",
    "LogConfig",
    "SecurityOpt",
    "CapDrop",
    "IpcMode",
    "Init",
    "Privileged",
    "ReadonlyRootfs",
];
/// Where the secrets that are files lie.
pub(super) const SECRETS: &str = "/run/berth-home";
/// The value of every secret.
pub(super) const SECRET: &str = "s3cret";

/// What of a create call is not allowed.
pub(super) fn check(app: &App, policy: &Policy, query: &str, body: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    let host = &body["HostConfig"];
    must(only(body, BODY), "a field of the body that is not allowed");
    must(only(host, HOST), "a field of the host configuration that is not allowed");
    must(host["Privileged"] == json!(false), "privileged");
    must(host["NetworkMode"] == json!(policy.network), "another network");
    must(host["IpcMode"] == json!("private"), "shared memory with others");
    must(host["SecurityOpt"] == json!(["no-new-privileges"]), "security options");
    let is_tight = app.spec.profile == Some(Profile::Restricted);
    let drop = if is_tight { "ALL" } else { "NET_RAW" };
    must(host["CapDrop"] == json!([drop]), "capabilities");
    let user = body["User"].as_str().unwrap_or_default();
    must(is_tight != user.is_empty() && !user.starts_with("0:"), "the user");
    must(is_tight == (host["ReadonlyRootfs"] == json!(true)), "what can be written");
    must(host["Init"] == json!(true), "no first process");
    must(is_within(&host["PidsLimit"], 1, 1 << 22), "no limit of processes");
    must(may_be(&host["Memory"], 6 << 20), "a memory limit that is none");
    must(host["Memory"] == host["MemorySwap"], "swap beyond the memory limit");
    must(may_be(&host["NanoCpus"], 1), "a CPU limit that is none");
    must(may_be(&host["ShmSize"], 1), "shared memory without a size");
    must(is_within(&body["StopTimeout"], 0, 600), "a grace period without end");
    let restart = host["RestartPolicy"]["Name"].as_str().unwrap_or_default();
    must(["unless-stopped", "on-failure", "no"].contains(&restart), "another restart policy");
    let log = &host["LogConfig"];
    must(log["Type"] == json!("json-file"), "another log driver");
    let rotates =
        log["Config"]["max-size"] == json!("10m") && log["Config"]["max-file"] == json!("3");
    must(rotates && log["Config"]["mode"] == json!("non-blocking"), "a log without bounds");
    wrong.extend(check_ports(app, policy, body));
    wrong.extend(check_mounts(app, policy, host));
    wrong.extend(check_names(app, policy, query, body));
    wrong.extend(check_env(body));
    wrong
}

fn only(object: &Value, allowed: &[&str]) -> bool {
    object
        .as_object()
        .is_some_and(|fields| fields.keys().all(|key| allowed.contains(&key.as_str())))
}

fn is_within(value: &Value, least: i64, most: i64) -> bool {
    value.as_i64().is_some_and(|number| (least..=most).contains(&number))
}

/// Absent, or a limit that limits.
fn may_be(value: &Value, least: i64) -> bool {
    value.is_null() || is_within(value, least, i64::MAX)
}

/// Faults P06, P09: as the manifest or the operator says, and only what was declared.
fn check_ports(app: &App, policy: &Policy, body: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let empty = serde_json::Map::new();
    let bound = body["HostConfig"]["PortBindings"].as_object().unwrap_or(&empty);
    let declared: BTreeSet<_> =
        app.spec.ports.iter().map(|p| format!("{}/{}", p.container_port, p.protocol)).collect();
    let exposed = body["ExposedPorts"].as_array().cloned().unwrap_or_default();
    let exposed = exposed.iter().filter_map(Value::as_str).map(ToOwned::to_owned);
    let exposed: BTreeSet<_> = exposed
        .chain(body["ExposedPorts"].as_object().into_iter().flat_map(|map| map.keys().cloned()))
        .collect();
    let keys: BTreeSet<_> = bound.keys().cloned().collect();
    if keys != declared || exposed != declared {
        wrong.push(format!("declared {declared:?}, bound {keys:?}, exposed {exposed:?}"));
    }
    let mut seen = BTreeSet::new();
    for (key, bindings) in bound {
        for binding in bindings.as_array().into_iter().flatten() {
            let spec = app.spec.ports.iter().find(|spec| {
                let is_it = format!("{}/{}", spec.container_port, spec.protocol) == *key;
                let port = binding["HostPort"].as_str().and_then(|port| port.parse().ok());
                let is_right = match (spec.host_port, port) {
                    (Some(fixed), Some(port)) => fixed == port,
                    (None, Some(port)) => policy.ports.contains(port),
                    (_, None) => false,
                };
                is_it && is_right && 1024 <= port.unwrap_or(0)
            });
            let address = spec.map(|spec| spec.bind.unwrap_or(policy.publish).address());
            if address.is_none() || binding["HostIp"].as_str() != address {
                wrong.push(format!("{key} is bound as {binding}"));
            }
            let protocol = key.rsplit('/').next();
            if !seen.insert((protocol, binding["HostPort"].as_str())) {
                wrong.push(format!("{binding} is bound twice"));
            }
        }
    }
    wrong
}

/// Faults D43, T11: nothing of the host but the app's own folder and what the operator allows.
fn check_mounts(app: &App, policy: &Policy, host: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let own = format!("{}/{}/data", policy.workspaces, app.name);
    let mut targets = BTreeSet::new();
    for mount in host["Mounts"].as_array().into_iter().flatten() {
        let source = mount["Source"].as_str().unwrap_or_default();
        let is_plain = |path: &str| {
            path.starts_with('/')
                && !path.contains(['\0', ':'])
                && path.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."))
        };
        let is_allowed = |root: &String| {
            source
                .strip_prefix(root.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let is_right = match mount["Type"].as_str() {
            Some("bind") => {
                let is_secret =
                    source == format!("{SECRETS}/seal") && mount["ReadOnly"] == json!(true);
                let is_ours =
                    source == own || is_secret || policy.host_mounts.iter().any(is_allowed);
                is_ours
                    && is_plain(source)
                    && mount["BindOptions"] == json!({"Propagation": "rprivate"})
            }
            Some("volume") => {
                let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                source.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && source.chars().all(legal)
                    && only(&mount["VolumeOptions"], &["Labels"])
            }
            Some("tmpfs") => {
                source.is_empty()
                    && only(&mount["TmpfsOptions"], &["SizeBytes"])
                    && may_be(&mount["TmpfsOptions"]["SizeBytes"], 1)
            }
            _ => false,
        };
        let target = mount["Target"].as_str().unwrap_or_default();
        let is_system = ["/proc", "/sys", "/dev"].iter().any(|system| {
            target.strip_prefix(system).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if !is_right || !is_plain(target) || is_system || !targets.insert(target) {
            wrong.push(format!("mount {mount}"));
        }
    }
    wrong
}

/// Faults D20, D21: names and labels are Berth's own, whatever the manifest says.
fn check_names(app: &App, policy: &Policy, query: &str, body: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let asked: Vec<_> = query.split('&').filter(|part| *part != "platform=").collect();
    let name = asked.first().and_then(|part| part.strip_prefix("name=")).unwrap_or_default();
    let suffix = name.strip_prefix(&format!("{}-", app.name)).unwrap_or_default();
    if asked.len() != 1 || suffix.len() != 8 || !suffix.chars().all(|c| c.is_ascii_hexdigit()) {
        wrong.push(format!("name {query}"));
    }
    let empty = serde_json::Map::new();
    let labels = body["Labels"].as_object().unwrap_or(&empty);
    let is_known =
        |key: &String| key.starts_with("dev.berth.") || key.starts_with("com.docker.compose.");
    if !labels.keys().all(is_known)
        || labels.get(label::INSTANCE) != Some(&json!(policy.instance))
        || labels.get(label::APP) != Some(&json!(app.name.as_str()))
    {
        wrong.push(format!("labels {labels:?}"));
    }
    let network = &body["NetworkingConfig"]["EndpointsConfig"];
    if *network != json!({policy.network.as_str(): {"Aliases": [app.name.as_str()]}}) {
        wrong.push(format!("networks {network}"));
    }
    wrong
}

/// Fault U09: no GPU, and every variable once.
fn check_env(body: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for variable in body["Env"].as_array().into_iter().flatten() {
        let (name, value) = variable.as_str().and_then(|v| v.split_once('=')).unwrap_or_default();
        let is_gpu = name == "NVIDIA_VISIBLE_DEVICES";
        if name.is_empty() || value.contains('\0') || (is_gpu && value != "void") {
            wrong.push(format!("variable {variable}"));
        }
        if !names.insert(name) {
            wrong.push(format!("{name} is there twice"));
        }
    }
    for expected in ["NVIDIA_VISIBLE_DEVICES", "WORKSPACE"] {
        if !names.contains(expected) {
            wrong.push(format!("no {expected}"));
        }
    }
    wrong
}
