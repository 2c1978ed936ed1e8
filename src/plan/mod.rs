//! The decision: what to do about one app, as data with causes.
//!
//! [`plan`] is total and pure: the same input gives the same plan, and planning again once the
//! plan was carried out gives an empty one.

mod acquire;
mod again;
mod app;
mod brake;
mod cache;
mod check;
mod devices;
mod drift;
mod gc;
mod gpu_way;
mod gpus;
mod id;
mod images;
mod models;
mod outcome;
mod place;
mod ports;
mod preflight;
mod prune;
mod recipe;
mod render;
mod resolve;
mod rollout;
mod services;
mod shape;
mod step;
mod stray;
mod twin;

use std::{sync::Arc, time::Duration};

use crate::model::{AppName, Digest, Reason, RolloutOrder, SpecHash, Timestamp};
use crate::state::{AppState, Container, ContainerId, Policy, Resolved, Want, World};
pub use acquire::rebuilds;
pub use again::is_restarted;
pub use app::{is_up, plan};
pub use brake::{Folder, Removals, brake};
pub use cache::{BuildTime, spare_cache};
pub use check::check;
pub use devices::MENDS_AN_HOUR;
pub use gc::{GcPlan, GcRules, Left, LeftFacts, LeftKind, gc, render_gc};
pub use gpu_way::{GpuHost, gpu_route};
pub use gpus::{
    Answer, Asking, Fleet, Holding, Who, devices_of, fits_beside, hindered, is_bystander, is_kept,
    is_what_it_asks, place_gpus, words_of,
};
pub use id::{plan_id, plans_id};
pub use images::{Needed, Trace, Unneeded, remains, unneeded, unneeded_of};
pub use outcome::{Outcome, StepFailure};
pub use place::{Claims, place_ports};
pub use ports::{PortFacts, PortState, PortUse, port_uses};
pub use recipe::{cuda_of_driver, is_telling, read_facts};
pub use render::{render, render_step};
pub use shape::{container_spec, grace_s, user_of};
pub use step::{
    Call, ContainerSpec, Dockerfile, Look, PlannedStep, Recipe, Sealed, Shape, Step, Target, Work,
};
pub use stray::{ComposePlace, Stray, StrayKind, StrayScene, composed, strays};
pub use twin::Twin;

/// All that a plan for one app is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The app.
    pub app: &'a AppName,
    /// What is wanted of it.
    pub want: &'a Want,
    /// What the engine listed.
    pub world: &'a World,
    /// What else is known of the app.
    pub state: &'a AppState,
    /// What the operator set.
    pub policy: &'a Policy,
    /// The time.
    pub now: Timestamp,
}

impl<'a> Input<'a> {
    /// The app's containers, oldest first, without the one that Berth itself runs in (D23).
    pub fn containers(&self) -> Vec<&'a Container> {
        let own = self.policy.own_container.as_ref();
        let mut mine = self.world.containers_of(self.app);
        mine.retain(|container| Some(&container.id) != own);
        mine
    }

    /// When a container was started last, by our own clock; by the engine's, if that is not known;
    /// when it was made, if nobody looked.
    fn started_at(&self, container: &Container) -> Timestamp {
        if let Some(begun) = self.state.begun.get(&container.id) {
            return *begun;
        }
        let detail = self.state.details.get(&container.id);
        detail.and_then(|detail| detail.started_at).unwrap_or(container.created)
    }

    fn restart_count(&self, id: &ContainerId) -> u64 {
        self.state.details.get(id).map_or(0, |detail| detail.restart_count)
    }
}

/// What to do about one app now, and what is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The app.
    pub app: AppName,
    /// What the plan amounts to.
    pub verb: Verb,
    /// What has changed, when the verb is a replacement.
    pub changes: Vec<Change>,
    /// What is done now, in this order. A failed step ends the pass.
    pub steps: Vec<PlannedStep>,
    /// What follows once the steps are done: `build`, `create`, ….
    pub then: Vec<String>,
    /// What is waited for.
    pub waits: Vec<Wait>,
    /// What is not done, and why.
    pub refusals: Vec<Refusal>,
    /// The shape that is wanted, when it is known.
    pub wanted: Option<SpecHash>,
    /// The container that is wanted, when its image is there.
    pub container: Option<Arc<ContainerSpec>>,
    /// How that image was built, when Berth builds it.
    pub recipe: Option<Arc<Recipe>>,
    /// The version that is given up by this plan.
    pub gives_up: Option<Refusal>,
    /// The container that is the wanted one, when it exists.
    pub current: Option<ContainerId>,
    /// When to look again although nothing is waited for.
    pub look_again: Option<Timestamp>,
    /// Which version the plan is about, and how far it is; none when it is about none.
    pub version: Option<Version>,
    /// Why an earlier revision is wanted in place of what the manifest says.
    pub held: Option<String>,
    /// What else people should know.
    pub remarks: Vec<String>,
    /// Whether nothing is missing but GPUs: somebody must give them, and plan again.
    pub needs_gpus: bool,
    /// What the name of the app's image means, to be remembered.
    pub resolved: Option<Resolved>,
}

/// The version that is wanted, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its shape.
    pub spec_hash: SpecHash,
    /// Its image: a reference.
    pub image: String,
    /// The id of that image.
    pub image_id: String,
    /// What the image was built from.
    pub build: Option<Digest>,
    /// The commit.
    pub commit: Option<String>,
    /// Which of the two versions comes first, when this plan decided that.
    pub order: Option<RolloutOrder>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a version is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is on its way, or runs without having proved good.
    Going,
    /// It proved good.
    Good,
    /// It fails, and nothing takes its place.
    Failing(Refusal),
    /// It failed, and the version before takes its place.
    GivenUp(Refusal),
}

/// What a plan amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// All is as wanted.
    Nothing,
    /// The app comes to be.
    Create,
    /// A container takes the place of another.
    Replace,
    /// What is there is started.
    Start,
    /// What runs is stopped.
    Stop,
    /// What runs is stopped and started.
    Restart,
    /// The old version comes back.
    Restore,
    /// The app goes.
    Remove,
    /// Only the source is looked at.
    Refresh,
    /// Left-overs are removed.
    Tidy,
}

/// One field that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The field.
    pub field: String,
    /// What it was.
    pub from: String,
    /// What it becomes.
    pub to: String,
}

/// Something that is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Why, as a word.
    pub reason: Reason,
    /// Why, as a sentence.
    pub message: String,
    /// When to look again at the latest; none waits for a hint.
    pub until: Option<Timestamp>,
}

/// Something that is not done before somebody changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, as a word.
    pub reason: Reason,
    /// Why, as a sentence that says what to do.
    pub message: String,
}

impl Plan {
    /// A plan that does nothing.
    pub fn empty(app: AppName) -> Self {
        Self {
            app,
            verb: Verb::Nothing,
            changes: Vec::new(),
            steps: Vec::new(),
            then: Vec::new(),
            waits: Vec::new(),
            refusals: Vec::new(),
            wanted: None,
            container: None,
            recipe: None,
            gives_up: None,
            current: None,
            look_again: None,
            version: None,
            held: None,
            remarks: Vec::new(),
            needs_gpus: false,
            resolved: None,
        }
    }

    /// Whether nothing would be done now.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// When to look again at the latest.
    pub fn next_look(&self) -> Option<Timestamp> {
        self.waits.iter().filter_map(|wait| wait.until).chain(self.look_again).min()
    }

    /// The first wait or refusal with this reason.
    pub fn says(&self, reason: Reason) -> Option<&str> {
        let waits = self.waits.iter().map(|wait| (wait.reason, &wait.message));
        let refusals = self.refusals.iter().map(|refusal| (refusal.reason, &refusal.message));
        refusals.chain(waits).find(|(said, _)| *said == reason).map(|(_, message)| message.as_str())
    }

    fn stage(&mut self, stage: Stage) {
        if let Some(version) = &mut self.version {
            version.stage = stage;
        }
    }

    fn look_at(&mut self, at: Timestamp) {
        self.look_again = Some(self.look_again.map_or(at, |earlier| earlier.min(at)));
    }

    fn call(&mut self, cause: impl Into<String>, call: Call) {
        self.steps.push(PlannedStep { step: Step::Call(call), cause: cause.into() });
    }

    fn work(&mut self, cause: impl Into<String>, work: Work) {
        self.steps.push(PlannedStep { step: Step::Work(work), cause: cause.into() });
    }

    fn wait(&mut self, reason: Reason, message: impl Into<String>, until: Option<Timestamp>) {
        self.waits.push(Wait { reason, message: message.into(), until });
    }

    fn refuse(&mut self, reason: Reason, message: impl Into<String>) {
        self.refusals.push(Refusal { reason, message: message.into() });
    }
}

/// Wait times that the planner sets.
mod times {
    use super::Duration;

    /// After which time a container that is on its way is looked at again.
    pub(super) const SOON: Duration = Duration::from_secs(1);
    /// A container younger than this that already differs is not replaced again (fault D18).
    pub(super) const REPLACE_PAUSE: Duration = Duration::from_secs(60);
    /// An app without a health check counts as running once it has run so long.
    pub(super) const STEADY: Duration = Duration::from_secs(1);
    /// A container that was started again by itself so recently may end again: the engine's own
    /// pauses begin anew after ten seconds.
    pub(super) const RECENT: Duration = Duration::from_secs(10);
    /// How often the engine may start a container again before it counts as a crash loop.
    pub(super) const CRASH_LOOP_RESTARTS: u64 = 3;
}
