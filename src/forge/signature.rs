//! Signatures of webhooks.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What a forge signs with, as found in a request's headers.
#[derive(Clone, PartialEq, Eq)]
pub enum Signature {
    /// HMAC-SHA256 of the body, in hexadecimal digits: GitHub, Gitea, Forgejo.
    Digest(String),
    /// The secret itself: GitLab.
    Token(String),
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signature")
    }
}

impl Signature {
    /// The signature of a request; `header` reads one of its headers.
    pub fn find<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        if let Some(text) = header("x-hub-signature-256") {
            return text.strip_prefix("sha256=").map(|digits| Self::Digest(digits.to_owned()));
        }
        let digest = header("x-forgejo-signature").or_else(|| header("x-gitea-signature"));
        if let Some(digits) = digest {
            return Some(Self::Digest(digits.to_owned()));
        }
        header("x-gitlab-token").map(|token| Self::Token(token.to_owned()))
    }

    /// Whether it was made of this body with this secret. How long that takes says nothing about
    /// where the two differ.
    pub fn is_good(&self, secret: &[u8], body: &[u8]) -> bool {
        match self {
            Self::Digest(digits) => {
                let Some(bytes) = bytes(digits) else { return false };
                mac(secret, body).is_some_and(|mac| mac.verify_slice(&bytes).is_ok())
            }
            // Both sides are hashed with the same key, so that their lengths don't show either.
            Self::Token(token) => {
                let Some(given) = mac(b"berth", token.as_bytes()) else { return false };
                let given = given.finalize().into_bytes();
                mac(b"berth", secret).is_some_and(|mac| mac.verify_slice(&given).is_ok())
            }
        }
    }
}

/// The signature of a body: HMAC-SHA256 in hexadecimal digits.
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    let made = mac(secret, body).map(|mac| mac.finalize().into_bytes());
    let mut text = String::new();
    for byte in made.into_iter().flatten() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The header that says who sends a body; none without a secret.
pub fn signed(secret: Option<&[u8]>, body: &[u8]) -> Option<(&'static str, String)> {
    Some(("x-hub-signature-256", format!("sha256={}", sign(secret?, body))))
}

fn mac(key: &[u8], text: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(mac)
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..64).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second case of RFC 4231, and GitHub's own example.
    #[test]
    fn known_digests_are_good() {
        let case = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(sign(b"Jefe", b"what do ya want for nothing?"), case);
        let good = Signature::Digest(case.to_owned());
        assert!(good.is_good(b"Jefe", b"what do ya want for nothing?"));
        assert!(!good.is_good(b"Jefe", b"what do ya want for nothing!"));
        assert!(!good.is_good(b"Jef", b"what do ya want for nothing?"));
        assert!(
            Signature::Digest(case.to_uppercase())
                .is_good(b"Jefe", b"what do ya want for nothing?")
        );
        let github = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let signature = Signature::find(|name| {
            (name == "x-hub-signature-256").then_some(
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            )
        });
        assert_eq!(signature, Some(Signature::Digest(github.to_owned())));
        assert!(signature.unwrap().is_good(b"It's a Secret to Everybody", b"Hello, World!"));
    }

    #[test]
    fn what_is_no_digest_is_not_good() {
        for bad in ["", "5b", "zz", &"é".repeat(32), &"0".repeat(64), &"+1".repeat(32)] {
            assert!(!Signature::Digest(bad.to_owned()).is_good(b"s", b"b"), "{bad}");
        }
        assert_eq!(Signature::find(|_| None), None);
        let bare = |name: &str| (name == "x-hub-signature-256").then_some("0000");
        assert_eq!(Signature::find(bare), None);
    }

    #[test]
    fn a_token_is_good_when_it_is_the_secret() {
        assert!(Signature::Token("abc".to_owned()).is_good(b"abc", b"any"));
        for bad in ["", "ab", "abcd", "ABC"] {
            assert!(!Signature::Token(bad.to_owned()).is_good(b"abc", b"any"), "{bad}");
        }
    }
}
