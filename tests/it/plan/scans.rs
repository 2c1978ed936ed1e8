//! What is known of vulnerabilities in an image decides whether a new version starts, and never
//! what becomes of one that runs.

use std::collections::BTreeMap;

use berth::{
    model::{ConditionStatus, ConditionType, Reason},
    plan::{Outcome, Verb},
    state::{ScanSeen, Scans},
    status::{Status, Summary, summarize},
};

use super::{NEW, OLD, app, running};
use crate::sim::Sim;

fn blocked() -> ScanSeen {
    ScanSeen::Blocked("CVE-1 (critical) in demo 1.0".to_owned())
}

/// What is known of the image of that name.
fn known(sim: &Sim, image: &str, seen: Option<ScanSeen>, is_gate: bool) -> Scans {
    let id = sim.world.image_id(image).unwrap().to_owned();
    let images: BTreeMap<_, _> = seen.map(|seen| (id, seen)).into_iter().collect();
    Scans { is_gate, images }
}

#[test]
fn with_a_gate_nothing_starts_before_its_image_was_looked_through() {
    let mut sim = Sim::new(&app(OLD)).has_image(OLD);
    sim.state.scans = Some(known(&sim, OLD, None, true));
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(plan.says(Reason::Scanning).is_some());
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    for seen in [ScanSeen::Clean(String::new()), ScanSeen::Warned("CVE-2".to_owned())] {
        sim.state.scans = Some(known(&sim, OLD, Some(seen), true));
        assert_eq!(sim.plan().verb, Verb::Create);
    }
    for (seen, reason) in [
        (blocked(), Reason::Vulnerable),
        (ScanSeen::Failed("no such file".to_owned()), Reason::ScanFailed),
    ] {
        sim.state.scans = Some(known(&sim, OLD, Some(seen), true));
        let plan = sim.plan();
        assert!(plan.is_empty());
        assert!(plan.says(reason).is_some(), "{reason:?}");
    }
}

#[test]
fn without_a_gate_nothing_waits() {
    let mut sim = Sim::new(&app(OLD)).has_image(OLD);
    for seen in [None, Some(blocked()), Some(ScanSeen::Failed(String::new()))] {
        sim.state.scans = Some(known(&sim, OLD, seen, false));
        assert_eq!(sim.plan().verb, Verb::Create);
    }
}

#[test]
fn what_runs_goes_on_when_its_image_or_a_newer_one_turns_out_bad() {
    let mut sim = running();
    sim.state.scans = Some(known(&sim, OLD, Some(blocked()), true));
    let plan = sim.plan();
    assert!(plan.is_empty() && plan.refusals.is_empty(), "{:?}", plan.refusals);
    let mut sim = running().has_image(NEW);
    sim.edit(&app(NEW));
    sim.state.scans = Some(known(&sim, NEW, Some(blocked()), true));
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(plan.says(Reason::Vulnerable).unwrap().contains("CVE-1"));
}

fn status(sim: &mut Sim) -> Status {
    let plan = sim.plan();
    let outcome = Outcome::default();
    summarize(Summary { input: sim.input(), plan: &plan, outcome: &outcome, previous: None })
}

#[test]
fn the_status_says_what_is_known() {
    let mut sim = running();
    assert!(status(&mut sim).condition(ConditionType::ScanPassed).is_none());
    for (seen, expected, reason) in [
        (None, ConditionStatus::Unknown, Reason::Scanning),
        (Some(ScanSeen::Failed("why".to_owned())), ConditionStatus::Unknown, Reason::ScanFailed),
        (Some(ScanSeen::Clean("why".to_owned())), ConditionStatus::True, Reason::NothingKnown),
        (Some(ScanSeen::Warned("why".to_owned())), ConditionStatus::False, Reason::Vulnerable),
        (Some(blocked()), ConditionStatus::False, Reason::Vulnerable),
    ] {
        sim.state.scans = Some(known(&sim, OLD, seen, false));
        let said = status(&mut sim);
        let condition = said.condition(ConditionType::ScanPassed).unwrap();
        assert_eq!((condition.status, condition.reason), (expected, reason));
    }
}
