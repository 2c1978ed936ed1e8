//! One card, read.

use std::collections::BTreeMap;

use nvml_wrapper::{
    Device,
    enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor},
    enums::device::{SampleValue, UsedGpuMemory},
    error::NvmlError,
    struct_wrappers::device::ProcessInfo,
    structs::device::FieldId,
};

use super::raw;
use crate::model::GpuVendor;
use crate::state::{Gpu, GpuMemory, GpuPart, GpuProcess, GpuTelemetry};

/// `NVML_FI_DEV_MEMORY_TEMP`.
const MEMORY_TEMPERATURE: u32 = 82;
/// `NVML_FI_DEV_REMAPPED_COR`, `_UNC`, `_PENDING`, `_FAILURE`.
const REMAPPED: [u32; 4] = [142, 143, 144, 145];
/// Use of the last moment is asked for since so many microseconds ago.
const MOMENT: u64 = 3_000_000;

const LOST: &str = "it is lost: the driver can't reach it any more (fallen off the bus)";
const RESET: &str = "it must be reset before it can be used again";

/// What comes out of reading one card, beside its figures.
#[derive(Default)]
pub(super) struct Reading {
    /// Why the card is not given away.
    pub(super) problems: Vec<String>,
    /// An error that is not this card's, but the driver's.
    pub(super) whole: Option<NvmlError>,
    /// What it does, as far as it says so.
    pub(super) telemetry: GpuTelemetry,
}

impl Reading {
    /// What the card says; none when it does not support that.
    fn may<T>(&mut self, said: Result<T, NvmlError>) -> Option<T> {
        match said {
            Ok(said) => return Some(said),
            Err(NvmlError::GpuLost) => self.problem(LOST),
            Err(NvmlError::ResetRequired) => self.problem(RESET),
            Err(
                error @ (NvmlError::LibRmVersionMismatch
                | NvmlError::DriverNotLoaded
                | NvmlError::Uninitialized),
            ) => self.whole = Some(error),
            Err(_) => {}
        }
        None
    }

    /// What the card must say to be of any use.
    pub(super) fn must<T>(&mut self, said: Result<T, NvmlError>) -> Option<T> {
        let what = said.as_ref().err().map(ToString::to_string);
        let before = self.problems.len();
        let said = self.may(said);
        if let Some(what) = what.filter(|_| self.problems.len() == before) {
            self.problem(&format!("the driver does not say what it is: {what}"));
        }
        said
    }

    fn problem(&mut self, problem: &str) {
        if !self.problems.iter().any(|known| known == problem) {
            self.problems.push(problem.to_owned());
        }
    }
}

/// Reads a card; none when it does not even say its name.
pub(super) fn read(
    device: &Device<'_>,
    index: u32,
    now_micros: u64,
    reading: &mut Reading,
) -> Option<Gpu> {
    let uuid = reading.must(device.uuid())?;
    let name = reading.must(device.name())?;
    let capability = reading.may(device.cuda_compute_capability());
    let mig = reading.may(device.mig_mode());
    let is_mig = mig.is_some_and(|mode| mode.current == 1);
    let parts = if is_mig { parts(device, reading) } else { Vec::new() };
    let memory = reading.may(device.memory_info());
    reading.telemetry = telemetry(device, reading);
    judge(device, reading);
    let processes = processes(device, now_micros, reading);
    let gpu = Gpu {
        uuid,
        vendor: GpuVendor::Nvidia,
        index,
        name,
        minor: reading.may(device.minor_number()),
        pci: reading.may(device.pci_info()).map(|pci| pci.bus_id),
        compute_capability: capability.map(|c| format!("{}.{}", c.major, c.minor)),
        compute_mode: reading.may(device.compute_mode()).map(|mode| format!("{mode:?}")),
        memory: memory.map_or_else(GpuMemory::default, |memory| GpuMemory {
            total: memory.total,
            reserved: memory.reserved,
            used: memory.used,
        }),
        is_mig,
        parts,
        processes,
        telemetry: reading.telemetry.clone(),
        ..Gpu::default()
    };
    Some(gpu)
}

fn telemetry(device: &Device<'_>, reading: &mut Reading) -> GpuTelemetry {
    let utilization = reading.may(device.utilization_rates());
    let encoder = reading.may(device.encoder_utilization());
    let decoder = reading.may(device.decoder_utilization());
    let [memory_temperature] = fields(device, [MEMORY_TEMPERATURE], reading);
    let [corrected, uncorrected, _, failed] = fields(device, REMAPPED, reading);
    let ecc = |kind| device.total_ecc_errors(kind, EccCounter::Volatile);
    GpuTelemetry {
        utilization: utilization.as_ref().map(|used| used.gpu),
        memory_utilization: utilization.map(|used| used.memory),
        encoder_utilization: encoder.map(|used| used.utilization),
        decoder_utilization: decoder.map(|used| used.utilization),
        temperature: reading.may(device.temperature(TemperatureSensor::Gpu)),
        memory_temperature: memory_temperature.and_then(|degrees| u32::try_from(degrees).ok()),
        power: reading.may(device.power_usage()),
        power_limit: reading.may(device.enforced_power_limit()),
        energy: reading.may(device.total_energy_consumption()),
        sm_clock: reading.may(device.clock_info(Clock::SM)),
        memory_clock: reading.may(device.clock_info(Clock::Memory)),
        pcie_replays: reading.may(device.pcie_replay_counter()).map(u64::from),
        fan: reading.may(device.fan_speed(0)),
        ecc_corrected: reading.may(ecc(MemoryError::Corrected)),
        ecc_uncorrected: reading.may(ecc(MemoryError::Uncorrected)),
        remapped_rows: corrected.zip(uncorrected),
        is_remap_failed: failed.map(|failed| failed != 0),
        profile: None,
    }
}

/// What the card says against itself.
fn judge(device: &Device<'_>, reading: &mut Reading) {
    match reading.telemetry.ecc_uncorrected {
        None | Some(0) => {}
        Some(1) => reading.problem("its memory had an error that could not be mended"),
        Some(count) => {
            let problem = format!("its memory had {count} errors that could not be mended");
            reading.problem(&problem);
        }
    }
    if reading.telemetry.is_remap_failed == Some(true) {
        reading.problem("bad rows of its memory could not be replaced: it must be exchanged");
    }
    let [_, _, pending, _] = fields(device, REMAPPED, reading);
    if pending.is_some_and(|pending| pending != 0) {
        reading.problem("bad rows of its memory are replaced at its next reset");
    }
    if reading.may(device.are_pages_pending_retired()) == Some(true) {
        reading.problem("bad pages of its memory are retired at its next reset");
    }
}

/// Values by number, each on its own: the driver answers for all or for none otherwise.
fn fields<const N: usize>(
    device: &Device<'_>,
    ids: [u32; N],
    reading: &mut Reading,
) -> [Option<u64>; N] {
    let said = reading.may(device.field_values_for(&ids.map(FieldId))).unwrap_or_default();
    let mut values = [None; N];
    for (value, said) in values.iter_mut().zip(said) {
        *value = reading
            .may(said)
            .and_then(|said| reading.may(said.value))
            .and_then(|value| number(&value));
    }
    values
}

fn number(value: &SampleValue) -> Option<u64> {
    match *value {
        SampleValue::U32(value) => Some(u64::from(value)),
        SampleValue::U64(value) => Some(value),
        SampleValue::I64(value) => u64::try_from(value).ok(),
        SampleValue::F64(_) => None,
    }
}

fn parts(device: &Device<'_>, reading: &mut Reading) -> Vec<GpuPart> {
    let count = reading.may(device.mig_device_count()).unwrap_or_default();
    (0..count)
        .filter_map(|index| {
            let part = reading.may(device.mig_device_by_index(index))?;
            let uuid = reading.may(part.uuid())?;
            let name = reading.may(part.name()).unwrap_or_default();
            let memory = reading.may(part.memory_info());
            let (gpu_instance, compute_instance) = raw::instances(&part).unwrap_or_default();
            Some(GpuPart {
                uuid,
                profile: profile(&name, &part).unwrap_or_default(),
                gpu_instance,
                compute_instance,
                memory: memory.map_or_else(GpuMemory::default, |memory| GpuMemory {
                    total: memory.total,
                    reserved: memory.reserved,
                    used: memory.used,
                }),
            })
        })
        .collect()
}

/// The profile of a MIG instance: the end of its name, else what it is made of.
fn profile(name: &str, part: &Device<'_>) -> Option<String> {
    if let Some((_, profile)) = name.rsplit_once("MIG ") {
        return Some(profile.to_owned());
    }
    let made_of = part.attributes().ok()?;
    let gigabytes = made_of.memory_size_mb.div_ceil(1024);
    Some(format!("{}g.{gigabytes}gb", made_of.gpu_instance_slice_count))
}

fn processes(device: &Device<'_>, now_micros: u64, reading: &mut Reading) -> Vec<GpuProcess> {
    let mut by_pid = BTreeMap::new();
    for list in [
        reading.may(device.running_compute_processes()),
        reading.may(device.mps_running_compute_processes()),
        reading.may(device.running_graphics_processes()),
    ] {
        for process in list.unwrap_or_default() {
            note(&mut by_pid, &process);
        }
    }
    if by_pid.is_empty() {
        return Vec::new();
    }
    // Samples come several for one process; the newest tells.
    let samples = device.process_utilization_stats(now_micros.saturating_sub(MOMENT));
    let mut newest = BTreeMap::new();
    for sample in reading.may(samples).unwrap_or_default() {
        let latest = newest.entry(sample.pid).or_insert((sample.timestamp, sample.sm_util));
        *latest = (*latest).max((sample.timestamp, sample.sm_util));
    }
    for process in by_pid.values_mut() {
        process.utilization = newest.get(&process.pid).map(|(_, percent)| *percent);
    }
    by_pid.into_values().collect()
}

/// A process may compute and draw: it is one process, with one amount of memory.
fn note(by_pid: &mut BTreeMap<(u32, Option<u32>), GpuProcess>, process: &ProcessInfo) {
    let memory = match process.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => Some(bytes),
        UsedGpuMemory::Unavailable => None,
    };
    let known = by_pid.entry((process.pid, process.gpu_instance_id)).or_default();
    known.pid = process.pid;
    known.gpu_instance = process.gpu_instance_id;
    known.memory = known.memory.max(memory);
}
