//! A spec in the manifest's own words, in its long form.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Map, Value, json};

use super::HIDDEN;
use crate::model::{
    AppSpec, Bind, BuildSecret, BuildSpec, Command, GitSource, GpuAsk, HUB_TOKEN, Health,
    HealthCheck, KEY_FILES, Mount, MountSource, PortSpec, PullPolicy, Remote, Resources,
    RestartPolicy, RolloutOrder, SSH_PORT, Source, SshAccess,
};

/// An object that leaves out what is not set.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    fn put_some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn put_list(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            self.put(name, values.to_vec());
        }
    }

    fn put_object(&mut self, name: &str, fields: Self) {
        if !fields.0.is_empty() {
            self.put(name, fields.0);
        }
    }
}

/// The spec, as a manifest would say it.
pub(crate) fn spec(spec: &AppSpec) -> Value {
    let mut fields = Fields::default();
    match &spec.source {
        Source::Git(git) => fields.put_object("source", source(git)),
        Source::Image { reference, pull } => {
            fields.put("image", reference.as_str());
            fields.put("pullPolicy", pull_policy(*pull));
        }
    }
    fields.put_object("build", build(&spec.build));
    match &spec.command {
        Command::Image => {}
        Command::Shell(line) => fields.put("run", line.as_str()),
        Command::Exec { command, args } => {
            fields.put_list("command", command);
            fields.put_list("args", args);
        }
    }
    let is_ssh = |port: &&PortSpec| spec.ssh.is_some() && port.container_port == SSH_PORT;
    let ports: Vec<_> = spec.ports.iter().filter(|port| !is_ssh(port)).map(port).collect();
    if !ports.is_empty() {
        fields.put("ports", ports);
    }
    if let Some(ssh) = &spec.ssh {
        fields.put("access", json!({"ssh": self::ssh(spec, ssh)}));
    }
    let mut env = hidden(&spec.env);
    // Its own token is what `models.hub` says.
    for (name, wanted) in spec.secret_env.iter().filter(|(_, it)| it.secret != HUB_TOKEN) {
        env.put(name, serde_json::to_value(wanted).unwrap_or_default());
    }
    fields.put_object("env", env);
    if let Some(profile) = spec.profile {
        fields.put("security", json!({"profile": profile}));
    }
    let mounts: Vec<_> = spec.mounts.iter().filter(|mount| !is_key(mount)).map(mount).collect();
    if !mounts.is_empty() {
        fields.put("mounts", mounts);
    }
    if let Some(gpus) = &spec.gpus {
        fields.put_object("gpus", self::gpus(gpus));
    }
    let mut models = Fields::default();
    models.put_some("hub", spec.models.hub.then_some(true));
    models.put_some("follow", (!spec.models.follow).then_some(false));
    fields.put_object("models", models);
    fields.put_object("resources", resources(&spec.resources));
    fields.put("health", health(&spec.health));
    fields.put("restart", restart(spec.restart));
    fields.put_object("rollout", rollout(spec));
    let dependencies: Vec<_> = spec.depends_on.iter().map(ToString::to_string).collect();
    fields.put_list("dependsOn", &dependencies);
    if spec.suspend {
        fields.put("suspend", true);
    }
    fields.put_object("workspace", workspace(spec));
    fields.put("stopGracePeriod", duration(spec.stop_grace_period));
    if let Some(metrics) = &spec.metrics {
        fields.put("metrics", json!({"port": metrics.port, "path": metrics.path}));
    }
    Value::Object(fields.0)
}

fn source(git: &GitSource) -> Fields {
    let mut repository = Fields::default();
    repository.put("url", git.url.as_str());
    repository.put_some("ref", git.reference.clone());
    repository.put_some("path", (!git.path.is_empty()).then(|| git.path.clone()));
    repository.put_some("depth", git.depth);
    repository.put_some("submodules", git.submodules.then_some(true));
    repository.put_some("lfs", git.lfs.then_some(true));
    let mut auth = Fields::default();
    auth.put_some("secret", git.auth.clone());
    repository.put_object("auth", auth);
    let mut fields = Fields::default();
    fields.put_object("git", repository);
    fields.put("interval", duration(git.interval));
    fields
}

fn build(build: &BuildSpec) -> Fields {
    let mut fields = Fields::default();
    fields.put_some("dockerfile", build.dockerfile.clone());
    fields.put_some("target", build.target.clone());
    fields.put_object("args", hidden(&build.args));
    fields.put_some("base", build.base.as_ref().map(ToString::to_string));
    fields.put_some("requirements", build.requirements.clone());
    fields.put_list("packages", &build.packages);
    if build.ca_bundle {
        fields.put("caBundle", true);
    }
    fields.put_some("python", build.python.clone());
    if !build.secrets.is_empty() {
        let secrets = build.secrets.iter().map(secret).collect::<Vec<_>>();
        fields.put("secrets", Value::Array(secrets));
    }
    fields
}

/// What a secret is called. Its values are known to nobody here.
fn secret(secret: &BuildSecret) -> Value {
    let mut fields = Fields::default();
    fields.put("id", secret.id.clone());
    fields.put("secret", secret.secret.clone());
    fields.put_some("key", secret.key.clone());
    Value::Object(fields.0)
}

fn hidden(values: &BTreeMap<String, String>) -> Fields {
    let mut fields = Fields::default();
    for name in values.keys() {
        fields.put(name, HIDDEN);
    }
    fields
}

fn port(port: &PortSpec) -> Value {
    let mut fields = Fields::default();
    fields.put_some("name", port.name.clone());
    fields.put("containerPort", port.container_port);
    fields.put_some("hostPort", port.host_port);
    fields.put("protocol", port.protocol.to_string());
    let bind = port.bind.map(|bind| match bind {
        Bind::Loopback => "loopback",
        Bind::Lan => "lan",
    });
    fields.put_some("bind", bind);
    Value::Object(fields.0)
}

/// Whether a mount is a public key of `access.ssh`, which says it.
fn is_key(mount: &Mount) -> bool {
    matches!(mount.source, MountSource::Secret(_)) && mount.path.starts_with(KEY_FILES)
}

fn ssh(spec: &AppSpec, ssh: &SshAccess) -> Value {
    let mut fields = Fields::default();
    fields.put("port", ssh.port.map_or_else(|| json!("auto"), |port| json!(port)));
    fields.put_some("bind", ssh.bind.map(|bind| json!(bind)));
    let texts = ssh.keys.iter().map(|key| json!(key));
    let secrets = spec.mounts.iter().filter(|mount| is_key(mount)).filter_map(|mount| {
        let MountSource::Secret(wanted) = &mount.source else { return None };
        serde_json::to_value(wanted).ok()
    });
    fields.put("authorizedKeys", texts.chain(secrets).collect::<Vec<_>>());
    Value::Object(fields.0)
}

fn mount(mount: &Mount) -> Value {
    let mut fields = Fields::default();
    fields.put("path", mount.path.as_str());
    match &mount.source {
        MountSource::Volume(name) => fields.put("volume", name.as_str()),
        MountSource::Host(path) => fields.put("host", path.as_str()),
        MountSource::Tmpfs(size) => {
            fields.put("tmpfs", size.map_or_else(|| json!({}), |size| json!(bytes(size))));
        }
        MountSource::Secret(wanted) => {
            fields.put("secret", wanted.secret.as_str());
            fields.put_some("key", wanted.key.clone());
        }
        MountSource::Remote(Remote { remote, cache }) => {
            let mut rclone = Fields::default();
            rclone.put("remote", remote.as_str());
            rclone.put_some("cache", cache.clone());
            fields.put_object("rclone", rclone);
        }
        MountSource::Model(model) => fields.put("model", model.to_string()),
    }
    let is_fixed = matches!(mount.source, MountSource::Secret(_) | MountSource::Model(_));
    if mount.read_only && !is_fixed {
        fields.put("readOnly", true);
    }
    Value::Object(fields.0)
}

fn resources(resources: &Resources) -> Fields {
    let mut fields = Fields::default();
    let cpus = |millis: u64| {
        if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") }
    };
    fields.put_some("cpus", resources.cpu_millis.map(cpus));
    fields.put_some("memory", resources.memory_bytes.map(bytes));
    fields.put_some("shmSize", resources.shm_bytes.map(bytes));
    fields.put_some("pids", resources.pids);
    fields
}

fn gpus(gpus: &GpuAsk) -> Fields {
    let mut fields = Fields::default();
    fields.put("count", gpus.count);
    fields.put_list("ids", &gpus.ids);
    fields.put_some("memory", gpus.memory_bytes.map(bytes));
    fields.put("share", json!(gpus.share));
    fields.put_some("model", gpus.model.clone());
    fields.put_some("vendor", gpus.vendor.map(|vendor| vendor.to_string()));
    fields.put_some("mig", gpus.mig.clone());
    fields.put_list("capabilities", &gpus.capabilities);
    fields.put("priority", gpus.priority);
    fields
}

fn health(health: &Health) -> Value {
    let mut fields = Fields::default();
    match &health.check {
        None => return "none".into(),
        Some(HealthCheck::Http { path, port }) => {
            fields.put("http", json!({ "path": path, "port": port }));
        }
        Some(HealthCheck::Tcp { port }) => fields.put("tcp", json!({ "port": port })),
        Some(HealthCheck::Exec(command)) => fields.put("exec", command.clone()),
    }
    fields.put("startPeriod", duration(health.start_period));
    fields.put("interval", duration(health.interval));
    fields.put("timeout", duration(health.timeout));
    fields.put("retries", health.retries);
    Value::Object(fields.0)
}

fn rollout(spec: &AppSpec) -> Fields {
    let mut fields = Fields::default();
    let order = match spec.rollout.order {
        RolloutOrder::Auto => "auto",
        RolloutOrder::StopFirst => "stop-first",
        RolloutOrder::StartFirst => "start-first",
    };
    fields.put("order", order);
    fields.put_some("deadline", spec.rollout.deadline.map(duration));
    if !spec.rollout.min_ready.is_zero() {
        fields.put("minReady", duration(spec.rollout.min_ready));
    }
    fields.put("autoRollback", spec.rollout.auto_rollback);
    fields
}

fn workspace(spec: &AppSpec) -> Fields {
    let mut fields = Fields::default();
    fields.put("path", spec.workspace.path.as_str());
    fields.put_some("uid", spec.workspace.uid);
    fields.put_some("acl", spec.workspace.acl);
    fields
}

fn pull_policy(policy: PullPolicy) -> &'static str {
    match policy {
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Always => "Always",
    }
}

fn restart(policy: RestartPolicy) -> &'static str {
    match policy {
        RestartPolicy::Always => "Always",
        RestartPolicy::OnFailure => "OnFailure",
        RestartPolicy::Never => "Never",
    }
}

/// A duration without any loss: what is read again is the same.
fn duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 4] = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (size, unit) in UNITS {
        let (count, left) = (rest / size, rest % size);
        if 0 < count {
            text.push_str(&count.to_string());
            text.push_str(unit);
        }
        rest = left;
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A size without any loss.
fn bytes(bytes: u64) -> String {
    const UNITS: [(u32, &str); 4] = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let whole = |(shift, _): &&(u32, &str)| 0 < bytes && bytes.is_multiple_of(1 << shift);
    UNITS
        .iter()
        .find(whole)
        .map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{parse_bytes, parse_duration};

    #[test]
    fn what_is_written_is_read_as_the_same_again() {
        for ms in [0, 1, 999, 1_000, 90_000, 3_600_000, 5_415_250] {
            let wanted = Duration::from_millis(ms);
            assert_eq!(parse_duration(&duration(wanted)), Ok(wanted));
        }
        for size in [0, 1, 1_023, 1_024, 1_536, 64 << 20, (1 << 30) + 1, 3 << 40] {
            assert_eq!(parse_bytes(&bytes(size)), Ok(size));
        }
    }
}
