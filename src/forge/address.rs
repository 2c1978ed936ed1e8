//! Addresses of repositories, as far as they tell which repository it is.

use std::fmt;

/// One repository, whatever its address is written like: without scheme, user, port and `.git`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    /// The host, in small letters.
    pub host: String,
    /// The path on it.
    pub path: String,
}

impl Repository {
    /// Reads an address: `https://…`, `ssh://…`, `git@host:path`. None for a folder of this
    /// machine, and for what is no address.
    pub fn parse(address: &str) -> Option<Self> {
        let address = address.strip_prefix("git+").unwrap_or(address);
        let (authority, path) = match address.split_once("://") {
            Some(("file", _)) => return None,
            Some((_, rest)) => rest.split_once('/')?,
            None if address.starts_with(['/', '.']) => return None,
            None => address.split_once(':')?,
        };
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next()?,
            None => host.split(':').next()?,
        };
        let path = path.split(['?', '#']).next()?.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
        let is_good = !host.is_empty() && !path.is_empty();
        is_good.then(|| Self { host: host.to_ascii_lowercase(), path: path.to_owned() })
    }

    /// Its owner and its name, where the path has just these, in plain characters.
    pub fn owner_and_name(&self) -> Option<(&str, &str)> {
        let plain = |text: &str| {
            let legal = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !text.is_empty() && !text.starts_with('.') && text.chars().all(legal)
        };
        self.path.split_once('/').filter(|(owner, name)| plain(owner) && plain(name))
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_many_addresses() {
        for address in [
            "https://git.example.com/acme/chat.git",
            "https://git.example.com/acme/chat",
            "https://token@GIT.example.com:8443/acme/chat.git/",
            "http://git.example.com/acme/chat.git",
            "ssh://git@git.example.com:2222/acme/chat.git",
            "git@git.example.com:acme/chat.git",
            "git@Git.Example.com:/acme/chat",
            "git+https://git.example.com/acme/chat.git#main",
            "git://git.example.com/acme/chat.git",
        ] {
            let found = Repository::parse(address).map(|found| found.to_string());
            assert_eq!(found.as_deref(), Some("git.example.com/acme/chat"), "{address}");
        }
    }

    #[test]
    fn others_are_others() {
        let chat = Repository::parse("https://git.example.com/acme/chat.git");
        for address in [
            "https://git.example.com/acme/chat2.git",
            "https://git.example.com/acme/Chat.git",
            "https://git.example.com.evil.example/acme/chat.git",
            "https://evil.example/git.example.com/acme/chat.git",
            "https://git.example.com/x/acme/chat.git",
        ] {
            assert_ne!(Repository::parse(address), chat, "{address}");
        }
        for address in ["", "/srv/chat.git", "./chat", "file:///srv/chat.git", "chat", "https://h"]
        {
            assert_eq!(Repository::parse(address), None, "{address}");
        }
    }

    #[test]
    fn only_a_plain_owner_and_name_is_sent_anywhere() {
        let parts = |address: &str| {
            let found = Repository::parse(address)?;
            found.owner_and_name().map(|(owner, name)| format!("{owner} {name}"))
        };
        assert_eq!(parts("https://h.example/acme/chat.git").as_deref(), Some("acme chat"));
        for bad in [
            "https://h.example/chat",
            "https://h.example/a/b/c",
            "https://h.example/a/..",
            "https://h.example/a/b%2fc",
        ] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
