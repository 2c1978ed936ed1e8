//! How long the containers of an app may take to stop once its manifest is gone.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::Reconciler;
use crate::model::AppName;
use crate::plan::is_up;
use crate::record::ledger::Facts;
use crate::state::{ContainerId, Detail, World};

impl Reconciler {
    /// What its last manifest said; where nobody knows that any more, what each was made with.
    pub(super) async fn graces(
        &self,
        app: &AppName,
        facts: &Facts,
        world: &World,
    ) -> BTreeMap<ContainerId, Detail> {
        let last = facts.last_app(app).map(|app| app.spec.stop_grace_period.as_secs());
        let last = last.and_then(|seconds| u32::try_from(seconds).ok());
        let look = async |id: &ContainerId| {
            let grace_s = match last {
                Some(_) => last,
                None => self.engine.inspect(id).await.ok().flatten()?.grace_s,
            };
            Some((id.clone(), Detail { grace_s, ..Detail::default() }))
        };
        let mine = world.containers_of(app);
        let up = mine.into_iter().filter(|container| is_up(container));
        join_all(up.map(|container| look(&container.id))).await.into_iter().flatten().collect()
    }
}
