//! One pass for one app: look, plan, check, carry out, say how it stands.

mod cards;
mod devices;
mod effect;
mod failure;
mod finish;
mod gc;
mod gpus;
mod hold;
mod images;
mod leases;
mod memory;
mod models;
mod observer;
mod orders;
mod patience;
mod ports;
mod restart;
mod scans;
mod secrets;
mod strays;
mod supposed;
mod times;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{sync::watch, time::Instant};

use crate::clock::Clock;
use crate::engine::{Dormant, Engine};
use crate::execute::{Executor, Jobs, backoff};
use crate::gpu::Cards;
use crate::health::{Prober, Reach};
use crate::model::{App, AppName, ConditionStatus, ConditionType, Phase, Reason, SSH_PORT, Source};
use crate::plan::{
    Input, Outcome, Plan, Step, Verb, Work, check, grace_s, is_restarted, rebuilds, render, user_of,
};
use crate::queue::{Queue, Turn};
use crate::record::{Entry, Event, Record, ledger::Ledger};
use crate::scan;
use crate::secret::Book;
use crate::state::{
    AppState, BadRevision, Container, ContainerId, ContainerState, Desired, Detail, GpuDevices,
    GpuPlacement, HealthSeen, Policy, Request, Want, World,
};
use crate::status::{Status, Summary, blind, summarize};
use crate::telemetry::Metrics;
use crate::workspace::Workspace;
pub use devices::Devices;
pub use memory::Memory;
pub use observer::Observer;
pub use times::Times;

/// After a pass that changed something, the app is looked at again so soon.
const AFTER_CHANGE: Duration = Duration::from_millis(20);

/// All that a pass needs.
pub struct Reconciler {
    /// What runs containers.
    pub engine: Arc<dyn Engine>,
    /// What sees them.
    pub observer: Observer,
    /// What does the steps.
    pub executor: Executor,
    /// Long work.
    pub jobs: Arc<Jobs>,
    /// What checks health.
    pub prober: Arc<Prober>,
    /// What is desired.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// What is known between passes.
    pub ledger: Arc<Ledger>,
    /// Where it is written how things stand.
    pub record: Arc<Record>,
    /// Who is looked at next.
    pub queue: Arc<Queue>,
    /// The apps' folders.
    pub workspace: Arc<Workspace>,
    /// What the operator set.
    pub policy: Policy,
    /// The time.
    pub clock: Clock,
    /// The host's GPUs.
    pub cards: Arc<Cards>,
    /// What is remembered of times.
    pub times: Times,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Held while ports or GPUs are given: no two apps choose at the same time. When GPUs were last
    /// given that no container of who got them showed: what was seen before tells nothing of them.
    pub placing: tokio::sync::Mutex<Option<Instant>>,
    /// What is remembered of the last passes.
    pub memory: Memory,
    /// GPUs on their way into containers.
    pub devices: Arc<Devices>,
    /// The ports that stopped containers of others will want again.
    pub dormant: Dormant,
    /// What apps get of secrets.
    pub book: Arc<Book>,
    /// Whether this one only tries what would come of something, and leaves nothing behind.
    pub is_trial: bool,
    /// What is known of vulnerabilities in images; none without a database.
    pub scans: Option<Arc<scan::Book>>,
}

impl Reconciler {
    /// Looks at one app and does what is to be done.
    pub async fn pass(&self, turn: &Turn) {
        let start = Instant::now();
        self.mind_the_clock();
        let app = &turn.app;
        let changed = self.memory.changed(app);
        let not_before = changed.map_or(turn.since, |changed| changed.max(turn.since));
        let work = async {
            match self.observer.sight(not_before).await {
                Ok((asked, world)) => self.look(app, (&world, asked)).await,
                Err(error) => {
                    self.lose_sight(app, error.reason(), &error.to_string());
                    "unseen"
                }
            }
        };
        let outcome = self.saying_why_it_takes_long(app, work).await;
        let is_failed = matches!(outcome, "failed" | "unseen");
        let failures = self.memory.end(app, is_failed);
        if is_failed {
            self.queue.ask(app, backoff(failures));
        }
        self.metrics.reconciled(outcome, start.elapsed());
    }

    /// Something happened to this container of the app.
    pub fn note_trouble(&self, app: &AppName, container: Option<&ContainerId>) {
        self.memory.trouble(app);
        if self.prober.seen(app).keys().all(|watched| container.is_none_or(|id| id == watched)) {
            self.prober.forget(app);
        }
    }

    /// A pass with the engine in sight. Answers the outcome's word.
    async fn look(&self, app: &AppName, (world, asked): (&Arc<World>, Instant)) -> &'static str {
        let want = self.held(app, self.desired.borrow().want(app));
        let state = self.state(app, &want, world).await;
        let Some((state, plan)) = self.decide(app, &want, (world, asked), state).await else {
            self.queue.ask(app, Duration::ZERO);
            return "waiting";
        };
        let (policy, now) = (self.policy_now(), self.clock.now());
        let input = Input { app, want: &want, world, state: &state, policy: &policy, now };
        let problems = check(&input, &plan);
        if !problems.is_empty() {
            tracing::error!(app = app.as_str(), ?problems, plan = render(&plan), "plan refused");
            let message = format!("Berth refused its own plan: {}", problems.join("; "));
            self.lose_sight(app, Reason::EngineError, &message);
            return "failed";
        }
        if let Some(left) = self.observer.grace_left().filter(|_| !plan.is_empty()) {
            let message = "the engine came back just now; its containers get a moment to start";
            self.lose_sight(app, Reason::EngineUnreachable, message);
            self.queue.ask(app, left);
            return "waiting";
        }
        if is_over(&want, &plan) || self.is_nobody(app, &want, world) {
            self.forget(app);
            return "forgotten";
        }
        self.note_resolved(&input, &plan);
        self.note_version(&input, &plan);
        self.note_image(&input, &plan);
        self.watch_health(app, &want, &plan, world);
        self.watch_gpus(&input, &plan);
        let uid = as_app(&want).and_then(|app| user_of(&policy, app));
        self.give_up(&input, &plan);
        self.note_start(&plan);
        self.note_restart(&input, &plan).await;
        self.admit(&input, &plan);
        let mut outcome = self.executor.execute(&plan, uid).await;
        if !plan.steps.is_empty() {
            self.memory.change(app);
        }
        let again = self.expect_effect(&plan, &mut outcome);
        self.note_network(&input, &plan, &outcome);
        self.devices.note(&input, &plan, &outcome);
        self.tell_loss(&input, &plan);
        if let Some(failure) = &outcome.failure {
            self.settle_failure(&input, &plan, failure).await;
        }
        self.settle(&input, &plan, &outcome);
        self.keep_secrets(&input, &plan);
        self.write(&input, &plan, &outcome);
        self.ask_again(&input, &plan, &outcome, again);
        match (&outcome.failure, plan.is_empty()) {
            (Some(_), _) => "failed",
            (None, true) => "unchanged",
            (None, false) => "changed",
        }
    }

    /// Whether nothing at all is known of an app: no manifest, nothing on the engine, no notes. A
    /// hint may still name it, of something that has gone meanwhile.
    fn is_nobody(&self, app: &AppName, want: &Want, world: &World) -> bool {
        let has_image = || world.own_images.iter().any(|image| image.app == *app);
        matches!(want, Want::Held(_))
            && world.containers_of(app).is_empty()
            && world.proofs_of(app).next().is_none()
            && !has_image()
            && self.ledger.facts(app).is_none()
    }

    async fn state(&self, app: &AppName, want: &Want, world: &World) -> AppState {
        let facts = self.ledger.facts(app).unwrap_or_default();
        let health = self.prober.seen(app);
        let is_restart = facts.request == Some(Request::Restart);
        let details = match want {
            // Of what goes for good nothing else is asked.
            Want::Absent => BTreeMap::new(),
            want => self.details(app, want, world, (&health, is_restart)).await,
        };
        let source = as_app(want).filter(|app| app.spec.git().is_some());
        let checkout = source.and_then(|_| self.workspace.load(app));
        let rebuilds = source.zip(checkout.as_ref()).map_or(facts.rebuilds, |(app, checkout)| {
            rebuilds(app, checkout, world, facts.rebuilds, &self.policy_now())
        });
        // What was found out of is built.
        let rebuilt = if rebuilds == facts.rebuilds { facts.rebuilt } else { rebuilds };
        if rebuilds != facts.rebuilds {
            self.ledger.update(app, |facts| (facts.rebuilds, facts.rebuilt) = (rebuilds, rebuilt));
        }
        let last = (*want == Want::Absent).then(|| facts.last_app(app)).flatten();
        AppState {
            last_grace_s: last.as_deref().map(grace_s),
            is_network_lost: facts.is_network_lost,
            generation: facts.generation.max(1),
            checkout,
            checked_at: facts.checked_at,
            work: self.jobs.running(app),
            look: self.jobs.looking(app),
            placement: self.place(app, want, world, &facts).await,
            gpus: GpuPlacement::default(),
            devices: GpuDevices::default(),
            obstacles: self.obstacles(),
            scans: self.scanned(),
            secrets: self.secrets(app, want).await,
            models: self.models(want).await,
            request: self.still_asked(app, &facts, world, &details),
            asks: facts.asks,
            failures: facts.failures,
            health,
            begun: self.begun(app, world, &details),
            details,
            ready: self.ready(want),
            is_paused: facts.is_paused,
            bad_revision: facts.bad_revision,
            rebuilds,
            rebuilt,
            pulled_generation: facts.pulled_generation,
            pin: facts.pin,
            resolved: facts.resolved,
            past_commits: facts.revisions.iter().filter_map(|past| past.commit.clone()).collect(),
        }
    }

    /// Inspects the app's containers of which the list does not say enough.
    async fn details(
        &self,
        app: &AppName,
        want: &Want,
        world: &World,
        (health, is_restart): (&BTreeMap<ContainerId, HealthSeen>, bool),
    ) -> BTreeMap<ContainerId, Detail> {
        let mine = world.containers_of(app);
        let is_troubled = self.memory.is_troubled(app);
        // Which of several stays is decided by how long they run, to the millisecond.
        let is_alone = mine.len() == 1;
        let is_plain = |container: &&Container| {
            let is_steady = match health.get(&container.id) {
                Some(seen) => matches!(seen, HealthSeen::Healthy { .. }),
                None => is_alone && as_app(want).is_some_and(|app| app.spec.health.check.is_none()),
            };
            container.state == ContainerState::Running && is_steady && !is_troubled && !is_restart
        };
        let inspect = async |container: &Container| {
            let detail = self.engine.inspect(&container.id).await.ok().flatten();
            detail.map(|detail| (container.id.clone(), detail))
        };
        let asked = mine.into_iter().filter(|container| !is_plain(container)).map(inspect);
        join_all(asked).await.into_iter().flatten().collect()
    }

    fn ready(&self, want: &Want) -> BTreeSet<AppName> {
        let Some(app) = as_app(want) else { return BTreeSet::new() };
        let is_ready = |name: &&AppName| {
            self.record.entry(name).is_some_and(|entry| {
                let ready = entry.status.condition(ConditionType::Ready);
                ready.is_some_and(|ready| ready.status == ConditionStatus::True)
            })
        };
        app.spec.depends_on.iter().filter(is_ready).cloned().collect()
    }

    /// Has the wanted container checked, as long as it runs.
    fn watch_health(&self, app: &AppName, want: &Want, plan: &Plan, world: &World) {
        let spec = as_app(want);
        let mine = world.containers_of(app);
        let runs = |container: &&&Container| container.state == ContainerState::Running;
        let is_current = |container: &&&Container| Some(&container.id) == plan.current.as_ref();
        let container = mine.iter().find(|c| is_current(c) && runs(c));
        let container = container.or_else(|| mine.iter().rev().find(runs));
        let (Some(spec), Some(container)) = (spec, container) else {
            return self.prober.forget(app);
        };
        if spec.spec.health.check.is_none() {
            return self.prober.forget(app);
        }
        let address = container.networks.get(&self.policy.network).cloned().flatten();
        let published = container.ports.iter().map(|p| (p.container_port, p.host_port)).collect();
        let reach = Reach { address, published };
        self.prober.watch(app, &container.id, reach, &spec.spec.health);
    }

    /// Writes down that a version is given up. That comes before any step of going back: half-way
    /// there, the containers do not tell it.
    fn give_up(&self, input: &Input<'_>, plan: &Plan) {
        let Some((refusal, hash)) = plan.gives_up.as_ref().zip(plan.wanted.as_ref()) else {
            return;
        };
        let bad = BadRevision {
            spec_hash: hash.clone(),
            reason: refusal.reason,
            message: refusal.message.clone(),
            at: input.now,
        };
        self.ledger.update(input.app, |facts| facts.bad_revision = Some(bad));
        self.tell(input.app, true, Reason::RolledBack, refusal.message.clone());
    }

    /// Writes down what came of the pass: a version that can't be started, a request done.
    fn settle(&self, input: &Input<'_>, plan: &Plan, outcome: &Outcome) {
        let app = input.app;
        let is_failed = outcome.failure.is_some();
        let has_kept = 1 < input.containers().len();
        let request = input.state.request;
        let fetches =
            plan.steps.iter().any(|step| matches!(step.step, Step::Work(Work::Fetch { .. })));
        let is_done = match request {
            None => false,
            // Nothing is known of what is wanted: what was asked for is still to be done (T01).
            _ if matches!(input.want, Want::Held(_)) => false,
            Some(Request::Retry) => !is_failed,
            // What is written down of the run that it ended tells more than a start that failed.
            Some(Request::Restart) => {
                let has_ended = || self.ledger.facts(app).is_some_and(|f| f.restarting.is_some());
                is_restarted(plan, outcome) && !(is_failed && has_ended())
            }
            Some(Request::Install) => {
                [Reason::Paused, Reason::Suspended].iter().any(|rest| plan.says(*rest).is_some())
            }
            Some(Request::Fetch | Request::Take) => fetches || !is_git(input.want),
        };
        if let Some(done) = request.filter(|_| is_done) {
            self.ledger.update(app, |facts| {
                facts.answer(done, input.state.asks);
                if done == Request::Retry && !has_kept {
                    facts.bad_revision = None;
                }
            });
        }
    }

    /// Says at once that an app does not run which was said to: to start it again takes its time.
    fn admit(&self, input: &Input<'_>, plan: &Plan) {
        let runs = |container: &&Container| container.state == ContainerState::Running;
        let is_said_to_run = || self.record.entry(input.app).is_some_and(|e| is_ready(&e.status));
        if !plan.is_empty() && !input.containers().iter().any(runs) && is_said_to_run() {
            self.write(input, plan, &Outcome::default());
        }
    }

    fn write(&self, input: &Input<'_>, plan: &Plan, outcome: &Outcome) {
        let app = input.app;
        let before = self.record.entry(app);
        let previous = before.as_ref().map(|entry| &entry.status);
        let mut status = summarize(Summary { input: *input, plan, outcome, previous });
        let (past, rollout) = self.past(app, input.world);
        status.rollout = rollout;
        let is_new = previous
            .is_none_or(|before| (before.phase, before.reason) != (status.phase, status.reason));
        if is_new {
            // Why long work failed, or a version was given up, was told when it happened.
            if !self.record.has_told(app, status.reason, &status.message) {
                let is_warning = matches!(status.phase, Phase::Degraded | Phase::Failed);
                let message = format!("{}: {}", status.phase, status.message);
                self.tell(app, is_warning, status.reason, message);
            }
            self.note_metadata(input, &status);
        }
        let became_ready = is_ready(&status) && !previous.is_some_and(is_ready);
        self.record.write(Entry {
            name: app.clone(),
            app: self.desired.borrow().app(app).cloned(),
            generation: input.state.generation,
            status,
            plan: Arc::new(plan.clone()),
            past: Arc::new(past),
            revision: 0,
        });
        if became_ready {
            self.wake_dependents(app);
        }
    }

    fn note_metadata(&self, input: &Input<'_>, status: &Status) {
        // What is still on its way is not worth a write to the disk.
        if as_app(input.want).is_none() || status.phase == Phase::Installing {
            return;
        }
        let noted = self.workspace.update_metadata(input.app, |metadata| {
            metadata.image.clone_from(&status.image);
            let own = status.ports.iter().find(|port| port.container_port != SSH_PORT);
            metadata.port = own.map(|port| port.host_port);
            metadata.url.clone_from(&status.url);
            metadata.health = Some(status.reason.to_string());
            metadata.updated_at = Some(input.now);
        });
        if let Err(error) = noted {
            tracing::warn!(app = input.app.as_str(), %error, "metadata not written");
        }
    }

    fn wake_dependents(&self, app: &AppName) {
        let desired = Arc::clone(&self.desired.borrow());
        for name in desired.apps.keys() {
            if desired.app(name).is_some_and(|other| other.spec.depends_on.contains(app)) {
                self.queue.ask(name, Duration::ZERO);
            }
        }
    }

    fn tell(&self, app: &AppName, is_warning: bool, reason: Reason, message: String) {
        let app = Some(app.clone());
        self.record.tell(Event { id: 0, at: self.clock.now(), app, is_warning, reason, message });
    }

    fn ask_again(&self, input: &Input<'_>, plan: &Plan, outcome: &Outcome, again: Duration) {
        if outcome.failure.is_some() {
            return;
        }
        let has_called = plan.steps.iter().any(|step| matches!(step.step, Step::Call(_)));
        if has_called && plan.verb == Verb::Remove {
            self.queue.ask_with_others(input.app, again);
        } else if has_called {
            self.queue.ask(input.app, again);
        } else if let Some(at) = plan.next_look() {
            self.queue.ask(input.app, at.since(input.now).max(AFTER_CHANGE));
        }
    }

    fn lose_sight(&self, app: &AppName, reason: Reason, message: &str) {
        let before = self.record.entry(app);
        let previous = before.as_ref().map(|entry| &entry.status);
        let status = blind(previous, reason, message, self.clock.now());
        let desired = Arc::clone(&self.desired.borrow());
        self.record.write(Entry {
            name: app.clone(),
            app: desired.app(app).cloned(),
            generation: before.as_ref().map_or(1, |entry| entry.generation),
            status,
            past: before.as_ref().map_or_else(Arc::default, |entry| Arc::clone(&entry.past)),
            plan: before
                .map_or_else(|| Arc::new(Plan::empty(app.clone())), |e| Arc::clone(&e.plan)),
            revision: 0,
        });
    }

    fn forget(&self, app: &AppName) {
        self.prober.forget(app);
        self.devices.forget(app);
        self.book.keep(app, &BTreeMap::new());
        self.book.revoke(app);
        if let Some(scans) = &self.scans {
            scans.forget(app);
        }
        self.ledger.forget(app, self.clock.now() + self.policy.port_quarantine);
        if self.record.entry(app).is_some() {
            let message = "removed; its workspace and volumes are kept".to_owned();
            self.tell(app, false, Reason::Removing, message);
        }
        self.record.forget(app);
        self.metrics.forget_app(app);
        self.release_gpus(app);
        self.memory.forget(app);
    }
}

fn is_ready(status: &Status) -> bool {
    let ready = status.condition(ConditionType::Ready);
    ready.is_some_and(|ready| ready.status == ConditionStatus::True)
}

fn as_app(want: &Want) -> Option<&Arc<App>> {
    match want {
        Want::Present(app) | Want::Invalid { last_good: Some(app), .. } => Some(app),
        Want::Invalid { .. } | Want::Absent | Want::Held(_) => None,
    }
}

fn is_git(want: &Want) -> bool {
    as_app(want).is_some_and(|app| matches!(app.spec.source, Source::Git(_)))
}

/// Whether an app is gone and nothing of it is left.
fn is_over(want: &Want, plan: &Plan) -> bool {
    matches!(want, Want::Absent) && plan.is_empty() && plan.waits.is_empty()
}
