//! Which images go: the one decision about them, for passes and for people.
//!
//! # Guarantees
//! Never one that any container uses, ours or not; never one that is not ours; of each app so many
//! stay as the operator says, those in use and the newest; never one that an undo holds; nothing that a build under way may rest on.
//! A step of a build is ours when the builder told us that our build made it, and it is no older
//! than that build.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::model::{AppName, Timestamp, format_bytes, format_duration};
use crate::state::{Container, ContainerState, OwnImage, Policy, World};

/// The engine tells ages in whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// An image that nothing needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unneeded {
    /// Its id.
    pub id: String,
    /// The names by which it is let go; its id when it has none.
    pub tags: Vec<String>,
    /// The app it was built for, when that is known.
    pub app: Option<AppName>,
    /// Its size in bytes, shared layers included.
    pub size: u64,
    /// Why it goes.
    pub why: String,
}

/// What is needed although no container uses it.
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// Whether a build is under way: it may rest on anything.
    pub is_building: bool,
    /// The ids of images that an undo holds an app at.
    pub held: BTreeSet<String>,
    /// What the classic builder has told of its steps, oldest build first.
    pub traces: Vec<Trace>,
    /// Whether the steps of an app's last build stay when it came to nothing: the next one goes on
    /// from there.
    pub keeps_last: bool,
}

/// What a build with the classic builder made on its way, as the builder told it: the first digits
/// of ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The app that was built.
    #[serde(deserialize_with = "app_name")]
    pub app: AppName,
    /// When it began.
    pub since: Timestamp,
    /// Whether it came to an image.
    pub is_done: bool,
    /// The images of its steps, those found in the cache too.
    pub images: Vec<String>,
    /// The containers that steps ran in.
    pub containers: Vec<String>,
}

fn app_name<'de, D: Deserializer<'de>>(from: D) -> Result<AppName, D::Error> {
    let text = String::deserialize(from)?;
    AppName::new(&text).map_err(de::Error::custom)
}

impl Trace {
    fn is_age(&self, created: Timestamp) -> bool {
        self.since.since(created) < SECOND
    }

    fn has_image(&self, id: &str) -> bool {
        let digits = id.strip_prefix("sha256:").unwrap_or(id);
        self.images.iter().any(|short| !short.is_empty() && digits.starts_with(short.as_str()))
    }

    fn has_container(&self, container: &Container) -> bool {
        let id = container.id.as_str();
        self.containers.iter().any(|short| !short.is_empty() && id.starts_with(short.as_str()))
    }
}

/// The images that nothing needs, oldest first.
pub fn unneeded(world: &World, policy: &Policy, now: Timestamp, needed: &Needed) -> Vec<Unneeded> {
    if needed.is_building {
        return Vec::new();
    }
    let used: BTreeSet<_> = world.containers.iter().map(|c| c.image_id.as_str()).collect();
    let kept = kept(world, world.own_images.iter().collect(), policy.keep_images);
    let is_spare = |image: &&OwnImage| {
        !kept.contains(image.id.as_str())
            && !needed.held.contains(&image.id)
            && !used.contains(image.id.as_str())
    };
    let spare = world.own_images.iter().filter(is_spare).collect();
    let mut all = over(spare, total(world), policy, now);
    for left in world.leftovers.iter().filter(|left| !used.contains(left.id.as_str())) {
        let (id, tags) = (left.id.clone(), vec![left.id.clone()]);
        let why = "a build that was interrupted left it behind".to_owned();
        all.push(Unneeded { id, tags, app: None, size: left.size, why });
    }
    all.extend(steps(world, needed, &used));
    all
}

/// Those of them that were built for this app. A pass asks for each app: images of others are only
/// looked at when all of them take more room than they may.
pub fn unneeded_of(
    app: &AppName,
    world: &World,
    policy: &Policy,
    now: Timestamp,
    needed: &Needed,
) -> Vec<Unneeded> {
    let own: Vec<_> = world.own_images.iter().filter(|image| image.app == *app).collect();
    if needed.is_building {
        return Vec::new();
    }
    if policy.images_max_size.is_some_and(|max| max < total(world)) {
        let mut all = unneeded(world, policy, now, needed);
        all.retain(|image| image.app.as_ref() == Some(app));
        return all;
    }
    let kept = kept(world, own.clone(), policy.keep_images);
    let is_spare = |image: &&OwnImage| {
        !kept.contains(image.id.as_str())
            && !needed.held.contains(&image.id)
            && !world.containers.iter().any(|container| container.image_id == image.id)
    };
    over(own.into_iter().filter(is_spare).collect(), 0, policy, now)
}

/// The bytes of all images that are ours.
fn total(world: &World) -> u64 {
    world.own_images.iter().map(|image| image.size).sum()
}

/// Those of the spare images that are too old, or too many for the room that all may take.
fn over(
    mut spare: Vec<&OwnImage>,
    mut total: u64,
    policy: &Policy,
    now: Timestamp,
) -> Vec<Unneeded> {
    spare.sort();
    let mut all = Vec::new();
    for image in spare {
        let age = now.since(image.created);
        let is_over = |max: &u64| *max < total;
        let why = if policy.images_max_age <= age {
            match policy.images_max_age {
                max if max.is_zero() => "newer images of the app are kept".to_owned(),
                max => format!(
                    "newer images of the app are kept; it is older than {}",
                    format_duration(max)
                ),
            }
        } else if let Some(max) = policy.images_max_size.filter(is_over) {
            format!("all images take {}, more than {}", format_bytes(total), format_bytes(max))
        } else {
            continue;
        };
        total = total.saturating_sub(image.size);
        let tags = if image.tags.is_empty() { vec![image.id.clone()] } else { image.tags.clone() };
        let (id, app, size) = (image.id.clone(), Some(image.app.clone()), image.size);
        all.push(Unneeded { id, tags, app, size, why });
    }
    all
}

/// The containers that builds left behind when the engine ended in the middle of a step: they run no
/// more, and the builder told us that it had made them for us.
pub fn remains<'a>(world: &'a World, needed: &Needed) -> Vec<&'a Container> {
    if needed.is_building {
        return Vec::new();
    }
    let is_still = |container: &Container| {
        let state = container.state;
        matches!(state, ContainerState::Created | ContainerState::Exited | ContainerState::Dead)
    };
    let is_left = |container: &&Container| {
        let made =
            |trace: &Trace| trace.has_container(container) && trace.is_age(container.created);
        container.ownership.owner().is_none()
            && is_still(container)
            && needed.traces.iter().any(made)
    };
    world.containers.iter().filter(is_left).collect()
}

/// The builds of one app, oldest first.
fn of<'a>(
    traces: &'a [Trace],
    app: &'a AppName,
) -> impl DoubleEndedIterator<Item = &'a Trace> + use<'a> {
    traces.iter().filter(move |trace| trace.app == *app)
}

/// The nameless images that nothing rests on and that steps of our builds made.
fn steps(world: &World, needed: &Needed, used: &BTreeSet<&str>) -> Vec<Unneeded> {
    let is_known = |id: &str| {
        let mut own = world.own_images.iter().map(|image| image.id.as_str());
        let mut left = world.leftovers.iter().map(|left| left.id.as_str());
        own.any(|known| known == id) || left.any(|known| known == id)
    };
    let apps = world.apps();
    let stays = |trace: &Trace, id: &str| {
        let last = of(&needed.traces, &trace.app).next_back();
        let done = of(&needed.traces, &trace.app).rfind(|trace| trace.is_done);
        // The stages of the last image are what the next one is built from.
        let is_cache = done.is_some_and(|done| done.has_image(id)) && apps.contains(&trace.app);
        let is_last = last.is_some_and(|last| !last.is_done && last.has_image(id));
        is_cache || (needed.keeps_last && is_last)
    };
    let mut all = Vec::new();
    for (id, created) in &world.nameless {
        if used.contains(id.as_str()) || needed.held.contains(id) || is_known(id) {
            continue;
        }
        let having: Vec<_> = needed.traces.iter().filter(|trace| trace.has_image(id)).collect();
        let is_made = having.iter().any(|trace| trace.is_age(*created));
        if !is_made || having.iter().any(|trace| stays(trace, id)) {
            continue;
        }
        let why = if having.iter().any(|trace| trace.is_done) {
            "a step of an earlier build"
        } else {
            "a step of a build that came to no image"
        };
        let (id, tags) = (id.clone(), vec![id.clone()]);
        all.push(Unneeded { id, tags, app: None, size: 0, why: why.to_owned() });
    }
    all
}

/// The ids of so many of these images of each app: those that it uses itself, then the newest. Ages
/// are told in whole seconds, so the one that runs need not look like the newest.
fn kept<'a>(world: &World, mut images: Vec<&'a OwnImage>, count: usize) -> BTreeSet<&'a str> {
    let apps: BTreeSet<_> = images.iter().map(|image| &image.app).collect();
    let owned = world.containers.iter().filter_map(|c| Some((c.ownership.app()?, &c.image_id)));
    let used: BTreeSet<_> = owned.filter(|(app, _)| apps.contains(app)).collect();
    let is_spare = |image: &OwnImage| !used.contains(&(&image.app, &image.id));
    images.sort_by_cached_key(|image| (&image.app, is_spare(image), Reverse(*image)));
    let groups = images.chunk_by(|one, other| one.app == other.app);
    groups.flat_map(|images| images.iter().take(count)).map(|image| image.id.as_str()).collect()
}
