//! Which apps use a stored version: what they mount is not deleted unless one says so.

use axum::http::StatusCode;
use serde::Deserialize;

use super::refusal::{Refused, refuse};
use crate::model::AppName;
use crate::server::{Shared, request::flag};
use crate::store::{Key, name_of};

/// Whether what apps use is deleted all the same.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Wish {
    force: Option<String>,
}

/// The apps that mount a model, or are about to.
pub(in super::super) fn users(shared: &Shared, key: &Key) -> Vec<AppName> {
    let name = format!("{}/{}", key.project, key.app);
    let entries = shared.parts.record.entries();
    let uses = entries.iter().filter(|entry| {
        let wanted = entry.plan.container.iter().flat_map(|container| &container.shape.models);
        let mut all = entry.status.models.iter().chain(wanted);
        all.any(|(_, mounted)| {
            mounted.model == name
                && mounted.version == key.version
                && mounted
                    .file
                    .as_ref()
                    .is_none_or(|file| *file == key.model || name_of(file) == key.model)
        })
    });
    uses.map(|entry| entry.name.clone()).collect()
}

/// Refuses to delete what apps use, unless that is asked for.
pub(super) fn check(shared: &Shared, key: &Key, wish: &Wish) -> Result<(), Refused> {
    if flag("force", wish.force.as_deref())? {
        return Ok(());
    }
    let users: Vec<_> = users(shared, key).iter().map(|app| format!("app/{app}")).collect();
    if users.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "{}/{}/{} is mounted into {}: delete it with `force=true`; what runs keeps its files",
        key.project,
        key.app,
        key.version,
        users.join(", ")
    );
    Err(refuse(StatusCode::CONFLICT, "model.in-use", detail))
}
