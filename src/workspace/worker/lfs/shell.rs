//! `git-lfs-authenticate`: a host that is logged in to by ssh says where its files in Git LFS are
//! had by https, and what to show there.
//!
//! It is the one command that is run on a host beside git's own. The host must show a known key
//! first (fault G03), and is connected to at an address that was checked (G05).

use std::{
    collections::BTreeMap,
    io::Read as _,
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use serde::Deserialize;
use ssh2::{MethodType, Session};

use super::{
    super::{addresses, credentials, ssh},
    api::path_of,
    http::plain,
};
use crate::workspace::access::{Approach, Login};
use crate::workspace::address::Host;
use crate::workspace::error::{Error, authority};
use crate::workspace::protocol::Job;

/// Who is logged in as when the address names nobody.
const USER: &str = "git";
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What a host gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Where to ask, when it is not the usual place.
    pub(super) href: Option<String>,
    /// What to show there.
    pub(super) headers: Vec<(String, String)>,
}

/// What a host says.
pub(super) enum Said {
    Given(Given),
    /// It has no such command, or does not answer as it should; why.
    Nothing(String),
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    href: Option<String>,
    #[serde(default)]
    header: Option<BTreeMap<String, String>>,
}

/// Asks the host of an address for ssh.
pub(super) fn authenticate(job: &Job, approach: &Approach, url: &str) -> Result<Said, Error> {
    let path = path_of(url);
    if path.is_empty() || path.starts_with('-') {
        return Ok(Said::Nothing("its path can't be asked for".to_owned()));
    }
    let Some(login) = approach.login.as_ref().filter(|login| login.key.is_some()) else {
        return Ok(Said::Nothing("there is no key for it".to_owned()));
    };
    let host = Host::of(url);
    let session = connect(job, approach, &host, url)?;
    log_in(&session, &user_of(url), login).map_err(|_| Error::Auth {
        url: job.shown.clone(),
        message: credentials::refused(Some(login)),
    })?;
    let command = format!("git-lfs-authenticate '{}' download", path.replace('\'', "'\\''"));
    match run(&session, &command) {
        Ok((0, said, _)) => Ok(read(&said)),
        Ok((_, _, complaint)) => Ok(Said::Nothing(format!("it says: {}", plain(complaint.trim())))),
        Err(error) => Ok(Said::Nothing(plain(&error.to_string()))),
    }
}

/// Connects to a host, and goes on only when its key is known.
fn connect(job: &Job, approach: &Approach, host: &Host, url: &str) -> Result<Session, Error> {
    let unreachable =
        |message: String| Error::Unreachable { host: authority(url), message: plain(&message) };
    let limit = Duration::from_millis(u64::from(job.limits.connect_timeout_ms).max(1));
    let found = (host.name.as_str(), host.port())
        .to_socket_addrs()
        .map_err(|error| unreachable(format!("its name can't be resolved ({error})")))?;
    let mut last = "its name has no address".to_owned();
    let mut stream = None;
    for address in found {
        addresses::judge(approach, &host.name, address.ip())
            .map_err(|message| Error::NotAllowed { url: job.shown.clone(), message })?;
        match TcpStream::connect_timeout(&address, limit) {
            Ok(open) => {
                stream = Some(open);
                break;
            }
            Err(error) => last = error.to_string(),
        }
    }
    let stream = stream.ok_or_else(|| unreachable(last))?;
    let failed = |error: ssh2::Error| unreachable(error.message().to_owned());
    let mut session = Session::new().map_err(failed)?;
    session.set_timeout(job.limits.server_timeout_ms);
    session.set_tcp_stream(stream);
    let kinds = ssh::known_kinds(approach, host);
    if !kinds.is_empty() {
        session.method_pref(MethodType::HostKey, &kinds.join(",")).map_err(failed)?;
    }
    session.handshake().map_err(failed)?;
    let key = session.host_key().map(|(key, _)| key).unwrap_or_default();
    ssh::check(approach, host, key)?;
    Ok(session)
}

fn log_in(session: &Session, user: &str, login: &Login) -> Result<(), ssh2::Error> {
    let key = login.key.as_ref().map_or("", |key| key.0.as_str());
    let passphrase = login.passphrase.as_ref().map(|hidden| hidden.0.as_str());
    session.userauth_pubkey_memory(user, None, key, passphrase)
}

/// Runs a command; answers how it ended, and what it said to whom.
fn run(
    session: &Session,
    command: &str,
) -> Result<(i32, String, String), Box<dyn std::error::Error>> {
    let mut channel = session.channel_session()?;
    channel.exec(command)?;
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    channel.by_ref().take(ANSWER_BYTES_MAX).read_to_end(&mut said)?;
    channel.stderr().take(ANSWER_BYTES_MAX).read_to_end(&mut complaint)?;
    channel.close()?;
    channel.wait_close()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((channel.exit_status()?, text(said), text(complaint)))
}

fn read(said: &str) -> Said {
    // A list would be read as an answer in which nothing is said.
    let answer = serde_json::from_str::<serde_json::Map<_, _>>(said)
        .and_then(|fields| serde_json::from_value(fields.into()));
    let Ok(Answer { href, header }) = answer else {
        return Said::Nothing("it does not answer as Git LFS does".to_owned());
    };
    let href = href.filter(|href| !href.is_empty());
    let is_web = |href: &String| href.starts_with("https://") || href.starts_with("http://");
    if href.as_ref().is_some_and(|href| !is_web(href)) {
        return Said::Nothing("it names a place that can't be used".to_owned());
    }
    Said::Given(Given { href, headers: header.unwrap_or_default().into_iter().collect() })
}

/// Who an address logs in as.
fn user_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', ':']).next().unwrap_or(rest);
    authority.split_once('@').map_or(USER, |(user, _)| user).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_who_we_are() {
        for (url, user) in [
            ("git@h.example:a/b", "git"),
            ("me@h.example:a@b", "me"),
            ("h.example:a", "git"),
            ("ssh://you@h.example:22/a@b", "you"),
            ("ssh://[::1]/a", "git"),
        ] {
            assert_eq!(user_of(url), user, "{url}");
        }
    }

    #[test]
    fn an_answer_is_read_with_all_of_it_optional() {
        let given = |text: &str| match read(text) {
            Said::Given(given) => given,
            Said::Nothing(why) => panic!("{why}"),
        };
        assert_eq!(given("{}"), Given::default());
        let full = r#"{"href":"https://h.example/a","header":{"Authorization":"RemoteAuth x"},"expires_in":60}"#;
        assert_eq!(given(full).href.as_deref(), Some("https://h.example/a"));
        assert_eq!(given(full).headers, [("Authorization".to_owned(), "RemoteAuth x".to_owned())]);
        for bad in ["", "[]", "hello", r#"{"href":"file:///etc"}"#, r#"{"href":"ssh://h/a"}"#] {
            assert!(matches!(read(bad), Said::Nothing(_)), "{bad}");
        }
    }
}
