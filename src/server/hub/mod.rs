//! The model store as clients of the Hugging Face Hub know it, at the root and below `/hf`.

mod errors;
mod known;
mod lfs;
mod lines;
mod links;
mod read;
mod settings;
mod tensors;
mod write;
mod xet;

use std::{fmt::Write as _, sync::Arc};

pub(super) use lfs::{batch, join, part, put, verify};
pub(super) use links::Links;
pub(super) use read::{
    auth_check, commits, download, info, info_at, list, paths, refs, tree, tree_below, unnamed,
    whoami,
};
pub(super) use settings::{
    change, create, delete, make_branch, make_tag, remove_branch, remove_tag, rename, validate,
};
pub(super) use tensors::tensors;
pub(super) use write::{commit, preupload};
pub(super) use xet::{grant, nothing, shard, shard_told, telemetry, write_token, xorb};

use axum::{
    body::Body,
    extract::{FromRequestParts, Path},
    http::{HeaderMap, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{Shared, access::Client, models, problem::Problem};
use crate::store::Store;
use errors::{Answer, Refused, bad, refuse};

/// How much a document that is sent may have.
const BODY_MAX: usize = 8 << 20;

/// Where this Berth is, as the client sees it.
pub(super) struct Base(String);

impl<S: Send + Sync> FromRequestParts<S> for Base {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let client = parts.extensions.get::<Client>().ok_or_else(Problem::failed)?;
        let scheme = if client.is_tls { "https" } else { "http" };
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.unwrap_or("localhost");
        let below = if parts.uri.path().starts_with("/hf/") { "/hf" } else { "" };
        Ok(Self(format!("{scheme}://{host}{below}")))
    }
}

/// The store; the first request opens it.
async fn store(shared: &Arc<Shared>) -> Result<Arc<Store>, Refused> {
    let depot = Arc::clone(&shared.parts.models);
    crate::store::Figures::add(&depot.figures().requests, 1);
    if let Some(store) = depot.opened() {
        return Ok(Arc::clone(store));
    }
    blocking(move || depot.store().map(Arc::clone)).await
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::store::Error> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| refuse(&error)),
        Err(_) => Err(Problem::failed().into()),
    }
}

/// Reads a document that is sent, as JSON.
async fn document<T: DeserializeOwned>(body: Body) -> Result<T, Refused> {
    let bytes = text(body).await?;
    serde_json::from_slice(&bytes).map_err(|error| bad(format!("the body can't be read: {error}")))
}

async fn text(body: Body) -> Result<axum::body::Bytes, Refused> {
    let reading = axum::body::to_bytes(body, BODY_MAX);
    match tokio::time::timeout(models::PATIENCE, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        _ => Err(bad("the body did not come, or is too large")),
    }
}

/// A flag of a query, as old and new clients write it.
fn is_set(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}

/// The projects whose contents somebody may use; none is every one.
fn projects(asker: &models::Asker) -> Option<Vec<String>> {
    asker.identity().projects()
}

/// Two names in a path, and what else is in it.
async fn named<T: DeserializeOwned + Send>(parts: &mut Parts) -> Result<T, Problem> {
    let path = Path::<T>::from_request_parts(parts, &()).await;
    path.map(|Path(names)| names).map_err(|_| Problem::no_route(parts.uri.path()))
}

/// The repository of a path.
pub(super) struct Repo {
    ns: String,
    name: String,
}

impl Repo {
    fn names(&self) -> (&str, &str) {
        (&self.ns, &self.name)
    }

    fn id(&self) -> String {
        format!("{}/{}", self.ns, self.name)
    }
}

/// First parts of paths that are something else: nothing below them is a repository.
const RESERVED: [&str; 17] = [
    "api",
    "blobs",
    "containers",
    "datasets",
    "health",
    "hf",
    "livez",
    "metrics",
    "models",
    "ports",
    "readyz",
    "sd",
    "spaces",
    "system",
    "ui",
    "v2",
    "xet",
];

impl<S: Send + Sync> FromRequestParts<S> for Repo {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        #[derive(serde::Deserialize)]
        struct Names {
            ns: String,
            name: String,
        }
        let Names { ns, name } = named(parts).await?;
        if RESERVED.contains(&ns.as_str()) {
            return Err(errors::no_repository());
        }
        let name = name.strip_suffix(".git").map(ToOwned::to_owned).unwrap_or(name);
        Ok(Self { ns, name })
    }
}

/// The revision of a path.
pub(super) struct Revision(String);

impl<S: Send + Sync> FromRequestParts<S> for Revision {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        #[derive(serde::Deserialize)]
        struct Names {
            rev: String,
        }
        let Names { rev } = named(parts).await?;
        Ok(Self(rev))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A header that a client asked with.
fn asked<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
