//! Who changed what: what comes by file and by git, for the audit log.

use std::{
    collections::BTreeMap, fs, io, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path,
    sync::Arc, time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::audit::{self, Deed, Log, Who};
use crate::clock::Clock;
use crate::model::App;
use crate::record::Record;
use crate::state::{Desired, Want};

/// What is kept beside the log: how each app was when it was recorded last.
const SEEN: &str = "seen.json";
/// What is about to be recorded, as long as `SEEN` does not say so.
const NEXT: &str = "next.json";
const ADDED: &str = "manifest.added";
const CHANGED: &str = "manifest.changed";
const REMOVED: &str = "manifest.removed";
const ACTIONS: [&str; 3] = [ADDED, CHANGED, REMOVED];
/// What could not be recorded is tried again after this pause.
const RETRY: Duration = Duration::from_secs(30);

/// Records what comes by file and by git: which app, by which file and commit, and what differs.
///
/// It compares with what was recorded last, kept in a file beside the log, so that what was changed
/// while Berth did not run is recorded too.
#[derive(Debug)]
pub struct Changes {
    desired: watch::Receiver<Arc<Desired>>,
    record: Arc<Record>,
    log: Arc<Log>,
    clock: Clock,
    seen: Option<Seen>,
    /// What was desired when all of it was recorded last.
    noted: Option<Arc<Desired>>,
}

/// The file that an app is in, and its spec.
type Form = (String, Value);
/// How each app is.
type Seen = BTreeMap<String, Form>;

/// A change of one app: what is recorded of it, and how the app is then; none when it is gone.
#[derive(Debug)]
struct Change {
    deed: Deed,
    app: String,
    then: Option<Form>,
}

/// What is about to be recorded, so that nobody records it twice who finds only a part of it in the
/// log: whether Berth was killed or the disk was full.
#[derive(Debug, Serialize, Deserialize)]
struct Next {
    /// The number of the last record before.
    after: u64,
    apps: BTreeMap<String, Option<Form>>,
}

impl Changes {
    /// A recorder of changes.
    pub fn new(
        desired: watch::Receiver<Arc<Desired>>,
        record: Arc<Record>,
        log: Arc<Log>,
        clock: Clock,
    ) -> Self {
        Self { desired, record, log, clock, seen: None, noted: None }
    }

    /// Records that Berth itself begins or ends.
    async fn note_own(&self, action: &'static str, after: Value) {
        let (log, now) = (Arc::clone(&self.log), self.clock.now());
        let who = Who { kind: "berth".to_owned(), name: "berth".to_owned(), role: None };
        let (object, outcome) = ("berth".to_owned(), "done".to_owned());
        let action = action.to_owned();
        let deed = Deed { who, from: None, action, object, before: Value::Null, after, outcome };
        let written = tokio::task::spawn_blocking(move || log.append(&deed, now).map(drop)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the audit log does not say that Berth begins or ends");
        }
    }

    /// Records until it is told to stop: that Berth begins, what changes, and that it ends.
    pub async fn run(mut self, stop: CancellationToken) {
        let version = env!("CARGO_PKG_VERSION");
        let began = serde_json::json!({"version": version, "pid": std::process::id()});
        self.note_own("berth.started", began).await;
        self.follow(&stop).await;
        // What took effect last is recorded before the end is.
        if let Err(error) = self.note().await {
            tracing::warn!(%error, "the last changes of manifests are not recorded");
        }
        self.note_own("berth.stopped", Value::Null).await;
    }

    async fn follow(&mut self, stop: &CancellationToken) {
        let mut problem: Option<String> = None;
        loop {
            let error = self.note().await.err().map(|error| error.to_string());
            if let Some(error) = error.as_ref().filter(|_| problem != error) {
                tracing::warn!(error, "changes of manifests not recorded; it is tried again");
            }
            problem = error;
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.desired.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(RETRY), if problem.is_some() => {}
            }
        }
    }

    async fn note(&mut self) -> io::Result<()> {
        let desired = Arc::clone(&self.desired.borrow_and_update());
        if desired.revision.is_empty() {
            return Ok(());
        }
        let parts = self.record.overview().sources;
        let source = move |file: &str| -> Who {
            let part = parts.iter().find(|part| !part.prefix.is_empty() && part.has(file));
            match part {
                Some(part) => {
                    let path = file.strip_prefix(&part.prefix).unwrap_or(file);
                    let commit = part.commit.clone().unwrap_or_default();
                    let name = format!("{} {commit} {path}", part.name);
                    Who { kind: "git".to_owned(), name, role: None }
                }
                None => Who { kind: "file".to_owned(), name: file.to_owned(), role: None },
            }
        };
        let (log, now, seen) = (Arc::clone(&self.log), self.clock.now(), self.seen.take());
        let (now_desired, noted) = (Arc::clone(&desired), self.noted.take());
        let work = move || {
            let mut seen = seen.map_or_else(|| read(log.folder()), Ok)?;
            let changes = differing(&desired, noted.as_deref(), &seen, &source);
            if !changes.is_empty() {
                log.check_ready().map_err(io::Error::other)?;
                let append =
                    |deed: &Deed| log.append(deed, now).map(drop).map_err(io::Error::other);
                record(log.folder(), &mut seen, changes, append)?;
            }
            io::Result::Ok(seen)
        };
        self.seen = Some(tokio::task::spawn_blocking(work).await.map_err(io::Error::other)??);
        self.noted = Some(now_desired);
        Ok(())
    }
}

/// What differs between what is desired and what was seen; an app that is still the one that was
/// `noted` can't differ.
fn differing(
    desired: &Desired,
    noted: Option<&Desired>,
    seen: &Seen,
    source: &dyn Fn(&str) -> Who,
) -> Vec<Change> {
    let tell = |app: &str, file: &str, action: &str, before: &Value, then: Option<Form>| {
        let after = then.as_ref().map_or(&Value::Null, |(_, after)| after);
        let (before, after) = audit::differences(before, after);
        let (action, object) = (action.to_owned(), format!("app/{app}"));
        let (who, outcome) = (source(file), "done".to_owned());
        let deed = Deed { who, from: None, action, object, before, after, outcome };
        Change { deed, app: app.to_owned(), then }
    };
    let present = desired.apps.iter().filter_map(|(name, want)| {
        let Want::Present(app) = want else { return None };
        let before = noted.and_then(|noted| noted.apps.get(name));
        if matches!(before, Some(Want::Present(before)) if Arc::ptr_eq(before, app)) {
            return None;
        }
        let App { spec, origin, .. } = app.as_ref();
        let after = audit::of_spec(spec);
        let (action, before) = match seen.get(name.as_str()) {
            Some((_, before)) if *before == after => return None,
            Some((_, before)) => (CHANGED, before),
            None => (ADDED, &Value::Null),
        };
        let then = Some((origin.file.clone(), after));
        Some(tell(name.as_str(), &origin.file, action, before, then))
    });
    let gone = desired.removals.iter().filter_map(|name| {
        let (file, before) = seen.get(name.as_str())?;
        Some(tell(name.as_str(), file, REMOVED, before, None))
    });
    present.chain(gone).collect()
}

/// Records changes, each once whatever happens meanwhile.
fn record(
    folder: &Path,
    seen: &mut Seen,
    changes: Vec<Change>,
    append: impl Fn(&Deed) -> io::Result<()>,
) -> io::Result<()> {
    let apps = changes.iter().map(|change| (change.app.clone(), change.then.clone())).collect();
    keep(folder, NEXT, &Next { after: last(folder)?, apps })?;
    for Change { deed, app, then } in changes {
        append(&deed)?;
        take(seen, app, then);
    }
    keep(folder, SEEN, seen)?;
    fs::remove_file(folder.join(NEXT))
}

fn take(seen: &mut Seen, app: String, then: Option<Form>) {
    match then {
        Some(form) => seen.insert(app, form),
        None => seen.remove(&app),
    };
}

/// How each app was when it was recorded last.
fn read(folder: &Path) -> io::Result<Seen> {
    let mut seen: Seen = kept(folder, SEEN)?.unwrap_or_default();
    let Some(Next { after, apps }) = kept(folder, NEXT)? else { return Ok(seen) };
    let is_of_it = |record: &audit::Record| {
        after < record.seq && ACTIONS.contains(&record.deed.action.as_str())
    };
    let recorded = records(folder, usize::MAX, is_of_it)?;
    for (app, then) in apps {
        let object = format!("app/{app}");
        if recorded.iter().any(|record| record.deed.object == object) {
            take(&mut seen, app, then);
        }
    }
    keep(folder, SEEN, &seen)?;
    fs::remove_file(folder.join(NEXT))?;
    Ok(seen)
}

/// The number of the last record.
fn last(folder: &Path) -> io::Result<u64> {
    Ok(records(folder, 1, |_| true)?.first().map_or(0, |record| record.seq))
}

fn records(
    folder: &Path,
    limit: usize,
    is_wanted: impl Fn(&audit::Record) -> bool,
) -> io::Result<Vec<audit::Record>> {
    let state_dir = folder.parent().unwrap_or(folder);
    let page = audit::page(state_dir, None, limit, is_wanted).map_err(io::Error::other)?;
    Ok(page.0)
}

/// What a file of the folder holds. What makes no sense costs records that were there already, and
/// nothing else.
fn kept<T: DeserializeOwned>(folder: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(folder.join(name)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn keep(folder: &Path, name: &str, what: &impl Serialize) -> io::Result<()> {
    let path = folder.join(name);
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(what)?)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::model::Timestamp;

    fn change(app: &str, action: &str, then: Option<&str>) -> Change {
        let who = Who { kind: "file".to_owned(), name: format!("{app}.yaml"), role: None };
        let deed = Deed {
            who,
            from: None,
            action: action.to_owned(),
            object: format!("app/{app}"),
            before: Value::Null,
            after: Value::Null,
            outcome: "done".to_owned(),
        };
        let form = |text: &str| (format!("{app}.yaml"), Value::from(text));
        Change { deed, app: app.to_owned(), then: then.map(form) }
    }

    fn changes() -> Vec<Change> {
        vec![
            change("a", ADDED, Some("1")),
            change("b", CHANGED, Some("2")),
            change("c", REMOVED, None),
        ]
    }

    // T01, D41: what was recorded is taken for recorded, wherever the disk or Berth gave up.
    #[test]
    fn what_was_recorded_is_not_recorded_again() {
        for written in 0..=3 {
            let top = tempfile::tempdir().unwrap();
            let log = Log::new(top.path());
            let folder = log.folder();
            let now = Timestamp::from_millis(0);
            log.append(&change("b", ADDED, None).deed, now).unwrap();
            let old = |app: &str| (app.to_owned(), (format!("{app}.yaml"), Value::from("1")));
            let mut seen = Seen::from([old("b"), old("c")]);
            keep(folder, SEEN, &seen).unwrap();
            let left = Cell::new(written);
            let append = |deed: &Deed| {
                if left.get() == 0 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                left.set(left.get() - 1);
                log.append(deed, now).map(drop).map_err(io::Error::other)
            };
            let done = record(folder, &mut seen, changes(), append);
            assert_eq!(done.is_ok(), written == 3);
            // Others write in between.
            log.append(&change("a", "manifest.refused", None).deed, now).unwrap();
            let mut wanted = Seen::from([old("b"), old("c")]);
            for change in changes().into_iter().take(written) {
                take(&mut wanted, change.app, change.then);
            }
            assert_eq!(read(folder).unwrap(), wanted, "after {written} records");
            assert!(!folder.join(NEXT).exists(), "after {written} records");
            assert_eq!(read(folder).unwrap(), wanted, "after {written} records, once more");
        }
    }
}
