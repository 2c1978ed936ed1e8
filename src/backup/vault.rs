//! An archive on a disk: its objects and its snapshots.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{
    Error, Key,
    disk::{self, Disk, Draft, Sort},
    format::{Encryption, Header, Snapshot},
    seal::Seal,
};
use crate::model::{Digest, Timestamp};

pub(super) const HEADER: &str = "berth-backup.json";
pub(super) const KEY: &str = "key.age";
pub(super) const OBJECTS: &str = "objects";
pub(super) const SNAPSHOTS: &str = "snapshots";
pub(super) const TMP: &str = "tmp";
const LOCK: &str = "lock";
/// How long a header, or a key, may be.
const SMALL: u64 = 64 << 10;
/// How long a snapshot may be.
const SNAPSHOT_MAX: u64 = 4 << 30;
/// How many digits of its digest are in a snapshot's name.
const DIGITS: usize = 16;
/// How much is read at a time.
const SLICE: usize = 1 << 20;

/// The name of a snapshot: when it was begun, and the beginning of the digest of its file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    fn of(made: Timestamp, bytes: &[u8]) -> Self {
        // 2026-11-21T21:54:03.123Z without what some file systems do not take.
        let time: String = made.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
        Self(format!("{time}-{}", Digest::of_bytes(bytes).short(DIGITS)))
    }

    /// Reads it from the name of a file.
    pub(super) fn of_file(file: &str) -> Option<Self> {
        let text = file.strip_suffix(".age").unwrap_or(file).strip_suffix(".json")?;
        let (time, digits) = text.split_once('-')?;
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        let is_right = time.len() == 19
            && time.chars().all(|c| c.is_ascii_alphanumeric())
            && digits.len() == DIGITS
            && digits.chars().all(is_hex);
        is_right.then(|| Self(text.to_owned()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_of(&self, bytes: &[u8]) -> bool {
        self.0.ends_with(Digest::of_bytes(bytes).short(DIGITS))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What keeps others out of an archive; none where nothing can be written anyway.
#[derive(Debug)]
pub(super) struct Lock {
    _held: Option<Box<dyn Any + Send + Sync>>,
}

/// An archive.
#[derive(Debug)]
pub struct Vault {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) root: PathBuf,
    header: Header,
    seal: Option<Seal>,
    /// Objects that are in the archive and not in this folder: it is elsewhere, and this is where
    /// it is written before it is sent.
    pub(super) elsewhere: BTreeSet<String>,
    /// Folders in which something happened that is not on the disk yet.
    unsynced: BTreeSet<PathBuf>,
    /// Whether what is there already is written again, should the disk have changed it.
    pub(super) is_thorough: bool,
    drafts: u64,
    _lock: Lock,
}

impl Vault {
    /// Opens an archive, or begins one in an empty folder.
    pub fn open_or_make(
        disk: Arc<dyn Disk>,
        root: &Path,
        key: Option<&Key>,
        begins: (&str, Timestamp),
    ) -> Result<Self, Error> {
        Self::open_or_make_held(disk, root, key, begins, None)
    }

    /// The same for who may hold it already.
    pub(super) fn open_or_make_held(
        disk: Arc<dyn Disk>,
        root: &Path,
        key: Option<&Key>,
        (id, now): (&str, Timestamp),
        held: Option<Lock>,
    ) -> Result<Self, Error> {
        match disk.stat(&root.join(HEADER)) {
            Ok(_) => return Self::open_held(disk, root, key, held),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::disk("failed to read", root)(source)),
        }
        let unwritable = || Error::disk("failed to write", root);
        disk::make_dirs(disk.as_ref(), root, 0o700).map_err(unwritable())?;
        let ours = [KEY, OBJECTS, SNAPSHOTS, TMP, LOCK, "list", "lost+found"];
        let names = disk.list(root).map_err(Error::disk("failed to read", root))?;
        let is_empty = |part: &str| {
            let path = root.join(part);
            disk.stat(&path).is_err() || disk.list(&path).is_ok_and(|names| names.is_empty())
        };
        // What a beginning that was broken off has left is taken up; everything else is not ours.
        let is_ours = names.iter().all(|name| ours.iter().any(|own| name == own));
        if !is_ours || !is_empty(OBJECTS) || !is_empty(SNAPSHOTS) {
            return Err(Error::Foreign(root.display().to_string()));
        }
        let lock = held.map_or_else(|| hold(disk.as_ref(), root), Ok)?;
        for part in [OBJECTS, SNAPSHOTS, TMP] {
            disk::make_dirs(disk.as_ref(), &root.join(part), 0o700).map_err(unwritable())?;
        }
        let put = |name: &str, bytes: &[u8]| {
            disk::put_small(disk.as_ref(), &root.join(TMP).join("begin"), &root.join(name), bytes)
        };
        let mut seal = None;
        if let Some(key) = key {
            let (made, wrapped) = Seal::make(key)?;
            put(KEY, &wrapped).map_err(unwritable())?;
            seal = Some(made);
        }
        let encryption = if key.is_some() { Encryption::Age } else { Encryption::None };
        let header = Header::new(id.to_owned(), now, encryption);
        put(HEADER, &header.text()).map_err(unwritable())?;
        Ok(Self::with(disk, root, header, seal, lock))
    }

    /// Opens an archive that is there.
    pub fn open(disk: Arc<dyn Disk>, root: &Path, key: Option<&Key>) -> Result<Self, Error> {
        Self::open_held(disk, root, key, None)
    }

    /// The same for who may hold it already.
    pub(super) fn open_held(
        disk: Arc<dyn Disk>,
        root: &Path,
        key: Option<&Key>,
        held: Option<Lock>,
    ) -> Result<Self, Error> {
        let place = root.display().to_string();
        let header = root.join(HEADER);
        let bytes =
            disk::read_small(disk.as_ref(), &header, SMALL).map_err(|source| {
                match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::FileTooLarge => Error::Foreign(place),
                    _ => Error::disk("failed to read", &header)(source),
                }
            })?;
        let header = Header::read(&bytes, &header.display().to_string())?;
        let lock = held.map_or_else(|| hold(disk.as_ref(), root), Ok)?;
        let seal = match (header.encryption, key) {
            (Encryption::None, None) => None,
            (Encryption::None, Some(_)) => return Err(Error::NotEncrypted(root.to_owned())),
            (Encryption::Age, None) => return Err(Error::NoKey),
            (Encryption::Age, Some(key)) => {
                let path = root.join(KEY);
                let wrapped = disk::read_small(disk.as_ref(), &path, SMALL)
                    .map_err(Error::disk("failed to read", &path))?;
                Some(Seal::open(key, &wrapped)?)
            }
        };
        Ok(Self::with(disk, root, header, seal, lock))
    }

    fn with(
        disk: Arc<dyn Disk>,
        root: &Path,
        header: Header,
        seal: Option<Seal>,
        lock: Lock,
    ) -> Self {
        Self {
            disk,
            root: root.to_owned(),
            header,
            seal,
            elsewhere: BTreeSet::new(),
            unsynced: BTreeSet::new(),
            is_thorough: false,
            drafts: 0,
            _lock: lock,
        }
    }

    /// What it says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether nobody reads it without its key.
    pub fn is_encrypted(&self) -> bool {
        self.seal.is_some()
    }

    /// Its snapshots, oldest first.
    pub fn names(&self) -> Result<Vec<Name>, Error> {
        Ok(self.files()?.into_keys().collect())
    }

    /// The snapshots and their files.
    pub(super) fn files(&self) -> Result<BTreeMap<Name, String>, Error> {
        let folder = self.root.join(SNAPSHOTS);
        let found = self.disk.list(&folder).map_err(Error::disk("failed to read", &folder))?;
        let files = found.into_iter().filter_map(|file| {
            let file = file.into_string().ok()?;
            Some((Name::of_file(&file)?, file))
        });
        Ok(files.collect())
    }

    /// The snapshot of this name, or of which this is the beginning; the newest for `latest`.
    pub fn find(&self, text: &str) -> Result<Name, Error> {
        let mut names = self.names()?;
        if text != "latest" {
            names.retain(|name| name.as_str().starts_with(text));
            if 1 < names.len() {
                return Err(Error::Refused(format!(
                    "`{text}` is the beginning of several snapshots"
                )));
            }
        }
        names.pop().ok_or_else(|| Error::NoSnapshot(text.to_owned()))
    }

    /// Reads a snapshot.
    pub fn snapshot(&self, name: &Name) -> Result<Snapshot, Error> {
        let files = self.files()?;
        let file = files.get(name).ok_or_else(|| Error::NoSnapshot(name.to_string()))?;
        let path = self.root.join(SNAPSHOTS).join(file);
        let place = path.display().to_string();
        let bytes = disk::read_small(self.disk.as_ref(), &path, SNAPSHOT_MAX)
            .map_err(Error::disk("failed to read", &path))?;
        if !name.is_of(&bytes) {
            return Err(Error::Corrupt(format!("{place} is not what it was when it was written")));
        }
        let is_sealed = Path::new(file).extension().is_some_and(|end| end == "age");
        let text = match (&self.seal, is_sealed) {
            (Some(seal), true) => {
                let mut text = Vec::new();
                let read = seal
                    .decrypt(bytes.as_slice())
                    .and_then(|it| it.take(SNAPSHOT_MAX).read_to_end(&mut text));
                read.map_err(|error| Error::Corrupt(format!("{place}: {error}")))?;
                text
            }
            (None, false) => bytes,
            _ => return Err(Error::Foreign(place)),
        };
        Snapshot::read(&text, &place, &self.header.id)
    }

    /// The name of the object that holds a content, in `objects/`.
    pub fn object(&self, content: &Digest) -> String {
        let name = self.seal.as_ref().map_or_else(|| content.clone(), |seal| seal.name(content));
        format!("{}/{name}", name.short(2))
    }

    pub(super) fn path(&self, content: &Digest) -> PathBuf {
        self.root.join(OBJECTS).join(self.object(content))
    }

    /// Whether a content is there already. One of another length than it must have is not.
    pub(super) fn has(&self, content: &Digest, size: u64) -> bool {
        if self.elsewhere.contains(&self.object(content)) {
            return true;
        }
        let found = self.disk.stat(&self.path(content));
        let is_as_long = |found: u64| self.seal.is_some() || found == size;
        found.is_ok_and(|found| found.sort == Sort::File && is_as_long(found.size))
    }

    /// Whether something is there by the name of a content.
    pub(super) fn holds(&self, content: &Digest) -> bool {
        self.disk.stat(&self.path(content)).is_ok()
    }

    /// Empties the folder of drafts: nobody else writes here.
    pub(super) fn clear_drafts(&self) -> Result<(), Error> {
        let tmp = self.root.join(TMP);
        let wrong = || Error::disk("failed to empty", &tmp);
        match self.disk.list(&tmp) {
            Ok(names) => names.iter().try_for_each(|name| {
                disk::remove_tree(self.disk.as_ref(), &tmp.join(name)).map_err(wrong())
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.create_dir(&tmp, 0o700).map_err(wrong())
            }
            Err(error) => Err(wrong()(error)),
        }
    }

    fn draft(&mut self) -> PathBuf {
        self.drafts += 1;
        self.root.join(TMP).join(format!("draft-{}", self.drafts))
    }

    /// Keeps what can be read. Answers its digest and length, and whether it is new here.
    pub(super) fn put(&mut self, from: &mut dyn Read) -> io::Result<(Digest, u64, bool)> {
        let draft = self.draft();
        let done = self.write(&draft, from).and_then(|(content, size)| {
            let is_new = !self.has(&content, size);
            if is_new || self.is_thorough {
                self.settle(&draft, &content)?;
            } else {
                self.disk.remove_file(&draft)?;
            }
            Ok((content, size, is_new))
        });
        if done.is_err() {
            let _ = self.disk.remove_file(&draft);
        }
        done
    }

    fn write(&self, draft: &Path, from: &mut dyn Read) -> io::Result<(Digest, u64)> {
        let mut file = self.disk.create(draft)?;
        let read = match &self.seal {
            None => copy(from, &mut file)?,
            Some(seal) => {
                let mut sealed = seal.encrypt(&mut file)?;
                let read = copy(from, &mut sealed)?;
                sealed.finish()?;
                read
            }
        };
        Draft::sync(file.as_mut())?;
        Ok(read)
    }

    /// Keeps one more name of a file that never changes, instead of a copy of it. Answers none
    /// where that can't be, or it is not what it is said to be.
    pub(super) fn adopt(&mut self, file: &Path, content: &Digest) -> io::Result<Option<u64>> {
        if self.seal.is_some() || !self.elsewhere.is_empty() {
            return Ok(None);
        }
        let draft = self.draft();
        if self.disk.link(file, &draft).is_err() {
            return Ok(None);
        }
        let done = hash(self.disk.open(&draft)?.as_mut()).and_then(|(found, size)| {
            if found == *content {
                self.settle(&draft, content).map(|()| Some(size))
            } else {
                self.disk.remove_file(&draft).map(|()| None)
            }
        });
        if done.is_err() {
            let _ = self.disk.remove_file(&draft);
        }
        done
    }

    /// Gives a draft that is on the disk its name.
    fn settle(&mut self, draft: &Path, content: &Digest) -> io::Result<()> {
        let path = self.path(content);
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        if self.disk.stat(&folder).is_err() {
            self.disk.create_dir(&folder, 0o700)?;
            self.unsynced.insert(self.root.join(OBJECTS));
        }
        let mode = Some(0o444);
        self.disk.dress(draft, &disk::Dress { mode, ..Default::default() })?;
        self.disk.rename(draft, &path)?;
        if self.disk.stat(draft).is_ok() {
            // Both are names of one file: nothing was renamed.
            self.disk.remove_file(draft)?;
        }
        self.unsynced.insert(folder);
        Ok(())
    }

    /// Makes all objects last.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        for folder in std::mem::take(&mut self.unsynced) {
            self.disk.sync_dir(&folder)?;
        }
        Ok(())
    }

    /// Keeps a snapshot; all that it needs must be on the disk.
    pub(super) fn put_snapshot(&mut self, snapshot: &Snapshot) -> io::Result<(Name, String)> {
        let mut bytes = snapshot.text();
        let mut end = ".json";
        if let Some(seal) = &self.seal {
            let mut sealed = seal.encrypt(Vec::new())?;
            sealed.write_all(&bytes)?;
            bytes = sealed.finish()?;
            end = ".json.age";
        }
        let name = Name::of(snapshot.made, &bytes);
        let file = format!("{name}{end}");
        let path = self.root.join(SNAPSHOTS).join(&file);
        disk::put_small(self.disk.as_ref(), &self.root.join(TMP).join("snapshot"), &path, &bytes)?;
        Ok((name, file))
    }

    /// Opens a content for reading.
    pub(super) fn read(&self, content: &Digest) -> io::Result<Box<dyn Read + Send>> {
        let file = self.disk.open(&self.path(content))?;
        match &self.seal {
            Some(seal) => seal.decrypt(file),
            None => Ok(file),
        }
    }

    /// Reads a content, and says why it is not what it must be.
    pub(super) fn check(&self, content: &Digest, size: u64) -> Result<(), String> {
        let mut reader = self.read(content).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "is not there".to_owned(),
            _ => format!("can't be read: {error}"),
        })?;
        match hash(reader.as_mut()) {
            Ok((found, length)) if found == *content && length == size => Ok(()),
            Ok((_, length)) if length != size => Err(format!("has {length} bytes, not {size}")),
            Ok(_) => Err("has other content than it had".to_owned()),
            Err(error) => Err(format!("can't be read: {error}")),
        }
    }
}

/// Keeps others out. Who may only read needs no lock: nothing is written there.
pub(super) fn hold(disk: &dyn Disk, root: &Path) -> Result<Lock, Error> {
    use io::ErrorKind as K;
    match disk.hold(&root.join(LOCK), false) {
        Ok(lock) => Ok(Lock { _held: Some(lock) }),
        Err(error) if error.kind() == K::WouldBlock => Err(Error::Locked(root.to_owned())),
        Err(error) if matches!(error.kind(), K::ReadOnlyFilesystem | K::PermissionDenied) => {
            Ok(Lock { _held: None })
        }
        Err(error) => Err(Error::disk("failed to lock", root)(error)),
    }
}

/// Copies all, and says what it was.
pub(super) fn copy(from: &mut dyn Read, into: &mut dyn Write) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut size = 0;
    let mut slice = vec![0; SLICE];
    loop {
        let count = match from.read(&mut slice) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = slice.get(..count).unwrap_or_default();
        hasher.update(part);
        into.write_all(part)?;
        size += u64::try_from(count).unwrap_or(u64::MAX);
    }
    Ok((Digest::of_hash(hasher.finalize().into()), size))
}

/// The digest and length of all that can be read.
pub(super) fn hash(from: &mut dyn Read) -> io::Result<(Digest, u64)> {
    copy(from, &mut io::sink())
}
