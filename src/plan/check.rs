//! A linter for plans: what no plan may ask for, whatever the input was. A plan that fails it is
//! not carried out.

use super::{Call, Input, Plan, Step, Target, app::is_up};
use crate::state::{Container, ContainerId, Want};

/// What is wrong with a plan. Empty is right.
pub fn check(input: &Input<'_>, plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    let mut has_created = false;
    let mut stopped: Vec<&ContainerId> = Vec::new();
    for planned in &plan.steps {
        let Step::Call(call) = &planned.step else { continue };
        match call {
            Call::EnsureNetwork { .. } => {}
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
