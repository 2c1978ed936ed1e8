//! Addresses that carry their own permission, for a while, and tokens for the chunks of Xet.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::model::Timestamp;

/// How long they are good, in seconds.
pub(super) const LIFE: i64 = 3600;
/// How long an address for a part of a large file is good: all parts have theirs at the beginning.
pub(super) const LONG_LIFE: i64 = 24 * 3600;

/// What signs them: a key that nobody else knows, and that ends with this process.
pub(in super::super) struct Links(String);

impl Links {
    pub(in super::super) fn new() -> std::io::Result<Self> {
        crate::auth::random_text(48).map(Self)
    }

    fn mac(&self, words: &[&str]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).ok()?;
        for word in words {
            mac.update(&word.len().to_le_bytes());
            mac.update(word.as_bytes());
        }
        Some(mac)
    }

    /// The signature of some words, until a moment in seconds since 1970.
    pub(super) fn sign(&self, words: &[&str], until: i64) -> String {
        let until = until.to_string();
        let mac = self.mac(&[words, &[until.as_str()]].concat());
        let bytes = mac.map(|mac| mac.finalize().into_bytes()).unwrap_or_default();
        super::hex(&bytes)
    }

    /// Whether a signature is good now. How long that takes says nothing about where it differs.
    pub(super) fn is_good(&self, words: &[&str], until: i64, sign: &str, now: Timestamp) -> bool {
        let text = until.to_string();
        let Some(mac) = self.mac(&[words, &[text.as_str()]].concat()) else { return false };
        let pairs = sign.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or(""));
        let bytes: Result<Vec<_>, _> = pairs.map(|pair| u8::from_str_radix(pair, 16)).collect();
        let is_signed = bytes.is_ok_and(|bytes| mac.verify_slice(&bytes).is_ok());
        is_signed && now.as_millis() / 1000 < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_its_words_and_its_time() {
        let (links, now) = (Links::new().unwrap(), Timestamp::from_millis(5_000));
        let sign = links.sign(&["lfs", "p"], 6);
        assert!(links.is_good(&["lfs", "p"], 6, &sign, now));
        assert!(!links.is_good(&["lfs", "q"], 6, &sign, now));
        assert!(!links.is_good(&["lfsp"], 6, &sign, now));
        assert!(!links.is_good(&["lfs", "p"], 7, &sign, now));
        assert!(!links.is_good(&["lfs", "p"], 6, &sign, Timestamp::from_millis(6_000)));
        for bad in ["", "zz", "é", &sign[2..], &format!("{sign}00")] {
            assert!(!links.is_good(&["lfs", "p"], 6, bad, now), "{bad}");
        }
        assert!(!Links::new().unwrap().is_good(&["lfs", "p"], 6, &sign, now));
    }
}
