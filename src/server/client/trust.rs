//! Whom the command line believes to be the controller, by TLS.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::server::tls::fingerprint;

/// Whose certificate is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// One that leads to a root of this machine's list.
    #[default]
    Machine,
    /// One that leads to a certificate of this file, or is one of them.
    Roots(PathBuf),
    /// This one and no other: its SHA-256, as hexadecimal digits.
    Fingerprint(String),
}

/// Why nobody is believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of certificates can't be read.
    #[error("can't read the certificates in {}: {why}", .path.display())]
    Roots {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It is no SHA-256.
    #[error("`{0}` is no SHA-256: write 64 hexadecimal digits, as `berth run` says them")]
    Fingerprint(String),
    /// The library refuses its settings.
    #[error("TLS can't be set up: {0}")]
    Library(String),
}

impl Trust {
    /// A fingerprint as people write it, with or without colons.
    pub fn fingerprint(text: &str) -> Result<Self, Error> {
        let digits: String = text.trim().chars().filter(|c| *c != ':').collect();
        if digits.len() != 64 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Error::Fingerprint(text.to_owned()));
        }
        Ok(Self::Fingerprint(digits.to_ascii_lowercase()))
    }

    fn roots(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        match self {
            Self::Fingerprint(_) => Ok(Vec::new()),
            // What can't be read of many places is missed where it would have been needed.
            Self::Machine => Ok(rustls_native_certs::load_native_certs().certs),
            Self::Roots(path) => {
                let wrong = |why: String| Error::Roots { path: path.clone(), why };
                let text = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
                let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
                let all = all.map_err(|error| wrong(error.to_string()))?;
                if all.is_empty() { Err(wrong("there are none".to_owned())) } else { Ok(all) }
            }
        }
    }
}

/// What checks a controller's certificate.
#[derive(Debug)]
struct Check {
    provider: Arc<CryptoProvider>,
    /// None where only a fingerprint counts.
    chain: Option<Arc<WebPkiServerVerifier>>,
    pinned: Option<String>,
    /// The last certificate that was not believed.
    refused: Mutex<Option<String>>,
}

/// Speaks TLS to those it believes.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    config: Arc<ClientConfig>,
    check: Arc<Check>,
}

impl Speaker {
    pub(super) fn new(trust: &Trust) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let library = |error: &dyn std::error::Error| Error::Library(error.to_string());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trust.roots()?);
        let chain = if roots.is_empty() {
            None
        } else {
            let builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(builder.build().map_err(|error| library(&error))?)
        };
        let pinned = match trust {
            Trust::Fingerprint(digits) => Some(digits.clone()),
            Trust::Machine | Trust::Roots(_) => None,
        };
        let refused = Mutex::default();
        let check = Arc::new(Check { provider: Arc::clone(&provider), chain, pinned, refused });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| library(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&check) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        // Each request has a connection of its own: many on one would gain nothing.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), check })
    }

    /// Shakes hands with `host`.
    pub(super) async fn secure(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await
    }

    /// The fingerprint of the last certificate that was not believed.
    pub(super) fn refused(&self) -> Option<String> {
        self.check.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Check {
    fn judge(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        (name, staple, now): (&ServerName<'_>, &[u8], UnixTime),
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{ApplicationVerificationFailure, UnknownIssuer};
        if let Some(pinned) = &self.pinned {
            return if fingerprint(first) == *pinned {
                Ok(ServerCertVerified::assertion())
            } else {
                Err(ApplicationVerificationFailure.into())
            };
        }
        match &self.chain {
            Some(chain) => chain.verify_server_cert(first, others, name, staple, now),
            None => Err(UnknownIssuer.into()),
        }
    }
}

impl ServerCertVerifier for Check {
    fn verify_server_cert(
        &self,
        first: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self.judge(first, others, (name, staple, now));
        if judged.is_err() {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused = Some(fingerprint(first));
        }
        judged
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a person can do when there is no TLS.
pub(super) fn advice(speaker: &Speaker, path: Option<&Path>) -> String {
    let Some(digits) = speaker.refused() else {
        return "check that the port speaks https, and that `--server` names it".to_owned();
    };
    let leads = path.map_or_else(String::new, |path| {
        format!("its certificate does not lead to one in {}; ", path.display())
    });
    format!(
        "{leads}it shows {digits}: if `berth run` says the same in its log, add `--tls-fingerprint {digits}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_programs_write_them() {
        let digits = "ab".repeat(32);
        let colons = ["AB"; 32].join(":");
        for text in [&digits, &colons, &format!(" {digits}\n")] {
            assert_eq!(Trust::fingerprint(text).unwrap(), Trust::Fingerprint(digits.clone()));
        }
        for text in ["", "ab", &"zz".repeat(32)] {
            assert!(Trust::fingerprint(text).is_err(), "{text}");
        }
    }
}
