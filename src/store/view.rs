//! Versions as apps mount them: a folder with the files under their own names, each of which is
//! another name of what is stored.
//!
//! ```text
//! {root}/.store/mounts/{digest of the list}/{model_name}   a version
//! {root}/.store/mounts/{digest of the file}/model          one file
//! {root}/.store/mounts/was-{digest}-{number}/              one with a content that has rotted
//! ```
//!
//! # Guarantees
//! - A view never changes once it has its name: what is replaced, deleted or swept in the store
//!   stays in it, and takes room, until no container is left that mounts it.
//! - Half a view is never in its place: it gets its name, and loses it, all at once.
//! - Nothing is copied.
//! - What is in quarantine, or blocked, is put into no view, and no view with it is mounted anew. Once
//!   the content is there again, the view is made again beside, and takes its place ([`super::mend`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Error, OWN, Store, entry::Entry, hub::shown, make, name_of, resolve::LATEST, version};
use crate::clock::Clock;
use crate::model::{Digest, ModelRef, MountedModel, Timestamp, VersionRange};

/// The folder of views.
pub(super) const MOUNTS: &str = "mounts";
/// What a view is called whose place another has taken; its digest and a number follow.
pub(super) const WAS: &str = "was-";
/// What a view that is being made is called.
const DRAFT: &str = "new-";
/// What the only file of a view is called.
const ONLY: &str = "model";
/// How long a view is kept that no container mounts: one may be about to be made.
const GRACE: Duration = Duration::from_hours(1);

/// What a reference means now.
#[derive(Clone, Debug)]
pub struct View {
    /// The version.
    pub version: String,
    /// The digest of the file, or of the list of files.
    pub digest: Digest,
    /// When the last of its files came.
    pub changed: Timestamp,
    files: BTreeMap<String, Arc<Entry>>,
}

/// When views were last about to be mounted, since the start.
#[derive(Debug, Default)]
pub(super) struct Views(Mutex<BTreeMap<Digest, Timestamp>>);

impl Views {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    /// The models in it.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.files.values()
    }
}

impl Store {
    /// The version that a reference means now. A version that is there is meant as it is; then
    /// aliases count, `latest`, and ranges.
    pub fn view(&self, wanted: &ModelRef) -> Result<View, Error> {
        let ModelRef { project, app, version: word, file } = wanted;
        let mut all = self.models_of(project, app);
        let named = |entry: &Arc<Entry>, file: &String| {
            entry.key.model == *file || entry.key.model == name_of(file)
        };
        if all.is_empty() {
            return Err(Error::Nothing(format!("the store has no models {project}/{app}")));
        }
        let is_version = |word: &str| all.iter().any(|entry| entry.key.version == *word);
        let absent = || Error::Nothing(format!("{project}/{app} has no version `{word}`"));
        let version = if is_version(word) {
            word.clone()
        } else if let Some(version) = self.app(project, app).aliases.get(word) {
            version.clone()
        } else {
            let fits = |entry: &&Arc<Entry>| file.as_ref().is_none_or(|it| named(entry, it));
            let fitting = all.iter().filter(fits).cloned().collect();
            let found = match word.as_str() {
                LATEST => super::resolve::newest(fitting),
                word => highest(word, fitting),
            };
            found.ok_or_else(absent)?.key.version.clone()
        };
        if file.is_none() && self.is_part((project, app, &version)) {
            let detail = format!(
                "only a part of {project}/{app}@{version} came: fetch it again, or delete that part"
            );
            return Err(Error::Conflict(detail));
        }
        all.retain(|entry| entry.key.version == version);
        all.retain(|entry| file.as_ref().is_none_or(|it| named(entry, it)));
        if all.is_empty() {
            let it = file.as_deref().map_or_else(String::new, |file| format!(" a file `{file}`"));
            return Err(Error::Nothing(format!("{project}/{app}@{version} does not have{it}")));
        }
        of(version, file.is_some(), all)
    }

    /// Where the file, or the folder, of a mounted model is.
    pub fn view_path(&self, mounted: &MountedModel) -> PathBuf {
        self.settings.root.join(below(mounted))
    }

    /// Whether a view may be given to containers: nothing in it is in quarantine or blocked, and its
    /// files can lie beside each other.
    pub fn check_view(&self, view: &View) -> Result<(), Error> {
        for entry in view.files.values() {
            self.check_served(entry).map_err(|error| {
                let named = |why: &str| format!("{}: {why}", entry.key);
                match error {
                    Error::Rotten(why) => Error::Rotten(named(&why)),
                    Error::Blocked(why) => Error::Blocked(named(&why)),
                    other => other,
                }
            })?;
        }
        let paths: BTreeSet<_> = view.files.values().map(|entry| path_of(entry)).collect();
        for path in &paths {
            let folder = format!("{path}/");
            let next = paths.range(folder.clone()..).next();
            if next.is_some_and(|next| next.starts_with(&folder)) {
                let detail = format!(
                    "`{path}` is a file, and others are in a folder of that name: rename it"
                );
                return Err(Error::Conflict(detail));
            }
        }
        Ok(())
    }

    /// Puts the view of a mounted model into its place, if it is not there.
    ///
    /// # Errors
    /// When what was found before is not what is there now, or may not be given to anybody.
    pub fn put_view(&self, mounted: &MountedModel) -> Result<(), Error> {
        let folder = self.own(MOUNTS).join(mounted.digest.as_str());
        let is_there = self.has_view(&folder, &mounted.digest);
        if is_there {
            self.mend_view(&folder)?;
        }
        let (project, app) = mounted.model.split_once('/').unwrap_or_default();
        let view = match self.view(&ModelRef {
            project: project.to_owned(),
            app: app.to_owned(),
            version: mounted.version.clone(),
            file: mounted.file.clone(),
        }) {
            Ok(view) if view.digest == mounted.digest => view,
            // What the store has let go of since is mounted as it was.
            _ if is_there => return Ok(()),
            Ok(_) => {
                let detail =
                    format!("{}@{} has changed this moment", mounted.model, mounted.version);
                return Err(Error::Conflict(detail));
            }
            Err(error) => return Err(error),
        };
        self.check_view(&view)?;
        if is_there {
            return Ok(());
        }
        self.make_view(&view, mounted, &folder)
    }

    fn make_view(&self, view: &View, mounted: &MountedModel, folder: &Path) -> Result<(), Error> {
        let draft = self.own(MOUNTS).join(format!("{DRAFT}{}", self.number()));
        let made = {
            let _no_sweep = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
            self.fill_view(view, mounted.file.is_some(), &draft)
        };
        let placed = made.and_then(|()| match self.disk.rename(&draft, folder) {
            // Somebody else was faster.
            Err(_) if self.disk.stat(folder).is_ok() => {
                self.remove_view(&draft);
                Ok(())
            }
            renamed => renamed.and_then(|()| self.disk.sync_dir(&self.own(MOUNTS))),
        });
        placed.map_err(|error| {
            self.remove_view(&draft);
            Error::disk("the files can't be put where they are mounted from")(error)
        })
    }

    /// Whether a view is there. From now on it is about to be mounted.
    fn has_view(&self, folder: &Path, digest: &Digest) -> bool {
        let _no_sweep = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
        self.views.lock().insert(digest.clone(), Clock::System.now());
        self.disk.stat(folder).is_ok_and(|stat| stat.is_folder)
    }

    fn fill_view(&self, view: &View, is_file: bool, draft: &Path) -> io::Result<()> {
        make(&*self.disk, &self.own(MOUNTS))?;
        self.disk.create_dir(draft)?;
        let mut folders = BTreeSet::from([draft.to_owned()]);
        for entry in view.files.values() {
            let blob = entry.sha256.as_ref().filter(|_| entry.is_ours).map(|it| self.blob(it));
            let path = path_of(entry);
            let path = if is_file { ONLY } else { path.as_str() };
            let mut to = draft.to_owned();
            for part in path.split('/') {
                if folders.insert(to.clone()) {
                    make(&*self.disk, &to)?;
                }
                to.push(part);
            }
            let linked = blob.map(|blob| self.disk.link(&blob, &to));
            match linked {
                Some(Ok(())) => {}
                _ => self.link_seen(entry, &to)?,
            }
        }
        folders.iter().rev().try_for_each(|folder| self.disk.sync_dir(folder))
    }

    /// Links the file that was looked at, and no other that is in its place by now.
    fn link_seen(&self, entry: &Entry, to: &Path) -> io::Result<()> {
        self.disk.link(&entry.file(), to)?;
        let stat = self.disk.stat(to)?;
        if entry.is_seen(&stat) && self.rotten(stat.inode).is_none() {
            return Ok(());
        }
        Err(io::Error::other(format!("{} has changed this moment", entry.key)))
    }

    /// Removes the views that none of these are, and nobody is about to mount. How many that were.
    pub fn sweep_views(&self, used: &BTreeSet<Digest>, now: Timestamp) -> usize {
        let folder = self.own(MOUNTS);
        let mut gone = 0;
        for name in self.disk.list(&folder).unwrap_or_default() {
            if digest_of(&name).is_some_and(|digest| used.contains(&digest)) {
                continue;
            }
            if let Some(aside) = self.take_view(&folder.join(&name), now) {
                self.remove_view(&aside);
                gone += 1;
            }
        }
        gone
    }

    /// Takes a view out of its place, all of it at once, unless it is about to be mounted.
    fn take_view(&self, folder: &Path, now: Timestamp) -> Option<PathBuf> {
        let _nobody_looks = self.sweeping.write().unwrap_or_else(PoisonError::into_inner);
        let mut views = self.views.lock();
        views.retain(|_, looked| now.since(*looked) < GRACE);
        let name = folder.file_name().and_then(|name| Digest::parse(name.to_str()?));
        let stat = self.disk.stat(folder).ok()?;
        let changed = Timestamp::from_millis(i64::try_from(stat.changed / 1_000_000).unwrap_or(0));
        if now.since(changed) < GRACE || name.is_some_and(|name| views.contains_key(&name)) {
            return None;
        }
        let aside = self.own(MOUNTS).join(format!("{DRAFT}{}", self.number()));
        self.disk.rename(folder, &aside).ok()?;
        self.disk.sync_dir(&self.own(MOUNTS)).ok()?;
        Some(aside)
    }

    /// Removes what a kill left of views that were being made.
    pub(super) fn recover_views(&self) {
        let folder = self.own(MOUNTS);
        for name in self.disk.list(&folder).unwrap_or_default() {
            if name.to_string_lossy().starts_with(DRAFT) {
                self.remove_view(&folder.join(name));
            }
        }
    }

    pub(super) fn remove_view(&self, folder: &Path) {
        for name in self.disk.list(folder).unwrap_or_default() {
            let path = folder.join(name);
            if self.disk.stat(&path).is_ok_and(|stat| stat.is_folder) {
                self.remove_view(&path);
            } else {
                let _ = self.disk.remove_file(&path);
            }
        }
        let _ = self.disk.remove_dir(folder);
    }
}

/// The digest of the view that a folder is, or was.
fn digest_of(name: &OsStr) -> Option<Digest> {
    let name = name.to_str()?;
    let was = name.strip_prefix(WAS).and_then(|rest| rest.split_once('-'));
    Digest::parse(was.map_or(name, |(digest, _)| digest))
}

/// The path at which a file is mounted: `onnx%2Fmodel.onnx` is a file in a folder. It is the one at
/// which the Hub shows it, as long as that stays below the folder.
fn path_of(entry: &Entry) -> String {
    let path = shown(entry);
    let is_path = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let is_path = is_path && !path.contains(char::is_control);
    if is_path { path } else { entry.key.model.clone() }
}

/// Where a mounted model is, below the root.
pub fn below(mounted: &MountedModel) -> PathBuf {
    let folder = PathBuf::from(OWN).join(MOUNTS).join(mounted.digest.as_str());
    if mounted.file.is_some() { folder.join(ONLY) } else { folder }
}

/// The highest version of a range.
fn highest(word: &str, mut all: Vec<Arc<Entry>>) -> Option<Arc<Entry>> {
    let plain = version::Range::parse(word);
    let wide = VersionRange::parse(word).and_then(Result::ok);
    let fits = |version: &str| match (&wide, &plain) {
        (Some(range), _) => range.highest(std::iter::once(version)).is_some(),
        (None, Some(range)) => range.has(version),
        (None, None) => false,
    };
    all.retain(|entry| fits(&entry.key.version));
    all.pop()
}

fn of(version: String, is_file: bool, all: Vec<Arc<Entry>>) -> Result<View, Error> {
    let changed = all.iter().map(|entry| entry.modified).max().unwrap_or_default();
    let changed = Timestamp::from_millis(i64::try_from(changed / 1_000_000).unwrap_or_default());
    let mut digests = BTreeMap::new();
    let mut files = BTreeMap::new();
    for entry in all {
        let Some(digest) = entry.sha256.clone() else {
            let detail = format!("{} is being read: its digest is not known yet", entry.key);
            return Err(Error::Conflict(detail));
        };
        digests.insert(entry.key.model.clone(), digest);
        files.insert(entry.key.model.clone(), entry);
    }
    let only = digests.values().next().filter(|_| is_file).cloned();
    let digest = only.unwrap_or_else(|| Digest::of_value(&digests));
    Ok(View { version, digest, changed, files })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::entry::Place;
    use crate::store::{Key, disk::Stat};

    #[test]
    fn names_stand_for_paths_that_stay_below() {
        let path_of = |name: &str, said: &str| {
            let stat = Stat {
                is_folder: false,
                is_file: true,
                size: 1,
                inode: (1, 1),
                links: 1,
                modified: 0,
                changed: 0,
                is_writable: false,
            };
            let key = Key::new("p", "a", "1", name).unwrap();
            let metadata = serde_json::json!({ "original_filename": said });
            let metadata = metadata.as_object().unwrap().clone();
            let place = Place::Other(Box::new(("/f".into(), "/f/m".into())));
            path_of(&Entry::new(key, place, &stat, None, &metadata))
        };
        let long = format!("{}weights.bin", "deep folder/".repeat(20));
        for path in
            ["config.json", "onnx/model.onnx", "50%/a", ".gitattributes", "@x", " a/b ", &long]
        {
            assert_eq!(path_of(&name_of(path), path), path);
        }
        for odd in ["%2E.%2Fx", "a%2F..%2Fb", "%2Fetc", "a%2F", "a%00", "%ff"] {
            assert_eq!(path_of(odd, "../../etc/passwd"), odd, "it names a file of that name");
        }
    }
}
