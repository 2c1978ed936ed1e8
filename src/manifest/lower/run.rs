//! What runs in the container, and what it gets.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Bind, Command, ModelRef, Mount, MountSource, PortSpec, Protocol, Resources, SecretRef,
    WorkspaceSpec,
};

use super::{
    super::{
        problem::{Broken, Trail},
        v1::{self, EnvValue, Short},
        validate,
    },
    Lower, secret,
};

/// So many processes and threads: enough for any app, too few for a fork bomb.
const PIDS: i64 = 4096;
const PIDS_MAX: u32 = 4_194_304;
const CONFLICT: &str = "manifest.conflict";
const DUPLICATE: &str = "manifest.duplicate";

impl Lower<'_> {
    pub(super) fn command(&mut self, spec: &Trail<'_>) -> Command {
        let v1::Spec { run, command, args, .. } = self.spec;
        for (field, is_empty) in [
            ("run", run.as_ref().is_some_and(|run| run.trim().is_empty())),
            ("command", command.as_ref().is_some_and(Vec::is_empty)),
        ] {
            if is_empty {
                let trail = spec.key(field);
                let broken = Broken::new(format!("`{field}` is empty"));
                self.problems.refuse(&trail, broken.help("leave it out for the image's own"));
            }
        }
        match (run, command, args) {
            (None, None, None) => Command::Image,
            (Some(run), None, None) => Command::Shell(run.clone()),
            (None, command, args) => Command::Exec {
                command: command.clone().unwrap_or_default(),
                args: args.clone().unwrap_or_default(),
            },
            (Some(run), command, _) => {
                let other = if command.is_some() { "command" } else { "args" };
                let message = format!("an app has either `run` or `{other}`, not both");
                self.problems.error(CONFLICT, &spec.key(other), message).at_key();
                Command::Shell(run.clone())
            }
        }
    }

    pub(super) fn ports(&mut self, spec: &Trail<'_>) -> Vec<PortSpec> {
        let (short, long) = (spec.key("port"), spec.key("ports"));
        if self.spec.port.is_some() && self.spec.ports.is_some() {
            let message = "an app has either `port` or `ports`, not both";
            self.problems.error(CONFLICT, &short, message).at_key();
        }
        let mut ports = Vec::new();
        if let Some(port) = self.keep(&short, self.spec.port.as_ref(), |port| validate::port(*port))
        {
            ports.push(PortSpec {
                name: None,
                container_port: port,
                host_port: None,
                protocol: Protocol::Tcp,
                bind: None,
            });
        }
        for (at, port) in self.spec.ports.iter().flatten().enumerate() {
            let trail = long.index(at);
            if let Some(port) = self.one_port(port, &trail) {
                self.check_port(&port, &ports, &trail);
                ports.push(port);
            }
        }
        ports
    }

    fn one_port(&mut self, port: &v1::Port, trail: &Trail<'_>) -> Option<PortSpec> {
        let container = trail.key("containerPort");
        if port.container_port.is_none() {
            self.problems.missing(&container);
        }
        let name = self.keep(&trail.key("name"), port.name.as_ref(), |name| {
            validate::plain_name(name, "a port")
        });
        let host_port = self.keep(&trail.key("hostPort"), port.host_port.as_ref(), |port| {
            validate::host_port(*port)
        });
        let container_port =
            self.keep(&container, port.container_port.as_ref(), |port| validate::port(*port))?;
        Some(PortSpec {
            name,
            container_port,
            host_port,
            protocol: match port.protocol {
                None | Some(v1::Protocol::Tcp) => Protocol::Tcp,
                Some(v1::Protocol::Udp) => Protocol::Udp,
            },
            bind: port.bind.as_ref().map(|bind| match bind {
                v1::Bind::Loopback => Bind::Loopback,
                v1::Bind::Lan => Bind::Lan,
            }),
        })
    }

    fn check_port(&mut self, port: &PortSpec, before: &[PortSpec], trail: &Trail<'_>) {
        let others = || before.iter().filter(|other| other.protocol == port.protocol);
        let mut twice = |field: &str, what: String| {
            self.problems.error(DUPLICATE, &trail.key(field), format!("{what} is there twice"));
        };
        if others().any(|other| other.container_port == port.container_port) {
            twice("containerPort", format!("the port {}/{}", port.container_port, port.protocol));
        }
        if let Some(host) = port.host_port
            && others().any(|other| other.host_port == Some(host))
        {
            twice("hostPort", format!("the host port {host}/{}", port.protocol));
        }
        if let Some(name) = &port.name
            && before.iter().any(|other| other.name.as_ref() == Some(name))
        {
            twice("name", format!("the port name `{name}`"));
        }
    }

    /// The environment: texts, and secrets by name.
    pub(super) fn env(
        &mut self,
        trail: &Trail<'_>,
    ) -> (BTreeMap<String, String>, BTreeMap<String, SecretRef>) {
        let (mut env, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for (name, value) in self.spec.env.iter().flatten() {
            let trail = trail.key(name);
            if let Err(broken) = validate::env_name(name) {
                self.problems.refuse(&trail, broken).at_key();
            }
            match value {
                EnvValue::Text(text) => {
                    env.insert(name.clone(), text.clone());
                }
                EnvValue::Secret(wire) => {
                    let wanted = secret::reference(wire, &trail, self.problems);
                    secrets.extend(wanted.map(|wanted| (name.clone(), wanted)));
                }
            }
        }
        (env, secrets)
    }

    pub(super) fn workspace(&mut self, trail: &Trail<'_>) -> WorkspaceSpec {
        let mut workspace = WorkspaceSpec::default();
        let Some(wire) = &self.spec.workspace else { return workspace };
        let path =
            self.keep(&trail.key("path"), wire.path.as_ref(), |path| validate::mount_path(path));
        workspace.path = path.unwrap_or(workspace.path);
        workspace.acl = wire.acl.filter(|wanted| !wanted);
        workspace.uid = self.keep(&trail.key("uid"), wire.uid.as_ref(), |uid| validate::uid(*uid));
        workspace
    }

    pub(super) fn mounts(&mut self, trail: &Trail<'_>, workspace: &WorkspaceSpec) -> Vec<Mount> {
        let mut mounts = Vec::new();
        let mut taken = BTreeSet::new();
        for (at, wire) in self.spec.mounts.iter().flatten().enumerate() {
            let trail = trail.index(at);
            let here = trail.key("path");
            if wire.path.is_none() {
                self.problems.missing(&here);
            }
            let source = self.mount_source(wire, &trail);
            let Some(path) =
                self.keep(&here, wire.path.as_ref(), |path| validate::mount_path(path))
            else {
                continue;
            };
            if path == workspace.path {
                let message = format!("the workspace is mounted at `{path}`");
                self.problems
                    .error(DUPLICATE, &here, message)
                    .help("choose another path, or move the workspace with `workspace.path`");
            } else if !taken.insert(path.clone()) {
                self.problems.error(DUPLICATE, &here, format!("`{path}` is there twice"));
            }
            let fixed = match source {
                Some(MountSource::Secret(_)) => Some("a secret can't be written"),
                Some(MountSource::Model(_)) => Some("a stored model can't be written"),
                _ => None,
            };
            let read_only = wire.read_only.unwrap_or(fixed.is_some());
            if let Some(message) = fixed.filter(|_| !read_only) {
                let problem = self.problems.error(CONFLICT, &trail.key("readOnly"), message);
                problem.help("leave `readOnly` out");
            }
            mounts.extend(source.map(|source| Mount { path, source, read_only }));
        }
        mounts
    }

    fn mount_source(&mut self, wire: &v1::Mount, trail: &Trail<'_>) -> Option<MountSource> {
        let v1::Mount { volume, host, tmpfs, secret, key, model, rclone, .. } = wire;
        let named = [volume, host, secret, model].map(Option::is_some);
        let named = [named.as_slice(), &[tmpfs.is_some(), rclone.is_some()]].concat();
        if key.is_some() && secret.is_none() {
            let message = "`key` chooses a value of a `secret`";
            self.problems.error(CONFLICT, &trail.key("key"), message).at_key();
        }
        match named.iter().filter(|is_there| **is_there).count() {
            0 => {
                let problem = self.problems.error(
                    "manifest.missing-field",
                    trail,
                    "a mount needs one of `volume`, `host`, `tmpfs`, `secret`, `model` and `rclone`",
                );
                for field in ["volume", "host", "tmpfs", "model", "secret", "config", "rclone"] {
                    problem.unless(trail.key(field).path());
                }
                return None;
            }
            1 => {}
            _ => {
                let message = "a mount has only one of `volume`, `host`, `tmpfs`, `secret`, `model` and `rclone`";
                self.problems.error(CONFLICT, trail, message);
                return None;
            }
        }
        if secret.is_some() {
            let wire = v1::SecretValue { secret: secret.clone(), key: key.clone() };
            return secret::reference(&wire, trail, self.problems).map(MountSource::Secret);
        }
        if let Some(wire) = rclone {
            return self.remote(wire, trail);
        }
        if let Some(model) = model {
            let read = ModelRef::parse(model).map_err(Broken::new);
            return self.problems.keep(&trail.key("model"), read).map(MountSource::Model);
        }
        let volume = self.keep(&trail.key("volume"), volume.as_ref(), |name| {
            validate::plain_name(name, "a volume")
        });
        let host =
            self.keep(&trail.key("host"), host.as_ref(), |path| validate::absolute_path(path));
        let here = trail.key("tmpfs");
        let (size, at) = match tmpfs {
            Some(Short::Short(size)) => (Some(size), here),
            Some(Short::Long(long)) => (long.size.as_ref(), here.key("size")),
            None => (None, here),
        };
        let size = self.keep(&at, size, validate::size);
        volume
            .map(MountSource::Volume)
            .or(host.map(MountSource::Host))
            .or(tmpfs.as_ref().map(|_| MountSource::Tmpfs(size)))
    }

    pub(super) fn resources(&mut self, trail: &Trail<'_>) -> Resources {
        let none = v1::Resources::default();
        let wire = self.spec.resources.as_ref().unwrap_or(&none);
        let pids = self
            .keep(&trail.key("pids"), wire.pids.as_ref(), |pids| validate::count(*pids, PIDS_MAX));
        Resources {
            cpu_millis: self.keep(&trail.key("cpus"), wire.cpus.as_ref(), validate::cpus),
            memory_bytes: self.keep(&trail.key("memory"), wire.memory.as_ref(), validate::memory),
            shm_bytes: self.keep(&trail.key("shmSize"), wire.shm_size.as_ref(), validate::size),
            pids: Some(pids.map_or(PIDS, i64::from)),
        }
    }
}
