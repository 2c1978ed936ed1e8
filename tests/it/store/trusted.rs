//! What lies on the disk is believed as long as it was not touched, and no longer.

use std::{fs, path::Path, sync::Arc, time::Duration};

use berth::{
    model::{Digest, Timestamp},
    store::{
        Depot, Error, Found, Immutable, Key, Order, Query, Require, Settings, Store, Upload,
        disk::Machine,
    },
};
use rustix::io::Errno;

use super::{
    faulty::{Fault, Faulty},
    scrub::rot,
};
use crate::api::stage::Stage;

const GOOD: &str = "0123456789";

fn open(root: &Path) -> Result<Arc<Store>, Error> {
    Store::open(Settings::new(root), Arc::new(Machine), Arc::default()).map(Arc::new)
}

fn upload(store: &Arc<Store>, bytes: &[u8]) -> Upload {
    let mut upload = Upload::begin(store, None).unwrap();
    upload.write(bytes).unwrap();
    upload
}

fn key(name: &str) -> Key {
    let parts: Vec<_> = name.split('/').collect();
    Key::new(parts[0], parts[1], parts[2], parts[3]).unwrap()
}

fn now() -> Timestamp {
    berth::clock::Clock::System.now()
}

/// What was acknowledged is what was sent, though a file that should be the same was there.
#[tokio::test]
async fn what_is_sent_again_is_compared_with_what_is_there() {
    let stage = Stage::start().await;
    let root = stage.folder.path().join("models");
    let put = async |path: &str| stage.ask("PUT", path, &[], GOOD).await.status;
    assert_eq!(put("/models/p/a/1/m").await, 201);
    rot(&root.join("p/a/1/m/model"));
    assert_eq!(put("/models/p/a/1/n").await, 201);
    assert_eq!(stage.get("/models/p/a/1/n").await.body, GOOD);
    assert_eq!(stage.get("/models/p/a/1/m").await.status, 410, "it was found out on the way");
    assert_eq!(put("/models/p/a/1/m").await, 201);
    assert_eq!(stage.get("/models/p/a/1/m").await.body, GOOD);
    let one = fs::metadata(root.join("p/a/1/m/model")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::nlink(&one), 3, "two models and the content");
}

#[test]
fn a_content_for_a_commit_is_compared_too_and_what_is_not_sent_is_read_first() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let store = open(&root).unwrap();
    let sent = upload(&store, GOOD.as_bytes());
    sent.finish(&Order::new(key("p/a/1/m")), now()).unwrap();
    for at in 0..20 {
        let other = upload(&store, format!("other {at}").as_bytes());
        other.finish(&Order::new(key(&format!("p/a/1/n{at}"))), now()).unwrap();
    }
    let digest = Digest::of_bytes(GOOD.as_bytes());
    rot(&root.join("p/a/1/m/model"));
    // A client that only asks does not send it.
    assert_eq!(store.hold(&digest, "q", None, now()), Some(10));
    assert_eq!(store.scrub_next(&mut |_| true).unwrap(), Some(Found::Rotten));
    let (kept, _) = store.keep_content(upload(&store, GOOD.as_bytes()), "q", None, now()).unwrap();
    let blob = root.join(".store/blobs/sha256").join(&kept.as_str()[..2]).join(&kept.as_str()[2..]);
    rot(&blob);
    store.keep_content(upload(&store, GOOD.as_bytes()), "q", None, now()).unwrap();
    assert_eq!(fs::read_to_string(&blob).unwrap(), GOOD);
}

/// Files of an older system may be written to in place, by those whose they are.
#[tokio::test]
async fn a_file_of_others_that_is_written_to_in_place_is_another_content() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let model = root.join("p/a/1/m");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("model"), GOOD).unwrap();
    let text = r#"{"upload_timestamp": "2024-05-01T10:00:00.123456+00:00"}"#;
    fs::write(model.join("metadata.json"), text).unwrap();
    let depot = Depot::new(Settings::new(&root));
    let store = depot.store().unwrap().clone();
    let digest = store.hash(&key("p/a/1/m"), || true).unwrap();
    let stage = Stage::with_models(depot).await;
    let first = stage.get("/models/p/a/1/m").await;
    assert!(first.has(&format!("etag: \"{digest}\"")), "{first:?}");

    let file = fs::OpenOptions::new().write(true).open(model.join("model")).unwrap();
    let write = |text: &str, later: u64| {
        use std::os::unix::fs::FileExt as _;
        let before = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
        file.set_modified(before + Duration::from_secs(later)).unwrap();
    };
    write("abcdefghij", 1);
    let known = format!("\"{digest}\"");
    for method in ["HEAD", "GET"] {
        let asked = [("if-none-match", known.as_str())];
        let answer = stage.ask(method, "/models/p/a/1/m", &asked, "").await;
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
        assert!(!answer.head.contains(digest.as_str()), "{method}: {answer:?}");
    }
    let before = stage.get("/models/p/a/1/m").await;
    write("ABCDEFGHIJ", 1);
    let after = stage.get("/models/p/a/1/m").await;
    let etag = |head: &str| head.lines().find(|line| line.starts_with("etag")).map(str::to_owned);
    assert_ne!(etag(&before.head), etag(&after.head), "before anybody has hashed it");
    // Where even the time is as before, reading it again sets it right.
    let digest = store.hash(&key("p/a/1/m"), || true).unwrap();
    assert_eq!(store.get(&key("p/a/1/m")).unwrap().sha256, Some(digest));
    write("aaaaaaaaaa", 0);
    assert_eq!(store.verify(&key("p/a/1/m")).unwrap(), Found::Good);
    let now = Digest::of_bytes(b"aaaaaaaaaa");
    assert!(stage.get("/models/p/a/1/m").await.has(&format!("etag: \"{now}\"")));
}

/// What can't be made to last is not brought back, and is there for another try.
#[test]
fn bringing_back_that_fails_is_taken_back() {
    let mut failures = 0;
    for at in 1.. {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        let store = open(&root).unwrap();
        let sent = upload(&store, GOOD.as_bytes());
        sent.finish(&Order::new(key("p/a/1/m")), now()).unwrap();
        store.delete(&key("p/a/1/m"), &Require::Nothing, now()).unwrap();
        drop(store);
        let quiet = Faulty::new(Arc::new(Machine), Fault::Never);
        let quiet = Arc::new(quiet);
        drop(Store::open(Settings::new(&root), Arc::clone(&quiet) as _, Arc::default()).unwrap());
        let disk = Faulty::new(Arc::new(Machine), Fault::Once(quiet.changes() + at, Errno::IO));
        let disk = Arc::new(disk);
        let store = Store::open(Settings::new(&root), Arc::clone(&disk) as _, Arc::default());
        let store = store.unwrap();
        let id = store.trash().unwrap()[0].id.clone();
        if disk.failed() == 0 && store.restore(&id).is_err() {
            failures += 1;
            assert_eq!(store.list(&Query::default()).total, 0, "change {at}");
            assert!(!root.join("p/a/1/m").exists(), "change {at}");
            store.restore(&id).unwrap_or_else(|error| panic!("change {at}: {error}"));
        }
        assert_eq!(fs::read_to_string(root.join("p/a/1/m/model")).unwrap(), GOOD);
        if disk.failed() == 0 {
            break;
        }
    }
    assert!(4 < failures, "{failures}");
}

/// Where versions stay as they are, they are not deleted to be stored anew either.
#[tokio::test]
async fn what_may_not_be_changed_may_not_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("models"));
    settings.immutable = Immutable::Releases;
    let stage = Stage::with_models(Depot::new(settings)).await;
    for (version, status) in [("1.0.0", 409), ("main", 200)] {
        let path = format!("/models/p/a/{version}/m");
        assert_eq!(stage.ask("PUT", &path, &[], "one").await.status, 201);
        let gone = stage.ask("DELETE", &path, &[], "").await;
        assert_eq!(gone.status, status, "{version}: {gone:?}");
    }
}

/// What a project may have counts for what comes back from the trash too.
#[tokio::test]
async fn what_comes_back_finds_the_rules_that_uploads_find() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("models"));
    settings.project_models_max = Some(1);
    let depot = Depot::new(settings);
    let store = depot.store().unwrap().clone();
    let put = |name: &str| upload(&store, b"x").finish(&Order::new(key(name)), now()).map(drop);
    put("p/a/1/m").unwrap();
    store.delete(&key("p/a/1/m"), &Require::Nothing, now()).unwrap();
    put("p/a/2/m").unwrap();
    let id = store.trash().unwrap()[0].id.clone();
    let told = store.restore(&id).unwrap_err();
    assert!(matches!(&told, Error::TooLarge(_)), "{told}");
    store.set_alias(("p", "a"), "1", "2").unwrap();
    store.delete(&key("p/a/2/m"), &Require::Nothing, now()).unwrap();
    let told = store.restore(&id).unwrap_err().to_string();
    assert!(told.contains("`1` is an alias"), "{told}");
    store.remove_alias(("p", "a"), "1").unwrap();
    store.restore(&id).unwrap();
}

/// As long as nobody knows what is frozen, all of the app is.
#[test]
fn what_is_kept_of_an_app_is_not_lost_with_one_bad_byte() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let store = open(&root).unwrap();
    for name in ["p/a/1/m", "p/b/1/m"] {
        upload(&store, b"x").finish(&Order::new(key(name)), now()).unwrap();
    }
    store.freeze(("p", "a"), "1", true).unwrap();
    store.set_alias(("p", "a"), "stable", "1").unwrap();
    drop(store);
    let apps = root.join(".store/apps");
    let path = fs::read_dir(&apps).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[1..]).unwrap();
    let store = open(&root).unwrap();
    let told = [
        upload(&store, b"y").finish(&Order::new(key("p/a/1/m")), now()).map(drop),
        upload(&store, b"y").finish(&Order::new(key("p/a/2/m")), now()).map(drop),
        store.delete(&key("p/a/1/m"), &Require::Nothing, now()).map(drop),
        store.set_alias(("p", "a"), "other", "1").map(drop),
        store.freeze(("p", "a"), "1", true).map(drop),
    ];
    for told in told {
        let told = told.unwrap_err();
        let is_clear = told.to_string().contains("what is kept of p/a can't be read");
        assert!(is_clear && matches!(told, Error::Conflict(_)), "{told}");
    }
    upload(&store, b"y").finish(&Order::new(key("p/b/1/m")), now()).unwrap();
    drop(store);
    assert_eq!(fs::read(&path).unwrap(), &good[1..], "it is not written over");
    fs::write(&path, &good).unwrap();
    let store = open(&root).unwrap();
    assert!(store.is_frozen(&key("p/a/1/m")));
    assert_eq!(store.app("p", "a").aliases["stable"], "1");
}

/// What a mounted disk has at its root, and a folder of somebody else's.
#[test]
fn one_folder_that_nobody_may_look_into_does_not_close_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    for name in ["p/a/1/m", "lost+found/a/1/m", "q/secret/1/m"] {
        fs::create_dir_all(root.join(name)).unwrap();
        fs::write(root.join(name).join("model"), "x").unwrap();
    }
    let denied = |folder: &str| Faulty::denying(Arc::new(Machine), root.join(folder));
    for folder in ["lost+found", "q/secret"] {
        let store = Store::open(Settings::new(&root), Arc::new(denied(folder)), Arc::default());
        let store = store.unwrap_or_else(|error| panic!("{folder}: {error}"));
        let all = store.list(&Query::default()).entries;
        let names: Vec<_> = all.iter().map(|entry| entry.key.to_string()).collect();
        let wanted = if folder == "q/secret" { 1 } else { 2 };
        assert_eq!(names.len(), wanted, "{names:?}");
        assert!(names.iter().all(|name| !name.starts_with("lost")), "{names:?}");
    }
    let all = Store::open(Settings::new(&root), Arc::new(denied("")), Arc::default());
    assert!(all.is_err(), "the root itself must be read");
}
