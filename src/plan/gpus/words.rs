//! Why somebody gets none, for people.

use std::{cmp::Reverse, collections::BTreeMap};

use super::{
    Asking, Holding, Who,
    fit::{Device, Rooms},
};
use crate::model::{GpuAsk, GpuShare, format_bytes};
use crate::state::{GpuHold, Inventory};

/// What helps against one that was given every card.
const ONLOOKER: &str =
    " (it was given every GPU; if it only watches them, `berth run --gpu-bystanders` may name it)";
/// So many devices are named, the others counted.
const NAMED_MAX: usize = 4;

/// Bytes as people say them: `20.1 GiB`.
fn size(bytes: u64) -> String {
    let text = format_bytes(bytes);
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    format!("{number} {unit}B")
}

/// What is asked for.
pub(super) fn asked(ask: &GpuAsk) -> String {
    let count = ask.count;
    let thing = if ask.mig.is_some() { "MIG instance" } else { "GPU" };
    let plural = if count == 1 { "" } else { "s" };
    let mut text = match ask.memory_bytes {
        Some(memory) => format!("{} on {count} {thing}{plural}", size(memory)),
        None => format!("{count} {thing}{plural}"),
    };
    if ask.share == GpuShare::Exclusive {
        text.push_str(" for itself");
    }
    let more = [
        ask.mig.as_ref().map(|profile| format!("of the profile {profile}")),
        ask.model.as_ref().map(|model| format!("of the model {model}")),
        ask.vendor.map(|vendor| format!("of {vendor}")),
        (!ask.ids.is_empty()).then(|| format!("called {}", ask.ids.join(", "))),
    ];
    for part in more.into_iter().flatten() {
        text.push(' ');
        text.push_str(&part);
    }
    text
}

/// No GPU of this host could ever do it.
pub(super) fn never(
    ask: &GpuAsk,
    devices: &[Device<'_>],
    able: &[&Device<'_>],
    inventory: &Inventory,
) -> String {
    let asked = asked(ask);
    if devices.is_empty() {
        let note = inventory.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
        return format!(
            "needs {asked}; this host has no GPU{note}: leave `gpus` out, or run it where there are some"
        );
    }
    let known: Vec<_> = devices.iter().map(|device| device.uuid).collect();
    let missing: Vec<_> =
        ask.ids.iter().filter(|id| !known.contains(&id.as_str())).map(String::as_str).collect();
    let why = if missing.is_empty() {
        let are = if able.len() == 1 { "is" } else { "are" };
        format!("only {} of this host's {are} of that kind", able.len())
    } else {
        format!("this host has no {}", missing.join(", "))
    };
    let has = list(devices.iter().map(|device| {
        let what = device.part.map_or(device.card.name.as_str(), |part| part.profile.as_str());
        format!("{} ({what}, {})", device.uuid, size(device.usable()))
    }));
    format!("needs {asked}; {why}; it has {has}")
}

/// Why nothing is free that could do it.
pub(super) fn waits(
    asking: &Asking<'_>,
    able: &[&Device<'_>],
    rooms: &Rooms<'_>,
    kept: &BTreeMap<String, Who>,
) -> String {
    let ask = asking.ask;
    let mut text = format!("needs {}", asked(ask));
    let free = |device: &&Device<'_>| rooms.room(device, &asking.who).left(ask);
    let largest = able.iter().copied().max_by_key(|device| (free(device), Reverse(device.uuid)));
    let largest = largest.map(|device| (device.uuid, free(&device))).filter(|(_, left)| 0 < *left);
    if let Some((uuid, left)) = largest.filter(|_| ask.memory_bytes.is_some()) {
        text.push_str(&format!("; largest free {} on {uuid}", size(left)));
    }
    let is_free = |device: &&&Device<'_>| {
        !kept.contains_key(device.uuid) && rooms.room(device, &asking.who).has(ask)
    };
    let count = able.iter().filter(is_free).count();
    if 0 < count {
        let are = if count == 1 { "is" } else { "are" };
        text.push_str(&format!("; {count} of them {are} free"));
    }
    let taken = able.iter().filter(|device| !is_free(device));
    let told =
        list(taken.map(|device| format!("{} {}", device.uuid, why(device, asking, rooms, kept))));
    format!("{text}; {told}")
}

/// Why one device is not to be had.
fn why(
    device: &Device<'_>,
    asking: &Asking<'_>,
    rooms: &Rooms<'_>,
    kept: &BTreeMap<String, Who>,
) -> String {
    let room = rooms.room(device, &asking.who);
    if let Some(sickness) = device.sickness() {
        return format!("is not given away: {sickness}");
    }
    let mut holders: Vec<_> = room.holders.iter().map(|held| held.who.to_string()).collect();
    holders.sort();
    holders.dedup();
    let is_shared = asking.ask.share == GpuShare::Memory;
    let fits = is_shared && room.has(asking.ask);
    if !fits && !holders.is_empty() {
        let left = if 0 < room.left(asking.ask) {
            format!(" ({} left)", size(room.left(asking.ask)))
        } else {
            String::new()
        };
        let held = format!("held by {}{left}", holders.join(", "));
        return if room.holders.iter().copied().all(is_onlooker) { held + ONLOOKER } else { held };
    }
    if !room.has(asking.ask) {
        let used = size(room.strangers);
        return format!("in use by programs that Berth does not know ({used})");
    }
    match kept.get(device.uuid) {
        Some(first) => format!("kept for {first}, which is served before"),
        None => "is free".to_owned(),
    }
}

/// Whether a holder is a container of others that was given every card, as those that watch are.
fn is_onlooker(holding: &Holding) -> bool {
    let is_all = match &holding.hold {
        GpuHold::All => true,
        GpuHold::Devices(names) => names.iter().any(|name| name.rsplit('=').next() == Some("all")),
        GpuHold::Granted(_) | GpuHold::First(_) => false,
    };
    is_all && matches!(holding.who, Who::Container(_))
}

fn list(items: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = items.collect();
    let named = all.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(NAMED_MAX) {
        None | Some(0) => named,
        Some(more) => format!("{named} and {more} more"),
    }
}
