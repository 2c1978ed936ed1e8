//! What the library's errors mean for a person.

use git2::{ErrorClass, ErrorCode};

use super::credentials;
use crate::workspace::error::{Error, authority, redact};
use crate::workspace::protocol::Job;

/// Why a worker could not go on.
#[derive(Debug)]
pub(super) enum Failure {
    /// For a reason that is told as it is.
    Told(Error),
    /// The local copy of the repository is damaged: it may be thrown away and made again.
    Mirror(String),
    /// The server named its commits and did not give them as they were asked for. Some servers
    /// refuse to give a part of a history, or a commit by its name (fault G10).
    Refused(String),
}

impl Failure {
    pub(super) fn mirror(error: impl std::fmt::Display) -> Self {
        Self::Mirror(error.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Told(error)
    }
}

/// Sorts an error of a conversation with `url`.
pub(super) fn classify(error: &git2::Error, job: &Job, url: &str) -> Failure {
    let text = error.message().replace(url, &redact(url));
    let shown = || job.shown.clone();
    let told = |error: Error| Failure::Told(error);
    if let Some(message) = unreachable(error, &text) {
        return told(Error::Unreachable { host: authority(url), message });
    }
    let lower = text.to_ascii_lowercase();
    if error.code() == ErrorCode::Auth || lower.contains("authenticat") || is_status(&text, 403) {
        let message = credentials::refused(job.approach.login.as_ref());
        return told(Error::Auth { url: shown(), message });
    }
    if is_status(&text, 404) || is_status(&text, 410) {
        let message = "the host does not know this address".to_owned();
        return told(Error::NoRepository { url: shown(), message });
    }
    if error.class() == ErrorClass::Ssh && is_no_repository(&lower) {
        let message = format!("the host says: {}", text.trim());
        return told(Error::NoRepository { url: shown(), message });
    }
    if text.contains("invalid content-type") || text.contains("no content-type") {
        let message = "the address answers, but not as a git repository".to_owned();
        return told(Error::NoRepository { url: shown(), message });
    }
    if text.contains("cannot redirect") || text.contains("unexpected redirect") {
        let message = format!("it leads to another place; write that one ({text})");
        return told(Error::NotAllowed { url: shown(), message });
    }
    if text.contains("No space left") || text.contains("Disk quota exceeded") {
        return told(Error::Disk { path: job.area.display().to_string(), message: text });
    }
    let is_ours = matches!(
        error.class(),
        ErrorClass::Odb
            | ErrorClass::Reference
            | ErrorClass::Config
            | ErrorClass::Filesystem
            | ErrorClass::Repository
            | ErrorClass::Zlib
    );
    if is_ours || error.code() == ErrorCode::Locked {
        return Failure::Mirror(text);
    }
    let message = text.replace("unexpected http status code:", "the host answered with status");
    told(Error::Failed { url: shown(), message })
}

/// What keeps us from the host, when that is what the error says.
fn unreachable(error: &git2::Error, text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("failed to connect to ") {
        let why = rest.split_once(": ").map_or(rest, |(_, why)| why);
        return Some(lower_first(why));
    }
    if let Some((_, why)) = text.split_once("failed to resolve address for ") {
        let why = why.split_once(": ").map_or(why, |(_, why)| why);
        return Some(format!("its name can't be resolved ({})", lower_first(why)));
    }
    if error.class() == ErrorClass::Ssl || error.code() == ErrorCode::Certificate {
        return Some(format!(
            "its certificate is not accepted ({text}): a server whose certificate a private \
             authority has signed needs the operator's `git-ca-bundle`"
        ));
    }
    let is_silence = error.code() == ErrorCode::Timeout || text.contains("timed out");
    is_silence.then(|| "it stopped answering".to_owned())
}

/// What the programs at the other end of ssh say about a path that they do not serve.
fn is_no_repository(text: &str) -> bool {
    ["does not appear to be a git repository", "repository not found", "not found"]
        .iter()
        .any(|words| text.contains(words))
}

fn is_status(text: &str, status: u16) -> bool {
    text.contains(&format!("unexpected http status code: {status}"))
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
