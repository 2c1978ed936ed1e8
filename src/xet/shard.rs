//! A shard: of which chunks files are made. All of it is records of 48 bytes.

use super::{Hash, Malformed};
use crate::model::Digest;

const RECORD: usize = 48;
const MAGIC: &[u8; 14] = b"HFRepoMetaData";
/// What stands in the place of a hash at the end of a list.
const END: [u8; 32] = [0xff; 32];
/// How many files a shard names at most, and how many terms they have together.
const FILES_MAX: usize = 100_000;
const TERMS_MAX: usize = 1 << 20;

/// Chunks of a xorb that follow each other in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The xorb.
    pub xorb: Hash,
    /// How many bytes they have.
    pub bytes: u32,
    /// The first of them.
    pub from: u32,
    /// The one after the last.
    pub to: u32,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Its hash.
    pub hash: Hash,
    /// What it is made of.
    pub terms: Vec<Term>,
    /// Its SHA-256, if the client says it.
    pub sha256: Option<Digest>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Head,
    File,
    Term(u32),
    Skip(u32),
    Sha,
    Rest,
}

/// Reads a shard while it comes.
#[derive(Debug, Default)]
pub struct ShardReader {
    waiting: Vec<u8>,
    next: Next,
    flags: u32,
    count: u32,
    terms: usize,
    files: Vec<FileInfo>,
}

impl ShardReader {
    /// Takes what came.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() && !matches!(self.next, Next::Rest) {
            let part = bytes.len().min(RECORD - self.waiting.len());
            self.waiting.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if self.waiting.len() == RECORD {
                let record = std::mem::take(&mut self.waiting);
                self.record(&record)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, record: &[u8]) -> Result<(), Malformed> {
        match self.next {
            Next::Head if record.starts_with(MAGIC) => self.next = Next::File,
            Next::Head => return Err(Malformed("this is no shard")),
            Next::File if record[..32] == END => self.next = Next::Rest,
            Next::File => {
                if self.files.len() == FILES_MAX {
                    return Err(Malformed("a shard names too many files"));
                }
                (self.flags, self.count) = (word(record, 32), word(record, 36));
                self.files.push(FileInfo { hash: hash(record), terms: Vec::new(), sha256: None });
                self.next = self.after_terms(self.count);
            }
            Next::Term(left) => {
                self.terms += 1;
                if TERMS_MAX < self.terms {
                    return Err(Malformed("the files of a shard have too many parts"));
                }
                let (bytes, from, to) = (word(record, 36), word(record, 40), word(record, 44));
                let term = Term { xorb: hash(record), bytes, from, to };
                self.files.last_mut().ok_or(Malformed("no file"))?.terms.push(term);
                self.next = self.after_terms(left - 1);
            }
            Next::Skip(left) => self.next = self.after_skip(left - 1),
            Next::Sha => {
                let file = self.files.last_mut().ok_or(Malformed("no file"))?;
                file.sha256 = Digest::parse(&hash(record).to_string());
                self.next = Next::File;
            }
            Next::Rest => {}
        }
        Ok(())
    }

    fn after_terms(&self, left: u32) -> Next {
        match left {
            0 if (self.flags >> 31) & 1 == 1 => self.after_skip(self.count),
            0 => self.after_skip(0),
            left => Next::Term(left),
        }
    }

    fn after_skip(&self, left: u32) -> Next {
        match left {
            0 if (self.flags >> 30) & 1 == 1 => Next::Sha,
            0 => Next::File,
            left => Next::Skip(left),
        }
    }

    /// The files, when all has come.
    pub fn finish(self) -> Result<Vec<FileInfo>, Malformed> {
        match self.next {
            Next::Rest => Ok(self.files),
            _ => Err(Malformed("the shard ends too early")),
        }
    }
}

fn word(record: &[u8], at: usize) -> u32 {
    record.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn hash(record: &[u8]) -> Hash {
    Hash(record.get(..32).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default())
}
