//! Tokens, and how this Berth is reached.

use askama::Template;
use axum::{body::Body, http::StatusCode, response::Response};

use super::{
    Fields, Look, Shell, onward, show, unclear,
    words::{self, Moment},
};
use crate::auth::{Error, New, Role};
use crate::model::parse_duration;
use crate::server::{problem::Problem, trail::Note};

#[derive(Template)]
#[template(path = "settings.html", config = "src/server/templates/askama.toml")]
struct Page {
    shell: Shell,
    address: String,
    names: Vec<String>,
    base_url: Option<String>,
    is_open: bool,
    tokens: Option<Vec<TokenRow>>,
    /// A token that was made just now: it is shown once.
    made: Option<(String, String)>,
}

struct TokenRow {
    name: String,
    role: &'static str,
    scopes: String,
    created: Moment,
    expires: Option<Moment>,
    has_expired: bool,
}

/// `GET /ui/settings`
pub(in super::super) async fn settings(look: Look) -> Response {
    let page = page(&look, None);
    look.answer(page.map(|page| show(&page)))
}

fn page(look: &Look, made: Option<(String, String)>) -> Result<Page, Problem> {
    let access = &look.shared.door.access;
    let tokens = match &access.tokens {
        Some(tokens) if look.may(Role::Admin) => {
            let all = tokens.all().map_err(|error| problem(&error))?;
            Some(
                all.map(|all| all.iter().map(|kept| row(kept, look)).collect()).unwrap_or_default(),
            )
        }
        _ => None,
    };
    let host = look.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let scheme = if look.client.is_tls { "https" } else { "http" };
    Ok(Page {
        shell: look.shell("Settings", "settings"),
        address: format!("{scheme}://{host}/"),
        names: access.host_names.clone(),
        base_url: access.base_url.clone(),
        is_open: look.shared.door.is_open(),
        tokens,
        made,
    })
}

fn row(kept: &crate::auth::Kept, look: &Look) -> TokenRow {
    let scopes: Vec<_> = kept.scopes.iter().map(ToString::to_string).collect();
    TokenRow {
        name: kept.name.clone(),
        role: kept.role.word(),
        scopes: scopes.join(", "),
        created: words::moment(kept.created, look.now),
        expires: kept.expires.map(|at| words::moment(at, look.now)),
        has_expired: kept.has_expired(look.now),
    }
}

fn problem(error: &Error) -> Problem {
    match error {
        Error::File { .. } => {
            tracing::error!(%error, "the tokens can't be read or written");
            let detail = "the tokens can't be read or written; Berth's log says why".to_owned();
            Problem::unavailable("auth.unreadable", "Nothing was changed", detail)
        }
        error => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Problem::new(status, "request.invalid", "Nothing was changed", error.to_string())
        }
    }
}

fn no_tokens() -> Problem {
    let detail = "this Berth keeps no tokens".to_owned();
    Problem::conflict("auth.wrong-token", "There are no tokens here", detail)
}

/// `POST /ui/settings/tokens`: makes one, and shows it this once.
pub(in super::super) async fn token(look: Look, body: Body) -> Response {
    let made = async {
        let fields = Fields::read(&look.headers, body).await?;
        let tokens = look.shared.door.access.tokens.clone().ok_or_else(no_tokens)?;
        let role: Role = fields.get("role").parse().map_err(|why: String| unclear(&why))?;
        let lasts = match fields.get("lasts").trim() {
            "" => None,
            text => Some(parse_duration(text).map_err(|why| unclear(&why.to_string()))?),
        };
        let lasts = lasts.map(|lasts| i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX / 4));
        let scopes = fields.get("scopes").split([',', ' ']).filter(|text| !text.is_empty());
        let scopes: Result<Vec<_>, String> = scopes.map(str::parse).collect();
        let scopes = scopes.map_err(|why| unclear(&why))?;
        let (name, now) = (fields.get("name").trim().to_owned(), look.now);
        let new = New { name: name.clone(), role, expires: lasts.map(|ms| now.moved(ms)), scopes };
        let made = tokio::task::spawn_blocking(move || tokens.create(new, now)).await;
        let made = made.map_err(|_| Problem::failed())?.map_err(|error| problem(&error))?;
        let shown = (made.kept.name.clone(), made.secret.reveal().to_owned());
        let mut response = show(&page(&look, Some(shown))?);
        let after = serde_json::json!({ "role": role.word() });
        let (object, before) = (format!("token/{name}"), serde_json::Value::Null);
        response.extensions_mut().insert(Note { object, before, after });
        Ok(response)
    };
    look.answer(made.await)
}

/// `POST /ui/settings/tokens/revoke`
pub(in super::super) async fn revoke(look: Look, body: Body) -> Response {
    let gone = async {
        let fields = Fields::read(&look.headers, body).await?;
        let tokens = look.shared.door.access.tokens.clone().ok_or_else(no_tokens)?;
        let name = fields.get("name").to_owned();
        let named = name.clone();
        let gone = tokio::task::spawn_blocking(move || tokens.revoke(&named)).await;
        let (kept, _) = gone.map_err(|_| Problem::failed())?.map_err(|error| problem(&error))?;
        let mut done = Response::default();
        let before = serde_json::json!({ "role": kept.role.word() });
        let (object, after) = (format!("token/{name}"), serde_json::Value::Null);
        done.extensions_mut().insert(Note { object, before, after });
        Ok(onward(done, "/ui/settings?done=revoke"))
    };
    look.answer(gone.await)
}
