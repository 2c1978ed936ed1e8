//! A folder of OSV records: `.json` files, and the `.zip` archives that databases are offered as.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    inventory::{Inventory, Kind},
    matching::Unread,
    osv::Record,
    version::normal_name,
};

/// The largest record that is read, in bytes.
const RECORD_LIMIT: u64 = 16 << 20;
/// How many folders deep records are looked for.
const DEPTH_LIMIT: usize = 4;
/// How many unreadable files are named.
const UNREAD_LIMIT: usize = 100;

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The folder can't be read.
    #[error("cannot read the vulnerability database at {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error(
        "no record in the vulnerability database at {}: put OSV records (.json) or archives of them (.zip) there",
        path.display()
    )]
    Empty {
        /// Which.
        path: PathBuf,
    },
}

/// Which state of a database: another one after every change of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of the names, sizes and times of its files.
    pub digest: String,
    /// When the newest of them was written, in milliseconds since 1970.
    pub newest_ms: u64,
}

impl Fingerprint {
    /// How old the newest of the database's files is.
    pub fn age(&self, now: SystemTime) -> Duration {
        let newest = UNIX_EPOCH + Duration::from_millis(self.newest_ms);
        now.duration_since(newest).unwrap_or_default()
    }
}

/// A folder of records, at one moment.
#[derive(Debug)]
pub struct Database {
    files: Vec<PathBuf>,
    fingerprint: Fingerprint,
}

impl Database {
    /// Looks what is in the folder; no record is read yet.
    pub fn open(folder: &Path) -> Result<Self, DatabaseError> {
        let mut found = Vec::new();
        walk(folder, DEPTH_LIMIT, &mut found)
            .map_err(|source| DatabaseError::Folder { path: folder.to_owned(), source })?;
        if found.is_empty() {
            return Err(DatabaseError::Empty { path: folder.to_owned() });
        }
        found.sort();
        let (mut hash, mut newest) = (Sha256::new(), Duration::ZERO);
        for (path, size, (written, changed)) in &found {
            let written_ns = written.as_nanos();
            hash.update(format!("{}\0{size}\0{written_ns}\0{changed:?}\0", path.display()));
            newest = newest.max(*written);
        }
        let digest = hash.finalize().iter().fold(String::new(), |mut digest, byte| {
            let _ = write!(digest, "{byte:02x}");
            digest
        });
        let newest_ms = u64::try_from(newest.as_millis()).unwrap_or(u64::MAX);
        let files = found.into_iter().map(|(path, ..)| path).collect();
        Ok(Self { files, fingerprint: Fingerprint { digest, newest_ms } })
    }

    /// Which state it is in.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The records about the packages of these images. The others are read and forgotten, so that
    /// memory follows what is installed and not what is known. What can't be read is named.
    pub fn records(&self, inventories: &[&Inventory]) -> Records {
        let mut reading = Reading { wanted: Wanted::of(inventories), ..Reading::default() };
        for path in &self.files {
            let is_archive = path.extension().is_some_and(|one| one.eq_ignore_ascii_case("zip"));
            let read = if is_archive { reading.archive(path) } else { reading.file(path) };
            if let Err(error) = read {
                reading.refuse(path.display().to_string(), error.to_string());
            }
        }
        let Reading { records, unread, ecosystems, .. } = reading;
        Records { wanted: records, unread, ecosystems }
    }
}

/// What was read of a database.
#[derive(Debug, Default)]
pub struct Records {
    /// Those that were wanted.
    pub wanted: Vec<Record>,
    /// What could not be read.
    pub unread: Vec<Unread>,
    /// Of what there are records at all, wanted or not.
    pub ecosystems: BTreeSet<String>,
}

impl Records {
    /// Why it is not the whole database.
    pub fn flaw(&self) -> Option<String> {
        let Unread { what, why, .. } = self.unread.first()?;
        let more = match self.unread.len() - 1 {
            0 => String::new(),
            more => format!(", nor can {more} more"),
        };
        Some(format!(
            "a part of the vulnerability database can't be read: {what} ({why}){more}; put it there \
             anew, or take it away when it is no record"
        ))
    }
}

/// A file, its size, and when it was written and when anything about it was changed, such as who
/// may read it.
type Found = (PathBuf, u64, (Duration, (i64, i64)));

fn walk(folder: &Path, depth: usize, found: &mut Vec<Found>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, about) = (entry.path(), fs::metadata(entry.path())?);
        if about.is_dir() {
            if depth != 0 {
                walk(&path, depth - 1, found)?;
            }
            continue;
        }
        let is_record = path
            .extension()
            .is_some_and(|one| one.eq_ignore_ascii_case("json") || one.eq_ignore_ascii_case("zip"));
        if is_record && about.is_file() {
            let written = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let changed = (about.ctime(), about.ctime_nsec());
            found.push((path, about.len(), (written, changed)));
        }
    }
    Ok(())
}

/// The names that records are wanted for.
#[derive(Default)]
struct Wanted {
    python: BTreeSet<String>,
    debian: BTreeSet<String>,
}

impl Wanted {
    fn of(inventories: &[&Inventory]) -> Self {
        let mut wanted = Self::default();
        for package in inventories.iter().flat_map(|one| &one.packages) {
            let names = match package.kind {
                Kind::Pypi => &mut wanted.python,
                Kind::Deb => &mut wanted.debian,
            };
            names.insert(package.advised().0.to_owned());
        }
        wanted
    }

    fn has(&self, record: &Record) -> bool {
        record.affected.iter().any(|affected| {
            let name = &affected.package.name;
            match affected.package.ecosystem.as_str() {
                "PyPI" => self.python.contains(&normal_name(name)),
                _ => self.debian.contains(name),
            }
        })
    }
}

#[derive(Default)]
struct Reading {
    wanted: Wanted,
    records: Vec<Record>,
    unread: Vec<Unread>,
    ecosystems: BTreeSet<String>,
}

impl Reading {
    fn file(&mut self, path: &Path) -> io::Result<()> {
        let bytes = bounded(File::open(path)?)?;
        self.take(&path.display().to_string(), &bytes);
        Ok(())
    }

    fn archive(&mut self, path: &Path) -> io::Result<()> {
        let mut archive = zip::ZipArchive::new(io::BufReader::new(File::open(path)?))?;
        for index in 0..archive.len() {
            let entry = archive.by_index(index)?;
            let inner = String::from_utf8_lossy(entry.name_raw()).into_owned();
            let name = format!("{}/{inner}", path.display());
            let is_record = Path::new(&inner)
                .extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
            if !entry.is_file() || !is_record {
                continue;
            }
            match bounded(entry) {
                Ok(bytes) => self.take(&name, &bytes),
                Err(error) => self.refuse(name, error.to_string()),
            }
        }
        Ok(())
    }

    fn take(&mut self, name: &str, bytes: &[u8]) {
        match serde_json::from_slice::<Record>(bytes) {
            Ok(record) if record.id.is_empty() => {
                self.refuse(name.to_owned(), "it has no id: no OSV record".to_owned());
            }
            Ok(record) => {
                for affected in &record.affected {
                    let ecosystem = &affected.package.ecosystem;
                    if !self.ecosystems.contains(ecosystem) {
                        self.ecosystems.insert(ecosystem.clone());
                    }
                }
                if self.wanted.has(&record) {
                    self.records.push(record);
                }
            }
            Err(error) => self.refuse(name.to_owned(), error.to_string()),
        }
    }

    fn refuse(&mut self, what: String, why: String) {
        if self.unread.len() < UNREAD_LIMIT {
            self.unread.push(Unread::file(what, why));
        }
    }
}

fn bounded(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(RECORD_LIMIT + 1).read_to_end(&mut bytes)?;
    if RECORD_LIMIT < bytes.len() as u64 {
        let why = format!("a record has at most {} MiB", RECORD_LIMIT >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(bytes)
}
