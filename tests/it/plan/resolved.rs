//! What the name of an image means when it can be found again by its digest (fault D40).

use berth::plan::{Plan, Verb, render_step};

use crate::sim::{Sim, image_app};

/// The steps, as text.
fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|planned| render_step(&planned.step)).collect()
}

const DIGEST: &str =
    "shop/app@sha256:7d8f0f0d0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425";

/// An app that runs an image of a registry.
fn running() -> Sim {
    let app = image_app("chat", "shop/app:1", "");
    let mut sim = Sim::new(&app).has_image("shop/app:1");
    sim.world.images.insert(DIGEST.to_owned(), "sha256:shop/app:1".to_owned());
    sim.settle();
    sim.state.resolved = sim.plan().resolved;
    let resolved = sim.state.resolved.as_ref().unwrap();
    assert_eq!(resolved.digest.as_deref(), Some(DIGEST));
    assert_eq!(resolved.generation, 1);
    sim
}

#[test]
fn an_image_that_is_gone_is_pulled_by_its_digest() {
    let mut sim = running();
    sim.world.containers.clear();
    sim.world.images.clear();
    sim.add_image("shop/app:1");
    "sha256:another".clone_into(sim.world.images.get_mut("shop/app:1").unwrap());
    let plan = sim.plan();
    assert_eq!(steps(&plan), [format!("pull {DIGEST}")]);
    assert!(plan.steps[0].cause.contains("which shop/app:1 meant"), "{}", plan.steps[0].cause);
    // It has come: the name still means another one.
    sim.world.images.insert(DIGEST.to_owned(), "sha256:shop/app:1".to_owned());
    let plan = sim.plan();
    assert_eq!(plan.verb, Verb::Create);
    let create = steps(&plan).into_iter().find(|step| step.starts_with("create")).unwrap();
    assert!(create.contains("from sha256:shop/app:1 "), "{create}");
}

#[test]
fn the_same_digest_under_another_id_is_the_same_image() {
    let mut sim = running();
    sim.world.images.clear();
    sim.world.containers.clear();
    sim.world.images.insert(DIGEST.to_owned(), "sha256:kept-otherwise".to_owned());
    let plan = sim.plan();
    let resolved = plan.resolved.as_ref().unwrap();
    assert_eq!(resolved.id, "sha256:kept-otherwise");
    assert_eq!(plan.verb, Verb::Create);
}

/// The list of images leaves out a nameless one that others were built on.
#[test]
fn what_runs_proves_that_its_image_is_here() {
    let mut sim = running();
    sim.world.images.clear();
    sim.world.images.insert("shop/app:1".to_owned(), "sha256:another".to_owned());
    assert!(sim.plan().is_empty());
    assert!(sim.plan().refusals.is_empty());
}

#[test]
fn a_new_generation_looks_the_name_up_again() {
    let mut sim = running();
    "sha256:another".clone_into(sim.world.images.get_mut("shop/app:1").unwrap());
    assert!(sim.plan().is_empty());
    sim.state.generation += 1;
    let plan = sim.plan();
    assert_eq!(plan.verb, Verb::Replace);
    assert_eq!(plan.resolved.as_ref().unwrap().id, "sha256:another");
    assert_eq!(plan.version.as_ref().unwrap().image_id, "sha256:another");
}
