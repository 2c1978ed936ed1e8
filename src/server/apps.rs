//! Apps: what is known about them, and their manifests.

use std::{error::Error as _, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use super::{
    Shared, actions,
    folder::{self, Found},
    problem::Problem,
    reading::{self, Reading},
    request::{self, Named},
    trail, view,
};
use crate::audit;
use crate::forge::Repositories;
use crate::model::AppName;
use crate::record::Command;
use crate::source;

/// `GET /api/v1/apps`
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let record = &shared.parts.record;
    let (entries, revision, _) = record.subscribe();
    let entries = entries.iter().map(AsRef::as_ref);
    Json(view::apps(entries, revision, &record.overview()))
}

/// `GET /api/v1/apps/{name}`
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
) -> Result<Json<Value>, Problem> {
    let entry = shared.parts.record.entry(&name).ok_or_else(|| Problem::no_app(name.as_str()))?;
    let mut document = view::app(&entry);
    if let Some(usage) = shared.parts.usage.now(&name) {
        document["status"]["usage"] = json!(usage);
    }
    Ok(Json(document))
}

/// `POST /api/v1/apps`
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = request::manifest(&headers, body).await?;
    let (name, reading) = single(&bytes)?;
    check_writable(&shared, &name)?;
    let _writing = shared.writes.lock().await;
    if let Some(found) = find(&shared, &name).await? {
        let detail = format!(
            "`{name}` is defined in {} already; `PUT /api/v1/apps/{name}` (`berth apply`) replaces it",
            found.file
        );
        return Err(Problem::conflict("manifest.duplicate-name", "The app exists", detail));
    }
    write_new(&shared, &name, &bytes, &reading).await
}

/// `PUT /api/v1/apps/{name}`
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = request::manifest(&headers, body).await?;
    let (named, reading) = single(&bytes)?;
    if named != name {
        let detail = format!("the path says `{name}`, the manifest says `{named}`");
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return Err(Problem::new(status, "manifest.other-name", "Two different names", detail));
    }
    check_writable(&shared, &name)?;
    let _writing = shared.writes.lock().await;
    let mut found = find(&shared, &name).await?;
    if found.is_none() {
        let (root, wanted) = (shared.parts.manifests.clone(), name.clone());
        found = blocking(move || folder::find_broken(&root, &wanted)).await?;
    }
    let Some(found) = found else {
        return write_new(&shared, &name, &bytes, &reading).await;
    };
    check_alone(&name, &found)?;
    let result = if found.bytes == bytes {
        "unchanged"
    } else {
        write(&shared, &found.file, &bytes).await?;
        "replaced"
    };
    let response = Json(outcome(&name, &found.file, result, &reading)).into_response();
    Ok(noted(response, &name, Some(&found.bytes), Some(&reading)))
}

/// Writes the manifest of a new app; answers what the audit log is to hold.
pub(super) async fn create_manifest(
    shared: &Shared,
    name: &AppName,
    bytes: &Bytes,
) -> Result<trail::Note, Problem> {
    let (_, reading) = single(bytes)?;
    let _writing = shared.writes.lock().await;
    if let Some(found) = find(shared, name).await? {
        let detail = format!("`{name}` is defined in {} already", found.file);
        return Err(Problem::conflict("manifest.duplicate-name", "The app exists", detail));
    }
    let mut response = write_new(shared, name, bytes, &reading).await?;
    response.extensions_mut().remove().ok_or_else(Problem::failed)
}

/// Takes an app's manifest out of the folder; answers what it said, and what is left.
pub(super) async fn remove_manifest(
    shared: &Shared,
    name: &AppName,
) -> Result<(Value, Value), Problem> {
    check_writable(shared, name)?;
    let _writing = shared.writes.lock().await;
    let Some(found) = find(shared, name).await? else {
        let detail = format!("no manifest in the folder defines `{name}` any more");
        return Err(Problem::conflict("container.no-manifest", "No manifest", detail));
    };
    check_alone(name, &found)?;
    let (root, file) = (shared.parts.manifests.clone(), found.file.clone());
    blocking(move || folder::remove_manifest(&root, &file))
        .await?
        .map_err(|error| read_only(&found.file, &error))?;
    rescan(shared).await;
    let mut response = noted(Response::default(), name, Some(&found.bytes), None);
    let note: Option<trail::Note> = response.extensions_mut().remove();
    Ok(note.map(|note| (note.before, note.after)).unwrap_or_default())
}

/// `DELETE /api/v1/apps/{name}`
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
) -> Result<Response, Problem> {
    check_writable(&shared, &name)?;
    let _writing = shared.writes.lock().await;
    let Some(found) = find(&shared, &name).await? else {
        return Err(Problem::no_app(name.as_str()));
    };
    check_alone(&name, &found)?;
    let (root, file) = (shared.parts.manifests.clone(), found.file.clone());
    blocking(move || folder::remove_manifest(&root, &file))
        .await?
        .map_err(|error| read_only(&found.file, &error))?;
    rescan(&shared).await;
    let response = Json(outcome(&name, &found.file, "removed", &Reading::default()));
    Ok(noted(response.into_response(), &name, Some(&found.bytes), None))
}

/// Manifests are written into the folder only. One that is in a repository is changed there.
pub(super) fn check_writable(shared: &Shared, name: &AppName) -> Result<(), Problem> {
    let Repositories { sources, has_folder, .. } = &shared.parts.repositories;
    let entry = shared.parts.record.entry(name);
    let file = entry.as_ref().and_then(|entry| Some(entry.app.as_ref()?.origin.file.as_str()));
    let home = sources.iter().map(|(place, _)| place).find(|place| {
        let prefix = place.prefix();
        file.is_some_and(|file| file.starts_with(&prefix))
    });
    let detail = match (home, file) {
        (Some(place), Some(file)) => {
            let path = file.strip_prefix(&place.prefix()).unwrap_or(file);
            format!("`{name}` is defined by {path} in {place}; change it there and push")
        }
        _ if !has_folder => {
            let places: Vec<_> = sources.iter().map(|(place, _)| place.to_string()).collect();
            let places = places.join(", ");
            format!(
                "the manifests come from {places}, into which Berth does not write; change them there and push"
            )
        }
        _ => return Ok(()),
    };
    Err(Problem::conflict("source.read-only", "The manifests can't be changed here", detail))
}

/// Reads a manifest that holds one app and no mistakes.
fn single(bytes: &[u8]) -> Result<(AppName, Reading), Problem> {
    let reading = reading::read("manifest.yaml", bytes);
    if !reading.mistakes.is_empty() {
        return Err(Problem::invalid_manifest(&reading.mistakes));
    }
    match reading.names.as_slice() {
        [name] => Ok((name.clone(), reading)),
        names => {
            let detail = format!("send one app at a time; this manifest holds {}", names.len());
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Err(Problem::new(status, "manifest.not-one-app", "Not one app", detail))
        }
    }
}

async fn find(shared: &Shared, name: &AppName) -> Result<Option<Found>, Problem> {
    let (root, wanted) = (shared.parts.manifests.clone(), name.clone());
    blocking(move || folder::find(&root, &wanted)).await?.map_err(|error| {
        let detail = format!("the manifest folder can't be read: {error}");
        Problem::unavailable("source.unreadable", "The manifests can't be read", detail)
    })
}

/// A file with several apps is a person's to edit: changing one of them would rewrite the others.
fn check_alone(name: &AppName, found: &Found) -> Result<(), Problem> {
    if found.names.len() == 1 {
        return Ok(());
    }
    let file = &found.file;
    let detail = format!("{file} defines {} apps; edit `{name}` there", found.names.len());
    Err(Problem::conflict("manifest.shared-file", "The file holds other apps", detail))
}

async fn write_new(
    shared: &Shared,
    name: &AppName,
    bytes: &Bytes,
    reading: &Reading,
) -> Result<Response, Problem> {
    let file = folder::usual_file(name);
    if shared.parts.manifests.join(&file).exists() {
        let detail = format!("{file} exists and does not define `{name}`; rename or remove it");
        return Err(Problem::conflict("manifest.file-exists", "The file exists", detail));
    }
    write(shared, &file, bytes).await?;
    let place = [(header::LOCATION, format!("/api/v1/apps/{name}"))];
    let body = Json(outcome(name, &file, "created", reading));
    let response = (StatusCode::CREATED, place, body).into_response();
    Ok(noted(response, name, None, Some(reading)))
}

/// An answer, with what was changed for the audit log.
fn noted(
    mut response: Response,
    name: &AppName,
    before: Option<&[u8]>,
    after: Option<&Reading>,
) -> Response {
    let spec = |reading: &Reading| {
        let app = reading.apps.iter().find(|app| app.name == *name);
        app.map_or(Value::Null, |app| audit::of_spec(&app.spec))
    };
    let before = before.map_or(Value::Null, |bytes| spec(&reading::read("", bytes)));
    let (before, after) = audit::differences(&before, &after.map_or(Value::Null, spec));
    let object = format!("app/{name}");
    response.extensions_mut().insert(trail::Note { object, before, after });
    response
}

async fn write(shared: &Shared, file: &str, bytes: &Bytes) -> Result<(), Problem> {
    let (root, target, content) = (shared.parts.manifests.clone(), file.to_owned(), bytes.clone());
    let written = blocking(move || folder::put_manifest(&root, &target, &content)).await?;
    written.map_err(|error| {
        read_only(file, &error).with("manifest", String::from_utf8_lossy(bytes).into())
    })?;
    rescan(shared).await;
    Ok(())
}

fn read_only(file: &str, error: &source::Error) -> Problem {
    let why = error.source().map(|source| format!(": {source}")).unwrap_or_default();
    let detail = format!("{error}{why}; change {file} where the folder comes from");
    Problem::conflict("source.read-only", "The manifests can't be changed here", detail)
}

/// Has the folder read at once. Without an answer the folder's own events do it a moment later.
async fn rescan(shared: &Shared) {
    if actions::ask(shared, Command::Rescan).await.is_err() {
        tracing::warn!("the controller did not read the changed manifests at once");
    }
}

/// Does work that waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::failed())
}

fn outcome(name: &AppName, file: &str, result: &str, reading: &Reading) -> Value {
    let warnings: Vec<_> = reading.warnings.iter().map(view::diagnostic).collect();
    let message = match result {
        "removed" => format!("{file} is removed; `{name}` will be stopped and removed"),
        "unchanged" => format!("{file} says so already"),
        _ => format!("{file} is written"),
    };
    json!({
        "name": name, "file": file, "result": result, "message": message, "warnings": warnings,
    })
}
