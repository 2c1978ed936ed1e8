//! A digest that tells whether a value has changed, and nothing else: without the key, which stays
//! in the state folder, nobody can try values.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::model::SecretRef;

/// How many bytes the key has.
const KEY_BYTES: usize = 32;
/// How many digits a seal has.
const DIGITS: usize = 32;
/// How many letters a token of an app has.
const LETTERS: usize = 40;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What values are sealed with.
#[derive(Clone)]
pub(super) struct Key([u8; KEY_BYTES]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    /// The key in this file, which is made when it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => {
                if fs::metadata(path)?.mode() & 0o077 != 0 {
                    let message = "others may read it: run `chmod 600` on it";
                    return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
                }
                let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it is not 32 bytes");
                bytes.try_into().map(Self).map_err(|_| wrong())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(error),
        }
    }

    fn make(path: &Path) -> io::Result<Self> {
        let mut key = [0; KEY_BYTES];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&key)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        if let Some(folder) = path.parent() {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(Self(key))
    }

    /// Letters and digits that nobody without the key can tell, the same for the same name.
    pub(super) fn letters(&self, name: &str) -> String {
        let mut letters = String::with_capacity(LETTERS);
        for round in 0..u64::MAX {
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return letters };
            mac.update(b"hub token\0");
            mac.update(&round.to_be_bytes());
            mac.update(name.as_bytes());
            for byte in mac.finalize().into_bytes() {
                let index = usize::from(byte);
                // What is above the last multiple of 62 would make some letters likelier.
                if index < 256 / ALPHABET.len() * ALPHABET.len() && letters.len() < LETTERS {
                    letters.push(char::from(ALPHABET[index % ALPHABET.len()]));
                }
            }
            if letters.len() == LETTERS {
                break;
            }
        }
        letters
    }

    /// The seal of a value. Equal values of two secrets have seals of their own.
    pub(super) fn seal(&self, name: &SecretRef, value: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        for part in [name.secret.as_bytes(), name.key().as_bytes(), value] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let digits = mac.finalize().into_bytes();
        let digits = digits.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.take(DIGITS).filter_map(|four| char::from_digit(u32::from(four), 16)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(secret: &str) -> SecretRef {
        SecretRef { secret: secret.to_owned(), key: None }
    }

    #[test]
    fn a_seal_is_of_this_key_this_secret_and_this_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        let key = Key::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let seal = key.seal(&name("a"), b"x");
        assert_eq!(seal.len(), DIGITS);
        assert_eq!(Key::open(&path).unwrap().seal(&name("a"), b"x"), seal, "kept over a restart");
        let other = Key::open(&folder.path().join("other.key")).unwrap();
        let keyed = SecretRef { key: Some("k".to_owned()), ..name("a") };
        for differs in [
            key.seal(&name("a"), b"y"),
            key.seal(&name("b"), b"x"),
            key.seal(&keyed, b"x"),
            other.seal(&name("a"), b"x"),
        ] {
            assert_ne!(differs, seal);
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.key");
        Key::open(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Key::open(&path).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, b"short").unwrap();
        assert!(Key::open(&path).is_err(), "cut off: a new key must not be made silently");
    }
}
