//! A certificate with its key, read from files and checked.

use std::{
    fs::File,
    io::{self, Read as _},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    x509::X509,
};
use rustls::{
    InconsistentKeys,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::model::{Digest, Timestamp};

/// How large such a file may be.
const FILE_MAX: u64 = 1024 * 1024;
/// What nobody but the owner and the group's readers may do with a key's file.
const FOREIGN_MODE: u32 = 0o037;

/// Why a pair can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read.
    #[error("can't read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read the key.
    #[error(
        "{} may be read or changed by others: `chmod 600 {}`, or 640 for a group that needs it",
        .0.display(), .0.display()
    )]
    Open(PathBuf),
    /// The file holds something else.
    #[error("{} holds no {what} in PEM form: {why}", .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The key is another certificate's.
    #[error("the key in {} is not the key of the certificate in {}", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Its time is over, or has not come.
    #[error("the certificate in {} is valid from {from} to {to} only", .path.display())]
    OutOfTime {
        /// The certificate's file.
        path: PathBuf,
        /// From when.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
    },
    /// A pair can't be made.
    #[error("can't make a certificate")]
    Make(#[from] openssl::error::ErrorStack),
    /// A pair that was made can't be kept.
    #[error("can't keep the certificate in {}", .path.display())]
    Keep {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The library refuses its settings.
    #[error("TLS can't be set up")]
    Library(#[from] rustls::Error),
}

/// What is known of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// The SHA-256 of the certificate, as hexadecimal digits.
    pub(super) fingerprint: String,
    /// The names and addresses that it is for.
    pub(super) names: Vec<String>,
}

/// A certificate that can be shown.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) shown: Arc<CertifiedKey>,
    pub(super) about: About,
}

impl Pair {
    /// Reads both files.
    pub(super) fn read(cert: &Path, key: &Path) -> Result<Self, Error> {
        let malformed = |path: &Path, what, why: String| {
            let path = path.to_owned();
            Error::Malformed { path, what, why }
        };
        let text = content(File::open(cert), cert)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<_, _>>()
            .map_err(|error| malformed(cert, "certificate", error.to_string()))?;
        let Some(first) = chain.first() else {
            return Err(malformed(cert, "certificate", "there is none".to_owned()));
        };
        let about =
            About::of(first).map_err(|error| malformed(cert, "certificate", error.to_string()))?;
        let text = content(open_key(key)?, key)?;
        let secret = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|error| malformed(key, "private key", error.to_string()))?;
        let signer = any_supported_type(&secret)
            .map_err(|error| malformed(key, "private key", error.to_string()))?;
        let shown = CertifiedKey::new(chain, signer);
        match shown.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => {
                return Err(Error::Mismatch { cert: cert.to_owned(), key: key.to_owned() });
            }
        }
        Ok(Self { shown: Arc::new(shown), about })
    }
}

impl About {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, openssl::error::ErrorStack> {
        let parsed = X509::from_der(certificate)?;
        let names = parsed.subject_alt_names().map_or_else(Vec::new, |names| {
            let name = |name: &openssl::x509::GeneralNameRef| {
                name.dnsname().map(str::to_owned).or_else(|| address(name.ipaddress()?))
            };
            names.iter().filter_map(name).collect()
        });
        Ok(Self {
            from: time(parsed.not_before())?,
            to: time(parsed.not_after())?,
            fingerprint: fingerprint(certificate),
            names,
        })
    }

    /// Whether it is good at this moment.
    pub(super) fn is_good(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.to
    }
}

/// The SHA-256 of a certificate, as hexadecimal digits.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Digest::of_bytes(certificate).as_str().to_owned()
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => None,
    }
}

fn time(time: &Asn1TimeRef) -> Result<Timestamp, openssl::error::ErrorStack> {
    let past = Asn1Time::from_unix(0)?.diff(time)?;
    let seconds = i64::from(past.days) * 86_400 + i64::from(past.secs);
    Ok(Timestamp::from_millis(seconds * 1000))
}

fn open_key(path: &Path) -> Result<io::Result<File>, Error> {
    let file = File::open(path);
    if let Ok(seen) = file.as_ref().map_or_else(|_| path.metadata(), File::metadata)
        && seen.mode() & FOREIGN_MODE != 0
    {
        return Err(Error::Open(path.to_owned()));
    }
    Ok(file)
}

fn content(file: io::Result<File>, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let read = file.and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
    read.map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(bytes)
}
