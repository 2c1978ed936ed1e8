//! What is kept of repositories: their history, as long as it is wanted, and whole or not at all.

use std::{fs, path::Path, sync::Arc, time::Duration};

use berth::{
    model::{Digest, Timestamp},
    store::{
        Change, Danger, Error, Key, NewCommit, Query, Settings, Store, Upload,
        disk::{Disk, Machine},
    },
};
use rustix::io::Errno;
use serde_json::json;

use super::{Hub, file, line};
use crate::store::faulty::{Fault, Faulty};

const REPO: (&str, &str) = ("p", "a");

fn open(settings: &Settings, disk: Arc<dyn Disk>) -> Arc<Store> {
    Arc::new(Store::open(settings.clone(), disk, Arc::default()).unwrap())
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis(berth::clock::Clock::System.now().as_millis() + minutes * 60_000)
}

/// Commits a file with a content of its own; the commit's id.
fn commit(store: &Arc<Store>, path: &str, text: &str, when: Timestamp) -> Result<String, Error> {
    let mut upload = Upload::begin(store, None).unwrap();
    upload.write(text.as_bytes()).unwrap();
    let (digest, _) = store.keep_content(upload, REPO.0, None, when)?;
    let order = NewCommit {
        project: REPO.0.to_owned(),
        app: REPO.1.to_owned(),
        branch: "main".to_owned(),
        title: text.to_owned(),
        message: String::new(),
        author: "somebody".to_owned(),
        parent: None,
        changes: vec![Change::Put(path.to_owned(), digest)],
        projects: None,
    };
    store.commit(&order, when, &|_| Ok(())).map(|commit| commit.id)
}

fn has(root: &Path, text: &str) -> bool {
    let digest = Digest::of_bytes(text.as_bytes());
    let (first, rest) = digest.as_str().split_at(2);
    root.join(".store/blobs/sha256").join(first).join(rest).exists()
}

#[test]
fn a_history_is_as_long_as_the_operator_says() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let settings = Settings { history: 2, ..Settings::new(&root) };
    let store = open(&settings, Arc::new(Machine));
    store.create_repo(REPO, "somebody", at(0)).unwrap();
    let ids = ["one", "two", "three"].map(|text| commit(&store, "m", text, at(0)).unwrap());
    assert_eq!(store.hub_commits(REPO, "main").unwrap().len(), 2);
    store.sweep(at(60 * 25), false).unwrap();
    assert!(!has(&root, "one") && has(&root, "two") && has(&root, "three"));
    drop(store);
    // By age: the one that another has followed so long ago goes, the newest never.
    let aged = Settings { history_age: Some(Duration::from_hours(48)), ..settings };
    let store = open(&aged, Arc::new(Machine));
    store.hub_resolve(REPO, &ids[1]).unwrap();
    let before = store.sweep(at(60 * 47), true).unwrap();
    assert_eq!((before.bytes, before.history), (0, 3));
    let dry = store.sweep(at(60 * 49), true).unwrap();
    assert_eq!((dry.blobs, dry.bytes, dry.history), (1, 3, 0));
    assert!(has(&root, "two"), "it was only said");
    assert_eq!(store.sweep(at(60 * 49), false).unwrap(), dry);
    assert!(!has(&root, "two") && has(&root, "three"));
    let log = store.hub_commits(REPO, "main").unwrap();
    assert_eq!(log.iter().map(|commit| &commit.id).collect::<Vec<_>>(), [&ids[2]]);
}

#[test]
fn a_history_goes_when_that_is_asked_for_but_for_versions_and_tags() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let settings = Settings { trash_ttl: Duration::from_hours(1), ..Settings::new(&root) };
    let store = open(&settings, Arc::new(Machine));
    store.create_repo(REPO, "somebody", at(0)).unwrap();
    for text in ["first", "tagged", "third", "now"] {
        commit(&store, "m", text, at(0)).unwrap();
        if text == "tagged" {
            store.create_tag(REPO, ("v1", "main"), None, at(0)).unwrap();
        }
    }
    let day = at(60 * 25);
    assert_eq!(store.sweep(day, true).unwrap().bytes, 0, "a history keeps what it has");
    let dry = store.sweep_more(day, true, true).unwrap();
    assert_eq!((dry.blobs, dry.bytes), (2, 10), "{dry:?}");
    assert_eq!(store.sweep_more(day, false, true).unwrap(), dry);
    let left = ["first", "tagged", "third", "now"].map(|text| has(&root, text));
    assert_eq!(left, [false, true, false, true]);
    // Deleted, it is in the trash, and in the history: emptying the trash frees nothing by itself.
    let key = Key::new("p", "a", "main", "m").unwrap();
    store.delete(&key, &berth::store::Require::Nothing, at(0)).unwrap();
    let dry = store.sweep(day, true).unwrap();
    assert_eq!((dry.trashed, dry.bytes), (1, 0), "{dry:?}");
    assert_eq!(store.sweep_more(day, true, true).unwrap().bytes, 3);
    store.sweep_more(day, false, true).unwrap();
    store.sweep(at(60 * 50), false).unwrap();
    assert!(!has(&root, "now") && has(&root, "tagged"));
    assert!(store.hub_resolve(REPO, "main").unwrap().tree.files.is_empty());
    store.hub_resolve(REPO, "v1").unwrap();
    commit(&store, "m", "anew", at(60 * 50)).unwrap();
    drop(store);
    assert_eq!(open(&settings, Arc::new(Machine)).hub_commits(REPO, "main").unwrap().len(), 1);
}

/// One bad byte in what is kept of a repository costs nothing but the repository's changes.
#[test]
fn a_history_is_not_lost_with_one_bad_byte() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let settings = Settings::new(&root);
    let store = open(&settings, Arc::new(Machine));
    store.create_repo(REPO, "somebody", at(0)).unwrap();
    let old = commit(&store, "m", "old", at(0)).unwrap();
    commit(&store, "m", "new", at(0)).unwrap();
    drop(store);
    let path = fs::read_dir(root.join(".store/hub/repos")).unwrap().next().unwrap();
    let path = path.unwrap().path();
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[1..]).unwrap();
    let store = open(&settings, Arc::new(Machine));
    let far = at(60 * 24 * 30);
    store.sweep(far, false).unwrap();
    assert!(has(&root, "old"), "what it names is kept");
    assert_eq!(store.hub_resolve(REPO, &old).unwrap().tree.files.len(), 1);
    for told in [
        commit(&store, "m", "other", at(0)).map(drop),
        store.create_tag(REPO, ("v1", "main"), None, at(0)),
        store.create_branch(REPO, ("dev", "main"), "somebody", at(0)),
        store.delete_branch(REPO, "dev", at(0), &|_| Ok(())),
    ] {
        let told = told.unwrap_err().to_string();
        assert!(told.contains("what is kept of p/a can't be read"), "{told}");
    }
    drop(store);
    assert_eq!(fs::read(&path).unwrap(), &good[1..], "it is not written over");
    fs::write(&path, &good).unwrap();
    let store = open(&settings, Arc::new(Machine));
    assert_eq!(store.hub_commits(REPO, "main").unwrap().len(), 3);
    commit(&store, "m", "again", at(0)).unwrap();
}

/// All of a repository or branch goes, or nothing of it.
#[tokio::test]
async fn nothing_of_a_repository_goes_when_a_part_may_not() {
    let hub = Hub::start().await;
    hub.repo("conformance/a", &[("m", "m")]).await;
    for version in ["0.9", "1.0"] {
        let path = format!("/models/conformance/a/{version}/m");
        assert_eq!(hub.ask("PUT", &path, version).await.status, 201);
    }
    assert_eq!(hub.ask("PUT", "/models/conformance/a/1.0/n", "n").await.status, 201);
    assert_eq!(hub.ask("POST", "/models/conformance/a/1.0/freeze", "").await.status, 200);
    let body = r#"{"name":"a","organization":"conformance"}"#;
    let refused = hub.ask("DELETE", "/api/repos/delete", body).await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let refused = hub.ask("DELETE", "/api/models/conformance/a/branch/1.0", "").await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let left = hub.models.store().unwrap().list(&Query::default()).total;
    assert_eq!(left, 4, "nothing is gone");
    assert_eq!(hub.ask("POST", "/models/conformance/a/1.0/unfreeze", "").await.status, 200);
    assert_eq!(hub.ask("DELETE", "/api/repos/delete", body).await.status, 200);
}

/// Commits and branches count as uploads do.
#[tokio::test]
async fn a_commit_brings_no_more_models_than_a_project_may_have() {
    let (hub, _) = Hub::start_as(|settings| settings.project_models_max = Some(2)).await;
    hub.repo("conformance/a", &[("m", "m")]).await;
    let refused = hub.commit("conformance/a", "main", &[file("n", "n"), file("o", "o")]).await;
    assert_eq!(refused.status, 413, "{refused:?}");
    let gone = line("deletedFile", &json!({ "path": "m" }));
    let lines = [file("n", "n"), file("o", "o"), gone];
    let swapped = hub.commit("conformance/a", "main", &lines).await;
    assert_eq!(swapped.status, 200, "two for one");
    let branch = hub.ask("POST", "/api/models/conformance/a/branch/dev", "").await;
    assert_eq!(branch.status, 413, "{branch:?}");
}

/// What only a history has is looked into when somebody asks for it.
#[tokio::test]
async fn an_old_commit_that_nobody_has_looked_into_is_given_after_a_while() {
    let (hub, _) = Hub::start_as(|settings| settings.policy.danger = Danger::Block).await;
    let old = hub.repo("conformance/a", &[("config.json", "{}")]).await;
    assert_eq!(
        hub.commit("conformance/a", "main", &[file("config.json", "[1]")]).await.status,
        200
    );
    let reports = hub.folder.path().join("models/.store/reports");
    for entry in fs::read_dir(reports).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let path = format!("/conformance/a/resolve/{old}/config.json");
    let mut answer = hub.ask("GET", &path, "").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    for _ in 0..600 {
        if answer.status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer = hub.ask("GET", &path, "").await;
    }
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"), "{answer:?}");
}

/// Where the disk fails while parts are joined, they are there for another try.
#[test]
fn parts_that_could_not_be_joined_are_joined_later() {
    let whole = Digest::of_bytes(b"onetwo");
    let ready = |root: &Path, fault: Fault| {
        let disk = Arc::new(Faulty::new(Arc::new(Machine), fault));
        let store = open(&Settings::new(root), Arc::clone(&disk) as _);
        for (number, text) in [(1, "one"), (2, "two")] {
            let mut upload = Upload::begin(&store, None).unwrap();
            upload.write(text.as_bytes()).unwrap();
            store.keep_part(upload, ("p", &whole), number, at(0)).unwrap();
        }
        (store, disk)
    };
    let before = {
        let folder = tempfile::tempdir().unwrap();
        ready(&folder.path().join("models"), Fault::Never).1.changes()
    };
    let mut failures = 0;
    for change in 1.. {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        let (store, disk) = ready(&root, Fault::Once(before + change, Errno::IO));
        if store.join_parts(("p", &whole), 6, at(0)).is_err() {
            failures += 1;
            store.join_parts(("p", &whole), 6, at(0)).unwrap();
        }
        assert_eq!(store.holds(&whole, "p", None), Some(6));
        if disk.failed() == 0 {
            assert_eq!(fs::read_dir(root.join(".store/uploads")).unwrap().count(), 0);
            break;
        }
    }
    assert!(1 < failures, "{failures}");
}
