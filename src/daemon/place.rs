//! What a doctor looks at, as it is configured.

use std::sync::Arc;

use super::engine;
use crate::clock::Clock;
use crate::config::{Config, EngineChoice};
use crate::doctor::{Host, Place};
use crate::gpu::{self, Machine, Probe as _};
use crate::manifest;
use crate::model::Source;
use crate::telemetry::Metrics;

/// What is known beforehand.
pub fn place(config: &Config) -> Place {
    let has_folder = config.gitops.has_folder;
    let is_real = matches!(config.engine, EngineChoice::Docker);
    let (git_hosts, images) = named(config);
    Place {
        state: config.state_dir.clone(),
        manifests: has_folder.then(|| config.manifests.clone()),
        workspaces: config.workspaces.clone(),
        models: config.model_store.clone(),
        secrets: config.git.secrets.clone(),
        listen: config.listen,
        ports: config.ports,
        docker_host: is_real.then(|| config.docker_host.clone()),
        git_hosts,
        images,
        authorities: config.git.ca_bundle.clone(),
        proc: config.usage.proc_root.clone(),
        cgroup: config.usage.cgroup_root.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Place::default()
    }
}

/// The same with the engine and the GPUs, for who runs no controller.
pub async fn whole_place(config: &Config) -> Place {
    let clock = Clock::System;
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map(Arc::new).ok();
    let engine = metrics.and_then(|metrics| engine(config, &clock, metrics).ok());
    let settings = gpu::Settings {
        library: config.gpus.nvml_library.clone(),
        proc_root: config.usage.proc_root.clone(),
        is_profiled: false,
        ..gpu::Settings::default()
    };
    let time = clock.clone();
    // A driver that hangs keeps its thread; the answer does not wait for it.
    let reading = tokio::task::spawn_blocking(move || Machine::new(settings, time).read());
    let patience = std::time::Duration::from_secs(10);
    let read = tokio::time::timeout(patience, reading).await;
    let gpus = read.ok().and_then(Result::ok).and_then(Result::ok).unwrap_or_default();
    Place {
        engine: engine.map(|(engine, _)| engine),
        gpus: Arc::new(gpus),
        now: clock.now(),
        ..place(config)
    }
}

/// The hosts of the repositories that manifests of the folder name, and of those of manifests; and
/// the images that they name.
fn named(config: &Config) -> (Vec<Host>, Vec<String>) {
    let mut urls: Vec<String> = config.gitops.sources.iter().map(ToString::to_string).collect();
    let mut images = Vec::new();
    let folder = std::fs::read_dir(&config.manifests).into_iter().flatten().flatten();
    for entry in folder.filter(|_| config.gitops.has_folder).take(1000) {
        let path = entry.path();
        if !path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        for app in manifest::read_file(&path.display().to_string(), &bytes).apps {
            match &app.spec.source {
                Source::Git(git) => urls.push(git.url.as_str().to_owned()),
                Source::Image { reference, .. } => images.push(reference.as_str().to_owned()),
            }
        }
    }
    let mut hosts: Vec<_> = urls.iter().filter_map(|url| Host::of_repository(url)).collect();
    hosts.sort();
    hosts.dedup();
    (hosts, images)
}
