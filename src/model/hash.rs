//! Content digests and the versioned hash that identifies a container's shape.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of raw bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of_hash(Sha256::digest(bytes).into())
    }

    /// The digest that a SHA-256 came to.
    pub fn of_hash(hash: [u8; 32]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for (at, byte) in hash.into_iter().enumerate() {
            text[2 * at] = DIGITS[usize::from(byte >> 4)];
            text[2 * at + 1] = DIGITS[usize::from(byte & 15)];
        }
        Self(String::from_utf8_lossy(&text).into_owned())
    }

    /// The digest of a value in its canonical form: JSON without white space, maps sorted by key.
    ///
    /// Every type hashed this way uses `BTreeMap`, so the text is a function of the value.
    pub fn of_value(value: &impl Serialize) -> Self {
        let text = serde_json::to_vec(value).unwrap_or_default();
        debug_assert!(!text.is_empty(), "a hashed value must serialize");
        Self::of_bytes(&text)
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first `digits` digits.
    pub fn short(&self, digits: usize) -> &str {
        self.0.get(..digits).unwrap_or(&self.0)
    }

    /// Takes text that claims to be a digest.
    pub fn parse(text: &str) -> Option<Self> {
        let legal = text.len() == 64
            && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        legal.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short(12))
    }
}

/// The identity of a container's shape, as written on it: `v1:` and 32 hexadecimal digits.
///
/// The version says how it was computed. A container with a version that this Berth does not
/// write is adopted as it is, never replaced for that alone (faults D18, T08).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SpecHash(String);

impl SpecHash {
    /// The version that this Berth writes.
    pub const VERSION: &'static str = "v1";

    /// The hash of a shape.
    pub fn of(value: &impl Serialize) -> Self {
        Self(format!("{}:{}", Self::VERSION, Digest::of_value(value).short(32)))
    }

    /// A hash read from a label, whatever its version.
    pub fn from_label(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether this Berth knows how the hash was computed.
    pub fn is_current_version(&self) -> bool {
        self.0.split_once(':').is_some_and(|(version, _)| version == Self::VERSION)
    }

    /// The text, as the label carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The eight digits that a container's name ends with.
    pub fn suffix(&self) -> &str {
        let digits = self.0.split_once(':').map_or(self.0.as_str(), |(_, digits)| digits);
        digits.get(..8).unwrap_or(digits)
    }
}

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_sha_256_of_the_bytes() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of_bytes(b"").as_str(), empty);
        assert_eq!(Digest::parse(empty), Some(Digest::of_bytes(b"")));
        assert_eq!(Digest::parse("E3"), None);
    }

    #[test]
    fn a_spec_hash_says_its_version() {
        let hash = SpecHash::of(&("a", 1));
        assert!(hash.is_current_version());
        assert_eq!(hash.suffix().len(), 8);
        assert!(!SpecHash::from_label("v9:00").is_current_version());
    }
}
