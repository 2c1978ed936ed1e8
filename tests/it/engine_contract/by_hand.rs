//! What people do by hand, as every engine does it.

use berth::engine::{Applied, Deed, Error};
use berth::model::Protocol;
use berth::state::{ContainerId, ContainerState, Ownership};

use super::{Bench, eventually};

/// Makes and starts a container of another instance.
async fn foreign(bench: &Bench, with_port: bool) -> ContainerId {
    let mut spec = bench.spec("chat");
    spec.instance.push_str("-other");
    if with_port {
        spec.shape.ports = vec![bench.free_port()];
    }
    bench.run(&spec).await.unwrap()
}

async fn state_of(bench: &Bench, id: &ContainerId) -> Option<ContainerState> {
    bench.container(id).await.map(|seen| seen.state)
}

pub(super) async fn a_foreign_container_is_stopped_started_and_removed_by_hand(bench: Bench) {
    let id = foreign(&bench, false).await;
    assert_eq!(bench.container(&id).await.unwrap().ownership, Ownership::Foreign);
    let act = async |deed| bench.hands.act(&id, deed).await.unwrap();
    assert_eq!(act(Deed::Start).await, Applied::AlreadySo);
    assert_eq!(act(Deed::Stop).await, Applied::Changed);
    eventually(async || (state_of(&bench, &id).await? == ContainerState::Exited).then_some(()))
        .await;
    assert_eq!(act(Deed::Stop).await, Applied::AlreadySo);
    assert_eq!(act(Deed::Start).await, Applied::Changed);
    assert_eq!(state_of(&bench, &id).await, Some(ContainerState::Running));
    assert_eq!(act(Deed::Remove).await, Applied::Changed);
    assert_eq!(state_of(&bench, &id).await, None);
}

pub(super) async fn by_hand_what_is_gone_is_stopped_and_removed_and_can_not_be_started(
    bench: Bench,
) {
    let gone = ContainerId::new("0123456789abcdef".repeat(4));
    assert_eq!(bench.hands.act(&gone, Deed::Stop).await.unwrap(), Applied::AlreadySo);
    assert_eq!(bench.hands.act(&gone, Deed::Remove).await.unwrap(), Applied::AlreadySo);
    let started = bench.hands.act(&gone, Deed::Start).await;
    assert!(matches!(started, Err(Error::NotFound(_))), "{started:?}");
}

pub(super) async fn what_runs_uses_something_and_what_is_gone_nothing(bench: Bench) {
    let id = foreign(&bench, false).await;
    let load = bench.hands.load(&id).await.unwrap().unwrap();
    assert!(0 < load.memory && load.memory <= load.memory_limit, "{load:?}");
    assert!((0.0..100_000.0).contains(&load.cpu_percent), "{load:?}");
    let gone = ContainerId::new("0123456789abcdef".repeat(4));
    assert_eq!(bench.hands.load(&gone).await.unwrap(), None);
}

pub(super) async fn an_image_says_what_it_exposes(bench: Bench) {
    let recipe = bench.recipe("chat", "EXPOSE 8080 5000 53/udp");
    bench.build(&recipe).await.0.unwrap();
    let wanted = [(5000, Protocol::Tcp), (8080, Protocol::Tcp), (53, Protocol::Udp)];
    bench.exposes(&recipe.tag(), &wanted);
    assert_eq!(bench.hands.exposed(&recipe.tag()).await.unwrap().unwrap(), wanted);
    assert_eq!(bench.hands.exposed(bench.image()).await.unwrap().unwrap(), []);
    assert_eq!(bench.hands.exposed("berth/never-was:1").await.unwrap(), None);
}

pub(super) async fn a_stopped_foreign_container_says_which_ports_it_wants(bench: Bench) {
    let id = foreign(&bench, true).await;
    let bound = bench.container(&id).await.unwrap().ports;
    assert_eq!(bound.len(), 1);
    bench.hands.act(&id, Deed::Stop).await.unwrap();
    eventually(async || (state_of(&bench, &id).await? == ContainerState::Exited).then_some(()))
        .await;
    assert_eq!(bench.container(&id).await.unwrap().ports, [], "a list does not tell");
    assert_eq!(bench.engine.ports_of(&id).await.unwrap(), bound);
    let gone = ContainerId::new("0123456789abcdef".repeat(4));
    assert_eq!(bench.engine.ports_of(&gone).await.unwrap(), []);
}
