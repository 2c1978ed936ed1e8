//! The real planner, asked about a state of the model.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    model::{App, AppName, PortBinding, PortRange, Protocol, Reason, Timestamp},
    plan::{Call, Claims, ContainerSpec, Input, Plan, check, place_ports, plan},
    state::{
        AppState, BadRevision, Container, ContainerId, ContainerState, Detail, GpuHold,
        GpuPlacement, HealthSeen, Inventory, Owner, Ownership, Pin, Placement, Policy, Want, World,
    },
};

use super::{
    Flaw, cards,
    scene::Scene,
    state::{APPS, Life, Memory, PORTS, Probe, Shape, Spec, State, Step, Thing, code_of_input},
};
use crate::sim::image_app;

const FIRST_PORT: u16 = 8001;
const HOUR_MS: i64 = 3_600_000;

/// What a pass decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decision {
    pub(crate) steps: Vec<Step>,
    /// The port that the app is given; none leaves it as it was. The card that it is given.
    pub(crate) port: Option<u8>,
    /// Whether it waits for a card.
    pub(crate) waits: bool,
    /// Whether what was undone is not what is wanted any more.
    pub(crate) ends_undo: bool,
    pub(crate) gives_up: Option<Shape>,
    /// Whose health is checked from now on.
    pub(crate) watches: Option<Shape>,
    /// Whether nothing is left of an app that nobody wants.
    pub(crate) is_over: bool,
    /// What is wrong with the plan itself.
    pub(crate) wrong: Option<String>,
}

/// Asks the planner, and remembers what it answered.
pub(crate) struct Planner {
    pub(crate) flaw: Option<Flaw>,
    pub(crate) scene: Scene,
    pub(crate) names: Vec<AppName>,
    pub(crate) apps: BTreeMap<(u8, Spec), Arc<App>>,
    pub(crate) specs: BTreeMap<Shape, ContainerSpec>,
    pub(crate) inventory: Inventory,
    policy: Policy,
    answers: BTreeMap<Vec<u8>, Arc<Decision>>,
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000)
}

fn image(number: u8) -> String {
    format!("shop/app:{number}")
}

fn host_port(port: u8) -> u16 {
    FIRST_PORT + u16::from(port)
}

fn binding(port: u8) -> PortBinding {
    PortBinding {
        host_ip: Policy::default().publish.address().to_owned(),
        host_port: host_port(port),
        container_port: 5000,
        protocol: Protocol::Tcp,
    }
}

fn app(scene: &Scene, number: u8, spec: Spec) -> Arc<App> {
    let port = match spec.port {
        _ if scene.is_of_cards() => "gpus: 1".to_owned(),
        Some(port) => format!("ports: [{{containerPort: 5000, hostPort: {}}}]", host_port(port)),
        None => "port: 5000".to_owned(),
    };
    let last = if scene.must_last { "\nrollout: {minReady: 20s}" } else { "" };
    let health = format!("health: {{exec: [check], startPeriod: 30s}}{last}");
    image_app(
        ["chat", "web"][usize::from(number)],
        &image(spec.image),
        &format!("{port}\n{health}\n"),
    )
}

impl Planner {
    pub(crate) fn new(scene: Scene, flaw: Option<Flaw>) -> Self {
        let (first, last) = (FIRST_PORT, host_port(PORTS - 1));
        let policy = Policy { ports: PortRange { first, last }, ..Policy::default() };
        let mut planner = Self {
            flaw,
            scene,
            inventory: cards::inventory(scene.many),
            names: (0..APPS).map(|n| app(&scene, n, Spec::FIRST).name.clone()).collect(),
            apps: BTreeMap::new(),
            specs: BTreeMap::new(),
            policy,
            answers: BTreeMap::new(),
        };
        for number in 0..APPS {
            for image in 0..3 {
                for port in 0..scene.many {
                    let shape = Shape { app: number, image, port };
                    planner.specs.insert(shape, planner.spec_of(shape));
                }
                for port in [None, Some(0), Some(1)] {
                    let spec = Spec { image, port };
                    planner.apps.insert((number, spec), app(&scene, number, spec));
                }
            }
        }
        planner
    }

    /// The container that the planner makes for a shape: what it asks for when nothing is there.
    fn spec_of(&self, shape: Shape) -> ContainerSpec {
        let spec = Spec { image: shape.image, port: None };
        let want = Want::Present(app(&self.scene, shape.app, spec));
        let mut state = AppState { generation: 1, ..AppState::default() };
        if self.scene.is_of_cards() {
            state.gpus.grant = Some(cards::grant(shape.port));
        } else {
            state.placement = Placement { bindings: vec![binding(shape.port)], problem: None };
        }
        let plan = plan(&Input {
            app: &self.names[usize::from(shape.app)],
            want: &want,
            world: &self.world(&[]),
            state: &state,
            policy: &self.policy,
            now: now(),
        });
        let mut created = plan.steps.iter().filter_map(|planned| match &planned.step {
            berth::plan::Step::Call(Call::Create(spec)) => Some(ContainerSpec::clone(spec)),
            _ => None,
        });
        created.next().unwrap()
    }

    /// What the engine lists.
    pub(crate) fn world(&self, things: &[Thing]) -> World {
        let mut world = World::default();
        for image in 0..3 {
            world.images.insert(self::image(image), format!("sha256:{image}"));
        }
        let age = (0..).map(|n| now() + Duration::from_secs(n));
        world.containers = things.iter().zip(age).map(|(t, at)| self.container(*t, at)).collect();
        world
    }

    fn container(&self, thing: Thing, created: Timestamp) -> Container {
        let spec = &self.specs[&thing.shape];
        let fields = spec.fields.split(',').filter_map(|pair| pair.split_once('='));
        let owner = Owner {
            app: spec.app.clone(),
            generation: 1,
            spec_hash: spec.spec_hash.clone(),
            build: None,
            commit: None,
            fields: fields.map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
        };
        let is_ours = thing.is_ours || self.flaw == Some(Flaw::Ownership);
        let has_port = thing.has_port && (thing.is_ours || thing.life == Life::Up);
        let bindings = if has_port { spec.shape.ports.clone() } else { Vec::new() };
        Container {
            id: id(thing),
            name: if thing.has_name { spec.name.clone() } else { format!("old-{}", spec.name) },
            ownership: if is_ours { Ownership::Ours(owner) } else { Ownership::Foreign },
            image: spec.shape.image.clone(),
            image_id: format!("sha256:{}", thing.shape.image),
            state: match thing.life {
                Life::Made => ContainerState::Created,
                Life::Up => ContainerState::Running,
                Life::Down => ContainerState::Exited,
            },
            exit_code: (thing.life == Life::Down).then_some(137),
            ports: bindings,
            networks: BTreeMap::from([(self.policy.network.clone(), None)]),
            created,
            gpus: spec.shape.gpus.clone().filter(|_| has_port).map(GpuHold::Granted),
            labels: BTreeMap::new(),
        }
    }

    /// What a pass that has seen these things decides.
    pub(crate) fn decide(&mut self, state: &State, number: u8, seen: &[Thing]) -> Arc<Decision> {
        let code = code_of_input(state, number, seen);
        if let Some(known) = self.answers.get(&code) {
            return Arc::clone(known);
        }
        let decision = Arc::new(self.ask(state, number, seen));
        self.answers.insert(code, Arc::clone(&decision));
        decision
    }

    fn ask(&self, state: &State, number: u8, seen: &[Thing]) -> Decision {
        let world = self.world(seen);
        let name = &self.names[usize::from(number)];
        let memory = state.memories[usize::from(number)];
        let (want, pin) = self.want(state, number);
        let ends_undo = memory.undone.is_some() && pin.is_none();
        let placement = match &want {
            Want::Present(app) if !self.scene.is_of_cards() => {
                place_ports(app, &self.claims(state, number, seen), &self.policy)
            }
            _ => Placement::default(),
        };
        let mut known = AppState { generation: 1, placement, pin, ..AppState::default() };
        known.bad_revision = memory.bad.map(|shape| BadRevision {
            spec_hash: self.specs[&shape].spec_hash.clone(),
            reason: Reason::ProbeDeadline,
            message: "it failed".to_owned(),
            at: now(),
        });
        if let Some((shape, probe)) = memory.watched
            && let Some(thing) = seen.iter().find(|thing| thing.shape == shape && thing.is_ours)
        {
            look_at(*thing, (probe, self.flaw, self.scene.must_last), &mut known);
        }
        let (known, plan) = self.plan(state, number, (&want, &world), known);
        let input = Input {
            app: name,
            want: &want,
            world: &world,
            state: &known,
            policy: &self.policy,
            now: now(),
        };
        let mut wrong = check(&input, &plan);
        let binding = known.placement.bindings.first();
        let port = binding.map(|b| u8::try_from(b.host_port - FIRST_PORT).unwrap());
        // What is given is written down once it is known what is made with it.
        let grant = known.gpus.grant.as_ref().filter(|_| plan.wanted.is_some());
        let mut decision = Decision {
            port: port.or(grant.map(cards::card_of)),
            waits: known.gpus.problem.is_some(),
            ends_undo,
            watches: watched(seen, number, &world, plan.current.as_ref()),
            is_over: want == Want::Absent && plan.is_empty() && plan.waits.is_empty(),
            ..Decision::default()
        };
        for planned in &plan.steps {
            let berth::plan::Step::Call(call) = &planned.step else { continue };
            wrong.extend(seizure(call, seen));
            decision.steps.extend(self.step(call));
        }
        if plan.gives_up.is_some() {
            decision.gives_up = plan
                .wanted
                .as_ref()
                .and_then(|hash| {
                    self.specs.iter().find(|(_, spec)| spec.spec_hash == *hash && spec.app == *name)
                })
                .map(|(shape, _)| *shape);
        }
        self.spoil(memory.watched, &mut decision);
        let is_gone = want == Want::Absent;
        let proven = memory.watched.filter(|(_, probe)| *probe == self.scene.good());
        wrong.extend(judge(&decision, number, seen, proven, is_gone));
        decision.wrong = wrong.into_iter().next();
        decision
    }

    /// What is wanted of an app, and the hold at its first version, for as long as that lasts.
    fn want(&self, state: &State, number: u8) -> (Want, Option<Arc<Pin>>) {
        let at = usize::from(number);
        let Some(spec) = state.wants[at] else { return (Want::Absent, None) };
        let manifest = &self.apps[&(number, spec)];
        let undone = state.memories[at].undone;
        let is_held = undone == Some(spec) || undone.is_some() && self.flaw == Some(Flaw::Undo);
        if !is_held {
            return (Want::Present(Arc::clone(manifest)), None);
        }
        let run = self.apps[&(number, Spec::FIRST)].spec.run_spec();
        let held = App { spec: manifest.spec.with_run(&run), ..App::clone(manifest) };
        let pin = Pin {
            revision: 1,
            image: image(Spec::FIRST.image),
            image_id: format!("sha256:{}", Spec::FIRST.image),
            build: None,
            commit: None,
            run: Some(run),
            undone_spec: String::new(),
            undone_commit: None,
            since: now(),
        };
        (Want::Present(Arc::new(held)), Some(Arc::new(pin)))
    }

    /// What is planned, with the cards that the app has or gets.
    fn plan(
        &self,
        state: &State,
        number: u8,
        (want, world): (&Want, &World),
        mut known: AppState,
    ) -> (AppState, Plan) {
        let (app, policy, now) = (&self.names[usize::from(number)], &self.policy, now());
        let planned = |state: &AppState| plan(&Input { app, want, world, state, policy, now });
        let Want::Present(spec) = want else { return (known.clone(), planned(&known)) };
        if !self.scene.is_of_cards() {
            return (known.clone(), planned(&known));
        }
        let mut with = |gpus: GpuPlacement| {
            known.gpus = gpus;
            planned(&known)
        };
        let (gpus, plan) = self.plan_with_cards(state, (number, &**spec), world, &mut with);
        known.gpus = gpus;
        (known, plan)
    }

    /// As the reconciler puts them together.
    fn claims(&self, state: &State, number: u8, seen: &[Thing]) -> Claims {
        let mut claims = Claims::default();
        let tcp = |port: u8| (Protocol::Tcp, host_port(port));
        let memory = &state.memories[usize::from(number)];
        let others = (0..APPS).filter(|other| *other != number);
        let is_own = |thing: &Thing| thing.is_ours && thing.shape.app == number;
        let own = seen.iter().filter(|thing| is_own(thing)).map(|thing| thing.shape.port);
        for port in own.chain(memory.port) {
            claims.own.insert((Protocol::Tcp, 5000), host_port(port));
        }
        for (port, rests) in (0..).zip(state.resting) {
            if rests {
                claims.taken.insert(tcp(port), "nobody".to_owned());
            }
        }
        if self.flaw == Some(Flaw::Ports) {
            return claims;
        }
        for other in others {
            let Memory { port, held, .. } = state.memories[usize::from(other)];
            let held = (0..PORTS).filter(|port| held[usize::from(*port)]);
            for port in held.chain(port) {
                claims.taken.insert(tcp(port), "another app".to_owned());
            }
            let fixed = state.wants[usize::from(other)].and_then(|spec| spec.port);
            let mine = claims.own.values().copied().collect::<Vec<_>>();
            if let Some(port) =
                fixed.filter(|port| other < number && !mine.contains(&host_port(*port)))
            {
                claims.taken.entry(tcp(port)).or_insert_with(|| "an elder".to_owned());
            }
        }
        for thing in seen.iter().filter(|thing| !is_own(thing) && thing.has_port) {
            let is_bound = |own: &Thing| {
                is_own(own) && own.life == Life::Up && own.shape.port == thing.shape.port
            };
            let is_firm = thing.is_ours && !seen.iter().any(is_bound);
            if is_firm || thing.life == Life::Up {
                claims.taken.insert(tcp(thing.shape.port), "another container".to_owned());
            }
        }
        claims
    }

    fn step(&self, call: &Call) -> Option<Step> {
        let shape = |id: &Option<ContainerId>, name: &str| {
            let is_it = |(shape, spec): &(&Shape, &ContainerSpec)| match id {
                Some(id) => id.as_str().starts_with(&prefix(**shape)),
                None => spec.name == name,
            };
            self.specs.iter().find(is_it).map(|(shape, _)| *shape)
        };
        match call {
            Call::EnsureNetwork { .. } | Call::Prove(_) | Call::RemoveImage { .. } => None,
            Call::Create(spec) => Some(Step::Create(shape(&None, &spec.name).unwrap())),
            Call::Start(target) => shape(&target.id, &target.name).map(Step::Start),
            Call::Stop { target, .. } => shape(&target.id, &target.name).map(Step::Stop),
            Call::Remove(target) => shape(&target.id, &target.name).map(Step::Remove),
        }
    }

    /// What a broken planner would say.
    fn spoil(&self, watched: Option<(Shape, Probe)>, decision: &mut Decision) {
        let stopped: Vec<_> = decision
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Stop(shape) => Some(Step::Remove(*shape)),
                _ => None,
            })
            .collect();
        match (self.flaw, watched) {
            (Some(Flaw::Restless), Some((shape, Probe::Healthy | Probe::Proven)))
                if decision.steps.is_empty() =>
            {
                decision.steps = vec![Step::Stop(shape), Step::Start(shape)];
            }
            (Some(Flaw::Haste), _)
                if decision.steps.iter().any(|s| matches!(s, Step::Start(_))) =>
            {
                decision.steps.extend(stopped);
            }
            _ => {}
        }
    }
}

fn prefix(shape: Shape) -> String {
    format!("{}{}{}", shape.app, shape.image, shape.port)
}

fn id(thing: Thing) -> ContainerId {
    // One that was renamed is not the one that was made in its place.
    let digit = match thing {
        Thing { is_ours: true, .. } => "a",
        Thing { is_replaced: true, .. } => "c",
        Thing { .. } => "b",
    };
    ContainerId::new(format!("{}{digit:0<61}", prefix(thing.shape)))
}

/// What is known of the health of a container.
fn look_at(
    thing: Thing,
    (probe, flaw, must_last): (Probe, Option<Flaw>, bool),
    known: &mut AppState,
) {
    let error = "connection refused".to_owned();
    let long_ago = Timestamp::from_millis(now().as_millis() - HOUR_MS);
    let (started, seen) = match probe {
        Probe::Fresh => (now(), None),
        Probe::Healthy if flaw == Some(Flaw::MinReady) => {
            (now(), Some(HealthSeen::Healthy { since: long_ago }))
        }
        Probe::Healthy => (now(), Some(HealthSeen::Healthy { since: now() })),
        Probe::Proven => (long_ago, Some(HealthSeen::Healthy { since: long_ago })),
        Probe::Failed if must_last => (now(), Some(HealthSeen::Unhealthy { since: now(), error })),
        Probe::Failed => {
            (long_ago, Some(HealthSeen::Starting { since: long_ago, error: Some(error) }))
        }
    };
    known.health.extend(seen.map(|seen| (id(thing), seen)));
    known.details.insert(id(thing), Detail { started_at: Some(started), ..Detail::default() });
}

/// As the reconciler chooses: the wanted one while it runs, else the newest that does.
fn watched(seen: &[Thing], app: u8, world: &World, current: Option<&ContainerId>) -> Option<Shape> {
    let mine = seen.iter().zip(&world.containers).filter(|(thing, container)| {
        container.ownership.app().is_some() && thing.shape.app == app && thing.life == Life::Up
    });
    let mut running: Vec<_> = mine.collect();
    if let Some((thing, _)) = running.iter().find(|(_, c)| Some(&c.id) == current) {
        return Some(thing.shape);
    }
    running.pop().map(|(thing, _)| thing.shape)
}

/// Whether a call is about a container that is not ours.
fn seizure(call: &Call, seen: &[Thing]) -> Option<String> {
    let (Call::Start(target) | Call::Stop { target, .. } | Call::Remove(target)) = call else {
        return None;
    };
    let is_it = |thing: &&Thing| !thing.is_ours && target.id.as_ref() == Some(&id(**thing));
    let thing = seen.iter().find(is_it)?;
    Some(format!("{call:?} is about {thing:?}, which is not ours"))
}

/// What no plan may ask for, beside what the planner's own linter knows.
fn judge(
    decision: &Decision,
    app: u8,
    seen: &[Thing],
    proven: Option<(Shape, Probe)>,
    is_gone: bool,
) -> Option<String> {
    for step in &decision.steps {
        let shape = step.shape();
        if shape.app != app {
            return Some(format!("{step:?} is about another app's container"));
        }
        let is_proven = |(good, _): (Shape, Probe)| {
            good != shape && seen.iter().any(|t| t.shape == good && t.life == Life::Up && t.is_ours)
        };
        let is_removal = matches!(step, Step::Remove(_));
        if is_removal && !is_gone && !proven.is_some_and(is_proven) {
            return Some(format!("{step:?} while no newer one is proven good"));
        }
    }
    None
}
