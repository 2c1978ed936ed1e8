//! Networks, and containers that are let go only when nothing runs in them.

use berth::model::{Timestamp, label};
use berth::state::{ContainerId, ContainerState, Network};

use super::{Bench, eventually};

async fn network(bench: &Bench) -> Option<Network> {
    let around = bench.engine.surroundings().await.unwrap();
    around.networks.into_iter().find(|network| network.name == bench.network())
}

pub(super) async fn a_network_says_whose_it_is_and_goes_once_nothing_runs_in_it(bench: Bench) {
    assert_eq!(network(&bench).await, None);
    let id = bench.run(&bench.spec("chat")).await.unwrap();
    let seen = network(&bench).await.unwrap();
    assert_eq!(seen.labels[label::INSTANCE], bench.instance);
    assert!(seen.created.unwrap() > Timestamp::from_millis(1_700_000_000_000));
    assert!(!bench.engine.drop_network(&seen.id).await.unwrap(), "something runs in it");
    assert_eq!(network(&bench).await.as_ref(), Some(&seen));
    bench.remove(&id).await.unwrap();
    assert!(bench.engine.drop_network(&seen.id).await.unwrap());
    assert_eq!(network(&bench).await, None);
    assert!(bench.engine.drop_network(&seen.id).await.unwrap(), "it is gone");
    // Fault D19: a name may be another's.
    if bench.real().is_some() {
        assert!(bench.engine.drop_network("bridge").await.is_err());
    }
}

pub(super) async fn what_runs_is_not_dropped_and_what_stands_still_is(bench: Bench) {
    let id = bench.run(&bench.spec("chat")).await.unwrap();
    assert!(!bench.engine.drop_stopped(&id).await.unwrap());
    let state = async |id: &ContainerId| Some(bench.container(id).await?.state);
    assert_eq!(state(&id).await, Some(ContainerState::Running));
    bench.stop(&id).await.unwrap();
    let exited = async || (state(&id).await? == ContainerState::Exited).then_some(());
    eventually(exited).await;
    assert!(bench.engine.layer_size(&id).await.unwrap().is_some());
    assert!(bench.engine.drop_stopped(&id).await.unwrap());
    assert_eq!(state(&id).await, None);
    assert!(bench.engine.drop_stopped(&id).await.unwrap(), "it is gone");
    assert_eq!(bench.engine.layer_size(&id).await.unwrap(), None);
}
