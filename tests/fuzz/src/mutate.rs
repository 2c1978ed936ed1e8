//! From known inputs to unknown ones. The same seed gives the same inputs.

use crate::readers::Target;

/// A small generator of numbers (xorshift64*): what matters is that it can be repeated.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 when there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }
}

/// Another input: some of `known`, changed some times.
pub(crate) fn input(dice: &mut Dice, target: &Target, known: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = known[dice.below(known.len())].clone();
    for _ in 0..=dice.below(8) {
        change(dice, target, known, &mut bytes);
    }
    // Now and then as large as it may be: what is slow only then shows only then.
    if dice.below(40) == 0 && !bytes.is_empty() {
        let part = dice.part(bytes.len());
        let part = if part.is_empty() { bytes.clone() } else { bytes[part].to_vec() };
        let at = dice.below(bytes.len() + 1);
        let room = target.bytes_max.saturating_sub(bytes.len());
        let many = part.repeat(room / part.len());
        bytes.splice(at..at, many);
    }
    bytes.truncate(target.bytes_max);
    bytes
}

fn change(dice: &mut Dice, target: &Target, known: &[Vec<u8>], bytes: &mut Vec<u8>) {
    let at = dice.below(bytes.len() + 1);
    match dice.below(9) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        1 if at < bytes.len() => bytes[at] = u8::try_from(dice.below(256)).unwrap_or(0),
        2 => {
            bytes.drain(dice.part(bytes.len()));
        }
        3 => {
            let part = bytes[dice.part(bytes.len())].to_vec();
            bytes.splice(at..at, part);
        }
        4 => {
            let other = &known[dice.below(known.len())];
            let part = other[dice.part(other.len())].to_vec();
            bytes.splice(at..at, part);
        }
        5 => {
            let part = bytes[dice.part(bytes.len())].to_vec();
            let times = dice.below(64);
            if part.len() * times < 1 << 16 {
                bytes.splice(at..at, part.repeat(times));
            }
        }
        6 => bytes.truncate(at),
        _ => {
            let word = target.words[dice.below(target.words.len())];
            let times = if dice.below(20) == 0 { dice.below(2000) } else { 1 };
            bytes.splice(at..at, word.as_bytes().repeat(times));
        }
    }
}
