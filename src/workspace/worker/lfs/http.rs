//! HTTP, as far as Git LFS needs it: one question, one answer, and a stream of bytes.
//!
//! An address is looked up and checked once, and what was checked is connected to (fault G05). A
//! login is for the repository's own host; what the host says to send to another one is for that
//! one, and a redirect carries neither further.

use std::{
    fmt,
    io::Read,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ureq::{
    Agent, Body, Proxy,
    config::Config,
    http::{Response, Uri},
    tls::{RootCerts, TlsConfig, TlsProvider},
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

use super::{super::addresses, door::Door};
use crate::workspace::{access::Approach, address::Host, error::Error, protocol::Job};

const REDIRECTS_MAX: usize = 3;
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
const SHOWN_MAX: usize = 200;
pub(super) const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is not to be asked again.
    Final(Error),
    /// It may help to ask again.
    Passing(String),
}

/// A way to the host of one repository, and to where that host sends us.
pub(super) struct Web<'a> {
    agent: Agent,
    approach: &'a Approach,
    shown: &'a str,
    home: Host,
    /// What the host has given by ssh, to show it to itself.
    given: RwLock<Vec<(String, String)>>,
}

/// What a server answered.
pub(super) struct Got {
    pub(super) status: u16,
    /// Where a part of a file begins.
    pub(super) start: Option<u64>,
    /// When to ask again.
    pub(super) retry_after: Option<Duration>,
    body: Body,
}

impl Got {
    fn new(response: Response<Body>) -> Self {
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let start = header("content-range")
            .and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        let seconds = header("retry-after").and_then(|text| text.trim().parse().ok());
        Self {
            status: response.status().as_u16(),
            start,
            retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX)),
            body: response.into_body(),
        }
    }

    /// The bytes, as they come.
    pub(super) fn reader(self) -> impl Read {
        self.body.into_with_config().limit(u64::MAX).reader()
    }

    /// A short answer, as a text.
    pub(super) fn text(self) -> Result<String, Problem> {
        let text = self.body.into_with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        text.map_err(|error| Problem::Passing(error.to_string()))
    }
}

impl<'a> Web<'a> {
    /// A way through a door.
    pub(super) fn new(job: &'a Job, door: &'a Door) -> Self {
        let millis = |time: u32| Some(Duration::from_millis(u64::from(time)));
        let tls = TlsConfig::builder()
            .provider(TlsProvider::NativeTls)
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .proxy(Proxy::try_from_env())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(millis(job.limits.connect_timeout_ms))
            .timeout_recv_response(millis(job.limits.server_timeout_ms))
            .timeout_per_read(millis(job.limits.server_timeout_ms))
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .build();
        let approach = &door.approach;
        let rules = Approach {
            is_private_allowed: approach.is_private_allowed,
            is_loopback_allowed: approach.is_loopback_allowed,
            is_plain_allowed: approach.is_plain_allowed,
            ..Approach::default()
        };
        let checked = Checked { rules, inner: DefaultResolver::default() };
        let agent = Agent::with_parts(config, DefaultConnector::default(), checked);
        let given = RwLock::new(door.given.clone());
        Self { agent, approach, shown: &job.shown, home: Host::of(&door.endpoint), given }
    }

    /// Takes what the host has given anew.
    pub(super) fn renew(&self, given: Vec<(String, String)>) {
        *self.given.write().unwrap_or_else(PoisonError::into_inner) = given;
    }

    /// The repository's host.
    pub(super) fn host(&self) -> &str {
        &self.home.name
    }

    /// Asks the repository's host something.
    pub(super) fn ask(&self, url: &str, body: &str) -> Result<Got, Problem> {
        addresses::check(self.approach, url, self.shown).map_err(Problem::Final)?;
        let mut request =
            self.agent.post(url).header("accept", MEDIA_TYPE).content_type(MEDIA_TYPE);
        for (name, value) in self.own(url, &[]) {
            request = request.header(name, value);
        }
        request.send(body).map(Got::new).map_err(|error| self.problem(error))
    }

    /// Asks for the bytes of a file from `start` on.
    pub(super) fn get(
        &self,
        href: &str,
        headers: &[(String, String)],
        start: u64,
    ) -> Result<Got, Problem> {
        let mut url = href.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            addresses::check(self.approach, &url, self.shown).map_err(Problem::Final)?;
            let mut request = self.agent.get(&url);
            if Host::of(&url).is_same_place(&Host::of(href)) {
                for (name, value) in self.own(&url, headers) {
                    request = request.header(name, value);
                }
            }
            if 0 < start {
                request = request.header("range", format!("bytes={start}-"));
            }
            let response = request.call().map_err(|error| self.problem(error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(Got::new(response));
            }
            let to = response.headers().get("location").and_then(|to| to.to_str().ok());
            url = to.and_then(|to| redirected(&url, to)).ok_or_else(|| {
                Problem::Final(
                    self.refusal("a file of Git LFS leads to a place that can't be used"),
                )
            })?;
        }
        Err(Problem::Final(self.refusal("a file of Git LFS leads from one place to the next")))
    }

    fn refusal(&self, message: &str) -> Error {
        Error::NotAllowed { url: self.shown.to_owned(), message: message.to_owned() }
    }

    /// The headers of a request: those for it, then what the host has given, then the login.
    fn own(&self, url: &str, headers: &[(String, String)]) -> Vec<(String, String)> {
        let mut all = headers.to_vec();
        let given = self.given.read().unwrap_or_else(PoisonError::into_inner).clone();
        let given = if self.home.is_same_place(&Host::of(url)) { given } else { Vec::new() };
        let login = self.login(url).map(|login| ("Authorization".to_owned(), login));
        for (name, value) in given.into_iter().chain(login) {
            if !all.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name)) {
                all.push((name, value));
            }
        }
        all
    }

    /// The login, for the repository's own host.
    fn login(&self, url: &str) -> Option<String> {
        let login = self.approach.login.as_ref()?;
        let (username, password) = (login.username.as_ref()?, login.password.as_ref()?);
        let text = STANDARD.encode(format!("{username}:{}", password.0));
        self.home.is_same_place(&Host::of(url)).then(|| format!("Basic {text}"))
    }

    fn problem(&self, error: ureq::Error) -> Problem {
        match error {
            ureq::Error::Other(inner) if inner.is::<NotAllowed>() => {
                Problem::Final(self.refusal(&inner.to_string()))
            }
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_) => {
                Problem::Passing(error.to_string())
            }
            // The texts of other errors may hold the address, which may hold a signature.
            ureq::Error::Io(error) => Problem::Passing(error.to_string()),
            ureq::Error::NativeTls(error) => {
                Problem::Passing(format!("the certificate is not accepted ({error})"))
            }
            _ => Problem::Passing("the request could not be made".to_owned()),
        }
    }
}

/// The address that a redirect leads to: never from https to http.
fn redirected(from: &str, to: &str) -> Option<String> {
    let uri: Uri = from.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let to = if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else {
        to.to_owned()
    };
    let is_good = to.starts_with("https://") || scheme == "http" && to.starts_with("http://");
    is_good.then_some(to)
}

/// A server's words, as they may be shown.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_MAX).collect()
}

/// Looks names up, and answers with those addresses that were checked.
#[derive(Debug)]
struct Checked {
    rules: Approach,
    inner: DefaultResolver,
}

/// Why an address is not answered with.
#[derive(Debug)]
struct NotAllowed(String);

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAllowed {}

impl Resolver for Checked {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        // The operator has named the proxy, which may be anywhere.
        if !addresses::has_proxy() {
            for address in &found {
                addresses::judge(&self.rules, uri.host().unwrap_or_default(), address.ip())
                    .map_err(|why| ureq::Error::Other(Box::new(NotAllowed(why))))?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_stays_encrypted() {
        let from = "https://h.example/a";
        assert_eq!(redirected(from, "/b?c").as_deref(), Some("https://h.example/b?c"));
        assert_eq!(redirected(from, "//i.example/b").as_deref(), Some("https://i.example/b"));
        assert_eq!(redirected(from, "https://i.example/b").as_deref(), Some("https://i.example/b"));
        for bad in ["http://h.example/b", "file:///etc/passwd", "b", "ftp://h.example/"] {
            assert_eq!(redirected(from, bad), None, "{bad}");
        }
        assert!(redirected("http://h.example/a", "http://h.example/b").is_some());
    }

    #[test]
    fn words_of_a_server_are_shown_plainly() {
        assert_eq!(plain("no\x1b[2J\nway"), "no [2J way");
        assert_eq!(plain(&"x".repeat(1000)).len(), SHOWN_MAX);
    }
}
