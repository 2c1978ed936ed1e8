//! Networks and volumes: listed, and what stands about let go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bollard::query_parameters::RemoveContainerOptions;
use serde::Deserialize;
use serde_json::json;

use super::build::quoted;
use super::errors::within;
use super::transport::{ApiVersion, SHORT_LIMIT, decode};
use super::{Docker, Error, LIST_LIMIT, full};
use crate::model::{Timestamp, label};
use crate::state::{Around, ContainerId, Network, Volume};

/// From this version on, Docker Engine 23.0, volumes are measured alone.
const ALONE: ApiVersion = ApiVersion(1, 42);
/// Older engines measure all that they have for it.
const MEASURE_LIMIT: Duration = Duration::from_mins(2);
/// How long a removal may take.
const REMOVE_LIMIT: Duration = Duration::from_mins(1);

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NetworkWire {
    id: Option<String>,
    name: Option<String>,
    created: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct VolumeWire {
    name: Option<String>,
    created_at: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    usage_data: Option<UsageWire>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct UsageWire {
    /// -1 where it was not measured.
    size: Option<i64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct VolumesWire {
    volumes: Option<Vec<VolumeWire>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SizeWire {
    size_rw: Option<u64>,
}

/// What two lists say. What has no id or no name can't be spoken of.
fn read(networks: &[u8], volumes: &[u8], unused: &[u8]) -> Result<Around, Error> {
    let time = |text: Option<String>| text.as_deref().and_then(Timestamp::parse);
    let networks: Vec<NetworkWire> = decode("list networks", networks)?;
    let networks = networks.into_iter().filter_map(|wire| {
        let (id, name) = (wire.id?, wire.name?);
        let labels = wire.labels.unwrap_or_default();
        Some(Network { id, name, labels, created: time(wire.created) })
    });
    let volumes: VolumesWire = decode("list volumes", volumes)?;
    let unused: VolumesWire = decode("list volumes", unused)?;
    let unused = unused.volumes.unwrap_or_default().into_iter().filter_map(|wire| wire.name);
    let unused: BTreeSet<_> = unused.collect();
    let volumes = volumes.volumes.unwrap_or_default().into_iter().filter_map(|wire| {
        let (name, labels) = (wire.name?, wire.labels.unwrap_or_default());
        let is_mounted = !unused.contains(&name);
        Some(Volume { name, labels, created: time(wire.created_at), is_mounted })
    });
    Ok(Around { networks: networks.collect(), volumes: volumes.collect() })
}

fn sizes(body: &[u8]) -> Result<BTreeMap<String, u64>, Error> {
    let wire: VolumesWire = decode("measure volumes", body)?;
    let of = |volume: VolumeWire| {
        let size = u64::try_from(volume.usage_data?.size?).ok()?;
        Some((volume.name?, size))
    };
    Ok(wire.volumes.unwrap_or_default().into_iter().filter_map(of).collect())
}

/// Whether it is gone; what is used is refused, and stays.
fn outcome(answer: Result<(), Error>) -> Result<bool, Error> {
    match answer {
        Ok(()) | Err(Error::NotFound(_)) => Ok(true),
        Err(Error::Conflict(_) | Error::Refused { status: 403, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Docker {
    /// What there is beside containers and images.
    pub(super) async fn list_around(&self) -> Result<Around, Error> {
        let labelled = json!({"label": [label::COMPOSE_PROJECT]}).to_string();
        let unused = json!({"dangling": ["true"]}).to_string();
        let networks = format!("/networks?filters={}", quoted(&labelled));
        let unused = format!("/volumes?filters={}", quoted(&unused));
        let networks = self.get("list networks", LIST_LIMIT, &networks);
        let volumes = self.get("list volumes", LIST_LIMIT, "/volumes");
        let unused = self.get("list volumes", LIST_LIMIT, &unused);
        let (networks, volumes, unused) = tokio::try_join!(networks, volumes, unused)?;
        read(&networks, &volumes, &unused)
    }

    /// What a container has written beside its volumes.
    pub(super) async fn size_of_layer(&self, id: &ContainerId) -> Result<Option<u64>, Error> {
        let path = format!("/containers/{}/json?size=1", full(id)?);
        match self.get("measure container", MEASURE_LIMIT, &path).await {
            Ok(body) => {
                let wire: SizeWire = decode("measure container", &body)?;
                Ok(wire.size_rw)
            }
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How large volumes are.
    pub(super) async fn sizes_of_volumes(&self) -> Result<BTreeMap<String, u64>, Error> {
        let is_alone = ALONE <= self.transport().version().await?;
        let path = if is_alone { "/system/df?type=volume" } else { "/system/df" };
        match self.get("measure volumes", MEASURE_LIMIT, path).await {
            Ok(body) => sizes(&body),
            Err(Error::NotFound(_)) => Ok(BTreeMap::new()),
            Err(error) => Err(error),
        }
    }

    /// Removes a container without force: one that runs is refused.
    pub(super) async fn remove_stopped(&self, id: &ContainerId) -> Result<bool, Error> {
        let options = RemoveContainerOptions { force: false, v: false, link: false };
        let work = async {
            let answer = self.client().remove_container(full(id)?, Some(options)).await;
            outcome(answer.map_err(|error| self.failure("remove", error)))
        };
        within("remove", REMOVE_LIMIT, work).await
    }

    /// Removes a network, by its whole id alone: a name may be another's.
    pub(super) async fn remove_network(&self, id: &str) -> Result<bool, Error> {
        let id = ContainerId::new(id);
        let work = async {
            let answer = self.client().remove_network(full(&id)?).await;
            outcome(answer.map_err(|error| self.failure("remove network", error)))
        };
        within("remove network", SHORT_LIMIT, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_older_and_newer_engines_are_read_and_odd_rows_left_out() {
        let networks = br#"[
            {"Id": "a1", "Name": "shop_default", "Created": "2026-11-22T01:27:06.697153536Z",
             "Labels": {"com.docker.compose.project": "shop"}, "Containers": {}},
            {"Id": "b2", "Name": "x", "Created": "soon", "Labels": null},
            {"Name": "without an id"}]"#;
        let volumes = br#"{"Volumes": [
            {"Name": "shop_db", "CreatedAt": "2026-11-22T01:27:06+01:00", "Labels": null},
            {"Name": "shop_old", "CreatedAt": "then"},
            {"Driver": "local"}], "Warnings": null}"#;
        let unused = br#"{"Volumes": [{"Name": "shop_old"}]}"#;
        let around = read(networks, volumes, unused).unwrap();
        assert_eq!(around.networks.len(), 2);
        assert_eq!(around.networks[0].labels[label::COMPOSE_PROJECT], "shop");
        assert!(around.networks[0].created.is_some() && around.networks[1].created.is_none());
        let [volume, old] = around.volumes.as_slice() else { panic!("{around:?}") };
        assert!(volume.name == "shop_db" && volume.created.is_some() && volume.is_mounted);
        assert!(old.name == "shop_old" && old.created.is_none() && !old.is_mounted);
        let none = br#"{"Volumes": null}"#;
        assert_eq!(read(b"[]", none, none).unwrap(), Around::default());
        assert!(read(b"{}", none, none).is_err());
    }

    #[test]
    fn a_size_that_was_not_measured_is_not_known() {
        let body = br#"{"Images": [], "Volumes": [
            {"Name": "a", "UsageData": {"Size": 7, "RefCount": 0}},
            {"Name": "b", "UsageData": {"Size": -1, "RefCount": -1}}, {"Name": "c"}]}"#;
        assert_eq!(sizes(body).unwrap(), BTreeMap::from([("a".to_owned(), 7)]));
    }

    #[test]
    fn what_is_used_stays_and_what_is_gone_is_gone() {
        let refused = |status| Error::Refused { status, message: String::new() };
        assert!(outcome(Ok(())).unwrap());
        assert!(outcome(Err(Error::NotFound(String::new()))).unwrap());
        assert!(!outcome(Err(Error::Conflict(String::new()))).unwrap());
        assert!(!outcome(Err(refused(403))).unwrap());
        assert!(outcome(Err(refused(400))).is_err());
    }
}
