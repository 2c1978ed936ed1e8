//! Uploads in parts, and quarantine, with a kill, a loss of power or a failure of the disk at every
//! change. `BERTH_STORE_SEED=N` loses other things of what was not on the disk yet.

use std::{path::Path, path::PathBuf, sync::Arc};

use berth::{
    model::{Digest, Timestamp},
    store::{
        Append, Error, Figures, Key, Order, Query, Settings, Store, Upload,
        disk::{Disk, Machine},
    },
};
use rustix::io::Errno;

use super::{
    faulty::{Fault, Faulty},
    memory::{Loss, Memory},
};

const ROOT: &str = "/srv/models";
const ID: &str = "upload";
const LOSSES: [Loss; 4] = [Loss::None, Loss::All, Loss::Tail, Loss::Any];

fn seed() -> u64 {
    let text = std::env::var("BERTH_STORE_SEED").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Numbers that are the same everywhere.
fn random(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Arc<Store>, Error> {
    let settings = Settings::new(root);
    Store::open(settings, disk, Arc::<Figures>::default()).map(Arc::new)
}

fn now() -> Timestamp {
    Timestamp::from_millis(4_000_000_000_000)
}

fn key() -> Key {
    Key::new("p", "app", "1.0.0", "m").unwrap()
}

fn content() -> Vec<u8> {
    (0..1000_u32).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

/// Uploads in parts; `acked` is how much was said to be on the disk.
fn upload(store: &Arc<Store>, acked: &mut Option<u64>) -> Result<(), Error> {
    let content = content();
    let length = u64::try_from(content.len()).unwrap();
    let order = Order::new(key());
    let partial = store.begin_partial((ID, None), order, Some(length), None, now())?;
    *acked = Some(0);
    for part in content.chunks(300) {
        let mut append = Append::begin(store, &partial, false)?;
        for block in part.chunks(100) {
            append.write(block)?;
        }
        append.keep()?;
        *acked = Some(append.at());
    }
    store.settle_partial(&partial, length, true)?;
    store.complete_partial(&partial, now())?;
    Ok(())
}

/// Goes on with what is there, to its end.
fn go_on(
    store: &Arc<Store>,
    acked: Option<u64>,
    disk: &dyn Disk,
    root: &Path,
) -> Result<(), String> {
    let content = content();
    let told = |error: Error| error.to_string();
    let Some(partial) = store.partial(ID, now()) else {
        return if acked.is_none() {
            upload(store, &mut None).map_err(told)
        } else {
            Err(format!("the upload is gone, {acked:?} were acknowledged"))
        };
    };
    let kept = partial.kept();
    if kept.done.is_none() {
        let offset = usize::try_from(kept.offset).unwrap();
        if acked.is_some_and(|acked| kept.offset < acked) {
            return Err(format!("it stands at {offset}, {acked:?} were acknowledged"));
        }
        let part = disk.read(&root.join(format!(".store/partial/{ID}.part")));
        let part = part.map_err(|error| error.to_string())?;
        if part.get(..offset) != content.get(..offset) {
            return Err(format!("the disk does not hold the {offset} bytes that it stands at"));
        }
        let mut append = Append::begin(store, &partial, false).map_err(told)?;
        append.write(&content[offset..]).and_then(|()| append.keep()).map_err(told)?;
        drop(append);
        let length = u64::try_from(content.len()).unwrap();
        store.settle_partial(&partial, length, true).map_err(told)?;
        store.complete_partial(&partial, now()).map_err(told)?;
    }
    let entry = store.get(&key()).map_err(told)?;
    let read = disk.read(&entry.file()).map_err(|error| error.to_string())?;
    let is_good = read == content && entry.sha256 == Some(Digest::of_bytes(&content));
    let left = disk.list(&root.join(".store/partial")).map_err(|error| error.to_string())?;
    let is_clean = !left.iter().any(|name| name.to_string_lossy().ends_with(".part"));
    if is_good && is_clean { Ok(()) } else { Err(format!("{entry:?}; left {left:?}")) }
}

fn play_upload(fault: Fault, loss: Loss) -> Result<u64, String> {
    let (memory, root) = (Memory::new(true), PathBuf::from(ROOT));
    let disk = Arc::new(Faulty::new(Arc::new(memory.clone()), fault));
    let mut acked = None;
    let is_done = match open(Arc::clone(&disk) as _, &root) {
        Ok(store) => upload(&store, &mut acked).is_ok(),
        Err(_) => false,
    };
    if !is_done && !disk.is_dead() && disk.failed() == 0 {
        return Err("it failed by itself".to_owned());
    }
    let left = memory.after(loss, random(seed() ^ disk.changes()));
    let store = open(Arc::new(left.clone()), &root).map_err(|error| error.to_string())?;
    if !is_done && store.get(&key()).is_ok() {
        // It is there whole, or not at all.
        let read = left.read(&root.join("p/app/1.0.0/m/model")).unwrap();
        assert!(read == content(), "half a model is there");
    }
    go_on(&store, acked, &left, &root)?;
    Ok(disk.changes())
}

#[test]
fn an_upload_in_parts_goes_on_after_a_crash_at_any_change() {
    let changes = play_upload(Fault::Never, Loss::None).unwrap();
    assert!(40 < changes, "only {changes} changes");
    let faults: [fn(u64) -> Fault; 4] = [
        Fault::Kill,
        Fault::Tear,
        |at| Fault::Once(at, Errno::IO),
        |at| Fault::Once(at, Errno::NOSPC),
    ];
    let mut played = 0;
    for at in 1..=changes {
        for (fault, loss) in faults.iter().flat_map(|f| LOSSES.map(|loss| (f(at), loss))) {
            let seed = seed();
            play_upload(fault, loss)
                .unwrap_or_else(|why| panic!("BERTH_STORE_SEED={seed}: {fault:?} {loss:?}: {why}"));
            played += 1;
        }
    }
    println!("{played} crashes");
}

/// The same on this machine's own disk, killed at every few changes.
#[test]
fn an_upload_in_parts_goes_on_on_a_real_disk() {
    for at in (1..80).step_by(4) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        let disk = Arc::new(Faulty::new(Arc::new(Machine), Fault::Kill(at)));
        let mut acked = None;
        if let Ok(store) = open(Arc::clone(&disk) as _, &root) {
            let _ = upload(&store, &mut acked);
        }
        drop(disk);
        let store = open(Arc::new(Machine), &root).unwrap();
        go_on(&store, acked, &Machine, &root).unwrap_or_else(|why| panic!("change {at}: {why}"));
    }
}

/// Two models of one content, which the disk then changes.
fn rotten() -> (Memory, PathBuf) {
    let (memory, root) = (Memory::new(true), PathBuf::from(ROOT));
    let store = open(Arc::new(memory.clone()), &root).unwrap();
    for project in ["p", "q"] {
        let mut upload = Upload::begin(&store, None).unwrap();
        upload.write(&content()).unwrap();
        let key = Key { project: project.to_owned(), ..key() };
        upload.finish(&Order::new(key), now()).unwrap();
    }
    // The models are acknowledged; the blob's own name may not be on the disk yet.
    memory.rot(&store.get(&key()).unwrap().file());
    (memory, root)
}

fn scrub(store: &Store) -> Result<(), Error> {
    while store.scrub_next(&mut |_| true)?.is_some() {}
    Ok(())
}

fn play_quarantine(fault: Fault, loss: Loss) -> Result<u64, String> {
    let (memory, root) = rotten();
    let disk = Arc::new(Faulty::new(Arc::new(memory.clone()), fault));
    if let Ok(store) = open(Arc::clone(&disk) as _, &root) {
        let done = scrub(&store);
        if done.is_err() && !disk.is_dead() && disk.failed() == 0 {
            return Err(format!("it failed by itself: {done:?}"));
        }
    }
    let left = memory.after(loss, random(seed() ^ disk.changes()));
    let store = open(Arc::new(left.clone()), &root).map_err(|error| error.to_string())?;
    for _ in 0..2 {
        scrub(&store).map_err(|error| error.to_string())?;
    }
    let all = store.list(&Query::default()).entries;
    if all.len() != 2 {
        return Err(format!("models are gone: {all:?}"));
    }
    for entry in all {
        if !matches!(store.open_content(&entry), Err(Error::Rotten(_))) {
            return Err(format!("{} is given", entry.key));
        }
    }
    let aside = root.join(".store/quarantine");
    let names = left.list(&aside).unwrap();
    let held = names.iter().find(|name| !name.to_string_lossy().ends_with(".json"));
    let held = held.ok_or_else(|| format!("only {names:?} are in quarantine"))?;
    if left.stat(&aside.join(held)).unwrap().size != 1000 || names.len() != 2 {
        return Err(format!("{names:?} are in quarantine"));
    }
    // Stored again, it is given again, and what is aside stays there.
    let mut upload = Upload::begin(&store, None).unwrap();
    upload.write(&content()).unwrap();
    let stored = upload.finish(&Order::new(key()), now()).map_err(|error| error.to_string())?;
    let is_given = stored.entry.rotten.is_none()
        && left.read(&stored.entry.file()).unwrap() == content()
        && left.list(&aside).unwrap() == names;
    is_given.then_some(disk.changes()).ok_or_else(|| "it is not given again".to_owned())
}

#[test]
fn quarantine_survives_a_crash_at_any_change() {
    let changes = play_quarantine(Fault::Never, Loss::None).unwrap();
    let faults: [fn(u64) -> Fault; 3] = [Fault::Kill, Fault::Tear, |at| Fault::Once(at, Errno::IO)];
    for at in 1..=changes {
        for (fault, loss) in faults.iter().flat_map(|f| LOSSES.map(|loss| (f(at), loss))) {
            let seed = seed();
            play_quarantine(fault, loss)
                .unwrap_or_else(|why| panic!("BERTH_STORE_SEED={seed}: {fault:?} {loss:?}: {why}"));
        }
    }
}
