//! Contents that the kernel may send by itself, found by where they lie in memory.
//!
//! A slice of such a content is an ordinary slice of a mapping, and reads as what it is. Whoever
//! writes slices to a socket can ask here which part of which file a slice is, and have the kernel
//! send that: no page of the mapping is then ever looked at.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;

/// Where mappings begin: how long they are, and of what.
static LENT: RwLock<BTreeMap<usize, (usize, Arc<File>)>> = RwLock::new(BTreeMap::new());

/// A mapping that is known for as long as it is there.
struct Lent<M: AsRef<[u8]>>(M);

impl<M: AsRef<[u8]>> AsRef<[u8]> for Lent<M> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<M: AsRef<[u8]>> Drop for Lent<M> {
    fn drop(&mut self) {
        let begin = self.0.as_ref().as_ptr().addr();
        LENT.write().unwrap_or_else(PoisonError::into_inner).remove(&begin);
    }
}

/// Makes it known that `memory` is the beginning of `file`.
pub fn lend<M: AsRef<[u8]> + Send + 'static>(memory: M, file: Arc<File>) -> Bytes {
    let (begin, length) = (memory.as_ref().as_ptr().addr(), memory.as_ref().len());
    LENT.write().unwrap_or_else(PoisonError::into_inner).insert(begin, (length, file));
    Bytes::from_owner(Lent(memory))
}

/// The file that a slice is a part of, and from where.
pub fn file_of(slice: &[u8]) -> Option<(Arc<File>, u64)> {
    let begin = slice.as_ptr().addr();
    let lent = LENT.read().unwrap_or_else(PoisonError::into_inner);
    let (at, (length, file)) = lent.range(..=begin).next_back()?;
    let from = begin - at;
    let is_within = from.checked_add(slice.len()).is_some_and(|end| end <= *length);
    is_within.then(|| (Arc::clone(file), u64::try_from(from).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_known_while_their_memory_is_there() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let whole = lend(vec![7_u8; 1000], file);
        let of = |slice: &[u8]| file_of(slice).map(|(_, from)| from);
        assert_eq!(
            (of(&whole), of(&whole[10..20]), of(&whole[1000..])),
            (Some(0), Some(10), Some(1000))
        );
        assert_eq!(of(&[7; 10]), None);
        let part = whole.slice(500..);
        drop(whole);
        assert_eq!(of(&part), Some(500));
        let begin = part.as_ptr().addr();
        drop(part);
        assert!(!LENT.read().unwrap().contains_key(&(begin - 500)));
    }
}
