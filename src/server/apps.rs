//! Apps: what is known about them, and their manifests.

mod text;

use std::{error::Error as _, sync::Arc};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use text::{masked, replace, unmasked, written};

use super::{
    Shared, actions,
    dry::{self, Dry},
    etag,
    folder::{self, Found},
    form, leaving, listed,
    paging::{self, Page},
    problem::Problem,
    reading::{self, Reading},
    request::{self, Asked, Named},
    selector, trail, view,
};
use crate::audit;
use crate::forge::Repositories;
use crate::manifest::edit;
use crate::model::AppName;
use crate::plan::{Plan, plan_id, plans_id};
use crate::record::{Command, Supposed};
use crate::source;

/// Which apps are asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Query {
    /// How many; at most 1000. Default: all.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// The name that was seen last; `Link` of the page before says it.
    #[serde(rename = "continue")]
    after: Option<String>,
    /// Labels that they have: `team=vision,tier!=1,gpu,!old`.
    label_selector: Option<String>,
    /// Phases that they are in, with commas between.
    phase: Option<String>,
}

impl Query {
    /// Whether nothing is left out.
    fn is_for_all(&self) -> bool {
        let Self { limit, after, label_selector, phase } = self;
        limit.is_none() && after.is_none() && label_selector.is_none() && phase.is_none()
    }
}

/// What is expected of a change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Expected {
    /// The id of the plan that was looked at: refuse when another one would come of it by now.
    expect_plan: Option<String>,
}

/// `GET /api/v1/apps`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let record = &shared.parts.record;
    if query.is_for_all() {
        // Many ask for it again and again: it is written once.
        let kind = [(header::CONTENT_TYPE, "application/json")];
        let (tag, bytes) = shared.listed.list(record, &shared.boot);
        return Ok(etag::answer_with(&headers, &tag, || (kind, bytes)));
    }
    let (mut entries, revision, _) = record.subscribe();
    let overview = record.overview();
    let labels = selector::labels(query.label_selector.as_deref().unwrap_or(""))?;
    let phases = query.phase.as_deref().map(selector::phases).transpose()?;
    entries.retain(|entry| {
        let own = entry.app.as_ref().map(|app| &app.labels);
        labels.iter().all(|wanted| wanted.admits(own))
            && phases.as_ref().is_none_or(|phases| phases.contains(&entry.status.phase))
    });
    let page = Page { limit: query.limit, after: query.after };
    let (entries, next) = page.cut(entries, |entry| entry.name.to_string())?;
    let tag = listed::tag(&shared.boot, revision, &overview);
    let response = etag::answer(&headers, &tag, || {
        let mut list = view::apps(entries.iter().map(AsRef::as_ref), revision, &overview);
        if let Some(next) = &next {
            list["metadata"]["continue"] = json!(next);
        }
        list
    });
    Ok((paging::link(&uri, next.as_deref()), response).into_response())
}

/// `GET /api/v1/apps/{name}`
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let entry = shared.parts.record.entry(&name).ok_or_else(|| Problem::no_app(name.as_str()))?;
    let mut document = view::app(&entry);
    if let Some(usage) = shared.parts.usage.now(&name) {
        document["status"]["usage"] = json!(usage);
    }
    let manifest = etag::of_app(&shared, &entry).await;
    let tag = format!("{manifest}.{}", etag::of_bytes(document.to_string().as_bytes()));
    Ok(etag::answer(&headers, &tag, || document))
}

/// `POST /api/v1/apps`
pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Dry(is_dry): Dry,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = form::read(&headers, body).await?;
    let (name, reading) = single(&bytes)?;
    let with_text =
        |problem: Problem| problem.with("manifest", String::from_utf8_lossy(&bytes).into());
    check_writable(&shared, &name).map_err(with_text)?;
    let _writing = shared.writes.lock().await;
    if let Some(found) = find(&shared, &name).await? {
        let detail = format!(
            "`{name}` is defined in {} already; `PUT /api/v1/apps/{name}` (`berth apply`) replaces it",
            found.file
        );
        return Err(Problem::conflict("manifest.duplicate-name", "The app exists", detail));
    }
    let change = Change { name: &name, found: None, bytes: &bytes, reading: &reading };
    change.make(&shared, is_dry.then_some(&headers)).await
}

/// `PUT /api/v1/apps/{name}`
pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
    Dry(is_dry): Dry,
    Asked(expected): Asked<Expected>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let sent = request::manifest(&headers, body).await?;
    let (named, _) = single(&sent)?;
    check_name(&name, &named)?;
    check_writable(&shared, &name)?;
    let _writing = shared.writes.lock().await;
    let mut found = find(&shared, &name).await?;
    if found.is_none() {
        let (root, wanted) = (shared.parts.manifests.clone(), name.clone());
        found = blocking(move || folder::find_broken(&root, &wanted)).await?;
    }
    etag::check(&headers, &name, found.as_ref())?;
    if let Some(found) = &found {
        check_alone(&name, found)?;
    }
    let bytes = found.as_ref().map_or_else(|| sent.clone(), |found| merged(found, &sent));
    let (_, reading) = single(&bytes)?;
    if let Some(id) = &expected.expect_plan {
        check_plan(&shared, found.as_ref(), &reading, id).await?;
    }
    let change = Change { name: &name, found: found.as_ref(), bytes: &bytes, reading: &reading };
    change.make(&shared, is_dry.then_some(&headers)).await
}

/// `PATCH /api/v1/apps/{name}`: a JSON merge patch (RFC 7396) of the manifest as it is written.
pub(super) async fn patch(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
    Dry(is_dry): Dry,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if !["application/merge-patch+json", "application/json"]
        .contains(&request::kind(&headers).as_str())
    {
        let detail = "send a JSON merge patch with `Content-Type: application/merge-patch+json`";
        return Err(request::wrong_kind("Not a merge patch", detail));
    }
    let sent = request::bytes(body).await?;
    let patch: Value = serde_json::from_slice(&sent)
        .map_err(|error| Problem::bad_request(format!("the patch is not JSON: {error}")))?;
    check_writable(&shared, &name)?;
    let _writing = shared.writes.lock().await;
    let found = find(&shared, &name).await?.ok_or_else(|| Problem::no_app(name.as_str()))?;
    etag::check(&headers, &name, Some(&found))?;
    check_alone(&name, &found)?;
    let wrong = |error: edit::Error| {
        let detail = format!("{}: {error}; replace it with `PUT`", found.file);
        Problem::conflict("manifest.not-editable", "It can't be changed in place", detail)
    };
    let mut wanted = edit::read(&found.bytes).map_err(wrong)?;
    edit::merge(&mut wanted, &patch);
    let edited = edit::edit(&found.bytes, &wanted).map_err(wrong)?;
    let bytes = Bytes::from(edited.text);
    let (named, reading) = single(&bytes)?;
    check_name(&name, &named)?;
    let change = Change { name: &name, found: Some(&found), bytes: &bytes, reading: &reading };
    change.make(&shared, is_dry.then_some(&headers)).await
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
    let mut response = write_new(shared, name, bytes, (&reading, None)).await?;
    response.extensions_mut().remove().ok_or_else(Problem::failed)
}

/// Takes an app's manifest out of the folder; answers what it said, and what is left.
pub(super) async fn remove_manifest(
    shared: &Shared,
    name: &AppName,
) -> Result<(Value, Value), Problem> {
    let _writing = shared.writes.lock().await;
    let found = check_removable(shared, name).await?;
    erase(shared, &found).await?;
    let mut response = noted(Response::default(), name, Some(&found.bytes), None);
    let note: Option<trail::Note> = response.extensions_mut().remove();
    Ok(note.map(|note| (note.before, note.after)).unwrap_or_default())
}

/// The manifest of an app, if it can be taken out of the folder.
pub(super) async fn check_removable(shared: &Shared, name: &AppName) -> Result<Found, Problem> {
    check_writable(shared, name)?;
    let Some(found) = find(shared, name).await? else {
        let detail = format!("no manifest in the folder defines `{name}` any more");
        return Err(Problem::conflict("container.no-manifest", "No manifest", detail));
    };
    check_alone(name, &found)?;
    Ok(found)
}

async fn erase(shared: &Shared, found: &Found) -> Result<(), Problem> {
    let (root, file) = (shared.parts.manifests.clone(), found.file.clone());
    blocking(move || folder::remove_manifest(&root, &file))
        .await?
        .map_err(|error| read_only(&found.file, &error))?;
    rescan(shared).await;
    Ok(())
}

/// `DELETE /api/v1/apps/{name}`
pub(super) async fn delete(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
    Dry(is_dry): Dry,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let keeps = leaving::keeps(uri.query())?;
    check_writable(&shared, &name)?;
    let writing = shared.writes.lock().await;
    let found = find(&shared, &name).await?;
    etag::check(&headers, &name, found.as_ref())?;
    let found = found.ok_or_else(|| Problem::no_app(name.as_str()))?;
    check_alone(&name, &found)?;
    if is_dry {
        let mut more = would(&name, &found.file, "removed", &Reading::default());
        if !keeps {
            let message = format!("{} and the workspace of `{name}` would be removed", found.file);
            more["message"] = message.into();
        }
        return dry::answer(&shared, &headers, Supposed::Removed(name), &more).await;
    }
    erase(&shared, &found).await?;
    let mut said = outcome(&name, &found.file, "removed", &Reading::default());
    drop(writing);
    if !keeps {
        let had_one = leaving::take_workspace(&shared, &name).await?;
        let workspace = if had_one { "so is its workspace" } else { "it had no workspace" };
        said["message"] =
            format!("{} is removed and `{name}` is gone; {workspace}", found.file).into();
    }
    let response = Json(said);
    Ok(noted(response.into_response(), &name, Some(&found.bytes), None))
}

/// A manifest that is to be written, while the folder is held.
struct Change<'a> {
    name: &'a AppName,
    /// The file that defines the app; none is a new one.
    found: Option<&'a Found>,
    bytes: &'a Bytes,
    reading: &'a Reading,
}

impl Change<'_> {
    /// Writes it; for `dry` headers says what would come of it.
    async fn make(&self, shared: &Shared, dry: Option<&HeaderMap>) -> Result<Response, Problem> {
        let Self { name, found, bytes, reading } = *self;
        let Some(found) = found else {
            return write_new(shared, name, bytes, (reading, dry)).await;
        };
        let is_same = found.bytes == *bytes;
        let result = if is_same { "unchanged" } else { "replaced" };
        if let Some(headers) = dry {
            let file = (name, found.file.as_str());
            return suppose(shared, headers, file, (result, reading), Some(found)).await;
        }
        if !is_same {
            write(shared, &found.file, bytes).await?;
        }
        let tag = [(header::ETAG, etag::quoted(&etag::of_bytes(bytes)))];
        let body = Json(outcome(name, &found.file, result, reading));
        let response = (tag, body).into_response();
        Ok(noted(response, name, Some(&found.bytes), Some(reading)))
    }
}

/// Refuses when another plan would come of a manifest than the one that was looked at.
async fn check_plan(
    shared: &Shared,
    found: Option<&Found>,
    reading: &Reading,
    id: &str,
) -> Result<(), Problem> {
    let app = reading.apps.first().cloned().ok_or_else(Problem::failed)?;
    let (_, plans) = dry::plans(shared, Supposed::Manifest(app)).await?;
    let now = change_id(found, &plans);
    if now == id {
        return Ok(());
    }
    let detail = format!("the plan is not {id} any more but {now}: look at it again");
    Err(Problem::conflict("plan.stale", "Another plan by now", detail))
}

/// What a change is called: by what would be done, and by the manifest that it would replace.
fn change_id(found: Option<&Found>, plans: &[Plan]) -> String {
    let written = found.map(|found| etag::of_bytes(&found.bytes)).unwrap_or_default();
    let ids: Vec<_> = plans.iter().map(plan_id).chain([written]).collect();
    plans_id(&ids)
}

/// What would come of a manifest.
async fn suppose(
    shared: &Shared,
    headers: &HeaderMap,
    (name, file): (&AppName, &str),
    (result, reading): (&str, &Reading),
    found: Option<&Found>,
) -> Result<Response, Problem> {
    let app = reading.apps.first().cloned().ok_or_else(Problem::failed)?;
    let mut more = would(name, file, result, reading);
    let entry = shared.parts.record.entry(name);
    if let Some(before) = entry.as_ref().and_then(|entry| entry.app.as_deref()) {
        more["before"] = view::spec(&before.spec);
    }
    more["after"] = view::spec(&app.spec);
    let (told, plans) = dry::plans(shared, Supposed::Manifest(app)).await?;
    more["id"] = change_id(found, &plans).into();
    Ok(dry::shown(headers, &told, &plans, &more))
}

/// What is written for a manifest that replaces another: the old text, changed where it means
/// something else, unless the new one has comments of its own. A value that was not shown to
/// whoever sends it stays what it is.
fn merged(found: &Found, sent: &Bytes) -> Bytes {
    let Ok(mut wanted) = edit::read(sent) else { return sent.clone() };
    if let Ok(have) = edit::read(&found.bytes) {
        for place in text::HIDDEN_PLACES {
            keep_hidden(wanted.pointer_mut(place), have.pointer(place));
        }
    }
    let base = if edit::has_comments(sent) { sent } else { found.bytes.as_slice() };
    edit::edit(base, &wanted).map_or_else(|_| sent.clone(), |edited| edited.text.into())
}

fn keep_hidden(wanted: Option<&mut Value>, have: Option<&Value>) {
    let (Some(Value::Object(wanted)), Some(have)) = (wanted, have) else { return };
    for (name, value) in wanted {
        if value == view::HIDDEN
            && let Some(known) = have.get(name)
        {
            *value = known.clone();
        }
    }
}

fn check_name(path: &AppName, named: &AppName) -> Result<(), Problem> {
    if path == named {
        return Ok(());
    }
    let detail = format!("the path says `{path}`, the manifest says `{named}`");
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Err(Problem::new(status, "manifest.other-name", "Two different names", detail))
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
    (reading, dry): (&Reading, Option<&HeaderMap>),
) -> Result<Response, Problem> {
    let file = folder::usual_file(name);
    if shared.parts.manifests.join(&file).exists() {
        let detail = format!("{file} exists and does not define `{name}`; rename or remove it");
        return Err(Problem::conflict("manifest.file-exists", "The file exists", detail));
    }
    if let Some(headers) = dry {
        return suppose(shared, headers, (name, &file), ("created", reading), None).await;
    }
    write(shared, &file, bytes).await?;
    let tag = [(header::ETAG, etag::quoted(&etag::of_bytes(bytes)))];
    let place = (tag, [(header::LOCATION, format!("/api/v1/apps/{name}"))]);
    let body = Json(outcome(name, &file, "created", reading));
    let response = (StatusCode::CREATED, place.0, place.1, body).into_response();
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

/// The same of what would be.
fn would(name: &AppName, file: &str, result: &str, reading: &Reading) -> Value {
    let mut said = outcome(name, file, result, reading);
    let message = match result {
        "removed" => format!("{file} would be removed"),
        "unchanged" => format!("{file} says so already"),
        _ => format!("{file} would be written"),
    };
    said["message"] = message.into();
    said
}
