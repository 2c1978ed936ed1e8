//! The wiring of secrets, and of what no container may be asked beyond.

use std::{path::PathBuf, sync::Arc};

use super::{Error, hub::AppTokens};
use crate::config::Config;
use crate::engine::docker::Gate;
use crate::secret::{Book, Secrets, Settings, Tools};
use crate::state::Policy;

/// What apps get of secrets. Berth's own logins are not among that.
pub(super) fn book(config: &Config) -> Result<Arc<Book>, Error> {
    let apps = &config.apps;
    let folder = Secrets::new(&config.git.secrets);
    let tools =
        Tools { age: apps.age.clone(), sops: apps.sops.clone(), ..Tools::new(&apps.age_identity) };
    let logins = config.git.logins.iter().map(|login| login.secret.clone());
    let hooks = config.gitops.hook_secrets.iter().cloned();
    let settings = Settings {
        tools,
        withheld: logins.chain(hooks).collect(),
        mint: Some(Arc::new(AppTokens::new(&config.state_dir))),
        ..Settings::new(folder, &config.state_dir, &apps.secret_files).of_process()
    };
    let key = settings.key.clone();
    let what = || format!("failed to read or make {}", key.display());
    Book::new(settings).map(Arc::new).map_err(|source| Error::Io { what: what(), source })
}

/// What no container gets, whatever the operator lets manifests mount.
pub(super) fn gate(config: &Config, policy: &Policy) -> Gate {
    let socket = config.docker_host.strip_prefix("unix://").map(PathBuf::from);
    let own = [config.state_dir.clone(), config.git.secrets.clone()];
    let own = own.into_iter().chain([config.apps.secret_files.clone()]);
    let absolute = own.filter_map(|path| std::path::absolute(path).ok());
    Gate::of(policy).keeping(absolute.chain(socket))
}
