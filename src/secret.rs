//! Secrets: values that are used and never shown, kept in files of a folder that only Berth's
//! user may read.
//!
//! ```text
//! <secrets-dir>/NAME         one value, whose key is `value`
//! <secrets-dir>/NAME/KEY     one value for each key
//! ```
//!
//! # Guarantees
//! - A [`Value`] prints as `…`, whoever prints it.
//! - Nothing is remembered: each use reads the files anew, so that a change counts at once
//!   (fault G16).
//! - What others of this machine could read is refused, with what to do.
//! - A value is written as a whole, by way of a new file.
//!
//! What apps get of them, and from where else, is [`Book`]'s business.

mod book;
mod files;
mod mint;
mod seal;
mod tool;
mod veil;

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::model::check_secret_name;
pub use book::{Book, Given, Settings, variable_of};
pub use files::usual_folder;
pub use mint::Mint;
pub use tool::Tools;
pub use veil::{VEILED_MIN, Veil, Veiled};

/// The key of a secret that is one plain file.
pub const VALUE: &str = "value";
/// How long one value may be.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// How many keys one secret may have.
const KEYS_MAX: usize = 64;

/// Why a secret can't be had, or not be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name that no secret can have.
    #[error(
        "`{0}` is not a secret's name: use at most 63 lower-case letters, digits, `-`, `_` and `.`"
    )]
    Name(String),
    /// A key that no secret can have.
    #[error("`{0}` is not a key: use at most 63 letters, digits, `-`, `_` and `.`")]
    Key(String),
    /// There is no such secret.
    #[error("there is no secret `{name}`: make it with `berth secrets set {name}`")]
    Missing {
        /// Which.
        name: String,
    },
    /// The secret is there and has no such key.
    #[error("the secret `{name}` has no key `{key}`")]
    MissingKey {
        /// Which secret.
        name: String,
        /// Which key.
        key: String,
    },
    /// Somebody else could read it.
    #[error("{} may be read by others: run `chmod {mode} {}`", .path.display(), .path.display())]
    Open {
        /// Which file or folder.
        path: PathBuf,
        /// What its mode should be.
        mode: &'static str,
    },
    /// Something stands in the way of what was asked for.
    #[error("the secret `{name}` {message}")]
    Conflict {
        /// Which secret.
        name: String,
        /// What is wrong with it, and what to do.
        message: &'static str,
    },
    /// The disk said no.
    #[error("{}: {message}", .path.display())]
    Disk {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
}

impl Error {
    fn disk(path: &Path, error: &io::Error) -> Self {
        Self::Disk { path: path.to_owned(), message: error.to_string() }
    }
}

/// A value that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Vec<u8>);

impl Value {
    /// Keeps `bytes` from being shown.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The value as it is, to be used and not to be shown.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value as a text without the line end that editors and `echo` leave.
    pub fn text(&self) -> Option<&str> {
        Some(std::str::from_utf8(&self.0).ok()?.trim_end_matches(['\r', '\n']))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// One secret: its values by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    name: String,
    values: BTreeMap<String, Value>,
}

impl Secret {
    /// A secret that was not read from a folder.
    pub fn new(name: &str, values: BTreeMap<String, Value>) -> Self {
        Self { name: name.to_owned(), values }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The value of `key` as a text without the line end.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// The value of `key`, or what is wrong.
    pub fn need(&self, key: &str) -> Result<&Value, Error> {
        let missing = || Error::MissingKey { name: self.name.clone(), key: key.to_owned() };
        self.get(key).ok_or_else(missing)
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }
}

/// The folder of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    folder: PathBuf,
}

impl Secrets {
    /// The secrets in `folder`, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads one secret, now.
    pub fn read(&self, name: &str) -> Result<Secret, Error> {
        let path = self.path(name)?;
        if !self.is_there()? {
            return Err(Error::Missing { name: name.to_owned() });
        }
        let seen = match fs::metadata(&path) {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing { name: name.to_owned() });
            }
            Err(error) => return Err(Error::disk(&path, &error)),
        };
        let mut values = BTreeMap::new();
        if seen.is_dir() {
            check_mode(&path, seen.mode(), "700")?;
            for key in entries(&path)?.into_iter().filter(|key| is_key(key)).take(KEYS_MAX) {
                let value = read_file(&path.join(&key))?;
                values.insert(key, value);
            }
        } else {
            values.insert(VALUE.to_owned(), read_file(&path)?);
        }
        Ok(Secret { name: name.to_owned(), values })
    }

    /// The names of all secrets with their keys, and nothing of their values.
    pub fn list(&self) -> Result<Vec<(String, Vec<String>)>, Error> {
        if !self.is_there()? {
            return Ok(Vec::new());
        }
        let mut list = Vec::new();
        for name in entries(&self.folder)? {
            let path = self.folder.join(&name);
            if check_secret_name(&name).is_err() {
                continue;
            }
            let keys = if path.is_dir() {
                entries(&path)?.into_iter().filter(|key| is_key(key)).collect()
            } else {
                vec![VALUE.to_owned()]
            };
            list.push((name, keys));
        }
        Ok(list)
    }

    /// Keeps a value: of the key, or as the secret's only one.
    pub fn set(&self, name: &str, key: Option<&str>, value: &Value) -> Result<(), Error> {
        let path = self.path(name)?;
        check_key(key)?;
        make_folder(&self.folder)?;
        self.is_there()?;
        match key {
            None if path.is_dir() => Err(conflict(
                name,
                "has keys: name the one to set with `--key`, or remove it first",
            )),
            None => write_file(&self.folder, &path, value),
            Some(_) if path.is_file() => {
                Err(conflict(name, "is one value without keys: remove it first"))
            }
            Some(key) => {
                make_folder(&path)?;
                write_file(&path, &path.join(key), value)
            }
        }
    }

    /// Removes a secret, or one key of it.
    pub fn remove(&self, name: &str, key: Option<&str>) -> Result<(), Error> {
        let path = self.path(name)?;
        check_key(key)?;
        if !self.is_there()? || fs::symlink_metadata(&path).is_err() {
            return Err(Error::Missing { name: name.to_owned() });
        }
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|seen| seen.is_dir());
        let missing = |key: &str| Error::MissingKey { name: name.to_owned(), key: key.to_owned() };
        let done = match key {
            None if is_folder => fs::remove_dir_all(&path),
            Some(key) if is_folder => match fs::remove_file(path.join(key)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(key)),
                // The last key takes the folder with it.
                done => done.map(|()| drop(fs::remove_dir(&path))),
            },
            None | Some(VALUE) => fs::remove_file(&path),
            Some(key) => return Err(missing(key)),
        };
        done.map_err(|error| Error::disk(&path, &error))
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        check_secret_name(name).map_err(|_| Error::Name(name.to_owned()))?;
        Ok(self.folder.join(name))
    }

    /// Whether the folder is there. One that others may look into is refused.
    fn is_there(&self) -> Result<bool, Error> {
        match fs::metadata(&self.folder) {
            Ok(seen) => check_mode(&self.folder, seen.mode(), "700").map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::disk(&self.folder, &error)),
        }
    }
}

fn conflict(name: &str, message: &'static str) -> Error {
    Error::Conflict { name: name.to_owned(), message }
}

fn is_key(key: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !key.is_empty() && key.len() <= 63 && !key.starts_with('.') && key.chars().all(legal)
}

fn check_key(key: Option<&str>) -> Result<(), Error> {
    match key {
        Some(key) if !is_key(key) => Err(Error::Key(key.to_owned())),
        _ => Ok(()),
    }
}

fn check_mode(path: &Path, mode: u32, wanted: &'static str) -> Result<(), Error> {
    let of_others = mode & 0o077;
    if of_others == 0 { Ok(()) } else { Err(Error::Open { path: path.to_owned(), mode: wanted }) }
}

/// The names in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<String>, Error> {
    let wrong = |error: io::Error| Error::disk(folder, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        names.extend(entry.map_err(wrong)?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

fn read_file(path: &Path) -> Result<Value, Error> {
    let wrong = |error: io::Error| Error::disk(path, &error);
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path).map_err(wrong)?;
    let seen = file.metadata().map_err(wrong)?;
    if !seen.is_file() {
        return Err(wrong(io::Error::other("it is not a file")));
    }
    check_mode(path, seen.mode(), "600")?;
    let mut bytes = Vec::new();
    file.take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if VALUE_BYTES_MAX < bytes.len() {
        return Err(wrong(io::Error::other("it is longer than 1 MiB")));
    }
    Ok(Value(bytes))
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Error::disk(path, &error))
}

/// Writes a file as a whole. Its new name starts with a dot, so that nobody takes it for a secret.
fn write_file(folder: &Path, path: &Path, value: &Value) -> Result<(), Error> {
    let wrong = |error: io::Error| Error::disk(path, &error);
    let new = folder.join(format!(".new-{}", std::process::id()));
    let write = || {
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&value.0)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&new);
        wrong(error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> (tempfile::TempDir, Secrets) {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path().join("secrets"));
        (folder, secrets)
    }

    fn set(secrets: &Secrets, name: &str, key: Option<&str>, value: &str) -> Result<(), Error> {
        secrets.set(name, key, &Value::new(value))
    }

    #[test]
    fn what_was_set_is_read_and_what_was_removed_is_gone() {
        let (_folder, secrets) = folder();
        assert_eq!(secrets.list(), Ok(Vec::new()));
        let missing = Error::Missing { name: "a".to_owned() };
        assert_eq!(secrets.read("a"), Err(missing.clone()));
        set(&secrets, "a", None, "one\n").unwrap();
        set(&secrets, "b", Some("token"), "two").unwrap();
        set(&secrets, "b", Some("known_hosts"), "three").unwrap();
        assert_eq!(secrets.read("a").unwrap().text(VALUE), Some("one"));
        assert_eq!(secrets.read("a").unwrap().need(VALUE).unwrap().bytes(), b"one\n");
        assert_eq!(secrets.read("b").unwrap().text("token"), Some("two"));
        let keys = |list: &[&str]| list.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let all = vec![
            ("a".to_owned(), keys(&["value"])),
            ("b".to_owned(), keys(&["known_hosts", "token"])),
        ];
        assert_eq!(secrets.list(), Ok(all));
        secrets.remove("b", Some("token")).unwrap();
        assert!(matches!(secrets.remove("b", Some("token")), Err(Error::MissingKey { .. })));
        secrets.remove("b", Some("known_hosts")).unwrap();
        secrets.remove("a", None).unwrap();
        assert_eq!(secrets.remove("a", None), Err(missing));
        assert_eq!(secrets.list(), Ok(Vec::new()));
    }

    /// Fault G16.
    #[test]
    fn a_change_counts_at_once() {
        let (_folder, secrets) = folder();
        for value in ["old", "new"] {
            set(&secrets, "a", None, value).unwrap();
            assert_eq!(secrets.read("a").unwrap().text(VALUE), Some(value));
        }
    }

    #[test]
    fn only_the_owner_may_read_what_is_written_and_what_others_may_read_is_refused() {
        let (_folder, secrets) = folder();
        set(&secrets, "a", Some("token"), "x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = secrets.folder().join("a");
        assert_eq!(mode(secrets.folder()), 0o700);
        assert_eq!((mode(&path), mode(&path.join("token"))), (0o700, 0o600));
        for (at, open, good) in [
            (secrets.folder().to_owned(), 0o750, 0o700),
            (path.clone(), 0o705, 0o700),
            (path.join("token"), 0o640, 0o600),
        ] {
            fs::set_permissions(&at, fs::Permissions::from_mode(open)).unwrap();
            let error = secrets.read("a").unwrap_err();
            let told = format!(
                "{} may be read by others: run `chmod {good:o} {}`",
                at.display(),
                at.display()
            );
            assert_eq!(error.to_string(), told);
            fs::set_permissions(&at, fs::Permissions::from_mode(good)).unwrap();
        }
        assert!(secrets.read("a").is_ok());
    }

    #[test]
    fn names_stay_inside_the_folder_and_what_is_in_the_way_is_told() {
        let (_folder, secrets) = folder();
        for bad in ["", ".", "..", "a/b", "../a", "-a", "A", ".new-1"] {
            assert_eq!(secrets.read(bad), Err(Error::Name(bad.to_owned())), "{bad}");
            assert!(set(&secrets, bad, None, "x").is_err(), "{bad}");
        }
        for bad in ["", "..", "a/b", ".x"] {
            assert_eq!(set(&secrets, "a", Some(bad), "x"), Err(Error::Key(bad.to_owned())));
        }
        set(&secrets, "a", None, "x").unwrap();
        assert!(matches!(set(&secrets, "a", Some("token"), "x"), Err(Error::Conflict { .. })));
        set(&secrets, "b", Some("token"), "x").unwrap();
        assert!(matches!(set(&secrets, "b", None, "x"), Err(Error::Conflict { .. })));
        fs::write(secrets.folder().join("c"), vec![b'x'; VALUE_BYTES_MAX + 1]).unwrap();
        fs::set_permissions(secrets.folder().join("c"), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(secrets.read("c"), Err(Error::Disk { .. })));
    }

    #[test]
    fn a_value_prints_as_nothing() {
        let value = Value::new("hunter2");
        let secret = Secret::new("a", [("token".to_owned(), value.clone())].into());
        for shown in [format!("{value:?}"), format!("{secret:?}"), format!("{secret:#?}")] {
            assert!(!shown.contains("hunter2") && shown.contains('…'), "{shown}");
        }
    }
}
