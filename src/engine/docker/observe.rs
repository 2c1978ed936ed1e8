//! What the engine lists and what an inspection says, read with every field optional.
//!
//! bollard's own types refuse a whole list for one word that they do not know; here one odd
//! container is shown as foreign and of unknown state, and all others are shown as they are
//! (faults D16, D17, faults.md §4.1.13).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::super::Error;
use super::transport::decode;
use crate::model::{AppName, Digest, GpuGiven, PortBinding, Protocol, Timestamp, label};
use crate::state::{
    BaseImage, Container, ContainerId, ContainerState, Detail, Leftover, OwnImage, Ownership,
    Proof, World, gpus_of_labels, owner_of, ports_of_label, proof_of,
};

/// A container as the list shows it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerWire {
    id: Option<String>,
    names: Option<Vec<String>>,
    image: Option<String>,
    #[serde(rename = "ImageID")]
    image_id: Option<String>,
    created: Option<i64>,
    ports: Option<Vec<PortWire>>,
    labels: Option<BTreeMap<String, String>>,
    state: Option<String>,
    status: Option<String>,
    network_settings: Option<NetworksWire>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PortWire {
    #[serde(rename = "IP")]
    ip: Option<String>,
    private_port: Option<u16>,
    public_port: Option<u16>,
    r#type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct NetworksWire {
    networks: Option<BTreeMap<String, Option<EndpointWire>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EndpointWire {
    #[serde(rename = "IPAddress")]
    ip_address: Option<String>,
}

/// An image, as the list shows it.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ImageWire {
    id: Option<String>,
    created: Option<i64>,
    repo_tags: Option<Vec<String>>,
    repo_digests: Option<Vec<String>>,
    labels: Option<BTreeMap<String, String>>,
    size: Option<u64>,
}

/// An inspection.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct InspectWire {
    state: Option<StateWire>,
    restart_count: Option<u64>,
    config: Option<ConfigWire>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct StateWire {
    status: Option<String>,
    #[serde(rename = "OOMKilled")]
    oom_killed: Option<bool>,
    exit_code: Option<i64>,
    error: Option<String>,
    started_at: Option<String>,
    finished_at: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ConfigWire {
    tty: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ImageInspectWire {
    id: Option<String>,
    config: Option<ImageConfigWire>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ImageConfigWire {
    labels: Option<BTreeMap<String, String>>,
}

/// Makes a world of the two lists.
pub(super) fn world(instance: &str, containers: &[u8], images: &[u8]) -> Result<World, Error> {
    let mut world = World::default();
    world.containers = containers_of(instance, containers, &mut world.given)?;
    take_proofs(instance, &mut world);
    for image in rows::<ImageWire>("list images", images)? {
        let Some(image) = image.ok() else { continue };
        take_image(instance, image, &mut world);
    }
    world.own_images.sort();
    world.leftovers.sort();
    Ok(world)
}

fn containers_of(
    instance: &str,
    body: &[u8],
    given: &mut BTreeMap<ContainerId, GpuGiven>,
) -> Result<Vec<Container>, Error> {
    let mut containers = Vec::new();
    for row in rows::<ContainerWire>("list", body)? {
        let container = match row {
            Ok(wire) => {
                let label = wire.labels.as_ref().and_then(|labels| labels.get(label::GPU_WAY));
                let way = label.and_then(|text| GpuGiven::parse(text));
                let container = container_of(instance, wire);
                given.extend(container.as_ref().map(|c| c.id.clone()).zip(way));
                container
            }
            Err(value) => odd_container(&value),
        };
        // Without an id nobody can say what is there: that is no complete observation.
        containers.push(container.ok_or_else(|| Error::Broken {
            call: "list",
            message: "it lists a container without an id".to_owned(),
        })?);
    }
    Ok(containers)
}

/// Reads a list, fast when every row is as expected; otherwise row by row.
fn rows<T: for<'a> Deserialize<'a>>(
    call: &'static str,
    body: &[u8],
) -> Result<Vec<Result<T, Value>>, Error> {
    if let Ok(all) = serde_json::from_slice::<Vec<T>>(body) {
        return Ok(all.into_iter().map(Ok).collect());
    }
    let values: Vec<Value> = decode(call, body)?;
    Ok(values.into_iter().map(|value| T::deserialize(&value).map_err(|_| value)).collect())
}

/// What only proves that GPUs can be given is no container that anything is decided by.
fn take_proofs(instance: &str, world: &mut World) {
    let proof = |container: &Container| {
        let app = proof_of(instance, &container.name, &container.labels)?;
        Some(Proof { id: container.id.clone(), name: container.name.clone(), app })
    };
    world.proofs = world.containers.iter().filter_map(proof).collect();
    world.containers.retain(|container| proof(container).is_none());
}

fn container_of(instance: &str, wire: ContainerWire) -> Option<Container> {
    let name = own_name(wire.names.as_deref().unwrap_or_default());
    let labels = wire.labels.unwrap_or_default();
    let ownership = owner_of(instance, &name, &labels);
    let state = state_of(wire.state.as_deref().unwrap_or_default());
    let runs = matches!(state, ContainerState::Running | ContainerState::Paused);
    let ports = match (&ownership, runs, labels.get(label::PORTS)) {
        (Ownership::Ours(_), false, Some(text)) => ports_of_label(text),
        _ => ports_of(wire.ports.unwrap_or_default()),
    };
    let gpus = gpus_of_labels(&labels);
    let networks = wire.network_settings.unwrap_or_default().networks.unwrap_or_default();
    let address = |endpoint: Option<EndpointWire>| {
        endpoint.and_then(|at| at.ip_address).filter(|address| !address.is_empty())
    };
    Some(Container {
        id: ContainerId::new(wire.id.filter(|id| !id.is_empty())?),
        name,
        ownership,
        image: wire.image.unwrap_or_default(),
        image_id: whole_id(wire.image_id.unwrap_or_default()),
        state,
        exit_code: exit_code_of(wire.status.as_deref().unwrap_or_default()),
        ports,
        networks: networks.into_iter().map(|(name, at)| (name, address(at))).collect(),
        created: seconds(wire.created),
        gpus,
        labels,
    })
}

/// An image's id as the list of images has it: Podman leaves the name of the digest out.
fn whole_id(id: String) -> String {
    let is_bare = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_bare { format!("sha256:{id}") } else { id }
}

/// A container that can't be read: it keeps its id and its name, and nobody touches it.
fn odd_container(value: &Value) -> Option<Container> {
    let names: Vec<String> = value
        .get("Names")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect())
        .unwrap_or_default();
    Some(Container {
        id: ContainerId::new(value.get("Id")?.as_str()?),
        name: own_name(&names),
        ownership: Ownership::Foreign,
        image: String::new(),
        image_id: String::new(),
        state: ContainerState::Unknown,
        exit_code: None,
        ports: Vec::new(),
        networks: BTreeMap::new(),
        created: Timestamp::default(),
        gpus: None,
        labels: BTreeMap::new(),
    })
}

/// A container has further names when others link to it; its own has one slash only.
fn own_name(names: &[String]) -> String {
    let mut bare = names.iter().filter_map(|name| name.strip_prefix('/'));
    bare.find(|name| !name.contains('/')).unwrap_or_default().to_owned()
}

fn state_of(word: &str) -> ContainerState {
    match word {
        "created" => ContainerState::Created,
        "running" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        "removing" => ContainerState::Removing,
        "exited" => ContainerState::Exited,
        "dead" => ContainerState::Dead,
        _ => ContainerState::Unknown,
    }
}

/// Reads `Exited (137) 3 seconds ago` and `Restarting (1) 2 seconds ago`.
fn exit_code_of(status: &str) -> Option<i64> {
    let rest = status.strip_prefix("Exited (").or_else(|| status.strip_prefix("Restarting ("))?;
    rest.split_once(')')?.0.parse().ok()
}

/// The published ports, each once: an engine with IPv6 lists `0.0.0.0` and `::` apart.
fn ports_of(wires: Vec<PortWire>) -> Vec<PortBinding> {
    let read = |wire: PortWire| {
        let protocol = match wire.r#type.as_deref() {
            Some("udp") => Protocol::Udp,
            Some("tcp") | None => Protocol::Tcp,
            Some(_) => return None,
        };
        Some(PortBinding {
            host_ip: wire.ip.unwrap_or_default(),
            host_port: wire.public_port.filter(|port| *port != 0)?,
            container_port: wire.private_port?,
            protocol,
        })
    };
    let mut ports: Vec<_> = wires.into_iter().filter_map(read).collect();
    let twins: Vec<_> = ports.iter().filter(|port| port.host_ip == "0.0.0.0").cloned().collect();
    ports.retain(|port| {
        let twin = PortBinding { host_ip: "0.0.0.0".to_owned(), ..port.clone() };
        port.host_ip != "::" || !twins.contains(&twin)
    });
    ports.sort();
    ports.dedup();
    ports
}

fn take_image(instance: &str, wire: ImageWire, world: &mut World) {
    let Some(id) = wire.id else { return };
    let is_name = |name: &String| !name.contains("<none>");
    let tags: Vec<_> = wire.repo_tags.unwrap_or_default().into_iter().filter(is_name).collect();
    let digests = wire.repo_digests.unwrap_or_default().into_iter().filter(is_name);
    let mut is_nameless = true;
    for reference in digests.chain(tags.iter().cloned()) {
        world.images.insert(reference, id.clone());
        is_nameless = false;
    }
    if is_nameless {
        world.nameless.insert(id.clone(), seconds(wire.created));
    }
    let labels = wire.labels.unwrap_or_default();
    let get = |key: &str| labels.get(key).map(String::as_str);
    if get(label::BASE_SERVICES).is_some() {
        world.equipped.insert(id.clone());
    }
    if get(label::IMAGE_INSTANCE) != Some(instance) {
        return;
    }
    let (created, size) = (seconds(wire.created), wire.size.unwrap_or(0));
    let app = get(label::IMAGE_APP).and_then(|app| AppName::new(app).ok());
    let build = get(label::IMAGE_BUILD);
    match (app, build) {
        (Some(app), Some(build)) => {
            // An image that somebody made from ours has our labels too, and a name of its own.
            let own: Vec<_> = tags.iter().filter(|tag| is_own(tag, &app, build)).cloned().collect();
            if tags.is_empty() || !own.is_empty() {
                let base = get(label::IMAGE_BASE).and_then(BaseImage::parse);
                let inputs = get(label::IMAGE_INPUTS).and_then(Digest::parse);
                world.own_images.push(OwnImage { created, id, tags: own, app, size, base, inputs });
            }
        }
        // The first instruction of a build of ours says whose it is, the last one the rest.
        (None, None) if tags.is_empty() => world.leftovers.push(Leftover { created, id, size }),
        _ => {}
    }
}

/// Whether this is the tag that a build gives: see `Recipe::tag`.
fn is_own(tag: &str, app: &AppName, build: &str) -> bool {
    let short = tag.strip_prefix("berth/").and_then(|rest| rest.strip_prefix(app.as_str()));
    let short = short.and_then(|rest| rest.strip_prefix(':'));
    short.is_some_and(|short| 12 <= short.len() && build.starts_with(short))
}

fn seconds(since_epoch: Option<i64>) -> Timestamp {
    Timestamp::from_millis(since_epoch.unwrap_or(0).saturating_mul(1000))
}

/// Reads an inspection.
pub(super) fn detail(body: &[u8]) -> Result<Detail, Error> {
    let wire: InspectWire = decode("inspect", body)?;
    let state = wire.state.unwrap_or_default();
    let has_ended = matches!(
        state_of(state.status.as_deref().unwrap_or_default()),
        ContainerState::Exited | ContainerState::Dead | ContainerState::Restarting
    );
    let time = |text: Option<String>| text.as_deref().and_then(Timestamp::parse);
    Ok(Detail {
        started_at: time(state.started_at),
        finished_at: time(state.finished_at),
        restart_count: wire.restart_count.unwrap_or(0),
        is_oom_killed: state.oom_killed.unwrap_or(false),
        exit_code: state.exit_code.filter(|code| has_ended || *code != 0),
        error: state.error.filter(|error| !error.is_empty()),
    })
}

/// Whether an inspected container has a terminal, and so a log without frames (fault D37).
pub(super) fn has_terminal(body: &[u8]) -> Result<bool, Error> {
    let wire: InspectWire = decode("inspect", body)?;
    Ok(wire.config.unwrap_or_default().tty.unwrap_or(false))
}

/// The id and the labels of an inspected image.
pub(super) fn image(body: &[u8]) -> Result<(String, BTreeMap<String, String>), Error> {
    let wire: ImageInspectWire = decode("inspect image", body)?;
    let id = wire.id.ok_or_else(|| Error::Broken {
        call: "inspect image",
        message: "it answers an image without an id".to_owned(),
    })?;
    Ok((id, wire.config.unwrap_or_default().labels.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0a00000000000000000000000000000000000000000000000000000000000001";

    fn row(extra: &str) -> String {
        format!(
            r#"{{"Id":"{ID}","Names":["/web/alias","/chat-01234567"],"Image":"x:1","ImageID":"sha256:1",
            "Created":1700000000,"State":"exited","Status":"Exited (137) 3 seconds ago",
            "Labels":{{"dev.berth.instance":"home","dev.berth.app":"chat","dev.berth.generation":"1",
            "dev.berth.spec-hash":"v1:0123456789abcdef","dev.berth.ports":"127.0.0.1:8001:80/tcp"}}
            {extra}}}"#
        )
    }

    fn containers(json: &str) -> Vec<Container> {
        world("home", json.as_bytes(), b"[]").unwrap().containers
    }

    #[test]
    fn a_stopped_container_of_ours_keeps_its_ports_and_shows_its_exit_code() {
        let seen = &containers(&format!("[{}]", row(r#","Ports":[]"#)))[0];
        assert_eq!(seen.name, "chat-01234567");
        assert_eq!(seen.exit_code, Some(137));
        assert_eq!(seen.ports, ports_of_label("127.0.0.1:8001:80/tcp"));
        assert_eq!(seen.ownership.app().map(AppName::as_str), Some("chat"));
        assert_eq!(seen.created, Timestamp::from_millis(1_700_000_000_000));
    }

    /// faults.md §4.1.13: a podman word, and a field of another type.
    #[test]
    fn one_odd_container_does_not_hide_the_others() {
        let odd = r#"{"Id":"0b","Names":["/odd"],"State":{"new":"shape"},"Ports":"none"}"#;
        let unknown = r#"{"Id":"0c","Names":["/podman"],"State":"stopping"}"#;
        let seen = containers(&format!("[{odd},{},{unknown}]", row("")));
        let states: Vec<_> = seen.iter().map(|c| (c.name.as_str(), c.state)).collect();
        assert_eq!(
            states,
            [
                ("odd", ContainerState::Unknown),
                ("chat-01234567", ContainerState::Exited),
                ("podman", ContainerState::Unknown)
            ]
        );
    }

    /// An observation is complete or an error.
    #[test]
    fn a_list_that_breaks_off_is_an_error() {
        let whole = format!("[{}]", row(""));
        let cut = &whole[..whole.len() - 5];
        assert!(world("home", cut.as_bytes(), b"[]").is_err());
        assert!(world("home", b"[{}]", b"[]").is_err());
        assert!(world("home", b"[]", b"{}").is_err());
    }

    #[test]
    fn a_port_that_is_bound_twice_by_address_family_is_one_port() {
        let ports = r#"[{"Id":"0a","Names":["/x"],"State":"running","Ports":[
            {"IP":"::","PrivatePort":80,"PublicPort":8001,"Type":"tcp"},
            {"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8001,"Type":"tcp"},
            {"PrivatePort":443,"Type":"tcp"}]}]"#;
        assert_eq!(containers(ports)[0].ports, ports_of_label("0.0.0.0:8001:80/tcp"));
    }

    #[test]
    fn images_are_found_by_tag_and_digest_and_ours_by_label() {
        let images = br#"[
            {"Id":"sha256:1","Created":5,"RepoTags":["a:1","<none>:<none>"],"RepoDigests":["a@sha256:9"],"Labels":null},
            {"Id":"sha256:2","Created":7,"RepoTags":["berth/chat:0123456789ab","mine:1"],"RepoDigests":null,"Size":9,
             "Labels":{"dev.berth.image.instance":"home","dev.berth.image.app":"chat","dev.berth.image.build":"0123456789abcdef"}},
            {"Id":"sha256:4","Created":7,"RepoTags":["mine:2"],"RepoDigests":null,
             "Labels":{"dev.berth.image.instance":"home","dev.berth.image.app":"chat","dev.berth.image.build":"0123456789abcdef"}},
            {"Id":"sha256:5","Created":8,"RepoTags":["<none>:<none>"],"Size":3,
             "Labels":{"dev.berth.image.instance":"home"}},
            {"Id":"sha256:3","Created":7,"RepoTags":null,
             "Labels":{"dev.berth.image.instance":"other","dev.berth.image.app":"chat"}}]"#;
        let world = world("home", b"[]", images).unwrap();
        assert_eq!(world.image_id("a:1"), Some("sha256:1"));
        assert_eq!(world.image_id("a@sha256:9"), Some("sha256:1"));
        assert_eq!(world.images.len(), 5);
        assert_eq!(world.own_images.len(), 1);
        assert_eq!(world.own_images[0].tags, ["berth/chat:0123456789ab"]);
        assert_eq!(world.own_images[0].size, 9);
        let left: Vec<_> = world.leftovers.iter().map(|left| left.id.as_str()).collect();
        assert_eq!(left, ["sha256:5"]);
    }

    #[test]
    fn an_exit_code_is_told_only_once_there_is_one() {
        let running = br#"{"State":{"Status":"running","ExitCode":0,"StartedAt":"2025-12-01T00:00:00Z",
            "FinishedAt":"0001-01-01T00:00:00Z","Error":""},"RestartCount":2,"Config":{"Tty":true}}"#;
        let seen = detail(running).unwrap();
        assert_eq!((seen.exit_code, seen.restart_count, seen.finished_at), (None, 2, None));
        assert!(seen.started_at.is_some() && seen.error.is_none());
        assert!(has_terminal(running).unwrap());
        let ended = detail(br#"{"State":{"Status":"exited","ExitCode":0,"OOMKilled":true}}"#);
        assert_eq!(
            ended.map(|seen| (seen.exit_code, seen.is_oom_killed)).unwrap(),
            (Some(0), true)
        );
    }
}
