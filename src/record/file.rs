//! State files: small, whole, replaced at once; never trusted to be there.
//!
//! The truth is in the manifests and in the labels of the engine's objects. What is kept here are
//! hints: without them Berth takes over what runs and removes nothing (faults T01, D42).

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::model::{AppName, Protocol, Timestamp};
use crate::state::{
    GpuErrors, HostPort, Leases, Life, Pin, Request, Resolved, Rest, Revision, SeenDriver,
};

/// The format that this Berth writes. A newer one is not read and not overwritten (fault T02).
const FORMAT: u32 = 1;

/// What is kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Kept {
    /// The format.
    pub format: u32,
    /// The engine that all this is about (fault D48).
    pub engine_id: Option<String>,
    /// The manifest folder's identity.
    pub folder: Option<String>,
    /// What is kept of each app.
    pub apps: BTreeMap<String, KeptApp>,
    /// The GPUs that programs outside hold.
    #[serde(skip_serializing_if = "Leases::is_unused")]
    pub leases: Leases,
    /// Host ports that are given to nobody for a while.
    #[serde(deserialize_with = "legible_rests", skip_serializing_if = "Vec::is_empty")]
    pub resting: Vec<KeptRest>,
    /// What speaks against cards until they are reset.
    #[serde(skip_serializing_if = "GpuErrors::is_empty")]
    pub gpu_errors: GpuErrors,
    /// The driver of the GPUs, as it was seen last.
    #[serde(deserialize_with = "legible_one", skip_serializing_if = "Option::is_none")]
    pub gpu_driver: Option<SeenDriver>,
    /// Since when no manifest names these apps, of which something may be left.
    #[serde(deserialize_with = "legible_times", skip_serializing_if = "BTreeMap::is_empty")]
    pub gone: BTreeMap<String, Timestamp>,
}

/// A host port that is given to nobody for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptRest {
    protocol: Protocol,
    port: u16,
    until: Timestamp,
    why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<String>,
}

impl KeptRest {
    /// How it is kept.
    pub(super) fn of(((protocol, port), rest): (&HostPort, &Rest)) -> Self {
        let app = rest.app.as_ref().map(ToString::to_string);
        let (until, why) = (rest.until, rest.why.clone());
        Self { protocol: *protocol, port: *port, until, why, app }
    }

    /// What it is.
    pub(super) fn read(self) -> (HostPort, Rest) {
        let app = self.app.as_deref().and_then(|app| AppName::new(app).ok());
        ((self.protocol, self.port), Rest { until: self.until, why: self.why, app })
    }
}

/// What every format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// What is kept of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KeptApp {
    /// The generation of its manifest.
    pub generation: u64,
    /// The digest of its spec at that generation.
    pub spec_digest: String,
    /// Whether a person stopped it.
    pub is_paused: bool,
    /// How often a person asked for a build from scratch.
    pub rebuilds: u64,
    /// Up to which of these it was built.
    pub rebuilt: u64,
    /// The generation for which its image was pulled.
    pub pulled_generation: Option<u64>,
    /// The version that failed last.
    pub bad_revision: Option<KeptBadRevision>,
    /// Its host ports: container port and protocol, and the host port.
    pub ports: Vec<(u16, String, u16)>,
    /// The file that held its last good manifest, and that file's text.
    pub last_good: Option<(String, String)>,
    /// What a person asked for and was not done yet.
    #[serde(deserialize_with = "legible_one")]
    pub request: Option<Request>,
    /// What a restart that was asked for ends.
    #[serde(deserialize_with = "legible_one")]
    pub restarting: Option<Life>,
    /// Whether a person confirmed that it goes.
    pub is_removal_confirmed: bool,
    /// Its last rollouts, oldest first.
    #[serde(deserialize_with = "legible")]
    pub revisions: Vec<Revision>,
    /// The earlier revision that it is held at.
    #[serde(deserialize_with = "legible_one")]
    pub pin: Option<Pin>,
    /// The GPUs that it was given, in the form that labels have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<String>,
    /// Since when it waits for GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for_gpus_since: Option<Timestamp>,
    /// When its container was made anew because it had lost its GPUs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpu_mends: Vec<Timestamp>,
    /// What the name of its image was found to mean.
    #[serde(deserialize_with = "legible_one", skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,
}

/// What can be read of a list: another version of Berth may have written a part of it otherwise,
/// which must not cost the rest. How a version ran may be missing.
fn legible<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Revision>, D::Error> {
    let values = Vec::<Value>::deserialize(from)?;
    Ok(values.into_iter().filter_map(read).collect())
}

fn legible_rests<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<KeptRest>, D::Error> {
    let values = Vec::<Value>::deserialize(from)?;
    Ok(values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect())
}

fn legible_times<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Timestamp>, D::Error> {
    let value = Value::deserialize(from)?;
    let all = value.as_object().into_iter().flatten();
    let read = |(name, value): (&String, &Value)| {
        Some((name.clone(), serde_json::from_value(value.clone()).ok()?))
    };
    Ok(all.filter_map(read).collect())
}

fn legible_one<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Option<T>, D::Error> {
    let value = Option::<Value>::deserialize(from)?;
    // A hold of which it is not known how it ran would run something else.
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

fn read<T: DeserializeOwned>(mut value: Value) -> Option<T> {
    if let Ok(read) = serde_json::from_value(value.clone()) {
        return Some(read);
    }
    *value.get_mut("run")? = Value::Null;
    serde_json::from_value(value).ok()
}

/// A version that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptBadRevision {
    /// Its shape.
    pub spec_hash: String,
    /// Why it failed.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// Why state files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder can't be made or written to.
    #[error("can't use the state folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another Berth runs on it.
    #[error(
        "another Berth runs on the state folder {0}: stop it, or give this one its own with --state-dir"
    )]
    Locked(PathBuf),
    /// A newer Berth wrote it.
    #[error(
        "{path} was written by a newer Berth (format {found}, this one knows {FORMAT}): install that version, or move the file away to start without it"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// The folder of state files, locked for this process.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Folder {
    /// Makes and locks the folder.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let wrong = |source| Error::Folder { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(wrong)?;
        let lock = File::create(path.join("lock")).map_err(wrong)?;
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        match rustix::fs::flock(&lock, operation) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock.into() }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked(path.to_owned())),
            Err(errno) => Err(wrong(errno.into())),
        }
    }

    fn file(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// Reads what is kept. A file that is absent or makes no sense is no state; the latter is put
    /// aside, never deleted. Says in a sentence what happened, when that is worth telling.
    pub fn load(&self, now: Timestamp) -> Result<(Kept, Option<String>), Error> {
        let path = self.file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Kept::default(), None));
            }
            Err(source) => return Err(Error::Folder { path, source }),
        };
        // Of a newer file only this much is sure to be readable.
        let found = serde_json::from_slice::<Format>(&text).map_or(0, |found| found.format);
        if FORMAT < found {
            return Err(Error::Newer { path, found });
        }
        match serde_json::from_slice::<Kept>(&text) {
            Ok(kept) => Ok((kept, None)),
            Err(error) => {
                let aside = self.path.join(format!("state.json.corrupt-{}", now.as_millis()));
                let wrong = |source| Error::Folder { path: path.clone(), source };
                fs::rename(&path, &aside).map_err(wrong)?;
                let told = format!(
                    "{} made no sense ({error}) and was put aside as {}; what runs is taken over",
                    path.display(),
                    aside.display()
                );
                Ok((Kept::default(), Some(told)))
            }
        }
    }

    /// Writes what is kept: to a new file, to disk, then in place of the old one.
    pub fn save(&self, kept: &Kept) -> io::Result<()> {
        let kept = Kept { format: FORMAT, ..kept.clone() };
        replace(&self.file(), &serde_json::to_vec(&kept)?)
    }
}

/// Puts a file in place as a whole: after a crash there is the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    // Manifests may hold secrets.
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
