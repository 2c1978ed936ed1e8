//! Placement of GPUs: who gets which, and who waits for what.
//!
//! # Guarantees
//! - Nobody gets a GPU that somebody holds alone, and nobody gets one alone that somebody holds.
//! - What is promised on a GPU is never more than it has, and fits beside what is used there.
//! - Whoever has GPUs that are what it asks for keeps them.
//! - All that an app asks for, or none.
//! - Who waits longest, its priority added, is served first; nobody behind it gets what it could
//!   use. So everybody is served some time.
//! - The same input gives the same answer, whatever order it comes in.

mod choose;
mod fit;
mod own;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::model::{AppName, GpuAsk, GpuGrant, Timestamp};
use crate::state::{ContainerId, GpuHold, Inventory};
use fit::{Device, Rooms};
pub use own::{fits_beside, hindered, is_bystander, is_kept, is_what_it_asks};

/// One point of priority is worth so much waiting, in milliseconds.
const POINT_MS: i64 = 300_000;

/// Who holds GPUs, or waits for some.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// An app.
    App(AppName),
    /// A program outside, by its lease.
    Lease {
        /// The lease.
        id: String,
        /// What the program calls itself.
        holder: String,
    },
    /// A container that is not this Berth's, by its name.
    Container(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(name) => write!(f, "app {name}"),
            Self::Lease { holder, .. } => write!(f, "{holder} (a lease)"),
            Self::Container(name) => write!(f, "container {name}"),
        }
    }
}

/// GPUs that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Who.
    pub who: Who,
    /// Which.
    pub hold: GpuHold,
    /// The container in which they are used: what its processes use is its own.
    pub container: Option<ContainerId>,
    /// Whether nobody knows what it really holds: then nothing of it is shared.
    pub is_obscure: bool,
}

/// Somebody who asks for GPUs.
#[derive(Clone, Debug)]
pub struct Asking<'a> {
    /// Who.
    pub who: Who,
    /// For what.
    pub ask: &'a GpuAsk,
    /// Since when.
    pub since: Timestamp,
}

/// The host's GPUs and who holds them.
#[derive(Clone, Copy, Debug)]
pub struct Fleet<'a> {
    /// The GPUs.
    pub inventory: &'a Inventory,
    /// Who holds them.
    pub holdings: &'a [Holding],
    /// The containers that run: what others used is free.
    pub up: &'a BTreeSet<ContainerId>,
}

/// What somebody who asks is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It gets these.
    Granted(GpuGrant),
    /// It waits, and why.
    Waits(String),
    /// No GPU of this host could ever do it.
    Never(String),
    /// Nobody can tell: the GPUs can't be read at present.
    Unknown(String),
}

/// Answers everybody who asks, in the order in which they are served.
pub fn place_gpus(asking: &[Asking<'_>], fleet: &Fleet<'_>) -> Vec<(Who, Answer)> {
    let mut queue: Vec<_> = asking.iter().collect();
    queue.sort_by_key(|asking| (turn(asking), asking.who.clone()));
    if let Some(why) = unreadable(fleet.inventory) {
        let unknown = |asking: &&Asking<'_>| {
            let message = format!("needs {}; {why}", words::asked(asking.ask));
            (asking.who.clone(), Answer::Unknown(message))
        };
        return queue.iter().map(unknown).collect();
    }
    let devices = fit::devices(fleet.inventory);
    let mut holdings = fleet.holdings.to_vec();
    let mut kept: BTreeMap<String, Who> = BTreeMap::new();
    let mut answers = Vec::new();
    for asking in queue {
        let rooms = Rooms { devices: &devices, holdings: &holdings, up: fleet.up };
        let answer = answer(asking, &rooms, &kept, fleet.inventory);
        match &answer {
            Answer::Granted(grant) => holdings.push(Holding {
                who: asking.who.clone(),
                hold: GpuHold::Granted(grant.clone()),
                container: None,
                is_obscure: false,
            }),
            // Nobody behind it gets what it could use: it would only wait longer.
            Answer::Waits(_) => {
                for device in devices.iter().filter(|device| device.could(asking.ask)) {
                    kept.entry(device.uuid.to_owned()).or_insert_with(|| asking.who.clone());
                }
            }
            Answer::Never(_) | Answer::Unknown(_) => {}
        }
        answers.push((asking.who.clone(), answer));
    }
    answers
}

/// What is asked for, in words.
pub fn words_of(ask: &GpuAsk) -> String {
    words::asked(ask)
}

/// The GPUs of this host that a hold is of, by UUID.
pub fn devices_of(hold: &GpuHold, inventory: &Inventory) -> Vec<String> {
    if let GpuHold::Granted(grant) = hold {
        return grant.devices.clone();
    }
    let devices = fit::devices(inventory);
    devices.iter().filter(|d| d.is_in(hold)).map(|d| d.uuid.to_owned()).collect()
}

/// When somebody is served: the lower the sooner. The order of two never changes while they wait.
fn turn(asking: &Asking<'_>) -> i64 {
    asking.since.as_millis().saturating_sub(i64::from(asking.ask.priority) * POINT_MS)
}

/// Why nothing can be given out at present.
fn unreadable(inventory: &Inventory) -> Option<String> {
    let note = || inventory.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
    if inventory.at.is_none() {
        return Some("this host's GPUs were not read yet".to_owned());
    }
    inventory.is_stale.then(|| {
        format!("this host's GPUs can't be read at present{}, so none is given away", note())
    })
}

fn answer(
    asking: &Asking<'_>,
    rooms: &Rooms<'_>,
    kept: &BTreeMap<String, Who>,
    inventory: &Inventory,
) -> Answer {
    let ask = asking.ask;
    let count = usize::try_from(ask.count).unwrap_or(usize::MAX);
    let able: Vec<&Device<'_>> = rooms.devices.iter().filter(|d| d.could(ask)).collect();
    // The cards of one app are all of one vendor.
    if choose::most_of_a_vendor(&able) < count {
        return Answer::Never(words::never(ask, rooms.devices, &able, inventory));
    }
    let is_free = |device: &&&Device<'_>| {
        !kept.contains_key(device.uuid) && rooms.room(device, &asking.who).has(ask)
    };
    let free: Vec<&Device<'_>> = able.iter().filter(is_free).copied().collect();
    match choose::choose(&free, ask, rooms, &asking.who) {
        Some(chosen) => Answer::Granted(grant(ask, &chosen)),
        None => Answer::Waits(words::waits(asking, &able, rooms, kept)),
    }
}

fn grant(ask: &GpuAsk, chosen: &[&Device<'_>]) -> GpuGrant {
    GpuGrant {
        vendor: chosen.first().map_or_else(Default::default, |device| device.card.vendor),
        devices: chosen.iter().map(|device| device.uuid.to_owned()).collect(),
        share: ask.share,
        memory_bytes: ask.memory_bytes,
        capabilities: own::capabilities(ask),
    }
}
