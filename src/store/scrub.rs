//! Reading everything again, slowly and for ever: what is on a disk does not stay what it was by
//! itself.
//!
//! Blobs are read in the order of their digests, so many bytes in a second; how far it has come is
//! kept in `scrub.json`. What differs is read a second time before it is believed, and put into
//! quarantine. A file that can't be read is told of, and tried again in the next round.

use std::{io, sync::PoisonError, time::Duration};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Error, Figures, Key, Store, disk::Disk};
use crate::inspect::Source as _;
use crate::model::{Digest, Timestamp};

/// How much is read at once.
const PIECE: usize = 1 << 20;
/// Where it is kept how far this has come.
const PROGRESS: &str = "scrub.json";

/// How far a round has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The digest that was read last; empty before the first.
    pub after: String,
    /// When the round began.
    pub began: Option<Timestamp>,
    /// When the last round that was ended did.
    pub ended: Option<Timestamp>,
    /// How many rounds were ended.
    pub rounds: u64,
    /// How many contents this round has read.
    pub contents: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

/// What was found out about a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is what it was.
    Good,
    /// It is not, and is in quarantine.
    Rotten,
    /// It is gone, as what was deleted is.
    Gone,
}

impl Store {
    /// How far reading everything again has come.
    pub fn progress(&self) -> Progress {
        let bytes = self.disk.read(&self.own(PROGRESS)).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Reads the next content again. `pause` is called with how many bytes were read, and says
    /// whether to go on. None at the end of a round.
    pub fn scrub_next(&self, pause: &mut dyn FnMut(usize) -> bool) -> Result<Option<Found>, Error> {
        if let Some(found) = self.scrub_soon(pause) {
            return found.map(Some);
        }
        let unreadable = || Error::disk("the contents can't be read");
        let mut progress = self.progress();
        if progress.began.is_none() {
            progress.began = Some(self.now());
        }
        let Some(digest) = self.blob_after(&progress.after).map_err(unreadable())? else {
            let rounds = progress.rounds + 1;
            let ended = Some(self.now());
            self.keep_progress(&Progress { ended, rounds, ..Progress::default() });
            Figures::add(&self.figures.scrub_rounds, 1);
            return Ok(None);
        };
        let size = self.disk.stat(&self.blob(&digest)).map_or(0, |stat| stat.size);
        let found = self.check_blob(&digest, pause);
        if let Err(Error::Conflict(_)) = found {
            // It was told to stop: this content is read again.
            return found.map(Some);
        }
        progress.after = digest.to_string();
        progress.contents += 1;
        progress.bytes += size;
        self.keep_progress(&progress);
        self.told_unreadable(&digest, found).map(Some)
    }

    /// Reads a content that somebody relies on without sending it again.
    fn scrub_soon(&self, pause: &mut dyn FnMut(usize) -> bool) -> Option<Result<Found, Error>> {
        let soon = || self.soon.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = soon().pop_first()?;
        let found = self.check_blob(&digest, pause);
        if let Err(Error::Conflict(_)) = found {
            soon().insert(digest);
            return Some(found);
        }
        Some(self.told_unreadable(&digest, found))
    }

    fn told_unreadable(
        &self,
        digest: &Digest,
        found: Result<Found, Error>,
    ) -> Result<Found, Error> {
        found.inspect_err(|error| {
            Figures::add(&self.figures.scrub_failures, 1);
            tracing::error!(%digest, %error, "a stored content can't be read");
        })
    }

    /// Reads the content of a model again, now.
    pub fn verify(&self, key: &Key) -> Result<Found, Error> {
        let entry = self.get(key)?;
        match &entry.sha256 {
            _ if entry.rotten.is_some() => Ok(Found::Rotten),
            Some(digest) if entry.is_ours => self.check_blob(digest, &mut |_| true),
            // What is not Berth's may be changed by those whose it is.
            _ => self.hash(key, || true).map(|_| Found::Good),
        }
    }

    pub(super) fn check_blob(
        &self,
        digest: &Digest,
        pause: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Found, Error> {
        for _ in 0..2 {
            let found = match read(&*self.disk, &self.blob(digest), pause) {
                Ok(Some(found)) => found,
                Ok(None) => return Err(Error::Conflict("given up".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Gone),
                Err(error) => return Err(Error::disk("a content can't be read")(error)),
            };
            let (found, size) = found;
            Figures::add(&self.figures.scrubbed, size);
            if found == *digest {
                return Ok(Found::Good);
            }
            tracing::warn!(%digest, %found, "a stored content is not what it was");
        }
        let unreadable = || Error::disk("a content can't be read");
        let inode = self.disk.stat(&self.blob(digest)).map_err(unreadable())?.inode;
        let found = read(&*self.disk, &self.blob(digest), &mut |_| true).map_err(unreadable())?;
        let Some((found, _)) = found.filter(|(found, _)| found != digest) else {
            return Ok(Found::Good);
        };
        // What was stored anew meanwhile is another file.
        Ok(if self.quarantine(digest, found, inode)? { Found::Rotten } else { Found::Gone })
    }

    /// The first blob whose digest comes after this one.
    fn blob_after(&self, after: &str) -> io::Result<Option<Digest>> {
        let blobs = self.own("blobs/sha256");
        for first in self.disk.list(&blobs)? {
            let first = first.to_string_lossy().into_owned();
            if first.as_str() < after.get(..2).unwrap_or_default() {
                continue;
            }
            for rest in self.disk.list(&blobs.join(&first))? {
                let Some(digest) = Digest::parse(&format!("{first}{}", rest.to_string_lossy()))
                else {
                    continue;
                };
                if after < digest.as_str() {
                    return Ok(Some(digest));
                }
            }
        }
        Ok(None)
    }

    /// Lost, a round begins anew.
    fn keep_progress(&self, progress: &Progress) {
        let text = serde_json::to_vec(progress).unwrap_or_default();
        let new = self.own("reports").join(format!("new-{}", self.number()));
        let written = self.disk.write_file(&new, &text);
        if written.and_then(|()| self.disk.rename(&new, &self.own(PROGRESS))).is_err() {
            let _ = self.disk.remove_file(&new);
        }
    }
}

/// The digest of a file, as the disk has it, and its length; none when it was told to stop.
fn read(
    disk: &dyn Disk,
    path: &std::path::Path,
    pause: &mut dyn FnMut(usize) -> bool,
) -> io::Result<Option<(Digest, u64)>> {
    let file = disk.open(path)?;
    super::idle::forget(&file);
    let mut hasher = Sha256::new();
    let mut block = vec![0; PIECE];
    let mut at = 0;
    loop {
        let got = file.read_at(at, &mut block)?;
        if got == 0 {
            return Ok(Some((Digest::of_hash(hasher.finalize().into()), at)));
        }
        hasher.update(&block[..got]);
        at += u64::try_from(got).unwrap_or(u64::MAX);
        if !pause(got) {
            return Ok(None);
        }
    }
}

/// Waits so that no more than a rate is read.
#[derive(Debug)]
pub struct Pace {
    rate: u64,
}

impl Pace {
    /// So many bytes in a second.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1) }
    }

    /// How long to wait after so many bytes.
    pub fn wait(&self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Duration::from_micros(bytes.saturating_mul(1_000_000) / self.rate)
    }
}
