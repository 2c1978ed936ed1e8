//! Restarts that somebody asks for: each is done once, and none is forgotten.

use std::sync::Arc;

use berth::{
    model::Reason,
    state::{ContainerState, Hold, Request, Want},
};

use super::{NEW, OLD, app, running};
use crate::sim::{Sim, image_app};

const STILL: &str = "the restart that was asked for is still to come";

fn verbs(sim: &Sim) -> Vec<&str> {
    sim.journal.iter().map(|step| step.split(' ').next().unwrap()).collect()
}

#[test]
fn it_stops_and_starts_the_same_container_once() {
    let mut sim = running();
    sim.ask(Request::Restart);
    sim.settle();
    assert_eq!(verbs(&sim), ["stop", "start"]);
    assert!(sim.plan().remarks.is_empty());
}

/// Fault D24: what was stopped for a restart is started again, jobs that are done too.
#[test]
fn one_that_was_cut_off_half_way_is_finished_whatever_the_policy() {
    for policy in ["Always", "OnFailure", "Never"] {
        let text = format!("port: 5000\nrestart: {policy}");
        let mut sim = Sim::new(&image_app("chat", OLD, &text)).has_image(OLD);
        sim.settle();
        sim.journal.clear();
        sim.ask(Request::Restart);
        sim.pass(Some(1));
        assert_eq!(sim.seen(), [(OLD.to_owned(), ContainerState::Exited)], "{policy}");
        sim.settle();
        assert_eq!(verbs(&sim), ["stop", "start"], "{policy}");
        assert_eq!(sim.running().len(), 1, "{policy}");
    }
}

/// Fault T01: a pass that knows nothing of what is wanted does not answer it.
#[test]
fn it_waits_until_the_manifests_can_be_read() {
    let mut sim = running();
    let want = Want::Present(app(OLD));
    sim.want = Want::Held(Hold::Unreadable("not read yet".to_owned()));
    sim.ask(Request::Restart);
    assert_eq!(sim.plan().remarks, [STILL]);
    sim.settle();
    assert!(sim.journal.is_empty(), "{:?}", sim.journal);
    sim.want = want;
    sim.settle();
    assert_eq!(verbs(&sim), ["stop", "start"]);
}

/// The version that is wanted can't be had, or was given up: what runs in its place is restarted.
#[test]
fn it_is_of_what_runs_at_the_time() {
    let mut sim = running();
    sim.nature.missing.push("shop/none:1".to_owned());
    sim.edit(&app("shop/none:1"));
    sim.settle();
    assert!(sim.plan().says(Reason::PullFailed).is_some());
    sim.journal.clear();
    sim.ask(Request::Restart);
    sim.settle();
    let done: Vec<_> = verbs(&sim).into_iter().filter(|verb| *verb != "pull").collect();
    assert_eq!(done, ["stop", "start"], "{:?}", sim.journal);
    assert_eq!(sim.running()[0].image, OLD);

    let mut sim = running();
    sim.nature.sick.push(NEW.to_owned());
    sim.edit(&app(NEW));
    sim.settle();
    assert!(sim.plan().says(Reason::RolledBack).is_some());
    let old = sim.running()[0].id.clone();
    sim.journal.clear();
    sim.ask(Request::Restart);
    sim.settle();
    assert_eq!(verbs(&sim), ["stop", "start"]);
    assert_eq!(sim.running().iter().map(|c| c.id.clone()).collect::<Vec<_>>(), [old]);
    assert!(sim.plan().says(Reason::RolledBack).is_some());
}

/// Of an app that rests, nothing is started, and nothing is left to be done later.
#[test]
fn an_app_that_was_stopped_stays_stopped() {
    let mut sim = running();
    sim.state.is_paused = true;
    sim.ask(Request::Restart);
    sim.settle();
    assert_eq!(verbs(&sim), ["stop"]);
    sim.state.is_paused = false;
    sim.settle();
    assert_eq!(verbs(&sim), ["stop", "start"]);
}

/// What an operator paused by hand is left so; the restart comes once it goes on.
#[test]
fn a_container_that_was_paused_by_hand_is_restarted_later() {
    let mut sim = running();
    sim.world.containers[0].state = ContainerState::Paused;
    sim.ask(Request::Restart);
    sim.settle();
    assert!(sim.journal.is_empty(), "{:?}", sim.journal);
    assert!(sim.plan().remarks.contains(&STILL.to_owned()));
    sim.world.containers[0].state = ContainerState::Running;
    sim.settle();
    assert_eq!(verbs(&sim), ["stop", "start"]);
}

/// What is asked for before the first container is there is done by its start.
#[test]
fn a_first_start_is_enough() {
    let mut sim = Sim::new(&Arc::clone(&app(OLD)));
    sim.ask(Request::Restart);
    sim.settle();
    let done: Vec<_> = verbs(&sim).into_iter().filter(|verb| *verb == "start").collect();
    assert_eq!(done.len(), 1, "{:?}", sim.journal);
    assert!(sim.plan().is_empty() && sim.plan().remarks.is_empty());
}
