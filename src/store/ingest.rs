//! A content on its way in: written and hashed while it comes, not visible before it is whole.

use std::sync::Arc;

use bytes::Bytes;
use md5::Md5;
use sha2::Digest as _;

use super::{Error, Store, disk::Temp, hashing::Hashing};
use crate::model::Digest;

/// A content that comes. Dropped, it leaves nothing.
pub struct Upload {
    pub(super) store: Arc<Store>,
    pub(super) temp: Box<dyn Temp>,
    hashing: Hashing,
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
        Ok(Self { store: Arc::clone(store), temp, hashing: Hashing::default(), md5: None, size: 0 })
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
    pub fn digest(&mut self) -> Result<Digest, Error> {
        let hasher = self.hashing.now().map_err(Error::disk("the content can't be hashed"))?;
        Ok(Digest::of_hash(hasher.clone().finalize().into()))
    }

    /// Takes bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.take(&Bytes::copy_from_slice(bytes))
    }

    /// Takes a block. Of a large content, it is hashed by another thread while this one writes.
    pub fn take(&mut self, block: &Bytes) -> Result<(), Error> {
        self.size += u64::try_from(block.len()).unwrap_or(u64::MAX);
        self.store.check_size(self.size)?;
        self.hashing.take(block).map_err(Error::disk("the content can't be hashed"))?;
        if let Some(md5) = &mut self.md5 {
            md5.update(block);
        }
        self.temp.write(block).map_err(Error::disk("the content can't be written"))
    }

    /// What has come: its parts, with the digest.
    pub(super) fn close(mut self) -> Result<(Box<dyn Temp>, u64, Digest), Error> {
        let digest = self.digest()?;
        Ok((self.temp, self.size, digest))
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
