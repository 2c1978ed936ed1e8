//! An engine in memory. It behaves as Docker does wherever Berth could notice, and the contract
//! tests hold it to that; tests also get hands to do by themselves what people and kernels do.
//!
//! Time comes from a [`Clock`]: what is due (an exit, a restart) happens when anybody next looks.

mod around;
mod by_hand;
mod gpus;
mod hands;
mod state;
mod terminal;
mod thing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    About, Applied, BuildRequest, CallCounts, Engine, Error, Hint, LogOptions, LogSink,
    ResolvedCall,
};
use crate::clock::Clock;
use crate::model::{ImageRef, PortBinding, Timestamp};
use crate::plan::Call;
use crate::scan;
use crate::secret::Value;
use crate::state::{Around, ContainerId, Detail, GpuHold, GpuWays, World};
pub use state::{Order, Outcome, Script, Told};
use state::{State, down};
pub use thing::Behaviour;

/// How often a followed log is looked at.
const LOG_LOOK: Duration = Duration::from_millis(100);

/// An engine in memory. Clones are the same engine.
#[derive(Clone)]
pub struct Fake {
    instance: String,
    clock: Clock,
    state: Arc<Mutex<State>>,
}

impl Fake {
    /// How large images are.
    pub const IMAGE_BYTES: u64 = 100 << 20;

    /// An empty engine, seen by this instance.
    pub fn new(instance: impl Into<String>, clock: Clock) -> Self {
        Self { instance: instance.into(), clock, state: Arc::default() }
    }

    /// The same engine as another instance sees it.
    #[must_use]
    pub fn seen_by(&self, instance: impl Into<String>) -> Self {
        Self { instance: instance.into(), ..self.clone() }
    }

    /// How many calls were made, by kind; failed ones too.
    pub fn counts(&self) -> CallCounts {
        self.with(|state, _| state.counts.clone())
    }

    /// From now on this is installed in an image, by the image's id.
    pub fn installs(&self, image: &str, packages: scan::Inventory) {
        self.with(|state, _| drop(state.installed.insert(image.to_owned(), packages)));
    }

    /// What was changed through the engine's calls, in order: `create chat-01234567`, ….
    pub fn journal(&self) -> Vec<String> {
        self.with(|state, _| state.journal.clone())
    }

    /// Runs `work` on the state as it is now.
    fn with<T>(&self, work: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.advance(&self.instance, now);
        work(&mut state, now)
    }

    /// Counts a call, and does it unless the engine is down.
    async fn call<T>(
        &self,
        kind: &'static str,
        work: impl FnOnce(&mut State, Timestamp) -> Result<T, Error>,
    ) -> Result<T, Error> {
        tokio::task::yield_now().await;
        self.with(|state, now| {
            *state.counts.entry(kind).or_default() += 1;
            if state.is_down { Err(down()) } else { work(state, now) }
        })
    }

    async fn do_call(&self, call: &ResolvedCall<'_>) -> Result<Applied, Error> {
        let instance = &self.instance;
        let id = call.id.clone().unwrap_or_else(|| ContainerId::new(""));
        let kind = call.kind();
        match call.call {
            Call::EnsureNetwork { name } => {
                self.call(kind, |state, now| Ok(state.ensure_network(instance, name, now))).await
            }
            Call::Create(spec) => {
                let made = (spec.as_ref(), &call.given);
                self.call(kind, |state, now| state.create(instance, made, now)).await
            }
            Call::Prove(spec) => self.call(kind, |state, now| state.prove(spec, now)).await,
            Call::Start(_) => self.call(kind, |state, now| state.start(instance, &id, now)).await,
            Call::Stop { grace_s, .. } => {
                let waits = self.call(kind, |state, _| Ok(state.ignores_stop(&id))).await?;
                if let Some(own) = waits {
                    let grace = grace_s.unwrap_or(own);
                    tokio::time::sleep(Duration::from_secs(u64::from(grace))).await;
                }
                Ok(self.with(|state, now| state.stop(instance, &id, now)))
            }
            Call::Remove(_) => {
                self.call(kind, |state, now| Ok(state.remove(instance, &id, now))).await
            }
            Call::RemoveImage { id, tag } => {
                self.call(kind, |state, _| Ok(state.remove_image(id, tag))).await
            }
        }
    }

    async fn do_build(&self, request: BuildRequest<'_>) -> Result<String, Error> {
        let order = Order::of(request.instance, request.recipe);
        self.build_to_order(&order, request.context, request.log).await
    }

    /// Builds what is not a recipe of ours, as [`Engine::build`] does.
    pub async fn build_to_order(
        &self,
        order: &Order,
        mut context: BoxStream<'static, Result<Bytes, std::io::Error>>,
        log: LogSink,
    ) -> Result<String, Error> {
        let script = self.call("build", |state, _| Ok(state.next_build(&order.app))).await?;
        while let Some(piece) = context.next().await {
            piece.map_err(|error| {
                Error::Work(format!("the build context can't be read: {error}"))
            })?;
        }
        play(&script, &log).await?;
        // A build outlives neither the engine nor the connection.
        self.with(|state, now| {
            if state.is_down {
                return Err(Error::Broken { call: "build", message: "it went down".to_owned() });
            }
            Ok(state.finish_build(order, now))
        })
    }

    async fn do_pull(&self, reference: &ImageRef, log: LogSink) -> Result<String, Error> {
        let script = self.call("pull", |state, _| Ok(state.remote_script(reference))).await?;
        let failed =
            |error: Error| Error::Work(format!("failed to pull image `{reference}`: {error}"));
        play(&script.map_err(failed)?, &log).await.map_err(failed)?;
        self.with(
            |state, now| {
                if state.is_down { Err(down()) } else { Ok(state.finish_pull(reference, now)) }
            },
        )
    }

    fn receiver(&self) -> Result<Receiver<Result<Hint, Error>>, Error> {
        self.with(|state, _| {
            *state.counts.entry("events").or_default() += 1;
            if state.is_down { Err(down()) } else { Ok(state.events.subscribe()) }
        })
    }
}

/// Plays long work: its log, its time, its end.
async fn play(script: &Script, log: &LogSink) -> Result<(), Error> {
    for line in &script.log {
        let _ = log.try_send(line.clone());
    }
    tokio::time::sleep(script.takes).await;
    match &script.outcome {
        Outcome::Works => Ok(()),
        Outcome::Fails(message) => Err(Error::Work(message.clone())),
        Outcome::Hangs => std::future::pending().await,
    }
}

impl Engine for Fake {
    fn describe(&self) -> BoxFuture<'_, Result<About, Error>> {
        Box::pin(self.call("describe", |state, _| {
            Ok(About {
                id: state.id.clone(),
                version: "0.0.0-fake".to_owned(),
                api_version: "1.41".to_owned(),
            })
        }))
    }

    fn packages<'a>(
        &'a self,
        image: &'a str,
    ) -> BoxFuture<'a, Result<Option<scan::Inventory>, Error>> {
        Box::pin(self.call("packages", |state, _| Ok(state.installed.get(image).cloned())))
    }

    fn image_size<'a>(&'a self, image: &'a str) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        let size = self.image(image).map(|_| Self::IMAGE_BYTES);
        Box::pin(std::future::ready(Ok(size)))
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

    fn observe(&self) -> BoxFuture<'_, Result<World, Error>> {
        Box::pin(self.call("observe", |state, _| Ok(state.world(&self.instance))))
    }

    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Detail>, Error>> {
        Box::pin(self.call("inspect", |state, _| Ok(state.detail(id))))
    }

    fn apply<'a>(&'a self, call: &'a ResolvedCall<'a>) -> BoxFuture<'a, Result<Applied, Error>> {
        Box::pin(self.do_call(call))
    }

    fn build<'a>(&'a self, request: BuildRequest<'a>) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(self.do_build(request))
    }

    fn pull<'a>(
        &'a self,
        reference: &'a ImageRef,
        log: LogSink,
    ) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(self.do_pull(reference, log))
    }

    fn gpu_ways(&self) -> BoxFuture<'_, Result<GpuWays, Error>> {
        Box::pin(self.call("gpu_ways", |state, _| Ok(state.gpus.ways.clone())))
    }

    fn gpus_of<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<GpuHold>, Error>> {
        Box::pin(self.call("gpus_of", |state, _| Ok(state.gpus_of(id))))
    }

    fn ports_of<'a>(
        &'a self,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Vec<PortBinding>, Error>> {
        Box::pin(self.published(id))
    }

    fn secrets_of<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Vec<Value>, Error>> {
        Box::pin(self.call("secrets_of", |state, _| Ok(state.given(id))))
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        command: &'a [String],
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(i64, String), Error>> {
        let _ = timeout;
        let is_list = command.first().is_some_and(|program| program == "nvidia-smi");
        Box::pin(self.call("exec", move |state, now| {
            let listed = is_list.then(|| state.list_gpus(id)).flatten();
            listed.map_or_else(|| state.exec(id, now), Ok)
        }))
    }

    fn events(&self) -> BoxStream<'static, Result<Hint, Error>> {
        let fake = self.clone();
        let first = stream::once(async move { fake.receiver() });
        first
            .flat_map(|subscribed| match subscribed {
                Err(error) => stream::once(async { Err(error) }).boxed(),
                Ok(receiver) => hints(receiver),
            })
            .boxed()
    }

    fn logs<'a>(
        &'a self,
        id: &'a ContainerId,
        options: LogOptions,
    ) -> BoxStream<'static, Result<Bytes, Error>> {
        lines(self.clone(), id.clone(), options)
    }
}

fn hints(receiver: Receiver<Result<Hint, Error>>) -> BoxStream<'static, Result<Hint, Error>> {
    let live = stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Ok(Ok(hint)) => Some((Ok(hint), Some(receiver))),
            Ok(Err(error)) => Some((Err(error), None)),
            Err(RecvError::Closed) => None,
            Err(RecvError::Lagged(missed)) => {
                let message = format!("{missed} events were lost");
                Some((Err(Error::Broken { call: "events", message }), None))
            }
        }
    });
    stream::once(async { Ok(Hint::subscribed()) }).chain(live).boxed()
}

fn lines(
    fake: Fake,
    id: ContainerId,
    options: LogOptions,
) -> BoxStream<'static, Result<Bytes, Error>> {
    stream::try_unfold((fake, id, options, None), |(fake, id, options, mut told)| async move {
        loop {
            let kind = "logs";
            let log = fake.with(|state, _| {
                if told.is_none() {
                    *state.counts.entry(kind).or_default() += 1;
                }
                if state.is_down { Err(down()) } else { state.log(&id, &options, told) }
            })?;
            if !log.text.is_empty() {
                let next = (fake, id, options, Some(log.next));
                return Ok(Some((Bytes::from(log.text), next)));
            }
            if !(options.follow && log.runs) {
                return Ok(None);
            }
            // What comes later is new, however few of the last lines were asked for.
            told = Some(log.next);
            tokio::time::sleep(LOG_LOOK).await;
        }
    })
    .boxed()
}
