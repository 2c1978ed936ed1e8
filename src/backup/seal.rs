//! Encryption by age: an archive has a key of its own, which lies in it as `key.age`, encrypted by
//! a passphrase or for an operator's key.

use std::{
    fmt,
    io::{self, BufReader, Read, Write},
    iter,
};

use age::{
    Decryptor, Encryptor,
    secrecy::{ExposeSecret as _, SecretString},
    stream::StreamWriter,
    x25519,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Error;
use crate::model::Digest;

/// How much a passphrase may cost to try, as a power of two: who made the archive decides it.
const WORK_MAX: u8 = 22;
/// How long an archive's key may be, in bytes.
const KEY_MAX: u64 = 64 << 10;

/// What opens an archive.
#[derive(Clone)]
pub enum Key {
    /// A passphrase.
    Passphrase {
        /// The passphrase.
        text: SecretString,
        /// How much it costs to try one, as a power of two; about a second when nobody says.
        work: Option<u8>,
    },
    /// A key of age: `AGE-SECRET-KEY-1…`.
    Identity(x25519::Identity),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase { .. } => "a passphrase",
            Self::Identity(_) => "a key",
        })
    }
}

impl Key {
    /// A passphrase; the end of its line does not belong to it.
    pub fn passphrase(text: &str) -> Result<Self, Error> {
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() {
            return Err(Error::Refused("the passphrase is empty".to_owned()));
        }
        Ok(Self::Passphrase { text: SecretString::from(text.to_owned()), work: None })
    }

    /// The key in a file of age: lines that begin with `#` are remarks.
    pub fn identity(text: &str) -> Result<Self, Error> {
        let lines = text.lines().map(str::trim);
        let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let wrong = || {
            Error::Refused("the file holds no key: it needs one line AGE-SECRET-KEY-1…".to_owned())
        };
        let (Some(key), None) = (keys.next(), keys.next()) else { return Err(wrong()) };
        key.parse().map(Self::Identity).map_err(|_: &str| wrong())
    }

    /// Encrypts an archive's key.
    fn wrap(&self, text: &[u8]) -> Result<Vec<u8>, Error> {
        let done = match self {
            Self::Passphrase { text: words, work } => {
                let mut recipient = age::scrypt::Recipient::new(words.clone());
                if let Some(work) = work {
                    recipient.set_work_factor(*work);
                }
                age::encrypt(&recipient, text)
            }
            Self::Identity(identity) => age::encrypt(&identity.to_public(), text),
        };
        done.map_err(|error| Error::Refused(error.to_string()))
    }

    fn unwrap(&self, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let decryptor = Decryptor::new_buffered(bytes)
            .map_err(|error| Error::Corrupt(format!("key.age: {error}")))?;
        let reader = match self {
            Self::Passphrase { text, .. } => {
                let mut identity = age::scrypt::Identity::new(text.clone());
                identity.set_max_work_factor(WORK_MAX);
                decryptor.decrypt(iter::once(&identity as &dyn age::Identity))
            }
            Self::Identity(identity) => {
                decryptor.decrypt(iter::once(identity as &dyn age::Identity))
            }
        };
        let reader = reader.map_err(|error| Error::WrongKey(error.to_string()))?;
        let mut text = Vec::new();
        let read = reader.take(KEY_MAX).read_to_end(&mut text);
        read.map_err(|error| Error::Corrupt(format!("key.age: {error}")))?;
        Ok(text)
    }
}

/// What encrypts and decrypts an archive.
pub(super) struct Seal {
    identity: x25519::Identity,
    recipient: x25519::Recipient,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the seal of {}", self.recipient)
    }
}

impl Seal {
    /// That of a new archive, and its `key.age`.
    pub(super) fn make(key: &Key) -> Result<(Self, Vec<u8>), Error> {
        let identity = x25519::Identity::generate();
        let text = format!("{}\n", identity.to_string().expose_secret());
        let wrapped = key.wrap(text.as_bytes())?;
        Ok((Self::of(identity), wrapped))
    }

    /// That of an archive whose `key.age` this is.
    pub(super) fn open(key: &Key, wrapped: &[u8]) -> Result<Self, Error> {
        let text = key.unwrap(wrapped)?;
        let damaged = || Error::Corrupt("key.age holds no key".to_owned());
        let text = std::str::from_utf8(&text).map_err(|_| damaged())?;
        text.trim().parse().map(Self::of).map_err(|_: &str| damaged())
    }

    fn of(identity: x25519::Identity) -> Self {
        Self { recipient: identity.to_public(), identity }
    }

    /// What an object is called: nobody learns from it what is in it.
    pub(super) fn name(&self, content: &Digest) -> Digest {
        let key = self.identity.to_string();
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()) else {
            // It takes keys of every length.
            return content.clone();
        };
        mac.update(content.as_str().as_bytes());
        Digest::of_hash(mac.finalize().into_bytes().into())
    }

    pub(super) fn encrypt<W: Write>(&self, into: W) -> io::Result<StreamWriter<W>> {
        let recipients = iter::once(&self.recipient as &dyn age::Recipient);
        Encryptor::with_recipients(recipients).map_err(io::Error::other)?.wrap_output(into)
    }

    pub(super) fn decrypt<'a>(
        &self,
        from: impl Read + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        let damaged = |error: age::DecryptError| io::Error::new(io::ErrorKind::InvalidData, error);
        let decryptor = Decryptor::new_buffered(BufReader::new(from)).map_err(damaged)?;
        let identities = iter::once(&self.identity as &dyn age::Identity);
        Ok(Box::new(decryptor.decrypt(identities).map_err(damaged)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Key {
        Key::Passphrase { text: SecretString::from(text.to_owned()), work: Some(2) }
    }

    #[test]
    fn an_archives_key_opens_by_what_it_was_made_with_and_nothing_else() {
        let operator = x25519::Identity::generate();
        let file = format!("# made today\n{}\n", operator.to_string().expose_secret());
        for (key, other) in [
            (words("correct horse"), words("wrong horse")),
            (Key::identity(&file).unwrap(), Key::Identity(x25519::Identity::generate())),
            (words("a"), Key::identity(&file).unwrap()),
        ] {
            let (seal, wrapped) = Seal::make(&key).unwrap();
            let again = Seal::open(&key, &wrapped).unwrap();
            let content = Digest::of_bytes(b"abc");
            assert_eq!(again.name(&content), seal.name(&content));
            assert_ne!(seal.name(&content), content);
            assert!(matches!(Seal::open(&other, &wrapped), Err(Error::WrongKey(_))));
            assert!(Seal::open(&key, &wrapped[..wrapped.len() - 1]).is_err());
        }
        for bad in ["", "# only\n", "AGE-SECRET-KEY-1abc"] {
            assert!(Key::identity(bad).is_err(), "{bad}");
        }
        assert!(Key::passphrase("\n").is_err());
    }

    #[test]
    fn what_is_cut_off_or_changed_is_noticed() {
        let (seal, _) = Seal::make(&words("x")).unwrap();
        let mut bytes = Vec::new();
        let mut writer = seal.encrypt(&mut bytes).unwrap();
        writer.write_all(&vec![7; 100_000]).unwrap();
        writer.finish().unwrap();
        let read = |bytes: &[u8]| {
            let mut text = Vec::new();
            seal.decrypt(bytes)?.read_to_end(&mut text).map(|_| text)
        };
        assert!(read(&bytes).unwrap() == vec![7; 100_000]);
        for cut in [0, 10, 200, 65_000, bytes.len() - 1] {
            assert!(read(&bytes[..cut]).is_err(), "{cut}");
        }
        for at in [5, 250, 70_000, bytes.len() - 1] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(read(&bad).is_err(), "{at}");
        }
    }
}
