//! GPUs in the model: what the reconciler asks the planner's placement of them.

use std::collections::BTreeSet;

use berth::{
    model::{App, GpuAsk, GpuGrant, GpuShare, GpuVendor, Timestamp},
    plan::{
        Answer, Asking, Fleet, Holding, Plan, Who, hindered, is_kept, is_what_it_asks, place_gpus,
    },
    state::{
        ContainerId, ContainerState, Gpu, GpuHold, GpuMemory, GpuPlacement, Inventory,
        PlacementProblem, World,
    },
};

use super::{
    Flaw,
    decide::{Planner, now},
    state::{APPS, State},
};

const NAMES: [&str; 2] = ["GPU-a", "GPU-b"];

/// A host with so many cards.
pub(crate) fn inventory(cards: u8) -> Inventory {
    let card = |index: u8| Gpu {
        uuid: NAMES[usize::from(index)].to_owned(),
        index: index.into(),
        name: "NVIDIA L4".to_owned(),
        memory: GpuMemory { total: 24 << 30, reserved: 0, used: 0 },
        ..Gpu::default()
    };
    let at = Some(now());
    Inventory { gpus: (0..cards).map(card).collect(), at, by: Some("nvml"), ..Inventory::default() }
}

/// A card for one alone.
pub(crate) fn grant(card: u8) -> GpuGrant {
    GpuGrant {
        vendor: GpuVendor::Nvidia,
        devices: vec![NAMES[usize::from(card)].to_owned()],
        share: GpuShare::Exclusive,
        memory_bytes: None,
        capabilities: vec!["compute".to_owned(), "utility".to_owned()],
    }
}

/// Which card that is.
pub(crate) fn card_of(grant: &GpuGrant) -> u8 {
    let [name] = grant.devices.as_slice() else { panic!("{grant:?} is not one card") };
    (0..).zip(NAMES).find(|(_, known)| known == name).unwrap().0
}

/// Who holds what, and what runs.
pub(crate) struct Held {
    holdings: Vec<Holding>,
    up: BTreeSet<ContainerId>,
}

impl Planner {
    fn who(&self, app: u8) -> Who {
        Who::App(self.names[usize::from(app)].clone())
    }

    fn fleet<'a>(&'a self, held: &'a Held) -> Fleet<'a> {
        Fleet { inventory: &self.inventory, holdings: &held.holdings, up: &held.up }
    }

    /// Who holds what, as one sees it who looks for an app: by the containers, and by the notes.
    fn held(&self, state: &State, for_app: Option<u8>, world: &World) -> Held {
        let mut holdings = Vec::new();
        let mut hold = |who: Who, grant: GpuGrant, container: Option<ContainerId>| {
            let hold = GpuHold::Granted(grant);
            holdings.push(Holding { who, hold, container, is_obscure: false });
        };
        for container in &world.containers {
            let Some(GpuHold::Granted(grant)) = &container.gpus else { continue };
            let (who, is_held) = match container.ownership.owner() {
                None => {
                    (Who::Container(container.name.clone()), is_kept(container, None, true, true))
                }
                Some(owner) => {
                    let app = (0..APPS).find(|app| self.who(*app) == Who::App(owner.app.clone()));
                    let memory = state.memories[usize::from(app.unwrap())];
                    let bad = memory.bad.map(|shape| &self.specs[&shape].spec_hash);
                    let is_bad = bad == Some(&owner.spec_hash);
                    let want = state.wants[usize::from(app.unwrap())];
                    let spec = want.filter(|_| memory.turn.is_none());
                    let app = spec.map(|spec| &*self.apps[&(app.unwrap(), spec)]);
                    (Who::App(owner.app.clone()), is_kept(container, app, false, is_bad))
                }
            };
            if is_held {
                hold(who, grant.clone(), Some(container.id.clone()));
            }
        }
        for (app, memory) in (0..).zip(state.memories) {
            memory.port.into_iter().for_each(|card| hold(self.who(app), grant(card), None));
        }
        if let Some((card, _)) = state.lease {
            let (id, holder) = ("gpu-1".to_owned(), "train.py".to_owned());
            hold(Who::Lease { id, holder }, grant(card), None);
        }
        if self.flaw == Some(Flaw::Ports) {
            let mine = for_app.map(|app| self.who(app));
            holdings.retain(|holding| mine.as_ref() == Some(&holding.who));
        }
        let runs = world.containers.iter().filter(|c| c.state != ContainerState::Exited);
        Held { up: runs.map(|container| container.id.clone()).collect(), holdings }
    }

    /// What an app has already.
    fn keep(
        &self,
        state: &State,
        (app, spec): (u8, &App),
        held: &Held,
        world: &World,
    ) -> GpuPlacement {
        let (fleet, who) = (self.fleet(held), self.who(app));
        let ask = spec.gpus_asked();
        let mut mine = world.containers_of(&self.names[usize::from(app)]);
        mine.reverse();
        let of = |hold: &Option<GpuHold>| match hold {
            Some(GpuHold::Granted(grant)) => Some(grant.clone()),
            _ => None,
        };
        let is_right = |grant: &GpuGrant| is_what_it_asks(grant, ask, &self.inventory);
        let runs = mine.iter().filter(|container| is_kept(container, None, true, false));
        let settled = runs.clone().filter_map(|container| of(&container.gpus)).find(is_right);
        let given = state.memories[usize::from(app)].port.map(grant);
        let others = given.into_iter().chain(mine.iter().filter_map(|c| of(&c.gpus)));
        let free = |grant: &GpuGrant| hindered(grant, &who, &fleet).is_none();
        let stopped = mine.iter().filter(|container| !is_kept(container, None, true, false));
        let why = |grant: GpuGrant| hindered(&grant, &who, &fleet);
        GpuPlacement {
            grant: settled.or_else(|| others.into_iter().find(|g| is_right(g) && free(g))),
            problem: None,
            fits_beside: 1 < runs.count(),
            hindered: stopped.filter_map(|c| Some((c.id.clone(), why(of(&c.gpus)?)?))).collect(),
        }
    }

    /// Those who wait, in turn, with one who asks now.
    fn asking<'a>(&'a self, state: &State, who: Who, ask: &'a GpuAsk) -> Vec<Asking<'a>> {
        let waiting = (0..APPS).filter_map(|app| {
            let at = usize::from(app);
            let turn = state.memories[at].turn.filter(|_| self.who(app) != who)?;
            let ask = self.apps[&(app, state.wants[at]?)].gpus_asked();
            let since = Timestamp::from_millis(now().as_millis() - 1_000 + i64::from(turn));
            Some(Asking { who: self.who(app), ask, since })
        });
        let mut all: Vec<_> = waiting.collect();
        let turn = (0..APPS).find(|app| self.who(*app) == who);
        let turn = turn.and_then(|app| state.memories[usize::from(app)].turn);
        let ago = turn.map_or(0, |turn| 1_000 - i64::from(turn));
        let since = Timestamp::from_millis(now().as_millis() - ago);
        all.push(Asking { who, ask, since });
        all
    }

    fn answer(&self, state: &State, who: &Who, ask: &GpuAsk, held: &Held) -> Answer {
        let answers = place_gpus(&self.asking(state, who.clone(), ask), &self.fleet(held));
        answers.into_iter().find(|(asked, _)| asked == who).unwrap().1
    }

    /// The card that a program outside gets that asks for one, looking at what is there.
    pub(crate) fn lend(&self, state: &State) -> Option<u8> {
        if !self.scene.is_of_cards() {
            return None;
        }
        let world = self.world(&state.things);
        let who = Who::Lease { id: String::new(), holder: "train.py".to_owned() };
        match self.answer(state, &who, &GpuAsk::whole(1), &self.held(state, None, &world)) {
            Answer::Granted(grant) => Some(card_of(&grant)),
            _ => None,
        }
    }

    /// Plans, and gives the app a card when nothing else is missing, as the reconciler does.
    pub(crate) fn plan_with_cards(
        &self,
        state: &State,
        (app, spec): (u8, &App),
        world: &World,
        plan: &mut dyn FnMut(GpuPlacement) -> Plan,
    ) -> (GpuPlacement, Plan) {
        let held = self.held(state, Some(app), world);
        let placement = self.keep(state, (app, spec), &held, world);
        let planned = plan(placement.clone());
        if !planned.needs_gpus {
            return (placement, planned);
        }
        let none = GpuPlacement { grant: None, problem: None, ..placement };
        let told = match self.answer(state, &self.who(app), spec.gpus_asked(), &held) {
            Answer::Granted(grant) => GpuPlacement { grant: Some(grant), ..none },
            Answer::Waits(message) | Answer::Never(message) | Answer::Unknown(message) => {
                let reason = berth::model::Reason::WaitingForGpu;
                GpuPlacement { problem: Some(PlacementProblem { reason, message }), ..none }
            }
        };
        (told.clone(), plan(told))
    }
}

trait Asks {
    fn gpus_asked(&self) -> &GpuAsk;
}

impl Asks for App {
    fn gpus_asked(&self) -> &GpuAsk {
        self.spec.gpus.as_ref().unwrap()
    }
}
