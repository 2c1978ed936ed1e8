//! What the parts of a card did, by NVML's GPM, which cards have from Hopper on: two samples of its
//! counters, and what lies between them.
//!
//! # Guarantees
//! - One sample for each reading, and nothing waits for time to pass: figures are averages over the last
//!   10 to 20 s, however often and by how many they are asked for.
//! - Of each card at most two samples are kept from one reading to the next.
//!
//! # Caveats
//! Cards in MIG mode are left out: theirs are figures of each instance.

use std::collections::{BTreeMap, VecDeque};

use nvml_wrapper::{
    Device, GpmSample, Nvml,
    enums::gpm::GpmMetricId::{
        self, AnyTensorUtil, DramBwUtil, Fp16Util, Fp32Util, Fp64Util, GraphicsUtil,
        NvlinkTotalRxPerSec, NvlinkTotalTxPerSec, PcieRxPerSec, PcieTxPerSec, SmOccupancy, SmUtil,
    },
    gpm::gpm_metrics_get,
};

use crate::state::GpuProfile;

/// Between two samples that are kept, in microseconds.
const KEPT_EVERY: u64 = 10_000_000;
/// Less than this apart two samples tell little.
const APART_MIN: u64 = 500_000;
/// What lies further apart is no figure of now.
const APART_MAX: u64 = 60_000_000;
const MIB: f64 = 1024.0 * 1024.0;

/// What is asked for, with the place of each answer.
type Place = fn(&mut GpuProfile) -> &mut Option<f64>;

/// NVML says these in percent.
const SHARES: &[(GpmMetricId, Place)] = &[
    (GraphicsUtil, |profile| &mut profile.engine_active),
    (SmUtil, |profile| &mut profile.sm_active),
    (SmOccupancy, |profile| &mut profile.sm_occupancy),
    (AnyTensorUtil, |profile| &mut profile.tensor_active),
    (DramBwUtil, |profile| &mut profile.dram_active),
    (Fp64Util, |profile| &mut profile.fp64_active),
    (Fp32Util, |profile| &mut profile.fp32_active),
    (Fp16Util, |profile| &mut profile.fp16_active),
];
/// And these in MiB a second.
const RATES: &[(GpmMetricId, Place)] = &[
    (PcieTxPerSec, |profile| &mut profile.pcie_sent),
    (PcieRxPerSec, |profile| &mut profile.pcie_received),
    (NvlinkTotalTxPerSec, |profile| &mut profile.nvlink_sent),
    (NvlinkTotalRxPerSec, |profile| &mut profile.nvlink_received),
];

/// The samples of all cards, by index.
#[derive(Default)]
pub(super) struct Sampler<'nvml>(BTreeMap<u32, Kept<'nvml>>);

/// What is kept of a card; none where it has no GPM.
type Kept<'nvml> = Option<VecDeque<Taken<'nvml>>>;

struct Taken<'nvml> {
    at: u64,
    sample: GpmSample<'nvml>,
}

impl<'nvml> Sampler<'nvml> {
    /// What a card did since an earlier reading; none at the first one, and without GPM.
    pub(super) fn take(
        &mut self,
        nvml: &'nvml Nvml,
        index: u32,
        now_micros: u64,
    ) -> Option<GpuProfile> {
        let device = nvml.device_by_index(index).ok()?;
        let begin = || is_supported(&device).then(VecDeque::new);
        let kept = self.0.entry(index).or_insert_with(begin).as_mut()?;
        let Ok(sample) = device.gpm_sample() else {
            kept.clear();
            return None;
        };
        let taken = Taken { at: now_micros, sample };
        // A clock that was set, or a host that slept.
        let is_odd = |first: &Taken<'_>| {
            now_micros.checked_sub(first.at).is_none_or(|apart| APART_MAX < apart)
        };
        if kept.front().is_some_and(is_odd) {
            kept.clear();
        }
        let first = kept.front().filter(|first| APART_MIN <= now_micros - first.at);
        let profile = first.and_then(|first| between(nvml, first, &taken));
        if kept.back().is_none_or(|last| last.at + KEPT_EVERY <= now_micros) {
            kept.push_back(taken);
        }
        if 2 < kept.len() {
            kept.pop_front();
        }
        profile
    }

    /// A card is not asked: what was kept of it is let go.
    pub(super) fn forget(&mut self, index: u32) {
        self.0.remove(&index);
    }
}

fn is_supported(device: &Device<'_>) -> bool {
    device.gpm_support().unwrap_or(false)
}

fn between<'nvml>(
    nvml: &'nvml Nvml,
    first: &Taken<'nvml>,
    last: &Taken<'nvml>,
) -> Option<GpuProfile> {
    let asked: Vec<_> = SHARES.iter().chain(RATES).map(|(id, _)| *id).collect();
    let said = gpm_metrics_get(nvml, &first.sample, &last.sample, &asked).ok()?;
    let mut profile = GpuProfile::default();
    let share = |percent: f64| (percent * 1e4).round() / 1e6;
    let rate = |mib: f64| (mib * MIB).round();
    let shares = SHARES.iter().map(|(_, place)| (place, share as fn(f64) -> f64));
    let rates = RATES.iter().map(|(_, place)| (place, rate as fn(f64) -> f64));
    for ((place, unit), said) in shares.chain(rates).zip(said) {
        *place(&mut profile) = said.ok().map(|said| unit(said.value));
    }
    Some(profile)
}
