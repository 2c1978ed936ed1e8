//! AMD's cards by sysfs: the kernel says it all, no library is needed. Experimental: read from
//! fixture trees only, never from a real card.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::model::GpuVendor;
use crate::state::{Gpu, GpuMemory, GpuProcess, GpuTelemetry};

/// AMD's number as a vendor of PCI devices.
const VENDOR: &str = "0x1002";

/// What the compute driver says of a card.
#[derive(Default)]
struct Node {
    /// The number that its files about processes use.
    gpu_id: u32,
    /// As compilers name it: `gfx942`.
    target: Option<String>,
}

/// The cards below this `/sys`; none where the driver is not loaded.
pub(super) fn read(sys_root: &Path) -> Vec<Gpu> {
    let nodes = nodes(sys_root);
    let mut devices: Vec<_> = folders(&sys_root.join("class/drm"))
        .into_iter()
        .filter(|(name, _)| {
            name.strip_prefix("card").is_some_and(|number| number.parse::<u32>().is_ok())
        })
        .map(|(_, path)| path.join("device"))
        .filter(|device| text(device, "vendor").as_deref() == Some(VENDOR))
        .filter(|device| device.join("mem_info_vram_total").exists())
        .map(|device| (fs::canonicalize(&device).unwrap_or_default(), device))
        .collect();
    devices.sort();
    let cards = devices.iter().zip(0..).map(|((place, device), index)| {
        let pci = place.file_name().map(|name| name.to_string_lossy().into_owned());
        card(device, index, pci, &nodes, sys_root)
    });
    cards.collect()
}

fn card(
    device: &Path,
    index: u32,
    pci: Option<String>,
    nodes: &BTreeMap<u32, Node>,
    sys_root: &Path,
) -> Gpu {
    let minor = render_minor(device);
    let node = minor.and_then(|minor| nodes.get(&minor));
    let id = text(device, "unique_id").or_else(|| pci.clone()).unwrap_or_else(|| index.to_string());
    let name = text(device, "product_name").unwrap_or_else(|| {
        format!("AMD {}", text(device, "device").unwrap_or_else(|| "GPU".to_owned()))
    });
    Gpu {
        uuid: format!("AMD-{}", id.trim_start_matches("0x")),
        vendor: GpuVendor::Amd,
        index,
        name,
        minor,
        pci,
        numa: number(device, "numa_node"),
        compute_capability: node.and_then(|node| node.target.clone()),
        memory: GpuMemory {
            total: number(device, "mem_info_vram_total").unwrap_or_default(),
            reserved: 0,
            used: number(device, "mem_info_vram_used").unwrap_or_default(),
        },
        telemetry: telemetry(device),
        processes: node.map(|node| processes(sys_root, node.gpu_id)).unwrap_or_default(),
        ..Gpu::default()
    }
}

fn telemetry(device: &Path) -> GpuTelemetry {
    let sensors = folders(&device.join("hwmon")).into_iter().next().map(|(_, path)| path);
    let sensor = |name: &str| number::<u64>(sensors.as_deref()?, name);
    let scaled = |name: &str, by: u64| u32::try_from(sensor(name)? / by).ok();
    GpuTelemetry {
        utilization: number(device, "gpu_busy_percent"),
        memory_utilization: number(device, "mem_busy_percent"),
        // Thousandths of a degree, millionths of a watt, hertz.
        temperature: scaled("temp1_input", 1000),
        memory_temperature: scaled("temp3_input", 1000),
        power: scaled("power1_average", 1000).or_else(|| scaled("power1_input", 1000)),
        power_limit: scaled("power1_cap", 1000),
        sm_clock: scaled("freq1_input", 1_000_000),
        memory_clock: scaled("freq2_input", 1_000_000),
        pcie_replays: number(device, "pcie_replay_count"),
        ..GpuTelemetry::default()
    }
}

fn render_minor(device: &Path) -> Option<u32> {
    let names = folders(&device.join("drm"));
    names.iter().find_map(|(name, _)| name.strip_prefix("renderD")?.parse().ok())
}

/// What the compute driver knows, by the number of the render node.
fn nodes(sys_root: &Path) -> BTreeMap<u32, Node> {
    let folders = folders(&sys_root.join("class/kfd/kfd/topology/nodes"));
    let nodes = folders.into_iter().filter_map(|(_, path)| {
        let properties = text(&path, "properties")?;
        let of = |name: &str| {
            let mut lines = properties.lines().filter_map(|line| line.split_once(' '));
            lines.find(|(key, _)| *key == name)?.1.trim().parse::<u32>().ok()
        };
        let minor = of("drm_render_minor").filter(|minor| *minor != 0)?;
        // 90402 is gfx942: two digits each for step and minor, the last two in hexadecimal.
        let target = of("gfx_target_version").filter(|version| *version != 0);
        let target = target.map(|v| format!("gfx{}{:x}{:x}", v / 10_000, v / 100 % 100, v % 100));
        Some((minor, Node { gpu_id: number(&path, "gpu_id")?, target }))
    });
    nodes.collect()
}

/// The processes that compute on a card, with the memory that each has there.
fn processes(sys_root: &Path, gpu_id: u32) -> Vec<GpuProcess> {
    let folders = folders(&sys_root.join("class/kfd/kfd/proc"));
    let of = |(name, path): (String, PathBuf)| {
        let memory = number(&path, &format!("vram_{gpu_id}")).filter(|bytes| *bytes != 0)?;
        Some(GpuProcess { pid: name.parse().ok()?, memory: Some(memory), ..GpuProcess::default() })
    };
    let mut processes: Vec<_> = folders.into_iter().filter_map(of).collect();
    processes.sort_by_key(|process| process.pid);
    processes
}

fn folders(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}

fn text(folder: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(name)).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A number; none where there is no such file, or `-1` in it.
fn number<T: std::str::FromStr>(folder: &Path, name: &str) -> Option<T> {
    text(folder, name)?.parse().ok()
}
