//! The tokens by which apps read the model store.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::auth::{Mode, New, Role, Scope, Secret, Tokens};
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::model::{AppName, Timestamp};
use crate::secret::Mint;

/// What the names of apps' tokens begin with. Nobody can call a token so: those that people make
/// are never touched.
const OF_APP: &str = "app:";
/// How often it is looked for tokens that nobody has any more.
const LOOK: Duration = Duration::from_mins(10);
/// How long a token is left alone: its container may be about to be made.
const GRACE: Duration = Duration::from_hours(1);

/// Tokens of apps among those of people and programs.
#[derive(Debug)]
pub(super) struct AppTokens {
    tokens: Tokens,
    clock: Clock,
}

impl AppTokens {
    pub(super) fn new(state_dir: &std::path::Path) -> Self {
        Self { tokens: Tokens::new(state_dir), clock: Clock::System }
    }

    fn name(app: &AppName) -> String {
        format!("{OF_APP}{app}")
    }

    /// The apps that have had a token for a while.
    fn old(&self, now: Timestamp) -> Vec<AppName> {
        let all = self.tokens.all().ok().flatten().unwrap_or_default();
        let old = all.iter().filter(|kept| GRACE <= now.since(kept.created));
        old.filter_map(|kept| AppName::new(kept.name.strip_prefix(OF_APP)?).ok()).collect()
    }
}

impl Mint for AppTokens {
    /// The first token would lock out everybody else.
    fn is_used(&self) -> bool {
        self.tokens.is_used()
    }

    fn keep(&self, app: &AppName, token: &str) -> Result<(), String> {
        let scope = Scope { project: None, mode: Mode::Read };
        let (name, role) = (Self::name(app), Role::Viewer);
        let new = New { name, role, expires: None, scopes: vec![scope] };
        let kept = self.tokens.keep(new, &Secret::given(token), self.clock.now());
        kept.map_err(|error| error.to_string())
    }

    fn revoke(&self, app: &AppName) {
        let name = Self::name(app);
        let all = self.tokens.all().ok().flatten().unwrap_or_default();
        if all.iter().any(|kept| kept.name == name)
            && let Err(error) = self.tokens.revoke(&name)
        {
            tracing::warn!(app = app.as_str(), %error, "the token of an app that is gone is still good");
        }
    }
}

/// Makes worthless, until it is told to stop, what a kill left good: the tokens of apps that have
/// no container. One that is made later makes its token good again.
pub(super) fn watch(
    config: &Config,
    engine: &Arc<dyn Engine>,
    clock: &Clock,
    stop: &CancellationToken,
) {
    let tokens = AppTokens::new(&config.state_dir);
    let (engine, clock, stop) = (Arc::clone(engine), clock.clone(), stop.clone());
    tokio::spawn(async move {
        loop {
            revoke_unused(&tokens, engine.as_ref(), &clock).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    });
}

async fn revoke_unused(tokens: &AppTokens, engine: &dyn Engine, clock: &Clock) {
    let old = tokens.old(clock.now());
    if old.is_empty() {
        return;
    }
    let Ok(world) = engine.observe().await else { return };
    let owners = world.containers.iter().filter_map(|container| container.ownership.owner());
    let used: BTreeSet<_> = owners.map(|owner| &owner.app).collect();
    old.iter().filter(|app| !used.contains(app)).for_each(|app| tokens.revoke(app));
}
