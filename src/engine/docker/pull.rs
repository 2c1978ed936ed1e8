//! Pulls: the progress as lines, and the proof afterwards (faults D38, D39).

use bytes::Bytes;
use futures_util::StreamExt as _;
use hyper::{Method, Request};

use super::super::{Error, LogSink};
use super::Docker;
use super::build::item::items;
use super::progress::Progress;
use super::streams::encode;
use crate::model::ImageRef;

impl Docker {
    /// Pulls an image and answers its id.
    pub(super) async fn pull_image(
        &self,
        reference: &ImageRef,
        log: LogSink,
    ) -> Result<String, Error> {
        let limit = self.settings().pull_limit;
        let late = |_| Error::Work(format!("it did not end within {} min", limit.as_secs() / 60));
        let outcome = tokio::time::timeout(limit, self.follow_pull(reference, &log)).await;
        outcome.map_err(late).and_then(|done| done).map_err(|error| explain(reference, error))?;
        let name = split(reference.as_str()).inspected();
        match self.image(&name).await? {
            Some((id, _)) => Ok(id),
            None => Err(explain(reference, Error::Work("it ended without an image".to_owned()))),
        }
    }

    async fn follow_pull(&self, reference: &ImageRef, log: &LogSink) -> Result<(), Error> {
        let parts = split(reference.as_str());
        let path = format!(
            "/images/create?fromImage={}&tag={}",
            encode(parts.name),
            encode(parts.digest.or(parts.tag).unwrap_or("latest"))
        );
        let request = Request::builder().method(Method::POST).uri(path);
        let request = request
            .body(bollard::body_full(Bytes::new()))
            .map_err(|error| Error::Refused { status: 400, message: error.to_string() })?;
        let idle = self.settings().pull_idle_limit;
        let silent = |_| Error::Work(format!("the registry was silent for {} s", idle.as_secs()));
        let opening = self.transport().open("pull", request);
        let answer = tokio::time::timeout(idle, opening).await.map_err(silent)??;
        let mut items = std::pin::pin!(items("pull", answer.into_body()));
        let mut progress = Progress::default();
        while let Some(item) = tokio::time::timeout(idle, items.next()).await.map_err(silent)? {
            let item = item?;
            if let Some(message) = item.failure() {
                return Err(Error::Work(message.to_owned()));
            }
            if let Some(line) = progress.line(&item) {
                let _ = log.try_send(line);
            }
        }
        Ok(())
    }
}

/// What the registry or the engine said, as a sentence about the image. What says nothing about the
/// image, such as an engine that is gone, stays what it is.
fn explain(reference: &ImageRef, error: Error) -> Error {
    let message = match error {
        Error::NotFound(message)
        | Error::Conflict(message)
        | Error::Refused { message, .. }
        | Error::Failed { message, .. }
        | Error::Work(message) => message,
        other => return other,
    };
    let advice = if message.contains("toomanyrequests") || message.contains("429") {
        " (the registry limits how often one may pull: wait, or `docker login` and `docker pull` it here)"
    } else if message.contains("pull access denied") {
        " (it does not exist there, or takes a sign-in: then `docker login` and `docker pull` it here)"
    } else if message.contains("unauthorized") || message.contains("no basic auth credentials") {
        " (the registry wants a sign-in, which Berth has none of: `docker login` and `docker pull` it here)"
    } else {
        ""
    };
    Error::Work(format!("failed to pull image `{reference}`: {}{advice}", message.trim()))
}

/// The parts of an image reference.
struct Parts<'a> {
    name: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl Parts<'_> {
    /// The reference to inspect: by digest when there is one, since the tag may be elsewhere.
    fn inspected(&self) -> String {
        match (self.digest, self.tag) {
            (Some(digest), _) => format!("{}@{digest}", self.name),
            (None, Some(tag)) => format!("{}:{tag}", self.name),
            (None, None) => self.name.to_owned(),
        }
    }
}

fn split(reference: &str) -> Parts<'_> {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (reference, None),
    };
    // A colon before the last slash belongs to the host's port.
    match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => Parts { name, tag: Some(tag), digest },
        _ => Parts { name: rest, tag: None, digest },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_split_at_its_tag_and_not_at_a_port() {
        let plain = split("h:5000/a/b:1.2");
        assert_eq!((plain.name, plain.tag), ("h:5000/a/b", Some("1.2")));
        let bare = split("h:5000/a");
        assert_eq!((bare.name, bare.tag), ("h:5000/a", None));
        let pinned = split("a:1@sha256:00");
        assert_eq!(pinned.inspected(), "a@sha256:00");
        assert_eq!((pinned.name, pinned.digest), ("a", Some("sha256:00")));
    }

    /// Fault D38.
    #[test]
    fn a_refused_pull_is_a_sentence_about_the_image() {
        let image = ImageRef::parse("acme/x:1").unwrap();
        let said = explain(&image, Error::NotFound("pull access denied for acme/x".to_owned()));
        assert!(
            said.to_string().starts_with("failed to pull image `acme/x:1`: pull access denied")
        );
        let lost = Error::Unreachable { address: String::new(), message: String::new() };
        assert!(matches!(explain(&image, lost), Error::Unreachable { .. }));
    }
}
