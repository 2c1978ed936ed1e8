//! What the parts of a card do, under the names that dcgm-exporter has for it. The units are those of
//! both of its namings: 0 to 1, and bytes a second.

use super::{Row, row};
use crate::state::{Gpu, GpuProfile};
use crate::telemetry::text::Kind;

const fn gauge(
    classic: &'static str,
    new: &'static str,
    help: &'static str,
    value: fn(&Gpu) -> Option<f64>,
) -> Row {
    row((classic, help), (new, help), Kind::Gauge, value, 1.0)
}

fn of(gpu: &Gpu, figure: fn(&GpuProfile) -> Option<f64>) -> Option<f64> {
    gpu.telemetry.profile.as_ref().and_then(figure)
}

pub(super) const ROWS: &[Row] = &[
    gauge(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO",
        "How much of the time the graphics and compute engine worked.",
        |gpu| of(gpu, |profile| profile.engine_active),
    ),
    gauge(
        "DCGM_FI_PROF_SM_ACTIVE",
        "DCGM_FI_PROF_SM_UTIL_RATIO",
        "How much of the time multiprocessors had work.",
        |gpu| of(gpu, |profile| profile.sm_active),
    ),
    gauge(
        "DCGM_FI_PROF_SM_OCCUPANCY",
        "DCGM_FI_PROF_SM_OCCUPANCY_RATIO",
        "How much work multiprocessors had, of what they can take.",
        |gpu| of(gpu, |profile| profile.sm_occupancy),
    ),
    gauge(
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "DCGM_FI_PROF_TENSOR_UTIL_RATIO",
        "How much of the time tensor cores worked.",
        |gpu| of(gpu, |profile| profile.tensor_active),
    ),
    gauge(
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "DCGM_FI_PROF_DRAM_UTIL_RATIO",
        "How much of the bandwidth of the memory was used.",
        |gpu| of(gpu, |profile| profile.dram_active),
    ),
    gauge(
        "DCGM_FI_PROF_PIPE_FP64_ACTIVE",
        "DCGM_FI_PROF_FP64_UTIL_RATIO",
        "How much of the time was computed with 64 bits.",
        |gpu| of(gpu, |profile| profile.fp64_active),
    ),
    gauge(
        "DCGM_FI_PROF_PIPE_FP32_ACTIVE",
        "DCGM_FI_PROF_FP32_UTIL_RATIO",
        "How much of the time was computed with 32 bits.",
        |gpu| of(gpu, |profile| profile.fp32_active),
    ),
    gauge(
        "DCGM_FI_PROF_PIPE_FP16_ACTIVE",
        "DCGM_FI_PROF_FP16_UTIL_RATIO",
        "How much of the time was computed with 16 bits.",
        |gpu| of(gpu, |profile| profile.fp16_active),
    ),
    gauge(
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        "Bytes a second from the card over PCIe.",
        |gpu| of(gpu, |profile| profile.pcie_sent),
    ),
    gauge(
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        "Bytes a second to the card over PCIe.",
        |gpu| of(gpu, |profile| profile.pcie_received),
    ),
    gauge(
        "DCGM_FI_PROF_NVLINK_TX_BYTES",
        "DCGM_FI_PROF_NVLINK_TX_BYTES",
        "Bytes a second from the card over NVLink.",
        |gpu| of(gpu, |profile| profile.nvlink_sent),
    ),
    gauge(
        "DCGM_FI_PROF_NVLINK_RX_BYTES",
        "DCGM_FI_PROF_NVLINK_RX_BYTES",
        "Bytes a second to the card over NVLink.",
        |gpu| of(gpu, |profile| profile.nvlink_received),
    ),
];
