//! From one version to the next: which container is the wanted one, what stops when, and what is
//! done about a container in an unusual state.

use std::time::Duration;

use berth::{
    model::{Bind, Reason, RolloutOrder},
    plan::{Call, Plan, Step, Verb, render_step},
    state::{ContainerState, Obstacle, Ownership, Want},
};

use super::{NEW, OLD, app, running};
use crate::sim::{Sim, image_app};

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|planned| render_step(&planned.step)).collect()
}

fn verbs(plan: &Plan) -> Vec<String> {
    let first = |step: String| step.split(' ').next().unwrap().to_owned();
    steps(plan).into_iter().map(first).collect()
}

/// The operator's settings are part of the shape, and no new generation.
#[test]
fn another_setting_of_the_operator_replaces_the_container() {
    let mut sim = running();
    sim.policy.publish = Bind::Lan;
    let plan = sim.plan();
    assert_eq!(plan.verb, Verb::Replace);
    let fields: Vec<_> = plan.changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["ports"]);
    assert!(plan.steps.iter().any(|step| step.cause == "changed: ports"));
}

#[test]
fn each_change_says_what_it_was_and_what_it_becomes() {
    let mut sim = Sim::new(&image_app("chat", OLD, "env: {A: '1', B: '1'}"));
    sim = sim.has_image(OLD).has_image(NEW);
    sim.settle();
    sim.edit(&image_app("chat", NEW, "env: {B: '2', C: '1'}"));
    let plan = sim.plan();
    let changes: Vec<_> = plan
        .changes
        .iter()
        .map(|change| format!("{}: {} -> {}", change.field, change.from, change.to))
        .collect();
    let expected = [
        "env.B: as it was -> as the manifest says",
        "env.C: absent -> present",
        &format!("image: {OLD} -> {NEW}"),
        "env.A: present -> absent",
    ];
    assert_eq!(changes, expected);
}

#[test]
fn a_change_that_can_not_be_named_is_a_changed_shape() {
    let mut sim = running();
    sim.edit(&app(NEW));
    let plan = sim.plan();
    let fields = plan.steps.iter().find_map(|planned| match &planned.step {
        Step::Call(Call::Create(spec)) => Some(spec.fields.clone()),
        _ => None,
    });
    let fields = fields.unwrap();
    if let Ownership::Ours(owner) = &mut sim.world.containers[0].ownership {
        let pairs = fields.split(',').filter_map(|pair| pair.split_once('='));
        owner.fields = pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
    }
    let plan = sim.plan();
    assert!(plan.changes.is_empty());
    assert!(plan.steps.iter().any(|step| step.cause == "its shape has changed"));
}

/// The record is lost, and the engine lists ages in whole seconds: two of one age say nothing
/// about which was brought back, so the wanted one is tried.
#[test]
fn two_containers_of_one_age_tell_no_rollback() {
    let mut sim = running();
    sim.nature.sick.push(NEW.to_owned());
    sim.edit(&app(NEW));
    sim.settle();
    sim.state.bad_revision = None;
    assert!(sim.plan().says(Reason::RolledBack).is_some());
    sim.world.containers[1].created = sim.world.containers[0].created;
    let plan = sim.plan();
    assert!(plan.says(Reason::RolledBack).is_none());
    assert_eq!(verbs(&plan), ["stop", "start"]);
}

/// What it went back to is removed by hand, and what is left never ran: the wanted version is tried
/// again, rather than nothing for ever.
#[test]
fn a_version_that_was_given_up_is_tried_again_when_nothing_is_left_to_go_back_to() {
    let mut sim = running();
    sim.nature.sick.push(NEW.to_owned());
    sim.edit(&app(NEW));
    sim.settle();
    let is_old = |container: &berth::state::Container| container.image == OLD;
    let old = sim.world.containers.iter().position(is_old).unwrap();
    for (state, told, steps) in [
        (ContainerState::Exited, true, &["start"][..]),
        (ContainerState::Created, false, &["start"][..]),
    ] {
        sim.world.containers[old].state = state;
        let plan = sim.plan();
        assert_eq!(plan.says(Reason::RolledBack).is_some(), told, "{state:?}");
        assert_eq!(verbs(&plan), steps, "{state:?}");
        let target = plan.steps.iter().find_map(|planned| match &planned.step {
            Step::Call(Call::Start(target)) => target.id.clone(),
            _ => None,
        });
        assert_eq!(target == Some(sim.world.containers[old].id.clone()), told, "{state:?}");
    }
    sim.world.containers.remove(old);
    assert!(sim.plan().says(Reason::RolledBack).is_none());
}

#[test]
fn what_does_not_share_a_port_starts_before_the_old_one_stops() {
    let with_ports = |image: &str, ports: &str| image_app("chat", image, ports);
    let order = |before: &str, after: &str| {
        let mut sim = Sim::new(&with_ports(OLD, before)).has_image(OLD).has_image(NEW);
        sim.settle();
        sim.edit(&with_ports(NEW, after));
        verbs(&sim.plan())
    };
    let port = |outside: u16, protocol: &str| {
        format!("ports: [{{containerPort: 53, hostPort: {outside}, protocol: {protocol}}}]")
    };
    let start_first = ["create", "start"];
    let stop_first = ["create", "stop", "start"];
    assert_eq!(order(&port(9000, "tcp"), &port(9000, "tcp")), stop_first);
    assert_eq!(order(&port(9000, "tcp"), &port(9001, "tcp")), start_first);
    assert_eq!(order(&port(9000, "tcp"), &port(9000, "udp")), start_first);
    assert_eq!(order("", "rollout: {order: stop-first}"), stop_first);
    let forced = format!("{}\nrollout: {{order: start-first}}", port(9000, "tcp"));
    assert_eq!(order(&port(9000, "tcp"), &forced), stop_first);
}

/// The stop says why it comes first.
#[test]
fn the_plan_says_why_the_old_version_stops_first() {
    let cause = |order: &str| {
        let rest = |image: &str| image_app("chat", image, &format!("port: 5000\n{order}"));
        let mut sim = Sim::new(&rest(OLD)).has_image(OLD).has_image(NEW);
        sim.settle();
        sim.edit(&rest(NEW));
        let plan = sim.plan();
        let stop =
            plan.steps.iter().find(|step| matches!(step.step, Step::Call(Call::Stop { .. })));
        assert_eq!(plan.version.unwrap().order, Some(RolloutOrder::StopFirst));
        stop.unwrap().cause.clone()
    };
    let kept = ", and is kept until the new version is healthy";
    let port = "both publish 127.0.0.1:8001 -> 5000/tcp";
    assert_eq!(cause("rollout: {order: auto}"), format!("it makes room ({port}){kept}"));
    assert_eq!(
        cause("rollout: {order: start-first}"),
        format!("it makes room (the manifest says `order: start-first`, but {port}){kept}")
    );
    assert_eq!(
        cause("rollout: {order: stop-first}"),
        format!("it makes room (the manifest says `order: stop-first`){kept}")
    );
}

/// A version that is to be made, with this in its way: the plan, and what runs meanwhile.
fn with_obstacle(state: ContainerState) -> Plan {
    let mut sim = running();
    sim.edit(&app(NEW));
    sim.world.containers[0].state = state;
    sim.state.obstacles =
        vec![Obstacle { reason: Reason::DiskFull, message: "there is no room".to_owned() }];
    let plan = sim.plan();
    assert_eq!(plan.says(Reason::DiskFull), Some("there is no room"));
    assert_eq!(plan.next_look(), Some(sim.now + Duration::from_secs(5)));
    plan
}

#[test]
fn nothing_stops_for_a_version_that_can_be_known_not_to_start() {
    assert!(with_obstacle(ContainerState::Running).is_empty());
    // What was there goes on, when it does not run.
    assert_eq!(verbs(&with_obstacle(ContainerState::Exited)), ["start"]);
}

/// Fault P01: somebody else took the port of a version that was made and not yet started.
#[test]
fn nothing_stops_for_a_version_whose_port_somebody_else_holds() {
    let port = |port: u16| format!("ports: [{{containerPort: 5000, hostPort: {port}}}]");
    let app = |image: &str, at: u16| {
        image_app("chat", image, &format!("{}\nrollout: {{order: stop-first}}", port(at)))
    };
    let mut sim = Sim::new(&app(OLD, 9000)).has_image(OLD).has_image(NEW);
    sim.settle();
    sim.edit(&app(NEW, 9001));
    sim.pass(Some(1));
    assert_eq!(sim.seen()[1], (NEW.to_owned(), ContainerState::Created));
    assert_eq!(verbs(&sim.plan()), ["stop", "start"]);
    let mut other = sim.world.containers[0].clone();
    other.ownership = Ownership::Foreign;
    other.id = berth::state::ContainerId::new("d".repeat(64));
    other.name = "legacy".to_owned();
    other.ports[0].host_port = 9001;
    sim.world.containers.push(other);
    let plan = berth::plan::plan(&sim.input());
    assert!(plan.is_empty(), "{:?}", steps(&plan));
    assert!(plan.says(Reason::PortTaken).unwrap().contains("legacy"));
}

/// Of two old ones that run, the one that never proved good makes room: never three.
#[test]
fn two_versions_at_a_time_are_enough() {
    let app = |image: &str| image_app("chat", image, "");
    let mut sim = Sim::new(&app(OLD)).has_image(OLD).has_image(NEW).has_image("shop/app:3");
    sim.settle();
    sim.nature.sick.push(NEW.to_owned());
    sim.edit(&app(NEW));
    sim.pass(None);
    assert_eq!(sim.running().len(), 2);
    sim.edit(&app("shop/app:3"));
    let plan = sim.pass(None);
    assert_eq!(verbs(&plan), ["create", "stop", "start"]);
    let running: Vec<_> = sim.running().iter().map(|c| c.image.clone()).collect();
    assert_eq!(running, [OLD, "shop/app:3"]);
    sim.settle();
    assert_eq!(sim.seen(), [("shop/app:3".to_owned(), ContainerState::Running)]);
}

#[test]
fn a_version_must_stay_healthy_as_long_as_the_manifest_says() {
    let app = |image: &str| image_app("chat", image, "port: 5000\nrollout: {minReady: 20s}");
    let mut sim = Sim::new(&app(OLD)).has_image(OLD).has_image(NEW);
    sim.settle();
    sim.edit(&app(NEW));
    sim.pass(None);
    sim.let_time_pass(Duration::from_secs(1));
    let plan = sim.plan();
    assert!(plan.is_empty());
    let said = plan.says(Reason::Proving).unwrap();
    assert_eq!(said, "healthy; it must stay so for 20s before the old version goes");
    sim.now = sim.now + Duration::from_secs(19);
    assert!(sim.plan().is_empty());
    // It fails meanwhile: the old one comes back.
    let mut fails = sim.clone();
    let id = fails.running()[0].id.clone();
    let (since, error) = (fails.now, "it hangs".to_owned());
    fails.state.health.insert(id, berth::state::HealthSeen::Unhealthy { since, error });
    assert_eq!(fails.plan().verb, Verb::Restore);
    sim.now = sim.now + Duration::from_secs(1);
    assert_eq!(verbs(&sim.plan()), ["remove"]);
}

/// A running container, touched by a hand on the engine this long after its start.
fn touched(age: u64, touch: impl FnOnce(&mut berth::state::Container)) -> (Sim, Plan) {
    let mut sim = running();
    touch(&mut sim.world.containers[0]);
    let started = sim.now;
    for detail in sim.state.details.values_mut() {
        detail.started_at = Some(started);
    }
    sim.now = sim.now + Duration::from_secs(age);
    let plan = sim.plan();
    (sim, plan)
}

/// Fault D46.
#[test]
fn a_container_that_lost_its_network_or_port_is_made_anew() {
    let (sim, plan) = touched(60, |container| container.networks.clear());
    let name = &sim.world.containers[0].name;
    assert_eq!(plan.verb, Verb::Replace);
    let expected = ["stop", "remove", "ensure", "create", "start"];
    assert_eq!(verbs(&plan), expected);
    assert_eq!(steps(&plan)[1], format!("remove {name}"));
    assert_eq!(plan.steps[0].cause, "drift: it is not in the network berth any more");
    let (_, plan) = touched(60, |container| container.ports.clear());
    assert!(plan.steps[0].cause.contains("-> 5000/tcp is not bound"));
}

/// Fault D18: what differs at once after it was made would differ again.
#[test]
fn a_container_that_was_started_just_now_is_left_for_a_minute() {
    let (sim, plan) = touched(59, |container| container.networks.clear());
    assert!(plan.is_empty());
    assert!(plan.says(Reason::Drift).unwrap().contains("left for a minute"));
    assert_eq!(plan.next_look(), Some(sim.now + Duration::from_secs(1)));
    let (_, plan) = touched(0, |container| container.networks.clear());
    assert!(plan.is_empty());
}

#[test]
fn what_does_not_run_has_not_drifted() {
    let (_, plan) = touched(600, |container| {
        container.networks.clear();
        container.state = ContainerState::Restarting;
    });
    assert!(plan.says(Reason::Drift).is_none() && plan.is_empty());
}

/// Faults D34, D05, D04.
#[test]
fn unusual_states_have_an_answer_each() {
    let in_state = |state: ContainerState| touched(600, |container| container.state = state).1;
    let plan = in_state(ContainerState::Paused);
    assert!(plan.is_empty());
    assert!(plan.says(Reason::ContainerPaused).unwrap().contains("docker unpause"));
    let plan = in_state(ContainerState::Dead);
    assert_eq!((plan.verb, verbs(&plan)), (Verb::Replace, vec!["remove".to_owned()]));
    for state in [ContainerState::Removing, ContainerState::Unknown] {
        let plan = in_state(state);
        assert!(plan.is_empty());
        assert!(plan.says(Reason::Starting).unwrap().contains("until the engine is done"));
    }
}

/// What the app ended with, under a restart policy; the kept version 1 beside it or not.
fn ended(restart: &str, code: i64, has_kept: bool) -> Plan {
    let rest = format!("restart: {restart}\nhealth: none");
    let mut sim = Sim::new(&image_app("chat", OLD, &rest)).has_image(OLD).has_image(NEW);
    sim.settle();
    sim.edit(&image_app("chat", NEW, &format!("{rest}\nrollout: {{order: stop-first}}")));
    sim.pass(None);
    if !has_kept {
        sim.world.containers.remove(0);
    }
    let current = sim.world.containers.last_mut().unwrap();
    current.state = ContainerState::Exited;
    current.exit_code = Some(code);
    sim.plan()
}

#[test]
fn what_ended_is_started_again_as_its_policy_says() {
    let starts = |plan: &Plan| verbs(plan).contains(&"start".to_owned());
    for code in [0, 1] {
        let plan = ended("Always", code, false);
        assert!(starts(&plan) && plan.verb == Verb::Start);
        assert_eq!(plan.steps[0].cause, format!("it is not running (exit code {code})"));
    }
    assert!(starts(&ended("OnFailure", 1, false)));
    let done = "it has done its work (exit code 0)";
    for policy in ["OnFailure", "Never"] {
        let plan = ended(policy, 0, false);
        assert!(plan.is_empty() && plan.refusals.is_empty());
        assert_eq!(plan.says(Reason::Exited), Some(done));
        // The version before goes.
        assert_eq!(verbs(&ended(policy, 0, true)), ["remove"]);
    }
    let plan = ended("Never", 1, false);
    assert!(plan.is_empty() && plan.gives_up.is_none());
    assert!(plan.says(Reason::Exited).unwrap().starts_with("it exited with code 1"));
    let plan = ended("Never", 1, true);
    assert_eq!(plan.gives_up.as_ref().unwrap().reason, Reason::Exited);
    assert_eq!((plan.verb, verbs(&plan)), (Verb::Restore, vec!["start".to_owned()]));
}

#[test]
fn a_task_that_failed_beside_a_running_version_or_without_rollback_is_only_said() {
    let rest = "restart: Never\nhealth: none\nrollout: {autoRollback: false}";
    let mut sim = Sim::new(&image_app("chat", OLD, rest)).has_image(OLD).has_image(NEW);
    sim.settle();
    let end = |sim: &mut Sim| {
        let current = sim.world.containers.last_mut().unwrap();
        current.state = ContainerState::Exited;
        current.exit_code = Some(1);
    };
    end(&mut sim);
    sim.edit(&image_app("chat", NEW, rest));
    sim.pass(None);
    end(&mut sim);
    let plan = sim.plan();
    assert!(plan.gives_up.is_none() && plan.is_empty(), "{:?}", steps(&plan));
    assert!(plan.says(Reason::Exited).is_some());
}

/// A new version whose image can't be had, over what was there.
fn stuck(state: ContainerState) -> Sim {
    let mut sim = running();
    sim.nature.missing.push("shop/app:3".to_owned());
    sim.edit(&app("shop/app:3"));
    sim.pass(None);
    sim.world.containers[0].state = state;
    sim
}

#[test]
fn what_was_there_goes_on_running_while_the_new_version_can_not_be_had() {
    let mut sim = stuck(ContainerState::Exited);
    let plan = sim.plan();
    assert_eq!((plan.verb, verbs(&plan)), (Verb::Start, vec!["start".to_owned()]));
    assert!(plan.says(Reason::PullFailed).is_some());
    assert!(stuck(ContainerState::Running).plan().is_empty());
    // What never ran is no version to fall back to.
    assert!(stuck(ContainerState::Created).plan().is_empty());
}

#[test]
fn a_version_that_was_given_up_is_not_what_goes_on_running() {
    let mut sim = stuck(ContainerState::Exited);
    let owner = sim.world.containers[0].ownership.owner().unwrap().clone();
    let bad = |hash: &berth::model::SpecHash| berth::state::BadRevision {
        spec_hash: hash.clone(),
        reason: Reason::CrashLoop,
        message: "it failed".to_owned(),
        at: berth::model::Timestamp::from_millis(0),
    };
    sim.state.bad_revision = Some(bad(&owner.spec_hash));
    assert!(sim.plan().is_empty());
    sim.state.bad_revision = Some(bad(&berth::model::SpecHash::from_label("v1:other")));
    assert_eq!(verbs(&sim.plan()), ["start"]);
}

/// Faults P01, P05: what was there runs on, and a moment later one looks again.
#[test]
fn a_port_that_is_not_to_be_had_is_looked_for_again() {
    let mut sim = running();
    let mut other = sim.world.containers[0].clone();
    other.ownership = Ownership::Foreign;
    other.id = berth::state::ContainerId::new("d".repeat(64));
    other.ports[0].host_port = 9000;
    sim.world.containers.push(other);
    sim.edit(&image_app("chat", OLD, "ports: [{containerPort: 5000, hostPort: 9000}]"));
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert_eq!(plan.next_look(), Some(sim.now + Duration::from_secs(5)));
    sim.world.containers[0].state = ContainerState::Exited;
    assert_eq!(verbs(&sim.plan()), ["start"]);
}

#[test]
fn a_manifest_with_mistakes_and_nothing_before_it_does_nothing() {
    let mut sim = running();
    let problem = "unknown field".to_owned();
    sim.want = Want::Invalid { last_good: None, problem };
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert_eq!(plan.says(Reason::InvalidManifest), Some("unknown field"));
}
