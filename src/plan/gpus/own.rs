//! What an app has already.

use super::{
    Fleet, Who,
    fit::{self, Device, Rooms, is_alone, is_model, matches},
};
use crate::model::{App, GpuAsk, GpuGrant, GpuShare, RestartPolicy};
use crate::plan::app::is_up;
use crate::state::{Container, ContainerState, GpuHold, Inventory};

/// What of the driver an app sees, where it does not say.
const CAPABILITIES: [&str; 2] = ["compute", "utility"];

/// What of the driver an app sees, sorted.
pub(super) fn capabilities(ask: &GpuAsk) -> Vec<String> {
    let mut named = ask.capabilities.clone();
    if named.is_empty() {
        named = CAPABILITIES.map(ToOwned::to_owned).into();
    }
    named.sort();
    named.dedup();
    named
}

/// Whether what was given is what is asked for, as far as the host's GPUs are known. What became of
/// them since then changes nothing: who has GPUs keeps them.
pub fn is_what_it_asks(grant: &GpuGrant, ask: &GpuAsk, inventory: &Inventory) -> bool {
    let devices = fit::devices(inventory);
    let is_right = |id: &String| {
        let Some(device) = devices.iter().find(|device| device.uuid == id) else {
            return ask.mig.is_none() || id.starts_with("MIG-");
        };
        let is_profile = match (&ask.mig, device.part) {
            (Some(profile), Some(part)) => part.profile.eq_ignore_ascii_case(profile),
            (Some(_), None) => false,
            (None, _) => true,
        };
        is_profile && ask.model.as_ref().is_none_or(|model| is_model(model, &device.card.name))
    };
    let is_named = |id: &String| ask.ids.is_empty() || ask.ids.contains(id);
    usize::try_from(ask.count) == Ok(grant.devices.len())
        && ask.share == grant.share
        && ask.memory_bytes == grant.memory_bytes
        && ask.vendor.is_none_or(|vendor| vendor == grant.vendor)
        && capabilities(ask) == grant.capabilities
        && grant.devices.iter().all(|id| is_named(id) && is_right(id))
}

/// Whether an app's container keeps its GPUs from others: while it runs, and while it may have to
/// run again.
pub fn is_kept(container: &Container, app: Option<&App>, is_paused: bool, is_bad: bool) -> bool {
    if is_up(container) || container.state == ContainerState::Unknown {
        return true;
    }
    let Some(app) = app.filter(|app| !app.spec.suspend && !is_paused) else { return false };
    let has_ended = container.state == ContainerState::Exited;
    let is_done = match app.spec.restart {
        RestartPolicy::Always => false,
        RestartPolicy::OnFailure => container.exit_code.unwrap_or(0) == 0,
        RestartPolicy::Never => true,
    };
    match container.state {
        ContainerState::Created | ContainerState::Exited if is_bad => false,
        ContainerState::Created | ContainerState::Exited => !has_ended || !is_done,
        _ => false,
    }
}

/// Whether a container of others only watches the GPUs that it was given, as the operator says. One
/// that another Berth gave GPUs to uses them.
pub fn is_bystander(container: &Container, patterns: &[String]) -> bool {
    let is_stranger = container.ownership.owner().is_none()
        && !matches!(container.gpus, Some(GpuHold::Granted(_)));
    let named = |text: &str| patterns.iter().any(|pattern| matches(pattern, text));
    is_stranger && (named(&container.name) || named(&container.image))
}

/// Why what was given to somebody can't be used again now: others have it, or it is gone.
pub fn hindered(grant: &GpuGrant, who: &Who, fleet: &Fleet<'_>) -> Option<String> {
    let devices = fit::devices(fleet.inventory);
    let is_known = fleet.inventory.at.is_some() && !fleet.inventory.is_stale;
    grant.devices.iter().find_map(|id| {
        let Some(device) = devices.iter().find(|device| device.uuid == id) else {
            // A host that shows no GPU at all may show them again when its driver is there.
            let is_gone = is_known && !devices.is_empty();
            let holds = |hold: &GpuHold| match hold {
                GpuHold::Granted(theirs) => theirs.devices.contains(id),
                GpuHold::Devices(names) => names.iter().any(|name| name.ends_with(id.as_str())),
                GpuHold::First(_) | GpuHold::All => true,
            };
            let mut others = fleet.holdings.iter().filter(|held| held.who != *who);
            let holder = others.find(|held| holds(&held.hold));
            let taken = holder.map(|held| format!("{id} is held by {}", held.who));
            return if is_gone { Some(format!("{id} is not there any more")) } else { taken };
        };
        let rooms = Rooms { devices: &devices, holdings: fleet.holdings, up: fleet.up };
        clash(grant, device, &rooms, who)
    })
}

fn clash(grant: &GpuGrant, device: &Device<'_>, rooms: &Rooms<'_>, who: &Who) -> Option<String> {
    let room = rooms.room(device, who);
    let taker = match grant.share {
        GpuShare::Exclusive => room.holders.first(),
        GpuShare::Memory => room.holders.iter().find(|holding| is_alone(holding)),
    };
    if let Some(taker) = taker {
        return Some(format!("{} is held by {}", device.uuid, taker.who));
    }
    let promised = |hold: &GpuHold| match hold {
        GpuHold::Granted(theirs) => theirs.memory_bytes.unwrap_or(0),
        _ => 0,
    };
    let others: u64 = room.holders.iter().map(|holding| promised(&holding.hold)).sum();
    let memory = grant.memory_bytes.unwrap_or(0);
    (device.usable() < others.saturating_add(memory))
        .then(|| format!("too little of {} is left", device.uuid))
}

/// Whether another copy of what somebody has fits beside it, for as long as a new version takes to
/// prove good.
pub fn fits_beside(grant: &GpuGrant, fleet: &Fleet<'_>) -> bool {
    let Some(memory) = grant.memory_bytes.filter(|_| grant.share == GpuShare::Memory) else {
        return false;
    };
    let inventory = fleet.inventory;
    if inventory.at.is_none() || inventory.is_stale {
        return false;
    }
    let devices = fit::devices(inventory);
    let rooms = Rooms { devices: &devices, holdings: fleet.holdings, up: fleet.up };
    grant.devices.iter().all(|id| {
        let device = devices.iter().find(|device| device.uuid == id);
        device.is_some_and(|device| {
            device.sickness().is_none() && memory <= rooms.room_without(device, None).free
        })
    })
}
