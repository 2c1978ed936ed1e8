//! Names for versions, and versions that stay as they are.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, Named, blocking,
    refusal::{Refused, Verb, missing, refuse, unprocessable},
    store, tried,
};
use crate::server::{Shared, dry::Dry, problem::Problem, request::Asked, trail::Note};
use crate::store::{Key, Store, version_name};

/// What an alias is to stand for.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Wish {
    version: Option<String>,
}

fn noted(mut response: Response, object: String, before: Value, after: Value) -> Response {
    response.extensions_mut().insert(Note { object, before, after });
    response
}

/// `GET /models/{project}/{app}/aliases`
pub(in super::super) async fn aliases(
    State(shared): State<Arc<Shared>>,
    Named((project, app)): Named<(String, String)>,
) -> Answer {
    let store = store(&shared, Verb::List).await?;
    Ok(Json(store.app(&project, &app)).into_response())
}

/// `GET /models/{project}/{app}/aliases/{alias}`
pub(in super::super) async fn alias(
    State(shared): State<Arc<Shared>>,
    Named((project, app, alias)): Named<(String, String, String)>,
) -> Answer {
    let store = store(&shared, Verb::List).await?;
    let version = version(&store, &project, &app, &alias);
    let version = version.ok_or_else(|| {
        refuse(StatusCode::NOT_FOUND, "model.nothing", format!("no alias is `{alias}`"))
    })?;
    Ok(Json(told(&project, &app, &alias, &version)).into_response())
}

/// What an alias stands for; `latest` is found out by any model that the app has.
fn version(store: &Store, project: &str, app: &str, alias: &str) -> Option<String> {
    if let Some(version) = store.app(project, app).aliases.get(alias) {
        return Some(version.clone());
    }
    store.latest(project, app).filter(|_| alias == "latest")
}

fn told(project: &str, app: &str, alias: &str, version: &str) -> Value {
    json!({ "project_id": project, "app_name": app, "alias": alias, "version": version })
}

/// `PUT /models/{project}/{app}/aliases/{alias}`, with `{"version": …}` or `?version=`
pub(in super::super) async fn set_alias(
    State(shared): State<Arc<Shared>>,
    Named((project, app, alias)): Named<(String, String, String)>,
    Asked(asked): Asked<Wish>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let said: Wish = if body.is_empty() {
        Wish::default()
    } else {
        let wrong = |_| unprocessable(&[missing(["body", "version"])]);
        serde_json::from_slice(&body).map_err(wrong)?
    };
    let version = asked.version.or(said.version);
    let version = version.ok_or_else(|| unprocessable(&[missing(["body", "version"])]))?;
    let store = store(&shared, Verb::Change).await?;
    if is_dry {
        let found = store.alias_for((&project, &app), &alias, &version);
        let (alias, before) = found.map_err(|error| Verb::Change.refuse(&error))?;
        let (of, change) = (((&*project, &*app), &*alias), (before.as_deref(), Some(&*version)));
        return Ok(tried::alias(&shared, &headers, of, change));
    }
    let answer = told(&project, &app, &alias, &version);
    let object = format!("alias/{project}/{app}/{alias}");
    let after = json!({ "version": version });
    let change = move || store.set_alias((&project, &app), &alias, &version);
    let before = blocking(Verb::Change, change).await?;
    Ok(noted(Json(answer).into_response(), object, json!({ "version": before }), after))
}

/// `DELETE /models/{project}/{app}/aliases/{alias}`
pub(in super::super) async fn remove_alias(
    State(shared): State<Arc<Shared>>,
    Named((project, app, alias)): Named<(String, String, String)>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
) -> Answer {
    let store = store(&shared, Verb::Change).await?;
    if is_dry {
        let before = store.removable_alias((&project, &app), &alias);
        let before = before.map_err(|error| Verb::Change.refuse(&error))?;
        let of = ((&*project, &*app), &*alias);
        return Ok(tried::alias(&shared, &headers, of, (Some(&before), None)));
    }
    let object = format!("alias/{project}/{app}/{alias}");
    let names = (project.clone(), app.clone(), alias.clone());
    let change = move || store.remove_alias((&project, &app), &alias);
    let before = blocking(Verb::Change, change).await?;
    let answer = told(&names.0, &names.1, &names.2, &before);
    let before = json!({ "version": before });
    Ok(noted(Json(answer).into_response(), object, before, Value::Null))
}

/// `POST /models/{project}/{app}/{version}/freeze`, or `…/unfreeze`: as the path of a model, so that
/// no model's name is taken by it.
pub(in super::super) async fn freeze(
    State(shared): State<Arc<Shared>>,
    Named((project, app, version, word)): Named<(String, String, String, String)>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
) -> Answer {
    let is_frozen = match word.as_str() {
        "freeze" => true,
        "unfreeze" => false,
        _ => {
            let detail = "post to `freeze` or `unfreeze` of a version, or put a model";
            let status = StatusCode::METHOD_NOT_ALLOWED;
            return Err(Problem::new(status, "request.method", "Wrong method", detail).into());
        }
    };
    version_name(&version).map_err(|bad| Verb::Change.refuse(&bad.into()))?;
    let store = store(&shared, Verb::Change).await?;
    if is_dry {
        let is_new = store.freezable((&project, &app), &version, is_frozen);
        let is_new = is_new.map_err(|error| Verb::Change.refuse(&error))?;
        return Ok(tried::freeze(&headers, (&project, &app, &version), (is_new, is_frozen)));
    }
    let key = Key {
        project: project.clone(),
        app: app.clone(),
        version: version.clone(),
        model: String::new(),
    };
    let was_frozen = store.is_frozen(&key);
    let object = format!("model/{project}/{app}/{version}");
    let answer = json!({
        "project_id": project, "app_name": app, "version": version, "frozen": is_frozen,
    });
    blocking(Verb::Change, move || store.freeze((&project, &app), &version, is_frozen)).await?;
    let (before, after) = (json!({ "frozen": was_frozen }), json!({ "frozen": is_frozen }));
    Ok::<_, Refused>(noted(Json(answer).into_response(), object, before, after))
}
