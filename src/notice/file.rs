//! What targets were told, kept over restarts.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{board::Last, desk::KeptTold};

/// A longer file is none of ours.
const BYTES_MAX: u64 = 64 << 20;

/// What is kept of a target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct KeptTarget {
    pub(super) told: Vec<KeptTold>,
    pub(super) last: Option<Last>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    format: u32,
    targets: BTreeMap<String, KeptTarget>,
}

const FORMAT: u32 = 1;

/// What is kept of all targets; none that can be read is as none at all.
pub(super) fn load(path: &Path) -> BTreeMap<String, KeptTarget> {
    let read = || {
        if BYTES_MAX < fs::metadata(path)?.len() {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let kept: Kept = serde_json::from_slice(&fs::read(path)?)?;
        if kept.format == FORMAT {
            Ok(kept.targets)
        } else {
            Err(io::Error::other("it was written by another version"))
        }
    };
    read().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(path = %path.display(), %error, "it is not known what was told");
        }
        BTreeMap::new()
    })
}

/// Keeps it: on the disk when this returns.
pub(super) fn save(path: &PathBuf, targets: BTreeMap<String, KeptTarget>) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(&Kept { format: FORMAT, targets })?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
