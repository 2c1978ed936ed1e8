//! From what is asked for to a version: as it is, an alias, the latest, or the newest of a range.

use std::sync::Arc;

use super::{
    Error, Key, Query, Store,
    entry::Entry,
    version::{self, Range},
};

/// The alias that always is there.
pub(super) const LATEST: &str = "latest";

/// A model that was found.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The model.
    pub entry: Arc<Entry>,
    /// Whether it was asked for by something else than its version.
    pub is_other: bool,
}

impl Store {
    /// Finds a model. A version that is there is meant as it is; else aliases count, and what
    /// begins with `@`, or all if `is_range`, may also be a range.
    pub fn resolve(&self, key: &Key, is_range: bool) -> Result<Resolved, Error> {
        if let Some(entry) = self.index.get(key) {
            return Ok(Resolved { entry, is_other: false });
        }
        self.resolve_word(key, &key.version, is_range)
    }

    /// Finds a model by what is asked for instead of a version: `@^1.2`, `latest`, `stable`.
    pub fn resolve_word(&self, key: &Key, word: &str, is_range: bool) -> Result<Resolved, Error> {
        let (word, is_range) = match word.strip_prefix('@') {
            Some(rest) => (rest, true),
            None => (word, is_range),
        };
        let found = self.app(&key.project, &key.app).aliases.get(word).cloned();
        if let Some(version) = found {
            let key = Key { version, ..key.clone() };
            return Ok(Resolved { entry: self.get(&key)?, is_other: true });
        }
        let mut versions = self.models_of(&key.project, &key.app);
        versions.retain(|entry| entry.key.model == key.model);
        let entry = if word == LATEST {
            newest(versions)
        } else {
            let range = Range::parse(word).filter(|_| is_range);
            let range = range.ok_or_else(|| Error::not_found(key))?;
            versions.retain(|entry| range.has(&entry.key.version));
            versions.pop()
        };
        let entry = entry.ok_or_else(|| Error::not_found(key))?;
        Ok(Resolved { entry, is_other: true })
    }

    /// The newest version of an app.
    pub fn latest(&self, project: &str, app: &str) -> Option<String> {
        newest(self.models_of(project, app)).map(|entry| entry.key.version.clone())
    }

    /// The models of an app, by version.
    pub(super) fn models_of(&self, project: &str, app: &str) -> Vec<Arc<Entry>> {
        let (project, app) = (Some(project.to_owned()), Some(app.to_owned()));
        let mut all = self.list(&Query { project, app, ..Query::default() }).entries;
        all.sort_by(|a, b| version::order(&a.key.version, &b.key.version));
        all
    }
}

/// The last release; where nothing is named as releases are, what came last.
pub(super) fn newest(mut versions: Vec<Arc<Entry>>) -> Option<Arc<Entry>> {
    let is_release = |entry: &Arc<Entry>| version::is_release(&entry.key.version);
    if versions.iter().any(is_release) {
        versions.retain(is_release);
    } else {
        versions.sort_by_key(|entry| entry.modified);
    }
    versions.pop()
}
