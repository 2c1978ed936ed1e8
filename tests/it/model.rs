//! The whole reachable graph of a small world: two apps, two host ports, an engine, Berth's passes
//! one call at a time, and a budget of what goes wrong.
//!
//! What decides is the real planner, its placement of ports and its linter. What it is asked about
//! is abstract: containers are told apart by app, image and port, times are before and after a
//! deadline. A pass looks, plans upon what it saw, and does one call after the other, while the
//! other app's pass, crashes, failures, edits and others' hands come in between. When passes happen
//! is left open: a key of the queue may come at any time and comes sooner or later.
//!
//! Two things are shown. On no edge of the graph does anything happen that must not. And from every
//! state, once nothing goes wrong any more, it comes to rest as wanted: every bottom component of
//! the graph without disturbances has nothing but such states, and no change.
//!
//! `make model` explores a large world; the default run two smaller ones. `BERTH_MODEL=2,2,1,1` says
//! how many crashes, failures, hands and edits there are.

mod decide;
mod graph;
mod moves;
mod state;

use decide::Planner;
use graph::{Counts, components, explore};
use state::{Budget, Spec, State};

/// What a broken Berth does. Each must be found, or the search finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It takes what carries its labels under another name for its own.
    Ownership,
    /// It does not ask who else has a port.
    Ports,
    /// It never looks again at what has failed.
    NoRetry,
    /// It starts again what is as wanted.
    Restless,
    /// It removes the old one as soon as the new one is started.
    Haste,
}

const V1: Spec = Spec { image: 0, port: None };
const V2: Spec = Spec { image: 1, port: None };
const SICK: Spec = Spec { image: state::SICK, port: None };
const FIXED: Spec = Spec { image: 0, port: Some(1) };

/// What somebody writes.
const EDITS: [Option<Spec>; 4] = [None, Some(V2), Some(SICK), Some(FIXED)];

/// A world that begins with nothing, and in which so much goes wrong.
#[expect(clippy::print_stdout, reason = "how large it was is worth knowing")]
fn search(budget: Budget, edits: &[Option<Spec>], flaw: Option<Flaw>) -> (Counts, Option<String>) {
    let begin = State::begin([V1, V1], budget);
    let explored = explore(&[begin], edits, &mut Planner::new(flaw));
    println!("from nothing, {budget:?}: {}", explored.counts);
    (explored.counts, explored.wrong)
}

/// The same, where both apps run and then one or both are edited.
#[expect(clippy::print_stdout, reason = "how large it was is worth knowing")]
fn search_edited(budget: Budget, others: &[Option<Spec>]) -> (Counts, Option<String>) {
    let all: Vec<_> = [Some(V1)].into_iter().chain(EDITS).collect();
    let begins = all.iter().flat_map(|one| others.iter().map(|other| [*one, *other]));
    let begins = begins.map(|wants| State::running(V1.image, wants, budget)).collect::<Vec<_>>();
    let explored = explore(&begins, &EDITS, &mut Planner::new(None));
    println!("from two that run, {budget:?}: {}", explored.counts);
    (explored.counts, explored.wrong)
}

fn budget(crashes: u8, failures: u8, foreign: u8, edits: u8) -> Budget {
    Budget { crashes, failures, foreign, edits }
}

fn must_be_right(searched: (Counts, Option<String>)) {
    let (counts, wrong) = searched;
    assert!(wrong.is_none(), "{}", wrong.unwrap());
    assert!(1000 < counts.states && 10 < counts.bottoms, "{counts}");
}

/// The figures of `BERTH_MODEL`, when it is set.
fn asked() -> Option<Budget> {
    let text = std::env::var("BERTH_MODEL").ok()?;
    let numbers: Vec<u8> = text.split(',').map(|number| number.parse().unwrap()).collect();
    let [crashes, failures, foreign, edits] = numbers.try_into().unwrap();
    Some(budget(crashes, failures, foreign, edits))
}

#[test]
fn whatever_goes_wrong_two_apps_come_to_be() {
    let budgets = asked().map_or(vec![budget(0, 1, 1, 0), budget(1, 0, 0, 1)], |one| vec![one]);
    for budget in budgets {
        must_be_right(search(budget, &EDITS, None));
    }
}

#[test]
fn whatever_goes_wrong_two_apps_become_as_they_are_edited() {
    let all: Vec<_> = [Some(V1)].into_iter().chain(EDITS).collect();
    if let Some(budget) = asked() {
        return must_be_right(search_edited(budget, &all));
    }
    must_be_right(search_edited(budget(1, 0, 0, 0), &all));
    must_be_right(search_edited(budget(0, 1, 0, 0), &all));
    must_be_right(search_edited(budget(0, 0, 1, 0), &[Some(V1)]));
}

/// A search that finds nothing in a broken Berth has looked at nothing.
#[test]
fn every_planted_flaw_is_found() {
    let planted = [
        (Flaw::Ownership, budget(0, 0, 1, 1), "is not ours"),
        (Flaw::Ports, budget(0, 0, 0, 0), "was given twice"),
        (Flaw::NoRetry, budget(0, 1, 0, 0), "stays as nobody wants it"),
        (Flaw::Restless, budget(0, 0, 0, 0), "never comes to rest"),
        (Flaw::Haste, budget(0, 0, 0, 1), "while no newer one is proven good"),
    ];
    for (flaw, budget, told) in planted {
        let (_, wrong) = search(budget, &[None, Some(V2)], Some(flaw));
        assert!(wrong.as_ref().is_some_and(|wrong| wrong.contains(told)), "{flaw:?}: {wrong:?}");
    }
}

#[test]
fn components_are_found() {
    // 0 → 1 ⇄ 2, 1 → 3, 3 → 3, 4 alone.
    let edges: [&[(u32, bool)]; 5] =
        [&[(1, false)], &[(2, false), (3, false)], &[(1, false)], &[(3, true)], &[]];
    let found = components(5, |number| edges[number as usize]);
    assert_eq!(found, [vec![3], vec![1, 2], vec![0], vec![4]]);
}
