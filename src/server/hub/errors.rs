//! Refusals as clients of the Hub tell them apart: by `X-Error-Code`.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::super::{models, problem::Problem};
use crate::store::Error;

pub(super) use models::{Answer, Refused};

const CODE: HeaderName = HeaderName::from_static("x-error-code");
const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const TITLE: &str = "The model store refuses";

/// The answer to an error of the store.
pub(super) fn refuse(error: &Error) -> Refused {
    let coded = |code, told| with_code(StatusCode::NOT_FOUND, told, error.to_string(), code);
    match error {
        Error::Repository(_) => coded("RepoNotFound", "model.repository"),
        Error::Revision(_) => coded("RevisionNotFound", "model.revision"),
        Error::Nothing(_) | Error::NotFound(_) => coded("EntryNotFound", "model.nothing"),
        Error::Name(name) => bad(format!("`{}`: {name}", name.given)),
        error => models::Verb::Upload.refuse(error),
    }
}

/// There is no such repository.
pub(super) fn no_repository() -> Refused {
    refuse(&Error::Repository("Repository not found".to_owned()))
}

/// A commit has no such file: clients remember that, if they know which commit it is.
pub(super) fn no_entry(path: &str, commit: &str) -> Refused {
    let detail = format!("Entry not found: {path}");
    let refused = with_code(StatusCode::NOT_FOUND, "model.nothing", detail, "EntryNotFound");
    let mut response = refused.into_response();
    put(&mut response, COMMIT, commit);
    response.into()
}

/// The request makes no sense.
pub(super) fn bad(detail: impl Into<String>) -> Refused {
    Problem::new(StatusCode::BAD_REQUEST, "request.invalid", TITLE, detail).into()
}

/// A refusal with a status.
pub(super) fn with(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Refused {
    Problem::new(status, code, TITLE, detail).into()
}

fn with_code(
    status: StatusCode,
    told: &'static str,
    detail: String,
    code: &'static str,
) -> Refused {
    let mut response = with(status, told, detail).into_response();
    response.headers_mut().insert(CODE, HeaderValue::from_static(code));
    response.into()
}

/// Sets a header.
pub(super) fn put(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// Says which commit an answer is of.
pub(super) fn of_commit(mut response: Response, commit: &str) -> Response {
    put(&mut response, COMMIT, commit);
    response
}
