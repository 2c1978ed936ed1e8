//! GPUs on their way into containers: how the engine can give them, who else has some, whether
//! what runs still reaches them. Nothing of it costs anything where no app asks and no card is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::{sync::watch, time::Instant};

use super::Reconciler;
use crate::engine::{Engine, gpus::is_way_refused};
use crate::gpu::{Cards, nodes::Roots};
use crate::health::gpu::GpuWatch;
use crate::model::{AppName, GpuGrant, GpuWay, Reason};
use crate::plan::{Call, Input, MENDS_AN_HOUR, Outcome, Plan, Step, gpu_route};
use crate::state::{
    AppState, Container, ContainerId, ContainerState, Desired, GpuDevices, GpuHold, GpuLoss,
    GpuWays, Obstacle, World,
};

/// How many containers are inspected at once for what they hold.
const INSPECTIONS_AT_ONCE: usize = 8;
/// A new container is not made by what the engine said longer ago.
const WAYS_AGE: Duration = Duration::from_secs(30);
/// What counts as lately, for containers that were made anew.
const HOUR: Duration = Duration::from_hours(1);

/// What is known of GPUs on their way into containers.
pub struct Devices {
    engine: Arc<dyn Engine>,
    cards: Arc<Cards>,
    roots: Roots,
    watch: Arc<GpuWatch>,
    desired: watch::Receiver<Arc<Desired>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    ways: Option<(Instant, GpuWays)>,
    /// What containers that no Berth made hold; they are asked once.
    holds: BTreeMap<ContainerId, Option<GpuHold>>,
    refused: BTreeMap<AppName, BTreeMap<GpuWay, String>>,
    had_cards: bool,
}

impl Devices {
    /// Nothing is known yet.
    pub fn new(
        engine: Arc<dyn Engine>,
        cards: Arc<Cards>,
        roots: Roots,
        watch: Arc<GpuWatch>,
        desired: watch::Receiver<Arc<Desired>>,
    ) -> Self {
        Self { engine, cards, roots, watch, desired, known: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine was away, or something failed: it is asked anew for its ways.
    pub(super) fn doubt(&self) {
        self.lock().ways = None;
    }

    /// Whether anybody here has to do with GPUs.
    fn is_wanted(&self) -> bool {
        let desired = Arc::clone(&self.desired.borrow());
        let asks = |name: &AppName| desired.app(name).is_some_and(|app| app.spec.gpus.is_some());
        !self.cards.latest().gpus.is_empty() || desired.apps.keys().any(asks)
    }

    /// Adds what containers hold that no Berth made.
    pub(super) async fn add_holders(&self, world: &mut World) {
        if !self.is_wanted() {
            return;
        }
        let is_open = |c: &&Container| c.gpus.is_none() && c.ownership.owner().is_none();
        let open: Vec<_> = world.containers.iter().filter(is_open).map(|c| c.id.clone()).collect();
        let unknown: Vec<_> = {
            let mut known = self.lock();
            let here: BTreeSet<_> = open.iter().collect();
            known.holds.retain(|id, _| here.contains(id));
            open.iter().filter(|id| !known.holds.contains_key(*id)).cloned().collect()
        };
        let ask = async |id: ContainerId| {
            let hold = self.engine.gpus_of(&id).await;
            (id, hold)
        };
        let answers: Vec<_> =
            stream::iter(unknown).map(ask).buffer_unordered(INSPECTIONS_AT_ONCE).collect().await;
        let mut known = self.lock();
        // Who could not be asked is asked again next time.
        known.holds.extend(answers.into_iter().filter_map(|(id, hold)| Some((id, hold.ok()?))));
        for container in &mut world.containers {
            if let Some(Some(hold)) = known.holds.get(&container.id) {
                container.gpus = Some(hold.clone());
            }
        }
    }

    /// What is known of an app's GPUs on their way into its container.
    pub(super) async fn of(
        &self,
        app: &AppName,
        grant: &GpuGrant,
        world: &World,
        mended: u32,
    ) -> GpuDevices {
        let held = GpuHold::Granted(grant.clone());
        let is_made = world.containers_of(app).iter().any(|c| c.gpus.as_ref() == Some(&held));
        let ways = self.ways(is_made).await;
        let inventory = self.cards.latest();
        let host = self.roots.host(grant, &inventory);
        let mut known = self.lock();
        let refused = known.refused.get(app).cloned().unwrap_or_default();
        let mut route = gpu_route(grant, &ways, &host, &refused);
        // All were refused: whatever was wrong may have been mended.
        let refused = if route.is_none() {
            known.refused.remove(app);
            route = gpu_route(grant, &ways, &host, &BTreeMap::new());
            BTreeMap::new()
        } else {
            refused
        };
        let loss = self.watch.lost(app).map(|(container, message)| GpuLoss {
            container,
            message,
            mended,
            is_spent: MENDS_AN_HOUR <= mended,
        });
        GpuDevices { route, refused, loss, driver: inventory.driver.clone() }
    }

    /// How the engine can give GPUs: asked once for each time that it comes back, and again when a
    /// container is to be made.
    async fn ways(&self, is_made: bool) -> GpuWays {
        let kept = self.lock().ways.clone();
        if let Some((at, ways)) = kept
            && (is_made || at.elapsed() < WAYS_AGE)
        {
            return ways;
        }
        match self.engine.gpu_ways().await {
            Ok(ways) => {
                self.lock().ways = Some((Instant::now(), ways.clone()));
                ways
            }
            Err(error) => {
                tracing::debug!(%error, "how the engine gives GPUs is not known");
                GpuWays::default()
            }
        }
    }

    /// Why a plan would stop what has GPUs for what would get none: the engine does not give them
    /// any more in the way in which that has them. Asked only when something is about to stop.
    pub(super) async fn way_gone(&self, world: &World, plan: &Plan) -> Option<Obstacle> {
        let (mut stopped, mut starts) = (None, false);
        for planned in &plan.steps {
            let Step::Call(call) = &planned.step else { continue };
            let seen = |id: &ContainerId| world.containers.iter().find(|c| c.id == *id);
            match call {
                Call::Stop { target, .. } => {
                    stopped = stopped.or(target.id.as_ref().and_then(seen));
                }
                Call::Create(spec) => starts |= spec.shape.gpus.is_some(),
                Call::Start(target) => starts |= target.id.as_ref() == stopped.map(|c| &c.id),
                _ => {}
            }
        }
        // What has lost its GPUs loses nothing more.
        let stopped = stopped.filter(|_| starts && plan.says(Reason::GpuLost).is_none())?;
        let Some(GpuHold::Granted(grant)) = &stopped.gpus else { return None };
        let way = world.given.get(&stopped.id)?.way;
        let kept = self.lock().ways.clone().filter(|(at, _)| at.elapsed() < WAYS_AGE);
        let ways = if let Some((_, ways)) = kept {
            ways
        } else {
            // Who can't be asked has not said no.
            let ways = self.engine.gpu_ways().await.ok()?;
            self.lock().ways = Some((Instant::now(), ways.clone()));
            ways
        };
        let host = self.roots.host(grant, &self.cards.latest());
        let others = GpuWay::ALL.into_iter().filter(|other| *other != way);
        let others = others.map(|other| (other, String::new())).collect();
        gpu_route(grant, &ways, &host, &others).is_none().then(|| Obstacle {
            reason: Reason::GpuDriver,
            message: format!(
                "the engine does not give GPUs by {way} any more, as {} has them: what runs goes on; mend that, or `berth stop {}` and `berth start {}` to have them in another way",
                stopped.name, plan.app, plan.app
            ),
        })
    }

    /// What speaks against starting a new version with GPUs now (fault U02).
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        let inventory = self.cards.latest();
        let has_cards = {
            let mut known = self.lock();
            known.had_cards |= !inventory.gpus.is_empty();
            known.had_cards
        };
        let reason = Reason::GpuDriver;
        if let Some(message) = self.roots.driver_trouble(&inventory) {
            return Some(Obstacle { reason, message });
        }
        let is_gone = inventory.gpus.is_empty() && has_cards;
        (inventory.is_stale || is_gone).then(|| {
            let why = inventory.note.as_deref().unwrap_or("nobody knows why");
            let message = format!(
                "the GPUs can't be read at present ({why}): what runs goes on, and nothing new with GPUs is started before that is mended"
            );
            Obstacle { reason, message }
        })
    }

    /// Takes note of what came of a plan.
    pub(super) fn note(&self, input: &Input<'_>, plan: &Plan, outcome: &Outcome) {
        let has_made = makes(plan);
        let failure = outcome.failure.as_ref().filter(|f| f.reason == Reason::GpuFailed);
        let Some(failure) = failure else { return };
        self.doubt();
        let given = plan.current.as_ref().filter(|_| !has_made);
        let given = given.and_then(|id| input.world.given.get(id)).map(|given| given.way);
        let planned = plan.container.as_ref().and_then(|spec| spec.gpu_way.as_ref());
        let way = given.or(planned.map(|route| route.way));
        if let Some(way) = way.filter(|_| is_way_refused(&failure.message)) {
            let mut known = self.lock();
            let refused = known.refused.entry(plan.app.clone()).or_default();
            refused.insert(way, failure.message.clone());
        }
    }

    /// The app is gone.
    pub(super) fn forget(&self, app: &AppName) {
        self.watch.forget(app);
        let mut known = self.lock();
        known.refused.remove(app);
    }
}

/// Whether a container is made.
fn makes(plan: &Plan) -> bool {
    plan.steps.iter().any(|planned| matches!(planned.step, Step::Call(Call::Create(_))))
}

impl Reconciler {
    /// Adds what is known of the GPUs that an app was given, on their way into its container, and
    /// what speaks against starting a new one with them.
    pub(super) async fn equip(&self, app: &AppName, world: &World, state: &mut AppState) {
        let Some(grant) = &state.gpus.grant else { return };
        let (facts, now) = (self.ledger.facts(app).unwrap_or_default(), self.clock.now());
        let mended = facts.gpu_mends.iter().filter(|at| now.since(**at) < HOUR).count();
        let mended = u32::try_from(mended).unwrap_or(u32::MAX);
        state.devices = self.devices.of(app, grant, world, mended).await;
        state.obstacles.splice(0..0, self.devices.obstacle());
    }

    /// Takes note of a container that is made anew for its lost GPUs, before it is: how often that
    /// was done lately is known after a restart, too.
    fn note_mend(&self, input: &Input<'_>, plan: &Plan) {
        if !makes(plan) || plan.says(Reason::GpuLost).is_none() {
            return;
        }
        self.metrics.gpus_lost(input.app);
        self.ledger.update(input.app, |facts| {
            facts.gpu_mends.retain(|at| input.now.since(*at) < HOUR);
            facts.gpu_mends.push(input.now);
        });
    }

    /// Before anything is done: has the wanted container watched, as long as it runs and has GPUs.
    pub(super) fn watch_gpus(&self, input: &Input<'_>, plan: &Plan) {
        self.note_mend(input, plan);
        let mine = input.containers();
        let runs = |c: &&&Container| c.state == ContainerState::Running;
        let is_current = |c: &&&Container| Some(&c.id) == plan.current.as_ref();
        let found = mine.iter().find(|c| is_current(c) && runs(c));
        match found.map(|container| (&container.id, &container.gpus)) {
            Some((id, Some(GpuHold::Granted(grant)))) => {
                self.metrics.has_gpus(input.app);
                self.devices.watch.watch(input.app, id, grant);
            }
            _ => self.devices.watch.forget(input.app),
        }
    }

    /// Says that containers lost their GPUs, once for each that is made anew.
    pub(super) fn tell_loss(&self, input: &Input<'_>, plan: &Plan) {
        if plan.steps.is_empty() {
            return;
        }
        if let Some(message) = plan.says(Reason::GpuLost) {
            self.tell(input.app, true, Reason::GpuLost, message.to_owned());
        }
    }
}
