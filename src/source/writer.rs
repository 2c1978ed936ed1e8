//! Writes and removes single manifests, whole or not at all.
//!
//! These functions wait for the disk: call them where blocking is allowed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use super::Error;

/// Numbers the unfinished files of this process, so that two writers never share one.
static UNFINISHED: AtomicU64 = AtomicU64::new(0);

/// Puts a file with these bytes into the folder, in one step: a reader sees the old text or the
/// new one. Returns when it is safe on the disk. Permissions of a file that was there are kept.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    check_name(name)?;
    let path = folder.join(name);
    let mode = mode_of(&path)?.unwrap_or(0o644);
    let failed = |source| Error::Write { action: "write", path: path.clone(), source };
    let (unfinished, mut file) = open_unfinished(folder, name).map_err(failed)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(fs::Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&unfinished, &path));
    if let Err(source) = written {
        // The first failure is the one to tell; a leftover is hidden and no source reads it.
        let _leftover = fs::remove_file(&unfinished);
        return Err(failed(source));
    }
    sync(folder).map_err(failed)
}

/// Takes a file out of the folder. Answers whether it was there.
pub fn remove(folder: &Path, name: &str) -> Result<bool, Error> {
    check_name(name)?;
    let path = folder.join(name);
    if mode_of(&path)?.is_none() {
        return Ok(false);
    }
    let removed = match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other,
    };
    removed.and_then(|()| sync(folder)).map_err(|source| Error::Write {
        action: "remove",
        path,
        source,
    })?;
    Ok(true)
}

/// A name that a folder source reads again, and that stays within the folder.
fn check_name(name: &str) -> Result<(), Error> {
    let is_plain = !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    if is_plain && name.len() <= 200 && stem.is_some_and(|stem| !stem.is_empty()) {
        Ok(())
    } else {
        Err(Error::BadName { name: name.to_owned() })
    }
}

/// The permissions of the file that is there, if one is.
fn mode_of(path: &Path) -> Result<Option<u32>, Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(Some(found.permissions().mode() & 0o777)),
        Ok(_) => Err(Error::NotAFile { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Write { action: "look at", path: path.to_owned(), source }),
    }
}

/// A new hidden file beside the one that is meant. A name that a dead process left is skipped.
fn open_unfinished(folder: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    loop {
        let number = UNFINISHED.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{name}.{}-{number}.tmp", process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (path, file)),
        }
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "web.yaml", b"one").unwrap();
        let path = folder.path().join("web.yaml");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        write(folder.path(), "web.yaml", b"two").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(remove(folder.path(), "web.yaml").unwrap());
        assert!(!remove(folder.path(), "web.yaml").unwrap());
    }

    #[test]
    fn a_name_that_leaves_the_folder_or_would_not_be_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../web.yaml", "a/web.yaml", ".web.yaml", "web.txt", ".yaml", "", "a\n.yaml"] {
            let refused = write(folder.path(), name, b"x");
            assert!(matches!(refused, Err(Error::BadName { .. })), "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        symlink("elsewhere", folder.path().join("web.yaml")).unwrap();
        assert!(matches!(write(folder.path(), "web.yaml", b"x"), Err(Error::NotAFile { .. })));
        assert!(matches!(remove(folder.path(), "web.yaml"), Err(Error::NotAFile { .. })));
        assert!(folder.path().join("web.yaml").is_symlink());
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("gone"), "web.yaml", b"x").unwrap_err();
        assert!(error.to_string().ends_with("gone/web.yaml`"), "{error}");
    }
}
