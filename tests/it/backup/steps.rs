//! Every step at which a backup, a clean-up or a restore can fail or end (faults C07, T01, T07).

use std::{fs, sync::Arc};

use berth::backup::{Error, Root, UNFINISHED, Vault, create, disk::Machine, prune, restore};
use rustix::io::Errno;

use super::{
    faulty::{Fault, Faulty},
    yard::{NOW, Yard, copy_tree, tree},
};

/// What happens at a step.
fn faults(step: u64) -> [Fault; 4] {
    [
        Fault::Kill(step),
        Fault::Power(step),
        Fault::Once(step, Errno::IO),
        Fault::From(step, Errno::NOSPC),
    ]
}

/// Every step, or every so many: `BERTH_BACKUP_STEPS=1` plays all.
fn stride(usual: usize) -> usize {
    let said = std::env::var("BERTH_BACKUP_STEPS").ok();
    said.map_or(usual, |text| text.parse().unwrap())
}

/// Plays `work` with every fault at every step, and `check` after each. Answers how many.
#[expect(clippy::print_stdout, reason = "how many there were is worth knowing")]
fn play(
    usual: usize,
    yard: &Yard,
    work: impl Fn(Arc<Faulty>) -> Result<(), Error>,
    check: impl Fn(Fault, Result<(), Error>),
) -> usize {
    let limbo = yard.path("limbo");
    let count = Arc::new(Faulty::new(Fault::Never, &limbo));
    let done = work(Arc::clone(&count));
    check(Fault::Never, done);
    let steps = count.steps();
    assert!(20 < steps, "only {steps} steps");
    let mut played = 0;
    for step in (0..steps).step_by(stride(usual)) {
        for fault in faults(step) {
            let disk = Arc::new(Faulty::new(fault, &limbo));
            let done = work(Arc::clone(&disk));
            if matches!(fault, Fault::Power(_)) {
                disk.lose_power();
            }
            check(fault, done);
            let _ = fs::remove_dir_all(&limbo);
            played += 1;
        }
    }
    println!("{played} plays over {steps} steps");
    played
}

fn begin_again(yard: &Yard, from: &str, to: &str) {
    let to = yard.path(to);
    let _ = fs::remove_dir_all(&to);
    if !from.is_empty() {
        copy_tree(&yard.path(from), &to);
    }
}

/// What was there stays whole, and the next backup is made as if nothing had been.
#[test]
fn a_backup_that_fails_anywhere_harms_nothing() {
    let yard = Yard::filled();
    yard.create("before");
    yard.put("workspaces/chat/data/db", "other rows");
    yard.put("manifests/new.yaml", "kind: App");
    yard.model("other weights");
    yard.create("golden");
    yard.restore("golden", "wanted");
    let wanted = yard.trees("wanted");
    let nth = std::cell::Cell::new(0);
    let work = |disk: Arc<Faulty>| {
        begin_again(&yard, "before", "at");
        let mut vault = yard.vault_on(disk, "at", None)?;
        create(&mut vault, &yard.order(), NOW.moved(1), &mut ()).map(drop)
    };
    let check = |fault, done: Result<(), Error>| {
        let (names, verdict) = yard.check("at");
        assert!(verdict.flaws.is_empty(), "{fault:?}: {:?}", verdict.flaws);
        if done.is_ok() {
            assert_eq!(names.len(), 2, "{fault:?}");
        }
        yard.create_at("at", NOW.moved(2));
        nth.set(nth.get() + 1);
        if nth.get() % 8 == 1 {
            let _ = fs::remove_dir_all(yard.path("again"));
            yard.restore("at", "again");
            assert_eq!(yard.trees("again"), wanted, "{fault:?}");
        }
        let left = fs::read_dir(yard.path("at/tmp")).unwrap().count();
        assert_eq!(left, 0, "{fault:?}: drafts are left");
    };
    play(3, &yard, work, check);
}

/// The first backup: an archive that is half begun is taken up.
#[test]
fn an_archive_whose_beginning_fails_is_begun_again() {
    let yard = Yard::filled();
    let work = |disk: Arc<Faulty>| {
        begin_again(&yard, "", "at");
        let mut vault = yard.vault_on(disk, "at", None)?;
        create(&mut vault, &yard.order(), NOW, &mut ()).map(drop)
    };
    let check = |fault, _| {
        let (_, verdict) = yard.check("at");
        assert!(verdict.flaws.is_empty(), "{fault:?}: {:?}", verdict.flaws);
        yard.create_at("at", NOW.moved(2));
    };
    play(5, &yard, work, check);
}

/// No snapshot ever lacks something, and the next clean-up finishes.
#[test]
fn a_clean_up_that_fails_anywhere_leaves_whole_backups() {
    let yard = Yard::filled();
    for nth in 0..3 {
        yard.put("workspaces/chat/data/db", &format!("rows {nth}"));
        yard.put(&format!("workspaces/chat/data/only-{nth}"), &format!("of {nth}"));
        yard.create_at("before", NOW.moved(nth));
        fs::remove_file(yard.old(&format!("workspaces/chat/data/only-{nth}"))).unwrap();
    }
    let work = |disk: Arc<Faulty>| {
        begin_again(&yard, "before", "at");
        let mut vault: Vault = yard.vault_on(disk, "at", None)?;
        prune(&mut vault, 1).map(drop)
    };
    let limbo = yard.path("limbo");
    let count = Arc::new(Faulty::new(Fault::Never, &limbo));
    work(Arc::clone(&count)).unwrap();
    for step in 0..count.steps() {
        for fault in faults(step) {
            let disk = Arc::new(Faulty::new(fault, &limbo));
            let _ = work(Arc::clone(&disk));
            if matches!(fault, Fault::Power(_)) {
                disk.lose_power();
            }
            let (names, verdict) = yard.check("at");
            assert!(!names.is_empty() && verdict.flaws.is_empty(), "{fault:?}: {verdict:?}");
            let mut vault = yard.vault("at");
            prune(&mut vault, 1).unwrap();
            let rest = prune(&mut vault, 1).unwrap();
            assert!(rest.snapshots.is_empty() && rest.objects.is_empty(), "{fault:?}");
            drop(vault);
            assert!(yard.check("at").1.flaws.is_empty(), "{fault:?}");
            let _ = fs::remove_dir_all(&limbo);
        }
    }
}

/// Broken off anywhere, the same again goes on; what was there is put aside and never lost; and as
/// long as it is half done, a Berth that starts sees it.
#[test]
fn a_restore_that_fails_anywhere_goes_on() {
    let yard = Yard::filled();
    yard.create("archive");
    yard.restore("archive", "wanted");
    let wanted = yard.trees("wanted");
    let there = [
        ("state/state.json", "mine"),
        ("manifests/mine.yaml", "mine"),
        ("manifests/chat.yaml", "mine"),
    ];
    let order = || berth::backup::Restore { is_over: true, ..yard.restore_order("new") };
    let work = |disk: Arc<Faulty>| {
        begin_again(&yard, "", "new");
        for (path, text) in there {
            let path = yard.path("new").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let vault = yard.vault_on(disk, "archive", None)?;
        restore(&vault, &vault.find("latest")?, &order()).map(drop)
    };
    let check = |fault, done: Result<(), Error>| {
        let state = yard.root("new", Root::State);
        let is_changed = fs::read(state.join("state.json")).is_ok_and(|text| text != b"mine");
        if is_changed && done.is_err() && !state.join(".restored-from.json").exists() {
            assert!(state.join(UNFINISHED).is_dir(), "{fault:?}: nobody sees that it is half done");
        }
        let vault = yard.vault_on(Arc::new(Machine), "archive", None).unwrap();
        let name = vault.find("latest").unwrap();
        // Broken off when all was done, the same again would be another one.
        let is_done = wanted.iter().filter(|(_, tree)| !tree.is_empty()).all(|(root, _)| {
            let folder = yard.root("new", *root);
            folder.join(".restored-from.json").exists() && !folder.join(UNFINISHED).exists()
        });
        if done.is_err() && !is_done {
            restore(&vault, &name, &order()).unwrap_or_else(|it| panic!("{fault:?}: {it}"));
        }
        for (root, tree_wanted) in &wanted {
            let folder = yard.root("new", *root);
            let mut found = tree(&folder);
            let is_aside = |path: &String| path.starts_with(".before-restore-");
            let mine = found.keys().filter(|path| is_aside(path)).count();
            assert_eq!(mine > 0, matches!(root, Root::State | Root::Manifests), "{fault:?} {root}");
            found.retain(|path, _| !is_aside(path));
            assert_eq!(found, *tree_wanted, "{fault:?}: {root}");
        }
        for (path, text) in there {
            let (root, name) = path.split_once('/').unwrap();
            let found = fs::read_dir(yard.path("new").join(root)).unwrap().filter_map(|entry| {
                let path = entry.unwrap().path();
                let is_aside = path.file_name()?.to_str()?.starts_with(".before-restore-");
                is_aside.then(|| fs::read_to_string(path.join(name)).ok()).flatten()
            });
            assert_eq!(found.collect::<Vec<_>>(), [text], "{fault:?}: {path} is lost");
        }
        drop(vault);
        assert!(yard.check("archive").1.flaws.is_empty(), "{fault:?}");
    };
    play(7, &yard, work, check);
}
