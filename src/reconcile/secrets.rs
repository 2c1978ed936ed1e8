//! Secrets within a pass: looked at before the plan, tidied up after it.

use std::{collections::BTreeMap, sync::Arc};

use super::{Reconciler, as_app};
use crate::model::AppName;
use crate::plan::{Input, Plan, user_of};
use crate::state::{SecretSeen, Want};

impl Reconciler {
    /// How the app's secrets stand now. Whoever uses none costs nothing.
    pub(super) async fn secrets(
        &self,
        name: &AppName,
        want: &Want,
    ) -> BTreeMap<String, SecretSeen> {
        let Some(app) = as_app(want).filter(|app| app.spec.secrets().next().is_some()) else {
            return BTreeMap::new();
        };
        let docs = Arc::clone(&self.desired.borrow().secrets);
        self.book.know(&docs);
        let mut seen = self.book.look(&app.spec).await;
        if !self.is_trial {
            self.book.put(name, &app.spec, user_of(&self.policy, app), &mut seen).await;
        }
        seen
    }

    /// Once the wanted container is the only one, the files of those before it are of no use.
    pub(super) fn keep_secrets(&self, input: &Input<'_>, plan: &Plan) {
        let is_settled = plan.steps.is_empty() && input.containers().len() == 1;
        let container = plan.container.as_ref().filter(|_| is_settled && plan.current.is_some());
        let is_app = as_app(input.want).is_some_and(|app| !app.spec.models.hub);
        if is_app && is_settled {
            self.book.revoke(input.app);
        }
        if let Some(container) = container.filter(|container| !container.shape.secrets.is_empty()) {
            self.book.keep(input.app, &container.shape.secrets);
        }
    }
}
