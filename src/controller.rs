//! The loop: events, ticks and commands become keys; keys become passes.

mod gpus;
mod models;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::engine::Hint;
use crate::execute::Finished;
use crate::intake::{Intake, Taken};
use crate::manifest::{Severity, Snapshot};
use crate::model::{AppName, Reason};
use crate::plan::Plan;
use crate::queue::Turn;
use crate::reconcile::Reconciler;
use crate::record::{Beat, Command, CommandEnvelope, CommandError, Event, Order, ledger::Facts};
use crate::source::Source;
use crate::state::Desired;

/// How many passes run at once. A pass mostly waits; the engine's calls have limits of their own.
const PASSES_AT_ONCE: usize = 256;
/// A hint about something that is not urgent is acted on after this pause, with others.
const HINT_PAUSE: Duration = Duration::from_millis(100);
/// News of containers that are not ours are gathered for so long.
const OTHERS_PAUSE: Duration = Duration::from_millis(500);
/// How long the engine may take until its lists show an end that it has told of.
const END_LIMIT: Duration = Duration::from_secs(3);
/// The pause before a broken event stream is opened again; it doubles up to the second figure while
/// streams break soon.
const EVENTS_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// How long a new reading of the manifests waits for what is on the engine.
const KNOWN_WAIT: Duration = Duration::from_millis(300);
/// How long passes may take to end when Berth stops.
const STOP_WAIT: Duration = Duration::from_secs(20);
/// Who has nothing to do says so often that it is there.
const BEAT_PAUSE: Duration = Duration::from_secs(10);
/// Figures of the queue are taken so often.
const GAUGE_PAUSE: Duration = Duration::from_secs(1);

type Answer = oneshot::Sender<Result<String, CommandError>>;

/// What the loop is made of.
pub struct Controller {
    reconciler: Arc<Reconciler>,
    intake: Arc<Mutex<Intake>>,
    desired: watch::Sender<Arc<Desired>>,
    resync: Duration,
    stop: CancellationToken,
    /// Whoever waits to look at what others have started.
    others: Arc<Semaphore>,
}

impl Controller {
    /// A controller that does not run yet.
    pub fn new(
        reconciler: Arc<Reconciler>,
        desired: watch::Sender<Arc<Desired>>,
        resync: Duration,
        stop: CancellationToken,
    ) -> Self {
        let others = Arc::new(Semaphore::new(1));
        Self { reconciler, intake: Arc::default(), desired, resync, stop, others }
    }

    /// Runs until it is told to stop. Apps go on running.
    pub async fn run(
        self,
        source: Box<dyn Source>,
        finished: mpsc::UnboundedReceiver<Finished>,
        commands: mpsc::Receiver<CommandEnvelope>,
    ) {
        let this = Arc::new(self);
        let (rescan, rescans) = mpsc::channel(1);
        let parts = TaskTracker::new();
        parts.spawn(Arc::clone(&this).watch_source(source, rescans));
        parts.spawn(Arc::clone(&this).watch_engine());
        parts.spawn(Arc::clone(&this).tick());
        parts.spawn(Arc::clone(&this).gauge());
        parts.spawn(Arc::clone(&this).end_leases());
        parts.spawn(Arc::clone(&this).watch_gpus());
        parts.spawn(Arc::clone(&this).watch_models());
        parts.spawn(Arc::clone(&this).take_finished(finished));
        parts.spawn(Arc::clone(&this).take_commands(commands, rescan));
        parts.close();
        let passes = this.dispatch().await;
        passes.close();
        let _ = tokio::time::timeout(STOP_WAIT, passes.wait()).await;
        let _ = tokio::time::timeout(STOP_WAIT, parts.wait()).await;
    }

    /// Takes keys as they become due, each into a task of its own.
    async fn dispatch(&self) -> TaskTracker {
        let passes = TaskTracker::new();
        let limit = Arc::new(Semaphore::new(PASSES_AT_ONCE));
        let mut beats = tokio::time::interval(BEAT_PAUSE);
        loop {
            let Ok(permit) = Arc::clone(&limit).acquire_owned().await else { return passes };
            self.reconciler.record.beat(Beat::Turn);
            let turn = tokio::select! {
                () = self.stop.cancelled() => return passes,
                _ = beats.tick() => continue,
                turn = self.reconciler.queue.next() => turn,
            };
            passes.spawn(run_pass(Arc::clone(&self.reconciler), turn, permit));
        }
    }

    /// Reads the manifests whenever they may have changed.
    async fn watch_source(
        self: Arc<Self>,
        mut source: Box<dyn Source>,
        mut rescans: mpsc::Receiver<()>,
    ) {
        let description = source.describe();
        self.reconciler.record.update_overview(|overview| overview.source = description);
        let mut last: Option<Arc<Snapshot>> = None;
        loop {
            let reading = source.snapshot().await.map_err(|error| error.to_string());
            let now = self.reconciler.clock.now();
            let error = match &reading {
                Ok(snapshot) => snapshot.trouble(),
                Err(error) => Some(error.clone()),
            };
            let parts = reading.as_ref().map_or_else(|_| Vec::new(), |read| read.parts.clone());
            self.reconciler.metrics.sources(&parts);
            self.reconciler.record.update_overview(|overview| {
                overview.sources = parts;
                if error.is_none() {
                    overview.source_read_at = Some(now);
                }
                overview.source_error = error;
            });
            let is_same = |new| last.as_ref().is_some_and(|last| Arc::ptr_eq(last, new));
            if !reading.as_ref().is_ok_and(is_same) {
                last = reading.as_ref().ok().cloned();
                self.take_in(reading).await;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = source.changed() => {}
                Some(()) = rescans.recv() => {}
            }
        }
    }

    /// Makes a reading known. Where the engine takes long to say what is there, what is desired is
    /// known before that, so that each status can say what it waits for.
    async fn take_in(&self, reading: Result<Arc<Snapshot>, String>) {
        let seen = Instant::now();
        let ledger = &self.reconciler.ledger;
        let mut known = std::pin::pin!(self.known(seen));
        let early = tokio::time::timeout(KNOWN_WAIT, known.as_mut()).await;
        {
            let mut intake = self.intake();
            let known = early.as_ref().ok().and_then(Option::as_ref);
            self.publish(intake.take(reading, known, ledger), seen);
        }
        if early.is_err()
            && let Some(known) = known.await
        {
            let mut intake = self.intake();
            self.publish(intake.fold(Some(&known), ledger), seen);
        }
    }

    fn intake(&self) -> std::sync::MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The apps that exist on the engine; none when it does not answer.
    async fn known(&self, seen: Instant) -> Option<BTreeSet<AppName>> {
        let world = self.reconciler.observer.fresh(seen).await;
        world.ok().map(|world| world.apps())
    }

    /// Makes known what is desired. The intake is held meanwhile, so that what was put together
    /// later is also made known later. Passes may rest on what the engine listed since `seen`.
    fn publish(&self, taken: Taken, seen: Instant) {
        let Taken { desired, changed, diagnostics } = taken;
        let before = self.reconciler.record.overview().hold;
        let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        self.reconciler.metrics.manifest_errors(errors);
        let hold = desired.hold.clone();
        self.reconciler
            .metrics
            .removals_held(matches!(hold, Some(crate::state::Hold::Brake { .. })));
        if let Some(hold) = hold.as_ref().filter(|hold| before.as_ref() != Some(*hold)) {
            let message = hold.message();
            if desired.revision.is_empty() {
                tracing::debug!(hold = message, "manifests not read yet");
            } else {
                tracing::warn!(hold = message, "removals held back");
                self.tell(Reason::RemovalHeld, message);
            }
        }
        self.reconciler.record.update_overview(|overview| {
            overview.hold = hold;
            overview.diagnostics = diagnostics;
        });
        self.desired.send_replace(desired);
        self.reconciler.note_named([]);
        for app in &changed {
            self.reconciler.queue.ask_since(app, seen);
        }
    }

    fn tell(&self, reason: Reason, message: String) {
        let at = self.reconciler.clock.now();
        let event = Event { id: 0, at, app: None, is_warning: true, reason, message };
        self.reconciler.record.tell(event);
    }

    /// Listens to the engine. Whatever it says, or leaves unsaid, only means: look.
    async fn watch_engine(self: Arc<Self>) {
        let mut pause = EVENTS_PAUSE.0;
        loop {
            let opened = Instant::now();
            let mut events = self.reconciler.engine.events();
            loop {
                let hint = tokio::select! {
                    () = self.stop.cancelled() => return,
                    hint = events.next() => hint,
                };
                let Some(Ok(hint)) = hint else { break };
                self.take_hint(&hint).await;
            }
            if EVENTS_PAUSE.1 < opened.elapsed() {
                pause = EVENTS_PAUSE.0;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(EVENTS_PAUSE.1);
        }
    }

    async fn take_hint(&self, hint: &Hint) {
        let queue = &self.reconciler.queue;
        match &hint.app {
            // What Berth does itself is looked at by whoever does it, when it is done.
            Some(_) if self.is_own_doing(hint) => {}
            Some(app) if hint.is_urgent => self.hurry(app, hint),
            Some(app) => queue.ask_with_others(app, HINT_PAUSE),
            None if hint.action == Hint::SUBSCRIBED => {
                self.reconciler.observer.doubt();
                self.ask_all().await;
            }
            // It may have had a GPU for which somebody waits.
            None if is_end(hint) => self.reconciler.wake_waiting(None),
            None => self.look_at_others(hint),
        }
    }

    /// Who follows the figures of all containers is shown a new one of somebody else's soon too.
    fn look_at_others(&self, hint: &Hint) {
        let is_new = matches!(hint.action.as_str(), "start" | "rename");
        let now = self.reconciler.clock.now();
        if !is_new || !self.reconciler.record.are_figures_asked(now) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.others).try_acquire_owned() else { return };
        let reconciler = Arc::clone(&self.reconciler);
        tokio::spawn(async move {
            tokio::time::sleep(OTHERS_PAUSE).await;
            drop(turn);
            let _ = reconciler.observer.fresh(Instant::now()).await;
        });
    }

    fn is_own_doing(&self, hint: &Hint) -> bool {
        let is_ending = |id| self.reconciler.executor.is_ending(id);
        is_end(hint) && hint.container.as_ref().is_some_and(is_ending)
    }

    /// Something of the app may be missing. The engine tells that a container has ended before its
    /// lists show it: for a tenth of a second or longer they say that it runs. An inspection is
    /// answered once that is over.
    fn hurry(&self, app: &AppName, hint: &Hint) {
        let (reconciler, app) = (Arc::clone(&self.reconciler), app.clone());
        reconciler.note_trouble(&app, hint.container.as_ref());
        let ended = hint.container.clone().filter(|_| hint.action == "die");
        let Some(id) = ended else { return reconciler.queue.ask(&app, Duration::ZERO) };
        tokio::spawn(async move {
            let _ = tokio::time::timeout(END_LIMIT, reconciler.engine.inspect(&id)).await;
            reconciler.queue.ask(&app, Duration::ZERO);
        });
    }

    /// Looks at everything every now and then, whatever was or was not heard.
    async fn tick(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.resync);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {
                    self.reconciler.record.beat(Beat::Look);
                    self.ask_all().await;
                    self.reconciler.record.beat(Beat::Look);
                }
            }
        }
    }

    async fn ask_all(&self) {
        let seen = Instant::now();
        let known = self.known(seen).await;
        self.reconciler.clear_leftovers(seen).await;
        if known.is_some() {
            let mut intake = self.intake();
            self.publish(intake.fold(known.as_ref(), &self.reconciler.ledger), seen);
            drop(intake);
            let now = self.reconciler.clock.now();
            self.reconciler.record.update_overview(|overview| overview.resynced_at = Some(now));
        }
        let desired = Arc::clone(&self.desired.borrow());
        let mut all = known.unwrap_or_default();
        all.extend(desired.apps.keys().cloned());
        all.extend(desired.removals.iter().cloned());
        // What was held back and is gone by now is named nowhere else.
        all.extend(self.reconciler.record.entries().iter().map(|entry| entry.name.clone()));
        for app in &all {
            self.reconciler.queue.ask_since(app, seen);
        }
    }

    async fn gauge(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(GAUGE_PAUSE);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.reconciler.mind_the_clock();
            self.reconciler.metrics.queue(&self.reconciler.queue.load());
            self.reconciler.record.moved();
        }
    }

    async fn take_finished(self: Arc<Self>, mut finished: mpsc::UnboundedReceiver<Finished>) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                done = finished.recv() => match done {
                    Some(done) => self.reconciler.finish(done),
                    None => return,
                },
            }
        }
    }

    async fn take_commands(
        self: Arc<Self>,
        mut commands: mpsc::Receiver<CommandEnvelope>,
        rescan: mpsc::Sender<()>,
    ) {
        loop {
            let (command, answer) = tokio::select! {
                () = self.stop.cancelled() => return,
                command = commands.recv() => match command {
                    Some(command) => command,
                    None => return,
                },
            };
            if let Command::Suppose(supposed, plans) = command {
                let reconciler = Arc::clone(&self.reconciler);
                tokio::spawn(async move {
                    let foreseen = reconciler.suppose(supposed).await;
                    let _ = answer.send(foreseen.map(|(told, found)| sent(found, plans, told)));
                });
                continue;
            }
            if let Command::Lease(order) = command {
                // It is on the disk before it is answered: nobody waits for that meanwhile.
                let reconciler = Arc::clone(&self.reconciler);
                tokio::spawn(async move {
                    let _ = answer.send(reconciler.lease(order).await);
                });
                continue;
            }
            if let Command::CollectGarbage { is_dry, rules } = command {
                // Large folders take their time.
                let reconciler = Arc::clone(&self.reconciler);
                tokio::spawn(async move {
                    let done = reconciler.collect_garbage(is_dry, rules).await;
                    let _ = answer.send(done.map_err(|error| of_engine(&error)));
                });
                continue;
            }
            let is_kept = command.is_kept();
            match self.obey(command, &rescan).await {
                // Others need not wait meanwhile.
                Ok(told) if is_kept => {
                    tokio::spawn(Arc::clone(&self).tell_kept(told, answer));
                }
                done => {
                    let _ = answer.send(done);
                }
            }
        }
    }

    /// Says that a command is obeyed once nobody can forget it any more.
    async fn tell_kept(self: Arc<Self>, done: String, answer: Answer) {
        let kept = self.reconciler.ledger.until_kept().await;
        let told = match kept {
            Ok(()) => Ok(done),
            Err(why) => Err(CommandError::NotKept { done, why }),
        };
        let _ = answer.send(told);
    }

    async fn obey(
        &self,
        command: Command,
        rescan: &mpsc::Sender<()>,
    ) -> Result<String, CommandError> {
        let (app, order) = match command {
            Command::Start(app) => (app, Order::Start),
            Command::Stop(app) => (app, Order::Stop),
            Command::Restart(app) => (app, Order::Restart),
            Command::Install(app) => (app, Order::Install),
            Command::Rebuild(app) => (app, Order::Rebuild),
            Command::Undo(app, revision) => (app, Order::Undo(revision)),
            Command::Reconcile(app) => (app, Order::Reconcile),
            Command::Pushed(apps) => return Ok(self.look_at_pushed(&apps)),
            Command::ListGpus => return Ok(self.reconciler.list_gpus()),
            Command::CollectImages { is_dry } => {
                let seen = self.reconciler.collect_images(is_dry).await;
                return seen.map_err(|error| of_engine(&error));
            }
            Command::CollectGarbage { is_dry, rules } => {
                let seen = self.reconciler.collect_garbage(is_dry, rules).await;
                return seen.map_err(|error| of_engine(&error));
            }
            Command::Lease(order) => return self.reconciler.lease(order).await,
            Command::Confirm => return self.confirm().await,
            Command::Rescan => {
                let _ = rescan.try_send(());
                return Ok("reading the manifests now".to_owned());
            }
            Command::Suppose(supposed, plans) => {
                let (told, found) = self.reconciler.suppose(supposed).await?;
                return Ok(sent(found, plans, told));
            }
        };
        let told = self.reconciler.order(&app, order).await?;
        self.reconciler.queue.ask(&app, Duration::ZERO);
        Ok(told)
    }

    /// Has repositories looked at. What a person asked for before stays asked for.
    fn look_at_pushed(&self, apps: &[AppName]) -> String {
        for app in apps {
            if self.reconciler.must_exist(app).is_err() {
                continue;
            }
            self.reconciler.ledger.update(app, Facts::look_at_pushed);
            self.reconciler.queue.ask(app, Duration::ZERO);
        }
        "looking at what was pushed".to_owned()
    }

    async fn confirm(&self) -> Result<String, CommandError> {
        // Which engine it is comes first: what is to be removed is only known once that is.
        if let Some(engine) = self.reconciler.observer.confirm() {
            self.ask_all().await;
            return Ok(format!("going on with the engine {engine}"));
        }
        let ledger = &self.reconciler.ledger;
        let apps = self.intake().confirm(ledger).ok_or(CommandError::NothingToConfirm)?;
        let seen = Instant::now();
        let known = self.known(seen).await;
        let mut intake = self.intake();
        self.publish(intake.fold(known.as_ref(), ledger), seen);
        drop(intake);
        let names: Vec<_> = apps.iter().map(AppName::as_str).collect();
        Ok(format!("removing {}", names.join(", ")))
    }
}

/// Sends plans to who waits for them; answers what is said beside them.
fn sent(found: Vec<Plan>, plans: oneshot::Sender<Vec<Plan>>, told: String) -> String {
    let _ = plans.send(found);
    told
}

fn is_end(hint: &Hint) -> bool {
    matches!(hint.action.as_str(), "kill" | "die" | "stop" | "destroy")
}

/// One pass in a task of its own: one that panics takes nobody with it (fault T04).
async fn run_pass(reconciler: Arc<Reconciler>, turn: Turn, permit: OwnedSemaphorePermit) {
    let (app, _under_way) = (turn.app.clone(), reconciler.record.begin_pass());
    let pass = {
        let reconciler = Arc::clone(&reconciler);
        tokio::spawn(async move { reconciler.pass(&turn).await })
    };
    let is_panicked = pass.await.is_err();
    reconciler.queue.done(&app);
    if is_panicked {
        tracing::error!(app = app.as_str(), "pass panicked");
        reconciler.queue.ask(&app, Duration::from_secs(60));
    }
    drop(permit);
}
fn of_engine(error: &crate::engine::Error) -> CommandError {
    CommandError::Engine { reason: error.reason(), message: error.to_string() }
}
