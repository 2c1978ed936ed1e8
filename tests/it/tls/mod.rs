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
use openssl::x509::X509;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    api::stage::Stage,
    authority::{Authority, DAY, Span, USUAL},
};

const PATIENCE: Duration = Duration::from_secs(60);

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
        let authority = Authority::new("berth tests");
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
        config(roots(&self.authority), protocols)
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

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der())).unwrap();
    roots
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
