//! How Xet clients cut contents up: hashes of chunks, of xorbs and of files, and what they send.
//!
//! Nothing here touches a disk. What is read comes from others: no number in it decides how much
//! memory is taken.

mod shard;
#[cfg(test)]
mod tests;
mod xorb;

use std::fmt::{self, Write as _};

pub use shard::{FileInfo, ShardReader, Term};
pub use xorb::{CHUNK_MAX, CHUNKS_MAX, XORB_MAX, XorbReader};

/// The keys under which chunks and groups of them are hashed.
const CHUNK_KEY: [u8; 32] = [
    102, 151, 245, 119, 91, 149, 80, 222, 49, 53, 203, 172, 165, 151, 24, 28, 157, 228, 33, 16,
    155, 235, 43, 88, 180, 208, 176, 75, 147, 173, 242, 41,
];
const GROUP_KEY: [u8; 32] = [
    1, 126, 197, 199, 165, 71, 41, 150, 253, 148, 102, 102, 180, 138, 2, 230, 93, 221, 83, 111, 55,
    199, 109, 210, 248, 99, 82, 230, 74, 83, 113, 63,
];
/// How many a group has at least, unless no more are left, and at most.
const GROUP: std::ops::RangeInclusive<usize> = 3..=9;

/// What is wrong with what a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// A hash, shown as four numbers of 64 bits, each with its last byte first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Reads it as it is shown.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64
            || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, group) in bytes.chunks_exact_mut(8).enumerate() {
            let number = u64::from_str_radix(text.get(16 * at..16 * at + 16)?, 16).ok()?;
            group.copy_from_slice(&number.to_le_bytes());
        }
        Some(Self(bytes))
    }

    fn numbers(&self) -> [u64; 4] {
        let mut numbers = [0; 4];
        for (number, group) in numbers.iter_mut().zip(self.0.chunks_exact(8)) {
            *number = u64::from_le_bytes(group.try_into().unwrap_or_default());
        }
        numbers
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.numbers().iter().try_for_each(|number| write!(f, "{number:016x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The hash of a chunk.
pub fn chunk_hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::keyed_hash(&CHUNK_KEY, bytes).as_bytes())
}

/// The hash over many chunks, one after the other: groups of them, groups of groups, up to one.
#[derive(Clone, Debug, Default)]
pub struct Many {
    /// Of each level, those that are in no group yet, and how many there were in all.
    levels: Vec<(Vec<(Hash, u64)>, u64)>,
}

impl Many {
    /// Takes the next one, with its length.
    pub fn push(&mut self, hash: Hash, length: u64) {
        self.push_at(0, (hash, length));
    }

    fn push_at(&mut self, level: usize, node: (Hash, u64)) {
        if self.levels.len() <= level {
            self.levels.push((Vec::with_capacity(*GROUP.end()), 0));
        }
        let (waiting, count) = &mut self.levels[level];
        waiting.push(node);
        *count += 1;
        let is_end = node.0.numbers()[3].is_multiple_of(4);
        if waiting.len() == *GROUP.end() || (GROUP.contains(&waiting.len()) && is_end) {
            let group = std::mem::take(waiting);
            self.push_at(level + 1, grouped(&group));
        }
    }

    /// The hash of all; nothing of none.
    pub fn finish(mut self) -> Option<Hash> {
        let mut level = 0;
        loop {
            let (waiting, count) = self.levels.get_mut(level)?;
            if *count == 1 {
                return waiting.first().map(|(hash, _)| *hash);
            }
            let rest = std::mem::take(waiting);
            if !rest.is_empty() {
                self.push_at(level + 1, grouped(&rest));
            }
            level += 1;
        }
    }
}

fn grouped(group: &[(Hash, u64)]) -> (Hash, u64) {
    let mut text = String::new();
    for (hash, length) in group {
        let _ = writeln!(text, "{hash} : {length}");
    }
    let length = group.iter().fold(0_u64, |sum, (_, length)| sum.saturating_add(*length));
    (Hash(*blake3::keyed_hash(&GROUP_KEY, text.as_bytes()).as_bytes()), length)
}

/// The hash of a file, chunk by chunk.
#[derive(Clone, Debug, Default)]
pub struct FileHash(Many);

impl FileHash {
    /// Takes the next chunk.
    pub fn push(&mut self, hash: Hash, length: u64) {
        self.0.push(hash, length);
    }

    /// The file's.
    pub fn finish(self) -> Hash {
        match self.0.finish() {
            Some(root) => Hash(*blake3::keyed_hash(&[0; 32], &root.0).as_bytes()),
            None => Hash([0; 32]),
        }
    }
}
