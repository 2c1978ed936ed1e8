//! Errors as problem documents (RFC 9457).

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use super::view;
use crate::engine;
use crate::manifest::Diagnostic;
use crate::model::AppName;
use crate::record::CommandError;

/// What an answer's problem is: for the audit log, and for families that say it in their own way.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Its code.
    pub(super) code: &'static str,
    /// What it says.
    pub(super) detail: String,
}

/// What went wrong with a request.
#[derive(Debug)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Inner { status, code, title, detail: detail.into(), more: Map::new() }))
    }

    /// The request makes no sense.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request.invalid", "The request is not valid", detail)
    }

    /// The request contradicts what is there.
    pub(super) fn conflict(code: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(StatusCode::CONFLICT, code, title, detail)
    }

    /// Something that is needed does not answer; later it may.
    pub(super) fn unavailable(code: &'static str, title: &'static str, detail: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, title, detail)
    }

    /// There is no such app.
    pub(super) fn no_app(name: &str) -> Self {
        let detail = format!("no app is called `{name}`");
        Self::new(StatusCode::NOT_FOUND, "app.not-found", "No such app", detail)
    }

    /// What is asked for is not there (yet).
    pub(super) fn not_there(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, "Not there", detail)
    }

    /// There is no such page.
    pub(super) fn no_route(path: &str) -> Self {
        let detail = format!("there is nothing at {path}; `GET /` lists what there is");
        Self::new(StatusCode::NOT_FOUND, "request.not-found", "No such route", detail)
    }

    /// The manifest has mistakes.
    pub(super) fn invalid_manifest(mistakes: &[Diagnostic]) -> Self {
        let detail = match mistakes {
            [one] => one.message.clone(),
            several => format!("the manifest has {} mistakes", several.len()),
        };
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self::new(status, "manifest.invalid", "The manifest is not valid", detail)
            .with("errors", mistakes.iter().map(view::diagnostic).collect())
    }

    /// The server itself failed. What happened is in the log, not in the answer (fault H11); the
    /// two have a word in common by which the line is found.
    #[track_caller]
    pub(super) fn failed() -> Self {
        let (place, id) = (std::panic::Location::caller(), crate::auth::random_text(10));
        let id = id.unwrap_or_else(|_| "unknown".to_owned());
        tracing::error!(failure = id, %place, "a request ran into a defect");
        let detail = format!(
            "this request ran into a defect of Berth; its log says more, just before `failure=\"{id}\"`"
        );
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "server.failed", "The server failed", detail).with("failure", id.into())
    }

    /// The HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What it is called.
    pub(super) fn title(&self) -> &'static str {
        self.0.title
    }

    /// Its code.
    pub(super) fn code(&self) -> &'static str {
        self.0.code
    }

    /// What it says.
    pub(super) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What else it says, under this name.
    pub(super) fn more(&self, name: &str) -> Option<&Value> {
        self.0.more.get(name)
    }

    /// The same for an answer of another form.
    pub(super) fn told(&self) -> Told {
        Told { code: self.0.code, detail: self.0.detail.clone() }
    }

    /// Says more, under a name of its own.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.0.more.insert(name.to_owned(), value);
        self
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let detail = error.to_string();
        match error {
            CommandError::NotFound(name) => Self::no_app(name.as_str()),
            CommandError::NothingToConfirm => {
                Self::conflict("source.nothing-held", "Nothing to confirm", detail)
            }
            CommandError::Undo { code, revisions, .. } => {
                let title = "There is no such way back";
                let status = match code {
                    "rollout.no-such-revision" => StatusCode::NOT_FOUND,
                    _ => StatusCode::CONFLICT,
                };
                Self::new(status, code, title, detail).with("revisions", json!(revisions))
            }
            CommandError::Gpu { code, .. } => {
                let (status, title) = match code {
                    "gpu.no-lease" => (StatusCode::NOT_FOUND, "No such lease"),
                    "gpu.fenced" => (StatusCode::CONFLICT, "The lease is somebody else's"),
                    "gpu.busy" => (StatusCode::CONFLICT, "No GPU is free for it"),
                    "gpu.too-many-leases" => (StatusCode::CONFLICT, "Too many leases"),
                    "gpu.none" => (StatusCode::UNPROCESSABLE_ENTITY, "No such GPU"),
                    _ => (StatusCode::SERVICE_UNAVAILABLE, "GPUs can't be given at present"),
                };
                Self::new(status, code, title, detail)
            }
            CommandError::Engine { reason, .. } => {
                Self::unavailable(reason.slug(), "The engine does not answer", detail)
            }
            CommandError::NotKept { .. } => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Self::new(status, "state.not-kept", "Not on the disk", detail)
            }
            CommandError::Refused(_) => Self::conflict("app.refused", "Refused", detail),
        }
    }
}

impl Problem {
    /// The engine did not do what was needed for `name`.
    pub(super) fn engine(name: &AppName, error: &engine::Error) -> Self {
        let detail = format!("`{name}`: {error}");
        if matches!(error, engine::Error::NotFound(_)) {
            return Self::new(StatusCode::NOT_FOUND, "app.no-container", "No container", detail);
        }
        Self::unavailable(error.reason().slug(), "The engine does not answer", detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Inner { status, code, title, detail, more } = *self.0;
        let mut body = Map::new();
        body.insert("type".to_owned(), format!("urn:berth:problem:{code}").into());
        body.insert("title".to_owned(), title.into());
        body.insert("status".to_owned(), json!(status.as_u16()));
        body.insert("detail".to_owned(), detail.clone().into());
        body.insert("code".to_owned(), code.into());
        body.extend(more);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let tag = body.get("etag").and_then(Value::as_str).and_then(|tag| tag.parse().ok());
        let mut response = (status, kind, Value::Object(body).to_string()).into_response();
        if let Some(tag) = tag {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response.extensions_mut().insert(Told { code, detail });
        let pause = match status {
            StatusCode::SERVICE_UNAVAILABLE => 2,
            StatusCode::TOO_MANY_REQUESTS => 1,
            _ => return response,
        };
        response.headers_mut().insert(header::RETRY_AFTER, pause.into());
        response
    }
}
