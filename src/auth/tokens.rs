//! The file of tokens: read anew when it changes, written as a whole.
//!
//! `<state-dir>/tokens.json`, for Berth's user alone. The command line writes it with a lock, so that
//! tokens are made and revoked while Berth runs, and while it does not.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{Identity, Kind, Role, Scope, Secret, token::Hash};
use crate::model::Timestamp;

/// The file's name in the state folder.
const FILE: &str = "tokens.json";
/// What keeps two writers apart.
const LOCK: &str = "tokens.lock";
const FORMAT: u32 = 1;
const BYTES_MAX: u64 = 4 << 20;
const TOKENS_MAX: usize = 10_000;
const NAME_MAX: usize = 63;

/// Why tokens can't be had or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name that no token can have.
    #[error("`{0}` is no name for a token: use at most 63 letters, digits, `-`, `_` and `.`")]
    Name(String),
    /// There is one of this name.
    #[error("there is a token `{0}` already: revoke it first, or choose another name")]
    Exists(String),
    /// There is none of this name.
    #[error("there is no token `{0}`")]
    Missing(String),
    /// There are too many.
    #[error("there are {TOKENS_MAX} tokens already: revoke some first")]
    TooMany,
    /// Others could read or change the file.
    #[error("{} may be used by others: run `chmod 600 {}`", .0.display(), .0.display())]
    Open(PathBuf),
    /// The file can't be used.
    #[error("the tokens in {} can't be read: {why}", .path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created: Timestamp,
    /// From when on it is not good any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// To which parts of the model store it is limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    sha256: Digits,
}

impl Kept {
    /// Whether it was good until before now.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Which token this is, as a text that nobody can sign in with.
    pub fn fingerprint(&self) -> String {
        self.sha256.0.digits()
    }

    /// The token's bearer.
    pub fn identity(&self, kind: Kind) -> Identity {
        let (name, scopes) = (self.name.clone(), self.scopes.clone());
        Identity { kind, name, role: Some(self.role), scopes }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Digits(Hash);

impl Serialize for Digits {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.digits())
    }
}

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || serde::de::Error::custom("`sha256` is not a digest");
        Hash::parse(&text).map(Self).ok_or_else(wrong)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    tokens: Vec<Kept>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct New {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// From when on it is not good any more.
    pub expires: Option<Timestamp>,
    /// To which parts of the model store it is limited.
    pub scopes: Vec<Scope>,
}

/// A token that was made.
#[derive(Debug)]
pub struct Made {
    /// The token, which is not kept.
    pub secret: Secret,
    /// What is kept of it.
    pub kept: Kept,
}

/// What a token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good.
    Good(Kept),
    /// It was good.
    Expired(String),
    /// It is none of ours.
    Wrong,
}

/// All tokens.
#[derive(Debug)]
pub struct Tokens {
    folder: PathBuf,
    seen: Mutex<Option<(Stamp, Read)>>,
}

/// What was read of the file.
type Read = Result<Arc<Vec<Kept>>, Error>;

/// What changes when the file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Tokens {
    /// The tokens of this state folder.
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.to_owned(), seen: Mutex::default() }
    }

    fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Every token; none when no token was ever made, so that nobody signs in.
    pub fn all(&self) -> Result<Option<Arc<Vec<Kept>>>, Error> {
        let path = self.file();
        let seen = match fs::metadata(&path) {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(&path, error)),
        };
        let stamp = Stamp {
            device: seen.dev(),
            inode: seen.ino(),
            length: seen.len(),
            modified: (seen.mtime(), seen.mtime_nsec()),
            changed: (seen.ctime(), seen.ctime_nsec()),
        };
        let mut cache = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, tokens)) = cache.as_ref()
            && *read == stamp
        {
            return tokens.clone().map(Some);
        }
        let of_others = seen.mode() & 0o077;
        let tokens =
            if of_others == 0 { read(&path).map(Arc::new) } else { Err(Error::Open(path)) };
        *cache = Some((stamp, tokens.clone()));
        tokens.map(Some)
    }

    /// Whether anybody signs in here: once a token was made, until the file is removed.
    pub fn is_used(&self) -> bool {
        !matches!(self.all(), Ok(None))
    }

    /// What `secret` is worth now.
    pub fn check(&self, secret: &Secret, now: Timestamp) -> Result<Verdict, Error> {
        let tokens = self.all()?.unwrap_or_default();
        let hash = secret.hash();
        // Each is compared, so that the time does not say where it stands.
        let found = tokens
            .iter()
            .fold(None, |found, kept| if kept.sha256.0.is(&hash) { Some(kept) } else { found });
        Ok(match found {
            None => Verdict::Wrong,
            Some(kept) if kept.has_expired(now) => Verdict::Expired(kept.name.clone()),
            Some(kept) => Verdict::Good(kept.clone()),
        })
    }

    /// The token of this fingerprint, while it is good.
    pub fn still_good(&self, fingerprint: &str, now: Timestamp) -> Option<Kept> {
        let tokens = self.all().ok()??;
        let found = tokens.iter().find(|kept| kept.fingerprint() == fingerprint)?;
        (!found.has_expired(now)).then(|| found.clone())
    }

    /// Has this token be good, in the place of one of the same name.
    pub fn keep(&self, new: New, secret: &Secret, now: Timestamp) -> Result<(), Error> {
        let New { name, role, expires, scopes } = new;
        if matches!(self.check(secret, now)?, Verdict::Good(kept) if kept.name == name) {
            return Ok(());
        }
        let sha256 = Digits(secret.hash());
        let kept = Kept { name, role, created: now, expires, scopes, sha256 };
        self.change(|tokens| {
            tokens.retain(|other| other.name != kept.name);
            if TOKENS_MAX <= tokens.len() {
                return Err(Error::TooMany);
            }
            tokens.push(kept);
            Ok(())
        })
    }

    /// Makes a token.
    pub fn create(&self, new: New, now: Timestamp) -> Result<Made, Error> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let New { name, role, expires, scopes } = new;
        if name.is_empty() || NAME_MAX < name.len() || !name.chars().all(legal) {
            return Err(Error::Name(name));
        }
        let path = self.file();
        let secret = Secret::random().map_err(|error| wrong(&path, error))?;
        let sha256 = Digits(secret.hash());
        let kept = Kept { name, role, created: now, expires, scopes, sha256 };
        self.change(|tokens| {
            if tokens.iter().any(|other| other.name == kept.name) {
                return Err(Error::Exists(kept.name.clone()));
            }
            if TOKENS_MAX <= tokens.len() {
                return Err(Error::TooMany);
            }
            tokens.push(kept.clone());
            Ok(())
        })?;
        Ok(Made { secret, kept })
    }

    /// Makes a token worthless. Answers what was kept of it, and how many are left.
    pub fn revoke(&self, name: &str) -> Result<(Kept, usize), Error> {
        let mut gone = None;
        let mut left = 0;
        self.change(|tokens| {
            let at = tokens.iter().position(|kept| kept.name == name);
            let at = at.ok_or_else(|| Error::Missing(name.to_owned()))?;
            gone = Some(tokens.remove(at));
            left = tokens.len();
            Ok(())
        })?;
        gone.map(|gone| (gone, left)).ok_or_else(|| Error::Missing(name.to_owned()))
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Kept>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let path = self.file();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|error| wrong(&self.folder, error))?;
        let _lock = lock(&self.folder.join(LOCK))?;
        let mut tokens = self.all()?.map(|tokens| tokens.to_vec()).unwrap_or_default();
        change(&mut tokens)?;
        let document = Document { format: FORMAT, tokens };
        write(&self.folder, &path, &document).map_err(|error| wrong(&path, error))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is how errors are mapped")]
fn wrong(path: &Path, error: impl ToString) -> Error {
    Error::File { path: path.to_owned(), why: error.to_string() }
}

/// Keeps other writers out for as long as the answer lives.
fn lock(path: &Path) -> Result<File, Error> {
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = open.map_err(|error| wrong(path, error))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| wrong(path, error))?;
    Ok(file)
}

fn read(path: &Path) -> Result<Vec<Kept>, Error> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| wrong(path, error))?;
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(|error| wrong(path, error))?;
    let document: Document = serde_json::from_str(&text).map_err(|error| wrong(path, error))?;
    if document.format != FORMAT {
        return Err(wrong(path, format!("its format is {}, not {FORMAT}", document.format)));
    }
    Ok(document.tokens)
}

/// Writes the file as a whole: after a crash there is the old one or the new one.
fn write(folder: &Path, path: &Path, document: &Document) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec_pretty(document)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_547_200_000);

    fn new(name: &str) -> New {
        New { name: name.to_owned(), role: Role::Operator, expires: None, scopes: Vec::new() }
    }

    /// Both sides, as two processes: one reads, one writes.
    fn pair() -> (tempfile::TempDir, Tokens, Tokens) {
        let folder = tempfile::tempdir().unwrap();
        let tokens = || Tokens::new(&folder.path().join("state"));
        let (reader, writer) = (tokens(), tokens());
        (folder, reader, writer)
    }

    #[test]
    fn a_token_is_good_from_when_it_is_made_until_it_is_revoked_for_other_processes_too() {
        let (_folder, reader, writer) = pair();
        assert!(!reader.is_used());
        let made = writer.create(new("ci"), NOW).unwrap();
        assert!(reader.is_used());
        let Verdict::Good(kept) = reader.check(&made.secret, NOW).unwrap() else { panic!() };
        assert_eq!((kept.name.as_str(), kept.role), ("ci", Role::Operator));
        assert_eq!(reader.still_good(&kept.fingerprint(), NOW), Some(kept.clone()));
        let text = fs::read_to_string(writer.file()).unwrap();
        assert!(!text.contains(made.secret.reveal()), "only its digest is kept");
        assert_eq!(writer.create(new("ci"), NOW).unwrap_err(), Error::Exists("ci".to_owned()));
        assert_eq!(writer.revoke("ci").unwrap(), (kept.clone(), 0));
        assert_eq!(reader.check(&made.secret, NOW).unwrap(), Verdict::Wrong);
        assert_eq!(reader.still_good(&kept.fingerprint(), NOW), None);
        assert!(reader.is_used(), "revoking the last one opens nothing");
        assert_eq!(writer.revoke("ci").unwrap_err(), Error::Missing("ci".to_owned()));
        assert_eq!(writer.create(new("no name"), NOW).unwrap_err(), Error::Name("no name".into()));
    }

    #[test]
    fn a_token_ends_when_it_expires() {
        let (_folder, reader, writer) = pair();
        let end = NOW.moved(1000);
        let made = writer.create(New { expires: Some(end), ..new("a") }, NOW).unwrap();
        assert!(matches!(reader.check(&made.secret, end.moved(-1)), Ok(Verdict::Good(_))));
        assert_eq!(reader.check(&made.secret, end), Ok(Verdict::Expired("a".to_owned())));
        assert_eq!(reader.still_good(&made.kept.fingerprint(), end), None);
    }

    /// A file that makes no sense, or that others can read, lets nobody in and is not overwritten.
    #[test]
    fn a_file_that_can_not_be_trusted_closes_everything() {
        let (_folder, reader, writer) = pair();
        let made = writer.create(new("a"), NOW).unwrap();
        let (path, good) = (writer.file(), fs::read(writer.file()).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for bad in [&b""[..], b"{}", b"[]", b"\xff", &good[..good.len() - 2]] {
            fs::write(&path, bad).unwrap();
            assert!(reader.check(&made.secret, NOW).is_err() && reader.is_used());
            assert!(writer.create(new("b"), NOW).is_err());
            assert_eq!(fs::read(&path).unwrap(), bad);
        }
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(reader.check(&made.secret, NOW), Err(Error::Open(path.clone())));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(reader.check(&made.secret, NOW), Ok(Verdict::Good(_))));
    }

    #[test]
    fn writers_do_not_lose_each_others_tokens() {
        let (folder, reader, _) = pair();
        std::thread::scope(|scope| {
            for number in 0..8 {
                let tokens = Tokens::new(&folder.path().join("state"));
                scope.spawn(move || tokens.create(new(&format!("t{number}")), NOW).unwrap());
            }
        });
        assert_eq!(reader.all().unwrap().unwrap().len(), 8);
    }
}
