//! How the wanted container does: what is waited for, and when it has failed.

use std::time::Duration;

use berth::{
    model::{Reason, Timestamp},
    plan::Plan,
    state::{Container, ContainerState, Detail, HealthSeen},
};

use super::{NEW, OLD, running};
use crate::sim::{Sim, image_app};

const MS: Duration = Duration::from_millis(1);

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn just_under(number: u64) -> Duration {
    seconds(number).saturating_sub(MS)
}

fn detail(sim: &mut Sim, change: impl FnOnce(&mut Detail)) {
    let id = sim.world.containers.last().unwrap().id.clone();
    change(sim.state.details.entry(id).or_default());
}

fn health(sim: &mut Sim, seen: HealthSeen) {
    let id = sim.world.containers.last().unwrap().id.clone();
    sim.state.health.insert(id, seen);
}

fn is_content(plan: &Plan) -> bool {
    plan.is_empty() && plan.waits.is_empty() && plan.refusals.is_empty()
}

/// A sim whose app nobody checks; it was started this long ago.
fn unchecked(age: Duration, restarts: u64, state: ContainerState) -> Plan {
    let mut sim = Sim::new(&image_app("chat", OLD, "health: none")).has_image(OLD);
    sim.pass(None);
    let now = sim.now;
    detail(&mut sim, |detail| {
        detail.started_at = Some(now);
        detail.restart_count = restarts;
    });
    sim.world.containers[0].state = state;
    sim.now = sim.now + age;
    sim.plan()
}

#[test]
fn an_unchecked_app_counts_as_running_after_a_second() {
    let plan = unchecked(just_under(1), 0, ContainerState::Running);
    assert_eq!(plan.says(Reason::Starting), Some("it was started just now"));
    assert!(plan.is_empty());
    assert!(is_content(&unchecked(seconds(1), 0, ContainerState::Running)));
    assert!(is_content(&unchecked(seconds(9), 0, ContainerState::Running)));
    let plan = unchecked(seconds(3600), 0, ContainerState::Restarting);
    assert_eq!(plan.says(Reason::Starting), Some("it was started just now"));
}

#[test]
fn an_unchecked_app_that_was_started_again_counts_as_running_after_ten_seconds() {
    for restarts in [1, 2] {
        let plan = unchecked(just_under(10), restarts, ContainerState::Running);
        assert_eq!(plan.says(Reason::Starting), Some("it exited and was started again"));
        assert!(is_content(&unchecked(seconds(10), restarts, ContainerState::Running)));
        let plan = unchecked(seconds(60), restarts, ContainerState::Restarting);
        assert_eq!(plan.says(Reason::Starting), Some("it exited and was started again"));
    }
}

/// Fault D29.
#[test]
fn an_unchecked_app_that_ends_again_and_again_is_in_a_crash_loop() {
    for restarts in [3, 30] {
        let plan = unchecked(just_under(10), restarts, ContainerState::Running);
        assert!(plan.says(Reason::CrashLoop).unwrap().contains(&format!("{restarts} times")));
        assert!(is_content(&unchecked(seconds(10), restarts, ContainerState::Running)));
        let plan = unchecked(seconds(60), restarts, ContainerState::Restarting);
        assert!(plan.says(Reason::CrashLoop).is_some());
    }
}

#[test]
fn how_it_ends_is_said_in_words() {
    let says = |change: &dyn Fn(&mut Detail), listed: Option<i64>| {
        let mut sim = running();
        sim.world.containers[0].state = ContainerState::Restarting;
        sim.world.containers[0].exit_code = listed;
        detail(&mut sim, |detail| {
            detail.restart_count = 3;
            change(detail);
        });
        let plan = sim.plan();
        let message = plan.says(Reason::CrashLoop).unwrap();
        message.split_once(", and was started again 3 times").unwrap().0.to_owned()
    };
    let code = |code| move |detail: &mut Detail| detail.exit_code = Some(code);
    assert_eq!(says(&|_| {}, None), "it exits");
    assert_eq!(says(&|_| {}, Some(3)), "it exits with code 3");
    assert_eq!(says(&code(4), Some(3)), "it exits with code 4");
    assert!(says(&code(127), None).ends_with("its program was not found"));
    assert!(says(&code(126), None).ends_with("its program can't be executed"));
    let oom = |detail: &mut Detail| detail.is_oom_killed = true;
    assert_eq!(says(&oom, Some(137)), "it ran out of memory");
}

#[test]
fn what_passed_its_check_counts_only_while_it_runs() {
    let mut sim = running();
    assert!(is_content(&sim.plan()));
    sim.world.containers[0].state = ContainerState::Restarting;
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(plan.says(Reason::Probing).is_some());
}

#[test]
fn a_check_that_fails_is_said_unless_the_app_does_not_even_run() {
    let mut sim = running();
    let unhealthy = HealthSeen::Unhealthy { since: sim.now, error: "status 500".to_owned() };
    health(&mut sim, unhealthy);
    assert_eq!(sim.plan().says(Reason::Unhealthy), Some("status 500"));
    detail(&mut sim, |detail| detail.restart_count = 2);
    assert_eq!(sim.plan().says(Reason::Unhealthy), Some("status 500"));
    detail(&mut sim, |detail| detail.restart_count = 3);
    let plan = sim.plan();
    assert!(plan.says(Reason::CrashLoop).is_some() && plan.says(Reason::Unhealthy).is_none());
    let starting = HealthSeen::Starting { since: sim.now, error: None };
    health(&mut sim, starting);
    assert!(sim.plan().says(Reason::CrashLoop).is_some());
}

/// A sim whose container has ten minutes, and this much of them left.
fn probing(left: Duration, error: Option<&str>) -> (Sim, Timestamp) {
    let mut sim = running();
    let deadline = sim.now + seconds(600);
    let now = sim.now;
    detail(&mut sim, |detail| detail.started_at = Some(now));
    let error = error.map(ToOwned::to_owned);
    health(&mut sim, HealthSeen::Starting { since: now, error });
    sim.now = sim.now + seconds(600).saturating_sub(left);
    (sim, deadline)
}

#[test]
fn a_check_that_never_passed_is_waited_for_until_the_deadline() {
    let (mut sim, _) = probing(seconds(5), Some("connection refused"));
    let plan = sim.plan();
    let message = "the health check has not passed yet (connection refused); 5s left";
    assert_eq!(plan.says(Reason::Probing), Some(message));
    assert_eq!(plan.next_look(), Some(sim.now + seconds(1)));
    // The last look is at the deadline, to the moment.
    let (mut sim, deadline) = probing(MS * 400, Some("connection refused"));
    assert_eq!(sim.plan().next_look(), Some(deadline));
    let (mut sim, _) = probing(Duration::ZERO, Some("connection refused"));
    let message = "the health check did not pass within 10m: connection refused";
    assert_eq!(sim.plan().says(Reason::ProbeDeadline), Some(message));
}

/// Who has not looked yet does not know: Berth may have started just now.
#[test]
fn without_a_look_no_deadline_is_missed() {
    for late in [Duration::ZERO, seconds(60)] {
        let (mut sim, _) = probing(Duration::ZERO, None);
        sim.now = sim.now + late;
        let plan = sim.plan();
        assert!(plan.says(Reason::Probing).unwrap().contains("no answer yet"));
        assert_eq!(plan.next_look(), Some(sim.now + seconds(1)));
    }
}

/// Version 2 runs, version 1 is kept; nobody has checked version 2 yet.
fn replaced() -> Sim {
    let mut sim = running();
    sim.edit(&image_app("chat", NEW, "port: 5000\nrollout: {deadline: 5s}"));
    sim.pass(None);
    assert_eq!(sim.running()[0].image, NEW);
    let now = sim.now;
    detail(&mut sim, |detail| {
        detail.started_at = Some(now);
        detail.restart_count = 3;
    });
    sim
}

/// Between two crashes nobody can tell how it ended.
#[test]
fn a_crash_loop_is_given_up_once_it_is_known_how_it_ends() {
    let mut sim = replaced();
    sim.now = sim.now + just_under(10);
    let plan = sim.plan();
    assert!(plan.is_empty() && plan.gives_up.is_none());
    assert!(plan.says(Reason::CrashLoop).is_some());
    assert_eq!(plan.next_look(), Some(sim.now + seconds(1)));
    let gives_up = |sim: &mut Sim| {
        let plan = sim.plan();
        plan.gives_up.map(|refusal| refusal.reason)
    };
    // Its end is known, from an inspection or from the list.
    let mut known = sim.clone();
    detail(&mut known, |detail| detail.exit_code = Some(1));
    assert_eq!(gives_up(&mut known), Some(Reason::CrashLoop));
    let mut listed = sim.clone();
    listed.world.containers[1].exit_code = Some(1);
    assert_eq!(gives_up(&mut listed), Some(Reason::CrashLoop));
    // It has run so long that no end is near.
    sim.now = sim.now + MS;
    assert_eq!(gives_up(&mut sim), Some(Reason::CrashLoop));
}

#[test]
fn another_failure_than_a_crash_waits_for_nothing() {
    let mut sim = replaced();
    detail(&mut sim, |detail| detail.restart_count = 0);
    let starting = HealthSeen::Starting { since: sim.now, error: Some("refused".to_owned()) };
    health(&mut sim, starting);
    sim.now = sim.now + seconds(5);
    assert_eq!(sim.plan().gives_up.unwrap().reason, Reason::ProbeDeadline);
}

#[test]
fn without_a_version_to_go_back_to_it_is_only_said() {
    let mut sim = replaced();
    detail(&mut sim, |detail| detail.exit_code = Some(1));
    sim.world.containers.remove(0);
    let plan = sim.plan();
    assert!(plan.is_empty() && plan.gives_up.is_none());
    assert!(plan.says(Reason::CrashLoop).is_some());
}

#[test]
fn without_automatic_rollback_it_is_only_said() {
    let mut sim = running();
    sim.edit(&image_app("chat", NEW, "port: 5000\nrollout: {autoRollback: false}"));
    sim.pass(None);
    detail(&mut sim, |detail| {
        detail.restart_count = 3;
        detail.exit_code = Some(1);
    });
    let plan = sim.plan();
    assert!(plan.is_empty() && plan.gives_up.is_none());
    assert!(plan.says(Reason::CrashLoop).is_some());
}

/// The old one runs beside the new one: it is enough to end the new one.
#[test]
fn a_version_beside_the_old_one_gives_way_without_a_start() {
    let app = |image: &str| image_app("chat", image, "health: none");
    let mut sim = Sim::new(&app(OLD)).has_image(OLD).has_image(NEW);
    sim.settle();
    sim.edit(&app(NEW));
    sim.pass(None);
    detail(&mut sim, |detail| {
        detail.restart_count = 3;
        detail.exit_code = Some(1);
    });
    sim.journal.clear();
    let plan = sim.pass(None);
    assert_eq!(plan.gives_up.unwrap().reason, Reason::CrashLoop);
    assert_eq!(sim.journal.len(), 1, "{:?}", sim.journal);
    let images: Vec<_> = sim.running().iter().map(|c: &&Container| c.image.clone()).collect();
    assert_eq!(images, [OLD]);
}
