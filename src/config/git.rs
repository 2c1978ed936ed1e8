//! The options about git: where from, with which login, how much.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::model::{check_secret_name, parse_bytes};
use crate::workspace::HostLogin;

use super::Reader;

/// The schemes that `git-schemes` may name.
const SCHEMES: [&str; 3] = ["https", "ssh", "http"];

/// What the operator says about git repositories elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Git {
    /// The folder of secrets.
    pub secrets: PathBuf,
    /// Which secret is for which hosts.
    pub logins: Vec<HostLogin>,
    /// The file of the keys of hosts.
    pub known_hosts: PathBuf,
    /// Certificate authorities that git servers may have, beside those of this machine.
    pub ca_bundle: Option<PathBuf>,
    /// The hosts that may be used; empty is every one.
    pub hosts: Vec<String>,
    /// The schemes that may be used.
    pub schemes: Vec<String>,
    /// Whether hosts may have addresses of private networks.
    pub is_private_allowed: bool,
    /// How much one fetch may transfer.
    pub transfer_bytes_max: u64,
    /// How much one checkout may hold.
    pub checkout_bytes_max: u64,
    /// How much one file of a checkout may hold.
    pub file_bytes_max: u64,
    /// How many files one checkout may have.
    pub files_max: u64,
    /// How long a fetch may take.
    pub timeout: Duration,
    /// How long a fetch may make no progress.
    pub idle_timeout: Duration,
}

/// Reads them. What is not set lies in the folder of the state.
pub(super) fn read(reader: &mut Reader, state_dir: Option<&Path>) -> Option<Git> {
    let secrets = reader.list("secrets-dir", folder);
    let known_hosts = reader.list("known-hosts", folder);
    let logins = reader.list("git-credentials", login);
    let ca_bundle = reader.list("git-ca-bundle", super::readable_file);
    let hosts = reader.list("git-hosts", pattern);
    let schemes = reader.list("git-schemes", scheme);
    let is_private_allowed = reader.one("git-private-addresses", super::flag);
    let transfer = reader.one("git-max-transfer", size);
    let checkout = reader.one("git-max-checkout", size);
    let file = reader.one("git-max-file", size);
    let files = reader.one("git-max-files", |text| super::number(text, 100_000_000));
    let timeout = reader.one("git-timeout", super::builds::limit);
    let idle_timeout = reader.one("git-idle-timeout", super::builds::limit);
    let or_state = |said: Vec<PathBuf>, name: &str| {
        said.into_iter().next_back().or_else(|| Some(state_dir?.join(name)))
    };
    let mut schemes = schemes?;
    if schemes.is_empty() {
        schemes = ["https", "ssh"].map(ToOwned::to_owned).to_vec();
    }
    Some(Git {
        secrets: or_state(secrets?, "secrets")?,
        logins: logins?,
        known_hosts: or_state(known_hosts?, "known_hosts")?,
        ca_bundle: ca_bundle?.into_iter().next_back(),
        hosts: hosts?,
        schemes,
        is_private_allowed: is_private_allowed?,
        transfer_bytes_max: transfer?,
        checkout_bytes_max: checkout?,
        file_bytes_max: file?,
        files_max: u64::try_from(files?).unwrap_or(u64::MAX),
        timeout: timeout?,
        idle_timeout: idle_timeout?,
    })
}

fn folder(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("write a path".to_owned()),
        text => std::path::absolute(text).map_err(|error| error.to_string()),
    }
}

fn login(text: &str) -> Result<HostLogin, String> {
    let wrong = || "write a host and a secret, such as `git.example.com=work`".to_owned();
    let (host, secret) = text.split_once('=').ok_or_else(wrong)?;
    let pattern = pattern(host)?;
    check_secret_name(secret).map_err(|error| error.to_string())?;
    if pattern == "*" {
        return Err("name the hosts: a login that every host gets is nobody's secret".to_owned());
    }
    Ok(HostLogin { pattern, secret: secret.to_owned() })
}

fn pattern(text: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    let rest = text.strip_prefix("*.").unwrap_or(text);
    if text == "*" || !rest.is_empty() && !rest.starts_with('-') && rest.chars().all(legal) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("write the name of a host, or `*.` and the end of one: no scheme, no path".to_owned())
    }
}

fn scheme(text: &str) -> Result<String, String> {
    if SCHEMES.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err("write `https`, `ssh` or `http`; folders are allowed by `allow-local-git`".to_owned())
    }
}

fn size(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text).map_err(|error| error.to_string())?;
    if bytes == 0 { Err("write a size such as `4Gi`".to_owned()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, File, Layers};
    use super::*;

    fn config(file: &str) -> Result<Config, String> {
        let text = Ok(file.to_owned());
        let files = vec![File { path: "/etc/berth/config.yaml".into(), text }];
        let read = Config::read(&Layers { files, ..Layers::default() });
        read.map_err(|error| error.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn the_defaults_are_the_careful_ones() {
        let git = config("state-dir: /s\n").unwrap().git;
        assert_eq!(
            (git.secrets.as_path(), git.known_hosts.as_path()),
            (Path::new("/s/secrets"), Path::new("/s/known_hosts"))
        );
        assert_eq!(git.schemes, ["https", "ssh"]);
        assert!(!git.is_private_allowed && git.hosts.is_empty() && git.logins.is_empty());
        assert_eq!((git.transfer_bytes_max, git.checkout_bytes_max), (4 << 30, 8 << 30));
        let usual = crate::workspace::Settings::default();
        assert_eq!(
            (git.file_bytes_max, git.files_max, git.timeout, git.idle_timeout),
            (usual.file_bytes_max, usual.files_max, usual.deadline, usual.idle)
        );
    }

    #[test]
    fn what_is_said_is_read() {
        let file = "git-hosts: ['*.Example.com', git.lan]\ngit-credentials: [git.lan=work]\n\
                    git-schemes: [https, http]\ngit-private-addresses: true\n\
                    git-max-transfer: 20Gi\ngit-max-file: 2Gi\ngit-max-files: 5\n\
                    git-timeout: 2h\ngit-idle-timeout: 5s\nsecrets-dir: /etc/berth/secrets\n";
        let git = config(file).unwrap().git;
        assert_eq!(git.hosts, ["*.example.com", "git.lan"]);
        let login = HostLogin { pattern: "git.lan".to_owned(), secret: "work".to_owned() };
        assert_eq!(git.logins, [login]);
        assert_eq!(git.schemes, ["https", "http"]);
        assert_eq!(git.secrets, Path::new("/etc/berth/secrets"));
        assert!(git.is_private_allowed);
        assert_eq!((git.transfer_bytes_max, git.file_bytes_max), (20 << 30, 2 << 30));
        assert_eq!(git.files_max, 5);
        assert_eq!((git.timeout.as_secs(), git.idle_timeout.as_secs()), (7200, 5));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (file, told) in [
            ("git-hosts: ['https://h.example']\n", "no scheme, no path"),
            ("git-hosts: ['-h']\n", "no scheme, no path"),
            ("git-schemes: [file]\n", "`allow-local-git`"),
            ("git-credentials: [work]\n", "git.example.com=work"),
            ("git-credentials: ['*=work']\n", "name the hosts"),
            ("git-credentials: ['h.example=../x']\n", "not the name of a secret"),
            ("git-max-checkout: '0'\n", "4Gi"),
            ("git-max-file: '0'\n", "4Gi"),
            ("git-timeout: 0s\n", "`1s` to `24h`"),
        ] {
            let error = config(file).unwrap_err();
            assert!(error.contains(told), "{file}: {error}");
        }
    }
}
