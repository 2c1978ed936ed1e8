//! Faults: wraps any engine and does to its calls what networks, disks and power cuts do.
//!
//! A script decides for each call, by its kind and its number, so a test can try a fault at every
//! call in turn. Nothing here is random.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, pending};
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::{
    About, Applied, BuildRequest, CallCounts, Engine, Error, Hint, LogOptions, LogSink,
    ResolvedCall,
};
use crate::model::{ImageRef, PortBinding};
use crate::scan;
use crate::secret::Value;
use crate::state::{Around, ContainerId, Detail, GpuHold, GpuWays, World};

/// How many observations are kept to be shown again.
const WORLDS_KEPT: usize = 8;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// The engine is not reached; nothing is done.
    Refuse,
    /// The engine answers with this status; nothing is done.
    Fail(u16),
    /// It is done, and the answer is lost (fault D01).
    Lose,
    /// It is done after a while.
    Delay(Duration),
    /// It is not done, and the call runs into its deadline.
    Stall(Duration),
    /// It is done, and the call runs into its deadline (fault D09).
    StallDone(Duration),
    /// An observation shows the world as it was so many observations ago; others pass.
    Stale(usize),
    /// Berth dies before the call reaches the engine.
    CrashBefore,
    /// Berth dies once the call is sent; the engine does it so much later (fault D09).
    CrashSent(Duration),
    /// Berth dies so long after the engine has begun: what takes longer is broken off, of what is
    /// done the answer is on its way.
    CrashDuring(Duration),
    /// Berth dies once the engine has done the call.
    CrashAfter,
}

/// One call, as a script sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// Which call: `observe`, `create`, `start`, `build`, ….
    pub kind: &'static str,
    /// How many calls of this kind were made before.
    pub nth_of_kind: u64,
    /// How many calls of any kind were made before.
    pub nth: u64,
}

impl Occurrence {
    /// Whether the call may change the engine.
    pub fn is_change(&self) -> bool {
        !matches!(
            self.kind,
            "describe"
                | "observe"
                | "inspect"
                | "exec"
                | "events"
                | "logs"
                | "ports_of"
                | "secrets_of"
                | "surroundings"
                | "layer_size"
                | "volume_sizes"
        )
    }
}

type Script = Box<dyn FnMut(&Occurrence) -> Fault + Send>;
type Items = Arc<Mutex<Box<dyn FnMut(&'static str) -> bool + Send>>>;

/// An engine with faults.
///
/// Once a crash has happened every call waits for ever: whoever made it is dead, and the test drops
/// it. [`Faulty::died`] tells when.
pub struct Faulty {
    inner: Arc<dyn Engine>,
    script: Mutex<Script>,
    items: Items,
    counts: Mutex<CallCounts>,
    worlds: Mutex<VecDeque<World>>,
    is_dead: watch::Sender<bool>,
}

impl Faulty {
    /// Wraps `inner`; `script` decides about each call.
    pub fn new(
        inner: Arc<dyn Engine>,
        script: impl FnMut(&Occurrence) -> Fault + Send + 'static,
    ) -> Self {
        Self {
            inner,
            script: Mutex::new(Box::new(script)),
            items: Arc::new(Mutex::new(Box::new(|_| false))),
            counts: Mutex::default(),
            worlds: Mutex::default(),
            is_dead: watch::Sender::new(false),
        }
    }

    /// Asks `script` about each item of a stream of this kind, before it is handed over: whether
    /// Berth dies instead of taking it.
    #[must_use]
    pub fn dying_of(self, script: impl FnMut(&'static str) -> bool + Send + 'static) -> Self {
        Self { items: Arc::new(Mutex::new(Box::new(script))), ..self }
    }

    /// One fault at the call with this number, counted from 0 over all kinds.
    pub fn at(inner: Arc<dyn Engine>, nth: u64, fault: Fault) -> Self {
        Self::new(inner, move |call| if call.nth == nth { fault.clone() } else { Fault::Pass })
    }

    /// One fault at a call of one kind, counted from 0.
    pub fn at_kind(inner: Arc<dyn Engine>, kind: &'static str, nth: u64, fault: Fault) -> Self {
        Self::new(inner, move |call| {
            if call.kind == kind && call.nth_of_kind == nth { fault.clone() } else { Fault::Pass }
        })
    }

    /// How many calls were made, by kind.
    pub fn counts(&self) -> CallCounts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many calls were made.
    pub fn total(&self) -> u64 {
        self.counts().values().sum()
    }

    /// Whether the crash has happened.
    pub fn is_dead(&self) -> bool {
        *self.is_dead.borrow()
    }

    /// Waits for the crash.
    pub fn died(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut is_dead = self.is_dead.subscribe();
        async move {
            if is_dead.wait_for(|dead| *dead).await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// Counts a call and asks the script. None: the caller is dead.
    fn decide(&self, kind: &'static str) -> Option<Fault> {
        if self.is_dead() {
            return None;
        }
        let occurrence = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = counts.values().sum();
            let of_kind = counts.entry(kind).or_default();
            let occurrence = Occurrence { kind, nth_of_kind: *of_kind, nth };
            *of_kind += 1;
            occurrence
        };
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        Some(script(&occurrence))
    }

    async fn die<T>(&self) -> T {
        self.is_dead.send_replace(true);
        pending().await
    }

    async fn around<T>(
        &self,
        kind: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match self.decide(kind) {
            Some(fault) => self.suffer(fault, kind, work).await,
            None => pending().await,
        }
    }

    async fn suffer<T>(
        &self,
        fault: Fault,
        kind: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = |limit: Duration| Error::Timeout { call: kind, seconds: limit.as_secs() };
        let outcome = match fault {
            Fault::Pass | Fault::Stale(_) => self.while_alive(kind, work).await,
            Fault::Refuse => Err(refused()),
            Fault::Fail(status) => Err(failed(status)),
            Fault::Lose => work.await.and_then(|_| Err(lost(kind))),
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                self.while_alive(kind, work).await
            }
            Fault::Stall(limit) => {
                tokio::time::sleep(limit).await;
                Err(late(limit))
            }
            Fault::StallDone(limit) => {
                let outcome = work.await;
                tokio::time::sleep(limit).await;
                outcome.and_then(|_| Err(late(limit)))
            }
            Fault::CrashBefore => self.die().await,
            Fault::CrashSent(time) => {
                self.is_dead.send_replace(true);
                tokio::time::sleep(time).await;
                let _ = work.await;
                pending().await
            }
            Fault::CrashDuring(time) => {
                let end = tokio::time::Instant::now() + time;
                let _ = tokio::time::timeout_at(end, work).await;
                tokio::time::sleep_until(end).await;
                self.die().await
            }
            Fault::CrashAfter => {
                let _ = work.await;
                self.die().await
            }
        };
        // The dead learn nothing, not even what was under way.
        if self.is_dead() { pending().await } else { outcome }
    }

    /// Engines end builds and pulls whose caller's connection breaks; short calls they finish.
    async fn while_alive<T>(&self, kind: &'static str, work: impl Future<Output = T>) -> T {
        if !matches!(kind, "build" | "pull") {
            return work.await;
        }
        tokio::select! {
            biased;
            () = self.died() => pending().await,
            done = work => done,
        }
    }

    async fn see(&self) -> Result<World, Error> {
        let Some(fault) = self.decide("observe") else { return pending().await };
        if let Fault::Stale(ago) = fault {
            let worlds = self.worlds.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(world) = ago.checked_sub(1).and_then(|at| worlds.iter().rev().nth(at)) {
                return Ok(world.clone());
            }
        }
        let world = self.suffer(fault, "observe", self.inner.observe()).await?;
        let mut worlds = self.worlds.lock().unwrap_or_else(PoisonError::into_inner);
        if WORLDS_KEPT <= worlds.len() {
            worlds.pop_front();
        }
        worlds.push_back(world.clone());
        Ok(world)
    }

    /// The same for a stream: a lost one breaks after its first item.
    fn around_stream<T: Send + 'static>(
        &self,
        kind: &'static str,
        inner: impl FnOnce() -> BoxStream<'static, Result<T, Error>>,
    ) -> BoxStream<'static, Result<T, Error>> {
        let Some(fault) = self.decide(kind) else { return stream::pending().boxed() };
        let items = match fault {
            Fault::Refuse => stream::once(async { Err(refused()) }).boxed(),
            Fault::Fail(status) => stream::once(async move { Err(failed(status)) }).boxed(),
            Fault::Lose => {
                let end = stream::once(async move { Err(lost(kind)) });
                inner().take(1).chain(end).boxed()
            }
            Fault::Delay(time) => {
                let items = inner();
                let late = async move {
                    tokio::time::sleep(time).await;
                    items
                };
                stream::once(late).flatten().boxed()
            }
            Fault::Stall(_) | Fault::StallDone(_) => stream::pending().boxed(),
            Fault::CrashBefore
            | Fault::CrashSent(_)
            | Fault::CrashDuring(_)
            | Fault::CrashAfter => {
                self.is_dead.send_replace(true);
                stream::pending().boxed()
            }
            Fault::Pass | Fault::Stale(_) => inner(),
        };
        let (script, is_dead) = (Arc::clone(&self.items), self.is_dead.clone());
        let items = items.then(move |item| {
            let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fatal = !*is_dead.borrow() && script(kind);
            drop(script);
            if is_fatal {
                is_dead.send_replace(true);
            }
            async move { if is_fatal { pending().await } else { item } }
        });
        until_death(items.boxed(), self.died())
    }
}

/// The items while the caller lives; silence after that.
fn until_death<T: Send + 'static>(
    items: BoxStream<'static, T>,
    death: impl Future<Output = ()> + Send + 'static,
) -> BoxStream<'static, T> {
    let step = |(mut items, mut death): (BoxStream<'static, T>, BoxFuture<'static, ()>)| async move {
        tokio::select! {
            biased;
            () = &mut death => pending().await,
            item = items.next() => item.map(|item| (item, (items, death))),
        }
    };
    stream::unfold((items, Box::pin(death) as BoxFuture<'static, ()>), step).boxed()
}

fn refused() -> Error {
    Error::Unreachable { address: "fault".to_owned(), message: "connection refused".to_owned() }
}

fn failed(status: u16) -> Error {
    let message = "a fault was asked for".to_owned();
    match status {
        404 => Error::NotFound(message),
        409 => Error::Conflict(message),
        400..=499 => Error::Refused { status, message },
        _ => Error::Failed { status, message },
    }
}

fn lost(call: &'static str) -> Error {
    Error::Broken { call, message: "the connection was lost".to_owned() }
}

impl Engine for Faulty {
    fn describe(&self) -> BoxFuture<'_, Result<About, Error>> {
        Box::pin(self.around("describe", self.inner.describe()))
    }

    fn trust(&self, about: &About) {
        self.inner.trust(about);
    }

    fn observe(&self) -> BoxFuture<'_, Result<World, Error>> {
        Box::pin(self.see())
    }

    fn inspect<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Detail>, Error>> {
        Box::pin(self.around("inspect", self.inner.inspect(id)))
    }

    fn apply<'a>(&'a self, call: &'a ResolvedCall<'a>) -> BoxFuture<'a, Result<Applied, Error>> {
        Box::pin(self.around(call.kind(), self.inner.apply(call)))
    }

    fn build<'a>(&'a self, request: BuildRequest<'a>) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(self.around("build", self.inner.build(request)))
    }

    fn pull<'a>(
        &'a self,
        reference: &'a ImageRef,
        log: LogSink,
    ) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(self.around("pull", self.inner.pull(reference, log)))
    }

    fn packages<'a>(
        &'a self,
        image: &'a str,
    ) -> BoxFuture<'a, Result<Option<scan::Inventory>, Error>> {
        Box::pin(self.around("packages", self.inner.packages(image)))
    }

    fn surroundings(&self) -> BoxFuture<'_, Result<Around, Error>> {
        Box::pin(self.around("surroundings", self.inner.surroundings()))
    }

    fn layer_size<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(self.around("layer_size", self.inner.layer_size(id)))
    }

    fn volume_sizes(&self) -> BoxFuture<'_, Result<BTreeMap<String, u64>, Error>> {
        Box::pin(self.around("volume_sizes", self.inner.volume_sizes()))
    }

    fn drop_stopped<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.around("drop_stopped", self.inner.drop_stopped(id)))
    }

    fn drop_network<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.around("drop_network", self.inner.drop_network(id)))
    }

    fn gpu_ways(&self) -> BoxFuture<'_, Result<GpuWays, Error>> {
        Box::pin(self.around("gpu_ways", self.inner.gpu_ways()))
    }

    fn gpus_of<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<GpuHold>, Error>> {
        Box::pin(self.around("gpus_of", self.inner.gpus_of(id)))
    }

    fn ports_of<'a>(
        &'a self,
        id: &'a ContainerId,
    ) -> BoxFuture<'a, Result<Vec<PortBinding>, Error>> {
        Box::pin(self.around("ports_of", self.inner.ports_of(id)))
    }

    fn secrets_of<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Vec<Value>, Error>> {
        Box::pin(self.around("secrets_of", self.inner.secrets_of(id)))
    }

    fn exec<'a>(
        &'a self,
        id: &'a ContainerId,
        command: &'a [String],
        timeout: Duration,
    ) -> BoxFuture<'a, Result<(i64, String), Error>> {
        Box::pin(self.around("exec", self.inner.exec(id, command, timeout)))
    }

    fn events(&self) -> BoxStream<'static, Result<Hint, Error>> {
        self.around_stream("events", || self.inner.events())
    }

    fn logs<'a>(
        &'a self,
        id: &'a ContainerId,
        options: LogOptions,
    ) -> BoxStream<'static, Result<Bytes, Error>> {
        self.around_stream("logs", || self.inner.logs(id, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::engine::fake::Fake;
    use crate::model::Timestamp;
    use crate::plan::Call;

    fn fake() -> Fake {
        Fake::new("home", Clock::runtime(Timestamp::from_millis(1)))
    }

    async fn make_network(engine: &Faulty) -> Result<Applied, Error> {
        let call = Call::EnsureNetwork { name: "n".to_owned() };
        engine
            .apply(&ResolvedCall { call: &call, id: None, given: crate::secret::Given::default() })
            .await
    }

    /// Fault D01.
    #[tokio::test]
    async fn a_lost_answer_leaves_the_effect_and_says_that_nobody_knows() {
        let fake = fake();
        let engine = Faulty::at_kind(Arc::new(fake.clone()), "ensure_network", 0, Fault::Lose);
        assert!(make_network(&engine).await.is_err_and(|error| error.is_outcome_unknown()));
        assert_eq!(fake.journal(), ["network n"]);
        assert!(matches!(make_network(&engine).await, Ok(Applied::AlreadySo)));
    }

    #[tokio::test]
    async fn a_refused_call_leaves_nothing() {
        let fake = fake();
        let engine = Faulty::at(Arc::new(fake.clone()), 0, Fault::Refuse);
        assert!(make_network(&engine).await.is_err());
        assert!(fake.journal().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_crash_every_call_and_stream_is_silent() {
        let fake = fake();
        let engine = Faulty::at(Arc::new(fake.clone()), 1, Fault::CrashAfter);
        let mut events = engine.events();
        assert!(events.next().await.is_some());
        let wait = Duration::from_hours(1);
        assert!(tokio::time::timeout(wait, make_network(&engine)).await.is_err());
        assert!(engine.is_dead());
        engine.died().await;
        assert_eq!(fake.journal(), ["network n"]);
        fake.break_events();
        assert!(tokio::time::timeout(wait, events.next()).await.is_err());
        assert!(tokio::time::timeout(wait, engine.observe()).await.is_err());
        assert_eq!(engine.total(), 2);
    }

    /// Fault D09.
    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_sent_is_done_after_the_death() {
        let fake = fake();
        let fault = Fault::CrashSent(Duration::from_secs(1));
        let engine = Arc::new(Faulty::at(Arc::new(fake.clone()), 0, fault));
        let caller = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { make_network(&engine).await.is_ok() }
        });
        engine.died().await;
        assert!(fake.journal().is_empty());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(fake.journal(), ["network n"]);
        assert!(!caller.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn long_work_is_broken_off_and_a_short_call_is_done() {
        let fake = fake();
        let image = ImageRef::parse("shop/far:1").unwrap();
        let script = crate::engine::fake::Script::takes(Duration::from_secs(9));
        fake.add_remote(&image, script, crate::engine::fake::Behaviour::default());
        for (kind, journal) in [("pull", vec![]), ("ensure_network", vec!["network n"])] {
            let fault = Fault::CrashDuring(Duration::from_secs(1));
            let engine = Faulty::at_kind(Arc::new(fake.clone()), kind, 0, fault);
            let (log, _lines) = tokio::sync::mpsc::channel(9);
            let (pull, call) = (engine.pull(&image, log), make_network(&engine));
            let end = tokio::time::Instant::now() + Duration::from_hours(1);
            let is_over = match kind {
                "pull" => tokio::time::timeout_at(end, pull).await.is_ok(),
                _ => tokio::time::timeout_at(end, call).await.is_ok(),
            };
            assert!(!is_over);
            assert!(engine.is_dead());
            assert_eq!(fake.journal(), journal);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_of_a_stream_can_be_the_last_thing() {
        let fake = fake();
        let mut items = 0;
        let engine = Faulty::new(Arc::new(fake.clone()), |_| Fault::Pass).dying_of(move |_| {
            items += 1;
            items == 2
        });
        let mut events = engine.events();
        assert!(events.next().await.is_some());
        assert!(!engine.is_dead());
        fake.add_foreign("x", Vec::new());
        let end = Duration::from_hours(1);
        assert!(tokio::time::timeout(end, events.next()).await.is_err());
        assert!(engine.is_dead());
    }

    #[tokio::test]
    async fn a_stale_observation_shows_an_older_world() {
        let fake = fake();
        let engine = Faulty::at_kind(Arc::new(fake.clone()), "observe", 1, Fault::Stale(1));
        let first = engine.observe().await.unwrap();
        fake.add_foreign("x", Vec::new());
        assert_eq!(engine.observe().await.unwrap(), first);
        assert_eq!(engine.observe().await.unwrap().containers.len(), 1);
    }
}
