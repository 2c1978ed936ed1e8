//! From an app to its container: grace, mounts, environment, ports; and the texts about them.

use std::sync::Arc;

use berth::{
    model::{App, MountSource, Protocol, Reason},
    plan::{Call, Claims, ContainerSpec, Step, Verb, place_ports, render},
    state::{ContainerState, Policy, Want},
};

use super::{NEW, OLD, app, running};
use crate::sim::{Sim, image_app};

fn spec(app: &Arc<App>) -> Box<ContainerSpec> {
    let plan = Sim::new(app).has_image(OLD).plan();
    let made = plan.steps.into_iter().find_map(|planned| match planned.step {
        Step::Call(Call::Create(spec)) => Some(spec),
        _ => None,
    });
    made.unwrap()
}

#[test]
fn the_grace_period_is_the_manifests() {
    assert_eq!(spec(&image_app("chat", OLD, "stopGracePeriod: 35s")).grace_s, 35);
    let app = image_app("chat", OLD, "stopGracePeriod: 35s");
    let mut sim = Sim::new(&app).has_image(OLD);
    sim.settle();
    sim.state.is_paused = true;
    let plan = sim.plan();
    let Step::Call(Call::Stop { grace_s, .. }) = &plan.steps[0].step else { panic!("{plan:?}") };
    assert_eq!((*grace_s, plan.verb), (Some(35), Verb::Stop));
}

#[test]
fn the_apps_own_folder_is_mounted_once() {
    let spec = spec(&image_app("chat", OLD, "mounts: [{path: /z, volume: models}]"));
    let mounts: Vec<_> = spec.shape.mounts.iter().map(|mount| mount.path.as_str()).collect();
    assert_eq!(mounts, ["/workspace", "/z"]);
    let source = &spec.shape.mounts[0].source;
    assert_eq!(*source, MountSource::Host("/opt/dockerstore/chat/data".to_owned()));
    assert!(!spec.shape.mounts[0].read_only);
    assert_eq!(spec.shape.env["WORKSPACE"], "/workspace");
    let moved = image_app("chat", OLD, "workspace: {path: /home/app}");
    let spec = self::spec(&moved);
    assert_eq!(spec.shape.mounts[0].path, "/home/app");
    assert_eq!(spec.shape.env["WORKSPACE"], "/home/app");
}

#[test]
fn a_mount_in_its_place_keeps_the_apps_own_folder_out() {
    let mut app = App::clone(&image_app("chat", OLD, "mounts: [{path: /z, volume: models}]"));
    app.spec.workspace.path = "/z".to_owned();
    let spec = spec(&Arc::new(app));
    let sources: Vec<_> = spec.shape.mounts.iter().map(|mount| mount.source.clone()).collect();
    assert_eq!(sources, [MountSource::Volume("models".to_owned())]);
}

/// Which host paths the operator's list lets through.
#[test]
fn host_paths_are_allowed_by_whole_folders() {
    let is_allowed = |root: &str, path: &str| {
        let rest = format!("mounts: [{{path: /z, host: {path}}}]");
        let mut sim = Sim::new(&image_app("chat", OLD, &rest)).has_image(OLD);
        sim.policy.host_mounts = vec!["/nowhere".to_owned(), root.to_owned()];
        sim.plan().says(Reason::NotAllowed).is_none()
    };
    assert!(is_allowed("/srv", "/srv"));
    assert!(is_allowed("/srv", "/srv/data"));
    assert!(!is_allowed("/srv", "/srvdata"));
    assert!(!is_allowed("/srv/data", "/srv"));
    assert!(is_allowed("/", "/srv/data"));
}

#[test]
fn an_automatic_port_is_neither_taken_nor_given_twice() {
    let app = image_app("chat", OLD, "ports: [{containerPort: 1}, {containerPort: 2}]");
    let policy = Policy::default();
    let ports = |claims: &Claims| {
        let placement = place_ports(&app, claims, &policy);
        placement.bindings.iter().map(|binding| binding.host_port).collect::<Vec<_>>()
    };
    let mut claims = Claims::default();
    assert_eq!(ports(&claims), [8001, 8002]);
    claims.taken.insert((Protocol::Tcp, 8001), "somebody".to_owned());
    claims.taken.insert((Protocol::Udp, 8002), "somebody".to_owned());
    assert_eq!(ports(&claims), [8002, 8003]);
    // What the app had stays its own, unless somebody else has it now or the range has moved.
    claims.own.insert((Protocol::Tcp, 1), 8100);
    assert_eq!(ports(&claims), [8100, 8002]);
    claims.own.insert((Protocol::Tcp, 2), 8100);
    assert_eq!(ports(&claims), [8100, 8002]);
    claims.taken.insert((Protocol::Tcp, 8100), "somebody".to_owned());
    assert_eq!(ports(&claims), [8002, 8003]);
    claims.own.insert((Protocol::Tcp, 1), 9500);
    assert_eq!(ports(&claims), [8002, 8003]);
}

/// What one kept is not given to another of its ports.
#[test]
fn a_port_kept_for_one_is_not_given_to_another() {
    let app = image_app("chat", OLD, "ports: [{containerPort: 1}, {containerPort: 2}]");
    let mut claims = Claims::default();
    claims.own.insert((Protocol::Tcp, 2), 8001);
    let placement = place_ports(&app, &claims, &Policy::default());
    let ports: Vec<_> = placement.bindings.iter().map(|binding| binding.host_port).collect();
    assert_eq!(ports, [8002, 8001]);
}

#[test]
fn the_text_says_how_an_app_stands() {
    let mut sim = running();
    assert_eq!(render(&sim.plan()), "= app/chat is as wanted\n");
    sim.want = Want::Held(berth::state::Hold::Unreadable("it is gone".to_owned()));
    assert!(render(&sim.plan()).starts_with("= app/chat waits\n    waits: nothing is removed"));
    let problem = "unknown field".to_owned();
    sim.want = Want::Invalid { last_good: None, problem };
    let text = "= app/chat can't be made as wanted\n    refused: unknown field (InvalidManifest)\n";
    assert_eq!(render(&sim.plan()), text);
    // Both: what can't be is more than what waits.
    let last_good = Some(image_app("chat", OLD, "suspend: true"));
    sim.world.containers[0].state = ContainerState::Exited;
    sim.want = Want::Invalid { last_good, problem: "unknown field".to_owned() };
    assert!(render(&sim.plan()).starts_with("= app/chat can't be made as wanted\n    waits: "));
}

#[test]
fn the_text_lists_changes_and_steps_in_order() {
    let mut sim = running();
    sim.edit(&app(NEW));
    let plan = sim.plan();
    let text = render(&plan);
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    assert!(!plan.is_empty());
    assert_eq!(lines[0], "-/+ app/chat will be replaced");
    assert_eq!(lines[1], format!("~ image: {OLD} -> {NEW}"));
    assert!(lines[2].starts_with("1. create chat-") && lines[3].starts_with("2. stop chat-"));
    assert!(lines[4].starts_with("3. start chat-"));
    sim.nature.missing.push("shop/app:9".to_owned());
    sim.edit(&app("shop/app:9"));
    assert!(render(&sim.plan()).contains("    then: create, start\n"));
}
