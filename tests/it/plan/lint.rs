//! The linter: each thing that no plan may ask for, planted into a plan.

use berth::{
    model::{AppName, GpuGrant, Reason},
    plan::{Call, ContainerSpec, Plan, PlannedStep, Step, Target, check},
    state::{Container, ContainerId, ContainerState, GpuHold, Obstacle, OwnImage, Ownership, Want},
};

use super::{OLD, running};
use crate::sim::{Sim, image_app};

fn plan_of(sim: &Sim, calls: Vec<Call>) -> Plan {
    let mut plan = Plan::empty(sim.name.clone());
    let step = |call| PlannedStep { step: Step::Call(call), cause: "planted".to_owned() };
    plan.steps = calls.into_iter().map(step).collect();
    plan
}

fn problems(sim: &Sim, calls: Vec<Call>) -> String {
    check(&sim.input(), &plan_of(sim, calls)).join("; ")
}

fn target(container: &Container) -> Target {
    Target { id: Some(container.id.clone()), name: container.name.clone() }
}

fn stop(container: &Container) -> Call {
    Call::Stop { target: target(container), grace_s: Some(10) }
}

/// The container that a sim of this app would make.
fn spec(name: &str) -> Box<ContainerSpec> {
    let plan = Sim::new(&image_app(name, OLD, "")).has_image(OLD).plan();
    let made = plan.steps.into_iter().find_map(|planned| match planned.step {
        Step::Call(Call::Create(spec)) => Some(spec),
        _ => None,
    });
    made.unwrap()
}

/// Two containers of the app: the first runs, the second has ended.
fn two() -> (Sim, Container, Container) {
    let mut sim = running();
    let first = sim.world.containers[0].clone();
    let mut second = first.clone();
    second.id = ContainerId::new("b".repeat(64));
    "chat-second".clone_into(&mut second.name);
    second.state = ContainerState::Exited;
    "sha256:second".clone_into(&mut second.image_id);
    sim.world.containers.push(second.clone());
    (sim, first, second)
}

#[test]
fn only_one_container_is_made_and_it_is_this_apps() {
    let sim = running();
    assert_eq!(problems(&sim, vec![Call::Create(spec("chat"))]), "");
    assert_eq!(problems(&sim, vec![Call::Create(spec("web"))]), "makes a container of web");
    let twice = vec![Call::Create(spec("chat")), Call::Create(spec("chat"))];
    assert_eq!(problems(&sim, twice), "two containers would be made");
}

#[test]
fn only_what_was_made_before_is_started_without_an_id() {
    let sim = running();
    let new = || Call::Start(Target { id: None, name: "chat-new".to_owned() });
    assert_eq!(problems(&sim, vec![new()]), "chat-new does not exist yet");
    assert_eq!(problems(&sim, vec![Call::Create(spec("chat")), new()]), "");
    let early = vec![new(), Call::Create(spec("chat"))];
    assert_eq!(problems(&sim, early), "chat-new does not exist yet");
    let stop = Call::Stop { target: Target { id: None, name: "x".to_owned() }, grace_s: Some(1) };
    assert_eq!(problems(&sim, vec![Call::Create(spec("chat")), stop]), "x does not exist yet");
}

/// Faults D02, D21: what is not this app's is not touched.
#[test]
fn a_container_of_somebody_else_is_not_touched() {
    let (mut sim, _, second) = two();
    sim.world.containers[1].ownership = Ownership::Foreign;
    let calls = [Call::Start(target(&second)), stop(&second), Call::Remove(target(&second))];
    for call in calls {
        let found = problems(&sim, vec![call]);
        assert!(found.starts_with("chat-second is not this app's"), "{found}");
    }
    if let Ownership::Ours(owner) = &mut sim.world.containers[0].ownership {
        owner.app = AppName::new("other").unwrap();
    }
    let first = sim.world.containers[0].clone();
    assert!(problems(&sim, vec![stop(&first)]).ends_with("is not this app's"));
}

#[test]
fn a_container_that_nobody_saw_is_not_touched() {
    let (mut sim, _, second) = two();
    assert_eq!(problems(&sim, vec![stop(&second)]), "");
    sim.world.containers.pop();
    assert_eq!(problems(&sim, vec![stop(&second)]), "chat-second was not seen");
}

/// Fault D23.
#[test]
fn the_container_that_berth_runs_in_is_refused() {
    let (mut sim, first, second) = two();
    sim.policy.own_container = Some(first.id.clone());
    assert!(problems(&sim, vec![stop(&first)]).ends_with("is the container that Berth runs in"));
    assert_eq!(problems(&sim, vec![stop(&second)]), "");
}

#[test]
fn what_runs_is_stopped_before_it_is_removed() {
    let (sim, first, second) = two();
    let name = &first.name;
    let removal = || Call::Remove(target(&first));
    let wrong = format!("{name} would be removed while it runs");
    assert_eq!(problems(&sim, vec![removal()]), wrong);
    assert_eq!(problems(&sim, vec![stop(&second), removal()]), wrong);
    assert_eq!(problems(&sim, vec![removal(), stop(&first)]), wrong);
    assert_eq!(problems(&sim, vec![stop(&first), removal()]), "");
    assert_eq!(problems(&sim, vec![Call::Remove(target(&second))]), "");
}

/// Fault D25: an app that is wanted keeps a container to go back to.
#[test]
fn the_last_container_goes_only_with_its_app_or_for_a_new_one() {
    let mut sim = running();
    sim.world.containers[0].state = ContainerState::Exited;
    let only = sim.world.containers[0].clone();
    let removal = || Call::Remove(target(&only));
    let wrong = format!("{} is the app's only container", only.name);
    assert_eq!(problems(&sim, vec![removal()]), wrong);
    assert_eq!(problems(&sim, vec![removal(), Call::Create(spec("chat"))]), "");
    sim.world.containers[0].state = ContainerState::Dead;
    assert_eq!(problems(&sim, vec![removal()]), "");
    sim.world.containers[0].state = ContainerState::Exited;
    sim.want = Want::Absent;
    assert_eq!(problems(&sim, vec![removal()]), "");
    let (sim, first, second) = two();
    assert_eq!(problems(&sim, vec![Call::Remove(target(&second))]), "");
    let both = vec![stop(&first), Call::Remove(target(&first)), Call::Remove(target(&second))];
    assert!(problems(&sim, both).contains("only container"));
}

/// Fault D28.
#[test]
fn an_image_goes_only_when_it_is_this_apps_and_nobody_else_uses_it() {
    let (mut sim, _, second) = two();
    let own = |id: &str, app: &str| OwnImage {
        created: sim.now,
        id: id.to_owned(),
        tags: Vec::new(),
        app: AppName::new(app).unwrap(),
        size: 0,
        base: None,
        inputs: None,
    };
    sim.world.own_images = vec![own("sha256:second", "chat"), own("sha256:other", "web")];
    let removal = |id: &str| vec![Call::RemoveImage { id: id.to_owned(), tag: "t".to_owned() }];
    assert_eq!(problems(&sim, removal("sha256:second")), "");
    assert_eq!(problems(&sim, removal("sha256:other")), "image sha256:other is not this app's");
    assert_eq!(problems(&sim, removal("sha256:none")), "image sha256:none is not this app's");
    // Somebody else's container runs from it, beside one of the app's own.
    let mut foreign = second;
    foreign.ownership = Ownership::Foreign;
    sim.world.containers.push(foreign);
    assert_eq!(problems(&sim, removal("sha256:second")), "image sha256:second is in use");
}

fn start(container: &Container) -> Call {
    Call::Start(target(container))
}

/// Beside the one that runs, one more may; a third one may not.
#[test]
fn a_third_container_never_runs_beside_two() {
    let (mut sim, _, second) = two();
    for container in &mut sim.world.containers {
        container.ports.clear();
    }
    assert_eq!(problems(&sim, vec![start(&second)]), "");
    let mut third = sim.world.containers[1].clone();
    third.id = ContainerId::new("c".repeat(64));
    sim.world.containers.push(third.clone());
    let both = vec![start(&second), start(&third)];
    assert_eq!(problems(&sim, both), "chat-second would be the third that runs");
    let after = vec![start(&second), stop(&second), start(&third)];
    assert_eq!(problems(&sim, after), "");
    // What runs already is no more by being started.
    assert_eq!(problems(&sim, vec![start(&second), start(&second)]), "");
}

/// Fault P01, by our own hand.
#[test]
fn two_containers_never_publish_one_port() {
    let (sim, first, second) = two();
    let said = problems(&sim, vec![start(&second)]);
    assert!(said.ends_with("would both publish 127.0.0.1:8001 -> 5000/tcp"), "{said}");
    assert_eq!(problems(&sim, vec![stop(&first), start(&second)]), "");
}

/// Nothing stops for a version of which it is known that it will not start.
#[test]
fn what_runs_does_not_stop_for_a_version_with_something_in_its_way() {
    let mut sim = running();
    let runs = sim.world.containers[0].clone();
    let replace = || vec![stop(&runs), Call::Create(spec("chat"))];
    assert_eq!(problems(&sim, replace()), "");
    let message = "there is no room".to_owned();
    sim.state.obstacles = vec![Obstacle { reason: Reason::DiskFull, message }];
    assert!(problems(&sim, replace()).ends_with("would stop what runs: there is no room"));
    assert_eq!(problems(&sim, vec![Call::Create(spec("chat"))]), "");
    sim.state.obstacles.clear();
    sim.world.images.remove(OLD);
    assert!(problems(&sim, replace()).contains("the image shop/app:1 is not there"));
}

/// Two containers never use one GPU at the same time, whosever they are, unless both were promised
/// a part of it and both parts fit.
#[test]
fn two_containers_never_use_one_gpu() {
    let (mut sim, mut first, mut second) = two();
    let grant = |text: &str| GpuGrant::parse(text).map(GpuHold::Granted);
    let (alone, share) = ("exclusive nvidia compute GPU-a", "memory:1024 nvidia compute GPU-a");
    for (one, other, fits, is_fine) in [
        (alone, alone, true, false),
        (alone, share, true, false),
        (share, share, true, true),
        (share, share, false, false),
    ] {
        (first.gpus, second.gpus) = (grant(one), grant(other));
        (first.ports, second.ports) = (Vec::new(), Vec::new());
        sim.state.gpus.fits_beside = fits;
        sim.world.containers = vec![first.clone(), second.clone()];
        let said = problems(&sim, vec![start(&second)]);
        assert_eq!(said.is_empty(), is_fine, "{one}, {other}: {said}");
        assert!(is_fine || said.ends_with("would both use GPU-a"), "{said}");
        assert_eq!(problems(&sim, vec![stop(&first), start(&second)]), "");
        // Somebody else's container does not go out of the way.
        first.ownership = Ownership::Foreign;
        sim.world.containers = vec![first.clone(), second.clone()];
        let said = problems(&sim, vec![start(&second)]);
        assert_eq!(said.is_empty(), one == share && other == share, "{one}, {other}: {said}");
        first.ownership = second.ownership.clone();
    }
}
