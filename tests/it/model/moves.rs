//! What can happen next: to Berth, to the engine, and by others' hands.

use super::{
    Flaw,
    decide::Planner,
    scene::Scene,
    state::{APPS, Life, Memory, PORTS, Pass, Probe, SICK, Shape, Spec, State, Step, Thing},
};

/// What somebody outside Berth does, or what goes wrong: it happens as often as the budget allows.
/// All else happens sooner or later, as long as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Berth looks, or decides.
    Thought,
    /// The engine is asked to change something.
    Change,
    /// A health check says something, or a port has rested.
    Time,
    /// A crash, a failure, an edit, a hand on the engine.
    Disturbance,
}

/// What happened, and where it leads.
pub(crate) struct Move {
    pub(crate) kind: Kind,
    pub(crate) told: String,
    pub(crate) to: State,
    /// What must never happen.
    pub(crate) wrong: Option<String>,
}

fn new(kind: Kind, told: impl Into<String>, to: State) -> Move {
    Move { kind, told: told.into(), to, wrong: None }
}

/// What a step came to.
enum Answer {
    Done,
    /// The engine refused, and had a reason.
    Refused,
    PortTaken,
}

/// All that can happen next.
pub(crate) fn moves(state: &State, planner: &mut Planner, scene: &Scene) -> Vec<Move> {
    let mut all = Vec::new();
    for app in 0..APPS {
        advance(state, app, planner, &mut all);
    }
    time(state, scene, &mut all);
    crash(state, &mut all);
    for app in 0..APPS {
        edit(state, app, scene, &mut all);
    }
    meddle(state, scene, &mut all);
    lend(state, planner, &mut all);
    all
}

/// An app's pass goes one step on.
fn advance(state: &State, app: u8, planner: &mut Planner, all: &mut Vec<Move>) {
    let at = usize::from(app);
    match &state.passes[at] {
        Pass::Idle if state.memories[at].is_stuck => {}
        Pass::Idle => {
            let mut to = state.clone();
            to.passes[at] = Pass::Seen(state.things.clone());
            all.push(new(Kind::Thought, format!("{app} looks"), to));
        }
        Pass::Seen(seen) => all.push(plan(state, app, seen, planner)),
        Pass::Doing(steps) => carry_out(state, app, steps, planner, all),
    }
}

fn plan(state: &State, app: u8, seen: &[Thing], planner: &mut Planner) -> Move {
    let at = usize::from(app);
    let decision = planner.decide(state, app, seen);
    let mut to = state.clone();
    to.passes[at] = match decision.steps.as_slice() {
        [] => Pass::Idle,
        steps => Pass::Doing(steps.to_vec()),
    };
    to.queue(app, decision.waits);
    let memory = &mut to.memories[at];
    if planner.scene.is_of_cards() {
        memory.port = decision.port.or(used(app, seen));
    } else {
        memory.port = decision.port.or(memory.port);
        if state.wants[at].is_some() {
            memory.held = held(app, seen);
        }
    }
    let given = memory
        .port
        .filter(|port| state.memories[at].port != Some(*port) && used(app, seen) != Some(*port));
    memory.undone = memory.undone.filter(|_| !decision.ends_undo);
    memory.bad = decision.gives_up.or(memory.bad);
    if memory.watched.map(|(shape, _)| shape) != decision.watches {
        memory.watched = decision.watches.map(|shape| (shape, Probe::Fresh));
    }
    if decision.is_over {
        if let Some(port) = memory.port.filter(|_| !planner.scene.is_of_cards()) {
            to.resting[usize::from(port)] = true;
        }
        to.memories[at] = Memory::default();
    }
    if planner.scene.is_of_cards() && given.is_some() {
        outdate(1 - at, planner.flaw, &mut to);
    }
    let mut done = new(Kind::Thought, format!("{app} plans {:?}", decision.steps), to);
    done.wrong.clone_from(&decision.wrong);
    done.wrong = done.wrong.or_else(|| done.to.given_twice());
    done
}

/// A card is given that no container shows: who looked before that looks again.
fn outdate(app: usize, flaw: Option<Flaw>, to: &mut State) {
    if flaw != Some(Flaw::OldEyes) && matches!(to.passes[app], Pass::Seen(_)) {
        to.passes[app] = Pass::Idle;
    }
}

/// The card on which an app's newest running container is.
fn used(app: u8, seen: &[Thing]) -> Option<u8> {
    let runs = |t: &&Thing| t.is_ours && t.shape.app == app && t.life == Life::Up && t.has_port;
    seen.iter().rev().find(runs).map(|thing| thing.shape.port)
}

/// The ports on which an app's containers run.
fn held(app: u8, seen: &[Thing]) -> [bool; PORTS as usize] {
    let runs = |thing: &&Thing| thing.is_ours && thing.shape.app == app && thing.life == Life::Up;
    let mut held = [false; PORTS as usize];
    for thing in seen.iter().filter(runs) {
        held[usize::from(thing.shape.port)] = true;
    }
    held
}

fn carry_out(state: &State, app: u8, steps: &[Step], planner: &Planner, all: &mut Vec<Move>) {
    let (at, flaw) = (usize::from(app), planner.flaw);
    let [step, rest @ ..] = steps else { return };
    let mut to = state.clone();
    let (answer, wrong) = apply(*step, planner.scene.is_of_cards(), &mut to);
    to.passes[at] = match answer {
        Answer::Done if !rest.is_empty() => Pass::Doing(rest.to_vec()),
        _ => Pass::Idle,
    };
    if matches!(answer, Answer::PortTaken) {
        // It is burned: it rests, and the app gets another.
        let port = usize::from(step.shape().port);
        let mut others = to.memories.iter().enumerate().filter(|(other, _)| *other != at);
        let is_anothers = others.any(|(_, memory)| memory.held[port]);
        to.resting[port] |= !is_anothers;
        to.memories[at].port = None;
    }
    let is_done = matches!(answer, Answer::Done);
    let lost = to.clone();
    all.push(Move { wrong, ..new(Kind::Change, format!("{app}: {step:?}"), to) });
    if state.budget.failures == 0 {
        return;
    }
    let mut end = |mut to: State, what: &str| {
        to.budget.failures -= 1;
        to.passes[at] = Pass::Idle;
        to.memories[at].is_stuck = flaw == Some(Flaw::NoRetry);
        all.push(new(Kind::Disturbance, format!("{app}: {step:?} {what}"), to));
    };
    end(state.clone(), "fails");
    if is_done {
        end(lost, "is done, and the answer is lost");
    }
}

/// What the engine does.
fn apply(step: Step, is_of_cards: bool, to: &mut State) -> (Answer, Option<String>) {
    let shape = step.shape();
    let found = to.find(shape);
    let killed = &mut to.killed[usize::from(shape.app)];
    *killed = killed.filter(|killed| *killed != shape);
    match (step, found) {
        (Step::Create(_), _) => {
            let holder = to.things.iter().find(|thing| thing.shape == shape && thing.has_name);
            if let Some(holder) = holder {
                let wrong = holder.is_ours.then(|| format!("{shape:?} is made twice"));
                return (Answer::Refused, wrong);
            }
            let (life, is_ours, has_name, has_port) = (Life::Made, true, true, true);
            for taken in to.things.iter_mut().filter(|t| t.shape == shape && !t.is_ours) {
                taken.is_replaced = true;
            }
            let is_replaced = false;
            to.things.push(Thing { shape, life, is_ours, has_name, has_port, is_replaced });
        }
        (Step::Start(_), None) => return (Answer::Refused, None),
        (Step::Start(_), Some(at)) => {
            let is_in_the_way = |thing: &&Thing| {
                thing.has_port && thing.life == Life::Up && thing.shape.port == shape.port
            };
            let mut others = to.things.iter().enumerate().filter(|(other, _)| *other != at);
            if let Some(other) = others.find_map(|(_, t)| Some(t).filter(is_in_the_way)) {
                let wrong =
                    other.is_ours.then(|| format!("{shape:?} and {:?} on one port", other.shape));
                // An engine counts no GPUs.
                if !is_of_cards {
                    return (Answer::PortTaken, wrong);
                }
                to.things[at].life = Life::Up;
                return (Answer::Done, wrong);
            }
            to.things[at].life = Life::Up;
            if to.lease.is_some_and(|(card, _)| card == shape.port) {
                return (Answer::Done, Some(format!("{shape:?} starts on a card that is lent")));
            }
        }
        (Step::Stop(_) | Step::Remove(_), None) => {}
        (Step::Stop(_), Some(at)) => {
            to.things[at].life = Life::Down;
            unwatch(shape, to);
        }
        (Step::Remove(_), Some(at)) => {
            let is_up = to.things[at].life == Life::Up;
            to.things.remove(at);
            return (Answer::Done, is_up.then(|| format!("{shape:?} is removed while it runs")));
        }
    }
    (Answer::Done, None)
}

/// Its end is heard of: what was known of its health counts no more.
fn unwatch(shape: Shape, to: &mut State) {
    let memory = &mut to.memories[usize::from(shape.app)];
    if memory.watched.is_some_and(|(watched, _)| watched == shape) {
        memory.watched = None;
    }
}

fn time(state: &State, scene: &Scene, all: &mut Vec<Move>) {
    for (at, memory) in state.memories.iter().enumerate() {
        let Some((shape, probe)) = memory.watched else { continue };
        let Some(probe) = scene.next(probe, shape.image == SICK) else { continue };
        let runs = |thing: &Thing| thing.shape == shape && thing.is_ours && thing.life == Life::Up;
        if state.things.iter().any(runs) {
            let mut to = state.clone();
            to.memories[at].watched = Some((shape, probe));
            all.push(new(Kind::Time, format!("{shape:?} is {probe:?}"), to));
        }
    }
    for port in (0..usize::from(PORTS)).filter(|port| state.resting[*port]) {
        let mut to = state.clone();
        to.resting[port] = false;
        all.push(new(Kind::Time, format!("port {port} has rested"), to));
    }
}

/// Berth dies and comes back, with its notes or without.
fn crash(state: &State, all: &mut Vec<Move>) {
    if state.budget.crashes == 0 {
        return;
    }
    for is_kept in [true, false] {
        let mut to = state.clone();
        to.budget.crashes -= 1;
        to.passes = [Pass::Idle, Pass::Idle];
        to.resting = Default::default();
        for (at, memory) in to.memories.iter_mut().enumerate() {
            let undone = |thing: &&Thing| {
                let image = memory.undone.map(|spec| spec.image);
                usize::from(thing.shape.app) == at
                    && Some(thing.shape.image) == image
                    && (thing.is_ours && thing.life == Life::Down && !is_kept)
            };
            to.killed[at] = to.things.iter().find(undone).map(|t| t.shape).or(to.killed[at]);
            let Memory { bad, port, undone, turn, .. } = *memory;
            let kept = Memory { bad, port, undone, turn, ..Memory::default() };
            *memory = if is_kept { kept } else { Memory::default() };
        }
        if !is_kept {
            to.astray = to.lease.take().or(to.astray);
        }
        let notes = if is_kept { "its notes are kept" } else { "its notes are lost" };
        all.push(new(Kind::Disturbance, format!("Berth dies; {notes}"), to));
    }
}

fn edit(state: &State, app: u8, scene: &Scene, all: &mut Vec<Move>) {
    let at = usize::from(app);
    if state.budget.edits == 0 || scene.apps <= app {
        return;
    }
    if scene.may_undo
        && let Some(undone) = state.wanted(app).filter(|spec| *spec != Spec::FIRST)
    {
        let mut to = state.clone();
        to.budget.edits -= 1;
        let memory = &mut to.memories[at];
        memory.undone = Some(undone);
        memory.bad = memory.bad.filter(|bad| bad.image != Spec::FIRST.image);
        all.push(new(Kind::Disturbance, format!("{app} is undone"), to));
    }
    for edit in scene.edits.iter().filter(|edit| **edit != state.wants[at]) {
        let mut to = state.clone();
        to.budget.edits -= 1;
        to.wants[at] = *edit;
        all.push(new(Kind::Disturbance, format!("{app} becomes {edit:?}"), to));
    }
}

/// Somebody has a hand on the engine.
fn meddle(state: &State, scene: &Scene, all: &mut Vec<Move>) {
    for (at, thing) in state.things.iter().enumerate().filter(|(_, thing)| !thing.is_ours) {
        let mut to = state.clone();
        to.things.remove(at);
        all.push(new(Kind::Disturbance, format!("{:?}, not ours, goes", thing.shape), to));
    }
    if state.budget.foreign == 0 {
        return;
    }
    let mut act = |told: String, change: &dyn Fn(&mut State)| {
        let mut to = state.clone();
        to.budget.foreign -= 1;
        change(&mut to);
        all.push(new(Kind::Disturbance, told, to));
    };
    for (at, thing) in state.things.iter().enumerate().filter(|(_, thing)| thing.is_ours) {
        let shape = thing.shape;
        if thing.life == Life::Up {
            act(format!("{shape:?} is killed"), &|to| {
                end(at, to);
                unwatch(shape, to);
            });
            act(format!("{shape:?} is killed, and nobody hears of it"), &|to| end(at, to));
        }
        act(format!("{shape:?} is removed by hand"), &|to| {
            to.things.remove(at);
            unwatch(shape, to);
        });
        act(format!("{shape:?} is renamed"), &|to| {
            to.things[at].is_ours = false;
            to.things[at].has_name = false;
            unwatch(shape, to);
        });
    }
    for port in 0..scene.many {
        let is_taken = |t: &Thing| t.has_port && t.life == Life::Up && t.shape.port == port;
        if !state.things.iter().any(is_taken) {
            act(format!("port {port} is taken"), &|to| to.things.push(foreign(port, false)));
        }
        if !scene.has_names {
            continue;
        }
        let name = foreign(port, true);
        if !state.things.iter().any(|thing| thing.shape == name.shape) {
            act(format!("the name of {:?} is taken", name.shape), &|to| to.things.push(name));
        }
    }
}

/// A container ends, by no doing of Berth's.
fn end(at: usize, to: &mut State) {
    let shape = to.things[at].shape;
    to.things[at].life = Life::Down;
    to.killed[usize::from(shape.app)] = Some(shape);
}

/// A container that is in the way: by its port, or by its name.
fn foreign(port: u8, has_name: bool) -> Thing {
    let shape = Shape { app: 0, image: 1, port };
    let (life, is_ours, has_port, is_replaced) = (Life::Up, false, !has_name, false);
    Thing { shape, life, is_ours, has_name, has_port, is_replaced }
}

/// Programs outside: one asks for a card, and has it until it ends that. One whose lease was lost
/// finds out as soon as it would renew it.
fn lend(state: &State, planner: &Planner, all: &mut Vec<Move>) {
    if let Some(lost) = state.astray {
        let mut to = state.clone();
        to.astray = None;
        // Who knows nothing of a lease, or of another one, refuses to renew it.
        if planner.flaw == Some(Flaw::Fence) {
            to.lease = Some(lost);
        }
        let wrong = to.given_twice().or_else(|| to.is_used(lost.0));
        let told = "a program renews a lease that was lost";
        all.push(Move { wrong, ..new(Kind::Thought, told, to) });
    }
    if state.lease.is_some() {
        let mut to = state.clone();
        to.lease = None;
        all.push(new(Kind::Disturbance, "a program gives its card back", to));
    } else if 0 < state.budget.foreign
        && let Some(card) = planner.lend(state)
    {
        let mut to = state.clone();
        to.budget.foreign -= 1;
        to.clock += 1;
        to.lease = Some((card, to.clock));
        (0..to.passes.len()).for_each(|app| outdate(app, planner.flaw, &mut to));
        let wrong = to.given_twice().or_else(|| to.is_used(card));
        let told = format!("a program is lent card {card}");
        all.push(Move { wrong, ..new(Kind::Disturbance, told, to) });
    }
}
