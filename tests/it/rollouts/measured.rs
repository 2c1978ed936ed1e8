//! What of a rollout is measured, and what is honestly not known.

use std::time::Duration;

use berth::{
    model::{Digest, RolloutOrder, Timestamp},
    record::history::{Look, note},
    state::{Asked, ContainerState, Detail, HealthSeen, Revision, RevisionOutcome, Want},
};

use crate::sim::{Sim, image_app};

const OLD: &str = "shop/app:1";
const NEW: &str = "shop/app:2";

/// A sim of which each pass is noted.
struct Noted {
    sim: Sim,
    list: Vec<Revision>,
    born: Timestamp,
}

impl Noted {
    fn new(rest: &str) -> Self {
        let sim = Sim::new(&image_app("chat", OLD, rest)).has_image(OLD).has_image(NEW);
        let born = sim.now;
        let mut noted = Self { sim, list: Vec::new(), born };
        noted.rest();
        noted
    }

    fn look(&mut self) {
        let plan = self.sim.plan();
        let Want::Present(app) = self.sim.want.clone() else { return };
        let digest = Digest::of_value(&app.spec);
        let input = self.sim.input();
        let look =
            Look { input, plan: &plan, app: &app, spec_digest: digest.as_str(), born: self.born };
        if let Some(list) = note(&self.list, &look) {
            assert_ne!(list, self.list, "a change is one");
            self.list = list;
        }
        assert_eq!(note(&self.list, &look), None, "looking twice changes nothing");
    }

    fn pass(&mut self) {
        self.look();
        let before = self.sim.running().iter().map(|c| c.id.clone()).collect::<Vec<_>>();
        self.sim.pass(None);
        let now = self.sim.now;
        for container in &self.sim.world.containers {
            if container.state == ContainerState::Exited && before.contains(&container.id) {
                let detail = Detail { finished_at: Some(now), ..Detail::default() };
                self.sim.state.details.insert(container.id.clone(), detail);
            }
        }
    }

    fn rest(&mut self) {
        for _ in 0..6 {
            self.pass();
            self.sim.let_time_pass(Duration::from_secs(1));
        }
    }

    fn edit(&mut self, rest: &str) {
        self.sim.edit(&image_app("chat", NEW, rest));
        self.pass();
    }

    fn last(&self) -> &Revision {
        self.list.last().unwrap()
    }

    /// The new one is good from now on.
    fn heal(&mut self, after: Duration) {
        self.sim.now = self.sim.now + after;
        let since = self.sim.now;
        let id = self.sim.running()[0].id.clone();
        self.sim.state.health.entry(id).or_insert(HealthSeen::Healthy { since });
        self.pass();
    }
}

#[test]
fn the_time_from_the_end_of_one_to_the_first_check_of_the_other_is_the_downtime() {
    let mut noted = Noted::new("port: 5000");
    assert_eq!((noted.list.len(), noted.last().downtime_ms), (1, None));
    noted.edit("port: 5000");
    assert_eq!(noted.last().outcome, RevisionOutcome::Progressing);
    assert_eq!(noted.last().order, Some(RolloutOrder::StopFirst));
    noted.heal(Duration::from_millis(2_345));
    let last = noted.last();
    assert_eq!((last.outcome, last.downtime_ms), (RevisionOutcome::Succeeded, Some(2_345)));
    noted.rest();
    assert_eq!(noted.list.len(), 2);
}

/// A Berth that was not there when the old one ended does not make a figure up.
#[test]
fn what_nobody_saw_is_not_known() {
    let mut noted = Noted::new("port: 5000");
    noted.edit("port: 5000");
    noted.born = noted.sim.now + Duration::from_secs(1);
    noted.heal(Duration::from_secs(5));
    let last = noted.last();
    assert_eq!((last.outcome, last.downtime_ms), (RevisionOutcome::Succeeded, None));
}

/// Fault D47: an engine whose clock differs, and one that does not say.
#[test]
fn an_end_that_can_not_be_is_not_used() {
    let hour = Duration::from_secs(3600);
    for end in [None, Some(hour)] {
        let mut noted = Noted::new("port: 5000");
        noted.edit("port: 5000");
        for detail in noted.sim.state.details.values_mut() {
            detail.finished_at = end.and_then(|by| detail.finished_at.map(|at| at + by));
        }
        noted.heal(Duration::from_secs(5));
        assert_eq!(noted.last().downtime_ms, None, "{end:?}");
    }
}

/// What did not run before was not taken down by the new version.
#[test]
fn a_version_that_mends_a_dead_app_has_no_downtime_of_its_own() {
    let mut noted = Noted::new("port: 5000");
    noted.sim.world.containers[0].state = ContainerState::Exited;
    noted.sim.world.containers[0].exit_code = Some(1);
    noted.edit("port: 5000");
    noted.heal(Duration::from_secs(5));
    let last = noted.last();
    assert_eq!((last.outcome, last.downtime_ms), (RevisionOutcome::Succeeded, None));
}

#[test]
fn only_the_last_ten_are_remembered_and_numbers_go_on() {
    let mut noted = Noted::new("");
    for number in 0..12 {
        noted.edit(&format!("env: {{NUMBER: '{number}'}}"));
        noted.rest();
    }
    assert_eq!(noted.list.len(), 10);
    let numbers: Vec<_> = noted.list.iter().map(|revision| revision.number).collect();
    assert_eq!(numbers, (4..=13).collect::<Vec<_>>());
    assert!(noted.list.iter().all(|revision| revision.by == Asked::Manifest));
    // Two versions fit beside each other here.
    assert!(noted.list.iter().all(|revision| revision.downtime_ms == Some(0)));
}

/// What another version of Berth wrote otherwise costs no more than itself.
#[test]
fn a_revision_that_can_not_be_read_does_not_cost_the_others() {
    use berth::record::{file::Kept, ledger::Ledger};
    let noted = Noted::new("");
    let name = noted.sim.name.clone();
    let ledger = Ledger::default();
    ledger.update(&name, |facts| {
        let first = noted.list[0].clone();
        let others = (2..=4).map(|number| Revision { number, ..first.clone() });
        facts.revisions = std::sync::Arc::new([vec![first.clone()], others.collect()].concat());
    });
    let kept = ledger.kept();
    let mut json = serde_json::to_value(&kept).unwrap();
    assert_eq!(serde_json::from_value::<Kept>(json.clone()).unwrap(), kept);
    let rows = json["apps"]["chat"]["revisions"].as_array_mut().unwrap();
    rows[1] = serde_json::json!("rubbish");
    rows[2]["run"]["command"] = serde_json::json!({"Unheard": 1});
    json["apps"]["chat"]["pin"] = serde_json::json!({"revision": 1});
    let read: Kept = serde_json::from_value(json).unwrap();
    let app = &read.apps["chat"];
    let numbers: Vec<_> = app.revisions.iter().map(|r| (r.number, r.run.is_some())).collect();
    assert_eq!(numbers, [(1, true), (3, false), (4, true)]);
    assert_eq!(app.pin, None);
}
