//! What comes in drops, as blocks of one length.
//!
//! A part is copied once, while the processor has it at hand. What the network was read into is
//! free again at once and read into anew, and so is a block's own memory, once the block is hashed
//! and written: an upload asks for no new memory, however long it is. And the disk gets whole blocks,
//! at places that are multiples of their length.

use std::collections::VecDeque;

use axum::body::Bytes;
use bytes::BytesMut;

/// How long a block is.
pub(super) const BLOCK: usize = 256 << 10;
/// How long the first one is, where nobody knows how much will come.
const FIRST: usize = 64 << 10;
/// How many blocks may wait for the disk.
pub(super) const WAITING: usize = 3;
/// The memory of how many is kept in mind: no more are on their way at once.
const USED: usize = 12;

/// Makes blocks of what comes.
#[derive(Debug)]
pub(super) struct Blocks {
    filling: BytesMut,
    /// How much the next block has.
    length: usize,
    used: VecDeque<BytesMut>,
}

impl Blocks {
    /// For a content; `size` is how long it will be, where that is known.
    pub(super) fn new(size: Option<u64>) -> Self {
        let size = size.map_or(FIRST, |size| usize::try_from(size).unwrap_or(BLOCK));
        let length = size.clamp(1, BLOCK);
        Self { filling: BytesMut::new(), length, used: VecDeque::new() }
    }

    /// Takes of a part what still fits; answers the block once it is full.
    pub(super) fn fill(&mut self, part: &mut Bytes) -> Option<Bytes> {
        if self.filling.capacity() == 0 {
            self.filling = self.memory();
        }
        let room = self.length - self.filling.len();
        let taken = part.split_to(room.min(part.len()));
        self.filling.extend_from_slice(&taken);
        (self.filling.len() == self.length).then(|| self.rest())
    }

    /// What has come since the last block.
    pub(super) fn rest(&mut self) -> Bytes {
        let block = self.filling.split().freeze();
        let memory = std::mem::take(&mut self.filling);
        if self.length == BLOCK {
            self.used.push_back(memory);
        }
        self.length = BLOCK;
        block
    }

    /// Memory for a block: that of the oldest one, if nobody needs it any more.
    fn memory(&mut self) -> BytesMut {
        let is_free = self.used.front_mut().is_some_and(|oldest| oldest.try_reclaim(self.length));
        if is_free || USED <= self.used.len() {
            let oldest = self.used.pop_front();
            if let Some(oldest) = oldest.filter(|_| is_free) {
                return oldest;
            }
        }
        BytesMut::with_capacity(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(blocks: &mut Blocks, parts: &[usize]) -> Vec<Bytes> {
        let mut all = Vec::new();
        let mut next = 0_u8;
        for length in parts {
            let mut part: Bytes = std::iter::repeat_with(|| {
                next = next.wrapping_add(1);
                next
            })
            .take(*length)
            .collect();
            while !part.is_empty() {
                all.extend(blocks.fill(&mut part));
            }
        }
        all.push(blocks.rest());
        all
    }

    #[test]
    fn blocks_have_one_length_and_all_that_came_in_its_order() {
        let parts = [1, 100_000, 300_000, 0, 7, 600_000];
        let all = blocks(&mut Blocks::new(Some(1 << 30)), &parts);
        let lengths: Vec<_> = all.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [BLOCK, BLOCK, BLOCK, 1_000_008 - 3 * BLOCK]);
        assert!(all.iter().flatten().zip(1..).all(|(byte, at)| u32::from(*byte) == at & 255));
        let unknown = blocks(&mut Blocks::new(None), &parts);
        assert_eq!((unknown[0].len(), unknown[1].len()), (FIRST, BLOCK));
        assert!(unknown.iter().flatten().eq(all.iter().flatten()));
        let short = blocks(&mut Blocks::new(Some(3)), &[3]);
        assert_eq!(short.iter().map(Bytes::len).collect::<Vec<_>>(), [3, 0]);
    }

    #[test]
    fn the_memory_of_a_block_is_used_again_once_nobody_needs_it() {
        let mut coming = Blocks::new(Some(1 << 30));
        let next = |coming: &mut Blocks| coming.fill(&mut vec![7; BLOCK].into()).unwrap();
        let first = next(&mut coming);
        let second = next(&mut coming);
        let places = [first.as_ptr(), second.as_ptr()];
        assert_ne!(places[0], places[1], "the first one is needed still");
        drop((first, second));
        let third = next(&mut coming);
        let fourth = next(&mut coming);
        assert_eq!([third.as_ptr(), fourth.as_ptr()], places);
        assert!(third.iter().chain(&fourth).all(|byte| *byte == 7));
    }
}
