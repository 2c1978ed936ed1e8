//! Removal: what goes with an app, what stays, and which images are kept to go back to.

use std::time::Duration;

use berth::{
    model::{AppName, Reason},
    plan::{Plan, Step, Verb, render_step},
    state::{Container, ContainerId, ContainerState, Ownership, RunningWork, Want, WorkKind},
};

use super::acquire::built;
use crate::sim::Sim;

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|planned| render_step(&planned.step)).collect()
}

/// A container of somebody else that runs from this image.
fn bystander(sim: &Sim, image_id: &str) -> Container {
    let mut other = sim.world.containers[0].clone();
    other.id = ContainerId::new("e".repeat(64));
    "postgres".clone_into(&mut other.name);
    other.ownership = Ownership::Foreign;
    other.ports.clear();
    image_id.clone_into(&mut other.image_id);
    other
}

fn gone() -> Sim {
    let mut sim = built();
    sim.want = Want::Absent;
    sim
}

#[test]
fn an_app_goes_with_its_containers_and_images() {
    let mut sim = gone();
    let (name, tag) = (sim.world.containers[0].name.clone(), sim.world.containers[0].image.clone());
    let plan = sim.plan();
    assert_eq!(plan.verb, Verb::Remove);
    let expected = [
        format!("stop {name} (the grace it was made with)"),
        format!("remove {name}"),
        format!("remove image {tag}"),
    ];
    assert_eq!(steps(&plan), expected);
    assert!(plan.steps.iter().all(|step| step.cause == "no manifest names the app any more"));
    sim.settle();
    let plan = sim.plan();
    assert!(sim.world.containers.is_empty() && sim.world.own_images.is_empty());
    assert_eq!((plan.verb, plan.is_empty(), plan.waits.len()), (Verb::Nothing, true, 0));
}

/// The manifest that promised it is gone by then; where nobody knows it any more, the engine does.
#[test]
fn an_app_that_goes_has_the_time_to_stop_that_it_was_promised() {
    let mut sim = gone();
    sim.state.last_grace_s = Some(90);
    let name = sim.world.containers[0].name.clone();
    assert_eq!(steps(&sim.plan())[0], format!("stop {name} (grace 90 s)"));
}

#[test]
fn a_removal_under_way_is_waited_for() {
    let mut sim = gone();
    sim.world.own_images.clear();
    sim.world.containers[0].state = ContainerState::Removing;
    let plan = sim.plan();
    assert!(plan.is_empty());
    assert_eq!(plan.verb, Verb::Remove);
    assert!(plan.says(Reason::Removing).unwrap().contains("is gone"));
    assert_eq!(plan.next_look(), Some(sim.now + Duration::from_secs(1)));
}

#[test]
fn the_work_for_an_app_that_is_gone_is_ended() {
    let mut sim = gone();
    sim.world.containers.clear();
    sim.world.own_images.clear();
    let (kind, since) = (WorkKind::Build, sim.now);
    sim.state.work = Some(RunningWork { kind, input: String::new(), since, progress: None });
    let plan = sim.plan();
    assert_eq!((plan.verb, plan.steps.len()), (Verb::Remove, 1));
    assert_eq!(plan.steps[0].step, Step::Cancel(WorkKind::Build));
}

/// Fault D28: images of others, and those that others run from, stay.
#[test]
fn an_image_that_somebody_else_needs_stays() {
    let mut sim = gone();
    let id = sim.world.own_images[0].id.clone();
    sim.world.containers.push(bystander(&sim, &id));
    assert!(steps(&sim.plan()).iter().all(|step| !step.starts_with("remove image")));
    // A bystander with another image keeps nothing.
    sim.world.containers[1].image_id = "sha256:postgres".to_owned();
    assert!(steps(&sim.plan()).iter().any(|step| step.starts_with("remove image")));
    let mut other = sim.world.own_images[0].clone();
    other.app = AppName::new("web").unwrap();
    other.id = "sha256:web".to_owned();
    other.tags = vec!["berth/web:1".to_owned()];
    sim.world.own_images.push(other);
    assert!(!steps(&sim.plan()).contains(&"remove image berth/web:1".to_owned()));
}

#[test]
fn an_image_goes_by_each_of_its_tags_or_by_its_id() {
    let mut sim = gone();
    sim.world.own_images[0].tags = vec!["berth/chat:a".to_owned(), "berth/chat:b".to_owned()];
    let images = |sim: &mut Sim| {
        let all = steps(&sim.plan());
        all.into_iter().filter(|step| step.starts_with("remove image")).collect::<Vec<_>>()
    };
    assert_eq!(images(&mut sim), ["remove image berth/chat:a", "remove image berth/chat:b"]);
    sim.world.own_images[0].tags.clear();
    let id = sim.world.own_images[0].id.clone();
    assert_eq!(images(&mut sim), [format!("remove image {id}")]);
}

/// Builds and runs another commit.
fn next_version(sim: &mut Sim, tree: &str) {
    sim.state.checkout.as_mut().unwrap().tree = tree.repeat(40);
    sim.settle();
    assert_eq!(sim.running().len(), 1);
}

/// Fault T14: what one may go back to is still there.
#[test]
fn as_many_images_are_kept_as_the_operator_says() {
    let mut sim = built();
    sim.policy.keep_images = 2;
    let ids = |sim: &Sim| sim.world.own_images.iter().map(|i| i.id.clone()).collect::<Vec<_>>();
    next_version(&mut sim, "1");
    assert_eq!(sim.world.own_images.len(), 2);
    next_version(&mut sim, "2");
    let after = ids(&sim);
    assert_eq!(after.len(), 2);
    assert!(after.contains(&sim.running()[0].image_id));
    next_version(&mut sim, "3");
    let last = ids(&sim);
    assert_eq!(last.len(), 2);
    assert!(last.contains(&after[1]) && !last.contains(&after[0]), "{after:?} {last:?}");
    // A look that finds one too many tidies up, and does nothing else.
    let mut spare = sim.world.own_images[0].clone();
    spare.id = "sha256:spare".to_owned();
    spare.tags = vec!["berth/chat:spare".to_owned()];
    spare.created = berth::model::Timestamp::from_millis(1);
    sim.world.own_images.push(spare);
    let plan = sim.plan();
    assert_eq!(
        (plan.verb, steps(&plan)),
        (Verb::Tidy, vec!["remove image berth/chat:spare".to_owned()])
    );
    assert_eq!(plan.steps[0].cause, "newer images of the app are kept");
}

/// The one that runs is never among those that go, and neither is the one that is held.
#[test]
fn the_image_that_runs_or_is_held_never_goes() {
    for keep_images in [0, 1] {
        let mut sim = built();
        sim.policy.keep_images = keep_images;
        next_version(&mut sim, "1");
        assert_eq!(sim.world.own_images.len(), 1);
        assert_eq!(sim.world.own_images[0].id, sim.running()[0].image_id);
    }
    let mut sim = built();
    next_version(&mut sim, "1");
    next_version(&mut sim, "2");
    assert_eq!(sim.world.own_images.len(), 3);
    // Held at the oldest, whose age would have it go.
    let oldest = sim.world.own_images[0].clone();
    sim.state.pin = Some(pin(&oldest));
    sim.policy.keep_images = 1;
    sim.settle();
    assert_eq!(sim.running()[0].image_id, oldest.id);
    assert_eq!(sim.world.own_images, [oldest]);
}

fn pin(image: &berth::state::OwnImage) -> std::sync::Arc<berth::state::Pin> {
    std::sync::Arc::new(berth::state::Pin {
        revision: 1,
        image: image.tags[0].clone(),
        image_id: image.id.clone(),
        build: None,
        commit: None,
        run: None,
        undone_spec: String::new(),
        undone_commit: None,
        since: berth::model::Timestamp::from_millis(1),
    })
}

/// Fault D28, while the app runs.
#[test]
fn tidying_up_leaves_the_images_of_others() {
    let mut sim = built();
    sim.policy.keep_images = 2;
    let spare = |id: &str, app: &str| {
        let mut image = sim.world.own_images[0].clone();
        image.id = format!("sha256:{id}");
        image.tags = vec![format!("berth/{app}:{id}")];
        image.app = AppName::new(app).unwrap();
        image.created = berth::model::Timestamp::from_millis(1);
        image
    };
    let images = [spare("a", "chat"), spare("b", "chat"), spare("c", "web"), spare("d", "web")];
    sim.world.own_images.extend(images);
    assert_eq!(steps(&sim.plan()), ["remove image berth/chat:a"]);
    sim.world.containers.push(bystander(&sim, "sha256:a"));
    assert!(sim.plan().is_empty());
}

/// What else a plan does says what it is; tidying up comes with it.
#[test]
fn tidying_up_does_not_rename_a_look_for_a_commit() {
    let mut sim = built();
    sim.policy.keep_images = 2;
    for id in ["a", "b"] {
        let mut image = sim.world.own_images[0].clone();
        image.id = format!("sha256:{id}");
        image.tags = vec![format!("berth/chat:{id}")];
        image.created = berth::model::Timestamp::from_millis(1);
        sim.world.own_images.push(image);
    }
    sim.now = sim.now + Duration::from_secs(300);
    let plan = sim.plan();
    assert_eq!(plan.verb, Verb::Refresh);
    assert_eq!(plan.steps.len(), 2, "{:?}", steps(&plan));
}
