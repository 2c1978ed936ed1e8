//! Intake: from a reading of the source to what is desired.
//!
//! A reading that is not complete removes nothing; a mistake in a file leaves what was good before;
//! many removals at once wait for a person. With several sources all of this holds for each of them
//! by itself.

mod parts;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    panic::resume_unwind,
    sync::Arc,
    thread::ScopedJoinHandle,
};

use crate::manifest::{self, Diagnostic, FileContent, FileReading, Severity, Snapshot};
use crate::model::{App, AppName, Digest, SecretDocs};
use crate::plan::{Removals, brake};
use crate::record::ledger::Ledger;
use crate::state::{Desired, Hold, Want};

use self::parts::{Group, groups, identities};

/// A thread of its own is worth its while for so many files.
const FILES_A_THREAD: usize = 64;

/// Turns readings into what is desired. It remembers what it has read.
#[derive(Debug, Default)]
pub struct Intake {
    readings: BTreeMap<String, (Digest, Arc<FileReading>)>,
    snapshot: Option<Arc<Snapshot>>,
    source_error: Option<String>,
    /// Removals that were let pass, until the app is named again or gone.
    accepted: BTreeSet<AppName>,
    /// Removals that the brake held, until the app is named again or a person confirms. Of many
    /// that vanished at once the last one is still one of many (fault W07).
    braked: BTreeSet<AppName>,
    /// Why the brake held them.
    brake_cause: String,
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
    /// Files with nothing in them, as a full disk leaves them (fault D42).
    blank: BTreeSet<String>,
    /// What is wrong with files as a whole.
    diagnostics: Vec<Diagnostic>,
}

impl Intake {
    /// Takes a reading of the source. `known` are the apps that exist on the engine; none when it
    /// does not answer.
    pub fn take(
        &mut self,
        reading: Result<Arc<Snapshot>, String>,
        known: Option<&BTreeSet<AppName>>,
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

    /// Lets the removals pass that are held back, over restarts too; answers which. None when there
    /// are none.
    pub fn confirm(&mut self, ledger: &Ledger) -> Option<Vec<AppName>> {
        let Some(Hold::Brake { apps, .. }) = &self.desired.hold else { return None };
        for app in apps {
            ledger.update(app, |facts| facts.is_removal_confirmed = true);
        }
        self.accepted.extend(apps.iter().cloned());
        Some(apps.clone())
    }

    /// Puts together what is desired, from what was read last.
    pub fn fold(&mut self, known: Option<&BTreeSet<AppName>>, ledger: &Ledger) -> Taken {
        let before = Arc::clone(&self.desired);
        let desired = match (&self.snapshot, &self.source_error) {
            (Some(snapshot), None) => {
                let snapshot = Arc::clone(snapshot);
                self.desire(&snapshot, known, ledger)
            }
            (_, why) => {
                let why = why.clone().unwrap_or_else(|| "they have not been read yet".to_owned());
                Desired { hold: Some(Hold::Unreadable(why)), ..Desired::clone(&before) }
            }
        };
        let mut changed = Vec::new();
        if desired != *before {
            let names: BTreeSet<_> = before.apps.keys().chain(desired.apps.keys()).collect();
            let names = names.into_iter().chain(known.into_iter().flatten());
            let names = names.chain(&desired.removals);
            let names: BTreeSet<_> = names.collect();
            changed.extend(names.into_iter().filter(|n| is_changed(&before, &desired, n)).cloned());
            self.desired = Arc::new(desired);
        }
        let diagnostics = Arc::clone(&self.diagnostics);
        Taken { desired: Arc::clone(&self.desired), changed, diagnostics }
    }

    fn desire(
        &mut self,
        snapshot: &Snapshot,
        known: Option<&BTreeSet<AppName>>,
        ledger: &Ledger,
    ) -> Desired {
        let mut files = self.read(snapshot);
        let assembled = manifest::assemble(&files.readings);
        for diagnostic in &assembled.diagnostics {
            if diagnostic.severity == Severity::Error {
                let first =
                    format!("{}:{}: {}", diagnostic.file, diagnostic.line, diagnostic.message);
                files.wrong.entry(diagnostic.file.clone()).or_insert(first);
            }
        }
        let secrets = self.secrets(assembled.secrets, &files);
        let mut diagnostics = assembled.diagnostics;
        let mut apps: BTreeMap<_, _> =
            assembled.apps.into_iter().map(|(name, app)| (name, Want::Present(app))).collect();
        for (name, problem) in assembled.invalid {
            let last_good = self.last_good(&name, ledger);
            apps.insert(name, Want::Invalid { last_good, problem });
        }
        let mut all = ledger.apps();
        all.extend(self.desired.apps.keys().cloned());
        all.extend(known.into_iter().flatten().cloned());
        self.keep_unread(&mut files, &mut apps, &all, ledger);
        keep_doubtful(snapshot, &mut apps, |name| self.last_good(name, ledger));
        diagnostics.append(&mut files.diagnostics);
        name_commits(snapshot, &mut diagnostics, &mut apps);
        self.diagnostics = Arc::new(diagnostics);
        for want in apps.values() {
            if let Want::Present(app) = want {
                self.note_good(app, snapshot, ledger);
            }
        }
        let named: BTreeSet<_> = apps.keys().cloned().collect();
        for app in ledger.confirmed() {
            if named.contains(&app) {
                ledger.update(&app, |facts| facts.is_removal_confirmed = false);
            } else {
                self.accepted.insert(app);
            }
        }
        self.accepted.retain(|app| !named.contains(app));
        if known.is_some() {
            // What is gone from everywhere has been removed.
            self.accepted.retain(|app| all.contains(app));
        }
        let hold = self.judge(snapshot, &files, (&all, &named), known.is_some(), ledger);
        let removals = self.accepted.clone();
        Desired { apps, removals, hold, secrets, revision: snapshot.revision() }
    }

    /// What is said of secrets. What a file said that can't be understood at present still counts.
    fn secrets(&self, mut now: SecretDocs, files: &Files) -> Arc<SecretDocs> {
        for (name, before) in self.desired.secrets.iter() {
            let Ok(secret) = before else { continue };
            if files.wrong.contains_key(&secret.origin.file) && !now.contains_key(name) {
                now.insert(name.clone(), Ok(Arc::clone(secret)));
            }
        }
        Arc::new(now)
    }

    /// Reads the files that have changed; the others were read before.
    fn read(&mut self, snapshot: &Snapshot) -> Files {
        let (mut files, mut news) = (Files::default(), Vec::new());
        for (path, content) in &snapshot.files {
            match content {
                FileContent::Text { bytes, digest } => {
                    if bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii().is_empty()
                    {
                        files.blank.insert(path.clone());
                    }
                    match self.readings.get(path) {
                        Some((read, reading)) if read == digest => {
                            files.readings.insert(path.clone(), Arc::clone(reading));
                        }
                        _ => news.push((path.as_str(), &**bytes, digest)),
                    }
                }
                FileContent::Unreadable(why) => {
                    let flaw = Diagnostic::of_file(path, "manifest.unreadable", why);
                    files.wrong.insert(path.clone(), flaw.summary());
                    files.diagnostics.push(flaw);
                }
            }
        }
        for ((path, _, digest), reading) in news.iter().zip(read_all(&news)) {
            let read = ((*digest).clone(), Arc::clone(&reading));
            self.readings.insert((*path).to_owned(), read);
            files.readings.insert((*path).to_owned(), reading);
        }
        self.readings.retain(|path, _| snapshot.files.contains_key(path));
        files
    }

    /// An app whose file can't be understood at present, or has nothing in it, stays as it was
    /// last good. `all` are the apps that are known.
    fn keep_unread(
        &self,
        files: &mut Files,
        apps: &mut BTreeMap<AppName, Want>,
        all: &BTreeSet<AppName>,
        ledger: &Ledger,
    ) {
        if files.wrong.is_empty() && files.blank.is_empty() {
            return;
        }
        for name in all {
            if apps.contains_key(name) {
                continue;
            }
            let Some(app) = self.last_good(name, ledger) else { continue };
            let file = &app.origin.file;
            if files.blank.contains(file) && !files.wrong.contains_key(file) {
                let flaw = emptied(file, name);
                files.wrong.insert(file.clone(), flaw.summary());
                files.diagnostics.push(flaw);
            }
            if let Some(problem) = files.wrong.get(file).cloned() {
                apps.insert(name.clone(), Want::Invalid { last_good: Some(app), problem });
            }
        }
    }

    /// The app as it was last good: from this run, or from what was kept of an earlier one.
    fn last_good(&self, name: &AppName, ledger: &Ledger) -> Option<Arc<App>> {
        if let Some(app) = self.desired.app(name) {
            return Some(Arc::clone(app));
        }
        ledger.facts(name)?.last_app(name)
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

    /// Why removals are held back; those that are not pass. Each source is judged by itself.
    fn judge(
        &mut self,
        snapshot: &Snapshot,
        files: &Files,
        (all, named): (&BTreeSet<AppName>, &BTreeSet<AppName>),
        is_engine_known: bool,
        ledger: &Ledger,
    ) -> Option<Hold> {
        let before = ledger.folder();
        let home = |app: &AppName| match self.desired.app(app) {
            Some(app) => Some(app.origin.file.clone()),
            None => ledger.facts(app)?.last_good.map(|(file, _)| file),
        };
        let groups = groups(snapshot, before.as_deref(), all, home);
        let accepted = &self.accepted;
        let is_gone = |app: &AppName| !named.contains(app) && !accepted.contains(app);
        self.braked.retain(|app| all.contains(app) && is_gone(app));
        let (mut holds, mut held) = (Vec::new(), Vec::new());
        let mut is_lost = false;
        for group in &groups {
            match self.hold(files, group, named) {
                Some(hold) => {
                    // While it is not known where apps came from, no source is known to be the one
                    // that it was (fault T01).
                    is_lost |= before.is_none() && group.part.is_none();
                    holds.push(hold);
                    held.extend(group.part);
                }
                None => self.accepted.extend(group.known.difference(named).cloned()),
            }
        }
        if is_engine_known
            && !is_lost
            && (!snapshot.parts.is_empty() || holds.is_empty())
            && let Some(identities) = identities(snapshot, before.as_deref(), &held)
        {
            ledger.note_folder(&identities);
        }
        together(holds)
    }

    fn hold(
        &mut self,
        files: &Files,
        group: &Group<'_>,
        named: &BTreeSet<AppName>,
    ) -> Option<Hold> {
        let (known, folder, confirmed) = (&group.known, group.folder, &self.accepted);
        let is_gone = |app: &&AppName| !named.contains(*app) && !confirmed.contains(*app);
        let gone: Vec<_> = known.iter().filter(is_gone).cloned().collect();
        if let Some(why) = &group.unreadable
            && (group.part.is_some() || !gone.is_empty())
        {
            return Some(Hold::Unreadable(why.clone()));
        }
        match brake(Removals { known, named, folder, confirmed }) {
            Some(Hold::Brake { apps, cause }) => {
                self.braked.extend(apps.iter().cloned());
                let cause = group.cause(cause);
                self.brake_cause.clone_from(&cause);
                return Some(Hold::Brake { apps, cause });
            }
            Some(hold) => return Some(hold),
            None if gone.is_empty() => return None,
            None => {}
        }
        if gone.iter().any(|app| self.braked.contains(app)) {
            return Some(Hold::Brake { apps: gone, cause: self.brake_cause.clone() });
        }
        let mut wrong = files.wrong.iter().filter(|(file, _)| group.has(file));
        wrong.next().map(|(_, problem)| Hold::Unreadable(problem.clone()))
    }
}

/// Whether something else is wanted of an app, or its secrets come from elsewhere.
fn is_changed(before: &Desired, after: &Desired, name: &AppName) -> bool {
    before.want(name) != after.want(name)
        || before.secrets != after.secrets
            && after.app(name).is_some_and(|app| app.spec.secrets().next().is_some())
}

/// What is held back, in one: the brake's share first, because a person can let it pass.
fn together(holds: Vec<Hold>) -> Option<Hold> {
    let (mut braked, mut causes, mut unread) = (Vec::new(), Vec::new(), Vec::new());
    for hold in holds {
        match hold {
            Hold::Brake { apps, cause } => {
                braked.extend(apps);
                if !causes.contains(&cause) {
                    causes.push(cause);
                }
            }
            Hold::Unreadable(why) if unread.contains(&why) => {}
            Hold::Unreadable(why) => unread.push(why),
        }
    }
    if !braked.is_empty() {
        braked.sort();
        return Some(Hold::Brake { apps: braked, cause: causes.join("; ") });
    }
    (!unread.is_empty()).then(|| Hold::Unreadable(unread.join("; ")))
}

/// An app that came from a source that was not read yet is not taken over by another source: both
/// may name it (fault W11).
fn keep_doubtful(
    snapshot: &Snapshot,
    apps: &mut BTreeMap<AppName, Want>,
    last_good: impl Fn(&AppName) -> Option<Arc<App>>,
) {
    let unread: Vec<_> = snapshot.parts.iter().filter(|part| !part.is_read).collect();
    if unread.is_empty() {
        return;
    }
    for (name, want) in apps {
        let Some(good) = last_good(name) else { continue };
        let Some(part) = unread.iter().find(|part| part.has(&good.origin.file)) else { continue };
        let why = part.error.as_deref().unwrap_or("it was not read yet");
        let problem = format!(
            "`{name}` came from {} and is defined elsewhere now; which one counts is not known: {why}",
            part.name
        );
        *want = Want::Invalid { last_good: Some(good), problem };
    }
}

/// What is said about files of a repository names the commit.
fn name_commits(
    snapshot: &Snapshot,
    diagnostics: &mut [Diagnostic],
    apps: &mut BTreeMap<AppName, Want>,
) {
    let name = |text: &mut String| {
        for part in &snapshot.parts {
            if let Some(named) = part.with_commit(text) {
                *text = named;
            }
        }
    };
    for diagnostic in diagnostics {
        name(&mut diagnostic.file);
        name(&mut diagnostic.message);
    }
    for want in apps.values_mut() {
        if let Want::Invalid { problem, .. } = want {
            name(problem);
        }
    }
}

/// A file from which an app came is there with nothing in it. Nobody removes an app so on purpose;
/// full disks and interrupted saves do (faults D42, W05).
fn emptied(file: &str, app: &AppName) -> Diagnostic {
    let message = format!("the file is empty, and the app `{app}` came from it");
    let mut flaw = Diagnostic::of_file(file, "manifest.empty", &message);
    flaw.help = Some("write it again, or remove the file to remove the app".to_owned());
    flaw.app = Some(app.clone());
    flaw
}

/// Reads files, many of them on several cores.
fn read_all(files: &[(&str, &[u8], &Digest)]) -> Vec<Arc<FileReading>> {
    let read =
        |(path, bytes, _): &(&str, &[u8], &Digest)| Arc::new(manifest::read_file(path, bytes));
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = files.len().div_ceil(cores).max(FILES_A_THREAD);
    if files.len() <= share {
        return files.iter().map(read).collect();
    }
    std::thread::scope(|scope| {
        let parts = files.chunks(share);
        let parts =
            parts.map(|part| scope.spawn(move || part.iter().map(read).collect::<Vec<_>>()));
        let parts: Vec<_> = parts.collect();
        let join = |part: ScopedJoinHandle<'_, _>| part.join().unwrap_or_else(|p| resume_unwind(p));
        parts.into_iter().flat_map(join).collect()
    })
}
