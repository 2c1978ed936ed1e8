//! Archives that somebody else has written: read as if to do harm. `BERTH_BACKUP_SEED` plays one
//! again.

use std::{fs, path::Path, sync::Arc};

use berth::{
    backup::{Vault, disk::Machine, restore},
    model::Digest,
};
use serde_json::{Value, json};

use super::yard::{NOW, Yard, tree};

/// A generator of numbers that are the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below).unwrap()).unwrap()
    }
}

/// Writes a snapshot as its name demands it.
fn put(yard: &Yard, text: &[u8]) {
    let folder = yard.path("at/snapshots");
    for entry in fs::read_dir(&folder).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let digits = Digest::of_bytes(text).short(16).to_owned();
    fs::write(folder.join(format!("20251201T000000000Z-{digits}.json")), text).unwrap();
}

fn attempt(yard: &Yard) -> Result<(), berth::backup::Error> {
    let vault = Vault::open(Arc::new(Machine), &yard.path("at"), None)?;
    restore(&vault, &vault.find("latest")?, &yard.restore_order("new")).map(drop)
}

fn good(yard: &Yard) -> Value {
    let mut vault = yard.vault("at");
    berth::backup::create(&mut vault, &yard.order(), NOW, &mut ()).unwrap();
    let name = vault.find("latest").unwrap();
    serde_json::from_slice(&vault.snapshot(&name).unwrap().text()).unwrap()
}

fn is_untouched(yard: &Yard) -> bool {
    fs::read_dir(yard.path("new")).map_or(true, |mut it| it.next().is_none())
}

/// Each by name (fault S07): none is restored, and nothing is touched for it.
#[test]
fn entries_that_would_leave_their_folder_are_refused() {
    let yard = Yard::filled();
    let good = good(&yard);
    let digest = good["entries"].as_array().unwrap().iter().find_map(|e| e["sha256"].as_str());
    let digest = digest.unwrap().to_owned();
    let file = |path: &str| json!({"root": "manifests", "path": path, "kind": "file", "size": 1, "sha256": digest});
    let link = json!({"root": "manifests", "path": "out", "kind": "link", "target": "/etc"});
    let twice = [file("a"), file("a")];
    let bad: Vec<Vec<Value>> = vec![
        vec![file("../escaped")],
        vec![file("/etc/passwd")],
        vec![file("a/../../b")],
        vec![file("")],
        vec![file(".")],
        vec![file("a//b")],
        vec![file("%2e%2e/b")],
        vec![file("nul%00byte")],
        vec![file("%2Fetc")],
        vec![file(".berth-restore/plan.json")],
        vec![file(".restored-from.json")],
        vec![file(&"x".repeat(300))],
        vec![file("no/folder")],
        // Through a link that the archive itself makes.
        vec![link.clone(), file("out/passwd")],
        vec![link, json!({"root": "manifests", "path": "out/x", "kind": "folder"})],
        twice.to_vec(),
        vec![json!({"root": "manifests", "path": "x", "kind": "same", "of": "../../etc/passwd"})],
        vec![
            json!({"root": "manifests", "path": "x", "kind": "same", "of": "later"}),
            file("later"),
        ],
        vec![json!({"root": "etc", "path": "x", "kind": "folder"})],
        vec![json!({"root": "manifests", "path": "x", "kind": "device"})],
        vec![
            json!({"root": "manifests", "path": "x", "kind": "file", "size": 1, "sha256": "../../x"}),
        ],
        vec![
            json!({"root": "manifests", "path": "x", "kind": "file", "size": -1, "sha256": digest}),
        ],
        vec![
            json!({"root": "manifests", "path": "x", "kind": "file", "size": u64::MAX, "sha256": digest}),
        ],
        vec![json!({"root": "manifests", "path": "x", "kind": "folder", "mode": "99"})],
        vec![json!({"root": "manifests", "path": "x", "kind": "folder", "modified": "now"})],
        vec![json!({"root": "manifests", "path": "x", "kind": "link", "target": ""})],
    ];
    for entries in bad {
        let mut snapshot = good.clone();
        snapshot["entries"] = json!(entries);
        put(&yard, snapshot.to_string().as_bytes());
        let error = attempt(&yard).expect_err(&format!("{entries:?}"));
        assert_eq!(error.code(), "backup.damaged", "{entries:?}: {error}");
        assert!(is_untouched(&yard), "{entries:?}");
    }
}

/// Anything changed anywhere: it is refused, or what it says is restored within the folders that
/// were named, and nothing else.
#[test]
fn whatever_a_snapshot_says_nothing_outside_is_touched() {
    let seeds = match std::env::var("BERTH_BACKUP_SEED") {
        Ok(seed) => vec![seed.parse::<u64>().unwrap()],
        Err(_) => (1..=600).collect(),
    };
    let yard = Yard::filled();
    let good = good(&yard);
    let before = tree(&yard.path("old"));
    let (mut refused, mut restored) = (0, 0);
    for seed in seeds {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..16 {
            numbers.next(2);
        }
        let mut snapshot = good.clone();
        for _ in 0..=numbers.next(3) {
            twist(&mut snapshot, &mut numbers);
        }
        let mut text = snapshot.to_string().into_bytes();
        if numbers.next(4) == 0 {
            let at = numbers.next(text.len());
            match numbers.next(3) {
                0 => text.truncate(at),
                1 => text[at] ^= 1 << numbers.next(8),
                _ => drop(text.splice(at..at, *b"[[[[{{{{")),
            }
        }
        put(&yard, &text);
        if attempt(&yard).is_ok() {
            restored += 1;
        } else {
            refused += 1;
            let only_folders = tree(&yard.path("new"));
            let has_files = only_folders
                .iter()
                .any(|(path, what)| what.starts_with("file") && !path.contains(".berth-restore"));
            assert!(!has_files, "BERTH_BACKUP_SEED={seed}: {only_folders:?}");
        }
        assert_eq!(tree(&yard.path("old")), before, "BERTH_BACKUP_SEED={seed}");
        let names: Vec<_> = fs::read_dir(yard.path("")).unwrap().collect();
        assert!(names.len() <= 3, "BERTH_BACKUP_SEED={seed}: something is beside: {names:?}");
        clear(&yard.path("new"));
    }
    println!("{refused} refused, {restored} restored");
}

fn clear(folder: &Path) {
    if fs::remove_dir_all(folder).is_err() {
        // A hostile mode must not keep the next one from beginning.
        let args = ["-type", "d", "-exec", "chmod", "u+rwx", "{}", ";"];
        let _ = std::process::Command::new("find").arg(folder).args(args).output();
        let _ = fs::remove_dir_all(folder);
    }
}

/// Changes one thing.
fn twist(snapshot: &mut Value, numbers: &mut Numbers) {
    const TEXTS: [&str; 12] = [
        "../x",
        "/x",
        "..",
        "",
        "a/b",
        "%00",
        "\u{0}",
        "chat.yaml",
        "audit",
        ".store",
        "%2e%2e",
        "manifests",
    ];
    let entries = snapshot["entries"].as_array_mut().unwrap();
    let (one, other) = (numbers.next(entries.len()), numbers.next(entries.len()));
    let text = json!(TEXTS[numbers.next(TEXTS.len())]);
    match numbers.next(9) {
        0 => entries.swap(one, other),
        1 => drop(entries.remove(one)),
        2 => {
            let again = entries[one].clone();
            entries.insert(other, again);
        }
        3 => entries[one]["path"] = text,
        4 => entries[one]["kind"] = json!(["file", "link", "folder", "same", "x"][numbers.next(5)]),
        5 => entries[one]["root"] = json!(["state", "models", "secrets", "x"][numbers.next(4)]),
        6 => {
            entries[one]["kind"] = json!("link");
            entries[one]["target"] = text;
        }
        7 => entries[one]["of"] = text,
        _ => {
            let fields = ["size", "sha256", "mode", "modified", "owner", "target"];
            let values = [json!(1), json!(u64::MAX), json!(null), json!([]), json!("7777"), text];
            entries[one][fields[numbers.next(6)]] = values[numbers.next(6)].clone();
        }
    }
}
