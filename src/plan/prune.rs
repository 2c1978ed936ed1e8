//! Removal: of an app that is positively gone, and of images that nothing needs.

use super::{
    Call, Input, Plan, PlannedStep, Step, Verb,
    app::{is_up, target},
    images::{Needed, unneeded_of},
    times,
};
use crate::model::Reason;
use crate::state::{Container, ContainerState, WorkKind};

/// Removes all that an app has on the engine. Its workspace and volumes stay (fault D28).
pub(super) fn remove(input: &Input<'_>, plan: &mut Plan) {
    let cause = "no manifest names the app any more";
    if let Some(work) = &input.state.work {
        let step = Step::Cancel(work.kind);
        plan.steps.push(PlannedStep { step, cause: cause.to_owned() });
    }
    let mine = input.containers();
    for container in &mine {
        if is_up(container) {
            let grace_s = input.state.last_grace_s;
            plan.call(cause, Call::Stop { target: target(container), grace_s });
        }
        if container.state == ContainerState::Removing {
            let message = format!("waits until {} is gone", container.name);
            plan.wait(Reason::Removing, message, Some(input.now + times::SOON));
        } else {
            plan.call(cause, Call::Remove(target(container)));
        }
    }
    for image in input.world.own_images.iter().filter(|image| image.app == *input.app) {
        let is_used = |container: &Container| {
            container.image_id == image.id && !mine.iter().any(|own| own.id == container.id)
        };
        if input.world.containers.iter().any(is_used) {
            continue;
        }
        for tag in tags(image) {
            plan.call(cause, Call::RemoveImage { id: image.id.clone(), tag });
        }
    }
    if !plan.steps.is_empty() || !plan.waits.is_empty() {
        plan.verb = Verb::Remove;
    }
}

/// Removes the images of an app that neither run nor are kept to go back to.
pub(super) fn old_images(input: &Input<'_>, current: &Container, plan: &mut Plan) {
    let is_building = input.state.work.as_ref().is_some_and(|work| work.kind == WorkKind::Build);
    let held = input.state.pin.iter().map(|pin| pin.image_id.clone()).collect();
    let needed = Needed { is_building, held, ..Needed::default() };
    for image in unneeded_of(input.app, input.world, input.policy, input.now, &needed) {
        if image.id == current.image_id {
            continue;
        }
        if plan.verb == Verb::Nothing {
            plan.verb = Verb::Tidy;
        }
        for tag in image.tags {
            plan.call(&image.why, Call::RemoveImage { id: image.id.clone(), tag });
        }
    }
}

/// The tags by which an image is let go; its id when it has none.
fn tags(image: &crate::state::OwnImage) -> Vec<String> {
    if image.tags.is_empty() { vec![image.id.clone()] } else { image.tags.clone() }
}
