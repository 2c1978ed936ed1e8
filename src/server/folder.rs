//! The manifest folder, as far as the interface changes it: whole files, one app each.
//!
//! What is in the folder is looked up in the folder itself, never in the record, which may be a
//! moment behind.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::reading;
use crate::model::AppName;
use crate::source;
use crate::source::writer;

/// How deep folders are searched.
const DEPTH_MAX: usize = 16;
/// The largest file that is read.
const SIZE_MAX: u64 = 1024 * 1024;

/// A file that names an app.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its path, relative to the folder.
    pub(super) file: String,
    /// The apps that it names.
    pub(super) names: Vec<AppName>,
    /// What it says.
    pub(super) bytes: Vec<u8>,
}

/// The file that an app gets when nothing else is said.
pub(super) fn usual_file(name: &AppName) -> String {
    format!("{name}.yaml")
}

/// The file that names `name`.
pub(super) fn find(root: &Path, name: &AppName) -> io::Result<Option<Found>> {
    let mut files = Vec::new();
    list(root, 0, &mut files)?;
    files.sort();
    for path in files {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let file = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let names = reading::read(&file, &bytes).names;
        if names.contains(name) {
            return Ok(Some(Found { file, names, bytes }));
        }
    }
    Ok(None)
}

/// The app's usual file, when it is there and so broken that it names nobody.
pub(super) fn find_broken(root: &Path, name: &AppName) -> Option<Found> {
    let file = usual_file(name);
    let bytes = std::fs::read(root.join(&file)).ok()?;
    let is_broken = reading::read(&file, &bytes).names.is_empty();
    is_broken.then(|| Found { file, names: vec![name.clone()], bytes })
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            if depth < DEPTH_MAX {
                list(&path, depth + 1, files)?;
            }
            continue;
        }
        let is_manifest = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        let is_small = std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() <= SIZE_MAX);
        if is_manifest && is_small {
            files.push(path);
        }
    }
    Ok(())
}

/// Puts a file into the folder, as a whole or not at all.
pub(super) fn put_manifest(root: &Path, file: &str, bytes: &[u8]) -> Result<(), source::Error> {
    let (folder, name) = place(root, file);
    writer::write(&folder, &name, bytes)
}

/// Removes a file from the folder.
pub(super) fn remove_manifest(root: &Path, file: &str) -> Result<(), source::Error> {
    let (folder, name) = place(root, file);
    writer::remove(&folder, &name).map(drop)
}

fn place(root: &Path, file: &str) -> (PathBuf, String) {
    match file.rsplit_once('/') {
        Some((folder, name)) => (root.join(folder), name.to_owned()),
        None => (root.to_owned(), file.to_owned()),
    }
}
