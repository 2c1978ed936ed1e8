//! `nvidia-smi` in place of the library.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use berth::{
    clock::Clock,
    gpu::{Error, Machine, Probe as _, Settings},
    state::{GpuMemory, GpuTelemetry, Inventory},
};

use super::Fake;

const MIB: u64 = 1 << 20;

/// Reads by a program with this text, where the library can't be loaded.
fn read(script: &str) -> Result<Inventory, Error> {
    let fake = Fake::new("");
    for (place, minor) in [("0000:3b:00.0", 2), ("0000:5e:00.0", 0)] {
        let text =
            format!("Model: \t\t NVIDIA\nBus Location: \t {place}\nDevice Minor: \t {minor}\n");
        fake.write(&format!("proc/driver/nvidia/gpus/{place}/information"), &text);
    }
    let program = fake.path("nvidia-smi");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let limit = Duration::from_millis(if script.contains("sleep") { 300 } else { 20_000 });
    let library = Some(fake.path("no-such-library.so"));
    let settings = Settings { library, program, program_limit: limit, ..fake.settings() };
    Machine::new(settings, Clock::System).read()
}

const CARDS: &str = r#"
case "$1" in
  --query-gpu=*)
    [ "$2" = --format=csv,noheader,nounits ] || exit 9
    echo "0, GPU-a, NVIDIA A100-SXM4-80GB, 535.104.05, 00000000:3B:00.0, 81920, 10240, 87, 61, 312.55, Default, 600, 8.0, Disabled, 40, 70, 400.00, 1410, 1593, [N/A], 3, 0, No, 4"
    echo "1, GPU-b, NVIDIA GeForce RTX 3090, 535.104.05, 00000000:5E:00.0, 24576, 1, 0, 30, 20.5, Exclusive_Process, [N/A], 8.6, [N/A], [Not Supported], N/A, 350.00, 210, 405, 30, [N/A], [N/A], [N/A], 1"
    echo "2, GPU-c, [GPU is lost], [GPU is lost], 00000000:86:00.0, [GPU is lost]" ;;
  --query-compute-apps=*)
    echo "GPU-a, 4711, 9000"
    echo "GPU-b, 4712, [N/A]"
    echo "GPU-x, 1, 1" ;;
esac"#;

#[test]
fn the_program_tells_where_there_is_no_library() {
    let inventory = read(CARDS).unwrap();
    assert_eq!(
        (inventory.by, inventory.driver.as_deref()),
        (Some("nvidia-smi"), Some("535.104.05"))
    );
    let [first, second, lost] = &inventory.gpus[..] else { panic!("{inventory:?}") };
    let memory = GpuMemory { total: 81_920 * MIB, reserved: 600 * MIB, used: 10_240 * MIB };
    assert_eq!((first.uuid.as_str(), first.memory), ("GPU-a", memory));
    let telemetry = GpuTelemetry {
        utilization: Some(87),
        memory_utilization: Some(40),
        temperature: Some(61),
        memory_temperature: Some(70),
        power: Some(312_550),
        power_limit: Some(400_000),
        sm_clock: Some(1410),
        memory_clock: Some(1593),
        ecc_corrected: Some(3),
        ecc_uncorrected: Some(0),
        ..GpuTelemetry::default()
    };
    assert_eq!(first.telemetry, telemetry);
    // Fault U05: it does not tell the numbers of their nodes, the driver's files do.
    assert_eq!((first.minor, second.minor, lost.minor), (Some(2), Some(0), None));
    let processes: Vec<_> =
        [first, second].iter().map(|gpu| (gpu.processes[0].pid, gpu.processes[0].memory)).collect();
    assert_eq!(processes, [(4711, Some(9000 * MIB)), (4712, None)]);
    assert_eq!(second.compute_mode.as_deref(), Some("ExclusiveProcess"));
    assert_eq!((second.telemetry.power, second.telemetry.fan), (Some(20_500), Some(30)));
    assert_eq!(second.telemetry.memory_utilization, None);
    assert!(second.health.problems.is_empty());
    assert!(lost.health.problems[0].starts_with("it is lost"), "{lost:?}");
}

#[test]
fn an_older_program_is_asked_for_less() {
    let script = r#"
case "$1" in
  *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2 ;;
  --query-gpu=*) echo "0, GPU-a, Tesla T4, 440.33.01, 00000000:3B:00.0, 15109, 0, 0, 30, 9.5, Default" ;;
esac"#;
    let inventory = read(script).unwrap();
    let gpu = &inventory.gpus[0];
    assert_eq!((gpu.name.as_str(), gpu.telemetry.power), ("Tesla T4", Some(9_500)));
    assert_eq!((gpu.compute_capability.as_deref(), gpu.processes.len()), (None, 0));
}

/// Fault U08.
#[test]
fn a_program_that_hangs_is_killed() {
    let error = read("exec sleep 60").unwrap_err().to_string();
    assert!(error.contains("no answer within 0.3 s"), "{error}");
}

/// Fault U02.
#[test]
fn what_the_program_complains_about_is_told() {
    let script = "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18";
    assert_eq!(read(script), Err(Error::Mismatch));
    let error = read("echo 'Unable to determine the device handle'; exit 255").unwrap_err();
    assert!(error.to_string().contains("Unable to determine the device handle"), "{error}");
    assert_eq!(read("exit 0").unwrap().gpus, []);
}
