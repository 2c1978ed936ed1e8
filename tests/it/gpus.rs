//! GPUs: who gets which. Placement over random fleets, and whole Berths on an engine in memory.

mod fleets;
mod leases;
mod scenes;
mod turns;
mod web;

use berth::{
    model::{GpuGrant, GpuShare, GpuVendor, Timestamp},
    state::{Gpu, GpuLink, GpuMemory, GpuPart, Inventory},
};

pub(crate) const GIB: u64 = 1 << 30;

/// A card with so much memory, called `GPU-<letter>`.
pub(crate) fn card(index: u32, gib: u64) -> Gpu {
    let letter = char::from(b'a' + u8::try_from(index).unwrap());
    Gpu {
        uuid: format!("GPU-{letter}"),
        index,
        name: "NVIDIA L4".to_owned(),
        memory: GpuMemory { total: gib * GIB, reserved: 0, used: 0 },
        ..Gpu::default()
    }
}

/// The same, split into instances.
pub(crate) fn split(mut card: Gpu, profile: &str, count: u32) -> Gpu {
    card.is_mig = true;
    let total = card.memory.total / u64::from(count);
    let part = |nth| GpuPart {
        uuid: format!("MIG-{}{nth}", card.index),
        profile: profile.to_owned(),
        gpu_instance: nth,
        compute_instance: 0,
        memory: GpuMemory { total, ..GpuMemory::default() },
    };
    card.parts = (0..count).map(part).collect();
    card
}

/// Links two cards directly.
pub(crate) fn link(cards: &mut [Gpu], a: usize, b: usize, nvlinks: u32) {
    let to = cards[b].uuid.clone();
    cards[a].links.push(GpuLink { to, nvlinks, distance: 20 });
}

pub(crate) fn inventory(gpus: Vec<Gpu>) -> Inventory {
    let at = Some(Timestamp::from_millis(1_800_000_000_000));
    Inventory { gpus, at, by: Some("nvml"), ..Inventory::default() }
}

/// These cards for one alone.
pub(crate) fn alone(devices: &[&str]) -> GpuGrant {
    GpuGrant {
        vendor: GpuVendor::Nvidia,
        devices: devices.iter().map(|id| (*id).to_owned()).collect(),
        share: GpuShare::Exclusive,
        memory_bytes: None,
        capabilities: vec!["compute".to_owned(), "utility".to_owned()],
    }
}
