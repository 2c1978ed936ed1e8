//! What an app leaves behind when it is removed: `?keepWorkspace=`.
//!
//! # Guarantees
//! A workspace goes only once its app is known to be gone, while nobody can register it anew here.
//! Whoever is not told that it is gone still has it, or most likely so: asking again is safe.

use std::{path::Path, sync::Arc};

use axum::http::StatusCode;
use schemars::JsonSchema;

use super::{Shared, containers, problem::Problem, request::flag};
use crate::model::AppName;
use crate::workspace;

/// What may be asked of a removal.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
#[schemars(rename_all = "camelCase")]
pub(super) struct Query {
    /// False: the app's folder goes too, with all that the app has kept in it. Default: true.
    #[schemars(default)]
    keep_workspace: Option<bool>,
}

/// Whether an app's workspace stays, as a query says. What else it says is not looked at.
pub(super) fn keeps(query: Option<&str>) -> Result<bool, Problem> {
    let mut keeps = true;
    for pair in query.unwrap_or("").split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name == "keepWorkspace" {
            keeps = flag(name, Some(value))?;
        }
    }
    Ok(keeps)
}

/// Waits until the app is gone, and takes its workspace away. Answers whether there was one.
pub(super) async fn take_workspace(shared: &Arc<Shared>, app: &AppName) -> Result<bool, Problem> {
    containers::until_removed(shared, app).await?;
    let _writing = shared.writes.lock().await;
    if shared.parts.record.entry(app).is_some() {
        let detail = format!("`{app}` is there again, so its workspace stays");
        return Err(Problem::conflict("workspace.in-use", "The workspace is in use", detail));
    }
    let (root, name) = (shared.parts.workspaces.clone(), app.clone());
    let work = move || workspace::remove(&root, &name);
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| Problem::failed())?;
    let removed = done.map_err(|error| not_removed(&shared.parts.workspaces, app, &error))?;
    tracing::info!(app = app.as_str(), removed, "workspace removed, as asked for");
    Ok(removed)
}

fn not_removed(root: &Path, app: &AppName, error: &std::io::Error) -> Problem {
    let folder = root.join(app.as_str());
    let detail = format!(
        "`{app}` is removed, and its workspace {} is not, or not all of it: {error}",
        folder.display()
    );
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Problem::new(status, "workspace.not-removed", "The workspace is still there", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_stays_unless_somebody_says_otherwise() {
        let ask = |query| keeps(query).map_err(|_| ());
        for kept in
            [None, Some(""), Some("force=1"), Some("keepWorkspace"), Some("a=b&keepWorkspace=true")]
        {
            assert_eq!(ask(kept), Ok(true), "{kept:?}");
        }
        assert_eq!(ask(Some("keepWorkspace=false")), Ok(false));
        assert_eq!(ask(Some("v=1&keepWorkspace=0")), Ok(false));
        for wrong in ["keepWorkspace=no", "keepWorkspace=FALSE"] {
            assert_eq!(ask(Some(wrong)), Err(()), "{wrong}");
        }
    }
}
