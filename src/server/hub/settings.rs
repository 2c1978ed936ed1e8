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
        only_models(self.kind.as_deref())?;
        Ok(match (self.organization, self.name.split_once('/')) {
            (Some(ns), _) => (ns, self.name),
            (None, Some((ns, name))) => (ns.to_owned(), name.to_owned()),
            (None, None) => (read::account(asker), self.name),
        })
    }
}

fn only_models(kind: Option<&str>) -> Result<(), Refused> {
    if kind.is_some_and(|kind| kind != "model") {
        return Err(bad("there are only repositories of models here"));
    }
    Ok(())
}

/// Whether nothing else of Berth is at a namespace's address.
fn check_namespace(ns: &str) -> Result<(), Refused> {
    if super::RESERVED.contains(&ns) {
        return Err(bad(format!("`{ns}` is a path of Berth: take another namespace")));
    }
    Ok(())
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
    check_namespace(&ns)?;
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Move {
    from_repo: String,
    to_repo: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

/// The two names of a repository's whole one.
fn halves(id: &str) -> Result<(&str, &str), Refused> {
    let halves = id.split_once('/').filter(|(_, name)| !name.contains('/'));
    halves.ok_or_else(|| bad(format!("`{id}` is no repository: write namespace/name")))
}

/// `POST /api/repos/move`
pub(in super::super) async fn rename(
    State(shared): State<Arc<Shared>>,
    asker: models::Asker,
    Base(base): Base,
    body: Body,
) -> Answer {
    let Move { from_repo, to_repo, kind } = document(body).await?;
    only_models(kind.as_deref())?;
    let (from, to) = (halves(&from_repo)?, halves(&to_repo)?);
    asker.check(Mode::Write, from.0)?;
    asker.check(Mode::Write, to.0)?;
    check_namespace(to.0)?;
    let (store, now) = (store(&shared).await?, shared.parts.clock.now());
    let url = format!("{base}/{to_repo}");
    let (ids, watched) = ((from_repo.clone(), to_repo.clone()), Arc::clone(&shared));
    let moving = move || {
        let (from, to) = (ids.0.split_once('/'), ids.1.split_once('/'));
        let may_go = |keys: &[Key]| models::check_moved(&watched, keys);
        store.move_repo(from.unwrap_or_default(), to.unwrap_or_default(), now, &may_go)
    };
    let moved = tokio::task::spawn_blocking(moving).await;
    match moved.map_err(|_| crate::server::problem::Problem::failed())? {
        Ok(()) => {
            let response = Json(json!({ "url": url, "name": to_repo, "id": to_repo }));
            let (before, after) = (json!({ "name": from_repo }), json!({ "name": to_repo }));
            Ok(noted(response.into_response(), from, before, after))
        }
        // As of one that is to be made: clients read the address.
        Err(Error::Conflict(text)) => {
            let body = Json(json!({ "error": text, "code": "model.conflict", "url": url }));
            Ok((StatusCode::CONFLICT, body).into_response())
        }
        Err(error) => Err(super::refuse(&error)),
    }
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
