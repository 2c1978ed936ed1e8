//! The wiring of repositories: manifests from git, webhooks and commit statuses.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::forge::{
    Repositories, Secrets,
    status::{FetchedCommit, Reporter},
};
use crate::manifest::Part;
use crate::model::{AppName, GitSource};
use crate::record::Record;
use crate::secret;
use crate::source::{
    Directory, Git, Several, Source,
    directory::Options,
    git::{Fetch, Fetched, Place},
};
use crate::telemetry::Metrics;
use crate::workspace::{Settings, Workspace};

/// The folder of the state folder that holds what repositories of manifests gave.
const FOLDER: &str = "sources";

/// The secrets of webhooks and of commit statuses: the value of one that has no keys, or its token.
fn secrets(config: &Config) -> Secrets {
    let all = secret::Secrets::new(&config.git.secrets);
    Secrets::new(move |name| {
        let secret = all.read(name).map_err(|error| error.to_string())?;
        let value = secret.get(secret::VALUE).map_or_else(|| secret.need("token"), Ok);
        value.map(|value| value.bytes().to_vec()).map_err(|error| error.to_string())
    })
}

/// Where manifests come from, and what the interface needs to know about it.
pub(super) fn source(config: &Config, settings: &Settings) -> (Box<dyn Source>, Repositories) {
    let gitops = &config.gitops;
    let folder = Directory::new(&config.manifests, Options::default());
    let mut repositories = Repositories {
        sources: Vec::new(),
        has_folder: gitops.has_folder,
        hook_secrets: gitops.hook_secrets.clone(),
        secrets: secrets(config),
    };
    if gitops.sources.is_empty() {
        return (Box::new(folder), repositories);
    }
    let workspace = Arc::new(Workspace::new(config.state_dir.join(FOLDER), settings.clone()));
    let mut all = Vec::new();
    if gitops.has_folder {
        all.push(folder_part(folder));
    }
    for place in &gitops.sources {
        let git = repository(place.clone(), &workspace, gitops.interval);
        repositories.sources.push((place.clone(), git.bell()));
        all.push(repository_part(git));
    }
    (Box::new(Several::new(all)), repositories)
}

/// A folder, as one of several sources.
pub fn folder_part(folder: Directory) -> (Part, Box<dyn Source>) {
    let part = Part { name: folder.describe(), ..Part::default() };
    (part, Box::new(folder))
}

/// A repository, as one of several sources.
pub fn repository_part(git: Git) -> (Part, Box<dyn Source>) {
    let place = git.place();
    let part = Part {
        prefix: place.prefix(),
        name: place.to_string(),
        identity: place.to_string(),
        ..Part::default()
    };
    (part, Box::new(git))
}

/// A repository of manifests whose commits are kept in this workspace.
pub fn repository(place: Place, workspace: &Arc<Workspace>, interval: Duration) -> Git {
    let kept = AppName::new(&place.key()).ok().and_then(|name| {
        let checkout = workspace.load(&name)?;
        Some(Fetched { commit: checkout.commit, folder: workspace.code_dir(&name) })
    });
    let git = GitSource {
        url: place.url.clone(),
        reference: place.reference.clone(),
        path: place.path.clone(),
        depth: None,
        submodules: false,
        lfs: false,
        interval,
        auth: place.secret.clone(),
    };
    let (workspace, key) = (Arc::clone(workspace), place.key());
    let fetch: Fetch = Arc::new(move || {
        let (workspace, git, key) = (Arc::clone(&workspace), git.clone(), key.clone());
        Box::pin(async move {
            let name = AppName::new(&key).map_err(|error| error.to_string())?;
            // Nobody reads how far it is.
            let (progress, _) = mpsc::channel(1);
            let fetched = workspace.fetch(&name, &git, Path::new("/"), &[], progress).await;
            let checkout = fetched.map_err(|error| error.to_string())?;
            Ok(Fetched { commit: checkout.commit, folder: workspace.code_dir(&name) })
        })
    });
    Git::new(place, fetch, kept, interval)
}

/// Has commit statuses sent, where the operator wants that.
pub(super) fn report(
    config: &Config,
    (record, workspace): (Arc<Record>, Arc<Workspace>),
    metrics: Arc<Metrics>,
    stop: &CancellationToken,
) {
    let gitops = &config.gitops;
    if gitops.commit_status.is_empty() {
        return;
    }
    let fetched: FetchedCommit =
        Arc::new(move |app| workspace.load(app).map(|checkout| checkout.commit));
    let reporter = Reporter {
        record,
        fetched,
        accounts: gitops.commit_status.clone(),
        secrets: secrets(config),
        base_url: gitops.base_url.clone(),
        metrics,
        pauses: Reporter::PAUSES,
    };
    tokio::spawn(reporter.run(stop.clone()));
}
