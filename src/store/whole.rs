//! Versions that come as a whole: what all of one will be is written down before the first of its
//! files can be seen, so that after a kill, or where a later file is refused, nobody takes a part of
//! it for the version.
//!
//! `{root}/.store/coming/{digest of the version's names}` is there until all of it is.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{Error, Store, entry::Entry, make, name::Key};
use crate::model::Digest;

/// The folder of what is on its way.
const COMING: &str = "coming";

/// A version, and what all of it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Whole {
    project: String,
    app: String,
    version: String,
    files: BTreeMap<String, Digest>,
}

/// Versions that are on their way, or of which only a part came.
#[derive(Debug, Default)]
pub(super) struct Coming(Mutex<Vec<Whole>>);

impl Coming {
    fn lock(&self) -> MutexGuard<'_, Vec<Whole>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Whole {
    fn is_of(&self, (project, app, version): (&str, &str, &str)) -> bool {
        (self.project.as_str(), self.app.as_str(), self.version.as_str()) == (project, app, version)
    }

    /// Whether the store has all of it.
    fn is_there<'a>(&self, mut all: impl Iterator<Item = &'a Entry> + Clone) -> bool {
        self.files.iter().all(|(name, digest)| {
            all.clone().any(|it| it.key.model == *name && it.sha256.as_ref() == Some(digest))
        }) || all.next().is_none()
    }
}

impl Store {
    /// Says what all of a version is: none of it is mounted before all of that is there.
    pub fn expect_whole(
        &self,
        (project, app, version): (&str, &str, &str),
        files: BTreeMap<String, Digest>,
    ) -> Result<(), Error> {
        let [project, app, version] = [project, app, version].map(str::to_owned);
        let whole = Whole { project, app, version, files };
        let failed = Error::disk("what is to come can't be written down");
        self.write_whole(&whole).map_err(failed)?;
        let mut coming = self.coming.lock();
        coming.retain(|it| self.whole_file(it) != self.whole_file(&whole));
        coming.push(whole);
        Ok(())
    }

    /// Forgets what all of a version is, once it is there, or nothing of it is.
    pub fn settle_whole(&self, of: (&str, &str, &str)) {
        let Some(whole) = self.coming.lock().iter().find(|it| it.is_of(of)).cloned() else {
            return;
        };
        let all = self.models_of(of.0, of.1);
        if !whole.is_there(all.iter().map(|it| &**it).filter(|it| it.key.version == of.2)) {
            return;
        }
        // Left over, it is found to be there at the next start.
        let _ = self.disk.remove_file(&self.whole_file(&whole));
        self.coming.lock().retain(|it| *it != whole);
    }

    /// Whether only a part of a version came.
    pub(super) fn is_part(&self, of: (&str, &str, &str)) -> bool {
        self.settle_whole(of);
        self.coming.lock().iter().any(|it| it.is_of(of))
    }

    /// Reads what was on its way, and forgets what has come.
    pub(super) fn recover_whole(&self) {
        let folder = self.own(COMING);
        for name in self.disk.list(&folder).unwrap_or_default() {
            let text = self.disk.read(&folder.join(name)).unwrap_or_default();
            if let Ok(whole) = serde_json::from_slice::<Whole>(&text) {
                self.coming.lock().push(whole);
            }
        }
        let all = self.coming.lock().clone();
        for Whole { project, app, version, .. } in &all {
            self.settle_whole((project, app, version));
        }
    }

    /// The model of this key is gone.
    pub(super) fn without(&self, key: &Key) {
        self.settle_whole((&key.project, &key.app, &key.version));
    }

    fn whole_file(&self, whole: &Whole) -> PathBuf {
        let names = [&whole.project, &whole.app, &whole.version];
        self.own(COMING).join(Digest::of_value(&names).as_str())
    }

    fn write_whole(&self, whole: &Whole) -> io::Result<()> {
        let (disk, folder) = (&*self.disk, self.own(COMING));
        make(disk, &folder)?;
        let new = self.own("uploads").join(format!("coming-{}", self.number()));
        let text = serde_json::to_vec(whole).unwrap_or_default();
        let written = disk
            .write_file(&new, &text)
            .and_then(|()| disk.rename(&new, &self.whole_file(whole)))
            .and_then(|()| disk.sync_dir(&folder));
        written.inspect_err(|_| drop(disk.remove_file(&new)))
    }
}
