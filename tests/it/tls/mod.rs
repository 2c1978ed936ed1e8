//! TLS and HTTP/2, as clients meet them: handshakes, certificates that change, and limits.

mod ask;
mod believe;
mod limits;
mod reload;
mod speak;
mod wire;

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use berth::server::{CertificateSource, Settings, Tls};
use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::api::stage::{Stage, now};

const PATIENCE: Duration = Duration::from_secs(20);
const DAY: i64 = 86_400;

/// Somebody who signs certificates.
struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// From when to when, in seconds from now.
type Span = (i64, i64);

const USUAL: Span = (-DAY, 90 * DAY);

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn builder(name: &str, key: &PKey<Private>, serial: u32, (from, to): Span) -> X509Builder {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
    let mut builder = X509Builder::new().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(serial).unwrap().to_asn1_integer().unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject.build()).unwrap();
    builder.set_pubkey(key).unwrap();
    let now = now().as_millis() / 1000;
    builder.set_not_before(&Asn1Time::from_unix(now + from).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::from_unix(now + to).unwrap()).unwrap();
    builder
}

impl Authority {
    fn new() -> Self {
        let key = new_key();
        let mut builder = builder("berth tests", &key, 1, (-DAY, 365 * DAY));
        let name = {
            let mut name = X509NameBuilder::new().unwrap();
            name.append_entry_by_nid(Nid::COMMONNAME, "berth tests").unwrap();
            name.build()
        };
        builder.set_issuer_name(&name).unwrap();
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        builder.append_extension(constraints).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Self { certificate: builder.build(), key }
    }

    /// A certificate for this machine and its key, in PEM form.
    fn pair(&self, serial: u32, span: Span) -> (Vec<u8>, Vec<u8>) {
        let key = new_key();
        let mut builder = builder("localhost", &key, serial, span);
        builder.set_issuer_name(self.certificate.subject_name()).unwrap();
        let names = SubjectAlternativeName::new()
            .dns("localhost")
            .ip("127.0.0.1")
            .build(&builder.x509v3_context(Some(&self.certificate), None))
            .unwrap();
        builder.append_extension(names).unwrap();
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        (builder.build().to_pem().unwrap(), key.private_key_to_pem_pkcs8().unwrap())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.certificate.to_der().unwrap())).unwrap();
        roots
    }
}

/// A server that speaks TLS.
struct Harbour {
    stage: Stage,
    authority: Authority,
    folder: tempfile::TempDir,
}

fn write_key(path: &Path, text: &[u8]) {
    use std::io::Write as _;
    let _ = fs::remove_file(path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.as_mut().unwrap().write_all(text).unwrap();
}

impl Harbour {
    async fn start() -> Self {
        Self::with(USUAL, |_| ()).await
    }

    async fn with(span: Span, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let (cert, key) = authority.pair(2, span);
        fs::write(folder.path().join("cert.pem"), cert).unwrap();
        write_key(&folder.path().join("key.pem"), &key);
        let source = CertificateSource::Files {
            cert: folder.path().join("cert.pem"),
            key: folder.path().join("key.pem"),
        };
        let stage = Stage::with(|settings| {
            let look = Duration::from_millis(20);
            settings.tls = Some(Tls { look, ..Tls::new(source) });
            settings.header_timeout = Duration::from_secs(10);
            change(settings);
        })
        .await;
        stage.settle();
        stage.put("chat", |_| ());
        Self { stage, authority, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, protocols: &[&str]) -> ClientConfig {
        config(self.authority.roots(), protocols)
    }

    /// A connection by TLS, offering these protocols.
    async fn connect(&self, protocols: &[&str]) -> TlsStream<TcpStream> {
        secure(self.stage.address, self.config(protocols)).await.unwrap()
    }

    /// The serial number of the certificate that is shown to who comes now.
    async fn serial(&self) -> u32 {
        let stream = self.connect(&[]).await;
        serial(&stream)
    }

    /// Whether the figures say this.
    fn figure(&self, line: &str) -> bool {
        self.stage.metrics.render().lines().any(|shown| shown.starts_with(line))
    }

    /// Waits until the figures say this.
    async fn until_figure(&self, line: &str) {
        let waiting = async {
            while !self.figure(line) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "`{line}` is not in\n{}", self.stage.metrics.render());
    }
}

fn config(roots: RootCertStore, protocols: &[&str]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn secure(
    address: std::net::SocketAddr,
    config: ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(IpAddr::from([127, 0, 0, 1]));
    let shaking = TlsConnector::from(Arc::new(config)).connect(name, stream);
    tokio::time::timeout(PATIENCE, shaking).await.expect("the handshake did not end")
}

fn serial(stream: &TlsStream<TcpStream>) -> u32 {
    let shown = stream.get_ref().1.peer_certificates().unwrap();
    let number = X509::from_der(&shown[0]).unwrap().serial_number().to_bn().unwrap();
    number.to_dec_str().unwrap().parse().unwrap()
}
