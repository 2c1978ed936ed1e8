//! What is kept of an app: its aliases, and the versions that are frozen.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use serde::{Deserialize, Serialize};

use super::{Error, Key, Query, Store, What};
use crate::model::Digest;

/// What is kept of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRecord {
    /// The project.
    pub project_id: String,
    /// The app.
    pub app_name: String,
    /// Names for versions.
    #[serde(default)]
    pub aliases: BTreeMap<String, String>,
    /// The versions that may not be changed.
    #[serde(default)]
    pub frozen: BTreeSet<String>,
}

impl Store {
    /// What is kept of an app.
    pub fn app(&self, project: &str, app: &str) -> AppRecord {
        let found = self.apps().get(&(project.to_owned(), app.to_owned())).cloned();
        let (project_id, app_name) = (project.to_owned(), app.to_owned());
        found.unwrap_or_else(|| AppRecord { project_id, app_name, ..AppRecord::default() })
    }

    /// Lets an alias stand for a version. What it stood for before is answered.
    pub fn set_alias(
        &self,
        (project, app): (&str, &str),
        alias: &str,
        version: &str,
    ) -> Result<Option<String>, Error> {
        let _project = self.lock(project);
        let (alias, before) = self.alias_for((project, app), alias, version)?;
        let mut record = self.app(project, app);
        record.aliases.insert(alias.clone(), version.to_owned());
        self.keep(record)?;
        if before.as_deref() != Some(version) {
            self.tell_alias((project, app), alias, (before.as_deref(), Some(version)));
        }
        Ok(before)
    }

    /// Removes an alias. What it stood for is answered.
    pub fn remove_alias(&self, (project, app): (&str, &str), alias: &str) -> Result<String, Error> {
        let _project = self.lock(project);
        let before = self.removable_alias((project, app), alias)?;
        let mut record = self.app(project, app);
        record.aliases.remove(alias);
        self.keep(record)?;
        self.tell_alias((project, app), alias.to_owned(), (Some(&before), None));
        Ok(before)
    }

    fn tell_alias(
        &self,
        (project, app): (&str, &str),
        alias: String,
        (before, after): (Option<&str>, Option<&str>),
    ) {
        let [before, after] = [before, after].map(|version| version.map(str::to_owned));
        let (project, app) = (project.to_owned(), app.to_owned());
        self.tell(What::Alias { project, app, alias, before, after }, self.now());
    }

    /// Freezes a version, or lets it be changed again. Whether that is new.
    pub fn freeze(
        &self,
        (project, app): (&str, &str),
        version: &str,
        is_frozen: bool,
    ) -> Result<bool, Error> {
        let _project = self.lock(project);
        let is_new = self.freezable((project, app), version, is_frozen)?;
        if is_new {
            let mut record = self.app(project, app);
            if is_frozen {
                record.frozen.insert(version.to_owned());
            } else {
                record.frozen.remove(version);
            }
            self.keep(record)?;
        }
        Ok(is_new)
    }

    /// Whether the version of a model is frozen.
    pub fn is_frozen(&self, key: &Key) -> bool {
        let apps = self.apps();
        let record = apps.get(&(key.project.clone(), key.app.clone()));
        record.is_some_and(|record| record.frozen.contains(&key.version))
    }

    /// Whether nothing else is called as the version of a model is.
    pub(super) fn check_alias(&self, key: &Key) -> Result<(), Error> {
        let apps = self.apps();
        let record = apps.get(&(key.project.clone(), key.app.clone()));
        if record.is_some_and(|record| record.aliases.contains_key(&key.version)) {
            let detail = format!("`{}` is an alias of this app: upload a version", key.version);
            return Err(Error::Conflict(detail));
        }
        Ok(())
    }

    /// Whether an app has a version of this name.
    pub fn has_version(&self, project: &str, app: &str, version: &str) -> bool {
        let [project, app, version] = [project, app, version].map(|name| Some(name.to_owned()));
        let query = Query { project, app, version, limit: Some(1), ..Query::default() };
        0 < self.list(&query).total
    }

    /// Whether what is kept of an app could be read. As long as it can't, nobody knows what is frozen,
    /// and what would be written in its place would lose it.
    pub(super) fn check_app(&self, project: &str, app: &str) -> Result<(), Error> {
        let name = app_file(project, app);
        let lost = self.lost_apps.lock().unwrap_or_else(PoisonError::into_inner);
        if !lost.contains(&name) {
            return Ok(());
        }
        Err(Error::Conflict(format!(
            "what is kept of {project}/{app} can't be read: put `.store/apps/{name}` back from a backup, or remove it to go on without its aliases and frozen versions, and start Berth again"
        )))
    }

    fn keep(&self, record: AppRecord) -> Result<(), Error> {
        self.check_app(&record.project_id, &record.app_name)?;
        let names = (record.project_id.clone(), record.app_name.clone());
        self.write_app(&record).map_err(Error::disk("the app can't be written"))?;
        self.apps().insert(names, record);
        self.figures.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Where what is kept of an app is.
    pub(super) fn app_record(&self, (project, app): (&str, &str)) -> PathBuf {
        self.own("apps").join(app_file(project, app))
    }

    pub(super) fn write_app(&self, record: &AppRecord) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(record)?;
        text.push(b'\n');
        let path = self.app_record((&record.project_id, &record.app_name));
        self.replace(&self.own("apps"), &path, &text)
    }

    /// Gives a file of a folder a new text, that lasts; or leaves it as it was.
    pub(super) fn replace(&self, folder: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
        let new = self.own("uploads").join(format!("text-{}", self.number()));
        let old = self.disk.read(path).ok();
        let written = self.disk.write_file(&new, text);
        if let Err(error) = written.and_then(|()| self.disk.rename(&new, path)) {
            let _ = self.disk.remove_file(&new);
            return Err(error);
        }
        self.disk.sync_dir(folder).inspect_err(|_| {
            // What was not made to last is not said to be there.
            let back = old.map(|old| self.disk.write_file(&new, &old));
            let _ = match back {
                Some(Ok(())) => self.disk.rename(&new, path),
                Some(Err(error)) => Err(error),
                None => self.disk.remove_file(path),
            };
        })
    }

    /// Reads what is kept of all apps.
    pub(super) fn load_apps(&self) -> io::Result<()> {
        let folder = self.own("apps");
        for name in self.disk.list(&folder)? {
            let bytes = self.disk.read(&folder.join(&name))?;
            match serde_json::from_slice::<AppRecord>(&bytes) {
                Ok(record) => {
                    let names = (record.project_id.clone(), record.app_name.clone());
                    self.apps().insert(names, record);
                }
                Err(error) => {
                    tracing::error!(file = ?name, %error, "what is kept of an app makes no sense: its versions can't be changed until it is put back or removed");
                    let mut lost = self.lost_apps.lock().unwrap_or_else(PoisonError::into_inner);
                    lost.insert(name.to_string_lossy().into_owned());
                }
            }
        }
        Ok(())
    }
}

/// What the file with what is kept of an app is called.
fn app_file(project: &str, app: &str) -> String {
    format!("{}.json", Digest::of_value(&(project, app)).short(32))
}
