//! What would come of something: a pass over copies of all that a pass may change.
//!
//! # Guarantees
//! The engine is only looked at. The ledger, the record, the queue and what is desired are copies
//! that nobody else sees, so nothing that is noted on the way stays.

use std::sync::Arc;

use tokio::{sync::watch, time::Instant};

use super::{Memory, Observer, Reconciler, Times, observer::SHOWING};
use crate::engine::Dormant;
use crate::execute::Executor;
use crate::model::{AppName, Digest};
use crate::plan::Plan;
use crate::queue::Queue;
use crate::record::{CommandError, Record, Supposed};
use crate::state::{Desired, Hold, Want, World};

impl Reconciler {
    /// The plans of what is supposed, and what one would be told.
    pub async fn suppose(&self, supposed: Supposed) -> Result<(String, Vec<Plan>), CommandError> {
        let desired = Desired::clone(&self.desired.borrow());
        if let Supposed::Asked(app, _) = &supposed {
            self.must_exist(app)?;
        }
        if matches!(supposed, Supposed::Confirmed)
            && let Some(engine) = self.observer.stranger_id()
        {
            return Ok((format!("would go on with the engine {engine}"), Vec::new()));
        }
        let seen = self.observer.fresh(Instant::now()).await;
        let world = seen.map_err(|error| CommandError::Engine {
            reason: error.reason(),
            message: error.to_string(),
        })?;
        match supposed {
            Supposed::Manifest(app) => {
                let mut desired = desired;
                desired.apps.insert(app.name.clone(), Want::Present(Arc::clone(&app)));
                let shadow = self.shadow(desired, &world);
                shadow.ledger.note_spec(&app.name, &Digest::of_value(&app.spec), 1);
                Ok((String::new(), vec![shadow.foresee(&app.name, &world).await]))
            }
            Supposed::Removed(app) => {
                let plans = self.without(desired, &[app], &world).await;
                Ok((String::new(), plans))
            }
            Supposed::Asked(app, order) => {
                let shadow = self.shadow(desired, &world);
                let told = shadow.order(&app, order).await?;
                Ok((told, vec![shadow.foresee(&app, &world).await]))
            }
            Supposed::Confirmed => {
                let Some(Hold::Brake { apps, .. }) = desired.hold.clone() else {
                    return Err(CommandError::NothingToConfirm);
                };
                let names: Vec<_> = apps.iter().map(AppName::as_str).collect();
                let told = format!("removing {}", names.join(", "));
                Ok((told, self.without(desired, &apps, &world).await))
            }
            Supposed::Leased(order) => {
                let told = self.shadow(desired, &world).lease(order).await?;
                Ok((told, Vec::new()))
            }
        }
    }

    /// The plans of apps that no manifest names.
    async fn without(&self, desired: Desired, apps: &[AppName], world: &Arc<World>) -> Vec<Plan> {
        let mut desired = desired;
        for app in apps {
            desired.apps.remove(app);
            desired.removals.insert(app.clone());
        }
        let shadow = self.shadow(desired, world);
        let mut plans = Vec::new();
        for app in apps {
            plans.push(shadow.foresee(app, world).await);
        }
        plans
    }

    /// What a pass would plan.
    async fn foresee(&self, app: &AppName, world: &Arc<World>) -> Plan {
        let want = self.held(app, self.desired.borrow().want(app));
        let state = self.state(app, &want, world).await;
        let seen = (world.as_ref(), Instant::now() + SHOWING);
        let decided = self.decide(app, &want, seen, state).await;
        decided.map_or_else(|| Plan::empty(app.clone()), |(_, plan)| plan)
    }

    /// One that knows the same and whose notes nobody reads.
    fn shadow(&self, desired: Desired, world: &Arc<World>) -> Self {
        let (_, desired) = watch::channel(Arc::new(desired));
        let (ledger, record) = (Arc::new(self.ledger.copy()), Arc::new(Record::default()));
        for entry in self.record.entries() {
            record.write(entry.as_ref().clone());
        }
        let observer = Observer::new(
            Arc::clone(&self.engine),
            Arc::clone(&ledger),
            Arc::clone(&record),
            Arc::clone(&self.metrics),
            Arc::clone(&self.devices),
        );
        Self {
            engine: Arc::clone(&self.engine),
            observer: observer.showing(Arc::clone(world)),
            executor: Executor::new(
                Arc::clone(&self.engine),
                Arc::clone(&self.workspace),
                Arc::clone(&self.jobs),
                Arc::clone(&self.metrics),
            ),
            jobs: Arc::clone(&self.jobs),
            prober: Arc::clone(&self.prober),
            desired,
            ledger,
            record,
            queue: Arc::new(Queue::default()),
            workspace: Arc::clone(&self.workspace),
            policy: self.policy.clone(),
            clock: self.clock.clone(),
            cards: Arc::clone(&self.cards),
            times: Times::default(),
            metrics: Arc::clone(&self.metrics),
            placing: tokio::sync::Mutex::default(),
            memory: Memory::default(),
            devices: Arc::clone(&self.devices),
            dormant: Dormant::default(),
            book: Arc::clone(&self.book),
            is_trial: true,
            scans: self.scans.as_ref().map(|book| Arc::new(book.copied())),
        }
    }
}
