//! Forges: the servers that host repositories. What they say in webhooks, and what they are told
//! about commits.
//!
//! # Guarantees
//! - A webhook counts only with a signature made with one of the operator's secrets; comparing
//!   takes as long for a wrong one as for a right one.
//! - Neither signatures nor tokens are logged or shown.
//! - What is sent to a forge is sent beside the passes: a forge that hangs delays nothing.

mod address;
mod fetch;
pub mod outgoing;
pub mod push;
mod request;
pub mod signature;
pub mod status;

use std::{fmt, sync::Arc};

use crate::model::check_secret_name;
use crate::source::git::{Bell, Place};

pub use address::Repository;
pub use fetch::{Fetch, Fetches, Origin, Wanted};
pub(crate) use request::{Client, Outcome};

/// Reads the secret of a name.
type Read = dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync;

/// Reads one secret, by name, anew each time (fault G16).
#[derive(Clone)]
pub struct Secrets(Arc<Read>);

impl Secrets {
    /// Secrets that are read so.
    pub fn new(read: impl Fn(&str) -> Result<Vec<u8>, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The value without the line end that editors leave.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let mut value = (self.0)(name)?;
        while value.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            value.pop();
        }
        if value.is_empty() { Err(format!("the secret `{name}` is empty")) } else { Ok(value) }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

/// What the interface needs to know about repositories.
#[derive(Clone, Debug)]
pub struct Repositories {
    /// The repositories of manifests, each with what has it looked at.
    pub sources: Vec<(Place, Bell)>,
    /// Whether there is a folder of manifests, into which the interface may write.
    pub has_folder: bool,
    /// The names of the secrets that webhooks may be signed with.
    pub hook_secrets: Vec<String>,
    /// Where they are.
    pub secrets: Secrets,
}

impl Default for Repositories {
    fn default() -> Self {
        let secrets = Secrets::new(|name| Err(format!("there is no secret `{name}`")));
        Self { sources: Vec::new(), has_folder: true, hook_secrets: Vec::new(), secrets }
    }
}

/// What a forge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GitHub.
    GitHub,
    /// Gitea or Forgejo.
    Gitea,
}

/// Where commit statuses of a host's repositories are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The host of the repositories.
    pub host: String,
    /// What it is.
    pub kind: Kind,
    /// The name of the secret that holds the token.
    pub secret: String,
    /// Where its interface begins.
    pub api: String,
}

impl Account {
    /// Reads `HOST=SECRET`, `HOST=gitea:SECRET` or `HOST=SECRET@https://host/api/v1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "write `HOST=SECRET`, such as `github.com=github-token`".to_owned();
        let (host, rest) = text.split_once('=').ok_or_else(wrong)?;
        let host = host.to_ascii_lowercase();
        let legal = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
        if host.is_empty() || !host.chars().all(legal) {
            return Err(wrong());
        }
        let (named, api) = match rest.split_once('@') {
            Some((named, api)) => (named, Some(check_api(api)?)),
            None => (rest, None),
        };
        let (kind, secret) = match named.split_once(':') {
            Some(("github", secret)) => (Kind::GitHub, secret),
            Some(("gitea", secret)) => (Kind::Gitea, secret),
            Some((kind, _)) => {
                return Err(format!("`{kind}` is no kind of server: write `github:` or `gitea:`"));
            }
            None if host == "github.com" => (Kind::GitHub, named),
            None => (Kind::Gitea, named),
        };
        check_secret_name(secret).map_err(|error| error.to_string())?;
        let api = api.unwrap_or_else(|| match kind {
            Kind::GitHub if host == "github.com" => "https://api.github.com".to_owned(),
            Kind::GitHub => format!("https://{host}/api/v3"),
            Kind::Gitea => format!("https://{host}/api/v1"),
        });
        Ok(Self { host, kind, secret: secret.to_owned(), api })
    }

    /// Whether a repository is on this host.
    pub(crate) fn is_of(&self, repository: &Repository) -> bool {
        let host = self.host.split(':').next().unwrap_or("");
        repository.host == host
    }
}

/// A token is sent there, so it has to be a protected connection, or this machine.
fn check_api(text: &str) -> Result<String, String> {
    let is_plain = !text.chars().any(|c| c.is_control() || c.is_whitespace() || "@?#".contains(c));
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"];
    let is_local = local.iter().any(|base| {
        let rest = text.strip_prefix(base);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    let is_https = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    if is_plain && (is_local || is_https) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(format!("`{}` must begin with https://", text.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_knows_its_kind_and_its_interface() {
        for (text, kind, secret, api) in [
            ("github.com=gh", Kind::GitHub, "gh", "https://api.github.com"),
            ("Git.Example.com=t", Kind::Gitea, "t", "https://git.example.com/api/v1"),
            ("g.example=github:t", Kind::GitHub, "t", "https://g.example/api/v3"),
            (
                "g.example=gitea:t@https://api.g.example/x/",
                Kind::Gitea,
                "t",
                "https://api.g.example/x",
            ),
            ("g.example=t@http://127.0.0.1:99", Kind::Gitea, "t", "http://127.0.0.1:99"),
        ] {
            let account = Account::parse(text).unwrap();
            assert_eq!((account.kind, account.secret.as_str()), (kind, secret), "{text}");
            assert_eq!(account.api, api, "{text}");
        }
        for bad in [
            "github.com",
            "=x",
            "h=",
            "h=../x",
            "h=gitlab:x",
            "h=x@http://h.example",
            "h=x@http://127.0.0.1.evil.example",
            "h=x@https://u@h.example",
        ] {
            assert!(Account::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_read_without_its_line_end() {
        let secrets = Secrets::new(|name| Ok(if name == "hook" { "one\r\n" } else { "\n" }.into()));
        assert_eq!(secrets.read("hook").unwrap(), b"one");
        assert!(secrets.read("forge").unwrap_err().contains("empty"));
    }
}
