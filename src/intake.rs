//! Intake: from a reading of the source to what is desired.
//!
//! A reading that is not complete removes nothing; a mistake in a file leaves what was good before;
//! many removals at once wait for a person.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::manifest::{self, Diagnostic, FileContent, FileReading, Severity, Snapshot};
use crate::model::{App, AppName, Digest};
use crate::plan::{Folder, Removals, brake};
use crate::record::ledger::Ledger;
use crate::state::{Desired, Hold, Want};

/// Turns readings into what is desired. It remembers what it has read.
#[derive(Debug, Default)]
pub struct Intake {
    readings: BTreeMap<String, (Digest, Arc<FileReading>)>,
    snapshot: Option<Arc<Snapshot>>,
    source_error: Option<String>,
    /// The apps that exist on the engine, as they were last seen.
    known: BTreeSet<AppName>,
    /// Removals that were let pass, until the app is named again or gone.
    accepted: BTreeSet<AppName>,
    desired: Arc<Desired>,
    diagnostics: Arc<Vec<Diagnostic>>,
}

/// What a reading changed.
#[derive(Debug)]
pub struct Taken {
    /// What is desired now.
    pub desired: Arc<Desired>,
    /// The apps of which something else is wanted than before.
    pub changed: Vec<AppName>,
    /// All mistakes.
    pub diagnostics: Arc<Vec<Diagnostic>>,
}

/// The texts of files, as far as they could be read, and why others could not.
#[derive(Default)]
struct Files {
    readings: BTreeMap<String, Arc<FileReading>>,
    /// Files with mistakes, each with its first one.
    wrong: BTreeMap<String, String>,
}

impl Intake {
    /// Takes a reading of the source. `known` are the apps that exist on the engine; none when it
    /// does not answer.
    pub fn take(
        &mut self,
        reading: Result<Arc<Snapshot>, String>,
        known: Option<BTreeSet<AppName>>,
        ledger: &Ledger,
    ) -> Taken {
        match reading {
            Ok(snapshot) => {
                self.snapshot = Some(snapshot);
                self.source_error = None;
            }
            Err(error) => self.source_error = Some(error),
        }
        self.fold(known, ledger)
    }

    /// Lets the removals pass that are held back; answers which. None when there are none.
    pub fn confirm(&mut self) -> Option<Vec<AppName>> {
        let Some(Hold::Brake { apps, .. }) = &self.desired.hold else { return None };
        self.accepted.extend(apps.iter().cloned());
        Some(apps.clone())
    }

    /// Puts together what is desired, from what was read last.
    pub fn fold(&mut self, known: Option<BTreeSet<AppName>>, ledger: &Ledger) -> Taken {
        let is_seen = known.is_some();
        self.known = known.unwrap_or_else(|| std::mem::take(&mut self.known));
        if is_seen {
            let (existing, kept) = (&self.known, ledger.apps());
            self.accepted.retain(|app| existing.contains(app) || kept.contains(app));
        }
        let before = Arc::clone(&self.desired);
        let desired = match (&self.snapshot, &self.source_error) {
            (Some(snapshot), None) => {
                let snapshot = Arc::clone(snapshot);
                self.desire(&snapshot, ledger)
            }
            (_, why) => {
                let why = why.clone().unwrap_or_else(|| "they have not been read yet".to_owned());
                Desired { hold: Some(Hold::Unreadable(why)), ..Desired::clone(&before) }
            }
        };
        let mut changed = Vec::new();
        if desired != *before {
            let names: BTreeSet<_> = before.apps.keys().chain(desired.apps.keys()).collect();
            let names = names.into_iter().chain(&self.known).chain(&desired.removals);
            let names: BTreeSet<_> = names.collect();
            changed
                .extend(names.into_iter().filter(|n| before.want(n) != desired.want(n)).cloned());
            self.desired = Arc::new(desired);
        }
        let diagnostics = Arc::clone(&self.diagnostics);
        Taken { desired: Arc::clone(&self.desired), changed, diagnostics }
    }

    fn desire(&mut self, snapshot: &Snapshot, ledger: &Ledger) -> Desired {
        let mut files = self.read(snapshot);
        let assembled = manifest::assemble(&files.readings);
        for diagnostic in &assembled.diagnostics {
            if diagnostic.severity == Severity::Error {
                let first =
                    format!("{}:{}: {}", diagnostic.file, diagnostic.line, diagnostic.message);
                files.wrong.entry(diagnostic.file.clone()).or_insert(first);
            }
        }
        self.diagnostics = Arc::new(assembled.diagnostics);
        let mut apps: BTreeMap<_, _> =
            assembled.apps.into_iter().map(|(name, app)| (name, Want::Present(app))).collect();
        for (name, problem) in assembled.invalid {
            let last_good = self.last_good(&name, ledger);
            apps.insert(name, Want::Invalid { last_good, problem });
        }
        self.keep_unread(&files, &mut apps, ledger);
        for want in apps.values() {
            if let Want::Present(app) = want {
                self.note_good(app, snapshot, ledger);
            }
        }
        let named: BTreeSet<_> = apps.keys().cloned().collect();
        self.accepted.retain(|app| !named.contains(app));
        let mut all = self.known.clone();
        all.extend(ledger.apps());
        all.extend(self.desired.apps.keys().cloned());
        let hold = self.hold(snapshot, &files, (&all, &named), ledger);
        if hold.is_none() {
            self.accepted.extend(all.difference(&named).cloned());
        }
        let removals = self.accepted.clone();
        Desired { apps, removals, hold, revision: snapshot.revision() }
    }

    /// Reads the files that have changed; the others were read before.
    fn read(&mut self, snapshot: &Snapshot) -> Files {
        let mut files = Files::default();
        for (path, content) in &snapshot.files {
            match content {
                FileContent::Text { bytes, digest } => {
                    let cached = self.readings.get(path).filter(|(read, _)| read == digest);
                    let reading = match cached {
                        Some((_, reading)) => Arc::clone(reading),
                        None => Arc::new(manifest::read_file(path, bytes)),
                    };
                    self.readings.insert(path.clone(), (digest.clone(), Arc::clone(&reading)));
                    files.readings.insert(path.clone(), reading);
                }
                FileContent::Unreadable(why) => {
                    files.wrong.insert(path.clone(), format!("{path} can't be read: {why}"));
                }
            }
        }
        self.readings.retain(|path, _| snapshot.files.contains_key(path));
        files
    }

    /// An app whose file can't be understood at present stays as it was last good.
    fn keep_unread(&self, files: &Files, apps: &mut BTreeMap<AppName, Want>, ledger: &Ledger) {
        if files.wrong.is_empty() {
            return;
        }
        let mut candidates = ledger.apps();
        candidates.extend(self.desired.apps.keys().cloned());
        candidates.extend(self.known.iter().cloned());
        for name in
            candidates.into_iter().filter(|name| !apps.contains_key(name)).collect::<Vec<_>>()
        {
            let Some(app) = self.last_good(&name, ledger) else { continue };
            if let Some(problem) = files.wrong.get(&app.origin.file) {
                let problem = problem.clone();
                apps.insert(name, Want::Invalid { last_good: Some(app), problem });
            }
        }
    }

    /// The app as it was last good: from this run, or from what was kept of an earlier one.
    fn last_good(&self, name: &AppName, ledger: &Ledger) -> Option<Arc<App>> {
        if let Some(app) = self.desired.app(name) {
            return Some(Arc::clone(app));
        }
        let (file, text) = ledger.facts(name)?.last_good?;
        let reading = manifest::read_file(&file, text.as_bytes());
        reading.apps.into_iter().find(|app| app.name == *name).map(Arc::new)
    }

    fn note_good(&self, app: &Arc<App>, snapshot: &Snapshot, ledger: &Ledger) {
        if self.desired.apps.get(&app.name) == Some(&Want::Present(Arc::clone(app))) {
            return;
        }
        ledger.note_spec(&app.name, &Digest::of_value(&app.spec), 1);
        let file = &app.origin.file;
        if let Some(FileContent::Text { bytes, .. }) = snapshot.files.get(file) {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let file = file.clone();
            ledger.update(&app.name, |facts| facts.last_good = Some((file, text)));
        }
    }

    /// Why removals are held back, and the folder's identity once they are not.
    fn hold(
        &self,
        snapshot: &Snapshot,
        files: &Files,
        (known, named): (&BTreeSet<AppName>, &BTreeSet<AppName>),
        ledger: &Ledger,
    ) -> Option<Hold> {
        let is_same = ledger.folder().is_none_or(|known| known == snapshot.identity);
        let folder = if is_same { Folder::Same } else { Folder::Replaced };
        let confirmed = &self.accepted;
        let held = brake(Removals { known, named, folder, confirmed });
        if held.is_none() {
            ledger.note_folder(&snapshot.identity);
        }
        let (_, problem) = files.wrong.first_key_value().unzip();
        let gone = known.iter().any(|app| !named.contains(app) && !confirmed.contains(app));
        match problem {
            Some(problem) if gone && held.is_none() => Some(Hold::Unreadable(problem.clone())),
            _ => held,
        }
    }
}
