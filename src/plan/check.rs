//! A linter for plans: what no plan may ask for, whatever the input was. A plan that fails it is
//! not carried out.

use super::{Call, ContainerSpec, Input, Plan, PlannedStep, Step, Target, app::is_up, preflight};
use crate::model::GpuGrant;
use crate::state::{Container, ContainerId, GpuHold, Want};

/// What is wrong with a plan. Empty is right.
pub fn check(input: &Input<'_>, plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    let mut has_created = false;
    let mut stopped: Vec<&ContainerId> = Vec::new();
    for planned in &plan.steps {
        let Step::Call(call) = &planned.step else { continue };
        match call {
            Call::EnsureNetwork { .. } => {}
            Call::Prove(spec) => {
                if spec.app != plan.app {
                    problems.push(format!("proves what {} needs", spec.app));
                }
            }
            Call::Create(spec) => {
                if has_created {
                    problems.push("two containers would be made".to_owned());
                }
                has_created = true;
                if spec.app != plan.app {
                    problems.push(format!("makes a container of {}", spec.app));
                }
            }
            Call::Start(target) => {
                check_target(input, target, has_created, &mut problems);
            }
            Call::Stop { target, .. } => {
                check_target(input, target, false, &mut problems);
                stopped.extend(&target.id);
            }
            Call::Remove(target) => {
                check_target(input, target, false, &mut problems);
                check_removal(input, plan, target, &stopped, &mut problems);
            }
            Call::RemoveImage { id, .. } => check_image(input, id, &mut problems),
        }
    }
    check_crowd(input, plan, &mut problems);
    check_preflight(input, plan, &mut problems);
    problems
}

fn seen<'a>(input: &Input<'a>, id: &ContainerId) -> Option<&'a Container> {
    input.world.containers.iter().find(|container| container.id == *id)
}

fn check_target(input: &Input<'_>, target: &Target, may_be_new: bool, problems: &mut Vec<String>) {
    let Some(id) = &target.id else {
        if !may_be_new {
            problems.push(format!("{} does not exist yet", target.name));
        }
        return;
    };
    if input.policy.own_container.as_ref() == Some(id) {
        problems.push(format!("{} is the container that Berth runs in", target.name));
    }
    if input.world.proofs_of(input.app).any(|proof| proof.id == *id) {
        return;
    }
    match seen(input, id) {
        Some(container) if container.ownership.app() == Some(input.app) => {}
        Some(_) => problems.push(format!("{} is not this app's", target.name)),
        None => problems.push(format!("{} was not seen", target.name)),
    }
}

fn check_removal(
    input: &Input<'_>,
    plan: &Plan,
    target: &Target,
    stopped: &[&ContainerId],
    problems: &mut Vec<String>,
) {
    let Some(container) = target.id.as_ref().and_then(|id| seen(input, id)) else { return };
    if is_up(container) && !stopped.contains(&&container.id) {
        problems.push(format!("{} would be removed while it runs", target.name));
    }
    let is_gone = matches!(input.want, Want::Absent);
    let goes = |container: &Container| {
        plan.steps.iter().any(|planned| {
            matches!(&planned.step, Step::Call(Call::Remove(it)) if it.id.as_ref() == Some(&container.id))
        })
    };
    let is_last = input.world.containers_of(input.app).into_iter().all(goes);
    let has_new = plan.steps.iter().any(|step| matches!(step.step, Step::Call(Call::Create(_))));
    let is_dead = container.state == crate::state::ContainerState::Dead;
    if !is_gone && is_last && !has_new && !is_dead {
        problems.push(format!("{} is the app's only container", target.name));
    }
}

fn check_image(input: &Input<'_>, id: &str, problems: &mut Vec<String>) {
    let is_ours = |image: &crate::state::OwnImage| image.id == id && image.app == *input.app;
    if !input.world.own_images.iter().any(is_ours) {
        problems.push(format!("image {id} is not this app's"));
    }
    let is_others = |container: &Container| container.ownership.app() != Some(input.app);
    if input.world.containers.iter().any(|c| c.image_id == id && is_others(c)) {
        problems.push(format!("image {id} is in use"));
    }
}

/// At no moment do more than two containers of an app run, nor two that publish the same port.
fn check_crowd(input: &Input<'_>, plan: &Plan, problems: &mut Vec<String>) {
    let mut up: Vec<_> = input.containers().into_iter().filter(|c| is_up(c)).collect();
    let mut created: Option<&ContainerSpec> = None;
    for planned in &plan.steps {
        match &planned.step {
            Step::Call(Call::Create(spec)) => created = Some(spec),
            Step::Call(Call::Stop { target, .. }) => {
                up.retain(|c| Some(&c.id) != target.id.as_ref());
            }
            Step::Call(Call::Start(target)) => {
                let known = target.id.as_ref().and_then(|id| seen(input, id));
                let (ports, gpus) = match (known, created) {
                    (Some(container), _) => (&container.ports, granted(container)),
                    (None, Some(spec)) => (&spec.shape.ports, spec.shape.gpus.as_ref()),
                    (None, None) => continue,
                };
                let others = || up.iter().filter(|c| known.is_none_or(|known| known.id != c.id));
                if 1 < others().count() {
                    problems.push(format!("{} would be the third that runs", target.name));
                }
                for other in others() {
                    if let Some(port) = preflight::shared_port(ports, &other.ports) {
                        let (name, other) = (&target.name, &other.name);
                        problems.push(format!("{name} and {other} would both publish {port}"));
                    }
                    let theirs = other.gpus.as_ref();
                    if let Some(gpu) = preflight::shared_gpu(input, gpus, theirs) {
                        let (name, other) = (&target.name, &other.name);
                        problems.push(format!("{name} and {other} would both use {gpu}"));
                    }
                }
                check_gpus(input, (&target.name, gpus), problems);
                up.extend(known);
            }
            _ => {}
        }
    }
}

fn granted(container: &Container) -> Option<&GpuGrant> {
    match &container.gpus {
        Some(GpuHold::Granted(grant)) => Some(grant),
        _ => None,
    }
}

/// Nothing starts on a GPU that a container of somebody else holds alone, or on one alone that
/// somebody holds.
fn check_gpus(
    input: &Input<'_>,
    (name, ours): (&str, Option<&GpuGrant>),
    problems: &mut Vec<String>,
) {
    if let Some((gpu, other)) = preflight::gpu_holder(input, ours) {
        problems.push(format!("{name} would use {gpu}, which {} holds", other.name));
    }
}

/// Nothing that runs stops for a version of which it can be known that it will not start.
fn check_preflight(input: &Input<'_>, plan: &Plan, problems: &mut Vec<String>) {
    let stops = |step: &PlannedStep| matches!(step.step, Step::Call(Call::Stop { .. }));
    if !plan.steps.iter().any(stops) {
        return;
    }
    for planned in &plan.steps {
        let Step::Call(Call::Create(spec)) = &planned.step else { continue };
        if let Some(refusal) = preflight::obstacle(input, spec) {
            problems.push(format!("{} would stop what runs: {}", spec.name, refusal.message));
        }
    }
    let is_stop_of = |step: &PlannedStep, id: &ContainerId| matches!(&step.step, Step::Call(Call::Stop { target, .. }) if target.id.as_ref() == Some(id));
    for planned in &plan.steps {
        let Step::Call(Call::Start(Target { id: Some(id), name })) = &planned.step else {
            continue;
        };
        let stopped = plan.steps.iter().any(|step| is_stop_of(step, id));
        let Some(again) = seen(input, id).filter(|_| stopped) else { continue };
        if let Some(refusal) = preflight::standstill(input, again) {
            problems.push(format!("{name} would stop and not start: {}", refusal.message));
        }
    }
}
