//! What a backup is made of, as text: the header of an archive, and snapshots. All of it is read as
//! if somebody else had written it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::{Error, path};
use crate::model::{Digest, Timestamp};

/// The format that this Berth writes. A newer one is not read.
pub const FORMAT: u32 = 1;
/// What an archive calls itself.
const ARCHIVE: &str = "berth-backup";
/// What a snapshot calls itself.
const SNAPSHOT: &str = "berth-snapshot";
/// How many entries a snapshot may have.
const ENTRIES_MAX: usize = 20_000_000;
/// How long a name of a file may be.
const NAME_MAX: usize = 255;
/// How long a path may be.
const PATH_MAX: usize = 4096;

/// A folder that is kept, by what it is for. A restore brings them back in this order: manifests
/// come last, so that nothing starts before its data is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Root {
    /// Secrets; only in archives that are encrypted.
    Secrets,
    /// What Berth remembers: state, tokens, the audit log.
    State,
    /// The model store.
    Models,
    /// The apps' data.
    Workspaces,
    /// Manifests.
    Manifests,
}

impl Root {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Secrets, Self::State, Self::Models, Self::Workspaces, Self::Manifests];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::State => "state",
            Self::Models => "models",
            Self::Workspaces => "workspaces",
            Self::Manifests => "manifests",
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How an archive is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// Not at all.
    None,
    /// By age, with the key in `key.age`.
    Age,
}

/// What an archive says of itself, in `berth-backup.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    kind: String,
    format: u32,
    /// Which archive it is.
    pub id: String,
    /// When it was begun.
    pub made: Timestamp,
    /// How it is encrypted.
    pub encryption: Encryption,
}

/// What every format has.
#[derive(Deserialize)]
struct Kind {
    kind: String,
    format: u32,
}

/// Whether a document is one of these, and of a format that is known here.
fn check_kind(bytes: &[u8], wanted: &str, what: &str) -> Result<(), Error> {
    let foreign = || Error::Foreign(what.to_owned());
    let found: Kind = serde_json::from_slice(bytes).map_err(|error| {
        if error.is_eof() { Error::Corrupt(format!("{what} is cut off")) } else { foreign() }
    })?;
    if found.kind != wanted {
        return Err(foreign());
    }
    match found.format {
        FORMAT => Ok(()),
        0 => Err(foreign()),
        found => Err(Error::Newer { what: what.to_owned(), found }),
    }
}

impl Header {
    /// That of a new archive.
    pub fn new(id: String, made: Timestamp, encryption: Encryption) -> Self {
        Self { kind: ARCHIVE.to_owned(), format: FORMAT, id, made, encryption }
    }

    /// Reads it.
    pub fn read(bytes: &[u8], place: &str) -> Result<Self, Error> {
        check_kind(bytes, ARCHIVE, place)?;
        serde_json::from_slice(bytes).map_err(|why| Error::Corrupt(format!("{place}: {why}")))
    }

    /// As it is written.
    pub fn text(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
pub enum What {
    /// A folder.
    Folder,
    /// A file, by its content.
    File {
        /// How long it is.
        size: u64,
        /// Its content, which is an object of the archive.
        sha256: Digest,
        /// By what it is seen that it was not changed since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stamp: Option<String>,
    },
    /// A symbolic link. It is made again and never followed.
    Link {
        /// What it says.
        target: String,
    },
    /// One more name of a file that came before.
    Same {
        /// That file's path.
        of: String,
    },
}

/// One name in a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// In which root.
    pub root: Root,
    /// Where in it; bytes that are not text, and `%`, are written as `%` and two digits.
    pub path: String,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
    /// Who may use it, in octal digits.
    #[serde(default)]
    pub mode: String,
    /// Whose it is: user and group, as numbers.
    #[serde(default)]
    pub owner: [u32; 2],
    /// When its content was changed: seconds since 1970, with nine digits after the point.
    #[serde(default)]
    pub modified: String,
}

/// Everything as it was at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    kind: String,
    format: u32,
    /// The archive that it belongs to.
    pub archive: String,
    /// When it was begun.
    pub made: Timestamp,
    /// The version of Berth that wrote it.
    pub berth: String,
    /// The machine.
    pub host: String,
    /// Which Berth it was.
    pub instance: String,
    /// Where the roots were.
    pub roots: BTreeMap<Root, String>,
    /// What is not in it, and why.
    pub left_out: Vec<String>,
    /// What somebody should know who restores it.
    pub remarks: Vec<String>,
    /// Whether something that should be in it could not be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// The options that were set, but for those that name secrets: to set them on another machine.
    pub settings: BTreeMap<String, Vec<String>>,
    /// What is there: folders before what is in them.
    pub entries: Vec<Entry>,
}

/// What a snapshot says beside its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The version of Berth that writes it.
    pub berth: String,
    /// The machine.
    pub host: String,
    /// Which Berth it is.
    pub instance: String,
    /// The options that were set.
    pub settings: BTreeMap<String, Vec<String>>,
}

impl Snapshot {
    /// One without entries.
    pub fn new(archive: &str, made: Timestamp, about: &About) -> Self {
        let About { berth, host, instance, settings } = about.clone();
        Self {
            kind: SNAPSHOT.to_owned(),
            format: FORMAT,
            archive: archive.to_owned(),
            made,
            berth,
            host,
            instance,
            incomplete: false,
            roots: BTreeMap::new(),
            left_out: Vec::new(),
            remarks: Vec::new(),
            settings,
            entries: Vec::new(),
        }
    }

    /// As it is written: one entry a line, so that people can search and compare it.
    pub fn text(&self) -> Vec<u8> {
        let head = Self { entries: Vec::new(), ..self.clone() };
        let head = serde_json::to_string_pretty(&head).unwrap_or_default();
        let head = head.trim_end_matches("[]\n}");
        let lines: Vec<_> = self
            .entries
            .iter()
            .map(|entry| format!("    {}", serde_json::to_string(entry).unwrap_or_default()))
            .collect();
        format!("{head}[\n{}\n  ]\n}}\n", lines.join(",\n")).into_bytes()
    }

    /// Reads one, and believes nothing of it.
    pub fn read(bytes: &[u8], place: &str, archive: &str) -> Result<Self, Error> {
        check_kind(bytes, SNAPSHOT, place)?;
        let corrupt = |why: String| Error::Corrupt(format!("{place}: {why}"));
        let snapshot: Self =
            serde_json::from_slice(bytes).map_err(|why| corrupt(why.to_string()))?;
        if snapshot.archive != archive {
            return Err(Error::Foreign(format!("{place} belongs to another archive, and")));
        }
        check(&snapshot.entries).map_err(corrupt)?;
        Ok(snapshot)
    }

    /// Every content that it needs, with its length.
    pub fn contents(&self) -> BTreeMap<&Digest, u64> {
        let contents = self.entries.iter().filter_map(|entry| match &entry.what {
            What::File { size, sha256, .. } => Some((sha256, *size)),
            _ => None,
        });
        contents.collect()
    }

    /// The roots that it has something of.
    pub fn roots_in_it(&self) -> BTreeSet<Root> {
        self.roots.keys().copied().collect()
    }
}

/// Whether entries can be brought back without leaving their roots: each is a plain name in a
/// folder that came before, and none comes twice.
fn check(entries: &[Entry]) -> Result<(), String> {
    if ENTRIES_MAX < entries.len() {
        return Err("it has more entries than any snapshot should".to_owned());
    }
    let mut folders = BTreeSet::new();
    let mut files = BTreeSet::new();
    let mut all = BTreeSet::new();
    let mut sizes = BTreeMap::new();
    for entry in entries {
        let wrong = |why: &str| Err(format!("`{}` in {} {why}", entry.path, entry.root));
        let Some(bytes) = path::unescape(&entry.path) else { return wrong("is no path") };
        if path::escape(&bytes) != entry.path || !is_plain(&bytes) {
            return wrong("is no path that stays in its folder");
        }
        if let Some((above, _)) = entry.path.rsplit_once('/')
            && !folders.contains(&(entry.root, above))
        {
            return wrong("is in no folder");
        }
        if !all.insert((entry.root, entry.path.as_str())) {
            return wrong("is there twice");
        }
        if !(entry.mode.is_empty() || mode_of(entry).is_some())
            || !(entry.modified.is_empty() || modified_of(entry).is_some())
        {
            return wrong("has a mode or a time that makes no sense");
        }
        match &entry.what {
            What::Folder => drop(folders.insert((entry.root, entry.path.as_str()))),
            What::File { size, sha256, .. } => {
                if Digest::parse(sha256.as_str()).is_none() {
                    return wrong("has a digest that is none");
                }
                if *sizes.entry(sha256).or_insert(*size) != *size {
                    return wrong("has a content of two lengths");
                }
                files.insert((entry.root, entry.path.as_str()));
            }
            What::Link { target } => match path::unescape(target) {
                Some(target)
                    if !target.is_empty() && target.len() < PATH_MAX && !target.contains(&0) => {}
                _ => return wrong("is a link to nothing that can be"),
            },
            What::Same { of } if !files.contains(&(entry.root, of.as_str())) => {
                return wrong("is another name of no file");
            }
            What::Same { .. } => {}
        }
    }
    Ok(())
}

/// Whether a path stays where it is, and means nothing to those who bring it back.
fn is_plain(bytes: &[u8]) -> bool {
    let is_name =
        |name: &[u8]| !name.is_empty() && name != b"." && name != b".." && name.len() <= NAME_MAX;
    let first = bytes.split(|byte| *byte == b'/').next().unwrap_or_default();
    bytes.len() < PATH_MAX
        && !bytes.contains(&0)
        && bytes.split(|byte| *byte == b'/').all(is_name)
        && !super::is_own_name(first)
}

/// The mode that an entry says.
pub(super) fn mode_of(entry: &Entry) -> Option<u32> {
    u32::from_str_radix(&entry.mode, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// The time that an entry says, in nanoseconds since 1970.
pub(super) fn modified_of(entry: &Entry) -> Option<i128> {
    let (seconds, nanos) = entry.modified.split_once('.')?;
    let is_right = nanos.len() == 9 && nanos.bytes().all(|byte| byte.is_ascii_digit());
    let (seconds, nanos): (i64, u32) = (seconds.parse().ok()?, nanos.parse().ok()?);
    is_right.then_some(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

/// A time as an entry says it.
pub(super) fn modified(nanos: i128) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    format!("{seconds}.{:09}", nanos.rem_euclid(1_000_000_000))
}
