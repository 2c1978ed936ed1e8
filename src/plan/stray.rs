//! What stands about on the engine: containers that compose made of compose files of apps, networks
//! without a container, volumes that nothing mounts.
//!
//! # Guarantees
//! A container is ours only when its labels say that compose made it of the very files that Berth
//! writes, where Berth writes them, and nobody else's file lies there. A network is ours only by our
//! own label. What has no label is not even named.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::gc::{Left, LeftKind};
use crate::model::{AppName, Timestamp, label};
use crate::state::{Around, Container, ContainerId, ContainerState, Network, Volume, World};

/// Where Berth writes compose files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComposePlace {
    /// The folder, by each of its names.
    pub roots: Vec<PathBuf>,
    /// What a compose file is called there.
    pub file: &'static str,
    /// Those below it that somebody else has written or changed.
    pub others: BTreeSet<PathBuf>,
}

/// What is to be known beside what the engine lists.
#[derive(Clone, Debug, Default)]
pub struct StrayScene {
    /// Which Berth this is.
    pub instance: String,
    /// Its compose files.
    pub place: ComposePlace,
    /// The apps that there are.
    pub wanted: BTreeSet<AppName>,
    /// These, and those that are known to be gone.
    pub known: BTreeSet<AppName>,
    /// The volumes that apps mount by their manifests.
    pub mounted: BTreeSet<String>,
    /// When the last app went, as far as that is known.
    pub last_gone: Option<Timestamp>,
}

/// What a stray is on the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrayKind {
    /// A container.
    Container(ContainerId),
    /// A network, by its id.
    Network(String),
    /// A volume, by its name.
    Volume(String),
}

/// Something that stands about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// What it is on the engine.
    pub kind: StrayKind,
    /// What cleaning up is told of it.
    pub left: Left,
}

/// What compose made a container of.
struct Origin<'a> {
    project: &'a str,
    app: AppName,
    files: String,
    is_ours: bool,
}

/// The apps of whose compose files a container runs that compose has made.
pub fn composed<'a>(
    world: &'a World,
    place: &'a ComposePlace,
) -> impl Iterator<Item = AppName> + 'a {
    let running = world.containers.iter().filter(|container| !is_still(container));
    running
        .filter_map(|container| origin(container, place).filter(|it| it.is_ours))
        .map(|it| it.app)
}

/// All that stands about.
pub fn strays(world: &World, around: &Around, scene: &StrayScene) -> Vec<Stray> {
    let (mut found, mut projects) = (Vec::new(), BTreeSet::new());
    for container in &world.containers {
        let Some(origin) = origin(container, &scene.place) else { continue };
        // Of others it is named only what an app was made after, and what stands still.
        let is_told = origin.is_ours || (scene.known.contains(&origin.app) && is_still(container));
        if !is_told {
            continue;
        }
        projects.insert(origin.project);
        found.push(of_container(container, &origin));
    }
    let live: BTreeSet<_> = world
        .containers
        .iter()
        .filter(|container| !is_still(container))
        .filter_map(|container| container.labels.get(label::COMPOSE_PROJECT))
        .collect();
    // A project of which nothing runs.
    let still = |labels: &BTreeMap<String, String>| {
        let project = labels.get(label::COMPOSE_PROJECT)?;
        let is_still = projects.contains(project.as_str()) && !live.contains(project);
        (is_still && !labels.contains_key(label::INSTANCE)).then(|| project.clone())
    };
    for network in &around.networks {
        found.extend(of_network(world, network, scene, still(&network.labels)));
    }
    for volume in around.volumes.iter().filter(|volume| !scene.mounted.contains(&volume.name)) {
        found.extend(of_volume(volume, scene, still(&volume.labels)));
    }
    found
}

fn left(kind: LeftKind, name: &str, is_ours: bool, since: Option<Timestamp>, why: String) -> Left {
    Left {
        kind,
        name: name.to_owned(),
        app: None,
        is_ours,
        used_by: None,
        holds_data: kind == LeftKind::Volume,
        size: 0,
        since,
        of_gone: false,
        why,
    }
}

fn of_container(container: &Container, origin: &Origin<'_>) -> Stray {
    let why = format!("compose project `{}` made it of {}", origin.project, origin.files);
    let since = Some(container.created);
    let plain = left(LeftKind::Project, &container.name, origin.is_ours, since, why);
    let used_by = (!is_still(container)).then(|| "whoever runs it".to_owned());
    let left = Left { app: Some(origin.app.clone()), used_by, of_gone: true, ..plain };
    Stray { kind: StrayKind::Container(container.id.clone()), left }
}

fn of_network(
    world: &World,
    network: &Network,
    scene: &StrayScene,
    project: Option<String>,
) -> Option<Stray> {
    let mut inside = world.containers.iter().filter(|container| is_in(container, network));
    let is_ours = network.labels.get(label::INSTANCE) == Some(&scene.instance);
    let why = match project {
        _ if is_ours => inside.next().is_none().then(|| "no container is in it".to_owned()),
        Some(project) => {
            let why = format!("nothing runs in it, and it is of the compose project `{project}`");
            inside.all(is_still).then_some(why)
        }
        None => None,
    };
    // A network is as old as its idleness, so far as that is known.
    let gone = scene.last_gone.filter(|_| is_ours);
    let since = network.created.map(|made| gone.map_or(made, |gone| gone.max(made)));
    let kind = StrayKind::Network(network.id.clone());
    Some(Stray { kind, left: left(LeftKind::Network, &network.name, is_ours, since, why?) })
}

fn of_volume(volume: &Volume, scene: &StrayScene, project: Option<String>) -> Option<Stray> {
    let get = |key: &str| volume.labels.get(key);
    let app = get(label::APP).and_then(|app| AppName::new(app).ok());
    let is_ours = get(label::INSTANCE) == Some(&scene.instance);
    let why = match (&app, project) {
        (Some(app), _) if is_ours && !scene.wanted.contains(app) && !volume.is_mounted => {
            format!("it is of app/{app}, which no manifest names")
        }
        (_, Some(project)) => format!("it is of the compose project `{project}`"),
        _ => return None,
    };
    let plain = left(LeftKind::Volume, &volume.name, is_ours, volume.created, why);
    let app = app.filter(|_| is_ours);
    Some(Stray { kind: StrayKind::Volume(volume.name.clone()), left: Left { app, ..plain } })
}

/// Whether nothing of it runs, or will by itself.
fn is_still(container: &Container) -> bool {
    use ContainerState::{Created, Dead, Exited};
    matches!(container.state, Created | Exited | Dead)
}

/// Whether a container is to run in it. A list may have its name, or its id.
fn is_in(container: &Container, network: &Network) -> bool {
    const SHORT: usize = 12;
    container.networks.keys().any(|said| {
        *said == network.name || (SHORT <= said.len() && network.id.starts_with(said.as_str()))
    })
}

/// What compose made a container of; none of what compose did not make, or a Berth did.
fn origin<'a>(container: &'a Container, place: &ComposePlace) -> Option<Origin<'a>> {
    let get = |key: &str| container.labels.get(key).map(String::as_str);
    if container.ownership.owner().is_some() || get(label::INSTANCE).is_some() {
        return None;
    }
    let project = get(label::COMPOSE_PROJECT)?;
    let service = get(label::COMPOSE_SERVICE)?;
    let folder = Path::new(get(label::COMPOSE_WORKING_DIR)?);
    let said = get(label::COMPOSE_CONFIG_FILES).filter(|files| !files.is_empty())?;
    let files: Vec<_> = said.split(',').map(|file| folder.join(file)).collect();
    let is_written = |root: &PathBuf| {
        let own = [root.join(place.file), root.join(service).join(place.file)];
        is_plain(folder)
            && folder.starts_with(root)
            && files.iter().all(|file| own.contains(file) && !place.others.contains(file))
    };
    let is_ours = AppName::new(service).is_ok() && place.roots.iter().any(is_written);
    let app = AppName::new(service).ok().or_else(|| AppName::new(&as_app(service)).ok())?;
    let shown: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    Some(Origin { project, app, files: shown.join(", "), is_ours })
}

/// The name that an import gives to an app made of a service.
fn as_app(service: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    service.chars().map(letter).collect()
}

/// Whether a path says where it is without a way back up.
fn is_plain(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|part| !matches!(part, Component::ParentDir))
}
