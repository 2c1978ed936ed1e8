//! The way back of an app that is built from commits.

use std::{fs, time::Duration};

use berth::{
    engine::fake::{Behaviour, Script},
    model::{Phase, Reason},
    record::{Command, CommandError},
    state::Asked,
};

use super::{history, undo};
use crate::rig::{Berth, RESYNC, Rig, name};

const MANIFEST: &str = "apiVersion: berth/v1\nkind: App\nmetadata: {name: chat}\nspec:\n  \
    source: {git: \"https://git.example/shop/chat\", interval: 0}\n  run: python app.py\n  \
    health: {exec: [check], startPeriod: 30s, interval: 5s}\n  stopGracePeriod: 1s\n";

/// Has this commit be the one that was fetched last.
fn commit(rig: &Rig, digit: char) {
    let digits = digit.to_string().repeat(40);
    let checkout = serde_json::json!({
        "url": "https://git.example/shop/chat",
        "reference": null,
        "path": "",
        "commit": digits,
        "tree": digits,
        "files": [{"path": "requirements.txt"}],
    });
    let folder = rig.folder.path().join("workspaces/chat");
    fs::create_dir_all(folder.join("code")).unwrap();
    fs::write(folder.join("code/requirements.txt"), "flask\n").unwrap();
    // Whoever writes a log waits outside of the runtime, and paused time stands still meanwhile:
    // one that can't be begun is not written.
    fs::create_dir_all(folder.join(".berth/build.log.1")).unwrap();
    fs::write(folder.join(".berth/build.log"), "").unwrap();
    let metadata = serde_json::json!({"version": 1, "checkout": checkout});
    fs::write(folder.join("metadata.json"), metadata.to_string()).unwrap();
}

async fn until_commit(berth: &Berth, digit: char) {
    let digits = digit.to_string().repeat(40);
    berth
        .until(&format!("commit {digit} runs"), |record| {
            record.entry(&name("chat")).is_some_and(|entry| {
                entry.status.phase == Phase::Running
                    && entry.status.commit.as_ref() == Some(&digits)
                    && entry.plan.is_empty()
            })
        })
        .await;
}

fn held(berth: &Berth) -> Option<u64> {
    let rollout = berth.status("chat").unwrap().rollout?;
    rollout.held.map(|held| held.revision)
}

/// An app of which commits 1 and 2 ran.
async fn second() -> (Rig, Berth) {
    let mut rig = Rig::new();
    rig.fake.add_image("python:3.12-slim", Behaviour::default());
    rig.files.insert("chat.yaml".to_owned(), MANIFEST.to_owned());
    // Paused time only passes while something takes it.
    let build = Script { takes: Duration::from_secs(1), ..Script::default() };
    for _ in 0..8 {
        rig.fake.script_build(&name("chat"), build.clone());
    }
    commit(&rig, '1');
    let berth = rig.start();
    until_commit(&berth, '1').await;
    commit(&rig, '2');
    until_commit(&berth, '2').await;
    (rig, berth)
}

#[tokio::test(start_paused = true)]
async fn another_commit_ends_the_hold_and_the_same_one_does_not() {
    let (rig, berth) = second().await;
    undo(&berth, None).await.unwrap();
    until_commit(&berth, '1').await;
    assert_eq!(held(&berth), Some(1));
    // It was looked for again, and there is nothing new.
    commit(&rig, '2');
    tokio::time::sleep(RESYNC * 5).await;
    until_commit(&berth, '1').await;
    assert_eq!(held(&berth), Some(1));
    assert_eq!(rig.count("create", "chat"), 3);
    commit(&rig, '3');
    until_commit(&berth, '3').await;
    assert_eq!(held(&berth), None);
    let by: Vec<_> = history(&berth).into_iter().map(|row| row.3).collect();
    assert_eq!(by, [Asked::Manifest, Asked::Commit, Asked::Undo, Asked::Commit]);
}

#[tokio::test(start_paused = true)]
async fn a_build_from_scratch_ends_the_hold() {
    let (_rig, berth) = second().await;
    undo(&berth, None).await.unwrap();
    until_commit(&berth, '1').await;
    berth.command(Command::Rebuild(name("chat"))).await.unwrap();
    until_commit(&berth, '2').await;
    assert_eq!(held(&berth), None);
    assert_eq!(history(&berth).last().unwrap().3, Asked::Commit);
}

/// Of an image that somebody removed while the app is held at it, the status says so; what runs
/// goes on, and another revision can be gone to.
#[tokio::test(start_paused = true)]
async fn a_held_image_that_goes_is_said_and_costs_nothing() {
    let (rig, berth) = second().await;
    let image = history(&berth)[0].1.clone();
    undo(&berth, None).await.unwrap();
    until_commit(&berth, '1').await;
    rig.fake.drop_image(&image);
    let journal = rig.fake.journal();
    let is_said = |record: &berth::record::Record| {
        crate::rig::is(record, "chat", |status| status.reason == Reason::ImageGone)
    };
    berth.until("it is said", is_said).await;
    let status = berth.status("chat").unwrap();
    assert!(status.message.contains("berth rollout undo chat --to-revision"), "{status:?}");
    assert_eq!(status.phase, Phase::Degraded);
    assert_eq!(rig.fake.journal(), journal);
    let error = undo(&berth, Some(1)).await.unwrap_err();
    assert!(matches!(error, CommandError::Undo { code: "rollout.image-gone", .. }), "{error}");
    undo(&berth, Some(2)).await.unwrap();
    until_commit(&berth, '2').await;
    assert_eq!(held(&berth), None);
}

/// Images within the last three are there to go back to; those beyond are not, and that is said.
#[tokio::test(start_paused = true)]
async fn one_can_go_back_as_far_as_images_are_kept() {
    let (rig, berth) = second().await;
    for digit in ['3', '4'] {
        commit(&rig, digit);
        until_commit(&berth, digit).await;
    }
    tokio::time::sleep(RESYNC).await;
    let entry = berth.record.entry(&name("chat")).unwrap();
    let here: Vec<_> = entry.past.iter().map(|past| past.is_image_here).collect();
    assert_eq!(here, [false, true, true, true]);
    let error = undo(&berth, Some(1)).await.unwrap_err();
    assert!(error.to_string().contains("are there: 2, 3, 4"), "{error}");
    undo(&berth, Some(2)).await.unwrap();
    until_commit(&berth, '2').await;
}
