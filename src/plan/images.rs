//! Which images go: the one decision about them, for passes and for people.
//!
//! # Guarantees
//! Never one that any container uses, ours or not; never one that is not ours; of each app so many
//! stay as the operator says, those in use and the newest; never one that an undo holds; nothing that a build under way may rest on.

use std::collections::BTreeSet;

use crate::model::{AppName, Timestamp, format_bytes, format_duration};
use crate::state::{OwnImage, Policy, World};

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
}

/// The images that nothing needs, oldest first.
pub fn unneeded(world: &World, policy: &Policy, now: Timestamp, needed: &Needed) -> Vec<Unneeded> {
    if needed.is_building {
        return Vec::new();
    }
    let used: BTreeSet<_> = world.containers.iter().map(|c| c.image_id.as_str()).collect();
    let kept = kept(world, policy.keep_images);
    let is_spare = |image: &&OwnImage| {
        !kept.contains(&image.id)
            && !needed.held.contains(&image.id)
            && !used.contains(image.id.as_str())
    };
    let mut spare: Vec<_> = world.own_images.iter().filter(is_spare).collect();
    spare.sort();
    let mut total: u64 = world.own_images.iter().map(|image| image.size).sum();
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
    for left in world.leftovers.iter().filter(|left| !used.contains(left.id.as_str())) {
        let (id, tags) = (left.id.clone(), vec![left.id.clone()]);
        let why = "a build that was interrupted left it behind".to_owned();
        all.push(Unneeded { id, tags, app: None, size: left.size, why });
    }
    all
}

/// The ids of so many images of each app: those that it uses itself, then the newest. Ages are told
/// in whole seconds, so the one that runs need not look like the newest.
fn kept(world: &World, count: usize) -> BTreeSet<String> {
    let owned = world.containers.iter().filter_map(|c| Some((c.ownership.app()?, &c.image_id)));
    let used: BTreeSet<_> = owned.collect();
    let is_spare = |image: &OwnImage| !used.contains(&(&image.app, &image.id));
    let mut sorted: Vec<_> = world.own_images.iter().collect();
    sorted.sort_by(|one, other| {
        (&one.app, is_spare(one), other).cmp(&(&other.app, is_spare(other), one))
    });
    let groups = sorted.chunk_by(|one, other| one.app == other.app);
    groups.flat_map(|images| images.iter().take(count)).map(|image| image.id.clone()).collect()
}
