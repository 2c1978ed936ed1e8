//! References to things elsewhere: git repositories and images.
//!
//! Each is checked here once, so that no text which a program could take for an option, another
//! protocol or another path gets past this module (fault G04).

use std::fmt;

use serde::Serialize;

use super::revision::VersionRange;

/// Why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Not a git URL that Berth speaks.
    #[error("`{0}` is not a git URL: write https://…, ssh://…, git@host:path, or a local path")]
    GitUrl(String),
    /// A URL scheme that is never allowed.
    #[error("the scheme `{0}` is not supported: use https, http, ssh or file")]
    Scheme(String),
    /// A login in a URL.
    #[error(
        "a git URL may not carry a login, which would end up in logs: keep it as a secret \
         (`berth secrets set NAME --key token`) and name that with `source.git.auth: {{secret: NAME}}`"
    )]
    Login,
    /// Not the name of a secret.
    #[error(
        "`{0}` is not the name of a secret: use at most 63 lower-case letters, digits, `-`, `_` and `.`"
    )]
    Secret(String),
    /// Not a branch, tag or commit.
    #[error("`{0}` is not the name of a branch, a tag or a commit")]
    GitRef(String),
    /// It has the form of a range of versions, and is none.
    #[error("`{text}` is not a range of versions: {message}; write it like `>=1.2 <2` or `^1.2`")]
    VersionRange {
        /// The text.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// Not an image.
    #[error("`{0}` is not an image reference: write name:tag, host/name:tag or name@sha256:…")]
    Image(String),
    /// A path that leaves its place.
    #[error("`{0}` must be a relative path that stays inside the repository")]
    Path(String),
}

/// The address of a git repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum GitUrl {
    /// `https://` or `http://`.
    Http(String),
    /// `ssh://`, or the short form `user@host:path`.
    Ssh(String),
    /// A folder of this machine: `file:///…`, `/…`, `./…` or `../…` (relative to the manifests).
    Local(String),
}

impl GitUrl {
    /// Checks `text` and sorts it by transport.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let wrong = || ReferenceError::GitUrl(text.to_owned());
        if text.is_empty()
            || text.starts_with('-')
            || text.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(wrong());
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme {
                "https" | "http" => {
                    check_login(rest, |_| true)?;
                    check_authority(rest).ok_or_else(wrong)?;
                    Ok(Self::Http(text.to_owned()))
                }
                "ssh" => {
                    check_login(rest, |user| user.contains(':'))?;
                    check_authority(rest).ok_or_else(wrong)?;
                    Ok(Self::Ssh(text.to_owned()))
                }
                "file" if rest.starts_with('/') => Ok(Self::Local(rest.to_owned())),
                "file" => Err(wrong()),
                other => Err(ReferenceError::Scheme(other.to_owned())),
            };
        }
        if text.starts_with('/') || text == "." || text == ".." {
            return Ok(Self::Local(text.to_owned()));
        }
        if text.starts_with("./") || text.starts_with("../") {
            return Ok(Self::Local(text.to_owned()));
        }
        if text.contains("::") {
            return Err(ReferenceError::Scheme(text.split("::").next().unwrap_or("").to_owned()));
        }
        let (host, path) = text.split_once(':').ok_or_else(wrong)?;
        let well_formed = host.contains('@') && !path.is_empty() && !path.starts_with('-');
        check_authority(host).filter(|()| well_formed).ok_or_else(wrong)?;
        Ok(Self::Ssh(text.to_owned()))
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http(text) | Self::Ssh(text) | Self::Local(text) => text,
        }
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A host, optionally after `user@`, none of it option-like.
fn check_authority(rest: &str) -> Option<()> {
    let authority = rest.split('/').next().unwrap_or("");
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let host_legal = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    let user_legal = |c: char| c.is_ascii_alphanumeric() || ".-_:%+~".contains(c);
    let legal = !host.is_empty()
        && !host.starts_with('-')
        && !user.starts_with('-')
        && host.chars().all(host_legal)
        && user.chars().all(user_legal);
    legal.then_some(())
}

/// Refuses a user part that `is_secret` (fault G15).
fn check_login(rest: &str, is_secret: impl Fn(&str) -> bool) -> Result<(), ReferenceError> {
    let authority = rest.split('/').next().unwrap_or("");
    match authority.rsplit_once('@') {
        Some((user, _)) if is_secret(user) => Err(ReferenceError::Login),
        _ => Ok(()),
    }
}

/// Checks the name of a secret, which is also the name of a file.
pub fn check_secret_name(text: &str) -> Result<(), ReferenceError> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let is_good = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.len() <= 63
        && text.chars().all(legal);
    if is_good { Ok(()) } else { Err(ReferenceError::Secret(text.to_owned())) }
}

/// Checks the name of a branch or tag, a commit, or a range of versions.
pub fn check_git_ref(text: &str) -> Result<(), ReferenceError> {
    if text.len() <= 200
        && let Some(range) = VersionRange::parse(text)
    {
        let text = text.to_owned();
        return range.map(|_| ()).map_err(|message| ReferenceError::VersionRange { text, message });
    }
    let wrong = text.is_empty()
        || 200 < text.len()
        || text.starts_with(['-', '/', '.'])
        || text.ends_with(['/', '.'])
        || text.contains("..")
        || text.contains("//")
        || text.contains("@{")
        || text.split('/').any(|part| {
            part.starts_with('.')
                || std::path::Path::new(part).extension().is_some_and(|end| end == "lock")
        })
        || text.chars().any(|c| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c));
    if wrong { Err(ReferenceError::GitRef(text.to_owned())) } else { Ok(()) }
}

/// Checks a path inside a repository: relative, without `..`, empty or `.` for all of it.
/// Answers it without superfluous parts.
pub fn check_repository_path(text: &str) -> Result<String, ReferenceError> {
    let wrong = || ReferenceError::Path(text.to_owned());
    if text.starts_with('/') || text.contains('\\') || text.chars().any(char::is_control) {
        return Err(wrong());
    }
    let mut parts = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." || part.eq_ignore_ascii_case(".git") || part.starts_with('-') {
            return Err(wrong());
        }
        parts.push(part);
    }
    Ok(parts.join("/"))
}

/// A reference to an image: `[host[:port]/]name[:tag][@sha256:…]`, with the tag `latest` filled in
/// when neither tag nor digest is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ImageRef(String);

impl ImageRef {
    /// Checks `text`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let wrong = || ReferenceError::Image(text.to_owned());
        let (name_tag, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            let hex = digest.strip_prefix("sha256:").ok_or_else(wrong)?;
            super::hash::Digest::parse(hex).ok_or_else(wrong)?;
        }
        let last_slash = name_tag.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name_tag[last_slash..].find(':') {
            Some(colon) => {
                let at = last_slash + colon;
                (&name_tag[..at], Some(&name_tag[at + 1..]))
            }
            None => (name_tag, None),
        };
        let tag_legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if tag.is_some_and(|tag| {
            tag.is_empty()
                || 128 < tag.len()
                || tag.starts_with(['.', '-'])
                || !tag.chars().all(tag_legal)
        }) {
            return Err(wrong());
        }
        check_image_name(name).ok_or_else(wrong)?;
        let latest = if tag.is_none() && digest.is_none() { ":latest" } else { "" };
        Ok(Self(format!("{text}{latest}")))
    }

    /// The reference with its tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_image_name(name: &str) -> Option<()> {
    if name.is_empty() || 255 < name.len() {
        return None;
    }
    let mut parts = name.split('/').collect::<Vec<_>>();
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
    if 1 < parts.len() && is_host(parts.first()?) {
        let host = parts.remove(0);
        let host_legal = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        if host.starts_with(['-', '.', ':']) || !host.chars().all(host_legal) {
            return None;
        }
    }
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    parts
        .iter()
        .all(|part| part.starts_with(edge) && part.ends_with(edge) && part.chars().all(legal))
        .then_some(())
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault G04: text that a program would take for an option or another protocol.
    #[test]
    fn git_urls_that_could_be_options_are_refused() {
        for bad in [
            "",
            "-oProxyCommand=x",
            "ext::sh -c x",
            "ext::x",
            "https://-x/y",
            "ssh://-oProxyCommand=x/y",
            "git@host:-x",
            "git://host/x",
            "https://user:secret@host/x",
            "file://host/x",
            "https://host/a b",
            "host/path",
            "host:path",
        ] {
            assert!(GitUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn git_urls_are_sorted_by_transport() {
        assert!(matches!(GitUrl::parse("https://h.example/a.git"), Ok(GitUrl::Http(_))));
        assert!(matches!(GitUrl::parse("http://127.0.0.1:8080/a"), Ok(GitUrl::Http(_))));
        assert!(matches!(GitUrl::parse("git@h.example:a/b.git"), Ok(GitUrl::Ssh(_))));
        assert!(matches!(GitUrl::parse("ssh://git@h.example:22/a"), Ok(GitUrl::Ssh(_))));
        assert_eq!(GitUrl::parse("file:///srv/a"), Ok(GitUrl::Local("/srv/a".to_owned())));
        assert!(matches!(GitUrl::parse(".."), Ok(GitUrl::Local(_))));
    }

    #[test]
    fn git_refs_follow_the_rules_of_git() {
        for good in ["main", "v1.2.3", "feature/x", "0123abc"] {
            assert!(check_git_ref(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "a..b", "a b", "a~1", "a:b", "x.lock", "/a", "a/", "@{u}", "a/.b"] {
            assert!(check_git_ref(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn repository_paths_stay_inside() {
        assert_eq!(check_repository_path("./a//b/"), Ok("a/b".to_owned()));
        assert_eq!(check_repository_path("."), Ok(String::new()));
        for bad in ["/a", "../a", "a/../b", ".git/x", "a\\b", "-x"] {
            assert!(check_repository_path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn image_references_get_their_tag() {
        assert_eq!(ImageRef::parse("a/b").unwrap().as_str(), "a/b:latest");
        assert_eq!(ImageRef::parse("h:5000/b").unwrap().as_str(), "h:5000/b:latest");
        let pinned = format!("x@sha256:{}", "0".repeat(64));
        assert_eq!(ImageRef::parse(&pinned).unwrap().as_str(), pinned);
        for bad in ["", "A/b", "a:", "a:-x", "a@sha256:00", "-a", "a//b", "a b"] {
            assert!(ImageRef::parse(bad).is_err(), "{bad}");
        }
    }
}
