//! `metadata.json`: what is known about an app's workspace, for Berth and for people.
//!
//! Written as a whole: a new file, flushed, takes the place of the old one. A file that can't be
//! read is as good as none; the workspace is then made again.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;
use crate::state::Checkout;

/// The version of the file's form that this Berth writes.
const VERSION: u32 = 1;

/// The file's name, within an app's folder.
pub(super) const FILE: &str = "metadata.json";

/// What is known about an app's workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// What `code/` holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout: Option<Checkout>,
    /// The image that was built from it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The host port of the app's first port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Where the app answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the health check said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
    /// When any of this last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    version: u32,
    #[serde(flatten)]
    metadata: T,
}

/// Reads the file in `folder`. None when there is none, or none that can be understood.
pub(super) fn read(folder: &Path) -> Option<Metadata> {
    let bytes = fs::read(folder.join(FILE)).ok()?;
    let stored: Stored<Metadata> = serde_json::from_slice(&bytes).ok()?;
    (stored.version == VERSION).then_some(stored.metadata)
}

/// Writes the file in `folder`.
pub(super) fn write(folder: &Path, metadata: &Metadata) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(&Stored { version: VERSION, metadata })?;
    text.push(b'\n');
    replace_file(&folder.join(FILE), &text)
}

/// Puts a file in place as a whole: after a crash the old or the new text is there.
pub(super) fn replace_file(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("tmp");
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o640).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes a folder's entries last.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
