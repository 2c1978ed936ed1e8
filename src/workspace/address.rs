//! The parts of a repository's address that rules and logins go by.

/// A host as an address names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// How the address is spoken to: `https`, `http` or `ssh`.
    pub(super) scheme: String,
    /// The name or number, in lower case, without brackets.
    pub(super) name: String,
    /// The port that the address says.
    pub(super) port: Option<u16>,
}

impl Host {
    /// Reads an address: a URL, or `user@host:path`.
    pub(super) fn of(url: &str) -> Self {
        let Some((scheme, rest)) = url.split_once("://") else {
            let host = url.split_once(':').map_or(url, |(host, _)| host);
            return Self { scheme: "ssh".to_owned(), name: bare(host), port: None };
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port.parse().ok()),
            _ => (authority, None),
        };
        Self { scheme: scheme.to_ascii_lowercase(), name: bare(name), port }
    }

    /// The port that is spoken to.
    pub(super) fn port(&self) -> u16 {
        let usual = match self.scheme.as_str() {
            "https" => 443,
            "http" => 80,
            _ => 22,
        };
        self.port.unwrap_or(usual)
    }

    /// Whether both are the same place: a login for one may be sent to the other.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        (&self.scheme, &self.name, self.port()) == (&other.scheme, &other.name, other.port())
    }

    /// The host as `known_hosts` writes it.
    pub(super) fn as_known(&self) -> String {
        match self.port() {
            22 => self.name.clone(),
            port => format!("[{}]:{port}", self.name),
        }
    }

    /// Whether a pattern of the operator's means this host: a name, or `*.` and the end of one.
    pub(super) fn fits(&self, pattern: &str) -> bool {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix('*') {
            Some("") => true,
            Some(end) => {
                end.starts_with('.') && self.name.len() > end.len() && self.name.ends_with(end)
            }
            None => self.name == bare(&pattern),
        }
    }
}

fn bare(name: &str) -> String {
    let name = name.rsplit_once('@').map_or(name, |(_, host)| host);
    name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, String, u16) {
        let host = Host::of(url);
        let port = host.port();
        (host.scheme, host.name, port)
    }

    #[test]
    fn every_form_of_an_address_has_a_host() {
        for (url, scheme, name, port) in [
            ("https://H.example/a", "https", "h.example", 443),
            ("http://u@h.example:81/a@b:c", "http", "h.example", 81),
            ("ssh://git@h.example:2222/a", "ssh", "h.example", 2222),
            ("ssh://[::1]/a", "ssh", "::1", 22),
            ("https://[fe80::1]:8443/a", "https", "fe80::1", 8443),
            ("git@h.example.:a/b.git", "ssh", "h.example", 22),
        ] {
            assert_eq!(parts(url), (scheme.to_owned(), name.to_owned(), port), "{url}");
        }
        assert_eq!(Host::of("ssh://git@h:2222/a").as_known(), "[h]:2222");
        assert_eq!(Host::of("git@h:a").as_known(), "h");
    }

    #[test]
    fn a_pattern_means_whole_names_and_what_is_below_a_star() {
        let host = Host::of("https://git.example.com/a");
        for good in ["git.example.com", "*.example.com", "*.COM", "*", "GIT.example.com"] {
            assert!(host.fits(good), "{good}");
        }
        for bad in ["example.com", "*example.com", "*.git.example.com", "git", "it.example.com"] {
            assert!(!host.fits(bad), "{bad}");
        }
    }

    #[test]
    fn a_login_stays_where_it_belongs() {
        let home = Host::of("https://h.example/a");
        assert!(home.is_same_place(&Host::of("https://h.example:443/b")));
        for other in ["http://h.example/a", "https://h.example:8443/a", "https://x.h.example/a"] {
            assert!(!home.is_same_place(&Host::of(other)), "{other}");
        }
    }
}
