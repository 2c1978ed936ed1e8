//! The whole controller on an engine in memory: edits, hands on the engine, outages.

use std::{sync::Arc, time::Duration};

use berth::{
    engine::{
        fake::Behaviour,
        fault::{Fault, Faulty},
    },
    model::{Phase, Reason},
    record::Command,
    status::Status,
};

use crate::rig::{RESYNC, Rig, is, manifest, name};

#[tokio::test(start_paused = true)]
async fn a_manifest_becomes_a_running_app_with_a_url() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    let status = berth.status("chat").unwrap();
    assert_eq!(status.url.as_deref(), Some("http://127.0.0.1:28001/"));
    assert_eq!(status.reason, Reason::Healthy);
    assert_eq!(rig.count("create", "chat"), 1);
    assert_eq!(rig.count("start", "chat"), 1);
}

/// Fault D33: what never becomes healthy has failed, some time.
#[tokio::test(start_paused = true)]
async fn running_is_said_only_once_the_health_check_has_passed() {
    let rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.add_image("shop/app:1", Behaviour::never_healthy());
    let berth = rig.start();
    berth.until("it is probed", |r| is(r, "chat", |s| s.reason == Reason::Probing)).await;
    assert_eq!(berth.status("chat").unwrap().url, None);
    berth.until("it fails", |r| is(r, "chat", |s| s.reason == Reason::ProbeDeadline)).await;
    assert_eq!(berth.status("chat").unwrap().url, None);
}

/// An engine that takes its time must not make it look as if all were well.
#[tokio::test(start_paused = true)]
async fn what_does_not_run_is_not_said_to_while_it_is_started_again() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let slow = Fault::Delay(Duration::from_secs(30));
    let engine = Faulty::at_kind(Arc::new(rig.fake.clone()), "start", 1, slow);
    let berth = rig.start_on(Arc::new(engine));
    berth.until_running("chat").await;
    assert!(rig.fake.kill(&name("chat")));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let status = berth.status("chat").unwrap();
    assert_eq!(status.reason, Reason::Starting, "{status:?}");
    assert!(status.phase != Phase::Running && status.url.is_none(), "{status:?}");
    berth.until_running("chat").await;
    assert_eq!(rig.count("start", "chat"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_edit_replaces_and_removes_the_old_one_after_the_check() {
    let rig = Rig::new().has("chat", "shop/app:1").has("other", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    berth.until_running("other").await;
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:2", ""));
    berth
        .until("version 2 runs", |r| {
            is(r, "chat", |s| s.phase == Phase::Running && s.image.as_deref() == Some("shop/app:2"))
        })
        .await;
    berth.until("the old one is gone", |_| rig.count("remove", "chat") == 1).await;
    assert_eq!(rig.count("create", "other"), 1);
    assert_eq!(rig.count("stop", "other"), 0);
    assert_eq!(berth.status("chat").unwrap().observed_generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_bad_version_is_rolled_back_and_not_tried_again() {
    let rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.add_image("shop/app:2", Behaviour::never_healthy());
    let berth = rig.start();
    berth.until_running("chat").await;
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:2", ""));
    berth.until("it is rolled back", |r| is(r, "chat", |s| s.reason == Reason::RolledBack)).await;
    let status = berth.status("chat").unwrap();
    assert_eq!(status.image.as_deref(), Some("shop/app:1"));
    assert_eq!(status.phase, Phase::Degraded);
    let creates = rig.count("create", "chat");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(rig.count("create", "chat"), creates);
    assert_eq!(rig.count("start", "chat"), 3, "{:?}", rig.fake.journal());
}

#[tokio::test(start_paused = true)]
async fn a_crashing_version_is_rolled_back_long_before_its_deadline() {
    let rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.add_image("shop/app:2", Behaviour::exits(3));
    let berth = rig.start();
    berth.until_running("chat").await;
    let slow = manifest("chat", "shop/app:2", "rollout: {deadline: 1h}");
    let begin = tokio::time::Instant::now();
    berth.manifests.put("chat.yaml", &slow);
    berth.until("it is rolled back", |r| is(r, "chat", |s| s.reason == Reason::RolledBack)).await;
    assert!(berth.status("chat").unwrap().message.contains("exits with code 3"));
    assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_a_hand_kills_or_removes_comes_back_at_once() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    for hand in [0, 1] {
        let begin = tokio::time::Instant::now();
        if hand == 0 {
            assert!(rig.fake.kill(&name("chat")));
        } else {
            assert!(rig.fake.remove_by_hand(&name("chat")));
        }
        berth.until("it is started", |_| rig.count("start", "chat") == 2 + hand).await;
        berth.until_running("chat").await;
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    }
}

/// Fault D12: no event arrives at all.
#[tokio::test(start_paused = true)]
async fn without_any_event_it_is_mended_within_one_resync() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    rig.fake.lose_events(true);
    let begin = tokio::time::Instant::now();
    assert!(rig.fake.remove_by_hand(&name("chat")));
    berth.until("it is made again", |_| rig.count("create", "chat") == 2).await;
    assert!(begin.elapsed() <= RESYNC + Duration::from_secs(1), "{:?}", begin.elapsed());
}

/// Fault D12: neither an event nor a health check tells.
#[tokio::test(start_paused = true)]
async fn an_app_that_nobody_checks_is_mended_within_one_resync() {
    let mut rig = Rig::new();
    let text = manifest("chat", "shop/app:1", "");
    let (before, after) = text.split_once("health: {").unwrap();
    let (_, after) = after.split_once('}').unwrap();
    rig.files.insert("chat.yaml".to_owned(), format!("{before}health: none{after}"));
    let berth = rig.start();
    berth.until_running("chat").await;
    rig.fake.lose_events(true);
    let begin = tokio::time::Instant::now();
    assert!(rig.fake.remove_by_hand(&name("chat")));
    berth.until("it is made again", |_| rig.count("create", "chat") == 2).await;
    assert!(begin.elapsed() <= RESYNC + Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_removed_manifest_removes_the_app_and_keeps_its_data() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    let data = rig.folder.path().join("workspaces/chat/data");
    std::fs::write(data.join("precious"), "yes").unwrap();
    berth.manifests.remove("chat.yaml");
    berth.until_gone("chat").await;
    assert_eq!(rig.count("remove", "chat"), 1);
    assert_eq!(std::fs::read_to_string(data.join("precious")).unwrap(), "yes");
}

/// Fault D14, D35: an engine that does not answer is not an engine without containers.
#[tokio::test(start_paused = true)]
async fn while_the_engine_is_away_nothing_is_claimed_and_nothing_is_done() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    let before = rig.fake.journal().len();
    rig.fake.set_down(true);
    berth.until("it is unknown", |r| is(r, "chat", |s| s.phase == Phase::Unknown)).await;
    assert_eq!(berth.status("chat").unwrap().url, None);
    tokio::time::sleep(Duration::from_secs(600)).await;
    rig.fake.set_down(false);
    berth.until_running("chat").await;
    assert_eq!(rig.fake.journal().len(), before);
}

/// Faults D48, T01, T07: another engine behind the same address gets nothing done to it, and nor
/// does this one with another host's state.
#[tokio::test(start_paused = true)]
async fn another_engine_behind_the_same_address_is_left_alone() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    rig.kept = berth.stop().await;
    assert!(rig.kept.engine_id.is_some());
    rig.fake.replace_engine();
    rig.fake.add_image("shop/app:1", Behaviour::default());
    let before = rig.fake.journal().len();
    let berth = rig.start();
    let is_said = |status: &Status| status.message.contains("another engine answers");
    berth.until("it is said", |r| is(r, "chat", is_said)).await;
    tokio::time::sleep(RESYNC * 4).await;
    assert_eq!(rig.fake.journal().len(), before, "{:?}", rig.fake.journal());
    assert!(berth.status("chat").is_some_and(|status| is_said(&status)));
    drop(berth);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_app_stays_stopped_over_a_restart_of_berth() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    berth.command(Command::Stop(name("chat"))).await.unwrap();
    berth.until("it is paused", |r| is(r, "chat", |s| s.phase == Phase::Paused)).await;
    rig.kept = berth.stop().await;
    let berth = rig.start();
    berth.until("it is still paused", |r| is(r, "chat", |s| s.phase == Phase::Paused)).await;
    tokio::time::sleep(RESYNC * 2).await;
    assert_eq!(rig.count("start", "chat"), 1);
    berth.command(Command::Start(name("chat"))).await.unwrap();
    berth.until_running("chat").await;
}

/// Fault T09: its end ends nothing.
#[tokio::test(start_paused = true)]
async fn a_restart_of_berth_changes_nothing_with_or_without_its_state() {
    let mut rig = Rig::new().has("a", "shop/app:1").has("b", "shop/app:2");
    let berth = rig.start();
    berth.until_running("a").await;
    berth.until_running("b").await;
    let before = rig.fake.journal();
    let kept = berth.stop().await;
    for state in [kept, berth::record::file::Kept::default()] {
        rig.kept = state;
        let berth = rig.start();
        berth.until_running("a").await;
        berth.until_running("b").await;
        tokio::time::sleep(RESYNC * 2).await;
        assert_eq!(rig.fake.journal(), before);
        berth.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_berth_that_was_killed_starts_again_and_changes_nothing() {
    let rig = Rig::new().has("a", "shop/app:1");
    let berth = rig.start();
    berth.until_running("a").await;
    let before = rig.fake.journal();
    berth.kill().await;
    let berth = rig.start();
    berth.until_running("a").await;
    tokio::time::sleep(RESYNC * 2).await;
    assert_eq!(rig.fake.journal(), before);
    berth.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_asked_restart_happens_once() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    berth.command(Command::Restart(name("chat"))).await.unwrap();
    berth.until("it was stopped", |_| rig.count("stop", "chat") == 1).await;
    berth.until_running("chat").await;
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!(rig.count("start", "chat"), 2);
}

/// Faults P01, P02: a port that somebody takes between the look and the start.
#[tokio::test(start_paused = true)]
async fn an_automatic_port_moves_when_the_engine_says_that_it_is_taken() {
    let rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.take_port((berth::model::Protocol::Tcp, 28_001));
    let berth = rig.start();
    berth.until_running("chat").await;
    assert_eq!(berth.status("chat").unwrap().ports[0].host_port, 28_002);
}

/// Fault T06: one app that can't be had does not delay another.
#[tokio::test(start_paused = true)]
async fn an_app_in_trouble_does_not_delay_the_others() {
    let rig = Rig::new().has("bad", "shop/none:1").has("good", "shop/app:1");
    let berth = rig.start();
    let begin = tokio::time::Instant::now();
    berth.until_running("good").await;
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    berth.until("bad says why", |r| is(r, "bad", |s| s.reason == Reason::PullFailed)).await;
}

#[tokio::test(start_paused = true)]
async fn a_steady_state_costs_two_reads_a_resync_and_changes_nothing() {
    let mut rig = Rig::new();
    for number in 0..40 {
        rig = rig.has(&format!("app-{number}"), "shop/app:1");
    }
    let berth = rig.start();
    for number in 0..40 {
        berth.until_running(&format!("app-{number}")).await;
    }
    tokio::time::sleep(RESYNC).await;
    let (before, journal) = (rig.fake.counts(), rig.fake.journal());
    tokio::time::sleep(RESYNC * 10).await;
    let after = rig.fake.counts();
    let cost = |kind: &str| {
        let of = |counts: &berth::engine::CallCounts| counts.get(kind).copied().unwrap_or(0);
        of(&after) - of(&before)
    };
    assert_eq!(rig.fake.journal(), journal);
    assert!(cost("observe") <= 11, "{} observations in ten resyncs", cost("observe"));
    assert_eq!(cost("inspect"), 0);
}

/// Whoever follows the figures of all containers sees a new one of somebody else's soon; where
/// nobody does, it costs nothing.
#[tokio::test(start_paused = true)]
async fn who_follows_figures_sees_containers_of_others_soon() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    let looks = || rig.fake.counts().get("observe").copied().unwrap_or(0);
    let is_seen =
        |name: &str| berth.record.world().containers.iter().any(|there| there.name == name);
    let usual = looks();
    while looks() == usual {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The next usual look is far away.
    tokio::time::sleep(RESYNC / 3).await;
    let before = looks();
    rig.fake.add_foreign("unasked", Vec::new());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((looks(), is_seen("unasked")), (before, false));
    berth.record.ask_figures(rig.clock.now());
    rig.fake.add_foreign("asked", Vec::new());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(is_seen("asked") && is_seen("unasked"));
    assert_eq!(looks(), before + 1);
}
