//! Who gets which GPUs: what the planner's placement is asked, and what is kept of its answers.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::{Reconciler, as_app};
use crate::model::{App, AppName, GpuAsk, GpuGrant, Reason, Timestamp};
use crate::plan::{
    Answer, Asking, Call, Fleet, Holding, Input, Plan, Step, Who, fits_beside, hindered,
    is_bystander, is_kept, is_what_it_asks, place_gpus, plan,
};
use crate::record::ledger::Facts;
use crate::state::{
    AppState, Container, ContainerId, ContainerState, GpuHold, GpuPlacement, Inventory,
    PlacementProblem, Want, World,
};

/// The GPUs and who holds them, at one moment, under the lock.
pub(super) struct Seen<'a> {
    world: &'a World,
    inventory: &'a Inventory,
    holdings: Vec<Holding>,
    up: BTreeSet<ContainerId>,
}

impl Seen<'_> {
    pub(super) fn fleet(&self) -> Fleet<'_> {
        Fleet { inventory: self.inventory, holdings: &self.holdings, up: &self.up }
    }

    /// Whether one more container with this grant fits beside those of `who` that run. What it was
    /// given besides is what that container would use.
    fn fits_beside(&self, grant: &GpuGrant, who: &Who) -> bool {
        let runs = |held: &Holding| {
            let is_running = |id: &ContainerId| {
                let mut all = self.world.containers.iter();
                all.any(|container| container.id == *id && is_kept(container, None, true, false))
            };
            held.container.as_ref().is_some_and(is_running)
        };
        let is_there = |held: &&Holding| held.who != *who || runs(held);
        let holdings: Vec<_> = self.holdings.iter().filter(is_there).cloned().collect();
        fits_beside(grant, &Fleet { holdings: &holdings, ..self.fleet() })
    }

    /// What one holds.
    fn of(&self, who: &Who) -> BTreeSet<String> {
        let mine = self.holdings.iter().filter(|holding| holding.who == *who);
        let grants = mine.filter_map(|holding| match &holding.hold {
            GpuHold::Granted(grant) => Some(grant.devices.clone()),
            GpuHold::Devices(names) => Some(names.clone()),
            GpuHold::First(_) | GpuHold::All => None,
        });
        grants.flatten().collect()
    }
}

impl Reconciler {
    /// Plans for one app, and gives it GPUs when nothing else is missing. What it is given is
    /// written down before anything is done (fault U16), and no two apps choose at the same time.
    /// None when GPUs were given since the world was looked at: what then ran on them for this app
    /// may have ended meanwhile, and they be somebody else's.
    pub(super) async fn decide(
        &self,
        app: &AppName,
        want: &Want,
        (world, asked): (&World, Instant),
        mut state: AppState,
    ) -> Option<(AppState, Plan)> {
        let wanted = as_app(want).and_then(|app| app.spec.gpus.as_ref());
        let facts = self.ledger.facts(app).unwrap_or_default();
        let has_some = facts.gpus.is_some() || facts.waits_for_gpus_since.is_some();
        let is_holder =
            || world.containers_of(app).iter().any(|container| container.gpus.is_some());
        if wanted.is_none() && !has_some && !is_holder() {
            let plan = self.plan_with(app, want, world, &state);
            return Some((state, plan));
        }
        let mut given = self.placing.lock().await;
        if given.is_some_and(|given| asked < given) {
            return None;
        }
        let inventory = self.cards.latest();
        let seen = self.see(world, &inventory);
        let known = wanted.zip(as_app(want));
        if let Some((ask, spec)) = known {
            state.gpus = keep(app, (spec, ask), &facts, &seen);
            self.equip(app, world, &mut state).await;
        }
        let mut plan = self.plan_with(app, want, world, &state);
        if let Some((ask, _)) = known.filter(|_| plan.needs_gpus) {
            self.queue_up(app);
            let answer = self.serve(app, ask, &seen);
            state.gpus = placement(app, answer, &state.gpus, &seen);
            self.equip(app, world, &mut state).await;
            plan = self.plan_with(app, want, world, &state);
        }
        if let Some(gone) = self.devices.way_gone(world, &plan).await {
            state.obstacles.insert(0, gone);
            plan = self.plan_with(app, want, world, &state);
        }
        if self.note_gpus(app, &state, &plan, &seen) {
            *given = Some(Instant::now());
        }
        Some((state, plan))
    }

    fn plan_with(&self, app: &AppName, want: &Want, world: &World, state: &AppState) -> Plan {
        let (policy, now) = (self.policy_now(), self.clock.now());
        plan(&Input { app, want, world, state, policy: &policy, now })
    }

    /// Who holds what: the containers say it by their labels, the ledger adds what was given and is
    /// in no container yet, and the leases.
    pub(super) fn see<'a>(&self, world: &'a World, inventory: &'a Inventory) -> Seen<'a> {
        let desired = self.desired.borrow().clone();
        let runs = |container: &&Container| container.state != ContainerState::Exited;
        let up = world.containers.iter().filter(runs).map(|c| c.id.clone()).collect();
        let mut holdings = Vec::new();
        for container in &world.containers {
            let Some(hold) = &container.gpus else { continue };
            if is_bystander(container, &self.policy.gpu_bystanders) {
                continue;
            }
            let (who, is_held) = match container.ownership.owner() {
                None => {
                    (Who::Container(container.name.clone()), is_kept(container, None, true, true))
                }
                Some(owner) => {
                    let facts = self.ledger.facts(&owner.app).unwrap_or_default();
                    let bad = facts.bad_revision.map(|bad| bad.spec_hash);
                    let is_bad = bad.as_ref() == Some(&owner.spec_hash);
                    // What stands still and waits keeps nothing from others who wait: two of them
                    // that were made for one card would wait for each other.
                    let waits = facts.waits_for_gpus_since.is_some();
                    let app = desired.app(&owner.app).filter(|_| !waits).map(AsRef::as_ref);
                    (Who::App(owner.app.clone()), is_kept(container, app, facts.is_paused, is_bad))
                }
            };
            if is_held {
                let is_obscure = *hold == GpuHold::All && container.ownership.owner().is_some();
                let (hold, container) = (hold.clone(), Some(container.id.clone()));
                holdings.push(Holding { who, hold, container, is_obscure });
            }
        }
        for name in self.ledger.apps() {
            let facts = self.ledger.facts(&name).unwrap_or_default();
            let Some(grant) = facts.gpus else { continue };
            let (who, hold) = (Who::App(name), GpuHold::Granted(grant));
            let there = holdings.iter().filter(|held| held.who == who && held.hold == hold).count();
            for _ in there..=usize::from(facts.has_gpus_twice) {
                let (who, hold) = (who.clone(), hold.clone());
                holdings.push(Holding { who, hold, container: None, is_obscure: false });
            }
        }
        for lease in self.ledger.leases() {
            let who = Who::Lease { id: lease.id, holder: lease.holder };
            let hold = GpuHold::Granted(lease.grant);
            holdings.push(Holding { who, hold, container: None, is_obscure: false });
        }
        Seen { world, inventory, holdings, up }
    }

    /// From now on it waits, unless it does already.
    fn queue_up(&self, app: &AppName) {
        let now = self.clock.now();
        self.ledger.update(app, |facts| {
            facts.waits_for_gpus_since.get_or_insert(now);
        });
    }

    /// The apps that wait, each since when and for what.
    pub(super) fn waiting(&self) -> Vec<(AppName, GpuAsk, Timestamp)> {
        let desired = self.desired.borrow().clone();
        let mut waiting = Vec::new();
        for name in self.ledger.apps() {
            let facts = self.ledger.facts(&name).unwrap_or_default();
            let Some(since) = facts.waits_for_gpus_since.filter(|_| !facts.is_paused) else {
                continue;
            };
            let spec = desired.app(&name).map(|app| &app.spec).filter(|spec| !spec.suspend);
            if let Some(ask) = spec.and_then(|spec| spec.gpus.clone()) {
                waiting.push((name, ask, since));
            }
        }
        waiting
    }

    /// What the app is told, with everybody who waits as well.
    fn serve(&self, app: &AppName, ask: &GpuAsk, seen: &Seen<'_>) -> Answer {
        let mut waiting = self.waiting();
        // It may be held at an earlier revision, and ask for something else than its manifest.
        waiting.retain(|(name, _, _)| name != app);
        let since = self.ledger.facts(app).and_then(|facts| facts.waits_for_gpus_since);
        waiting.push((app.clone(), ask.clone(), since.unwrap_or(self.clock.now())));
        let asking: Vec<_> = waiting
            .iter()
            .map(|(name, ask, since)| Asking { who: Who::App(name.clone()), ask, since: *since })
            .collect();
        let mine = Who::App(app.clone());
        let answers = place_gpus(&asking, &seen.fleet());
        let answer = answers.into_iter().find(|(who, _)| *who == mine);
        let unknown = || Answer::Unknown("its turn has not come".to_owned());
        answer.map_or_else(unknown, |(_, answer)| answer)
    }

    /// Writes down what the app has, and whether it waits. Who waits for what it does not have any
    /// more is looked at at once. Answers whether it was given what none of its containers shows.
    fn note_gpus(&self, app: &AppName, state: &AppState, plan: &Plan, seen: &Seen<'_>) -> bool {
        let problem = state.gpus.problem.as_ref().map(|problem| problem.reason);
        let is_done = plan.waits.iter().any(|wait| wait.reason == Reason::Exited);
        let reached = plan.wanted.is_some() && !is_done;
        // What still runs keeps its GPUs noted until it is seen to have ended: others may look with
        // older eyes.
        let gpus = state.gpus.grant.clone().filter(|_| reached);
        let shown = used(app, seen.world);
        let gpus = gpus.or_else(|| shown.clone());
        let is_new = gpus.is_some() && gpus != shown;
        let has_twice = gpus.as_ref().is_some_and(|grant| is_doubled(app, plan, grant, seen.world));
        let waits = problem == Some(Reason::WaitingForGpu);
        // Of whom nothing is known, and nothing need be, nothing is noted.
        let before = self.ledger.facts(app);
        let has_facts = before.is_some() || gpus.is_some() || waits;
        let is_new = is_new && before.and_then(|facts| facts.gpus) != gpus;
        let has_left = has_facts
            && self.ledger.update(app, |facts| {
                let waited = facts.waits_for_gpus_since.is_some();
                if !waits {
                    facts.waits_for_gpus_since = None;
                }
                let lost = facts.gpus.is_some() && facts.gpus != gpus;
                facts.gpus = gpus;
                facts.has_gpus_twice = has_twice;
                lost || (waited && !waits)
            });
        let has_less = self.memory.holds_less(app, seen.of(&Who::App(app.clone())));
        if has_left || has_less {
            self.wake_waiting(Some(app));
        }
        is_new
    }

    /// Has everybody looked at who gets no GPU at present.
    pub fn wake_waiting(&self, but: Option<&AppName>) {
        const WAITING: [Reason; 2] = [Reason::WaitingForGpu, Reason::NoSuchGpu];
        for entry in self.record.entries() {
            let waits = WAITING.iter().any(|reason| entry.plan.says(*reason).is_some());
            if waits && Some(&entry.name) != but {
                self.queue.ask(&entry.name, Duration::ZERO);
            }
        }
    }

    /// The app is gone, and with it what it held.
    pub(super) fn release_gpus(&self, app: &AppName) {
        if self.memory.holds_less(app, BTreeSet::new()) {
            self.wake_waiting(Some(app));
        }
    }
}

/// What the app has already: what its running containers have, else what it was given, else what
/// those that ran have. Only what runs is kept whatever became of the GPUs.
fn keep(
    app: &AppName,
    (spec, ask): (&App, &GpuAsk),
    facts: &Facts,
    seen: &Seen<'_>,
) -> GpuPlacement {
    let (fleet, who) = (seen.fleet(), Who::App(app.clone()));
    let mut mine = seen.world.containers_of(app);
    mine.reverse();
    let is_right = |grant: &&GpuGrant| is_what_it_asks(grant, ask, seen.inventory);
    let held = |container: &Container| -> Option<GpuGrant> {
        match &container.gpus {
            Some(GpuHold::Granted(grant)) => Some(grant).filter(is_right).cloned(),
            _ => None,
        }
    };
    // What runs, and what has done its work and stays as it is.
    let is_settled = |container: &&&Container| {
        let is_done = container.state == ContainerState::Exited
            && !is_kept(container, Some(spec), false, false);
        is_kept(container, None, true, false) || is_done
    };
    let settled = mine.iter().filter(is_settled).find_map(|container| held(container));
    let given = facts.gpus.iter().filter(is_right).cloned();
    let others = given.chain(mine.iter().filter_map(|container| held(container)));
    let free = |grant: &GpuGrant| hindered(grant, &who, &fleet).is_none();
    let grant = settled.or_else(|| others.into_iter().find(free));
    let copies = mine.iter().filter(|c| is_kept(c, None, true, false) && c.gpus.is_some()).count();
    let fits = |grant: &GpuGrant| 1 < copies || seen.fits_beside(grant, &who);
    let why = |container: &&Container| {
        let runs = is_kept(container, None, true, false);
        let Some(GpuHold::Granted(grant)) = container.gpus.as_ref().filter(|_| !runs) else {
            return None;
        };
        Some((container.id.clone(), hindered(grant, &who, &fleet)?))
    };
    GpuPlacement {
        fits_beside: grant.as_ref().is_some_and(fits),
        problem: None,
        hindered: mine.iter().filter_map(why).collect(),
        grant,
    }
}

/// What the newest running container of an app was given.
fn used(app: &AppName, world: &World) -> Option<GpuGrant> {
    let mine = world.containers_of(app);
    let mut running = mine.iter().rev().filter(|one| is_kept(one, None, true, false));
    running.find_map(|container| match &container.gpus {
        Some(GpuHold::Granted(grant)) => Some(grant.clone()),
        _ => None,
    })
}

/// An answer as the planner takes it.
fn placement(
    app: &AppName,
    answer: Answer,
    before: &GpuPlacement,
    seen: &Seen<'_>,
) -> GpuPlacement {
    let problem = |reason, message| Some(PlacementProblem { reason, message });
    let none = GpuPlacement { hindered: before.hindered.clone(), ..GpuPlacement::default() };
    match answer {
        Answer::Granted(grant) => {
            let mine = seen.world.containers_of(app);
            let holds = |id: &&String| {
                mine.iter().any(|container| match &container.gpus {
                    Some(GpuHold::Granted(theirs)) => theirs.devices.contains(id),
                    _ => false,
                })
            };
            // Of what it has it was found out that it fits once.
            let is_new = !grant.devices.iter().any(|id| holds(&id));
            GpuPlacement {
                fits_beside: is_new || seen.fits_beside(&grant, &Who::App(app.clone())),
                grant: Some(grant),
                ..none
            }
        }
        Answer::Never(message) => {
            GpuPlacement { problem: problem(Reason::NoSuchGpu, message), ..none }
        }
        Answer::Waits(message) | Answer::Unknown(message) => {
            GpuPlacement { problem: problem(Reason::WaitingForGpu, message), ..none }
        }
    }
}

/// Whether two containers of the app use the same GPUs once this plan is carried out.
fn is_doubled(app: &AppName, plan: &Plan, grant: &GpuGrant, world: &World) -> bool {
    let (mut stopped, mut starts) = (BTreeSet::new(), BTreeSet::new());
    for planned in &plan.steps {
        match &planned.step {
            Step::Call(Call::Stop { target, .. }) => stopped.extend(target.id.clone()),
            Step::Call(Call::Start(target)) => {
                starts.insert(target.id.clone());
            }
            _ => {}
        }
    }
    let uses = |container: &&&Container| {
        let shares = match &container.gpus {
            Some(GpuHold::Granted(theirs)) => {
                theirs.devices.iter().any(|id| grant.devices.contains(id))
            }
            _ => false,
        };
        let runs = is_kept(container, None, true, false) && !stopped.contains(&container.id);
        shares && runs && !starts.contains(&Some(container.id.clone()))
    };
    let goes_on = world.containers_of(app).iter().filter(uses).count();
    !starts.is_empty() && 0 < goes_on
}
