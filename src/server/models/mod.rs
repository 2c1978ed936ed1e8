//! The model store, as programs that store and load models know it: the paths, documents and errors
//! of the server that it takes the place of, and what that one had not.

mod aliases;
mod blocks;
mod body;
mod care;
mod download;
mod fields;
mod list;
mod own;
mod pull;
mod range;
mod refusal;
mod tried;
mod upload;
mod uploads;
mod used;

use std::sync::Arc;

pub(super) use aliases::{alias, aliases, freeze, remove_alias, set_alias};
pub(super) use care::{health, inspected, inspection, verify};
pub(super) use download::{blob, check_safe, download, info, send};
pub(super) use list::{all, of_app, of_project, of_version, place};
pub(super) use own::{SweepWish, gc, restore, trash};
pub(super) use pull::{Pull, pull, pulls};
pub(super) use refusal::{Refused, Verb};
pub(super) use tried::namers;
pub(super) use upload::{
    PATIENCE, broken, delete, linger, patient, put, receive_body, seat, upload,
};
pub(super) use uploads::{
    abilities, add as add_part, all as all_uploads, begin as begin_upload, end as end_upload,
    look as look_at_upload,
};
pub(super) use used::{Wish, check_all, check_moved, users};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::{Shared, access, problem::Problem};
use crate::auth::{Identity, Mode, Needs};
use crate::store::{Error, Store};

/// Who asks, and from where.
pub(super) struct Asker(pub(super) Identity, pub(super) access::Client);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let client = access::Client::from_request_parts(parts, &()).await?;
        let who = parts.extensions.get::<Identity>().cloned();
        who.map(|who| Self(who, client)).ok_or_else(Problem::failed)
    }
}

impl Asker {
    /// Who that is.
    pub(super) fn identity(&self) -> &Identity {
        &self.0
    }

    /// Whether this one may do that in a project.
    pub(super) fn check(&self, mode: Mode, project: &str) -> Result<(), Refused> {
        let may = self.0.may(Needs::Store(mode), Some(project));
        may.map_err(|denial| Refused::from(access::denied(&self.0, &denial)))
    }
}

/// The names in a path, decoded.
pub(super) struct Named<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(names)| Self(names)).map_err(|_| Problem::no_route(parts.uri.path()))
    }
}

pub(super) type Answer = Result<Response, Refused>;

/// The store, for lists of it.
pub(super) async fn store_of(shared: &Arc<Shared>) -> Result<Arc<Store>, Refused> {
    store(shared, Verb::List).await
}

/// The store; the first request opens it.
async fn store(shared: &Arc<Shared>, verb: Verb) -> Result<Arc<Store>, Refused> {
    let models = &shared.parts.models;
    models.figures().requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    if let Some(store) = models.opened() {
        return Ok(Arc::clone(store));
    }
    let models = Arc::clone(models);
    blocking(verb, move || models.store().map(Arc::clone)).await
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    verb: Verb,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| verb.refuse(&error)),
        Err(_) => Err(Problem::failed().into_response().into()),
    }
}
