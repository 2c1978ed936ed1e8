//! The digest of a content that comes: of a large one it is computed by a thread of its own, while
//! what comes is written.

use std::{io, sync::mpsc, thread::JoinHandle};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// Up to here, a content is hashed by the thread that writes it.
const LARGE: u64 = 4 << 20;
/// How many blocks may wait for being hashed.
const WAITING: usize = 3;

/// A digest that is half done.
#[derive(Default)]
pub(super) struct Hashing {
    /// What it was when no thread had it.
    hasher: Sha256,
    came: u64,
    thread: Option<Thread>,
}

struct Thread {
    blocks: mpsc::SyncSender<Bytes>,
    ended: JoinHandle<Sha256>,
}

impl Hashing {
    /// Goes on with one.
    pub(super) fn of(hasher: Sha256) -> Self {
        Self { hasher, ..Self::default() }
    }

    /// Takes a block. It may be hashed later.
    pub(super) fn take(&mut self, block: &Bytes) -> io::Result<()> {
        self.came += u64::try_from(block.len()).unwrap_or(u64::MAX);
        if self.thread.is_none() && LARGE <= self.came {
            self.thread = begin(&self.hasher);
        }
        if let Some(thread) = &self.thread {
            return thread.blocks.send(block.clone()).map_err(|_| gone());
        }
        // Without a thread it takes longer.
        self.hasher.update(block);
        Ok(())
    }

    /// What it is now, of all that was taken.
    pub(super) fn now(&mut self) -> io::Result<&Sha256> {
        if let Some(Thread { blocks, ended }) = self.thread.take() {
            drop(blocks);
            self.hasher = ended.join().map_err(|_| gone())?;
        }
        Ok(&self.hasher)
    }
}

fn begin(hasher: &Sha256) -> Option<Thread> {
    let (blocks, received) = mpsc::sync_channel::<Bytes>(WAITING);
    let mut hasher = hasher.clone();
    let work = move || {
        while let Ok(block) = received.recv() {
            hasher.update(&block);
        }
        hasher
    };
    let ended = std::thread::Builder::new().name("hash".to_owned()).spawn(work).ok()?;
    Some(Thread { blocks, ended })
}

fn gone() -> io::Error {
    io::Error::other("the thread that hashes has ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_same_wherever_it_is_computed() {
        let mut hashing = Hashing::default();
        let mut all = Vec::new();
        for number in 0..200_u8 {
            let block = Bytes::from(vec![number; 70_001]);
            hashing.take(&block).unwrap();
            all.extend_from_slice(&block);
            // Asked in the middle, it goes on where it was.
            if number % 64 == 7 {
                assert_eq!(hashing.now().unwrap().clone().finalize(), Sha256::digest(&all));
            }
        }
        assert_eq!(hashing.now().unwrap().clone().finalize(), Sha256::digest(&all));
        assert!(LARGE < u64::try_from(all.len()).unwrap());
        let mut other = Hashing::of(hashing.now().unwrap().clone());
        other.take(&Bytes::from_static(b"more")).unwrap();
        all.extend_from_slice(b"more");
        assert_eq!(other.now().unwrap().clone().finalize(), Sha256::digest(&all));
    }
}
