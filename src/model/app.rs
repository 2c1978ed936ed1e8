//! An app: what a manifest means once it has been read, checked and completed with defaults.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    access::{Remote, SshAccess},
    gpu::GpuAsk,
    name::AppName,
    port::PortSpec,
    reference::{GitUrl, ImageRef},
    secret::{Profile, SecretRef},
    stored::{ModelRef, ModelsSpec},
};

/// One app, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its name, unique within this Berth.
    pub name: AppName,
    /// The user's labels. They select and describe; they never reach a container.
    pub labels: BTreeMap<String, String>,
    /// The user's annotations, as the labels.
    pub annotations: BTreeMap<String, String>,
    /// What is wanted.
    pub spec: AppSpec,
    /// Where it was written.
    pub origin: Origin,
}

/// Where a document was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file, relative to the manifest folder.
    pub file: String,
    /// The line of the document's first key, counted from 1.
    pub line: u32,
}

/// What is wanted of an app. Every default is filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AppSpec {
    /// Where its image comes from.
    pub source: Source,
    /// How the image is built from the source.
    pub build: BuildSpec,
    /// What runs in the container.
    pub command: Command,
    /// What it listens on.
    pub ports: Vec<PortSpec>,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// The variables whose values are secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_env: BTreeMap<String, SecretRef>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// What it may use.
    pub resources: Resources,
    /// How one tells that it works.
    pub health: Health,
    /// What happens when it exits.
    pub restart: RestartPolicy,
    /// How a new version takes the place of an old one.
    pub rollout: Rollout,
    /// Apps that must be ready before this one starts.
    pub depends_on: Vec<AppName>,
    /// Whether it is meant to be stopped.
    pub suspend: bool,
    /// Its folder on the host, as the container sees it.
    pub workspace: WorkspaceSpec,
    /// How long it may take to stop before it is killed.
    pub stop_grace_period: Duration,
    /// The GPUs that it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpuAsk>,
    /// Where it tells figures of its own, for Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsSpec>,
    /// How tightly its container is held; none is as the operator says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// The way in by ssh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<SshAccess>,
    /// How it uses stored models, beside what is mounted.
    #[serde(skip_serializing_if = "ModelsSpec::is_usual")]
    pub models: ModelsSpec,
}

/// Where an app tells figures of its own, for Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricsSpec {
    /// The container's port.
    pub port: u16,
    /// The path, starting with `/`.
    pub path: String,
}

/// Where an app's image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Source {
    /// Built from a git repository.
    Git(GitSource),
    /// Taken as it is.
    Image {
        /// Which image.
        reference: ImageRef,
        /// When it is pulled.
        pull: PullPolicy,
    },
}

/// A git repository to build from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GitSource {
    /// Where it is.
    pub url: GitUrl,
    /// The branch, tag, commit or range of versions; none is the remote's HEAD.
    pub reference: Option<String>,
    /// The folder inside the repository that is the app; empty is all of it.
    pub path: String,
    /// How many commits to fetch; none lets Berth choose.
    pub depth: Option<u32>,
    /// Whether the repositories that it names as its submodules are part of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub submodules: bool,
    /// How often to look for a new commit; zero is never.
    pub interval: Duration,
    /// Whether files that are kept in Git LFS are fetched.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lfs: bool,
    /// The secret to log in with; none is the operator's for the host, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum PullPolicy {
    /// Only when the engine does not have it.
    #[default]
    IfNotPresent,
    /// Once for each change of the manifest.
    Always,
}

/// How an image is built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BuildSpec {
    /// The Dockerfile, relative to the source path; none lets Berth look for one.
    pub dockerfile: Option<String>,
    /// The build stage to stop at.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The base image of a generated Dockerfile; none is the operator's default.
    pub base: Option<ImageRef>,
    /// The requirements file of a generated Dockerfile; none lets Berth look for one.
    pub requirements: Option<String>,
    /// Debian packages to install in a generated Dockerfile.
    pub packages: Vec<String>,
    /// Whether the host's CA bundle is given to the build (for TLS-inspecting proxies).
    pub ca_bundle: bool,
    /// The Python that a generated Dockerfile is for; none lets the project's files say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub python: Option<String>,
    /// Secrets that the build sees and no layer keeps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<BuildSecret>,
}

/// A secret that a build sees at `/run/secrets/<id>` and no layer keeps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BuildSecret {
    /// What the build calls it.
    pub id: String,
    /// The secret.
    pub secret: String,
    /// Which value of the secret; none is its only one.
    pub key: Option<String>,
}

/// What runs in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// What the image says.
    #[default]
    Image,
    /// A line for `/bin/sh`, which is replaced by it (`exec`), so that signals arrive.
    Shell(String),
    /// An argument vector: `command` replaces the entry point, `args` the arguments.
    Exec {
        /// Entry point; empty keeps the image's.
        command: Vec<String>,
        /// Arguments; empty keeps the image's unless `command` is given.
        args: Vec<String>,
    },
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mount {
    /// Where, inside the container.
    pub path: String,
    /// What.
    pub source: MountSource,
    /// Whether the app may not write to it.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MountSource {
    /// A named volume, kept when the app goes.
    Volume(String),
    /// A folder or file of the host, by absolute path; the operator's policy must list it.
    Host(String),
    /// Memory, with an optional limit in bytes.
    Tmpfs(Option<u64>),
    /// A secret as a file in memory that can't be written.
    Secret(SecretRef),
    /// A remote of rclone, which the image mounts itself.
    Remote(Remote),
    /// A stored model, that can't be written.
    Model(ModelRef),
}

/// What an app may use. None is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_millis: Option<u64>,
    /// Bytes of memory (and no swap beyond it).
    pub memory_bytes: Option<u64>,
    /// Bytes of `/dev/shm`.
    pub shm_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<i64>,
}

/// How one tells that an app works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The check; none was said by `health: none` or follows from having no port.
    pub check: Option<HealthCheck>,
    /// How long it may take to become healthy for the first time.
    pub start_period: Duration,
    /// The time between two checks once it is healthy.
    pub interval: Duration,
    /// The time that one check may take.
    pub timeout: Duration,
    /// How many failures in a row make a healthy app unhealthy.
    pub retries: u32,
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HealthCheck {
    /// `GET path` answers with a status below 400.
    Http {
        /// The path, starting with `/`.
        path: String,
        /// The container's port.
        port: u16,
    },
    /// A connection is accepted.
    Tcp {
        /// The container's port.
        port: u16,
    },
    /// A command inside the container exits with 0.
    Exec(Vec<String>),
}

/// What happens when the app's main process exits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// It is started again.
    #[default]
    Always,
    /// It is started again unless it exited with 0.
    OnFailure,
    /// It stays down.
    Never,
}

/// How a new version takes the place of an old one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Which of the two comes first.
    pub order: RolloutOrder,
    /// How long the new version may take to become ready; none is the health check's start period.
    pub deadline: Option<Duration>,
    /// How long the new version must stay healthy before the old one goes.
    #[serde(default, skip_serializing_if = "Duration::is_zero")]
    pub min_ready: Duration,
    /// Whether the old version comes back when the new one fails.
    pub auto_rollback: bool,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            order: RolloutOrder::Auto,
            deadline: None,
            min_ready: Duration::ZERO,
            auto_rollback: true,
        }
    }
}

/// Which version is stopped or started first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolloutOrder {
    /// Start first where both fit (no host port in common), else stop first.
    #[default]
    Auto,
    /// The old one stops, the new one starts.
    StopFirst,
    /// The new one starts and is checked, the old one stops.
    StartFirst,
}

/// An app's folder on the host, as its container sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceSpec {
    /// Where `data/` is mounted; also given as `WORKSPACE`.
    pub path: String,
    /// Who owns `data/`.
    pub uid: Option<u32>,
    /// `false` leaves its access list alone; none is as the image does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<bool>,
}

impl Default for WorkspaceSpec {
    fn default() -> Self {
        Self { path: "/workspace".to_owned(), uid: None, acl: None }
    }
}

impl AppSpec {
    /// How long a new version may take to become ready.
    pub fn rollout_deadline(&self) -> Duration {
        self.rollout.deadline.unwrap_or(self.health.start_period)
    }

    /// The secrets that its container gets, in no order.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let files = self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Secret(secret) => Some(secret),
            _ => None,
        });
        self.secret_env.values().chain(files)
    }

    /// The stored models that are mounted, with where.
    pub fn stored(&self) -> impl Iterator<Item = (&str, &ModelRef)> {
        self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Model(model) => Some((mount.path.as_str(), model)),
            _ => None,
        })
    }

    /// The git source, when there is one.
    pub fn git(&self) -> Option<&GitSource> {
        match &self.source {
            Source::Git(git) => Some(git),
            Source::Image { .. } => None,
        }
    }
}
