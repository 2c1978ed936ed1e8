//! Others are at the files while they are kept, or after they came back.

use std::fs;

use berth::{
    backup::{Error, Stop, Vault, Watch, create, prune, restore},
    model::{Digest, Timestamp},
};

use super::yard::{NOW, Yard};

/// Does something each time that something new is in the archive.
struct Meddler<F>(F);

impl<F: FnMut()> Watch for Meddler<F> {
    fn written(&mut self, _vault: &mut Vault, _bytes: u64) -> Result<(), Error> {
        (self.0)();
        Ok(())
    }
}

#[test]
fn a_file_that_is_written_whenever_it_is_read_is_told() {
    let yard = Yard::filled();
    assert!(!yard.create("at").is_torn);
    let db = yard.old("workspaces/chat/data/db");
    fs::write(&db, "new rows").unwrap();
    let mut meddler = Meddler(|| {
        let rows = fs::read_to_string(&db).unwrap();
        fs::write(&db, rows + " and more").unwrap();
    });
    let at = NOW.moved(1);
    let made = create(&mut yard.vault("at"), &yard.order(), at, &mut meddler).unwrap();
    assert!(made.is_torn && !made.is_incomplete, "{made:?}");
    assert!(made.remarks.iter().any(|it| it.contains("changed while it was read")), "{made:?}");
}

#[test]
fn a_file_whose_first_name_goes_is_kept_under_its_other() {
    let yard = Yard::filled();
    let data = yard.old("workspaces/chat/data");
    let mut meddler = Meddler(|| drop(fs::remove_file(data.join("db"))));
    create(&mut yard.vault("at"), &yard.order(), NOW, &mut meddler).unwrap();
    yard.restore("at", "new");
    let back = yard.path("new/workspaces/chat/data");
    assert_eq!(fs::read_to_string(back.join("same")).unwrap(), "rows and rows");
    assert!(!back.join("db").exists());
}

#[test]
fn a_backup_that_is_broken_off_leaves_nothing_and_the_next_one_is_whole() {
    let yard = Yard::filled();
    let mut order = yard.order();
    let stop = Stop::default();
    order.stop = stop.clone();
    let error = create(&mut yard.vault("at"), &order, NOW, &mut Meddler(|| stop.now()));
    assert_eq!(error.unwrap_err().code(), "backup.stopped");
    assert!(yard.vault("at").names().unwrap().is_empty());
    yard.create("at");
    assert!(yard.check("at").1.flaws.is_empty());
}

#[test]
fn the_newest_that_lacks_nothing_stays_while_all_newer_ones_lack_something() {
    let yard = Yard::filled();
    let whole = [0, 1].map(|at| yard.create_at("at", NOW.moved(at)).name);
    // What could not be read at a time is written in the snapshot of it.
    let folder = yard.path("at/snapshots");
    let text = fs::read_to_string(folder.join(format!("{}.json", whole[1]))).unwrap();
    for second in ["06", "07"] {
        let text = text.replacen("\"settings\"", "\"incomplete\": true,\n  \"settings\"", 1);
        let text = text.replacen("\"remarks\": []", &format!("\"remarks\": [\"{second}\"]"), 1);
        assert!(text.contains("incomplete") && text.contains(&format!("[\"{second}\"]")));
        let digest = Digest::of_bytes(text.as_bytes());
        let name = format!("20991201T0000{second}000Z-{}.json", digest.short(16));
        fs::write(folder.join(name), text).unwrap();
    }
    let mut vault = yard.vault("at");
    assert_eq!(vault.names().unwrap().len(), 4);
    prune(&mut vault, 2).unwrap();
    let left = vault.names().unwrap();
    assert!(left.len() == 3 && left[0] == whole[1], "{left:?}");
    drop(vault);
    assert!(yard.check("at").1.flaws.is_empty());
    // With a whole one among them, nothing else stays.
    yard.create_at("at", Timestamp::from_millis(4_100_112_000_000));
    prune(&mut yard.vault("at"), 2).unwrap();
    assert_eq!(yard.vault("at").names().unwrap().len(), 2);
}

#[test]
fn what_was_restored_and_lost_again_is_restored_again() {
    let yard = Yard::filled();
    yard.create("at");
    yard.restore("at", "new");
    let vault = yard.vault("at");
    let name = vault.find("latest").unwrap();
    let order = yard.restore_order("new");
    assert!(restore(&vault, &name, &order).unwrap().was_done);
    // As `rm -rf *` leaves it: with what begins with a dot.
    for root in ["state", "models", "workspaces", "manifests"] {
        for entry in fs::read_dir(yard.path("new").join(root)).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() == ".restored-from.json" {
                continue;
            }
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
    }
    assert!(!restore(&vault, &name, &order).unwrap().was_done);
    let db = fs::read_to_string(yard.path("new/workspaces/chat/data/db")).unwrap();
    assert_eq!(db, "rows and rows");
}

/// A damaged snapshot keeps neither newer ones nor retention from going on: it counts for none, what
/// it may need stays, and it goes once it is old.
#[test]
fn a_damaged_snapshot_does_not_keep_others_from_going() {
    let yard = Yard::filled();
    let mut names = Vec::new();
    let mut more = |at: i64| {
        yard.put("workspaces/chat/data/db", &format!("rows of {at}"));
        names.push(yard.create_at("at", NOW.moved(at)).name);
        names.clone()
    };
    (0..4).for_each(|at| drop(more(at)));
    let all = more(4);
    // It was cut off on the disk, in the middle of those that stay.
    let file = yard.path("at/snapshots").join(format!("{}.json", all[3]));
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    let objects = || {
        let parts = fs::read_dir(yard.path("at/objects")).unwrap();
        parts.map(|part| fs::read_dir(part.unwrap().path()).unwrap().count()).sum::<usize>()
    };
    let before = objects();
    let pruned = prune(&mut yard.vault("at"), 2).unwrap();
    assert_eq!(pruned.damaged, [all[3].clone()]);
    assert_eq!(yard.vault("at").names().unwrap(), all[2..], "two good ones, and the damaged one");
    assert_eq!((objects(), pruned.objects.len()), (before, 0), "nobody knows what it needs");
    assert!(pruned.trouble().unwrap().starts_with(&format!("{} is damaged", all[3])));
    assert!(pruned.render().contains("is damaged: no object goes"));
    // Two newer ones later it goes, and so does what nothing needs any more.
    (5..7).for_each(|at| drop(more(at)));
    let all = more(7);
    let pruned = prune(&mut yard.vault("at"), 2).unwrap();
    assert_eq!((pruned.damaged.len(), pruned.trouble()), (0, None));
    assert_eq!(yard.vault("at").names().unwrap(), all[6..]);
    assert!(objects() < before && yard.check("at").1.flaws.is_empty());
}
