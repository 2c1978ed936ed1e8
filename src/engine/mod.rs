//! The engine: what runs containers. The one gateway to it; everything else speaks our words.
//!
//! # Guarantees
//! - [`Engine::observe`] is complete or an error; never partial.
//! - Every call ends within its deadline, head and body (faults D35, D09).
//! - Only full ids of containers are sent, never names (fault D19).
//!
//! # Caveats
//! An error whose [`Error::is_outcome_unknown`] is true may have changed the engine. The caller
//! observes again and never repeats the call blindly (fault D01).

pub mod docker;
mod dormant;
pub mod escapes;
pub mod fake;
pub mod fault;
pub mod gpus;
mod hands;
mod hint;
mod labels;
pub mod terminal;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, atomic::AtomicBool};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};

pub use dormant::Dormant;
pub use hands::{Deed, Exposed, Hands, Load};

use crate::model::{ImageRef, PortBinding, Reason, Timestamp};
use crate::plan::{Call, Recipe};
use crate::scan;
use crate::secret::{Given, Value};
use crate::state::{Around, CacheRecord, ContainerId, Detail, GpuHold, GpuWays, World};
pub use hint::Hint;

/// Something that runs containers.
pub trait Engine: Send + Sync + 'static {
    /// Who it is. Answers quickly or fails; also the health check of the engine itself.
    fn describe(&self) -> BoxFuture<'_, Result<About, Error>>;

    /// Whoever answered with this is the engine from now on. One that has taken its place since is
    /// refused, call by call, until it has said who it is and is trusted in its turn (fault D48).
    fn trust(&self, about: &About) {
        let _ = about;
    }

    /// Lists everything: at most two engine calls, however many containers there are.
    fn observe(&self) -> BoxFuture<'_, Result<World, Error>>;

    /// What only an inspection tells. None when the container is gone.
    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Detail>, Error>>;

    /// Does one call. Stopping what is stopped, starting what runs and removing what is gone
    /// succeed without an effect (faults D06, D07).
    fn apply<'a>(&'a self, call: &'a ResolvedCall<'a>) -> BoxFuture<'a, Result<Applied, Error>>;

    /// Builds an image from a tar stream, and proves that its tag resolves afterwards (D39, B04).
    fn build<'a>(&'a self, request: BuildRequest<'a>) -> BoxFuture<'a, Result<String, Error>>;

    /// Whether an image says that builds from it do something first (`ONBUILD`). None when there is
    /// no such image here, or nobody knows.
    fn has_triggers<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<Option<bool>, Error>> {
        let _ = image;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// The size of an image by its name, in bytes. None when there is no such image here, or nobody
    /// knows.
    fn image_size<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        let _ = image;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// What the engine's builder keeps between builds, whoever had it made.
    fn build_cache(&self) -> BoxFuture<'_, Result<Vec<CacheRecord>, Error>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Lets a piece of that go, unless something needs it; answers whether it went.
    fn drop_cached<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(false)))
    }

    /// The networks that compose or a Berth made, and the volumes.
    fn surroundings(&self) -> BoxFuture<'_, Result<Around, Error>> {
        Box::pin(std::future::ready(Ok(Around::default())))
    }

    /// How much a container has written beside its volumes, in bytes. None when it is gone, or
    /// nobody knows.
    fn layer_size<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// The sizes of volumes by their names, in bytes, as far as they are known.
    fn volume_sizes(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, Error>> {
        Box::pin(std::future::ready(Ok(BTreeMap::new())))
    }

    /// Removes a container, unless it runs; its volumes stay. Answers whether it is gone.
    fn drop_stopped<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<bool, Error>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Removes a network by its id, unless a container runs in it. Answers whether it is gone.
    fn drop_network<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(false)))
    }

    /// The room that is left for images. None when the engine's disk can't be looked at from here.
    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// The versions of the engine and its parts, by their names.
    fn parts(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, Error>> {
        Box::pin(std::future::ready(Ok(BTreeMap::new())))
    }

    /// What the engine says about how it is set up, in its own words. Null when it does not say.
    fn survey(&self) -> BoxFuture<'_, Result<serde_json::Value, Error>> {
        Box::pin(std::future::ready(Ok(serde_json::Value::Null)))
    }

    /// What is installed in an image, by the image's id. None when the engine can't say.
    fn packages<'a>(
        &'a self,
        _image: &'a str,
    ) -> BoxFuture<'a, Result<Option<scan::Inventory>, Error>> {
        Box::pin(async { Ok(None) })
    }

    /// How the engine can give GPUs to containers.
    fn gpu_ways(&self) -> BoxFuture<'_, Result<GpuWays, Error>> {
        Box::pin(std::future::ready(Ok(GpuWays::default())))
    }

    /// The GPUs that a container holds, by what it was made with: for containers that no Berth
    /// made. None when it holds none, or is gone.
    fn gpus_of<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<GpuHold>, Error>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// The host ports that a container was made with, bound or not: for stopped containers of
    /// others, of which the list does not tell them.
    fn ports_of<'a>(
        &'a self,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Vec<PortBinding>, Error>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// The values that a container was given as secrets, in variables: to keep them from being
    /// shown. None when it is gone.
    fn secrets_of<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Vec<Value>, Error>> {
        let _ = id;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Pulls an image, and proves that it is there afterwards. Answers its id.
    fn pull<'a>(
        &'a self,
        reference: &'a ImageRef,
        log: LogSink,
    ) -> BoxFuture<'a, Result<String, Error>>;

    /// Runs a command in a container and answers its exit code and the end of its output.
    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        command: &'a [String],
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(i64, String), Error>>;

    /// What happens on the engine, as hints. The first item is [`Hint::subscribed`]: what happens
    /// from then on is told, so whoever lists after it misses nothing. Ends with an error when the
    /// stream breaks; the caller subscribes again (faults D12, D13).
    fn events(&self) -> BoxStream<'static, Result<Hint, Error>>;

    /// A container's output.
    fn logs<'a>(
        &'a self,
        id: &'a ContainerId,
        options: LogOptions,
    ) -> BoxStream<'static, Result<Bytes, Error>>;
}

/// A call with its target resolved: a `Target` without an id was the plan's own `Create`.
#[derive(Clone, Debug)]
pub struct ResolvedCall<'a> {
    /// The call.
    pub call: &'a Call,
    /// The container that it is about; none for `EnsureNetwork`, `Create`, `Prove` and `RemoveImage`.
    pub id: Option<ContainerId>,
    /// The secrets that a `Create` gives.
    pub given: Given,
}

impl ResolvedCall<'_> {
    /// The call's name, as counts and scripts use it.
    pub fn kind(&self) -> &'static str {
        match self.call {
            Call::EnsureNetwork { .. } => "ensure_network",
            Call::Create(_) => "create",
            Call::Prove(_) => "prove",
            Call::Start(_) => "start",
            Call::Stop { .. } => "stop",
            Call::Remove(_) => "remove",
            Call::RemoveImage { .. } => "remove_image",
        }
    }
}

/// What a call did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It changed the engine.
    Changed,
    /// All was so already.
    AlreadySo,
    /// It made this container.
    Created(ContainerId),
}

/// Who the engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its own id, and where its containers are kept: with another id or another place behind the
    /// same socket it is another engine (fault D48).
    pub id: String,
    /// Its version, such as `20.10.24`.
    pub version: String,
    /// The API version that is spoken, such as `1.41`.
    pub api_version: String,
}

impl About {
    /// What stands between an engine's own id and the place where it keeps its containers.
    pub const PLACE: &'static str = " in ";

    /// Where it keeps its containers and images, as it sees it; none when it does not say.
    pub fn root(&self) -> Option<&Path> {
        self.id.split_once(Self::PLACE).map(|(_, root)| Path::new(root))
    }
}

/// What a build is made from.
pub struct BuildRequest<'a> {
    /// The recipe; its tag is given to the image, with the instance's labels.
    pub recipe: &'a Recipe,
    /// Which Berth builds.
    pub instance: &'a str,
    /// The path of the Dockerfile within the context.
    pub dockerfile: String,
    /// The context as a tar stream.
    pub context: BoxStream<'static, Result<Bytes, std::io::Error>>,
    /// Where the log goes, line by line.
    pub log: LogSink,
    /// What is given to the build beside its inputs.
    pub extras: BuildExtras,
}

/// What is given to a build beside its inputs: none of it is part of what it is, and none of it is
/// kept in the image.
#[derive(Clone, Debug, Default)]
pub struct BuildExtras {
    /// Secrets, for the steps that mount them.
    pub secrets: Vec<BuildSecret>,
    /// Values of the arguments that every builder knows and leaves out of an image's history:
    /// `HTTP_PROXY` and its like.
    pub environment: BTreeMap<String, String>,
    /// What the build asks of its builder.
    pub wants: Wants,
    /// Who is told what the classic builder makes on its way.
    pub steps: Option<StepSink>,
    /// Set by an engine whose builder keeps what it makes on its way in a cache of its own.
    pub keeps: Arc<AtomicBool>,
}

/// What the classic builder makes on its way to an image: the first digits of its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepMade {
    /// An image, or one that it found to be the same.
    Image(String),
    /// A container in which a step runs.
    Container(String),
}

/// Takes what a build makes on its way. It never blocks.
pub type StepSink = tokio::sync::mpsc::Sender<StepMade>;

/// A secret of a build.
#[derive(Clone)]
pub struct BuildSecret {
    /// The name by which a step mounts it.
    pub id: String,
    /// What it is.
    pub value: Vec<u8>,
}

impl std::fmt::Debug for BuildSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BuildSecret({})", self.id)
    }
}

/// What a build asks of its builder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// What only `BuildKit` does, as the Dockerfile writes it.
    pub buildkit: Option<String>,
    /// Whether only the classic builder would give the same image as always.
    pub classic: bool,
}

/// The disk that an engine keeps its images on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// How many bytes are free.
    pub free: u64,
}

/// Takes the lines of a log. It never blocks; lines beyond its capacity are dropped.
pub type LogSink = tokio::sync::mpsc::Sender<String>;

/// Which part of a log.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Whether to go on with what comes.
    pub follow: bool,
    /// How many of the last lines; none is all.
    pub tail: Option<u64>,
    /// From when on.
    pub since: Option<Timestamp>,
    /// Whether each line begins with its time.
    pub timestamps: bool,
}

/// Why a call did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The engine does not answer.
    #[error("the engine at {address} can't be reached: {message}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What happened.
        message: String,
    },
    /// The call took too long; the engine may still do it.
    #[error("the engine did not answer `{call}` within {seconds} s")]
    Timeout {
        /// Which call.
        call: &'static str,
        /// Its deadline.
        seconds: u64,
    },
    /// The answer broke off or made no sense; the engine may have done it.
    #[error("the engine's answer to `{call}` broke off: {message}")]
    Broken {
        /// Which call.
        call: &'static str,
        /// What happened.
        message: String,
    },
    /// What the call is about does not exist.
    #[error("not found: {0}")]
    NotFound(String),
    /// The image of a `Create` does not exist.
    #[error("no such image: {0}")]
    ImageMissing(String),
    /// The name, or the thing itself, is in use.
    #[error("conflict: {0}")]
    Conflict(String),
    /// A host port is bound by somebody else.
    #[error("the port is in use: {0}")]
    PortTaken(String),
    /// A container can't be given its GPUs: what the engine, or the vendor's hook, said.
    #[error("the engine can't give it its GPUs: {0}; {help}", help = gpus::help(.0))]
    Gpu(String),
    /// The engine says that the call is wrong.
    #[error("the engine refused ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The engine failed.
    #[error("the engine failed ({status}): {message}")]
    Failed {
        /// HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// The engine is too old or too new for this Berth.
    #[error("the engine can't be used: {0}")]
    Unsupported(String),
    /// A stored model that the container mounts can't be had.
    #[error("{0}")]
    Model(String),
    /// A secret can't be had at the moment when it is needed.
    #[error("{0}")]
    Secret(String),
    /// A container would be more than the operator's policy allows.
    #[error("the policy does not allow it: {field}: {message}")]
    Forbidden {
        /// The field of what the engine would be asked.
        field: String,
        /// Why.
        message: String,
    },
    /// A build or pull failed by itself.
    #[error("{0}")]
    Work(String),
}

impl Error {
    /// Whether the engine may have done it all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Broken { .. } | Self::Unreachable { .. })
    }

    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unreachable { .. } => Reason::EngineUnreachable,
            Self::PortTaken(_) => Reason::PortTaken,
            Self::ImageMissing(_) => Reason::ImagePresent,
            Self::Conflict(_) => Reason::NameConflict,
            Self::Gpu(_) => Reason::GpuFailed,
            Self::Secret(_) => Reason::SecretUnavailable,
            Self::Model(_) => Reason::ModelMissing,
            Self::Forbidden { .. } => Reason::NotAllowed,
            _ => Reason::EngineError,
        }
    }
}

/// Counts of calls, by name: what a no-op pass costs is a promise.
pub type CallCounts = BTreeMap<&'static str, u64>;
