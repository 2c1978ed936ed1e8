//! The gate: every container that Berth asks an engine to make is held against the operator's
//! policy once more, right before the call, whoever planned it.
//!
//! It reads what would be sent, not what was meant, and knows only what is allowed: a field that is
//! not named here does not pass. It never changes anything; a container that asks for too much is
//! not made.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::super::Error;
use super::convert::{FUSE_CAPABILITY, FUSE_DEVICE, NO_NETWORK};
use super::gpus;
use crate::model::Profile;
use crate::plan::{ContainerSpec, Sealed};
use crate::secret::Given;
use crate::state::Policy;

/// What the body of a call may have.
const BODY: [&str; 10] = [
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
/// What of the host a container may be given.
const HOST: [&str; 16] = [
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
/// What only containers with GPUs may have.
const WITH_GPUS: [&str; 4] = ["Devices", "DeviceRequests", "GroupAdd", "Runtime"];
/// What only containers that mount by FUSE may have.
const WITH_FUSE: [&str; 2] = ["CapAdd", "Devices"];
/// Where nodes of GPUs are.
const NODES: [&str; 4] = ["/dev/nvidia", "/dev/dri/", "/dev/kfd", "/dev/dxg"];
/// Who may use one of these is root on the host.
const SOCKETS: [&str; 6] = [
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
];
/// Where nothing is mounted.
const SYSTEM: [&str; 3] = ["/proc", "/sys", "/dev"];
/// Ports below are the system's.
const PORT_MIN: u16 = 1024;

/// What no container may be asked beyond. By default nothing of the host is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// The only network; none is any that is not the host's or another container's.
    network: Option<String>,
    /// The folder of workspaces: an app gets its own `data`.
    workspaces: Option<PathBuf>,
    /// What manifests may mount from below.
    host_mounts: Vec<PathBuf>,
    /// What nobody gets: the engine's socket, Berth's own folder.
    kept: Vec<PathBuf>,
    /// How tightly containers are held at least.
    profile: Profile,
    /// The apps that may mount by FUSE.
    fuse_apps: Vec<String>,
    /// The folder that stored models are mounted from; none is no store.
    models: Option<PathBuf>,
    /// Where the store is: nobody else writes there.
    store: Option<PathBuf>,
}

impl Gate {
    /// The gate of this policy.
    pub fn of(policy: &Policy) -> Self {
        Self {
            network: Some(policy.network.clone()),
            workspaces: Some(PathBuf::from(&policy.workspaces)),
            host_mounts: policy.host_mounts.iter().map(PathBuf::from).collect(),
            kept: Vec::new(),
            profile: policy.profile,
            fuse_apps: policy.fuse_apps.clone(),
            models: Some(Path::new(&policy.models).join(".store/mounts")),
            store: Some(PathBuf::from(&policy.models)),
        }
    }

    /// One that besides keeps these paths, and whatever is below, from every container.
    #[must_use]
    pub fn keeping(mut self, paths: impl IntoIterator<Item = PathBuf>) -> Self {
        self.kept.extend(paths);
        self
    }
}

/// Why something does not pass.
struct No(String, String);

type Passed = Result<(), No>;

fn no(field: &str, why: impl Into<String>) -> Passed {
    Err(No(field.to_owned(), why.into()))
}

/// Lets a call pass that the policy allows.
pub(super) fn pass(
    gate: &Gate,
    spec: &ContainerSpec,
    given: &Given,
    body: &impl serde::Serialize,
) -> Result<(), Error> {
    let missing = spec.shape.secrets.iter().find(|(target, _)| {
        Sealed::variable(target).map_or_else(
            || !given.files.contains_key(*target),
            |name| !given.env.contains_key(name),
        )
    });
    if let Some((_, sealed)) = missing {
        return Err(Error::Secret(format!("the secret {} is not given", sealed.wanted)));
    }
    let forbidden = |No(field, message): No| Error::Forbidden { field, message };
    let body = serde_json::to_value(body).unwrap_or_default();
    check(gate, spec, given, &body).map_err(forbidden)
}

fn check(gate: &Gate, spec: &ContainerSpec, given: &Given, body: &Value) -> Passed {
    let host = &body["HostConfig"];
    only(body, "", &BODY, &[])?;
    let fuse = check_fuse(gate, spec, host)?;
    let gpus: &[&str] = if spec.shape.gpus.is_some() { &WITH_GPUS } else { &[] };
    let fuse_fields: &[&str] = if fuse { &WITH_FUSE } else { &[] };
    only(host, "HostConfig.", &HOST, &[gpus, fuse_fields].concat())?;
    if host["Privileged"] != Value::Bool(false) {
        return no("HostConfig.Privileged", "no container of Berth is privileged");
    }
    check_namespaces(gate, host)?;
    check_network(spec, body)?;
    check_limits(host)?;
    check_environment(spec, body)?;
    let options = words(&host["SecurityOpt"]);
    let is_unconfined = fuse && options == ["no-new-privileges", "apparmor=unconfined"];
    if options != ["no-new-privileges"] && !is_unconfined {
        return no(
            "HostConfig.SecurityOpt",
            "the engine's own profiles and `no-new-privileges` hold for everyone",
        );
    }
    let dropped = words(&host["CapDrop"]);
    if dropped != ["NET_RAW"] && dropped != ["ALL"] {
        return no("HostConfig.CapDrop", "at least `NET_RAW` is dropped");
    }
    check_ports(host)?;
    for (at, mount) in host["Mounts"].as_array().into_iter().flatten().enumerate() {
        check_mount(gate, spec, given, mount)
            .map_err(|No(field, why)| No(format!("HostConfig.Mounts[{at}].{field}"), why))?;
    }
    check_gpus(spec, host)?;
    let is_tight = gate.profile == Profile::Restricted || spec.shape.restricted.is_some();
    if is_tight { check_restricted(body) } else { Ok(()) }
}

/// Whether it is a container that mounts by FUSE, which its app may: it gets the one device, the
/// one capability, and a profile that lets it mount.
fn check_fuse(gate: &Gate, spec: &ContainerSpec, host: &Value) -> Result<bool, No> {
    if !spec.shape.services.is_some_and(|services| services.fuse) {
        return Ok(false);
    }
    let app = spec.app.as_str();
    let field = "HostConfig.CapAdd";
    if !gate.fuse_apps.iter().any(|allowed| allowed == "*" || allowed == app) {
        let why =
            format!("mounts take SYS_ADMIN: the operator allows it with `--allow-fuse {app}`");
        no(field, why)?;
    }
    if words(&host["CapAdd"]) != [FUSE_CAPABILITY] {
        no(field, "mounts take `SYS_ADMIN` and no other capability")?;
    }
    if spec.shape.gpus.is_none() {
        let devices = host["Devices"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !devices.iter().all(is_fuse) {
            no("HostConfig.Devices", "mounts take `/dev/fuse` and no other device")?;
        }
    }
    Ok(true)
}

fn is_fuse(device: &Value) -> bool {
    device["PathOnHost"] == FUSE_DEVICE && device["PathInContainer"] == FUSE_DEVICE
}

/// Nothing but these fields.
fn only(object: &Value, of: &str, allowed: &[&str], also: &[&str]) -> Passed {
    let said = object.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    for (key, _) in said {
        if !allowed.contains(&key.as_str()) && !also.contains(&key.as_str()) {
            return no(&format!("{of}{key}"), "no container of Berth is given that");
        }
    }
    Ok(())
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn check_namespaces(gate: &Gate, host: &Value) -> Passed {
    let network = host["NetworkMode"].as_str().unwrap_or_default();
    let is_other = ["", "host", "default", "bridge"].contains(&network) || network.contains(':');
    // None at all is less than that of apps.
    let is_only = gate.network.as_ref().is_none_or(|only| only == network) || network == NO_NETWORK;
    if is_other || !is_only {
        return no("HostConfig.NetworkMode", format!("`{network}` is not the network of apps"));
    }
    if host["IpcMode"].as_str() != Some("private") {
        return no("HostConfig.IpcMode", "shared memory is each container's own");
    }
    Ok(())
}

/// The one network, under the app's own name and no other's.
fn check_network(spec: &ContainerSpec, body: &Value) -> Passed {
    const FIELD: &str = "NetworkingConfig.EndpointsConfig";
    only(&body["NetworkingConfig"], "NetworkingConfig.", &["EndpointsConfig"], &[])?;
    let network = body["HostConfig"]["NetworkMode"].as_str().unwrap_or_default();
    for (name, endpoint) in
        body["NetworkingConfig"]["EndpointsConfig"].as_object().into_iter().flatten()
    {
        if name != network {
            return no(FIELD, format!("`{name}` is not the network of apps"));
        }
        only(endpoint, &format!("{FIELD}.{name}."), &["Aliases"], &[])?;
        if words(&endpoint["Aliases"]).iter().any(|alias| *alias != spec.app.as_str()) {
            return no(FIELD, "an app answers to its own name only");
        }
    }
    Ok(())
}

/// What one container may fill or use up of the host (faults D36, H14).
fn check_limits(host: &Value) -> Passed {
    if host["PidsLimit"].as_i64().is_some_and(|most| most < 1) {
        return no("HostConfig.PidsLimit", "the number of processes is limited");
    }
    let memory = |name: &str| host[name].as_i64();
    if memory("MemorySwap") != memory("Memory") {
        return no("HostConfig.MemorySwap", "there is no swap beyond the memory limit");
    }
    let log = &host["LogConfig"];
    only(log, "HostConfig.LogConfig.", &["Type", "Config"], &[])?;
    let options = ["max-size", "max-file", "mode", "max-buffer-size"];
    only(&log["Config"], "HostConfig.LogConfig.Config.", &options, &[])?;
    let is_bounded = log["Config"]["max-size"].is_string() && log["Config"]["max-file"].is_string();
    if log["Type"].as_str() != Some("json-file") || !is_bounded {
        return no("HostConfig.LogConfig", "logs stay with the engine, in files that have an end");
    }
    Ok(())
}

/// Which GPUs the hook of an engine gives is read from the environment, also where nobody asked for
/// one; where nothing is said, the image says it (fault U09).
fn check_environment(spec: &ContainerSpec, body: &Value) -> Passed {
    let begin = format!("{}=", gpus::VISIBLE);
    let mut said = words(&body["Env"]).into_iter().filter_map(|pair| pair.strip_prefix(&begin));
    let granted = spec.shape.gpus.as_ref().map(|grant| grant.devices.join(","));
    let is_good = |value: &str| value == gpus::NONE || granted.as_deref() == Some(value);
    let first = said.next();
    if !first.is_some_and(is_good) || !said.all(is_good) {
        return no("Env", format!("`{}` names the granted GPUs, or none", gpus::VISIBLE));
    }
    Ok(())
}

/// Faults P06, P09.
fn check_ports(host: &Value) -> Passed {
    let bindings = host["PortBindings"].as_object().into_iter().flatten();
    for (key, binding) in bindings.flat_map(|(key, all)| {
        all.as_array().into_iter().flatten().map(move |binding| (key, binding))
    }) {
        let port = binding["HostPort"].as_str().and_then(|port| port.parse::<u16>().ok());
        let address = binding["HostIp"].as_str().unwrap_or_default();
        if port.is_none_or(|port| port < PORT_MIN) || address.is_empty() {
            let field = format!("HostConfig.PortBindings.{key}");
            return no(&field, "a port is 1024 or above, at an address that is named");
        }
    }
    Ok(())
}

fn check_mount(gate: &Gate, spec: &ContainerSpec, given: &Given, mount: &Value) -> Passed {
    let target = mount["Target"].as_str().unwrap_or_default();
    let is_system = SYSTEM.iter().any(|system| Path::new(target).starts_with(system));
    if !is_plain(target) || target == "/" || is_system {
        return no("Target", format!("nothing is mounted at `{target}`"));
    }
    let source = mount["Source"].as_str().unwrap_or_default();
    match mount["Type"].as_str().unwrap_or_default() {
        "bind" => {
            only(&mount["BindOptions"], "BindOptions.", &["Propagation"], &[])?;
            if mount["BindOptions"]["Propagation"].as_str() != Some("rprivate") {
                return no("BindOptions.Propagation", "what is mounted later stays where it is");
            }
            if spec.shape.models.contains_key(target) {
                return check_model(gate, spec, mount);
            }
            let is_given = given.files.values().any(|path| path == Path::new(source));
            match is_given {
                true if mount["ReadOnly"] == Value::Bool(true) => Ok(()),
                true => no("ReadOnly", "a secret can't be written"),
                false => check_path(gate, spec, mount),
            }
        }
        // A driver's options can mount any path of the host.
        "volume" => {
            only(&mount["VolumeOptions"], "VolumeOptions.", &["Labels"], &[])?;
            let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            let is_name = source.starts_with(|c: char| c.is_ascii_alphanumeric());
            if is_name && source.chars().all(legal) {
                return Ok(());
            }
            no("Source", format!("`{source}` is not the name of a volume"))
        }
        "tmpfs" => only(&mount["TmpfsOptions"], "TmpfsOptions.", &["SizeBytes"], &[]),
        other => no("Type", format!("mounts of the kind `{other}` are not made")),
    }
}

/// A stored model is below the folder of what may be mounted of the store, and can't be written.
fn check_model(gate: &Gate, spec: &ContainerSpec, mount: &Value) -> Passed {
    let target = mount["Target"].as_str().unwrap_or_default();
    let source = mount["Source"].as_str().unwrap_or_default();
    if mount["ReadOnly"] != Value::Bool(true) {
        return no("ReadOnly", "a stored model can't be written");
    }
    let digest = spec.shape.models.get(target).map(|mounted| mounted.digest.as_str());
    let below = gate.models.as_deref().and_then(|root| Path::new(source).strip_prefix(root).ok());
    let first = below.and_then(|below| below.components().next());
    if !is_plain(source)
        || first.is_none()
        || first.map(|it| it.as_os_str().to_str()) != Some(digest)
    {
        return no("Source", format!("{source} is not where the stored model is"));
    }
    Ok(())
}

/// Whether a path has no way back in it.
fn is_plain(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !path.contains(['\0', ':'])
}

/// A path of the host is the app's own folder, or below one that the operator lists: as it is
/// written, and where it leads to (fault T11).
fn check_path(gate: &Gate, spec: &ContainerSpec, mount: &Value) -> Passed {
    let source = mount["Source"].as_str().unwrap_or_default();
    if !is_plain(source) {
        return no("Source", format!("`{source}` is not a plain absolute path"));
    }
    let path = Path::new(source);
    let own = gate.workspaces.as_ref().map(|root| root.join(spec.app.as_str()).join("data"));
    let is_own = own.as_deref() == Some(path);
    let roots = || gate.host_mounts.iter();
    if !is_own && !roots().any(|root| path.starts_with(root)) {
        return no(
            "Source",
            format!(
                "{source} may not be mounted: the operator allows it with `--allow-host-mount {source}`"
            ),
        );
    }
    // An engine elsewhere has paths of its own.
    let resolve = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let real = resolve(path);
    if real != path {
        let is_own = is_own
            && gate
                .workspaces
                .as_ref()
                .is_some_and(|root| resolve(root).join(spec.app.as_str()).join("data") == real);
        if !is_own && !roots().any(|root| real.starts_with(resolve(root))) {
            let real = real.display();
            return no("Source", format!("{source} leads to {real}, which may not be mounted"));
        }
    }
    let gives = |kept: &Path| {
        let is_it = |path: &Path| kept.starts_with(path) || (!is_own && path.starts_with(kept));
        is_it(path) || is_it(&real)
    };
    let sockets = SOCKETS.iter().map(Path::new);
    let mut kept = sockets.chain(gate.kept.iter().map(PathBuf::as_path));
    if let Some(kept) = kept.find(|kept| gives(kept)) {
        let kept = kept.display();
        return no("Source", format!("{source} would give it {kept}, which no app gets"));
    }
    // What one app writes into a model all others read (fault S16).
    let mut store = gate.store.iter().filter(|_| mount["ReadOnly"] != Value::Bool(true));
    if let Some(store) = store.find(|store| gives(store) || gives(&resolve(store))) {
        let why =
            format!("{source} would let it write stored models, which are in {}", store.display());
        return no("ReadOnly", format!("{why}: mount it with `readOnly: true`"));
    }
    Ok(())
}

/// No device but the granted GPUs.
fn check_gpus(spec: &ContainerSpec, host: &Value) -> Passed {
    let Some(grant) = &spec.shape.gpus else { return Ok(()) };
    let route = spec.gpu_way.as_ref();
    for request in host["DeviceRequests"].as_array().into_iter().flatten() {
        let ids = words(&request["DeviceIDs"]);
        let is_cdi = request["Driver"].as_str() == Some("cdi");
        let names = route.map(|route| route.names.as_slice()).unwrap_or_default();
        let granted = if is_cdi { names } else { grant.devices.as_slice() };
        let is_granted = |id: &&str| granted.iter().any(|one| one == id);
        if ids.is_empty() || !ids.iter().all(is_granted) || !request["Count"].is_null() {
            return no("HostConfig.DeviceRequests", "it names other GPUs than were granted");
        }
    }
    let nodes = route.map(|route| route.nodes.as_slice()).unwrap_or_default();
    for device in host["Devices"].as_array().into_iter().flatten() {
        if is_fuse(device) && spec.shape.services.is_some_and(|services| services.fuse) {
            continue;
        }
        let path = device["PathOnHost"].as_str().unwrap_or_default();
        let is_node = NODES.iter().any(|begin| path.starts_with(begin)) && is_plain(path);
        if !is_node || !nodes.iter().any(|node| node == path) {
            return no("HostConfig.Devices", format!("{path} is not one of the granted GPUs"));
        }
    }
    let groups = route.map(|route| route.groups.as_slice()).unwrap_or_default();
    let is_node_group = |group: &&str| groups.iter().any(|one| one.to_string() == *group);
    if !words(&host["GroupAdd"]).iter().all(is_node_group) {
        return no("HostConfig.GroupAdd", "the groups are those of the granted GPUs' nodes");
    }
    match host["Runtime"].as_str() {
        None | Some("nvidia") => Ok(()),
        Some(other) => no("HostConfig.Runtime", format!("`{other}` gives no GPUs")),
    }
}

fn check_restricted(body: &Value) -> Passed {
    let host = &body["HostConfig"];
    let user = body["User"].as_str().unwrap_or_default();
    let uid = user.split(':').next().and_then(|uid| uid.parse::<u32>().ok());
    if uid.is_none_or(|uid| uid == 0) {
        return no("User", "the profile `restricted` rules out root");
    }
    if host["ReadonlyRootfs"] != Value::Bool(true) {
        return no(
            "HostConfig.ReadonlyRootfs",
            "the profile `restricted` keeps the image as it is",
        );
    }
    if words(&host["CapDrop"]) != ["ALL"] {
        return no("HostConfig.CapDrop", "the profile `restricted` drops all capabilities");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
