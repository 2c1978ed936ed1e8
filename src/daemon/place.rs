//! What a doctor looks at, as it is configured.

use std::sync::Arc;

use super::engine;
use crate::clock::Clock;
use crate::config::{Config, EngineChoice};
use crate::doctor::Place;
use crate::gpu::{self, Machine, Probe as _};
use crate::manifest;
use crate::telemetry::Metrics;

/// The ports of the schemes of repositories.
const SCHEMES: [(&str, u16); 3] = [("https://", 443), ("ssh://", 22), ("http://", 80)];

/// What is known beforehand.
pub fn place(config: &Config) -> Place {
    let has_folder = config.gitops.has_folder;
    let is_real = matches!(config.engine, EngineChoice::Docker);
    Place {
        state: config.state_dir.clone(),
        manifests: has_folder.then(|| config.manifests.clone()),
        workspaces: config.workspaces.clone(),
        models: config.model_store.clone(),
        secrets: config.git.secrets.clone(),
        listen: config.listen,
        ports: config.ports,
        docker_host: is_real.then(|| config.docker_host.clone()),
        git_hosts: git_hosts(config),
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

/// The hosts of the repositories that manifests of the folder name, and of those of manifests.
fn git_hosts(config: &Config) -> Vec<(String, u16)> {
    let mut urls: Vec<String> = config.gitops.sources.iter().map(ToString::to_string).collect();
    let folder = std::fs::read_dir(&config.manifests).into_iter().flatten().flatten();
    for entry in folder.filter(|_| config.gitops.has_folder).take(1000) {
        let path = entry.path();
        if !path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            continue;
        }
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let reading = manifest::read_file(&path.display().to_string(), &bytes);
        urls.extend(
            reading.apps.iter().filter_map(|app| Some(app.spec.git()?.url.as_str().to_owned())),
        );
    }
    let mut hosts: Vec<_> = urls.iter().filter_map(|url| host_of(url)).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn host_of(url: &str) -> Option<(String, u16)> {
    let url = url.strip_prefix("git+").unwrap_or(url);
    if let Some((scheme, port)) = SCHEMES.iter().find(|(scheme, _)| url.starts_with(scheme)) {
        let authority = url[scheme.len()..].split(['/', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        return Some(match host.rsplit_once(':') {
            Some((host, port)) => (host.to_owned(), port.parse().ok()?),
            None => (host.to_owned(), *port),
        });
    }
    // `git@host:path`
    let (user, path) = url.split_once(':')?;
    let host = user.rsplit_once('@')?.1;
    (!path.starts_with("//")).then(|| (host.to_owned(), 22))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_in_addresses_of_every_form() {
        let of = |url: &str| host_of(url).map(|(host, port)| format!("{host}:{port}"));
        assert_eq!(of("https://me@h.example/a.git").as_deref(), Some("h.example:443"));
        assert_eq!(of("git+https://h.example:8443/a#main").as_deref(), Some("h.example:8443"));
        assert_eq!(of("ssh://git@h.example/a").as_deref(), Some("h.example:22"));
        assert_eq!(of("git@h.example:a/b.git").as_deref(), Some("h.example:22"));
        assert_eq!(of("/srv/git/a"), None);
    }
}
