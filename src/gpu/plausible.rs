//! Figures that can't be are left out: a driver with other numbers of its fields than we know says
//! nonsense without an error (fault U14).

use crate::state::{Gpu, GpuProfile, GpuTelemetry, Inventory};

const PERCENT_MAX: u32 = 100;
/// Fans may be driven beyond what is called full.
const FAN_MAX: u32 = 200;
/// Degrees Celsius.
const TEMPERATURE_MAX: u32 = 150;
/// Milliwatts: several times what the largest boards draw.
const POWER_MAX: u32 = 10_000_000;
/// MHz.
const CLOCK_MAX: u32 = 20_000;
/// Bytes of memory on one card.
const MEMORY_MAX: u64 = 64 << 40;
/// More than so many of anything are a counter that was never set.
const COUNT_MAX: u64 = 1 << 60;
/// Bytes a second: several times what all links of the largest boards carry.
const RATE_MAX: f64 = 2e13;
/// What is so little above a whole is rounded.
const WHOLE_MAX: f64 = 1.01;

/// Leaves out of an inventory what can't be.
pub(super) fn clear(inventory: &mut Inventory) {
    for gpu in &mut inventory.gpus {
        clear_memory(gpu);
        clear_telemetry(&mut gpu.telemetry);
        let total = gpu.memory.total;
        for process in &mut gpu.processes {
            process.memory = process.memory.filter(|bytes| total == 0 || *bytes <= total);
            process.utilization = process.utilization.filter(|percent| *percent <= PERCENT_MAX);
        }
    }
}

fn clear_memory(gpu: &mut Gpu) {
    let parts = gpu.parts.iter_mut().map(|part| &mut part.memory);
    for memory in parts.chain([&mut gpu.memory]) {
        if MEMORY_MAX < memory.total {
            *memory = crate::state::GpuMemory::default();
        }
        memory.reserved = memory.reserved.min(memory.total);
        memory.used = memory.used.min(memory.total - memory.reserved);
    }
}

fn clear_telemetry(seen: &mut GpuTelemetry) {
    for percent in [
        &mut seen.utilization,
        &mut seen.memory_utilization,
        &mut seen.encoder_utilization,
        &mut seen.decoder_utilization,
    ] {
        *percent = percent.filter(|percent| *percent <= PERCENT_MAX);
    }
    seen.fan = seen.fan.filter(|percent| *percent <= FAN_MAX);
    seen.temperature = seen.temperature.filter(|degrees| *degrees <= TEMPERATURE_MAX);
    // Boards without a sensor in their memory say 0.
    seen.memory_temperature =
        seen.memory_temperature.filter(|degrees| (1..=TEMPERATURE_MAX).contains(degrees));
    for power in [&mut seen.power, &mut seen.power_limit] {
        *power = power.filter(|milliwatts| *milliwatts <= POWER_MAX);
    }
    for clock in [&mut seen.sm_clock, &mut seen.memory_clock] {
        *clock = clock.filter(|megahertz| *megahertz <= CLOCK_MAX);
    }
    for count in [
        &mut seen.energy,
        &mut seen.pcie_replays,
        &mut seen.ecc_corrected,
        &mut seen.ecc_uncorrected,
    ] {
        *count = count.filter(|count| *count < COUNT_MAX);
    }
    seen.remapped_rows = seen.remapped_rows.filter(|(a, b)| a.max(b) < &COUNT_MAX);
    seen.profile = seen.profile.map(clear_profile).filter(|known| *known != GpuProfile::default());
}

fn clear_profile(mut seen: GpuProfile) -> GpuProfile {
    for share in [
        &mut seen.engine_active,
        &mut seen.sm_active,
        &mut seen.sm_occupancy,
        &mut seen.tensor_active,
        &mut seen.dram_active,
        &mut seen.fp64_active,
        &mut seen.fp32_active,
        &mut seen.fp16_active,
    ] {
        *share =
            share.filter(|share| (0.0..=WHOLE_MAX).contains(share)).map(|share| share.min(1.0));
    }
    for rate in [
        &mut seen.pcie_sent,
        &mut seen.pcie_received,
        &mut seen.nvlink_sent,
        &mut seen.nvlink_received,
    ] {
        *rate = rate.filter(|rate| (0.0..=RATE_MAX).contains(rate));
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{GpuMemory, GpuProcess};

    #[test]
    fn shares_beyond_the_whole_and_impossible_rates_are_left_out() {
        let profile = GpuProfile {
            sm_active: Some(0.5),
            tensor_active: Some(1.004),
            dram_active: Some(87.5),
            fp16_active: Some(-0.1),
            fp32_active: Some(f64::NAN),
            pcie_sent: Some(6e10),
            pcie_received: Some(1e30),
            nvlink_sent: Some(f64::INFINITY),
            ..GpuProfile::default()
        };
        let kept = GpuProfile {
            sm_active: Some(0.5),
            tensor_active: Some(1.0),
            pcie_sent: Some(6e10),
            ..GpuProfile::default()
        };
        assert_eq!(clear_profile(profile), kept);
        let nonsense = GpuProfile { sm_active: Some(7.0), ..GpuProfile::default() };
        let mut seen = GpuTelemetry { profile: Some(nonsense), ..GpuTelemetry::default() };
        clear_telemetry(&mut seen);
        assert_eq!(seen.profile, None, "nothing of it is left");
    }

    /// Fault U14.
    #[test]
    fn nonsense_is_left_out_and_the_rest_stays() {
        let telemetry = GpuTelemetry {
            utilization: Some(4_294_967_295),
            memory_utilization: Some(100),
            temperature: Some(61),
            memory_temperature: Some(0),
            power: Some(4_000_000_000),
            power_limit: Some(700_000),
            sm_clock: Some(1_980),
            memory_clock: Some(123_456_789),
            energy: Some(u64::MAX),
            fan: Some(120),
            ..GpuTelemetry::default()
        };
        let process = |memory, utilization| GpuProcess {
            pid: 1,
            memory: Some(memory),
            utilization: Some(utilization),
            ..GpuProcess::default()
        };
        let gpu = Gpu {
            memory: GpuMemory { total: 100, reserved: 10, used: 95 },
            telemetry,
            processes: vec![process(50, 7), process(101, 101)],
            ..Gpu::default()
        };
        let mut inventory = Inventory { gpus: vec![gpu], ..Inventory::default() };
        clear(&mut inventory);
        let gpu = &inventory.gpus[0];
        assert_eq!(gpu.memory, GpuMemory { total: 100, reserved: 10, used: 90 });
        let kept = GpuTelemetry {
            memory_utilization: Some(100),
            temperature: Some(61),
            power_limit: Some(700_000),
            sm_clock: Some(1_980),
            fan: Some(120),
            ..GpuTelemetry::default()
        };
        assert_eq!(gpu.telemetry, kept);
        let figures: Vec<_> = gpu.processes.iter().map(|p| (p.memory, p.utilization)).collect();
        assert_eq!(figures, [(Some(50), Some(7)), (None, None)]);
    }
}
