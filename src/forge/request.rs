//! One request to a forge.

use std::time::Duration;

use serde_json::json;
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig, TlsProvider},
};

use super::{
    Account, Kind, Repository,
    status::{State, Statement},
};

/// How long a forge may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was taken.
    Taken,
    /// It was refused for good, with the status of the answer.
    Refused(u16),
    /// It may work later.
    Later(String),
}

/// Asks forges. It waits in place: call it where that is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Client(Agent);

impl Default for Client {
    fn default() -> Self {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::NativeTls)
            .root_certs(RootCerts::PlatformVerifier)
            .build();
        // Nobody is sent to another host with the token.
        let config = Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls)
            .user_agent(concat!("berth/", env!("CARGO_PKG_VERSION")))
            .build();
        Self(config.into())
    }
}

impl Client {
    /// Tells how a commit fares.
    pub(super) fn tell(&self, account: &Account, token: &str, statement: &Statement) -> Outcome {
        let Some(url) = url(account, &statement.repository, &statement.commit) else {
            return Outcome::Refused(0);
        };
        let state = match statement.state {
            State::Pending => "pending",
            State::Success => "success",
            State::Failure => "failure",
        };
        let mut body = json!({
            "state": state,
            "context": statement.context,
            "description": statement.description,
        });
        if let Some(target) = &statement.target {
            body["target_url"] = target.as_str().into();
        }
        let (scheme, accept) = match account.kind {
            Kind::GitHub => ("Bearer", "application/vnd.github+json"),
            Kind::Gitea => ("token", "application/json"),
        };
        let headers = [
            ("authorization", format!("{scheme} {token}")),
            ("accept", accept.to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        self.post(&url, &headers, body.to_string())
    }

    /// Posts a body.
    pub(crate) fn post(&self, url: &str, headers: &[(&str, String)], body: String) -> Outcome {
        let mut request = self.0.post(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        match request.send(body).map(|answer| answer.status().as_u16()) {
            Ok(200..=299) => Outcome::Taken,
            Ok(status @ (408 | 429 | 500..)) => Outcome::Later(format!("it answers {status}")),
            Ok(status) => Outcome::Refused(status),
            Err(error) => Outcome::Later(told(&error)),
        }
    }
}

/// Why there is no answer. The texts of other errors may hold the address, which may be a secret.
fn told(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Timeout(_) => {
            error.to_string()
        }
        ureq::Error::NativeTls(error) => format!("the certificate is not accepted ({error})"),
        _ => "the request could not be made".to_owned(),
    }
}

fn url(account: &Account, repository: &Repository, commit: &str) -> Option<String> {
    let (owner, name) = repository.owner_and_name()?;
    let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
    is_commit.then(|| format!("{}/repos/{owner}/{name}/statuses/{commit}", account.api))
}
