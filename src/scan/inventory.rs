//! What is installed: gathered from an image's files, whatever order they come in.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{deb, version};

/// The largest list of packages that is read, in bytes.
const LIST_LIMIT: u64 = 64 << 20;
/// The largest `METADATA` of a Python package that is read, in bytes. Its head is what counts.
const METADATA_LIMIT: u64 = 1 << 20;
/// How many packages one image may name.
const PACKAGES_LIMIT: usize = 100_000;

/// What installed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// dpkg, on Debian and what comes of it.
    Deb,
    /// pip and its like.
    Pypi,
}

/// The source that a Debian package was built of. Its advisories name the source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Its version, which is not always the package's.
    pub version: String,
}

/// One installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Package {
    /// What installed it.
    pub kind: Kind,
    /// Its name; Python's as PEP 503 normalises it.
    pub name: String,
    /// Its version, as it is written.
    pub version: String,
    /// What it was built of, where that has a name of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What it runs on, as dpkg names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

impl Package {
    /// The name and the version that advisories speak of.
    pub(super) fn advised(&self) -> (&str, &str) {
        match &self.source {
            Some(source) => (&source.name, &source.version),
            None => (&self.name, &self.version),
        }
    }
}

/// The distribution of an image: `ID` and `VERSION_ID` of its `os-release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// `debian`, `ubuntu`.
    pub id: String,
    /// `12`, `22.04`; empty where the distribution has no numbers.
    pub version: String,
}

impl Distribution {
    /// Whether an OSV ecosystem (`Debian:12`, `Ubuntu:22.04:LTS`) is about this distribution.
    /// One without a release is about every release; Ubuntu's paid updates are another thing.
    pub(super) fn is(&self, ecosystem: &str) -> bool {
        let mut parts = ecosystem.split(':');
        let name = parts.next().unwrap_or_default();
        if !name.eq_ignore_ascii_case(&self.id) {
            return false;
        }
        match parts.next() {
            None => true,
            Some(release) => {
                release == self.version && parts.all(|part| part.eq_ignore_ascii_case("LTS"))
            }
        }
    }
}

/// All that is known to be installed in an image, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Its distribution; none where nothing names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// Its packages.
    pub packages: Vec<Package>,
}

/// Takes an image's files one by one, and keeps what they say about packages.
#[derive(Debug, Default)]
pub struct Gather {
    distribution: Option<Distribution>,
    packages: BTreeSet<Package>,
}

impl Gather {
    /// How many bytes of a file are wanted; none when it says nothing about packages. The path is
    /// the file's in the image, with or without a leading slash.
    pub fn wants(path: &str) -> Option<u64> {
        match Place::of(path)? {
            Place::Status | Place::Release => Some(LIST_LIMIT),
            Place::Metadata => Some(METADATA_LIMIT),
        }
    }

    /// Takes a file that was wanted.
    pub fn take(&mut self, path: &str, content: &[u8]) {
        let text = String::from_utf8_lossy(content);
        match Place::of(path) {
            Some(Place::Release) => self.distribution = release(&text).or(self.distribution.take()),
            Some(Place::Status) => {
                let room = PACKAGES_LIMIT.saturating_sub(self.packages.len());
                self.packages.extend(deb::installed(&text).take(room));
            }
            Some(Place::Metadata) if self.packages.len() < PACKAGES_LIMIT => {
                self.packages.extend(wheel(&text));
            }
            _ => {}
        }
    }

    /// What was found.
    pub fn finish(self) -> Inventory {
        let packages = self.packages.into_iter().collect();
        Inventory { distribution: self.distribution, packages }
    }
}

/// Where package managers keep their lists.
enum Place {
    Status,
    Release,
    Metadata,
}

impl Place {
    fn of(path: &str) -> Option<Self> {
        let path = path.trim_start_matches("./").trim_start_matches('/');
        if path == "var/lib/dpkg/status" {
            return Some(Self::Status);
        }
        if let Some(name) = path.strip_prefix("var/lib/dpkg/status.d/") {
            return (!name.ends_with(".md5sums")).then_some(Self::Status);
        }
        if matches!(path, "etc/os-release" | "usr/lib/os-release") {
            return Some(Self::Release);
        }
        let (folder, name) = path.rsplit_once('/')?;
        let is_metadata = (name == "METADATA" && folder.ends_with(".dist-info"))
            || (name == "PKG-INFO" && folder.ends_with(".egg-info"))
            || name.ends_with(".egg-info");
        is_metadata.then_some(Self::Metadata)
    }
}

/// `os-release`: `KEY=value` lines, values with or without quotes.
fn release(text: &str) -> Option<Distribution> {
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
    };
    let id = value("ID").filter(|id| !id.is_empty())?;
    Some(Distribution { id, version: value("VERSION_ID").unwrap_or_default() })
}

/// A `METADATA` file: headers until an empty line (PEP 566).
fn wheel(text: &str) -> Option<Package> {
    let head = text.lines().take_while(|line| !line.is_empty());
    let (mut name, mut version) = (None, None);
    for line in head {
        let Some((field, value)) = line.split_once(':') else { continue };
        let place = match field.to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "version" => &mut version,
            _ => continue,
        };
        place.get_or_insert(value.trim());
    }
    let (name, version) = (name?, version?);
    (!name.is_empty() && !version.is_empty()).then(|| Package {
        kind: Kind::Pypi,
        name: version::normal_name(name),
        version: version.to_owned(),
        source: None,
        architecture: None,
    })
}
