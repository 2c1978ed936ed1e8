//! A version of the store as manifests are made of it, and how one is found by a tag.

use std::{collections::BTreeSet, sync::Arc};

use super::kinds;
use crate::inspect::Report;
use crate::model::{Digest, ModelRef};
use crate::store::{Entry, Error, Query, Store, View, shown};

/// A version with its files.
pub(super) struct Version {
    pub(super) app: String,
    pub(super) name: String,
    /// By path.
    pub(super) files: Vec<File>,
}

/// A file of it.
pub(super) struct File {
    pub(super) path: String,
    /// What it was called before it came.
    pub(super) called: Option<String>,
    pub(super) sha256: Digest,
    pub(super) size: u64,
    entry: Arc<Entry>,
    store: Arc<Store>,
}

impl File {
    /// What is inside; it is looked into now, if nobody has.
    pub(super) fn report(&self) -> Option<Report> {
        self.store.report(&self.entry).or_else(|| {
            if self.entry.rotten.is_none() {
                self.store.inspect(&self.entry.key, false).ok()?;
            }
            self.store.report(&self.entry)
        })
    }
}

impl Version {
    pub(super) fn of(store: &Arc<Store>, app: &str, view: &View) -> Self {
        let file = |entry: &Arc<Entry>| {
            Some(File {
                path: shown(entry),
                called: entry.filename().map(ToOwned::to_owned),
                sha256: entry.sha256.clone()?,
                size: entry.size,
                entry: Arc::clone(entry),
                store: Arc::clone(store),
            })
        };
        let mut files: Vec<_> = view.entries().filter_map(file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Self { app: app.to_owned(), name: view.version.clone(), files }
    }
}

/// What a word means: a version, an alias, the latest, a range, or the tag of a version.
pub(super) fn find(store: &Store, repo: (&str, &str), tag: &str) -> Result<View, Error> {
    let meant = |version: &str| {
        store.view(&ModelRef {
            project: repo.0.to_owned(),
            app: repo.1.to_owned(),
            version: version.to_owned(),
            file: None,
        })
    };
    let unknown = match meant(tag) {
        Err(error @ Error::Nothing(_)) => error,
        found => return found,
    };
    let of_tag = names(store, repo).into_iter().find(|name| kinds::tag_of(name) == tag);
    of_tag.map_or(Err(unknown), |name| meant(&name))
}

/// The versions of a repository.
pub(super) fn names(store: &Store, (project, app): (&str, &str)) -> BTreeSet<String> {
    let (project, app) = (Some(project.to_owned()), Some(app.to_owned()));
    let all = store.list(&Query { project, app, ..Query::default() }).entries;
    all.iter().map(|entry| entry.key.version.clone()).collect()
}

/// The tags of a repository, in their order.
pub(super) fn tags(store: &Store, (project, app): (&str, &str)) -> BTreeSet<String> {
    let mut all: BTreeSet<_> =
        names(store, (project, app)).iter().map(|name| kinds::tag_of(name)).collect();
    all.extend(store.app(project, app).aliases.into_keys().filter(|name| kinds::is_tag(name)));
    if !all.is_empty() {
        all.insert("latest".to_owned());
    }
    all
}

/// The repositories of some projects, in their order; none is every project.
pub(super) fn repositories(
    store: &Store,
    projects: Option<Vec<String>>,
) -> BTreeSet<(String, String)> {
    let all = store.list(&Query { projects, ..Query::default() }).entries;
    all.iter().map(|entry| (entry.key.project.clone(), entry.key.app.clone())).collect()
}

/// The repository of a name. Clients write names small, whatever they are called here: where only
/// one is meant so, that one is.
pub(super) fn repository(
    store: &Store,
    (project, app): (&str, &str),
    projects: Option<Vec<String>>,
) -> Option<(String, String)> {
    let exact = Query {
        project: Some(project.to_owned()),
        app: Some(app.to_owned()),
        projects: projects.clone(),
        limit: Some(1),
        ..Query::default()
    };
    if 0 < store.list(&exact).total {
        return Some((project.to_owned(), app.to_owned()));
    }
    let is_meant =
        |(p, a): &(String, String)| p.eq_ignore_ascii_case(project) && a.eq_ignore_ascii_case(app);
    let mut meant = repositories(store, projects).into_iter().filter(is_meant);
    meant.next().filter(|_| meant.next().is_none())
}
