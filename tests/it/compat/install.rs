//! Registered, installed, running: the states that people of the replaced systems know.

use std::time::Duration;

use berth::{
    engine::fake::{Behaviour, Script},
    model::{ImageRef, Phase, Reason},
    record::{Command, Record},
};

use crate::rig::{Rig, is, manifest, name};

const IMAGE: &str = "far/app:1";

fn rig(script: Script) -> Rig {
    let rig = Rig::new();
    let image = ImageRef::parse(IMAGE).unwrap();
    rig.fake.add_remote(&image, script, Behaviour::default());
    rig
}

/// Whatever is asked, an app passes through the states in order, and each is said when it is so.
#[tokio::test(start_paused = true)]
async fn an_app_is_uninstalled_then_installing_then_installed_and_runs_when_it_is_started() {
    let mut rig = rig(Script::takes(Duration::from_secs(20)));
    let reference = ImageRef::parse(IMAGE).unwrap();
    let text = manifest("chat", reference.as_str(), "suspend: true");
    rig.files.insert("chat.yaml".to_owned(), text);
    let berth = rig.start();
    berth
        .until("it is known", |record| is(record, "chat", |s| s.reason == Reason::Suspended))
        .await;
    assert_eq!(berth.status("chat").unwrap().phase, Phase::Uninstalled);
    assert!(rig.fake.journal().is_empty(), "{:?}", rig.fake.journal());

    berth.command(Command::Install(name("chat"))).await.unwrap();
    berth
        .until("it is pulled", |record| is(record, "chat", |s| s.phase == Phase::Installing))
        .await;
    assert_eq!(berth.status("chat").unwrap().reason, Reason::Pulling);
    berth.until("it is there", |record| is(record, "chat", |s| s.phase == Phase::Installed)).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(berth.status("chat").unwrap().phase, Phase::Installed, "and stays so");
    assert_eq!(rig.fake.journal(), [format!("pull {reference}")]);

    berth.manifests.put("chat.yaml", &manifest("chat", reference.as_str(), ""));
    berth.command(Command::Start(name("chat"))).await.unwrap();
    berth.until_running("chat").await;
    berth.command(Command::Install(name("chat"))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(berth.status("chat").unwrap().phase, Phase::Running, "what runs is installed");
    berth.command(Command::Stop(name("chat"))).await.unwrap();
    berth.until("it is stopped", |record| is(record, "chat", |s| s.phase == Phase::Paused)).await;
    berth.stop().await;
}

/// It is asked for once, and done although Berth ends meanwhile.
#[tokio::test(start_paused = true)]
async fn an_installation_is_gone_on_with_after_a_restart_of_berth() {
    let mut rig = rig(Script::takes(Duration::from_secs(20)));
    let text = manifest("chat", ImageRef::parse(IMAGE).unwrap().as_str(), "");
    let berth = rig.start();
    berth.manifests.put("chat.yaml", &text);
    berth
        .until("it is pulled", |record| is(record, "chat", |s| s.phase == Phase::Installing))
        .await;
    berth.command(Command::Install(name("chat"))).await.unwrap();
    let kept = berth.ledger.kept();
    berth.kill().await;
    rig.kept = kept;
    rig.files.insert("chat.yaml".to_owned(), text);
    let berth = rig.start();
    berth.until("it is there", |record| is(record, "chat", |s| s.phase == Phase::Installed)).await;
    assert!(rig.count("create", "chat") == 0, "{:?}", rig.fake.journal());
    berth.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_installation_that_fails_says_why() {
    let mut rig = rig(Script::fails("manifest unknown"));
    let text = manifest("chat", ImageRef::parse(IMAGE).unwrap().as_str(), "suspend: true");
    rig.files.insert("chat.yaml".to_owned(), text);
    let berth = rig.start();
    berth
        .until("it is known", |record| is(record, "chat", |s| s.reason == Reason::Suspended))
        .await;
    berth.command(Command::Install(name("chat"))).await.unwrap();
    berth
        .until("it failed", |record| is(record, "chat", |s| s.message.contains("manifest unknown")))
        .await;
    assert_ne!(berth.status("chat").unwrap().phase, Phase::Installed);
    berth.command(Command::Start(name("chat"))).await.unwrap();
    berth.until("it rests", |record| is(record, "chat", |s| s.reason == Reason::Suspended)).await;
    assert_eq!(
        berth.status("chat").unwrap().phase,
        Phase::Uninstalled,
        "and nothing more is tried"
    );
    berth.stop().await;
}

/// What went wrong is told when it does, and not once more when the status says so.
#[tokio::test(start_paused = true)]
async fn one_failure_is_one_event() {
    let mut rig = rig(Script::fails("manifest unknown"));
    let text = manifest("chat", ImageRef::parse(IMAGE).unwrap().as_str(), "");
    rig.files.insert("chat.yaml".to_owned(), text);
    let berth = rig.start();
    let told = |record: &Record| {
        let events = record.events(Some(&name("chat")));
        let failed = |reason| events.iter().filter(|event| event.reason == reason).count();
        let mut failures = events.iter().filter(|event| event.reason == Reason::PullFailed);
        assert!(failures.all(|event| event.is_warning), "{events:?}");
        (failed(Reason::Pulling), failed(Reason::PullFailed))
    };
    for attempts in 1..=3 {
        berth
            .until("it failed once more", |record| {
                told(record).1 == attempts
                    && is(record, "chat", |status| status.reason == Reason::PullFailed)
            })
            .await;
        assert_eq!(told(&berth.record), (attempts, attempts));
        let status = berth.status("chat").unwrap();
        assert!(status.message.contains("manifest unknown"), "{status:?}");
    }
    berth.stop().await;
}
