//! NVIDIA cards under the names that dcgm-exporter gives them, so that dashboards made for it work
//! unchanged.
//!
//! # Guarantees
//! - What a card does not say is no series, never 0.
//! - A card is there once, however many containers use it: a sum over cards is right.

mod profile;

use std::{fmt, str::FromStr};

use super::text::{Family, Kind, push_label, whole};
use crate::model::GpuVendor;
use crate::state::{Gpu, GpuMemory, Inventory};

/// Which of dcgm-exporter's names are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Names {
    /// Those up to 4.8: MiB, MHz, percent, millijoules.
    #[default]
    Classic,
    /// Those since 4.9: base units.
    New,
    /// Both.
    Both,
}

impl FromStr for Names {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "classic" => Ok(Self::Classic),
            "new" => Ok(Self::New),
            "both" => Ok(Self::Both),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::New => "new",
            Self::Both => "both",
        })
    }
}

/// The one container that uses a card, where there is only one and it holds the card alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// The card, or a MIG instance, by UUID.
    pub uuid: String,
    /// The app.
    pub app: String,
    /// The container's name.
    pub container: String,
}

/// One figure of a card, in dcgm-exporter's words.
struct Row {
    classic: &'static str,
    new: &'static str,
    classic_help: &'static str,
    new_help: &'static str,
    kind: Kind,
    /// The value under the classic name, in its unit.
    value: fn(&Gpu) -> Option<f64>,
    /// What the newer name's unit makes of it.
    factor: f64,
}

const fn row(
    (classic, classic_help): (&'static str, &'static str),
    (new, new_help): (&'static str, &'static str),
    kind: Kind,
    value: fn(&Gpu) -> Option<f64>,
    factor: f64,
) -> Row {
    Row { classic, new, classic_help, new_help, kind, value, factor }
}

const MIB: f64 = 1024.0 * 1024.0;

const ROWS: &[Row] = &[
    row(
        ("DCGM_FI_DEV_SM_CLOCK", "Clock of the processors, in MHz."),
        ("DCGM_FI_DEV_SM_CLOCK_HERTZ", "Clock of the processors."),
        Kind::Gauge,
        |gpu| gpu.telemetry.sm_clock.map(f64::from),
        1e6,
    ),
    row(
        ("DCGM_FI_DEV_MEM_CLOCK", "Clock of the memory, in MHz."),
        ("DCGM_FI_DEV_MEMORY_CLOCK_HERTZ", "Clock of the memory."),
        Kind::Gauge,
        |gpu| gpu.telemetry.memory_clock.map(f64::from),
        1e6,
    ),
    row(
        ("DCGM_FI_DEV_MEMORY_TEMP", "Temperature of the memory, in degrees Celsius."),
        ("DCGM_FI_DEV_MEMORY_TEMP_CELSIUS", "Temperature of the memory."),
        Kind::Gauge,
        |gpu| gpu.telemetry.memory_temperature.map(f64::from),
        1.0,
    ),
    row(
        ("DCGM_FI_DEV_GPU_TEMP", "Temperature of the card, in degrees Celsius."),
        ("DCGM_FI_DEV_GPU_TEMP_CELSIUS", "Temperature of the card."),
        Kind::Gauge,
        |gpu| gpu.telemetry.temperature.map(f64::from),
        1.0,
    ),
    row(
        ("DCGM_FI_DEV_POWER_USAGE", "What the card draws, in watts."),
        ("DCGM_FI_DEV_BOARD_POWER_WATTS", "What the card draws."),
        Kind::Gauge,
        |gpu| gpu.telemetry.power.map(|mw| f64::from(mw) / 1e3),
        1.0,
    ),
    row(
        ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "What the card may draw, in watts."),
        ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "What the card may draw, in watts."),
        Kind::Gauge,
        |gpu| gpu.telemetry.power_limit.map(|mw| f64::from(mw) / 1e3),
        1.0,
    ),
    row(
        (
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
            "What the card used since the driver was loaded, in millijoules.",
        ),
        ("DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", "What the card used since the driver was loaded."),
        Kind::Counter,
        |gpu| gpu.telemetry.energy.map(whole),
        1e-3,
    ),
    row(
        ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "Transfers over PCIe that had to be repeated."),
        ("DCGM_FI_DEV_PCIE_REPLAY_TOTAL", "Transfers over PCIe that had to be repeated."),
        Kind::Counter,
        |gpu| gpu.telemetry.pcie_replays.map(whole),
        1.0,
    ),
    row(
        ("DCGM_FI_DEV_GPU_UTIL", "How much of the time something was computed, in percent."),
        ("DCGM_FI_DEV_GPU_UTIL_RATIO", "How much of the time something was computed."),
        Kind::Gauge,
        |gpu| gpu.telemetry.utilization.map(f64::from),
        1e-2,
    ),
    row(
        ("DCGM_FI_DEV_MEM_COPY_UTIL", "How much of the time memory was used, in percent."),
        ("DCGM_FI_DEV_MEMORY_UTIL_RATIO", "How much of the time memory was used."),
        Kind::Gauge,
        |gpu| gpu.telemetry.memory_utilization.map(f64::from),
        1e-2,
    ),
    row(
        ("DCGM_FI_DEV_ENC_UTIL", "How much of the time the encoder worked, in percent."),
        ("DCGM_FI_DEV_ENC_UTIL_RATIO", "How much of the time the encoder worked."),
        Kind::Gauge,
        |gpu| gpu.telemetry.encoder_utilization.map(f64::from),
        1e-2,
    ),
    row(
        ("DCGM_FI_DEV_DEC_UTIL", "How much of the time the decoder worked, in percent."),
        ("DCGM_FI_DEV_DEC_UTIL_RATIO", "How much of the time the decoder worked."),
        Kind::Gauge,
        |gpu| gpu.telemetry.decoder_utilization.map(f64::from),
        1e-2,
    ),
    row(
        ("DCGM_FI_DEV_FAN_SPEED", "How fast the fan turns, in percent."),
        ("DCGM_FI_DEV_FAN_SPEED_RATIO", "How fast the fan turns."),
        Kind::Gauge,
        |gpu| gpu.telemetry.fan.map(f64::from),
        1e-2,
    ),
    row(
        ("DCGM_FI_DEV_XID_ERRORS", "The last error that the driver reported, by its number."),
        ("DCGM_FI_DEV_XID_ERROR", "The last error that the driver reported, by its number."),
        Kind::Gauge,
        |gpu| gpu.health.last_xid.map(whole),
        1.0,
    ),
    row(
        ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "Errors of the memory that were mended."),
        ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "Errors of the memory that were mended."),
        Kind::Counter,
        |gpu| gpu.telemetry.ecc_corrected.map(whole),
        1.0,
    ),
    row(
        ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "Errors of the memory that could not be mended."),
        ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "Errors of the memory that could not be mended."),
        Kind::Counter,
        |gpu| gpu.telemetry.ecc_uncorrected.map(whole),
        1.0,
    ),
    row(
        ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "Rows replaced after errors not mended."),
        ("DCGM_FI_DEV_ROW_REMAP_UNCORRECTABLE_TOTAL", "Rows replaced after errors not mended."),
        Kind::Counter,
        |gpu| gpu.telemetry.remapped_rows.map(|(_, rows)| whole(rows)),
        1.0,
    ),
    row(
        ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "Rows replaced after errors that were mended."),
        ("DCGM_FI_DEV_ROW_REMAP_CORRECTABLE_TOTAL", "Rows replaced after errors that were mended."),
        Kind::Counter,
        |gpu| gpu.telemetry.remapped_rows.map(|(rows, _)| whole(rows)),
        1.0,
    ),
    row(
        ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "Whether replacing a row failed."),
        ("DCGM_FI_DEV_ROW_REMAP_FAILED", "Whether replacing a row failed."),
        Kind::Gauge,
        |gpu| gpu.telemetry.is_remap_failed.map(|failed| f64::from(u8::from(failed))),
        1.0,
    ),
];

/// One figure of memory: of cards, and of MIG instances.
struct MemoryRow {
    classic: Option<(&'static str, &'static str)>,
    new: (&'static str, &'static str),
    bytes: fn(&GpuMemory) -> u64,
}

const MEMORY: &[MemoryRow] = &[
    MemoryRow {
        classic: Some(("DCGM_FI_DEV_FB_FREE", "Memory that nobody uses, in MiB.")),
        new: ("DCGM_FI_DEV_FB_FREE_BYTES", "Memory that nobody uses."),
        bytes: GpuMemory::free,
    },
    MemoryRow {
        classic: Some(("DCGM_FI_DEV_FB_USED", "Memory that is used, in MiB.")),
        new: ("DCGM_FI_DEV_FB_USED_BYTES", "Memory that is used."),
        bytes: |memory| memory.used,
    },
    MemoryRow {
        classic: Some(("DCGM_FI_DEV_FB_RESERVED", "Memory that the driver keeps, in MiB.")),
        new: ("DCGM_FI_DEV_FB_RESERVED_BYTES", "Memory that the driver keeps."),
        bytes: |memory| memory.reserved,
    },
    MemoryRow {
        classic: None,
        new: ("DCGM_FI_DEV_FB_CAPACITY_BYTES", "All memory."),
        bytes: |memory| memory.total,
    },
];

/// Writes what is known of NVIDIA's cards on this `host`.
pub fn write(
    out: &mut String,
    inventory: &Inventory,
    tenants: &[Tenant],
    names: Names,
    host: &str,
) {
    let cards: Vec<_> =
        inventory.gpus.iter().filter(|gpu| gpu.vendor == GpuVendor::Nvidia).collect();
    let driver = inventory.driver.as_deref();
    if names != Names::New {
        let labels =
            |gpu| labels(gpu, tenants, ("Hostname", host), ("DCGM_FI_DRIVER_VERSION", driver));
        let cards: Vec<_> = cards.iter().map(|gpu| (*gpu, labels(gpu))).collect();
        for row in rows() {
            let family = family(out, row.kind, row.classic, row.classic_help);
            write_row(family, &cards, |gpu| (row.value)(gpu));
        }
        for row in MEMORY {
            let Some((name, help)) = row.classic else { continue };
            let family = Family::gauge(out, name, help);
            write_memory(family, &cards, |memory| ((whole((row.bytes)(memory))) / MIB).floor());
        }
    }
    if names != Names::Classic {
        let version = "DCGM_FI_SYSTEM_DRIVER_VERSION";
        let labels = |gpu| labels(gpu, tenants, ("hostname", host), (version, driver));
        let cards: Vec<_> = cards.iter().map(|gpu| (*gpu, labels(gpu))).collect();
        for row in rows() {
            // What is called the same in both is there once.
            if names == Names::Both && row.classic == row.new {
                continue;
            }
            let family = family(out, row.kind, row.new, row.new_help);
            write_row(family, &cards, |gpu| {
                (row.value)(gpu).map(|value| scaled(value, row.factor))
            });
        }
        for row in MEMORY {
            let family = Family::gauge(out, row.new.0, row.new.1);
            write_memory(family, &cards, |memory| whole((row.bytes)(memory)));
        }
    }
}

/// All figures but those of memory.
fn rows() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().chain(profile::ROWS)
}

/// Division keeps short decimals short: 37 percent is 0.37.
fn scaled(value: f64, factor: f64) -> f64 {
    if factor < 1.0 { value / (1.0 / factor).round() } else { value * factor }
}

fn family<'a>(
    out: &'a mut String,
    kind: Kind,
    name: &'static str,
    help: &'static str,
) -> Family<'a> {
    match kind {
        Kind::Gauge => Family::gauge(out, name, help),
        Kind::Counter => Family::counter(out, name, help),
    }
}

fn write_row(
    mut family: Family<'_>,
    cards: &[(&Gpu, String)],
    value: impl Fn(&Gpu) -> Option<f64>,
) {
    for (gpu, labels) in cards {
        if let Some(value) = value(gpu) {
            family.labelled(labels, value);
        }
    }
}

fn write_memory(
    mut family: Family<'_>,
    cards: &[(&Gpu, String)],
    value: impl Fn(&GpuMemory) -> f64,
) {
    for (gpu, labels) in cards {
        if 0 < gpu.memory.total {
            family.labelled(labels, value(&gpu.memory));
        }
        for part in gpu.parts.iter().filter(|part| 0 < part.memory.total) {
            let mut labels = labels.clone();
            labels.push(',');
            push_label(&mut labels, "GPU_I_PROFILE", &part.profile);
            labels.push(',');
            push_label(&mut labels, "GPU_I_ID", &part.gpu_instance.to_string());
            family.labelled(&labels, value(&part.memory));
        }
    }
}

fn labels(
    gpu: &Gpu,
    tenants: &[Tenant],
    (host_label, host): (&str, &str),
    (driver_label, driver): (&str, Option<&str>),
) -> String {
    let mut labels = String::new();
    let mut push = |label: &str, value: &str| {
        if !labels.is_empty() {
            labels.push(',');
        }
        push_label(&mut labels, label, value);
    };
    push("gpu", &gpu.index.to_string());
    push("UUID", &gpu.uuid);
    if let Some(pci) = &gpu.pci {
        push("pci_bus_id", pci);
    }
    push("device", &format!("nvidia{}", gpu.minor.unwrap_or(gpu.index)));
    push("modelName", &gpu.name);
    push(host_label, host);
    if let Some(driver) = driver {
        push(driver_label, driver);
    }
    let mut of_card = tenants.iter().filter(|tenant| tenant.uuid == gpu.uuid);
    if let (Some(tenant), None) = (of_card.next(), of_card.next()) {
        push("container", &tenant.container);
        push("app", &tenant.app);
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{GpuHealth, GpuPart, GpuProfile, GpuTelemetry};

    fn card() -> Gpu {
        Gpu {
            uuid: "GPU-a".into(),
            index: 1,
            name: "NVIDIA H200".into(),
            minor: Some(3),
            pci: Some("00000000:3B:00.0".into()),
            memory: GpuMemory { total: 141 << 30, reserved: 1 << 30, used: (40 << 30) + 5 },
            health: GpuHealth { last_xid: Some(79), ..GpuHealth::default() },
            telemetry: GpuTelemetry {
                utilization: Some(37),
                power: Some(70_500),
                energy: Some(123_456),
                sm_clock: Some(1980),
                remapped_rows: Some((2, 1)),
                is_remap_failed: Some(false),
                ..GpuTelemetry::default()
            },
            ..Gpu::default()
        }
    }

    fn text(inventory: &Inventory, tenants: &[Tenant], names: Names) -> String {
        let mut out = String::new();
        write(&mut out, inventory, tenants, names, "box");
        out
    }

    fn inventory() -> Inventory {
        let amd = Gpu { vendor: GpuVendor::Amd, uuid: "amd".into(), ..card() };
        Inventory { gpus: vec![card(), amd], driver: Some("550.1".into()), ..Inventory::default() }
    }

    #[test]
    fn a_card_has_the_names_units_and_labels_of_dcgm_exporter() {
        let text = text(&inventory(), &[], Names::Classic);
        let labels = "{gpu=\"1\",UUID=\"GPU-a\",pci_bus_id=\"00000000:3B:00.0\",device=\"nvidia3\",modelName=\"NVIDIA H200\",Hostname=\"box\",DCGM_FI_DRIVER_VERSION=\"550.1\"}";
        for (name, value) in [
            ("DCGM_FI_DEV_GPU_UTIL", "37"),
            ("DCGM_FI_DEV_POWER_USAGE", "70.5"),
            ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "123456"),
            ("DCGM_FI_DEV_SM_CLOCK", "1980"),
            ("DCGM_FI_DEV_FB_USED", "40960"),
            ("DCGM_FI_DEV_FB_FREE", "102399"),
            ("DCGM_FI_DEV_FB_RESERVED", "1024"),
            ("DCGM_FI_DEV_XID_ERRORS", "79"),
            ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "2"),
            ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "1"),
            ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "0"),
        ] {
            let line = format!("{name}{labels} {value}");
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        assert!(text.contains("# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter\n"));
        assert!(!text.contains("amd") && !text.contains("_BYTES") && !text.contains("RATIO"));
    }

    #[test]
    fn what_the_parts_of_a_card_do_has_dcgms_names() {
        let profile = GpuProfile {
            engine_active: Some(0.97),
            tensor_active: Some(0.425),
            pcie_sent: Some(1_572_864.0),
            ..GpuProfile::default()
        };
        let telemetry = GpuTelemetry { profile: Some(profile), ..GpuTelemetry::default() };
        let gpu = Gpu { telemetry, ..card() };
        let inventory = Inventory { gpus: vec![gpu], ..Inventory::default() };
        let both = text(&inventory, &[], Names::Both);
        let values: Vec<_> = both
            .lines()
            .filter(|line| line.starts_with("DCGM_FI_PROF_"))
            .map(|line| {
                let (name, rest) = line.split_once('{').unwrap();
                format!("{name} {}", rest.rsplit_once(' ').unwrap().1)
            })
            .collect();
        assert_eq!(
            values,
            [
                "DCGM_FI_PROF_GR_ENGINE_ACTIVE 0.97",
                "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE 0.425",
                "DCGM_FI_PROF_PCIE_TX_BYTES 1572864",
                "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO 0.97",
                "DCGM_FI_PROF_TENSOR_UTIL_RATIO 0.425",
            ]
        );
    }

    #[test]
    fn what_a_card_does_not_say_is_no_series() {
        let bare = Gpu { uuid: "GPU-b".into(), ..Gpu::default() };
        let inventory = Inventory { gpus: vec![bare], ..Inventory::default() };
        assert_eq!(text(&inventory, &[], Names::Both), "");
        assert_eq!(text(&Inventory::default(), &[], Names::Both), "");
    }

    #[test]
    fn the_newer_names_have_base_units() {
        let text = text(&inventory(), &[], Names::New);
        for line in [
            "DCGM_FI_DEV_GPU_UTIL_RATIO{…} 0.37",
            "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL{…} 123.456",
            "DCGM_FI_DEV_SM_CLOCK_HERTZ{…} 1980000000",
            "DCGM_FI_DEV_FB_USED_BYTES{…} 42949672965",
            "DCGM_FI_DEV_FB_CAPACITY_BYTES{…} 151397597184",
            "DCGM_FI_DEV_BOARD_POWER_WATTS{…} 70.5",
        ] {
            let (name, value) = line.split_once("{…}").unwrap();
            let is_it =
                |shown: &str| shown.starts_with(&format!("{name}{{")) && shown.ends_with(value);
            assert!(text.lines().any(is_it), "{line} is not in\n{text}");
        }
        assert!(text.contains("hostname=\"box\",DCGM_FI_SYSTEM_DRIVER_VERSION=\"550.1\""));
        assert!(!text.contains("DCGM_FI_DEV_GPU_UTIL{") && !text.contains("Hostname"));
    }

    #[test]
    fn with_both_no_family_is_there_twice() {
        let text = text(&inventory(), &[], Names::Both);
        let mut families: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let all = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), all);
        assert!(
            text.contains("DCGM_FI_DEV_GPU_UTIL{") && text.contains("DCGM_FI_DEV_GPU_UTIL_RATIO{")
        );
    }

    /// A card with a container label for each of its containers would be summed up several times.
    #[test]
    fn only_a_card_with_one_tenant_names_it() {
        let tenant = |app: &str| Tenant {
            uuid: "GPU-a".into(),
            app: app.into(),
            container: format!("{app}-01234567"),
        };
        let one = text(&inventory(), &[tenant("chat")], Names::Classic);
        assert!(one.contains(",container=\"chat-01234567\",app=\"chat\"}"), "{one}");
        let two = text(&inventory(), &[tenant("chat"), tenant("sd")], Names::Classic);
        assert!(!two.contains("container="), "{two}");
        assert_eq!(two.matches("DCGM_FI_DEV_GPU_UTIL{").count(), 1);
    }

    #[test]
    fn a_mig_instance_has_its_own_memory() {
        let memory = GpuMemory { total: 10 << 30, reserved: 0, used: 1 << 30 };
        let part =
            GpuPart { profile: "1g.10gb".into(), gpu_instance: 7, memory, ..GpuPart::default() };
        let gpu = Gpu { parts: vec![part], ..card() };
        let inventory = Inventory { gpus: vec![gpu], ..Inventory::default() };
        let text = text(&inventory, &[], Names::Classic);
        assert!(text.contains(",GPU_I_PROFILE=\"1g.10gb\",GPU_I_ID=\"7\"} 1024\n"), "{text}");
    }
}
