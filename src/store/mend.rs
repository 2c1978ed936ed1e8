//! Views with a content that has rotted: made again as soon as the content is there again.
//!
//! Containers that run have the folder that they were started with, so that one stays, under another
//! name, until none of them is left. Whoever mounts the view from then on gets the good content.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use super::{
    Error, Store, make,
    quarantine::Rotten,
    view::{MOUNTS, WAS},
};
use crate::model::Digest;

/// A file of a view, by its path below it, and what is wrong with it.
type Part = (PathBuf, Option<Rotten>);

impl Store {
    /// Makes a view again that has contents which have rotted.
    ///
    /// # Errors
    /// When one of them is not there again yet.
    pub(super) fn mend_view(&self, folder: &Path) -> Result<(), Error> {
        if !self.has_marks() {
            return Ok(());
        }
        let mut parts = Vec::new();
        let failed = || Error::disk("what is mounted can't be read");
        self.parts_of(folder, Path::new(""), &mut parts).map_err(failed())?;
        let mut is_bad = false;
        for (path, rotten) in &parts {
            let Some(rotten) = rotten else { continue };
            is_bad = true;
            if self.disk.stat(&self.blob(&rotten.sha256)).is_err() {
                return Err(Error::Rotten(format!(
                    "`{}` is quarantined: its content was found to have changed on {}; upload it again",
                    path.display(),
                    rotten.found_at
                )));
            }
        }
        if !is_bad {
            return Ok(());
        }
        let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let beside = |number: u64| self.own(MOUNTS).join(format!("{WAS}{name}-{number}"));
        let draft = beside(self.number());
        let made = {
            let _no_sweep = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
            self.fill_again(folder, &draft, &parts)
        };
        let placed = made.and_then(|()| match self.disk.exchange(&draft, folder) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.disk.rename(folder, &beside(self.number()))?;
                self.disk.rename(&draft, folder)
            }
            done => done,
        });
        if let Err(error) = placed {
            self.remove_view(&draft);
            return Err(Error::disk("what is mounted can't be made again")(error));
        }
        tracing::warn!(view = name, "what is mounted has its good contents again");
        self.disk.sync_dir(&self.own(MOUNTS)).map_err(failed())
    }

    /// Makes all views again that can be.
    pub(super) fn mend_views(&self) {
        if !self.has_marks() {
            return;
        }
        let folder = self.own(MOUNTS);
        for name in self.disk.list(&folder).unwrap_or_default() {
            let Some(digest) = name.to_str().and_then(Digest::parse) else { continue };
            match self.mend_view(&folder.join(&name)) {
                Ok(()) | Err(Error::Rotten(_)) => {}
                Err(error) => tracing::warn!(%digest, %error, "what is mounted can't be mended"),
            }
        }
    }

    fn parts_of(&self, folder: &Path, below: &Path, found: &mut Vec<Part>) -> io::Result<()> {
        for name in self.disk.list(&folder.join(below))? {
            let path = below.join(name);
            let stat = self.disk.stat(&folder.join(&path))?;
            if stat.is_folder {
                self.parts_of(folder, &path, found)?;
            } else {
                let rotten = self.rotten(stat.inode);
                found.push((path, rotten));
            }
        }
        Ok(())
    }

    fn fill_again(&self, folder: &Path, draft: &Path, parts: &[Part]) -> io::Result<()> {
        self.disk.create_dir(draft)?;
        let mut folders = BTreeSet::from([draft.to_owned()]);
        for (path, rotten) in parts {
            let mut above = draft.to_owned();
            for part in path.parent().into_iter().flat_map(Path::components) {
                above.push(part);
                if folders.insert(above.clone()) {
                    make(&*self.disk, &above)?;
                }
            }
            let from = match rotten {
                Some(rotten) => self.blob(&rotten.sha256),
                None => folder.join(path),
            };
            self.disk.link(&from, &draft.join(path))?;
        }
        folders.iter().rev().try_for_each(|folder| self.disk.sync_dir(folder))
    }
}
