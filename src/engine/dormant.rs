//! The host ports that stopped containers of others will want again: a list does not tell them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures_util::{StreamExt as _, stream};

use super::Engine;
use crate::model::PortBinding;
use crate::state::{Container, ContainerId, ContainerState, HostPort, World};

/// How many containers are inspected at once.
const INSPECTIONS_AT_ONCE: usize = 8;
/// The most containers that are looked at: a host full of old ones costs no more than these.
const CONTAINERS_MAX: usize = 500;

/// What is known of them. A container's ports never change, so each is asked once.
#[derive(Debug, Default)]
pub struct Dormant {
    known: Mutex<BTreeMap<ContainerId, Vec<PortBinding>>>,
}

impl Dormant {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Vec<PortBinding>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ports, each with the container's name. Those that can't be asked are left out.
    pub async fn ports(&self, engine: &dyn Engine, world: &World) -> BTreeMap<HostPort, String> {
        let all = world.containers.iter().filter(|container| is_dormant(container));
        let all: Vec<_> = all.take(CONTAINERS_MAX).collect();
        let unknown: Vec<_> = {
            let mut known = self.lock();
            let here: BTreeSet<_> = all.iter().map(|container| &container.id).collect();
            known.retain(|id, _| here.contains(id));
            all.iter().filter(|c| !known.contains_key(&c.id)).map(|c| c.id.clone()).collect()
        };
        let ask = async |id: ContainerId| {
            let ports = engine.ports_of(&id).await;
            (id, ports)
        };
        let answers: Vec<_> =
            stream::iter(unknown).map(ask).buffer_unordered(INSPECTIONS_AT_ONCE).collect().await;
        let mut known = self.lock();
        known.extend(answers.into_iter().filter_map(|(id, ports)| Some((id, ports.ok()?))));
        let mut ports = BTreeMap::new();
        for container in all {
            for port in known.get(&container.id).into_iter().flatten() {
                ports.insert((port.protocol, port.host_port), container.name.clone());
            }
        }
        ports
    }
}

/// Whether a container of others does not run, and may be started again.
fn is_dormant(container: &Container) -> bool {
    let is_still = matches!(container.state, ContainerState::Created | ContainerState::Exited);
    container.ownership.owner().is_none() && is_still
}
