//! Whole Berths on an engine in memory, on hosts with GPUs.

use std::time::Duration;

use berth::{
    engine::fake::Behaviour,
    model::{Phase, Reason},
    record::{Command, file::Kept},
    state::{GpuHold, Inventory},
    status::Status,
};
use tokio::time::Instant;

use super::{alone, card, inventory};
use crate::rig::{Berth, RESYNC, Rig, is, manifest, name};

/// From when somebody gives up a GPU until who waits for it has it.
const PROMPT: Duration = Duration::from_secs(2);

/// A host with so many cards of 24 GiB, on which nothing runs.
pub(super) fn host(cards: u32) -> Rig {
    let rig = Rig::new();
    rig.cards.put(inventory((0..cards).map(|index| card(index, 24)).collect()));
    rig
}

pub(super) fn text(app: &str, image: &str, gpus: &str) -> String {
    manifest(app, image, &format!("gpus: {gpus}\n")).replace("  port: 5000\n", "")
}

pub(super) fn put(berth: &Berth, app: &str, image: &str, gpus: &str) {
    berth.manifests.put(&format!("{app}.yaml"), &text(app, image, gpus));
}

/// Why an app waits for GPUs, once it does.
pub(super) async fn until_waits(berth: &Berth, app: &str) -> String {
    let waits = |status: &Status| status.reason == Reason::WaitingForGpu;
    berth.until(&format!("{app} waits for a GPU"), |record| is(record, app, waits)).await;
    berth.status(app).unwrap().message
}

/// The GPUs of each running container, by app; none was ever given twice.
fn used(rig: &Rig) -> Vec<(String, Vec<String>)> {
    assert_eq!(rig.fake.gpu_clashes(), Vec::<String>::new());
    let mut all = Vec::new();
    for container in rig.fake.world().containers {
        let Some(GpuHold::Granted(grant)) = &container.gpus else { continue };
        if container.state == berth::state::ContainerState::Running {
            let app = container.name.rsplit_once('-').unwrap().0.to_owned();
            all.push((app, grant.devices.clone()));
        }
    }
    all.sort();
    all
}

fn on(app: &str, devices: &[&str]) -> (String, Vec<String>) {
    (app.to_owned(), devices.iter().map(|id| (*id).to_owned()).collect())
}

/// Two on one card: the second waits and says for whom, and starts as soon as the first has gone,
/// whichever way it goes.
#[tokio::test(start_paused = true)]
async fn two_apps_and_one_card() {
    for way in ["stop", "delete", "suspend", "no gpus", "done"] {
        let rig = host(1);
        rig.fake.add_image(
            "shop/job:1",
            Behaviour { exits: Some((Duration::from_secs(90), 0)), ..Behaviour::default() },
        );
        let berth = rig.start();
        if way == "done" {
            put(&berth, "first", "shop/job:1", "1\nrestart: OnFailure");
        } else {
            put(&berth, "first", "shop/app:1", "1");
        }
        berth.until_running("first").await;
        put(&berth, "second", "shop/app:2", "1");
        let why = until_waits(&berth, "second").await;
        assert_eq!(why, "needs 1 GPU for itself; GPU-a held by app first");
        assert_eq!(berth.status("second").unwrap().phase, Phase::Installed);
        assert_eq!(berth.status("first").unwrap().gpus, ["GPU-a"]);
        tokio::time::sleep(Duration::from_secs(40)).await;
        assert_eq!(used(&rig), [on("first", &["GPU-a"])], "{way}");
        match way {
            "stop" => drop(berth.command(Command::Stop(name("first"))).await.unwrap()),
            "delete" => berth.manifests.remove("first.yaml"),
            "suspend" => put(&berth, "first", "shop/app:1", "1\nsuspend: true"),
            "no gpus" => put(&berth, "first", "shop/app:1", "0"),
            _ => {}
        }
        let runs = |rig: &Rig, app: &str| used(rig).iter().any(|(runs, _)| runs == app);
        while runs(&rig, "first") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let left = Instant::now();
        while !runs(&rig, "second") {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(left.elapsed() < Duration::from_secs(120), "{way}: it never started");
        }
        // An app that gives up its GPUs by a new version keeps the old one until that proves good.
        let is_rollout = way == "no gpus";
        assert!(is_rollout || left.elapsed() < PROMPT, "{way}: {:?}", left.elapsed());
        berth.until_running("second").await;
        assert_eq!(used(&rig), [on("second", &["GPU-a"])], "{way}");
        assert_eq!(rig.count("create", "first"), 1 + usize::from(is_rollout), "{way}");
    }
}

/// A new version needs the cards of the old one: that stops first unless both fit.
#[tokio::test(start_paused = true)]
async fn a_rollout_stays_on_its_cards() {
    for (gpus, order) in [
        ("1", "stop first"),
        ("{share: memory, memory: 8Gi}", "start first"),
        ("{share: memory, memory: 16Gi}", "stop first"),
    ] {
        let rig = host(2);
        let berth = rig.start();
        put(&berth, "chat", "shop/app:1", gpus);
        berth.until_running("chat").await;
        let seen = rig.fake.journal().len();
        put(&berth, "chat", "shop/app:2", gpus);
        let runs_new = |status: &Status| {
            status.phase == Phase::Running && status.image.as_deref() == Some("shop/app:2")
        };
        berth.until("the new one runs", |record| is(record, "chat", runs_new)).await;
        tokio::time::sleep(RESYNC).await;
        assert_eq!(used(&rig), [on("chat", &["GPU-a"])], "{gpus}");
        let journal = rig.fake.journal();
        let steps = journal[seen..].iter().filter_map(|line| line.split(' ').next());
        let steps: Vec<_> = steps.filter(|verb| ["start", "stop"].contains(verb)).collect();
        let expected = if order == "stop first" { ["stop", "start"] } else { ["start", "stop"] };
        assert_eq!(steps, expected, "{gpus}: {journal:?}");
        let entry = berth.record.entry(&name("chat")).unwrap();
        let ordered = entry.past.last().unwrap().revision.order;
        let is_stop_first = ordered == Some(berth::model::RolloutOrder::StopFirst);
        assert_eq!(is_stop_first, order == "stop first", "{gpus}");
    }
}

/// What is asked for changes: the old version goes on until the new one can have all of it.
#[tokio::test(start_paused = true)]
async fn more_is_waited_for_while_the_old_version_runs() {
    let rig = host(2);
    let berth = rig.start();
    put(&berth, "chat", "shop/app:1", "1");
    berth.until_running("chat").await;
    put(&berth, "other", "shop/app:2", "1");
    berth.until_running("other").await;
    put(&berth, "chat", "shop/app:1", "2");
    let why = until_waits(&berth, "chat").await;
    assert!(why.contains("needs 2 GPUs for itself; 1 of them is free"), "{why}");
    assert!(why.contains("GPU-b held by app other"), "{why}");
    assert_eq!(berth.status("chat").unwrap().phase, Phase::Running);
    assert_eq!(used(&rig), [on("chat", &["GPU-a"]), on("other", &["GPU-b"])]);
    berth.manifests.remove("other.yaml");
    berth.until("it has both", |_| used(&rig) == [on("chat", &["GPU-a", "GPU-b"])]).await;
    // Back to one: it keeps to what it has.
    berth.command(Command::Undo(name("chat"), Some(1))).await.unwrap();
    berth.until("it has one", |_| used(&rig) == [on("chat", &["GPU-a"])]).await;
    // To none, and back to a version that had one.
    put(&berth, "chat", "shop/app:2", "0");
    berth.until("it has none", |_| used(&rig).is_empty()).await;
    berth.until_running("chat").await;
    berth.command(Command::Undo(name("chat"), Some(1))).await.unwrap();
    berth.until("it has one again", |_| used(&rig) == [on("chat", &["GPU-a"])]).await;
}

/// Fault U16: labels are the truth. A Berth that has forgotten everything moves nothing, restarts
/// nothing and gives nothing twice.
#[tokio::test(start_paused = true)]
async fn a_restart_of_berth_changes_nothing() {
    for is_lost in [false, true] {
        let mut rig = host(2);
        let berth = rig.start();
        for (app, gpus) in [("a", "1"), ("b", "{share: memory, memory: 10Gi}"), ("c", "1")] {
            put(&berth, app, "shop/app:1", gpus);
            rig.files.insert(format!("{app}.yaml"), text(app, "shop/app:1", gpus));
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        until_waits(&berth, "c").await;
        let before = used(&rig);
        assert_eq!(before, [on("a", &["GPU-a"]), on("b", &["GPU-b"])]);
        let kept = berth.stop().await;
        rig.kept = if is_lost { Kept::default() } else { kept };
        let journal = rig.fake.journal();
        // Nothing is known of the GPUs yet either (fault U07).
        rig.cards.put(Inventory::default());
        let berth = rig.start();
        let why = until_waits(&berth, "c").await;
        assert!(why.contains("were not read yet"), "{why}");
        berth.until_running("a").await;
        rig.cards.put(inventory((0..2).rev().map(|index| card(index, 24)).collect()));
        tokio::time::sleep(RESYNC * 3).await;
        assert_eq!(used(&rig), before);
        assert_eq!(rig.fake.journal(), journal);
        berth.manifests.remove("a.yaml");
        // All that is known may be lost, then many apps that go wait for a person.
        berth.until("c runs", |_| used(&rig).contains(&on("c", &["GPU-a"]))).await;
    }
}

/// Fault U12: another Berth's container has the card.
#[tokio::test(start_paused = true)]
async fn who_is_not_ours_is_waited_for_and_left_alone() {
    let rig = host(1);
    rig.fake.add_foreign_with_gpus("trainer", &alone(&["GPU-a"]));
    let berth = rig.start();
    put(&berth, "chat", "shop/app:1", "1");
    let why = until_waits(&berth, "chat").await;
    assert!(why.contains("GPU-a held by container trainer"), "{why}");
    tokio::time::sleep(RESYNC * 2).await;
    assert_eq!(rig.count("create", "chat"), 0);
    assert!(rig.fake.remove_foreign("trainer"));
    berth.until_running("chat").await;
    assert_eq!(used(&rig), [on("chat", &["GPU-a"])]);
}

/// Fault U12: what only watches was given every card, as exporters are. It keeps none from apps once
/// the operator names it; by default it does, and what to do is said.
#[tokio::test(start_paused = true)]
async fn who_only_watches_does_not_count_once_it_is_named() {
    let mut rig = host(1);
    let id = rig.fake.add_foreign("dcgm-exporter-1", Vec::new());
    rig.fake.foreign_holds(&id, GpuHold::All);
    rig.files.insert("chat.yaml".to_owned(), text("chat", "shop/app:1", "1"));
    let berth = rig.start();
    let why = until_waits(&berth, "chat").await;
    assert!(why.contains("dcgm-exporter-1 (it was given every GPU") && why.contains("bystanders"));
    berth.kill().await;
    for patterns in [&["dcgm"][..], &["foreign:2*"]] {
        rig.policy.gpu_bystanders = patterns.iter().map(|text| (*text).to_owned()).collect();
        let berth = rig.start();
        until_waits(&berth, "chat").await;
        berth.kill().await;
    }
    rig.policy.gpu_bystanders = vec!["other".to_owned(), "*exporter*".to_owned()];
    // One that another Berth gave a card to holds it, whatever its name is.
    rig.cards.put(inventory(vec![card(0, 24), card(1, 24)]));
    rig.fake.add_foreign_with_gpus("my-exporter", &alone(&["GPU-a"]));
    let berth = rig.start();
    berth.until_running("chat").await;
    assert!(used(&rig).contains(&on("chat", &["GPU-b"])), "{:?}", used(&rig));
    berth.kill().await;
    rig.policy.gpu_bystanders = vec!["foreign:*".to_owned()];
    let berth = rig.start();
    tokio::time::sleep(RESYNC * 2).await;
    assert_eq!(
        (berth.status("chat").unwrap().gpus, rig.count("create", "chat")),
        (vec!["GPU-b".to_owned()], 1)
    );
}

/// Faults U04, U07: a card that is sick keeps who has it, and gets nobody new; a host whose GPUs
/// are not there refuses, and mends as soon as they are.
#[tokio::test(start_paused = true)]
async fn sick_and_absent_cards() {
    let rig = Rig::new();
    let none = Inventory { note: Some("no driver is loaded".to_owned()), ..inventory(vec![]) };
    rig.cards.put(none);
    let berth = rig.start();
    put(&berth, "chat", "shop/app:1", "1");
    let refused = |status: &Status| status.reason == Reason::NoSuchGpu;
    berth.until("it is refused", |record| is(record, "chat", refused)).await;
    let message = berth.status("chat").unwrap().message;
    assert!(message.contains("this host has no GPU (no driver is loaded)"), "{message}");
    let calls = || rig.fake.counts().values().sum::<u64>();
    let before = calls();
    tokio::time::sleep(RESYNC * 10).await;
    // It costs no more than any other steady state.
    assert!(calls() <= before + 2 * 11, "{} calls", calls() - before);
    rig.cards.put(inventory(vec![card(0, 24), card(1, 24)]));
    berth.until_running("chat").await;
    let mut sick = inventory(vec![card(0, 24), card(1, 24)]);
    for gpu in &mut sick.gpus {
        gpu.health.problems.push("it is lost (XID 79)".to_owned());
    }
    rig.cards.put(sick);
    put(&berth, "other", "shop/app:2", "1");
    let why = until_waits(&berth, "other").await;
    assert!(why.contains("GPU-b is not given away: it is lost (XID 79)"), "{why}");
    // What runs stays, and what ended starts again where it was.
    rig.fake.kill(&name("chat"));
    berth.until("it was started again", |_| rig.count("start", "chat") == 2).await;
    berth.until_running("chat").await;
    assert_eq!(used(&rig), [on("chat", &["GPU-a"])]);
    assert_eq!(rig.count("create", "chat"), 1);
}

/// An app that was stopped comes back to another card when its own is taken meanwhile.
#[tokio::test(start_paused = true)]
async fn who_was_away_takes_what_is_free() {
    let rig = host(2);
    let berth = rig.start();
    for app in ["a", "b"] {
        put(&berth, app, "shop/app:1", "1");
        berth.until_running(app).await;
    }
    berth.command(Command::Stop(name("a"))).await.unwrap();
    berth.until("it has stopped", |r| is(r, "a", |s| s.phase == Phase::Paused)).await;
    put(&berth, "c", "shop/app:1", "1");
    berth.until_running("c").await;
    assert_eq!(used(&rig), [on("b", &["GPU-b"]), on("c", &["GPU-a"])]);
    berth.command(Command::Start(name("a"))).await.unwrap();
    until_waits(&berth, "a").await;
    berth.command(Command::Stop(name("b"))).await.unwrap();
    berth.until_running("a").await;
    tokio::time::sleep(RESYNC).await;
    assert_eq!(used(&rig), [on("a", &["GPU-b"]), on("c", &["GPU-a"])]);
    assert_eq!(rig.fake.world().containers_of(&name("a")).len(), 1);
}

/// The more important one is served first, and who builds or waits for others takes no card.
#[tokio::test(start_paused = true)]
async fn the_queue_is_served_in_its_order() {
    let rig = host(1);
    let berth = rig.start();
    put(&berth, "first", "shop/app:1", "1");
    berth.until_running("first").await;
    put(&berth, "plain", "shop/app:1", "1");
    until_waits(&berth, "plain").await;
    put(&berth, "urgent", "shop/app:1", "{count: 1, priority: 50}");
    until_waits(&berth, "urgent").await;
    put(&berth, "dependent", "shop/app:1", "{count: 1, priority: 90}\ndependsOn: [plain]");
    tokio::time::sleep(RESYNC).await;
    let waits = |status: &Status| status.reason == Reason::WaitingForDependency;
    berth.until("it waits for another app", |record| is(record, "dependent", waits)).await;
    berth.manifests.remove("first.yaml");
    berth.until_running("urgent").await;
    let why = until_waits(&berth, "plain").await;
    assert!(why.contains("GPU-a held by app urgent"), "{why}");
    assert_eq!(used(&rig), [on("urgent", &["GPU-a"])]);
}

/// Two that stand still and were made for the same card, when nothing is noted of either: each kept
/// it from the other, for ever.
#[tokio::test(start_paused = true)]
async fn two_that_stand_still_do_not_keep_a_card_from_each_other() {
    let mut rig = host(1);
    let berth = rig.start();
    for app in ["a", "b"] {
        put(&berth, app, "shop/app:1", "1");
        rig.files.insert(format!("{app}.yaml"), text(app, "shop/app:1", "1"));
        berth.until_running(app).await;
        if app == "a" {
            berth.command(Command::Stop(name("a"))).await.unwrap();
            berth.until("it has stopped", |r| is(r, "a", |s| s.phase == Phase::Paused)).await;
        }
    }
    berth.stop().await;
    assert!(rig.fake.kill(&name("b")));
    rig.kept = Kept::default();
    let berth = rig.start();
    berth.until("one of them has the card", |_| used(&rig).len() == 1).await;
    let runs = used(&rig)[0].0.clone();
    let other = if runs == "a" { "b" } else { "a" };
    until_waits(&berth, other).await;
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!(used(&rig), [on(&runs, &["GPU-a"])]);
    // What was made is used, and nothing is made anew.
    assert_eq!(rig.count("create", "a") + rig.count("create", "b"), 2);
    berth.command(Command::Stop(name(&runs))).await.unwrap();
    berth.until_running(other).await;
}
