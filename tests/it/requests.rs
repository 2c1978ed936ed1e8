//! What a person asks for while Berth is at it: it is neither forgotten nor done for ever.

use std::{sync::Arc, time::Duration};

use berth::{
    engine::fault::{Fault, Faulty},
    record::Command,
};

use crate::rig::{Berth, RESYNC, Rig, name};

/// A call takes so long: others come in meanwhile.
const SLOW: Duration = Duration::from_secs(5);

/// An app that runs on an engine that is slow at one call.
async fn slow_at(rig: &Rig, kind: &'static str, nth: u64) -> (Arc<Faulty>, Berth) {
    let inner = Arc::new(rig.fake.clone());
    let engine = Arc::new(Faulty::at_kind(inner, kind, nth, Fault::Delay(SLOW)));
    let berth = rig.start_on(Arc::clone(&engine) as _);
    berth.until_running("chat").await;
    (engine, berth)
}

fn made(engine: &Faulty, kind: &str) -> u64 {
    engine.counts().get(kind).copied().unwrap_or_default()
}

/// Nothing is left to be done, and nothing more is.
async fn rests(rig: &Rig, berth: &Berth) {
    let is_answered = || berth.ledger.facts(&name("chat")).unwrap().request.is_none();
    berth.until("nothing is asked for any more", |_| is_answered()).await;
    berth.until_running("chat").await;
    let before = rig.fake.journal();
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!(rig.fake.journal(), before);
}

/// Who asks when the program has been stopped wants the one that comes up now to be ended, too: it
/// may have read what was there before.
#[tokio::test(start_paused = true)]
async fn a_restart_that_is_asked_for_during_another_is_done_as_well() {
    for kind in ["stop", "start"] {
        let rig = Rig::new().has("chat", "shop/app:1");
        let begun = u64::from(kind == "start");
        let (engine, berth) = slow_at(&rig, kind, begun).await;
        berth.command(Command::Restart(name("chat"))).await.unwrap();
        berth.until("it is under way", |_| begun < made(&engine, kind)).await;
        berth.command(Command::Restart(name("chat"))).await.unwrap();
        berth.until("it was restarted again", |_| rig.count("stop", "chat") == 2).await;
        rests(&rig, &berth).await;
        assert_eq!((rig.count("stop", "chat"), rig.count("start", "chat")), (2, 3), "{kind}");
        berth.kill().await;
    }
}

/// Asked for twice before Berth comes to it, it is one.
#[tokio::test(start_paused = true)]
async fn restarts_that_are_asked_for_at_once_are_one() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    let all = [(); 3].map(|()| berth.command(Command::Restart(name("chat"))));
    for answer in futures_util::future::join_all(all).await {
        answer.unwrap();
    }
    berth.until("it was restarted", |_| rig.count("start", "chat") == 2).await;
    rests(&rig, &berth).await;
    assert_eq!((rig.count("stop", "chat"), rig.count("start", "chat")), (1, 2));
}

/// Killed while the second is asked for, it is done after that; a kill makes no more of them.
#[tokio::test(start_paused = true)]
async fn a_restart_that_is_asked_for_during_another_outlives_a_kill() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    let (engine, berth) = slow_at(&rig, "start", 1).await;
    berth.command(Command::Restart(name("chat"))).await.unwrap();
    berth.until("it is under way", |_| 1 < made(&engine, "start")).await;
    berth.command(Command::Restart(name("chat"))).await.unwrap();
    rig.kept = berth.ledger.kept();
    berth.kill().await;
    let berth = rig.start();
    berth.until("it runs again", |_| 2 <= rig.count("start", "chat")).await;
    rests(&rig, &berth).await;
    assert!((2..=3).contains(&rig.count("start", "chat")), "{:?}", rig.fake.journal());
}
