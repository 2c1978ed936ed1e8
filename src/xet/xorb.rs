//! A xorb: chunks one after the other, each packed in its own way.

use std::io::Read as _;

use super::{Hash, Malformed, Many, chunk_hash};

/// How long a chunk is at most, unpacked.
pub const CHUNK_MAX: usize = 128 << 10;
/// How many chunks a xorb has at most.
pub const CHUNKS_MAX: usize = 8192;
/// How many bytes it has at most, unpacked.
pub const XORB_MAX: u64 = 64 << 20;
/// How much longer than a chunk its packed form may be.
const PACKED_MAX: usize = CHUNK_MAX + (16 << 10);
/// How much may follow the chunks.
const FOOTER_MAX: usize = 4 << 20;
const FOOTER: &[u8; 7] = b"XETBLOB";
const HEAD: usize = 8;

/// Reads a xorb while it comes.
#[derive(Debug, Default)]
pub struct XorbReader {
    /// What has come of the chunk that is coming.
    waiting: Vec<u8>,
    chunks: usize,
    bytes: u64,
    hash: Many,
    /// How much came after the chunks.
    footer: Option<usize>,
}

impl XorbReader {
    /// Takes what came; `each` gets the chunks that are whole now, unpacked.
    pub fn push<E: From<Malformed>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            if let Some(length) = &mut self.footer {
                *length += bytes.len();
                if FOOTER_MAX < *length {
                    return Err(Malformed("what follows the chunks is too long").into());
                }
                return Ok(());
            }
            let wanted = self.wanted()?;
            let part = bytes.len().min(wanted - self.waiting.len());
            self.waiting.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if self.waiting.starts_with(FOOTER) {
                self.footer = Some(self.waiting.len());
                self.waiting.clear();
            } else if self.waiting.len() == self.wanted()? {
                let chunk = self.unpack()?;
                each(&chunk)?;
                self.waiting.clear();
            }
        }
        Ok(())
    }

    /// How much must have come before there is something to do.
    fn wanted(&self) -> Result<usize, Malformed> {
        let Some(head) = self.waiting.get(..HEAD) else { return Ok(HEAD) };
        let packed = number(&head[1..4]);
        let length = number(&head[5..8]);
        if head[0] != 0 || 2 < head[4] {
            return Err(Malformed("a chunk is of an unknown version or packing"));
        }
        if length == 0 || CHUNK_MAX < length || PACKED_MAX < packed {
            return Err(Malformed("a chunk has a length that it can't have"));
        }
        if head[4] == 0 && packed != length {
            return Err(Malformed("a chunk that is not packed has two lengths"));
        }
        Ok(HEAD + packed)
    }

    fn unpack(&mut self) -> Result<Vec<u8>, Malformed> {
        let (head, packed) = self.waiting.split_at(HEAD);
        let length = number(&head[5..8]);
        let chunk = match head[4] {
            0 => packed.to_vec(),
            1 => unpacked(packed, length)?,
            _ => ungrouped(&unpacked(packed, length)?),
        };
        self.chunks += 1;
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        self.bytes += length;
        if CHUNKS_MAX < self.chunks || XORB_MAX < self.bytes {
            return Err(Malformed("there are too many chunks"));
        }
        self.hash.push(chunk_hash(&chunk), length);
        Ok(chunk)
    }

    /// All has come: the hash over it.
    pub fn finish(self) -> Result<Hash, Malformed> {
        if !self.waiting.is_empty() {
            return Err(Malformed("the last chunk is not whole"));
        }
        self.hash.finish().ok_or(Malformed("there are no chunks"))
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |sum, byte| (sum << 8) | usize::from(*byte))
}

fn unpacked(packed: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    let mut chunk = Vec::with_capacity(length);
    let most = u64::try_from(length + 1).unwrap_or(u64::MAX);
    let read = lz4_flex::frame::FrameDecoder::new(packed).take(most).read_to_end(&mut chunk);
    match read {
        Ok(_) if chunk.len() == length => Ok(chunk),
        _ => Err(Malformed("a chunk can't be unpacked")),
    }
}

/// Puts bytes back that were sorted by their place modulo 4.
fn ungrouped(grouped: &[u8]) -> Vec<u8> {
    let mut chunk = vec![0; grouped.len()];
    let mut rest = grouped.iter();
    for first in 0..4 {
        for (place, byte) in chunk.iter_mut().skip(first).step_by(4).zip(rest.by_ref()) {
            *place = *byte;
        }
    }
    chunk
}
