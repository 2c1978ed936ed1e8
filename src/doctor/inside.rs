//! How it looks from inside: in containers of apps that run. Something is run there, so this is
//! done only where somebody asked for it.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

use super::{Finding, Host, Place, remote};
use crate::engine::Engine;
use crate::state::{Container, ContainerState};

/// How long a command in a container may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// In how many containers it is tried.
const TRIES: usize = 2;

/// Whether names of other hosts are known there.
pub(super) fn names(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        let mut hosts =
            remote::registries(&place).into_iter().chain(place.git_hosts.iter().cloned());
        let Some(host) = hosts.find(Host::is_named) else {
            return Finding::skipped("no host is named by a manifest");
        };
        let containers = match running(&place, |_| true).await {
            Ok(containers) => containers,
            Err(finding) => return finding,
        };
        let name = &host.name;
        for container in &containers {
            let words = ["getent", "hosts", name];
            let Some((code, said)) = tried(&place, container, &words).await else { continue };
            return match code {
                0 => Finding::good(format!("{} knows {name}", container.name)),
                _ => Finding::error(
                    format!("{} does not know {name}: {}", container.name, last(&said, code)),
                    "`dns` in /etc/docker/daemon.json, and a firewall that lets containers ask",
                ),
            };
        }
        Finding::skipped("no container of an app has `getent`")
    })
}

/// Whether the cards that were given are there.
pub(super) fn gpus(place: Arc<Place>) -> BoxFuture<'static, Finding> {
    Box::pin(async move {
        let containers = match running(&place, |container| container.gpus.is_some()).await {
            Ok(containers) => containers,
            Err(finding) => return finding,
        };
        for container in &containers {
            let Some((code, said)) = tried(&place, container, &["nvidia-smi", "-L"]).await else {
                continue;
            };
            let count = said.lines().filter(|line| line.starts_with("GPU ")).count();
            return if code == 0 && 0 < count {
                let cards = if count == 1 { "1 card".to_owned() } else { format!("{count} cards") };
                Finding::good(format!("{} sees {cards}", container.name))
            } else {
                Finding::error(
                    format!("{} sees no card: {}", container.name, last(&said, code)),
                    "`berth restart` its app; `nvidia-ctk cdi list` says what the engine can give",
                )
            };
        }
        Finding::skipped("no container that has a GPU has `nvidia-smi`")
    })
}

/// The containers of apps that run and are of use; a finding where there is none.
async fn running(
    place: &Place,
    is_wanted: impl Fn(&Container) -> bool,
) -> Result<Vec<Container>, Finding> {
    if !place.is_inside {
        return Err(Finding::skipped("only where it is asked for: `berth doctor --inside`"));
    }
    let Some(engine) = &place.engine else {
        return Err(Finding::skipped("the engine can't be reached"));
    };
    let world = engine.observe().await;
    let world =
        world.map_err(|error| Finding::skipped(format!("the engine does not say: {error}")))?;
    let is_app = |one: &Container| {
        one.ownership.app().is_some() && one.state == ContainerState::Running && is_wanted(one)
    };
    let found: Vec<_> = world.containers.into_iter().filter(is_app).take(TRIES).collect();
    if found.is_empty() { Err(Finding::skipped("no such app runs")) } else { Ok(found) }
}

/// What a command answers there; none where it can't be run.
async fn tried(place: &Place, container: &Container, words: &[&str]) -> Option<(i64, String)> {
    let engine: &dyn Engine = place.engine.as_deref()?;
    let command: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    let (code, said) = engine.exec(&container.id, &command, PATIENCE).await.ok()?;
    (!matches!(code, 126 | 127)).then_some((code, said))
}

/// What was said last, else with which code it ended.
fn last(said: &str, code: i64) -> String {
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    line.map_or_else(|| format!("exit code {code}"), ToOwned::to_owned)
}
