//! The options of backups.

use std::{collections::BTreeSet, fs, path::PathBuf, time::Duration};

use super::Reader;
use crate::backup::{Data, Key, Target};
use crate::model::{AppName, parse_duration};

/// How long a passphrase, or a file of keys, may be.
const KEY_MAX: u64 = 64 << 10;

/// Where and when backups are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backups {
    /// Where they are kept.
    pub to: Option<Target>,
    /// How often one is made; none is never by itself.
    pub every: Option<Duration>,
    /// How many are kept.
    pub keep: usize,
    /// The apps whose data is in them.
    pub data: Data,
    /// The apps that stand still while their data is read.
    pub pause: BTreeSet<String>,
    /// What they are encrypted by.
    pub key: Option<KeyFile>,
}

/// A file with what opens backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFile {
    /// A passphrase.
    Passphrase(PathBuf),
    /// A key of age.
    Identity(PathBuf),
}

impl KeyFile {
    /// What is in it now.
    pub fn read(&self) -> Result<Key, String> {
        let (Self::Passphrase(path) | Self::Identity(path)) = self;
        let why = |why: String| format!("{}: {why}", path.display());
        let size = fs::metadata(path).map_err(|error| why(error.to_string()))?.len();
        if KEY_MAX < size {
            return Err(why("it is too long".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|error| why(error.to_string()))?;
        let key = match self {
            Self::Passphrase(_) => Key::passphrase(&text),
            Self::Identity(_) => Key::identity(&text),
        };
        key.map_err(|error| why(error.to_string()))
    }
}

impl Reader {
    pub(super) fn backups(&mut self) -> Option<Backups> {
        let to = self.last("backup-to", Target::parse);
        let every = self.one("backup-every", every);
        let keep = self.one("backup-keep", |text| super::number(text, 100_000));
        let data = self.list("backup-data", app);
        let pause = self.list("backup-pause", |text| {
            AppName::new(text).map(|name| name.to_string()).map_err(|error| error.to_string())
        });
        let path = |text: &str| Ok(PathBuf::from(text));
        let passphrase = self.last("backup-passphrase-file", path);
        let identity = self.last("backup-identity", path);
        let key = match (passphrase?.pop(), identity?.pop()) {
            (Some(_), Some(_)) => {
                return self.lacks("backup-identity", "it can't be had beside a passphrase");
            }
            (Some(path), None) => Some(KeyFile::Passphrase(path)),
            (None, Some(path)) => Some(KeyFile::Identity(path)),
            (None, None) => None,
        };
        let data = data?;
        let data = if data.is_empty() {
            Data::All
        } else {
            Data::Only(data.into_iter().flatten().collect::<BTreeSet<_>>())
        };
        Some(Backups {
            to: to?.pop(),
            every: every?,
            keep: keep?,
            data,
            pause: pause?.into_iter().collect(),
            key,
        })
    }
}

/// An app; none for `none`.
fn app(text: &str) -> Result<Option<String>, String> {
    if text == "none" {
        return Ok(None);
    }
    AppName::new(text).map(|name| Some(name.to_string())).map_err(|error| error.to_string())
}

fn every(text: &str) -> Result<Option<Duration>, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    let is_right = (Duration::from_mins(1)..=Duration::from_hours(24 * 366)).contains(&duration);
    match duration {
        Duration::ZERO => Ok(None),
        duration if is_right => Ok(Some(duration)),
        _ => Err("write a duration of a minute at least, or `0s`".to_owned()),
    }
}
