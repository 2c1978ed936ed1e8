//! Models on their way in from elsewhere: fetched beside everything else, gone on with after a
//! break, and seen by nobody before all of it is there with the digest that was said.

mod origin;
mod web;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Read as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use sha1::{Digest as _, Sha1};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::auth::Secret;
use crate::clock::Clock;
use crate::model::{Digest, Reason, Timestamp, format_bytes};
use crate::record::{Event, Record};
use crate::store::{About, Depot, Key, Order, Require, Store, Upload};
use crate::workspace::Reach;
use origin::Item;
pub use origin::Origin;
use web::{Problem, Web};

/// How many are under way at once; others wait.
const AT_ONCE: usize = 2;
/// How many may wait or be under way.
const WAITING_MAX: usize = 32;
/// How many that are over are remembered.
const OVER_MAX: usize = 50;
/// How many files one may have.
const FILES_MAX: usize = 500;
/// How often a file is asked for without a byte having come.
const TRIES: u32 = 5;
/// After how long at the latest a pause ends that nobody needs any more.
const SLICE: Duration = Duration::from_millis(100);
/// How much is read at once.
const BLOCK: usize = 256 << 10;

/// What is to be fetched, and what it becomes.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// From where.
    pub origin: Origin,
    /// The project, the app and the version.
    pub version: (String, String, String),
    /// What a single file is called; none is as it is called there.
    pub name: Option<String>,
    /// The digest that a single file must have.
    pub sha256: Option<Digest>,
    /// What to sign in with there.
    pub token: Option<Secret>,
    /// Whether none of these names may be there.
    pub is_new: bool,
}

/// How one stands.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Its number.
    pub id: u64,
    /// From where.
    pub from: String,
    /// What it becomes: project/app@version.
    pub to: String,
    /// `waiting`, `running`, `done`, `failed` or `cancelled`.
    pub phase: &'static str,
    /// Why it failed.
    pub error: Option<String>,
    /// How many files there are, as far as that is known.
    pub files: usize,
    /// How many have come.
    pub files_done: usize,
    /// How many bytes there are, as far as that is known.
    pub size: Option<u64>,
    /// How many have come.
    pub bytes: u64,
    /// When it was asked for.
    pub started: Timestamp,
    /// When it was over.
    pub finished: Option<Timestamp>,
}

struct Kept {
    fetch: Fetch,
    told: u64,
}

/// All that are under way, and the last that are over.
pub struct Fetches {
    depot: Arc<Depot>,
    reach: Reach,
    record: Arc<Record>,
    clock: Clock,
    stop: CancellationToken,
    places: Arc<Semaphore>,
    all: Mutex<BTreeMap<u64, Kept>>,
}

/// Why one ends before it is done.
enum End {
    Failed(String),
    Cancelled,
}

impl From<String> for End {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

impl Fetches {
    /// None is under way.
    pub fn new(
        depot: Arc<Depot>,
        reach: Reach,
        (record, clock): (Arc<Record>, Clock),
        stop: CancellationToken,
    ) -> Self {
        let (places, all) = (Arc::new(Semaphore::new(AT_ONCE)), Mutex::default());
        Self { depot, reach, record, clock, stop, places, all }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Kept>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How they stand, the newest last.
    pub fn list(&self) -> Vec<Fetch> {
        self.lock().values().map(|kept| kept.fetch.clone()).collect()
    }

    /// Begins one.
    ///
    /// # Errors
    /// Why it is not even tried.
    pub fn start(self: &Arc<Self>, wanted: Wanted) -> Result<Fetch, String> {
        self.check(&wanted)?;
        let (project, app, version) = &wanted.version;
        let fetch = {
            let mut all = self.lock();
            let going = all.values().filter(|kept| kept.fetch.finished.is_none()).count();
            if WAITING_MAX <= going {
                return Err(format!("{going} are under way or wait: try again later"));
            }
            while OVER_MAX + going <= all.len() {
                let over = all.iter().find(|(_, kept)| kept.fetch.finished.is_some());
                let Some(id) = over.map(|(id, _)| *id) else { break };
                all.remove(&id);
            }
            let fetch = Fetch {
                id: all.last_key_value().map_or(1, |(id, _)| id + 1),
                from: wanted.origin.shown(),
                to: format!("{project}/{app}@{version}"),
                phase: "waiting",
                error: None,
                files: 0,
                files_done: 0,
                size: None,
                bytes: 0,
                started: self.clock.now(),
                finished: None,
            };
            all.insert(fetch.id, Kept { fetch: fetch.clone(), told: 0 });
            fetch
        };
        let (this, id) = (Arc::clone(self), fetch.id);
        tokio::spawn(async move {
            let Ok(place) = Arc::clone(&this.places).acquire_owned().await else { return };
            let (worker, (tell, told)) = (Arc::clone(&this), oneshot::channel());
            // A thread of its own: a server that is silent does not keep Berth from ending.
            let work = move || drop(tell.send(worker.run(id, &wanted)));
            let begun = thread::Builder::new().name("fetch".to_owned()).spawn(work);
            let broken = || Err(End::Failed("it broke off".to_owned()));
            let done = match begun {
                Ok(_) => told.await.unwrap_or_else(|_| broken()),
                Err(error) => Err(End::Failed(error.to_string())),
            };
            drop(place);
            this.end(id, done);
        });
        Ok(fetch)
    }

    /// What can be known to be wrong before anything is asked.
    ///
    /// # Errors
    /// What that is.
    pub fn check(&self, wanted: &Wanted) -> Result<(), String> {
        let (project, app, version) = &wanted.version;
        let name = wanted.name.as_deref().unwrap_or("any");
        Key::new(project, app, version, name)
            .map_err(|bad| format!("{}: {}", bad.part, bad.why))?;
        let checked = match &wanted.origin {
            Origin::Url(_) if wanted.name.is_none() => {
                return Err("say what the file is called: project/app@version/name".to_owned());
            }
            Origin::Url(url) | Origin::Berth { base: url, .. } => self.reach.check(url),
            Origin::Hub { endpoint, .. } => self.reach.check(endpoint),
        };
        checked?;
        let is_file = wanted.origin.is_file();
        if !is_file && (wanted.name.is_some() || wanted.sha256.is_some()) {
            return Err("a name and a digest are for a single file".to_owned());
        }
        Ok(())
    }

    fn end(&self, id: u64, done: Result<(), End>) {
        let mut all = self.lock();
        let Some(kept) = all.get_mut(&id) else { return };
        let fetch = &mut kept.fetch;
        fetch.finished = Some(self.clock.now());
        (fetch.phase, fetch.error) = match done {
            Ok(()) => ("done", None),
            Err(End::Cancelled) => ("cancelled", None),
            Err(End::Failed(why)) => ("failed", Some(why)),
        };
        let (is_bad, reason) = match fetch.phase {
            "done" => (false, Reason::ModelPulled),
            _ => (true, Reason::ModelPullFailed),
        };
        let why = fetch.error.as_deref().map_or_else(String::new, |why| format!(": {why}"));
        let message = format!("{} from {} {}{why}", fetch.to, fetch.from, fetch.phase);
        drop(all);
        self.tell(is_bad, reason, message);
    }

    fn tell(&self, is_warning: bool, reason: Reason, message: String) {
        let at = self.clock.now();
        self.record.tell(Event { id: 0, at, app: None, is_warning, reason, message });
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Fetch)) {
        let mut all = self.lock();
        let Some(kept) = all.get_mut(&id) else { return };
        change(&mut kept.fetch);
        let fetch = &kept.fetch;
        // Each tenth is told once.
        let tenth = fetch.size.filter(|size| 0 < *size).map_or(0, |size| fetch.bytes * 10 / size);
        if tenth <= kept.told || fetch.bytes == 0 {
            return;
        }
        kept.told = tenth;
        let (bytes, size) = (format_bytes(fetch.bytes), format_bytes(fetch.size.unwrap_or(0)));
        let message = format!("{} from {}: {bytes} of {size}", fetch.to, fetch.from);
        drop(all);
        self.tell(false, Reason::ModelPulling, message);
    }

    fn run(&self, id: u64, wanted: &Wanted) -> Result<(), End> {
        let store = self.depot.store().map_err(|error| error.to_string())?;
        let web = Web::new(&self.reach);
        let token = wanted.token.as_ref();
        self.update(id, |fetch| fetch.phase = "running");
        let items = wanted.origin.items(&web, token).map_err(Problem::told)?;
        if FILES_MAX < items.len() {
            return Err(End::Failed(format!(
                "it has {} files, more than {FILES_MAX}",
                items.len()
            )));
        }
        let size = items.iter().map(|item| item.size).sum::<Option<u64>>();
        self.update(id, |fetch| (fetch.files, fetch.size) = (items.len(), size));
        let orders = orders(wanted, &items)?;
        for (order, item) in orders.iter().zip(&items) {
            let admitted = store.admit(&order.key, &order.require, item.size);
            admitted.map_err(|error| format!("{}: {error}", order.key))?;
        }
        let job = Job { fetches: self, id, web: &web, token, store };
        let mut ready = Vec::new();
        for (mut order, item) in orders.into_iter().zip(&items) {
            let upload = job.bring(item, &mut order)?;
            ready.push((upload, order));
            self.update(id, |fetch| fetch.files_done += 1);
        }
        // Only now anything of it can be seen, and none of it is mounted before all of it is there.
        let (project, app, version) = &wanted.version;
        let of = (project.as_str(), app.as_str(), version.as_str());
        if 1 < ready.len() {
            let file = |(upload, order): &mut (Upload, Order)| {
                Ok::<_, crate::store::Error>((order.key.model.clone(), upload.digest()?))
            };
            let whole = ready.iter_mut().map(file).collect::<Result<_, _>>();
            let told = whole.and_then(|whole| store.expect_whole(of, whole));
            told.map_err(|error| error.to_string())?;
        }
        let placed = ready.into_iter().try_for_each(|(upload, order)| {
            let stored = upload.finish(&order, self.clock.now());
            stored.map(drop).map_err(|error| format!("{}: {error}", order.key))
        });
        store.settle_whole(of);
        placed.map_err(End::Failed)
    }
}

/// What each file becomes.
fn orders(wanted: &Wanted, items: &[Item]) -> Result<Vec<Order>, String> {
    let (project, app, version) = &wanted.version;
    let one = |item: &Item| {
        let name = wanted.name.as_deref().or(item.name.as_deref()).unwrap_or_default();
        let key = Key::new(project, app, version, name);
        let key = key.map_err(|bad| format!("`{name}`: {}", bad.why))?;
        let expected = item.sha256.iter().chain(&wanted.sha256).cloned().collect();
        let require = if wanted.is_new { Require::Absent } else { Require::Nothing };
        let path = item.path.as_deref().filter(|_| wanted.name.is_none()).unwrap_or(name);
        let about = About { original_filename: Some(path.to_owned()), ..About::default() };
        Ok(Order { about, expected, require, ..Order::new(key) })
    };
    items.iter().map(one).collect()
}

/// What fetching one file needs.
struct Job<'a> {
    fetches: &'a Fetches,
    id: u64,
    web: &'a Web,
    token: Option<&'a Secret>,
    store: &'a Arc<Store>,
}

/// A file of which a part has come.
struct Coming {
    upload: Upload,
    git: Option<Sha1>,
    etag: Option<String>,
}

impl Job<'_> {
    /// All of a file, not yet to be seen.
    fn bring(&self, item: &Item, order: &mut Order) -> Result<Upload, End> {
        let mut coming = self.begin(item)?;
        let mut tries = 0;
        loop {
            let had = coming.upload.size();
            let Some(why) = self.go_on(item, order, &mut coming)? else { break };
            tries = if had < coming.upload.size() { 1 } else { tries + 1 };
            if TRIES <= tries {
                return Err(End::Failed(why));
            }
            self.pause(Duration::from_millis(200 << tries.min(5)))?;
        }
        if let (Some(wanted), Some(git)) = (&item.git, coming.git) {
            let digits = git.finalize().iter().fold(String::new(), |mut all, byte| {
                let _ = write!(all, "{byte:02x}");
                all
            });
            if digits != *wanted {
                let why = format!("{}: the content is not what was announced", order.key);
                return Err(End::Failed(why));
            }
        }
        if order.expected.is_empty() && item.git.is_none() {
            let why = "neither you nor the server say its digest: name it with `sha256`";
            return Err(End::Failed(why.to_owned()));
        }
        Ok(coming.upload)
    }

    fn begin(&self, item: &Item) -> Result<Coming, End> {
        let upload = Upload::begin(self.store, item.size).map_err(|error| error.to_string())?;
        let git = item.git.as_ref().zip(item.size).map(|(_, size)| {
            let mut hasher = Sha1::new();
            hasher.update(format!("blob {size}\0"));
            hasher
        });
        Ok(Coming { upload, git, etag: None })
    }

    /// Asks for what is missing. None once all is there, else why it is to be asked again.
    fn go_on(
        &self,
        item: &Item,
        order: &mut Order,
        coming: &mut Coming,
    ) -> Result<Option<String>, End> {
        let had = coming.upload.size();
        let from = coming.etag.as_deref().filter(|_| 0 < had).map(|etag| (had, etag));
        let got = match self.web.get(&item.url, self.token, from) {
            Ok(got) => got,
            Err(Problem::Final(why)) => return Err(End::Failed(why)),
            Err(Problem::Passing(why)) => return Ok(Some(why)),
        };
        if got.start != had {
            // It is another content by now, or the server knows no parts.
            *coming = self.begin(item)?;
            self.fetches.update(self.id, |fetch| fetch.bytes = fetch.bytes.saturating_sub(had));
            if got.start != 0 {
                return Ok(Some("the server sent another part than was asked for".to_owned()));
            }
        }
        let size = item.size.or(got.size);
        if item.size.is_some() && got.size.is_some() && item.size != got.size {
            return Err(End::Failed(format!("{}: it is not as long as announced", order.key)));
        }
        coming.etag.clone_from(&got.etag);
        if let Some(told) = &got.sha256
            && !order.expected.contains(told)
        {
            order.expected.push(told.clone());
        }
        if self.fetches.lock().get(&self.id).is_some_and(|kept| kept.fetch.size.is_none()) {
            self.fetches.update(self.id, |fetch| fetch.size = size.filter(|_| fetch.files == 1));
        }
        self.read(got, size, coming)
    }

    fn read(
        &self,
        got: web::Got,
        size: Option<u64>,
        coming: &mut Coming,
    ) -> Result<Option<String>, End> {
        let (mut reader, mut block) = (got.reader(), vec![0; BLOCK]);
        loop {
            if self.fetches.stop.is_cancelled() {
                return Err(End::Cancelled);
            }
            let length = match reader.read(&mut block) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) => return Ok(Some(format!("the answer broke off: {error}"))),
            };
            let came = &block[..length];
            let more = u64::try_from(length).unwrap_or(u64::MAX);
            if size.is_some_and(|size| size < coming.upload.size() + more) {
                return Err(End::Failed("more came than was announced".to_owned()));
            }
            coming.upload.write(came).map_err(|error| error.to_string())?;
            if let Some(git) = &mut coming.git {
                git.update(came);
            }
            self.fetches.update(self.id, |fetch| fetch.bytes += more);
        }
        let is_whole = size.is_none_or(|size| coming.upload.size() == size);
        Ok((!is_whole).then(|| "the answer broke off".to_owned()))
    }

    fn pause(&self, time: Duration) -> Result<(), End> {
        let mut left = time;
        while !left.is_zero() && !self.fetches.stop.is_cancelled() {
            let slice = left.min(SLICE);
            thread::park_timeout(slice);
            left -= slice;
        }
        if self.fetches.stop.is_cancelled() { Err(End::Cancelled) } else { Ok(()) }
    }
}
