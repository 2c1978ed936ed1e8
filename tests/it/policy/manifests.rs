//! Manifests, right by the grammar, with hostile values in every place. JSON is YAML.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

/// Mostly what an honest person writes, sometimes what nobody should get away with.
fn pick(good: Vec<Value>, bad: Vec<Value>) -> BoxedStrategy<Value> {
    prop_oneof![40 => select(good), 1 => select(bad)].boxed()
}

/// Texts that some program somewhere takes for something else.
fn text() -> BoxedStrategy<Value> {
    let odd = [
        "",
        " ",
        "--privileged",
        "-v/:/host",
        "$(id)",
        "`id`",
        "${HOME}",
        "a\nb",
        "a\u{0}b",
        "a=b",
        "host",
        "container:abc",
        "/var/run/docker.sock",
        "../../etc",
        "all",
        "void",
        "\u{202e}live",
        "a,b=c",
        "\"",
        "'; rm -rf /; '",
        "unconfined",
        "%00",
        "0",
    ];
    let long = json!("x".repeat(3000));
    let odd: Vec<_> = odd.iter().map(|text| json!(text)).chain([long]).collect();
    let any = any::<String>().prop_map(|text| json!(text));
    prop_oneof![3 => select(odd), 1 => any, 2 => Just(json!("plain"))].boxed()
}

fn values(list: &[&str]) -> Vec<Value> {
    list.iter().map(|text| json!(text)).collect()
}

fn image() -> BoxedStrategy<Value> {
    let pinned = format!("shop/app@sha256:{}", "0a".repeat(32));
    let good = values(&["shop/app:1", "h.example:5000/a/b:v1", "redis", &pinned]);
    pick(good, values(&["-x", "UPPER/x", "a b", "x --privileged", "", "a:b:c", "x\n"]))
}

fn git() -> BoxedStrategy<Value> {
    let good = values(&["https://h.example/a.git", "git@h.example:a/b.git", "/srv/repo"]);
    let bad = values(&["-u", "ext::sh -c id", "https://u:p@h.example/a", "file://h/x", ""]);
    let path = pick(values(&["", "web"]), values(&["..", "/etc", "a/../../b", "-x"]));
    (pick(good, bad), path).prop_map(|(url, path)| json!({"url": url, "path": path})).boxed()
}

fn env() -> BoxedStrategy<Value> {
    let good = values(&["A", "PATH", "LD_PRELOAD", "DOCKER_HOST", "nvidia_visible_devices"]);
    let bad = values(&["NVIDIA_VISIBLE_DEVICES", "WORKSPACE", "A=B", "", "A B", "A\nB"]);
    let secret = pick(
        vec![json!({"secret": "db"}), json!({"secret": "db", "key": "url"})],
        vec![json!({"secret": "../x"}), json!({"secret": "db", "value": "x"}), json!({})],
    );
    let value = prop_oneof![8 => text(), 1 => secret];
    object(vec((pick(good, bad), value), 0..4))
}

fn object(pairs: impl Strategy<Value = Vec<(Value, Value)>> + 'static) -> BoxedStrategy<Value> {
    let fold = |pairs: Vec<(Value, Value)>| {
        let key = |key: Value| key.as_str().unwrap_or_default().to_owned();
        Value::Object(pairs.into_iter().map(|(name, value)| (key(name), value)).collect())
    };
    pairs.prop_map(fold).boxed()
}

fn ports() -> BoxedStrategy<Value> {
    let inside =
        pick(vec![json!(80), json!(5000), json!(65535)], vec![json!(0), json!(-1), json!("80")]);
    let outside = pick(
        vec![json!(1024), json!(9000), json!(65535)],
        vec![json!(22), json!(0), json!(65536), json!("0.0.0.0:80"), json!(1023)],
    );
    let protocol = pick(values(&["tcp", "udp"]), values(&["sctp", "TCP", "tcp/80"]));
    let bind = pick(values(&["loopback", "lan"]), values(&["0.0.0.0", "::", "host", ""]));
    let fields = (inside, option::of(outside), option::of(protocol), option::of(bind));
    let port = fields.prop_map(|(inside, outside, protocol, bind)| {
        let mut port = json!({"containerPort": inside});
        put(&mut port, "hostPort", outside);
        put(&mut port, "protocol", protocol);
        put(&mut port, "bind", bind);
        port
    });
    vec(port, 0..3).prop_map(Value::from).boxed()
}

fn mounts() -> BoxedStrategy<Value> {
    let path = pick(
        values(&["/data", "/workspace", "/models/x", "/a b"]),
        values(&["/proc/1", "/sys", "/dev", "/", "data", "/a/../proc", "/a:/b", "/a\u{0}"]),
    );
    let host = pick(
        values(&["/srv/data", "/srv/data/x", "/srv/data/a/b"]),
        values(&[
            "/",
            "/etc",
            "/var/run/docker.sock",
            "/srv/data/../../etc",
            "/srv/data/..",
            "/srv",
            "/srv/database",
            "//srv/data",
            "/srv/data//x",
            "/srv/data/./x",
            "srv/data",
            "",
            "/srv/data\u{0}/x",
            "/srv/data:/etc",
        ]),
    );
    let volume = pick(
        values(&["vol", "my.vol_1"]),
        values(&["/etc", "../x", "", "a/b", "a:b", "-v", ".", "a\u{0}"]),
    );
    let secret = pick(values(&["db", "a.b_c"]), values(&["../x", "/etc/shadow", ""]));
    let tmpfs = pick(values(&["64Mi", "1Gi"]), values(&["0", "-1", "1Gi,exec", "99999999Ti"]));
    let source = prop_oneof![
        volume.prop_map(|it| json!({"volume": it})),
        host.prop_map(|it| json!({"host": it})),
        tmpfs.prop_map(|it| json!({"tmpfs": it})),
        secret.prop_map(|it| json!({"secret": it})),
    ];
    let mount =
        (path, source, option::of(any::<bool>())).prop_map(|(path, mut mount, read_only)| {
            put(&mut mount, "path", Some(path));
            put(&mut mount, "readOnly", read_only.map(Value::from));
            mount
        });
    vec(mount, 0..3).prop_map(Value::from).boxed()
}

fn resources() -> BoxedStrategy<Value> {
    let huge = "9223372036854775808";
    let cpus = pick(values(&["2", "0.5", "500m"]), values(&["-1", "0", "1e99", huge]));
    let memory =
        pick(values(&["512Mi", "6Mi", "8G"]), values(&["-1", "0", "1", huge, "16777216Ti"]));
    let shm = pick(values(&["64Mi"]), values(&["-1", "0", huge]));
    let pids = pick(
        vec![json!(1), json!(100), json!(4096)],
        vec![json!(0), json!(-1), json!(i64::MAX), json!("unlimited")],
    );
    let fields = (option::of(cpus), option::of(memory), option::of(shm), option::of(pids));
    let make = |(cpus, memory, shm, pids)| {
        let mut resources = json!({});
        put(&mut resources, "cpus", cpus);
        put(&mut resources, "memory", memory);
        put(&mut resources, "shmSize", shm);
        put(&mut resources, "pids", pids);
        resources
    };
    fields.prop_map(make).boxed()
}

/// Fields that other systems have, and that would open the host.
fn forbidden() -> BoxedStrategy<Option<(String, Value)>> {
    let fields = [
        ("privileged", json!(true)),
        ("hostNetwork", json!(true)),
        ("network_mode", json!("host")),
        ("pid", json!("host")),
        ("ipc", json!("host")),
        ("capAdd", json!(["SYS_ADMIN"])),
        ("cap_add", json!(["ALL"])),
        ("devices", json!(["/dev/sda"])),
        ("securityContext", json!({"privileged": true})),
        ("security_opt", json!(["seccomp=unconfined"])),
        ("volumes", json!(["/:/host"])),
        ("user", json!("root")),
        ("gpus", json!({"ids": ["0"]})),
        ("access", json!("public")),
    ];
    let fields: Vec<_> =
        fields.iter().map(|(key, value)| Some(((*key).to_owned(), value.clone()))).collect();
    prop_oneof![30 => Just(None), 1 => select(fields)].boxed()
}

fn put(object: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), value);
    }
}

/// What runs: entry point and arguments in each form.
fn command() -> BoxedStrategy<Map<String, Value>> {
    let one = |key: &'static str| text().prop_map(move |it| Map::from_iter([(key.to_owned(), it)]));
    let list = || vec(text(), 1..3).prop_map(Value::from);
    let words = (option::of(list()), option::of(list())).prop_map(|(command, args)| {
        let mut words = json!({});
        put(&mut words, "command", command);
        put(&mut words, "args", args);
        words.as_object().cloned().unwrap_or_default()
    });
    prop_oneof![one("run"), words].boxed()
}

/// How it is run: policies, folders, checks.
fn manner() -> BoxedStrategy<Map<String, Value>> {
    let restart = pick(values(&["Always", "OnFailure", "Never"]), values(&["always", ""]));
    let grace = pick(values(&["10s", "10m", "0"]), values(&["11m", "-1s", "1e9s"]));
    let path = pick(
        values(&["/workspace", "/home/app"]),
        values(&["/", "/proc", "/dev/shm", "..", "/a/../etc", ""]),
    );
    let uid = pick(vec![json!(1000), json!(0)], vec![json!(-1), json!("root")]);
    let health = select(vec![json!("none"), json!({"exec": ["/bin/true"]})]);
    let security = pick(
        vec![json!({"profile": "restricted"}), json!({"profile": "baseline"})],
        vec![json!({"profile": "privileged"}), json!({"privileged": true})],
    );
    let fields = (
        option::of(restart),
        option::of(grace),
        option::of(path),
        option::of(uid),
        option::of(health),
        option::of(security),
    );
    let make = |(restart, grace, path, uid, health, security)| {
        let mut manner = json!({});
        let mut workspace = json!({});
        put(&mut manner, "restart", restart);
        put(&mut manner, "stopGracePeriod", grace);
        put(&mut workspace, "path", path);
        put(&mut workspace, "uid", uid);
        put(&mut manner, "workspace", Some(workspace));
        put(&mut manner, "health", health);
        put(&mut manner, "security", security);
        manner.as_object().cloned().unwrap_or_default()
    };
    fields.prop_map(make).boxed()
}

/// A manifest, as text.
pub(super) fn manifest() -> impl Strategy<Value = String> {
    let source = prop_oneof![
        3 => image().prop_map(|image| ("image", image)),
        1 => git().prop_map(|git| ("source", json!({"git": git}))),
    ];
    let name =
        pick(values(&["chat", "a", "x-1"]), values(&["Chat", "../x", "", "a_b", "0123456789ab"]));
    let label = pick(
        values(&["team", "example.com/x"]),
        values(&["dev.berth.app", "dev.berth.instance", ""]),
    );
    let labels = object(vec((label, text()), 0..3));
    let parts = (source, env(), ports(), mounts(), resources(), forbidden(), command(), manner());
    (name, labels, parts).prop_map(|(name, labels, parts)| {
        let (source, env, ports, mounts, resources, forbidden, command, manner) = parts;
        let mut spec = json!({
            "env": env, "ports": ports, "mounts": mounts, "resources": resources,
        });
        let more = command.into_iter().chain(manner).chain(forbidden);
        for (key, value) in more.chain([(source.0.to_owned(), source.1)]) {
            put(&mut spec, &key, Some(value));
        }
        let metadata = json!({"name": name, "labels": labels});
        let kind = json!({
            "apiVersion": "berth/v1", "kind": "App", "metadata": metadata, "spec": spec,
        });
        kind.to_string()
    })
}
