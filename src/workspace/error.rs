//! Why a workspace could not be made ready.

use serde::{Deserialize, Serialize};

use crate::model::Reason;

/// Why a workspace could not be made ready, sorted by what one can do about it.
///
/// The texts never hold the user part of an address (fault G15).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Error {
    /// The host does not answer, or its answers can't be trusted. It may come back by itself.
    #[error("can't reach host `{host}`: {message}")]
    Unreachable {
        /// The host, with its port when the address says one.
        host: String,
        /// What happened.
        message: String,
    },
    /// The host wants to know who we are.
    #[error("no access to {url}: {message}")]
    Auth {
        /// The repository.
        url: String,
        /// What happened, and what to do.
        message: String,
    },
    /// The host is not known to be who it says, so nothing was said to it.
    #[error("the key of host `{host}` is not accepted: {message}")]
    HostKey {
        /// The host.
        host: String,
        /// What was seen, and what to do.
        message: String,
    },
    /// There is no repository at this address.
    #[error("no git repository at {url}: {message}")]
    NoRepository {
        /// The address.
        url: String,
        /// What is there instead.
        message: String,
    },
    /// The operator's rules forbid this repository.
    #[error("{url} is not allowed: {message}")]
    NotAllowed {
        /// The repository.
        url: String,
        /// Which rule.
        message: String,
    },
    /// The repository does not have what `source.ref` names.
    #[error("no branch, tag or commit `{reference}` in {url}{hint}")]
    RefNotFound {
        /// The repository.
        url: String,
        /// What was asked for.
        reference: String,
        /// What is there, as the end of the sentence.
        hint: String,
    },
    /// What was named is not in the repository any more; what it was last is kept.
    #[error("{what} is gone from {url}: its last commit {commit} is kept{hint}")]
    RefGone {
        /// The repository.
        url: String,
        /// What was named.
        what: String,
        /// The commit that is kept, shortened.
        commit: String,
        /// What can be done, as the end of the sentence.
        hint: String,
    },
    /// A tag names another commit than before; tags are not meant to.
    #[error(
        "{what} of {url} was moved from {from} to {to}: {from} is kept, `berth rebuild` takes {to}"
    )]
    TagMoved {
        /// The repository.
        url: String,
        /// Which tag.
        what: String,
        /// The commit that is kept, shortened.
        from: String,
        /// The commit that it names now, shortened.
        to: String,
    },
    /// The commit does not have the folder that `source.path` names.
    #[error("no folder `{path}` in the repository at commit {commit}{hint}")]
    PathNotFound {
        /// The folder.
        path: String,
        /// The commit, shortened.
        commit: String,
        /// What is there, as the end of the sentence.
        hint: String,
    },
    /// The commit holds something that Berth does not put on a disk.
    #[error("`{path}` in the repository {message}")]
    Content {
        /// Which file or folder.
        path: String,
        /// What is wrong with it.
        message: String,
    },
    /// The repository is larger than the operator allows.
    #[error("the repository is too large: {0}")]
    TooLarge(String),
    /// Nothing happened for too long, or all of it took too long.
    #[error("fetching {url} was given up after {seconds} s: {message}")]
    Timeout {
        /// The repository.
        url: String,
        /// How long it was waited.
        seconds: u64,
        /// What was the last thing that happened.
        message: String,
    },
    /// The disk of the workspaces has no room for what is to come.
    #[error("there is no room for the repository: {0}")]
    NoRoom(String),
    /// The disk of the workspaces refused something.
    #[error("can't write the workspace at {path}: {message}")]
    Disk {
        /// Where.
        path: String,
        /// What the system said.
        message: String,
    },
    /// Anything else; trying again may help.
    #[error("fetching {url} failed: {message}")]
    Failed {
        /// The repository.
        url: String,
        /// What happened.
        message: String,
    },
}

impl Error {
    /// The reason that a status shows.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => Reason::GitUnreachable,
            Self::Auth { .. } => Reason::GitAuth,
            Self::HostKey { .. } => Reason::GitHostKey,
            Self::RefNotFound { .. } => Reason::RefNotFound,
            Self::RefGone { .. } => Reason::RefMissing,
            Self::TagMoved { .. } => Reason::TagMoved,
            Self::PathNotFound { .. } => Reason::PathNotFound,
            Self::NotAllowed { .. } => Reason::SourceNotAllowed,
            Self::NoRoom(_) => Reason::DiskFull,
            Self::Disk { message, .. } if is_full(message) => Reason::DiskFull,
            Self::NoRepository { .. }
            | Self::Content { .. }
            | Self::TooLarge(_)
            | Self::Disk { .. }
            | Self::Failed { .. } => Reason::FetchFailed,
        }
    }

    /// Whether a person must change something, in the manifest or in the repository. Trying
    /// again soon is of no use; a look now and then is, because a push may have helped.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::NoRoom(_)
            | Self::Disk { .. }
            | Self::Failed { .. } => false,
            Self::Auth { .. }
            | Self::HostKey { .. }
            | Self::NoRepository { .. }
            | Self::NotAllowed { .. }
            | Self::RefNotFound { .. }
            | Self::RefGone { .. }
            | Self::TagMoved { .. }
            | Self::PathNotFound { .. }
            | Self::Content { .. }
            | Self::TooLarge(_) => true,
        }
    }

    pub(super) fn disk(path: &std::path::Path, error: &std::io::Error) -> Self {
        let message = format!("{error}{}", crate::host::advice(path, error));
        Self::Disk { path: path.display().to_string(), message }
    }
}

/// Whether the system said that a disk has no room left. Some of it comes as a text alone, from
/// the library that speaks git; nobody sets a language in the worker.
fn is_full(message: &str) -> bool {
    let kinds = [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT];
    kinds.iter().any(|errno| {
        let said = std::io::Error::from(*errno).to_string();
        let words = said.split(" (os error").next().unwrap_or(&said);
        message.contains(words)
    })
}

/// A commit's first digits, for people.
pub(super) fn short(commit: &str) -> String {
    commit.get(..12).unwrap_or(commit).to_owned()
}

/// An address without its user part: what may be shown and logged (fault G15).
pub(super) fn redact(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) if !scheme.is_empty() => format!("{scheme}{host}{path}"),
        _ => url.to_owned(),
    }
}

/// The host and port of an address, for people and for looking it up.
pub(super) fn authority(url: &str) -> String {
    let shown = redact(url);
    let rest = shown.split_once("://").map_or(shown.as_str(), |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault G09: an operator sees that it is the disk.
    #[test]
    fn a_full_disk_is_called_so() {
        for (errno, expected) in [
            (rustix::io::Errno::NOSPC, Reason::DiskFull),
            (rustix::io::Errno::DQUOT, Reason::DiskFull),
            (rustix::io::Errno::ACCESS, Reason::FetchFailed),
        ] {
            let error = Error::disk(std::path::Path::new("/w"), &errno.into());
            assert_eq!((error.reason(), error.is_permanent()), (expected, false), "{error}");
        }
        let path = "/w".to_owned();
        let message = "failed to write a pack: No space left on device".to_owned();
        assert_eq!(Error::Disk { path, message }.reason(), Reason::DiskFull);
    }

    /// Fault G15: a token that was written as the user's name.
    #[test]
    fn a_shown_address_has_no_user_part() {
        assert_eq!(redact("https://token@h.example:1/a@b"), "https://h.example:1/a@b");
        assert_eq!(redact("https://h.example/a"), "https://h.example/a");
        assert_eq!(redact("git@h.example:a/b"), "git@h.example:a/b");
        assert_eq!(authority("https://token@h.example:1/a"), "h.example:1");
    }
}
