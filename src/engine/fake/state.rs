//! What the fake holds, and what its calls do to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use tokio::sync::broadcast;

use super::super::labels::{container_labels, image_labels};
use super::super::{Applied, CallCounts, Error, Hint, Load, LogOptions};
use super::around::Kept;
use super::gpus::Gpus;
use super::thing::{Behaviour, Thing};
use crate::model::{
    AppName, Digest, GpuGiven, GpuShare, ImageRef, PortBinding, Protocol, Timestamp, label,
};
use crate::plan::{ContainerSpec, Recipe};
use crate::scan;
use crate::secret::{Given, Value};
use crate::state::{
    BaseImage, Container, ContainerId, ContainerState, Detail, GpuHold, HostPort, Network,
    OwnImage, Ownership, Proof, World, gpus_of_labels, owner_of, ports_of_label, proof_of,
};

/// How long work ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    #[default]
    Works,
    /// With this message.
    Fails(String),
    /// Never, unless it is cancelled.
    Hangs,
}

/// How a build or a pull goes.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What it writes.
    pub log: Vec<String>,
    /// How long it takes.
    pub takes: Duration,
    /// How it ends.
    pub outcome: Outcome,
}

impl Script {
    /// It fails at once.
    pub fn fails(message: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fails(message.into()), ..Self::default() }
    }

    /// It works and takes a while.
    pub fn takes(takes: Duration) -> Self {
        Self { takes, ..Self::default() }
    }
}

/// What a build is to give.
#[derive(Clone, Debug)]
pub struct Order {
    /// The app that it is for.
    pub app: AppName,
    /// The image's name.
    pub tag: String,
    /// The image's labels.
    pub labels: BTreeMap<String, String>,
}

impl Order {
    /// What a recipe asks for.
    pub(super) fn of(instance: &str, recipe: &Recipe) -> Self {
        let labels = image_labels(instance, recipe);
        Self { app: recipe.app.clone(), tag: recipe.tag(), labels }
    }
}

/// An image.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) tags: BTreeSet<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) created: Timestamp,
    pub(super) behaviour: Behaviour,
}

/// An event with all that an engine says of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// The container.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What happened.
    pub action: String,
    /// When.
    pub at: Timestamp,
}

/// A piece of a log, and where the next one begins.
pub(super) struct LogPiece {
    pub(super) text: String,
    pub(super) next: usize,
    pub(super) runs: bool,
}

/// All of it.
pub(super) struct State {
    pub(super) id: String,
    pub(super) things: BTreeMap<ContainerId, Thing>,
    pub(super) images: BTreeMap<String, Image>,
    pub(super) networks: BTreeMap<String, Network>,
    /// Those that are there beside what containers mount.
    pub(super) volumes: BTreeMap<String, Kept>,
    pub(super) taken_ports: BTreeSet<HostPort>,
    pub(super) remote: BTreeMap<String, (Script, Behaviour)>,
    /// Whether whatever is asked for can be pulled.
    pub(super) has_everything: bool,
    pub(super) builds: BTreeMap<AppName, VecDeque<Script>>,
    pub(super) built: BTreeMap<AppName, Behaviour>,
    pub(super) is_down: bool,
    pub(super) loses_events: bool,
    pub(super) counts: CallCounts,
    pub(super) journal: Vec<String>,
    pub(super) events: broadcast::Sender<Result<Hint, Error>>,
    /// The same events in full; none ends all streams.
    pub(super) told: broadcast::Sender<Option<Told>>,
    pub(super) gpus: Gpus,
    /// GPUs on which containers were started that have them alone, while others had them.
    pub(super) clashes: Vec<String>,
    /// What images listen on, by their ids.
    pub(super) exposed: BTreeMap<String, Vec<(u16, Protocol)>>,
    /// What is installed in images, by their ids.
    pub(super) installed: BTreeMap<String, scan::Inventory>,
    /// What containers use.
    pub(super) loads: BTreeMap<ContainerId, Load>,
    /// How often commands were told to hang up, by their marks.
    pub(super) hung_up: super::terminal::HungUp,
    made: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            id: "FAKE:0001".to_owned(),
            things: BTreeMap::new(),
            images: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            taken_ports: BTreeSet::new(),
            remote: BTreeMap::new(),
            has_everything: false,
            builds: BTreeMap::new(),
            built: BTreeMap::new(),
            is_down: false,
            loses_events: false,
            counts: CallCounts::new(),
            journal: Vec::new(),
            events: broadcast::channel(1024).0,
            told: broadcast::channel(1024).0,
            gpus: Gpus::default(),
            clashes: Vec::new(),
            exposed: BTreeMap::new(),
            installed: BTreeMap::new(),
            loads: BTreeMap::new(),
            hung_up: BTreeMap::new(),
            made: 0,
        }
    }
}

/// What a call gets from an engine that is not there.
pub(super) fn down() -> Error {
    Error::Unreachable { address: "fake".to_owned(), message: "nobody listens".to_owned() }
}

/// The same for the same content: what is built or pulled twice is one image, as with Docker's cache.
fn same_id(name: &str, behaviour: &Behaviour) -> String {
    format!("sha256:{}", Digest::of_bytes(format!("{name} {behaviour:?}").as_bytes()).as_str())
}

fn no_such(id: &ContainerId) -> Error {
    Error::NotFound(format!("no such container: {id}"))
}

impl State {
    /// Lets everything happen that is due.
    pub(super) fn advance(&mut self, instance: &str, now: Timestamp) {
        if self.is_down {
            return;
        }
        loop {
            let due = self.things.iter().filter_map(|(id, thing)| Some((thing.next_turn()?, id)));
            let Some((at, id)) = due.min().filter(|(at, _)| *at <= now) else { return };
            let id = id.clone();
            let ip = self.next_ip();
            let Some(thing) = self.things.get_mut(&id) else { return };
            if thing.state == ContainerState::Restarting {
                thing.restart_count += 1;
                thing.run(ip, at);
                self.tell(instance, &id, "start", at);
            } else {
                let code = thing.behaviour.exits.as_ref().map_or(0, |(_, code)| *code);
                thing.crash(code, at);
                self.tell(instance, &id, "die", at);
            }
        }
    }

    /// Sends an event.
    pub(super) fn tell(&self, instance: &str, id: &ContainerId, action: &str, at: Timestamp) {
        let Some(thing) = self.things.get(id).filter(|_| !self.loses_events) else { return };
        let app = owner_of(instance, &thing.name, &thing.labels).app().cloned();
        let is_urgent = app.is_some() && Hint::is_urgent_action(action);
        let container = Some(id.clone());
        let hint = Hint { app, container, action: action.to_owned(), at: Some(at), is_urgent };
        let (name, labels, action) = (thing.name.clone(), thing.labels.clone(), action.to_owned());
        let _ = self.told.send(Some(Told { id: id.clone(), name, labels, action, at }));
        // Nobody listens: nobody is told.
        let _ = self.events.send(Ok(hint));
    }

    pub(super) fn next_id(&mut self, kind: &str) -> String {
        self.made += 1;
        Digest::of_bytes(format!("{kind} {}", self.made).as_bytes()).as_str().to_owned()
    }

    fn next_ip(&mut self) -> String {
        self.made += 1;
        format!("172.30.{}.{}", self.made / 250, self.made % 250 + 2)
    }

    /// The id of the image that a reference, or an id, names.
    pub(super) fn image_id(&self, reference: &str) -> Option<&String> {
        let names =
            |(id, image): &(&String, &Image)| *id == reference || image.tags.contains(reference);
        self.images.iter().find(names).map(|(id, _)| id)
    }

    /// Gives a name to an image, and takes it from another.
    pub(super) fn put_image(&mut self, id: &str, tag: &str, image: Image) {
        for other in self.images.values_mut() {
            other.tags.remove(tag);
        }
        let image = self.images.entry(id.to_owned()).or_insert(image);
        image.tags.insert(tag.to_owned());
    }

    pub(super) fn create(
        &mut self,
        instance: &str,
        (spec, given): (&ContainerSpec, &Given),
        now: Timestamp,
    ) -> Result<Applied, Error> {
        if let Some((id, _)) = self.things.iter().find(|(_, thing)| thing.name == spec.name) {
            let message = format!("the name `{}` is in use by container {id}", spec.name);
            return Err(Error::Conflict(message));
        }
        let image = &spec.shape.image;
        let image_id = self.image_id(image).cloned();
        let image_id = image_id.ok_or_else(|| Error::ImageMissing(image.clone()))?;
        let from = self.images.get(&image_id);
        let mut labels = from.map(|image| image.labels.clone()).unwrap_or_default();
        labels.extend(container_labels(spec));
        let behaviour = from.map(|image| image.behaviour.clone()).unwrap_or_default();
        let id = ContainerId::new(self.next_id("container"));
        let thing = Thing {
            labels,
            behaviour,
            ports: spec.shape.ports.clone(),
            network: Some(spec.shape.network.clone()),
            restart: spec.shape.restart,
            grace_s: spec.grace_s,
            given: given.env.values().cloned().collect(),
            ..Thing::new(spec.name.clone(), (image.clone(), image_id), now)
        };
        self.things.insert(id.clone(), thing);
        self.journal.push(format!("create {}", spec.name));
        self.tell(instance, &id, "create", now);
        Ok(Applied::Created(id))
    }

    /// An engine does no accounting: it starts whatever it is told to. Those who test look here.
    fn note_gpus(&mut self, id: &ContainerId) {
        let grant = |thing: &Thing| match gpus_of_labels(&thing.labels) {
            Some(GpuHold::Granted(grant)) => Some(grant),
            _ => None,
        };
        let Some((name, ours)) =
            self.things.get(id).and_then(|thing| Some((thing.name.clone(), grant(thing)?)))
        else {
            return;
        };
        for (_, other) in self.things.iter().filter(|(other, _)| *other != id) {
            let Some(theirs) = grant(other).filter(|_| other.state == ContainerState::Running)
            else {
                continue;
            };
            let is_alone = [ours.share, theirs.share].contains(&GpuShare::Exclusive);
            if is_alone && ours.devices.iter().any(|gpu| theirs.devices.contains(gpu)) {
                self.clashes.push(format!("{name} was started on a GPU of {}", other.name));
            }
        }
    }

    pub(super) fn start(
        &mut self,
        instance: &str,
        id: &ContainerId,
        now: Timestamp,
    ) -> Result<Applied, Error> {
        let thing = self.things.get(id).ok_or_else(|| no_such(id))?;
        match thing.state {
            ContainerState::Running => return Ok(Applied::AlreadySo),
            ContainerState::Created | ContainerState::Exited | ContainerState::Restarting => {}
            state => {
                let message = format!("container {id} can't be started: it is {state:?}");
                return Err(Error::Conflict(message));
            }
        }
        if let Some(network) =
            thing.network.as_ref().filter(|name| !self.networks.contains_key(*name))
        {
            return Err(Error::NotFound(format!("network {network} not found")));
        }
        if let Some(port) = thing.ports.iter().find(|port| self.is_port_taken(id, port)) {
            let message = format!(
                "Bind for {}:{} failed: port is already allocated",
                port.host_ip, port.host_port
            );
            if let Some(thing) = self.things.get_mut(id) {
                thing.error = Some(message.clone());
                thing.exit_code = Some(128);
            }
            return Err(Error::PortTaken(message));
        }
        if let Err(error) = self.check_gpus(id) {
            if let Some(thing) = self.things.get_mut(id) {
                thing.error = Some(error.to_string());
                thing.exit_code = Some(128);
            }
            return Err(error);
        }
        self.gpus.lost.remove(id);
        self.note_gpus(id);
        let ip = self.next_ip();
        let thing = self.things.get_mut(id).ok_or_else(|| no_such(id))?;
        thing.backoff = None;
        thing.run(ip, now);
        self.journal.push(format!("start {}", thing.name));
        self.tell(instance, id, "start", now);
        self.advance(instance, now);
        Ok(Applied::Changed)
    }

    fn is_port_taken(&self, id: &ContainerId, wanted: &PortBinding) -> bool {
        let key = (wanted.protocol, wanted.host_port);
        let overlaps = |held: &PortBinding| {
            let is_any = |ip: &str| ip == "0.0.0.0";
            (held.protocol, held.host_port) == key
                && (held.host_ip == wanted.host_ip
                    || is_any(&held.host_ip)
                    || is_any(&wanted.host_ip))
        };
        let mut others = self.things.iter().filter(|(other, thing)| *other != id && thing.runs());
        self.taken_ports.contains(&key) || others.any(|(_, thing)| thing.ports.iter().any(overlaps))
    }

    /// The grace period it was made with, where a stop of it takes the whole of one.
    pub(super) fn ignores_stop(&self, id: &ContainerId) -> Option<u32> {
        let thing = self.things.get(id)?;
        (thing.runs() && thing.behaviour.ignores_stop).then_some(thing.grace_s)
    }

    pub(super) fn stop(&mut self, instance: &str, id: &ContainerId, now: Timestamp) -> Applied {
        let Some(thing) = self.things.get(id).filter(|thing| thing.is_live()) else {
            return Applied::AlreadySo;
        };
        let code = if thing.behaviour.ignores_stop { 137 } else { 143 };
        self.journal.push(format!("stop {}", thing.name));
        self.end(instance, id, code, now);
        self.tell(instance, id, "stop", now);
        Applied::Changed
    }

    /// Kills it for good.
    pub(super) fn end(&mut self, instance: &str, id: &ContainerId, code: i64, now: Timestamp) {
        self.tell(instance, id, "kill", now);
        let Some(thing) = self.things.get_mut(id) else { return };
        let was_up = thing.runs();
        let code = thing.exit_code.filter(|_| !was_up).unwrap_or(code);
        thing.end(code, now);
        if was_up {
            self.tell(instance, id, "die", now);
        }
    }

    pub(super) fn remove(&mut self, instance: &str, id: &ContainerId, now: Timestamp) -> Applied {
        let Some(thing) = self.things.get(id) else { return Applied::AlreadySo };
        self.journal.push(format!("remove {}", thing.name));
        self.destroy(instance, id, now);
        Applied::Changed
    }

    pub(super) fn destroy(&mut self, instance: &str, id: &ContainerId, now: Timestamp) {
        if self.things.get(id).is_some_and(Thing::is_live) {
            self.end(instance, id, 137, now);
        }
        self.tell(instance, id, "destroy", now);
        self.things.remove(id);
    }

    pub(super) fn remove_image(&mut self, id: &str, tag: &str) -> Applied {
        let is_used = self.things.values().any(|thing| thing.image_id == id);
        if is_used {
            return Applied::AlreadySo;
        }
        let Some(image) = self.images.get_mut(id) else { return Applied::AlreadySo };
        image.tags.remove(tag);
        if image.tags.is_empty() {
            self.images.remove(id);
        }
        self.journal.push(format!("remove image {tag}"));
        Applied::Changed
    }

    pub(super) fn next_build(&mut self, app: &AppName) -> Script {
        self.builds.get_mut(app).and_then(VecDeque::pop_front).unwrap_or_default()
    }

    pub(super) fn finish_build(&mut self, order: &Order, now: Timestamp) -> String {
        let behaviour = self.built.get(&order.app).cloned().unwrap_or_default();
        let id = same_id(&order.tag, &behaviour);
        let image =
            Image { tags: BTreeSet::new(), labels: order.labels.clone(), created: now, behaviour };
        self.put_image(&id, &order.tag, image);
        self.journal.push(format!("build {}", order.tag));
        id
    }

    pub(super) fn remote_script(&self, reference: &ImageRef) -> Result<Script, Error> {
        let known = self.remote.get(reference.as_str()).map(|(script, _)| script.clone());
        let known = known.or_else(|| self.has_everything.then(Script::default));
        known.ok_or_else(|| Error::Work("manifest unknown".to_owned()))
    }

    pub(super) fn finish_pull(&mut self, reference: &ImageRef, now: Timestamp) -> String {
        let behaviour = self.remote.get(reference.as_str()).map(|(_, does)| does.clone());
        let behaviour = behaviour.unwrap_or_default();
        let id = same_id(reference.as_str(), &behaviour);
        let image =
            Image { tags: BTreeSet::new(), labels: BTreeMap::new(), created: now, behaviour };
        self.put_image(&id, reference.as_str(), image);
        self.journal.push(format!("pull {reference}"));
        id
    }

    pub(super) fn exec(&self, id: &ContainerId, now: Timestamp) -> Result<(i64, String), Error> {
        let thing = self.things.get(id).ok_or_else(|| no_such(id))?;
        if thing.state != ContainerState::Running {
            return Err(Error::Conflict(format!("container {id} is not running")));
        }
        let up = thing.started_at.map_or(Duration::ZERO, |start| now.since(start));
        let is_warm = thing.behaviour.warm_up <= up;
        Ok(if is_warm { thing.behaviour.exec.clone() } else { (1, "it warms up".to_owned()) })
    }

    pub(super) fn detail(&self, id: &ContainerId) -> Option<Detail> {
        self.things.get(id).map(Thing::detail)
    }

    /// The values of a container's variables that are secrets.
    pub(super) fn given(&self, id: &ContainerId) -> Vec<Value> {
        self.things.get(id).map(|thing| thing.given.clone()).unwrap_or_default()
    }

    /// What a log holds from line `told` on; at first, what the options ask for.
    pub(super) fn log(
        &self,
        id: &ContainerId,
        options: &LogOptions,
        told: Option<usize>,
    ) -> Result<LogPiece, Error> {
        let thing = self.things.get(id).ok_or_else(|| no_such(id))?;
        let tail = options.tail.and_then(|lines| usize::try_from(lines).ok());
        let first = tail.map_or(0, |lines| thing.log.len().saturating_sub(lines));
        let lines = thing.log.iter().skip(told.unwrap_or(first));
        let asked = lines.filter(|(at, _)| options.since.is_none_or(|since| since <= *at));
        let mut text = String::new();
        for (at, line) in asked {
            if options.timestamps {
                let _ = write!(text, "{at} ");
            }
            text.push_str(line);
            text.push('\n');
        }
        Ok(LogPiece { text, next: thing.log.len(), runs: thing.is_live() })
    }

    /// Everything, as an instance sees it.
    pub(super) fn world(&self, instance: &str) -> World {
        let mut world = World::default();
        for (id, thing) in &self.things {
            if let Some(app) = proof_of(instance, &thing.name, &thing.labels) {
                world.proofs.push(Proof { id: id.clone(), name: thing.name.clone(), app });
                continue;
            }
            world.containers.push(self.container(instance, id, thing));
            let way = thing.labels.get(label::GPU_WAY).and_then(|text| GpuGiven::parse(text));
            world.given.extend(way.map(|way| (id.clone(), way)));
        }
        for (id, image) in &self.images {
            for tag in &image.tags {
                world.images.insert(tag.clone(), id.clone());
            }
            if image.tags.is_empty() {
                world.nameless.insert(id.clone(), image.created);
            }
            let get = |key: &str| image.labels.get(key).map(String::as_str);
            if get(label::BASE_SERVICES).is_some() {
                world.equipped.insert(id.clone());
            }
            let app = get(label::IMAGE_APP).and_then(|app| AppName::new(app).ok());
            if let (Some(app), true) = (app, get(label::IMAGE_INSTANCE) == Some(instance)) {
                let tags = image.tags.iter().cloned().collect();
                world.own_images.push(OwnImage {
                    created: image.created,
                    id: id.clone(),
                    tags,
                    app,
                    size: 0,
                    base: get(label::IMAGE_BASE).and_then(BaseImage::parse),
                    inputs: get(label::IMAGE_INPUTS).and_then(Digest::parse),
                });
            }
        }
        world.own_images.sort();
        world
    }

    fn container(&self, instance: &str, id: &ContainerId, thing: &Thing) -> Container {
        let ownership = owner_of(instance, &thing.name, &thing.labels);
        let ports = match (&ownership, thing.runs()) {
            (_, true) => thing.ports.clone(),
            (Ownership::Ours(_), false) => {
                thing.labels.get(label::PORTS).map(|text| ports_of_label(text)).unwrap_or_default()
            }
            (Ownership::Foreign, false) => Vec::new(),
        };
        let is_named = self.image_id(&thing.image) == Some(&thing.image_id);
        Container {
            id: id.clone(),
            name: thing.name.clone(),
            ownership,
            image: if is_named { thing.image.clone() } else { thing.image_id.clone() },
            image_id: thing.image_id.clone(),
            state: thing.state,
            exit_code: thing.exit_code.filter(|_| {
                matches!(thing.state, ContainerState::Exited | ContainerState::Restarting)
            }),
            ports,
            networks: thing.network.iter().map(|name| (name.clone(), thing.ip.clone())).collect(),
            created: thing.created,
            gpus: gpus_of_labels(&thing.labels),
            labels: thing.labels.clone(),
        }
    }
}
