//! Where a repository's files in Git LFS are asked for, and with what.
//!
//! A repository may say where they are (`.lfsconfig`); the operator's rules hold for that place too,
//! and a login goes there only when it is the repository's own host (fault G05). A host that is
//! spoken to by ssh is asked for the place, and gives what is to be shown there.

use super::{
    super::credentials,
    CONFIG, api,
    shell::{self, Given, Said},
};
use crate::model::GitUrl;
use crate::workspace::access::Approach;
use crate::workspace::address::Host;
use crate::workspace::error::{Error, redact};
use crate::workspace::protocol::Job;

/// A place that answers about Git LFS.
pub(super) struct Door {
    /// Where it is.
    pub(super) endpoint: String,
    /// How to approach it: the login is for this place.
    pub(super) approach: Approach,
    /// What the host has given to be shown here.
    pub(super) given: Vec<(String, String)>,
    /// Who is asked by ssh, and how to approach it.
    bell: Option<(String, Approach)>,
    /// Why nothing was given.
    silence: Option<String>,
}

/// Finds it for the repository at `url`, which may have `named` another place.
pub(super) fn find(job: &Job, url: &str, named: Option<&str>) -> Result<Door, Error> {
    let place = match named {
        None => url.to_owned(),
        Some(named) => parse(named)?,
    };
    let is_shell = |url: &str| Host::of(url).scheme == "ssh";
    // Whoever logs in to a repository by ssh may have a token for the same host.
    let home = if is_shell(&place) { url.to_owned() } else { api::endpoint(url) };
    let approach = if named.is_some() {
        let told = |error: Error| match error {
            Error::NotAllowed { message, .. } => {
                let url = format!("{} (lfs.url in `{CONFIG}`)", redact(&place));
                Error::NotAllowed { url, message }
            }
            error => error,
        };
        job.approach.onwards(&home, &place).map_err(told)?
    } else {
        job.approach.clone()
    };
    if !is_shell(&place) {
        let endpoint = match named {
            None => api::endpoint(&place),
            Some(_) => place.trim_end_matches('/').to_owned(),
        };
        return Ok(Door { endpoint, approach, given: Vec::new(), bell: None, silence: None });
    }
    let usual = api::endpoint(&place);
    let (given, silence) = match shell::authenticate(job, &approach, &place)? {
        Said::Given(given) => (given, None),
        Said::Nothing(why) => (Given::default(), Some(why)),
    };
    let endpoint = given.href.map_or(usual.clone(), |href| href.trim_end_matches('/').to_owned());
    let is_home = Host::of(&endpoint).is_same_place(&Host::of(&usual));
    let login = approach.login.clone().filter(|_| is_home);
    let bell = silence.is_none().then(|| (place, approach.clone()));
    let approach = Approach { login, ..approach };
    Ok(Door { endpoint, approach, given: given.headers, bell, silence })
}

/// The address that a repository names.
fn parse(named: &str) -> Result<String, Error> {
    let refuse = |why: &str| {
        let message = format!("names `{}` for its files in Git LFS, which {why}", redact(named));
        Err(Error::Content { path: CONFIG.to_owned(), message })
    };
    if named.starts_with('-') || named.chars().any(char::is_control) {
        return refuse("is no address");
    }
    match GitUrl::parse(named) {
        Ok(GitUrl::Http(url) | GitUrl::Ssh(url)) => Ok(url),
        Ok(GitUrl::Local(_)) => refuse("is a folder of a machine"),
        Err(error) => refuse(&format!("is not allowed: {error}")),
    }
}

impl Door {
    /// Whether the host has given something by ssh.
    pub(super) fn is_given(&self) -> bool {
        self.bell.is_some()
    }

    /// Asks the host for it anew.
    pub(super) fn knock(&self, job: &Job) -> Result<Vec<(String, String)>, Error> {
        let Some((url, approach)) = &self.bell else { return Ok(Vec::new()) };
        match shell::authenticate(job, approach, url)? {
            Said::Given(given) => Ok(given.headers),
            Said::Nothing(_) => Ok(Vec::new()),
        }
    }

    /// What it means that this place does not let us in.
    pub(super) fn refused(&self) -> String {
        let login = self.approach.login.as_ref();
        let has_token = login.is_some_and(|login| login.password.is_some());
        match &self.silence {
            _ if self.bell.is_some() => format!(
                "the host `{}` does not accept what was given by ssh for its files in Git LFS",
                Host::of(&self.endpoint).name
            ),
            Some(why) if !has_token => format!(
                "its files in Git LFS are had by https, where the host wants a login, and by ssh \
                 it gives none ({why}): add a `token` to the secret{}",
                login.map(|login| format!(" `{}`", login.secret)).unwrap_or_default()
            ),
            _ => credentials::refused(login),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faults G04, G05: no way to this machine, to other programs, or with a login in it.
    #[test]
    fn a_repository_names_addresses_only() {
        assert_eq!(parse("https://h.example/a").unwrap(), "https://h.example/a");
        assert_eq!(parse("git@h.example:a/b.git").unwrap(), "git@h.example:a/b.git");
        for bad in ["/srv/lfs", "file:///srv", "-oProxyCommand=id", "ext::sh -c id", "a\rb", ""] {
            let told = parse(bad).unwrap_err().to_string();
            assert!(told.contains(CONFIG) && told.contains("which is"), "{bad}: {told}");
        }
        let told = parse("https://user:hunter2@h.example/a").unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
