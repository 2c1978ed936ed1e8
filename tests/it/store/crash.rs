//! The store is killed, and loses power, and has its disk fail, at every change that it makes.
//!
//! What was acknowledged must be there, whole; what was not is there whole or not at all; nothing
//! else is there, and nothing is left behind. By default each change meets a third of what may happen
//! to it; with `BERTH_STORE_SEEDS=N` all of it, for N scripts; `BERTH_STORE_SEED=N` plays the Nth.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use berth::{
    model::{Digest, Timestamp},
    store::{
        Error, Figures, Key, Order, Query, Require, Settings, Store, Upload,
        disk::{Disk, Machine},
    },
};
use rustix::io::Errno;

use super::{
    faulty::{Fault, Faulty},
    memory::{Loss, Memory},
};

const STEPS: usize = 20;
/// What every script begins with, so that no seed leaves anything out.
const FIRST: [Step; 11] = [
    Step::Upload(0, 0),
    Step::Upload(0, 1),
    Step::Upload(2, 0),
    Step::Alias(0, Some(0)),
    Step::Alias(0, Some(2)),
    Step::Delete(0),
    Step::Restore(0),
    Step::Delete(0),
    Step::Alias(0, None),
    Step::Sweep(true),
    Step::Upload(0, 2),
];

/// What can be asked of a store.
#[derive(Clone, Debug)]
enum Step {
    Upload(usize, usize),
    Delete(usize),
    Alias(usize, Option<usize>),
    Restore(usize),
    /// Whether so late that the trash is emptied.
    Sweep(bool),
}

/// What is seen of a store: contents by name, and aliases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    models: BTreeMap<String, Vec<u8>>,
    aliases: BTreeMap<usize, String>,
}

/// A generator that is the same everywhere.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }
}

fn key(number: usize) -> Key {
    let (project, version) = (format!("p{}", number % 2), format!("1.{}.0", number / 2));
    Key::new(&project, "app", &version, "m").unwrap()
}

fn content(number: usize) -> Vec<u8> {
    (0..40 + 100 * number).map(|at| u8::try_from((at * 7 + number) % 251).unwrap()).collect()
}

fn script(seed: u64) -> Vec<Step> {
    let mut random = Random(seed);
    let mut steps = FIRST.to_vec();
    while steps.len() < STEPS {
        let which = random.below(4);
        steps.push(match random.below(10) {
            0..=4 => Step::Upload(which, random.below(3)),
            5 | 6 => Step::Delete(which),
            7 => Step::Alias(which % 2, Some(which)),
            8 if random.below(2) == 0 => Step::Restore(which),
            8 => Step::Alias(which % 2, None),
            _ => Step::Sweep(random.below(2) == 0),
        });
    }
    steps
}

fn settings(root: &Path) -> Settings {
    Settings::new(root)
}

fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Arc<Store>, Error> {
    Store::open(settings(root), disk, Arc::<Figures>::default()).map(Arc::new)
}

fn now(step: usize) -> Timestamp {
    Timestamp::from_millis(4_000_000_000_000 + i64::try_from(step).unwrap() * 1000)
}

fn upload(store: &Arc<Store>, key: &Key, bytes: &[u8], at: Timestamp) -> Result<(), Error> {
    let mut upload = Upload::begin(store, None)?;
    for part in bytes.chunks(100) {
        upload.write(part)?;
    }
    upload.finish(&Order::new(key.clone()), at).map(drop)
}

/// Does a step; what should be seen when it is done. None for one that makes no sense now.
fn perform(
    store: &Arc<Store>,
    step: &Step,
    at: usize,
    before: &Seen,
) -> Option<(Result<(), Error>, Seen)> {
    let mut after = before.clone();
    let project = |number: usize| format!("p{number}");
    let done = match step {
        Step::Upload(which, what) => {
            after.models.insert(key(*which).to_string(), content(*what));
            upload(store, &key(*which), &content(*what), now(at))
        }
        Step::Delete(which) => {
            after.models.remove(&key(*which).to_string())?;
            store.delete(&key(*which), &Require::Nothing, now(at)).map(drop)
        }
        Step::Alias(project_of, Some(which)) => {
            before.models.get(&key(*which).to_string())?;
            let version = key(*which).version;
            after.aliases.insert(*project_of, version.clone());
            store.set_alias((&project(*project_of), "app"), "stable", &version).map(drop)
        }
        Step::Alias(project_of, None) => {
            after.aliases.remove(project_of)?;
            store.remove_alias((&project(*project_of), "app"), "stable").map(drop)
        }
        Step::Restore(which) => {
            let wanted = key(*which);
            let all = store.trash().ok()?;
            let found = all.into_iter().rev().find(|trashed| {
                trashed.project_id == wanted.project && trashed.version == wanted.version
            })?;
            if before.models.contains_key(&wanted.to_string()) {
                return None;
            }
            let done = store.restore(&found.id);
            if let Ok(entry) = &done {
                // What it was is what is there now: its digest is checked like that of all others.
                let bytes =
                    (0..3).map(content).find(|bytes| Some(Digest::of_bytes(bytes)) == entry.sha256);
                after.models.insert(wanted.to_string(), bytes.expect("an unknown content"));
            } else {
                after.models.insert(wanted.to_string(), Vec::new());
            }
            done.map(drop)
        }
        Step::Sweep(is_late) => {
            let late = Timestamp::from_millis(i64::MAX / 4);
            store.sweep(if *is_late { late } else { now(at) }, false).map(drop)
        }
    };
    Some((done, after))
}

/// What a store shows, checked against the disk itself.
fn see(store: &Store, disk: &dyn Disk) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for entry in store.list(&Query::default()).entries {
        let bytes = disk.read(&entry.file()).map_err(|error| format!("{}: {error}", entry.key))?;
        let digest = Digest::of_bytes(&bytes);
        if entry.sha256.as_ref() != Some(&digest) || !entry.is_ours {
            return Err(format!("{} is {digest:?}, said to be {:?}", entry.key, entry.sha256));
        }
        let metadata = disk.read(&entry.folder().join("metadata.json")).unwrap_or_default();
        let metadata: serde_json::Value = serde_json::from_slice(&metadata)
            .map_err(|error| format!("{}: metadata.json: {error}", entry.key))?;
        if metadata["sha256"] != digest.as_str() || metadata["size"] != bytes.len() {
            return Err(format!("{}: {metadata}", entry.key));
        }
        seen.models.insert(entry.key.to_string(), bytes);
    }
    for project in 0..2 {
        let record = store.app(&format!("p{project}"), "app");
        if let Some(version) = record.aliases.get("stable") {
            seen.aliases.insert(project, version.clone());
        }
    }
    Ok(seen)
}

/// Whether a store shows what it should: all as before, or all as after what was under way.
fn check(seen: &Seen, before: &Seen, after: &Seen, is_restore: bool) -> Result<(), String> {
    if seen == before || seen == after {
        return Ok(());
    }
    // What comes back from the trash was made whole long ago; which one is checked by its digest.
    let names = |seen: &Seen| seen.models.keys().cloned().collect::<Vec<_>>();
    if is_restore && names(seen) == names(after) && seen.aliases == before.aliases {
        return Ok(());
    }
    Err(format!(
        "neither as before nor as after\nseen {seen:?}\nbefore {before:?}\nafter {after:?}"
    ))
}

/// Nothing is in the store that nothing needs.
fn check_clean(store: &Store, disk: &dyn Disk, root: &Path) -> Result<(), String> {
    let own = root.join(".store");
    let left = disk.list(&own.join("uploads")).unwrap();
    if !left.is_empty() {
        return Err(format!("left in uploads: {left:?}"));
    }
    store.sweep(Timestamp::from_millis(i64::MAX / 4), false).map_err(|e| e.to_string())?;
    let blobs = own.join("blobs/sha256");
    for first in disk.list(&blobs).unwrap() {
        for rest in disk.list(&blobs.join(&first)).unwrap() {
            let path = blobs.join(&first).join(&rest);
            if disk.stat(&path).unwrap().links < 2 {
                return Err(format!("a blob that nothing needs: {}", path.display()));
            }
        }
    }
    Ok(())
}

/// How a run goes: the disk's fault, then what is lost.
#[derive(Clone, Copy, Debug)]
struct Run {
    seed: u64,
    fault: Fault,
    loss: Loss,
    has_exchange: bool,
}

/// Plays a run; how many changes it made.
fn play(run: Run) -> Result<u64, String> {
    let memory = Memory::new(run.has_exchange);
    let root = PathBuf::from("/srv/models");
    let disk = Arc::new(Faulty::new(Arc::new(memory.clone()), run.fault));
    let (mut before, mut after, mut is_restore) = (Seen::default(), Seen::default(), false);
    if let Ok(store) = open(Arc::clone(&disk) as _, &root) {
        for (at, step) in script(run.seed).iter().enumerate() {
            let failed = disk.failed();
            let Some((done, wanted)) = perform(&store, step, at, &before) else { continue };
            if disk.is_dead() {
                (after, is_restore) = (wanted, matches!(step, Step::Restore(_)));
                break;
            }
            match done {
                Ok(()) => before = wanted,
                Err(error) if disk.failed() == failed => {
                    return Err(format!("step {at} {step:?} failed by itself: {error}"));
                }
                // A disk that takes nothing any more can't take back either what is there whole.
                Err(Error::Full(_) | Error::Disk { .. })
                    if matches!(run.fault, Fault::From(..)) =>
                {
                    (after, is_restore) = (wanted, matches!(step, Step::Restore(_)));
                    break;
                }
                Err(Error::Full(_) | Error::Disk { .. }) => {}
                Err(error) => return Err(format!("step {at} {step:?}: {error}")),
            }
            after.clone_from(&before);
            let told = |why| format!("step {at} {step:?}: {why}");
            let seen = see(&store, &memory).map_err(told)?;
            check(&seen, &before, &before, false).map_err(told)?;
        }
    }
    let changes = disk.changes();
    let mut random = Random(run.seed ^ changes);
    let left = memory.after(run.loss, || random.next());
    let disk: Arc<dyn Disk> = Arc::new(left.clone());
    let store = open(Arc::clone(&disk), &root).map_err(|e| format!("it does not open: {e}"))?;
    let seen = see(&store, &left)?;
    check(&seen, &before, &after, is_restore)?;
    check_clean(&store, &left, &root)?;
    upload(&store, &key(0), &content(2), now(99)).map_err(|e| format!("afterwards: {e}"))?;
    let again = see(&store, &left)?;
    drop(store);
    let store = open(disk, &root).map_err(|e| format!("it does not open again: {e}"))?;
    (see(&store, &left)? == again).then_some(changes).ok_or_else(|| "not as it was".to_owned())
}

/// The scripts to play, and whether with all that may happen.
fn seeds() -> (Vec<u64>, bool) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match (number("BERTH_STORE_SEED"), number("BERTH_STORE_SEEDS")) {
        (Some(seed), _) => (vec![seed], true),
        (None, Some(count)) => ((1..=count).collect(), true),
        (None, None) => (vec![1], false),
    }
}

/// How many points a run must have: by default, and of `make store-crash`.
fn least() -> u64 {
    match seeds() {
        (seeds, true) if seeds.len() > 1 => 10_000,
        _ => 500,
    }
}

/// Plays a run for every change of every seed's script; how many were played.
fn at_every_change(faults: &[fn(u64) -> Fault], losses: &[Loss]) -> u64 {
    let mut played = 0;
    let (seeds, is_all) = seeds();
    for seed in seeds {
        for has_exchange in [true, false] {
            let whole = Run { seed, fault: Fault::Never, loss: Loss::None, has_exchange };
            let changes = play(whole).unwrap_or_else(|why| panic!("{whole:?}: {why}"));
            assert!(60 < changes, "only {changes} changes");
            for at in 1..=changes {
                let all = faults.iter().flat_map(|f| losses.iter().map(move |l| (f, l)));
                let turns = (at..).zip(all).filter(|(turn, _)| is_all || turn.is_multiple_of(3));
                for (_, (fault, loss)) in turns {
                    let run = Run { fault: fault(at), loss: *loss, ..whole };
                    play(run)
                        .unwrap_or_else(|why| panic!("BERTH_STORE_SEED={seed}: {run:?}: {why}"));
                    played += 1;
                }
            }
        }
    }
    played
}

/// Fault S02.
#[test]
fn a_kill_or_a_loss_of_power_at_any_change_loses_nothing_and_leaves_nothing_half() {
    let faults: [fn(u64) -> Fault; 2] = [Fault::Kill, Fault::Tear];
    let played = at_every_change(&faults, &[Loss::None, Loss::All, Loss::Tail, Loss::Any]);
    assert!(least() <= played, "only {played} crashes");
    println!("{played} crashes");
}

/// Faults S03, S04, at every change.
#[test]
fn a_failing_or_full_disk_leaves_what_was_there_and_nothing_else() {
    let faults: [fn(u64) -> Fault; 4] = [
        |at| Fault::Once(at, Errno::IO),
        |at| Fault::Once(at, Errno::NOSPC),
        |at| Fault::From(at, Errno::IO),
        |at| Fault::From(at, Errno::NOSPC),
    ];
    let played = at_every_change(&faults, &[Loss::None, Loss::All]);
    assert!(least() <= played, "only {played} failures");
    println!("{played} failures");
}

/// What the model of a disk says, said by this machine's own: killed at every few changes.
#[test]
fn a_kill_on_a_real_disk_loses_nothing() {
    let seed = seeds().0[0];
    let mut at = 3;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("models");
        let disk = Arc::new(Faulty::new(Arc::new(Machine), Fault::Kill(at)));
        let (mut before, mut after) = (Seen::default(), Seen::default());
        let store = open(Arc::clone(&disk) as _, &root);
        for (number, step) in script(seed).iter().enumerate().take(8) {
            let Ok(store) = &store else { break };
            if matches!(step, Step::Restore(_)) {
                continue;
            }
            let Some((done, wanted)) = perform(store, step, number, &before) else { continue };
            if disk.is_dead() {
                after = wanted;
                break;
            }
            done.unwrap();
            before = wanted;
            after.clone_from(&before);
        }
        let is_over = !disk.is_dead();
        drop((store, disk));
        let store = open(Arc::new(Machine), &root).unwrap();
        let seen = see(&store, &Machine).unwrap();
        check(&seen, &before, &after, false).unwrap_or_else(|why| panic!("change {at}: {why}"));
        let left = Machine.list(&root.join(".store/uploads")).unwrap();
        assert!(left.is_empty(), "change {at}: {left:?}");
        if is_over {
            break;
        }
        at += 5;
    }
    assert!(30 < at, "it ended at change {at}");
}

/// Fault S05: who writes to one name at once: one wins, and it is whole.
#[test]
fn uploads_of_one_name_at_once_end_in_one_whole_winner() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    let store = open(Arc::new(Machine), &root).unwrap();
    std::thread::scope(|scope| {
        for which in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..3 {
                    let bytes = content((which + round) % 3);
                    let mut upload = Upload::begin(store, None).unwrap();
                    upload.write(&bytes).unwrap();
                    let stored = upload.finish(&Order::new(key(0)), now(0)).unwrap();
                    // Whoever wins in the end, each is told of its own.
                    assert_eq!(stored.entry.sha256, Some(Digest::of_bytes(&bytes)));
                }
            });
        }
    });
    let seen = see(&store, &Machine).unwrap();
    assert_eq!(seen.models.len(), 1);
    let winner = seen.models.values().next().unwrap();
    assert!((0..3).any(|what| content(what) == *winner));
    assert_eq!(
        Machine.list(&root.join(".store/uploads")).unwrap(),
        Vec::<std::ffi::OsString>::new()
    );
    drop(store);
    let again = open(Arc::new(Machine), &root).unwrap();
    assert_eq!(see(&again, &Machine).unwrap(), seen);
}
