//! What an engine's answer, or the lack of one, means in our words.

use std::future::Future;
use std::time::Duration;

use super::super::Error;

/// Runs `work`, head and body, within `limit`.
pub(super) async fn within<T>(
    call: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let late = |_| Error::Timeout { call, seconds: limit.as_secs() };
    tokio::time::timeout(limit, work).await.map_err(late)?
}

/// The error that a status and its message stand for.
pub(super) fn of_status(status: u16, message: String) -> Error {
    let is_silent = message.trim().is_empty() && status != 304;
    let message = if is_silent { format!("status {status}, no reason given") } else { message };
    match status {
        404 => Error::NotFound(message),
        409 => Error::Conflict(message),
        400..=499 => Error::Refused { status, message },
        _ => Error::Failed { status, message },
    }
}

/// The error that bollard's stands for.
pub(super) fn of_bollard(call: &'static str, error: bollard::errors::Error) -> Error {
    use bollard::errors::Error as Theirs;
    match error {
        Theirs::DockerResponseServerError { status_code, message } => {
            of_status(status_code, message)
        }
        Theirs::DockerStreamError { error } => Error::Work(error),
        Theirs::RequestTimeoutError => Error::Timeout { call, seconds: 0 },
        Theirs::IOError { err } => of_io(call, &err),
        other => Error::Broken { call, message: chain(&other) },
    }
}

/// Our own transport hands its errors through bollard inside of an I/O error.
fn of_io(call: &'static str, error: &std::io::Error) -> Error {
    let ours = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    ours.cloned().unwrap_or_else(|| Error::Broken { call, message: chain(error) })
}

/// An error's text with its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// Whether a start failed because somebody else holds a host port (faults P01, P02).
pub(super) fn is_port_taken(message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    ["port is already allocated", "address already in use", "failed to bind host port"]
        .iter()
        .any(|sign| lower.contains(sign))
        || (lower.contains("bind for ") && lower.contains("failed"))
}

/// Whether a 404 is about the image, not about a network or a container.
pub(super) fn is_image_missing(message: &str) -> bool {
    message.to_ascii_lowercase().contains("no such image")
}

/// Whether a 409 says that the container is on its way out already (fault D04).
pub(super) fn is_removal_under_way(message: &str) -> bool {
    message.contains("removal of container") && message.contains("already in progress")
}

/// Whether a refusal is about the API version: the engine was replaced by another one.
pub(super) fn is_version_refused(error: &Error) -> bool {
    matches!(error, Error::Refused { status: 400, message } if message.contains("client version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_words_about_ports_are_understood() {
        for message in [
            "driver failed programming external connectivity on endpoint x (0af): Bind for 127.0.0.1:8001 failed: port is already allocated",
            "driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 127.0.0.1:8001: bind: address already in use",
            "failed to set up container networking: driver failed programming external connectivity on endpoint x: failed to bind host port for 127.0.0.1:8001:172.18.0.2:80/tcp: address already in use",
        ] {
            assert!(is_port_taken(message), "{message}");
        }
        assert!(!is_port_taken("OCI runtime create failed: exec: \"nope\": not found"));
    }

    #[test]
    fn statuses_become_what_the_caller_can_do() {
        assert!(matches!(of_status(404, String::new()), Error::NotFound(_)));
        assert!(matches!(of_status(409, String::new()), Error::Conflict(_)));
        assert!(matches!(of_status(400, String::new()), Error::Refused { status: 400, .. }));
        assert!(matches!(of_status(500, String::new()), Error::Failed { status: 500, .. }));
    }

    /// Faults D01, D49: an error of our transport survives the way through bollard.
    #[test]
    fn an_unreachable_engine_is_told_apart_from_a_broken_answer() {
        let ours = Error::Unreachable { address: "a".to_owned(), message: "m".to_owned() };
        let wrapped = bollard::errors::Error::IOError { err: std::io::Error::other(ours) };
        assert!(matches!(of_bollard("start", wrapped), Error::Unreachable { .. }));
        let eof = bollard::errors::Error::IOError { err: std::io::ErrorKind::UnexpectedEof.into() };
        assert!(matches!(of_bollard("start", eof), Error::Broken { call: "start", .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_within_its_deadline() {
        let never = std::future::pending::<Result<(), Error>>();
        let start = tokio::time::Instant::now();
        let outcome = within("list", Duration::from_secs(10), never).await;
        assert!(matches!(outcome, Err(Error::Timeout { call: "list", seconds: 10 })));
        assert!(start.elapsed() < Duration::from_secs(11));
    }
}
