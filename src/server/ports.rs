//! The host's ports, and who has them.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Shared, containers::look, problem::Problem, view};
use crate::host;
use crate::plan::{PortFacts, PortState, PortUse, port_uses};

/// `GET /api/v1/ports`
pub(super) async fn all(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Problem> {
    let uses = uses(&shared).await?;
    let range = shared.parts.compat.ports;
    let items: Vec<_> = uses.iter().map(item).collect();
    Ok(Json(json!({
        "apiVersion": view::API_VERSION,
        "kind": "PortList",
        "range": { "first": range.first, "last": range.last },
        "items": items,
    })))
}

/// `GET /ports`, as clients of other systems know it.
pub(super) async fn compatible(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Problem> {
    let uses = uses(&shared).await?;
    let range = shared.parts.compat.ports;
    let is_used =
        |port: &&PortUse| range.contains(port.port) && port.state != PortState::Quarantined;
    let mut used: Vec<_> = uses.iter().filter(is_used).map(|port| port.port).collect();
    used.dedup();
    let ours = uses.iter().filter(|port| port.app.is_some());
    let allocations: Vec<_> = ours
        .map(|port| {
            json!({
                "port": port.port,
                "app": port.app,
                "container_port": port.container_port,
                "protocol": port.protocol,
            })
        })
        .collect();
    Ok(Json(json!({
        "used_ports": used,
        "available_range": range.to_string(),
        "total_ports": u32::from(range.last) - u32::from(range.first) + 1,
        "allocations": allocations,
    })))
}

/// Everything that is known at present.
async fn uses(shared: &Shared) -> Result<Vec<PortUse>, Problem> {
    let world = look(shared).await?;
    let parts = &shared.parts;
    let (given, resting) = parts.compat.ledger.ports(parts.clock.now());
    let dormant = parts.compat.dormant.ports(parts.engine.as_ref(), &world).await;
    let listening = tokio::task::spawn_blocking(host::listening_ports).await;
    let listening = listening.map_err(|_| Problem::failed())?;
    Ok(port_uses(&PortFacts {
        world: &world,
        given: &given,
        resting: &resting,
        listening: &listening,
        dormant: &dormant,
        range: parts.compat.ports,
    }))
}

fn item(port: &PortUse) -> Value {
    json!({
        "port": port.port,
        "protocol": port.protocol,
        "state": port.state,
        "app": port.app,
        "containerPort": port.container_port,
        "address": port.address,
        "holder": port.holder,
        "until": port.until,
    })
}
