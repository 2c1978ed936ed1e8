//! How far what runs is behind its source: what is counted, and what the status makes of it.

use std::{collections::BTreeMap, sync::Arc};

use berth::{
    model::App,
    plan::{Outcome, Step, Work},
    state::{Ahead, Checkout, DetectedFile, Request},
    status::{Summary, summarize},
};

use crate::sim::{Sim, app};

const URL: &str = "https://git.example.com/acme/chat.git";
const BASE: &str = "python:3.12-slim";

fn git_app(url: &str) -> Arc<App> {
    app(&format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: chat}}\nspec:\n  source: {{git: '{url}'}}\n  \
         run: python app.py\n"
    ))
}

fn commit(letter: &str) -> String {
    letter.repeat(40)
}

fn checkout(letter: &str) -> Checkout {
    Checkout {
        url: URL.to_owned(),
        reference: None,
        path: String::new(),
        resolved: Some("branch main".to_owned()),
        submodules: false,
        commit: commit(letter),
        tree: commit(letter),
        files: vec![DetectedFile { path: "requirements.txt".to_owned() }],
        facts: BTreeMap::new(),
        ahead: BTreeMap::new(),
        looked_for: None,
    }
}

/// An app that runs the commit of `a`.
fn running() -> Sim {
    let mut sim = Sim::new(&git_app(URL)).has_image(BASE);
    sim.state.checkout = Some(checkout("a"));
    sim.state.checked_at = Some(sim.now);
    sim.settle();
    sim
}

fn behind(sim: &mut Sim) -> Option<Ahead> {
    let (plan, outcome) = (sim.plan(), Outcome::default());
    let input = sim.input();
    summarize(Summary { input, plan: &plan, outcome: &outcome, previous: None }).commits_behind
}

#[test]
fn all_that_runs_or_may_run_again_is_counted() {
    let mut sim = running();
    sim.state.past_commits = [commit("b"), commit("a")].into();
    sim.state.request = Some(Request::Fetch);
    let plan = sim.plan();
    let runs = plan.steps.iter().find_map(|planned| match &planned.step {
        Step::Work(Work::Fetch { runs, .. }) => Some(runs.clone()),
        _ => None,
    });
    assert_eq!(runs, Some(vec![commit("a"), commit("b")]));
    // What is counted is no part of what is fetched: a look that is under way stays the same one.
    let input = |sim: &mut Sim| match &sim.plan().steps[0].step {
        Step::Work(work) => work.input(),
        other => panic!("{other:?}"),
    };
    let before = input(&mut sim);
    sim.state.past_commits.clear();
    assert_eq!(input(&mut sim), before);
}

#[test]
fn the_status_says_how_far_what_runs_is_behind() {
    let mut sim = running();
    assert_eq!(behind(&mut sim), Some(Ahead::default()), "it is what was fetched last");
    let three = Ahead { commits: 3, is_more: false };
    let newer = Checkout { ahead: [(commit("a"), three)].into(), ..checkout("b") };
    sim.state.checkout = Some(newer.clone());
    assert_eq!(behind(&mut sim), Some(three), "while it is built, and for as long as that fails");
    // Nobody counted from what runs.
    sim.state.checkout = Some(checkout("b"));
    assert_eq!(behind(&mut sim), None);
    // What was fetched is of another source than the one that is wanted.
    sim.state.checkout = Some(Checkout { url: format!("{URL}.old"), ..newer });
    assert_eq!(behind(&mut sim), None);
}
