//! What is in the store, in memory.

use std::{
    borrow::Borrow,
    cmp::Ordering as Order,
    collections::{BTreeMap, BTreeSet},
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
pub(super) struct Index(RwLock<BTreeSet<Row>>, AtomicU64);

/// A model, by its names: they are kept once.
#[derive(Debug)]
struct Row(Arc<Entry>);

impl Borrow<Key> for Row {
    fn borrow(&self) -> &Key {
        &self.0.key
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Row {}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Order {
        self.0.key.cmp(&other.0.key)
    }
}

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
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeSet<Row>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.read().get(key).map(|row| Arc::clone(&row.0))
    }

    /// A number that is another one after each change.
    pub(super) fn stamp(&self) -> u64 {
        self.1.load(Ordering::Acquire)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeSet<Row>> {
        let all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        self.1.fetch_add(1, Ordering::AcqRel);
        all
    }

    /// Puts an entry in the place of what was there.
    pub(super) fn put(&self, entry: Arc<Entry>) {
        self.write().replace(Row(entry));
    }

    /// Changes several at once; none is one that is gone.
    pub(super) fn change(&self, changes: BTreeMap<Key, Option<Arc<Entry>>>) {
        let mut all = self.write();
        for (key, entry) in changes {
            match entry {
                Some(entry) => drop(all.replace(Row(entry))),
                None => drop(all.take(&key)),
            }
        }
    }

    pub(super) fn remove(&self, key: &Key) {
        self.write().remove(key);
    }

    pub(super) fn fill(&self, entries: Vec<Entry>) {
        let all = entries.into_iter().map(|entry| Row(Arc::new(entry))).collect();
        *self.write() = all;
    }

    /// Everything, as it is now.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        self.read().iter().map(|row| Arc::clone(&row.0)).collect()
    }

    /// Whether a model has this content.
    pub(super) fn has_content(&self, digest: &Digest) -> bool {
        self.has(|entry| entry.sha256.as_ref() == Some(digest))
    }

    /// Whether a model is so.
    pub(super) fn has(&self, is_so: impl Fn(&Entry) -> bool) -> bool {
        self.read().iter().any(|row| is_so(&row.0))
    }

    /// The first model that is so.
    pub(super) fn find(&self, is_so: impl Fn(&Entry) -> bool) -> Option<Arc<Entry>> {
        self.read().iter().find(|row| is_so(&row.0)).map(|row| Arc::clone(&row.0))
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
        for Row(entry) in all.range::<Key, _>((Bound::Included(&first), Bound::Unbounded)) {
            let key = &entry.key;
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
    let has = |text: &str| text.to_lowercase().contains(word);
    let Key { project, app, version, model } = &entry.key;
    [project.as_str(), app, version, model].into_iter().chain(entry.filename()).any(has)
        || ["description", "framework"]
            .iter()
            .any(|name| entry.said(name).is_some_and(|it| has(&it)))
}
