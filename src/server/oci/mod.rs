//! The model store as clients of OCI registries know it, for reading: every version is an artifact,
//! and one with a GGUF file is a model that Ollama loads.
//!
//! # Guarantees
//! - Nothing is stored for it: layers are the contents as they lie there, manifests are made of them.
//! - The same files have the same manifest, to the byte, whenever and wherever it is made.
//! - What a download refuses, a blob refuses.

mod errors;
mod kinds;
mod known;
mod ollama;
mod pack;
mod version;

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;

pub(super) use errors::document as refusal;
pub(super) use known::Known;
pub(super) use ollama::MANIFEST as OLLAMA;
pub(super) use pack::MANIFEST as PACKED;

use super::{
    Shared,
    access::{self, Client},
    models::{self, Answer, Asker, Named, Refused, Verb},
    paging,
    problem::Problem,
    request::Asked,
};
use crate::auth::{Denial, Kind};
use crate::model::Digest;
use crate::store::{Entry, Error, Query, Resolved, Store, View};
use known::{Artifact, Document};
use version::Version;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const CHECKSUM: &str = "x-checksum-sha256";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// How many names a page has at most.
const PAGE: usize = 1000;
const TITLE: &str = "The model store refuses";

/// Which part of a list is wanted.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
pub(super) struct Wish {
    /// How many.
    #[schemars(default)]
    n: Option<usize>,
    /// What was seen last.
    #[schemars(default)]
    last: Option<String>,
}

/// The repository of a path.
type Names = (String, String);

/// `GET /v2`
pub(super) async fn base() -> Response {
    Json(json!({})).into_response()
}

/// `GET /v2/_catalog`
pub(super) async fn catalog(
    State(shared): State<Arc<Shared>>,
    asker: Asker,
    Asked(wish): Asked<Wish>,
    uri: Uri,
) -> Answer {
    let store = models::store_of(&shared).await?;
    let projects = asker.identity().projects();
    let all = blocking(move || Ok(version::repositories(&store, projects))).await?;
    let names = all.into_iter().map(|(project, app)| format!("{project}/{app}"));
    let mut names: Vec<_> = names.collect();
    names.sort();
    let (page, link) = cut(names, &wish, &uri);
    Ok((link, Json(json!({ "repositories": page }))).into_response())
}

/// `GET /v2/{project}/{app}/tags/list`
pub(super) async fn tags(
    State(shared): State<Arc<Shared>>,
    asker: Asker,
    Named(names): Named<Names>,
    Asked(wish): Asked<Wish>,
    uri: Uri,
) -> Answer {
    let store = models::store_of(&shared).await?;
    let called = format!("{}/{}", names.0, names.1);
    let (project, app) = repository(&store, names, &asker).await?;
    let all = blocking(move || Ok(version::tags(&store, (&project, &app)))).await?;
    let (page, link) = cut(all.into_iter().collect(), &wish, &uri);
    Ok((link, Json(json!({ "name": called, "tags": page }))).into_response())
}

/// A page of a list that is in its order, and where the next one is.
fn cut(all: Vec<String>, wish: &Wish, uri: &Uri) -> (Vec<String>, HeaderMap) {
    let is_new = |name: &String| wish.last.as_ref().is_none_or(|last| last < name);
    let mut rest = all.into_iter().filter(is_new);
    let page: Vec<_> = rest.by_ref().take(wish.n.unwrap_or(PAGE).min(PAGE)).collect();
    let next = rest.next().and(page.last());
    let link = paging::link_with(uri, "last", next.map(String::as_str));
    (page, link)
}

/// `GET` and `HEAD /v2/{project}/{app}/manifests/{reference}`
pub(super) async fn manifest(
    State(shared): State<Arc<Shared>>,
    asker: Asker,
    Named((project, app, reference)): Named<(String, String, String)>,
    headers: HeaderMap,
) -> Answer {
    let store = models::store_of(&shared).await?;
    let (project, app) = repository(&store, (project, app), &asker).await?;
    let form = Form::asked(&headers);
    if let Some(text) = reference.strip_prefix("sha256:") {
        let digest = digest(text, "model.digest")?;
        let found =
            blocking(move || Ok(document(&shared, &store, (&project, &app), &digest))).await?;
        return Ok(sent(&found.ok_or_else(|| unknown("no manifest has this digest"))?));
    }
    if !kinds::is_tag(&reference) {
        return Err(unknown(format!("`{reference}` can't be a tag")));
    }
    let made = blocking(move || {
        let repo = (project.as_str(), app.as_str());
        let (view, wanted) = meant(&store, repo, &reference, form)?;
        if form == Form::Loader {
            let version = Version::of(&store, repo.1, &view);
            return Ok(ollama::file(&version, wanted.as_deref()).map(|told| {
                let text = told.to_string();
                Document {
                    digest: Digest::of_bytes(text.as_bytes()),
                    bytes: text.into(),
                    kind: "application/json",
                }
            }));
        }
        let made = artifact(&shared, &store, repo, &view, (form, wanted));
        Ok(made.map(|artifact| artifact.manifest.clone()))
    });
    Ok(sent(&made.await?.map_err(unknown)?))
}

/// The version that a tag means. Where Ollama asks, the tag may be a precision of the latest one.
fn meant(
    store: &Store,
    repo: (&str, &str),
    tag: &str,
    form: Form,
) -> Result<(View, Option<String>), Error> {
    match version::find(store, repo, tag) {
        Err(Error::Nothing(_)) if form != Form::Pack => {
            Ok((version::find(store, repo, "latest")?, Some(tag.to_owned())))
        }
        found => Ok((found?, None)),
    }
}

/// What a client makes of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// An artifact with all files.
    Pack,
    /// A model for Ollama.
    Ollama,
    /// Only the name of a file, for llama.cpp.
    Loader,
}

impl Form {
    fn asked(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let accepted = lines.collect::<Vec<_>>().join(",");
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let agent = agent.unwrap_or_default();
        let takes = |kind: &str| accepted.contains(kind);
        if agent.starts_with("llama-cpp") {
            return Self::Loader;
        }
        let is_old = takes(ollama::MANIFEST) && !takes("vnd.oci.image") && !takes("*/*");
        if is_old || agent.starts_with("ollama/") { Self::Ollama } else { Self::Pack }
    }
}

/// The artifact of a version, made once; or why there is none.
fn artifact(
    shared: &Shared,
    store: &Arc<Store>,
    (project, app): (&str, &str),
    view: &View,
    (form, wanted): (Form, Option<String>),
) -> Result<Arc<Artifact>, &'static str> {
    let kind = format!("{form:?}:{}", wanted.as_deref().unwrap_or_default());
    let names = (project.to_owned(), app.to_owned());
    let made = (names.0, names.1, view.version.clone(), kind, view.digest.clone());
    if let Some(known) = shared.registry.get(&made) {
        return Ok(known);
    }
    let version = Version::of(store, app, view);
    let artifact = match form {
        Form::Pack => pack::artifact(&version),
        _ => ollama::artifact(&version, wanted.as_deref())?,
    };
    let artifact = Arc::new(artifact);
    shared.registry.keep(made, &artifact);
    Ok(artifact)
}

/// One of the documents of a repository: of those that were made, or of its versions as they are.
fn document(
    shared: &Shared,
    store: &Arc<Store>,
    repo: (&str, &str),
    digest: &Digest,
) -> Option<Document> {
    if let Some(found) = shared.registry.find(repo, digest) {
        return Some(found);
    }
    for name in version::names(store, repo) {
        // One that is being read, or of which only a part came, has none.
        let Ok(view) = version::find(store, repo, &name) else { continue };
        for form in [Form::Pack, Form::Ollama] {
            let made = artifact(shared, store, repo, &view, (form, None));
            if let Some(found) = made.ok().and_then(|made| made.document(digest).cloned()) {
                return Some(found);
            }
        }
    }
    None
}

fn sent(document: &Document) -> Response {
    let mut response = Response::new(Body::from(document.bytes.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(document.kind));
    headers.insert(header::CONTENT_LENGTH, document.bytes.len().into());
    named(headers, &document.digest);
    response
}

/// Says what the digest is.
fn named(headers: &mut HeaderMap, digest: &Digest) {
    let text = format!("sha256:{digest}");
    for (name, text) in [(header::ETAG, format!("\"{text}\"")), (DIGEST, text)] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
}

/// `GET` and `HEAD /v2/{project}/{app}/blobs/{digest}`
pub(super) async fn blob(
    State(shared): State<Arc<Shared>>,
    asker: Asker,
    Named((project, app, text)): Named<(String, String, String)>,
    client: Client,
    (method, uri): (Method, Uri),
    headers: HeaderMap,
) -> Answer {
    let store = models::store_of(&shared).await?;
    let (project, app) = repository(&store, (project, app), &asker).await?;
    let digest = digest(text.strip_prefix("sha256:").unwrap_or_default(), "model.digest")?;
    let absent = || unknown(format!("nothing here has the digest sha256:{digest}"));
    if let Some(entry) = content(&store, (&project, &app), &digest) {
        let found = Resolved { entry, is_other: false };
        let mut response = models::send(store, found, &client, &method, &headers).await?;
        let told = response.headers().get(CHECKSUM).and_then(|told| told.to_str().ok());
        // A file that others have changed is another content by now.
        if told != Some(digest.as_str()) {
            return Err(absent());
        }
        let is_whole = response.status() == StatusCode::OK;
        named(response.headers_mut(), &digest);
        // Ollama asks where it was sent to, and was not.
        if let Ok(own) = HeaderValue::from_str(uri.path())
            && is_whole
        {
            response.headers_mut().insert(header::LOCATION, own);
        }
        return Ok(response);
    }
    let wanted = digest.clone();
    let made = blocking(move || Ok(document(&shared, &store, (&project, &app), &wanted))).await?;
    Ok(sent(&made.ok_or_else(absent)?))
}

/// A model of a repository with this content; one that is given, if there is any.
fn content(store: &Store, (project, app): (&str, &str), digest: &Digest) -> Option<Arc<Entry>> {
    let (project, app) = (Some(project.to_owned()), Some(app.to_owned()));
    let mut all = store.list(&Query { project, app, ..Query::default() }).entries;
    all.retain(|entry| entry.sha256.as_ref() == Some(digest));
    let given = all.iter().find(|entry| store.check_served(entry).is_ok());
    given.or(all.first()).cloned()
}

/// `GET /v2/{project}/{app}/referrers/{digest}`: nothing refers to anything here.
pub(super) async fn referrers(
    State(shared): State<Arc<Shared>>,
    asker: Asker,
    Named((project, app, text)): Named<(String, String, String)>,
) -> Answer {
    let store = models::store_of(&shared).await?;
    repository(&store, (project, app), &asker).await?;
    digest(text.strip_prefix("sha256:").unwrap_or_default(), "model.digest")?;
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] });
    Ok(([(header::CONTENT_TYPE, INDEX)], index.to_string()).into_response())
}

/// The repository that is named, if this one may read it. Others are as if they were not there.
async fn repository(
    store: &Arc<Store>,
    (project, app): Names,
    asker: &Asker,
) -> Result<Names, Refused> {
    let (store, projects) = (Arc::clone(store), asker.identity().projects());
    let called = format!("{project}/{app}");
    let found =
        blocking(move || Ok(version::repository(&store, (&project, &app), projects))).await?;
    found.ok_or_else(|| {
        // Who signs in may see more, and clients do so only when they are asked to.
        if asker.identity().kind == Kind::Nobody {
            return access::denied(asker.identity(), &Denial::SignIn).into();
        }
        let detail = format!("no repository is called `{called}`");
        Problem::new(StatusCode::NOT_FOUND, "model.repository", TITLE, detail).into()
    })
}

fn digest(text: &str, code: &'static str) -> Result<Digest, Refused> {
    let wrong = || {
        let detail = "a digest is `sha256:` and 64 hexadecimal digits";
        Problem::new(StatusCode::BAD_REQUEST, code, TITLE, detail).into()
    };
    Digest::parse(text).ok_or_else(wrong)
}

fn unknown(detail: impl Into<String>) -> Refused {
    Problem::new(StatusCode::NOT_FOUND, "model.nothing", TITLE, detail).into()
}

/// What changes something: models are stored by other routes.
pub(super) fn unsupported(method: &Method) -> Problem {
    let detail = format!(
        "{method} is not taken here: this registry only reads; store models by PUT /models/…, `berth models push` or the Hub's protocol"
    );
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "request.method", "Only for reading", detail)
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| Verb::Read.refuse(&error)),
        Err(_) => Err(Problem::failed().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_is_known_by_what_it_takes() {
        let of = |accept: &str, agent: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            headers.insert(header::USER_AGENT, agent.parse().unwrap());
            Form::asked(&headers)
        };
        let both = format!("{}, {}", ollama::MANIFEST, PACKED);
        assert_eq!(of(&both, "skopeo/1.9"), Form::Pack);
        assert_eq!(of("*/*", "curl/8"), Form::Pack);
        assert_eq!(of(ollama::MANIFEST, "ollama/0.12 (amd64 linux) Go/go1.24"), Form::Ollama);
        assert_eq!(of(ollama::MANIFEST, "x"), Form::Ollama);
        assert_eq!(of("application/json", "llama-cpp"), Form::Loader);
        assert_eq!(Form::asked(&HeaderMap::new()), Form::Pack);
    }
}
