//! A pure engine for the planner: it applies plans to a world, one step at a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth::{
    manifest,
    model::{App, AppName, GpuAsk, GpuGiven, GpuGrant, GpuVendor, Timestamp, label},
    plan::{
        Call, Claims, ContainerSpec, Input, Outcome, Plan, Step, Work, check, place_ports, plan,
    },
    state::{
        AppState, BadRevision, Container, ContainerId, ContainerState, Detail, Failure, GpuHold,
        GpuPlacement, HealthSeen, OwnImage, Owner, Ownership, Policy, Request, Want, WorkKind,
        World, models_label,
    },
};

/// What the fake registry and builder can deliver, and how containers behave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nature {
    /// Images whose container never becomes healthy.
    pub(crate) sick: Vec<String>,
    /// Images that can't be pulled.
    pub(crate) missing: Vec<String>,
}

/// The memory of the only GPU.
const CARD: u64 = 24 << 30;

/// One app and its world.
#[derive(Clone, Debug)]
pub(crate) struct Sim {
    pub(crate) name: AppName,
    pub(crate) want: Want,
    pub(crate) world: World,
    pub(crate) state: AppState,
    pub(crate) policy: Policy,
    pub(crate) nature: Nature,
    pub(crate) now: Timestamp,
    pub(crate) journal: Vec<String>,
    next_id: u64,
}

/// The app that this manifest text describes.
pub(crate) fn app(text: &str) -> Arc<App> {
    let reading = manifest::read_file("test.yaml", text.as_bytes());
    let problems: Vec<_> = reading.diagnostics.iter().map(manifest::Diagnostic::summary).collect();
    assert_eq!(reading.apps.len(), 1, "{problems:?}\n{text}");
    reading.apps.into_iter().next().unwrap()
}

/// An image app with these lines in its spec.
pub(crate) fn image_app(name: &str, image: &str, rest: &str) -> Arc<App> {
    let mut text = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  image: {image}\n"
    );
    for line in rest.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    app(&text)
}

impl Sim {
    pub(crate) fn new(app: &Arc<App>) -> Self {
        Self {
            name: app.name.clone(),
            want: Want::Present(Arc::clone(app)),
            world: World::default(),
            state: AppState { generation: 1, ..AppState::default() },
            policy: Policy::default(),
            nature: Nature::default(),
            now: Timestamp::from_millis(1_800_000_000_000),
            journal: Vec::new(),
            next_id: 1,
        }
    }

    pub(crate) fn has_image(mut self, image: &str) -> Self {
        self.add_image(image);
        self
    }

    pub(crate) fn add_image(&mut self, image: &str) {
        self.world.images.insert(image.to_owned(), format!("sha256:{image}"));
    }

    pub(crate) fn input(&self) -> Input<'_> {
        Input {
            app: &self.name,
            want: &self.want,
            world: &self.world,
            state: &self.state,
            policy: &self.policy,
            now: self.now,
        }
    }

    /// Places ports as the reconciler would, then plans.
    pub(crate) fn plan(&mut self) -> Plan {
        if let Want::Present(app) = &self.want {
            let claims = self.claims();
            self.state.placement = place_ports(app, &claims, &self.policy);
            let gpus = app.spec.gpus.as_ref();
            self.state.gpus = gpus.map_or_else(GpuPlacement::default, |ask| self.give(ask));
        }
        let plan = plan(&self.input());
        let problems = check(&self.input(), &plan);
        assert!(problems.is_empty(), "{problems:?}\n{}", berth::plan::render(&plan));
        plan
    }

    fn claims(&self) -> Claims {
        let mut claims = Claims::default();
        for container in &self.world.containers {
            let is_own = container.ownership.app() == Some(&self.name);
            for port in &container.ports {
                let inside = (port.protocol, port.container_port);
                let outside = (port.protocol, port.host_port);
                if is_own {
                    claims.own.insert(inside, port.host_port);
                } else {
                    claims.taken.insert(outside, container.name.clone());
                }
            }
        }
        for binding in &self.state.placement.bindings {
            claims.own.insert((binding.protocol, binding.container_port), binding.host_port);
        }
        claims
    }

    /// One pass. Steps from `fail_at` on are not done.
    pub(crate) fn pass(&mut self, fail_at: Option<usize>) -> Plan {
        let plan = self.plan();
        let mut created = None;
        for (number, planned) in plan.steps.iter().enumerate() {
            if fail_at == Some(number) {
                return plan;
            }
            self.journal.push(berth::plan::render_step(&planned.step));
            match &planned.step {
                Step::Call(call) => self.call(call, &mut created),
                Step::Work(work) => self.work(work),
                Step::Cancel(_) => self.state.work = None,
            }
        }
        if let (Some(refusal), Some(hash)) = (&plan.gives_up, &plan.wanted) {
            self.state.bad_revision = Some(BadRevision {
                spec_hash: hash.clone(),
                reason: refusal.reason,
                message: refusal.message.clone(),
                at: self.now,
            });
        }
        let is_done = match self.state.request {
            Some(Request::Restart) => berth::plan::is_restarted(&plan, &Outcome::default()),
            _ => plan.steps.iter().all(|step| !matches!(step.step, Step::Work(_))),
        };
        if is_done {
            self.state.request = None;
        }
        plan
    }

    fn work(&mut self, work: &Work) {
        let kind = work.kind();
        let input = work.input();
        match work {
            Work::Pull { reference } if self.nature.missing.contains(&reference.to_string()) => {
                self.state.failures.insert(
                    WorkKind::Pull,
                    Failure {
                        input,
                        reason: berth::model::Reason::PullFailed,
                        message: "no such image".to_owned(),
                        at: self.now,
                        attempts: 1,
                        retry_at: Some(self.now + Duration::from_secs(3600)),
                    },
                );
            }
            Work::Pull { reference } => {
                let reference = reference.to_string();
                self.add_image(&reference);
                self.state.pulled_generation = Some(self.state.generation);
                self.state.failures.remove(&kind);
            }
            Work::Build(recipe) => {
                let (tag, id) = (recipe.tag(), format!("sha256:{}", recipe.digest()));
                self.world.images.insert(tag.clone(), id.clone());
                let image = OwnImage {
                    created: self.now,
                    id,
                    tags: vec![tag],
                    app: self.name.clone(),
                    size: 0,
                    base: recipe.base.clone(),
                    inputs: Some(recipe.inputs()),
                };
                self.world.own_images.push(image);
            }
            Work::Fetch { .. } => self.state.checked_at = Some(self.now),
        }
    }

    fn find(&mut self, id: Option<&ContainerId>) -> Option<&mut Container> {
        self.world.containers.iter_mut().find(|container| Some(&container.id) == id)
    }

    fn call(&mut self, call: &Call, created: &mut Option<ContainerId>) {
        let target = |target: &berth::plan::Target, created: &Option<ContainerId>| {
            target.id.clone().or_else(|| created.clone())
        };
        match call {
            Call::EnsureNetwork { .. } => {}
            Call::Create(spec) => {
                assert!(self.world.holder_of(&spec.name).is_none(), "{} exists", spec.name);
                assert!(self.world.images.contains_key(&spec.shape.image));
                let id = ContainerId::new(format!("{:064x}", self.next_id));
                self.next_id += 1;
                *created = Some(id.clone());
                self.make(id, spec);
            }
            Call::Start(to) => {
                let id = target(to, created);
                let now = self.now;
                self.check_ports(id.as_ref());
                self.check_gpus(id.as_ref());
                let container = self.find(id.as_ref()).expect("a container to start");
                container.state = ContainerState::Running;
                container.exit_code = None;
                let detail = Detail { started_at: Some(now), ..Detail::default() };
                let id = container.id.clone();
                self.state.health.remove(&id);
                self.state.details.insert(id, detail);
            }
            Call::Stop { target: to, .. } => {
                let id = target(to, created);
                let container = self.find(id.as_ref()).expect("a container to stop");
                container.state = ContainerState::Exited;
                container.exit_code = Some(137);
                let id = container.id.clone();
                self.state.health.remove(&id);
            }
            Call::Remove(to)
                if self.world.proofs.iter().any(|proof| Some(&proof.id) == to.id.as_ref()) =>
            {
                self.world.proofs.retain(|proof| Some(&proof.id) != to.id.as_ref());
            }
            Call::Remove(to) => {
                let id = target(to, created);
                let container = self.find(id.as_ref()).expect("a container to remove");
                assert!(container.state != ContainerState::Running, "removed while it runs");
                self.world.containers.retain(|container| Some(&container.id) != id.as_ref());
            }
            // Nothing is left of it.
            Call::Prove(spec) => assert!(spec.shape.gpus.is_some(), "there is nothing to prove"),
            Call::RemoveImage { id, tag } => {
                self.world.images.remove(tag);
                self.world.own_images.retain(|image| image.id != *id);
            }
        }
    }

    fn make(&mut self, id: ContainerId, spec: &ContainerSpec) {
        let fields = spec.fields.split(',').filter_map(|pair| pair.split_once('='));
        let owner = Owner {
            app: spec.app.clone(),
            generation: spec.generation,
            spec_hash: spec.spec_hash.clone(),
            build: spec.build.clone(),
            commit: spec.commit.clone(),
            fields: fields.map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
        };
        self.now = self.now + Duration::from_millis(10);
        self.note_way(&id, spec);
        self.world.containers.push(Container {
            id,
            name: spec.name.clone(),
            ownership: Ownership::Ours(owner),
            image: spec.shape.image.clone(),
            image_id: self.world.images[&spec.shape.image].clone(),
            state: ContainerState::Created,
            exit_code: None,
            ports: spec.shape.ports.clone(),
            networks: BTreeMap::from([(spec.shape.network.clone(), None)]),
            created: self.now,
            gpus: spec.shape.gpus.clone().map(GpuHold::Granted),
            labels: BTreeMap::from([(label::MODELS.to_owned(), models_label(&spec.shape.models))]),
        });
    }

    fn note_way(&mut self, id: &ContainerId, spec: &ContainerSpec) {
        if let Some(route) = spec.gpu_way.clone() {
            let given = GpuGiven { way: route.way, driver: route.driver };
            self.world.given.insert(id.clone(), given);
        }
    }

    /// The engine refuses a start whose host port another running container has.
    fn check_ports(&self, id: Option<&ContainerId>) {
        let ports = |container: &Container| container.ports.clone();
        let Some(new) = self.world.containers.iter().find(|c| Some(&c.id) == id) else { return };
        for other in &self.world.containers {
            let clashes = ports(other).iter().any(|a| {
                ports(new).iter().any(|b| (a.protocol, a.host_port) == (b.protocol, b.host_port))
            });
            let runs = other.state == ContainerState::Running && other.id != new.id;
            assert!(!(runs && clashes), "{} and {} on one port", other.name, new.name);
        }
    }

    /// The only GPU, for who asks for it.
    fn give(&self, ask: &GpuAsk) -> GpuPlacement {
        let grant = GpuGrant {
            vendor: GpuVendor::Nvidia,
            devices: vec!["GPU-a".to_owned()],
            share: ask.share,
            memory_bytes: ask.memory_bytes,
            capabilities: vec!["compute".to_owned(), "utility".to_owned()],
        };
        let runs = |container: &&Container| container.state == ContainerState::Running;
        let running: Vec<_> = self
            .world
            .containers
            .iter()
            .filter(runs)
            .filter_map(|container| match &container.gpus {
                Some(GpuHold::Granted(theirs)) => Some(theirs.clone()),
                _ => None,
            })
            .collect();
        let is_again = 1 < running.len() && running.contains(&grant);
        let promised: Option<u64> = running.iter().map(|theirs| theirs.memory_bytes).sum();
        let both = promised.zip(grant.memory_bytes).map(|(a, b)| a + b);
        let fits_beside = is_again || both.is_some_and(|both| both <= CARD);
        GpuPlacement { grant: Some(grant), fits_beside, ..GpuPlacement::default() }
    }

    /// At no moment do two containers run on one GPU, unless both promises fit.
    fn check_gpus(&self, id: Option<&ContainerId>) {
        let grant = |container: &Container| match &container.gpus {
            Some(GpuHold::Granted(grant)) => Some(grant.clone()),
            _ => None,
        };
        let new = self.world.containers.iter().find(|c| Some(&c.id) == id);
        let Some(ours) = new.and_then(grant) else { return };
        let others = self.world.containers.iter().filter(|c| Some(&c.id) != id);
        for other in others.filter(|c| c.state == ContainerState::Running) {
            let Some(theirs) = grant(other) else { continue };
            let both = ours.memory_bytes.zip(theirs.memory_bytes).map(|(a, b)| a + b);
            let fits = both.is_some_and(|both| both <= CARD);
            assert!(fits, "{} runs on the GPU already: {ours}, {theirs}", other.name);
        }
    }

    /// What time brings: running containers become healthy, or do not.
    pub(crate) fn let_time_pass(&mut self, by: Duration) {
        self.now = self.now + by;
        let running: Vec<_> = self
            .world
            .containers
            .iter()
            .filter(|c| c.state == ContainerState::Running)
            .map(|c| (c.id.clone(), c.image.clone()))
            .collect();
        for (id, image) in running {
            let since = self.now;
            let seen = if self.nature.sick.contains(&image) {
                HealthSeen::Starting { since, error: Some("connection refused".to_owned()) }
            } else {
                HealthSeen::Healthy { since }
            };
            let keep = matches!(
                (&seen, self.state.health.get(&id)),
                (HealthSeen::Healthy { .. }, Some(HealthSeen::Healthy { .. }))
            );
            if !keep {
                self.state.health.insert(id, seen);
            }
        }
    }

    /// Passes and time, until a plan is empty and waits for nothing that time brings. Answers how
    /// many passes it took.
    pub(crate) fn settle(&mut self) -> usize {
        for pass in 1..=30 {
            let plan = self.pass(None);
            if plan.steps.is_empty()
                && plan.next_look().is_none_or(|at| at > self.now + Duration::from_secs(70))
            {
                return pass;
            }
            self.let_time_pass(Duration::from_secs(1));
            if plan.steps.is_empty() {
                self.let_time_pass(Duration::from_secs(300));
            }
        }
        panic!("no rest after 30 passes:\n{}", self.journal.join("\n"));
    }

    pub(crate) fn edit(&mut self, app: &Arc<App>) {
        self.want = Want::Present(Arc::clone(app));
        self.state.generation += 1;
        self.state.failures.clear();
    }

    pub(crate) fn ask(&mut self, request: Request) {
        self.state.request = Some(request);
        if request == Request::Retry {
            self.state.bad_revision = None;
        }
    }

    /// The names and states of the app's containers.
    pub(crate) fn seen(&self) -> Vec<(String, ContainerState)> {
        let mine = self.world.containers_of(&self.name);
        mine.into_iter().map(|c| (c.image.clone(), c.state)).collect()
    }

    pub(crate) fn running(&self) -> Vec<&Container> {
        let mine = self.world.containers_of(&self.name);
        mine.into_iter().filter(|c| c.state == ContainerState::Running).collect()
    }
}
