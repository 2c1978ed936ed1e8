//! A new version has until its deadline, and what ran is there again afterwards.

use tokio::time::Instant;

use super::*;

/// The ids of the containers of chat that run.
fn running(rig: &Rig) -> Vec<ContainerId> {
    let world = rig.fake.world();
    let mine = world.containers_of(&name("chat"));
    let up = mine.into_iter().filter(|container| container.state == ContainerState::Running);
    up.map(|container| container.id.clone()).collect()
}

/// Waits until version 2 was given up, and sees to it that it stays so: version 1 runs in the very
/// container that it had.
async fn must_be_given_up(rig: &Rig, berth: &Berth, (kept, within): (&ContainerId, &str)) {
    berth.until("it is given up", |r| is(r, "chat", |s| s.reason == Reason::RolledBack)).await;
    berth.until("what ran runs again, alone", |_| running(rig) == [kept.clone()]).await;
    let status = berth.status("chat").unwrap();
    assert_eq!((status.phase, status.image.as_deref()), (Phase::Degraded, Some("shop/app:1")));
    let said = format!("the health check did not pass within {within}: ");
    assert!(status.message.contains(&said), "{}", status.message);
    assert!(status.message.contains("berth reconcile chat"), "{}", status.message);
    let last = history(berth).pop().unwrap();
    assert_eq!(last, (2, "shop/app:2".to_owned(), Restored, Asked::Manifest));
    let before = rig.fake.journal();
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(rig.fake.journal(), before, "the same version is not tried again");
    assert_eq!(running(rig), std::slice::from_ref(kept));
}

/// Faults D25, D33: what counts is `rollout.deadline`, be it longer or shorter than the start
/// period. Where both fit, what ran never stops.
#[tokio::test(start_paused = true)]
async fn what_is_not_ready_by_its_deadline_gives_way_to_what_ran() {
    for (deadline, within, seconds, port, stops) in [
        ("90s", "1m30s", 90, "port: 5000", 1),
        ("10s", "10s", 10, "port: 5000", 1),
        ("90s", "1m30s", 90, "dependsOn: []", 0),
    ] {
        let rig = Rig::new();
        rig.fake.add_image("shop/app:2", Behaviour::never_healthy());
        let text =
            |image: &str, rest: &str| manifest("chat", image, rest).replace("port: 5000", port);
        let berth = rig.start();
        berth.manifests.put(CHAT, &text("shop/app:1", ""));
        until_runs(&berth, "shop/app:1").await;
        let [kept] = running(&rig).try_into().unwrap();
        let begin = Instant::now();
        let new = text("shop/app:2", &format!("rollout: {{deadline: {deadline}}}"));
        berth.manifests.put(CHAT, &new);
        let is_tried = |r: &Record| is(r, "chat", |s| s.reason == Reason::Probing);
        berth.until("it is tried", is_tried).await;
        let said = berth.status("chat").unwrap().message;
        assert!(said.contains("has not passed yet") && said.ends_with(" left"), "{said}");
        must_be_given_up(&rig, &berth, (&kept, within)).await;
        let took = begin.elapsed().saturating_sub(Duration::from_hours(1));
        let range = Duration::from_secs(seconds)..Duration::from_secs(seconds + 10);
        assert!(range.contains(&took), "{deadline} {port}: {took:?}");
        // The old one, where it had to make room, and the new one.
        assert_eq!(rig.count("stop", "chat"), stops + 1, "{:?}", rig.fake.journal());
    }
}

/// A deadline that runs out while Berth is away is no reason to give up unseen: it looks once, and
/// then restores what ran.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_berth_is_away_is_kept_by_the_next_one() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.add_image("shop/app:2", Behaviour::never_healthy());
    let berth = rig.start();
    until_runs(&berth, "shop/app:1").await;
    let [kept] = running(&rig).try_into().unwrap();
    edit(&berth, "shop/app:2", "rollout: {deadline: 5m}");
    berth.until("it is tried", |r| is(r, "chat", |s| s.reason == Reason::Probing)).await;
    let new = manifest("chat", "shop/app:2", "rollout: {deadline: 5m}");
    rig.kept = berth.ledger.kept();
    berth.kill().await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_ne!(running(&rig), std::slice::from_ref(&kept));
    rig.files.insert(CHAT.to_owned(), new);
    let berth = rig.start();
    must_be_given_up(&rig, &berth, (&kept, "5m")).await;
}
