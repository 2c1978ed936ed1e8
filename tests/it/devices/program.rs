//! A whole Berth on a real engine of our own with a hook: what apps see, what survives.

use std::{fs, sync::Arc, time::Duration};

use berth::{
    engine::docker::{Docker, Gate, Settings},
    gpu::nodes::Roots,
    health::gpu::Check,
    model::{Phase, Reason},
    state::ContainerId,
    status::Status,
};

use super::bed::{Bed, CARDS};
use crate::{
    engine_failure::second::{Life, TINY, until},
    rig::{Berth, Rig, is},
};

fn manifest(app: &str, value: &str) -> String {
    let id = format!("GPU-{}", app.repeat(4));
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  image: {TINY}\n  \
         command: [sleep, \"600\"]\n  health: none\n  env: {{VALUE: \"{value}\"}}\n  \
         gpus: {{ids: [{id}]}}\n"
    )
}

fn write_cards(bed: &Bed, cards: &[(&str, u32)]) {
    let lines: Vec<_> = cards.iter().map(|(id, minor)| format!("{id} {minor}\n")).collect();
    fs::write(bed.second.path("inventory"), lines.concat()).unwrap();
}

/// Waits until something holds; fails long before the test's own end.
async fn wait(berth: &Berth, what: &str, app: &str, holds: impl Fn(&Status) -> bool) {
    let waits = berth.until(what, |record| is(record, app, &holds));
    let came = tokio::time::timeout(Duration::from_secs(90), waits).await;
    assert!(came.is_ok(), "never came to pass: {what}: {:?}", berth.status(app));
}

async fn until_running(berth: &Berth, app: &str) {
    let what = format!("{app} runs");
    let runs = |s: &Status| s.phase == Phase::Running && s.reason != Reason::GpuLost;
    wait(berth, &what, app, runs).await;
}

fn life(bed: &Bed, app: &str) -> Life {
    let mut lives = bed.second.lives(app);
    assert_eq!(lives.len(), 1, "{app}: {lives:?}");
    lives.remove(0)
}

/// Faults U01, U02, U16.
#[tokio::test(flavor = "multi_thread")]
async fn apps_see_exactly_their_gpus_and_keep_them() {
    let bed = Bed::start();
    let mut rig = Rig::new();
    rig.cards = Arc::clone(&bed.cards);
    let proc = rig.folder.path().join("proc");
    // The driver's files are ours, all others the machine's.
    rig.gpu = (Roots { proc: proc.clone(), lib: proc.clone(), ..bed.roots() }, Check::Cgroup);
    for app in ["b", "c"] {
        rig.files.insert(format!("{app}.yaml"), manifest(app, "1"));
    }
    let host = format!("unix://{}", bed.second.text("engine.sock"));
    let settings = Settings { gate: Gate::of(&rig.policy), ..Settings::new(host, "default") };
    let engine = Arc::new(Docker::connect(settings).unwrap());
    let berth = rig.start_on(engine.clone());
    for (app, seen) in [("b", "GPU-bbbb nvidia2"), ("c", "GPU-cccc nvidia3")] {
        until_running(&berth, app).await;
        let id = ContainerId::new(life(&bed, app).id);
        let said = bed.said(&id, "ls /run/gpus; ls /dev | grep nvidia").await;
        assert_eq!(said, seen);
    }
    // A card that the driver does not know: the hook's words, until it is there.
    write_cards(&bed, &CARDS[1..]);
    berth.manifests.put("a.yaml", &manifest("a", "1"));
    let failed = |s: &Status| s.reason == Reason::GpuFailed;
    wait(&berth, "a fails", "a", failed).await;
    let said = berth.status("a").unwrap().message;
    assert!(said.contains("GPU-aaaa: unknown device id of a GPU"), "{said}");
    write_cards(&bed, &CARDS);
    until_running(&berth, "a").await;
    // A restart of a container, and of Berth.
    bed.second.docker(&["restart", "--time", "0", &life(&bed, "b").id]);
    until_running(&berth, "b").await;
    let id = ContainerId::new(life(&bed, "b").id);
    assert_eq!(bed.said(&id, "ls /run/gpus").await, "GPU-bbbb");
    let before: Vec<_> = ["a", "b", "c"].map(|app| life(&bed, app)).into();
    berth.kill().await;
    let berth = rig.start_on(engine);
    berth.manifests.put("a.yaml", &manifest("a", "1"));
    for app in ["a", "b", "c"] {
        until_running(&berth, app).await;
    }
    let after: Vec<_> = ["a", "b", "c"].map(|app| life(&bed, app)).into();
    assert_eq!(before, after);
    what_is_lost_comes_back(&bed, &berth).await;
    // The module is another one than the driver: nothing stops for a new version.
    let folder = proc.join("driver/nvidia");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("version"), "NVRM version: NVIDIA UNIX Kernel Module  535.1.7  Tue\n")
        .unwrap();
    let before = life(&bed, "b");
    berth.manifests.put("b.yaml", &manifest("b", "2"));
    let waits = |s: &Status| s.reason == Reason::GpuDriver;
    wait(&berth, "b waits", "b", waits).await;
    assert_eq!(life(&bed, "b"), before);
}

async fn what_is_lost_comes_back(bed: &Bed, berth: &Berth) {
    let before = life(bed, "c");
    Bed::take_away(&ContainerId::new(before.id.clone()), 3);
    let report = || format!("{:?}", berth.status("c"));
    tokio::task::block_in_place(|| {
        until("c is made anew", report, || {
            let lives = bed.second.lives("c");
            lives.len() == 1 && lives[0].id != before.id
        });
    });
    until_running(berth, "c").await;
    let told = |event: &berth::record::Event| event.reason == Reason::GpuLost;
    assert!(berth.record.events(None).iter().any(|event| told(event)));
    let id = ContainerId::new(life(bed, "c").id);
    let said = bed.said(&id, "cat /dev/nvidia3 2>&1").await;
    assert!(said.ends_with("No such device or address"), "{said}");
}
