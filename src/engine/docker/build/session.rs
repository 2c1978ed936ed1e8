//! The session of a build: the engine asks back through it, for secrets.
//!
//! A connection is turned round: the engine speaks gRPC over it as the client. Nothing is answered
//! but the secrets of this one build, so they are in memory here and in the step's own mount, and
//! in no layer.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::AbortHandle;

use super::super::super::{BuildSecret, Error};
use super::super::Docker;
use super::super::errors::within;
use super::super::transport::SHORT_LIMIT;
use super::wire::{Field, bytes_field, fields};
use crate::model::Digest;

const GET_SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// The longest question that is taken.
const QUESTION_BYTES_MAX: usize = 64 << 10;

/// Counts the sessions of this process: no two have the same id.
static SESSIONS: AtomicU64 = AtomicU64::new(0);

/// An open session; it ends when this is dropped.
pub(super) struct Session {
    /// Its id.
    pub(super) id: String,
    task: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Docker {
    /// Opens a session that hands out these secrets.
    pub(super) async fn open_session(&self, secrets: Vec<BuildSecret>) -> Result<Session, Error> {
        let nth = SESSIONS.fetch_add(1, Ordering::Relaxed);
        // Hashers are seeded at random.
        let random = RandomState::new().hash_one(nth);
        let seed = format!("{}/{nth}/{random}", std::process::id());
        let id = Digest::of_bytes(seed.as_bytes()).short(32).to_owned();
        let request = Request::builder()
            .method(Method::POST)
            .uri("/session")
            .header("connection", "Upgrade")
            .header("upgrade", "h2c")
            .header("x-docker-expose-session-uuid", &id)
            .header("x-docker-expose-session-name", "berth")
            .header("x-docker-expose-session-sharedkey", &id)
            .header("x-docker-expose-session-grpc-method", GET_SECRET)
            .header("x-docker-expose-session-grpc-method", HEALTH)
            .body(bollard::body_full(Bytes::new()))
            .map_err(|error| Error::Refused { status: 400, message: error.to_string() })?;
        let opening = async {
            let answer = self.transport().send("session", request).await?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                let status = answer.status().as_u16();
                let message = "the engine opens no session for builds".to_owned();
                return Err(Error::Refused { status, message });
            }
            hyper::upgrade::on(answer)
                .await
                .map_err(|error| Error::Broken { call: "session", message: error.to_string() })
        };
        let upgraded = within("session", SHORT_LIMIT, opening).await?;
        let secrets: Arc<[BuildSecret]> = secrets.into();
        let service = service_fn(move |request| answer(Arc::clone(&secrets), request));
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(TokioIo::new(upgraded)), service);
        let task = tokio::spawn(async move {
            let _ = serving.await;
        });
        Ok(Session { id, task: task.abort_handle() })
    }
}

type Answer = Response<
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>,
>;

async fn answer(
    secrets: Arc<[BuildSecret]>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let path = request.uri().path().to_owned();
    let (status, message) = match path.as_str() {
        // It serves.
        HEALTH => (0, vec![8, 1]),
        GET_SECRET => secret(&secrets, request.into_body()).await,
        _ => (12, Vec::new()),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(status));
    let mut frames = Vec::new();
    if status == 0 {
        frames.push(Ok(Frame::data(framed(&message))));
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let mut answer = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(answer)
}

/// The gRPC status, and the message with the secret.
async fn secret<B>(secrets: &[BuildSecret], body: B) -> (u16, Vec<u8>)
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const NOT_FOUND: u16 = 5;
    let Ok(question) = Limited::new(body, QUESTION_BYTES_MAX).collect().await else {
        return (NOT_FOUND, Vec::new());
    };
    let question = question.to_bytes();
    // Five bytes of frame: whether it is compressed, and its length.
    let id = fields(question.get(5..).unwrap_or_default()).find_map(|(number, field)| {
        match (number, field) {
            (1, Field::Bytes(id)) => Some(String::from_utf8_lossy(id).into_owned()),
            _ => None,
        }
    });
    match secrets.iter().find(|secret| Some(&secret.id) == id.as_ref()) {
        Some(secret) => (0, bytes_field(1, &secret.value)),
        None => (NOT_FOUND, Vec::new()),
    }
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(id: &str) -> (u16, Vec<u8>) {
        let secrets = [BuildSecret { id: "token".to_owned(), value: b"s3cret".to_vec() }];
        let question = framed(&bytes_field(1, id.as_bytes()));
        secret(&secrets, http_body_util::Full::new(question)).await
    }

    #[tokio::test]
    async fn only_the_builds_own_secrets_are_given() {
        assert_eq!(ask("token").await, (0, bytes_field(1, b"s3cret")));
        assert_eq!(ask("other").await.0, 5);
        assert_eq!(ask("").await.0, 5);
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = BuildSecret { id: "token".to_owned(), value: b"s3cret".to_vec() };
        assert_eq!(format!("{secret:?}"), "BuildSecret(token)");
    }
}
