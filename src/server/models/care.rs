//! What is inside models, whether they are what they were, and how far looking for that has come.

use std::sync::{Arc, atomic::Ordering};

use axum::{Json, extract::State, http::HeaderMap, response::IntoResponse as _};
use serde_json::{Map, Value, json};

use super::{Answer, Named, blocking, refusal::Verb, store};
use crate::inspect;
use crate::server::{
    Shared,
    dry::{self, Dry},
    trail::Note,
};
use crate::store::{Entry, Error, Found, Key, Store};

type Names = (String, String, String, String);

/// What is inside a model: all that is known, and whether it is given to anybody.
pub(in super::super) fn inspection(store: &Store, entry: &Entry) -> Value {
    let mut told = Map::new();
    let mut put = |name: &str, value: Value| told.insert(name.to_owned(), value);
    let report = store.report(entry);
    put("status", json!(if report.is_some() { "done" } else { "waiting" }));
    let served = store.check_served(entry);
    put("served", json!(served.is_ok()));
    if let Err(why) = &served {
        put("reason", json!(why.to_string()));
    }
    if let Some(report) = &report {
        put("scanner", json!(inspect::VERSION));
        if !report.parameters.is_empty() {
            put("total_parameters", json!(report.total_parameters()));
        }
    }
    if let Some(Value::Object(fields)) = report.and_then(|report| serde_json::to_value(report).ok())
    {
        told.extend(fields);
    }
    Value::Object(told)
}

/// How often a version was downloaded, and where clients of the Hub find a model: its repository, the commit that its version is, and the tags
/// that stand for that.
pub(super) fn in_hub(store: &Store, entry: &Entry) -> Vec<(&'static str, Value)> {
    let repo = (entry.key.project.as_str(), entry.key.app.as_str());
    let downloads = ("downloads", json!(store.downloads_of(&entry.key)));
    let Some(commit) = store.commit_of(&entry.key) else { return vec![downloads] };
    let refs = store.hub_refs(repo).unwrap_or_default();
    let tags = refs.into_iter().filter(|it| it.is_tag && it.commit == commit);
    let tags: Vec<_> = tags.map(|it| it.name).collect();
    vec![
        downloads,
        ("tags", json!(tags)),
        ("hf_id", json!(format!("{}/{}", repo.0, repo.1))),
        ("commit", json!(commit)),
    ]
}

fn key((project, app, version, model): Names, verb: Verb) -> Result<Key, super::Refused> {
    Key::new(&project, &app, &version, &model).map_err(|_| {
        let given = Key { project, app, version, model };
        verb.refuse(&Error::NotFound(Box::new(given)))
    })
}

/// `GET /api/v1/models/inspections/{project}/{app}/{version}/{model}`
pub(in super::super) async fn inspected(
    State(shared): State<Arc<Shared>>,
    Named(names): Named<Names>,
) -> Answer {
    let key = key(names, Verb::Read)?;
    let store = store(&shared, Verb::Read).await?;
    let told = blocking(Verb::Read, move || {
        let entry = store.get(&key)?;
        let mut told = json!({ "model": key.to_string(), "sha256": entry.sha256 });
        told["inspection"] = inspection(&store, &entry);
        Ok(told)
    });
    Ok(Json(told.await?).into_response())
}

/// `POST /api/v1/models/verify/{project}/{app}/{version}/{model}`
pub(in super::super) async fn verify(
    State(shared): State<Arc<Shared>>,
    Named(names): Named<Names>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
) -> Answer {
    let key = key(names, Verb::Read)?;
    let store = store(&shared, Verb::Read).await?;
    if is_dry {
        let entry = store.get(&key).map_err(|error| Verb::Read.refuse(&error))?;
        return Ok(dry::said(&headers, &format!("would read {} bytes of {key} again", entry.size)));
    }
    let object = format!("model/{key}");
    let told = blocking(Verb::Read, move || {
        let found = store.verify(&key)?;
        let entry = store.get(&key)?;
        let word = match found {
            Found::Good => "good",
            Found::Rotten => "quarantined",
            Found::Gone => "gone",
        };
        Ok(json!({ "model": key.to_string(), "sha256": entry.sha256, "found": word }))
    });
    let told = told.await?;
    let after = json!({ "found": told["found"] });
    let mut response = Json(told).into_response();
    response.extensions_mut().insert(Note { object, before: Value::Null, after });
    Ok(response)
}

/// `GET /api/v1/models/health`
pub(in super::super) async fn health(State(shared): State<Arc<Shared>>) -> Answer {
    let store = store(&shared, Verb::List).await?;
    let told = blocking(Verb::List, move || {
        let figures = store.figures();
        let number = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Ok(json!({
            "models": number(&figures.models),
            "bytes": number(&figures.bytes),
            "inspection": { "scanner": inspect::VERSION, "waiting": store.uninspected() },
            "scrub": store.progress(),
            "quarantined": store.quarantined(),
        }))
    });
    Ok(Json(told.await?).into_response())
}
