//! HTTP, as far as fetching models needs it: an address is looked up and checked, and what was
//! checked is connected to; a redirect is checked as an address, and carries a token no further.

use std::{fmt, io::Read, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
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

use crate::auth::Secret;
use crate::model::Digest;
use crate::workspace::Reach;

const REDIRECTS_MAX: usize = 5;
const ANSWER_BYTES_MAX: u64 = 64 << 20;
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is not to be asked again.
    Final(String),
    /// It may help to ask again.
    Passing(String),
}

impl Problem {
    pub(super) fn told(self) -> String {
        match self {
            Self::Final(why) | Self::Passing(why) => why,
        }
    }
}

/// A way to other servers.
pub(super) struct Web {
    agent: Agent,
    reach: Reach,
}

/// What a server answered.
pub(super) struct Got {
    /// From where on it is the content.
    pub(super) start: u64,
    /// How long the whole content is.
    pub(super) size: Option<u64>,
    /// Its validator, if it is a strong one.
    pub(super) etag: Option<String>,
    /// Its digest, if the server says it.
    pub(super) sha256: Option<Digest>,
    body: Body,
}

impl Got {
    fn new(response: Response<Body>) -> Self {
        let header = |name: &str| response.headers().get(name)?.to_str().ok();
        let range = header("content-range").and_then(|range| range.strip_prefix("bytes "));
        let is_part = response.status().as_u16() == 206;
        let start = range.and_then(|range| range.split('-').next()?.parse().ok());
        let whole = range.and_then(|range| range.rsplit('/').next()?.parse().ok());
        let length = header("content-length").and_then(|length| length.parse().ok());
        let of_repr = header("repr-digest").and_then(|text| {
            let bytes = text.split("sha-256=:").nth(1)?.split(':').next()?;
            let hash: [u8; 32] = STANDARD.decode(bytes).ok()?.try_into().ok()?;
            Some(Digest::of_hash(hash))
        });
        let etag = header("etag").filter(|etag| etag.starts_with('"')).map(str::to_owned);
        Self {
            start: start.filter(|_| is_part).unwrap_or(0),
            size: if is_part { whole } else { length },
            etag,
            sha256: of_repr.or_else(|| Digest::parse(header("x-checksum-sha256")?)),
            body: response.into_body(),
        }
    }

    /// The bytes, as they come.
    pub(super) fn reader(self) -> impl Read {
        self.body.into_with_config().limit(u64::MAX).reader()
    }
}

impl Web {
    pub(super) fn new(reach: &Reach) -> Self {
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
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .build();
        let checked = Checked { reach: reach.clone(), inner: DefaultResolver::default() };
        let agent = Agent::with_parts(config, DefaultConnector::default(), checked);
        Self { agent, reach: reach.clone() }
    }

    /// Asks for a content, or for what of it follows `from`, if it still has that validator.
    pub(super) fn get(
        &self,
        first: &str,
        token: Option<&Secret>,
        from: Option<(u64, &str)>,
    ) -> Result<Got, Problem> {
        let mut url = first.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            self.reach.check(&url).map_err(Problem::Final)?;
            let mut request = self.agent.get(&url).header("accept-encoding", "identity");
            if let Some(token) = token.filter(|_| Reach::is_same_place(first, &url)) {
                request = request.header("authorization", format!("Bearer {}", token.reveal()));
            }
            if let Some((start, etag)) = from {
                request = request.header("range", format!("bytes={start}-"));
                request = request.header("if-range", etag);
            }
            let response = request.call().map_err(|error| problem(&error))?;
            let status = response.status().as_u16();
            match status {
                200 | 206 => return Ok(Got::new(response)),
                301 | 302 | 303 | 307 | 308 => {}
                408 | 425 | 429 | 500..=599 => {
                    return Err(Problem::Passing(format!("the server answers {status}")));
                }
                _ => return Err(Problem::Final(format!("the server answers {status}"))),
            }
            let to = response.headers().get("location").and_then(|to| to.to_str().ok());
            let to = to.and_then(|to| redirected(&url, to));
            let nowhere = || Problem::Final("it leads to a place that can't be used".to_owned());
            url = to.ok_or_else(nowhere)?;
        }
        Err(Problem::Final("it leads from one place to the next".to_owned()))
    }

    /// A document.
    pub(super) fn document(&self, url: &str, token: Option<&Secret>) -> Result<Value, Problem> {
        let got = self.get(url, token, None)?;
        let text = got.body.into_with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|error| Problem::Passing(error.to_string()))?;
        let wrong = |_| Problem::Final("the server's answer is not a document".to_owned());
        serde_json::from_str(&text).map_err(wrong)
    }
}

fn problem(error: &ureq::Error) -> Problem {
    match error {
        ureq::Error::Other(inner) if inner.is::<NotAllowed>() => Problem::Final(inner.to_string()),
        // The texts of other errors may hold the address, which may hold a signature.
        ureq::Error::Io(error) => Problem::Passing(error.to_string()),
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_) => {
            Problem::Passing(error.to_string())
        }
        ureq::Error::NativeTls(error) => {
            Problem::Passing(format!("the certificate is not accepted ({error})"))
        }
        _ => Problem::Passing("the request could not be made".to_owned()),
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

/// Looks names up, and answers with those addresses that were checked.
#[derive(Debug)]
struct Checked {
    reach: Reach,
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
        let is_proxy = |proxy: &Proxy| {
            uri.host() == Some(proxy.host()) && uri.port_u16().is_none_or(|it| it == proxy.port())
        };
        if config.proxy().is_some_and(is_proxy) {
            return Ok(found);
        }
        for address in &found {
            let judged = self.reach.judge(uri.host().unwrap_or_default(), address.ip());
            judged.map_err(|why| ureq::Error::Other(Box::new(NotAllowed(why))))?;
        }
        Ok(found)
    }
}
