//! What a change brings about, and what it does not.

use std::time::Duration;

use berth::record::file::Kept;

use super::{
    engine::{TINY, docker},
    repository::Repository,
    stage::{Stage, get, httpd, name, tiny},
};

const DOCKERFILE: &str = "FROM berth/tiny:offline\nCOPY index.html /www/index.html\n";

/// A manifest of an app that is built from a repository on the tiny image.
fn built(repository: &Repository, labels: &str, env: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: page, labels: {{{labels}}}}}\nspec:\n  \
         source: {{git: {}, interval: 1s}}\n  run: httpd -f -p 8080 -h /www\n  port: 8080\n  \
         env: {{{env}}}\n",
        repository.url()
    )
}

/// A repository of one page. Another stage's is another one: equal sources make one image.
fn page(stage: &Stage) -> Repository {
    let repository = Repository::bare(&stage.path("served/app.git"));
    push(stage, &repository, "first\n");
    repository
}

fn push(stage: &Stage, repository: &Repository, page: &str) -> String {
    let files = [("Dockerfile", DOCKERFILE), ("index.html", page), ("of", &stage.instance)];
    repository.commit(&files)
}

/// Faults B01, D25: each change costs what it needs and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_costs_what_it_needs() {
    let stage = Stage::new();
    let repository = page(&stage);
    stage.write("page.yaml", &built(&repository, "", "A: one"));
    let berth = stage.start();
    let first = berth.until_running("page").await;
    let first_life = stage.container("page").life();
    let port = first.ports[0].host_port;
    assert_eq!(berth.count("build"), 1);

    // A label, and the file's name: nothing starts anew.
    stage.write("page.yaml", &built(&repository, "team: red", "A: one"));
    let has_label = || {
        let entry = berth.record.entry(&name("page")).unwrap();
        entry.app.as_ref().is_some_and(|app| app.labels.contains_key("team"))
    };
    berth.until("the label is read", has_label).await;
    let folder = stage.path("manifests");
    std::fs::rename(folder.join("page.yaml"), folder.join("renamed.yaml")).unwrap();
    let is_renamed = || {
        let entry = berth.record.entry(&name("page"));
        let app = entry.and_then(|entry| entry.app.clone());
        app.is_some_and(|app| app.origin.file == "renamed.yaml")
    };
    berth.until("the new file name is read", is_renamed).await;
    berth.until_running("page").await;
    assert_eq!(stage.container("page").life(), first_life);

    // A variable: another container with the same image.
    stage.write("renamed.yaml", &built(&repository, "team: red", "A: two"));
    let first_revision = first.revision.clone();
    let is_new = || berth.status("page").is_some_and(|s| s.revision != first_revision);
    berth.until("the new container is there", is_new).await;
    berth.until_running("page").await;
    berth.until("the old one is gone", || stage.containers("page").len() == 1).await;
    let second = stage.container("page");
    assert_ne!(second.id(), first_life.0);
    assert_eq!(second.text("/Config/Image"), first.image.clone().unwrap());
    assert_eq!(berth.count("build"), 1, "a variable is not built");

    // A commit: a build, and a replacement. The host port stays.
    let commit = push(&stage, &repository, "second\n");
    let is_new = || berth.status("page").is_some_and(|s| s.commit.as_deref() == Some(&commit));
    berth.until("the new commit runs", is_new).await;
    let third = berth.until_running("page").await;
    assert_eq!(berth.count("build"), 2);
    assert_eq!(third.ports[0].host_port, port);
    assert!(get(port, "/").await.unwrap().ends_with("second\n"));
    berth.until("the old one is gone", || stage.containers("page").len() == 1).await;

    // A commit with the same files: nothing is built, nothing starts anew.
    let life = stage.container("page").life();
    let fetches = || stage.workspace("page", "metadata.json");
    let commit = push(&stage, &repository, "second\n");
    let is_known = || std::fs::read_to_string(fetches()).is_ok_and(|text| text.contains(&commit));
    berth.until("the same files are fetched", is_known).await;
    berth.until_running("page").await;
    assert_eq!(stage.container("page").life(), life);
    assert_eq!(berth.count("build"), 2);
}

/// Faults T01, B01, D42: with its memory or without, a new Berth takes over what runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_berth_changes_nothing() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(1);
    let repository = page(&stage);
    stage.write("page.yaml", &built(&repository, "", "A: one"));
    stage.write("web.yaml", &httpd("web", ""));
    let berth = stage.start();
    let mut before = Vec::new();
    for app in ["page", "web"] {
        let status = berth.until_running(app).await;
        before.push((stage.container(app).life(), status.ports, status.url));
    }
    let kept = berth.stop().await;
    for kept in [kept, Kept::default()] {
        let berth = stage.start_with(kept);
        let mut after = Vec::new();
        for app in ["page", "web"] {
            let status = berth.until_running(app).await;
            after.push((stage.container(app).life(), status.ports, status.url));
        }
        berth.rounds(2).await;
        assert_eq!(before, after);
        assert_eq!(before[0].0, stage.container("page").life());
        for call in ["build", "create", "start", "stop", "remove"] {
            assert_eq!(berth.count(call), 0, "{call}");
        }
        berth.stop().await;
    }
}

/// What an app saves at its end is saved, also when its manifest is gone by then: it has the time
/// that it was promised, and not the engine's ten seconds.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_goes_ends_in_its_own_time() {
    let stage = Stage::new();
    // The tiny image is killed at once.
    let made = stage.make_by_hand(&["create", "--stop-signal", "SIGTERM"], &[TINY, "true"]);
    let image = format!("{}:1", stage.instance);
    docker(&["commit", &made, &image]);
    let saves = "trap 'sleep 12; echo saved >/data/it; exit 0' TERM; touch /data/up; \
        while :; do sleep 1; done";
    let rest = "health: none\nworkspace: {path: /data}\nstopGracePeriod: 1m";
    let manifest = tiny("slow", &format!("[sh, -c, \"{saves}\"]"), rest);
    stage.write("slow.yaml", &manifest.replace(TINY, &image));
    let berth = stage.start();
    berth.until_running("slow").await;
    let is_up = || stage.workspace("slow", "data/up").exists();
    berth.until("it listens", is_up).await;
    stage.erase("slow.yaml");
    berth.until_gone("slow").await;
    let saved = std::fs::read_to_string(stage.workspace("slow", "data/it"));
    assert_eq!(saved.unwrap(), "saved\n");
    assert!(stage.containers("slow").is_empty());
}
