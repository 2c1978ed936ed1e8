//! Each field that would be more than is allowed, one at a time.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::convert::create_body;
use super::*;
use crate::model::{
    AppName, Command, Digest, GpuGrant, GpuRoute, GpuShare, GpuVendor, GpuWay, Mount, MountSource,
    MountedModel, Resources, RestartPolicy, SecretRef, Services, SpecHash,
};
use crate::plan::Shape;
use crate::secret::Value as Secret;
use crate::state::ports_of_label;

fn mount(path: &str, source: MountSource, read_only: bool) -> Mount {
    Mount { path: path.to_owned(), source, read_only }
}

fn spec() -> ContainerSpec {
    let wanted = SecretRef { secret: "db".to_owned(), key: None };
    let sealed = |seal: &str| Sealed { wanted: wanted.clone(), seal: seal.to_owned() };
    let shape = Shape {
        image: "x:1".to_owned(),
        command: Command::Image,
        env: BTreeMap::new(),
        ports: ports_of_label("127.0.0.1:8001:80/tcp"),
        mounts: vec![
            mount("/data", MountSource::Host("/srv/berth/chat/data".to_owned()), false),
            mount("/more", MountSource::Host("/srv/data/more".to_owned()), true),
            mount("/vol", MountSource::Volume("vol".to_owned()), false),
            mount("/tmp", MountSource::Tmpfs(Some(4096)), false),
            mount("/run/secrets/db", MountSource::Secret(wanted.clone()), true),
        ],
        resources: Resources::default(),
        restart: RestartPolicy::Always,
        network: "berth".to_owned(),
        gpus: None,
        secrets: [
            ("env.DB".to_owned(), sealed("aa")),
            ("/run/secrets/db".to_owned(), sealed("bb")),
        ]
        .into(),
        restricted: None,
        services: None,
        models: [("/models/llm".to_owned(), stored())].into(),
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
        gpu_way: None,
        shape,
    }
}

fn stored() -> MountedModel {
    let digest = Digest::of_bytes(b"model");
    MountedModel {
        model: "demo/llm".to_owned(),
        version: "1.0.0".to_owned(),
        file: None,
        source: format!("/var/lib/berth/models/.store/mounts/{digest}"),
        digest,
        reference: None,
    }
}

fn given() -> Given {
    Given {
        env: [("DB".to_owned(), Secret::new("s3cret"))].into(),
        files: [("/run/secrets/db".to_owned(), PathBuf::from("/run/berth-home/chat/bb"))].into(),
    }
}

fn gate() -> Gate {
    let policy = Policy {
        workspaces: "/srv/berth".to_owned(),
        host_mounts: vec!["/srv/data".to_owned(), "/var/run".to_owned(), "/state".to_owned()],
        ..Policy::default()
    };
    Gate::of(&policy).keeping([PathBuf::from("/state/berth")])
}

fn body(spec: &ContainerSpec) -> Value {
    serde_json::to_value(create_body(spec, &given())).unwrap()
}

/// The field that is refused; none when all pass.
fn refused(gate: &Gate, spec: &ContainerSpec, body: &Value) -> Option<String> {
    check(gate, spec, &given(), body).err().map(|No(field, _)| field)
}

#[test]
fn what_a_plan_asks_for_passes() {
    assert_eq!(refused(&gate(), &spec(), &body(&spec())), None);
    let mut tight = spec();
    tight.shape.restricted = Some(65532);
    assert_eq!(refused(&gate(), &tight, &body(&tight)), None);
}

/// Every field that gives a container more of the host, and the ways around the lists.
#[test]
fn whatever_is_more_is_refused_by_its_field() {
    let host = "/HostConfig";
    let bind = |source: &str| json!({"Type": "bind", "Source": source, "Target": "/x", "BindOptions": {"Propagation": "rprivate"}});
    let volume = json!({"DriverConfig": {"Name": "local", "Options": {"type": "none", "o": "bind", "device": "/"}}});
    let cases: Vec<(&str, &str, Value)> = vec![
        (host, "Privileged", json!(true)),
        (host, "Privileged", Value::Null),
        (host, "NetworkMode", json!("host")),
        (host, "NetworkMode", json!("container:abc")),
        (host, "NetworkMode", json!("other")),
        (host, "PidMode", json!("host")),
        (host, "IpcMode", json!("host")),
        (host, "UTSMode", json!("host")),
        (host, "UsernsMode", json!("host")),
        (host, "CgroupnsMode", json!("host")),
        (host, "CgroupParent", json!("/")),
        (host, "CapAdd", json!(["SYS_ADMIN"])),
        (host, "CapDrop", json!([])),
        (host, "SecurityOpt", json!(["no-new-privileges", "seccomp=unconfined"])),
        (host, "SecurityOpt", json!(["apparmor=unconfined"])),
        (host, "Binds", json!(["/:/host"])),
        (host, "VolumesFrom", json!(["other"])),
        (host, "Devices", json!([{"PathOnHost": "/dev/sda"}])),
        (host, "DeviceRequests", json!([{"Driver": "nvidia", "Count": -1}])),
        (host, "DeviceCgroupRules", json!(["a *:* rwm"])),
        (host, "Runtime", json!("other")),
        (host, "Sysctls", json!({"kernel.core_pattern": "x"})),
        (host, "ExtraHosts", json!(["a:1.2.3.4"])),
        (host, "PublishAllPorts", json!(true)),
        (host, "OomScoreAdj", json!(-1000)),
        (host, "MaskedPaths", json!([])),
        (host, "ReadonlyPaths", json!([])),
        (host, "Mounts/1", bind("/etc")),
        (host, "Mounts/1", bind("/srv/data/../../etc")),
        (host, "Mounts/1", bind("/srv/database")),
        (host, "Mounts/1", bind("/srv/berth/other/data")),
        (host, "Mounts/1", bind("/srv/berth/chat/data/x")),
        (host, "Mounts/1", bind("/var/run/docker.sock")),
        (host, "Mounts/1", bind("/var/run")),
        (host, "Mounts/1", bind("/state")),
        (host, "Mounts/1", bind("/state/berth/secrets")),
        (host, "Mounts/1/BindOptions/Propagation", json!("rshared")),
        (host, "Mounts/1/Target", json!("/proc/x")),
        (host, "Mounts/2/VolumeOptions", volume),
        (host, "Mounts/2/Source", json!("/etc")),
        (host, "Mounts/3/TmpfsOptions/Options", json!([["exec"]])),
        (host, "Mounts/3/Type", json!("npipe")),
        (host, "Mounts/4/ReadOnly", json!(false)),
        (host, "PortBindings/80~1tcp/0/HostPort", json!("22")),
        (host, "PortBindings/80~1tcp/0/HostIp", json!("")),
        ("", "Volumes", json!({"/x": {}})),
        ("", "Healthcheck", json!({"Test": ["CMD", "x"]})),
    ];
    each_is_refused(cases);
}

/// What it may use up, who it is on the network, and what it says of GPUs.
#[test]
fn limits_the_network_and_the_environment_are_held_too() {
    let host = "/HostConfig";
    each_is_refused(vec![
        (host, "PidsLimit", json!(-1)),
        (host, "MemorySwap", json!(-1)),
        (host, "LogConfig/Type", json!("syslog")),
        (host, "LogConfig/Config", json!({"max-size": "10m", "max-file": "3", "tag": "x"})),
        (host, "LogConfig/Config", json!({})),
        (host, "GroupAdd", json!(["0"])),
        ("", "NetworkingConfig/EndpointsConfig/host", json!({})),
        ("", "NetworkingConfig/EndpointsConfig/berth/Aliases", json!(["chat", "db"])),
        ("", "NetworkingConfig/EndpointsConfig/berth/IPAddress", json!("10.0.0.9")),
        ("", "NetworkingConfig/EndpointsConfig/berth/Links", json!(["db"])),
        ("", "Env", json!(["NVIDIA_VISIBLE_DEVICES=all"])),
        ("", "Env", json!(["NVIDIA_VISIBLE_DEVICES=void", "NVIDIA_VISIBLE_DEVICES=0"])),
        ("", "Env", json!(["A=1"])),
    ]);
}

fn each_is_refused(cases: Vec<(&str, &str, Value)>) {
    for (at, field, value) in cases {
        let mut body = body(&spec());
        let (below, last) = field.rsplit_once('/').unwrap_or(("", field));
        let place = format!("{at}{}{below}", if below.is_empty() { "" } else { "/" });
        let held = body.pointer_mut(&place).unwrap_or_else(|| panic!("{place}"));
        match held {
            Value::Array(list) => list[last.parse::<usize>().unwrap()] = value.clone(),
            held => held[last] = value.clone(),
        }
        let told = refused(&gate(), &spec(), &body);
        let first = field.split('/').next().unwrap();
        let named = told.as_deref().is_some_and(|told| told.contains(first));
        assert!(named, "{field} = {value}: {told:?}");
    }
}

/// A stored model is mounted from where it is, read-only, and from nowhere else.
#[test]
fn a_stored_model_is_mounted_from_its_own_place_only() {
    assert_eq!(refused(&gate(), &spec(), &body(&spec())), None);
    let root = "/var/lib/berth/models";
    for (field, value) in [
        ("ReadOnly", json!(false)),
        ("Source", json!(root)),
        ("Source", json!(format!("{root}/.store/mounts"))),
        ("Source", json!(format!("{root}/.store/mounts/{}", Digest::of_bytes(b"other")))),
        ("Source", json!(format!("{}/../../trash", stored().source))),
        ("Source", json!("/etc")),
    ] {
        let mut body = body(&spec());
        let mounts = body["HostConfig"]["Mounts"].as_array_mut().unwrap();
        let mount = mounts.iter_mut().find(|mount| mount["Target"] == "/models/llm").unwrap();
        mount[field] = value.clone();
        let told = refused(&gate(), &spec(), &body).unwrap_or_default();
        assert!(told.contains(field), "{field} = {value}: {told}");
    }
}

/// Fault S16: who may mount a folder of the host does not write models that all share, neither in
/// the store nor by a folder above it nor by a link to one.
#[test]
fn stored_models_are_not_written_by_way_of_a_folder_of_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap();
    let (store, other) = (root.join("models"), root.join("other"));
    std::fs::create_dir_all(store.join("demo/llm")).unwrap();
    std::fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(&store, root.join("link")).unwrap();
    let of = |models: &Path| {
        let policy = Policy {
            workspaces: "/srv/berth".to_owned(),
            host_mounts: vec![root.display().to_string()],
            models: models.display().to_string(),
            ..Policy::default()
        };
        let gate = Gate::of(&policy);
        move |path: &Path, is_read_only: bool| {
            let mut spec = spec();
            let path = path.display().to_string();
            spec.shape.mounts[1] = mount("/more", MountSource::Host(path), is_read_only);
            spec.shape.models.clear();
            refused(&gate, &spec, &body(&spec))
        }
    };
    for told in [of(&store), of(&root.join("link"))] {
        assert_eq!(told(&other, false), None);
        for path in
            [&root, &store, &store.join("demo/llm"), &root.join("link"), &root.join("link/demo")]
        {
            let named = told(path, false).unwrap_or_default();
            assert!(named.contains("ReadOnly"), "{}: {named}", path.display());
            assert_eq!(told(path, true), None, "{}", path.display());
        }
    }
}

/// Fault T11: what a listed folder leads to counts, not only its name.
#[test]
fn a_link_out_of_a_listed_folder_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(folder.path()).unwrap();
    let (listed, secret) = (root.join("listed"), root.join("secret"));
    std::fs::create_dir_all(listed.join("inside")).unwrap();
    std::fs::create_dir(&secret).unwrap();
    std::os::unix::fs::symlink(&secret, listed.join("out")).unwrap();
    std::os::unix::fs::symlink(listed.join("inside"), listed.join("in")).unwrap();
    let gate = Gate { host_mounts: vec![listed.clone()], ..gate() };
    let passes = |path: PathBuf| {
        let mut spec = spec();
        let path = path.display().to_string();
        spec.shape.mounts[1] = mount("/more", MountSource::Host(path), true);
        refused(&gate, &spec, &body(&spec)).is_none()
    };
    assert!(passes(listed.join("inside")) && passes(listed.join("in")));
    assert!(!passes(listed.join("out")));
}

#[test]
fn devices_are_the_granted_gpus_and_no_others() {
    let mut spec = spec();
    spec.shape.gpus = Some(GpuGrant {
        vendor: GpuVendor::Nvidia,
        devices: vec!["GPU-a".to_owned()],
        share: GpuShare::Exclusive,
        memory_bytes: None,
        capabilities: Vec::new(),
    });
    let route = |way: GpuWay, names: &[&str], nodes: &[&str]| GpuRoute {
        way,
        driver: None,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        groups: Vec::new(),
        why: String::new(),
    };
    spec.gpu_way = Some(route(GpuWay::DeviceRequest, &[], &["/dev/nvidia0"]));
    assert_eq!(refused(&gate(), &spec, &body(&spec)), None);
    for (field, value) in [
        ("Devices", json!([{"PathOnHost": "/dev/nvidia1", "CgroupPermissions": "rw"}])),
        ("Devices", json!([{"PathOnHost": "/dev/sda"}])),
        ("DeviceRequests", json!([{"Driver": "nvidia", "DeviceIDs": ["GPU-a", "GPU-b"]}])),
        ("DeviceRequests", json!([{"Driver": "nvidia", "Count": -1}])),
        ("DeviceRequests", json!([{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=all"]}])),
        ("Runtime", json!("runc-privileged")),
        ("GroupAdd", json!(["0"])),
    ] {
        let mut body = body(&spec);
        body["HostConfig"][field] = value.clone();
        let told = refused(&gate(), &spec, &body);
        assert_eq!(told, Some(format!("HostConfig.{field}")), "{value}");
    }
    for value in ["all", "GPU-a,GPU-b", "0"] {
        let mut body = body(&spec);
        body["Env"] = json!([format!("NVIDIA_VISIBLE_DEVICES={value}")]);
        assert_eq!(refused(&gate(), &spec, &body).as_deref(), Some("Env"), "{value}");
    }
}

#[test]
fn where_the_operator_wants_it_tight_nothing_looser_passes() {
    let gate = Gate { profile: Profile::Restricted, ..gate() };
    assert_eq!(refused(&gate, &spec(), &body(&spec())), Some("User".to_owned()));
    let mut tight = spec();
    tight.shape.restricted = Some(65532);
    assert_eq!(refused(&gate, &tight, &body(&tight)), None);
    for (field, value) in [
        ("User", json!("0:0")),
        ("User", json!("root")),
        ("HostConfig.ReadonlyRootfs", json!(false)),
        ("HostConfig.CapDrop", json!(["NET_RAW"])),
    ] {
        let mut body = body(&tight);
        let place = format!("/{}", field.replace('.', "/"));
        *body.pointer_mut(&place).unwrap() = value;
        assert_eq!(refused(&gate, &tight, &body).as_deref(), Some(field));
    }
}

#[test]
fn a_container_without_its_secrets_is_not_made() {
    let told = pass(&gate(), &spec(), &Given::default(), &json!({})).unwrap_err();
    assert!(matches!(&told, Error::Secret(why) if why.contains("`db`")), "{told}");
    // What is shown of a refusal never holds what was given.
    let mut body = body(&spec());
    body["HostConfig"]["Privileged"] = json!(true);
    let told = pass(&gate(), &spec(), &given(), &body).unwrap_err();
    assert!(!format!("{told} {told:?} {:?}", given()).contains("s3cret"));
}

/// Who mounts by FUSE is given the one device, the one capability and the one profile, if the
/// operator names the app, and nothing besides.
#[test]
fn mounts_by_fuse_are_for_named_apps_alone() {
    let mut spec = spec();
    spec.shape.services = Some(Services { fuse: true });
    let allow = |apps: &[&str]| Gate {
        fuse_apps: apps.iter().map(|app| (*app).to_owned()).collect(),
        ..gate()
    };
    let asked = body(&spec);
    assert_eq!(asked["HostConfig"]["CapAdd"], json!(["SYS_ADMIN"]));
    assert_eq!(asked["HostConfig"]["Devices"][0]["PathOnHost"], "/dev/fuse");
    for (apps, refusal) in [
        (&["chat"][..], None),
        (&["*"], None),
        (&["other"], Some("HostConfig.CapAdd".to_owned())),
        (&[], Some("HostConfig.CapAdd".to_owned())),
    ] {
        assert_eq!(refused(&allow(apps), &spec, &asked), refusal, "{apps:?}");
    }
    for (field, value, refusal) in [
        ("CapAdd", json!(["SYS_ADMIN", "NET_ADMIN"]), "HostConfig.CapAdd"),
        ("CapAdd", json!(["ALL"]), "HostConfig.CapAdd"),
        (
            "SecurityOpt",
            json!(["no-new-privileges", "seccomp=unconfined"]),
            "HostConfig.SecurityOpt",
        ),
        ("SecurityOpt", json!(["apparmor=unconfined"]), "HostConfig.SecurityOpt"),
        ("Privileged", json!(true), "HostConfig.Privileged"),
        (
            "Devices",
            json!([{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/fuse"}]),
            "HostConfig.Devices",
        ),
        (
            "Devices",
            json!([{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/sda"}]),
            "HostConfig.Devices",
        ),
        ("DeviceRequests", json!([{"Count": -1}]), "HostConfig.DeviceRequests"),
    ] {
        let mut more = asked.clone();
        more["HostConfig"][field] = value.clone();
        assert_eq!(refused(&allow(&["chat"]), &spec, &more).as_deref(), Some(refusal), "{value}");
    }
    // An app that mounts nothing gets none of it, whoever is named.
    spec.shape.services = Some(Services { fuse: false });
    assert_eq!(refused(&allow(&["*"]), &spec, &body(&spec)), None);
    let refusal = refused(&allow(&["*"]), &spec, &asked);
    let fields = ["HostConfig.CapAdd", "HostConfig.Devices", "HostConfig.SecurityOpt"];
    assert!(refusal.is_some_and(|field| fields.contains(&field.as_str())));
}
