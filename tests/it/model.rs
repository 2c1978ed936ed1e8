//! The whole reachable graph of a small world: two apps, two host ports or GPUs, an engine, Berth's
//! passes one call at a time, and a budget of what goes wrong.
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

mod cards;
mod decide;
mod graph;
mod moves;
mod scene;
mod state;

use std::collections::BTreeSet;

use decide::Planner;
use graph::{Counts, components, explore};
use scene::Scene;
use state::{Budget, Spec, State};

/// What a broken Berth does. Each must be found, or the search finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It takes what carries its labels under another name for its own.
    Ownership,
    /// It does not ask who else has a port, or a card.
    Ports,
    /// It never looks again at what has failed.
    NoRetry,
    /// It starts again what is as wanted.
    Restless,
    /// It removes the old one as soon as the new one is started.
    Haste,
    /// It does not wait for health to last.
    MinReady,
    /// It goes on holding an app at an earlier version after its manifest has changed.
    Undo,
    /// It renews a lease that it has forgotten.
    Fence,
    /// It gives cards by what it saw before another one was given them.
    OldEyes,
}

const V1: Spec = Spec::FIRST;
const V2: Spec = Spec { image: 1, port: None };
const SICK: Spec = Spec { image: state::SICK, port: None };
const FIXED: Spec = Spec { image: 0, port: Some(1) };

/// Two apps and two ports, and all that somebody may write.
const PORTS: Scene = Scene::ports(&[None, Some(V2), Some(SICK), Some(FIXED)]);
/// Two apps and one GPU for both.
const CARD: Scene = Scene::cards(1, &[None, Some(V1), Some(V2)]);
/// Two apps and two GPUs.
const CARDS: Scene = Scene::cards(2, &[None, Some(V2), Some(SICK)]);
/// One app whose versions must prove good for a while, and may be undone; and two of them.
const ALONE: Scene = Scene::undone(1, &[None, Some(V1), Some(V2), Some(SICK)]);
const UNDONE: Scene = Scene::undone(2, &[Some(V2), Some(SICK)]);

/// A world that begins with nothing, and in which so much goes wrong.
#[expect(clippy::print_stdout, reason = "how large it was is worth knowing")]
fn search(scene: Scene, budget: Budget, flaw: Option<Flaw>) -> (Counts, Option<String>) {
    let wants = [Some(V1), Some(V1).filter(|_| 1 < scene.apps)];
    let begin = State::begin(wants, budget);
    let explored = explore(&[begin], &scene, &mut Planner::new(scene, flaw));
    println!("from nothing, {:?}, {budget:?}: {}", scene.goods, explored.counts);
    (explored.counts, explored.wrong)
}

/// The same, where apps run and then one or both are edited.
#[expect(clippy::print_stdout, reason = "how large it was is worth knowing")]
fn search_edited(
    scene: Scene,
    budget: Budget,
    others: &[Option<Spec>],
) -> (Counts, Option<String>) {
    let all: BTreeSet<_> = [Some(V1)].iter().chain(scene.edits).copied().collect();
    let begins = all.iter().flat_map(|one| others.iter().map(|other| [*one, *other]));
    let begins = begins.map(|wants| State::running(&scene, V1.image, wants, budget));
    let begins = begins.collect::<Vec<_>>();
    let explored = explore(&begins, &scene, &mut Planner::new(scene, None));
    println!("from what runs, {:?}, {budget:?}: {}", scene.goods, explored.counts);
    (explored.counts, explored.wrong)
}

fn budget(crashes: u8, failures: u8, foreign: u8, edits: u8) -> Budget {
    Budget { crashes, failures, foreign, edits }
}

fn must_be_right(searched: (Counts, Option<String>)) {
    let (counts, wrong) = searched;
    assert!(wrong.is_none(), "{}", wrong.unwrap());
    assert!(500 < counts.states && 4 < counts.bottoms, "{counts}");
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
        must_be_right(search(PORTS, budget, None));
    }
}

#[test]
fn whatever_goes_wrong_two_apps_become_as_they_are_edited() {
    let all: Vec<_> = [Some(V1)].iter().chain(PORTS.edits).copied().collect();
    if let Some(budget) = asked() {
        return must_be_right(search_edited(PORTS, budget, &all));
    }
    must_be_right(search_edited(PORTS, budget(1, 0, 0, 0), &all));
    must_be_right(search_edited(PORTS, budget(0, 1, 0, 0), &all));
    must_be_right(search_edited(PORTS, budget(0, 0, 1, 0), &[Some(V1)]));
}

/// Nobody but Berth counts GPUs: apps, programs outside and others' containers want the same one.
#[test]
fn whatever_goes_wrong_a_card_is_one_holders() {
    if asked().is_some() {
        must_be_right(search(CARD, budget(1, 0, 2, 1), None));
        return must_be_right(search(CARDS, budget(1, 1, 1, 0), None));
    }
    for budget in [budget(0, 1, 1, 0), budget(1, 0, 1, 0), budget(0, 0, 1, 1)] {
        must_be_right(search(CARD, budget, None));
    }
    must_be_right(search_edited(CARD, budget(1, 0, 1, 0), &[Some(V1)]));
}

/// A new version must stay healthy for a while before the old one goes, and may be undone before
/// and after that.
#[test]
fn whatever_goes_wrong_what_is_undone_stays_so_until_somebody_writes() {
    if asked().is_some() {
        must_be_right(search(ALONE, budget(1, 1, 1, 2), None));
        return must_be_right(search(UNDONE, budget(1, 0, 0, 1), None));
    }
    for budget in [budget(1, 0, 0, 2), budget(0, 1, 0, 2), budget(0, 0, 1, 1)] {
        must_be_right(search(ALONE, budget, None));
    }
    must_be_right(search_edited(ALONE, budget(1, 0, 0, 1), &[None]));
}

/// A search that finds nothing in a broken Berth has looked at nothing.
#[test]
fn every_planted_flaw_is_found() {
    const TWO: Scene = Scene::ports(&[None, Some(V2)]);
    let planted = [
        (Flaw::Ownership, TWO, budget(0, 0, 1, 1), "is not ours"),
        (Flaw::Ports, TWO, budget(0, 0, 0, 0), "was given twice"),
        (Flaw::Ports, CARD, budget(0, 0, 0, 0), "was given twice"),
        (Flaw::NoRetry, TWO, budget(0, 1, 0, 0), "stays as nobody wants it"),
        (Flaw::Restless, TWO, budget(0, 0, 0, 0), "never comes to rest"),
        (Flaw::Restless, CARD, budget(0, 0, 0, 0), "never comes to rest"),
        (Flaw::Haste, TWO, budget(0, 0, 0, 1), "while no newer one is proven good"),
        (Flaw::MinReady, ALONE, budget(0, 0, 0, 1), "while no newer one is proven good"),
        (Flaw::Undo, ALONE, budget(0, 0, 0, 3), "stays as nobody wants it"),
        (Flaw::Fence, CARD, budget(1, 0, 1, 0), "was given twice"),
        (Flaw::OldEyes, CARD, budget(1, 0, 1, 0), "was given twice"),
    ];
    for (flaw, scene, budget, told) in planted {
        let (_, wrong) = search(scene, budget, Some(flaw));
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
