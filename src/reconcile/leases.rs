//! Leases of GPUs for programs outside, and the book of who holds and awaits which.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Reconciler;
use crate::model::{AppName, GpuAsk, Reason};
use crate::plan::{Answer, Asking, Who, place_gpus, words_of};
use crate::record::{CommandError, LeaseOrder};
use crate::state::{GpuLease, Inventory, World};

/// No more leases are kept at once: each is weighed whenever GPUs are given.
const LEASES_MAX: usize = 1000;

impl Reconciler {
    /// Does what a program outside asks about leases. The answer is a document.
    pub async fn lease(&self, order: LeaseOrder) -> Result<String, CommandError> {
        match order {
            LeaseOrder::List => {
                let leases: Vec<_> = self.ledger.leases().iter().map(document).collect();
                Ok(json!({ "items": leases }).to_string())
            }
            LeaseOrder::Acquire { holder, ask, ttl } => self.acquire(&holder, &ask, ttl).await,
            LeaseOrder::Renew { id, token, ttl } => {
                let until = self.clock.now() + ttl;
                let lease = self.change_lease(&id, token, |lease| {
                    lease.expires_at = lease.expires_at.max(until);
                })?;
                self.kept().await?;
                Ok(document(&lease).to_string())
            }
            LeaseOrder::Release { id, token } => {
                let lease = self.change_lease(&id, token, |_| ())?;
                self.ledger.change_leases(|leases| leases.list.remove(&id));
                tracing::info!(lease = id, holder = lease.holder, "GPU lease released");
                self.wake_waiting(None);
                self.kept().await?;
                Ok(document(&lease).to_string())
            }
        }
    }

    async fn acquire(
        &self,
        holder: &str,
        ask: &GpuAsk,
        ttl: Duration,
    ) -> Result<String, CommandError> {
        let lease = {
            // Nobody else is given any meanwhile, so that what is seen is how things are.
            let mut given = self.placing.lock().await;
            let world = self.world_now().await?;
            self.expire_leases();
            if LEASES_MAX <= self.ledger.leases().len() {
                let message =
                    format!("there are {LEASES_MAX} leases already: release some, or let them end");
                return Err(refused("gpu.too-many-leases", message));
            }
            let inventory = self.cards.latest();
            let seen = self.see(&world, &inventory);
            let now = self.clock.now();
            let mine = Who::Lease { id: String::new(), holder: holder.to_owned() };
            let waiting = self.waiting();
            let mut asking: Vec<_> = waiting
                .iter()
                .map(|(name, ask, since)| Asking {
                    who: Who::App(name.clone()),
                    ask,
                    since: *since,
                })
                .collect();
            asking.push(Asking { who: mine.clone(), ask, since: now });
            let answers = place_gpus(&asking, &seen.fleet());
            let answer = answers.into_iter().find(|(who, _)| *who == mine).map(|(_, a)| a);
            match answer {
                Some(Answer::Granted(grant)) => {
                    *given = Some(Instant::now());
                    self.ledger.lease(holder, grant, (now, now + ttl))
                }
                Some(Answer::Never(message)) => return Err(refused("gpu.none", message)),
                Some(Answer::Waits(message)) => return Err(refused("gpu.busy", message)),
                Some(Answer::Unknown(message)) => return Err(refused("gpu.unknown", message)),
                None => return Err(refused("gpu.unknown", "nobody answered".to_owned())),
            }
        };
        // Nobody may use what a restart of Berth would not know of.
        if let Err(error) = self.kept().await {
            self.ledger.change_leases(|leases| leases.list.remove(&lease.id));
            self.wake_waiting(None);
            return Err(error);
        }
        tracing::info!(lease = lease.id, holder, gpus = %lease.grant, "GPU lease given");
        Ok(document(&lease).to_string())
    }

    fn change_lease(
        &self,
        id: &str,
        token: u64,
        change: impl FnOnce(&mut GpuLease),
    ) -> Result<GpuLease, CommandError> {
        self.expire_leases();
        self.ledger.change_leases(|leases| {
            let Some(lease) = leases.list.get_mut(id) else {
                let message = format!("there is no lease `{id}` (any more): it was released or has ended, and its GPUs may be somebody else's by now");
                return Err(refused("gpu.no-lease", message));
            };
            if lease.token != token {
                let message = format!("the fence of `{id}` is another one: whoever has this one has lost the lease");
                return Err(refused("gpu.fenced", message));
            }
            change(lease);
            Ok(lease.clone())
        })
    }

    async fn kept(&self) -> Result<(), CommandError> {
        self.ledger.until_kept().await.map_err(|why| {
            refused("gpu.not-kept", format!("the lease is not known to be on the disk: {why}"))
        })
    }

    /// Ends the leases whose time has come.
    pub fn expire_leases(&self) {
        let now = self.clock.now();
        if self.ledger.leases().iter().all(|lease| now < lease.expires_at) {
            return;
        }
        let over = self.ledger.change_leases(|leases| leases.expire(now));
        for lease in &over {
            tracing::warn!(
                lease = lease.id,
                holder = lease.holder,
                "GPU lease has ended unrenewed"
            );
        }
        self.wake_waiting(None);
    }

    /// How long it is until the next lease ends by itself.
    pub fn next_lease_end(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.ledger.leases().iter().map(|lease| lease.expires_at.since(now)).min()
    }

    async fn world_now(&self) -> Result<Arc<World>, CommandError> {
        let seen = self.observer.fresh(Instant::now()).await;
        seen.map_err(|error| CommandError::Engine {
            reason: error.reason(),
            message: error.to_string(),
        })
    }

    /// The apps that wait for GPUs, in the order in which they are served, each with its reason.
    pub(super) fn gpu_queue(&self, world: &World, inventory: &Inventory) -> Vec<Value> {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return Vec::new();
        }
        let asking = waiting.iter().map(|(name, ask, since)| Asking {
            who: Who::App(name.clone()),
            ask,
            since: *since,
        });
        let seen = self.see(world, inventory);
        let served = place_gpus(&asking.collect::<Vec<_>>(), &seen.fleet());
        let waiting = served.iter().enumerate().filter_map(|(at, (who, _))| {
            let Who::App(name) = who else { return None };
            let (_, ask, since) = waiting.iter().find(|(other, _, _)| other == name)?;
            Some(json!({
                "app": name,
                "position": at + 1,
                "since": since,
                "priority": ask.priority,
                "asks": words_of(ask),
                "message": self.why_waiting(name),
            }))
        });
        waiting.collect()
    }

    fn why_waiting(&self, name: &AppName) -> Option<String> {
        let entry = self.record.entry(name)?;
        entry.plan.says(Reason::WaitingForGpu).map(ToOwned::to_owned)
    }
}

fn refused(code: &'static str, message: String) -> CommandError {
    CommandError::Gpu { code, message }
}

fn document(lease: &GpuLease) -> Value {
    json!({
        "id": lease.id,
        "holder": lease.holder,
        "fence": lease.token,
        "vendor": lease.grant.vendor,
        "devices": lease.grant.devices,
        "share": lease.grant.share,
        "memoryBytes": lease.grant.memory_bytes,
        "acquiredAt": lease.acquired_at,
        "expiresAt": lease.expires_at,
    })
}
