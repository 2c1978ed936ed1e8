//! What is in an archive, and what comes out of it.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    sync::Arc,
};

use berth::backup::{
    Data, Error, Key, Order, Restore, Root, Vault, create, disk::Machine, look_ahead, prune,
    render, restore, verify,
};

use super::yard::{NOW, Yard, tree};

fn words(text: &str) -> Key {
    let text = age::secrecy::SecretString::from(text.to_owned());
    Key::Passphrase { text, work: Some(2) }
}

/// All bytes of all files below a folder.
fn bytes_of(folder: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(bytes_of(&path));
        } else {
            fs::File::open(path).unwrap().read_to_end(&mut all).unwrap();
        }
    }
    all
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn what_can_not_be_made_again_comes_back_as_it_was_and_secrets_only_from_encrypted_backups() {
    let yard = Yard::filled();
    // Of an empty folder nothing is lacking; of what the disk has changed it is said.
    let spoilt = yard.path("old/models/.store/quarantine");
    fs::create_dir_all(&spoilt).unwrap();
    let said = yard.create("at").left_out.join("\n");
    assert!(!said.contains("quarantine"), "{said}");
    fs::write(spoilt.join("x"), "rotten").unwrap();
    let said = yard.create("at").left_out.join("\n");
    assert!(said.contains("quarantine"), "{said}");
    assert!(said.contains("the folder of secrets") && said.contains("`secret.key`"), "{said}");
    assert!(!has(&bytes_of(&yard.path("at")), "PLANTED-SECRET"));
    yard.restore("at", "new");
    let (old, new) = (yard.trees("old"), yard.trees("new"));
    for root in [Root::Manifests, Root::State, Root::Models, Root::Workspaces] {
        let mut wanted = old[&root].clone();
        let is_left = |path: &String| {
            let parts = [
                "compose",
                "secret.key",
                "audit/lock",
                "chat/code",
                ".store/uploads",
                ".store/quarantine",
            ];
            parts.iter().any(|part| path.starts_with(part))
        };
        wanted.retain(|path, _| !is_left(path));
        assert_eq!(new[&root], wanted, "{root}");
    }
    assert!(new[&Root::Secrets].is_empty());
    let inode = |path: &str| fs::metadata(yard.path("new").join(path)).unwrap().ino();
    let data = "workspaces/chat/data";
    assert_eq!(inode(&format!("{data}/db")), inode(&format!("{data}/same")));
    // One content, three names: the archive's object and both of the store's.
    let model = yard.path("new/models/demo/llm/1/w/model");
    assert_eq!(fs::metadata(&model).unwrap().nlink(), 5, "old: 2, object: 1, new: 2");
    assert!(fs::metadata(model).unwrap().permissions().readonly());

    // The same again changes nothing, and says so.
    let vault = yard.vault("at");
    let again = restore(&vault, &vault.find("latest").unwrap(), &yard.restore_order("new"));
    assert!(again.unwrap().was_done);
    let other = Restore { is_over: true, ..yard.restore_order("new") };
    let over = restore(&vault, &vault.find("latest").unwrap(), &other).unwrap();
    assert_eq!(over.aside.len(), 4);

    // Once more at the same moment of the clock: what went aside before stays as it is.
    let before: Vec<_> = over.aside.iter().map(|path| tree(path)).collect();
    let more = restore(&vault, &vault.find("latest").unwrap(), &other).unwrap();
    assert!(more.aside.len() == 4 && more.aside.iter().all(|path| !over.aside.contains(path)));
    assert_eq!(over.aside.iter().map(|path| tree(path)).collect::<Vec<_>>(), before);
}

#[test]
fn an_encrypted_backup_holds_secrets_and_shows_nothing() {
    let yard = Yard::filled();
    let key = words("correct horse");
    let open = |key: Option<&Key>| Vault::open(Arc::new(Machine), &yard.path("at"), key);
    {
        let mut vault = yard.vault_on(Arc::new(Machine), "at", Some(&key)).unwrap();
        let made = create(&mut vault, &yard.order(), NOW, &mut ()).unwrap();
        assert_eq!(made.left_out, Vec::<String>::new());
        let again = create(&mut vault, &yard.order(), NOW.moved(5), &mut ()).unwrap();
        assert_eq!(again.new_objects, 0);
    }
    let all = bytes_of(&yard.path("at"));
    for planted in ["PLANTED-SECRET", "rows and rows", "chat.yaml", "engineId", "weights of"] {
        assert!(!has(&all, planted), "{planted} can be read");
    }
    assert!(matches!(open(None), Err(Error::NoKey)));
    assert!(matches!(open(Some(&words("wrong"))), Err(Error::WrongKey(_))));
    let vault = open(Some(&key)).unwrap();
    let name = vault.find("latest").unwrap();
    restore(&vault, &name, &yard.restore_order("new")).unwrap();
    let token = fs::read_to_string(yard.path("new/secrets/git/token")).unwrap();
    assert_eq!(token, "PLANTED-SECRET");
    assert!(yard.path("new/state/secret.key").exists());

    // An object that was cut off, or changed, is found; and nothing is restored of it.
    let object = walk(&yard.path("at/objects")).pop().unwrap();
    let whole = fs::read(&object).unwrap();
    for bad in [&whole[..whole.len() - 1], &whole[..20], b""] {
        fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&object, bad).unwrap();
        assert_eq!(verify(&vault, std::slice::from_ref(&name)).unwrap().flaws.len(), 1);
        let refused = restore(&vault, &name, &yard.restore_order("newer")).unwrap_err();
        assert!(matches!(refused, Error::Corrupt(_)), "{refused}");
        assert!(!yard.path("newer").exists(), "something was touched");
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

#[test]
fn what_is_there_already_is_neither_read_nor_written_again() {
    let yard = Yard::filled();
    // What changed within the last seconds is read again: its clock may stand still.
    let soon = berth::clock::Clock::System.now().moved(60_000);
    let first = yard.create_at("at", soon);
    let inode = |path: &str| fs::metadata(yard.path(path)).unwrap().ino();
    let model = walk(&yard.path("at/objects"))
        .into_iter()
        .find(|path| fs::metadata(path).unwrap().ino() == inode("old/models/demo/llm/1/w/model"));
    assert!(model.is_some(), "the model was copied");
    assert!(0 < first.new_objects && first.bytes > 200_000);
    let plan = look_ahead(&yard.vault("at"), &yard.order()).unwrap();
    let text = render(&plan);
    assert!(text.contains("workspaces: 0 files to read"), "{text}");
    assert!(text.contains("models: 0 files to read"), "{text}");
    let second = yard.create_at("at", soon.moved(1));
    assert_eq!((second.new_objects, second.files), (0, first.files));
    yard.put("workspaces/chat/data/db", "rows and moss");
    let third = yard.create_at("at", soon.moved(2));
    assert_eq!(third.new_objects, 1);
    let thorough = Order { is_thorough: true, ..yard.order() };
    let fourth = create(&mut yard.vault("at"), &thorough, soon.moved(3), &mut ()).unwrap();
    assert_eq!(fourth.new_objects, 0);
    // What the archive's disk has changed is found, and mended from what is still there.
    let wanted = "kind: App";
    let object = walk(&yard.path("at/objects"))
        .into_iter()
        .find(|path| fs::read(path).unwrap() == wanted.as_bytes())
        .unwrap();
    fs::set_permissions(&object, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&object, "kind: Bpp").unwrap();
    assert_eq!(yard.check("at").1.flaws.len(), 1);
    create(&mut yard.vault("at"), &thorough, soon.moved(4), &mut ()).unwrap();
    assert!(yard.check("at").1.flaws.is_empty());
    assert_eq!(fs::read_dir(yard.path("at/tmp")).unwrap().count(), 0);
    // The newest one goes on after older ones went, and only what nobody needs goes.
    let pruned = prune(&mut yard.vault("at"), 1).unwrap();
    assert_eq!((pruned.snapshots.len(), pruned.objects.len()), (4, 1));
    assert!(yard.check("at").1.flaws.is_empty());
}

#[test]
fn only_chosen_apps_data_is_kept_and_that_is_said() {
    let yard = Yard::filled();
    let data = Data::Only(BTreeSet::from(["chat".to_owned()]));
    let order = Order { data, ..yard.order() };
    let made = create(&mut yard.vault("at"), &order, NOW, &mut ()).unwrap();
    assert!(made.left_out.iter().any(|what| what.contains("`big`")), "{:?}", made.left_out);
    yard.restore("at", "new");
    assert!(yard.path("new/workspaces/chat/data/db").exists());
    assert!(!yard.path("new/workspaces/big").exists());
}

/// Fault T07: on another machine, what is about the old one does not come along when that was asked.
#[test]
fn a_restore_for_another_engine_takes_out_what_was_about_the_old_one() {
    let yard = Yard::filled();
    yard.create("at");
    let vault = yard.vault("at");
    let name = vault.find("latest").unwrap();
    let order = Restore { is_new_engine: true, ..yard.restore_order("new") };
    restore(&vault, &name, &order).unwrap();
    let state = fs::read(yard.path("new/state/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    assert!(state["engineId"].is_null() && state["apps"]["chat"]["gpus"].is_null(), "{state}");
    assert_eq!(state["apps"]["chat"]["ports"][0][2], 8001);
}

#[test]
fn what_can_not_be_is_refused_before_anything_is_touched() {
    let yard = Yard::filled();
    yard.create("at");
    let refused = |change: &dyn Fn(), wanted: &str| {
        change();
        let attempt = || {
            let vault = Vault::open(Arc::new(Machine), &yard.path("at"), None)?;
            restore(&vault, &vault.find("latest")?, &yard.restore_order("new")).map(drop)
        };
        let error = attempt().unwrap_err();
        assert_eq!(error.code(), wanted, "{error}");
        let is_touched = fs::read_dir(yard.path("new")).is_ok_and(|mut it| it.next().is_some());
        assert!(!is_touched, "something was touched: {error}");
    };
    let header = yard.path("at/berth-backup.json");
    let good = fs::read_to_string(&header).unwrap();
    let write = |text: &str| fs::write(&header, text).unwrap();
    refused(&|| write(&good.replace("\"format\": 1", "\"format\": 2")), "backup.newer");
    refused(&|| write(&good.replace("berth-backup", "restic")), "backup.foreign");
    refused(&|| write(&good[..good.len() / 2]), "backup.damaged");
    refused(&|| write(&good.replace("archive-1", "archive-2")), "backup.foreign");
    refused(&|| fs::remove_file(&header).unwrap(), "backup.foreign");
    write(&good);
    let snapshot = walk(&yard.path("at/snapshots")).pop().unwrap();
    let text = fs::read(&snapshot).unwrap();
    refused(&|| fs::write(&snapshot, &text[..text.len() - 9]).unwrap(), "backup.damaged");
    fs::write(&snapshot, &text).unwrap();
    let object = walk(&yard.path("at/objects")).pop().unwrap();
    let away = yard.path("away");
    refused(&|| fs::rename(&object, &away).unwrap(), "backup.damaged");
    fs::rename(&away, &object).unwrap();
    assert!(matches!(
        yard.vault_on(Arc::new(Machine), "at", Some(&words("x"))),
        Err(Error::NotEncrypted(_))
    ));
    // A folder with something in it is no place for a new archive, nor for a restore.
    assert!(matches!(yard.vault_on(Arc::new(Machine), "old", None), Err(Error::Foreign(_))));
    let vault = yard.vault("at");
    let held = Vault::open(Arc::new(Machine), &yard.path("at"), None);
    assert!(matches!(held, Err(Error::Locked(_))));
    let name = vault.find("latest").unwrap();
    let full = restore(&vault, &name, &yard.restore_order("old")).unwrap_err();
    assert!(matches!(full, Error::NotEmpty { .. }), "{full}");
    let state = yard.root("new", Root::State);
    fs::create_dir_all(&state).unwrap();
    let _lock = berth::record::file::Folder::open(&state).unwrap();
    let runs = restore(&vault, &name, &yard.restore_order("new")).unwrap_err();
    assert!(matches!(runs, Error::Runs(_)), "{runs}");
}

/// What a page of the manual says: the tools that every machine has suffice.
#[test]
fn a_person_can_check_and_read_an_archive_without_berth() {
    let yard = Yard::filled();
    yard.create("at");
    for object in walk(&yard.path("at/objects")) {
        let said = std::process::Command::new("sha256sum").arg(&object).output().unwrap();
        let digest = String::from_utf8(said.stdout).unwrap();
        assert!(digest.starts_with(object.file_name().unwrap().to_str().unwrap()));
    }
    let snapshot = walk(&yard.path("at/snapshots")).pop().unwrap();
    let text = fs::read_to_string(&snapshot).unwrap();
    let line = text.lines().find(|line| line.contains("\"path\":\"chat.yaml\"")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(line.trim().trim_end_matches(',')).unwrap();
    let digest = entry["sha256"].as_str().unwrap();
    let object = yard.path("at/objects").join(&digest[..2]).join(digest);
    assert_eq!(fs::read_to_string(object).unwrap(), "kind: App");
}
