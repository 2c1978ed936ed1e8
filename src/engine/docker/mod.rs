//! A Docker Engine, through bollard and through a transport of our own.
//!
//! # Guarantees
//! - Every call has a deadline over head and body; streams have an idle watch where silence means
//!   trouble (faults D35, B03).
//! - The address is the one that was given: `DOCKER_HOST` and contexts are not read (fault D50).
//! - Nothing is kept open between calls, so an engine that comes back is found by the next call.
//!
//! # Caveats
//! bollard writes whole requests, environments included, to its debug log: the log filter must keep
//! the target `bollard` at `info` or above (faults.md §4.1.10).

mod around;
mod build;
mod cache;
mod calls;
mod cdi;
mod convert;
mod errors;
mod event;
mod exec;
mod frames;
mod gate;
mod given;
mod gpus;
mod hands;
mod lines;
mod observe;
mod packages;
mod progress;
mod pull;
mod room;
mod shell;
mod streams;
mod survey;
mod terminal;
mod timing;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::{
    About, Applied, BuildRequest, CallCounts, Engine, Error, Hint, LogOptions, LogSink,
    ResolvedCall, Room, Wants,
};
use crate::model::{ImageRef, PortBinding};
use crate::scan;
use crate::secret::Value;
use crate::state::{Around, CacheRecord, ContainerId, Detail, GpuHold, GpuWays, World};
use crate::telemetry::Metrics;
pub use build::Builder;
pub use convert::asked;
use errors::within;
pub use gate::Gate;
pub use transport::Connect;
use transport::{Address, SHORT_LIMIT, Transport, Way};

/// How long a list may take: a wedged engine hangs here first.
const LIST_LIMIT: Duration = Duration::from_secs(10);
/// bollard's own limit, which covers the head of an answer only. Ours are always shorter.
const BOLLARD_LIMIT_S: u64 = 24 * 3600;

/// Where the engine is, and how patient we are with it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `unix:///var/run/docker.sock`, or `tcp://host:port` without encryption.
    pub host: String,
    /// Which Berth asks: decides what is ours.
    pub instance: String,
    /// How long a build may take.
    pub build_limit: Duration,
    /// How long a build may be silent.
    pub build_idle_limit: Duration,
    /// Which builder builds.
    pub builder: Builder,
    /// How much memory a step of a build may take, in bytes.
    pub build_memory: Option<u64>,
    /// How much of the processors a step of a build may take, in thousandths.
    pub build_cpus: Option<u64>,
    /// How long a pull may take.
    pub pull_limit: Duration,
    /// How long a pull may be silent.
    pub pull_idle_limit: Duration,
    /// Where requests are counted.
    pub metrics: Option<Arc<Metrics>>,
    /// What no container may be asked beyond.
    pub gate: Gate,
}

impl Settings {
    /// Settings with the default limits.
    pub fn new(host: impl Into<String>, instance: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            instance: instance.into(),
            build_limit: Duration::from_mins(30),
            build_idle_limit: Duration::from_mins(5),
            builder: Builder::default(),
            build_memory: None,
            build_cpus: None,
            pull_limit: Duration::from_hours(1),
            pull_idle_limit: Duration::from_mins(2),
            metrics: None,
            gate: Gate::default(),
        }
    }
}

/// A Docker Engine.
#[derive(Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    transport: Arc<Transport>,
    client: bollard::Docker,
    /// Networks are looked for and made one at a time: their names are not unique (fault D45).
    network_turn: tokio::sync::Mutex<()>,
    /// Which builders an engine that speaks this version offers.
    offer: std::sync::Mutex<Option<(transport::ApiVersion, build::Offer)>>,
}

impl Docker {
    /// Makes ready to speak with the engine; the first call connects.
    ///
    /// # Errors
    /// Only for an address that can't be read.
    pub fn connect(settings: Settings) -> Result<Self, Error> {
        let address = Address::parse(&settings.host).ok_or_else(|| {
            Error::Unsupported(format!(
                "`{}` is no address: write unix:///path/to.sock or tcp://host:port",
                settings.host
            ))
        })?;
        Self::over(settings, Way::At(address))
    }

    /// Speaks with an engine over connections that `connect` makes; the settings' address is not
    /// used.
    ///
    /// # Errors
    /// None that depends on the engine.
    pub fn through(settings: Settings, connect: Connect) -> Result<Self, Error> {
        Self::over(settings, Way::Given(connect))
    }

    fn over(settings: Settings, way: Way) -> Result<Self, Error> {
        let transport = Arc::new(Transport::new(way, settings.metrics.clone()));
        let served = Arc::clone(&transport);
        let serve = move |request: bollard::BollardRequest| {
            let transport = Arc::clone(&served);
            async move { transport.serve(request).await }
        };
        let client = bollard::Docker::connect_with_custom_transport(
            serve,
            Some("http://engine"),
            BOLLARD_LIMIT_S,
            bollard::API_DEFAULT_VERSION,
        )
        .map_err(|error| errors::of_bollard("connect", error))?;
        let network_turn = tokio::sync::Mutex::default();
        Ok(Self {
            inner: Arc::new(Inner {
                settings,
                transport,
                client,
                network_turn,
                offer: std::sync::Mutex::default(),
            }),
        })
    }

    /// How many requests were sent, by kind.
    pub fn counts(&self) -> CallCounts {
        self.inner.transport.counts()
    }

    fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    fn client(&self) -> &bollard::Docker {
        &self.inner.client
    }

    /// What bollard's error means to us.
    fn failure(&self, call: &'static str, error: bollard::errors::Error) -> Error {
        let error = errors::of_bollard(call, error);
        self.transport().learn_from(&error);
        error
    }

    /// Gets a whole answer within a limit.
    async fn get(&self, call: &'static str, limit: Duration, path: &str) -> Result<Bytes, Error> {
        within(call, limit, self.transport().get(call, path)).await
    }

    async fn about(&self) -> Result<About, Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct InfoWire {
            #[serde(rename = "ID", default)]
            id: String,
            #[serde(default)]
            server_version: String,
            #[serde(default)]
            docker_root_dir: String,
            buildah_version: Option<String>,
        }
        let version = self.transport().version().await?;
        let asked = self.transport().introduction("info", "/info");
        let (listener, body) = within("info", LIST_LIMIT, asked).await?;
        let info: InfoWire = transport::decode("info", &body)?;
        // Before 24.0 the id says nothing about where the containers are: a user namespace, or
        // another data root, is another engine with the same id.
        // Podman makes a new id up for every answer.
        let id = info.buildah_version.map_or(info.id, |_| "podman".to_owned());
        let id = identity(&id, &info.docker_root_dir);
        self.transport().note(&id, listener);
        Ok(About { id, version: info.server_version, api_version: version.to_string() })
    }

    /// The versions of the engine's parts.
    async fn versions(&self) -> Result<BTreeMap<String, String>, Error> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Wire {
            #[serde(default)]
            components: Vec<Part>,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Part {
            name: String,
            version: String,
        }
        let body = self.get("version", SHORT_LIMIT, "/version").await?;
        let wire: Wire = transport::decode("version", &body)?;
        Ok(wire.components.into_iter().map(|part| (part.name, part.version)).collect())
    }

    async fn world(&self) -> Result<World, Error> {
        let containers = self.get("list", LIST_LIMIT, "/containers/json?all=1");
        let images = self.get("list images", LIST_LIMIT, "/images/json");
        let (containers, images) = tokio::try_join!(containers, images)?;
        let mut world = observe::world(&self.settings().instance, &containers, &images)?;
        // Known from an answer to an earlier question, but for the first time.
        world.has_buildkit = self.chosen(&Wants::default(), false).await.unwrap_or(false);
        Ok(world)
    }

    /// The answer to an inspection; none when the container is gone (fault D06).
    async fn inspection(&self, id: &ContainerId) -> Result<Option<Bytes>, Error> {
        let path = format!("/containers/{}/json", full(id)?);
        match self.get("inspect", SHORT_LIMIT, &path).await {
            Ok(body) => Ok(Some(body)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An image's id and labels; none when there is no such image.
    async fn image(
        &self,
        reference: &str,
    ) -> Result<Option<(String, BTreeMap<String, String>)>, Error> {
        let path = format!("/images/{reference}/json");
        match self.get("inspect image", SHORT_LIMIT, &path).await {
            Ok(body) => observe::image(&body).map(Some),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The id, when it is a full one: a short one or a name could be somebody else's (fault D19).
fn full(id: &ContainerId) -> Result<&str, Error> {
    let text = id.as_str();
    if text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(text)
    } else {
        Err(Error::Refused { status: 400, message: format!("`{text}` is not a full id") })
    }
}

/// An engine's id, and where it keeps its containers.
fn identity(id: &str, root: &str) -> String {
    if root.is_empty() { id.to_owned() } else { format!("{id}{}{root}", About::PLACE) }
}

impl Engine for Docker {
    fn describe(&self) -> BoxFuture<'_, Result<About, Error>> {
        Box::pin(self.about())
    }

    fn trust(&self, about: &About) {
        self.transport().trust(&about.id);
    }

    fn observe(&self) -> BoxFuture<'_, Result<World, Error>> {
        Box::pin(self.world())
    }

    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Detail>, Error>> {
        Box::pin(async move {
            self.inspection(id).await?.map(|body| observe::detail(&body)).transpose()
        })
    }

    fn apply<'a>(&'a self, call: &'a ResolvedCall<'a>) -> BoxFuture<'a, Result<Applied, Error>> {
        Box::pin(self.do_call(call))
    }

    fn build<'a>(&'a self, request: BuildRequest<'a>) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(self.build_image(request))
    }

    fn has_triggers<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<Option<bool>, Error>> {
        Box::pin(self.triggers_of(image))
    }

    fn build_cache(&self) -> BoxFuture<'_, Result<Vec<CacheRecord>, Error>> {
        Box::pin(self.list_cache())
    }

    fn drop_cached<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.drop_piece(id))
    }

    fn surroundings(&self) -> BoxFuture<'_, Result<Around, Error>> {
        Box::pin(self.list_around())
    }

    fn layer_size<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(self.size_of_layer(id))
    }

    fn volume_sizes(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, Error>> {
        Box::pin(self.sizes_of_volumes())
    }

    fn drop_stopped<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.remove_stopped(id))
    }

    fn drop_network<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.remove_network(id))
    }

    fn image_size<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(self.size_of(image))
    }

    fn parts(&self) -> BoxFuture<'_, Result<BTreeMap<String, String>, Error>> {
        Box::pin(self.versions())
    }

    fn packages<'a>(
        &'a self,
        image: &'a str,
    ) -> BoxFuture<'a, Result<Option<scan::Inventory>, Error>> {
        Box::pin(async move { self.packages_of(image).await.map(Some) })
    }

    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, Error>> {
        Box::pin(self.free_room())
    }

    fn survey(&self) -> BoxFuture<'_, Result<serde_json::Value, Error>> {
        Box::pin(self.look_at_itself())
    }

    fn gpu_ways(&self) -> BoxFuture<'_, Result<GpuWays, Error>> {
        Box::pin(self.ways())
    }

    fn gpus_of<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<GpuHold>, Error>> {
        Box::pin(Self::gpus_of(self, id))
    }

    fn ports_of<'a>(
        &'a self,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Vec<PortBinding>, Error>> {
        Box::pin(self.published(id))
    }

    fn secrets_of<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Vec<Value>, Error>> {
        Box::pin(async move {
            let body = self.inspection(id).await?;
            body.map_or(Ok(Vec::new()), |body| given::secrets(&body))
        })
    }

    fn pull<'a>(
        &'a self,
        reference: &'a ImageRef,
        log: LogSink,
    ) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(self.pull_image(reference, log))
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        command: &'a [String],
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(i64, String), Error>> {
        Box::pin(within("exec", timeout, self.run_command(id, command)))
    }

    fn events(&self) -> BoxStream<'static, Result<Hint, Error>> {
        streams::events(self.clone())
    }

    fn logs<'a>(
        &'a self,
        id: &'a ContainerId,
        options: LogOptions,
    ) -> BoxStream<'static, Result<Bytes, Error>> {
        streams::logs(self.clone(), id.clone(), options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault D19.
    #[test]
    fn only_full_ids_are_sent() {
        assert!(full(&ContainerId::new("0a".repeat(32))).is_ok());
        for bad in ["", "0a0a0a0a0a0a", "chat-01234567", &"z".repeat(64)] {
            assert!(full(&ContainerId::new(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_that_can_not_be_read_is_said_at_once() {
        let outcome = Docker::connect(Settings::new("ssh://host", "home"));
        assert!(matches!(outcome, Err(Error::Unsupported(_))));
    }
}
