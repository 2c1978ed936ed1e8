//! What writes compose files: it follows the record, beside the passes.
//!
//! An app's file shows the container that is wanted once it is the one that is ready; until then,
//! and when it is given up, the file of the version before stays. An app that has no file yet gets
//! one as soon as its image is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    folder::{Folder, Found},
    readme,
    render::{Member, Shown, main_file, render},
};
use crate::engine::docker;
use crate::model::{App, AppName, ConditionStatus, ConditionType};
use crate::plan::{ContainerSpec, Dockerfile, Recipe};
use crate::record::{Change, Entry, Record};
use crate::state::Desired;

/// So long changes are gathered before they are written.
const GATHER: Duration = Duration::from_millis(200);
/// What could not be written is tried again after this pause.
const RETRY: Duration = Duration::from_secs(30);
/// Files of which nothing is new are looked at again after this pause: somebody may have changed
/// them.
const AGAIN: Duration = Duration::from_secs(30);
/// A larger Dockerfile is not copied.
const DOCKERFILE_MAX: u64 = 1 << 20;

/// What writes compose files.
#[derive(Debug)]
pub struct Writer {
    record: Arc<Record>,
    desired: watch::Receiver<Arc<Desired>>,
    network: String,
    workspaces: PathBuf,
    yard: Yard,
}

/// The files, and what is known of them: what is done on a thread that may wait.
#[derive(Clone, Debug)]
struct Yard {
    folder: Folder,
    members: BTreeMap<String, Member>,
    /// What each app's files were written from, and when all of them were looked at last.
    written: BTreeMap<String, Origin>,
    looked: Option<Instant>,
}

/// What an app's files are written from.
type Origin = (Arc<App>, Arc<ContainerSpec>, Option<Arc<Recipe>>);

/// An app's files, to be written.
#[derive(Debug)]
struct Draft {
    app: Arc<App>,
    spec: Arc<ContainerSpec>,
    recipe: Option<Arc<Recipe>>,
    code: PathBuf,
    /// Whether it is the version that runs well.
    is_settled: bool,
}

impl Draft {
    fn origin(&self) -> Origin {
        (Arc::clone(&self.app), Arc::clone(&self.spec), self.recipe.clone())
    }
}

impl Writer {
    /// A writer of compose files below `folder`.
    pub fn new(
        record: Arc<Record>,
        desired: watch::Receiver<Arc<Desired>>,
        network: &str,
        workspaces: PathBuf,
        folder: PathBuf,
    ) -> Self {
        let folder = Folder::new(folder);
        let (members, written) = (BTreeMap::new(), BTreeMap::new());
        let yard = Yard { folder, members, written, looked: None };
        Self { record, desired, network: network.to_owned(), workspaces, yard }
    }

    /// Writes until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let (_, _, mut changes) = self.record.subscribe();
        let mut problem: Option<String> = None;
        loop {
            let error = self.write().await.err().map(|error| error.to_string());
            match &error {
                Some(error) if problem.as_ref() != Some(error) => {
                    tracing::warn!(error, "compose files not written; they are tried again");
                }
                None if problem.is_some() => tracing::info!("compose files written again"),
                Some(_) | None => {}
            }
            problem = error;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    change = changes.recv() => match change {
                        Ok(Change::Event(_)) => {}
                        Err(RecvError::Closed) => return,
                        Ok(_) | Err(RecvError::Lagged(_)) => break,
                    },
                    changed = self.desired.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = tokio::time::sleep(RETRY), if problem.is_some() => break,
                }
            }
            // Several changes in a row are written once.
            if tokio::time::timeout(GATHER, stop.cancelled()).await.is_ok() {
                return;
            }
            changes = changes.resubscribe();
        }
    }

    /// Writes everything that differs.
    async fn write(&mut self) -> io::Result<()> {
        let desired = Arc::clone(&self.desired.borrow_and_update());
        let entries = self.record.entries();
        let drafts: Vec<_> = entries.iter().filter_map(|entry| self.draft(entry)).collect();
        let known: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
        let (mut yard, network) = (self.yard.clone(), self.network.clone());
        let work = move || {
            let done = yard.write(&drafts, &known, &desired, &network);
            (yard, done)
        };
        let (yard, done) = tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?;
        self.yard = yard;
        done
    }

    fn draft(&self, entry: &Entry) -> Option<Draft> {
        let (app, spec) = (entry.app.clone()?, entry.plan.container.clone()?);
        let ready = entry.status.condition(ConditionType::Ready);
        let is_ready = ready.is_some_and(|ready| ready.status == ConditionStatus::True);
        Some(Draft {
            code: self.workspaces.join(app.name.as_str()).join("code"),
            is_settled: is_ready && entry.status.revision.as_ref() == Some(&spec.spec_hash),
            recipe: entry.plan.recipe.clone(),
            app,
            spec,
        })
    }
}

impl Yard {
    /// One app that can't be written does not keep the others from it.
    fn write(
        &mut self,
        drafts: &[Draft],
        known: &[String],
        desired: &Desired,
        network: &str,
    ) -> io::Result<()> {
        let mut done = self.write_apps(drafts);
        let is_read = !desired.revision.is_empty();
        if is_read && desired.hold.is_none() {
            let wanted: BTreeSet<_> = desired.apps.keys().map(AppName::as_str).collect();
            for app in self.folder.apps() {
                if !wanted.contains(app.as_str()) && !known.contains(&app) {
                    done = done.and(self.folder.remove(&app));
                }
            }
        }
        for name in desired.apps.keys() {
            if let Some(app) = desired.app(name) {
                self.members.insert(name.to_string(), Member::of(app, network));
            }
        }
        let here = self.folder.apps();
        self.members.retain(|name, _| here.contains(name));
        self.written.retain(|name, _| here.contains(name));
        if is_read {
            done = done.and(self.write_main());
        }
        done
    }

    /// Those of which something is new, and now and then all.
    fn write_apps(&mut self, drafts: &[Draft]) -> io::Result<()> {
        let mut done = Ok(());
        let is_new = self.looked.is_none_or(|looked| AGAIN <= looked.elapsed());
        if is_new {
            self.looked = Some(Instant::now());
            self.written.clear();
        }
        for draft in drafts {
            let name = draft.app.name.as_str();
            let is_here = self.folder.has(name);
            let origin = draft.origin();
            let is_written = is_here && self.written.get(name) == Some(&origin);
            if is_written || (is_here && !draft.is_settled) {
                continue;
            }
            let written = self.write_app(draft);
            if written.is_ok() {
                self.written.insert(name.to_owned(), origin);
            } else {
                self.written.remove(name);
            }
            done = done.and(written);
        }
        done
    }

    fn write_app(&self, draft: &Draft) -> io::Result<()> {
        let name = draft.app.name.as_str();
        let beside = self.folder.dockerfile(name);
        let rendered = render(&Shown {
            app: &draft.app,
            spec: &draft.spec,
            body: &docker::asked(&draft.spec),
            recipe: draft.recipe.as_deref(),
            code: &draft.code.display().to_string(),
            dockerfile: &beside.display().to_string(),
        });
        let dockerfile = draft.recipe.as_ref().and_then(|recipe| match &recipe.dockerfile {
            Dockerfile::Generated(text) => Some(text.clone().into_bytes()),
            Dockerfile::InSource(path) => copy(&draft.code, path),
        });
        let readme = readme::readme(&draft.app, &draft.spec);
        tell(&self.folder.write_readme(name, readme.as_deref())?);
        for found in self.folder.write(name, &rendered.text, dockerfile.as_deref())? {
            tell(&found);
        }
        Ok(())
    }

    fn write_main(&self) -> io::Result<()> {
        let members: Vec<_> = self.members.values().cloned().collect();
        let text = (!members.is_empty()).then(|| main_file(&members));
        tell(&self.folder.write_main(text.as_deref())?);
        Ok(())
    }
}

fn tell(found: &Found) {
    if let Found::Kept(path) = found {
        tracing::warn!(kept = %path.display(), "a compose file was not Berth's; it is kept aside");
    }
}

/// The repository's Dockerfile, when it is one that lies inside the checkout.
fn copy(code: &Path, path: &str) -> Option<Vec<u8>> {
    let root = code.canonicalize().ok()?;
    let file = root.join(path).canonicalize().ok()?;
    let is_fit = std::fs::metadata(&file).is_ok_and(|m| m.is_file() && m.len() <= DOCKERFILE_MAX);
    (is_fit && file.starts_with(&root)).then(|| std::fs::read(&file).ok())?
}
