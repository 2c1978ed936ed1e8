//! The plan for one app: from what is wanted of it to steps, waits and refusals.

use std::sync::Arc;

use super::{
    Call, ContainerSpec, Input, Plan, PlannedStep, Stage, Step, Target, Verb, Version,
    acquire::{self, Acquired},
    again, devices, models, prune, rollout, services, shape,
    shape::Image,
    times,
};
use crate::model::{App, AppName, PortBinding, Reason};
use crate::state::{Container, ContainerState, Hold, Request, Want};

/// Decides what to do about one app.
///
/// Total and pure. It asks for nothing that is not this app's, and for no removal unless the app
/// is positively gone or a newer container of it is proven good.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::empty(input.app.clone());
    match input.want {
        Want::Present(app) => plan_app(input, app, &mut plan),
        Want::Invalid { last_good: Some(app), problem } => {
            plan_app(input, app, &mut plan);
            plan.refuse(Reason::InvalidManifest, problem.clone());
        }
        Want::Invalid { last_good: None, problem } => {
            plan.refuse(Reason::InvalidManifest, problem.clone());
        }
        Want::Absent => prune::remove(input, &mut plan),
        Want::Held(hold) => {
            let reason = match hold {
                Hold::Unreadable(_) => Reason::SourceUnreadable,
                Hold::Brake { .. } => Reason::RemovalHeld,
            };
            plan.wait(reason, hold.message(), None);
        }
    }
    if !matches!(input.want, Want::Held(_)) {
        devices::clear_proofs(input, &mut plan);
    }
    again::remark(input, &mut plan);
    plan
}

fn plan_app(input: &Input<'_>, app: &App, plan: &mut Plan) {
    if app.spec.suspend || input.state.is_paused {
        return pause(input, app, plan);
    }
    plan.held = input.state.pin.as_ref().map(|pin| pin.message());
    if let Some(refusal) = shape::forbidden(input, app) {
        plan.refusals.push(refusal);
        return keep_alive(input, plan);
    }
    let image = match acquire::image(input, app, plan) {
        Acquired::Ready(image) => image,
        Acquired::NotYet => return keep_alive(input, plan),
    };
    if let Some(refusal) = services::unfit(input, app, &image) {
        plan.refusals.push(refusal);
        return keep_alive(input, plan);
    }
    if let Some(problem) = &input.state.placement.problem {
        plan.refuse(problem.reason, problem.message.clone());
        plan.look_at(input.now + times::SOON * 5);
        return keep_alive(input, plan);
    }
    if let Some(refusal) = shape::missing_secret(input, app) {
        plan.refusals.push(refusal);
        plan.look_at(input.now + times::SOON * 5);
        return keep_alive(input, plan);
    }
    if let Some(wait) = models::missing(input, app) {
        plan.waits.push(wait);
        return keep_alive(input, plan);
    }
    let is_running = input.containers().iter().any(|container| is_up(container));
    let missing = missing(input, app);
    let must_wait = !missing.is_empty() && !is_running;
    if app.spec.gpus.is_some() && input.state.gpus.grant.is_none() {
        // What can't start yet takes no GPU from others.
        if must_wait {
            plan.wait(Reason::WaitingForDependency, missing, None);
        } else {
            await_gpus(input, plan);
        }
        return keep_alive(input, plan);
    }
    let wanted = shape::container_spec(input, app, &image);
    plan.wanted = Some(wanted.spec_hash.clone());
    plan.version = Some(version(input, &wanted, &image));
    plan.container = Some(Arc::new(wanted.clone()));
    if must_wait {
        return plan.wait(Reason::WaitingForDependency, missing, None);
    }
    rollout::roll(input, app, &wanted, plan);
    devices::remark(input, plan);
    models::remark(input, app, plan);
}

/// What is waited for until the apps that this one depends on are ready; empty when they are.
fn missing(input: &Input<'_>, app: &App) -> String {
    let is_missing = |name: &&AppName| !input.state.ready.contains(*name);
    let missing: Vec<_> =
        app.spec.depends_on.iter().filter(is_missing).map(AppName::as_str).collect();
    if missing.is_empty() {
        return String::new();
    }
    format!("waits until {} is ready", missing.join(", "))
}

/// It has no GPUs yet: it asks for them, or is told why there are none.
fn await_gpus(input: &Input<'_>, plan: &mut Plan) {
    match &input.state.gpus.problem {
        None => plan.needs_gpus = true,
        // A change of the host's GPUs is followed by a look.
        Some(problem) if problem.reason == Reason::NoSuchGpu => {
            plan.refuse(problem.reason, problem.message.clone());
        }
        Some(problem) => {
            let until = Some(input.now + times::SOON * 5);
            plan.wait(problem.reason, problem.message.clone(), until);
        }
    }
}

fn version(input: &Input<'_>, wanted: &ContainerSpec, image: &Image) -> Version {
    let name = &image.reference;
    let id = image.id.as_deref().or_else(|| input.world.image_id(name));
    let image_id = id.unwrap_or(name).to_owned();
    Version {
        spec_hash: wanted.spec_hash.clone(),
        image: name.clone(),
        image_id,
        build: wanted.build.clone(),
        commit: wanted.commit.clone(),
        order: None,
        stage: Stage::Going,
    }
}

/// Whether the engine runs the container, or will again by itself.
pub fn is_up(container: &Container) -> bool {
    matches!(
        container.state,
        ContainerState::Running | ContainerState::Restarting | ContainerState::Paused
    )
}

/// The target of a call about an existing container.
pub(super) fn target(container: &Container) -> Target {
    Target { id: Some(container.id.clone()), name: container.name.clone() }
}

fn pause(input: &Input<'_>, app: &App, plan: &mut Plan) {
    let (reason, message) = if app.spec.suspend {
        (Reason::Suspended, "the manifest says `suspend: true`")
    } else {
        (Reason::Paused, "stopped on request; `berth start` starts it again")
    };
    let installs = input.state.request == Some(Request::Install);
    // What is fetched, built or pulled says so itself, and why it is not.
    if installs && matches!(acquire::image(input, app, plan), Acquired::NotYet) {
        return stop_all(input, app, message, plan);
    }
    if let Some(work) = input.state.work.as_ref().filter(|_| !installs) {
        let cause = message.to_owned();
        plan.steps.push(PlannedStep { step: Step::Cancel(work.kind), cause });
    }
    stop_all(input, app, message, plan);
    plan.wait(reason, message, None);
}

fn stop_all(input: &Input<'_>, app: &App, cause: &str, plan: &mut Plan) {
    for container in input.containers().into_iter().filter(|container| is_up(container)) {
        plan.verb = Verb::Stop;
        let call = Call::Stop { target: target(container), grace_s: Some(shape::grace_s(app)) };
        plan.call(cause, call);
    }
}

/// While the wanted container can't be made: what was there goes on running.
pub(super) fn keep_alive(input: &Input<'_>, plan: &mut Plan) {
    let mine = input.containers();
    if let Some(running) = mine.iter().find(|container| is_up(container)) {
        return again::restart_meanwhile(input, running, plan);
    }
    let bad = input.state.bad_revision.as_ref().map(|bad| &bad.spec_hash);
    let may_start = |container: &&&Container| {
        let is_bad = container.ownership.owner().map(|owner| &owner.spec_hash) == bad;
        let has_run = container.state == ContainerState::Exited;
        let may_run = !input.state.gpus.hindered.contains_key(&container.id);
        has_run && may_run && (bad.is_none() || !is_bad)
    };
    // The oldest is the last one that proved good; see `rollout`.
    if let Some(container) = mine.iter().find(may_start)
        && !refuse_port(input, container, plan)
    {
        plan.verb = Verb::Start;
        let cause = "the version that was there goes on running meanwhile";
        plan.call(cause, Call::Start(target(container)));
    }
}

/// The running container of another app, or of nobody, that has a host port of this one. As long as
/// it runs a start of this one would only fail, again and again (fault P02).
pub(super) fn port_holder<'a>(input: &Input<'a>, container: &Container) -> Option<&'a Container> {
    let clashes = |other: &&Container| {
        let is_other = other.ownership.app() != Some(input.app) && is_up(other);
        let has = |mine: &PortBinding| {
            other.ports.iter().any(|theirs| {
                (theirs.protocol, theirs.host_port) == (mine.protocol, mine.host_port)
            })
        };
        is_other && container.ports.iter().any(has)
    };
    input.world.containers.iter().find(clashes)
}

/// Says so when somebody else has a host port, or a GPU, that a container needs to run again.
pub(super) fn refuse_port(input: &Input<'_>, container: &Container, plan: &mut Plan) -> bool {
    if let Some(why) = input.state.gpus.hindered.get(&container.id) {
        let message = format!("{} can't run meanwhile: {why}", container.name);
        plan.refuse(Reason::WaitingForGpu, message);
        plan.look_at(input.now + times::SOON * 5);
        return true;
    }
    let Some(holder) = port_holder(input, container) else { return false };
    let (name, holder) = (&container.name, &holder.name);
    let message = format!("{name} can't run meanwhile: its host port is taken by {holder}");
    plan.refuse(Reason::PortTaken, message);
    plan.look_at(input.now + times::SOON * 5);
    true
}
