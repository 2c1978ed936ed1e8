//! An app's folder on the host: the code that its image is built from, and the data it keeps.
//!
//! ```text
//! <root>/<app>/code/            the checkout, swapped as a whole
//! <root>/<app>/data/            what the app keeps
//! <root>/<app>/metadata.json    what is known about both
//! <root>/<app>/.berth/          staging, the build log
//! <root>/.mirrors/              the mirrors of repositories, shared by all apps
//! ```
//!
//! # Guarantees
//! - `code/` is always one complete commit. A fetch that fails, is cancelled or is killed leaves
//!   the commit before in place (faults G08, G09, B10).
//! - `data/` is made when it is missing, and never removed or cleaned, but by [`remove`], for
//!   somebody who asked for that.
//! - Git runs in a process of its own that can be killed; it never asks for anything, reads no
//!   configuration of the host and runs no code of a repository (faults G01, G02, G06, G19).
//!
//! # Caveats
//! Whoever changes files in `code/` by hand keeps the change until the next new commit.

mod access;
mod address;
mod authorities;
mod build_log;
mod child;
pub mod context;
pub mod dockerfile;
mod error;
mod heads;
pub mod ignore;
mod left;
mod look;
mod metadata;
mod place;
mod protocol;
mod reach;
mod remotes;
mod remove;
pub mod selection;
pub mod worker;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard, mpsc};

pub use access::{Access, HostLogin};
pub use authorities::believe;
pub use build_log::BuildLog;
pub use error::Error;
pub use left::{Found, Lies, Lying, look as look_through};
pub use look::{News, Seen};
pub use metadata::Metadata;
pub use reach::Reach;
pub use remove::remove;

use crate::model::{AppName, GitSource, GitUrl};
use crate::state::{Checkout, DetectedFile};
use access::Approach;
use child::Said;
use protocol::{Answer, Had, Job, Limits, Origin, Task};
use remotes::Remotes;

/// The variables that say how to reach the network. The worker's environment holds nothing else.
const NETWORK_VARIABLES: [&str; 9] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The folder of what Git LFS keeps, for all apps.
const LFS: &str = ".lfs";
/// Where is written down what builds make on their way.
const STEPS: &str = ".steps";

/// How workspaces are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program that has the git worker: this one.
    pub program: PathBuf,
    /// The environment of the git worker.
    pub env: BTreeMap<String, String>,
    /// Whether repositories may be folders of this machine.
    pub is_local_allowed: bool,
    /// The rules for repositories elsewhere, and the logins.
    pub access: Access,
    /// How long a fetch may take.
    pub deadline: Duration,
    /// How long a fetch may make no progress.
    pub idle: Duration,
    /// How long a server may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a server may be silent.
    pub server_timeout: Duration,
    /// How much one fetch may transfer.
    pub transfer_bytes_max: u64,
    /// How much one checkout may hold.
    pub tree_bytes_max: u64,
    /// How much one file may hold.
    pub file_bytes_max: u64,
    /// How many files one checkout may have.
    pub files_max: u64,
    /// How long a build log may become.
    pub log_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            env: BTreeMap::new(),
            is_local_allowed: false,
            access: Access::default(),
            deadline: Duration::from_mins(15),
            idle: Duration::from_mins(1),
            connect_timeout: Duration::from_secs(10),
            server_timeout: Duration::from_secs(30),
            transfer_bytes_max: 4 << 30,
            tree_bytes_max: 8 << 30,
            file_bytes_max: 512 << 20,
            files_max: 200_000,
            log_bytes_max: 10 << 20,
        }
    }
}

/// The variables of this process that the git worker should have: proxies and certificates.
pub fn network_environment() -> BTreeMap<String, String> {
    let read = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    NETWORK_VARIABLES.iter().filter_map(|name| read(name)).collect()
}

/// The folder of all workspaces.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
    settings: Arc<Settings>,
    /// One fetch at a time for each app.
    turns: Arc<Mutex<BTreeMap<AppName, Arc<Turn<()>>>>>,
    /// What the remotes were last heard to have.
    remotes: Arc<Remotes>,
    /// Held while a `metadata.json` is read, changed and written.
    writing: Arc<Mutex<()>>,
}

impl Workspace {
    /// The workspaces below `root`.
    pub fn new(root: PathBuf, settings: Settings) -> Self {
        Self {
            root: absolute(root),
            settings: Arc::new(settings),
            turns: Arc::default(),
            remotes: Arc::default(),
            writing: Arc::default(),
        }
    }

    /// The folder of all of them.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes away what was found to be left behind, unless somebody has it, or there is data in it
    /// by now. Whether it went.
    pub async fn take_away(
        &self,
        app: Option<&AppName>,
        found: Lies,
        with_data: bool,
    ) -> io::Result<bool> {
        let turn = match app.map(|app| self.turn(app).try_lock_owned()) {
            Some(Err(_)) => return Ok(false),
            Some(Ok(turn)) => Some(turn),
            None => None,
        };
        let root = self.root.clone();
        let work = move || {
            let _turn = turn;
            left::take_away(&root, &found, with_data)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|died| Err(io::Error::other(died)))
    }

    /// The folder of an app.
    pub fn folder(&self, app: &AppName) -> PathBuf {
        self.root.join(app.as_str())
    }

    /// The folder of an app's code.
    pub fn code_dir(&self, app: &AppName) -> PathBuf {
        self.folder(app).join(place::CODE)
    }

    /// The folder of what an app keeps.
    pub fn data_dir(&self, app: &AppName) -> PathBuf {
        self.folder(app).join(place::DATA)
    }

    /// Where the log of an app's last build is. The one before has `.1` at its end.
    pub fn build_log_path(&self, app: &AppName) -> PathBuf {
        self.folder(app).join(place::AREA).join("build.log")
    }

    /// The folder for what builds make on their way.
    pub fn steps_dir(&self) -> PathBuf {
        self.root.join(STEPS)
    }

    /// Starts the log of a build.
    pub fn open_log(&self, app: &AppName) -> Result<BuildLog, Error> {
        let path = self.build_log_path(app);
        self.make_folders(app)
            .and_then(|()| BuildLog::create(&path, self.settings.log_bytes_max))
            .map_err(|error| Error::disk(&path, &error))
    }

    /// Makes an app's folders; `data/` belongs to `uid`, when one is given. What is inside
    /// `data/` is not touched.
    pub fn prepare(&self, app: &AppName, uid: Option<u32>) -> Result<(), Error> {
        let data = self.data_dir(app);
        let own = || match uid {
            Some(uid) if fs::metadata(&data)?.uid() != uid => {
                std::os::unix::fs::chown(&data, Some(uid), Some(uid))
            }
            _ => Ok(()),
        };
        self.make_folders(app).and_then(|()| own()).map_err(|error| Error::disk(&data, &error))
    }

    /// The checkout in place. None when there is none, or when it can't be trusted: it is to be
    /// fetched then.
    pub fn load(&self, app: &AppName) -> Option<Checkout> {
        let folder = self.folder(app);
        place::is_in_order(&folder).then(|| metadata::read(&folder))??.checkout
    }

    /// What is known about an app's workspace.
    pub fn read_metadata(&self, app: &AppName) -> Option<Metadata> {
        metadata::read(&self.folder(app))
    }

    /// Changes what is known about an app's workspace. Nothing is written when `change` changes
    /// nothing. `checkout` is kept by [`Workspace::fetch`] alone.
    pub fn update_metadata(
        &self,
        app: &AppName,
        change: impl FnOnce(&mut Metadata),
    ) -> Result<(), Error> {
        let folder = self.folder(app);
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = metadata::read(&folder);
        let mut new = known.clone().unwrap_or_default();
        change(&mut new);
        new.checkout = known.as_ref().and_then(|known| known.checkout.clone());
        if known.as_ref() == Some(&new) {
            return Ok(());
        }
        make_open(&folder)
            .and_then(|()| metadata::write(&folder, &new))
            .map_err(|error| Error::disk(&folder.join(metadata::FILE), &error))
    }

    /// Brings `code/` to the commit that a look at `source` has found.
    ///
    /// Relative local addresses are relative to `manifests`. Dropping the future ends the work
    /// and leaves what was there before; only the last step, the swap, is always finished.
    pub async fn take(
        &self,
        app: &AppName,
        source: &GitSource,
        manifests: &Path,
        news: News,
        progress: mpsc::Sender<String>,
    ) -> Result<Checkout, Error> {
        let origin = self.origin(source, manifests)?;
        let turn = self.turn(app).lock_owned().await;
        self.make_folders(app).map_err(|error| Error::disk(&self.folder(app), &error))?;
        let known = self.load(app);
        let had = known.as_ref().filter(|known| look::is_of(known, source));
        let mut behind = news.behind;
        behind.extend(had.map(|had| had.commit.clone()));
        behind.sort();
        behind.dedup();
        let job = Job {
            found: news.found,
            behind,
            takes_moved: news.takes_moved,
            had: had
                .map(|had| Had { what: look::what(had).to_owned(), commit: had.commit.clone() }),
            look_for: news.look_for,
            have: known.as_ref().map(|checkout| checkout.tree.clone()),
            ..self.job(app, source, origin)?
        };
        match child::run(&self.settings, &job, &progress).await {
            Ok(Said::Done(answer)) => self.put(app, source, &job.look_for, answer, turn).await,
            Ok(Said::Listed(_)) => {
                let message = "the git worker did something else".to_owned();
                Err(Error::Failed { url: job.shown, message })
            }
            Err(error) => Err(look::kept(error, had)),
        }
    }

    /// What a worker is told about a source: what it has to do comes on top.
    fn job(&self, app: &AppName, source: &GitSource, origin: Origin) -> Result<Job, Error> {
        let approach = match &origin {
            Origin::Remote(_) => self.settings.access.approach(source)?,
            Origin::Local(_) => Approach::default(),
        };
        Ok(Job {
            task: Task::Fetch,
            area: self.folder(app).join(place::AREA),
            mirrors: self.root.join(place::MIRRORS),
            origin,
            shown: error::redact(source.url.as_str()),
            approach,
            lfs: source.lfs.then(|| self.lfs_folder(source)),
            reference: source.reference.clone(),
            found: None,
            had: None,
            behind: Vec::new(),
            takes_moved: false,
            submodules: source.submodules,
            path: source.path.clone(),
            depth: source.depth.unwrap_or(1),
            look_for: Vec::new(),
            have: None,
            limits: self.limits(),
        })
    }

    /// Puts what the worker made in place. Runs to its end even when nobody waits for it.
    async fn put(
        &self,
        app: &AppName,
        source: &GitSource,
        look_for: &[String],
        answer: Answer,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Checkout, Error> {
        let checkout = Checkout {
            url: source.url.as_str().to_owned(),
            reference: source.reference.clone(),
            resolved: Some(answer.what),
            path: source.path.clone(),
            submodules: source.submodules,
            commit: answer.commit,
            tree: answer.tree,
            files: answer.files.into_iter().map(|path| DetectedFile { path }).collect(),
            facts: answer.facts,
            ahead: answer.ahead,
            looked_for: Some(look_for.to_vec()),
        };
        let folder = self.folder(app);
        let writing = Arc::clone(&self.writing);
        let put = move || {
            let done = {
                let _writing = writing.lock().unwrap_or_else(PoisonError::into_inner);
                place::put(&folder, answer.staged.as_deref(), &checkout)
            };
            let old = done.map_err(|error| Error::disk(&folder, &error))?;
            // The next fetch clears away what can't be removed now.
            tokio::task::spawn_blocking(move || {
                let _ = old.map(|old| place::remove(&old));
                drop(turn);
            });
            Ok(checkout)
        };
        tokio::task::spawn_blocking(put).await.unwrap_or_else(|error| {
            Err(Error::Disk { path: self.root.display().to_string(), message: error.to_string() })
        })
    }

    fn turn(&self, app: &AppName) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(app.clone()).or_default())
    }

    /// Where the repository is, when the operator's rules allow it.
    fn origin(&self, source: &GitSource, manifests: &Path) -> Result<Origin, Error> {
        let shown = error::redact(source.url.as_str());
        match &source.url {
            GitUrl::Http(url) | GitUrl::Ssh(url) => Ok(Origin::Remote(url.clone())),
            GitUrl::Local(path) if self.settings.is_local_allowed => {
                Ok(Origin::Local(absolute(manifests.to_owned()).join(path)))
            }
            GitUrl::Local(_) => Err(Error::NotAllowed {
                url: shown,
                message: "the operator does not allow repositories on this machine".to_owned(),
            }),
        }
    }

    /// Where the files of a repository are collected that Git LFS keeps: one place for all apps
    /// that have the same repository.
    fn lfs_folder(&self, source: &GitSource) -> PathBuf {
        self.root.join(LFS).join(protocol::lfs_key(source.url.as_str()))
    }

    fn limits(&self) -> Limits {
        let settings = &self.settings;
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        Limits {
            transfer_bytes: settings.transfer_bytes_max,
            tree_bytes: settings.tree_bytes_max,
            file_bytes: settings.file_bytes_max,
            files: settings.files_max,
            connect_timeout_ms: millis(settings.connect_timeout),
            server_timeout_ms: millis(settings.server_timeout),
        }
    }

    fn make_folders(&self, app: &AppName) -> io::Result<()> {
        let folder = self.folder(app);
        make_open(&folder.join(place::DATA))?;
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(self.root.join(place::MIRRORS))?;
        private.create(folder.join(place::AREA))
    }
}

/// Makes a folder and those above it; who is not root comes in, whatever the umask. One that is
/// there stays as it is.
fn make_open(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    path.parent().filter(|above| !above.as_os_str().is_empty()).map_or(Ok(()), make_open)?;
    match fs::DirBuilder::new().mode(0o755).create(path) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made.and_then(|()| crate::host::open_to_others(path)),
    }
}

/// The worker's current folder is not ours, so it gets absolute paths only.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
