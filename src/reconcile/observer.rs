//! One observation for all passes that can share it.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use tokio::time::Instant;

use super::Devices;
use crate::engine::{Engine, Error};
use crate::record::{Record, ledger::Ledger};
use crate::state::World;
use crate::telemetry::Metrics;

/// How long after an outage nothing is changed: the engine starts containers again by itself, and
/// what it lists in the meantime is not how things will be (fault D14).
const GRACE: Duration = Duration::from_secs(5);

/// How long one that shows something given does so.
pub(super) const SHOWING: Duration = Duration::from_secs(3600);

/// Lists everything, at most once for all who ask at the same time.
pub struct Observer {
    engine: Arc<dyn Engine>,
    record: Arc<Record>,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    latest: tokio::sync::Mutex<Option<(Instant, Arc<World>)>>,
    is_known: AtomicBool,
    is_down: AtomicBool,
    recovered: Mutex<Option<Instant>>,
    /// The id of another engine that answers at the known one's address.
    stranger: Mutex<Option<String>>,
    devices: Arc<Devices>,
}

impl Observer {
    /// Nothing is observed yet.
    pub fn new(
        engine: Arc<dyn Engine>,
        ledger: Arc<Ledger>,
        record: Arc<Record>,
        metrics: Arc<Metrics>,
        devices: Arc<Devices>,
    ) -> Self {
        Self {
            devices,
            engine,
            ledger,
            record,
            metrics,
            is_known: AtomicBool::new(false),
            latest: tokio::sync::Mutex::default(),
            is_down: AtomicBool::new(false),
            recovered: Mutex::default(),
            stranger: Mutex::default(),
        }
    }

    /// The same, which shows this and does not ask the engine for a while.
    pub(super) fn showing(self, world: Arc<World>) -> Self {
        let latest = tokio::sync::Mutex::new(Some((Instant::now() + SHOWING, world)));
        Self { latest, ..self }
    }

    /// What the engine lists, asked for at `not_before` or later.
    pub async fn fresh(&self, not_before: Instant) -> Result<Arc<World>, Error> {
        self.sight(not_before).await.map(|(_, world)| world)
    }

    /// The same, with the moment at which it was asked for.
    pub(super) async fn sight(&self, not_before: Instant) -> Result<(Instant, Arc<World>), Error> {
        let mut latest = self.latest.lock().await;
        if let Some((asked, world)) = latest.as_ref()
            && not_before <= *asked
        {
            return Ok((*asked, Arc::clone(world)));
        }
        let asked = Instant::now();
        match self.look().await {
            Ok(world) => {
                let world = Arc::new(world);
                *latest = Some((asked, Arc::clone(&world)));
                self.record.see(&world);
                self.seen(asked);
                Ok((asked, world))
            }
            Err(error) => {
                self.lost(&error);
                Err(error)
            }
        }
    }

    /// Has the engine's identity checked again before it is next believed.
    pub fn doubt(&self) {
        self.is_known.store(false, Ordering::SeqCst);
    }

    /// A person says that the engine which answers at present is the right one. Answers its id;
    /// none when no other one than the known one had answered.
    pub fn confirm(&self) -> Option<String> {
        let id = self.stranger().take()?;
        self.ledger.change_engine(&id);
        Some(id)
    }

    /// The id of another engine that answers at the known one's address.
    pub(super) fn stranger_id(&self) -> Option<String> {
        self.stranger().clone()
    }

    fn stranger(&self) -> MutexGuard<'_, Option<String>> {
        self.stranger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists everything, on the engine that all that is known is about. Another engine behind the
    /// same address is not looked at: what it lacks was never removed (fault D48).
    async fn look(&self) -> Result<World, Error> {
        if !self.is_known.load(Ordering::SeqCst) {
            let about = self.engine.describe().await?;
            let known = self.ledger.note_engine(&about.id);
            *self.stranger() = known.as_ref().map(|_| about.id.clone());
            if let Some(known) = known {
                return Err(Error::Unsupported(format!(
                    "another engine answers at this address (its id is {}, the known one is {known}): nothing is changed there; run `berth confirm` to go on with it, or bring the known one back",
                    about.id
                )));
            }
            self.engine.trust(&about);
            self.devices.doubt();
            self.record.update_overview(|overview| overview.engine = Some(about));
            self.is_known.store(true, Ordering::SeqCst);
        }
        let mut world = self.engine.observe().await?;
        self.devices.add_holders(&mut world).await;
        Ok(world)
    }

    /// How long nothing may be changed yet, because the engine came back just now.
    pub fn grace_left(&self) -> Option<Duration> {
        let recovered = (*self.recovered.lock().unwrap_or_else(PoisonError::into_inner))?;
        GRACE.checked_sub(recovered.elapsed()).filter(|left| !left.is_zero())
    }

    /// Whether the engine answered last.
    pub fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::SeqCst)
    }

    fn seen(&self, at: Instant) {
        if self.is_down.swap(false, Ordering::SeqCst) {
            *self.recovered.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
            tracing::info!("engine answers again");
        }
        self.metrics.engine_up(true);
        self.record.update_overview(|overview| overview.engine_error = None);
    }

    fn lost(&self, error: &Error) {
        self.doubt();
        if !self.is_down.swap(true, Ordering::SeqCst) {
            tracing::warn!(%error, "engine lost");
        }
        self.metrics.engine_up(false);
        let error = error.to_string();
        self.record.update_overview(|overview| overview.engine_error = Some(error));
    }
}
