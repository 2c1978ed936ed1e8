//! Contents that have changed on the disk: moved aside, never removed, and never given to anybody.
//!
//! A mark, `quarantine/<digest>-<inode>.json`, is written before the blob is moved beside it. After a
//! kill between the two, the move is made at the start. A model whose file is the marked one stays
//! where it is and is not served; one that is stored anew is another file, and is. Who removes a mark
//! by hand has Berth look again at the next start.

use std::{collections::BTreeMap, io, path::Path, sync::PoisonError};

use serde::{Deserialize, Serialize};

use super::{Error, Store, bulletin::What, name::Key};
use crate::model::{Digest, Timestamp};

/// A content that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotten {
    /// What its digest was.
    pub sha256: Digest,
    /// What it is.
    pub found: Digest,
    /// How long it is.
    pub size: u64,
    /// Which file it is.
    pub inode: (u64, u64),
    /// When that was found out.
    pub found_at: Timestamp,
    /// The models that have it, as they were called then.
    pub models: Vec<String>,
}

/// All that are known, by file.
pub(super) type Marks = BTreeMap<(u64, u64), Rotten>;

impl Rotten {
    fn name(&self) -> String {
        format!("{}-{:x}-{:x}", self.sha256, self.inode.0, self.inode.1)
    }
}

impl Store {
    /// What is in quarantine.
    pub fn quarantined(&self) -> Vec<Rotten> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// What is known to be wrong with a file.
    pub(super) fn rotten(&self, inode: (u64, u64)) -> Option<Rotten> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).get(&inode).cloned()
    }

    /// Whether anything is in quarantine.
    pub(super) fn has_marks(&self) -> bool {
        !self.marks.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Whether a content of this digest is.
    pub(super) fn was_rotten(&self, sha256: &Digest) -> bool {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.values().any(|rotten| rotten.sha256 == *sha256)
    }

    /// Moves a blob aside, and marks the models that have it. Whether it is that file still.
    pub(super) fn quarantine(
        &self,
        sha256: &Digest,
        found: Digest,
        inode: (u64, u64),
    ) -> Result<bool, Error> {
        let failed = || Error::disk("a content can't be moved into quarantine");
        let blob = self.blob(sha256);
        let stat = self.disk.stat(&blob).map_err(failed())?;
        if stat.inode != inode {
            return Ok(false);
        }
        let keys: Vec<Key> = {
            let all = self.index.all();
            let own = all.iter().filter(|entry| entry.inode == stat.inode);
            own.map(|entry| entry.key.clone()).collect()
        };
        let rotten = Rotten {
            sha256: sha256.clone(),
            found,
            size: stat.size,
            inode: stat.inode,
            found_at: self.now(),
            models: keys.iter().map(Key::to_string).collect(),
        };
        {
            // Nobody gets one more name of it from here on.
            let _all = self.sweeping.write().unwrap_or_else(PoisonError::into_inner);
            self.move_aside(&rotten, &blob).map_err(failed())?;
            let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
            marks.insert(rotten.inode, rotten.clone());
        }
        let all = self.index.all();
        for entry in all.iter().filter(|entry| entry.inode == rotten.inode) {
            let is_marked = self.change_entry(&entry.key, |entry| {
                let is_same = entry.inode == rotten.inode;
                if is_same {
                    entry.rotten = Some(Box::new(rotten.clone()));
                }
                is_same
            });
            if is_marked {
                let (key, sha256) = (entry.key.clone(), sha256.clone());
                self.tell(What::Quarantined { key, sha256 }, rotten.found_at);
            }
        }
        self.count_rotten();
        tracing::error!(digest = %sha256, models = ?rotten.models, "a stored content has changed, and is in quarantine");
        Ok(true)
    }

    /// Who has the mark has the blob too, here or there: the disk has its name before it has the mark.
    fn move_aside(&self, rotten: &Rotten, blob: &Path) -> io::Result<()> {
        let folder = self.own("quarantine");
        for above in blob.ancestors().skip(1).take(2) {
            self.disk.sync_dir(above)?;
        }
        let mark = folder.join(format!("{}.json", rotten.name()));
        if self.disk.stat(&mark).is_err() {
            let new = folder.join(format!("new-{}", self.number()));
            let written = self.disk.write_file(&new, &serde_json::to_vec_pretty(rotten)?);
            if let Err(error) = written.and_then(|()| self.disk.rename(&new, &mark)) {
                let _ = self.disk.remove_file(&new);
                return Err(error);
            }
        }
        self.disk.sync_dir(&folder)?;
        self.disk.rename(blob, &folder.join(rotten.name()))?;
        // A file that is aside already, as after its mark was removed, keeps both names.
        if self.disk.stat(blob).is_ok_and(|stat| stat.inode == rotten.inode) {
            self.disk.remove_file(blob)?;
        }
        self.disk.sync_dir(&folder)?;
        blob.parent().map_or(Ok(()), |parent| self.disk.sync_dir(parent))
    }

    /// Reads the marks, and makes the moves that a kill left undone.
    pub(super) fn load_marks(&self) -> io::Result<()> {
        let folder = self.own("quarantine");
        for name in self.disk.list(&folder)? {
            let text = name.to_string_lossy();
            if text.starts_with("new-") {
                let _ = self.disk.remove_file(&folder.join(&name));
            }
            if !text.ends_with(".json") {
                continue;
            }
            let bytes = self.disk.read(&folder.join(&name))?;
            let rotten: Rotten = match serde_json::from_slice(&bytes) {
                Ok(rotten) => rotten,
                Err(error) => {
                    tracing::warn!(file = ?name, %error, "a mark of quarantine makes no sense");
                    continue;
                }
            };
            let blob = self.blob(&rotten.sha256);
            if self.disk.stat(&blob).is_ok_and(|stat| stat.inode == rotten.inode) {
                self.move_aside(&rotten, &blob)?;
            }
            self.marks.lock().unwrap_or_else(PoisonError::into_inner).insert(rotten.inode, rotten);
        }
        self.count_rotten();
        Ok(())
    }

    fn count_rotten(&self) {
        let count = self.marks.lock().unwrap_or_else(PoisonError::into_inner).len();
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.figures.quarantined.store(count, std::sync::atomic::Ordering::Relaxed);
    }
}
