//! Long work: fetching, building, pulling. It runs beside the passes, bounded, one piece for each
//! app, and is ended when it is no longer wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::AbortHandle,
    time::Instant,
};

use super::{
    cache::Cache,
    context::Context,
    disk::Disk,
    steps::{self, Steps},
    twins::{Held, Twins, from_twin},
};
use crate::clock::Clock;
use crate::engine::{BuildExtras, BuildRequest, BuildSecret, Engine, LogSink};
use crate::model::{AppName, Reason};
use crate::plan::{Recipe, Trace, Twin, Work};
use crate::secret::{self, Book, Secrets, Veil};
use crate::state::{Checkout, RunningWork, WorkKind};
use crate::store::Depot;
use crate::workspace::{self, BuildLog, News, Seen, Workspace, context::ContextLimits};

/// How many lines of a log may wait to be written.
const LOG_LINES_WAITING: usize = 1024;

/// What work needs to know, and how much of it runs at once.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// Which Berth this is.
    pub instance: String,
    /// The manifest folder, for repositories whose address is relative to it.
    pub manifests: PathBuf,
    /// What builds get to know of the way out: `HTTP_PROXY` and its like.
    pub build_environment: BTreeMap<String, String>,
    /// The operator's CA bundle, for builds that ask for it.
    pub ca_bundle: Option<Arc<[u8]>>,
    /// How much a build may be sent.
    pub context: ContextLimits,
    /// Where the secrets are that builds may see.
    pub secrets: Option<Secrets>,
    /// What apps get of secrets.
    pub book: Arc<Book>,
    /// The models that apps may mount.
    pub models: Option<Arc<Depot>>,
    /// Folders whose files that end in `.new` are of this Berth.
    pub own_folders: Vec<PathBuf>,
    /// The folder of compose files.
    pub compose_dir: Option<PathBuf>,
    /// Short engine calls: more at once only makes each of them slower.
    pub calls: usize,
    /// Clones and fetches.
    pub fetches: usize,
    /// Builds.
    pub builds: usize,
    /// Pulls.
    pub pulls: usize,
    /// How much `BuildKit` may keep of our builds, in bytes; none leaves that to the engine.
    pub cache_bytes_max: Option<u64>,
}

impl JobSettings {
    /// The settings of an instance, with the usual limits.
    pub fn new(instance: &str, manifests: &Path) -> Self {
        Self {
            instance: instance.to_owned(),
            manifests: manifests.to_owned(),
            build_environment: BTreeMap::new(),
            ca_bundle: None,
            context: ContextLimits::default(),
            secrets: None,
            book: Arc::default(),
            models: None,
            own_folders: Vec::new(),
            compose_dir: None,
            calls: 8,
            fetches: 4,
            builds: 2,
            pulls: 2,
            cache_bytes_max: None,
        }
    }
}

/// Long work that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The app.
    pub app: AppName,
    /// What was done.
    pub kind: WorkKind,
    /// What it was done from.
    pub input: String,
    /// What came of it.
    pub result: Result<Done, JobError>,
    /// How long it took, without the wait for its turn.
    pub took: Duration,
}

/// Long work that succeeded.
#[derive(Debug)]
pub enum Done {
    /// The checkout is in place.
    Fetched(Box<Checkout>),
    /// The image is there; how often it was asked for from scratch by then.
    Built(u64),
    /// The image with this id is there.
    Pulled(String),
}

/// Why long work failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    /// In one word.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
    /// Whether only a change by a person can help.
    pub is_permanent: bool,
}

impl From<workspace::Error> for JobError {
    fn from(error: workspace::Error) -> Self {
        Self {
            reason: error.reason(),
            message: error.to_string(),
            is_permanent: error.is_permanent(),
        }
    }
}

struct Job {
    id: u64,
    work: RunningWork,
    progress: Arc<Mutex<Option<String>>>,
    task: AbortHandle,
}

#[derive(Default)]
struct Running {
    jobs: BTreeMap<AppName, Job>,
    /// Looks at the repositories of apps that are being built.
    looks: BTreeMap<AppName, Job>,
    next_id: u64,
}

impl Job {
    fn seen(&self) -> RunningWork {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        RunningWork { progress, ..self.work.clone() }
    }
}

/// The long work of all apps.
pub struct Jobs {
    pub(super) engine: Arc<dyn Engine>,
    workspace: Arc<Workspace>,
    settings: JobSettings,
    clock: Clock,
    finished: mpsc::UnboundedSender<Finished>,
    running: Mutex<Running>,
    disk: Arc<Disk>,
    pub(super) cache: Arc<Cache>,
    twins: Twins,
    fetches: Arc<Semaphore>,
    pub(super) builds: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
}

impl Jobs {
    /// No work yet. What ends is sent to `finished`.
    pub fn new(
        engine: Arc<dyn Engine>,
        workspace: Arc<Workspace>,
        settings: JobSettings,
        clock: Clock,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Finished>) {
        let (finished, receiver) = mpsc::unbounded_channel();
        let jobs = Self {
            engine,
            cache: Cache::new(&workspace.steps_dir(), settings.cache_bytes_max),
            workspace,
            fetches: Arc::new(Semaphore::new(settings.fetches)),
            builds: Arc::new(Semaphore::new(settings.builds)),
            pulls: Arc::new(Semaphore::new(settings.pulls)),
            settings,
            clock,
            finished,
            running: Mutex::default(),
            disk: Arc::default(),
            twins: Twins::default(),
        };
        (Arc::new(jobs), receiver)
    }

    /// What it was made with.
    pub fn settings(&self) -> &JobSettings {
        &self.settings
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The work of an app that is under way.
    pub fn running(&self, app: &AppName) -> Option<RunningWork> {
        let running = self.lock();
        running.jobs.get(app).or_else(|| running.looks.get(app)).map(Job::seen)
    }

    /// The look at an app's repository that is under way beside its build.
    pub fn looking(&self, app: &AppName) -> Option<RunningWork> {
        let running = self.lock();
        running.jobs.get(app).and_then(|_| running.looks.get(app)).map(Job::seen)
    }

    /// The apps for which anything is done.
    pub fn busy(&self) -> BTreeSet<AppName> {
        let running = self.lock();
        running.jobs.keys().chain(running.looks.keys()).cloned().collect()
    }

    /// Whether anything is being built, or waits for its turn.
    pub fn is_building(&self) -> bool {
        self.lock().jobs.values().any(|job| job.work.kind == WorkKind::Build)
    }

    /// What builds have made on their way.
    pub fn traces(&self) -> Vec<Trace> {
        steps::all(&self.workspace.steps_dir())
    }

    /// Begins work; other work of the app is ended. What is fetched while the app is being built is
    /// looked for first: the build goes on unless there is something else to build.
    pub fn start(self: &Arc<Self>, app: &AppName, work: &Work) {
        let progress = Arc::new(Mutex::new(None));
        let mut running = self.lock();
        let is_building = running.jobs.get(app).is_some_and(|job| job.work.kind == WorkKind::Build);
        let is_beside = is_building && work.kind() == WorkKind::Fetch;
        running.next_id += 1;
        let id = running.next_id;
        let task = {
            let (jobs, app, work) = (Arc::clone(self), app.clone(), work.clone());
            let progress = Arc::clone(&progress);
            tokio::spawn(async move {
                if is_beside {
                    jobs.look_beside(id, app, work).await;
                } else {
                    jobs.run(id, app, work, progress).await;
                }
            })
        };
        let is_fetch = work.kind() == WorkKind::Fetch;
        let work = RunningWork {
            kind: work.kind(),
            input: work.input(),
            since: self.clock.now(),
            progress: None,
        };
        let job = Job { id, work, progress, task: task.abort_handle() };
        // A look goes on beside a build that begins, and beside nothing else.
        let look = if is_fetch { running.looks.remove(app) } else { None };
        let place = if is_beside { &mut running.looks } else { &mut running.jobs };
        for old in place.insert(app.clone(), job).into_iter().chain(look) {
            old.task.abort();
        }
    }

    /// Looks at the repository of an app that is being built. The code stays as it is until the
    /// build has ended: it is what that is made from.
    async fn look_beside(self: Arc<Self>, id: u64, app: AppName, work: Work) {
        let Work::Fetch { source, look_for, look, .. } = &work else { return };
        let (manifests, start) = (&self.settings.manifests, Instant::now());
        let seen = self.workspace.look(&app, source, manifests, look_for, (*look, start)).await;
        let result = match seen {
            Ok(Seen::News(news)) => {
                let known = self.workspace.load(&app);
                match known.filter(|known| !news.is_another(known, source)) {
                    Some(known) => Ok(Done::Fetched(Box::new(known))),
                    None => return self.supersede(id, &app, &work),
                }
            }
            Ok(Seen::Same(checkout)) => Ok(Done::Fetched(Box::new(checkout))),
            Err(error) => Err(error.into()),
        };
        self.end(id, &app, &work, result, start);
    }

    /// There is something else to build: the build of what was there ends.
    fn supersede(self: &Arc<Self>, id: u64, app: &AppName, work: &Work) {
        let mut running = self.lock();
        if running.looks.get(app).is_none_or(|look| look.id != id) {
            return;
        }
        running.looks.remove(app);
        if let Some(build) = running.jobs.remove(app) {
            tracing::info!(app = app.as_str(), "the build ends: there is a newer commit");
            build.task.abort();
        }
        drop(running);
        self.start(app, work);
    }

    /// Ends an app's work of this kind; answers whether there was any.
    pub fn cancel(&self, app: &AppName, kind: WorkKind) -> bool {
        let mut running = self.lock();
        let is_it = running.jobs.get(app).is_some_and(|job| job.work.kind == kind);
        let job = if is_it { running.jobs.remove(app) } else { None };
        let is_looking = job.is_some() || !running.jobs.contains_key(app);
        let look = if is_looking { running.looks.remove(app) } else { None };
        let ended = [job, look].into_iter().flatten().map(|job| job.task.abort()).count();
        0 < ended
    }

    async fn run(
        self: Arc<Self>,
        id: u64,
        app: AppName,
        mut work: Work,
        progress: Arc<Mutex<Option<String>>>,
    ) {
        // Looking costs no turn: most looks find nothing new.
        let mut news = None;
        let start = Instant::now();
        if let Work::Fetch { source, look_for, look, runs } = &work {
            let manifests = &self.settings.manifests;
            let seen = self.workspace.look(&app, source, manifests, look_for, (*look, start)).await;
            match seen {
                Ok(Seen::News(found)) => news = Some(found.counting(runs)),
                Ok(Seen::Same(checkout)) => {
                    return self.end(id, &app, &work, Ok(Done::Fetched(Box::new(checkout))), start);
                }
                Err(error) => return self.end(id, &app, &work, Err(error.into()), start),
            }
        }
        // Nobody has a place among the builds while somebody else builds the same.
        let turn = self.turn_of(&mut work, &progress).await;
        let gate = match work.kind() {
            WorkKind::Fetch => &self.fetches,
            WorkKind::Build => &self.builds,
            WorkKind::Pull => &self.pulls,
        };
        let waits = "waits for its turn: others are at work".to_owned();
        if gate.available_permits() == 0 {
            *progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(waits);
        }
        let Ok(permit) = gate.acquire().await else { return };
        let start = Instant::now();
        let (log, lines) = mpsc::channel(LOG_LINES_WAITING);
        let is_build = work.kind() == WorkKind::Build;
        let file = if is_build { self.workspace.open_log(&app).ok() } else { None };
        let (file, writer) = file.map(BuildLog::into_sink).unzip();
        let keeper = tokio::spawn(keep_log(lines, file, progress));
        let result = self.work(&app, &work, (news.unwrap_or_default(), turn), log).await;
        let _ = keeper.await;
        if let Some(writer) = writer {
            let _ = writer.await;
        }
        self.end(id, &app, &work, result, start);
        drop(permit);
        if is_build {
            self.trim().await;
        }
    }

    /// Waits while others build the same inputs: what they make is taken.
    async fn turn_of(&self, work: &mut Work, progress: &Mutex<Option<String>>) -> Option<Held> {
        let Work::Build(recipe) = work else { return None };
        if !recipe.may_be_shared() {
            return None;
        }
        let waits = || {
            let words = "waits for another app, which builds the same".to_owned();
            *progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        };
        let held = self.twins.turn(recipe.inputs(), waits).await;
        let made = held.clone().filter(|made| made.app != recipe.app);
        recipe.twin = made.or_else(|| recipe.twin.take());
        Some(held)
    }

    fn end(
        &self,
        id: u64,
        app: &AppName,
        work: &Work,
        result: Result<Done, JobError>,
        start: Instant,
    ) {
        let mut running = self.lock();
        let Running { jobs, looks, .. } = &mut *running;
        for place in [jobs, looks] {
            if place.get(app).is_some_and(|job| job.id == id) {
                place.remove(app);
            }
        }
        drop(running);
        let (kind, input, took) = (work.kind(), work.input(), start.elapsed());
        let _ = self.finished.send(Finished { app: app.clone(), kind, input, result, took });
    }

    async fn work(
        &self,
        app: &AppName,
        work: &Work,
        (news, turn): (News, Option<Held>),
        log: mpsc::Sender<String>,
    ) -> Result<Done, JobError> {
        match work {
            Work::Fetch { source, .. } => {
                let manifests = &self.settings.manifests;
                let taken = self.workspace.take(app, source, manifests, news, log).await;
                Ok(Done::Fetched(Box::new(taken?)))
            }
            Work::Build(recipe) => {
                let id = self.build(recipe, log).await?;
                if let Some(mut turn) = turn {
                    *turn = Some(Twin { id, app: recipe.app.clone() });
                }
                Ok(Done::Built(recipe.rebuilds))
            }
            Work::Pull { reference } => {
                let pulled = self.engine.pull(reference, log).await;
                pulled.map(Done::Pulled).map_err(|error| JobError {
                    reason: Reason::PullFailed,
                    message: error.to_string(),
                    is_permanent: false,
                })
            }
        }
    }

    /// Builds an image, or takes that of another app; answers its id.
    async fn build(&self, recipe: &Recipe, log: mpsc::Sender<String>) -> Result<String, JobError> {
        let Some(twin) = &recipe.twin else { return self.build_all(recipe, log).await };
        let (engine, instance) = (self.engine.as_ref(), self.settings.instance.as_str());
        match from_twin(engine, instance, (recipe, twin), log.clone()).await {
            Ok(id) => Ok(id),
            Err(why) => {
                let words = format!("the image of app/{} is not taken: {why}", twin.app);
                let _ = log.try_send(words);
                self.build_all(&Recipe { twin: None, ..recipe.clone() }, log).await
            }
        }
    }

    async fn build_all(
        &self,
        recipe: &Recipe,
        log: mpsc::Sender<String>,
    ) -> Result<String, JobError> {
        let failed = |message: String| {
            let is_full = message.to_lowercase().contains("no space left on device");
            let reason = if is_full { Reason::InsufficientDisk } else { Reason::BuildFailed };
            JobError { reason, message, is_permanent: false }
        };
        let code = self.workspace.code_dir(&recipe.app);
        let ca_bundle = self.settings.ca_bundle.as_deref();
        let limits = self.settings.context;
        let context = Context::of(recipe, code, ca_bundle, limits, self.engine.as_ref()).await;
        let context =
            context.map_err(|error| failed(format!("the build context can't be read: {error}")))?;
        let engine = self.engine.as_ref();
        let (bytes, bases) = (context.size.bytes, context.bases.as_slice());
        let _room =
            self.disk.reserve(engine, &recipe.app, (bytes, bases)).await.map_err(|message| {
                JobError { reason: Reason::InsufficientDisk, message, is_permanent: false }
            })?;
        let environment = self.settings.build_environment.clone();
        let secrets = self.secrets_of(recipe)?;
        let veil =
            Arc::new(Veil::new(secrets.iter().map(|it| secret::Value::new(it.value.clone()))));
        let log = veiled(log, &veil);
        let (sink, writer) =
            Steps::begin(&self.workspace.steps_dir(), &recipe.app, self.clock.now());
        let (wants, under) = (context.wants.clone(), self.cache.begin(&self.clock));
        let keeps = Arc::clone(&under.keeps);
        let extras = BuildExtras { secrets, environment, wants, steps: Some(sink), keeps };
        let instance = self.settings.instance.as_str();
        let dockerfile = context.dockerfile.clone();
        let context = context.stream();
        let request = BuildRequest { recipe, instance, dockerfile, context, log, extras };
        let built = self.engine.build(request).await;
        writer.end(built.is_ok()).await;
        built.map_err(|error| failed(veil.hide(&error.to_string())))
    }

    /// The values of the secrets that a build sees, read now (fault G16).
    fn secrets_of(&self, recipe: &Recipe) -> Result<Vec<BuildSecret>, JobError> {
        let missing = |message: String| JobError {
            reason: Reason::SecretMissing,
            message,
            is_permanent: false,
        };
        let mut values = Vec::new();
        for wanted in &recipe.secrets {
            let Some(secrets) = &self.settings.secrets else {
                return Err(missing("there is no folder of secrets".to_owned()));
            };
            let found = secrets.read(&wanted.secret).and_then(|secret| {
                let key = wanted.key.as_deref().unwrap_or(secret::VALUE);
                secret.need(key).map(|value| value.bytes().to_vec())
            });
            let value = found.map_err(|error| missing(error.to_string()))?;
            values.push(BuildSecret { id: wanted.id.clone(), value });
        }
        Ok(values)
    }
}

/// A log that `log` gets without the values of the build's secrets, where it sees any.
fn veiled(log: LogSink, veil: &Arc<Veil>) -> LogSink {
    if veil.is_empty() {
        return log;
    }
    let (sink, mut lines) = mpsc::channel::<String>(LOG_LINES_WAITING);
    let veil = Arc::clone(veil);
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            if log.send(veil.hide(&line)).await.is_err() {
                return;
            }
        }
    });
    sink
}

/// Takes the lines of a log: all into the file, the last one as progress.
async fn keep_log(
    mut lines: mpsc::Receiver<String>,
    file: Option<mpsc::Sender<String>>,
    progress: Arc<Mutex<Option<String>>>,
) {
    while let Some(line) = lines.recv().await {
        if let Some(file) = &file {
            let _ = file.send(line.clone()).await;
        }
        if !line.trim().is_empty() {
            *progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_is_logged_without_its_secrets() {
        let (log, mut lines) = mpsc::channel(4);
        let veil = Arc::new(Veil::new([secret::Value::new("hunter2\n")]));
        let sink = veiled(log, &veil);
        sink.send("pip install --index https://me:hunter2@host".to_owned()).await.unwrap();
        drop(sink);
        let line = lines.recv().await;
        assert_eq!(line.as_deref(), Some("pip install --index https://me:***@host"));
        assert!(lines.recv().await.is_none(), "the log must end with the build");
    }
}
