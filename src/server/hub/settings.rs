//! Repositories, branches and tags come and go.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Base, Refused, Repo, Revision, bad, blocking, document, read, store};
use crate::auth::Mode;
use crate::server::{Shared, models, trail::Note};
use crate::store::{Error, Key};

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    organization: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

impl Named {
    /// The two names of a repository: both may be in one.
    fn names(self, asker: &models::Asker) -> Result<(String, String), Refused> {
        if self.kind.as_deref().is_some_and(|kind| kind != "model") {
            return Err(bad("there are only repositories of models here"));
        }
        Ok(match (self.organization, self.name.split_once('/')) {
            (Some(ns), _) => (ns, self.name),
            (None, Some((ns, name))) => (ns.to_owned(), name.to_owned()),
            (None, None) => (read::account(asker), self.name),
        })
    }
}

fn noted(
    mut response: Response,
    (ns, name): (&str, &str),
    before: Value,
    after: Value,
) -> Response {
    let object = format!("repository/{ns}/{name}");
    response.extensions_mut().insert(Note { object, before, after });
    response
}

/// `POST /api/repos/create`
pub(in super::super) async fn create(
    State(shared): State<Arc<Shared>>,
    asker: models::Asker,
    Base(base): Base,
    body: Body,
) -> Answer {
    let (ns, name) = document::<Named>(body).await?.names(&asker)?;
    asker.check(Mode::Write, &ns)?;
    if super::RESERVED.contains(&ns.as_str()) {
        return Err(bad(format!("`{ns}` is a path of Berth: take another namespace")));
    }
    let store = store(&shared).await?;
    let (url, id) = (format!("{base}/{ns}/{name}"), format!("{ns}/{name}"));
    let (who, now) = (read::account(&asker), shared.parts.clock.now());
    let place = (ns.clone(), name.clone());
    let made =
        tokio::task::spawn_blocking(move || store.create_repo((&ns, &name), &who, now)).await;
    match made.map_err(|_| crate::server::problem::Problem::failed())? {
        Ok(()) => {
            let response = Json(json!({ "url": url, "name": id, "id": id })).into_response();
            Ok(noted(response, (&place.0, &place.1), Value::Null, json!({ "created": true })))
        }
        // Clients read the address, and go on if they may.
        Err(Error::Conflict(text)) => {
            let body = Json(json!({ "error": text, "code": "model.conflict", "url": url }));
            Ok((StatusCode::CONFLICT, body).into_response())
        }
        Err(error) => Err(super::refuse(&error)),
    }
}

/// `DELETE /api/repos/delete`
pub(in super::super) async fn delete(
    State(shared): State<Arc<Shared>>,
    asker: models::Asker,
    body: Body,
) -> Answer {
    let (ns, name) = document::<Named>(body).await?.names(&asker)?;
    asker.check(Mode::Write, &ns)?;
    let (store, now) = (store(&shared).await?, shared.parts.clock.now());
    let place = (ns.clone(), name.clone());
    let may_go = move |keys: &[Key]| models::check_all(&shared, keys);
    blocking(move || store.delete_repo((&ns, &name), now, &may_go)).await?;
    Ok(noted("OK".into_response(), (&place.0, &place.1), json!({ "created": true }), Value::Null))
}

/// `POST /api/validate-yaml`: what a model card says is not judged here.
pub(in super::super) async fn validate(body: Body) -> Answer {
    super::text(body).await?;
    Ok(Json(json!({ "errors": [], "warnings": [] })).into_response())
}

/// `PUT /api/models/{ns}/{name}/settings`: who may see a repository is said by tokens.
pub(in super::super) async fn change(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    body: Body,
) -> Answer {
    super::text(body).await?;
    let store = store(&shared).await?;
    read::find(&store, &repo, "main")?;
    let warning = "visibility; who may see a repository is said by the scopes of tokens";
    Ok(([("x-hf-warning", warning)], Json(json!({}))).into_response())
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Start {
    starting_point: Option<String>,
}

/// `POST /api/models/{ns}/{name}/branch/{rev}`
pub(in super::super) async fn make_branch(
    State(shared): State<Arc<Shared>>,
    asker: models::Asker,
    repo: Repo,
    Revision(branch): Revision,
    body: Body,
) -> Answer {
    let bytes = super::text(body).await?;
    let start: Start = if bytes.is_empty() {
        Start::default()
    } else {
        serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?
    };
    let start = start.starting_point.unwrap_or_else(|| "main".to_owned());
    let (store, now) = (store(&shared).await?, shared.parts.clock.now());
    let (who, after) = (read::account(&asker), json!({ "branch": branch, "of": start }));
    let place = repo.id();
    blocking(move || store.create_branch(repo.names(), (&branch, &start), &who, now)).await?;
    let response = (StatusCode::CREATED, "Created").into_response();
    let (ns, name) = place.split_once('/').unwrap_or_default();
    Ok(noted(response, (ns, name), Value::Null, after))
}

/// `DELETE /api/models/{ns}/{name}/branch/{rev}`
pub(in super::super) async fn remove_branch(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    Revision(branch): Revision,
) -> Answer {
    let (store, now) = (store(&shared).await?, shared.parts.clock.now());
    let (place, before) = (repo.id(), json!({ "branch": branch }));
    let may_go = move |keys: &[Key]| models::check_all(&shared, keys);
    blocking(move || store.delete_branch(repo.names(), &branch, now, &may_go)).await?;
    let (ns, name) = place.split_once('/').unwrap_or_default();
    Ok(noted("OK".into_response(), (ns, name), before, Value::Null))
}

#[derive(Deserialize)]
struct NewTag {
    tag: String,
    #[serde(default)]
    message: Option<String>,
}

/// `POST /api/models/{ns}/{name}/tag/{rev}`
pub(in super::super) async fn make_tag(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    Revision(revision): Revision,
    body: Body,
) -> Answer {
    let NewTag { tag, message } = document(body).await?;
    let (store, now) = (store(&shared).await?, shared.parts.clock.now());
    let (place, after) = (repo.id(), json!({ "tag": tag, "of": revision }));
    let made = move || store.create_tag(repo.names(), (&tag, &revision), message, now);
    blocking(made).await?;
    let response = (StatusCode::CREATED, "Created").into_response();
    let (ns, name) = place.split_once('/').unwrap_or_default();
    Ok(noted(response, (ns, name), Value::Null, after))
}

/// `DELETE /api/models/{ns}/{name}/tag/{rev}`
pub(in super::super) async fn remove_tag(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    Revision(tag): Revision,
) -> Answer {
    let store = store(&shared).await?;
    let (place, before) = (repo.id(), json!({ "tag": tag }));
    blocking(move || store.delete_tag(repo.names(), &tag)).await?;
    let (ns, name) = place.split_once('/').unwrap_or_default();
    Ok(noted("OK".into_response(), (ns, name), before, Value::Null))
}
