//! A content on its way in: written and hashed while it comes, not visible before it is whole.

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::{Error, Store, disk::Temp};
use crate::model::Digest;

/// Up to here, a content is hashed by the thread that writes it.
const LARGE: u64 = 4 << 20;
/// How many blocks may wait for being hashed.
const BLOCKS_WAITING: usize = 4;

/// A content that comes. Dropped, it leaves nothing.
pub struct Upload {
    pub(super) store: Arc<Store>,
    pub(super) temp: Box<dyn Temp>,
    hasher: Sha256,
    /// Where somebody wants it.
    pub(super) md5: Option<Md5>,
    pub(super) size: u64,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Upload {
    /// Begins; `size` is how long the content will be, where that is known.
    pub fn begin(store: &Arc<Store>, size: Option<u64>) -> Result<Self, Error> {
        if let Some(size) = size {
            store.check_size(size)?;
        }
        let temp = store.disk.temp(&store.own("uploads"), size);
        let temp = temp.map_err(Error::disk("the content can't be written"))?;
        Ok(Self { store: Arc::clone(store), temp, hasher: Sha256::new(), md5: None, size: 0 })
    }

    /// Has its MD5 found out too.
    #[must_use]
    pub fn with_md5(self) -> Self {
        Self { md5: Some(Md5::new()), ..self }
    }

    /// How much has come.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of what has come.
    pub fn digest(&self) -> Digest {
        Digest::of_hash(self.hasher.clone().finalize().into())
    }

    /// Takes a block.
    pub fn write(&mut self, block: &[u8]) -> Result<(), Error> {
        self.grow(block.len())?;
        self.hasher.update(block);
        if let Some(md5) = &mut self.md5 {
            md5.update(block);
        }
        self.temp.write(block).map_err(Error::disk("the content can't be written"))
    }

    /// Takes blocks until there are no more. Of a large content, they are hashed by another thread
    /// while this one writes.
    pub fn drain(&mut self, mut next: impl FnMut() -> Option<Bytes>) -> Result<(), Error> {
        while self.size < LARGE {
            let Some(block) = next() else { return Ok(()) };
            self.write(&block)?;
        }
        let (sender, receiver) = mpsc::sync_channel::<Bytes>(BLOCKS_WAITING);
        let mut hasher = std::mem::take(&mut self.hasher);
        let (hasher, written) = std::thread::scope(|scope| {
            let hashing = scope.spawn(move || {
                while let Ok(block) = receiver.recv() {
                    hasher.update(&block);
                }
                hasher
            });
            let written = self.write_all(&mut next, &sender);
            drop(sender);
            (hashing.join(), written)
        });
        written?;
        let ended = || std::io::Error::other("the thread that hashes has ended");
        self.hasher = hasher.map_err(|_| Error::disk("the content can't be hashed")(ended()))?;
        Ok(())
    }

    fn write_all(
        &mut self,
        next: &mut impl FnMut() -> Option<Bytes>,
        hashing: &mpsc::SyncSender<Bytes>,
    ) -> Result<(), Error> {
        while let Some(block) = next() {
            self.grow(block.len())?;
            // Nobody receives only after a panic, which is seen at the end.
            let _ = hashing.send(block.clone());
            if let Some(md5) = &mut self.md5 {
                md5.update(&block);
            }
            self.temp.write(&block).map_err(Error::disk("the content can't be written"))?;
        }
        Ok(())
    }

    fn grow(&mut self, length: usize) -> Result<(), Error> {
        self.size += u64::try_from(length).unwrap_or(u64::MAX);
        self.store.check_size(self.size)
    }

    /// What has come: its parts, with the digest.
    pub(super) fn close(self) -> (Box<dyn Temp>, u64, Digest) {
        (self.temp, self.size, Digest::of_hash(self.hasher.finalize().into()))
    }
}

impl Store {
    /// Whether a file may be so large.
    pub fn check_size(&self, size: u64) -> Result<(), Error> {
        match self.settings.file_max {
            Some(max) if max < size => Err(Error::TooLarge(format!(
                "the file is larger than the {max} bytes one may have"
            ))),
            _ => Ok(()),
        }
    }
}
