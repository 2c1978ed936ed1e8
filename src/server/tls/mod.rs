//! TLS: the certificate that is shown, how it is kept up to date, and the handshake.
//!
//! # Guarantees
//! - A pair that can't be used never takes the place of one that can.
//! - Connections that are open keep the certificate that they began with.
//! - A handshake has a deadline, and nobody else waits for it.

mod made;
mod pair;
mod watch;

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

pub use pair::Error;
pub(super) use {pair::fingerprint, watch::Watch};

use super::patience::Patient;
use crate::model::Timestamp;
use pair::{About, Pair};

/// The first byte of a TLS connection: a record that holds a handshake.
const HANDSHAKE: u8 = 0x16;
/// A fatal alert, `access_denied`: what somebody is told who is turned away before the handshake.
pub(super) const DENIED: &[u8] = &[0x15, 3, 3, 0, 2, 2, 49];
/// What who speaks plain HTTP is told, before a moment of listening.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: 184\r\n\r\n{\"type\":\"urn:berth:problem:server.https-only\",\"title\":\"This port speaks https\",\"status\":400,\"detail\":\"this port speaks https: write https:// in the address\",\"code\":\"server.https-only\"}";
/// How long somebody who is turned away is listened to.
const TURN_AWAY: Duration = Duration::from_secs(1);

/// How the interface speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Where the certificate is.
    pub source: CertificateSource,
    /// For how long browsers are told to come by TLS only; none tells them nothing.
    pub hsts: Option<Duration>,
    /// How often the files are looked at.
    pub look: Duration,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// The operator's files, in PEM form.
    Files {
        /// The certificate, and those that lead to the root.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// Berth signs one itself, once, and keeps it.
    SelfSigned {
        /// Where.
        folder: PathBuf,
        /// Names beside those of this machine.
        names: Vec<String>,
    },
}

impl Tls {
    /// TLS with a certificate of this source.
    pub fn new(source: CertificateSource) -> Self {
        Self { source, hsts: None, look: Duration::from_secs(2) }
    }
}

/// The certificate that is shown at present.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl Shown {
    fn replace(&self, new: Arc<CertifiedKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// This end of TLS.
pub(super) struct End {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
    cert: PathBuf,
    key: PathBuf,
    about: About,
    is_made: bool,
    settings: Tls,
    /// What the files were before they were read.
    marks: [watch::Mark; 2],
}

/// A connection that is encrypted from here on.
pub(super) struct Secured {
    pub(super) stream: TlsStream<Patient<TcpStream>>,
    pub(super) is_http2: bool,
}

impl End {
    /// Reads the certificate, or makes it.
    pub(super) fn new(settings: &Tls, now: Timestamp) -> Result<Self, Error> {
        let (cert, key, is_made) = match &settings.source {
            CertificateSource::Files { cert, key } => (cert.clone(), key.clone(), false),
            CertificateSource::SelfSigned { folder, names } => {
                let (cert, key) = made::files(folder, names, now)?;
                (cert, key, true)
            }
        };
        let marks = [&cert, &key].map(|path| watch::mark(path));
        let Pair { shown, about } = Pair::read(&cert, &key)?;
        let shown = Arc::new(Shown(RwLock::new(shown)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let settings = settings.clone();
        Ok(Self { acceptor, shown, cert, key, about, is_made, settings, marks })
    }

    /// The SHA-256 of the certificate that was shown first.
    pub(super) fn fingerprint(&self) -> &str {
        &self.about.fingerprint
    }

    /// What browsers are told in `Strict-Transport-Security`.
    pub(super) fn hsts(&self) -> Option<String> {
        // Who trusts a certificate by hand must be able to go back.
        let age = self.settings.hsts.filter(|_| !self.is_made)?;
        Some(format!("max-age={}", age.as_secs()))
    }

    /// Shakes hands, within this time. Who speaks something else is told so. The error says in one
    /// word why there is no connection.
    pub(super) async fn accept(
        &self,
        mut stream: TcpStream,
        (within, patience): (Duration, Duration),
    ) -> Result<Secured, &'static str> {
        let shaking = async {
            let mut first = [0];
            match stream.peek(&mut first).await {
                Ok(1) if first[0] == HANDSHAKE => {}
                Ok(1) => {
                    say(&mut stream, PLAIN).await;
                    return Err("plain-http");
                }
                _ => return Err("gone"),
            }
            let stream = Patient::new(stream, patience);
            let stream = self.acceptor.accept(stream).await.map_err(|error| {
                tracing::debug!(%error, "no handshake");
                "handshake"
            })?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Secured { stream, is_http2 })
        };
        tokio::time::timeout(within, shaking).await.unwrap_or(Err("handshake-timeout"))
    }
}

/// Says something in a few bytes that fit into any send buffer, and hangs up.
pub(super) async fn say<S>(stream: &mut S, bytes: &[u8])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let saying = async {
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        // Closed with bytes unread, the answer would be lost on the way.
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await.is_ok_and(|length| 0 < length) {}
    };
    let _ = tokio::time::timeout(TURN_AWAY, saying).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_plain_http_is_as_long_as_it_says() {
        let text = std::str::from_utf8(PLAIN).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], 400);
    }
}
