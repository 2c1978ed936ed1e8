//! Puts a finished tree in place of the old one.
//!
//! A marker says that a swap is under way. It is written before `code/` changes and removed after
//! `metadata.json` says what is there now. Whoever finds the marker does not trust `code/`, and
//! has it written again: so a crash between any two steps heals.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::metadata::{self, Metadata};
use crate::state::Checkout;

/// The folder of what runs, within an app's folder.
pub(super) const CODE: &str = "code";
/// The folder of what the app keeps.
pub(super) const DATA: &str = "data";
/// The folder of what only Berth needs.
pub(super) const AREA: &str = ".berth";
/// The folder of the mirrors of repositories, beside the apps' folders. No app has such a name.
pub(super) const MIRRORS: &str = ".mirrors";
/// The home of the worker while it speaks ssh, within [`AREA`].
pub(super) const HOME: &str = "home";
const MARKER: &str = "swap";

/// Whether `code/` is what `metadata.json` says.
pub(super) fn is_in_order(folder: &Path) -> bool {
    let is_folder = |path: PathBuf| fs::symlink_metadata(path).is_ok_and(|seen| seen.is_dir());
    is_folder(folder.join(CODE)) && !folder.join(AREA).join(MARKER).exists()
}

/// Puts `staged` in place and writes down that it is `checkout`. Answers where the old tree is
/// now, to be removed at leisure.
pub(super) fn put(
    folder: &Path,
    staged: Option<&Path>,
    checkout: &Checkout,
) -> io::Result<Option<PathBuf>> {
    let marker = folder.join(AREA).join(MARKER);
    let old = match staged {
        None => None,
        Some(staged) => {
            metadata::replace_file(&marker, checkout.commit.as_bytes())?;
            let old = swap(staged, &folder.join(CODE))?;
            metadata::sync_folder(folder)?;
            old
        }
    };
    let known = metadata::read(folder).unwrap_or_default();
    if known.checkout.as_ref() != Some(checkout) {
        let new = Metadata { checkout: Some(checkout.clone()), ..known };
        metadata::write(folder, &new)?;
    }
    if staged.is_some() {
        fs::remove_file(&marker)?;
    }
    Ok(old)
}

/// Exchanges two folders in one step where the file system can, in two steps elsewhere.
fn swap(staged: &Path, code: &Path) -> io::Result<Option<PathBuf>> {
    if fs::symlink_metadata(code).is_err() {
        fs::rename(staged, code)?;
        return Ok(None);
    }
    match renameat_with(CWD, staged, CWD, code, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(Some(staged.to_owned())),
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            let aside = staged.with_file_name("old-code");
            remove(&aside)?;
            fs::rename(code, &aside)?;
            fs::rename(staged, code)?;
            Ok(Some(aside))
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes a tree, or what stands in its place; what is gone is removed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let done = match fs::symlink_metadata(path) {
        Ok(seen) if seen.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(commit: &str) -> Checkout {
        Checkout {
            url: "https://h.example/a".to_owned(),
            reference: None,
            path: String::new(),
            resolved: None,
            submodules: false,
            commit: commit.to_owned(),
            tree: commit.to_owned(),
            files: Vec::new(),
            facts: std::collections::BTreeMap::new(),
            ahead: std::collections::BTreeMap::new(),
            looked_for: None,
        }
    }

    fn stage(folder: &Path, text: &str) -> PathBuf {
        let staged = folder.join(AREA).join(format!("new-{text}"));
        fs::create_dir_all(&staged).unwrap();
        fs::write(staged.join("f"), text).unwrap();
        staged
    }

    #[test]
    fn a_new_tree_takes_the_place_of_the_old_one_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for commit in ["a", "b"] {
            let staged = stage(folder, commit);
            put(folder, Some(&staged), &checkout(commit)).unwrap();
            assert_eq!(fs::read_to_string(folder.join("code/f")).unwrap(), commit);
            assert_eq!(metadata::read(folder).unwrap().checkout, Some(checkout(commit)));
            assert!(is_in_order(folder));
        }
    }

    /// Fault G09: a crash between the swap and `metadata.json`.
    #[test]
    fn a_swap_that_broke_off_is_not_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        put(folder, Some(&stage(folder, "a")), &checkout("a")).unwrap();
        fs::write(folder.join(AREA).join(MARKER), "b").unwrap();
        assert!(!is_in_order(folder));
        put(folder, Some(&stage(folder, "b")), &checkout("b")).unwrap();
        assert!(is_in_order(folder));
    }
}
