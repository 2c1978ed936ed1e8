//! Contents that are there already: they are trusted once they were compared with what has come.

use std::{io, path::Path};

use super::{Found, Store, disk::Temp, scan::is_absent};
use crate::inspect::Source as _;
use crate::model::Digest;

/// How much is compared at once.
const PIECE: usize = 1 << 20;

impl Store {
    /// Compares what has come with the blob of its digest, where there is one. A blob that has rotted
    /// goes into quarantine, so that what has come takes its place. Answered is one that is not to be
    /// used and can't be moved away either.
    pub(super) fn distrusted(&self, temp: &dyn Temp, digest: &Digest) -> Option<(u64, u64)> {
        let blob = self.blob(digest);
        let stat = self.disk.stat(&blob).ok()?;
        match self.is_same(temp, &blob) {
            Ok(true) => return None,
            Err(error) if is_absent(&error) => return None,
            Ok(false) => tracing::warn!(%digest, "a stored content is not what came again"),
            Err(error) => tracing::warn!(%digest, %error, "a stored content can't be read"),
        }
        match self.check_blob(digest, &mut |_| true) {
            Ok(Found::Good | Found::Rotten | Found::Gone) => None,
            Err(error) => {
                tracing::error!(%digest, %error, "a stored content can't be trusted, and is not used");
                Some(stat.inode)
            }
        }
    }

    fn is_same(&self, temp: &dyn Temp, blob: &Path) -> io::Result<bool> {
        let file = self.disk.open(blob)?;
        let (mut one, mut other, mut at) = (vec![0; PIECE], vec![0; PIECE], 0);
        loop {
            let length = file.read_at(at, &mut one)?;
            // Shorter reads than asked for are made up for.
            let mut got = 0;
            while got < length {
                let offset = at + u64::try_from(got).unwrap_or(u64::MAX);
                match temp.read_at(offset, &mut other[got..length])? {
                    0 => return Ok(false),
                    more => got += more,
                }
            }
            if length == 0 {
                return Ok(temp.read_at(at, &mut other)? == 0);
            }
            if one[..length] != other[..length] {
                return Ok(false);
            }
            at += u64::try_from(length).unwrap_or(u64::MAX);
        }
    }
}
