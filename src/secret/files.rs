//! Secrets as files: in memory, for Berth's user alone, each under the seal of its value.
//!
//! ```text
//! <secret-files>/APP/SEAL      the value, mode 0400
//! ```
//!
//! What is in a file never changes: another value has another seal. So a container that was made
//! with a value goes on seeing that one, until it is replaced.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use super::Value;
use crate::model::AppName;

/// The kinds of file systems that lie in memory: tmpfs, ramfs.
const IN_MEMORY: [rustix::fs::FsWord; 2] = [0x0102_1994, 0x8584_58f6];

/// The folder of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where the value with this seal lies.
    pub(super) fn path(&self, app: &AppName, seal: &str) -> PathBuf {
        self.folder.join(app.as_str()).join(seal)
    }

    /// Puts a value there, unless it is.
    pub(super) fn put(
        &self,
        app: &AppName,
        seal: &str,
        value: &Value,
        uid: Option<u32>,
    ) -> Result<(), String> {
        let path = self.path(app, seal);
        let wrong = |error: io::Error| format!("{}: {error}", path.display());
        let owner = uid.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        match fs::symlink_metadata(&path) {
            Ok(seen) if seen.is_file() && seen.uid() == owner => return Ok(()),
            Ok(_) => fs::remove_file(&path).map_err(wrong)?,
            Err(_) => {}
        }
        self.prepare(app)?;
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new);
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o400).open(&new)?;
            if let Some(uid) = uid {
                fchown(&file, Some(uid), None)?;
            }
            file.write_all(value.bytes())?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&new);
            wrong(error)
        })
    }

    /// Makes the app's folder. One that is not in memory is refused: it would stay on a disk.
    fn prepare(&self, app: &AppName) -> Result<(), String> {
        let folder = self.folder.join(app.as_str());
        let wrong = |error: io::Error| format!("{}: {error}", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(wrong)?;
        for path in [&self.folder, &folder] {
            let seen = fs::symlink_metadata(path).map_err(wrong)?;
            let is_own = seen.uid() == rustix::process::geteuid().as_raw();
            if !seen.is_dir() || !is_own || seen.mode() & 0o077 != 0 {
                return Err(format!(
                    "{} is not a folder of Berth's user alone: remove it",
                    path.display()
                ));
            }
        }
        let kind = rustix::fs::statfs(&folder).map_err(|error| wrong(error.into()))?.f_type;
        if IN_MEMORY.contains(&kind) {
            return Ok(());
        }
        Err(format!(
            "{} is on a disk, and secrets are files in memory only: name a folder of a tmpfs with --secret-files",
            self.folder.display()
        ))
    }

    /// The values that lie there for an app, those of containers before the present one included.
    pub(super) fn values(&self, app: &AppName) -> Vec<Value> {
        let entries = fs::read_dir(self.folder.join(app.as_str())).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read(entry.path()).ok()).map(Value::new).collect()
    }

    /// Removes an app's files but those with these seals.
    pub(super) fn keep(&self, app: &AppName, seals: &BTreeSet<String>) {
        let folder = self.folder.join(app.as_str());
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_none_or(|name| !seals.contains(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
        if seals.is_empty() {
            let _ = fs::remove_dir(&folder);
        }
    }
}

/// The folder in memory that is Berth's own when nobody names one.
pub fn usual_folder(instance: &str) -> PathBuf {
    let user = rustix::process::geteuid();
    if user.is_root() {
        return Path::new("/run").join(format!("berth-{instance}"));
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        Some(runtime) => Path::new(&runtime).join(format!("berth-{instance}")),
        None => Path::new("/dev/shm").join(format!("berth-{}-{instance}", user.as_raw())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> AppName {
        AppName::new("chat").unwrap()
    }

    #[test]
    fn a_value_is_a_file_that_only_its_owner_may_read() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let files = Files::new(folder.path().join("berth"));
        files.put(&app(), "aa", &Value::new("x"), None).unwrap();
        files.put(&app(), "bb", &Value::new("y"), None).unwrap();
        let path = files.path(&app(), "aa");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read(&path).unwrap(), b"x");
        let mut values = files.values(&app());
        values.sort_by(|a, b| a.bytes().cmp(b.bytes()));
        assert_eq!(values, [Value::new("x"), Value::new("y")]);
        files.keep(&app(), &["bb".to_owned()].into());
        assert!(!path.exists() && files.path(&app(), "bb").exists());
        files.keep(&app(), &BTreeSet::new());
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn a_disk_is_refused_and_so_is_a_folder_of_others() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let open = folder.path().join("berth");
        fs::create_dir(&open).unwrap();
        let files = Files::new(&open);
        let error = files.put(&app(), "aa", &Value::new("x"), None).unwrap_err();
        assert!(error.contains("of Berth's user alone"), "{error}");
        let disk = Files::new("/proc/self/berth");
        assert!(disk.put(&app(), "aa", &Value::new("x"), None).is_err());
        let here = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let kind = rustix::fs::statfs(here.path()).unwrap().f_type;
        let disk = Files::new(here.path().join("berth")).put(&app(), "aa", &Value::new("x"), None);
        let is_memory = IN_MEMORY.contains(&kind);
        assert_eq!(disk.is_ok(), is_memory, "{disk:?}");
    }
}
