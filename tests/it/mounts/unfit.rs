//! What is in quarantine or blocked is not mounted, and is once it is good again.

use std::{
    collections::BTreeSet,
    fs,
    os::{
        fd::AsRawFd as _,
        unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    },
    path::Path,
};

use berth::{
    model::{ModelRef, MountedModel, Phase, Reason, Timestamp},
    store::{Danger, Depot, Found, Settings},
};

use super::{depot, key, put};
use crate::rig::{RESYNC, Rig, is, manifest};

const GOOD: &str = "0123456789";
const ROTTEN: &str = "01!3456789";

/// Changes one byte of a stored file, as a disk does it, and has that found out.
fn rot(depot: &Depot, folder: &Path, name: &str) {
    let path = folder.join("models").join(name).join("model");
    let before = fs::metadata(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"!", 2).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(depot.store().unwrap().verify(&key(name)).unwrap(), Found::Rotten);
}

fn mounted(depot: &Depot, text: &str) -> MountedModel {
    let wanted = ModelRef::parse(text).unwrap();
    let view = depot.store().unwrap().view(&wanted).unwrap();
    MountedModel {
        model: wanted.name(),
        version: view.version,
        file: wanted.file,
        digest: view.digest,
        reference: None,
        source: String::new(),
    }
}

/// Why a reference may not be mounted.
fn refused(depot: &Depot, text: &str) -> String {
    let store = depot.store().unwrap();
    let view = store.view(&ModelRef::parse(text).unwrap()).unwrap();
    let why = store.check_view(&view).unwrap_err().to_string();
    let told = store.put_view(&mounted(depot, text)).unwrap_err().to_string();
    assert!(told.contains("quarantined") || told == why, "{told} / {why}");
    why
}

#[test]
fn what_has_rotted_is_not_mounted_and_what_is_stored_again_is() {
    let (depot, folder) = depot();
    put(&depot, "demo/llm/1.0.0/config.json", "{}");
    put(&depot, "demo/llm/1.0.0/onnx%2Fweights", GOOD);
    let store = depot.store().unwrap();
    let whole = mounted(&depot, "demo/llm@1.0.0");
    let single = mounted(&depot, "demo/llm@1.0.0/onnx/weights");
    store.put_view(&whole).unwrap();
    let weights = store.view_path(&whole).join("onnx/weights");
    // What runs has the folder itself, whatever its name.
    let running = fs::File::open(store.view_path(&whole)).unwrap();
    let inside = format!("/proc/self/fd/{}/onnx/weights", running.as_raw_fd());

    rot(&depot, folder.path(), "demo/llm/1.0.0/onnx%2Fweights");
    for text in ["demo/llm@1.0.0", "demo/llm@latest/onnx/weights"] {
        let why = refused(&depot, text);
        let named = why.contains("demo/llm/1.0.0/onnx%2Fweights: Model is quarantined");
        assert!(named, "{why}");
    }
    assert!(!store.view_path(&single).exists(), "no link to what has rotted was made");

    put(&depot, "demo/llm/1.0.0/onnx%2Fweights", GOOD);
    assert_eq!(fs::read_to_string(&weights).unwrap(), GOOD, "it is there before it is asked for");
    for one in [&whole, &single] {
        store.put_view(one).unwrap();
    }
    assert_eq!(fs::read_to_string(store.view_path(&single)).unwrap(), GOOD);
    let stored = folder.path().join("models/demo/llm/1.0.0/onnx%2Fweights/model");
    assert_eq!(fs::metadata(&weights).unwrap().ino(), fs::metadata(stored).unwrap().ino());
    assert_eq!(fs::read_to_string(&inside).unwrap(), ROTTEN, "what runs keeps what it has");
    let far = Timestamp::from_millis(4_000_000_000_000);
    let used = BTreeSet::from([whole.digest.clone(), single.digest.clone()]);
    assert_eq!(store.sweep_views(&used, far), 0);
    assert_eq!(fs::read_to_string(&inside).unwrap(), ROTTEN);
    assert_eq!(store.sweep_views(&BTreeSet::new(), far), 3);
    assert!(!fs::exists(&inside).unwrap());
}

#[test]
fn what_is_blocked_is_not_mounted_though_it_was_stored_before() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings::new(folder.path().join("models"));
    let depot = Depot::new(settings.clone());
    put(&depot, "demo/llm/1.0.0/m.pkl", "cos\nsystem\n(S'true'\ntR.");
    let before = mounted(&depot, "demo/llm@1.0.0");
    depot.store().unwrap().put_view(&before).unwrap();
    depot.store().unwrap().inspect(&key("demo/llm/1.0.0/m.pkl"), false).unwrap();
    drop(depot);
    fs::File::open(folder.path().join("models/.store/lock")).unwrap().lock().unwrap();
    let mut strict = settings;
    strict.policy.projects.insert("demo".to_owned(), Danger::Block);
    let depot = Depot::new(strict);
    let why = refused(&depot, "demo/llm@1.0.0");
    assert!(why.contains("gives no such files"), "{why}");
    put(&depot, "demo/llm/1.0.1/m.bin", "fine");
    let store = depot.store().unwrap();
    store.inspect(&key("demo/llm/1.0.1/m.bin"), false).unwrap();
    store.put_view(&mounted(&depot, "demo/llm@1.0.1")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_app_says_that_its_model_has_rotted_and_starts_with_a_good_one_only() {
    let (depot, folder) = depot();
    put(&depot, "demo/llm/1.0.0/m", GOOD);
    let mut rig = Rig::new();
    rig.models = Some(depot.clone());
    let at = "mounts: [{path: /models/llm, model: demo/llm@1.0.0}]";
    rig.files.insert("chat.yaml".to_owned(), manifest("chat", "shop/app:1", at));
    let berth = rig.start();
    berth.until("it runs", |r| is(r, "chat", |s| s.phase == Phase::Running)).await;
    rot(&depot, folder.path(), "demo/llm/1.0.0/m");
    berth.manifests.put("late.yaml", &manifest("late", "shop/app:1", at));
    for app in ["chat", "late"] {
        let tells = |s: &berth::status::Status| {
            s.reason == Reason::ModelMissing && s.message.contains("Model is quarantined")
        };
        berth.until("it says so", |record| is(record, app, tells)).await;
    }
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!((rig.count("stop", "chat"), rig.count("create", "late")), (0, 0));
    put(&depot, "demo/llm/1.0.0/m", GOOD);
    berth.until("it starts", |r| is(r, "late", |s| s.phase == Phase::Running)).await;
    berth.until("it is well", |r| is(r, "chat", |s| s.reason != Reason::ModelMissing)).await;
    assert_eq!((rig.count("create", "chat"), rig.count("stop", "chat")), (1, 0));
    let late = berth.status("late").unwrap().models["/models/llm"].clone();
    let place = depot.store().unwrap().view_path(&late);
    assert_eq!(fs::read_to_string(place.join("m")).unwrap(), GOOD);
}
