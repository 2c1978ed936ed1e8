//! What is decided about GPUs in containers: in memory, without an engine.

use berth::{
    model::{GpuRoute, GpuWay, Reason},
    plan::{Call, Plan, Step, Verb, check, render, render_step},
    state::{ContainerId, GpuLoss, Obstacle, Proof, Request, proof_name},
};

use crate::sim::{Sim, image_app};

const APP: &str = "port: 80\ngpus: {ids: [GPU-a]}";

fn route(way: GpuWay) -> GpuRoute {
    let (names, nodes, groups) = (Vec::new(), Vec::new(), Vec::new());
    let (driver, why) = (Some("550.54.15".to_owned()), "of this test".to_owned());
    GpuRoute { way, names, nodes, groups, driver, why }
}

/// An app with a card, which is not made yet.
fn asking(way: GpuWay) -> Sim {
    let mut sim = Sim::new(&image_app("chat", "x:1", APP)).has_image("x:1");
    sim.add_image("x:2");
    sim.state.devices.route = Some(route(way));
    sim.state.devices.driver = Some("550.54.15".to_owned());
    sim
}

fn running(way: GpuWay) -> Sim {
    let mut sim = asking(way);
    sim.settle();
    assert!(sim.plan().is_empty());
    sim
}

fn verbs(plan: &Plan) -> Vec<String> {
    let verb = |step: String| step.split(' ').next().unwrap().to_owned();
    plan.steps.iter().map(|planned| verb(render_step(&planned.step))).collect()
}

fn lost(sim: &mut Sim, mended: u32, is_spent: bool) {
    let container = sim.world.containers[0].id.clone();
    let message = "the container can't use its GPU any more".to_owned();
    sim.state.devices.loss = Some(GpuLoss { container, message, mended, is_spent });
}

#[test]
fn a_plan_says_which_cards_come_in_which_way() {
    let text = render(&asking(GpuWay::Cdi).plan());
    assert!(text.contains("its GPUs come by CDI: of this test"), "{text}");
}

#[test]
fn a_better_way_replaces_nothing_that_runs() {
    let mut sim = running(GpuWay::DeviceRequest);
    sim.state.devices.route = Some(route(GpuWay::Cdi));
    assert!(sim.plan().is_empty());
    let said = "could not select device driver".to_owned();
    sim.state.devices.refused.insert(GpuWay::DeviceRequest, said);
    assert!(sim.plan().is_empty(), "it runs, whatever was refused since");
}

#[test]
fn what_was_made_for_a_way_that_is_refused_is_made_anew_for_the_next_one() {
    let mut sim = asking(GpuWay::Cdi);
    // All but the start.
    let begun = sim.plan();
    sim.pass(Some(begun.steps.len() - 1));
    assert_eq!(verbs(&sim.plan()), ["start"]);
    let said = "CDI device injection failed: unresolvable".to_owned();
    sim.state.devices.refused.insert(GpuWay::Cdi, said);
    sim.state.devices.route = Some(route(GpuWay::DeviceRequest));
    let plan = sim.plan();
    assert_eq!(verbs(&plan), ["remove", "ensure", "create", "start"]);
    let text = render(&plan);
    assert!(
        text.contains("by device request now: by CDI the engine said `CDI device injection"),
        "{text}"
    );
    sim.settle();
    assert_eq!(sim.world.containers.len(), 1);
    let given = &sim.world.given[&sim.world.containers[0].id];
    assert_eq!(given.way, GpuWay::DeviceRequest);
}

/// Fault U01.
#[test]
fn a_container_that_lost_its_gpus_is_made_anew() {
    let mut sim = running(GpuWay::DeviceRequest);
    lost(&mut sim, 0, false);
    let plan = sim.plan();
    assert_eq!(verbs(&plan), ["stop", "remove", "ensure", "create", "start"]);
    assert!(plan.says(Reason::GpuLost).unwrap().contains("it is made anew"));
    let before = sim.world.containers[0].id.clone();
    sim.settle();
    assert_ne!(sim.world.containers[0].id, before);
    assert!(sim.plan().is_empty(), "what was said of another container does not count");
}

#[test]
fn a_container_that_loses_its_gpus_again_and_again_is_left_as_it_is() {
    let mut sim = running(GpuWay::DeviceRequest);
    lost(&mut sim, 3, true);
    let plan = sim.plan();
    assert!(plan.is_empty());
    let said = plan.says(Reason::GpuLost).unwrap();
    assert!(
        said.contains("3 times within the hour") && said.contains("berth restart chat"),
        "{said}"
    );
}

fn obstacle() -> Obstacle {
    let message = "the GPUs' driver was changed".to_owned();
    Obstacle { reason: Reason::GpuDriver, message }
}

/// Fault U02: nothing stops for what would not start.
#[test]
fn with_a_driver_that_starts_nothing_new_what_runs_goes_on() {
    let mut sim = running(GpuWay::DeviceRequest);
    sim.state.obstacles = vec![obstacle()];
    assert!(sim.plan().is_empty() && sim.plan().refusals.is_empty());
    sim.edit(&image_app("chat", "x:2", APP));
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert_eq!(plan.says(Reason::GpuDriver), Some("the GPUs' driver was changed"));
    sim.edit(&image_app("chat", "x:1", APP));
    lost(&mut sim, 0, false);
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert!(plan.says(Reason::GpuDriver).is_some() && plan.says(Reason::GpuLost).is_some());
}

/// Fault U02: neither for the same container.
#[test]
fn a_restart_with_a_changed_driver_stops_nothing() {
    let mut sim = running(GpuWay::DeviceRequest);
    sim.state.obstacles = vec![obstacle()];
    sim.ask(Request::Restart);
    let plan = sim.plan();
    assert!(plan.is_empty(), "{}", render(&plan));
    assert_eq!(plan.says(Reason::GpuDriver), Some("the GPUs' driver was changed"));
    // Once it is mended it is done.
    sim.state.obstacles.clear();
    assert_eq!(verbs(&sim.plan()), ["prove", "stop", "start"]);
}

/// Fault U02: what is started again has the new driver, and says so.
#[test]
fn a_restart_brings_the_new_driver() {
    let mut sim = running(GpuWay::DeviceRequest);
    sim.state.devices.driver = Some("560.35.03".to_owned());
    let mut new = route(GpuWay::DeviceRequest);
    new.driver = Some("560.35.03".to_owned());
    sim.state.devices.route = Some(new);
    assert!(sim.plan().is_empty(), "nothing stops for it by itself");
    sim.ask(Request::Restart);
    let plan = sim.plan();
    assert_eq!(verbs(&plan), ["prove", "stop", "remove", "ensure", "create", "start"]);
    assert_eq!(plan.verb, Verb::Restart);
    sim.settle();
    let plan = sim.plan();
    assert!(plan.is_empty() && !render(&plan).contains("550.54.15"), "{}", render(&plan));
}

/// Fault U02.
#[test]
fn a_driver_that_changed_since_is_said_and_stops_nothing() {
    let mut sim = running(GpuWay::Cdi);
    sim.state.devices.driver = Some("560.35.03".to_owned());
    let plan = sim.plan();
    assert!(plan.is_empty() && plan.waits.is_empty() && plan.refusals.is_empty());
    let text = render(&plan);
    assert!(
        text.contains("made with the GPU driver 550.54.15 and the host has 560.35.03"),
        "{text}"
    );
}

/// Fault U02: on the card that both need nothing stops before the new version could have it.
#[test]
fn before_anything_stops_it_is_proven_that_the_gpus_can_be_given() {
    let mut sim = running(GpuWay::DeviceRequest);
    sim.edit(&image_app("chat", "x:2", APP));
    let plan = sim.plan();
    assert_eq!(verbs(&plan), ["create", "prove", "stop", "start"]);
    let text = render(&plan);
    let name = &plan.container.as_ref().unwrap().name;
    assert!(text.contains(&format!("2. prove that {name} can be given GPU-a    # ")), "{text}");
    // What is found there once it was made is proven as well.
    sim.pass(Some(1));
    assert_eq!(verbs(&sim.plan()), ["prove", "stop", "start"]);
    sim.settle();
    assert!(sim.plan().is_empty());
    // Whoever does not want it has what was before.
    sim.policy.is_gpu_proven = false;
    sim.edit(&image_app("chat", "x:1", APP));
    assert!(!verbs(&sim.plan()).contains(&"prove".to_owned()));
}

#[test]
fn where_nothing_stops_or_nothing_has_gpus_nothing_is_proven() {
    assert!(!verbs(&asking(GpuWay::Cdi).plan()).contains(&"prove".to_owned()), "nothing runs yet");
    let mut sim = Sim::new(&image_app("plain", "x:1", "port: 80")).has_image("x:1");
    sim.add_image("x:2");
    sim.settle();
    sim.edit(&image_app("plain", "x:2", "port: 80\nrollout: {order: stop-first}"));
    assert_eq!(verbs(&sim.plan()), ["create", "stop", "start"]);
    // What lost its GPUs has nothing more to lose.
    let mut sim = running(GpuWay::DeviceRequest);
    lost(&mut sim, 0, false);
    assert!(!verbs(&sim.plan()).contains(&"prove".to_owned()));
}

/// A restart in a way that the engine refused when it was tried would be an end.
#[test]
fn a_restart_in_a_refused_way_makes_the_container_anew_in_the_next_one() {
    let mut sim = running(GpuWay::Cdi);
    sim.ask(Request::Restart);
    assert_eq!(verbs(&sim.plan()), ["prove", "stop", "start"]);
    let said = "CDI device injection failed: unresolvable".to_owned();
    sim.state.devices.refused.insert(GpuWay::Cdi, said);
    sim.state.devices.route = Some(route(GpuWay::DeviceRequest));
    let plan = sim.plan();
    assert_eq!(verbs(&plan), ["prove", "stop", "remove", "ensure", "create", "start"]);
    let Some(Step::Call(Call::Prove(spec))) = plan.steps.first().map(|planned| &planned.step)
    else {
        panic!("{plan:?}")
    };
    assert_eq!(spec.gpu_way.as_ref().map(|route| route.way), Some(GpuWay::DeviceRequest));
}

/// A Berth that was killed while it proved something leaves a container; the next one removes it.
#[test]
fn what_was_left_behind_of_proving_goes_first() {
    let mut sim = running(GpuWay::DeviceRequest);
    let app = sim.name.clone();
    let name = proof_name(&sim.world.containers[0].name);
    let id = ContainerId::new("ab".repeat(32));
    let proof = Proof { id, name: name.clone(), app };
    sim.world.proofs = vec![proof.clone()];
    let plan = sim.plan();
    assert_eq!((verbs(&plan), plan.verb), (vec!["remove".to_owned()], Verb::Tidy));
    assert!(render(&plan).contains(&format!("1. remove {name}    # it only proved")));
    assert!(check(&sim.input(), &plan).is_empty());
    sim.settle();
    assert!(sim.world.proofs.is_empty() && sim.plan().is_empty());
    sim.world.proofs = vec![proof];
    sim.edit(&image_app("chat", "x:2", APP));
    assert_eq!(verbs(&sim.plan()), ["remove", "create", "prove", "stop", "start"]);
}

#[test]
fn what_proves_has_the_gpus_and_nothing_of_the_app() {
    let more = format!("{APP}\nenv: {{TOKEN: x}}\nmounts: [{{volume: v, path: /v}}]");
    let mut sim = Sim::new(&image_app("chat", "x:1", &more)).has_image("x:1");
    sim.state.devices.route = Some(route(GpuWay::DeviceRequest));
    let plan = sim.plan();
    let spec = plan.container.as_ref().unwrap();
    let proof = spec.proof();
    let (own, less) = (&spec.shape, &proof.shape);
    assert_eq!((&less.image, &less.gpus, &proof.gpu_way), (&own.image, &own.gpus, &spec.gpu_way));
    assert!(!own.ports.is_empty() && !own.env.is_empty() && !own.mounts.is_empty());
    assert!(less.ports.is_empty() && less.env.is_empty() && less.mounts.is_empty());
    assert_ne!(less.command, own.command);
}
