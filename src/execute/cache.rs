//! What `BuildKit` keeps of our builds, held under the operator's bound between builds.
//!
//! Nothing that it keeps says whose it is. So it is written down when a build of ours was made by it:
//! what came to be in that time is of that build. Lost, the file is not missed but by what it would
//! have found.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{context::blocking, jobs::Jobs};
use crate::clock::Clock;
use crate::engine::{Engine, Error};
use crate::model::{Timestamp, format_bytes};
use crate::plan::{BuildTime, spare_cache};
use crate::state::CacheRecord;

/// The file, in the folder of what builds make.
const FILE: &str = "buildkit";
/// How many builds are remembered.
const BUILDS_MAX: usize = 5000;

/// What is to go, and how much there is.
#[derive(Clone, Debug)]
pub struct Spare {
    /// How much all of our builds' takes.
    pub total: u64,
    /// How much it may take.
    pub max: u64,
    /// What goes, in this order.
    pub going: Vec<CacheRecord>,
}

/// The cache of our builds.
pub(super) struct Cache {
    path: PathBuf,
    max: Option<u64>,
    /// Whether something was kept since it was looked at last.
    has_grown: AtomicBool,
    /// Held while the file is read, changed and written.
    writing: Mutex<()>,
}

/// The time of one build, written down when this is dropped.
pub(super) struct Under {
    cache: Arc<Cache>,
    clock: Clock,
    since: Timestamp,
    /// Set by an engine that keeps what this build makes.
    pub(super) keeps: Arc<AtomicBool>,
}

impl Drop for Under {
    fn drop(&mut self) {
        if self.keeps.load(Ordering::SeqCst) {
            self.cache.add((self.since, self.clock.now()));
            self.cache.has_grown.store(true, Ordering::SeqCst);
        }
    }
}

impl Cache {
    /// The cache, of at most `max` bytes; without a bound it is the engine's own affair.
    pub(super) fn new(folder: &Path, max: Option<u64>) -> Arc<Self> {
        let (has_grown, writing) = (AtomicBool::new(false), Mutex::default());
        Arc::new(Self { path: folder.join(FILE), max, has_grown, writing })
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A build begins.
    pub(super) fn begin(self: &Arc<Self>, clock: &Clock) -> Under {
        let since = clock.now();
        Under { cache: Arc::clone(self), clock: clock.clone(), since, keeps: Arc::default() }
    }

    /// The times of our builds.
    fn builds(&self) -> Vec<BuildTime> {
        let rows = fs::read(&self.path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        rows.unwrap_or_default()
    }

    /// Writes down the time of a build. It may be called from anywhere, and the file is small.
    fn add(&self, build: BuildTime) {
        let _writing = self.lock();
        let mut builds = self.builds();
        // Builds that run side by side are as one.
        match builds.last_mut() {
            Some(last) if last.0 <= build.1 && build.0 <= last.1 => {
                *last = (last.0.min(build.0), last.1.max(build.1));
            }
            _ => builds.push(build),
        }
        let spare = builds.len().saturating_sub(BUILDS_MAX);
        builds.drain(..spare);
        if let Err(error) = self.write(&builds) {
            let path = self.path.display();
            tracing::debug!(%path, %error, "the time of a build can't be written down");
        }
    }

    fn write(&self, builds: &[BuildTime]) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        let unfinished = self.path.with_extension("new");
        fs::write(&unfinished, serde_json::to_vec(builds)?)?;
        fs::rename(unfinished, &self.path)
    }

    /// What is to go. Nobody is asked where there is no bound, or none of our builds was kept.
    pub(super) async fn spare(&self, engine: &dyn Engine) -> Result<Option<Spare>, Error> {
        let Some(max) = self.max else { return Ok(None) };
        let builds = blocking(|| self.builds());
        if builds.is_empty() {
            return Ok(None);
        }
        let (total, going) = spare_cache(&engine.build_cache().await?, &builds, max);
        Ok(Some(Spare { total, max, going }))
    }
}

impl Jobs {
    /// What of our builds' cache is more than the operator allows.
    pub async fn spare_cache(&self) -> Result<Option<Spare>, Error> {
        self.cache.spare(self.engine.as_ref()).await
    }

    /// Lets a piece of the cache go; answers whether it went.
    pub async fn drop_cached(&self, id: &str) -> Result<bool, Error> {
        self.engine.drop_cached(id).await
    }

    /// Holds the cache of our builds under its bound. Whoever builds keeps what it may rest on: the
    /// last build that ends sees to it, and one that begins meanwhile waits.
    pub(super) async fn trim(&self) {
        if !self.cache.has_grown.swap(false, Ordering::SeqCst) {
            return;
        }
        let spare = match self.spare_cache().await {
            Ok(Some(spare)) if !spare.going.is_empty() => spare,
            Ok(_) => return,
            Err(error) => {
                tracing::debug!(%error, "the engine does not say what its builder keeps");
                return;
            }
        };
        let all = u32::try_from(self.settings().builds).unwrap_or(u32::MAX);
        let Ok(_turns) = self.builds.try_acquire_many(all) else {
            return self.cache.has_grown.store(true, Ordering::SeqCst);
        };
        let (mut pieces, mut bytes) = (0, 0_u64);
        for record in &spare.going {
            match self.drop_cached(&record.id).await {
                Ok(is_gone) => {
                    pieces += u64::from(is_gone);
                    bytes = bytes.saturating_add(if is_gone { record.size } else { 0 });
                }
                Err(error) => {
                    tracing::debug!(%error, "a piece of the build cache can't be let go");
                    break;
                }
            }
        }
        let (before, max) = (format_bytes(spare.total), format_bytes(spare.max));
        let freed = format_bytes(bytes);
        tracing::info!(before, max, pieces, freed, "the build cache was trimmed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_times_of_builds_that_were_kept_are_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(&folder.path().join("steps"), Some(7));
        let at = Timestamp::from_millis;
        let clock = Clock::runtime(at(1_000));
        drop(cache.begin(&clock));
        assert!(cache.builds().is_empty(), "the classic builder keeps nothing there");
        let kept = cache.begin(&clock);
        kept.keeps.store(true, Ordering::SeqCst);
        drop(kept);
        assert_eq!(cache.builds().len(), 1);
        let before = cache.builds()[0];
        cache.add((at(before.1.as_millis()), at(9_000)));
        assert_eq!(cache.builds(), [(before.0, at(9_000))], "side by side they are one");
        cache.add((at(10_000), at(11_000)));
        assert_eq!(Cache::new(&folder.path().join("steps"), None).builds().len(), 2);
        fs::write(folder.path().join("steps/buildkit"), "{").unwrap();
        assert!(cache.builds().is_empty());
    }
}
