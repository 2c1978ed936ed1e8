//! Stored models on their way into containers: their files get names of their own, from which they
//! are mounted.

use std::{collections::BTreeMap, sync::Arc};

use crate::engine::Error;
use crate::model::MountedModel;
use crate::store::Depot;

/// Puts everything in place that a container mounts.
pub(super) async fn place(
    depot: Option<&Arc<Depot>>,
    models: &BTreeMap<String, MountedModel>,
) -> Result<(), Error> {
    if models.is_empty() {
        return Ok(());
    }
    let none = || Error::Model("this Berth has no model store".to_owned());
    let (depot, models) = (Arc::clone(depot.ok_or_else(none)?), models.clone());
    let put = move || {
        let store = depot.store()?;
        models.values().try_for_each(|mounted| store.put_view(mounted))
    };
    let done = tokio::task::spawn_blocking(put).await;
    let done = done.map_err(|error| Error::Model(error.to_string()))?;
    done.map_err(|error| Error::Model(error.to_string()))
}
