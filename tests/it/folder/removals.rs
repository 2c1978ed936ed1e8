//! What is taken out of the folder on purpose goes: exactly that, and at once where it is one app.

use std::fs;

use berth::record::{Command, CommandError};
use berth::state::Hold;

use super::yard::{APPS, Berth, Notice, Yard, bad, manifest};
use crate::rig::name;

/// What is done to remove one app.
fn removal(yard: &Yard, app: &str) -> [usize; 3] {
    ["stop", "remove", "create"].map(|verb| yard.rig.count(verb, app))
}

/// Whether this app was removed and nothing was done to the others.
fn assert_only_removed(yard: &Yard, gone: &[&str]) {
    for app in APPS {
        let expected = if gone.contains(&app) { [1, 1, 1] } else { [0, 0, 1] };
        assert_eq!(removal(yard, app), expected, "{app}: {:?}", yard.deeds());
    }
}

async fn is_held(berth: &Berth, count: usize) {
    berth
        .until(&format!("{count} removals are held"), |overview| {
            matches!(&overview.hold, Some(Hold::Brake { apps, .. }) if apps.len() == count)
        })
        .await;
}

#[tokio::test]
async fn a_deleted_file_removes_exactly_its_app() {
    let yard = Yard::new();
    let berth = yard.start_well().await;
    yard.remove("chat.yaml");
    berth.until_gone("chat").await;
    berth.look_twice("after the removal").await;
    assert_only_removed(&yard, &["chat"]);
    assert_eq!(berth.record.overview().hold, None);
    assert_eq!(berth.ledger.facts(&name("chat")), None);
}

#[tokio::test]
async fn the_last_app_goes_with_its_file() {
    let yard = Yard::bare();
    fs::create_dir(&yard.root).unwrap();
    yard.put("api.yaml", manifest("api"));
    let berth = yard.start();
    berth.until("it runs", |_| yard.rig.count("start", "api") == 1).await;
    yard.remove("api.yaml");
    berth.until("it is gone", |_| yard.rig.count("remove", "api") == 1).await;
    berth.until_gone("api").await;
}

#[tokio::test]
async fn files_deleted_one_after_the_other_remove_their_apps() {
    let yard = Yard::new();
    let berth = yard.start_well().await;
    for app in APPS {
        yard.remove(&format!("{app}.yaml"));
        berth.until_gone(app).await;
    }
    assert_only_removed(&yard, &APPS);
}

#[tokio::test]
async fn a_file_that_says_only_comments_removes_its_app() {
    let yard = Yard::new();
    let berth = yard.start_well().await;
    yard.put("chat.yaml", manifest("chat").replace('\n', "\n# ").replacen("api", "# api", 1));
    berth.until_gone("chat").await;
    berth.look_twice("after the removal").await;
    assert_only_removed(&yard, &["chat"]);
}

#[tokio::test]
async fn a_document_taken_out_of_a_file_removes_its_app() {
    let yard = Yard::new();
    let both = format!("{}---\n{}", manifest("chat"), manifest("web"));
    yard.remove("web.yaml");
    yard.put("chat.yaml", both);
    let berth = yard.start_well().await;
    yard.put("chat.yaml", manifest("chat"));
    berth.until_gone("web").await;
    berth.look_twice("after the removal").await;
    assert_only_removed(&yard, &["web"]);
}

// W01
#[tokio::test]
async fn many_removals_happen_once_a_person_has_confirmed_them() {
    let yard = Yard::new();
    let berth = yard.start_well().await;
    for app in ["api", "blog", "chat"] {
        yard.remove(&format!("{app}.yaml"));
    }
    is_held(&berth, 3).await;
    berth.look_twice("held").await;
    assert_only_removed(&yard, &[]);
    berth.command(Command::Confirm).await.unwrap();
    for app in ["api", "blog", "chat"] {
        berth.until_gone(app).await;
    }
    berth.look_twice("after the removal").await;
    assert_only_removed(&yard, &["api", "blog", "chat"]);
    assert_eq!(berth.record.overview().hold, None);
}

// W01
#[tokio::test]
async fn many_removals_are_forgotten_when_the_files_come_back() {
    let yard = Yard::new();
    let berth = yard.start_well().await;
    let scenario = bad("W01 three deleted", Notice::Brake(3), |yard| {
        for app in ["api", "blog", "chat"] {
            yard.remove(&format!("{app}.yaml"));
        }
    });
    yard.survives(&berth, &scenario).await;
    let refused = berth.command(Command::Confirm).await;
    assert_eq!(refused, Err(CommandError::NothingToConfirm));
}

// W01, W07: one that is left of many was not taken out by itself. It may be the file that a slow
// copy has not come to yet.
#[tokio::test]
async fn the_last_one_of_many_removals_still_waits_for_a_person() {
    let yard = Yard::new();
    let berth = yard.start_well().await;
    for app in ["api", "blog", "chat"] {
        yard.remove(&format!("{app}.yaml"));
    }
    is_held(&berth, 3).await;
    yard.put("api.yaml", manifest("api"));
    yard.put("blog.yaml", manifest("blog"));
    is_held(&berth, 1).await;
    // Neither does a file with a mistake make one forget it, when it is mended again.
    yard.put("docs.yaml", "}{");
    berth.until("a mistake", |overview| !overview.diagnostics.is_empty()).await;
    yard.put("docs.yaml", manifest("docs"));
    berth.until("no mistake", |overview| overview.diagnostics.is_empty()).await;
    berth.look_twice("one left").await;
    assert_only_removed(&yard, &[]);

    berth.command(Command::Confirm).await.unwrap();
    berth.until_gone("chat").await;
    berth.look_twice("after the removal").await;
    assert_only_removed(&yard, &["chat"]);
}

// W01: while one file can't be understood, it may be the one that the app moved to.
#[tokio::test]
async fn a_removal_waits_until_every_file_is_understood() {
    let yard = Yard::new();
    let berth = yard.start_well().await;
    yard.put("docs.yaml", "}{");
    berth.until("a mistake", |overview| !overview.diagnostics.is_empty()).await;
    yard.remove("chat.yaml");
    berth.until("it waits", |o| matches!(o.hold, Some(Hold::Unreadable(_)))).await;
    berth.look_twice("held").await;
    assert_only_removed(&yard, &[]);
    yard.put("docs.yaml", manifest("docs"));
    berth.until_gone("chat").await;
    berth.look_twice("after the removal").await;
    assert_only_removed(&yard, &["chat"]);
}

// W01, W08: after a person has confirmed, another folder is the folder.
#[tokio::test]
async fn another_folder_removes_what_a_person_has_confirmed_and_counts_from_then_on() {
    let yard = Yard::new();
    let berth = yard.start_well().await;
    fs::rename(&yard.root, yard.beside("aside")).unwrap();
    yard.mend();
    yard.remove("chat.yaml");
    is_held(&berth, 1).await;
    berth.look_twice("held").await;
    assert_only_removed(&yard, &[]);
    berth.command(Command::Confirm).await.unwrap();
    berth.until_gone("chat").await;
    yard.remove("docs.yaml");
    berth.until_gone("docs").await;
    berth.look_twice("after the removals").await;
    assert_only_removed(&yard, &["chat", "docs"]);
}

// W20
#[tokio::test]
async fn an_app_that_comes_back_after_its_removal_is_made_again() {
    let yard = Yard::new();
    let berth = yard.start_well().await;
    yard.remove("chat.yaml");
    berth.until_gone("chat").await;
    yard.mend();
    berth.until_well().await;
    berth.look_twice("it came back").await;
    assert_eq!(removal(&yard, "chat"), [1, 1, 2]);
    assert_eq!(removal(&yard, "web"), [0, 0, 1]);
}
