//! The clock is set by an hour, forward or back: Berth's own, never the machine's. The engine's
//! stays as it is, so that from then on the two also differ.

use std::time::Duration;

use berth::{
    clock::Clock,
    engine::fake::{Behaviour, Script},
    model::{ImageRef, Phase, Reason, Timestamp},
};
use tokio::time::Instant;

use crate::rig::{Berth, RESYNC, Rig, is, manifest};

const HOUR: i64 = 3_600_000;
const BOTH: [i64; 2] = [HOUR, -HOUR];
/// What a slow version takes until it answers; its deadline is 30 s.
const WARM_UP: Duration = Duration::from_secs(20);

/// A rig whose Berth has a clock of its own, with a version that takes long to answer.
fn rig() -> Rig {
    let mut rig = Rig::new();
    rig.clock = Clock::runtime(Timestamp::from_millis(1_800_000_000_000));
    rig.fake.add_image("shop/slow:1", Behaviour { warm_up: WARM_UP, ..Behaviour::default() });
    rig
}

async fn until_phase(berth: &Berth, app: &str, phase: Phase) {
    berth.until("its phase", |record| is(record, app, |status| status.phase == phase)).await;
}

/// Nothing of an app was given up or found dead.
fn must_be_unharmed(rig: &Rig, berth: &Berth, app: &str, starts: usize) {
    let told: Vec<_> = berth.record.events(None).iter().map(|event| event.reason).collect();
    for reason in [Reason::ProbeDeadline, Reason::RolledBack, Reason::CrashLoop] {
        assert!(!told.contains(&reason), "{told:?}");
    }
    assert_eq!(rig.count("start", app), starts);
}

/// Fault D47.
#[tokio::test(start_paused = true)]
async fn what_runs_goes_on_when_the_clock_is_set() {
    for by in BOTH {
        let rig = rig().has("chat", "shop/app:1").has("slow", "shop/slow:1");
        let berth = rig.start();
        berth.until_running("chat").await;
        berth.until_running("slow").await;
        let before = rig.fake.journal();
        for _ in 0..3 {
            rig.clock.set_forward(by);
            let mut looks = tokio::time::interval(Duration::from_millis(100));
            let until = Instant::now() + 3 * RESYNC;
            while Instant::now() < until {
                looks.tick().await;
                let runs = |app: &&str| berth.status(app).unwrap().phase == Phase::Running;
                assert!(["chat", "slow"].iter().all(runs), "{by}");
            }
        }
        assert_eq!(rig.fake.journal(), before, "{by}");
        berth.stop().await;
    }
}

/// Fault D47: neither is its deadline passed at once, nor is it never.
#[tokio::test(start_paused = true)]
async fn what_starts_has_its_time_when_the_clock_is_set() {
    for by in BOTH {
        let rig = rig().has("slow", "shop/slow:1");
        let berth = rig.start();
        until_phase(&berth, "slow", Phase::Installing).await;
        tokio::time::sleep(WARM_UP / 2).await;
        rig.clock.set_forward(by);
        berth.until_running("slow").await;
        must_be_unharmed(&rig, &berth, "slow", 1);
        berth.stop().await;
    }
}

/// Fault D47: the engine says that it was started an hour ago, or will be in an hour.
#[tokio::test(start_paused = true)]
async fn a_new_version_has_its_time_after_the_clock_was_set() {
    for by in BOTH {
        let rig = rig().has("shop", "shop/app:1");
        let berth = rig.start();
        berth.until_running("shop").await;
        rig.clock.set_forward(by);
        tokio::time::sleep(RESYNC).await;
        berth.manifests.put("shop.yaml", &manifest("shop", "shop/slow:1", ""));
        let is_new = |status: &berth::status::Status| {
            status.phase == Phase::Running && status.image.as_deref() == Some("shop/slow:1")
        };
        berth.until("the new version runs", |record| is(record, "shop", is_new)).await;
        must_be_unharmed(&rig, &berth, "shop", 2);
        // One that never answers is given up when its time is over, no later.
        rig.fake.add_image("shop/never:1", Behaviour::never_healthy());
        let start = Instant::now();
        berth.manifests.put("shop.yaml", &manifest("shop", "shop/never:1", ""));
        let is_back = |status: &berth::status::Status| status.reason == Reason::RolledBack;
        berth.until("it is given up", |record| is(record, "shop", is_back)).await;
        let took = start.elapsed();
        assert!((Duration::from_secs(30)..Duration::from_secs(60)).contains(&took), "{took:?}");
        berth.stop().await;
    }
}

/// Fault D47: a pause is as long as before.
#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_in_time_when_the_clock_is_set() {
    for by in BOTH {
        let rig = rig().has("late", "shop/late:1");
        let berth = rig.start();
        let is_failed = |status: &berth::status::Status| status.reason == Reason::PullFailed;
        berth.until("its pull has failed", |record| is(record, "late", is_failed)).await;
        let image = ImageRef::parse("shop/late:1").unwrap();
        let pull = Script::takes(Duration::from_secs(1));
        rig.fake.add_remote(&image, pull, Behaviour::default());
        rig.clock.set_forward(by);
        let start = Instant::now();
        berth.until_running("late").await;
        assert!(start.elapsed() < Duration::from_mins(2), "{:?}", start.elapsed());
        berth.stop().await;
    }
}
