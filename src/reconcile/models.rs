//! Stored models within a pass: what their references mean now.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Reconciler, as_app};
use crate::model::{App, ModelRef, Timestamp};
use crate::state::{ModelSeen, Want};
use crate::store::{Depot, Error};

/// So long nothing of a version with several files must change before it is taken to be whole.
const SETTLE: Duration = Duration::from_secs(5);

impl Reconciler {
    /// What the app's references to stored models mean now. Whoever uses none costs nothing.
    pub(super) async fn models(&self, want: &Want) -> BTreeMap<String, ModelSeen> {
        let Some(app) = as_app(want).filter(|app| app.spec.stored().next().is_some()) else {
            return BTreeMap::new();
        };
        let Some(depot) = self.jobs.settings().models.clone() else {
            return missing(app, "this Berth has no model store");
        };
        let (of, now) = (Arc::clone(app), self.clock.now());
        // The first look opens the store, which may have much to read.
        let looked = if depot.opened().is_some() {
            Ok(look(&depot, app, now))
        } else {
            tokio::task::spawn_blocking(move || look(&depot, &of, now)).await
        };
        looked.unwrap_or_else(|_| missing(app, "the model store could not be looked at"))
    }
}

fn missing(app: &App, why: &str) -> BTreeMap<String, ModelSeen> {
    let seen = |path: &str| (path.to_owned(), ModelSeen::Missing(why.to_owned()));
    app.spec.stored().map(|(path, _)| seen(path)).collect()
}

fn look(depot: &Depot, app: &App, now: Timestamp) -> BTreeMap<String, ModelSeen> {
    let store = match depot.store() {
        Ok(store) => store,
        Err(error) => return missing(app, &error.to_string()),
    };
    let one = |path: &str, wanted: &ModelRef| {
        let at = app.spec.models.at.get(path);
        let asked = at.map(|version| ModelRef { version: version.clone(), ..wanted.clone() });
        let view = match store.view(asked.as_ref().unwrap_or(wanted)) {
            Ok(view) => view,
            Err(Error::NotFound(key)) => return ModelSeen::Missing(format!("{key} is not there")),
            Err(error) => return ModelSeen::Missing(error.to_string()),
        };
        let until = view.changed + SETTLE;
        if wanted.file.is_none() && view.changed <= now && now < until {
            return ModelSeen::Unsettled { version: view.version, until };
        }
        // What is in quarantine or blocked is not mounted; who has it already is told.
        if let Err(error) = store.check_view(&view) {
            return ModelSeen::Missing(error.to_string());
        }
        ModelSeen::Here { version: view.version, digest: view.digest }
    };
    app.spec.stored().map(|(path, wanted)| (path.to_owned(), one(path, wanted))).collect()
}
