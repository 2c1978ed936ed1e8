//! Tokens as texts: how they are made, recognised and compared.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What every token begins with, so that clients of the Hugging Face protocol take it.
const PREFIX: &str = "hf_";
/// How many characters follow: 40 of 62 kinds are 238 bits.
const LENGTH: usize = 40;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token that was made or that a client sent. It is never shown by accident.
#[derive(Clone)]
pub struct Secret(String);

/// The SHA-256 of a token: what is kept of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash([u8; 32]);

impl Secret {
    /// A new one, from the kernel's generator.
    pub(super) fn random() -> std::io::Result<Self> {
        Ok(Self(format!("{PREFIX}{}", random_text(LENGTH)?)))
    }

    /// What a client sent.
    pub fn given(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The token, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.0.as_bytes()).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Hash {
    /// Whether both are the same, found out in the same time for all.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(super) fn digits(&self) -> String {
        let mut digits = String::with_capacity(64);
        for byte in self.0 {
            digits.push_str(&format!("{byte:02x}"));
        }
        digits
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Letters and digits from the kernel's generator, each as likely as the others.
pub fn random_text(length: usize) -> std::io::Result<String> {
    let mut text = String::with_capacity(length);
    // The largest multiple of 62 below 256: what is above it would make some letters likelier.
    let limit = u8::try_from(256 / ALPHABET.len() * ALPHABET.len()).unwrap_or(u8::MAX);
    while text.len() < length {
        let mut bytes = [0_u8; 64];
        let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let good = bytes.iter().take(got).filter(|byte| **byte < limit);
        let letters = good.filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()));
        text.extend(letters.take(length - text.len()).map(|letter| char::from(*letter)));
    }
    Ok(text)
}

/// Whether a token stands anywhere in `text`.
pub fn looks_like_token(text: &str) -> bool {
    text.match_indices(PREFIX).any(|(at, _)| {
        let rest = text[at + PREFIX.len()..].bytes();
        LENGTH <= rest.take_while(u8::is_ascii_alphanumeric).count()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault H04: long enough, and no two alike.
    #[test]
    fn a_token_is_a_prefix_and_forty_letters_and_digits() {
        let (one, two) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one.reveal(), two.reveal());
        let rest = one.reveal().strip_prefix("hf_").unwrap();
        assert!(rest.len() == 40 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(
            looks_like_token(one.reveal()) && looks_like_token(&format!("x={rest}&y=hf_{rest}"))
        );
        assert!(!looks_like_token("hf_short") && !looks_like_token(rest));
        assert_eq!(format!("{one:?}"), "…");
    }

    #[test]
    fn letters_are_equally_likely() {
        let text = random_text(62 * 400).unwrap();
        for letter in ALPHABET {
            let count = text.bytes().filter(|byte| byte == letter).count();
            // 400 are expected; nine standard deviations are allowed.
            assert!((220..=580).contains(&count), "{}: {count}", char::from(*letter));
        }
    }

    #[test]
    fn hashes_are_read_back_and_compared() {
        let hash = Secret::given("a").hash();
        let known = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        assert_eq!(hash.digits(), known);
        assert!(Hash::parse(known).unwrap().is(&hash));
        assert!(!Secret::given("b").hash().is(&hash));
        for bad in ["", "ca", &"g".repeat(64), &"é".repeat(32), &known[1..]] {
            assert_eq!(Hash::parse(bad), None, "{bad}");
        }
    }
}
