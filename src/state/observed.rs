//! What was seen: the engine's objects, and what Berth knows about one app.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    devices::GpuDevices,
    facts::FileFacts,
    gpu::{GpuHold, GpuPlacement},
    ownership::Ownership,
    resolved::Resolved,
    revision::{Obstacle, Pin},
    scan::Scans,
    secret::SecretSeen,
    stored::ModelSeen,
};
use crate::model::{
    AppName, Digest, GpuGiven, ImageRef, PortBinding, Protocol, Reason, SpecHash, Timestamp,
};

/// The full id of a container: 64 hexadecimal digits. Short ids and names never reach the engine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(String);

impl ContainerId {
    /// Takes an id as the engine wrote it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// A container's state, in the engine's words. A word that Berth does not know is `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its main process runs.
    Running,
    /// Frozen.
    Paused,
    /// Exited, and the engine will start it again after a pause.
    Restarting,
    /// Being removed.
    Removing,
    /// Its main process ended.
    Exited,
    /// Could not be removed completely; it keeps its name but can't run.
    Dead,
    /// A state that this Berth does not know.
    Unknown,
}

/// A container, as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its full id.
    pub id: ContainerId,
    /// Its name, without the slash.
    pub name: String,
    /// Whose it is.
    pub ownership: Ownership,
    /// The image as the engine shows it: a reference, or an id when the tag has moved on.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// Its state.
    pub state: ContainerState,
    /// Its last exit code, when it has exited.
    pub exit_code: Option<i64>,
    /// The ports that are bound on the host. Of a stopped container of ours: those it was given.
    pub ports: Vec<PortBinding>,
    /// The networks that it is in, with its address there when it runs.
    pub networks: BTreeMap<String, Option<String>>,
    /// When it was made.
    pub created: Timestamp,
    /// The GPUs that it holds, running or not.
    pub gpus: Option<GpuHold>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What only an inspection tells about a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// When it was last started.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub finished_at: Option<Timestamp>,
    /// How often the engine started it again by itself.
    pub restart_count: u64,
    /// Whether the kernel killed it for want of memory.
    pub is_oom_killed: bool,
    /// The last exit code.
    pub exit_code: Option<i64>,
    /// Why the engine could not start it, when it said so.
    pub error: Option<String>,
}

/// An image that this Berth built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnImage {
    /// When it was made.
    pub created: Timestamp,
    /// Its id.
    pub id: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// The app it was built for.
    pub app: AppName,
    /// Its size in bytes, shared layers included.
    pub size: u64,
    /// The base that it was built on: the name, and what the name meant then.
    pub base: Option<BaseImage>,
    /// The digest of what it was built from, whatever app that was for.
    pub inputs: Option<Digest>,
}

/// What a build of this Berth that was interrupted left behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// When it was made.
    pub created: Timestamp,
    /// Its id.
    pub id: String,
    /// Its size in bytes, shared layers included.
    pub size: u64,
}

/// The base image of a generated Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BaseImage {
    /// Its name.
    pub reference: ImageRef,
    /// What the name means: the digest in its repository, or the image's id where it has none.
    pub identity: String,
}

impl BaseImage {
    /// The text of a label, read.
    pub fn parse(text: &str) -> Option<Self> {
        let (reference, identity) = text.split_once(' ')?;
        let reference = ImageRef::parse(reference).ok()?;
        Some(Self { reference, identity: identity.to_owned() })
    }
}

impl fmt::Display for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.reference, self.identity)
    }
}

/// Everything that the engine listed, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// All containers of the host, ours and others'.
    pub containers: Vec<Container>,
    /// Every tag and digest reference, with the id of its image.
    pub images: BTreeMap<String, String>,
    /// The ids of images of the base family, which have services.
    pub equipped: BTreeSet<String>,
    /// The ids of images that have no name: their tags were moved or taken away, or they are steps
    /// of a build that no other image rests on. When each was made.
    pub nameless: BTreeMap<String, Timestamp>,
    /// The images that this Berth built.
    pub own_images: Vec<OwnImage>,
    /// What interrupted builds left behind.
    pub leftovers: Vec<Leftover>,
    /// Whether the engine builds with `BuildKit`, which has mounts for secrets and caches.
    pub has_buildkit: bool,
    /// How containers of Berths were given their GPUs; empty without GPUs.
    pub given: BTreeMap<ContainerId, GpuGiven>,
    /// Containers of this Berth that only prove that GPUs can be given. They are none of
    /// `containers`: whoever sees one, outside of the call that made it, sees what a call left behind.
    pub proofs: Vec<Proof>,
}

/// A container that only proves that GPUs can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// The app that it was made for.
    pub app: AppName,
}

impl World {
    /// The containers of one app, oldest first. The engine lists ages in whole seconds: within
    /// one, the manifest's generation tells.
    pub fn containers_of(&self, app: &AppName) -> Vec<&Container> {
        let mut mine: Vec<_> = self
            .containers
            .iter()
            .filter(|container| container.ownership.app() == Some(app))
            .collect();
        let generation = |c: &Container| c.ownership.owner().map(|owner| owner.generation);
        mine.sort_by_key(|c| (c.created, generation(c), c.id.clone()));
        mine
    }

    /// Every app that has a container or an image here.
    pub fn apps(&self) -> BTreeSet<AppName> {
        let containers = self.containers.iter().filter_map(|c| c.ownership.app());
        let images = self.own_images.iter().map(|image| &image.app);
        let proofs = self.proofs.iter().map(|proof| &proof.app);
        containers.chain(images).chain(proofs).cloned().collect()
    }

    /// What is left of proving that an app can be given its GPUs.
    pub fn proofs_of(&self, app: &AppName) -> impl Iterator<Item = &Proof> {
        self.proofs.iter().filter(move |proof| proof.app == *app)
    }

    /// Who has the name `name`.
    pub fn holder_of(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The name under which an image is there: `reference`, when that still names it, else another
    /// one, else its id. None when it is gone.
    pub fn reference_of(&self, reference: &str, id: &str) -> Option<String> {
        if self.image_id(reference) == Some(id) {
            return Some(reference.to_owned());
        }
        let named = self.images.iter().find(|(_, theirs)| *theirs == id).map(|(name, _)| name);
        named.cloned().or_else(|| self.has_image(id).then(|| id.to_owned()))
    }

    /// Whether the image with this id is here, under whatever name or none.
    pub fn has_image(&self, id: &str) -> bool {
        self.nameless.contains_key(id)
            || self.images.values().any(|theirs| theirs == id)
            || self.own_images.iter().any(|image| image.id == id)
    }

    /// The id of the image that `reference` names.
    ///
    /// Docker Engine lists images of its default registry by their short names, and pinned ones
    /// without their tags: `docker.io/library/redis:7@sha256:…` is there as `redis@sha256:…`.
    pub fn image_id(&self, reference: &str) -> Option<&str> {
        let short = reference.strip_prefix("docker.io/").unwrap_or(reference);
        let short = short.strip_prefix("library/").unwrap_or(short);
        let pinned = short.split_once('@').map(|(name, digest)| {
            let slash = name.rfind('/').map_or(0, |at| at + 1);
            let end = name[slash..].find(':').map_or(name.len(), |at| slash + at);
            format!("{}@{digest}", &name[..end])
        });
        let names = [Some(reference), Some(short), pinned.as_deref()];
        names.into_iter().flatten().find_map(|name| self.images.get(name)).map(String::as_str)
    }

    /// The reference by which the image that `reference` names can be found again wherever its
    /// tag goes: `name@sha256:…`. None where it never came from a registry.
    pub fn pinned(&self, reference: &str) -> Option<&str> {
        let id = self.image_id(reference)?;
        let short = reference.strip_prefix("docker.io/").unwrap_or(reference);
        let short = short.strip_prefix("library/").unwrap_or(short);
        let slash = short.rfind('/').map_or(0, |at| at + 1);
        let end = short[slash..].find([':', '@']).map_or(short.len(), |at| slash + at);
        let prefix = format!("{}@", &short[..end]);
        let range = self.images.range(prefix.clone()..);
        let mut named = range.take_while(|(name, _)| name.starts_with(&prefix));
        named.find(|(_, image)| *image == id).map(|(name, _)| name.as_str())
    }
}

/// A file in a repository that says how to build it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetectedFile {
    /// Its path, relative to the source path.
    pub path: String,
}

/// A checkout of an app's repository, complete and in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// The repository it came from.
    pub url: String,
    /// The branch, tag, commit or range asked for.
    pub reference: Option<String>,
    /// What that turned out to be, for people: `tag v1.4.2`, `branch main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// The folder inside the repository.
    pub path: String,
    /// Whether submodules are part of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub submodules: bool,
    /// The commit.
    pub commit: String,
    /// The id of the tree at `path`: equal trees are equal sources.
    pub tree: String,
    /// The files of the tree's first level, and those that `build` may name, that exist.
    pub files: Vec<DetectedFile>,
    /// What the telling ones among them say.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, FileFacts>,
    /// How far this is ahead of commits that ran before, as far as it can be told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ahead: BTreeMap<String, Ahead>,
    /// The paths that were looked for beside the first level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_for: Option<Vec<String>>,
}

/// How many commits a source has that what runs lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ahead {
    /// So many.
    pub commits: u32,
    /// Whether there are more, which nobody has counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_more: bool,
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.is_more { "+" } else { "" };
        let word = if self.commits == 1 && !self.is_more { "commit" } else { "commits" };
        write!(f, "{}{more} {word}", self.commits)
    }
}

impl Checkout {
    /// Whether the source holds a file of this path.
    pub fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file.path == path)
    }

    /// Whether everything that `paths` name was looked for. Of a checkout of an older Berth nobody
    /// knows; it is taken as it is.
    pub fn was_looked_for(&self, paths: &[String]) -> bool {
        let looked_for = self.looked_for.as_deref();
        looked_for.is_none_or(|looked| paths.iter().all(|path| looked.contains(path)))
    }
}

/// A kind of long work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum WorkKind {
    /// Cloning or fetching a repository.
    Fetch,
    /// Building an image.
    Build,
    /// Pulling an image.
    Pull,
}

impl fmt::Display for WorkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fetch => "fetch",
            Self::Build => "build",
            Self::Pull => "pull",
        })
    }
}

/// Long work that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningWork {
    /// What is done.
    pub kind: WorkKind,
    /// What it is done from; other input makes it useless.
    pub input: String,
    /// Since when.
    pub since: Timestamp,
    /// The last thing it said.
    pub progress: Option<String>,
}

/// Long work that failed, and is not tried again before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it was done from.
    pub input: String,
    /// Why it failed.
    pub reason: Reason,
    /// Why it failed, as a sentence.
    pub message: String,
    /// When it failed.
    pub at: Timestamp,
    /// How often it has failed with this input.
    pub attempts: u32,
    /// When it may be tried again; none waits for a change.
    pub retry_at: Option<Timestamp>,
}

/// What the health check said about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthSeen {
    /// It has not passed yet.
    Starting {
        /// Since when it is checked.
        since: Timestamp,
        /// What the last check said.
        error: Option<String>,
    },
    /// It has not passed yet, and could not even be checked: the engine did not do it.
    Unseen {
        /// Since when.
        since: Timestamp,
        /// What the engine said.
        error: String,
    },
    /// It passes.
    Healthy {
        /// Since when.
        since: Timestamp,
    },
    /// It passed once and fails now.
    Unhealthy {
        /// Since when.
        since: Timestamp,
        /// What the last check said.
        error: String,
    },
}

/// A version of an app that was tried and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRevision {
    /// The shape that failed.
    pub spec_hash: SpecHash,
    /// Why.
    pub reason: Reason,
    /// Why, as a sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// What a person asked for, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    /// Stop and start it.
    Restart,
    /// Look at the repository now.
    Fetch,
    /// Look at the repository now, and take a tag that was moved.
    Take,
    /// Try again what failed.
    Retry,
    /// Get its image, and leave it stopped.
    Install,
}

/// One run of a container: from a start to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// The container's id.
    pub id: String,
    /// When it was started.
    pub started_at: Timestamp,
}

/// The host ports that an app may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// One binding for each port of the app, in the app's order.
    pub bindings: Vec<PortBinding>,
    /// Why a port could not be given.
    pub problem: Option<PlacementProblem>,
}

/// Why a port could not be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementProblem {
    /// Why.
    pub reason: Reason,
    /// Why, as a sentence.
    pub message: String,
}

/// What Berth knows about one app beside what the engine lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppState {
    /// Whether its container could not be started because its network is gone.
    pub is_network_lost: bool,
    /// The generation of the manifest: 1 at first, one more with each change of the spec.
    pub generation: u64,
    /// What its last good manifest promised it for its end, in seconds, once that is gone.
    pub last_grace_s: Option<u32>,
    /// The checkout in place.
    pub checkout: Option<Checkout>,
    /// When the remote was last looked at with success.
    pub checked_at: Option<Timestamp>,
    /// Long work under way.
    pub work: Option<RunningWork>,
    /// The look at its repository that is under way beside its build.
    pub look: Option<RunningWork>,
    /// Long work that failed, by kind.
    pub failures: BTreeMap<WorkKind, Failure>,
    /// What the health checks said.
    pub health: BTreeMap<ContainerId, HealthSeen>,
    /// What inspections said; only of containers that are in trouble or new.
    pub details: BTreeMap<ContainerId, Detail>,
    /// When each container was started, by our own clock.
    pub begun: BTreeMap<ContainerId, Timestamp>,
    /// The host ports.
    pub placement: Placement,
    /// The GPUs.
    pub gpus: GpuPlacement,
    /// How they get into its container, and whether they are still there.
    pub devices: GpuDevices,
    /// Which of the apps it depends on are ready.
    pub ready: BTreeSet<AppName>,
    /// Whether a person stopped it.
    pub is_paused: bool,
    /// What a person asked for and was not done yet.
    pub request: Option<Request>,
    /// How often something was asked for until then.
    pub asks: u64,
    /// The version that failed last.
    pub bad_revision: Option<BadRevision>,
    /// How often a person asked for a build from scratch.
    pub rebuilds: u64,
    /// Up to which of these it was built.
    pub rebuilt: u64,
    /// The generation for which the image was pulled (`pullPolicy: Always`).
    pub pulled_generation: Option<u64>,
    /// The earlier revision that it is held at.
    pub pin: Option<Arc<Pin>>,
    /// What the name of its image was found to mean.
    pub resolved: Option<Resolved>,
    /// What speaks against starting a new version now, whatever version that is.
    pub obstacles: Vec<Obstacle>,
    /// What is known of vulnerabilities; none where no database is.
    pub scans: Option<Scans>,
    /// How its secrets stand, by variable and by path.
    pub secrets: BTreeMap<String, SecretSeen>,
    /// What its references to stored models mean, by the mounts' paths.
    pub models: BTreeMap<String, ModelSeen>,
    /// The commits of the versions of it that are remembered: one may go back to them.
    pub past_commits: BTreeSet<String>,
}

/// A host port, as far as clashes go.
pub type HostPort = (Protocol, u16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_every_name_that_means_it() {
        let images = [("redis:7", "a"), ("redis@sha256:00", "b"), ("h.example/x:1", "c")];
        let images = images.map(|(name, id)| (name.to_owned(), id.to_owned()));
        let world = World { images: BTreeMap::from(images), ..World::default() };
        for name in ["redis:7", "docker.io/library/redis:7", "docker.io/redis:7"] {
            assert_eq!(world.image_id(name), Some("a"), "{name}");
        }
        assert_eq!(world.image_id("docker.io/library/redis:7@sha256:00"), Some("b"));
        assert_eq!(world.image_id("h.example/x:1"), Some("c"));
        assert_eq!(world.image_id("x:1"), None);
    }
}
