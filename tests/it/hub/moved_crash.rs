//! A repository is moved, with a kill, a loss of power or a failure of the disk at every change: all
//! of it has its old name, or all of it its new one.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use berth::{
    model::Timestamp,
    store::{
        Change, Error, Figures, Key, NewCommit, Order, Query, Settings, Store, Upload, disk::Disk,
    },
};
use serde_json::Value;

use super::crash::{FAILURES, KILLS};
use crate::store::{
    faulty::{Fault, Faulty},
    memory::{Loss, Memory},
};

type Repo = (&'static str, &'static str);

const FROM: Repo = ("p", "app");
/// In another project, and in the same one.
const TO: [Repo; 2] = [("q", "other"), ("p", "other")];

fn root() -> PathBuf {
    PathBuf::from("/srv/models")
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(4_000_000_000_000 + second * 1000)
}

fn open(disk: Arc<dyn Disk>) -> Result<Arc<Store>, Error> {
    Store::open(Settings::new(root()), disk, Arc::<Figures>::default()).map(Arc::new)
}

fn commit(store: &Arc<Store>, repo: Repo, path: &str, text: &str) -> Result<String, Error> {
    let mut upload = Upload::begin(store, None)?;
    upload.write(text.as_bytes())?;
    let kept = store.keep_content(upload, repo.0, None, at(1))?;
    let order = NewCommit {
        project: repo.0.to_owned(),
        app: repo.1.to_owned(),
        branch: "main".to_owned(),
        title: text.to_owned(),
        message: String::new(),
        author: "somebody".to_owned(),
        parent: None,
        changes: vec![Change::Put(path.to_owned(), kept.0)],
        projects: None,
    };
    store.commit(&order, at(1), &|_| Ok(())).map(|commit| commit.id)
}

/// A store with a repository that has something of everything. The id of its first commit.
fn made() -> (Memory, String) {
    let memory = Memory::new(true);
    let store = open(Arc::new(memory.clone())).unwrap();
    store.create_repo(FROM, "somebody", at(0)).unwrap();
    let first = commit(&store, FROM, "onnx/m", "one").unwrap();
    commit(&store, FROM, "onnx/m", "two").unwrap();
    let mut upload = Upload::begin(&store, None).unwrap();
    upload.write(b"weights").unwrap();
    let key = Key::new(FROM.0, FROM.1, "1.0", "w").unwrap();
    upload.finish(&Order::new(key), at(2)).unwrap();
    store.create_tag(FROM, ("v1", &first), None, at(3)).unwrap();
    store.set_alias(FROM, "stable", "1.0").unwrap();
    drop(store);
    // One that an older system has put there.
    let folder = root().join("p/app/seed");
    memory.create_dir(&folder).unwrap();
    memory.create_dir(&folder.join("m")).unwrap();
    memory.write_file(&folder.join("m/model.onnx"), b"seed").unwrap();
    let said = br#"{"project_id": "p", "app_name": "app", "version": "seed", "own": 1}"#;
    memory.write_file(&folder.join("m/metadata.json"), said).unwrap();
    for folder in [folder.join("m"), folder.clone(), root().join("p/app")] {
        memory.sync_dir(&folder).unwrap();
    }
    (memory, first)
}

/// What is seen of a repository, whatever it is called.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    models: BTreeMap<String, Vec<u8>>,
    refs: BTreeMap<String, Vec<String>>,
    log: Vec<String>,
    aliases: BTreeMap<String, String>,
}

fn see(store: &Store, disk: &dyn Disk, repo: Repo, first: &str) -> Result<Seen, String> {
    let mut seen = Seen { aliases: store.app(repo.0, repo.1).aliases, ..Seen::default() };
    let (project, app) = (Some(repo.0.to_owned()), Some(repo.1.to_owned()));
    for entry in store.list(&Query { project, app, ..Query::default() }).entries {
        let bytes = disk.read(&entry.file()).map_err(|error| format!("{}: {error}", entry.key))?;
        seen.models.insert(format!("{}/{}", entry.key.version, entry.key.model), bytes);
    }
    if !store.has_repo(repo) {
        return Ok(seen);
    }
    let told = |error: Error| error.to_string();
    let files = |revision: &str| {
        let tree = store.hub_resolve(repo, revision).map_err(told)?.tree;
        let files = tree.files.iter().map(|(path, file)| format!("{path} {}", file.sha256));
        Ok::<_, String>(files.collect::<Vec<_>>())
    };
    for found in store.hub_refs(repo).map_err(told)? {
        seen.refs.insert(found.name.clone(), files(&found.name)?);
    }
    seen.refs.insert("first".to_owned(), files(first)?);
    for commit in store.hub_commits(repo, "main").map_err(told)? {
        seen.log.push(format!("{} {:?}", commit.title, files(&commit.id)?));
    }
    Ok(seen)
}

/// Where the repository is: as a whole at one of the two names, and nothing at the other.
fn place(
    store: &Store,
    disk: &dyn Disk,
    to: Repo,
    (wanted, first): (&Seen, &str),
) -> Result<Repo, String> {
    let (old, new) = (see(store, disk, FROM, first)?, see(store, disk, to, first)?);
    match (old == *wanted, new == *wanted) {
        (true, false) if new == Seen::default() => Ok(FROM),
        (false, true) if old == Seen::default() => Ok(to),
        _ => Err(format!("neither as before nor as after\nold {old:?}\nnew {new:?}")),
    }
}

/// What lies on the disk beside what is seen, after a start.
fn check_disk(disk: &dyn Disk, repo: Repo, to: Repo) -> Result<(), String> {
    for (folder, count) in
        [("uploads", 0), ("hub/moves", 0), ("hub/repos", 1), ("apps", 1), ("hub/commits", 3)]
    {
        let names = disk.list(&root().join(".store").join(folder)).unwrap();
        if names.len() != count {
            return Err(format!("in {folder}: {names:?}"));
        }
    }
    let other = if repo == FROM { to } else { FROM };
    if disk.stat(&root().join(other.0).join(other.1)).is_ok() {
        return Err(format!("a folder of {other:?} is left"));
    }
    for model in ["main/onnx%2Fm", "1.0/w", "seed/m"] {
        let file = root().join(repo.0).join(repo.1).join(model).join("metadata.json");
        let said = disk.read(&file).map_err(|error| format!("{model}: {error}"))?;
        let said: Value = serde_json::from_slice(&said).unwrap();
        if (&said["project_id"], &said["app_name"]) != (&repo.0.into(), &repo.1.into()) {
            return Err(format!("{model} says that it is another's: {said}"));
        }
        if model == "seed/m" && said["own"] != 1 {
            return Err(format!("{model} has lost something: {said}"));
        }
    }
    Ok(())
}

fn play(to: Repo, fault: Fault, loss: Loss) -> Result<u64, String> {
    let (memory, first) = made();
    let told = |error: Error| error.to_string();
    let wanted = see(&*open(Arc::new(memory.clone())).map_err(told)?, &memory, FROM, &first)?;
    let wanted = (&wanted, first.as_str());
    let disk = Arc::new(Faulty::new(Arc::new(memory.clone()), fault));
    let mut is_done = false;
    if let Ok(store) = open(Arc::clone(&disk) as _) {
        let moved = store.move_repo(FROM, to, at(5), &|_| Ok(()));
        is_done = moved.is_ok();
        if let (Err(error), 0, false) = (&moved, disk.failed(), disk.is_dead()) {
            return Err(format!("it failed by itself: {error}"));
        }
        if matches!(fault, Fault::Once(..) | Fault::Never) {
            let is_at = place(&store, &memory, to, wanted)?;
            if (is_at == to) != is_done {
                return Err(format!("it is at {is_at:?} after {moved:?}"));
            }
            if !is_done {
                store.move_repo(FROM, to, at(6), &|_| Ok(())).map_err(|e| format!("again: {e}"))?;
            }
            // Whatever was left is done before something else is changed.
            let more = || commit(&store, to, "other", "three");
            more().or_else(|_| more()).map_err(told)?;
            return after(store, &memory, to).map(|()| disk.changes());
        }
    }
    let mut random = disk.changes();
    let left = memory.after(loss, || {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    });
    let store =
        open(Arc::new(left.clone())).map_err(|error| format!("it does not open: {error}"))?;
    let is_at = place(&store, &left, to, wanted)?;
    if is_done && is_at != to {
        return Err("it was acknowledged, and is at its old name".to_owned());
    }
    check_disk(&left, is_at, to)?;
    let next = if is_at == FROM { to } else { FROM };
    store
        .move_repo(is_at, next, at(7), &|_| Ok(()))
        .map_err(|error| format!("onwards: {error}"))?;
    see(&store, &left, next, &first).and_then(|seen| {
        if seen == *wanted.0 { Ok(()) } else { Err(format!("onwards: {seen:?}")) }
    })?;
    Ok(disk.changes())
}

/// The same after another start, with a commit more.
fn after(store: Arc<Store>, memory: &Memory, to: Repo) -> Result<(), String> {
    let log = |store: &Store| store.hub_commits(to, "main").map(|log| log.len());
    let before = log(&store).map_err(|error| error.to_string())?;
    drop(store);
    let store = open(Arc::new(memory.clone())).map_err(|error| error.to_string())?;
    let now = log(&store).map_err(|error| error.to_string())?;
    if (before, now) != (4, 4) || store.has_repo(FROM) {
        return Err(format!("{before} commits, and {now} after a start"));
    }
    let left = memory.list(&root().join(".store/hub/moves")).unwrap();
    if left.is_empty() { Ok(()) } else { Err(format!("left: {left:?}")) }
}

fn at_every_change(faults: &[fn(u64) -> Fault], losses: &[Loss]) -> u64 {
    let mut played = 0;
    for to in TO {
        let changes = play(to, Fault::Never, Loss::None).unwrap();
        assert!(50 < changes, "only {changes} changes");
        for change in 1..=changes {
            for (fault, loss) in
                faults.iter().flat_map(|f| losses.iter().map(move |l| (f(change), *l)))
            {
                play(to, fault, loss)
                    .unwrap_or_else(|why| panic!("{to:?} {fault:?} {loss:?}: {why}"));
                played += 1;
            }
        }
    }
    played
}

#[test]
fn a_repository_that_is_moved_has_one_name_after_a_crash_at_any_change() {
    let played = at_every_change(&KILLS, &[Loss::None, Loss::All, Loss::Tail, Loss::Any]);
    assert!(800 <= played, "only {played} crashes");
    println!("{played} crashes");
}

#[test]
fn a_repository_that_is_moved_has_one_name_when_the_disk_fails_at_any_change() {
    let played = at_every_change(&FAILURES, &[Loss::None, Loss::All]);
    assert!(800 <= played, "only {played} failures");
    println!("{played} failures");
}
