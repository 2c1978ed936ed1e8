//! The operator's rules for repositories elsewhere, and whose login is used where.

use std::{fmt, fs, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    address::Host,
    error::{Error, redact},
};
use crate::model::GitSource;
use crate::secret::{Secret, Secrets, VALUE};

/// Who is meant when a token comes without a name.
const TOKEN_USER: &str = "x-access-token";

/// The operator's rules for repositories elsewhere.
///
/// The default forbids nothing but what is never a repository, and has no logins.
#[derive(Clone, Debug)]
pub struct Access {
    /// Where secrets are.
    pub secrets: Option<Secrets>,
    /// Which secret is for which hosts, the first that fits counts.
    pub logins: Vec<HostLogin>,
    /// The file of the keys of hosts.
    pub known_hosts: PathBuf,
    /// The hosts that may be used; empty is every one.
    pub hosts: Vec<String>,
    /// The schemes that may be used: `https`, `ssh`, `http`.
    pub schemes: Vec<String>,
    /// Whether hosts may have addresses of private networks.
    pub is_private_allowed: bool,
    /// Whether hosts may be this machine.
    pub is_loopback_allowed: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            secrets: None,
            logins: Vec::new(),
            known_hosts: PathBuf::from("/dev/null"),
            hosts: Vec::new(),
            schemes: ["https", "ssh", "http"].map(ToOwned::to_owned).to_vec(),
            is_private_allowed: true,
            is_loopback_allowed: true,
        }
    }
}

/// A secret for the hosts that fit a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLogin {
    /// Which hosts.
    pub pattern: String,
    /// The secret's name.
    pub secret: String,
}

/// Which hosts may be approached, and how.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rules {
    /// The hosts that may be used; empty is every one.
    hosts: Vec<String>,
    /// The schemes that may be used.
    schemes: Vec<String>,
    /// Whether hosts may have addresses of private networks.
    is_private_allowed: bool,
    /// Whether hosts may be this machine.
    is_loopback_allowed: bool,
}

/// What the worker is told about how to approach a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Approach {
    /// The rules, for other hosts that the first one leads to.
    pub(super) rules: Rules,
    /// How to log in.
    pub(super) login: Option<Login>,
    /// The keys of hosts, in the form of `known_hosts`.
    pub(super) known_hosts: String,
    /// Where a new key is to be written, for people.
    pub(super) known_hosts_path: PathBuf,
    /// Whether the host may have an address of a private network.
    pub(super) is_private_allowed: bool,
    /// Whether the host may be this machine.
    pub(super) is_loopback_allowed: bool,
    /// Whether a host beyond the own networks may be spoken to without encryption.
    pub(super) is_plain_allowed: bool,
}

/// A login. Nobody sees more of it than the secret's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    /// The secret that it comes from.
    pub(super) secret: String,
    /// Who we are.
    pub(super) username: Option<String>,
    /// A password, or a token.
    pub(super) password: Option<Hidden>,
    /// A private key for ssh.
    pub(super) key: Option<Hidden>,
    /// What opens the key.
    pub(super) passphrase: Option<Hidden>,
}

/// A text that prints as nothing. It travels to the worker's standard input and nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hidden(pub(super) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Access {
    pub(super) fn rules(&self) -> Rules {
        Rules {
            hosts: self.hosts.clone(),
            schemes: self.schemes.clone(),
            is_private_allowed: self.is_private_allowed,
            is_loopback_allowed: self.is_loopback_allowed,
        }
    }

    /// How to approach the host of `source`, when the rules allow it. Secrets are read now
    /// (fault G16).
    pub(super) fn approach(&self, source: &GitSource) -> Result<Approach, Error> {
        let url = source.url.as_str();
        let host = Host::of(url);
        let shown = redact(url);
        let rules = self.rules();
        rules.check(&host, &shown)?;
        let secret = self.secret(source, &host, &shown)?;
        let mut known_hosts = match fs::read_to_string(&self.known_hosts) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::disk(&self.known_hosts, &error)),
        };
        let login = match &secret {
            Some(secret) => {
                let login = Login::of(secret, &host)
                    .map_err(|message| Error::Auth { url: shown.clone(), message })?;
                if let Some(own) = secret.text("known_hosts") {
                    known_hosts = format!("{own}\n{known_hosts}");
                }
                Some(login)
            }
            None if host.scheme == "ssh" => {
                let message = "ssh needs a key: keep it with `berth secrets set NAME --key \
                               ssh-privatekey`, and name it with `source.git.auth: {secret: NAME}`";
                return Err(Error::Auth { url: shown, message: message.to_owned() });
            }
            None => None,
        };
        let approach = Approach {
            login,
            known_hosts,
            known_hosts_path: self.known_hosts.clone(),
            ..Approach::default()
        };
        Ok(approach.under(rules, &host))
    }

    fn secret(
        &self,
        source: &GitSource,
        host: &Host,
        shown: &str,
    ) -> Result<Option<Secret>, Error> {
        let refuse = |message: String| Error::Auth { url: shown.to_owned(), message };
        let of_host = self.logins.iter().find(|login| host.fits(&login.pattern));
        let name = match (&source.auth, of_host) {
            (Some(name), _) => name,
            (None, Some(login)) => &login.secret,
            (None, None) => return Ok(None),
        };
        // What the operator keeps for a host is not sent to another one.
        let mut bound = self.logins.iter().filter(|login| login.secret == *name).peekable();
        if bound.peek().is_some() && !bound.any(|login| host.fits(&login.pattern)) {
            return Err(refuse(format!(
                "the secret `{name}` is for other hosts (`git-credentials`)"
            )));
        }
        let Some(secrets) = &self.secrets else {
            return Err(refuse("there is no folder of secrets".to_owned()));
        };
        let secret = secrets.read(name).map_err(|error| refuse(error.to_string()))?;
        let own = secret.text("hosts").map(|hosts| hosts.split([' ', ',', '\n']).map(str::trim));
        if own.is_some_and(|mut hosts| {
            !hosts.any(|host_of| !host_of.is_empty() && host.fits(host_of))
        }) {
            let message = format!("the secret `{name}` is for other hosts (its key `hosts`)");
            return Err(refuse(message));
        }
        Ok(Some(secret))
    }
}

impl Rules {
    pub(super) fn check(&self, host: &Host, shown: &str) -> Result<(), Error> {
        let refuse = |message: String| Err(Error::NotAllowed { url: shown.to_owned(), message });
        if !self.hosts.is_empty() && !self.hosts.iter().any(|pattern| host.fits(pattern)) {
            let message = format!("`{}` is not one of the operator's `git-hosts`", host.name);
            return refuse(message);
        }
        // Plain http is for the worker to judge, who knows where the host is.
        if host.scheme != "http" && !self.schemes.contains(&host.scheme) {
            let message = format!("`{}` is not one of the operator's `git-schemes`", host.scheme);
            return refuse(message);
        }
        Ok(())
    }
}

impl Approach {
    /// How to approach the repository at `other`, which the one at `url` names as its submodule:
    /// under the same rules, and with the login only where that one is for (fault G05).
    pub(super) fn onwards(&self, url: &str, other: &str) -> Result<Self, Error> {
        let host = Host::of(other);
        self.rules.check(&host, &redact(other))?;
        let login = self.login.clone().filter(|_| host.is_same_place(&Host::of(url)));
        Ok(Self { login, ..self.clone() }.under(self.rules.clone(), &host))
    }

    /// The secret that is logged in with; empty is none. Who has none sees nothing that others
    /// have fetched with theirs.
    pub(super) fn login_name(&self) -> &str {
        self.login.as_ref().map_or("", |login| login.secret.as_str())
    }

    pub(super) fn under(self, rules: Rules, host: &Host) -> Self {
        let names = |pattern: &String| !pattern.contains('*') && host.fits(pattern);
        let is_named = rules.hosts.iter().any(names);
        Self {
            is_private_allowed: rules.is_private_allowed || is_named,
            is_loopback_allowed: rules.is_loopback_allowed || rules.is_private_allowed || is_named,
            is_plain_allowed: rules.schemes.iter().any(|scheme| scheme == "http"),
            rules,
            ..self
        }
    }
}

impl Login {
    /// The login that a secret holds for a host, or what it lacks.
    fn of(secret: &Secret, host: &Host) -> Result<Self, String> {
        let name = secret.name();
        let text = |key: &str| secret.text(key).filter(|text| !text.is_empty());
        let one = text(VALUE);
        let is_key = |text: &&str| text.starts_with("-----BEGIN");
        let hidden = |text: &str| Hidden(text.to_owned());
        let key = text("ssh-privatekey").or(one.filter(is_key));
        let token = text("token").or(one.filter(|text| !is_key(text)));
        let username = text("username");
        let login = Self {
            secret: name.to_owned(),
            username: username
                .or(token.map(|_| TOKEN_USER))
                .filter(|_| token.is_some() || text("password").is_some())
                .map(ToOwned::to_owned),
            password: token.or(text("password")).map(hidden),
            // The reader of keys wants the line end that editors may not have left.
            key: key.map(|key| Hidden(format!("{key}\n"))),
            passphrase: text("passphrase").map(hidden),
        };
        if host.scheme == "ssh" && login.key.is_none() {
            return Err(format!(
                "the secret `{name}` has no key for ssh: add it with `berth secrets set {name} --key ssh-privatekey`"
            ));
        }
        if host.scheme != "ssh" && (login.username.is_none() || login.password.is_none()) {
            return Err(format!(
                "the secret `{name}` has no `token`, nor both `username` and `password`: add it with `berth secrets set {name} --key token`"
            ));
        }
        Ok(login)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::model::GitUrl;
    use crate::secret::Value;

    fn source(url: &str, auth: Option<&str>) -> GitSource {
        GitSource {
            url: GitUrl::parse(url).unwrap(),
            reference: None,
            path: String::new(),
            depth: None,
            submodules: false,
            interval: Duration::ZERO,
            lfs: false,
            auth: auth.map(ToOwned::to_owned),
        }
    }

    fn secret(values: &[(&str, &str)]) -> Secret {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), Value::new(*value)));
        Secret::new("s", values.collect::<BTreeMap<_, _>>())
    }

    fn names(login: &Login) -> (Option<&str>, Option<&str>) {
        (login.username.as_deref(), login.password.as_ref().map(|hidden| hidden.0.as_str()))
    }

    #[test]
    fn a_login_is_made_from_what_the_secret_has() {
        let web = Host::of("https://h.example/a");
        let shell = Host::of("git@h.example:a");
        let of = |values: &[(&str, &str)], host: &Host| Login::of(&secret(values), host);
        let token = of(&[("token", "t\n")], &web).unwrap();
        assert_eq!(names(&token), (Some("x-access-token"), Some("t")));
        let plain = of(&[("value", "t\n")], &web).unwrap();
        assert_eq!(names(&plain), names(&token));
        let named = of(&[("token", "t"), ("username", "u")], &web).unwrap();
        assert_eq!(names(&named), (Some("u"), Some("t")));
        let basic = of(&[("password", "p"), ("username", "u")], &web).unwrap();
        assert_eq!(names(&basic), (Some("u"), Some("p")));
        let key = of(&[("value", "-----BEGIN X"), ("passphrase", "p")], &shell).unwrap();
        assert_eq!(key.key, Some(Hidden("-----BEGIN X\n".to_owned())));
        for (values, host) in [
            (&[("password", "p")] as &[(&str, &str)], &web),
            (&[("token", "")], &web),
            (&[("ssh-privatekey", "-----BEGIN X")], &web),
            (&[("token", "t")], &shell),
        ] {
            let told = of(values, host).unwrap_err();
            assert!(told.contains("berth secrets set s --key"), "{told}");
        }
    }

    /// Fault G15.
    #[test]
    fn an_approach_prints_without_what_is_secret() {
        let login = Login::of(&secret(&[("token", "hunter2")]), &Host::of("https://h/a")).unwrap();
        let approach = Approach { login: Some(login), ..Approach::default() };
        let shown = format!("{approach:?}");
        assert!(!shown.contains("hunter2") && shown.contains("x-access-token"), "{shown}");
    }

    /// Fault G04, and what the operator keeps for one host.
    #[test]
    fn the_operators_rules_are_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(folder.path().join("secrets"));
        for name in ["work", "own"] {
            secrets.set(name, Some("token"), &Value::new(name)).unwrap();
        }
        secrets.set("own", Some("hosts"), &Value::new("a.example, *.b.example\n")).unwrap();
        let access = Access {
            secrets: Some(secrets),
            logins: vec![HostLogin { pattern: "*.work.example".into(), secret: "work".into() }],
            hosts: vec!["*.example".into()],
            schemes: vec!["https".into()],
            ..Access::default()
        };
        let said = |url: &str, auth: Option<&str>| match access.approach(&source(url, auth)) {
            Ok(approach) => approach.login.map_or("none".to_owned(), |login| login.secret),
            Err(error) => error.to_string(),
        };
        assert_eq!(said("https://x.example/a", None), "none");
        assert_eq!(said("https://git.work.example/a", None), "work");
        assert_eq!(said("https://git.work.example/a", Some("work")), "work");
        assert_eq!(said("https://a.example/a", Some("own")), "own");
        assert_eq!(said("https://git.b.example/a", Some("own")), "own");
        for (url, auth, told) in [
            ("https://h.other/a", None, "`git-hosts`"),
            ("git@h.example:a", None, "`git-schemes`"),
            ("https://evil.example/a", Some("work"), "for other hosts (`git-credentials`)"),
            ("https://evil.example/a", Some("own"), "for other hosts (its key `hosts`)"),
            ("https://x.example/a", Some("gone"), "`berth secrets set gone`"),
        ] {
            assert!(said(url, auth).contains(told), "{}", said(url, auth));
        }
    }

    #[test]
    fn a_private_address_is_allowed_where_its_host_is_named() {
        let access = |hosts: &[&str]| Access {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            is_private_allowed: false,
            is_loopback_allowed: false,
            ..Access::default()
        };
        for (hosts, is_allowed) in
            [(&[] as &[&str], false), (&["*"], false), (&["*.lan"], false), (&["git.lan"], true)]
        {
            let approach = access(hosts).approach(&source("https://git.lan/a", None)).unwrap();
            assert_eq!(approach.is_private_allowed, is_allowed, "{hosts:?}");
            assert_eq!(approach.is_loopback_allowed, is_allowed, "{hosts:?}");
        }
    }
}
