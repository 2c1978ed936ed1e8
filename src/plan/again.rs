//! A restart that somebody asked for. It stays asked for until the app was started, or is meant to
//! rest: whoever is told that it is done once can rely on it (faults D01, D24).

use super::{
    Call, ContainerSpec, Input, Outcome, Plan, Step, Verb, app::target, devices, preflight,
    rollout::replace, shape::grace_s, times,
};
use crate::model::{App, Reason};
use crate::state::{Container, ContainerState, Request, Want};

const WHY: &str = "somebody asked for a restart";

/// Restarts the wanted container. One that was made with another GPU driver is made anew, so that it
/// says truly what it has, and so is one whose way to GPUs the engine has refused since.
pub(super) fn restart(
    input: &Input<'_>,
    app: &App,
    wanted: &ContainerSpec,
    current: &Container,
    plan: &mut Plan,
) {
    let is_outdated =
        devices::older_driver(input, current).is_some() || devices::is_way_refused(input, current);
    let refusal = if is_outdated {
        preflight::obstacle(input, wanted)
    } else {
        preflight::standstill(input, current)
    };
    if let Some(refusal) = refusal {
        plan.look_at(input.now + times::SOON * 5);
        return plan.refusals.push(refusal);
    }
    if is_outdated {
        devices::prove(input, wanted, plan);
        replace(app, wanted, current, WHY, plan);
    } else {
        devices::prove_again(input, wanted, current, plan);
        stop_and_start(app, current, plan);
    }
    plan.verb = Verb::Restart;
}

/// Restarts what runs while the wanted container can't be made, or was given up. Whether one with
/// GPUs would start again nobody can prove without its shape: that waits for the wanted one.
pub(super) fn restart_meanwhile(input: &Input<'_>, running: &Container, plan: &mut Plan) {
    let is_asked = input.state.request == Some(Request::Restart);
    let is_busy = plan.steps.iter().any(|step| matches!(step.step, Step::Call(_)));
    let runs = running.state == ContainerState::Running && running.gpus.is_none();
    let (Want::Present(app) | Want::Invalid { last_good: Some(app), .. }) = input.want else {
        return;
    };
    if is_asked && runs && !is_busy {
        stop_and_start(app, running, plan);
        plan.verb = Verb::Restart;
    }
}

fn stop_and_start(app: &App, container: &Container, plan: &mut Plan) {
    plan.call(WHY, Call::Stop { target: target(container), grace_s: Some(grace_s(app)) });
    plan.call(WHY, Call::Start(target(container)));
}

/// Says that a restart that was asked for is still to come.
pub(super) fn remark(input: &Input<'_>, plan: &mut Plan) {
    if input.state.request == Some(Request::Restart) && !is_restarted(plan, &Outcome::default()) {
        plan.remarks.push("the restart that was asked for is still to come".to_owned());
    }
}

/// Whether a restart that was asked for is done by this plan. Once something is stopped for it,
/// that is started again whatever happens; a start whose answer was lost must not be followed by
/// another stop (fault D01).
pub fn is_restarted(plan: &Plan, outcome: &Outcome) -> bool {
    let starts = plan.steps.iter().any(|step| matches!(step.step, Step::Call(Call::Start(_))));
    let rests = [Reason::Paused, Reason::Suspended].iter().any(|rest| plan.says(*rest).is_some());
    let is_started =
        || outcome.failure.as_ref().is_none_or(|failure| failure.step.starts_with("start "));
    rests || (starts && is_started())
}
