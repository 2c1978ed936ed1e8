//! GPUs as they were seen: the host's, and who holds them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ContainerId, PlacementProblem};
use crate::model::{GpuGrant, GpuVendor, Timestamp, label};

/// All that is known of the host's GPUs, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Inventory {
    /// The cards, by index.
    pub gpus: Vec<Gpu>,
    /// The driver's version, such as `550.54.15`.
    pub driver: Option<String>,
    /// The newest CUDA version that the driver runs, such as `12.4`.
    pub cuda: Option<String>,
    /// Which way it was found out: `nvml`, `nvidia-smi`, `sysfs`; none without GPUs.
    pub by: Option<&'static str>,
    /// Why there are none, or why the rest is not fresh, as a sentence.
    pub note: Option<String>,
    /// When it was read; none before the first time.
    pub at: Option<Timestamp>,
    /// Whether the last attempt to read it failed, so that this is what was known before.
    pub is_stale: bool,
    /// Whether the driver's library and its kernel module are of different versions: what runs goes
    /// on, nothing new with GPUs starts before the host is restarted (fault U02).
    pub is_mismatched: bool,
}

/// One card.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Gpu {
    /// Its name for ever: `GPU-…`.
    pub uuid: String,
    /// Whose it is.
    pub vendor: GpuVendor,
    /// The driver's number of it; changes with restarts of the host.
    pub index: u32,
    /// The product, such as `NVIDIA H200`.
    pub name: String,
    /// The number in `/dev/nvidia<N>`, or of the render node.
    pub minor: Option<u32>,
    /// The bus address, such as `00000000:3B:00.0`.
    pub pci: Option<String>,
    /// The memory node that it is next to.
    pub numa: Option<u32>,
    /// Such as `9.0`.
    pub compute_capability: Option<String>,
    /// The driver's compute mode: `Default`, `ExclusiveProcess`, `Prohibited`.
    pub compute_mode: Option<String>,
    /// Bytes of memory.
    pub memory: GpuMemory,
    /// Whether it is split into MIG instances: then only these are given away.
    pub is_mig: bool,
    /// Its MIG instances.
    pub parts: Vec<GpuPart>,
    /// How near the other cards are.
    pub links: Vec<GpuLink>,
    /// What speaks against giving it away.
    pub health: GpuHealth,
    /// What it does at present. What a card does not say is none, never 0.
    pub telemetry: GpuTelemetry,
    /// The processes that use it.
    pub processes: Vec<GpuProcess>,
}

/// Bytes of a card's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GpuMemory {
    /// All of it.
    pub total: u64,
    /// What the driver keeps for itself; not part of `used`.
    pub reserved: u64,
    /// What processes use.
    pub used: u64,
}

impl GpuMemory {
    /// What processes can have at all.
    pub fn usable(&self) -> u64 {
        self.total.saturating_sub(self.reserved)
    }

    /// What nobody uses.
    pub fn free(&self) -> u64 {
        self.usable().saturating_sub(self.used)
    }
}

/// A MIG instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GpuPart {
    /// Its name: `MIG-…`.
    pub uuid: String,
    /// Its profile, such as `1g.10gb`.
    pub profile: String,
    /// The number of its GPU instance.
    pub gpu_instance: u32,
    /// The number of its compute instance.
    pub compute_instance: u32,
    /// Bytes of memory.
    pub memory: GpuMemory,
}

/// How near another card is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuLink {
    /// The other card.
    pub to: String,
    /// How many active `NVLink`s lead there.
    pub nvlinks: u32,
    /// How far it is over PCI: 0 on the same board, 10 one switch, 20 several, 30 the host
    /// bridge, 40 the memory node, 50 across nodes (NVML, `nvmlGpuTopologyLevel_t`).
    pub distance: u32,
}

/// What speaks against giving a card away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GpuHealth {
    /// Why it is not given away, as sentences; empty is healthy.
    pub problems: Vec<String>,
    /// The last error that the driver reported of it.
    pub last_xid: Option<u64>,
    /// The error that speaks against it until it is reset.
    pub lasting: Option<GpuError>,
}

/// An error that speaks against a card until it is reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuError {
    /// Its number (XID).
    pub code: u64,
    /// When the driver reported it.
    pub at: Timestamp,
    /// What the card had used by then, in millijoules since it was reset or its driver was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<u64>,
}

/// What speaks against cards, by UUID, since one start of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpuErrors {
    /// The kernel's name for that start.
    pub boot: String,
    /// The errors.
    pub cards: BTreeMap<String, GpuError>,
}

impl GpuErrors {
    /// Whether nothing speaks against any card.
    pub fn is_empty(&self) -> bool {
        self.cards.is_empty()
    }
}

/// The driver of the GPUs, as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenDriver {
    /// Its version.
    pub version: String,
    /// When it was there.
    pub at: Timestamp,
}

/// What a card does at present.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GpuTelemetry {
    /// Percent of the last moment in which something was computed.
    pub utilization: Option<u32>,
    /// Percent of the last moment in which memory was read or written.
    pub memory_utilization: Option<u32>,
    /// Percent, of the video encoder.
    pub encoder_utilization: Option<u32>,
    /// Percent, of the video decoder.
    pub decoder_utilization: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Degrees Celsius, of the memory.
    pub memory_temperature: Option<u32>,
    /// Milliwatts.
    pub power: Option<u32>,
    /// Milliwatts that it may draw.
    pub power_limit: Option<u32>,
    /// Millijoules since the driver was loaded.
    pub energy: Option<u64>,
    /// MHz.
    pub sm_clock: Option<u32>,
    /// MHz.
    pub memory_clock: Option<u32>,
    /// How often a transfer over PCI had to be repeated.
    pub pcie_replays: Option<u64>,
    /// Percent.
    pub fan: Option<u32>,
    /// Errors of the memory that were mended, since the driver was loaded.
    pub ecc_corrected: Option<u64>,
    /// Errors of the memory that could not be mended, since the driver was loaded.
    pub ecc_uncorrected: Option<u64>,
    /// Rows of memory that were replaced after errors that were mended, and after others.
    pub remapped_rows: Option<(u64, u64)>,
    /// Whether replacing a row failed.
    pub is_remap_failed: Option<bool>,
    /// What its parts did lately, where the card tells that.
    pub profile: Option<GpuProfile>,
}

/// What the parts of a card did, on average over the last seconds: shares of the time, or of what they
/// could do, from 0 to 1, and bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuProfile {
    /// The graphics and compute engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_active: Option<f64>,
    /// Multiprocessors that had work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sm_active: Option<f64>,
    /// How much work they had, of what they could take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sm_occupancy: Option<f64>,
    /// Tensor cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_active: Option<f64>,
    /// The memory's bandwidth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dram_active: Option<f64>,
    /// Arithmetic with 64 bits, without tensor cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp64_active: Option<f64>,
    /// With 32 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp32_active: Option<f64>,
    /// With 16 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp16_active: Option<f64>,
    /// From the card over `PCIe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_sent: Option<f64>,
    /// To the card over `PCIe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_received: Option<f64>,
    /// From the card over all its `NVLink`s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nvlink_sent: Option<f64>,
    /// To the card over all its `NVLink`s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nvlink_received: Option<f64>,
}

/// A process that uses a card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GpuProcess {
    /// Its number on the host.
    pub pid: u32,
    /// Its name, as far as it can be read.
    pub name: Option<String>,
    /// Bytes of the card's memory; none where the driver does not say.
    pub memory: Option<u64>,
    /// Percent of the last moment.
    pub utilization: Option<u32>,
    /// The MIG instance that it runs on, by the number of its GPU instance.
    pub gpu_instance: Option<u32>,
    /// The container that it runs in; none is a program of the host.
    pub container: Option<ContainerId>,
}

/// The GPUs that a container holds, as its request or its labels say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuHold {
    /// What this Berth, or another one, gave it.
    Granted(GpuGrant),
    /// What it named itself: UUIDs, indexes or names of CDI devices.
    Devices(Vec<String>),
    /// The first so many: Docker Engine counts from index 0, for everybody.
    First(u32),
    /// All of them.
    All,
}

/// The GPUs that the labels of a container of a Berth, this one or another, say that it holds.
pub fn gpus_of_labels(labels: &BTreeMap<String, String>) -> Option<GpuHold> {
    let (_, text) = labels.get_key_value(label::INSTANCE).and(labels.get_key_value(label::GPUS))?;
    // What can't be read is counted as everything: too much is waited for, nothing is shared.
    Some(GpuGrant::parse(text).map_or(GpuHold::All, GpuHold::Granted))
}

/// How an engine can give GPUs to containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuWays {
    /// The CDI devices that it says it knows, by their full names.
    pub cdi_devices: BTreeSet<String>,
    /// The folders in which it looks for CDI devices; empty where it does not.
    pub cdi_folders: Vec<String>,
    /// The driver's version that the descriptions in these folders were made for, as far as they
    /// name files of it.
    pub cdi_driver: Option<String>,
    /// Whether it knows a runtime called `nvidia`.
    pub has_nvidia_runtime: bool,
}

/// The GPUs that an app may use now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuPlacement {
    /// What it is given; none while it waits, and for an app that asks for none.
    pub grant: Option<GpuGrant>,
    /// Why it is given none.
    pub problem: Option<PlacementProblem>,
    /// Whether one more container with the same grant fits beside those that run.
    pub fits_beside: bool,
    /// The app's containers that can't be started now, because others have their GPUs, and why.
    pub hindered: BTreeMap<ContainerId, String>,
}
