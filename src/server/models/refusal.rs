//! Errors of the model store, as its clients know them: `{"detail": …}`.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::super::problem::Problem;
use crate::store::{BadName, Error};

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct Refused(Box<Response>);

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        problem.into_response().into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// What was tried; its failure is called so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Upload,
    List,
    Read,
    Delete,
    Change,
}

impl Verb {
    fn failed(self) -> &'static str {
        match self {
            Self::Upload => "Upload failed",
            Self::List => "Failed to list models",
            Self::Read => "Failed to read model",
            Self::Delete => "Failed to delete model",
            Self::Change => "Failed to change the app",
        }
    }

    /// The answer to an error.
    pub(crate) fn refuse(self, error: &Error) -> Refused {
        let (status, code) = match error {
            Error::Name(name) => return unprocessable(&[flaw_of_name(name)]),
            Error::NotFound(_) => (StatusCode::NOT_FOUND, "model.not-found"),
            Error::Revision(_) => (StatusCode::NOT_FOUND, "model.revision"),
            Error::Repository(_) => (StatusCode::NOT_FOUND, "model.repository"),
            Error::Bad(_) => (StatusCode::BAD_REQUEST, "request.invalid"),
            Error::Nothing(_) => (StatusCode::NOT_FOUND, "model.nothing"),
            Error::NotAFile => (StatusCode::BAD_REQUEST, "model.no-file"),
            Error::Precondition(_) => (StatusCode::PRECONDITION_FAILED, "model.precondition"),
            Error::Immutable => (StatusCode::CONFLICT, "model.immutable"),
            Error::InUse(_) => (StatusCode::CONFLICT, "model.in-use"),
            Error::Conflict(_) => (StatusCode::CONFLICT, "model.conflict"),
            Error::Digest(_) => (StatusCode::BAD_REQUEST, "model.digest"),
            Error::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "model.too-large"),
            Error::Ending(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "model.ending"),
            Error::Blocked(_) => (StatusCode::FORBIDDEN, "model.blocked"),
            Error::Unscanned => (StatusCode::SERVICE_UNAVAILABLE, "model.unscanned"),
            Error::Rotten(_) => (StatusCode::GONE, "model.quarantined"),
            Error::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "model.busy"),
            Error::Full(_) => (StatusCode::INSUFFICIENT_STORAGE, "model.disk-full"),
            Error::Disk { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "model.disk"),
        };
        let detail = match error {
            Error::Full(_) | Error::Disk { .. } => {
                tracing::error!(%error, verb = self.failed(), "the model store failed");
                format!("{}: {error}", self.failed())
            }
            _ => error.to_string(),
        };
        Problem::new(status, code, "The model store refuses", detail).into()
    }
}

/// Refuses with a status and a text.
pub(super) fn refuse(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Refused {
    Problem::new(status, code, "The model store refuses", detail).into()
}

/// What is wrong with one value of a request.
pub(super) fn flaw(kind: &str, place: [&str; 2], message: &str, input: &Value) -> Value {
    json!({ "type": kind, "loc": place, "msg": message, "input": input })
}

fn flaw_of_name(name: &BadName) -> Value {
    flaw(
        "value_error",
        ["query", name.part],
        &format!("Value error, {}", name.why),
        &json!(name.given),
    )
}

/// A required value is not there.
pub(super) fn missing(place: [&str; 2]) -> Value {
    flaw("missing", place, "Field required", &Value::Null)
}

/// Refuses a request whose values are not as they must be.
pub(super) fn unprocessable(flaws: &[Value]) -> Refused {
    let body = Json(json!({ "detail": flaws }));
    (StatusCode::UNPROCESSABLE_ENTITY, body).into_response().into()
}
