//! The read side: who one is, repositories, trees, histories, files.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, State},
    http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use super::{
    Answer, Base, Refused, Repo, Revision, asked, blocking,
    errors::{no_entry, no_repository, of_commit, put},
    hex, is_set, known, named, projects, refuse, store, text,
};
use crate::auth::{Denial, Kind, Mode, Needs};
use crate::server::{
    Shared,
    access::{self, Client},
    models,
    problem::Problem,
};
use crate::store::{Error, File, Files, FoundCommit, RepoFacts, Resolved, Store, repo_path};

/// How many entries a page has.
const PAGE: usize = 1000;
/// Clients of the Hub refuse to load more than this in one piece, once they know how long it is.
const KNOWN_MAX: u64 = 50_000_000_000;

/// What may be asked of these routes; what is not known is not looked at, and the last one counts.
#[derive(Debug, Default)]
pub(in super::super) struct Wish {
    blobs: Option<String>,
    recursive: Option<String>,
    expand: Option<String>,
    full: Option<String>,
    author: Option<String>,
    search: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
    security_status: Option<String>,
    require: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Wish {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut wish = Self::default();
        for pair in parts.uri.query().unwrap_or("").split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = value.replace('+', " ");
            let value = percent_decode_str(&value).decode_utf8_lossy().into_owned();
            match name {
                "blobs" => wish.blobs = Some(value),
                "recursive" => wish.recursive = Some(value),
                "expand" if value == "securityStatus" => {
                    wish.security_status = Some("true".to_owned());
                }
                "expand" => wish.expand = Some(value),
                "securityStatus" => wish.security_status = Some(value),
                "full" => wish.full = Some(value),
                "author" => wish.author = Some(value),
                "search" => wish.search = Some(value),
                "limit" => wish.limit = value.parse().ok(),
                "require" => wish.require = Some(value),
                "cursor" => wish.cursor = Some(value),
                _ => {}
            }
        }
        Ok(wish)
    }
}

/// `GET /api/whoami-v2`
pub(in super::super) async fn whoami(asker: models::Asker) -> Response {
    let who = asker.identity();
    if who.kind == Kind::Nobody {
        return access::denied(who, &Denial::SignIn);
    }
    let name = account(&asker);
    let may_write = who.may(Needs::StorePart(Mode::Write), None).is_ok();
    let orgs: Vec<_> = who.projects().unwrap_or_default();
    let orgs: Vec<_> = orgs.iter().map(|org| json!({ "type": "org", "name": org })).collect();
    Json(json!({
        "type": "user", "id": name, "name": name, "fullname": name, "email": null,
        "emailVerified": true, "isPro": false, "canPay": false, "orgs": orgs,
        "auth": { "type": "access_token", "accessToken": {
            "displayName": name, "role": if may_write { "write" } else { "read" },
            "createdAt": "1970-01-01T00:00:00.000Z",
        }},
    }))
    .into_response()
}

/// The namespace that is somebody's own.
pub(super) fn account(asker: &models::Asker) -> String {
    let who = asker.identity();
    let own =
        who.projects().and_then(|all| if all.len() == 1 { all.into_iter().next() } else { None });
    let named = match who.kind {
        Kind::Token | Kind::Session | Kind::Proxy => Some(who.name.clone()),
        _ => None,
    };
    own.or(named).filter(|name| crate::store::is_repo_name(name)).unwrap_or_else(|| "local".into())
}

/// `GET /api/models`
pub(in super::super) async fn list(
    State(shared): State<Arc<Shared>>,
    asker: models::Asker,
    wish: Wish,
    Base(base): Base,
    uri: Uri,
) -> Answer {
    let store = store(&shared).await?;
    let seen = projects(&asker);
    let search = wish.search.as_deref().unwrap_or_default().to_lowercase();
    let is_wanted = |facts: &RepoFacts| {
        let id = format!("{}/{}", facts.project, facts.app);
        seen.as_ref().is_none_or(|seen| seen.contains(&facts.project))
            && wish.author.as_ref().is_none_or(|author| *author == facts.project)
            && id.to_lowercase().contains(&search)
            && wish.cursor.as_ref().is_none_or(|cursor| *cursor < id)
    };
    let limit = wish.limit.unwrap_or(PAGE).clamp(1, PAGE);
    let mut all = store.repos().into_iter().filter(is_wanted);
    let page: Vec<_> = all.by_ref().take(limit).collect();
    let mut items = Vec::new();
    for facts in &page {
        let Ok(found) = store.hub_resolve((&facts.project, &facts.app), "main") else { continue };
        let mut item = model(facts, &found, false);
        item["downloads"] = json!(store.all_downloads_of((&facts.project, &facts.app)));
        if !is_set(wish.full.as_deref())
            && let Some(item) = item.as_object_mut()
        {
            item.remove("siblings");
        }
        items.push(item);
    }
    let next = all.next().and(page.last()).map(|last| format!("{}/{}", last.project, last.app));
    Ok(paged(Json(items).into_response(), (&base, &uri), next.as_deref()))
}

/// Says where the next page is, as a whole address: clients follow it as it is.
fn paged(mut response: Response, (base, uri): (&str, &Uri), next: Option<&str>) -> Response {
    let Some(next) = next else { return response };
    let others = uri.query().unwrap_or("").split('&');
    let others = others.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let cursor = format!("cursor={}", utf8_percent_encode(next, NON_ALPHANUMERIC));
    let query: Vec<_> = others.chain([cursor.as_str()]).collect();
    let path = uri.path().strip_prefix("/hf").unwrap_or(uri.path());
    let link = format!("<{base}{path}?{}>; rel=\"next\"", query.join("&"));
    put(&mut response, header::LINK, &link);
    response
}

/// `GET /api/models/{ns}`: repositories have two names here.
pub(in super::super) async fn unnamed() -> Refused {
    no_repository()
}

/// `GET /api/models/{ns}/{name}`
pub(in super::super) async fn info(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    wish: Wish,
) -> Answer {
    told(&shared, &repo, "main", &wish).await
}

/// `GET /api/models/{ns}/{name}/revision/{rev}`
pub(in super::super) async fn info_at(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    Revision(revision): Revision,
    wish: Wish,
) -> Answer {
    told(&shared, &repo, &revision, &wish).await
}

async fn told(shared: &Arc<Shared>, repo: &Repo, revision: &str, wish: &Wish) -> Answer {
    let store = store(shared).await?;
    let facts = store.repo_facts(repo.names()).map_err(|error| refuse(&error))?;
    let found = find(&store, repo, revision)?;
    let (has_blobs, is_asked) =
        (is_set(wish.blobs.as_deref()), is_set(wish.security_status.as_deref()));
    let told = blocking(move || {
        let mut told = model(&facts, &found, has_blobs);
        told["downloads"] = json!(store.all_downloads_of((&facts.project, &facts.app)));
        known::tell(&store, &found, is_asked, &mut told);
        Ok(told)
    });
    Ok(Json(told.await?).into_response())
}

/// Finds a commit of a repository that is there.
pub(super) fn find(store: &Store, repo: &Repo, revision: &str) -> Result<FoundCommit, Refused> {
    if !store.has_repo(repo.names()) {
        return Err(no_repository());
    }
    store.hub_resolve(repo.names(), revision).map_err(|error| refuse(&error))
}

fn model(facts: &RepoFacts, found: &FoundCommit, has_blobs: bool) -> Value {
    let id = format!("{}/{}", facts.project, facts.app);
    let sibling = |(path, file): (&String, &File)| {
        if !has_blobs {
            return json!({ "rfilename": path });
        }
        let pointer = pointer(file);
        json!({
            "rfilename": path, "size": file.size, "blobId": blob_id(&pointer),
            "lfs": { "sha256": file.sha256, "size": file.size, "pointerSize": pointer.len() },
        })
    };
    let size: u64 = found.tree.files.values().map(|file| file.size).sum();
    json!({
        "_id": found.tree.id.get(..24), "id": id, "modelId": id, "author": facts.project,
        "sha": found.tree.id, "lastModified": found.commit.date, "createdAt": facts.created,
        "private": false, "gated": false, "disabled": false, "downloads": 0, "likes": 0,
        "tags": [], "usedStorage": size,
        "siblings": found.tree.files.iter().map(sibling).collect::<Vec<_>>(),
    })
}

/// What git has in the place of a large file.
fn pointer(file: &File) -> String {
    let File { sha256, size } = file;
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n")
}

/// The name that git gives to a content.
pub(super) fn blob_id(content: impl AsRef<[u8]>) -> String {
    let content = content.as_ref();
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", content.len()));
    hasher.update(content);
    hex(&hasher.finalize())
}

fn file_entry(path: &str, file: &File) -> Value {
    let pointer = pointer(file);
    json!({
        "type": "file", "oid": blob_id(&pointer), "size": file.size, "path": path,
        "lfs": { "oid": file.sha256, "size": file.size, "pointerSize": pointer.len() },
    })
}

fn folder_entry(path: &str) -> Value {
    json!({ "type": "directory", "oid": blob_id(path), "size": 0, "path": path })
}

fn expanded(mut entry: Value, found: &FoundCommit, store: &Store) -> Value {
    let commit = &found.commit;
    entry["lastCommit"] =
        json!({ "id": found.tree.id, "title": commit.title, "date": commit.date });
    if entry["type"] == "file" {
        let path = entry["path"].as_str().unwrap_or_default();
        let file = found.tree.files.get(path);
        let report = file.and_then(|file| store.report_of(path, &file.sha256));
        entry["securityFileStatus"] = known::file_status(report.as_ref());
    }
    entry
}

/// `GET /api/models/{ns}/{name}/tree/{rev}`
pub(in super::super) async fn tree(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    Revision(revision): Revision,
    wish: Wish,
    Base(base): Base,
    uri: Uri,
) -> Answer {
    entries(&shared, (&repo, &revision, ""), &wish, (&base, &uri)).await
}

/// The rest of a path.
pub(in super::super) struct Below(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Below {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Names {
            path: String,
        }
        let Names { path } = named(parts).await?;
        Ok(Self(path))
    }
}

/// `GET /api/models/{ns}/{name}/tree/{rev}/{path}`
pub(in super::super) async fn tree_below(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    (Revision(revision), Below(path)): (Revision, Below),
    wish: Wish,
    Base(base): Base,
    uri: Uri,
) -> Answer {
    entries(&shared, (&repo, &revision, path.trim_matches('/')), &wish, (&base, &uri)).await
}

async fn entries(
    shared: &Arc<Shared>,
    (repo, revision, below): (&Repo, &str, &str),
    wish: &Wish,
    place: (&str, &Uri),
) -> Answer {
    let store = store(shared).await?;
    let found = find(&store, repo, revision)?;
    let within = if below.is_empty() { String::new() } else { format!("{below}/") };
    let is_deep = is_set(wish.recursive.as_deref());
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for (path, file) in found.tree.files.range(within.clone()..) {
        let Some(rest) = path.strip_prefix(&within) else { break };
        let parts = rest.match_indices('/').map(|(at, _)| at);
        for at in parts.take(if is_deep { usize::MAX } else { 1 }) {
            let folder = &path[..within.len() + at];
            all.entry(folder.to_owned()).or_insert_with(|| folder_entry(folder));
        }
        if is_deep || !rest.contains('/') {
            all.insert(path.clone(), file_entry(path, file));
        }
    }
    if all.is_empty() && !below.is_empty() {
        return Err(no_entry(below, &found.tree.id));
    }
    let after = wish.cursor.clone();
    let mut rest = all.into_iter().filter(|(path, _)| after.as_ref().is_none_or(|a| a < path));
    let page: Vec<_> = rest.by_ref().take(wish.limit.unwrap_or(PAGE).clamp(1, PAGE)).collect();
    let next = rest.next().and(page.last()).map(|(path, _)| path.clone());
    let is_expanded = is_set(wish.expand.as_deref());
    let items = page.into_iter().map(|(_, item)| item);
    let items: Vec<_> =
        items.map(|item| if is_expanded { expanded(item, &found, &store) } else { item }).collect();
    Ok(paged(of_commit(Json(items).into_response(), &found.tree.id), place, next.as_deref()))
}

/// `POST /api/models/{ns}/{name}/paths-info/{rev}`
pub(in super::super) async fn paths(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    Revision(revision): Revision,
    body: Body,
) -> Answer {
    let store = store(&shared).await?;
    let found = find(&store, &repo, &revision)?;
    let (asked, is_expanded) = asked_paths(&text(body).await?);
    let files = &found.tree.files;
    let mut items = Vec::new();
    for path in asked {
        let item = match files.get(&path) {
            Some(file) => file_entry(&path, file),
            None if has_folder(files, &path) => folder_entry(&path),
            None => continue,
        };
        items.push(if is_expanded { expanded(item, &found, &store) } else { item });
    }
    Ok(Json(items).into_response())
}

fn has_folder(files: &Files, path: &str) -> bool {
    let within = format!("{}/", path.trim_end_matches('/'));
    files.range(within.clone()..).next().is_some_and(|(first, _)| first.starts_with(&within))
}

/// The paths in a form, or in a document.
fn asked_paths(body: &[u8]) -> (BTreeSet<String>, bool) {
    #[derive(Deserialize)]
    struct Told {
        paths: Vec<String>,
        #[serde(default)]
        expand: bool,
    }
    if let Ok(told) = serde_json::from_slice::<Told>(body) {
        return (told.paths.into_iter().collect(), told.expand);
    }
    let text = String::from_utf8_lossy(body).replace('+', " ");
    let mut found = (BTreeSet::new(), false);
    for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = percent_decode_str(value).decode_utf8_lossy();
        match name {
            "paths" => drop(found.0.insert(value.into_owned())),
            "expand" => found.1 = is_set(Some(&value)),
            _ => {}
        }
    }
    found
}

/// `GET /api/models/{ns}/{name}/refs`
pub(in super::super) async fn refs(State(shared): State<Arc<Shared>>, repo: Repo) -> Answer {
    let store = store(&shared).await?;
    let all = store.hub_refs(repo.names()).map_err(|error| refuse(&error))?;
    let of = |is_tag: bool, kind: &str| {
        let some = all.iter().filter(move |found| found.is_tag == is_tag);
        let one = |found: &crate::store::Ref| {
            json!({
                "name": found.name, "ref": format!("refs/{kind}/{}", found.name),
                "targetCommit": found.commit,
            })
        };
        some.map(one).collect::<Vec<_>>()
    };
    let document =
        json!({ "branches": of(false, "heads"), "converts": [], "tags": of(true, "tags") });
    Ok(Json(document).into_response())
}

/// `GET /api/models/{ns}/{name}/commits/{rev}`
pub(in super::super) async fn commits(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    Revision(revision): Revision,
) -> Answer {
    let store = store(&shared).await?;
    find(&store, &repo, &revision)?;
    let all = store.hub_commits(repo.names(), &revision).map_err(|error| refuse(&error))?;
    let one = |commit: &crate::store::Commit| {
        json!({
            "id": commit.id, "title": commit.title, "message": commit.message,
            "authors": [{ "user": commit.author }], "date": commit.date,
        })
    };
    Ok(Json(all.iter().map(one).collect::<Vec<_>>()).into_response())
}

/// `GET /api/models/{ns}/{name}/auth-check`
pub(in super::super) async fn auth_check(State(shared): State<Arc<Shared>>, repo: Repo) -> Answer {
    let store = store(&shared).await?;
    if store.has_repo(repo.names()) { Ok("OK".into_response()) } else { Err(no_repository()) }
}

/// `GET` and `HEAD /{ns}/{name}/resolve/{rev}/{path}`
pub(in super::super) async fn download(
    State(shared): State<Arc<Shared>>,
    repo: Repo,
    (Revision(revision), Below(path)): (Revision, Below),
    (wish, client): (Wish, Client),
    method: Method,
    headers: HeaderMap,
) -> Answer {
    let store = store(&shared).await?;
    let found = find(&store, &repo, &revision)?;
    let absent = || no_entry(&path, &found.tree.id);
    let composed = repo_path(&path).map_err(|_| absent())?;
    let file = found.tree.files.get(&composed).ok_or_else(absent)?;
    let entry = store.hub_file(repo.names(), (&revision, &composed), file);
    let entry = entry.map_err(|error| match error {
        Error::NotFound(_) => absent(),
        error => refuse(&error),
    })?;
    models::check_safe(&entry, wish.require.as_deref())?;
    let resolved = Resolved { entry, is_other: false };
    let is_head = method == Method::HEAD;
    let sent = models::send(store, resolved, &client, &method, &headers).await;
    let mut response = match sent {
        Ok(response) => response,
        Err(refused) => refused.into_response(),
    };
    if response.status().is_success() {
        put(&mut response, header::CONTENT_DISPOSITION, &disposition(&composed));
        if is_head && KNOWN_MAX < file.size && is_new_client(&headers) {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
    }
    if response.status() != StatusCode::NOT_MODIFIED {
        put(&mut response, header::ACCEPT_RANGES, "bytes");
    }
    Ok(of_commit(response, &found.tree.id))
}

/// Whether a client loads what it does not know the length of: those from 1.0 on.
fn is_new_client(headers: &HeaderMap) -> bool {
    let agent = asked(headers, "user-agent").unwrap_or_default();
    let version = agent.split_once("hf_hub/").map(|(_, rest)| rest);
    let major = version.and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    major.is_some_and(|major| 1 <= major)
}

fn disposition(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC);
    format!("inline; filename*=UTF-8''{encoded}")
}
