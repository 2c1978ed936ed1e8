//! Rollout: from the containers that exist to the one that is wanted.
//!
//! A new container is made before anything stops, checked before the old one is removed, and given
//! up when it fails: then the kept old one runs again. Every state in between can be read from the
//! containers alone, so that a crash at any point is followed by the same next step (fault D24).

use super::{
    Call, ContainerSpec, Input, Plan, Refusal, Stage, Target, Verb, again,
    app::{is_up, keep_alive, port_holder, refuse_port, target},
    devices, drift, preflight,
    shape::grace_s,
    times,
};
use crate::model::{App, Reason, RestartPolicy, RolloutOrder, Timestamp, format_duration};
use crate::state::{Container, ContainerState, HealthSeen, Request};

/// Why the wanted container is started.
const WANTED: &str = "it is the wanted version";

/// The app's containers, sorted by what they are to this rollout.
struct Cast<'a> {
    /// The wanted one.
    current: Option<&'a Container>,
    /// Those that went before, oldest first.
    old: Vec<&'a Container>,
}

/// How the wanted container does.
enum Verdict {
    /// It has been good since then.
    Ready(Timestamp),
    OnItsWay {
        reason: Reason,
        message: String,
        until: Timestamp,
    },
    Failing {
        reason: Reason,
        message: String,
    },
}

pub(super) fn roll(input: &Input<'_>, app: &App, wanted: &ContainerSpec, plan: &mut Plan) {
    let cast = sort(input, wanted);
    plan.current = cast.current.map(|container| container.id.clone());
    if let Some(refusal) = given_up(input, wanted, &cast) {
        hold_back(input, app, &cast, &refusal, plan);
        return;
    }
    if let Some(refusal) = blocked(input, wanted, &cast) {
        let until = input.now + times::SOON * 5;
        if refusal.reason == Reason::Scanning {
            plan.wait(refusal.reason, refusal.message, Some(until));
        } else {
            plan.refusals.push(refusal);
            plan.look_at(until);
        }
        return keep_alive(input, plan);
    }
    let Some(current) = cast.current else {
        return introduce(input, app, wanted, &cast.old, plan);
    };
    if let Some(why) = unstartable(input, current, wanted) {
        return remake(input, app, wanted, (current, &why), &cast.old, plan);
    }
    match current.state {
        ContainerState::Created => start_new(input, app, wanted, current, &cast.old, plan),
        ContainerState::Running | ContainerState::Restarting => {
            judge(input, app, wanted, &cast, plan);
        }
        ContainerState::Exited => revive(input, app, wanted, &cast, plan),
        ContainerState::Paused => plan.refuse(
            Reason::ContainerPaused,
            format!("{} was paused by hand: `docker unpause {0}` lets it go on", current.name),
        ),
        ContainerState::Dead => {
            plan.verb = Verb::Replace;
            plan.call("the engine could not remove it completely", Call::Remove(target(current)));
            plan.look_at(input.now + times::SOON);
        }
        ContainerState::Removing | ContainerState::Unknown => {
            let message = format!("waits until the engine is done with {}", current.name);
            plan.wait(Reason::Starting, message, Some(input.now + times::SOON));
        }
    }
}

/// Why nothing may be started now that would take the place of something. What is alone and was
/// there before is started in any case.
fn blocked(input: &Input<'_>, wanted: &ContainerSpec, cast: &Cast<'_>) -> Option<Refusal> {
    let takes_over = || cast.old.iter().any(|old| is_up(old));
    let is_needed = match cast.current {
        None => true,
        Some(current) => match current.state {
            ContainerState::Created | ContainerState::Exited => takes_over(),
            _ => false,
        },
    };
    if is_needed { preflight::obstacle(input, wanted) } else { None }
}

fn sort<'a>(input: &Input<'a>, wanted: &ContainerSpec) -> Cast<'a> {
    let mine = input.containers();
    let is_wanted = |container: &&&Container| {
        container.ownership.owner().is_some_and(|owner| owner.spec_hash == wanted.spec_hash)
    };
    // A hash of a version that this Berth does not write says nothing about the shape: the
    // container is taken over as it is until the manifest changes (faults D18, T08).
    let is_adopted = |container: &&&Container| {
        container.ownership.owner().is_some_and(|owner| {
            !owner.spec_hash.is_current_version() && owner.generation >= input.state.generation
        })
    };
    let found = mine.iter().find(is_wanted).or_else(|| mine.iter().rev().find(is_adopted));
    let current = found.copied();
    let old = mine
        .into_iter()
        .filter(|container| current.is_none_or(|current| current.id != container.id))
        .collect();
    Cast { current, old }
}

/// Whether this version was tried and given up, so that it is not tried again by itself. Where
/// nothing is left to go back to, it is: what never ran is no such thing.
fn given_up(input: &Input<'_>, wanted: &ContainerSpec, cast: &Cast<'_>) -> Option<Refusal> {
    if input.state.request == Some(Request::Retry) || kept(&cast.old).is_none() {
        return None;
    }
    let bad = input.state.bad_revision.as_ref();
    if let Some(bad) = bad.filter(|bad| bad.spec_hash == wanted.spec_hash) {
        return Some(Refusal { reason: Reason::RolledBack, message: bad.message.clone() });
    }
    // What the containers say when the record is lost: the old one was brought back.
    let current = cast.current?;
    let is_restored = current.state == ContainerState::Exited
        && cast.old.iter().any(|old| is_up(old) && current.created > old.created);
    is_restored.then(|| Refusal {
        reason: Reason::RolledBack,
        message: format!("{} was tried and stopped again", current.name),
    })
}

/// The version is given up: the old one runs, the new one does not.
fn hold_back(input: &Input<'_>, app: &App, cast: &Cast<'_>, refusal: &Refusal, plan: &mut Plan) {
    plan.stage(Stage::GivenUp(refusal.clone()));
    if let Some(current) = cast.current.filter(|container| is_up(container)) {
        plan.verb = Verb::Restore;
        let call = Call::Stop { target: target(current), grace_s: Some(grace_s(app)) };
        plan.call(format!("given up: {}", refusal.message), call);
    }
    restore(input, app, &cast.old, plan);
    if let Some(kept) = kept(&cast.old) {
        again::restart_meanwhile(input, kept, plan);
    }
    plan.refuse(
        refusal.reason,
        format!("{}; the version before runs. Change the manifest or the repository, or try the same again with `berth reconcile {}`", refusal.message, app.name),
    );
}

/// Has the last good version run, and no other. That is the oldest one: whatever proves good
/// removes what went before it, so the others were tried since then and never did.
fn restore(input: &Input<'_>, app: &App, old: &[&Container], plan: &mut Plan) {
    let Some(kept) = kept(old) else { return };
    for tried in old.iter().filter(|container| is_up(container) && container.id != kept.id) {
        plan.verb = Verb::Restore;
        let call = Call::Stop { target: target(tried), grace_s: Some(grace_s(app)) };
        plan.call("it was tried and never proved good", call);
    }
    if kept.state == ContainerState::Exited && !refuse_port(input, kept, plan) {
        plan.verb = Verb::Restore;
        plan.call("the new version failed", Call::Start(target(kept)));
        plan.look_at(input.now + times::SOON);
    }
}

/// The version to go back to.
fn kept<'a>(old: &[&'a Container]) -> Option<&'a Container> {
    let can_run =
        |container: &&&Container| is_up(container) || container.state == ContainerState::Exited;
    old.iter().find(can_run).copied()
}

/// Makes the wanted container, and lets it take over.
fn introduce(
    input: &Input<'_>,
    app: &App,
    wanted: &ContainerSpec,
    old: &[&Container],
    plan: &mut Plan,
) {
    if let Some(holder) = input.world.holder_of(&wanted.name) {
        plan.refuse(
            Reason::NameConflict,
            format!(
                "the container name {} belongs to {} (image {}), which is not this Berth's: rename or remove it",
                wanted.name, holder.id, holder.image
            ),
        );
        return keep_alive(input, plan);
    }
    plan.verb = if old.is_empty() { Verb::Create } else { Verb::Replace };
    if let Some(newest) = old.last() {
        plan.changes = drift::changes(newest, wanted);
    }
    let cause = match plan.changes.as_slice() {
        [] if old.is_empty() => "no container of this app exists".to_owned(),
        [] => "its shape has changed".to_owned(),
        changes => {
            let fields: Vec<_> = changes.iter().map(|change| change.field.as_str()).collect();
            format!("changed: {}", fields.join(", "))
        }
    };
    let network = &wanted.shape.network;
    let is_known = |c: &Container| c.networks.contains_key(network);
    if !input.world.containers.iter().any(is_known) {
        plan.call("apps share it", Call::EnsureNetwork { name: network.clone() });
    }
    plan.call(cause, Call::Create(Box::new(wanted.clone())));
    let new = Target { id: None, name: wanted.name.clone() };
    hand_over(input, app, wanted, (new, WANTED), old, plan);
    plan.wait(Reason::Starting, "the container is being started", Some(input.now + times::SOON));
}

fn start_new(
    input: &Input<'_>,
    app: &App,
    wanted: &ContainerSpec,
    current: &Container,
    old: &[&Container],
    plan: &mut Plan,
) {
    plan.verb = if old.is_empty() { Verb::Create } else { Verb::Replace };
    hand_over(input, app, wanted, (target(current), WANTED), old, plan);
}

/// Stops the old ones first where both do not fit, then starts the new one.
fn hand_over(
    input: &Input<'_>,
    app: &App,
    wanted: &ContainerSpec,
    (new, cause): (Target, &str),
    old: &[&Container],
    plan: &mut Plan,
) {
    let running: Vec<_> = old.iter().filter(|container| is_up(container)).collect();
    let ports = &wanted.shape.ports;
    let port = running.iter().find_map(|old| preflight::shared_port(ports, &old.ports));
    let gpus = wanted.shape.gpus.as_ref();
    let gpu = running.iter().find_map(|old| preflight::shared_gpu(input, gpus, old.gpus.as_ref()));
    let both = port.map(|port| format!("both publish {port}"));
    let both = both.or_else(|| gpu.map(|gpu| format!("both need {gpu}")));
    let why = match (app.spec.rollout.order, both) {
        (RolloutOrder::StopFirst, _) => Some("the manifest says `order: stop-first`".to_owned()),
        (RolloutOrder::Auto, both) => both,
        (RolloutOrder::StartFirst, both) => {
            both.map(|both| format!("the manifest says `order: start-first`, but {both}"))
        }
    };
    if let Some(why) = &why {
        if !running.is_empty() {
            devices::prove(input, wanted, plan);
        }
        for container in &running {
            let call = Call::Stop { target: target(container), grace_s: Some(grace_s(app)) };
            plan.call(
                format!("it makes room ({why}), and is kept until the new version is healthy"),
                call,
            );
        }
    } else {
        // Of several the oldest is the last one that proved good: two at a time are enough.
        for tried in running.iter().skip(1) {
            let call = Call::Stop { target: target(tried), grace_s: Some(grace_s(app)) };
            plan.call("it was tried and never proved good", call);
        }
    }
    if let Some(version) = plan.version.as_mut().filter(|_| !running.is_empty()) {
        version.order =
            Some(if why.is_some() { RolloutOrder::StopFirst } else { RolloutOrder::StartFirst });
    }
    plan.call(cause, Call::Start(new));
}

/// The wanted container runs: is it good?
fn judge(input: &Input<'_>, app: &App, wanted: &ContainerSpec, cast: &Cast<'_>, plan: &mut Plan) {
    let Some(current) = cast.current else { return };
    if let Some(difference) = drift::touched(current, wanted) {
        return redo(input, app, wanted, (current, &difference), plan);
    }
    if input.state.request == Some(Request::Restart) {
        return again::restart(input, app, wanted, current, plan);
    }
    if let Some(loss) = devices::loss(input, current) {
        return devices::mend(input, app, wanted, (current, loss), plan);
    }
    match verdict(input, app, current) {
        Verdict::Ready(since) => prove(input, app, since, (current, &cast.old), plan),
        Verdict::OnItsWay { reason, message, until } => plan.wait(reason, message, Some(until)),
        Verdict::Failing { reason, message } => {
            let is_free = |kept: &Container| {
                !input.state.gpus.hindered.contains_key(&kept.id)
                    && port_holder(input, kept).is_none()
            };
            let can_run = |kept: &Container| is_up(kept) || is_free(kept);
            let has_kept = kept(&cast.old).is_some_and(can_run);
            let is_wanted_back = app.spec.rollout.auto_rollback;
            let can_go_back = is_wanted_back && has_kept;
            if can_go_back && is_between_crashes(input, current, reason) {
                plan.wait(reason, message, Some(input.now + times::SOON));
            } else if can_go_back {
                let refusal = Refusal { reason, message };
                plan.gives_up = Some(refusal.clone());
                hold_back(input, app, cast, &refusal, plan);
            } else {
                fail(app, &cast.old, Refusal { reason, message }, plan);
            }
        }
    }
}

/// The wanted version fails, and nothing takes its place.
fn fail(app: &App, old: &[&Container], refusal: Refusal, plan: &mut Plan) {
    plan.stage(Stage::Failing(refusal.clone()));
    let Refusal { reason, mut message } = refusal;
    if let Some(kept) = kept(old).filter(|_| !app.spec.rollout.auto_rollback) {
        message.push_str(&format!(
            "; the manifest says `autoRollback: false`, so {} stays as it is: `berth rollout undo {}` brings it back",
            kept.name, app.name
        ));
    }
    plan.refuse(reason, message);
}

/// The wanted version is good: what went before goes, once the new one has stayed so for as long as
/// the manifest says.
fn prove(
    input: &Input<'_>,
    app: &App,
    since: Timestamp,
    (current, old): (&Container, &[&Container]),
    plan: &mut Plan,
) {
    let until = since + app.spec.rollout.min_ready;
    if old.is_empty() || until <= input.now {
        return settle(input, app, current, old, plan);
    }
    let left = format_duration(until.since(input.now));
    let message = format!("healthy; it must stay so for {left} before the old version goes");
    plan.wait(Reason::Proving, message, Some(until));
}

fn verdict(input: &Input<'_>, app: &App, current: &Container) -> Verdict {
    let started = input.started_at(current);
    let restarts = input.restart_count(&current.id);
    let is_looping = times::CRASH_LOOP_RESTARTS <= restarts;
    let health = input.state.health.get(&current.id);
    if app.spec.health.check.is_none() {
        return unchecked(input, current, started, restarts);
    }
    match health {
        Some(HealthSeen::Healthy { since }) if current.state == ContainerState::Running => {
            Verdict::Ready(*since)
        }
        Some(HealthSeen::Unhealthy { error, .. }) if !is_looping => {
            Verdict::Failing { reason: Reason::Unhealthy, message: error.clone() }
        }
        _ if is_looping => crash_loop(input, current, restarts),
        // That says something about the engine and nothing about this version.
        Some(HealthSeen::Unseen { error, .. }) => {
            let message = format!("its health can't be checked: {error}");
            let until = input.now + times::SOON * 5;
            Verdict::OnItsWay { reason: Reason::Probing, message, until }
        }
        seen => {
            let deadline = started + app.spec.rollout_deadline();
            let error = match seen {
                Some(HealthSeen::Starting { error: Some(error), .. }) => Some(error.as_str()),
                _ => None,
            };
            // Who has not looked yet does not know: Berth may have started just now.
            if let Some(error) = error.filter(|_| deadline <= input.now) {
                let time = format_duration(app.spec.rollout_deadline());
                let message = format!("the health check did not pass within {time}: {error}");
                return Verdict::Failing { reason: Reason::ProbeDeadline, message };
            }
            let left = format_duration(deadline.since(input.now));
            let error = error.unwrap_or("no answer yet");
            let soon = input.now + times::SOON;
            Verdict::OnItsWay {
                reason: Reason::Probing,
                message: format!("the health check has not passed yet ({error}); {left} left"),
                until: if input.now < deadline { deadline.min(soon) } else { soon },
            }
        }
    }
}

/// Whether it runs again for a moment, so that nobody can tell how it ended: once it is given up
/// that can't be asked any more, so its next end is waited for.
fn is_between_crashes(input: &Input<'_>, current: &Container, reason: Reason) -> bool {
    let detail = input.state.details.get(&current.id);
    let code = detail.and_then(|detail| detail.exit_code).or(current.exit_code);
    reason == Reason::CrashLoop
        && code.is_none()
        && input.now.since(input.started_at(current)) < times::RECENT
}

/// How an app does that nobody checks: it must run, and go on running.
fn unchecked(input: &Input<'_>, current: &Container, started: Timestamp, restarts: u64) -> Verdict {
    let age = input.now.since(started);
    let is_up = current.state == ContainerState::Running;
    let is_recent = !is_up || age < times::RECENT;
    match restarts {
        times::CRASH_LOOP_RESTARTS.. if is_recent => crash_loop(input, current, restarts),
        1.. if is_recent => on_its_way(input, "it exited and was started again"),
        _ if !is_up || age < times::STEADY => on_its_way(input, "it was started just now"),
        _ => Verdict::Ready(started),
    }
}

fn on_its_way(input: &Input<'_>, message: &str) -> Verdict {
    let until = input.now + times::SOON;
    Verdict::OnItsWay { reason: Reason::Starting, message: message.to_owned(), until }
}

fn crash_loop(input: &Input<'_>, current: &Container, restarts: u64) -> Verdict {
    let detail = input.state.details.get(&current.id);
    let code = detail.and_then(|detail| detail.exit_code).or(current.exit_code);
    let why = match (detail.is_some_and(|detail| detail.is_oom_killed), code) {
        (true, _) => "it ran out of memory".to_owned(),
        // What a shell, and the engine's own init, answer; see POSIX, Shell Command Language 2.8.2.
        (false, Some(127)) => "it exits with code 127, its program was not found".to_owned(),
        (false, Some(126)) => "it exits with code 126, its program can't be executed".to_owned(),
        (false, Some(code)) => format!("it exits with code {code}"),
        (false, None) => "it exits".to_owned(),
    };
    let message = format!("{why}, and was started again {restarts} times; see `berth logs`");
    Verdict::Failing { reason: Reason::CrashLoop, message }
}

/// The wanted container is good: what went before it goes.
fn settle(input: &Input<'_>, app: &App, current: &Container, old: &[&Container], plan: &mut Plan) {
    plan.stage(Stage::Good);
    // The oldest goes last: as long as there are others, it is the one to go back to.
    for container in old.iter().rev() {
        plan.verb = Verb::Tidy;
        if is_up(container) {
            let call = Call::Stop { target: target(container), grace_s: Some(grace_s(app)) };
            plan.call("the new version is healthy", call);
        }
        if container.state != ContainerState::Removing {
            plan.call("the new version is healthy", Call::Remove(target(container)));
        }
    }
    super::prune::old_images(input, current, plan);
}

/// The wanted container was changed by hand on the engine: it is made anew, under the same name.
fn redo(
    input: &Input<'_>,
    app: &App,
    wanted: &ContainerSpec,
    (current, difference): (&Container, &str),
    plan: &mut Plan,
) {
    let age = input.now.since(input.started_at(current));
    if age < times::REPLACE_PAUSE {
        let until = input.started_at(current) + times::REPLACE_PAUSE;
        let message = format!("{difference}; it was started just now, so it is left for a minute");
        return plan.wait(Reason::Drift, message, Some(until));
    }
    if let Some(refusal) = preflight::obstacle(input, wanted) {
        plan.look_at(input.now + times::SOON * 5);
        return plan.refusals.push(refusal);
    }
    devices::prove(input, wanted, plan);
    replace(app, wanted, current, &format!("drift: {difference}"), plan);
}

/// Stops and removes a container, and makes the same one anew.
pub(super) fn replace(
    app: &App,
    wanted: &ContainerSpec,
    current: &Container,
    why: &str,
    plan: &mut Plan,
) {
    plan.verb = Verb::Replace;
    let stop = Call::Stop { target: target(current), grace_s: Some(grace_s(app)) };
    plan.call(why, stop);
    plan.call(why, Call::Remove(target(current)));
    let network = wanted.shape.network.clone();
    plan.call("apps share it", Call::EnsureNetwork { name: network });
    plan.call("it takes the place of that one", Call::Create(Box::new(wanted.clone())));
    let new = Target { id: None, name: wanted.name.clone() };
    plan.call(WANTED, Call::Start(new));
}

/// Why a container that does not run can't be started any more, while another one can: its network
/// is gone (fault D45), or the engine refuses its GPUs in the way that it was made for.
fn unstartable(input: &Input<'_>, current: &Container, wanted: &ContainerSpec) -> Option<String> {
    if !matches!(current.state, ContainerState::Created | ContainerState::Exited) {
        return None;
    }
    if input.state.is_network_lost {
        return Some("its network is gone".to_owned());
    }
    devices::stale_way(input, current, wanted)
}

/// Makes a container anew that can't be started any more.
fn remake(
    input: &Input<'_>,
    app: &App,
    wanted: &ContainerSpec,
    (current, why): (&Container, &str),
    old: &[&Container],
    plan: &mut Plan,
) {
    plan.verb = Verb::Replace;
    plan.call(why, Call::Remove(target(current)));
    plan.call(why, Call::EnsureNetwork { name: wanted.shape.network.clone() });
    plan.call(why, Call::Create(Box::new(wanted.clone())));
    let new = Target { id: None, name: wanted.name.clone() };
    hand_over(input, app, wanted, (new, WANTED), old, plan);
}

/// The wanted container has ended.
fn revive(input: &Input<'_>, app: &App, wanted: &ContainerSpec, cast: &Cast<'_>, plan: &mut Plan) {
    let Some(current) = cast.current else { return };
    let code = current.exit_code.unwrap_or(0);
    let ends_well = match app.spec.restart {
        // It may be half way through one: stopped, and not started yet (fault D24).
        _ if input.state.request == Some(Request::Restart) => None,
        RestartPolicy::Always => None,
        RestartPolicy::OnFailure => (code == 0).then_some(true),
        RestartPolicy::Never => Some(code == 0),
    };
    match ends_well {
        None => {
            let is_alone = !cast.old.iter().any(|old| is_up(old));
            plan.verb = if is_alone { Verb::Start } else { Verb::Replace };
            let cause = format!("it is not running (exit code {code})");
            hand_over(input, app, wanted, (target(current), &cause), &cast.old, plan);
            plan.wait(Reason::Starting, "it is started again", Some(input.now + times::SOON));
        }
        Some(true) => {
            plan.wait(Reason::Exited, "it has done its work (exit code 0)", None);
            settle(input, app, current, &cast.old, plan);
        }
        Some(false) => {
            let message = format!("it exited with code {code}; see `berth logs {}`", app.name);
            let refusal = Refusal { reason: Reason::Exited, message };
            let has_kept = cast.old.iter().any(|old| old.state == ContainerState::Exited);
            if app.spec.rollout.auto_rollback && has_kept {
                plan.gives_up = Some(refusal.clone());
                hold_back(input, app, cast, &refusal, plan);
            } else {
                fail(app, &cast.old, refusal, plan);
            }
        }
    }
}
