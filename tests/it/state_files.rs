//! State files that are lost, cut, spoilt, newer, or can't be written. What runs is taken over as
//! it is: without its files Berth knows less, and removes nothing.

mod durable;
mod program;

use std::{
    fs,
    path::{Path, PathBuf},
};

use berth::{
    model::{AppName, Protocol, Timestamp},
    record::{
        Command,
        file::{Error, Folder, Kept},
        ledger::Ledger,
    },
};
use tempfile::TempDir;

use crate::folder::Mounted;
use crate::rig::{Berth, Rig, manifest, name};

/// A moment, for names of files that are put aside.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A state folder that is nobody's yet.
fn bench() -> (TempDir, PathBuf) {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("state");
    (top, path)
}

/// Something worth keeping.
fn something() -> Kept {
    let ledger = Ledger::default();
    for app in ["chat", "shop"] {
        ledger.update(&name(app), |facts| {
            facts.generation = 7;
            facts.is_paused = true;
            facts.ports.insert((Protocol::Tcp, 5000), 8123);
            facts.last_good = Some((format!("{app}.yaml"), manifest(app, "shop/app:1", "")));
        });
    }
    ledger.note_folder("a folder");
    ledger.note_engine("an engine");
    ledger.kept()
}

/// What is kept, as bytes on the disk.
fn on_disk() -> Vec<u8> {
    let (_top, path) = bench();
    Folder::open(&path).unwrap().save(&something()).unwrap();
    fs::read(path.join("state.json")).unwrap()
}

/// Puts these bytes where the state is, and reads it.
fn load(path: &Path, bytes: &[u8]) -> Result<(Kept, Option<String>), Error> {
    let folder = Folder::open(path).unwrap();
    fs::write(path.join("state.json"), bytes).unwrap();
    folder.load(NOW)
}

fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_saved_is_read_back() {
    let (_top, path) = bench();
    let kept = Kept { format: 1, ..something() };
    let folder = Folder::open(&path).unwrap();
    folder.save(&kept).unwrap();
    assert_eq!(folder.load(NOW).unwrap(), (kept, None));
    assert_eq!(names(&path), ["lock", "state.json"]);
}

// T01: the first start, and a state folder that was lost.
#[test]
fn a_state_that_is_not_there_is_no_state_and_no_mistake() {
    let (_top, path) = bench();
    assert_eq!(Folder::open(&path).unwrap().load(NOW).unwrap(), (Kept::default(), None));
}

// D42, T01: whatever the file is cut to, it is no state; what was there is put aside whole.
#[test]
fn a_state_that_is_cut_anywhere_is_put_aside_and_told() {
    let whole = on_disk();
    for end in 0..whole.len() {
        let (_top, path) = bench();
        let (kept, told) = load(&path, &whole[..end]).unwrap();
        assert_eq!(kept, Kept::default(), "cut at {end}");
        let aside = path.join(format!("state.json.corrupt-{}", NOW.as_millis()));
        assert_eq!(fs::read(&aside).unwrap(), whole[..end]);
        let told = told.unwrap();
        assert!(told.contains(&aside.display().to_string()), "{told}");
        assert!(!path.join("state.json").exists());
    }
}

// T01
#[test]
fn a_state_that_makes_no_sense_is_put_aside_and_told() {
    let spoilt: &[(&str, &[u8])] = &[
        ("zeros, as after a power cut", &[0; 4096]),
        ("another program's file", b"<html></html>"),
        ("not UTF-8", b"{\"folder\": \"\xff\"}"),
        ("wrong types", br#"{"format": 1, "apps": ["chat"]}"#),
        ("a wrong type deep inside", br#"{"format": 1, "apps": {"chat": {"ports": [[1, 2]]}}}"#),
        ("a negative generation", br#"{"format": 1, "apps": {"chat": {"generation": -1}}}"#),
        ("nothing", b"null"),
        ("twice", b"{}{}"),
    ];
    for (what, bytes) in spoilt {
        let (_top, path) = bench();
        let (kept, told) = load(&path, bytes).unwrap();
        assert_eq!((kept, told.is_some()), (Kept::default(), true), "{what}");
        assert_eq!(names(&path).len(), 2, "{what}: {:?}", names(&path));
    }
}

// T01: what was put aside is not written over by the next.
#[test]
fn each_spoilt_state_is_put_aside_by_itself() {
    let (_top, path) = bench();
    let folder = Folder::open(&path).unwrap();
    for (at, text) in [(1, "one"), (2, "two")] {
        fs::write(path.join("state.json"), text).unwrap();
        folder.load(Timestamp::from_millis(at)).unwrap();
    }
    folder.save(&something()).unwrap();
    assert_eq!(
        names(&path),
        ["lock", "state.json", "state.json.corrupt-1", "state.json.corrupt-2"]
    );
}

// T02: what a newer Berth wrote may mean anything. It is neither read nor put aside nor replaced.
#[test]
fn a_newer_state_is_refused_and_left_alone() {
    let newer: &[&str] = &[
        r#"{"format": 2}"#,
        r#"{"format": 2, "apps": {"chat": {"generation": 3}}}"#,
        r#"{"format": 9, "apps": ["a shape that this Berth does not know"], "engineId": 5}"#,
    ];
    for text in newer {
        let (_top, path) = bench();
        let error = load(&path, text.as_bytes()).unwrap_err();
        assert!(matches!(error, Error::Newer { .. }), "{text}: {error}");
        assert!(error.to_string().contains("install that version"), "{error}");
        assert_eq!(fs::read_to_string(path.join("state.json")).unwrap(), *text);
        assert_eq!(names(&path), ["lock", "state.json"]);
    }
}

// T02: fields of another version, known and unknown, do no harm.
#[test]
fn an_older_state_is_read_with_what_it_has() {
    let (_top, path) = bench();
    let apps = r#""apps": {"chat": {"isPaused": true, "old": 1}}"#;
    for before in [r#""format": 1, "gone": [1],"#, r#""format": 0,"#, ""] {
        let (kept, told) = load(&path, format!("{{{before} {apps}}}").as_bytes()).unwrap();
        assert_eq!((kept.apps["chat"].is_paused, kept.apps["chat"].generation), (true, 0));
        assert_eq!(told, None);
    }
}

// What a person wrote into it can't make an app of what is none.
#[test]
fn an_app_with_an_impossible_name_is_not_known() {
    let kept = something();
    let apps = kept.apps.into_iter().map(|(name, app)| (format!("../{name}"), app)).collect();
    assert!(Ledger::new(Kept { apps, ..Kept::default() }).apps().is_empty());
}

// D22
#[test]
fn a_second_berth_on_the_same_state_is_refused_until_the_first_ends() {
    let (_top, path) = bench();
    let first = Folder::open(&path).unwrap();
    let error = Folder::open(&path).unwrap_err();
    assert!(matches!(&error, Error::Locked(at) if *at == path), "{error}");
    assert!(error.to_string().contains("--state-dir"), "{error}");
    // Another way to the same folder is no way around it.
    let link = path.with_extension("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(matches!(Folder::open(&link), Err(Error::Locked(_))));
    first.save(&something()).unwrap();
    drop(first);
    let second = Folder::open(&path).unwrap();
    assert_eq!(second.load(NOW).unwrap().0.apps.len(), 2);
}

#[test]
fn a_state_folder_that_can_not_be_is_an_error_that_names_it() {
    let (top, path) = bench();
    fs::write(&path, "a file").unwrap();
    for path in [path.clone(), path.join("below")] {
        let error = Folder::open(&path).unwrap_err();
        assert!(matches!(error, Error::Folder { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
    // A state that is there but can't be read is not the same as none.
    let path = top.path().join("other");
    let folder = Folder::open(&path).unwrap();
    fs::create_dir(path.join("state.json")).unwrap();
    assert!(matches!(folder.load(NOW), Err(Error::Folder { .. })));
    assert!(path.join("state.json").is_dir());
}

// D41, D42: the old state stays, whole, when a new one can't be written.
#[test]
fn a_state_that_can_not_be_written_leaves_the_old_one() {
    let (_top, path) = bench();
    let folder = Folder::open(&path).unwrap();
    folder.save(&something()).unwrap();
    fs::create_dir(path.join("state.new")).unwrap();
    assert!(folder.save(&Kept::default()).is_err());
    assert_eq!(folder.load(NOW).unwrap().0.apps.len(), 2);
    fs::remove_dir(path.join("state.new")).unwrap();
    folder.save(&Kept::default()).unwrap();
    assert!(folder.load(NOW).unwrap().0.apps.is_empty());

    fs::remove_dir_all(&path).unwrap();
    assert!(folder.save(&something()).is_err());
}

// D41, D42
#[test]
fn a_full_disk_leaves_the_old_state() {
    let (_top, path) = bench();
    fs::create_dir(&path).unwrap();
    let _mounted = Mounted::at(&path, "64k").expect("a file system of its own takes root");
    let folder = Folder::open(&path).unwrap();
    folder.save(&something()).unwrap();
    let _ = fs::write(path.join("filler"), vec![0; 1 << 20]);
    let mut large = something();
    for number in 0..2_000 {
        let app = large.apps["chat"].clone();
        large.apps.insert(format!("app-{number}"), app);
    }
    assert!(folder.save(&large).is_err());
    assert_eq!(folder.load(NOW).unwrap(), (Kept { format: 1, ..something() }, None));
    fs::remove_file(path.join("filler")).unwrap();
    let _ = fs::remove_file(path.join("state.new"));
    folder.save(&Kept::default()).unwrap();
}

const APPS: [&str; 3] = ["chat", "docs", "shop"];

/// Three apps that run, and the state that is kept of them.
async fn three_apps() -> Rig {
    let mut rig = APPS.iter().fold(Rig::new(), |rig, app| rig.has(app, "shop/app:1"));
    let berth = rig.start();
    until_running(&berth).await;
    rig.kept = berth.stop().await;
    rig
}

async fn until_running(berth: &Berth) {
    for app in APPS {
        berth.until_running(app).await;
    }
}

/// What a Berth reads at its start when these bytes are where its state was.
fn restart_with(spoil: impl Fn(Vec<u8>) -> Vec<u8>, rig: &Rig) -> Kept {
    let (_top, path) = bench();
    Folder::open(&path).unwrap().save(&rig.kept).unwrap();
    let bytes = spoil(fs::read(path.join("state.json")).unwrap());
    load(&path, &bytes).unwrap().0
}

fn port(berth: &Berth, app: &str) -> u16 {
    berth.status(app).unwrap().ports[0].host_port
}

// T01: whatever becomes of the state, the same containers go on, with the same ports.
#[tokio::test(start_paused = true)]
async fn a_restart_with_any_state_restarts_nothing() {
    type Spoil = fn(Vec<u8>) -> Vec<u8>;
    let spoils: [(&str, Spoil); 6] = [
        ("as it was", |bytes| bytes),
        ("cut", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("empty", |_| Vec::new()),
        ("zeros", |bytes| vec![0; bytes.len()]),
        ("an old, empty one", |_| b"{\"format\": 1}".to_vec()),
        ("without its apps' details", |_| {
            br#"{"format": 1, "apps": {"chat": {}, "docs": {}, "shop": {}}}"#.to_vec()
        }),
    ];
    let mut rig = three_apps().await;
    let before = rig.fake.journal();
    let mut ports = Vec::new();
    for (what, spoil) in spoils {
        rig.kept = restart_with(spoil, &rig);
        let berth = rig.start();
        until_running(&berth).await;
        let resynced = berth.record.overview().resynced_at;
        berth.until("it is looked at again", |r| resynced < r.overview().resynced_at).await;
        until_running(&berth).await;
        assert_eq!(rig.fake.journal(), before, "{what}");
        ports.push(APPS.map(|app| port(&berth, app)));
        rig.kept = berth.stop().await;
    }
    assert!(ports.windows(2).all(|pair| pair[0] == pair[1]), "{ports:?}");
}

// T01, W01: state and manifests lost at once, as when both mounts are missing.
#[tokio::test(start_paused = true)]
async fn a_restart_without_state_and_without_manifests_removes_nothing() {
    let mut rig = three_apps().await;
    let before = rig.fake.journal();
    rig.kept = Kept::default();
    for left in [vec![], vec!["chat.yaml"], vec!["chat.yaml", "docs.yaml"]] {
        let all = rig.files.clone();
        rig.files.retain(|file, _| left.contains(&file.as_str()));
        let berth = rig.start();
        berth.until("removals are held", |r| r.overview().hold.is_some()).await;
        let resynced = berth.record.overview().resynced_at;
        berth.until("it is looked at again", |r| resynced < r.overview().resynced_at).await;
        assert_eq!(rig.fake.journal(), before, "{left:?}");
        berth.stop().await;
        rig.files = all;
    }
    let berth = rig.start();
    until_running(&berth).await;
    assert_eq!(rig.fake.journal(), before);
}

// T01, D28: apps that nobody names and no state knows go only when a person says so.
#[tokio::test(start_paused = true)]
async fn what_no_state_knows_is_removed_once_a_person_has_confirmed_it() {
    let mut rig = three_apps().await;
    rig.kept = Kept::default();
    rig.files.remove("shop.yaml");
    let berth = rig.start();
    berth.until("it is held", |r| r.overview().hold.is_some()).await;
    assert_eq!(rig.count("stop", "shop"), 0);
    berth.command(Command::Confirm).await.unwrap();
    berth.until_gone("shop").await;
    assert_eq!((rig.count("remove", "shop"), rig.count("stop", "chat")), (1, 0));
    let known: Vec<AppName> = berth.ledger.apps().into_iter().collect();
    assert_eq!(known, [name("chat"), name("docs")]);
}
