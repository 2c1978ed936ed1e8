//! What is put in place for containers, on the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    sync::Arc,
};

use berth::{
    model::{Digest, ModelRef, MountedModel, Timestamp},
    store::{About, Depot, Key, Order, Require, Settings, Upload, name_of},
};

use super::{depot, key, now, put, stable};

fn wanted(text: &str) -> ModelRef {
    ModelRef::parse(text).unwrap()
}

/// What a reference means now, as it is mounted.
fn found(depot: &Depot, text: &str) -> Result<MountedModel, String> {
    let wanted = wanted(text);
    let view = depot.store().unwrap().view(&wanted).map_err(|error| error.to_string())?;
    Ok(MountedModel {
        model: wanted.name(),
        version: view.version,
        file: wanted.file,
        digest: view.digest,
        reference: None,
        source: String::new(),
    })
}

/// The store as the next start finds it, once nobody looks into a model of the one before.
fn reopened(folder: &tempfile::TempDir) -> Depot {
    let models = folder.path().join("models");
    fs::File::open(models.join(".store/lock")).unwrap().lock().unwrap();
    Depot::new(Settings::new(models))
}

#[test]
fn a_reference_means_a_version_an_alias_the_latest_or_the_highest_of_a_range() {
    let (depot, _folder) = depot();
    for version in ["1.0.0", "1.2.0", "1.10.0", "2.0.0", "2.1.0-rc.1", "main"] {
        put(&depot, &format!("demo/llm/{version}/m"), version);
    }
    put(&depot, "demo/llm/1.2.0/only-here", "x");
    stable(depot.store().unwrap(), "1.2.0");
    for (text, version) in [
        ("demo/llm@1.0.0", "1.0.0"),
        ("demo/llm@main", "main"),
        ("demo/llm@stable", "1.2.0"),
        ("demo/llm@latest", "2.0.0"),
        ("demo/llm@^1", "1.10.0"),
        ("demo/llm@1", "1.10.0"),
        ("demo/llm@>=1.0 <1.5", "1.2.0"),
        ("demo/llm@>=1.0, <1.5", "1.2.0"),
        ("demo/llm@latest/only-here", "1.2.0"),
        ("demo/llm@^1/only-here", "1.2.0"),
    ] {
        let found = found(&depot, text);
        assert_eq!(found.map(|found| found.version).as_deref(), Ok(version), "{text}");
    }
    for (text, why) in [
        ("demo/other@1.0.0", "no models demo/other"),
        ("demo/llm@^3", "no version `^3`"),
        ("demo/llm@canary", "no version `canary`"),
        ("demo/llm@1.0.0/only-here", "does not have a file `only-here`"),
        ("demo/llm@stable/other", "does not have a file `other`"),
    ] {
        let told = found(&depot, text).unwrap_err();
        assert!(told.contains(why), "{text}: {told}");
    }
}

#[test]
fn what_is_mounted_is_the_stored_file_itself_and_stays_when_the_store_changes() {
    let (depot, folder) = depot();
    put(&depot, "demo/llm/1.0.0/config.json", "{}");
    put(&depot, "demo/llm/1.0.0/weights", "one");
    let store = depot.store().unwrap();
    let whole = found(&depot, "demo/llm@1.0.0").unwrap();
    let single = found(&depot, "demo/llm@1.0.0/weights").unwrap();
    for mounted in [&whole, &single] {
        store.put_view(mounted).unwrap();
        store.put_view(mounted).unwrap();
    }
    let (place, file) = (store.view_path(&whole), store.view_path(&single));
    let mut names: Vec<_> =
        fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "weights"]);
    let stored = fs::metadata(folder.path().join("models/demo/llm/1.0.0/weights/model")).unwrap();
    for path in [place.join("weights"), file.clone()] {
        let seen = fs::metadata(&path).unwrap();
        assert_eq!((seen.ino(), seen.mode() & 0o777), (stored.ino(), 0o444), "{}", path.display());
    }

    // Replaced, deleted and swept, the old content is still what is mounted.
    let before = whole.digest.clone();
    put(&depot, "demo/llm/1.0.0/weights", "two");
    let after = found(&depot, "demo/llm@1.0.0").unwrap();
    assert_ne!(after.digest, before);
    store.delete(&key("demo/llm/1.0.0/weights"), &Require::Nothing, now()).unwrap();
    let far = Timestamp::from_millis(4_000_000_000_000);
    store.sweep(far, false).unwrap();
    assert_eq!(fs::read_to_string(place.join("weights")).unwrap(), "one");
    assert_eq!(fs::read_to_string(&file).unwrap(), "one");
    // What was found before can't be put in place any more as something else.
    let told = store.put_view(&after).unwrap_err().to_string();
    assert!(told.contains("has changed this moment"), "{told}");

    // Once nothing uses it, and it is not about to be, it goes, and its content with it.
    let used = BTreeSet::from([whole.digest.clone()]);
    let soon = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    assert_eq!(store.sweep_views(&BTreeSet::new(), soon), 0, "a start may be under way");
    assert_eq!(store.sweep_views(&used, far), 1);
    assert!(place.exists() && !file.exists());
    assert_eq!(store.sweep_views(&BTreeSet::new(), far), 1);
    assert_eq!(store.sweep(far, true).unwrap().blobs, 1, "`one` is of no use any more");
}

#[test]
fn files_of_an_older_system_are_mounted_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("models/demo/llm/1.0.0/m");
    fs::create_dir_all(&model).unwrap();
    fs::write(model.join("model.onnx"), "old").unwrap();
    let depot = Arc::new(Depot::new(Settings::new(folder.path().join("models"))));
    let told = found(&depot, "demo/llm@latest").unwrap_err();
    assert!(told.contains("digest is not known yet"), "{told}");
    let store = depot.store().unwrap();
    store.hash(&key("demo/llm/1.0.0/m"), || true).unwrap();
    let mounted = found(&depot, "demo/llm@latest").unwrap();
    store.put_view(&mounted).unwrap();
    let (seen, own) =
        (store.view_path(&mounted).join("m"), fs::metadata(model.join("model.onnx")).unwrap());
    assert_eq!(fs::metadata(&seen).unwrap().ino(), own.ino());
}

/// What a kill left of a folder that was being made goes at the next start.
#[test]
fn half_a_folder_is_never_mounted() {
    let (depot, folder) = depot();
    put(&depot, "demo/llm/1.0.0/m", "one");
    let mounted = found(&depot, "demo/llm@1.0.0").unwrap();
    let store = depot.store().unwrap();
    store.put_view(&mounted).unwrap();
    let mounts = folder.path().join("models/.store/mounts");
    fs::create_dir(mounts.join("new-7")).unwrap();
    fs::write(mounts.join("new-7/m"), "half").unwrap();
    drop(depot);
    let again = reopened(&folder);
    let store = again.store().unwrap();
    assert!(!mounts.join("new-7").exists());
    assert_eq!(fs::read_to_string(store.view_path(&mounted).join("m")).unwrap(), "one");
}

/// Files of folders, as repositories have them.
#[test]
fn names_that_stand_for_paths_become_folders_again() {
    let (depot, _folder) = depot();
    put(&depot, "demo/llm/main/onnx%2Fmodel.onnx", "x");
    put(&depot, "demo/llm/main/config.json", "{}");
    let store = depot.store().unwrap();
    let mounted = found(&depot, "demo/llm@main").unwrap();
    store.put_view(&mounted).unwrap();
    let place = store.view_path(&mounted);
    assert_eq!(fs::read_to_string(place.join("onnx/model.onnx")).unwrap(), "x");
    let file = found(&depot, "demo/llm@main/onnx/model.onnx").unwrap();
    store.put_view(&file).unwrap();
    assert_eq!(fs::read_to_string(store.view_path(&file)).unwrap(), "x");
    let far = Timestamp::from_millis(4_000_000_000_000);
    assert_eq!(store.sweep_views(&BTreeSet::new(), far), 2);
    assert!(!place.exists());
}

/// The names are those that the Hub has for the same files.
#[test]
fn long_names_are_mounted_at_their_paths_and_what_can_not_lie_together_is_told() {
    let (depot, _folder) = depot();
    let store = depot.store().unwrap();
    let long = format!("{}weights.bin", "a-folder-of-some-length/".repeat(8));
    let name = name_of(&long);
    assert!(name.len() <= 128 && name.contains('~'), "{name}");
    let mut upload = Upload::begin(store, None).unwrap();
    upload.write(b"x").unwrap();
    let key = Key::new("demo", "llm", "main", &name).unwrap();
    let about = About { original_filename: Some(long.clone()), ..About::default() };
    upload.finish(&Order { about, ..Order::new(key) }, now()).unwrap();
    put(&depot, "demo/llm/main/%40odd", "y");
    let mounted = found(&depot, "demo/llm@main").unwrap();
    store.put_view(&mounted).unwrap();
    let place = store.view_path(&mounted);
    assert_eq!(fs::read_to_string(place.join(&long)).unwrap(), "x");
    assert_eq!(fs::read_to_string(place.join("@odd")).unwrap(), "y");
    let file = found(&depot, &format!("demo/llm@main/{long}")).unwrap();
    store.put_view(&file).unwrap();
    assert_eq!(fs::read_to_string(store.view_path(&file)).unwrap(), "x");

    put(&depot, "demo/llm/odd/a", "x");
    put(&depot, "demo/llm/odd/a%2Fb", "y");
    let told = store.put_view(&found(&depot, "demo/llm@odd").unwrap()).unwrap_err().to_string();
    assert!(told.contains("`a` is a file, and others are in a folder of that name"), "{told}");
}

/// After a kill between the files of a version, no part of it is taken for the version.
#[test]
fn a_version_of_which_only_a_part_came_is_not_mounted() {
    let (depot, folder) = depot();
    let one = put(&depot, "demo/llm/1.0.0/one", "one");
    let two = Digest::of_bytes(b"two");
    let all = BTreeMap::from([("one".to_owned(), one), ("two".to_owned(), two)]);
    let of = ("demo", "llm", "1.0.0");
    depot.store().unwrap().expect_whole(of, all.clone()).unwrap();
    drop(depot);
    let depot = reopened(&folder);
    for text in ["demo/llm@1.0.0", "demo/llm@latest", "demo/llm@^1"] {
        let told = found(&depot, text).unwrap_err();
        assert!(told.contains("only a part of demo/llm@1.0.0 came"), "{told}");
    }
    assert!(found(&depot, "demo/llm@1.0.0/one").is_ok(), "what came of it is whole");
    put(&depot, "demo/llm/1.0.0/two", "other");
    assert!(found(&depot, "demo/llm@1.0.0").is_err());
    put(&depot, "demo/llm/1.0.0/two", "two");
    found(&depot, "demo/llm@1.0.0").unwrap();
    // Once it was there, it may be changed as any other.
    put(&depot, "demo/llm/1.0.0/two", "changed");
    found(&depot, "demo/llm@1.0.0").unwrap();

    // Who deletes what came begins anew.
    let store = depot.store().unwrap();
    store.expect_whole(of, all).unwrap();
    assert!(found(&depot, "demo/llm@1.0.0").is_err());
    for name in ["demo/llm/1.0.0/one", "demo/llm/1.0.0/two"] {
        store.delete(&key(name), &Require::Nothing, now()).unwrap();
    }
    put(&depot, "demo/llm/1.0.0/mine", "mine");
    found(&depot, "demo/llm@1.0.0").unwrap();
    assert_eq!(fs::read_dir(folder.path().join("models/.store/coming")).unwrap().count(), 0);
}

/// A view that was just asked for is there until its container is, however old it is.
#[test]
fn a_view_that_is_about_to_be_mounted_stays() {
    let (depot, _folder) = depot();
    put(&depot, "demo/llm/1.0.0/m", "one");
    let mounted = found(&depot, "demo/llm@1.0.0").unwrap();
    let store = depot.store().unwrap();
    store.put_view(&mounted).unwrap();
    let minutes = |count: i64| Timestamp::from_millis(now().as_millis() + count * 60_000);
    assert_eq!(store.sweep_views(&BTreeSet::new(), minutes(59)), 0);
    assert_eq!(store.sweep_views(&BTreeSet::new(), minutes(61)), 1);
    assert!(!store.view_path(&mounted).exists());
    store.put_view(&mounted).unwrap();
    assert!(store.view_path(&mounted).join("m").exists());
}
