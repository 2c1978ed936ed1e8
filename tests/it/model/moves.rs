//! What can happen next: to Berth, to the engine, and by others' hands.

use super::{
    Flaw,
    decide::Planner,
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

/// All that can happen next. `edits` are the manifests that somebody may write.
pub(crate) fn moves(state: &State, planner: &mut Planner, edits: &[Option<Spec>]) -> Vec<Move> {
    let mut all = Vec::new();
    for app in 0..APPS {
        advance(state, app, planner, &mut all);
    }
    time(state, &mut all);
    crash(state, &mut all);
    for app in 0..APPS {
        edit(state, app, edits, &mut all);
    }
    meddle(state, &mut all);
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
        Pass::Doing(steps) => carry_out(state, app, steps, planner.flaw, all),
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
    let memory = &mut to.memories[at];
    memory.port = decision.port.or(memory.port);
    if state.wants[at].is_some() {
        memory.held = held(app, seen);
    }
    memory.bad = decision.gives_up.or(memory.bad);
    if memory.watched.map(|(shape, _)| shape) != decision.watches {
        memory.watched = decision.watches.map(|shape| (shape, Probe::Fresh));
    }
    if decision.is_over {
        if let Some(port) = memory.port {
            to.resting[usize::from(port)] = true;
        }
        to.memories[at] = Memory::default();
    }
    let mut done = new(Kind::Thought, format!("{app} plans {:?}", decision.steps), to);
    done.wrong.clone_from(&decision.wrong);
    let [one, other] = done.to.memories;
    if done.wrong.is_none() && one.port.is_some() && one.port == other.port {
        done.wrong = Some(format!("port {:?} was given twice", one.port));
    }
    done
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

fn carry_out(state: &State, app: u8, steps: &[Step], flaw: Option<Flaw>, all: &mut Vec<Move>) {
    let at = usize::from(app);
    let [step, rest @ ..] = steps else { return };
    let mut to = state.clone();
    let (answer, wrong) = apply(*step, &mut to);
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
fn apply(step: Step, to: &mut State) -> (Answer, Option<String>) {
    let shape = step.shape();
    let found = to.find(shape);
    to.killed = to.killed.filter(|killed| *killed != shape);
    match (step, found) {
        (Step::Create(_), _) => {
            let holder = to.things.iter().find(|thing| thing.shape == shape && thing.has_name);
            if let Some(holder) = holder {
                let wrong = holder.is_ours.then(|| format!("{shape:?} is made twice"));
                return (Answer::Refused, wrong);
            }
            let (life, is_ours, has_name, has_port) = (Life::Made, true, true, true);
            to.things.push(Thing { shape, life, is_ours, has_name, has_port });
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
                return (Answer::PortTaken, wrong);
            }
            to.things[at].life = Life::Up;
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

fn time(state: &State, all: &mut Vec<Move>) {
    for (at, memory) in state.memories.iter().enumerate() {
        let Some((shape, Probe::Fresh)) = memory.watched else { continue };
        let runs = |thing: &Thing| thing.shape == shape && thing.is_ours && thing.life == Life::Up;
        if state.things.iter().any(runs) {
            let probe = if shape.image == SICK { Probe::Failed } else { Probe::Healthy };
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
        for memory in &mut to.memories {
            let Memory { bad, port, .. } = *memory;
            let kept = Memory { bad, port, ..Memory::default() };
            *memory = if is_kept { kept } else { Memory::default() };
        }
        let notes = if is_kept { "its notes are kept" } else { "its notes are lost" };
        all.push(new(Kind::Disturbance, format!("Berth dies; {notes}"), to));
    }
}

fn edit(state: &State, app: u8, edits: &[Option<Spec>], all: &mut Vec<Move>) {
    let at = usize::from(app);
    let others = edits.iter().filter(|edit| **edit != state.wants[at]);
    for edit in others.filter(|_| 0 < state.budget.edits) {
        let mut to = state.clone();
        to.budget.edits -= 1;
        to.wants[at] = *edit;
        all.push(new(Kind::Disturbance, format!("{app} becomes {edit:?}"), to));
    }
}

/// Somebody has a hand on the engine.
fn meddle(state: &State, all: &mut Vec<Move>) {
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
                (to.things[at].life, to.killed) = (Life::Down, Some(shape));
                unwatch(shape, to);
            });
            act(format!("{shape:?} is killed, and nobody hears of it"), &|to| {
                (to.things[at].life, to.killed) = (Life::Down, Some(shape));
            });
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
    for port in 0..PORTS {
        let is_taken = |t: &Thing| t.has_port && t.life == Life::Up && t.shape.port == port;
        if !state.things.iter().any(is_taken) {
            act(format!("port {port} is taken"), &|to| to.things.push(foreign(port, false)));
        }
        let name = foreign(port, true);
        if !state.things.iter().any(|thing| thing.shape == name.shape) {
            act(format!("the name of {:?} is taken", name.shape), &|to| to.things.push(name));
        }
    }
}

/// A container that is in the way: by its port, or by its name.
fn foreign(port: u8, has_name: bool) -> Thing {
    let shape = Shape { app: 0, image: 1, port };
    Thing { shape, life: Life::Up, is_ours: false, has_name, has_port: !has_name }
}
