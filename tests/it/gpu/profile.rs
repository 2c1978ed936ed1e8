//! What the parts of a card do, by GPM.

use berth::{
    clock::Clock,
    gpu::{Machine, Probe as _, Settings},
    model::Timestamp,
    state::{Gpu, GpuProfile, Inventory},
    telemetry::dcgm::{self, Names},
};

use super::{Fake, THREE};

/// As often as cards are read when nobody asks.
const READ_EVERY: i64 = 5000;
/// Every figure that Berth asks for, but for 64 bits, which this card does not tell.
const ALL: &str =
    "gpm 0 1=96.5 2=88 3=41.25 5=73.2 10=55.5 12=12 13=0 20=512 21=0.5 60=1024 61=2048";

/// A machine whose time stands still, and what moves it.
fn machine(fake: &Fake, change: impl FnOnce(&mut Settings)) -> (Machine, Clock) {
    let clock = Clock::runtime(Timestamp::from_millis(1_800_000_000_000));
    let mut settings = fake.settings();
    change(&mut settings);
    (Machine::new(settings, clock.clone()), clock)
}

fn after(machine: &mut Machine, clock: &Clock, milliseconds: i64) -> Gpu {
    clock.set_forward(milliseconds);
    machine.read().unwrap().gpus.remove(0)
}

fn profile(machine: &mut Machine, clock: &Clock, milliseconds: i64) -> Option<GpuProfile> {
    after(machine, clock, milliseconds).telemetry.profile
}

#[test]
fn what_the_parts_of_a_card_did_is_told_from_the_second_reading_on() {
    let fake = Fake::new(&format!("{THREE}{ALL}\n"));
    let (mut machine, clock) = machine(&fake, |_| ());
    assert_eq!(profile(&mut machine, &clock, 0), None, "there is nothing to compare with");
    assert_eq!(profile(&mut machine, &clock, 100), None, "too little time has passed");
    let expected = GpuProfile {
        engine_active: Some(0.965),
        sm_active: Some(0.88),
        sm_occupancy: Some(0.4125),
        tensor_active: Some(0.732),
        dram_active: Some(0.555),
        fp64_active: None,
        fp32_active: Some(0.12),
        fp16_active: Some(0.0),
        pcie_sent: Some(536_870_912.0),
        pcie_received: Some(524_288.0),
        nvlink_sent: Some(2_147_483_648.0),
        nvlink_received: Some(1_073_741_824.0),
    };
    assert_eq!(profile(&mut machine, &clock, READ_EVERY), Some(expected));
    let all = machine.read().unwrap();
    assert!(all.gpus[1..].iter().all(|gpu| gpu.telemetry.profile.is_none()), "they have no GPM");
}

/// The library refuses a 17th sample: who frees none has no figures soon.
#[test]
fn readings_go_on_without_end_and_look_back_for_some_seconds() {
    let fake = Fake::new(&format!("{THREE}gpm 0 2=samples\n"));
    let (mut machine, clock) = machine(&fake, |_| ());
    assert_eq!(profile(&mut machine, &clock, 0), None);
    let mut back = |milliseconds| -> u32 {
        let seen = profile(&mut machine, &clock, milliseconds).expect("samples are freed");
        format!("{:.0}", seen.sm_active.unwrap() * 100.0).parse().unwrap()
    };
    let seen: Vec<_> = (0..40).map(|_| back(READ_EVERY)).collect();
    // One, two, three and four readings back, then three and four in turn: 15 and 20 s.
    assert_eq!(seen[..6], [1, 2, 3, 4, 3, 4]);
    assert!(seen[2..].iter().all(|back| (3..=4).contains(back)), "{seen:?}");
    // Who asks every second gets as long a time.
    let seen: Vec<_> = (0..40).map(|_| back(1000)).collect();
    assert!(seen[20..].iter().all(|back| (10..=20).contains(back)), "{seen:?}");
}

#[test]
fn a_clock_that_was_set_begins_anew() {
    let fake = Fake::new(&format!("{THREE}{ALL}\n"));
    let (mut machine, clock) = machine(&fake, |_| ());
    for (moved, is_known) in [
        (0, false),
        (READ_EVERY, true),
        (-3_600_000, false),
        (READ_EVERY, true),
        (3_600_000, false),
        (READ_EVERY, true),
    ] {
        assert_eq!(profile(&mut machine, &clock, moved).is_some(), is_known, "{moved}");
    }
}

#[test]
fn who_does_not_want_it_and_what_has_none_is_not_asked() {
    // A call that hangs would not come back.
    let hanging = format!("{THREE}{ALL}\nhang nvmlGpmSampleAlloc nvmlGpmSampleGet\n");
    let fake = Fake::new(&hanging);
    let (mut off, clock) = machine(&fake, |settings| settings.is_profiled = false);
    for _ in 0..3 {
        assert_eq!(profile(&mut off, &clock, READ_EVERY), None);
    }
    let fake = Fake::new(&hanging.replace("gpm 0", "gpm 7"));
    let (mut without, clock) = machine(&fake, |_| ());
    for _ in 0..3 {
        assert_eq!(profile(&mut without, &clock, READ_EVERY), None);
    }
    // In MIG mode the figures would be of each instance.
    let fake = Fake::new(&hanging.replace("gpm 0", "gpm 2"));
    let (mut in_parts, clock) = machine(&fake, |_| ());
    for _ in 0..3 {
        clock.set_forward(READ_EVERY);
        assert!(in_parts.read().unwrap().gpus[2].is_mig);
    }
}

/// Dashboard 12239 asks for the tensor cores; from the library to the page nothing is made up.
#[test]
fn the_figures_reach_the_page_under_dcgms_names() {
    let fake = Fake::new(&format!("{THREE}{ALL}\n"));
    let (mut machine, clock) = machine(&fake, |_| ());
    let first = machine.read().unwrap();
    clock.set_forward(READ_EVERY);
    let second = machine.read().unwrap();
    let page = |inventory: &Inventory| {
        let mut page = String::new();
        dcgm::write(&mut page, inventory, &[], Names::Classic, "box");
        page
    };
    assert!(!page(&first).contains("DCGM_FI_PROF_"));
    let page = page(&second);
    let shown: Vec<_> = page.lines().filter(|line| line.starts_with("DCGM_FI_PROF_")).collect();
    assert_eq!(shown.len(), 11, "{shown:#?}");
    let tensor = shown.iter().find(|line| line.starts_with("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{"));
    let tensor = tensor.unwrap();
    assert!(tensor.contains("gpu=\"0\"") && tensor.ends_with(" 0.732"), "{tensor}");
}
