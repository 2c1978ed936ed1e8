//! What is known of the images that apps want: asked by passes, written by who looks through them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::civil::Date;
use tokio::sync::Notify;

use super::{
    database::Fingerprint,
    inventory::Inventory,
    matching::{Finding, Report},
    policy::{Policy, Verdict},
    severity::Severity,
};
use crate::model::{AppName, Timestamp};
use crate::state::{ScanSeen, Scans};

/// How many findings a sentence names.
const NAMED: usize = 3;

/// What was found in one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanned {
    /// The id of the image.
    pub image: String,
    /// What is installed in it.
    pub inventory: Arc<Inventory>,
    /// What that was found to have.
    pub report: Report,
    /// What the operator's policy says about that.
    pub verdict: Verdict,
    /// When it was compared with the database.
    pub at: Timestamp,
}

/// What was found in an image, or why it could not be looked through.
pub type Found = Result<Arc<Scanned>, String>;

/// The database, as it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Which state of it was read last.
    pub fingerprint: Option<Fingerprint>,
    /// Why it can't be read now.
    pub error: Option<String>,
}

/// What is known, and who asks for what.
#[derive(Debug)]
pub struct Book {
    is_gate: bool,
    inner: Mutex<Inner>,
    asked: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    wanted: BTreeMap<AppName, String>,
    images: BTreeMap<String, Result<Arc<Scanned>, String>>,
    known: Known,
}

impl Book {
    /// An empty one. With a gate, what is not known may not start.
    pub fn new(is_gate: bool) -> Self {
        Self { is_gate, inner: Mutex::default(), asked: Notify::new() }
    }

    /// The same, of which nobody hears.
    #[must_use]
    pub fn copied(&self) -> Self {
        let Inner { wanted, images, known } = &*self.lock();
        let inner = Inner { wanted: wanted.clone(), images: images.clone(), known: known.clone() };
        Self { is_gate: self.is_gate, inner: Mutex::new(inner), asked: Notify::new() }
    }

    /// An app wants this image.
    pub fn want(&self, app: &AppName, image: &str) {
        let mut inner = self.lock();
        if inner.wanted.get(app).is_some_and(|known| known == image) {
            return;
        }
        inner.wanted.insert(app.clone(), image.to_owned());
        if !inner.images.contains_key(image) {
            self.asked.notify_one();
        }
    }

    /// An app is gone.
    pub fn forget(&self, app: &AppName) {
        self.lock().wanted.remove(app);
    }

    /// What a plan may know.
    pub fn seen(&self) -> Scans {
        let inner = self.lock();
        let seen = |found: &Result<Arc<Scanned>, String>| match found {
            Ok(scanned) => scanned.seen(),
            Err(why) => ScanSeen::Failed(why.clone()),
        };
        let images = inner.images.iter().map(|(id, found)| (id.clone(), seen(found))).collect();
        Scans { is_gate: self.is_gate, images }
    }

    /// Which images apps want, each with the apps.
    pub fn wanted(&self) -> BTreeMap<String, BTreeSet<AppName>> {
        let mut images = BTreeMap::<String, BTreeSet<AppName>>::new();
        for (app, image) in &self.lock().wanted {
            images.entry(image.clone()).or_default().insert(app.clone());
        }
        images
    }

    /// What was found in the image that an app wants: nothing as long as nobody has looked.
    pub fn of_app(&self, app: &AppName) -> Option<(String, Option<Found>)> {
        let inner = self.lock();
        let image = inner.wanted.get(app)?;
        Some((image.clone(), inner.images.get(image).cloned()))
    }

    /// What was found in an image.
    pub fn of_image(&self, image: &str) -> Option<Result<Arc<Scanned>, String>> {
        self.lock().images.get(image).cloned()
    }

    /// Writes down what was found in an image. Answers whether that is another thing than before.
    pub fn put(&self, image: &str, found: Result<Scanned, String>) -> bool {
        let found = found.map(Arc::new);
        let mut inner = self.lock();
        let before = inner.images.insert(image.to_owned(), found.clone());
        let said = |found: &Result<Arc<Scanned>, String>| match found {
            Ok(scanned) => (scanned.verdict.clone(), scanned.report.clone()),
            Err(_) => Default::default(),
        };
        before.is_none_or(|before| said(&before) != said(&found) || before.is_ok() != found.is_ok())
    }

    /// Forgets the images that nobody wants any more.
    pub fn tidy(&self) {
        let mut inner = self.lock();
        let Inner { wanted, images, .. } = &mut *inner;
        images.retain(|image, _| wanted.values().any(|one| one == image));
    }

    /// The database, as it was last seen.
    pub fn known(&self) -> Known {
        self.lock().known.clone()
    }

    /// Writes down how the database was found.
    pub fn know(&self, known: Known) {
        self.lock().known = known;
    }

    /// Waits until an image is wanted that nobody has looked through.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scanned {
    /// Judges a report.
    pub fn new(
        image: &str,
        inventory: Arc<Inventory>,
        report: Report,
        (policy, today): (&Policy, Date),
        at: Timestamp,
    ) -> Self {
        let verdict = policy.judge(&report, today);
        Self { image: image.to_owned(), inventory, report, verdict, at }
    }

    /// How many findings there are of each severity, the worst first; none that is accepted.
    pub fn counts(&self) -> Vec<(Severity, usize)> {
        let is_accepted = |finding: &Finding| {
            self.verdict.accepted.iter().any(|accepted| accepted.finding == *finding)
        };
        let open: Vec<_> = self.report.findings.iter().filter(|one| !is_accepted(one)).collect();
        let count = |severity| open.iter().filter(|one| one.severity == severity).count();
        Severity::ALL.into_iter().rev().map(|severity| (severity, count(severity))).collect()
    }

    /// What a plan may know of it.
    pub fn seen(&self) -> ScanSeen {
        let Verdict { blocked, warned, .. } = &self.verdict;
        if !blocked.is_empty() {
            let expired =
                if self.verdict.expired.is_empty() { "" } else { " (an exception has expired)" };
            return ScanSeen::Blocked(format!(
                "the image has {}, which the operator does not allow{expired}: update what is named, or allow it until a day",
                named(blocked)
            ));
        }
        if let Some(first) = self.verdict.undecided.first() {
            let more = match self.verdict.undecided.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let (what, why) = (&first.what, &first.why);
            return ScanSeen::Blocked(format!(
                "whether the image has what the operator does not allow can't be decided: {what}: {why}{more}"
            ));
        }
        let unread = match self.report.unread.len() {
            0 => String::new(),
            count => format!("; {count} could not be decided"),
        };
        if !warned.is_empty() {
            return ScanSeen::Warned(format!("the image has {}{unread}", named(warned)));
        }
        let packages = self.inventory.packages.len();
        let clean = format!("nothing to warn of is known in {packages} packages{unread}");
        if unread.is_empty() { ScanSeen::Clean(clean) } else { ScanSeen::Warned(clean) }
    }
}

/// The first of some findings, in words.
fn named(findings: &[Finding]) -> String {
    let mut text = match findings.len() {
        1 => "1 known vulnerability: ".to_owned(),
        count => format!("{count} known vulnerabilities: "),
    };
    for (index, finding) in findings.iter().take(NAMED).enumerate() {
        let Finding { id, severity, package, fixed, .. } = finding;
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{id} ({severity}) in {} {}", package.name, package.version);
        if let Some(fixed) = fixed {
            let _ = write!(text, ", gone in {fixed}");
        }
    }
    if NAMED < findings.len() {
        let _ = write!(text, " and {} more", findings.len() - NAMED);
    }
    text
}
