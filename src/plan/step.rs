//! Steps: the only things that a plan can ask for. One call step is one engine call.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Serialize;

use super::Twin;
use crate::model::{
    AppName, BuildSecret, Command, Digest, GitSource, GpuGrant, GpuRoute, ImageRef, Mount,
    MountedModel, PortBinding, Resources, RestartPolicy, SecretRef, Services, SpecHash,
};
use crate::state::{BaseImage, ContainerId, WorkKind, proof_name};

/// How fields of a container's label begin that are about secrets.
pub(super) const SECRET_FIELD: &str = "secret.";

/// What no image has. A container whose program this is ends as soon as it was started.
const NO_PROGRAM: &str = "/.berth-proof";

/// One step, with its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// What is done.
    pub step: Step,
    /// Why.
    pub cause: String,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// One engine call, done within the pass.
    Call(Call),
    /// Long work, done beside the passes; the app's key comes back when it ends.
    Work(Work),
    /// Long work that is no longer wanted is ended.
    Cancel(WorkKind),
}

/// One engine call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Makes the shared network unless it is there.
    EnsureNetwork {
        /// Its name.
        name: String,
    },
    /// Makes a container; it does not run yet.
    Create(Box<ContainerSpec>),
    /// Finds out whether the engine would start this container with its GPUs, by one with the same
    /// GPUs in which nothing runs. Nothing is left of it.
    Prove(Box<ContainerSpec>),
    /// Starts a container.
    Start(Target),
    /// Stops a container: a signal, the grace period, then the kill.
    Stop {
        /// Which.
        target: Target,
        /// The grace period in seconds; `None` is what the container was made with.
        grace_s: Option<u32>,
    },
    /// Removes a container, never its volumes.
    Remove(Target),
    /// Removes an image that this Berth built.
    RemoveImage {
        /// Its id.
        id: String,
        /// A tag of it, for people.
        tag: String,
    },
}

/// Which container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its full id; none is the one that this plan's `Create` makes.
    pub id: Option<ContainerId>,
    /// Its name, for people.
    pub name: String,
}

/// Why a repository is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Its time has come. That there is nothing new is no news, and costs nobody else anything.
    Polled,
    /// It is needed, or somebody asked.
    Asked,
    /// Somebody asked, and wants what a moved tag names now.
    Take,
}

/// Long work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// Clones or fetches a repository and puts the checkout in place.
    Fetch {
        /// What.
        source: GitSource,
        /// The paths that the app's `build` names, to be looked for beside the first level.
        look_for: Vec<String>,
        /// Why it is looked at.
        look: Look,
        /// The commits that run, or may again: it is counted how far they are behind.
        runs: Vec<String>,
    },
    /// Builds an image.
    Build(Box<Recipe>),
    /// Pulls an image.
    Pull {
        /// Which.
        reference: ImageRef,
    },
}

impl Work {
    /// Its kind.
    pub fn kind(&self) -> WorkKind {
        match self {
            Self::Fetch { .. } => WorkKind::Fetch,
            Self::Build(_) => WorkKind::Build,
            Self::Pull { .. } => WorkKind::Pull,
        }
    }

    /// What it is done from: equal inputs are the same work.
    pub fn input(&self) -> String {
        match self {
            Self::Fetch { source, .. } => Digest::of_value(source).short(16).to_owned(),
            Self::Build(recipe) => recipe.digest().as_str().to_owned(),
            Self::Pull { reference } => reference.as_str().to_owned(),
        }
    }
}

/// All that a build is made from. Its digest is the build's identity (faults B01, B02).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// Which Berth builds: two on one engine never share, and never remove, an image.
    pub instance: String,
    /// The app.
    pub app: AppName,
    /// The id of the tree that is the build context.
    pub tree: String,
    /// The commit, for the log; not part of the identity.
    #[serde(skip)]
    pub commit: String,
    /// The Dockerfile.
    pub dockerfile: Dockerfile,
    /// The stage to stop at.
    pub target: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// The base image, of a generated Dockerfile.
    pub base: Option<BaseImage>,
    /// The digest of the CA bundle that the build gets.
    pub ca_bundle: Option<Digest>,
    /// The secrets that the build sees; only `BuildKit` can show them without keeping them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<BuildSecret>,
    /// How often a person asked for a build from scratch.
    pub rebuilds: u64,
    /// Whether that build is still to come, so that nothing of earlier ones is taken; not part of
    /// the identity.
    #[serde(skip)]
    pub is_from_scratch: bool,
    /// What a generated Dockerfile was made from. It stands for the text in the identity: a Berth
    /// that words the same Dockerfile in another way builds nothing anew.
    #[serde(skip)]
    pub from: Option<Digest>,
    /// An image of another app that is the same; not part of the identity.
    #[serde(skip)]
    pub twin: Option<Twin>,
    /// Why this way of building was chosen, for people; not part of the identity.
    #[serde(skip)]
    pub why: String,
}

/// A Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Dockerfile {
    /// One of the repository, by its path.
    InSource(String),
    /// One that Berth wrote: its text.
    Generated(String),
}

impl Recipe {
    /// The identity of the build.
    pub fn digest(&self) -> Digest {
        Digest::of_value(&self.identity())
    }

    /// Itself, with what a generated Dockerfile was made from in the place of its text.
    pub(super) fn identity(&self) -> Cow<'_, Self> {
        match (&self.dockerfile, &self.from) {
            (Dockerfile::Generated(_), Some(from)) => {
                let dockerfile = Dockerfile::Generated(from.to_string());
                Cow::Owned(Self { dockerfile, from: None, ..self.clone() })
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// The tag that the image gets: `berth/<app>:<12 digits of the identity>`.
    pub fn tag(&self) -> String {
        self.tag_of(&self.digest())
    }

    /// The tag that an image of the same app has whose identity is `digest`.
    pub fn tag_of(&self, digest: &Digest) -> String {
        format!("berth/{}:{}", self.app, digest.short(12))
    }
}

/// A container, complete: what the engine is asked to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Its name: app and shape.
    pub name: String,
    /// Which Berth it belongs to.
    pub instance: String,
    /// The app.
    pub app: AppName,
    /// The generation of the manifest.
    pub generation: u64,
    /// The hash of `shape`.
    pub spec_hash: SpecHash,
    /// What its image was built from.
    pub build: Option<Digest>,
    /// The commit that it runs.
    pub commit: Option<String>,
    /// A short digest of each field of the shape, so that a later change can be named.
    pub fields: String,
    /// How long it may take to stop, in seconds.
    pub grace_s: u32,
    /// How it is given its GPUs, when it is given any. Not part of what it is.
    pub gpu_way: Option<GpuRoute>,
    /// What it is.
    pub shape: Shape,
}

impl ContainerSpec {
    /// The container by which it is proven that this one can be given its GPUs: the same image, which
    /// has its first program from the engine, and nothing of the app.
    #[must_use]
    pub fn proof(&self) -> Self {
        let shape = Shape {
            command: Command::Exec { command: vec![NO_PROGRAM.to_owned()], args: Vec::new() },
            env: BTreeMap::new(),
            ports: Vec::new(),
            mounts: Vec::new(),
            resources: Resources::default(),
            restart: RestartPolicy::Never,
            secrets: BTreeMap::new(),
            services: None,
            models: BTreeMap::new(),
            ..self.shape.clone()
        };
        Self { name: proof_name(&self.name), shape, ..self.clone() }
    }
}

/// What makes two containers of an app different: a change of any of it needs a new container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// The image: a tag or digest reference.
    pub image: String,
    /// What runs.
    pub command: Command,
    /// The environment, the user's and Berth's.
    pub env: BTreeMap<String, String>,
    /// The published ports.
    pub ports: Vec<PortBinding>,
    /// The mounts, the workspace's among them.
    pub mounts: Vec<Mount>,
    /// Limits.
    pub resources: Resources,
    /// What the engine does when it exits.
    pub restart: RestartPolicy,
    /// The network; the app's name is its alias there.
    pub network: String,
    /// The GPUs that it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<GpuGrant>,
    /// The secrets that it is given, by variable and by path.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Sealed>,
    /// The user that it runs as, when it is held as tightly as can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restricted: Option<u32>,
    /// What it is given by its image and for it, when that is one of the base family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Services>,
    /// The stored models that are mounted into it, by path.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, MountedModel>,
}

/// A secret in a shape: which one, and the seal of its value. Who has the key to the seals can
/// tell by it whether the value is another one; nobody else learns anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sealed {
    /// Which.
    pub wanted: SecretRef,
    /// The seal.
    pub seal: String,
}

impl Sealed {
    /// What stands for a variable where paths stand for files.
    pub fn of_variable(name: &str) -> String {
        format!("env.{name}")
    }

    /// The variable that `target` stands for; none when it is a path.
    pub fn variable(target: &str) -> Option<&str> {
        target.strip_prefix("env.")
    }

    /// The variable that a field of a container's label is about; none when it is about no secret.
    pub fn variable_of_field(field: &str) -> Option<&str> {
        field.strip_prefix(SECRET_FIELD).and_then(Self::variable)
    }
}
