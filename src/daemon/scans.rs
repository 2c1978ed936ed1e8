//! Who looks through images: reads what is installed, compares it with the database, and does so
//! again when the database changes or a day begins on which an exception ends.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::{civil::Date, tz::TimeZone};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, Scanning};
use crate::engine::Engine;
use crate::model::{AppName, Reason, Timestamp};
use crate::queue::Queue;
use crate::record::{Event, Record};
use crate::scan::{
    Book, Database, Fingerprint, Inventory, Known, Policy, Scanned, compare, uncovered,
};
use crate::state::ScanSeen;

/// How often the database is looked at, and what failed is tried again.
const PAUSE: Duration = Duration::from_mins(1);
/// How long lists of images that nobody wants are kept: somebody may go back to one.
const KEEP: Duration = Duration::from_hours(24 * 7);

/// What is known of images, where the operator keeps a database.
pub(super) fn book(config: &Config) -> Option<Arc<Book>> {
    let scanning = config.builds.scanning.as_ref()?;
    Some(Arc::new(Book::new(scanning.block.is_some())))
}

/// Who looks through images.
pub(super) struct Scanner {
    pub(super) book: Arc<Book>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) record: Arc<Record>,
    pub(super) queue: Arc<Queue>,
    pub(super) clock: Clock,
    pub(super) scanning: Scanning,
    /// Where lists of packages are kept, so that a restart reads no image anew.
    pub(super) folder: PathBuf,
}

/// What the images that are wanted have installed.
type Inventories = BTreeMap<String, Arc<Inventory>>;

/// What the last round compared with: as long as that stays, only new images are compared.
#[derive(Default, PartialEq)]
struct Base {
    fingerprint: Option<Fingerprint>,
    policy: Policy,
    today: Option<Date>,
    /// What of the database could not be read.
    flaw: Option<String>,
}

impl Scanner {
    /// Looks until it is told to stop.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (mut inventories, mut base) = (Inventories::new(), Base::default());
        loop {
            self.round(&mut inventories, &mut base).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.book.asked() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn round(&self, inventories: &mut Inventories, base: &mut Base) {
        self.book.tidy();
        let wanted = self.book.wanted();
        inventories.retain(|image, _| wanted.contains_key(image));
        let now = self.clock.now();
        let (policy, database) = match self.ground() {
            Ok(found) => found,
            Err(why) => return self.fail_all(&why, &wanted),
        };
        let known = Base {
            fingerprint: Some(database.fingerprint().clone()),
            policy,
            today: Some(day(now)),
            flaw: base.flaw.take(),
        };
        base.flaw.clone_from(&known.flaw);
        let is_same = *base == known;
        let has = |image: &String| self.book.of_image(image).is_some_and(|found| found.is_ok());
        let due: Vec<_> = wanted.keys().filter(|image| !is_same || !has(image)).cloned().collect();
        for image in &due {
            if !inventories.contains_key(image) {
                match self.packages(image).await {
                    Ok(found) => drop(inventories.insert(image.clone(), Arc::new(found))),
                    Err(why) => self.tell(image, Err(why)),
                }
            }
        }
        let due: Inventories = due
            .into_iter()
            .filter_map(|image| inventories.get_key_value(&image))
            .map(|(image, found)| (image.clone(), Arc::clone(found)))
            .collect();
        let mut known = known;
        if !due.is_empty() {
            known.flaw = self.look_through(due, database, &known.policy, now).await;
            if let Some(why) = known.flaw.as_ref().filter(|_| known.flaw != base.flaw) {
                tracing::warn!(why, "images are compared with a part of what is known");
            }
        }
        self.record.update_overview(|all| all.database_trouble.clone_from(&known.flaw));
        self.book.know(Known { fingerprint: known.fingerprint.clone(), error: known.flaw.clone() });
        *base = known;
    }

    /// The operator's rules and database, as they are now.
    fn ground(&self) -> Result<(Policy, Database), String> {
        let exceptions = self.scanning.exceptions()?;
        let policy = Policy { warn: self.scanning.warn, block: self.scanning.block, exceptions };
        let database =
            Database::open(&self.scanning.database).map_err(|error| error.to_string())?;
        Ok((policy, database))
    }

    /// Without rules or records nothing new is judged; what was found before stays.
    fn fail_all(&self, why: &str, wanted: &BTreeMap<String, impl Sized>) {
        let before = self.book.known();
        if before.error.as_deref() != Some(why) {
            tracing::warn!(why, "images can't be compared with known vulnerabilities");
        }
        self.book.know(Known { error: Some(why.to_owned()), ..before });
        self.record.update_overview(|all| all.database_trouble = Some(why.to_owned()));
        for image in wanted.keys().filter(|image| self.book.of_image(image).is_none()) {
            self.tell(image, Err(why.to_owned()));
        }
    }

    /// Answers what of the database could not be read.
    async fn look_through(
        &self,
        due: Inventories,
        database: Database,
        policy: &Policy,
        at: Timestamp,
    ) -> Option<String> {
        let work = move || {
            let all: Vec<_> = due.values().map(AsRef::as_ref).collect();
            let read = database.records(&all);
            let reports: Vec<_> = due
                .into_iter()
                .map(|(image, inventory)| {
                    let mut report = compare(&inventory, &read.wanted);
                    report.unread.extend(uncovered(&inventory, &read.ecosystems));
                    report.unread.extend(read.unread.iter().cloned());
                    report.is_part = !read.unread.is_empty();
                    (image, inventory, report)
                })
                .collect();
            (reports, read.flaw())
        };
        let (reports, flaw) = match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => return Some(error.to_string()),
        };
        for (image, inventory, report) in reports {
            let judged = Scanned::new(&image, inventory, report, (policy, day(at)), at);
            let found = match &flaw {
                Some(why) if policy.block.is_some() => self.half(judged, why, policy, at),
                _ => Ok(judged),
            };
            self.tell(&image, found);
        }
        flaw
    }

    /// What counts where a gate is and a part of the database can't be read: what is bad is bad.
    /// Else what was found while it could be read, by the rules of today; else nobody knows.
    fn half(
        &self,
        judged: Scanned,
        why: &str,
        policy: &Policy,
        at: Timestamp,
    ) -> Result<Scanned, String> {
        if !judged.verdict.blocked.is_empty() {
            return Ok(judged);
        }
        match self.book.of_image(&judged.image) {
            Some(Ok(before)) if !before.report.is_part => {
                let (report, inventory) = (before.report.clone(), judged.inventory);
                let rules = (policy, day(at));
                Ok(Scanned::new(&judged.image, inventory, report, rules, before.at))
            }
            _ => Err(why.to_owned()),
        }
    }

    /// Writes down what was found, and has the apps look at it when it is something new.
    fn tell(&self, image: &str, found: Result<Scanned, String>) {
        let (is_warning, reason, message) = match &found {
            Err(why) => (true, Reason::ScanFailed, why.clone()),
            Ok(scanned) => match scanned.seen() {
                ScanSeen::Blocked(text) | ScanSeen::Warned(text) => {
                    (true, Reason::Vulnerable, text)
                }
                ScanSeen::Clean(text) | ScanSeen::Failed(text) => {
                    (false, Reason::NothingKnown, text)
                }
            },
        };
        if !self.book.put(image, found) {
            return;
        }
        let apps = self.book.wanted().remove(image).unwrap_or_default();
        for app in &apps {
            self.record.tell(self.event(app, is_warning, reason, &message));
            self.queue.ask(app, Duration::ZERO);
        }
    }

    fn event(&self, app: &AppName, is_warning: bool, reason: Reason, message: &str) -> Event {
        let (at, app, message) = (self.clock.now(), Some(app.clone()), message.to_owned());
        Event { id: 0, at, app, is_warning, reason, message }
    }

    /// What is installed in an image: as it was read before, else as the engine says.
    async fn packages(&self, image: &str) -> Result<Inventory, String> {
        let path = self.list_of(image);
        let kept = path.as_ref().and_then(|path| fs::read(path).ok());
        if let Some(found) = kept.and_then(|kept| serde_json::from_slice(&kept).ok()) {
            return Ok(found);
        }
        let asked = self.engine.packages(image).await.map_err(|error| error.to_string())?;
        let found = asked.ok_or("the engine can't say what is installed in an image")?;
        if let Some(path) = path
            && let Err(error) = self.keep(&path, &found)
        {
            // The next start reads the image again.
            tracing::warn!(path = %path.display(), %error, "a list of packages can't be kept");
        }
        Ok(found)
    }

    fn list_of(&self, image: &str) -> Option<PathBuf> {
        let name = image.strip_prefix("sha256:").unwrap_or(image);
        let is_plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_plain.then(|| self.folder.join(format!("{name}.json")))
    }

    /// Keeps a list, and lets old ones of images that nobody wants go.
    fn keep(&self, path: &Path, found: &Inventory) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(found)?)?;
        fs::rename(new, path)?;
        let wanted: Vec<_> =
            self.book.wanted().keys().filter_map(|image| self.list_of(image)).collect();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
            if KEEP < age && !wanted.contains(&entry.path()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The day of a moment, in UTC.
fn day(at: Timestamp) -> Date {
    let moment = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    moment.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::Fake;
    use crate::scan::{Kind, Package, Severity};

    fn inventory() -> Inventory {
        let package = Package {
            kind: Kind::Pypi,
            name: "demo".to_owned(),
            version: "1.0".to_owned(),
            source: None,
            architecture: None,
        };
        Inventory { distribution: None, packages: vec![package] }
    }

    fn record(fixed: &str) -> String {
        format!(
            r#"{{"id": "T-1", "database_specific": {{"severity": "CRITICAL"}}, "affected": [{{
                "package": {{"ecosystem": "PyPI", "name": "demo"}}, "ranges": [{{
                "type": "ECOSYSTEM", "events": [{{"introduced": "0"}}, {{"fixed": "{fixed}"}}]}}]}}]}}"#
        )
    }

    /// While the records are being replaced, nothing starts that would not have before.
    #[tokio::test]
    async fn a_database_that_is_half_there_opens_no_gate() {
        let folder = tempfile::tempdir().unwrap();
        let (database, packages) = (folder.path().join("records"), folder.path().join("packages"));
        fs::create_dir(&database).unwrap();
        let write = |text: &str| fs::write(database.join("one.json"), text).unwrap();
        let fake = Fake::new("t", Clock::System);
        let (old, new) = ("sha256:aa", "sha256:bb");
        for image in [old, new] {
            fake.installs(image, inventory());
        }
        let scanner = Scanner {
            book: Arc::new(Book::new(true)),
            engine: Arc::new(fake),
            record: Arc::default(),
            queue: Arc::default(),
            clock: Clock::System,
            scanning: Scanning {
                database: database.clone(),
                warn: Severity::Medium,
                block: Some(Severity::High),
                exceptions_file: None,
            },
            folder: packages,
        };
        let (mut inventories, mut base) = (Inventories::new(), Base::default());
        let mut look = async || {
            scanner.round(&mut inventories, &mut base).await;
            let seen = scanner.book.seen();
            let of = |image| match seen.of(image) {
                None => "nothing",
                Some(ScanSeen::Clean(_)) => "clean",
                Some(ScanSeen::Warned(_)) => "warned",
                Some(ScanSeen::Blocked(_)) => "blocked",
                Some(ScanSeen::Failed(_)) => "failed",
            };
            (of(old), of(new), scanner.book.known().error)
        };
        scanner.book.want(&AppName::new("old").unwrap(), old);
        write(&record("2.0"));
        assert_eq!(look().await, ("blocked", "nothing", None));
        // Half written: what was found stays, and nobody knows of what is new.
        write(&record("2.0")[..40]);
        scanner.book.want(&AppName::new("new").unwrap(), new);
        let (before, unknown, error) = look().await;
        assert_eq!((before, unknown), ("blocked", "failed"));
        assert!(error.unwrap().contains("one.json"));
        assert!(look().await.2.is_some(), "it is forgotten");
        write(&record("1.0"));
        assert_eq!(look().await, ("clean", "clean", None));
        // What was clean stays so, too.
        write("{");
        let (old, new, error) = look().await;
        assert_eq!((old, new, error.is_some()), ("clean", "clean", true));
    }
}
