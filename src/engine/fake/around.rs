//! Networks and volumes, and what compose makes beside Berth.

use std::collections::BTreeMap;

use super::super::labels::compose_project;
use super::super::{Applied, Error};
use super::Fake;
use super::state::State;
use super::thing::Thing;
use crate::model::{Digest, Timestamp, label};
use crate::state::{Around, ContainerId, Network, Volume};

/// A volume, and how large it is.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    volume: Volume,
    size: u64,
}

/// How much each container has written.
const LAYER_BYTES: u64 = 1 << 20;

impl State {
    pub(super) fn ensure_network(&mut self, instance: &str, name: &str, now: Timestamp) -> Applied {
        if self.networks.contains_key(name) {
            return Applied::AlreadySo;
        }
        let labels = [
            (label::INSTANCE, instance.to_owned()),
            (label::COMPOSE_PROJECT, compose_project(instance)),
        ];
        self.put_network(name, &labels.map(|(key, value)| (key.to_owned(), value)).into(), now);
        self.journal.push(format!("network {name}"));
        Applied::Changed
    }

    fn put_network(&mut self, name: &str, labels: &BTreeMap<String, String>, now: Timestamp) {
        let id = Digest::of_bytes(format!("network {name}").as_bytes()).as_str().to_owned();
        let (key, name, labels) = (name.to_owned(), name.to_owned(), labels.clone());
        self.networks.insert(key, Network { id, name, labels, created: Some(now) });
    }

    fn surroundings(&self) -> Around {
        let is_labelled = |network: &&Network| network.labels.contains_key(label::COMPOSE_PROJECT);
        Around {
            networks: self.networks.values().filter(is_labelled).cloned().collect(),
            volumes: self.volumes.values().map(|kept| kept.volume.clone()).collect(),
        }
    }
}

impl Fake {
    pub(super) async fn list_around(&self) -> Result<Around, Error> {
        self.call("surroundings", |state, _| Ok(state.surroundings())).await
    }

    pub(super) async fn size_of_layer(&self, id: &ContainerId) -> Result<Option<u64>, Error> {
        self.call("layer_size", |state, _| Ok(state.things.get(id).map(|_| LAYER_BYTES))).await
    }

    pub(super) async fn sizes_of_volumes(&self) -> Result<BTreeMap<String, u64>, Error> {
        self.call("volume_sizes", |state, _| {
            Ok(state.volumes.iter().map(|(name, kept)| (name.clone(), kept.size)).collect())
        })
        .await
    }

    pub(super) async fn remove_stopped(&self, id: &ContainerId) -> Result<bool, Error> {
        self.call("drop_stopped", |state, now| {
            if state.things.get(id).is_some_and(Thing::is_live) {
                return Ok(false);
            }
            state.remove(&self.instance, id, now);
            Ok(true)
        })
        .await
    }

    pub(super) async fn remove_network(&self, id: &str) -> Result<bool, Error> {
        self.call("drop_network", |state, _| {
            let found = state.networks.values().find(|network| network.id == id);
            let Some(name) = found.map(|network| network.name.clone()) else { return Ok(true) };
            let is_in = |thing: &Thing| thing.runs() && thing.network.as_deref() == Some(&name);
            if state.things.values().any(is_in) {
                return Ok(false);
            }
            state.networks.remove(&name);
            state.journal.push(format!("remove network {name}"));
            Ok(true)
        })
        .await
    }

    /// `docker-compose up`, and `stop` unless it goes on running: a container with these labels.
    pub fn add_labelled(&self, name: &str, labels: &[(&str, &str)], runs: bool) -> ContainerId {
        let id = self.add_foreign(name, Vec::new());
        self.with(|state, now| {
            if let Some(thing) = state.things.get_mut(&id) {
                let pairs = labels.iter().map(|(key, value)| ((*key).into(), (*value).into()));
                thing.labels.extend(pairs);
            }
            if !runs {
                state.end(&self.instance, &id, 143, now);
            }
        });
        id
    }

    /// A network with these labels, made by hand or by compose.
    pub fn add_network(&self, name: &str, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.with(|state, now| state.put_network(name, &labels, now));
    }

    /// A volume that nothing mounts.
    pub fn add_volume(&self, name: &str, labels: &[(&str, &str)], size: u64) {
        let labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.with(|state, now| {
            let volume =
                Volume { name: name.to_owned(), labels, created: Some(now), is_mounted: false };
            state.volumes.insert(name.to_owned(), Kept { volume, size });
        });
    }

    /// Whether there is a volume of this name.
    pub fn has_volume(&self, name: &str) -> bool {
        self.with(|state, _| state.volumes.contains_key(name))
    }
}
