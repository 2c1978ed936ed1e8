//! The wire types of `berth/v1`: what may be written, field by field.
//!
//! One set of types makes the reader, the JSON Schema, and the names that typos are compared
//! with. Everything is optional here; what must be there is checked by `lower`, so that a missing
//! field does not hide other mistakes. Fields of later features are not here: [`LATER`] lists
//! them.

mod access;
mod gpus;
mod secret;
mod short;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub(super) use access::{Access, AutoPort, Cache, Rclone};
pub(super) use gpus::{Capability, Gpus, Share as GpuShareWire, Vendor as GpuVendorWire};
pub(super) use secret::{
    HOLD_VALUES, Profile, SecretManifest, SecretSource, SecretValue, Security,
};
pub(super) use short::{Amount, EnvValue, NoCheck, Period, Short};

/// The version of the format.
pub(super) const VERSION: &str = "berth/v1";
/// The kind that is supported.
pub(super) const APP: &str = "App";
/// The kind of documents that say where a secret's values come from.
pub(super) const SECRET: &str = "Secret";
/// The kinds that are planned.
pub(super) const LATER_KINDS: [&str; 4] = ["Job", "Volume", "Network", "Model"];

/// Fields that are known but not supported yet, with what to do instead. List indices are `[]`.
pub(super) const LATER: &[(&str, &str)] = &[
    ("spec.deletionPolicy", "volumes are kept when an app goes"),
    ("spec.keep", ""),
    ("spec.retries", "a count of failed health checks is `spec.health.retries`"),
    ("spec.schedule", ""),
    ("spec.timeout", "the time a health check may take is `spec.health.timeout`"),
    ("spec.source.directory", "use `git` with a path, like `git: ./my-app`"),
    ("spec.source.mount", "the code is part of the image"),
    ("spec.build.context", "name the folder with `source.git.path`"),
    ("spec.mounts[].config", ""),
    ("spec.mounts[].deletionPolicy", "volumes are kept when an app goes"),
    ("spec.resources.ulimits", ""),
    ("spec.resources.gpus", "GPUs are asked for with `spec.gpus`"),
];

/// A manifest of Berth: one app.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Manifest {
    /// The version of this format.
    #[schemars(required, extend("enum" = ["berth/v1"]))]
    pub(super) api_version: Option<String>,
    /// What is described.
    #[schemars(required, extend("enum" = ["App"]))]
    pub(super) kind: Option<String>,
    /// What it is called.
    #[schemars(required)]
    pub(super) metadata: Option<Metadata>,
    /// What is wanted.
    #[schemars(required)]
    pub(super) spec: Option<Spec>,
}

/// What an app is called.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Metadata {
    /// Its name: lower-case letters, digits and `-`, at most 40, starting with a letter.
    #[schemars(required, length(max = 40), regex(pattern = "^[a-z]([a-z0-9-]*[a-z0-9])?$"))]
    pub(super) name: Option<String>,
    /// Labels to select and describe it by.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// Notes of any kind.
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

/// What is wanted of an app.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Spec {
    /// The repository that its image is built from. Either this or `image`.
    pub(super) source: Option<Source>,
    /// The image that it runs, as `name:tag` or `name@sha256:…`. Either this or `source`.
    pub(super) image: Option<String>,
    /// When `image` is pulled. Default: `IfNotPresent`.
    pub(super) pull_policy: Option<PullPolicy>,
    /// How the image is built from the source.
    pub(super) build: Option<Build>,
    /// The command line, for `/bin/sh`. Either this or `command` and `args`.
    pub(super) run: Option<String>,
    /// The entry point, in place of the image's.
    pub(super) command: Option<Vec<String>>,
    /// The arguments, in place of the image's.
    pub(super) args: Option<Vec<String>>,
    /// The one port that it listens on. Short for `ports` with one element.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) port: Option<i64>,
    /// The ports that it listens on.
    pub(super) ports: Option<Vec<Port>>,
    /// How many GPUs it gets for itself, or more about them. Default: none.
    pub(super) gpus: Option<Short<i64, Gpus>>,
    /// What it may use.
    pub(super) resources: Option<Resources>,
    /// Its environment. Values are texts, numbers and booleans need quotes, or secrets by name.
    pub(super) env: Option<BTreeMap<String, EnvValue>>,
    /// What is mounted into it.
    pub(super) mounts: Option<Vec<Mount>>,
    /// How one tells that it works, or `none`. Default: the first TCP port accepts connections.
    pub(super) health: Option<Short<NoCheck, Health>>,
    /// What happens when it exits. Default: `Always`.
    pub(super) restart: Option<Restart>,
    /// How a new version takes the place of an old one.
    pub(super) rollout: Option<Rollout>,
    /// Apps that must be ready before it starts.
    pub(super) depends_on: Option<Vec<String>>,
    /// Whether it is meant to be stopped. Default: false.
    pub(super) suspend: Option<bool>,
    /// Its folder on the host, as it sees it.
    pub(super) workspace: Option<Workspace>,
    /// How long it may take to stop before it is killed, up to 10m. Default: 10s.
    pub(super) stop_grace_period: Option<Period>,
    /// Where it tells figures of its own, for Prometheus.
    pub(super) metrics: Option<Metrics>,
    /// How tightly its container is held.
    pub(super) security: Option<Security>,
    /// How people get into its container.
    pub(super) access: Option<Access>,
    /// How it uses stored models, beside what is mounted.
    pub(super) models: Option<Models>,
}

/// How an app uses stored models.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Models {
    /// Whether it gets the address of the Hub and a token that may read, as `HF_ENDPOINT` and
    /// `HF_TOKEN`. Default: false.
    pub(super) hub: Option<bool>,
    /// Whether a moved alias, or a newer version of a range, makes a new container. Default: true.
    pub(super) follow: Option<bool>,
}

/// Where an app tells figures of its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Metrics {
    /// The container's port. It need not be among `ports`.
    #[schemars(required, range(min = 1, max = 65535))]
    pub(super) port: Option<i64>,
    /// The path. Default: `/metrics`.
    pub(super) path: Option<String>,
}

/// The repository that an image is built from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Source {
    /// The git repository: its URL, or more about it.
    #[schemars(required)]
    pub(super) git: Option<Short<String, Git>>,
    /// How often to look for a new commit; 0 is never. Default: 5m.
    pub(super) interval: Option<Period>,
}

/// A git repository.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Git {
    /// Its URL: `https://…`, `ssh://…`, `git@host:path`, or a local path.
    #[schemars(required)]
    pub(super) url: Option<String>,
    /// The branch, tag, commit, or range of versions among the tags, as `>=1.2 <2`. Default: the
    /// remote's HEAD.
    #[serde(rename = "ref")]
    pub(super) reference: Option<String>,
    /// The folder inside the repository that is the app. Default: all of it.
    pub(super) path: Option<String>,
    /// How many commits to fetch. Default: as Berth sees fit.
    #[schemars(range(min = 1))]
    pub(super) depth: Option<i64>,
    /// Whether its submodules are fetched too. Default: false.
    pub(super) submodules: Option<bool>,
    /// Whether files that are kept in Git LFS are fetched. Default: false, and such files below
    /// `path` are refused.
    pub(super) lfs: Option<bool>,
    /// How to log in. Default: as the operator says for the host, else not at all.
    pub(super) auth: Option<GitAuth>,
}

/// How to log in to a git server.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct GitAuth {
    /// The secret's name. Its keys: `token`, or `username` and `password`, or `ssh-privatekey`.
    #[schemars(required)]
    pub(super) secret: Option<String>,
}

/// How an image is built.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Build {
    /// The Dockerfile, relative to the source path. Default: `Dockerfile` when there is one, else
    /// a generated one.
    pub(super) dockerfile: Option<String>,
    /// The build stage to stop at.
    pub(super) target: Option<String>,
    /// Build arguments. Values are texts.
    pub(super) args: Option<BTreeMap<String, String>>,
    /// The base image of a generated Dockerfile. Default: the operator's.
    pub(super) base: Option<String>,
    /// The requirements file of a generated Dockerfile. Default: the one that is found.
    pub(super) requirements: Option<String>,
    /// Debian packages for a generated Dockerfile.
    pub(super) packages: Option<Vec<String>>,
    /// Whether the build trusts the host's CA certificates. Default: false.
    pub(super) ca_bundle: Option<bool>,
    /// The Python of a generated Dockerfile, like `3.11` or `>=3.10,<3.13`. Default: as the
    /// project's own files say.
    pub(super) python: Option<String>,
    /// Secrets that the build sees and no layer keeps. They need an engine with `BuildKit`.
    pub(super) secrets: Option<Vec<BuildSecret>>,
}

/// A secret that a build sees at `/run/secrets/<id>`; as `pip.conf`, `netrc` and `npmrc` where the
/// tools of these names look for it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct BuildSecret {
    /// What the build calls it.
    #[schemars(required)]
    pub(super) id: Option<String>,
    /// The name of the secret.
    #[schemars(required)]
    pub(super) secret: Option<String>,
    /// Which value of the secret. Default: its only one.
    pub(super) key: Option<String>,
}

/// When an image is pulled.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) enum PullPolicy {
    /// Only when the engine does not have it.
    IfNotPresent,
    /// Once for each change of the manifest.
    Always,
}

/// A port that an app listens on.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the words of Kubernetes")]
pub(super) struct Port {
    /// A name for people.
    pub(super) name: Option<String>,
    /// The port inside the container.
    #[schemars(required, range(min = 1, max = 65535))]
    pub(super) container_port: Option<i64>,
    /// The port on the host. Default: an automatic one that stays the same.
    #[schemars(range(min = 1024, max = 65535))]
    pub(super) host_port: Option<i64>,
    /// The transport. Default: `tcp`.
    pub(super) protocol: Option<Protocol>,
    /// Who may reach it. Default: the operator's.
    pub(super) bind: Option<Bind>,
}

/// The transport of a port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Who may reach a port.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Bind {
    /// This machine only.
    Loopback,
    /// Every machine that reaches this one.
    Lan,
}

/// What an app may use.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Resources {
    /// CPU, like `2`, `0.5` or `500m`. Default: no limit.
    pub(super) cpus: Option<Amount>,
    /// Memory, like `512Mi` or `16Gi`. Default: no limit.
    pub(super) memory: Option<Amount>,
    /// Shared memory (`/dev/shm`), like `8Gi`. Default: with GPUs 8Gi, else the engine's, 64Mi.
    pub(super) shm_size: Option<Amount>,
    /// Processes and threads. Default: 4096.
    #[schemars(range(min = 1))]
    pub(super) pids: Option<i64>,
}

/// Something mounted into an app. Exactly one of `volume`, `host`, `tmpfs`, `secret`, `model` and
/// `rclone`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Mount {
    /// Where, inside the container.
    #[schemars(required)]
    pub(super) path: Option<String>,
    /// Whether the app may not write to it. Default: false.
    pub(super) read_only: Option<bool>,
    /// A named volume, kept when the app goes.
    pub(super) volume: Option<String>,
    /// A folder or file of the host. The operator's policy must list it.
    pub(super) host: Option<String>,
    /// Memory: its size, or more about it.
    pub(super) tmpfs: Option<Short<Amount, Tmpfs>>,
    /// A remote of rclone: its name and the path there, or more about it. The image must be one of
    /// Berth's base family, and the operator's policy must allow it.
    pub(super) rclone: Option<Short<String, Rclone>>,
    /// The name of a secret, mounted as a file that can't be written.
    pub(super) secret: Option<String>,
    /// Which value of the secret. Default: its only one.
    pub(super) key: Option<String>,
    /// A stored model that can't be written: `project/app@version`, or one file of it:
    /// `project/app@version/file`. The version may be an alias, `latest`, or a range like `^1.2`.
    pub(super) model: Option<String>,
}

/// Memory used as a folder.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Tmpfs {
    /// Its size, like `1Gi`. Default: no limit of its own.
    pub(super) size: Option<Amount>,
}

/// How one tells that an app works. At most one of `http`, `tcp` and `exec`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Health {
    /// A request that must be answered with a status below 400.
    pub(super) http: Option<Http>,
    /// A port that must accept connections.
    pub(super) tcp: Option<Short<i64, Tcp>>,
    /// A command inside the container that must exit with 0.
    pub(super) exec: Option<Short<Vec<String>, Exec>>,
    /// How long it may take to become healthy for the first time. Default: 10m.
    pub(super) start_period: Option<Period>,
    /// The time between two checks. Default: 10s.
    pub(super) interval: Option<Period>,
    /// The time that one check may take. Default: 5s.
    pub(super) timeout: Option<Period>,
    /// How many failures in a row make it unhealthy. Default: 3.
    #[schemars(range(min = 1, max = 100))]
    pub(super) retries: Option<i64>,
}

/// A request that must be answered with a status below 400.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Http {
    /// The path. Default: `/`.
    pub(super) path: Option<String>,
    /// The container's port. Default: the first TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) port: Option<i64>,
}

/// A port that must accept connections.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Tcp {
    /// The container's port. Default: the first TCP port.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) port: Option<i64>,
}

/// A command that must exit with 0.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Exec {
    /// The command and its arguments.
    #[schemars(required)]
    pub(super) command: Option<Vec<String>>,
}

/// What happens when an app exits.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) enum Restart {
    /// It is started again.
    Always,
    /// It is started again unless it exited with 0.
    OnFailure,
    /// It stays down.
    Never,
}

/// How a new version takes the place of an old one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Rollout {
    /// Which of the two comes first. Default: `auto`.
    pub(super) order: Option<Order>,
    /// How long the new version may take to become ready. Default: the health check's
    /// `startPeriod`.
    pub(super) deadline: Option<Period>,
    /// How long the new version must stay healthy before the old one goes, up to 1h. Default: 0.
    pub(super) min_ready: Option<Period>,
    /// Whether the old version comes back when the new one fails. Default: true.
    pub(super) auto_rollback: Option<bool>,
}

/// Which version is stopped or started first.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Start first where both fit, else stop first.
    Auto,
    /// The old one stops, the new one starts.
    StopFirst,
    /// The new one starts and is checked, the old one stops.
    StartFirst,
}

/// An app's folder on the host, as it sees it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub(super) struct Workspace {
    /// Where it is mounted. Default: `/workspace`.
    pub(super) path: Option<String>,
    /// The user id that owns it.
    #[schemars(range(min = 0, max = 4_294_967_294_u32))]
    pub(super) uid: Option<i64>,
    /// Whether new files stay usable by that user, whoever makes them, where the image is one of
    /// Berth's base family. Default: true.
    pub(super) acl: Option<bool>,
}
