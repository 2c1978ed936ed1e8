//! What NVML tells, and what it does not.

use berth::{
    gpu::{Error, Machine, Probe as _, Settings},
    model::GpuVendor,
    state::{Gpu, GpuHealth, GpuLink, GpuMemory, GpuPart, GpuProcess, GpuTelemetry},
};

use super::{Fake, THREE};

const MIB: u64 = 1 << 20;

fn link(to: &str, nvlinks: u32, distance: u32) -> GpuLink {
    GpuLink { to: to.to_owned(), nvlinks, distance }
}

fn process(pid: u32, memory: Option<u64>, utilization: Option<u32>) -> GpuProcess {
    GpuProcess { pid, memory, utilization, ..GpuProcess::default() }
}

#[test]
fn everything_that_a_card_tells_is_read() {
    let fake = Fake::new(THREE);
    fake.write("sys/bus/pci/devices/0000:3b:00.0/numa_node", "1\n");
    fake.write("sys/bus/pci/devices/0000:5e:00.0/numa_node", "-1\n");
    fake.write("proc/4711/comm", "python3\n");
    fake.write("proc/4711/cgroup", &format!("0::/docker/{}\n", "ab".repeat(32)));
    let inventory = fake.read().unwrap();
    assert_eq!(inventory.driver.as_deref(), Some("550.54.15"));
    assert_eq!((inventory.cuda.as_deref(), inventory.by), (Some("12.4"), Some("nvml")));
    assert!(!inventory.is_mismatched && !inventory.is_stale && inventory.note.is_none());
    let first = Gpu {
        uuid: "GPU-a".to_owned(),
        vendor: GpuVendor::Nvidia,
        index: 0,
        name: "NVIDIA H200".to_owned(),
        minor: Some(0),
        pci: Some("00000000:3B:00.0".to_owned()),
        numa: Some(1),
        compute_capability: Some("9.0".to_owned()),
        compute_mode: Some("Default".to_owned()),
        memory: GpuMemory { total: 143_771 * MIB, reserved: 600 * MIB, used: 10_240 * MIB },
        is_mig: false,
        parts: Vec::new(),
        links: vec![link("GPU-b", 4, 10), link("GPU-c", 0, 50)],
        health: GpuHealth::default(),
        telemetry: GpuTelemetry {
            utilization: Some(87),
            memory_utilization: Some(40),
            encoder_utilization: Some(1),
            decoder_utilization: Some(2),
            temperature: Some(61),
            memory_temperature: Some(70),
            power: Some(312_500),
            power_limit: Some(700_000),
            energy: Some(123_456_789),
            sm_clock: Some(1980),
            memory_clock: Some(3201),
            pcie_replays: Some(3),
            fan: None,
            ecc_corrected: Some(5),
            ecc_uncorrected: Some(0),
            remapped_rows: Some((1, 0)),
            is_remap_failed: Some(false),
            profile: None,
        },
        processes: vec![
            GpuProcess {
                name: Some("python3".to_owned()),
                container: Some(berth::state::ContainerId::new("ab".repeat(32))),
                ..process(4711, Some(9000 * MIB), Some(80))
            },
            process(4712, Some(1000 * MIB), None),
            process(4713, None, None),
        ],
    };
    assert_eq!(inventory.gpus[0], first);
    assert_eq!(inventory.gpus[1].numa, None);
    assert_eq!(inventory.gpus[1].compute_mode.as_deref(), Some("ExclusiveProcess"));
}

/// Fault U15, and the rule that absent is absent.
#[test]
fn what_a_card_does_not_support_is_absent_and_not_nought() {
    let fake = Fake::new("gpu 0 uuid=GPU-a name=GB10\n");
    let gpu = fake.read().unwrap().gpus.remove(0);
    let bare = Gpu { uuid: "GPU-a".to_owned(), name: "GB10".to_owned(), ..Gpu::default() };
    assert_eq!(gpu, bare);
}

/// Fault U06.
#[test]
fn parts_of_a_card_are_read_with_their_processes() {
    let fake = Fake::new(THREE);
    let gpu = fake.read().unwrap().gpus.remove(2);
    let part = |uuid: &str, profile: &str, (gpu_instance, compute_instance), memory| GpuPart {
        uuid: uuid.to_owned(),
        profile: profile.to_owned(),
        gpu_instance,
        compute_instance,
        memory,
    };
    let memory = |total, reserved, used| GpuMemory {
        total: total * MIB,
        reserved: reserved * MIB,
        used: used * MIB,
    };
    let parts = vec![
        part("MIG-a", "1g.18gb", (7, 0), memory(18_000, 60, 10)),
        part("MIG-b", "3g.70gb", (2, 1), memory(71_680, 0, 0)),
    ];
    assert!(gpu.is_mig);
    assert_eq!((gpu.parts, gpu.compute_mode.as_deref()), (parts, Some("Prohibited")));
    assert_eq!(gpu.processes[0].gpu_instance, Some(7));
}

#[test]
fn links_through_switches_join_every_two_cards() {
    let cards = "gpu 0 uuid=A name=x pci=00000000:01:00.0\ngpu 1 uuid=B name=x \
                 pci=00000000:02:00.0\ngpu 2 uuid=C name=x pci=00000000:03:00.0\n\
                 switch 0 18\nswitch 1 18\nswitch 2 16\ntopo 0 1 40\ntopo 0 2 0\ntopo 1 2 20\n";
    let gpus = Fake::new(cards).read().unwrap().gpus;
    assert_eq!(gpus[0].links, [link("B", 18, 40), link("C", 16, 0)]);
    assert_eq!(gpus[2].links, [link("A", 16, 0), link("B", 16, 20)]);
}

/// Fault U04: the driver lists it, and every call for it fails.
#[test]
fn a_lost_card_is_shown_as_it_was_and_the_others_are_read() {
    let fake = Fake::new(THREE);
    let mut machine = fake.machine();
    let before = machine.read().unwrap();
    for (error, problem) in [(15, "it is lost"), (16, "must be reset"), (999, "does not say")] {
        fake.say(&THREE.replace("gpu 0 uuid=GPU-a", &format!("gpu 0 error={error} uuid=GPU-a")));
        let after = machine.read().unwrap();
        let (lost, was) = (&after.gpus[0], &before.gpus[0]);
        assert_eq!((&lost.uuid, &lost.name, lost.memory), (&was.uuid, &was.name, was.memory));
        assert_eq!(lost.health.problems.len(), 1, "{:?}", lost.health);
        assert!(lost.health.problems[0].contains(problem), "{:?}", lost.health);
        assert_eq!((&lost.telemetry, lost.processes.len()), (&GpuTelemetry::default(), 0));
        assert_eq!(after.gpus[1].telemetry, before.gpus[1].telemetry);
        assert!(after.gpus[1..].iter().all(|gpu| gpu.health.problems.is_empty()));
    }
    fake.say(THREE);
    assert_eq!(machine.read().unwrap().gpus, before.gpus);
    // One that was lost before Berth saw it has no name, and is given to nobody.
    fake.say(&THREE.replace("gpu 0 uuid=GPU-a", "gpu 0 error=15 uuid=GPU-a"));
    let unseen = fake.read().unwrap().gpus.remove(0);
    assert!(unseen.uuid == "unknown-0" && !unseen.health.problems.is_empty(), "{unseen:?}");
}

#[test]
fn what_a_card_says_against_itself_speaks_against_it() {
    let state = |words: &str| format!("gpu 0 uuid=GPU-a name=x total=100 {words}\n");
    let fake = Fake::new(&state(""));
    let mut machine = fake.machine();
    for (words, problem) in [
        ("ecc_u=2", "2 errors that could not be mended"),
        ("remap_failed=1", "could not be replaced"),
        ("remap_pending=1", "replaced at its next reset"),
        ("pages_pending=1", "retired at its next reset"),
    ] {
        fake.say(&state(words));
        let problems = machine.read().unwrap().gpus[0].health.problems.join("; ");
        assert!(problems.contains(problem), "{words}: {problems}");
    }
    fake.say(&state("ecc_u=0 ecc_c=9 remap_failed=0 remap_pending=0 pages_pending=0"));
    assert_eq!(machine.read().unwrap().gpus[0].health, GpuHealth::default());
}

/// Fault U03: each is told once; what was before Berth looked is not.
#[test]
fn errors_that_the_driver_reports_come_with_their_card() {
    let state = |errors: &str| format!("{THREE}\nxid 1 0 31\n{errors}");
    let fake = Fake::new(&state(""));
    let mut machine = fake.machine();
    machine.read().unwrap();
    assert_eq!(machine.xids(), []);
    fake.say(&state("xid 2 1 79\nxid 3 0 45\n"));
    machine.read().unwrap();
    assert_eq!(machine.xids(), [("GPU-b".to_owned(), 79), ("GPU-a".to_owned(), 45)]);
    machine.read().unwrap();
    assert_eq!(machine.xids(), []);
    // A card that says nothing any more is known by what it was.
    let lost = state("xid 2 1 79\nxid 3 0 45\nxid 4 1 79\n");
    fake.say(&lost.replace("gpu 1 uuid=GPU-b", "gpu 1 error=15 uuid=GPU-b"));
    machine.read().unwrap();
    assert_eq!(machine.xids(), [("GPU-b".to_owned(), 79)]);
}

/// Fault U07.
#[test]
fn a_driver_that_is_loaded_later_is_found() {
    let fake = Fake::new("sys init=9\n");
    let mut machine = fake.machine();
    let none = machine.read().unwrap();
    assert!(none.gpus.is_empty() && none.by.is_none());
    assert!(none.note.unwrap().contains("kernel module"));
    fake.say(THREE);
    let there = machine.read().unwrap();
    assert_eq!((there.gpus.len(), there.note), (3, None));
}

/// Fault U02.
#[test]
fn a_driver_that_was_replaced_is_noticed_before_something_is_stopped_for_it() {
    let fake = Fake::new("sys init=18\n");
    assert_eq!(fake.read(), Err(Error::Mismatch));
    // The library that this process has goes on working; what starts now would load the new one.
    fake.say(THREE);
    let module = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\n";
    fake.write("proc/driver/nvidia/version", module);
    let (plain, named) = (fake.path("libnvidia-ml.so.1"), fake.path("libnvidia-ml.so.550.54.15"));
    std::fs::rename(&plain, &named).unwrap();
    std::os::unix::fs::symlink(&named, &plain).unwrap();
    let mut machine = fake.machine();
    assert!(!machine.read().unwrap().is_mismatched);
    let newer = fake.path("libnvidia-ml.so.560.35.03");
    std::fs::copy(&named, &newer).unwrap();
    std::fs::remove_file(&plain).unwrap();
    std::os::unix::fs::symlink(&newer, &plain).unwrap();
    let inventory = machine.read().unwrap();
    assert!(inventory.is_mismatched && inventory.gpus.len() == 3);
    let note = inventory.note.unwrap();
    assert!(note.contains("550.54.15") && note.contains("560.35.03"), "{note}");
    // The version of the module is known before anything was asked, and stays the same.
    let first = Machine::first_sight(&fake.settings());
    assert_eq!((first.driver.as_deref(), first.at), (Some("550.54.15"), None));
    fake.say("sys init=9\n");
    assert_eq!(fake.read().unwrap().driver, first.driver);
}

#[test]
fn without_a_library_there_are_no_gpus_and_a_reason() {
    let fake = Fake::new(THREE);
    let settings = Settings { library: Some(fake.path("elsewhere.so")), ..fake.settings() };
    let mut machine = Machine::new(settings, berth::clock::Clock::System);
    let error = machine.read().unwrap_err().to_string();
    assert!(error.contains("elsewhere.so"), "what an operator names must be there: {error}");
    let settings = Settings { library: None, ..fake.settings() };
    let none = Machine::new(settings, berth::clock::Clock::System).read();
    // On a machine with NVIDIA's driver this reads its cards.
    if let Ok(none) = none
        && none.by.is_none()
    {
        assert!(none.gpus.is_empty() && none.note.unwrap().contains("NVIDIA"));
    }
}
