//! What people do by hand, to whatever container.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::super::terminal::{Asked, Terminal};
use super::super::{Applied, Deed, Error, Hands, Load};
use super::Fake;
use crate::model::{PortBinding, Protocol};
use crate::state::{ContainerId, ContainerState};

/// What a container uses of which nobody said otherwise.
const LOAD: Load =
    Load { cpu_percent: 1.5, memory: 1 << 20, memory_limit: 1 << 30, received: 0, sent: 0 };

impl Hands for Fake {
    fn act<'a>(&'a self, id: &'a ContainerId, deed: Deed) -> BoxFuture<'a, Result<Applied, Error>> {
        Box::pin(async move {
            let instance = &self.instance;
            match deed {
                Deed::Start => {
                    self.call("start", |state, now| state.start(instance, id, now)).await
                }
                Deed::Stop => {
                    let waits = self.call("stop", |state, _| Ok(state.ignores_stop(id))).await?;
                    if let Some(own) = waits {
                        tokio::time::sleep(Duration::from_secs(u64::from(own))).await;
                    }
                    Ok(self.with(|state, now| state.stop(instance, id, now)))
                }
                Deed::Remove => {
                    self.call("remove", |state, now| Ok(state.remove(instance, id, now))).await
                }
            }
        })
    }

    fn pause<'a>(
        &'a self,
        id: &'a ContainerId,
        is_paused: bool,
    ) -> BoxFuture<'a, Result<Applied, Error>> {
        Box::pin(self.call("pause", move |state, now| {
            let (to, action) = if is_paused {
                (ContainerState::Paused, "pause")
            } else {
                (ContainerState::Running, "unpause")
            };
            let instance = &self.instance;
            match state.things.get_mut(id).filter(|thing| thing.runs()) {
                Some(thing) => thing.state = to,
                None => return Err(Error::NotFound(format!("no container {} runs", id.short()))),
            }
            state.tell(instance, id, action, now);
            Ok(Applied::Changed)
        }))
    }

    fn load<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Result<Option<Load>, Error>> {
        Box::pin(self.call("stats", |state, _| {
            let Some(thing) = state.things.get(id) else { return Ok(None) };
            let load = state.loads.get(id).copied().unwrap_or(LOAD);
            Ok(Some(if thing.runs() { load } else { Load::default() }))
        }))
    }

    fn open_terminal<'a>(
        &'a self,
        id: &'a ContainerId,
        asked: &'a Asked,
    ) -> BoxFuture<'a, Result<Terminal, Error>> {
        Box::pin(self.open(id, asked))
    }

    fn exposed<'a>(
        &'a self,
        image: &'a str,
    ) -> BoxFuture<'a, Result<Option<Vec<(u16, Protocol)>>, Error>> {
        Box::pin(self.call("inspect image", |state, _| {
            let id = state.image_id(image);
            Ok(id.map(|id| state.exposed.get(id).cloned().unwrap_or_default()))
        }))
    }
}

impl Fake {
    /// What an image listens on, as its `EXPOSE` says.
    pub fn expose(&self, image: &str, ports: &[(u16, Protocol)]) {
        self.with(|state, _| {
            if let Some(id) = state.image_id(image).cloned() {
                state.exposed.insert(id, ports.to_vec());
            }
        });
    }

    /// What a container uses from now on.
    pub fn uses(&self, id: &ContainerId, load: Load) {
        self.with(|state, _| state.loads.insert(id.clone(), load));
    }

    /// `docker stop` of somebody else's container.
    pub fn stop_foreign(&self, name: &str) -> bool {
        self.with(|state, now| {
            let mut found = state.things.iter().filter(|(_, thing)| thing.name == name);
            let Some(id) = found.next().map(|(id, _)| id.clone()) else { return false };
            state.end(&self.instance, &id, 143, now);
            true
        })
    }

    pub(super) async fn published(&self, id: &ContainerId) -> Result<Vec<PortBinding>, Error> {
        let of = |thing: &super::thing::Thing| thing.ports.clone();
        self.call("ports_of", |state, _| Ok(state.things.get(id).map(of).unwrap_or_default())).await
    }
}
