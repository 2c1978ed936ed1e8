//! The history of an app's rollouts: what each pass adds to it. Pure: a list in, a list out.
//!
//! A revision is opened by the pass that begins it, and decided by the pass that sees what became of
//! it. What nobody saw is not made up: then the downtime is none.

use std::time::Duration;

use crate::model::{App, RolloutOrder, RunSpec, Timestamp};
use crate::plan::{Call, Input, Plan, Stage, Step, Version};
use crate::state::{
    Asked, Container, ContainerState, HealthSeen, Pin, REVISIONS_MAX, Revision, RevisionOutcome,
};

/// So much the engine's clock may differ from ours before its times are not used.
const CLOCKS_MS: i64 = 1_000;

/// What a pass knows of a rollout.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What the plan was made from.
    pub input: Input<'a>,
    /// The plan.
    pub plan: &'a Plan,
    /// The app as it is wanted, held at an earlier revision or not.
    pub app: &'a App,
    /// The digest of the manifest's spec.
    pub spec_digest: &'a str,
    /// Since when this Berth looks: what ended before that it did not see.
    pub born: Timestamp,
}

/// What is remembered once this pass has looked; none when that is what it was.
pub fn note(before: &[Revision], look: &Look<'_>) -> Option<Vec<Revision>> {
    let version = look.plan.version.as_ref()?;
    let mut list = before.to_vec();
    if list.is_empty() {
        list = found(look, version);
    }
    open(&mut list, look, version);
    if let Some(last) = list.last_mut().filter(|last| last.spec_hash == version.spec_hash) {
        follow(last, look, version);
    }
    let surplus = list.len().saturating_sub(REVISIONS_MAX);
    list.drain(..surplus);
    (list != before).then_some(list)
}

/// The rollouts that have ended between two lists, with how long they took.
pub fn ended(before: &[Revision], after: &[Revision]) -> Vec<(RevisionOutcome, Duration)> {
    let was_going = |revision: &&Revision| {
        let old = before.iter().find(|old| old.number == revision.number);
        old.map_or(revision.outcome != RevisionOutcome::Unknown, Revision::is_going)
    };
    let over = after.iter().filter(|revision| !revision.is_going()).filter(was_going);
    let took = |revision: &Revision| match revision.finished {
        Some(finished) => finished.since(revision.started),
        None => Duration::ZERO,
    };
    over.map(|revision| (revision.outcome, took(revision))).collect()
}

/// What the engine tells of rollouts that nobody remembers: images that were built, and the
/// containers that are there.
fn found(look: &Look<'_>, version: &Version) -> Vec<Revision> {
    let Look { input, plan, .. } = look;
    let mut list = Vec::new();
    if plan.current.is_none() && input.containers().is_empty() {
        return list;
    }
    let mine = input.containers();
    let used = |id: &str| id == version.image_id || mine.iter().any(|c| c.image_id == id);
    let mut images: Vec<_> =
        input.world.own_images.iter().filter(|i| i.app == *input.app && !used(&i.id)).collect();
    images.sort();
    for image in images {
        let reference = image.tags.first().unwrap_or(&image.id).clone();
        let blank = blank(look, version);
        list.push(Revision {
            spec_hash: crate::model::SpecHash::from_label(""),
            image: reference,
            image_id: image.id.clone(),
            build: None,
            commit: None,
            started: image.created,
            ..blank
        });
    }
    for container in mine {
        let Some(owner) = container.ownership.owner() else { continue };
        if owner.spec_hash == version.spec_hash {
            continue;
        }
        list.push(Revision {
            generation: owner.generation,
            spec_hash: owner.spec_hash.clone(),
            image: container.image.clone(),
            image_id: container.image_id.clone(),
            build: owner.build.clone(),
            commit: owner.commit.clone(),
            started: container.created,
            ..blank(look, version)
        });
    }
    for (number, revision) in (1..).zip(&mut list) {
        revision.number = number;
    }
    list
}

fn blank(look: &Look<'_>, version: &Version) -> Revision {
    Revision {
        number: 1,
        generation: look.input.state.generation,
        spec_digest: String::new(),
        spec_hash: version.spec_hash.clone(),
        image: version.image.clone(),
        image_id: version.image_id.clone(),
        build: version.build.clone(),
        commit: version.commit.clone(),
        run: None,
        by: Asked::Found,
        again: None,
        order: None,
        started: look.input.now,
        replaces_running: None,
        down_since: None,
        finished: None,
        outcome: RevisionOutcome::Unknown,
        reason: None,
        message: None,
        downtime_ms: None,
    }
}

/// Adds a revision when this pass begins one.
fn open(list: &mut Vec<Revision>, look: &Look<'_>, version: &Version) {
    let Look { input, plan, .. } = look;
    let current = current(look);
    let is_up = current.is_some_and(runs);
    let begins = plan
        .steps
        .iter()
        .any(|planned| matches!(planned.step, Step::Call(Call::Create(_) | Call::Start(_))));
    let is_going = matches!(version.stage, Stage::Going | Stage::Good);
    let by = match list.last_mut() {
        Some(last) if last.spec_hash == version.spec_hash => {
            let is_over = last.outcome == RevisionOutcome::Restored;
            if !is_over || !is_going || !(begins || is_up) {
                return;
            }
            Asked::Retry
        }
        last => {
            let is_known = last.is_some();
            if let Some(last) = last.filter(|last| last.is_going()) {
                last.outcome = RevisionOutcome::Superseded;
                last.finished = Some(input.now);
            }
            let good = list.iter().rev().find(|past| past.is_good());
            let ran_all_along = good.is_some_and(|good| good.spec_hash == version.spec_hash);
            if !is_going || !(begins || is_up) || (is_up && ran_all_along) {
                return;
            }
            if is_known || !is_up { asked(list.last(), look, version) } else { Asked::Found }
        }
    };
    let number = list.last().map_or(1, |last| last.number + 1);
    let others =
        || input.containers().into_iter().filter(|c| current.is_none_or(|it| it.id != c.id));
    let has_seen = by != Asked::Found;
    list.push(Revision {
        number,
        spec_digest: look.spec_digest.to_owned(),
        run: Some(run_spec(look)),
        by,
        again: input.state.pin.as_ref().map(|pin| pin.revision),
        replaces_running: has_seen.then(|| others().any(runs)),
        outcome: RevisionOutcome::Progressing,
        ..blank(look, version)
    });
}

/// How this version runs, with the stored models that it has now: an alias may move.
fn run_spec(look: &Look<'_>) -> RunSpec {
    let mut run = look.app.spec.run_spec();
    let mounted = look.plan.container.iter().flat_map(|container| &container.shape.models);
    run.models.at = mounted.map(|(path, it)| (path.clone(), it.version.clone())).collect();
    run
}

/// Who or what asked for the next revision.
fn asked(last: Option<&Revision>, look: &Look<'_>, version: &Version) -> Asked {
    match last {
        _ if look.input.state.pin.is_some() => Asked::Undo,
        None => Asked::Manifest,
        Some(last) if last.spec_digest != look.spec_digest => Asked::Manifest,
        Some(last) if last.commit != version.commit => Asked::Commit,
        Some(last) if last.build != version.build => Asked::Rebuild,
        // After an undo the manifest counts again.
        Some(last) if last.by == Asked::Undo => Asked::Manifest,
        Some(_) => Asked::Operator,
    }
}

/// Takes note of how far the last revision is.
fn follow(last: &mut Revision, look: &Look<'_>, version: &Version) {
    let now = look.input.now;
    let is_open = last.is_going() || last.outcome == RevisionOutcome::Failed;
    if !is_open {
        return;
    }
    if let Some(order) = version.order.filter(|_| last.is_going()) {
        last.order = Some(order);
    }
    if last.is_going() && last.down_since.is_none() {
        last.down_since = down_since(last, look);
    }
    match &version.stage {
        Stage::Good => {
            let ready = current(look).and_then(|it| ready_since(look, it));
            decide(last, look, ready);
            last.outcome = RevisionOutcome::Succeeded;
            (last.reason, last.message) = (None, None);
            last.finished = Some(now);
        }
        Stage::Failing(refusal) | Stage::GivenUp(refusal) => {
            if last.is_going() {
                last.outcome = RevisionOutcome::Failed;
                last.reason = Some(refusal.reason.to_string());
                last.message = Some(refusal.message.clone());
                last.finished = Some(now);
            }
            if matches!(version.stage, Stage::GivenUp(_))
                && let Some(ready) = back(look).and_then(|it| ready_since(look, it))
            {
                decide(last, look, Some(ready));
                last.outcome = RevisionOutcome::Restored;
                last.finished = Some(now);
            }
        }
        Stage::Going => {}
    }
}

/// Measures for how long no version answered: from the end of the old one to the first check that a
/// version passed after that.
fn decide(last: &mut Revision, look: &Look<'_>, ready: Option<Timestamp>) {
    if last.replaces_running != Some(true) {
        return;
    }
    last.downtime_ms = match (last.down_since, ready) {
        (Some(down), Some(ready)) if ready < down => Some(0),
        (Some(down), Some(ready)) if look.born <= down => {
            u64::try_from(ready.since(down).as_millis()).ok()
        }
        // The old one never stopped before the new one was good, or before it was given up.
        (None, Some(_)) if last.order == Some(RolloutOrder::StartFirst) => {
            let ran_on = others(look).any(runs) || back(look).is_some();
            ran_on.then_some(0)
        }
        _ => None,
    };
}

/// When the last container that ran before ended; none while one runs, or when nobody knows.
fn down_since(last: &Revision, look: &Look<'_>) -> Option<Timestamp> {
    if others(look).any(runs) {
        return None;
    }
    let ended = |container: &Container| {
        look.input.state.details.get(&container.id).and_then(|detail| detail.finished_at)
    };
    let within = last.started.moved(-CLOCKS_MS)..=look.input.now.moved(CLOCKS_MS);
    others(look).filter_map(ended).max().filter(|at| within.contains(at))
}

/// Since when a container that runs is good.
fn ready_since(look: &Look<'_>, container: &Container) -> Option<Timestamp> {
    if !runs(container) {
        return None;
    }
    let state = look.input.state;
    if look.app.spec.health.check.is_none() {
        let started = state.details.get(&container.id).and_then(|detail| detail.started_at);
        return started.or_else(|| state.begun.get(&container.id).copied());
    }
    match state.health.get(&container.id)? {
        HealthSeen::Healthy { since } => Some(*since),
        _ => None,
    }
}

fn current<'a>(look: &Look<'a>) -> Option<&'a Container> {
    let id = look.plan.current.as_ref()?;
    look.input.containers().into_iter().find(|container| container.id == *id)
}

fn others<'a>(look: &Look<'a>) -> impl Iterator<Item = &'a Container> + use<'a> {
    let current = look.plan.current.as_ref();
    let mine = look.input.containers().into_iter();
    mine.filter(move |container| Some(&container.id) != current)
}

/// The version before, where it runs (again).
fn back<'a>(look: &Look<'a>) -> Option<&'a Container> {
    others(look).find(|container| runs(container))
}

fn runs(container: &Container) -> bool {
    container.state == ContainerState::Running
}

/// The revision to go back to, when none is named: the last one that proved good and is another
/// version than the one that is wanted. `wanted` is the wanted one's shape, `pin` what holds it.
pub fn before<'a>(
    list: &'a [Revision],
    wanted: Option<&crate::model::SpecHash>,
    pin: Option<&Pin>,
) -> Option<&'a Revision> {
    let is_wanted = |revision: &&Revision| Some(&revision.spec_hash) == wanted;
    let below = match pin {
        Some(pin) => pin.revision,
        None => list.iter().rev().find(is_wanted).map_or(u64::MAX, |revision| revision.number),
    };
    list.iter().rev().find(|past| past.number < below && past.is_good() && !is_wanted(past))
}
