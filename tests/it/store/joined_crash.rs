//! Parts are put together, with a kill, a loss of power or a failure of the disk at every change: the
//! model is there whole, or not at all and the parts stay.

use std::{path::PathBuf, sync::Arc};

use berth::{
    model::{Digest, Timestamp},
    store::{
        Append, Concat, Error, Figures, Key, Order, Partial, Settings, Store,
        disk::{Disk, Machine},
    },
};
use rustix::io::Errno;

use super::{
    faulty::{Fault, Faulty},
    memory::{Loss, Memory},
};

const PARTS: [&str; 3] = ["one", "two", "three"];

fn open(disk: Arc<dyn Disk>, root: &std::path::Path) -> Result<Arc<Store>, Error> {
    Store::open(Settings::new(root), disk, Arc::<Figures>::default()).map(Arc::new)
}

fn now() -> Timestamp {
    Timestamp::from_millis(4_000_000_000_000)
}

fn key() -> Key {
    Key::new("p", "app", "1.0.0", "m").unwrap()
}

fn content(part: usize) -> Vec<u8> {
    (0..150 + part * 70).map(|at| u8::try_from((at * 7 + part) % 251).unwrap()).collect()
}

fn whole() -> Vec<u8> {
    (0..PARTS.len()).flat_map(content).collect()
}

fn send(store: &Arc<Store>, part: usize) -> Result<(), Error> {
    let content = content(part);
    let length = u64::try_from(content.len()).unwrap();
    let order = Order::new(key());
    let partial =
        store.begin_partial((PARTS[part], None), order, Some(length), Some(Concat::Part), now())?;
    let mut append = Append::begin(store, &partial, false)?;
    append.write(&content)?;
    append.keep()?;
    drop(append);
    store.settle_partial(&partial, length, true)
}

fn join(store: &Arc<Store>) -> Result<(), Error> {
    let parts: Option<Vec<Arc<Partial>>> =
        PARTS.iter().map(|id| store.partial(id, now())).collect();
    let parts = parts.ok_or_else(|| Error::Nothing("a part is gone".to_owned()))?;
    let named = ("whole", None, "final;…".to_owned());
    store.join_partials(named, &parts, &Order::new(key()), now()).map(drop)
}

/// How far it came: parts that were acknowledged, and whether the whole was.
#[derive(Default)]
struct Acked {
    parts: usize,
    is_joined: bool,
    /// Whether the disk has failed, or the process was killed while it tidied up: then what was used
    /// may still be there.
    has_failed: bool,
}

fn all(store: &Arc<Store>, acked: &mut Acked) -> Result<(), Error> {
    for part in 0..PARTS.len() {
        send(store, part)?;
        acked.parts += 1;
    }
    join(store)?;
    acked.is_joined = true;
    Ok(())
}

fn check_model(store: &Store, disk: &dyn Disk) -> Result<(), String> {
    let entry = store.get(&key()).map_err(|error| error.to_string())?;
    let read = disk.read(&entry.file()).map_err(|error| error.to_string())?;
    let is_good = read == whole() && entry.sha256 == Some(Digest::of_bytes(&whole()));
    if is_good { Ok(()) } else { Err(format!("another model is there: {entry:?}")) }
}

/// What must hold afterwards, on this disk; then it is brought to its end.
fn check(
    store: &Arc<Store>,
    disk: &dyn Disk,
    root: &std::path::Path,
    acked: &Acked,
) -> Result<(), String> {
    let is_there = store.get(&key()).is_ok();
    if is_there {
        check_model(store, disk)?;
    } else if acked.is_joined {
        return Err("the model was acknowledged, and is gone".to_owned());
    }
    let is_left = |part: usize| {
        let partial = store.partial(PARTS[part], now());
        partial.is_some_and(|partial| {
            partial.kept().offset == u64::try_from(content(part).len()).unwrap()
        })
    };
    if !is_there && let Some(gone) = (0..acked.parts).find(|part| !is_left(*part)) {
        return Err(format!("part {gone} was acknowledged, and is gone"));
    }
    let must_be_gone = acked.is_joined && !acked.has_failed;
    if must_be_gone && PARTS.iter().any(|id| store.partial(id, now()).is_some()) {
        return Err("parts are left".to_owned());
    }
    if !is_there {
        for part in (0..PARTS.len()).filter(|part| !is_left(*part)) {
            if let Some(partial) = store.partial(PARTS[part], now()) {
                store.remove_partial(&partial);
            }
            send(store, part).map_err(|error| error.to_string())?;
        }
        join(store).map_err(|error| format!("once more: {error}"))?;
        check_model(store, disk)?;
    }
    // What a kill left of parts that were used goes as all do whose time is over.
    store.expire_partials(Timestamp::from_millis(i64::MAX / 4));
    for folder in ["partial", "uploads"] {
        let left =
            disk.list(&root.join(".store").join(folder)).map_err(|error| error.to_string())?;
        if !left.is_empty() {
            return Err(format!("left in {folder}: {left:?}"));
        }
    }
    Ok(())
}

fn play(fault: Fault, loss: Loss) -> Result<u64, String> {
    let (memory, root) = (Memory::new(true), PathBuf::from("/srv/models"));
    let disk = Arc::new(Faulty::new(Arc::new(memory.clone()), fault));
    let mut acked = Acked::default();
    if let Ok(store) = open(Arc::clone(&disk) as _, &root) {
        let done = all(&store, &mut acked);
        if done.is_err() && !disk.is_dead() && disk.failed() == 0 {
            return Err(format!("it failed by itself: {done:?}"));
        }
        if done.is_err() && !disk.is_dead() {
            // Here, too, and not only after a start, all parts are there.
            check(&store, &memory, &root, &acked).map_err(|why| format!("as it runs: {why}"))?;
            return Ok(disk.changes());
        }
    }
    acked.has_failed = 0 < disk.failed() || disk.is_dead();
    let mut random = disk.changes();
    let left = memory.after(loss, || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    });
    let store = open(Arc::new(left.clone()), &root).map_err(|error| error.to_string())?;
    check(&store, &left, &root, &acked)?;
    Ok(disk.changes())
}

#[test]
fn parts_are_put_together_wholly_or_stay_after_a_crash_at_any_change() {
    let changes = play(Fault::Never, Loss::None).unwrap();
    assert!(60 < changes, "only {changes} changes");
    let faults: [fn(u64) -> Fault; 4] = [
        Fault::Kill,
        Fault::Tear,
        |at| Fault::Once(at, Errno::IO),
        |at| Fault::Once(at, Errno::NOSPC),
    ];
    let losses = [Loss::None, Loss::All, Loss::Tail, Loss::Any];
    let mut played = 0;
    for at in 1..=changes {
        for (fault, loss) in faults.iter().flat_map(|f| losses.map(|loss| (f(at), loss))) {
            play(fault, loss).unwrap_or_else(|why| panic!("{fault:?} {loss:?}: {why}"));
            played += 1;
        }
    }
    println!("{played} crashes");
}

/// The same on this machine's own disk, killed at every few changes.
#[test]
fn parts_are_put_together_wholly_or_stay_on_a_real_disk() {
    for at in (1..120).step_by(5) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        let disk = Arc::new(Faulty::new(Arc::new(Machine), Fault::Kill(at)));
        let mut acked = Acked::default();
        if let Ok(store) = open(Arc::clone(&disk) as _, &root) {
            let _ = all(&store, &mut acked);
        }
        acked.has_failed = disk.is_dead();
        drop(disk);
        let store = open(Arc::new(Machine), &root).unwrap();
        check(&store, &Machine, &root, &acked).unwrap_or_else(|why| panic!("change {at}: {why}"));
    }
}
