//! Repositories are killed, and lose power, and have their disk fail, at every change that is made.
//!
//! A commit of several files is there as a whole or not at all, its history with it; what a history
//! names can be read. By default each change meets one thing that may happen to it, in turns; with
//! `BERTH_STORE_SEEDS=1` all of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use berth::{
    model::{Digest, Timestamp},
    store::{
        Change, Error, Figures, Key, NewCommit, Order, Query, Settings, Store, Upload, disk::Disk,
    },
};
use rustix::io::Errno;

use crate::store::{
    faulty::{Fault, Faulty},
    memory::{Loss, Memory},
};

const REPO: (&str, &str) = ("p", "app");

/// What is done, one after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    /// Puts files with contents, removes others, on a branch.
    Commit(&'static str, &'static [(&'static str, u8)], &'static [&'static str]),
    /// As clients of the store do it.
    Upload(&'static str, u8),
    Tag(&'static str),
    Untag(&'static str),
    Branch(&'static str),
    /// These go model by model: each is whole, all of them are not.
    Unbranch(&'static str),
    Sweep,
    Delete,
}

impl Step {
    fn is_piecemeal(self) -> bool {
        matches!(self, Self::Unbranch(_) | Self::Delete)
    }
}

const SCRIPT: &[Step] = &[
    Step::Create,
    Step::Commit("main", &[("a", 0), ("b/x", 1), ("c", 2)], &[]),
    Step::Upload("a", 3),
    Step::Commit("main", &[("a", 1), ("d", 0)], &["c"]),
    Step::Tag("v1"),
    Step::Branch("dev"),
    Step::Commit("dev", &[("e", 2)], &["b/x", "a"]),
    Step::Commit("main", &[], &["a", "d", "b/x"]),
    Step::Unbranch("dev"),
    Step::Sweep,
    Step::Commit("main", &[("a", 4)], &[]),
    Step::Untag("v1"),
    Step::Delete,
];

fn content(what: u8) -> Vec<u8> {
    (0..60 + usize::from(what) * 50)
        .map(|at| what.wrapping_add(u8::try_from(at % 97).unwrap()))
        .collect()
}

fn now(step: usize) -> Timestamp {
    Timestamp::from_millis(4_000_000_000_000 + i64::try_from(step).unwrap() * 1000)
}

fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Arc<Store>, Error> {
    Store::open(Settings::new(root), disk, Arc::<Figures>::default()).map(Arc::new)
}

fn upload(store: &Arc<Store>, bytes: &[u8]) -> Result<Upload, Error> {
    let mut upload = Upload::begin(store, None)?;
    upload.write(bytes)?;
    Ok(upload)
}

fn commit(
    store: &Arc<Store>,
    branch: &str,
    puts: &[(&str, u8)],
    removed: &[&str],
    at: Timestamp,
) -> Result<(), Error> {
    let mut changes = Vec::new();
    for (path, what) in puts {
        let kept = store.keep_content(upload(store, &content(*what))?, REPO.0, None, at)?;
        changes.push(Change::Put((*path).to_owned(), kept.0));
    }
    changes.extend(removed.iter().map(|path| Change::Delete((*path).to_owned())));
    let order = NewCommit {
        project: REPO.0.to_owned(),
        app: REPO.1.to_owned(),
        branch: branch.to_owned(),
        title: "a change".to_owned(),
        message: String::new(),
        author: "somebody".to_owned(),
        parent: None,
        changes,
        projects: None,
    };
    store.commit(&order, at, &|_| Ok(())).map(drop)
}

fn perform(store: &Arc<Store>, step: Step, at: Timestamp) -> Result<(), Error> {
    match step {
        Step::Create => store.create_repo(REPO, "somebody", at),
        Step::Commit(branch, puts, removed) => commit(store, branch, puts, removed, at),
        Step::Upload(path, what) => {
            let key = Key::new(REPO.0, REPO.1, "main", path).unwrap();
            upload(store, &content(what))?.finish(&Order::new(key), at).map(drop)
        }
        Step::Tag(tag) => store.create_tag(REPO, (tag, "main"), None, at),
        Step::Untag(tag) => store.delete_tag(REPO, tag),
        Step::Branch(branch) => store.create_branch(REPO, (branch, "main"), "somebody", at),
        Step::Unbranch(branch) => store.delete_branch(REPO, branch, at, &|_| Ok(())),
        Step::Sweep => store.sweep(Timestamp::from_millis(i64::MAX / 4), false).map(drop),
        Step::Delete => store.delete_repo(REPO, at, &|_| Ok(())),
    }
}

/// What is seen: the models, the branches and tags with their files, the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    models: BTreeMap<String, Digest>,
    refs: BTreeMap<String, (String, Vec<String>)>,
    log: Vec<(String, String)>,
}

fn see(store: &Store, disk: &dyn Disk) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for entry in store.list(&Query::default()).entries {
        let bytes = disk.read(&entry.file()).map_err(|error| format!("{}: {error}", entry.key))?;
        if entry.sha256 != Some(Digest::of_bytes(&bytes)) || !entry.is_ours {
            return Err(format!("{} is not what it is said to be", entry.key));
        }
        seen.models.insert(entry.key.to_string(), Digest::of_bytes(&bytes));
    }
    if !store.has_repo(REPO) {
        return Ok(seen);
    }
    for found in store.hub_refs(REPO).map_err(|error| error.to_string())? {
        let tree = store.hub_resolve(REPO, &found.name).map_err(|error| error.to_string())?.tree;
        let files = tree.files.iter().map(|(path, file)| format!("{path} {}", file.sha256));
        seen.refs.insert(found.name, (found.commit, files.collect()));
    }
    for commit in store.hub_commits(REPO, "main").map_err(|error| error.to_string())? {
        let found = store.hub_resolve(REPO, &commit.id);
        let tree = found.map_err(|error| format!("{}: {error}", commit.id))?.tree;
        for (path, file) in &tree.files {
            let file = store
                .hub_file(REPO, ("x", path), file)
                .map_err(|error| format!("{} {path}: {error}", commit.id))?;
            let bytes = disk.read(&file.file()).map_err(|error| format!("{path}: {error}"))?;
            if file.sha256 != Some(Digest::of_bytes(&bytes)) {
                return Err(format!("{path} of {} is another content", commit.id));
            }
        }
        seen.log.push((commit.id, commit.title));
    }
    Ok(seen)
}

/// Whether that is as before or as after; what goes model by model may be between.
fn check(step: Step, seen: &Seen, before: &Seen, after: &Seen) -> Result<(), String> {
    if seen == before || seen == after {
        return Ok(());
    }
    let is_part = |less: &Seen, more: &Seen| {
        less.models.iter().all(|(name, digest)| more.models.get(name) == Some(digest))
    };
    if step.is_piecemeal() && is_part(seen, before) && is_part(after, seen) {
        return Ok(());
    }
    Err(format!(
        "neither as before nor as after\nseen {seen:?}\nbefore {before:?}\nafter {after:?}"
    ))
}

#[derive(Clone, Copy, Debug)]
struct Run {
    fault: Fault,
    loss: Loss,
    has_exchange: bool,
}

fn root() -> PathBuf {
    PathBuf::from("/srv/models")
}

/// What is seen after each step when nothing fails, and how many changes there are in all.
fn expected(has_exchange: bool) -> (Vec<Seen>, u64) {
    let memory = Memory::new(has_exchange);
    let disk = Arc::new(Faulty::new(Arc::new(memory.clone()), Fault::Never));
    let store = open(Arc::clone(&disk) as _, &root()).unwrap();
    let mut all = vec![see(&store, &memory).unwrap()];
    for (at, step) in SCRIPT.iter().enumerate() {
        perform(&store, *step, now(at)).unwrap_or_else(|error| panic!("{step:?}: {error}"));
        all.push(see(&store, &memory).unwrap_or_else(|why| panic!("{step:?}: {why}")));
    }
    drop(store);
    let again = open(Arc::clone(&disk) as _, &root()).unwrap();
    assert_eq!(see(&again, &memory).unwrap(), *all.last().unwrap());
    (all, disk.changes())
}

/// Plays the script; the step at which it ended.
fn play(run: Run, expected: &[Seen]) -> Result<(), String> {
    let memory = Memory::new(run.has_exchange);
    let disk = Arc::new(Faulty::new(Arc::new(memory.clone()), run.fault));
    let mut ended = None;
    if let Ok(store) = open(Arc::clone(&disk) as _, &root()) {
        for (at, step) in SCRIPT.iter().enumerate() {
            let failed = disk.failed();
            let mut done = perform(&store, *step, now(at));
            if disk.is_dead() || (done.is_err() && matches!(run.fault, Fault::From(..))) {
                ended = Some(at);
                break;
            }
            let told = |why| format!("step {at} {step:?}: {why}");
            if let Err(error) = &done {
                if disk.failed() == failed {
                    return Err(told(format!("it failed by itself: {error}")));
                }
                let seen = see(&store, &memory).map_err(told)?;
                if !step.is_piecemeal() {
                    check(*step, &seen, &expected[at], &expected[at]).map_err(told)?;
                }
                done = perform(&store, *step, now(at));
            }
            done.map_err(|error| told(format!("once more: {error}")))?;
            let seen = see(&store, &memory).map_err(told)?;
            check(*step, &seen, &expected[at + 1], &expected[at + 1]).map_err(told)?;
        }
    } else {
        ended = Some(0);
    }
    let at = ended.unwrap_or(SCRIPT.len());
    let mut random = disk.changes();
    let left = memory.after(run.loss, || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    });
    let disk: Arc<dyn Disk> = Arc::new(left.clone());
    let store = open(Arc::clone(&disk), &root()).map_err(|e| format!("it does not open: {e}"))?;
    let told = |why| format!("after step {at}: {why}");
    let seen = see(&store, &left).map_err(told)?;
    let step = SCRIPT.get(at).copied().unwrap_or(Step::Delete);
    let after = expected.get(at + 1).unwrap_or(&expected[at]);
    check(step, &seen, &expected[at], after).map_err(told)?;
    let uploads = left.list(&root().join(".store/uploads")).unwrap();
    if !uploads.is_empty() {
        return Err(format!("left in uploads: {uploads:?}"));
    }
    if !store.has_repo(REPO) {
        store.create_repo(REPO, "x", now(98)).map_err(|e| format!("afterwards: {e}"))?;
    }
    commit(&store, "main", &[("z", 4)], &[], now(99)).map_err(|e| format!("afterwards: {e}"))?;
    let again = see(&store, &left)?;
    drop(store);
    let store = open(disk, &root()).map_err(|e| format!("it does not open again: {e}"))?;
    (see(&store, &left)? == again).then_some(()).ok_or_else(|| "not as it was".to_owned())
}

fn at_every_change(faults: &[fn(u64) -> Fault], losses: &[Loss]) -> u64 {
    let is_all = std::env::var_os("BERTH_STORE_SEEDS").is_some();
    let (mut played, mut wrong) = (0, Vec::new());
    for has_exchange in [true, false] {
        let (expected, changes) = expected(has_exchange);
        assert!(150 < changes, "only {changes} changes");
        for at in 1..=changes {
            let all = faults.iter().flat_map(|f| losses.iter().map(move |l| (f, l)));
            for (_, (fault, loss)) in (at..).zip(all).filter(|(turn, _)| is_all || turn % 8 == 0) {
                let run = Run { fault: fault(at), loss: *loss, has_exchange };
                wrong.extend(play(run, &expected).err().map(|why| format!("{run:?}: {why}")));
                played += 1;
            }
        }
    }
    let first: Vec<_> = wrong.iter().take(5).collect();
    assert!(wrong.is_empty(), "{} of {played} went wrong: {first:#?}", wrong.len());
    played
}

/// What ends everything at a change of the disk.
pub(super) const KILLS: [fn(u64) -> Fault; 2] = [Fault::Kill, Fault::Tear];
/// What fails at it, once or from then on.
pub(super) const FAILURES: [fn(u64) -> Fault; 4] = [
    |at| Fault::Once(at, Errno::IO),
    |at| Fault::Once(at, Errno::NOSPC),
    |at| Fault::From(at, Errno::IO),
    |at| Fault::From(at, Errno::NOSPC),
];

#[test]
fn a_kill_or_a_loss_of_power_leaves_each_commit_whole_or_not_at_all() {
    let played = at_every_change(&KILLS, &[Loss::None, Loss::All, Loss::Tail, Loss::Any]);
    assert!(500 <= played, "only {played} crashes");
    println!("{played} crashes");
}

#[test]
fn a_failing_or_full_disk_leaves_each_commit_whole_or_not_at_all() {
    let played = at_every_change(&FAILURES, &[Loss::None, Loss::All]);
    assert!(500 <= played, "only {played} failures");
    println!("{played} failures");
}
