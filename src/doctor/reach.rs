//! Whether a host can be reached, and whether the certificate that it shows is believed.

use std::{fmt, fs, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a host may take to accept a connection and to show its certificate.
const PATIENCE: Duration = Duration::from_secs(5);
/// The ports of the schemes of addresses, and whether TLS is spoken there.
const SCHEMES: [(&str, u16, bool); 3] =
    [("https://", 443, true), ("ssh://", 22, false), ("http://", 80, false)];
/// Where images come from that name no registry.
const HUB: &str = "registry-1.docker.io";

/// A host that something is fetched from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// Its name, or its address.
    pub name: String,
    /// The port.
    pub port: u16,
    /// Whether TLS is spoken there.
    pub is_tls: bool,
}

impl Host {
    /// The host of a repository's address; none where it is no other machine.
    pub fn of_repository(url: &str) -> Option<Self> {
        let url = url.strip_prefix("git+").unwrap_or(url);
        if let Some((scheme, port, is_tls)) =
            SCHEMES.iter().find(|(scheme, ..)| url.starts_with(scheme))
        {
            let authority = url[scheme.len()..].split(['/', '#']).next()?;
            return Self::of_authority(authority.rsplit('@').next()?, *port, *is_tls);
        }
        // `git@host:path`
        let (user, path) = url.split_once(':')?;
        let name = user.rsplit_once('@')?.1.to_owned();
        (!path.starts_with("//")).then_some(Self { name, port: 22, is_tls: false })
    }

    /// The registry of an image; none of one that is named by its digest alone.
    pub fn of_image(reference: &str) -> Option<Self> {
        if reference.starts_with("sha256:") {
            return None;
        }
        let first = reference.split_once('/').map_or("", |(first, _)| first);
        let is_host = first.contains(['.', ':']) || first == "localhost";
        match first {
            _ if !is_host => Self::of_authority(HUB, 443, true),
            "docker.io" | "index.docker.io" => Self::of_authority(HUB, 443, true),
            registry => Self::of_authority(registry, 443, true),
        }
    }

    fn of_authority(authority: &str, port: u16, is_tls: bool) -> Option<Self> {
        let is_bare = authority.ends_with(']') || !authority.contains(':');
        let (name, port) = match authority.rsplit_once(':').filter(|_| !is_bare) {
            Some((name, port)) => (name, port.parse().ok()?),
            None => (authority, port),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        (!name.is_empty()).then(|| Self { name: name.to_owned(), port, is_tls })
    }

    /// Whether it is where images come from that name no registry.
    pub(super) fn is_hub(&self) -> bool {
        self.name == HUB
    }

    /// Whether it is this machine.
    pub(super) fn is_here(&self) -> bool {
        let address = self.name.parse::<IpAddr>();
        self.name == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// Whether it is named, and not given as an address.
    pub(super) fn is_named(&self) -> bool {
        !self.is_here() && self.name.parse::<IpAddr>().is_err()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.is_tls) {
            (443, true) | (22 | 80, false) => f.write_str(&self.name),
            (port, _) => write!(f, "{}:{port}", self.name),
        }
    }
}

/// Why a host is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody answers.
    Unreachable(String),
    /// Somebody answers, whose certificate is not believed.
    Unbelieved(String),
    /// Somebody answers who does not speak TLS as it should be.
    Handshake(String),
}

/// Calls hosts.
#[derive(Clone)]
pub(super) struct Caller(TlsConnector);

impl Caller {
    /// One that believes the authorities of this machine, and those of a file.
    pub(super) async fn new(authorities: Option<PathBuf>) -> Result<Self, String> {
        let reading = tokio::task::spawn_blocking(move || roots(authorities));
        let roots = reading.await.map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Calls one, and hangs up.
    pub(super) async fn call(&self, host: &Host) -> Result<(), Trouble> {
        let calling = async {
            let connecting = TcpStream::connect((host.name.as_str(), host.port));
            let unreachable = |error: io::Error| Trouble::Unreachable(error.to_string());
            let stream = connecting.await.map_err(unreachable)?;
            if !host.is_tls {
                return Ok(());
            }
            let name = ServerName::try_from(host.name.clone());
            let name = name.map_err(|error| Trouble::Handshake(error.to_string()))?;
            self.0.connect(name, stream).await.map(|_| ()).map_err(|error| refused(&error))
        };
        let late = || Trouble::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()));
        tokio::time::timeout(PATIENCE, calling).await.unwrap_or_else(|_| Err(late()))
    }
}

fn refused(error: &io::Error) -> Trouble {
    let why = error.get_ref().and_then(|why| why.downcast_ref::<rustls::Error>());
    let text = match why {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "nobody who is believed has signed it".to_owned()
        }
        Some(why) => why.to_string(),
        None => error.to_string(),
    };
    match why {
        Some(rustls::Error::InvalidCertificate(_)) => Trouble::Unbelieved(text),
        _ => Trouble::Handshake(text),
    }
}

/// What can't be read of many places is missed where it would have been needed.
fn roots(authorities: Option<PathBuf>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let text = authorities.and_then(|path| fs::read(path).ok()).unwrap_or_default();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
    roots
}

/// Whether a host is reached by a proxy, as the variables of these names say.
pub(super) fn is_proxied(host: &Host, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &str| {
        let both = [name.to_owned(), name.to_ascii_lowercase()];
        both.iter().find_map(|name| variable(name)).filter(|value| !value.is_empty())
    };
    let proxy = match (host.is_tls, host.port) {
        (_, 22) => None,
        (true, _) => set("HTTPS_PROXY"),
        (false, _) => set("HTTP_PROXY"),
    };
    let spared = set("NO_PROXY").unwrap_or_default();
    let is_spared = spared.split(',').map(str::trim).any(|one| {
        let one = one.trim_start_matches("*.").trim_start_matches('.');
        let below = host.name.strip_suffix(one).is_some_and(|rest| rest.ends_with('.'));
        one == "*" || (!one.is_empty() && (one == host.name || below))
    });
    proxy.is_some() && !is_spared && !host.is_here()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_addresses_of_every_form() {
        let of =
            |url: &str| Host::of_repository(url).map(|host| format!("{}:{}", host.name, host.port));
        assert_eq!(of("https://me@h.example/a.git").as_deref(), Some("h.example:443"));
        assert_eq!(of("git+https://h.example:8443/a#main").as_deref(), Some("h.example:8443"));
        assert_eq!(of("ssh://git@h.example/a").as_deref(), Some("h.example:22"));
        assert_eq!(of("git@h.example:a/b.git").as_deref(), Some("h.example:22"));
        assert_eq!(of("https://[::1]:8443/a").as_deref(), Some("::1:8443"));
        assert_eq!(of("/srv/git/a"), None);
    }

    #[test]
    fn registries_are_found_in_names_of_images() {
        let of = |image: &str| Host::of_image(image).map(|host| host.to_string());
        for (image, host) in [
            ("redis:7", HUB),
            ("library/redis:7", HUB),
            ("docker.io/library/redis:7", HUB),
            ("ghcr.io/a/b:1", "ghcr.io"),
            ("localhost:5000/a:1", "localhost:5000"),
            ("registry.example:8443/a/b@sha256:00", "registry.example:8443"),
        ] {
            assert_eq!(of(image).as_deref(), Some(host), "{image}");
        }
        assert_eq!(of("sha256:00"), None);
    }

    #[test]
    fn a_proxy_is_for_all_but_those_that_are_spared() {
        let host = |name: &str| Host { name: name.to_owned(), port: 443, is_tls: true };
        let with = |spared: &'static str| {
            move |name: &str| match name {
                "https_proxy" => Some("http://proxy:3128".to_owned()),
                "NO_PROXY" => Some(spared.to_owned()),
                _ => None,
            }
        };
        assert!(is_proxied(&host("h.example"), with("")));
        assert!(!is_proxied(&host("h.example"), with("localhost, .example")));
        assert!(!is_proxied(&host("h.example"), with("h.example")));
        assert!(is_proxied(&host("other.test"), with("h.example,est")));
        assert!(!is_proxied(&host("h.example"), |_| None));
        let ssh = Host { port: 22, is_tls: false, ..host("h.example") };
        assert!(!is_proxied(&ssh, with("")));
    }
}
