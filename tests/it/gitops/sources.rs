//! Manifests from git: what is pushed runs, what is pushed away goes, and nothing is removed by
//! mistake. The rules are those of a folder (`folder`), for each source by itself.

use std::{fs, sync::Arc};

use berth::{
    daemon::repositories::{folder_part, repository_part},
    record::Command,
    source::{
        Directory, Git, Several,
        directory::Options,
        git::{Fetch, Place},
    },
    state::Hold,
    workspace::Settings,
};

use super::grove::{Berth, Grove, NEVER, app};
use crate::git_server::{Answers, Server};

const APPS: [&str; 3] = ["api", "blog", "chat"];

fn commit(berth: &Berth) -> String {
    berth.record.overview().sources[0].commit.clone().unwrap_or_default()
}

fn error(berth: &Berth) -> String {
    berth.record.overview().source_error.unwrap_or_default()
}

#[tokio::test]
async fn what_is_pushed_runs_and_mistakes_name_the_commit() {
    let mut grove = Grove::with(&[]);
    let server = Server::start(Answers::Git(grove.top.path().join("served")));
    grove.places = vec![format!("git+{}#main:prod", server.url())];
    let first = grove.push_apps(&["api"]);
    let berth = grove.start_well(&["api"]).await;
    assert_eq!(commit(&berth), first.to_string());
    let place = &grove.places[0];
    assert!(berth.record.overview().source.contains(place.as_str()));
    assert!(berth.metrics.render().contains("berth_source_up{source=\"git+http"));

    let bad = app("api").replace("port:", "prot:");
    let second = grove.push(&[("prod/api.yaml", &bad), ("prod/team/chat.yml", &app("chat"))]);
    berth.until("the mistake is told", |overview| !overview.diagnostics.is_empty()).await;
    let overview = berth.record.overview();
    let short = &second.to_string()[..12];
    let file = place.replace("#main:", &format!("#main@{short}:"));
    assert_eq!(overview.diagnostics[0].file, format!("{file}/api.yaml"));
    assert!(0 < overview.diagnostics[0].line);
    berth.until("the good one runs", |_| berth.runs("chat")).await;
    let entry = berth.record.entry(&crate::rig::name("api")).unwrap();
    assert!(entry.status.message.contains(short), "{}", entry.status.message);
    assert_eq!(grove.rig.count("create", "api"), 1);
    assert_eq!(grove.rig.count("stop", "api"), 0);

    let third = grove.push_apps(&["api", "chat"]);
    berth.until_well(&["api", "chat"]).await;
    berth
        .until("the commit is shown", |overview| {
            overview.sources[0].commit.as_deref() == Some(third.to_string().as_str())
        })
        .await;
    assert_eq!(grove.rig.count("create", "api"), 1, "a mended manifest restarts nothing");
    berth.stop().await;
}

/// What happens to a repository, and what is said of it.
type Harm = (&'static str, fn(&Grove), &'static str);

fn gone(grove: &Grove) {
    fs::rename(grove.served(), grove.top.path().join("aside")).unwrap();
}

fn branch_deleted(grove: &Grove) {
    grove.repository().find_reference("refs/heads/main").unwrap().delete().unwrap();
}

fn path_vanished(grove: &Grove) {
    grove.push(&[("elsewhere/x.yaml", &app("x"))]);
}

fn path_is_a_file(grove: &Grove) {
    grove.push(&[("prod", "text")]);
}

fn history_written_anew_without_the_path(grove: &Grove) {
    grove.force_push(&[]);
}

fn is_broken(grove: &Grove) {
    fs::rename(grove.served(), grove.top.path().join("aside")).unwrap();
    fs::create_dir(grove.served()).unwrap();
    fs::write(grove.served().join("HEAD"), "nonsense").unwrap();
}

const HARMS: [Harm; 6] = [
    ("the repository is gone", gone, "no git repository"),
    ("the branch was deleted", branch_deleted, "branch main is gone"),
    ("the folder vanished", path_vanished, "no folder `prod`"),
    ("the folder became a file", path_is_a_file, "no folder `prod`"),
    ("a force-push without the folder", history_written_anew_without_the_path, "no folder `prod`"),
    ("something else is there", is_broken, "no git repository"),
];

// W01, G01, G10
#[tokio::test]
async fn a_repository_that_can_not_be_read_leaves_all_as_it_was() {
    let grove = Grove::with(&APPS);
    let berth = grove.start_well(&APPS).await;
    for (what, harm, words) in HARMS {
        let before = (grove.deeds(), commit(&berth));
        let aside = grove.top.path().join("aside");
        harm(&grove);
        berth
            .until(what, |overview| {
                overview.source_error.as_deref().is_some_and(|error| error.contains(words))
            })
            .await;
        berth.look().await;
        assert!(error(&berth).contains("#main:prod"), "{what}: {}", error(&berth));
        assert!(matches!(berth.record.overview().hold, Some(Hold::Unreadable(_))), "{what}");
        assert_eq!((grove.deeds(), commit(&berth)), before, "{what}");
        assert!(APPS.iter().all(|app| berth.runs(app)), "{what}");
        if aside.exists() {
            let _ = fs::remove_dir_all(grove.served());
            fs::rename(aside, grove.served()).unwrap();
        }
        grove.push_apps(&APPS);
        berth.until_well(&APPS).await;
        assert_eq!(grove.deeds(), before.0, "after {what}");
    }
    berth.stop().await;
}

// W01, T01
#[tokio::test]
async fn what_was_fetched_before_a_restart_is_enough_to_start() {
    let mut grove = Grove::with(&APPS);
    let berth = grove.start_well(&APPS).await;
    grove.rig.kept = berth.stop().await;
    let before = grove.deeds();
    gone(&grove);
    let berth = grove.start();
    berth.until("it says what is wrong", |overview| overview.source_error.is_some()).await;
    berth.until("all run", |_| APPS.iter().all(|app| berth.runs(app))).await;
    assert_eq!(grove.deeds(), before);
    // What is missing is brought back, with the manifest that is on the disk.
    assert!(grove.rig.fake.remove_by_hand(&crate::rig::name("blog")));
    berth.until("it is made again", |_| grove.rig.count("create", "blog") == 2).await;
    berth.stop().await;
}

#[tokio::test]
async fn what_is_pushed_away_goes() {
    let grove = Grove::with(&APPS);
    let berth = grove.start_well(&APPS).await;
    grove.push_apps(&["api", "chat"]);
    berth.until_gone("blog").await;
    // History that was written anew is followed.
    grove.force_push(&[("prod/api.yaml", &app("api"))]);
    berth.until_gone("chat").await;
    berth.until_well(&["api"]).await;
    assert_eq!(grove.rig.count("stop", "api"), 0);
    berth.stop().await;
}

// W01
#[tokio::test]
async fn a_branch_that_was_emptied_removes_nothing_until_a_person_confirms() {
    let grove = Grove::with(&APPS);
    let berth = grove.start_well(&APPS).await;
    let before = grove.deeds();
    grove.force_push(&[("prod/README.md", "nothing here")]);
    let why = berth.until_held(3).await;
    assert!(why.contains("#main:prod") && why.contains("3 of 3"), "{why}");
    berth.look().await;
    assert_eq!(grove.deeds(), before);
    grove.push_apps(&APPS);
    berth.until_well(&APPS).await;
    assert_eq!(grove.deeds(), before);

    grove.force_push(&[("prod/README.md", "nothing here")]);
    berth.until_held(3).await;
    berth.command(Command::Confirm).await.unwrap();
    for app in APPS {
        berth.until_gone(app).await;
    }
    berth.until_well(&[]).await;
    berth.stop().await;
}

// W01
#[tokio::test]
async fn the_brake_is_each_source_s_own() {
    let mut grove = Grove::with(&APPS);
    grove.has_folder = true;
    let many = ["f1", "f2", "f3", "f4", "f5", "f6", "f7", "f8"];
    for app in many {
        grove.put(app);
    }
    let all: Vec<_> = APPS.iter().chain(&many).copied().collect();
    let berth = grove.start_well(&all).await;
    // Of all eleven apps three would pass.
    grove.push(&[("prod/README.md", "nothing here")]);
    berth.until_held(3).await;
    // The folder's removals pass meanwhile.
    fs::remove_file(grove.folder().join("f1.yaml")).unwrap();
    berth.until_gone("f1").await;
    berth.until_held(3).await;
    assert!(APPS.iter().all(|app| grove.rig.count("stop", app) == 0));
    berth.stop().await;
}

// W01, W11
#[tokio::test]
async fn a_folder_and_a_repository_stand_together() {
    let mut grove = Grove::with(&APPS);
    grove.has_folder = true;
    grove.put("docs");
    grove.put("web");
    let all = ["api", "blog", "chat", "docs", "web"];
    let berth = grove.start_well(&all).await;

    grove.put("chat");
    berth.until("both are wrong", |overview| overview.diagnostics.len() == 2).await;
    berth.look().await;
    let message = berth.record.entry(&crate::rig::name("chat")).unwrap().status.message.clone();
    assert!(message.contains("chat.yaml:1") && message.contains("#main@"), "{message}");
    assert_eq!(grove.rig.count("stop", "chat"), 0);
    assert_eq!(grove.rig.count("create", "chat"), 1);
    fs::remove_file(grove.folder().join("chat.yaml")).unwrap();
    berth.until_well(&all).await;

    // While one can't be read, nothing of it goes; the other goes on.
    gone(&grove);
    berth.until("it says so", |overview| overview.source_error.is_some()).await;
    fs::remove_file(grove.folder().join("web.yaml")).unwrap();
    berth.until_gone("web").await;
    grove.put("extra");
    berth.until("a new app runs", |_| berth.runs("extra")).await;
    let aside = grove.top.path().join("aside");
    fs::rename(aside, grove.served()).unwrap();
    berth.until_well(&["api", "blog", "chat", "docs", "extra"]).await;

    // The same the other way round.
    let folder = grove.top.path().join("folder-aside");
    fs::rename(grove.folder(), &folder).unwrap();
    berth.until("it says so", |overview| overview.source_error.is_some()).await;
    grove.push_apps(&["api", "chat"]);
    berth.until_gone("blog").await;
    assert!(berth.runs("docs") && berth.runs("extra"));
    fs::rename(&folder, grove.folder()).unwrap();
    berth.until_well(&["api", "chat", "docs", "extra"]).await;
    for app in ["api", "chat", "docs", "extra"] {
        assert_eq!(grove.rig.count("stop", app), 0, "{app}");
    }
    berth.stop().await;
}

// W01
#[tokio::test]
async fn another_repository_in_its_place_removes_nothing_until_a_person_confirms() {
    let mut grove = Grove::with(&["api"]);
    let berth = grove.start_well(&["api"]).await;
    grove.rig.kept = berth.stop().await;
    grove.push(&[("prod/api.yaml", &app("api")), ("stage/web.yaml", &app("web"))]);
    // One app alone is a plain removal, were it the same source.
    grove.places[0] = grove.places[0].replace(":prod", ":stage");
    let berth = grove.start();
    let why = berth.until_held(1).await;
    assert!(why.contains("not configured any more"), "{why}");
    berth.until("the new one runs", |_| berth.runs("web")).await;
    berth.look().await;
    assert_eq!(grove.rig.count("stop", "api"), 0);

    // Put back, it is as before.
    grove.rig.kept = berth.stop().await;
    let stage = grove.places[0].clone();
    grove.places.push(stage.replace(":stage", ":prod"));
    let berth = grove.start_well(&["api", "web"]).await;
    grove.rig.kept = berth.stop().await;
    grove.places.pop();
    let berth = grove.start();
    berth.until_held(1).await;
    berth.command(Command::Confirm).await.unwrap();
    berth.until_gone("api").await;
    berth.until_well(&["web"]).await;
    berth.stop().await;
}

// T01
#[tokio::test]
async fn without_the_state_what_runs_stays_until_it_is_known_again() {
    let mut grove = Grove::with(&APPS);
    let berth = grove.start_well(&APPS).await;
    berth.stop().await;
    let before = grove.deeds();
    // All of the state is lost: what was remembered, and what was fetched.
    fs::remove_dir_all(grove.top.path().join("state")).unwrap();
    grove.push_apps(&["api", "chat"]);
    let berth = grove.start();
    berth.until_held(1).await;
    berth.look().await;
    // So it is after one more restart.
    grove.rig.kept = berth.stop().await;
    let berth = grove.start();
    berth.until_held(1).await;
    berth.look().await;
    assert_eq!(grove.deeds(), before);
    berth.command(Command::Confirm).await.unwrap();
    berth.until_gone("blog").await;
    berth.stop().await;
}

// G01
#[tokio::test]
async fn a_repository_that_hangs_holds_up_nobody() {
    let grove = Grove::with(&[]);
    grove.put("docs");
    let hangs: Fetch = Arc::new(|| Box::pin(std::future::pending()));
    let git = Git::new(Place::parse("git+https://h.example/a.git").unwrap(), hangs, None, NEVER);
    let folder = Directory::new(grove.folder(), Options::default());
    let several = Several::new(vec![folder_part(folder), repository_part(git)]);
    let berth = grove.start_on(Box::new(several), Settings::default(), Vec::new(), Arc::default());
    berth.until("the folder's app runs", |_| berth.runs("docs")).await;
    assert!(error(&berth).contains("h.example/a.git#HEAD has not been read yet"));
    grove.put("web");
    berth.until("a new app runs", |_| berth.runs("web")).await;
    berth.stop().await;
}

#[tokio::test]
async fn a_bell_has_the_repository_looked_at_at_once() {
    let mut grove = Grove::with(&["api"]);
    grove.interval = NEVER;
    let berth = grove.start_well(&["api"]).await;
    grove.push_apps(&["api", "chat"]);
    berth.bells[0].1.ring();
    berth.until_well(&["api", "chat"]).await;
    berth.stop().await;
}
