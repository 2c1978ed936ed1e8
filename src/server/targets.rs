//! `GET /sd/prometheus`: where apps tell figures of their own, as Prometheus' `http_sd` reads it.
//!
//! # Guarantees
//! - The list is whole each time: what is not on it is not there.
//! - Only containers of ours are on it, and only addresses that the engine said.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, problem::Problem, request::Asked};
use crate::model::{ConditionStatus, ConditionType, MetricsSpec, Protocol};
use crate::record::Entry;
use crate::state::{Container, ContainerState, World};

/// The host that published ports are reached at when nobody says.
const HOST: &str = "127.0.0.1";

/// How Prometheus reaches the apps.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Query {
    /// The engine's network that Prometheus is in: only addresses there.
    network: Option<String>,
    /// `container`, or `published` for host ports.
    address: Address,
    /// What host ports are reached at.
    host: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "lowercase")]
enum Address {
    #[default]
    Container,
    Published,
}

/// `GET /sd/prometheus`
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Asked(query): Asked<Query>,
) -> Result<Response, Problem> {
    if let Some(host) = query.host.as_deref().filter(|host| !is_host(host)) {
        return Err(Problem::bad_request(format!("`{}` is not a host", host.escape_debug())));
    }
    let record = &shared.parts.record;
    let world = record.world();
    let targets = record.entries();
    let targets = targets.iter().filter_map(|entry| target(entry, &world, &query));
    Ok(Json(targets.collect::<Vec<_>>()).into_response())
}

/// The target of one app, when it declares figures and runs at an address that can be named.
fn target(entry: &Entry, world: &World, query: &Query) -> Option<Value> {
    let metrics = entry.app.as_ref()?.spec.metrics.as_ref()?;
    let container = current(entry, world)?;
    let address = match query.address {
        Address::Container => at_container(container, metrics, query.network.as_deref())?,
        Address::Published => at_host(container, metrics, query.host.as_deref().unwrap_or(HOST))?,
    };
    let ready = entry.status.condition(ConditionType::Ready);
    let is_ready = ready.is_some_and(|ready| ready.status == ConditionStatus::True);
    // Labels that begin with `__` end with relabelling: a series goes on when its app's phase changes.
    Some(json!({
        "targets": [address],
        "labels": {
            "app": entry.name.as_str(),
            "__metrics_path__": metrics.path,
            "__meta_berth_phase": entry.status.phase.to_string(),
            "__meta_berth_ready": is_ready.to_string(),
            "__meta_berth_container": container.name,
        },
    }))
}

/// The container that is the app at present.
fn current<'a>(entry: &Entry, world: &'a World) -> Option<&'a Container> {
    let mine = world.containers.iter().filter(|container| {
        let is_own = container.ownership.owner().is_some_and(|owner| owner.app == entry.name);
        is_own && container.state == ContainerState::Running
    });
    let is_named = |container: &&Container| {
        entry.status.container_id.as_deref() == Some(container.id.as_str())
    };
    mine.max_by_key(|container| (is_named(container), container.created))
}

fn at_container(
    container: &Container,
    metrics: &MetricsSpec,
    network: Option<&str>,
) -> Option<String> {
    let address = match network {
        Some(network) => container.networks.get(network)?.as_ref()?,
        None => container.networks.values().flatten().next()?,
    };
    Some(joined(address, metrics.port))
}

fn at_host(container: &Container, metrics: &MetricsSpec, host: &str) -> Option<String> {
    let published = container.ports.iter().find(|binding| {
        binding.container_port == metrics.port && binding.protocol == Protocol::Tcp
    })?;
    Some(joined(host, published.host_port))
}

fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn is_host(text: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
    !text.is_empty() && text.len() <= 253 && text.chars().all(is_legal)
}
