//! What is on a GPU already, and what fits beside it.

use std::collections::BTreeSet;

use super::{Holding, Who};
use crate::model::{GpuAsk, GpuShare};
use crate::state::{ContainerId, Gpu, GpuHold, GpuPart, GpuProcess, Inventory};

/// Programs that nobody told Berth of may use so much of a card that is given to one app alone: a
/// desktop does, and is not in the way.
const STRANGERS_MAX: u64 = 1 << 30;
/// So much stays free beside what was measured, and not promised: what is measured moves.
const HEADROOM: u64 = 256 << 20;

/// Something that is given away: a card, or a MIG instance of one.
#[derive(Clone, Debug)]
pub(super) struct Device<'a> {
    pub(super) uuid: &'a str,
    pub(super) card: &'a Gpu,
    pub(super) part: Option<&'a GpuPart>,
}

/// All that is given away, in one order whatever order it was read in.
pub(super) fn devices(inventory: &Inventory) -> Vec<Device<'_>> {
    let mut cards: Vec<_> = inventory.gpus.iter().collect();
    cards.sort_by_key(|card| (card.index, &card.uuid));
    let mut devices = Vec::new();
    for card in cards {
        if card.is_mig {
            let mut parts: Vec<_> = card.parts.iter().collect();
            parts.sort_by_key(|part| (part.gpu_instance, part.compute_instance, &part.uuid));
            for part in parts {
                devices.push(Device { uuid: &part.uuid, card, part: Some(part) });
            }
        } else {
            devices.push(Device { uuid: &card.uuid, card, part: None });
        }
    }
    devices
}

impl Device<'_> {
    /// Bytes that can be had at all.
    pub(super) fn usable(&self) -> u64 {
        self.part.map_or(self.card.memory, |part| part.memory).usable()
    }

    fn used(&self) -> u64 {
        self.part.map_or(self.card.memory.used, |part| part.memory.used)
    }

    fn processes(&self) -> impl Iterator<Item = &GpuProcess> {
        let instance = self.part.map(|part| part.gpu_instance);
        let is_here =
            move |process: &&GpuProcess| instance.is_none() || process.gpu_instance == instance;
        self.card.processes.iter().filter(is_here)
    }

    fn is_mode(&self, mode: &str) -> bool {
        let plain = |text: &str| text.replace(['_', ' '], "").to_ascii_lowercase();
        self.card.compute_mode.as_deref().is_some_and(|ours| plain(ours) == mode)
    }

    /// Whether it could do what is asked if nobody held it and all were well.
    pub(super) fn could(&self, ask: &GpuAsk) -> bool {
        let is_kind = match (&ask.mig, self.part) {
            (Some(profile), Some(part)) => part.profile.eq_ignore_ascii_case(profile),
            (Some(_), None) => false,
            // Whoever names an instance needs not say that it is one.
            (None, Some(_)) => !ask.ids.is_empty(),
            (None, None) => true,
        };
        let is_alone = self.is_mode("exclusiveprocess");
        is_kind
            && ask.vendor.is_none_or(|vendor| vendor == self.card.vendor)
            && ask.model.as_ref().is_none_or(|model| is_model(model, &self.card.name))
            && (ask.ids.is_empty() || ask.ids.iter().any(|id| id == self.uuid))
            && ask.memory_bytes.is_none_or(|memory| memory <= self.usable())
            && !self.is_mode("prohibited")
            && !(ask.share == GpuShare::Memory && (is_alone || self.part.is_some()))
    }

    /// Why nobody new gets it, whoever holds it.
    pub(super) fn sickness(&self) -> Option<&str> {
        self.card.health.problems.first().map(String::as_str)
    }

    /// Whether a hold is of it.
    pub(super) fn is_in(&self, hold: &GpuHold) -> bool {
        match hold {
            GpuHold::Granted(grant) => {
                grant.devices.iter().any(|id| id == self.uuid || *id == self.card.uuid)
            }
            GpuHold::Devices(names) => names.iter().any(|name| self.is_named(name)),
            GpuHold::First(count) => self.card.index < *count,
            GpuHold::All => true,
        }
    }

    /// Whether a container that names `name` gets it: a UUID, an index, `index:part`, `all`, or any
    /// of these behind the kind of a CDI device.
    fn is_named(&self, name: &str) -> bool {
        let name = name.rsplit('=').next().unwrap_or(name).trim();
        let index = name.split(':').next().unwrap_or(name);
        name == "all"
            || name == self.uuid
            || name == self.card.uuid
            || index.parse() == Ok(self.card.index)
    }
}

/// Whether a product is what a pattern says; the maker's name may be left out.
pub(super) fn is_model(pattern: &str, name: &str) -> bool {
    let pattern = pattern.trim().to_lowercase();
    let mut name = name.trim().to_lowercase();
    loop {
        if matches(&pattern, &name) {
            return true;
        }
        let begins = |word: &&&str| name.starts_with(**word);
        let Some(word) = ["nvidia ", "amd ", "tesla ", "geforce "].iter().find(begins) else {
            return false;
        };
        name = name.split_off(word.len());
    }
}

/// `*` stands for anything.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<_> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    let mut rest = rest;
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The devices, and who holds them.
#[derive(Clone, Copy)]
pub(super) struct Rooms<'a> {
    pub(super) devices: &'a [Device<'a>],
    pub(super) holdings: &'a [Holding],
    pub(super) up: &'a BTreeSet<ContainerId>,
}

/// What is on a device, as far as it concerns one who asks.
#[derive(Clone, Debug)]
pub(super) struct Room<'a> {
    /// Who holds it, without the one who asks.
    pub(super) holders: Vec<&'a Holding>,
    /// Bytes that are neither promised nor used, if it may be shared at all.
    pub(super) free: u64,
    /// Bytes that programs use of whom nobody told.
    pub(super) strangers: u64,
    is_sick: bool,
    is_taken: bool,
    usable: u64,
}

impl Room<'_> {
    /// Whether what is asked fits.
    pub(super) fn has(&self, ask: &GpuAsk) -> bool {
        let memory = ask.memory_bytes.unwrap_or(0);
        !self.is_sick
            && match ask.share {
                GpuShare::Exclusive => {
                    self.holders.is_empty()
                        && self.strangers <= STRANGERS_MAX
                        && memory <= self.usable.saturating_sub(self.strangers)
                }
                GpuShare::Memory => !self.is_taken && memory <= self.free,
            }
    }

    /// How much of it is left for who asks so.
    pub(super) fn left(&self, ask: &GpuAsk) -> u64 {
        match ask.share {
            GpuShare::Exclusive if self.is_empty() => self.usable.saturating_sub(self.strangers),
            GpuShare::Memory if !self.is_taken => self.free,
            _ => 0,
        }
    }

    /// Whether nobody else is on it.
    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }
}

/// The memory that a holder was promised, of a device that it shares; none when it does not.
fn promise(holding: &Holding) -> Option<u64> {
    match &holding.hold {
        GpuHold::Granted(grant) if grant.share == GpuShare::Memory => grant.memory_bytes,
        _ => None,
    }
}

/// Whether a holder shares with nobody at all. A container that is nobody's app may have a GPU that
/// others share: what it uses is measured.
pub(super) fn is_alone(holding: &Holding) -> bool {
    match &holding.hold {
        GpuHold::Granted(_) => promise(holding).is_none(),
        GpuHold::Devices(_) | GpuHold::First(_) | GpuHold::All => holding.is_obscure,
    }
}

impl<'a> Rooms<'a> {
    /// What is on a device for `who`: what it holds itself is not in its way.
    pub(super) fn room(&self, device: &Device<'_>, who: &Who) -> Room<'a> {
        self.room_without(device, Some(who))
    }

    /// The same for one more copy of what holds it: nothing is left out.
    pub(super) fn room_without(&self, device: &Device<'_>, who: Option<&Who>) -> Room<'a> {
        let here = |holding: &&Holding| device.is_in(&holding.hold);
        let all: Vec<&Holding> = self.holdings.iter().filter(here).collect();
        let is_other = |holding: &&&Holding| Some(&holding.who) != who;
        let holders: Vec<_> = all.iter().filter(is_other).copied().collect();
        let strangers = self.strangers(device, &all);
        let promised: u64 = holders.iter().filter_map(|holding| promise(holding)).sum();
        // More than was promised to it; of what was promised nothing, all of it.
        let beyond = |holding: &&Holding| {
            use_of(device, holding).saturating_sub(promise(holding).unwrap_or(0))
        };
        let measured: u64 = holders.iter().map(beyond).sum::<u64>() + strangers;
        let usable = device.usable();
        let headroom = if measured == 0 { 0 } else { HEADROOM };
        Room {
            free: usable.saturating_sub(promised.saturating_add(measured).saturating_add(headroom)),
            is_taken: holders.iter().any(|holding| is_alone(holding)),
            is_sick: device.sickness().is_some(),
            holders,
            strangers,
            usable,
        }
    }

    /// What is used by nobody who holds the device.
    fn strangers(&self, device: &Device<'_>, holders: &[&Holding]) -> u64 {
        let mut known: BTreeSet<&ContainerId> = BTreeSet::new();
        let (mut vague, mut unused) = (BTreeSet::new(), 0);
        let is_told = self.devices.iter().any(|d| d.processes().any(|p| p.container.is_some()));
        let is_vague = |process: &GpuProcess, container: Option<&ContainerId>| {
            container.is_some()
                && process.container.as_ref() == container
                && process.memory.is_none()
        };
        for holding in holders {
            let container = holding.container.as_ref();
            // Where nobody can tell which container a process is in, or how much of the card it
            // uses, and of a program outside, what was promised explains what is used.
            let is_measured = is_told && !device.processes().any(|p| is_vague(p, container));
            if let Some(container) = container.filter(|_| is_measured) {
                known.insert(container);
            } else {
                vague.extend(container);
                let is_granted = matches!(holding.hold, GpuHold::Granted(_));
                let whole = if is_granted { device.usable() } else { 0 };
                let promised = promise(holding).unwrap_or(whole).max(use_of(device, holding));
                unused = u64::saturating_add(unused, promised);
            }
        }
        let is_explained = |process: &&GpuProcess| {
            let container = process.container.as_ref();
            container.is_some_and(|id| {
                known.contains(id) || !self.up.contains(id) && !vague.contains(id)
            })
        };
        let explained = device.processes().filter(is_explained);
        let explained: u64 = explained.filter_map(|process| process.memory).sum();
        device.used().saturating_sub(explained).saturating_sub(unused)
    }
}

/// What a holder's processes use of a device.
fn use_of(device: &Device<'_>, holding: &Holding) -> u64 {
    let Some(container) = &holding.container else { return 0 };
    let is_its = |process: &&GpuProcess| process.container.as_ref() == Some(container);
    device.processes().filter(is_its).filter_map(|process| process.memory).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_named_as_people_do() {
        let name = "NVIDIA A100-SXM4-80GB";
        for pattern in ["A100*", "nvidia a100*", "*a100*80gb", "NVIDIA A100-SXM4-80GB", "*"] {
            assert!(is_model(pattern, name), "{pattern}");
        }
        for pattern in ["A10", "A100", "H100*", "*40GB", "", "A100*q*80GB"] {
            assert!(!is_model(pattern, name), "{pattern}");
        }
        assert!(is_model("RTX 4090", "NVIDIA GeForce RTX 4090"));
    }
}
