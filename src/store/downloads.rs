//! How often models were downloaded, by version: in memory, and in a file that is written now and
//! then. A kill may cost what was counted since; nothing depends on it.
//!
//! A download is counted when a file is asked for from its beginning, not for each of its parts.

use std::{
    collections::BTreeMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{Key, Store};

/// The file.
const COUNTS: &str = "downloads.json";

/// Project and app, then the version; an empty one stands for files that were asked for by commit.
type Counts = BTreeMap<(String, String), BTreeMap<String, u64>>;

#[derive(Debug, Default)]
pub(super) struct Downloads(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    is_changed: bool,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
struct Line {
    project: String,
    app: String,
    versions: BTreeMap<String, u64>,
}

impl Downloads {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Counts a download of a model.
    pub fn count_download(&self, key: &Key) {
        let Key { project, app, version, .. } = key;
        // Clients of the Hub ask by commit.
        let is_version = self.has_version(project, app, version);
        let version = if is_version { version.as_str() } else { "" };
        let mut state = self.downloads.lock();
        let of_app = state.counts.entry((project.clone(), app.clone())).or_default();
        *of_app.entry(version.to_owned()).or_default() += 1;
        state.is_changed = true;
    }

    /// How often files of a version were downloaded.
    pub fn downloads_of(&self, key: &Key) -> u64 {
        let state = self.downloads.lock();
        let of_app = state.counts.get(&(key.project.clone(), key.app.clone()));
        of_app.and_then(|all| all.get(&key.version)).copied().unwrap_or(0)
    }

    /// How often files of an app were, of whatever version.
    pub fn all_downloads_of(&self, (project, app): (&str, &str)) -> u64 {
        let state = self.downloads.lock();
        let of_app = state.counts.get(&(project.to_owned(), app.to_owned()));
        of_app.map_or(0, |all| all.values().sum())
    }

    /// What was counted of an app is that of another one.
    pub(super) fn move_downloads(&self, from: &(String, String), to: &(String, String)) {
        let mut state = self.downloads.lock();
        if let Some(counts) = state.counts.remove(from) {
            state.counts.insert(to.clone(), counts);
            state.is_changed = true;
        }
    }

    /// Writes down what was counted; what is about apps that are gone is forgotten.
    pub fn keep_downloads(&self) -> io::Result<()> {
        let mut state = self.downloads.lock();
        if !state.is_changed {
            return Ok(());
        }
        state.counts.retain(|(project, app), _| self.has_repo((project, app)));
        let line = |((project, app), versions): (&(String, String), &BTreeMap<String, u64>)| Line {
            project: project.clone(),
            app: app.clone(),
            versions: versions.clone(),
        };
        let text = serde_json::to_vec(&state.counts.iter().map(line).collect::<Vec<_>>())?;
        let new = self.own("uploads").join(format!("downloads-{}", self.number()));
        let written = self.disk.write_file(&new, &text);
        if let Err(error) = written.and_then(|()| self.disk.rename(&new, &self.own(COUNTS))) {
            let _ = self.disk.remove_file(&new);
            return Err(error);
        }
        state.is_changed = false;
        Ok(())
    }

    /// Reads what was counted. What makes no sense is begun anew.
    pub(super) fn load_downloads(&self) {
        let text = self.disk.read(&self.own(COUNTS)).unwrap_or_default();
        let lines: Vec<Line> = serde_json::from_slice(&text).unwrap_or_default();
        let counts = lines.into_iter().map(|line| ((line.project, line.app), line.versions));
        self.downloads.lock().counts = counts.collect();
    }
}
