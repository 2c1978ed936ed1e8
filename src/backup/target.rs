//! Where an archive is: a folder, or a remote of rclone.

use std::{fmt, path::PathBuf, sync::Arc};

use super::{
    Error, Key, Made, Name, Order, Plan, Pruning, Remote, Restore, Restored, Snapshot, Spool,
    Vault, Verdict, Watch, create,
    disk::{self, Disk},
    look_ahead, prune, pruning, restore,
    restore::needed,
    vault, verify,
};
use crate::model::{Digest, Timestamp};

/// Where an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// In a folder.
    Folder(PathBuf),
    /// At a remote of rclone.
    Remote(Remote),
}

impl Target {
    /// Reads a folder's path, or `rclone:REMOTE:PATH`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match Remote::parse(text) {
            Some(remote) => remote.map(Self::Remote),
            None if text.is_empty() => Err("write a folder, or `rclone:REMOTE:PATH`".to_owned()),
            None => std::path::absolute(text).map(Self::Folder).map_err(|it| it.to_string()),
        }
    }
}

impl Target {
    /// The snapshots in a folder, newest first, as far as they are seen without opening anything.
    pub fn glance(&self) -> Vec<String> {
        let Self::Folder(folder) = self else { return Vec::new() };
        let entries = std::fs::read_dir(folder.join(vault::SNAPSHOTS)).into_iter().flatten();
        let file =
            |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<_> =
            entries.filter_map(file).filter_map(|file| Name::of_file(&file)).collect();
        names.sort();
        names.iter().rev().map(ToString::to_string).collect()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Remote(remote) => remote.fmt(f),
        }
    }
}

/// An archive that is open, wherever it is.
#[derive(Debug)]
pub struct Archive {
    vault: Vault,
    spool: Option<Spool>,
}

/// What an archive is opened with.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// What it opens by.
    pub key: Option<Key>,
    /// Where a part of a remote archive is kept here.
    pub spool: PathBuf,
    /// With which id it is begun when it is not there; none only opens.
    pub id: Option<String>,
    /// Now.
    pub now: Timestamp,
}

/// Both who asked, and who sends what is written.
struct Both<'a> {
    inner: &'a mut dyn Watch,
    spool: Option<&'a mut Spool>,
}

impl Watch for Both<'_> {
    fn pause(&mut self, app: &str, begins: bool) -> Result<(), Error> {
        self.inner.pause(app, begins)
    }

    fn written(&mut self, vault: &mut Vault, bytes: u64) -> Result<(), Error> {
        self.inner.written(vault, bytes)?;
        self.spool.as_mut().map_or(Ok(()), |spool| spool.written(vault, bytes))
    }
}

impl Archive {
    /// Opens an archive, or begins it.
    pub fn open(target: &Target, opening: Opening) -> Result<Self, Error> {
        let Opening { disk, key, spool, id, now } = opening;
        let (folder, spool) = match target {
            Target::Folder(folder) => (folder.clone(), None),
            Target::Remote(remote) => {
                let name = Digest::of_bytes(remote.to_string().as_bytes());
                let spool = Spool::new(remote.clone(), &spool.join(name.short(16)));
                (spool.folder().to_owned(), Some(spool))
            }
        };
        let mut held = None;
        if let Some(spool) = &spool {
            // What is fetched would be pulled from under another one that is at it.
            disk::make_dirs(disk.as_ref(), &folder, 0o700)
                .map_err(Error::disk("failed to make", &folder))?;
            held = Some(vault::hold(disk.as_ref(), &folder)?);
            if !spool.fetch()? && id.is_none() {
                return Err(Error::Foreign(target.to_string()));
            }
        }
        let key = key.as_ref();
        let mut vault = match &id {
            Some(id) => Vault::open_or_make_held(disk, &folder, key, (id, now), held)?,
            None => Vault::open_held(disk, &folder, key, held)?,
        };
        if let Some(spool) = &spool {
            spool.tell(&mut vault)?;
        }
        Ok(Self { vault, spool })
    }

    /// Its snapshots.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// What a backup would do.
    pub fn look_ahead(&self, order: &Order) -> Result<Plan, Error> {
        look_ahead(&self.vault, order)
    }

    /// Makes a backup.
    pub fn create(
        &mut self,
        order: &Order,
        now: Timestamp,
        watch: &mut dyn Watch,
    ) -> Result<Made, Error> {
        let mut both = Both { inner: watch, spool: self.spool.as_mut() };
        let made = create(&mut self.vault, order, now, &mut both)?;
        if let Some(spool) = &mut self.spool {
            spool.send(&mut self.vault, &made.name)?;
        }
        Ok(made)
    }

    /// What would go.
    pub fn pruning(&self, keep: usize) -> Result<Pruning, Error> {
        pruning(&self.vault, keep)
    }

    /// Lets go what is beyond the newest `keep` snapshots.
    pub fn prune(&mut self, keep: usize) -> Result<Pruning, Error> {
        if let Some(spool) = &self.spool {
            let pruning = pruning(&self.vault, keep)?;
            spool.prune(&pruning)?;
        }
        let pruned = prune(&mut self.vault, keep)?;
        let gone: std::collections::BTreeSet<_> = pruned.objects.iter().collect();
        self.vault.elsewhere.retain(|name| !gone.contains(name));
        Ok(pruned)
    }

    fn fetch<'a>(&self, contents: impl Iterator<Item = &'a Digest>) -> Result<(), Error> {
        let Some(spool) = &self.spool else { return Ok(()) };
        let names: Vec<_> = contents.map(|content| self.vault.object(content)).collect();
        spool.fetch_objects(&names)
    }

    fn forget(&self) -> Result<(), Error> {
        self.spool.as_ref().map_or(Ok(()), Spool::forget_objects)
    }

    /// Reads every content of these snapshots, and compares.
    pub fn verify(&self, names: &[Name]) -> Result<Verdict, Error> {
        for name in names {
            // What can't be read is found out, and told, by the verification.
            if let Ok(snapshot) = self.vault.snapshot(name) {
                self.fetch(snapshot.contents().into_keys())?;
            }
        }
        let verdict = verify(&self.vault, names);
        self.forget()?;
        verdict
    }

    /// What a restore would do, as people read it.
    pub fn restore_plan(&self, name: &Name, order: &Restore) -> Result<String, Error> {
        let snapshot = self.vault.snapshot(name)?;
        let grounds = order.look(&self.vault, name, &snapshot)?;
        Ok(super::render_restore(&snapshot, &grounds))
    }

    /// Brings a snapshot back.
    pub fn restore(&self, name: &Name, order: &Restore) -> Result<Restored, Error> {
        if self.spool.is_some() {
            let snapshot: Snapshot = self.vault.snapshot(name)?;
            let grounds = order.look(&self.vault, name, &snapshot)?;
            self.fetch(needed(&snapshot, &grounds).into_keys())?;
        }
        let restored = restore(&self.vault, name, order)?;
        self.forget()?;
        Ok(restored)
    }
}
