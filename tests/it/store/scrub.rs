//! What the disk has changed is found, moved aside and not given to anybody.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
};

use berth::{
    model::Digest,
    store::{Depot, Found, Settings, What},
};
use serde_json::json;

use super::inspection::open;
use crate::api::stage::Stage;

/// Changes one byte of a file, as a disk does it: nothing else is different.
pub(super) fn rot(path: &Path) {
    let before = fs::metadata(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"!", 2).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
}

async fn put(stage: &Stage, path: &str, content: &str) {
    let answer = stage.ask("PUT", &format!("/models/{path}"), &[], content).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn what_rots_is_found_moved_aside_and_refused_until_it_is_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let settings = Settings::new(&root);
    let depot = Depot::new(settings.clone());
    let mut happenings = depot.listen();
    let store = depot.store().unwrap().clone();
    let stage = Stage::with_models(depot).await;
    for path in ["p/a/1/m", "q/a/1/m"] {
        put(&stage, path, "0123456789").await;
    }
    put(&stage, "p/a/2/m", "another").await;
    assert_eq!(stage.run(&["models", "verify", "p/a/1/m"]).await.code, 0);
    rot(&root.join("p/a/1/m/model"));
    let mut found = Vec::new();
    while let Some(one) = store.scrub_next(&mut |_| true).unwrap() {
        found.push(one);
    }
    found.sort_by_key(|found| *found == Found::Good);
    assert_eq!(found, [Found::Rotten, Found::Good]);
    assert_eq!((store.progress().rounds, store.progress().contents), (1, 0));
    for path in ["p/a/1/m", "q/a/1/m"] {
        let answer = stage.get(&format!("/models/{path}")).await;
        assert_eq!(answer.status, 410, "{answer:?}");
        assert!(answer.body.starts_with("{\"detail\":\"Model is quarantined"), "{answer:?}");
        let info = stage.get(&format!("/models/{path}/info")).await.json();
        assert_eq!(
            (&info["quarantined"], &info["inspection"]["served"]),
            (&json!(true), &json!(false))
        );
    }
    let mut told = Vec::new();
    while let Ok(happening) = happenings.try_recv() {
        told.extend(matches!(happening.what, What::Quarantined { .. }).then_some(happening));
    }
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|happening| happening.what.is_warning()));
    // Nothing is lost: what the disk has is there, aside.
    let aside = |root: &Path| {
        let all = fs::read_dir(root.join(".store/quarantine")).unwrap();
        let mut all: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    };
    let all = aside(&root);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(fs::read(&all[0]).unwrap(), b"01!3456789");
    let health = stage.run(&["models", "verify"]).await;
    assert_eq!((health.code, health.out.contains("p/a/1/m q/a/1/m")), (1, true), "{health:?}");
    assert_eq!(stage.run(&["models", "verify", "p/a/1/m"]).await.code, 1);
    // Stored again, it is another file; the other model of that content waits for the same.
    put(&stage, "p/a/1/m", "0123456789").await;
    assert_eq!(stage.get("/models/p/a/1/m").await.body, "0123456789");
    drop(store);
    stage.stop.cancel();
    stage.served.await.unwrap();
    let stage = Stage::with_models(open(&settings).await).await;
    assert_eq!(stage.get("/models/p/a/1/m").await.status, 200);
    assert_eq!(stage.get("/models/q/a/1/m").await.status, 410, "it is remembered");
    let told = stage.get("/api/v1/models/health").await.json();
    let digest = Digest::of_bytes(b"0123456789");
    assert_eq!(told["quarantined"][0]["sha256"], digest.as_str(), "{told:#}");
    assert_eq!(told["scrub"]["rounds"], 1);
    assert_eq!(aside(&root), all, "it is never removed");
}

/// Who removes a mark has the content looked at again: it is as bad as it was, and is moved again,
/// though it lies there already.
#[tokio::test]
async fn what_rots_is_moved_again_when_its_mark_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let settings = Settings::new(&root);
    let aside = || {
        let all = fs::read_dir(root.join(".store/quarantine")).unwrap();
        let mut all: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    };
    let mut known = Vec::new();
    for round in 0..2 {
        let depot = open(&settings).await;
        let store = depot.store().unwrap().clone();
        let stage = Stage::with_models(depot).await;
        if round == 0 {
            put(&stage, "p/a/1/m", "0123456789").await;
            rot(&root.join("p/a/1/m/model"));
        }
        while store.scrub_next(&mut |_| true).unwrap().is_some() {}
        assert_eq!(stage.get("/models/p/a/1/m").await.status, 410, "round {round}");
        let all = aside();
        assert_eq!(all.len(), 2, "{all:?}");
        if round == 0 {
            fs::remove_file(&all[1]).unwrap();
            known.clone_from(&all);
        } else {
            // What is stored anew is a file of its own.
            assert_eq!(all, known);
            put(&stage, "p/a/1/m", "0123456789").await;
            assert_eq!(stage.get("/models/p/a/1/m").await.body, "0123456789");
            assert_eq!(fs::read(&all[0]).unwrap(), b"01!3456789");
        }
        drop(store);
        stage.stop.cancel();
        stage.served.await.unwrap();
    }
}

#[tokio::test]
async fn reading_again_goes_on_where_it_was_and_stops_when_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path().join("models"));
    let depot = Depot::new(settings.clone());
    let store = depot.store().unwrap().clone();
    let stage = Stage::with_models(depot).await;
    for number in 0..5 {
        put(&stage, &format!("p/a/{number}/m"), &format!("content {number}")).await;
    }
    for _ in 0..2 {
        assert_eq!(store.scrub_next(&mut |_| true).unwrap(), Some(Found::Good));
    }
    let progress = store.progress();
    assert_eq!((progress.contents, progress.bytes), (2, 18));
    assert!(store.scrub_next(&mut |_| false).is_err(), "it was told to stop");
    assert_eq!(store.progress(), progress, "what was not read to its end is read again");
    drop(store);
    stage.stop.cancel();
    stage.served.await.unwrap();
    let depot = open(&settings).await;
    let store = depot.store().unwrap();
    let mut read = 0;
    while store
        .scrub_next(&mut |bytes| {
            read += bytes;
            true
        })
        .unwrap()
        .is_some()
    {}
    assert_eq!(read, 27, "the three that were left");
    assert_eq!(store.progress().rounds, 1);
}
