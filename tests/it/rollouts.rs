//! Revisions on an engine in memory: their history, downtime, and the way back, across restarts,
//! edits and what is lost.

use std::time::Duration;

use berth::{
    engine::fake::Behaviour,
    model::{Phase, Reason},
    record::{Command, CommandError, Record, file::Kept},
    state::{Asked, ContainerId, ContainerState, RevisionOutcome},
    status::Status,
};

use crate::rig::{Berth, RESYNC, Rig, is, manifest, name};

mod commits;
mod deadline;
mod front;
mod measured;
mod pinned;

const CHAT: &str = "chat.yaml";

/// The image with which the app runs, once nothing is on its way.
async fn until_runs(berth: &Berth, image: &str) {
    let what = format!("chat runs {image} alone");
    berth
        .until(&what, |record| {
            record.entry(&name("chat")).is_some_and(|entry| {
                let status = &entry.status;
                status.phase == Phase::Running
                    && status.image.as_deref() == Some(image)
                    && entry.plan.is_empty()
                    && entry.plan.waits.is_empty()
            })
        })
        .await;
}

fn edit(berth: &Berth, image: &str, rest: &str) {
    berth.manifests.put(CHAT, &manifest("chat", image, rest));
}

/// Number, image, outcome and who asked of each revision.
fn history(berth: &Berth) -> Vec<(u64, String, RevisionOutcome, Asked)> {
    let entry = berth.record.entry(&name("chat")).unwrap();
    let rows = entry.past.iter().map(|past| &past.revision);
    rows.map(|row| (row.number, row.image.clone(), row.outcome, row.by)).collect()
}

fn held(status: &Status) -> Option<u64> {
    status.rollout.as_ref()?.held.as_ref().map(|held| held.revision)
}

fn downtime(berth: &Berth) -> Option<u64> {
    berth.status("chat").unwrap().rollout.unwrap().downtime_ms
}

async fn undo(berth: &Berth, revision: Option<u64>) -> Result<String, CommandError> {
    berth.command(Command::Undo(name("chat"), revision)).await
}

/// A Berth on which version 1 ran and version 2 runs.
async fn second(rig: &Rig) -> Berth {
    let berth = rig.start();
    until_runs(&berth, "shop/app:1").await;
    edit(&berth, "shop/app:2", "env: {COLOUR: blue}");
    until_runs(&berth, "shop/app:2").await;
    berth
}

use RevisionOutcome::{Restored, Succeeded, Superseded, Unknown};

#[tokio::test(start_paused = true)]
async fn each_rollout_is_a_revision_with_its_downtime() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = second(&rig).await;
    assert_eq!(
        history(&berth),
        [
            (1, "shop/app:1".to_owned(), Succeeded, Asked::Manifest),
            (2, "shop/app:2".to_owned(), Succeeded, Asked::Manifest),
        ]
    );
    // Both publish one port: the old one stopped first, and the checks begin at once.
    let down = downtime(&berth).expect("the downtime is known");
    assert!(down < 5_000, "{down} ms");
    // The first one took nobody's place.
    let entry = berth.record.entry(&name("chat")).unwrap();
    assert_eq!(entry.past[0].revision.downtime_ms, None);
    assert_eq!(entry.past[0].revision.order, None);
    // Another check is no other version.
    edit(&berth, "shop/app:2", "env: {COLOUR: blue}\nrollout: {deadline: 5m}");
    tokio::time::sleep(RESYNC * 2).await;
    assert_eq!(history(&berth).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_takes_long_is_down_for_that_long_and_start_first_for_none() {
    let warm_up = Duration::from_secs(7);
    for (port, expected) in [("port: 5000", 7_000..9_000), ("dependsOn: []", 0..1)] {
        let rig = Rig::new();
        rig.fake.add_image("shop/slow:1", Behaviour { warm_up, ..Behaviour::default() });
        let text = |image: &str| manifest("chat", image, "").replace("port: 5000", port);
        let berth = rig.start();
        berth.manifests.put(CHAT, &text("shop/app:1"));
        until_runs(&berth, "shop/app:1").await;
        berth.manifests.put(CHAT, &text("shop/slow:1"));
        until_runs(&berth, "shop/slow:1").await;
        let down = downtime(&berth).expect("the downtime is known");
        assert!(expected.contains(&down), "{port}: {down} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_fails_is_remembered_as_restored_with_its_downtime() {
    let rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.add_image("shop/app:2", Behaviour::never_healthy());
    let berth = rig.start();
    until_runs(&berth, "shop/app:1").await;
    edit(&berth, "shop/app:2", "");
    berth.until("it is restored", |_| history(&berth).last().unwrap().2 == Restored).await;
    let status = berth.status("chat").unwrap();
    let rollout = status.rollout.unwrap();
    // The start period is 30 s.
    let down = rollout.downtime_ms.expect("the downtime is known");
    assert!((30_000..40_000).contains(&down), "{down} ms");
    assert!(rollout.message.unwrap().contains("did not pass within 30s"));
    // Going back to what runs already only makes the trouble go away.
    undo(&berth, None).await.unwrap();
    until_runs(&berth, "shop/app:1").await;
    assert_eq!(held(&berth.status("chat").unwrap()), Some(1));
    assert_eq!(rig.count("create", "chat"), 2);
    assert_eq!(history(&berth).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn undo_runs_the_earlier_image_and_shape_until_the_manifest_changes() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = second(&rig).await;
    let told = undo(&berth, None).await.unwrap();
    assert!(told.contains("going back to revision 1"), "{told}");
    until_runs(&berth, "shop/app:1").await;
    let status = berth.status("chat").unwrap();
    assert_eq!(held(&status), Some(1));
    assert!(status.message.contains("held at revision 1 by `berth rollout undo`"), "{status:?}");
    let rows = history(&berth);
    assert_eq!(rows[2], (3, "shop/app:1".to_owned(), Succeeded, Asked::Undo));
    // It stays so, and the manifest is what it was.
    tokio::time::sleep(RESYNC * 20).await;
    until_runs(&berth, "shop/app:1").await;
    let entry = berth.record.entry(&name("chat")).unwrap();
    assert_eq!(entry.app.as_ref().unwrap().spec.env.len(), 1);
    // There is nothing before it.
    let error = undo(&berth, None).await.unwrap_err();
    assert!(matches!(error, CommandError::Undo { code: "rollout.nothing-to-undo", .. }), "{error}");
    // Any change of the manifest ends it.
    edit(&berth, "shop/app:3", "");
    until_runs(&berth, "shop/app:3").await;
    assert_eq!(held(&berth.status("chat").unwrap()), None);
    let events = berth.record.events(Some(&name("chat")));
    let ends = events.iter().filter(|event| event.message.contains("no longer held")).count();
    assert_eq!(ends, 1);
    assert_eq!(history(&berth).last().unwrap().3, Asked::Manifest);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_makes_no_other_container_ends_the_hold_as_well() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = second(&rig).await;
    undo(&berth, None).await.unwrap();
    until_runs(&berth, "shop/app:1").await;
    edit(&berth, "shop/app:2", "env: {COLOUR: blue}\nrollout: {deadline: 5m}");
    until_runs(&berth, "shop/app:2").await;
    assert_eq!(held(&berth.status("chat").unwrap()), None);
}

#[tokio::test(start_paused = true)]
async fn the_revision_of_the_manifest_ends_the_hold() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = second(&rig).await;
    undo(&berth, Some(1)).await.unwrap();
    until_runs(&berth, "shop/app:1").await;
    let told = undo(&berth, Some(2)).await.unwrap();
    assert!(told.contains("no longer held"), "{told}");
    until_runs(&berth, "shop/app:2").await;
    assert_eq!(held(&berth.status("chat").unwrap()), None);
    let error = undo(&berth, Some(4)).await.unwrap_err();
    assert!(matches!(error, CommandError::Undo { code: "rollout.nothing-to-undo", .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn undo_outlives_restarts_and_kills() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    let berth = second(&rig).await;
    rig.files.insert(CHAT.to_owned(), manifest("chat", "shop/app:2", "env: {COLOUR: blue}"));
    undo(&berth, None).await.unwrap();
    // Killed before it did anything about it.
    rig.kept = berth.ledger.kept();
    berth.kill().await;
    let berth = rig.start();
    until_runs(&berth, "shop/app:1").await;
    assert_eq!(held(&berth.status("chat").unwrap()), Some(1));
    let journal = rig.fake.journal();
    let mut berth = berth;
    for _ in 0..2 {
        rig.kept = berth.stop().await;
        berth = rig.start();
        until_runs(&berth, "shop/app:1").await;
        tokio::time::sleep(RESYNC * 2).await;
        assert_eq!(rig.fake.journal(), journal, "nothing was done");
        assert_eq!(held(&berth.status("chat").unwrap()), Some(1));
    }
}

/// Fault T01: what is lost is the hold, never what runs or is kept.
#[tokio::test(start_paused = true)]
async fn a_lost_record_is_made_anew_from_what_is_there() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    let berth = second(&rig).await;
    rig.files.insert(CHAT.to_owned(), manifest("chat", "shop/app:2", "env: {COLOUR: blue}"));
    let journal = rig.fake.journal();
    berth.stop().await;
    rig.kept = Kept::default();
    let berth = rig.start();
    until_runs(&berth, "shop/app:2").await;
    tokio::time::sleep(RESYNC * 2).await;
    assert_eq!(rig.fake.journal(), journal);
    assert_eq!(history(&berth), [(1, "shop/app:2".to_owned(), Succeeded, Asked::Found)]);
    assert_eq!(downtime(&berth), None);
}

/// The kept version of a rollout that was on its way when the record was lost.
#[tokio::test(start_paused = true)]
async fn what_was_kept_is_found_again_and_can_be_gone_back_to() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.add_image("shop/app:2", Behaviour::never_healthy());
    let berth = rig.start();
    until_runs(&berth, "shop/app:1").await;
    edit(&berth, "shop/app:2", "rollout: {autoRollback: false}");
    rig.files
        .insert(CHAT.to_owned(), manifest("chat", "shop/app:2", "rollout: {autoRollback: false}"));
    berth.until("it fails", |r| is(r, "chat", |s| s.reason == Reason::ProbeDeadline)).await;
    let message = berth.status("chat").unwrap().message;
    assert!(message.contains("`autoRollback: false`"), "{message}");
    assert!(message.contains("berth rollout undo chat"), "{message}");
    berth.kill().await;
    rig.kept = Kept::default();
    let berth = rig.start();
    berth.until("it fails", |r| is(r, "chat", |s| s.reason == Reason::ProbeDeadline)).await;
    assert_eq!(history(&berth)[0], (1, "shop/app:1".to_owned(), Unknown, Asked::Found));
    undo(&berth, None).await.unwrap();
    until_runs(&berth, "shop/app:1").await;
    assert_eq!(rig.count("create", "chat"), 2, "{:?}", rig.fake.journal());
}

#[tokio::test(start_paused = true)]
async fn undo_is_refused_with_what_is_there() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = second(&rig).await;
    let refused = |error: CommandError| match error {
        CommandError::Undo { code, revisions, .. } => (code, revisions),
        other => panic!("{other}"),
    };
    let error = undo(&berth, Some(7)).await.unwrap_err();
    assert_eq!(refused(error), ("rollout.no-such-revision", vec![1, 2]));
    rig.fake.drop_image("shop/app:1");
    // What was listed at this very moment would do.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let error = undo(&berth, None).await.unwrap_err();
    assert!(error.to_string().contains("the images of these revisions are there: 2"), "{error}");
    assert_eq!(refused(error), ("rollout.image-gone", vec![2]));
    let error = berth.command(Command::Undo(name("nobody"), None)).await.unwrap_err();
    assert_eq!(error, CommandError::NotFound(name("nobody")));
    assert_eq!(berth.status("chat").unwrap().image.as_deref(), Some("shop/app:2"));
}

#[tokio::test(start_paused = true)]
async fn undo_in_the_middle_of_a_rollout_brings_the_kept_one_back() {
    let rig = Rig::new().has("chat", "shop/app:1");
    rig.fake.add_image("shop/app:2", Behaviour::never_healthy());
    let berth = rig.start();
    until_runs(&berth, "shop/app:1").await;
    edit(&berth, "shop/app:2", "");
    berth
        .until("it is probed", |r| {
            is(r, "chat", |s| {
                s.reason == Reason::Probing && s.image.as_deref() == Some("shop/app:2")
            })
        })
        .await;
    undo(&berth, None).await.unwrap();
    until_runs(&berth, "shop/app:1").await;
    assert_eq!(rig.count("create", "chat"), 2);
    let rows: Vec<_> = history(&berth).into_iter().map(|row| (row.2, row.3)).collect();
    let expected =
        [(Succeeded, Asked::Manifest), (Superseded, Asked::Manifest), (Succeeded, Asked::Undo)];
    assert_eq!(rows, expected);
}

#[tokio::test(start_paused = true)]
async fn a_new_version_proves_itself_for_as_long_as_the_manifest_says() {
    let rig = Rig::new();
    let berth = rig.start();
    let text = |image: &str| {
        manifest("chat", image, "rollout: {minReady: 20s}").replace("port: 5000", "dependsOn: []")
    };
    berth.manifests.put(CHAT, &text("shop/app:1"));
    until_runs(&berth, "shop/app:1").await;
    berth.manifests.put(CHAT, &text("shop/app:2"));
    berth.until("it proves itself", |r| is(r, "chat", |s| s.reason == Reason::Proving)).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(berth.status("chat").unwrap().phase, Phase::Running);
    assert_eq!(rig.count("stop", "chat"), 0);
    until_runs(&berth, "shop/app:2").await;
    let took = begin.elapsed();
    assert!((Duration::from_secs(18)..Duration::from_secs(23)).contains(&took), "{took:?}");
    assert_eq!(rig.count("remove", "chat"), 1);
}

/// Nothing stops for a version for which there is no room.
#[tokio::test(start_paused = true)]
async fn a_full_disk_is_found_before_anything_stops() {
    let mut rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    until_runs(&berth, "shop/app:1").await;
    rig.kept = berth.stop().await;
    rig.policy.min_free_disk = u64::MAX;
    let before = rig.fake.journal();
    rig.files.insert(CHAT.to_owned(), manifest("chat", "shop/app:2", ""));
    let berth = rig.start();
    berth.until("it is said", |r| is(r, "chat", |s| s.reason == Reason::DiskFull)).await;
    let status = berth.status("chat").unwrap();
    assert_eq!((status.phase, status.image.as_deref()), (Phase::Degraded, Some("shop/app:1")));
    tokio::time::sleep(RESYNC * 2).await;
    assert_eq!(rig.fake.journal(), before);
    // What is there and alone is started all the same.
    assert!(rig.fake.kill(&name("chat")));
    berth.until("it is started", |_| rig.count("start", "chat") == 2).await;
}
