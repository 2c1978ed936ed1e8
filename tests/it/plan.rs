//! What the planner decides, case by case.

use std::{sync::Arc, time::Duration};

use berth::{
    model::Reason,
    plan::{Verb, render},
    state::{ContainerState, Hold, Ownership, Request, Want},
};

use crate::sim::{Sim, image_app};

mod acquire;
mod again;
mod behind;
mod lint;
mod prune;
mod resolved;
mod rollout;
mod scans;
mod shape;
mod twins;
mod verdict;

const OLD: &str = "shop/app:1";
const NEW: &str = "shop/app:2";

fn app(image: &str) -> Arc<berth::model::App> {
    image_app("chat", image, "port: 5000")
}

/// A sim in which version 1 runs and is healthy.
fn running() -> Sim {
    let mut sim = Sim::new(&app(OLD)).has_image(OLD).has_image(NEW);
    sim.settle();
    assert_eq!(sim.seen(), [(OLD.to_owned(), ContainerState::Running)]);
    sim.journal.clear();
    sim
}

#[test]
fn the_first_container_is_made_and_started() {
    let mut sim = Sim::new(&app(OLD)).has_image(OLD);
    let plan = sim.plan();
    assert_eq!(plan.verb, Verb::Create);
    let hash = &plan.wanted.as_ref().unwrap().suffix();
    assert_eq!(
        render(&plan),
        format!(
            "+ app/chat will be created\n    \
             1. ensure network berth    # apps share it\n    \
             2. create chat-{hash} from shop/app:1 (127.0.0.1:8001 -> 5000/tcp)    # no container of this app exists\n    \
             3. start chat-{hash}    # it is the wanted version\n    \
             waits: the container is being started (Starting)\n"
        )
    );
}

#[test]
fn an_image_that_is_not_there_is_pulled_first() {
    let mut sim = Sim::new(&app(OLD));
    let plan = sim.pass(None);
    assert_eq!(sim.journal, ["pull shop/app:1"]);
    assert_eq!(plan.then, ["create", "start"]);
    sim.settle();
    assert_eq!(sim.running().len(), 1);
}

#[test]
fn planning_again_after_it_was_done_gives_nothing() {
    let mut sim = running();
    assert!(sim.plan().is_empty());
    assert!(sim.plan().waits.is_empty() && sim.plan().refusals.is_empty());
}

#[test]
fn the_old_version_is_kept_until_the_new_one_is_healthy() {
    let mut sim = running();
    sim.edit(&app(NEW));
    let plan = sim.pass(None);
    assert_eq!(plan.verb, Verb::Replace);
    assert_eq!(plan.changes.len(), 1, "{:?}", plan.changes);
    let states: Vec<_> = sim.seen().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [ContainerState::Exited, ContainerState::Running]);
    sim.settle();
    assert_eq!(sim.seen(), [(NEW.to_owned(), ContainerState::Running)]);
}

#[test]
fn a_new_version_that_never_gets_healthy_gives_way_to_the_kept_one() {
    let mut sim = running();
    sim.nature.sick.push(NEW.to_owned());
    sim.edit(&app(NEW));
    sim.settle();
    let running: Vec<_> = sim.running().iter().map(|c| c.image.clone()).collect();
    assert_eq!(running, [OLD]);
    let plan = sim.plan();
    assert!(plan.says(Reason::RolledBack).unwrap().contains("connection refused"));
    // The same revision is not tried again by itself, however long one waits …
    sim.journal.clear();
    sim.let_time_pass(Duration::from_secs(86_400));
    sim.settle();
    assert!(sim.journal.is_empty(), "{:?}", sim.journal);
    // … but when somebody asks for it.
    sim.nature.sick.clear();
    sim.ask(Request::Retry);
    sim.settle();
    assert_eq!(sim.seen(), [(NEW.to_owned(), ContainerState::Running)]);
}

/// The record of the failure is lost: the containers alone say that it was rolled back.
#[test]
fn a_rollback_is_seen_from_the_containers_when_the_record_is_lost() {
    let mut sim = running();
    sim.nature.sick.push(NEW.to_owned());
    sim.edit(&app(NEW));
    sim.settle();
    sim.state.bad_revision = None;
    sim.journal.clear();
    sim.settle();
    assert!(sim.journal.is_empty(), "{:?}", sim.journal);
}

#[test]
fn health_labels_and_policies_of_rollout_change_no_container() {
    let mut sim = running();
    let same = image_app(
        "chat",
        OLD,
        "port: 5000\nhealth: {tcp: {port: 5000}, interval: 3s}\nrollout: {order: start-first}",
    );
    sim.edit(&same);
    assert!(sim.plan().is_empty());
}

#[test]
fn a_changed_variable_is_named_and_needs_no_pull() {
    let mut sim = running();
    sim.edit(&image_app("chat", OLD, "port: 5000\nenv: {LOG: debug}"));
    let plan = sim.pass(None);
    let fields: Vec<_> = plan.changes.iter().map(|change| change.field.as_str()).collect();
    assert_eq!(fields, ["env.LOG"]);
    assert!(sim.journal.iter().all(|step| !step.starts_with("pull")), "{:?}", sim.journal);
}

#[test]
fn a_container_killed_by_hand_is_started_again() {
    let mut sim = running();
    sim.world.containers[0].state = ContainerState::Exited;
    let plan = sim.pass(None);
    assert_eq!(plan.verb, Verb::Start);
    assert_eq!(sim.journal.len(), 1);
    assert_eq!(sim.running().len(), 1);
}

#[test]
fn a_container_removed_by_hand_is_made_again_with_its_port() {
    let mut sim = running();
    let port = sim.world.containers[0].ports[0].host_port;
    sim.world.containers.clear();
    sim.settle();
    assert_eq!(sim.running()[0].ports[0].host_port, port);
}

#[test]
fn a_paused_app_is_stopped_and_kept() {
    let mut sim = running();
    sim.state.is_paused = true;
    sim.settle();
    assert_eq!(sim.seen(), [(OLD.to_owned(), ContainerState::Exited)]);
    sim.state.is_paused = false;
    sim.settle();
    assert_eq!(sim.running().len(), 1);
}

#[test]
fn an_app_that_is_gone_is_removed_whole() {
    let mut sim = running();
    sim.want = Want::Absent;
    sim.settle();
    assert!(sim.world.containers.is_empty());
}

/// Fault W01.
#[test]
fn an_app_whose_removal_is_held_back_is_not_touched() {
    let mut sim = running();
    sim.want = Want::Held(Hold::Unreadable("the folder is gone".to_owned()));
    assert!(sim.plan().is_empty());
    assert!(sim.plan().says(Reason::SourceUnreadable).is_some());
}

#[test]
fn an_app_with_mistakes_stays_as_it_was_and_is_still_healed() {
    let mut sim = running();
    let last_good = Some(app(OLD));
    sim.want = Want::Invalid { last_good, problem: "unknown field".to_owned() };
    assert!(sim.plan().is_empty());
    assert_eq!(sim.plan().says(Reason::InvalidManifest), Some("unknown field"));
    sim.world.containers[0].state = ContainerState::Exited;
    assert_eq!(sim.plan().verb, Verb::Start);
}

/// Fault D02: somebody else has the name.
#[test]
fn a_foreign_container_with_our_name_is_left_alone() {
    let mut sim = Sim::new(&app(OLD)).has_image(OLD);
    sim.settle();
    sim.world.containers[0].ownership = Ownership::Foreign;
    sim.world.containers[0].ports.clear();
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(plan.says(Reason::NameConflict).unwrap().contains("rename or remove it"));
}

/// Fault D38, D25: what can't be had does not cost what runs.
#[test]
fn a_version_that_can_not_be_pulled_leaves_the_old_one_running() {
    let mut sim = running();
    sim.nature.missing.push("shop/app:3".to_owned());
    sim.edit(&app("shop/app:3"));
    sim.settle();
    assert_eq!(sim.seen(), [(OLD.to_owned(), ContainerState::Running)]);
    assert!(sim.plan().says(Reason::PullFailed).is_some());
}

/// Fault D23.
#[test]
fn the_container_that_berth_runs_in_is_never_part_of_a_plan() {
    let mut sim = running();
    sim.policy.own_container = Some(sim.world.containers[0].id.clone());
    sim.want = Want::Absent;
    assert!(sim.plan().is_empty());
}

/// Fault T08, D18: a hash of another version says nothing; the container is taken over.
#[test]
fn a_container_with_a_hash_of_another_version_is_adopted() {
    let mut sim = running();
    if let Ownership::Ours(owner) = &mut sim.world.containers[0].ownership {
        owner.spec_hash = berth::model::SpecHash::from_label("v0:1234567890");
    }
    sim.world.containers[0].name = "chat-12345678".to_owned();
    let plan = sim.plan();
    assert!(plan.is_empty() && plan.refusals.is_empty(), "{}", render(&plan));
    sim.edit(&app(NEW));
    sim.settle();
    assert_eq!(sim.seen(), [(NEW.to_owned(), ContainerState::Running)]);
}

#[test]
fn an_app_without_host_ports_starts_the_new_version_first() {
    let mut sim = Sim::new(&image_app("chat", OLD, "")).has_image(OLD).has_image(NEW);
    sim.settle();
    sim.edit(&image_app("chat", NEW, ""));
    sim.pass(None);
    assert_eq!(sim.running().len(), 2);
    sim.settle();
    assert_eq!(sim.seen(), [(NEW.to_owned(), ContainerState::Running)]);
}

#[test]
fn a_job_like_app_that_ended_well_stays_ended() {
    let mut sim = Sim::new(&image_app("once", OLD, "restart: Never")).has_image(OLD);
    sim.pass(None);
    sim.world.containers[0].state = ContainerState::Exited;
    sim.world.containers[0].exit_code = Some(0);
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(plan.says(Reason::Exited).is_some());
}

#[test]
fn host_mounts_need_the_operators_word() {
    let app = image_app("chat", OLD, "mounts: [{path: /data, host: /srv/data}]");
    let mut sim = Sim::new(&app).has_image(OLD);
    assert!(sim.plan().says(Reason::NotAllowed).unwrap().contains("--allow-host-mount"));
    sim.policy.host_mounts = vec!["/srv".to_owned()];
    assert_eq!(sim.plan().verb, Verb::Create);
    sim.policy.host_mounts = vec!["/sr".to_owned()];
    assert!(sim.plan().is_empty());
}

#[test]
fn an_app_waits_for_those_it_depends_on() {
    let mut sim = Sim::new(&image_app("web", OLD, "dependsOn: [db]")).has_image(OLD);
    assert!(sim.plan().says(Reason::WaitingForDependency).unwrap().contains("db"));
    sim.state.ready.insert(berth::model::AppName::new("db").unwrap());
    assert_eq!(sim.plan().verb, Verb::Create);
}

/// Faults P01, P05: a fixed port that somebody else holds.
#[test]
fn a_taken_fixed_port_is_refused_with_its_holder() {
    let mut sim = running();
    let mut other = sim.world.containers[0].clone();
    other.ownership = Ownership::Foreign;
    other.name = "legacy".to_owned();
    other.ports[0].host_port = 9000;
    sim.world.containers.push(other);
    sim.edit(&image_app("chat", OLD, "ports: [{containerPort: 5000, hostPort: 9000}]"));
    let plan = sim.plan();
    // Said where ports are given: long before preflight would see that it is bound.
    let said = plan.says(Reason::PortTaken).unwrap();
    assert!(said.contains("legacy") && said.contains("choose another"), "{said}");
    assert!(plan.is_empty());
}

/// Fault P08.
#[test]
fn an_exhausted_port_range_is_said() {
    let mut sim = Sim::new(&app(OLD)).has_image(OLD);
    sim.policy.ports = berth::model::PortRange { first: 8001, last: 8001 };
    let other = app(OLD);
    let mut foreign = Sim::new(&other).has_image(OLD);
    foreign.settle();
    let mut holder = foreign.world.containers[0].clone();
    holder.ownership = Ownership::Foreign;
    holder.name = "holder".to_owned();
    sim.world.containers.push(holder);
    assert!(sim.plan().says(Reason::NoPortFree).unwrap().contains("8001-8001"));
}

/// Only images of the base family have sshd and rclone, and mounts take the operator's word.
#[test]
fn services_need_an_image_that_has_them_and_mounts_the_operators_word() {
    let key = format!("ssh-ed25519 AAAA{}", "x".repeat(60));
    let more = format!("access: {{ssh: {{authorizedKeys: [{key}]}}}}\nworkspace: {{uid: 7}}");
    let app = image_app("lab", OLD, &more);
    let mut sim = Sim::new(&app).has_image(OLD);
    let refused = sim.plan().says(Reason::InvalidManifest).unwrap().to_owned();
    assert!(refused.contains("base family") && refused.contains(OLD), "{refused}");
    sim.world.equipped.insert(format!("sha256:{OLD}"));
    let plan = sim.plan();
    let shape = &plan.container.as_ref().unwrap().shape;
    assert_eq!(shape.env["SSH_PUBKEY"], key);
    assert_eq!(shape.env["WORKSPACE_UID"], "7");
    assert!(!shape.services.unwrap().fuse);

    let more = "mounts: [{path: /far, readOnly: true, rclone: {remote: \"nas:x\", cache: full}}]";
    let app = image_app("lab", OLD, more);
    let mut sim = Sim::new(&app).has_image(OLD);
    sim.world.equipped.insert(format!("sha256:{OLD}"));
    assert!(sim.plan().says(Reason::NotAllowed).unwrap().contains("--allow-fuse lab"));
    sim.policy.fuse_apps = vec!["other".to_owned()];
    assert!(sim.plan().says(Reason::NotAllowed).is_some());
    sim.policy.fuse_apps = vec!["lab".to_owned()];
    let plan = sim.plan();
    let shape = &plan.container.as_ref().unwrap().shape;
    assert_eq!(shape.env["REMOTE_MOUNTS"], "nas:x /far ro cache=full");
    assert!(shape.services.unwrap().fuse && shape.mounts.iter().all(|mount| mount.path != "/far"));
    sim.policy.profile = berth::model::Profile::Restricted;
    assert!(sim.plan().says(Reason::NotAllowed).unwrap().contains("restricted"));
}
