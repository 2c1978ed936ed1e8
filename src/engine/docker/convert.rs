//! A container as the engine's API wants it.

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointSettings, HostConfig, HostConfigLogConfig,
    Mount as EngineMount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions,
    MountType, MountVolumeOptions, NetworkingConfig, PortBinding as EnginePort, PortMap,
    RestartPolicy as EngineRestart, RestartPolicyNameEnum,
};

use super::super::labels::{container_labels, proof_labels};
use super::gpus;
use super::shell::line_for_shell;
use crate::model::{Command, Mount, MountSource, PortBinding, RestartPolicy, label};
use crate::plan::{ContainerSpec, Shape};
use crate::secret::Given;

/// The first program of the base image.
const BASE_INIT: &str = "/opt/berth/init";
/// The network of containers that have none.
pub(super) const NO_NETWORK: &str = "none";
/// What mounts by FUSE take.
pub(super) const FUSE_DEVICE: &str = "/dev/fuse";
pub(super) const FUSE_CAPABILITY: &str = "SYS_ADMIN";

/// What the engine is asked for to make a container, as its API wants it, without its secrets: for
/// who shows it.
pub fn asked(spec: &ContainerSpec) -> serde_json::Value {
    serde_json::to_value(create_body(spec, &Given::default())).unwrap_or_default()
}

/// The body of a create call. Secrets are in it as far as they are given.
pub(super) fn create_body(spec: &ContainerSpec, given: &Given) -> ContainerCreateBody {
    let shape = &spec.shape;
    let (entrypoint, cmd) = match shape.services {
        Some(_) => beside_services(command_of(&shape.command)),
        None => command_of(&shape.command),
    };
    let own = shape.env.iter().filter(|(key, _)| !gpus::overrides(key));
    let mut env: Vec<_> = own.map(|(key, value)| format!("{key}={value}")).collect();
    env.extend(gpus::environment(spec));
    let texts = given.env.iter().filter(|(key, _)| !gpus::overrides(key));
    let texts = texts.filter_map(|(key, value)| Some((key, value.text()?)));
    env.extend(texts.map(|(key, value)| format!("{key}={value}")));
    let mut host = host_config(spec, given);
    gpus::put(spec, &mut host);
    let endpoint =
        EndpointSettings { aliases: Some(vec![spec.app.to_string()]), ..Default::default() };
    ContainerCreateBody {
        image: Some(shape.image.clone()),
        entrypoint,
        cmd,
        user: shape.restricted.map(|uid| format!("{uid}:{uid}")),
        env: Some(env),
        labels: Some(container_labels(spec).into_iter().collect()),
        exposed_ports: Some(shape.ports.iter().map(port_key).collect()),
        stop_timeout: Some(i64::from(spec.grace_s)),
        host_config: Some(host),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some([(shape.network.clone(), endpoint)].into_iter().collect()),
        }),
        ..Default::default()
    }
}

/// The body for a container that only proves that GPUs can be given: it has them, no network, and no
/// label of an app's.
pub(super) fn proof_body(spec: &ContainerSpec) -> ContainerCreateBody {
    let mut body = create_body(spec, &Given::default());
    body.labels = Some(proof_labels(spec).into_iter().collect());
    body.networking_config = None;
    if let Some(host) = &mut body.host_config {
        host.network_mode = Some(NO_NETWORK.to_owned());
    }
    body
}

/// Entry point and arguments; none keeps the image's.
fn command_of(command: &Command) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let given = |words: &Vec<String>| (!words.is_empty()).then(|| words.clone());
    match command {
        Command::Image => (None, None),
        Command::Shell(line) => {
            let shell = vec!["/bin/sh".to_owned(), "-c".to_owned()];
            (Some(shell), Some(vec![line_for_shell(line)]))
        }
        Command::Exec { command, args } => (given(command), given(args)),
    }
}

/// With services the command runs beside them: the image's first program is given it.
fn beside_services(
    (entrypoint, cmd): (Option<Vec<String>>, Option<Vec<String>>),
) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let Some(entrypoint) = entrypoint else { return (None, cmd) };
    let words = entrypoint.into_iter().chain(cmd.into_iter().flatten());
    (Some(vec![BASE_INIT.to_owned()]), Some(words.collect()))
}

fn host_config(spec: &ContainerSpec, given: &Given) -> HostConfig {
    let shape = &spec.shape;
    let resources = &shape.resources;
    let fuse = shape.services.is_some_and(|services| services.fuse);
    let memory = resources.memory_bytes.map(signed);
    HostConfig {
        network_mode: Some(shape.network.clone()),
        port_bindings: Some(port_map(&shape.ports)),
        mounts: Some(
            mounts_of(shape).iter().filter_map(|mount| engine_mount(spec, mount, given)).collect(),
        ),
        restart_policy: Some(EngineRestart {
            name: Some(restart_name(shape.restart)),
            maximum_retry_count: None,
        }),
        memory,
        // Equal to the memory limit: no swap beyond it.
        memory_swap: memory,
        nano_cpus: resources.cpu_millis.map(|millis| signed(millis.saturating_mul(1_000_000))),
        shm_size: resources.shm_bytes.map(signed),
        pids_limit: resources.pids,
        log_config: Some(log_config()),
        security_opt: Some(security(fuse)),
        cap_drop: Some(vec![if shape.restricted.is_some() { "ALL" } else { "NET_RAW" }.to_owned()]),
        cap_add: fuse.then(|| vec![FUSE_CAPABILITY.to_owned()]),
        devices: fuse.then(|| vec![fuse_device()]),
        readonly_rootfs: shape.restricted.map(|_| true),
        ipc_mode: Some("private".to_owned()),
        // A first process that reaps what the app leaves behind.
        init: Some(true),
        privileged: Some(false),
        ..Default::default()
    }
}

/// No more rights than a program was started with; what mounts needs a profile that lets it.
fn security(fuse: bool) -> Vec<String> {
    let mut options = vec!["no-new-privileges".to_owned()];
    options.extend(fuse.then(|| "apparmor=unconfined".to_owned()));
    options
}

fn fuse_device() -> DeviceMapping {
    DeviceMapping {
        path_on_host: Some(FUSE_DEVICE.to_owned()),
        path_in_container: Some(FUSE_DEVICE.to_owned()),
        cgroup_permissions: Some("rwm".to_owned()),
    }
}

/// A log that neither blocks the app nor fills the disk (fault D36).
fn log_config() -> HostConfigLogConfig {
    let options = [
        ("max-size", "10m"),
        ("max-file", "3"),
        ("mode", "non-blocking"),
        ("max-buffer-size", "4m"),
    ];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(
            options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ),
    }
}

/// The engine starts again what crashed, and not what somebody stopped (fault D31).
fn restart_name(policy: RestartPolicy) -> RestartPolicyNameEnum {
    match policy {
        RestartPolicy::Always => RestartPolicyNameEnum::UNLESS_STOPPED,
        RestartPolicy::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
        RestartPolicy::Never => RestartPolicyNameEnum::NO,
    }
}

fn port_key(port: &PortBinding) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

fn port_map(ports: &[PortBinding]) -> PortMap {
    let mut map = PortMap::new();
    for port in ports {
        map.entry(port_key(port)).or_default().get_or_insert_default().push(EnginePort {
            host_ip: Some(port.host_ip.clone()),
            host_port: Some(port.host_port.to_string()),
        });
    }
    map
}

/// The mounts, those of stored models among them.
fn mounts_of(shape: &Shape) -> Vec<Mount> {
    let models = shape.models.iter().map(|(path, mounted)| Mount {
        path: path.clone(),
        source: MountSource::Host(mounted.source.clone()),
        read_only: true,
    });
    shape.mounts.iter().cloned().chain(models).collect()
}

/// A mount of the strict kind: a missing host path is an error, not a new folder (fault D43). None
/// is a secret that is not given.
fn engine_mount(spec: &ContainerSpec, mount: &Mount, given: &Given) -> Option<EngineMount> {
    let base = EngineMount {
        target: Some(mount.path.clone()),
        read_only: Some(mount.read_only),
        ..Default::default()
    };
    let bind = |path: String| EngineMount {
        typ: Some(MountType::BIND),
        source: Some(path),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..Default::default()
        }),
        ..base.clone()
    };
    Some(match &mount.source {
        MountSource::Volume(name) => {
            let labels = [
                (label::INSTANCE.to_owned(), spec.instance.clone()),
                (label::APP.to_owned(), spec.app.to_string()),
            ];
            let options = MountVolumeOptions {
                labels: Some(labels.into_iter().collect()),
                ..Default::default()
            };
            EngineMount {
                typ: Some(MountType::VOLUME),
                source: Some(name.clone()),
                volume_options: Some(options),
                ..base
            }
        }
        MountSource::Host(path) => bind(path.clone()),
        // Remotes the image mounts itself; what a model means is among the shape's models.
        MountSource::Remote(_) | MountSource::Model(_) => return None,
        MountSource::Secret(_) => bind(given.files.get(&mount.path)?.display().to_string()),
        MountSource::Tmpfs(limit) => EngineMount {
            typ: Some(MountType::TMPFS),
            tmpfs_options: Some(MountTmpfsOptions {
                size_bytes: limit.map(signed),
                ..Default::default()
            }),
            ..base
        },
    })
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{AppName, Resources, SpecHash};
    use crate::state::ports_of_label;

    fn spec() -> ContainerSpec {
        let shape = Shape {
            image: "x:1".to_owned(),
            command: Command::Shell("python app.py".to_owned()),
            env: [("A".to_owned(), "1".to_owned())].into(),
            ports: ports_of_label("127.0.0.1:8001:80/tcp,127.0.0.1:8002:53/udp"),
            mounts: vec![
                Mount {
                    path: "/data".to_owned(),
                    source: MountSource::Host("/srv/data".to_owned()),
                    read_only: true,
                },
                Mount {
                    path: "/v".to_owned(),
                    source: MountSource::Volume("vol".to_owned()),
                    read_only: false,
                },
                Mount {
                    path: "/t".to_owned(),
                    source: MountSource::Tmpfs(Some(4096)),
                    read_only: false,
                },
            ],
            resources: Resources {
                cpu_millis: Some(1500),
                memory_bytes: Some(1 << 20),
                shm_bytes: Some(1 << 16),
                pids: Some(64),
            },
            restart: RestartPolicy::Always,
            network: "berth".to_owned(),
            gpus: None,
            secrets: std::collections::BTreeMap::new(),
            restricted: None,
            services: None,
            models: std::collections::BTreeMap::new(),
        };
        let spec_hash = SpecHash::of(&shape);
        ContainerSpec {
            name: "chat-0".to_owned(),
            instance: "home".to_owned(),
            app: AppName::new("chat").unwrap(),
            generation: 3,
            spec_hash,
            build: None,
            commit: None,
            fields: String::new(),
            grace_s: 7,
            gpu_way: None,
            shape,
        }
    }

    fn body() -> Value {
        serde_json::to_value(create_body(&spec(), &Given::default())).unwrap()
    }

    #[test]
    fn a_container_is_made_as_tight_as_the_security_page_says() {
        let body = body();
        let host = &body["HostConfig"];
        assert_eq!(host["SecurityOpt"], json!(["no-new-privileges"]));
        assert_eq!(host["CapDrop"], json!(["NET_RAW"]));
        assert_eq!(host["IpcMode"], "private");
        assert_eq!(host["Privileged"], false);
        assert_eq!(host["NetworkMode"], "berth");
        assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped");
        assert_eq!(host["LogConfig"]["Config"]["mode"], "non-blocking");
        for absent in ["Binds", "CapAdd", "PidMode", "Devices", "VolumesFrom", "ExtraHosts"] {
            assert!(host.get(absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn limits_are_exact_and_leave_no_swap() {
        let body = body();
        let host = &body["HostConfig"];
        assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(1_048_576), &json!(1_048_576)));
        assert_eq!(host["NanoCpus"], json!(1_500_000_000_u64));
        assert_eq!((&host["PidsLimit"], &host["ShmSize"]), (&json!(64), &json!(65_536)));
        assert_eq!(body["StopTimeout"], 7);
    }

    /// Fault D43.
    #[test]
    fn host_folders_are_strict_private_mounts() {
        let body = body();
        let mounts = &body["HostConfig"]["Mounts"];
        assert_eq!(mounts[0]["Type"], "bind");
        assert_eq!(mounts[0]["BindOptions"], json!({"Propagation": "rprivate"}));
        assert_eq!(mounts[0]["ReadOnly"], true);
        assert_eq!(mounts[1]["VolumeOptions"]["Labels"]["dev.berth.app"], "chat");
        assert_eq!(mounts[2]["TmpfsOptions"]["SizeBytes"], 4096);
    }

    /// Faults P06, U09.
    #[test]
    fn ports_name_their_address_and_no_gpu_is_seen() {
        let body = body();
        let ports = &body["HostConfig"]["PortBindings"];
        assert_eq!(ports["80/tcp"], json!([{"HostIp": "127.0.0.1", "HostPort": "8001"}]));
        assert_eq!(ports["53/udp"], json!([{"HostIp": "127.0.0.1", "HostPort": "8002"}]));
        assert_eq!(body["Env"], json!(["A=1", "NVIDIA_VISIBLE_DEVICES=void"]));
        assert_eq!(body["Cmd"], json!(["exec python app.py"]));
        assert_eq!(
            body["NetworkingConfig"]["EndpointsConfig"]["berth"]["Aliases"],
            json!(["chat"])
        );
    }

    #[test]
    fn an_image_keeps_its_own_command_unless_one_is_given() {
        let words = |text: &str| vec![text.to_owned()];
        assert_eq!(command_of(&Command::Image), (None, None));
        let args = Command::Exec { command: Vec::new(), args: words("a") };
        assert_eq!(command_of(&args), (None, Some(words("a"))));
        let entry = Command::Exec { command: words("c"), args: Vec::new() };
        assert_eq!(command_of(&entry), (Some(words("c")), None));
    }
}
