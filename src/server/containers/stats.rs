//! What containers and the host use, in the units that clients know.

use std::{sync::Arc, time::Duration};

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::{Id, Shared, away, find, info, look, nowhere};
use crate::engine::Load;
use crate::model::Timestamp;
use crate::server::problem::Problem;
use crate::state::ContainerState;

/// The time between two looks at the processors.
const BETWEEN: Duration = Duration::from_millis(250);

/// `GET /containers/{id}/stats`
pub(in crate::server) async fn container(
    State(shared): State<Arc<Shared>>,
    Id(id): Id,
) -> Result<Json<Value>, Problem> {
    let world = look(&shared).await?;
    let record = &shared.parts.record;
    let container = find(record, &world, &id)?.ok_or_else(nowhere)?;
    // What does not run uses nothing, and the engine would take its time to say so.
    let runs = matches!(container.state, ContainerState::Running | ContainerState::Paused);
    let load = if runs {
        let load = shared.parts.compat.hands.load(&container.id).await;
        load.map_err(|error| away(&error))?.ok_or_else(nowhere)?
    } else {
        Load::default()
    };
    Ok(Json(json!({
        "container_id": container.id.short(),
        "name": info::name(record, &world, container),
        "cpu_percent": rounded(load.cpu_percent),
        "memory_usage": megabytes(load.memory),
        "memory_limit": megabytes(load.memory_limit),
        "memory_percent": percent(load.memory, load.memory_limit),
        "network_rx": megabytes(load.received),
        "network_tx": megabytes(load.sent),
        "timestamp": unix(shared.parts.clock.now()),
    })))
}

/// `GET /system/stats`
pub(in crate::server) async fn system(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let usage = &shared.parts.usage;
    let before = usage.ticks();
    tokio::time::sleep(BETWEEN).await;
    let after = usage.ticks();
    let host = usage.host();
    let total = host.memory_total.unwrap_or(0);
    let used = total.saturating_sub(host.memory_available.unwrap_or(total));
    let disk = crate::host::disk(&shared.parts.workspaces);
    let (disk_used, disk_size) = disk.unwrap_or_default();
    let gpus: Vec<_> = usage.gpus().iter().map(gpu).collect();
    Json(json!({
        "cpu_percent": percent(after.0.saturating_sub(before.0), after.1.saturating_sub(before.1)),
        "memory_percent": percent(used, total),
        "memory_used": megabytes(used),
        "memory_total": megabytes(total),
        "disk_usage_percent": percent(disk_used, disk_size),
        "timestamp": unix(shared.parts.clock.now()),
        "gpus": gpus,
    }))
}

fn gpu(gpu: &crate::state::Gpu) -> Value {
    json!({
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "memory_used": megabytes(gpu.memory.used),
        "memory_total": megabytes(gpu.memory.total),
        "utilization_percent": gpu.telemetry.utilization,
    })
}

/// Always in megabytes of 1024 × 1024 bytes: clients read the number before the unit.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / f64::from(1 << 20))
}

#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { rounded(part as f64 / whole as f64 * 100.0) }
}

fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// Seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "milliseconds fit for the next 280 000 years")]
fn unix(now: Timestamp) -> f64 {
    now.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_clients_read_them() {
        assert_eq!(megabytes(47_427_092), "45.23 MB");
        assert_eq!(megabytes(512 << 20), "512.00 MB");
        assert_eq!(megabytes(786_432), "0.75 MB");
        assert_eq!(megabytes(0), "0.00 MB");
        assert!((percent(88, 1000) - 8.8).abs() < 1e-9);
        assert!(percent(1, 0).abs() < 1e-9, "a whole that nobody knows is no division by zero");
        assert!((unix(Timestamp::from_millis(1_704_067_200_000)) - 1_704_067_200.0).abs() < 1e-9);
    }
}
