//! What the name of an image means is found out once for each generation, and kept (fault D40).

use berth::{
    engine::fake::Behaviour,
    model::{AppName, ConditionType, Phase, Reason},
    record::{Command, file::Kept},
};

use crate::rig::{Berth, RESYNC, Rig, is, manifest, name};

const IMAGE: &str = "shop/app:1";

fn chat() -> AppName {
    name("chat")
}

/// The ids of the images that the app's containers run.
fn run_by(rig: &Rig) -> Vec<String> {
    let world = rig.fake.world();
    world.containers_of(&chat()).iter().map(|container| container.image_id.clone()).collect()
}

fn id_of(rig: &Rig) -> String {
    rig.fake.world().image_id(IMAGE).unwrap().to_owned()
}

/// The tag goes to another image; answers the ids before and after.
fn move_tag(rig: &Rig) -> (String, String) {
    let before = id_of(rig);
    let after = rig.fake.add_image(IMAGE, Behaviour::default());
    assert_ne!(before, after);
    (before, after)
}

async fn until_runs_only(rig: &Rig, berth: &Berth, id: &str) {
    let is_so = || run_by(rig) == [id];
    let what = format!("it runs {id} alone");
    berth.until(&what, |record| is(record, "chat", |s| s.phase == Phase::Running) && is_so()).await;
}

async fn rest() {
    tokio::time::sleep(RESYNC * 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_changes_nothing_whatever_happens_to_the_container() {
    let mut rig = Rig::new().has("chat", IMAGE);
    let berth = rig.start();
    berth.until_running("chat").await;
    let (before, after) = move_tag(&rig);
    rest().await;
    assert_eq!(rig.count("create", "chat"), 1);
    let status = berth.status("chat").unwrap();
    assert_eq!(status.image.as_deref(), Some(IMAGE));
    assert_eq!(status.image_digest.as_deref(), Some(before.as_str()));
    let ready = status.condition(ConditionType::ImageReady).unwrap();
    assert!(ready.message.contains("means another image on the engine"), "{}", ready.message);

    assert!(rig.fake.remove_by_hand(&chat()));
    until_runs_only(&rig, &berth, &before).await;
    // The machine starts anew, with what was kept, and the container is gone.
    rig.kept = berth.stop().await;
    assert!(rig.fake.remove_by_hand(&chat()));
    let berth = rig.start();
    until_runs_only(&rig, &berth, &before).await;
    rest().await;
    assert_eq!((run_by(&rig), rig.count("create", "chat")), (vec![before], 3));

    // Somebody asks.
    let told = berth.command(Command::Rebuild(chat())).await.unwrap();
    assert!(told.contains("image's name"), "{told}");
    until_runs_only(&rig, &berth, &after).await;
    rest().await;
    assert_eq!(rig.count("create", "chat"), 4);
    assert_eq!(berth.status("chat").unwrap().image_digest, Some(after));
    assert_eq!(berth.status("chat").unwrap().image.as_deref(), Some(IMAGE));
}

#[tokio::test(start_paused = true)]
async fn a_changed_manifest_takes_what_the_tag_means_now() {
    let rig = Rig::new().has("chat", IMAGE);
    let berth = rig.start();
    berth.until_running("chat").await;
    // A change that needs no new container of itself.
    let (_, after) = move_tag(&rig);
    berth.manifests.put("chat.yaml", &manifest("chat", IMAGE, "rollout: {minReady: 1s}"));
    until_runs_only(&rig, &berth, &after).await;
    // The same image by the same name: nothing is to be done.
    berth.manifests.put("chat.yaml", &manifest("chat", IMAGE, "rollout: {minReady: 2s}"));
    berth.until("it is read", |r| is(r, "chat", |s| s.observed_generation == 3)).await;
    rest().await;
    assert_eq!((run_by(&rig), rig.count("create", "chat")), (vec![after], 2));
    // And back to an image that it ran before, by its old name and its old words.
    let (_, last) = move_tag(&rig);
    berth.manifests.put("chat.yaml", &manifest("chat", IMAGE, ""));
    until_runs_only(&rig, &berth, &last).await;
}

/// An older Berth kept nothing of this: what runs goes on, and is what the name means from now on.
#[tokio::test(start_paused = true)]
async fn an_upgrade_or_a_lost_record_restarts_nothing() {
    let mut rig = Rig::new().has("chat", IMAGE);
    let berth = rig.start();
    berth.until_running("chat").await;
    let mut kept = berth.stop().await;
    let (before, after) = move_tag(&rig);
    kept.apps.get_mut("chat").unwrap().resolved = None;
    for kept in [kept, Kept::default()] {
        rig.kept = kept;
        let berth = rig.start();
        berth.until_running("chat").await;
        rest().await;
        assert_eq!((run_by(&rig), rig.count("create", "chat")), (vec![before.clone()], 1));
        berth.kill().await;
    }
    // What was asked for holds without a record too.
    let berth = rig.start();
    berth.until_running("chat").await;
    berth.command(Command::Rebuild(chat())).await.unwrap();
    until_runs_only(&rig, &berth, &after).await;
    berth.kill().await;
    let (_, newest) = move_tag(&rig);
    assert_ne!(newest, after);
    rig.kept = Kept::default();
    let berth = rig.start();
    berth.until_running("chat").await;
    rest().await;
    assert_eq!((run_by(&rig), rig.count("create", "chat")), (vec![after.clone()], 2));
    assert!(rig.fake.remove_by_hand(&chat()));
    until_runs_only(&rig, &berth, &after).await;
}

/// A version of the same name that fails gives way to the one before, and is not tried again.
#[tokio::test(start_paused = true)]
async fn a_bad_image_under_the_same_name_is_rolled_back() {
    let rig = Rig::new().has("chat", IMAGE);
    let berth = rig.start();
    berth.until_running("chat").await;
    let before = id_of(&rig);
    rig.fake.add_image(IMAGE, Behaviour::never_healthy());
    berth.command(Command::Rebuild(chat())).await.unwrap();
    berth.until("it is given up", |r| is(r, "chat", |s| s.reason == Reason::RolledBack)).await;
    rest().await;
    let world = rig.fake.world();
    let up: Vec<_> = world
        .containers_of(&chat())
        .into_iter()
        .filter(|c| c.state == berth::state::ContainerState::Running)
        .map(|c| c.image_id.clone())
        .collect();
    assert_eq!((up, rig.count("create", "chat")), (vec![before], 2));
    // A good one under the same name.
    let good = rig.fake.add_image(IMAGE, Behaviour::default());
    berth.command(Command::Rebuild(chat())).await.unwrap();
    until_runs_only(&rig, &berth, &good).await;
}

/// An undo goes back to the image, not to its name.
#[tokio::test(start_paused = true)]
async fn an_undo_goes_back_to_the_image_that_ran() {
    let rig = Rig::new().has("chat", IMAGE);
    let berth = rig.start();
    berth.until_running("chat").await;
    rest().await;
    let (before, after) = move_tag(&rig);
    berth.command(Command::Rebuild(chat())).await.unwrap();
    until_runs_only(&rig, &berth, &after).await;
    rest().await;
    berth.command(Command::Undo(chat(), None)).await.unwrap();
    until_runs_only(&rig, &berth, &before).await;
    rest().await;
    assert_eq!(run_by(&rig), [before]);
    berth.command(Command::Undo(chat(), Some(2))).await.unwrap();
    until_runs_only(&rig, &berth, &after).await;
}

/// An image that never came from a registry, gone while nothing runs it.
#[tokio::test(start_paused = true)]
async fn an_image_that_is_gone_is_said_and_not_swapped() {
    let rig = Rig::new().has("chat", IMAGE);
    let berth = rig.start();
    berth.until_running("chat").await;
    let (before, after) = move_tag(&rig);
    rig.fake.drop_image(&before);
    assert!(rig.fake.remove_by_hand(&chat()));
    let is_gone = |s: &berth::status::Status| s.reason == Reason::ImageGone;
    berth.until("it is said", |r| is(r, "chat", is_gone)).await;
    let message = berth.status("chat").unwrap().message;
    assert!(message.contains("berth rebuild chat"), "{message}");
    rest().await;
    assert_eq!(run_by(&rig), Vec::<String>::new());
    berth.command(Command::Rebuild(chat())).await.unwrap();
    until_runs_only(&rig, &berth, &after).await;
}

#[tokio::test(start_paused = true)]
async fn a_pull_once_a_generation_takes_what_was_pulled() {
    let mut rig = Rig::new();
    let text = manifest("chat", IMAGE, "pullPolicy: Always");
    rig.files.insert("chat.yaml".to_owned(), text);
    let remote = berth::model::ImageRef::parse(IMAGE).unwrap();
    rig.fake.add_remote(&remote, berth::engine::fake::Script::default(), Behaviour::default());
    let old = id_of(&rig);
    let berth = rig.start();
    berth.until_running("chat").await;
    let pulled = id_of(&rig);
    assert_ne!(old, pulled);
    assert_eq!(run_by(&rig), std::slice::from_ref(&pulled));
    move_tag(&rig);
    assert!(rig.fake.remove_by_hand(&chat()));
    until_runs_only(&rig, &berth, &pulled).await;
    let pulls = || rig.fake.journal().iter().filter(|line| line.starts_with("pull ")).count();
    assert_eq!(pulls(), 1);
    berth.command(Command::Rebuild(chat())).await.unwrap();
    berth.until("it is pulled again", |_| pulls() == 2).await;
    rest().await;
    assert_eq!(run_by(&rig), [pulled]);
}
