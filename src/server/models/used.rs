//! Which apps use a stored version: what they mount is not deleted unless one says so.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde::Deserialize;

use super::refusal::{Refused, refuse};
use crate::model::AppName;
use crate::server::{Shared, request::flag};
use crate::store::{Error, Key, name_of};

/// Whether what apps use is deleted all the same.
#[derive(Debug, Default, Deserialize)]
pub(in super::super) struct Wish {
    force: Option<String>,
}

impl Wish {
    /// What is asked for by a form that says so, or does not.
    pub(in super::super) fn forced(is_forced: bool) -> Self {
        Self { force: is_forced.then(|| "true".to_owned()) }
    }
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
    let Some(mounted) = mounted(shared, key) else { return Ok(()) };
    let detail = format!("{mounted}: delete it with `force=true`; what runs keeps its files");
    Err(refuse(StatusCode::CONFLICT, "model.in-use", detail))
}

/// Refuses to let models go that apps use: for clients that can't say that they mean it.
pub(in super::super) fn check_all(shared: &Shared, keys: &[Key]) -> Result<(), Error> {
    let Some(mounted) = keys.iter().find_map(|key| mounted(shared, key)) else { return Ok(()) };
    let how = "`berth models rm --force` deletes it all the same";
    Err(Error::InUse(format!("{mounted}: {how}; what runs keeps its files")))
}

/// Refuses to let models have other names that apps use: all of these apps are named.
pub(in super::super) fn check_moved(shared: &Shared, keys: &[Key]) -> Result<(), Error> {
    let all: BTreeSet<_> = keys.iter().flat_map(|key| users(shared, key)).collect();
    let Some(Key { project, app, .. }) = keys.first().filter(|_| !all.is_empty()) else {
        return Ok(());
    };
    let all: Vec<_> = all.iter().map(|app| format!("app/{app}")).collect();
    let how = "have them mount something else, or remove them, then move it";
    Err(Error::InUse(format!("{project}/{app} is mounted into {}: {how}", all.join(", "))))
}

/// A sentence about who mounts a model, if anybody does.
fn mounted(shared: &Shared, key: &Key) -> Option<String> {
    let users: Vec<_> = users(shared, key).iter().map(|app| format!("app/{app}")).collect();
    let Key { project, app, version, .. } = key;
    let users = (!users.is_empty()).then(|| users.join(", "))?;
    Some(format!("{project}/{app}/{version} is mounted into {users}"))
}
