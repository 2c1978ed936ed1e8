//! A whole Berth on an engine in memory that has cards.

use std::{fs, time::Duration};

use berth::{
    engine::fake::Fake,
    gpu::nodes::Roots,
    health::gpu::Check,
    model::{GpuWay, Phase, Reason},
    record::Command,
    state::{GpuHold, GpuWays},
    status::Status,
};

use super::bed::inventory;
use crate::rig::{Berth, RESYNC, Rig, is, manifest, name};

const CARDS: [&str; 3] = ["GPU-aaaa", "GPU-bbbb", "GPU-cccc"];

fn rig(app: &str, gpus: &str) -> Rig {
    let mut rig = Rig::new();
    rig.cards.put(inventory());
    rig.fake.set_gpus(&CARDS);
    // No machine's own files have a say.
    let at = |part: &str| rig.folder.path().join(part);
    let roots = Roots { proc: at("proc"), cgroup: at("cgroup"), dev: at("dev"), lib: at("lib") };
    rig.gpu = (roots, Check::Auto);
    rig.files.insert(format!("{app}.yaml"), manifest(app, "shop/app:1", gpus));
    rig
}

fn calls(fake: &Fake, kind: &str) -> u64 {
    fake.counts().get(kind).copied().unwrap_or_default()
}

async fn until(berth: &Berth, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    berth.until(what, |record| is(record, "chat", &holds)).await;
    berth.status("chat").unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_app_gets_its_cards_and_says_in_which_way() {
    let rig = rig("chat", "gpus: {ids: [GPU-bbbb]}");
    let berth = rig.start();
    berth.until_running("chat").await;
    let status = berth.status("chat").unwrap();
    assert_eq!(
        (status.gpu_way, status.gpus),
        (Some(GpuWay::DeviceRequest), vec!["GPU-bbbb".to_owned()])
    );
    let id = rig.fake.container_of(&name("chat")).unwrap();
    let labels = rig.fake.labels_of(&id).unwrap();
    assert_eq!(labels["dev.berth.gpu-way"], "device-request 550.54.15");
    // A better way changes nothing that runs, and another Berth neither.
    let mut ways = GpuWays::default();
    ways.cdi_devices.insert("nvidia.com/gpu=GPU-bbbb".to_owned());
    rig.fake.set_gpu_ways(ways);
    berth.kill().await;
    let again = rig.start();
    again.until_running("chat").await;
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!((rig.count("create", "chat"), rig.count("start", "chat")), (1, 1));
    assert_eq!(again.status("chat").unwrap().gpu_way, Some(GpuWay::DeviceRequest));
}

#[tokio::test(start_paused = true)]
async fn a_card_that_the_driver_does_not_know_is_said_in_the_engines_words() {
    let rig = rig("chat", "gpus: {ids: [GPU-bbbb]}");
    rig.fake.set_gpus(&["GPU-aaaa"]);
    let berth = rig.start();
    let status = until(&berth, "it fails", |status| status.reason == Reason::GpuFailed).await;
    assert_eq!(status.phase, Phase::Failed);
    let said = &status.message;
    assert!(said.contains("GPU-bbbb: unknown device") && said.contains("berth gpu ls"), "{said}");
    rig.fake.set_gpus(&CARDS);
    berth.until_running("chat").await;
    assert_eq!(rig.count("create", "chat"), 1, "what was made for it is started again");
}

#[tokio::test(start_paused = true)]
async fn a_way_that_the_engine_refuses_is_followed_by_the_next_one() {
    let rig = rig("chat", "gpus: 2");
    rig.fake.set_gpu_hook(false);
    rig.fake.set_gpu_ways(GpuWays { has_nvidia_runtime: true, ..GpuWays::default() });
    let berth = rig.start();
    berth.until_running("chat").await;
    assert_eq!(berth.status("chat").unwrap().gpu_way, Some(GpuWay::Runtime));
    assert_eq!((rig.count("create", "chat"), rig.count("remove", "chat")), (2, 1));
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!(rig.count("create", "chat"), 2);
}

#[tokio::test(start_paused = true)]
async fn when_every_way_is_refused_it_says_so_and_goes_on_trying() {
    let rig = rig("chat", "gpus: 1");
    rig.fake.set_gpu_hook(false);
    let berth = rig.start();
    let status = until(&berth, "it fails", |status| status.reason == Reason::GpuFailed).await;
    assert!(status.message.contains("NVIDIA Container Toolkit"), "{}", status.message);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let starts = calls(&rig.fake, "start");
    assert!((40..140).contains(&starts), "at most once a minute: {starts}");
    rig.fake.set_gpu_hook(true);
    berth.until_running("chat").await;
}

/// Fault U01.
#[tokio::test(start_paused = true)]
async fn what_lost_its_gpus_is_made_anew_and_not_without_end() {
    let rig = rig("chat", "gpus: 1");
    let berth = rig.start();
    for nth in 1..=3 {
        berth.until_running("chat").await;
        assert_eq!(rig.count("create", "chat"), nth);
        assert!(rig.fake.lose_gpus(&name("chat")));
        berth.until("it is made anew", |_| rig.count("create", "chat") == nth + 1).await;
    }
    let told = |event: &berth::record::Event| event.reason == Reason::GpuLost;
    assert!(3 <= berth.record.events(None).iter().filter(|event| told(event)).count());
    berth.until_running("chat").await;
    assert!(rig.fake.lose_gpus(&name("chat")));
    let said = |status: &Status| status.message.contains("3 times within the hour");
    let status = until(&berth, "it is said", said).await;
    assert_eq!((status.phase, status.reason), (Phase::Degraded, Reason::GpuLost));
    tokio::time::sleep(Duration::from_secs(1200)).await;
    assert_eq!((rig.count("create", "chat"), rig.count("stop", "chat")), (4, 3));
}

/// Fault U01: a Berth that is started again goes on counting, and an older state file counts none.
#[tokio::test(start_paused = true)]
async fn how_often_it_was_made_anew_is_known_after_a_restart() {
    let mut rig = rig("chat", "gpus: 1");
    for nth in 1..=3 {
        let berth = rig.start();
        berth.until_running("chat").await;
        assert!(rig.fake.lose_gpus(&name("chat")));
        berth.until("it is made anew", |_| rig.count("create", "chat") == nth + 1).await;
        berth.until_running("chat").await;
        let kept = serde_json::to_string(&berth.stop().await).unwrap();
        rig.kept = serde_json::from_str(&kept).unwrap();
        assert_eq!(rig.kept.apps["chat"].gpu_mends.len(), nth, "{kept}");
    }
    assert!(rig.fake.lose_gpus(&name("chat")));
    let berth = rig.start();
    let said = |status: &Status| status.message.contains("3 times within the hour");
    until(&berth, "it is said", said).await;
    tokio::time::sleep(Duration::from_secs(1200)).await;
    assert_eq!(rig.count("create", "chat"), 4);
    // Within the hour after the first one it is left; then there is room for another one.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    berth.until("it is made anew", |_| rig.count("create", "chat") == 5).await;
    let mut kept = serde_json::to_value(berth.stop().await).unwrap();
    assert!(kept["apps"]["chat"].as_object_mut().unwrap().remove("gpuMends").is_some());
    rig.kept = serde_json::from_value(kept).unwrap();
    assert!(rig.kept.apps["chat"].gpu_mends.is_empty());
}

#[tokio::test(start_paused = true)]
async fn with_the_check_off_nothing_is_looked_at() {
    let mut rig = rig("chat", "gpus: 1");
    rig.gpu.1 = Check::Off;
    rig.files.insert(
        "chat.yaml".to_owned(),
        manifest("chat", "shop/app:1", "gpus: 1")
            .replace("health: {exec: [check], startPeriod: 30s, interval: 5s}", "health: none"),
    );
    let berth = rig.start();
    berth.until_running("chat").await;
    assert!(rig.fake.lose_gpus(&name("chat")));
    tokio::time::sleep(Duration::from_secs(1200)).await;
    assert_eq!((rig.count("create", "chat"), calls(&rig.fake, "exec")), (1, 0));
}

/// Fault U01: a list of devices says nothing of cards whose numbers nobody knows, as with
/// `nvidia-smi` in place of the library.
#[tokio::test(start_paused = true)]
async fn where_the_list_says_nothing_the_command_is_asked() {
    let rig = rig("chat", "gpus: 1");
    let mut seen = inventory();
    seen.gpus.iter_mut().for_each(|gpu| gpu.minor = None);
    rig.cards.put(seen);
    let berth = rig.start();
    berth.until("it is started", |_| rig.count("start", "chat") == 1).await;
    let id = rig.fake.container_of(&name("chat")).unwrap();
    let group = rig.folder.path().join("cgroup/devices/docker").join(id.as_str());
    fs::create_dir_all(&group).unwrap();
    fs::write(group.join("devices.list"), "a *:* rwm\n").unwrap();
    berth.until_running("chat").await;
    assert!(rig.fake.lose_gpus(&name("chat")));
    berth.until("it is made anew", |_| rig.count("create", "chat") == 2).await;
}

/// Fault U02.
#[tokio::test(start_paused = true)]
async fn with_a_changed_driver_what_runs_goes_on() {
    let rig = rig("chat", "gpus: 1");
    let module = |version: &str| {
        let folder = rig.folder.path().join("proc/driver/nvidia");
        fs::create_dir_all(&folder).unwrap();
        let text =
            format!("NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Tue Mar 5\n");
        fs::write(folder.join("version"), text).unwrap();
    };
    module("550.54.15");
    let berth = rig.start();
    berth.until_running("chat").await;
    // The library is new, the module is the old one.
    let mut seen = inventory();
    seen.driver = Some("560.35.03".to_owned());
    rig.cards.put(seen.clone());
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:2", "gpus: 1"));
    let status = until(&berth, "it waits", |status| status.reason == Reason::GpuDriver).await;
    assert_eq!(status.image.as_deref(), Some("shop/app:1"));
    assert!(status.message.contains("module is of 550.54.15"), "{}", status.message);
    assert_eq!((rig.count("stop", "chat"), rig.count("create", "chat")), (0, 1));
    // A restart would end what runs just as well.
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:1", "gpus: 1"));
    berth.until_running("chat").await;
    berth.command(Command::Restart(name("chat"))).await.unwrap();
    until(&berth, "it is not stopped", |status| status.reason == Reason::GpuDriver).await;
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!((rig.count("stop", "chat"), rig.count("start", "chat")), (0, 1));
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:2", "gpus: 1"));
    // Nobody can read them: nobody knows whether a new one would start.
    module("560.35.03");
    seen.is_stale = true;
    seen.note = Some("NVML does not answer".to_owned());
    rig.cards.put(seen.clone());
    until(&berth, "it waits on", |status| status.message.contains("NVML does not answer")).await;
    assert_eq!(rig.count("stop", "chat"), 0);
    seen.is_stale = false;
    rig.cards.put(seen);
    until(&berth, "the new version runs", |status| {
        status.phase == Phase::Running && status.image.as_deref() == Some("shop/app:2")
    })
    .await;
}

/// Fault U02: what has its cards by a way that is gone would get none after a stop.
#[tokio::test(start_paused = true)]
async fn a_way_that_is_gone_stops_nothing() {
    let rig = rig("chat", "gpus: 1");
    let mut ways = GpuWays::default();
    ways.cdi_devices.extend(CARDS.map(|card| format!("nvidia.com/gpu={card}")));
    rig.fake.set_gpu_ways(ways.clone());
    rig.fake.set_gpu_hook(false);
    let berth = rig.start();
    berth.until_running("chat").await;
    assert_eq!(berth.status("chat").unwrap().gpu_way, Some(GpuWay::Cdi));
    rig.fake.set_gpu_ways(GpuWays::default());
    tokio::time::sleep(RESYNC * 3).await;
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:2", "gpus: 1"));
    let status = until(&berth, "it waits", |status| status.reason == Reason::GpuDriver).await;
    assert!(status.message.contains("by CDI any more"), "{}", status.message);
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!(rig.count("stop", "chat"), 0);
    rig.fake.set_gpu_ways(ways);
    until(&berth, "the new version runs", |status| {
        status.phase == Phase::Running && status.image.as_deref() == Some("shop/app:2")
    })
    .await;
}

/// Fault U02: only a start shows it. The engine's words are said, and nothing has stopped.
#[tokio::test(start_paused = true)]
async fn what_could_not_have_its_gpus_is_found_out_before_anything_stops() {
    let rig = rig("chat", "gpus: {ids: [GPU-bbbb]}");
    let berth = rig.start();
    berth.until_running("chat").await;
    rig.fake.set_gpus(&["GPU-aaaa"]);
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:2", "gpus: {ids: [GPU-bbbb]}"));
    let status = until(&berth, "it is said", |status| status.reason == Reason::GpuFailed).await;
    let said = &status.message;
    assert!(
        said.contains("prove that chat-") && said.contains("GPU-bbbb: unknown device"),
        "{said}"
    );
    assert_eq!(status.phase, Phase::Degraded);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((rig.count("stop", "chat"), rig.count("create", "chat")), (0, 2));
    let tries = rig.count("prove", "chat");
    assert!((40..140).contains(&tries), "at most once a minute: {tries}");
    assert_eq!(berth.status("chat").unwrap().reason, Reason::GpuFailed, "it is not given up");
    // A restart of what runs would be an end, too.
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:1", "gpus: {ids: [GPU-bbbb]}"));
    berth.until_running("chat").await;
    berth.command(Command::Restart(name("chat"))).await.unwrap();
    until(&berth, "it is not stopped", |status| status.reason == Reason::GpuFailed).await;
    assert_eq!(rig.count("stop", "chat"), 0);
    rig.fake.set_gpus(&CARDS);
    berth.until("it is restarted", |_| rig.count("start", "chat") == 2).await;
    berth.until_running("chat").await;
    assert_eq!(rig.count("stop", "chat"), 1);
}

/// The way at fault is found out while the old version runs; the next one is proven before it stops.
#[tokio::test(start_paused = true)]
async fn a_way_that_fails_its_proof_is_followed_by_the_next_one() {
    let rig = rig("chat", "gpus: 1");
    let berth = rig.start();
    berth.until_running("chat").await;
    rig.fake.set_gpu_hook(false);
    rig.fake.set_gpu_ways(GpuWays { has_nvidia_runtime: true, ..GpuWays::default() });
    tokio::time::sleep(RESYNC * 3).await;
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:2", "gpus: 1"));
    until(&berth, "the new version runs", |status| {
        status.phase == Phase::Running && status.image.as_deref() == Some("shop/app:2")
    })
    .await;
    assert_eq!(berth.status("chat").unwrap().gpu_way, Some(GpuWay::Runtime));
    assert_eq!((rig.count("stop", "chat"), rig.count("prove", "chat")), (1, 2));
    assert_eq!(rig.count("start", "chat"), 2, "nothing was started in vain");
}

/// A Berth that was killed while it proved something.
#[tokio::test(start_paused = true)]
async fn what_was_left_behind_of_proving_is_removed() {
    let rig = rig("chat", "gpus: {ids: [GPU-bbbb]}");
    let berth = rig.start();
    berth.until_running("chat").await;
    let entry = berth.record.entry(&name("chat")).unwrap();
    let spec = entry.plan.container.clone().unwrap();
    berth.kill().await;
    rig.fake.leaves_proof(&spec);
    let berth = rig.start();
    berth.until("it is removed", |_| rig.count("remove", "chat") == 1).await;
    berth.until_running("chat").await;
    assert_eq!((rig.count("stop", "chat"), rig.count("create", "chat")), (0, 1));
    // It held no card while it was there, and nobody asks what it holds.
    assert_eq!(calls(&rig.fake, "gpus_of"), 0);
}

/// Fault U02.
#[tokio::test(start_paused = true)]
async fn a_driver_that_changed_since_is_said_and_stops_nothing() {
    let rig = rig("chat", "gpus: 1");
    let berth = rig.start();
    berth.until_running("chat").await;
    let mut seen = inventory();
    seen.driver = Some("560.35.03".to_owned());
    rig.cards.put(seen);
    let status = until(&berth, "it is said", |status| status.message.contains("560.35.03")).await;
    assert_eq!(status.phase, Phase::Running);
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!((rig.count("stop", "chat"), rig.count("create", "chat")), (0, 1));
}

/// Fault U12.
#[tokio::test(start_paused = true)]
async fn containers_of_others_hold_what_they_were_made_with() {
    let rig = rig("chat", "gpus: {ids: [GPU-aaaa]}");
    let id = rig.fake.add_foreign("miner", Vec::new());
    let other = rig.fake.add_foreign("plain", Vec::new());
    rig.fake.foreign_holds(&id, GpuHold::Devices(vec!["GPU-aaaa".to_owned()]));
    let berth = rig.start();
    let status = until(&berth, "it waits", |status| status.reason == Reason::WaitingForGpu).await;
    assert!(status.message.contains("miner"), "{}", status.message);
    tokio::time::sleep(RESYNC * 5).await;
    assert_eq!(calls(&rig.fake, "gpus_of"), 2, "each is asked once");
    assert_ne!(id, other);
    rig.fake.remove_foreign("miner");
    berth.until_running("chat").await;
}

#[tokio::test(start_paused = true)]
async fn without_cards_and_without_an_app_that_asks_nobody_is_asked() {
    let rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.add_foreign("plain", Vec::new());
    let berth = rig.start();
    berth.until_running("chat").await;
    tokio::time::sleep(RESYNC * 5).await;
    assert_eq!((calls(&rig.fake, "gpu_ways"), calls(&rig.fake, "gpus_of")), (0, 0));
}
