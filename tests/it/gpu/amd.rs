//! AMD's cards, from a tree as its driver makes it.

use berth::{
    gpu::{Machine, Probe as _, Settings},
    model::GpuVendor,
    state::{Gpu, GpuMemory, GpuProcess, GpuTelemetry},
};

use super::{Fake, THREE};

/// A card at this bus address, as the kernel lays it out.
fn card(fake: &Fake, number: u32, bus: &str, files: &[(&str, &str)]) {
    let device = format!("sys/devices/pci0000:00/{bus}");
    for (name, text) in files {
        fake.write(&format!("{device}/{name}"), &format!("{text}\n"));
    }
    fake.write(&format!("{device}/drm/card{number}/dev"), "");
    fake.write(&format!("{device}/drm/renderD{}/dev", 128 + number), "");
    let class = fake.path("sys/class/drm");
    std::fs::create_dir_all(&class).unwrap();
    let link = |name: String, to: String| {
        std::os::unix::fs::symlink(fake.path(&to), class.join(name)).unwrap();
    };
    link(format!("card{number}"), format!("{device}/drm/card{number}"));
    let back = fake.path(&format!("{device}/drm/card{number}/device"));
    std::os::unix::fs::symlink(fake.path(&device), back).unwrap();
    link(format!("card{number}-DP-1"), format!("{device}/drm/card{number}"));
}

fn two_cards() -> Fake {
    let fake = Fake::new(THREE);
    card(
        &fake,
        1,
        "0000:c3:00.0",
        &[
            ("vendor", "0x1002"),
            ("device", "0x74a1"),
            ("product_name", "AMD Instinct MI300X"),
            ("unique_id", "5dcc8a5b9a1c0f2e"),
            ("mem_info_vram_total", "206141652992"),
            ("mem_info_vram_used", "302022656"),
            ("gpu_busy_percent", "37"),
            ("mem_busy_percent", "4"),
            ("numa_node", "1"),
            ("pcie_replay_count", "0"),
            ("hwmon/hwmon7/temp1_input", "45000"),
            ("hwmon/hwmon7/temp3_input", "51000"),
            ("hwmon/hwmon7/power1_average", "143000000"),
            ("hwmon/hwmon7/power1_cap", "750000000"),
            ("hwmon/hwmon7/freq1_input", "2100000000"),
        ],
    );
    let plain = [
        ("vendor", "0x1002"),
        ("device", "0x744c"),
        ("mem_info_vram_total", "25753026560"),
        ("numa_node", "-1"),
    ];
    card(&fake, 0, "0000:03:00.0", &plain);
    card(&fake, 2, "0000:02:00.0", &[("vendor", "0x1a03")]);
    let nodes = "sys/class/kfd/kfd/topology/nodes";
    fake.write(&format!("{nodes}/0/properties"), "cpu_cores_count 64\ndrm_render_minor 0\n");
    fake.write(&format!("{nodes}/1/gpu_id"), "51110\n");
    let properties = "simd_count 1216\ngfx_target_version 90402\ndrm_render_minor 129\n";
    fake.write(&format!("{nodes}/1/properties"), properties);
    fake.write("sys/class/kfd/kfd/proc/4711/vram_51110", "1073741824\n");
    fake.write("sys/class/kfd/kfd/proc/4712/vram_51110", "0\n");
    fake.write("proc/4711/comm", "vllm\n");
    fake
}

#[test]
fn amds_cards_are_read_from_the_kernel_alone() {
    let fake = two_cards();
    fake.say("sys init=9\n");
    let inventory = fake.read().unwrap();
    assert_eq!((inventory.by, inventory.note.as_deref()), (Some("sysfs"), None));
    let [plain, big] = &inventory.gpus[..] else { panic!("{inventory:?}") };
    let expected = Gpu {
        uuid: "AMD-5dcc8a5b9a1c0f2e".to_owned(),
        vendor: GpuVendor::Amd,
        index: 1,
        name: "AMD Instinct MI300X".to_owned(),
        minor: Some(129),
        pci: Some("0000:c3:00.0".to_owned()),
        numa: Some(1),
        compute_capability: Some("gfx942".to_owned()),
        memory: GpuMemory { total: 206_141_652_992, reserved: 0, used: 302_022_656 },
        telemetry: GpuTelemetry {
            utilization: Some(37),
            memory_utilization: Some(4),
            temperature: Some(45),
            memory_temperature: Some(51),
            power: Some(143_000),
            power_limit: Some(750_000),
            sm_clock: Some(2100),
            pcie_replays: Some(0),
            ..GpuTelemetry::default()
        },
        processes: vec![GpuProcess {
            pid: 4711,
            name: Some("vllm".to_owned()),
            memory: Some(1 << 30),
            ..GpuProcess::default()
        }],
        ..Gpu::default()
    };
    assert_eq!(*big, expected);
    assert_eq!((plain.uuid.as_str(), plain.index), ("AMD-0000:03:00.0", 0));
    assert_eq!((plain.name.as_str(), plain.numa), ("AMD 0x744c", None));
    assert_eq!(plain.telemetry, GpuTelemetry::default());
}

#[test]
fn cards_of_both_makers_stand_in_one_inventory() {
    let fake = two_cards();
    let inventory = fake.read().unwrap();
    let by_vendor: Vec<_> = inventory.gpus.iter().map(|gpu| (gpu.vendor, gpu.index)).collect();
    let (nvidia, amd) = (GpuVendor::Nvidia, GpuVendor::Amd);
    assert_eq!(by_vendor, [(nvidia, 0), (nvidia, 1), (nvidia, 2), (amd, 0), (amd, 1)]);
    let settings = Settings { sys_root: fake.path("nowhere"), ..fake.settings() };
    let without = Machine::new(settings, berth::clock::Clock::System).read().unwrap();
    assert_eq!(without.gpus.len(), 3);
}
