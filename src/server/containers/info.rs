//! A container as clients know it.

use serde_json::{Map, Value, json};

use super::of_app;
use crate::model::AppName;
use crate::record::Record;
use crate::state::{Container, ContainerState, World};

/// The annotation that holds the name that a client wished for, where an app can't be called so.
pub(super) const WISHED: &str = "containers/name";

/// A container's document.
pub(super) fn info(record: &Record, world: &World, container: &Container) -> Value {
    let state = word(container.state);
    let mut all = json!({
        "id": container.id.short(),
        "name": name(record, world, container),
        "status": state,
        "image": container.image,
        "ports": ports(container),
        "created": container.created,
        "state": state,
        "managed": false,
    });
    if let Some(app) = container.ownership.app() {
        let entry = record.entry(app);
        let is_shown = is_shown(record, world, container, app);
        let status = entry.as_ref().map(|entry| &entry.status).filter(|_| is_shown);
        let url = status.and_then(|status| status.url.as_ref());
        // The engine shows the id of an image whose name means another one by now.
        if let Some(image) = status.and_then(|status| status.image.as_ref()) {
            all["image"] = json!(image);
        }
        all["managed"] = true.into();
        all["app"] = json!(app);
        all["url"] = json!(url);
    }
    all
}

/// A container's name. That of an app's is the app's, or what a client wished to call it.
pub(super) fn name(record: &Record, world: &World, container: &Container) -> String {
    let Some(app) = container.ownership.app() else { return container.name.clone() };
    if !is_shown(record, world, container, app) {
        return container.name.clone();
    }
    let entry = record.entry(app);
    let spec = entry.as_ref().and_then(|entry| entry.app.as_ref());
    let wished = spec.and_then(|app| app.annotations.get(WISHED)).cloned();
    wished.unwrap_or_else(|| app.to_string())
}

/// Whether this is the container that its app is about, not an earlier version.
pub(super) fn is_shown(
    record: &Record,
    world: &World,
    container: &Container,
    app: &AppName,
) -> bool {
    of_app(record, world, app).is_some_and(|shown| shown.id == container.id)
}

/// The state in the engine's word.
pub(in super::super) fn word(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Restarting => "restarting",
        ContainerState::Removing => "removing",
        ContainerState::Exited => "exited",
        ContainerState::Dead => "dead",
        ContainerState::Unknown => "unknown",
    }
}

/// The ports that are bound at present, each with where.
fn ports(container: &Container) -> Value {
    let is_bound = matches!(container.state, ContainerState::Running | ContainerState::Paused);
    let mut all = Map::new();
    for port in container.ports.iter().filter(|_| is_bound) {
        let address = match port.host_ip.as_str() {
            "" => "0.0.0.0".to_owned(),
            ip if ip.contains(':') => format!("[{ip}]"),
            ip => ip.to_owned(),
        };
        let key = format!("{}/{}", port.container_port, port.protocol);
        all.entry(key).or_insert_with(|| format!("{address}:{}", port.host_port).into());
    }
    Value::Object(all)
}
