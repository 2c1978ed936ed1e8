//! Signing in to the page: a form takes a token, a cookie keeps the session.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse as _, Redirect, Response},
};

use super::{Shared, access, access::Client, page, problem::Problem, trail};
use crate::auth::{Identity, Kind, Secret};

/// Where the form is.
pub(super) const PATH: &str = "/sign-in";
/// The longest form that makes sense, and how long it may take to come.
const BODY_MAX: usize = 4096;
const BODY_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Template)]
#[template(path = "sign-in.html", config = "src/server/templates/askama.toml")]
struct Form {
    tag: &'static str,
    token: String,
    problem: Option<&'static str>,
}

/// `GET /sign-in`
pub(super) async fn form(
    State(shared): State<Arc<Shared>>,
    Extension(who): Extension<Identity>,
    client: Client,
) -> Response {
    if who.role.is_some() && who.kind != Kind::Nobody {
        return Redirect::to("/").into_response();
    }
    show(&shared, &client, None)
}

/// `POST /sign-in`
pub(super) async fn begin(
    State(shared): State<Arc<Shared>>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (door, now) = (&shared.door, shared.parts.clock.now());
    let fields = read(&headers, body).await?;
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.as_str());
    let says_where = [header::ORIGIN, HeaderName::from_static("sec-fetch-site")];
    let is_ours = says_where.iter().any(|name| headers.contains_key(name))
        && door.sessions.is_form_token(field("form"), &bound_to(&client), now);
    if !is_ours {
        let problem = "The form was open for too long. Please try again.";
        return Ok(refuse(StatusCode::FORBIDDEN, show(&shared, &client, Some(problem))));
    }
    if let Some(wait) = door.failures.wait(client.address, now) {
        return Ok(access::too_many(wait));
    }
    let Ok(kept) = door.check(&Secret::given(field("token").trim()), &client, now) else {
        let problem = "This is no token of this Berth, or it has expired.";
        return Ok(refuse(StatusCode::UNAUTHORIZED, show(&shared, &client, Some(problem))));
    };
    if !kept.scopes.is_empty() {
        let problem = "This token is for the model store only.";
        return Ok(refuse(StatusCode::FORBIDDEN, show(&shared, &client, Some(problem))));
    }
    trail::note_session(&shared, &kept.identity(Kind::Session), &client, "session.begun").await?;
    let id = door.sessions.begin(&kept, now).map_err(|_| Problem::failed())?;
    let cookie = access::cookie(Some(&id), client.is_tls).ok_or_else(Problem::failed)?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// `POST /sign-out`
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    client: Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let now = shared.parts.clock.now();
    if let Some(id) = access::session_id(&headers, client.is_tls) {
        let fields = read(&headers, body).await?;
        let given = fields.iter().find(|(name, _)| name == "form").map_or("", |(_, v)| v.as_str());
        if !shared.door.sessions.is_form_token(given, &id, now) {
            let (status, detail) = (StatusCode::FORBIDDEN, "the form is not one of this session");
            return Err(Problem::new(status, "auth.form", "Not signed out", detail));
        }
        shared.door.sessions.end(&id);
    }
    let cookie = access::cookie(None, client.is_tls).ok_or_else(Problem::failed)?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(PATH)).into_response())
}

/// What the page's form for signing out holds; none for those that have no session.
pub(super) fn sign_out_token(
    shared: &Shared,
    who: &Identity,
    client: &Client,
    headers: &HeaderMap,
) -> Option<String> {
    let id = access::session_id(headers, client.is_tls).filter(|_| who.kind == Kind::Session)?;
    Some(shared.door.sessions.form_token(&id, shared.parts.clock.now()))
}

fn bound_to(client: &Client) -> String {
    format!("sign-in {}", client.address)
}

fn show(shared: &Shared, client: &Client, problem: Option<&'static str>) -> Response {
    let token = shared.door.sessions.form_token(&bound_to(client), shared.parts.clock.now());
    match (Form { tag: &page::TAG, token, problem }).render() {
        Ok(page) => {
            let policy = HeaderValue::from_static(page::POLICY);
            ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the form could not be made");
            Problem::failed().into_response()
        }
    }
}

fn refuse(status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    response
}

/// The fields of a form. Those that matter hold letters, digits and `_` only, so that nothing of
/// them is ever escaped.
async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<(String, String)>, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or("").split(';').next().unwrap_or("").trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        let (status, detail) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the page's own form");
        return Err(Problem::new(status, "request.media-type", "Not a form", detail));
    }
    let reading = axum::body::to_bytes(body, BODY_MAX);
    let bytes = match tokio::time::timeout(BODY_PATIENCE, reading).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            let (status, detail) = (StatusCode::PAYLOAD_TOO_LARGE, "the form is too large");
            return Err(Problem::new(status, "request.too-large", "Too large", detail));
        }
        Err(_) => {
            let (status, detail) = (StatusCode::REQUEST_TIMEOUT, "the form took too long");
            return Err(Problem::new(status, "request.timeout", "It did not arrive", detail));
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.replace('+', " "))).collect())
}
