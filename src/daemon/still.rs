//! Apps that stand still while their data is read. Which containers are paused is written down
//! before they are, and that file is held for as long as whoever paused them lives: who finds it
//! held by nobody has them go on. What others have paused is not in it, and stays paused.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use tokio_util::sync::CancellationToken;

use super::engine;
use crate::backup::{self, PAUSED, Watch};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::{Deed, Engine, Hands};
use crate::model::{AppName, Reason};
use crate::record::{Event, Record};
use crate::state::{Container, ContainerId, ContainerState, World};
use crate::telemetry::Metrics;

/// How often it is looked whether somebody died over a pause.
const LOOK: Duration = Duration::from_secs(30);

/// Containers that are paused, each with its app.
type Paused = BTreeMap<String, String>;

/// What is written down: lines of `+ID APP` before a container is paused, `-ID` once it goes on.
struct Note {
    file: File,
    paused: Paused,
}

impl Note {
    /// Opens and holds it; none while somebody else does.
    fn open(folder: &Path) -> io::Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(folder.join(PAUSED))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line that was cut off is of a pause that did not begin.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut paused = Paused::new();
        for line in whole.lines() {
            match (line.strip_prefix('+').and_then(|rest| rest.split_once(' ')), line.get(1..)) {
                (Some((id, app)), _) => drop(paused.insert(id.to_owned(), app.to_owned())),
                (None, Some(id)) => drop(paused.remove(id)),
                (None, None) => {}
            }
        }
        file.set_len(u64::try_from(whole.len()).unwrap_or_default())?;
        file.seek(io::SeekFrom::End(0))?;
        let mut note = Self { file, paused };
        if !whole.is_empty() {
            note.file.write_all(b"\n")?;
        }
        Ok(Some(note))
    }

    fn begins(&mut self, id: &ContainerId, app: &AppName) -> io::Result<()> {
        self.file.write_all(format!("+{} {app}\n", id.as_str()).as_bytes())?;
        self.file.sync_data()?;
        self.paused.insert(id.as_str().to_owned(), app.to_string());
        Ok(())
    }

    fn ended(&mut self, id: &str) -> io::Result<()> {
        self.paused.remove(id);
        if self.paused.is_empty() {
            self.file.set_len(0)?;
            return self.file.rewind();
        }
        self.file.write_all(format!("-{id}\n").as_bytes())
    }
}

/// Who has apps stand still while their data is read.
pub struct Stillness {
    engine: Arc<dyn Engine>,
    hands: Arc<dyn Hands>,
    note: Mutex<Note>,
}

impl Stillness {
    /// By the engine that is configured. Refused while somebody else has apps stand still.
    pub fn new(config: &Config) -> Result<Self, String> {
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map_err(|it| it.to_string())?;
        let engines =
            engine(config, &Clock::System, Arc::new(metrics)).map_err(|it| it.to_string())?;
        Self::with(engines, &config.state_dir)?
            .ok_or_else(|| "another backup has apps stand still at this moment".to_owned())
    }

    /// None while somebody else has apps stand still.
    fn with(
        (engine, hands): (Arc<dyn Engine>, Arc<dyn Hands>),
        folder: &Path,
    ) -> Result<Option<Self>, String> {
        let note = Note::open(folder).map_err(|error| {
            format!("it can't be written to {} what is paused: {error}", folder.display())
        })?;
        Ok(note.map(|note| Self { engine, hands, note: Mutex::new(note) }))
    }

    fn note<T>(&self, work: impl FnOnce(&mut Note) -> T) -> T {
        work(&mut self.note.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn world(&self) -> Result<World, String> {
        self.engine.observe().await.map_err(|error| error.to_string())
    }

    /// Has all containers of an app stand still, or none of them. What does not run needs it not.
    pub async fn pause(&self, app: &AppName) -> Result<(), String> {
        let world = self.world().await?;
        let all = world.containers_of(app).into_iter();
        for container in all.filter(|one| one.state == ContainerState::Running) {
            let noted = self.note(|note| note.begins(&container.id, app));
            let done = match noted {
                Ok(()) => self.hands.pause(&container.id, true).await.map_err(|it| it.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(why) = done {
                let why = format!("could not pause {}: {why}", container.name);
                return Err(match self.resume(Some(app)).await {
                    Ok(_) => why,
                    Err(more) => format!("{why}; {more}"),
                });
            }
        }
        Ok(())
    }

    /// Has what was paused go on: of one app, or of all. Answers the apps of which something did.
    pub async fn resume(&self, only: Option<&AppName>) -> Result<Vec<String>, String> {
        let mut noted = self.note(|note| note.paused.clone());
        noted.retain(|_, app| only.is_none_or(|only| only.as_str() == app));
        if noted.is_empty() {
            return Ok(Vec::new());
        }
        let world = self.world().await.map_err(|why| stays(noted.values(), &why))?;
        let (mut resumed, mut failed) = (Vec::new(), Vec::new());
        for (id, app) in noted {
            let found = world.containers.iter().find(|one| one.id.as_str() == id);
            if let Some(container) = found.filter(|one| one.state == ContainerState::Paused) {
                if let Err(error) = self.hands.pause(&container.id, false).await {
                    failed.push(stays([&app], &format!("{}: {error}", container.name)));
                    continue;
                }
                resumed.push(app);
            }
            if let Err(error) = self.note(|note| note.ended(&id)) {
                failed.push(error.to_string());
            }
        }
        resumed.dedup();
        if failed.is_empty() { Ok(resumed) } else { Err(failed.join("; ")) }
    }
}

fn stays<'a>(apps: impl IntoIterator<Item = &'a String>, why: &str) -> String {
    let apps: Vec<_> = apps.into_iter().cloned().collect();
    let apps = apps.join(", ");
    format!(
        "{apps} stands still after a backup and could not be resumed ({why}); `docker unpause` does it"
    )
}

/// What pauses apps for a backup, on a thread that may wait. The engine is spoken to only when
/// something is to be paused, and all goes on however the backup ends.
pub struct Still {
    config: Config,
    runtime: tokio::runtime::Handle,
    /// Others may have all go on, too.
    pub ready: Arc<OnceLock<Stillness>>,
}

impl Still {
    /// Nothing is paused yet.
    pub fn new(config: &Config, runtime: tokio::runtime::Handle) -> Self {
        Self { config: config.clone(), runtime, ready: Arc::default() }
    }

    fn set(&self, app: &str, begins: bool) -> Result<(), String> {
        let app = AppName::new(app).map_err(|error| error.to_string())?;
        if self.ready.get().is_none() {
            let _ = self.ready.set(Stillness::new(&self.config)?);
        }
        let Some(stillness) = self.ready.get() else { return Ok(()) };
        self.runtime.block_on(async {
            if begins {
                stillness.pause(&app).await
            } else {
                stillness.resume(Some(&app)).await.map(drop)
            }
        })
    }

    /// Has all go on, and says what does not.
    pub fn end(&self) -> Result<(), String> {
        let Some(stillness) = self.ready.get() else { return Ok(()) };
        self.runtime.block_on(stillness.resume(None)).map(drop)
    }
}

impl Watch for Still {
    fn pause(&mut self, app: &str, begins: bool) -> Result<(), backup::Error> {
        self.set(app, begins).map_err(backup::Error::Refused)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        if let Err(why) = self.end() {
            tracing::error!(why, "an app stands still");
        }
    }
}

/// The apps that have a container that runs, or stands still; with `stops` they are stopped, and
/// none is left.
pub async fn running(config: &Config, stops: bool) -> Result<Vec<String>, String> {
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map_err(|it| it.to_string())?;
    let (engine, hands) =
        engine(config, &Clock::System, Arc::new(metrics)).map_err(|it| it.to_string())?;
    let world = engine.observe().await.map_err(|error| error.to_string())?;
    let is_up = |one: &Container| {
        matches!(
            one.state,
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
        )
    };
    let mut apps = BTreeSet::new();
    for container in world.containers.iter().filter(|one| is_up(one)) {
        let Some(app) = container.ownership.app() else { continue };
        if stops {
            let stopped = hands.act(&container.id, Deed::Stop).await;
            stopped.map_err(|error| format!("{} does not stop: {error}", container.name))?;
        } else {
            apps.insert(app.to_string());
        }
    }
    Ok(apps.into_iter().collect())
}

/// Has go on what a backup that is no more has left paused: at once, and ever again.
pub(super) fn watch(
    config: &Config,
    (engine, hands): (&Arc<dyn Engine>, &Arc<dyn Hands>),
    (record, clock): (Arc<Record>, &Clock),
    stop: &CancellationToken,
) {
    let (folder, stop, clock) = (config.state_dir.clone(), stop.clone(), clock.clone());
    let (engine, hands) = (Arc::clone(engine), Arc::clone(hands));
    tokio::spawn(async move {
        let mut told = None;
        loop {
            let engines = (Arc::clone(&engine), Arc::clone(&hands));
            let found = resume_left(&folder, engines).await;
            if let Some(message) = found.clone().filter(|_| found != told) {
                tracing::warn!(what = message, "a backup did not end");
                let (at, reason) = (clock.now(), Reason::BackupFailed);
                record.tell(Event { id: 0, at, app: None, is_warning: true, reason, message });
            }
            told = found;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
}

/// Answers what there is to tell; none where nobody died.
async fn resume_left(folder: &Path, engines: (Arc<dyn Engine>, Arc<dyn Hands>)) -> Option<String> {
    // A file without anything in it is what a good end leaves.
    if std::fs::metadata(folder.join(PAUSED)).map_or(0, |about| about.len()) == 0 {
        return None;
    }
    let resumed = match Stillness::with(engines, folder) {
        Ok(Some(stillness)) => stillness.resume(None).await,
        Ok(None) => return None,
        Err(why) => Err(why),
    };
    match resumed {
        Ok(apps) if apps.is_empty() => None,
        Ok(apps) => {
            let apps = apps.join(", ");
            Some(format!("a backup ended while {apps} stood still for it; it goes on"))
        }
        Err(why) => Some(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> ContainerId {
        ContainerId::new(digit.repeat(64))
    }

    #[test]
    fn what_is_paused_is_known_to_who_comes_after() {
        let folder = tempfile::tempdir().unwrap();
        let app = AppName::new("chat").unwrap();
        let mut note = Note::open(folder.path()).unwrap().unwrap();
        note.begins(&id("a"), &app).unwrap();
        note.begins(&id("b"), &app).unwrap();
        note.ended(id("a").as_str()).unwrap();
        // While it lives, nobody else has them go on.
        assert!(Note::open(folder.path()).unwrap().is_none());
        drop(note);
        let path = folder.path().join(PAUSED);
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend(b"+ccc");
        std::fs::write(&path, torn).unwrap();
        let mut note = Note::open(folder.path()).unwrap().unwrap();
        assert_eq!(note.paused, Paused::from([("b".repeat(64), "chat".to_owned())]));
        note.begins(&id("d"), &app).unwrap();
        drop(note);
        let mut note = Note::open(folder.path()).unwrap().unwrap();
        assert_eq!(note.paused.len(), 2);
        for digit in ["b", "d"] {
            note.ended(id(digit).as_str()).unwrap();
        }
        assert_eq!(std::fs::metadata(path).unwrap().len(), 0);
    }
}
