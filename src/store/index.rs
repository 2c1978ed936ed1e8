//! What is in the store, in memory.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{entry::Entry, name::Key};
use crate::model::Digest;

/// Every model, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Index(RwLock<BTreeMap<Key, Arc<Entry>>>, AtomicU64);

/// What is wanted of a list.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only of this project, app, version.
    pub project: Option<String>,
    /// Only of this app.
    pub app: Option<String>,
    /// Only of this version.
    pub version: Option<String>,
    /// Only those whose names, description or framework hold all of these words.
    pub search: Option<String>,
    /// Only of these projects; none is every one.
    pub projects: Option<Vec<String>>,
    /// Only what comes after this one.
    pub after: Option<Key>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// A part of what is there.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The models.
    pub entries: Vec<Arc<Entry>>,
    /// How many there are in all.
    pub total: usize,
    /// Whether more follow.
    pub has_more: bool,
}

impl Index {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Key, Arc<Entry>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.read().get(key).cloned()
    }

    /// A number that is another one after each change.
    pub(super) fn stamp(&self) -> u64 {
        self.1.load(Ordering::Acquire)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Key, Arc<Entry>>> {
        let all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        self.1.fetch_add(1, Ordering::AcqRel);
        all
    }

    /// Puts an entry in the place of what was there.
    pub(super) fn put(&self, entry: Arc<Entry>) {
        self.write().insert(entry.key.clone(), entry);
    }

    /// Changes several at once; none is one that is gone.
    pub(super) fn change(&self, changes: BTreeMap<Key, Option<Arc<Entry>>>) {
        let mut all = self.write();
        for (key, entry) in changes {
            match entry {
                Some(entry) => all.insert(key, entry),
                None => all.remove(&key),
            };
        }
    }

    pub(super) fn remove(&self, key: &Key) {
        self.write().remove(key);
    }

    pub(super) fn fill(&self, entries: Vec<Entry>) {
        let all = entries.into_iter().map(|entry| (entry.key.clone(), Arc::new(entry))).collect();
        *self.write() = all;
    }

    /// Everything, as it is now.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.read().values().cloned().collect()
    }

    /// Whether a model has this content.
    pub(super) fn has_content(&self, digest: &Digest) -> bool {
        self.read().values().any(|entry| entry.sha256.as_ref() == Some(digest))
    }

    /// The models of a project.
    pub(super) fn of_project(&self, project: &str) -> Vec<Arc<Entry>> {
        self.list(&Query { project: Some(project.to_owned()), ..Query::default() }).entries
    }

    pub(super) fn list(&self, query: &Query) -> Page {
        let all = self.read();
        let names = [&query.project, &query.app, &query.version];
        let mut names = names.into_iter().map(|name| name.clone().unwrap_or_default());
        let mut next = || names.next().unwrap_or_default();
        let first = Key { project: next(), app: next(), version: next(), model: String::new() };
        let words = words(query.search.as_deref().unwrap_or_default());
        let mut page = Page::default();
        let limit = query.limit.unwrap_or(usize::MAX);
        for (key, entry) in all.range((Bound::Included(first), Bound::Unbounded)) {
            if is_past(query, key) {
                break;
            }
            if !is_in(query, key) || !words.iter().all(|word| holds(entry, word)) {
                continue;
            }
            page.total += 1;
            if query.after.as_ref().is_some_and(|after| key <= after) {
                continue;
            }
            if page.entries.len() < limit {
                page.entries.push(Arc::clone(entry));
            } else {
                page.has_more = true;
            }
        }
        page
    }
}

fn differs(asked: Option<&str>, name: &str) -> bool {
    asked.is_some_and(|asked| asked != name)
}

/// Whether nothing that is asked for can follow. Names are sorted one after the other.
fn is_past(query: &Query, key: &Key) -> bool {
    let asked = [&query.project, &query.app, &query.version];
    let names = [&key.project, &key.app, &key.version];
    let first = asked.into_iter().zip(names).find(|(asked, name)| asked.as_ref() != Some(name));
    first.is_some_and(|(asked, name)| asked.as_ref().is_some_and(|asked| asked < name))
}

fn is_in(query: &Query, key: &Key) -> bool {
    let Query { project, app, version, projects, .. } = query;
    let is_other = differs(project.as_deref(), &key.project)
        || differs(app.as_deref(), &key.app)
        || differs(version.as_deref(), &key.version);
    !is_other && projects.as_ref().is_none_or(|projects| projects.contains(&key.project))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_lowercase).collect()
}

fn holds(entry: &Entry, word: &str) -> bool {
    let said = |name| entry.metadata.get(name).and_then(serde_json::Value::as_str);
    let Key { project, app, version, model } = &entry.key;
    let named = [project.as_str(), app, version, model];
    let said = ["description", "framework", "original_filename"].into_iter().filter_map(said);
    named.into_iter().chain(said).any(|text| text.to_lowercase().contains(word))
}
