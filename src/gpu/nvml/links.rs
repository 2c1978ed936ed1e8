//! How near the cards are to each other.

use std::collections::BTreeMap;

use nvml_wrapper::{Device, Nvml, enum_wrappers::device::TopologyLevel};

use super::raw;
use crate::state::{Gpu, GpuLink};

/// No card has more `NVLink`s.
const LINKS_MAX: u32 = 36;

/// Where a card's `NVLink`s lead.
#[derive(Default)]
struct Ends {
    /// Straight to other cards, by bus address.
    cards: BTreeMap<String, u32>,
    /// Into switches, which lead to every card that has links into them.
    switches: u32,
}

/// The links of every card to every other one, by UUID.
pub(super) fn read(nvml: &Nvml, gpus: &[Gpu]) -> BTreeMap<String, Vec<GpuLink>> {
    let devices: Vec<_> = gpus.iter().map(|gpu| nvml.device_by_index(gpu.index).ok()).collect();
    let ends: Vec<_> =
        devices.iter().map(|device| device.as_ref().map(ends).unwrap_or_default()).collect();
    let mut all = BTreeMap::new();
    for (from, gpu) in gpus.iter().enumerate() {
        let mut links = Vec::new();
        for (to, other) in gpus.iter().enumerate() {
            let (Some(here), Some(there)) = (&devices[from], &devices[to]) else { continue };
            if from == to {
                continue;
            }
            let Ok(level) = nvml.topology_common_ancestor(here, there) else { continue };
            let straight = other.pci.as_ref().and_then(|pci| ends[from].cards.get(&address(pci)));
            let switched = ends[from].switches.min(ends[to].switches);
            links.push(GpuLink {
                to: other.uuid.clone(),
                nvlinks: straight.copied().unwrap_or_default() + switched,
                distance: distance(level),
            });
        }
        all.insert(gpu.uuid.clone(), links);
    }
    all
}

fn ends(device: &Device<'_>) -> Ends {
    let mut ends = Ends::default();
    for number in 0..LINKS_MAX {
        let link = device.link_wrapper_for(number);
        // A card without them, or without so many, says an error.
        let Ok(is_active) = link.is_active() else { break };
        if !is_active {
            continue;
        }
        if raw::leads_into_switch(device, number) {
            ends.switches += 1;
        } else if let Ok(remote) = link.remote_pci_info() {
            *ends.cards.entry(address(&remote.bus_id)).or_default() += 1;
        }
    }
    ends
}

fn address(pci: &str) -> String {
    pci.to_ascii_lowercase()
}

/// `nvmlGpuTopologyLevel_t`.
fn distance(level: TopologyLevel) -> u32 {
    match level {
        TopologyLevel::Internal => 0,
        TopologyLevel::Single => 10,
        TopologyLevel::Multiple => 20,
        TopologyLevel::HostBridge => 30,
        TopologyLevel::Node => 40,
        TopologyLevel::System => 50,
    }
}
