//! GPUs of a container that exists: whether it lost them, and whether its way still works.

use super::{
    Call, ContainerSpec, Input, Plan, PlannedStep, Step, Target, Verb, preflight, rollout, times,
};
use crate::model::{App, Reason};
use crate::state::{Container, GpuLoss, Proof};

/// How often within an hour an app's container is made anew because it lost its GPUs.
pub const MENDS_AN_HOUR: u32 = 3;

/// What was seen of a container that can't reach its GPUs any more (fault U01).
pub(super) fn loss<'a>(input: &Input<'a>, current: &Container) -> Option<&'a GpuLoss> {
    input.state.devices.loss.as_ref().filter(|loss| loss.container == current.id)
}

/// Only a new container gets its GPUs back; that is tried a few times within an hour.
pub(super) fn mend(
    input: &Input<'_>,
    app: &App,
    wanted: &ContainerSpec,
    (current, loss): (&Container, &GpuLoss),
    plan: &mut Plan,
) {
    let message = &loss.message;
    if loss.is_spent {
        plan.look_at(input.now + times::SOON * 60);
        return plan.refuse(
            Reason::GpuLost,
            format!(
                "{message}; it was made anew {} times within the hour and lost them again, so it is left as it is: see docs/gpu-containers.md, or try again with `berth restart {}`",
                loss.mended, app.name
            ),
        );
    }
    if let Some(refusal) = preflight::obstacle(input, wanted) {
        plan.look_at(input.now + times::SOON * 5);
        plan.refusals.push(refusal);
        return plan.refuse(Reason::GpuLost, message.clone());
    }
    rollout::replace(app, wanted, current, message, plan);
    let until = Some(input.now + times::SOON);
    plan.wait(Reason::GpuLost, format!("{message}; it is made anew"), until);
}

/// Why a container that does not run can't be started as it was made: the engine refused the way
/// in which it is given its GPUs, and there is another one.
pub(super) fn stale_way(
    input: &Input<'_>,
    current: &Container,
    wanted: &ContainerSpec,
) -> Option<String> {
    let given = input.world.given.get(&current.id)?;
    let better = wanted.gpu_way.as_ref().filter(|route| route.way != given.way)?;
    let said = input.state.devices.refused.get(&given.way)?;
    Some(format!(
        "its GPUs come by {} now: by {} the engine said `{}`",
        better.way,
        given.way,
        said.trim()
    ))
}

/// Whether the engine has refused the way in which a container has its GPUs.
pub(super) fn is_way_refused(input: &Input<'_>, current: &Container) -> bool {
    let given = input.world.given.get(&current.id);
    given.is_some_and(|given| input.state.devices.refused.contains_key(&given.way))
}

/// Before something stops for a container with GPUs: whether the engine would start that is found out
/// by one that does nothing (fault U02). Where it is not, the plan ends here, and what runs goes on.
pub(super) fn prove(input: &Input<'_>, wanted: &ContainerSpec, plan: &mut Plan) {
    if wanted.shape.gpus.is_some() && input.policy.is_gpu_proven {
        let cause = "nothing stops for it before the engine has shown that it can give the GPUs";
        plan.call(cause, Call::Prove(Box::new(wanted.clone())));
    }
}

/// The same for a container that is to be started again: it has its GPUs in the way that it was made
/// for.
pub(super) fn prove_again(
    input: &Input<'_>,
    wanted: &ContainerSpec,
    current: &Container,
    plan: &mut Plan,
) {
    let given = input.world.given.get(&current.id).map(|given| given.way);
    if given == wanted.gpu_way.as_ref().map(|route| route.way) {
        prove(input, wanted, plan);
    }
}

/// What a Berth that ended meanwhile left behind of proving it goes first of all.
pub(super) fn clear_proofs(input: &Input<'_>, plan: &mut Plan) {
    let remove = |proof: &Proof| PlannedStep {
        step: Step::Call(Call::Remove(Target {
            id: Some(proof.id.clone()),
            name: proof.name.clone(),
        })),
        cause: "it only proved that GPUs can be given, and was left behind".to_owned(),
    };
    let all: Vec<_> = input.world.proofs_of(input.app).map(remove).collect();
    if !all.is_empty() && plan.verb == Verb::Nothing {
        plan.verb = Verb::Tidy;
    }
    plan.steps.splice(0..0, all);
}

/// The GPU driver that a container was made with, where the host has another one by now.
pub(super) fn older_driver<'a>(input: &Input<'a>, current: &Container) -> Option<&'a String> {
    let now = input.state.devices.driver.as_ref()?;
    let then = input.world.given.get(&current.id)?.driver.as_ref()?;
    (then != now).then_some(then)
}

/// What people should know of an app's GPUs: how a new container gets them, and that the driver is
/// another one than when the container was made (fault U02).
pub(super) fn remark(input: &Input<'_>, plan: &mut Plan) {
    let made = plan.steps.iter().find_map(|step| match &step.step {
        Step::Call(Call::Create(spec)) => Some(spec),
        _ => None,
    });
    let route = made.and_then(|spec| spec.shape.gpus.as_ref().and(spec.gpu_way.as_ref()));
    if let Some(route) = route {
        plan.remarks.push(format!("its GPUs come by {}: {}", route.way, route.why));
    }
    let Some(now) = &input.state.devices.driver else { return };
    let current = plan.current.as_ref();
    let current = input.world.containers.iter().find(|c| Some(&c.id) == current);
    if let Some(then) = current.and_then(|current| older_driver(input, current)) {
        plan.remarks.push(format!(
            "it was made with the GPU driver {then} and the host has {now}: it goes on as it is, and gets the new one with the next version or `berth restart`"
        ));
    }
}
