//! What apps use, and what is left of the host.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Map, Value, json};

use super::{Shared, actions::ask, problem::Problem, request::Named, view};
use crate::model::{App, AppName, GpuAsk};
use crate::record::{Command, Entry};
use crate::state::Gpu;
use crate::usage::{AppUsage, HISTORY_STEP, History, Series};

/// `GET /api/v1/apps/{name}/usage`
pub(super) async fn app(
    State(shared): State<Arc<Shared>>,
    Named(name): Named,
) -> Result<Json<Value>, Problem> {
    let parts = &shared.parts;
    let entry = parts.record.entry(&name).ok_or_else(|| Problem::no_app(name.as_str()))?;
    let usage = &parts.usage;
    let empty = || Series { from: parts.clock.now(), points: Vec::new() };
    let series = usage.series(&name).unwrap_or_else(empty);
    Ok(Json(json!({
        "apiVersion": view::API_VERSION,
        "kind": "AppUsage",
        "metadata": { "name": name },
        "units": {
            "cpu": "cores", "memory": "bytes", "networkReceive": "bytes/s",
            "networkTransmit": "bytes/s", "gpuMemory": "bytes", "gpuUtilization": "percent",
        },
        "asked": entry.app.as_deref().map(asked),
        "now": usage.now(&name),
        "step": HISTORY_STEP.as_secs(),
        "from": series.from,
        "series": columns(&series.points),
    })))
}

/// Each figure as an array of its own; none of one that was never known.
fn columns(points: &[AppUsage]) -> Value {
    let mut all = Map::new();
    let mut put = |name: &str, of: fn(&AppUsage) -> Option<Value>| {
        let column: Vec<_> = points.iter().map(of).collect();
        if column.iter().any(Option::is_some) {
            all.insert(name.to_owned(), json!(column));
        }
    };
    put("cpu", |p| p.cpu.map(Value::from));
    put("memory", |p| p.memory.map(Value::from));
    put("networkReceive", |p| p.network_receive.map(Value::from));
    put("networkTransmit", |p| p.network_transmit.map(Value::from));
    put("gpuMemory", |p| p.gpu_memory.map(Value::from));
    put("gpuUtilization", |p| p.gpu_utilization.map(Value::from));
    Value::Object(all)
}

/// What an app asked for. What it did not is absent.
fn asked(app: &App) -> Value {
    let resources = &app.spec.resources;
    let mut all = Map::new();
    if let Some(millis) = resources.cpu_millis {
        all.insert("cpu".to_owned(), json!(cores(millis)));
    }
    if let Some(bytes) = resources.memory_bytes {
        all.insert("memory".to_owned(), json!(bytes));
    }
    if let Some(gpus) = &app.spec.gpus {
        all.insert("gpus".to_owned(), json!(gpus.count));
        if let Some(bytes) = gpu_memory(gpus) {
            all.insert("gpuMemory".to_owned(), json!(bytes));
        }
    }
    Value::Object(all)
}

#[expect(clippy::cast_precision_loss, reason = "nobody asks for so many processors")]
fn cores(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

/// The memory that is asked for on all GPUs together.
fn gpu_memory(ask: &GpuAsk) -> Option<u64> {
    Some(ask.memory_bytes?.saturating_mul(u64::from(ask.count)))
}

/// `GET /api/v1/capacity`: what is asked for, what is used, and what there is.
pub(super) async fn capacity(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let parts = &shared.parts;
    let (entries, usage) = (parts.record.entries(), Arc::clone(&parts.usage));
    let given = given(&shared).await;
    // The kernel's files are read for it.
    let answer = tokio::task::spawn_blocking(move || document(&entries, &usage, &given)).await;
    let mut answer = answer.unwrap_or_default();
    answer["knownEscapes"] = json!(parts.figures.escapes.all());
    Json(answer)
}

/// What of each card was given away, by UUID: its memory that is promised, to how many, and whether
/// to one alone. Empty without cards, and while the controller does not answer.
async fn given(shared: &Shared) -> Map<String, Value> {
    if shared.parts.usage.gpus().is_empty() {
        return Map::new();
    }
    let listed = ask(shared, Command::ListGpus).await.unwrap_or_default();
    let listed: Value = serde_json::from_str(&listed).unwrap_or_default();
    let cards = listed["gpus"].as_array().into_iter().flatten();
    let named = cards.filter_map(|card| Some((card["uuid"].as_str()?.to_owned(), card.clone())));
    named.collect()
}

fn card(gpu: &Gpu, given: Option<&Value>) -> Value {
    let mut card = json!({
        "uuid": gpu.uuid,
        "index": gpu.index,
        "name": gpu.name,
        "memory": gpu.memory,
        "utilization": gpu.telemetry.utilization,
    });
    for field in ["/memory/asked", "/shares", "/isAlone"] {
        let Some(said) = given.and_then(|given| given.pointer(field)) else { continue };
        let (place, name) = field.rsplit_once('/').unwrap_or_default();
        if let Some(Value::Object(fields)) = card.pointer_mut(place) {
            fields.insert(name.to_owned(), said.clone());
        }
    }
    card
}

fn document(entries: &[Arc<Entry>], usage: &History, given: &Map<String, Value>) -> Value {
    let apps: Vec<_> = entries.iter().map(|entry| app_row(entry, usage)).collect();
    let wanted = entries.iter().filter_map(|entry| entry.app.as_deref());
    let asks: Vec<_> = wanted.filter(|app| !app.spec.suspend).collect();
    let sum = |of: fn(&App) -> Option<u64>| asks.iter().filter_map(|app| of(app)).sum::<u64>();
    let open = |of: fn(&App) -> bool| asks.iter().filter(|app| of(app)).count();
    let used = total(entries.iter().filter_map(|entry| usage.now(&entry.name)));
    json!({
        "apiVersion": view::API_VERSION,
        "kind": "Capacity",
        "host": usage.host(),
        "disk": usage.room(),
        "gpus": usage.gpus().iter().map(|gpu| card(gpu, given.get(&gpu.uuid))).collect::<Vec<_>>(),
        "asked": {
            "cpu": cores(sum(|app| app.spec.resources.cpu_millis)),
            "memory": sum(|app| app.spec.resources.memory_bytes),
            "gpus": sum(|app| app.spec.gpus.as_ref().map(|gpus| u64::from(gpus.count))),
            "gpuMemory": sum(|app| app.spec.gpus.as_ref().and_then(gpu_memory)),
            "withoutCpu": open(|app| app.spec.resources.cpu_millis.is_none()),
            "withoutMemory": open(|app| app.spec.resources.memory_bytes.is_none()),
        },
        "used": used,
        "apps": apps,
    })
}

fn app_row(entry: &Entry, usage: &History) -> Value {
    let name: &AppName = &entry.name;
    json!({
        "name": name,
        "phase": entry.status.phase,
        "asked": entry.app.as_deref().map(asked),
        "used": usage.now(name),
    })
}

/// What all apps use together.
fn total(all: impl Iterator<Item = AppUsage>) -> AppUsage {
    fn add<T>(a: Option<T>, b: Option<T>, sum: impl Fn(T, T) -> T) -> Option<T> {
        match (a, b) {
            (Some(a), Some(b)) => Some(sum(a, b)),
            (a, b) => a.or(b),
        }
    }
    let (float, whole) = (|a: f64, b: f64| a + b, u64::saturating_add);
    all.fold(AppUsage::default(), |sum, one| AppUsage {
        cpu: add(sum.cpu, one.cpu, float),
        memory: add(sum.memory, one.memory, whole),
        network_receive: add(sum.network_receive, one.network_receive, float),
        network_transmit: add(sum.network_transmit, one.network_transmit, float),
        gpu_memory: add(sum.gpu_memory, one.gpu_memory, whole),
        gpu_utilization: add(sum.gpu_utilization, one.gpu_utilization, float),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::GpuMemory;

    #[test]
    fn what_was_given_of_a_card_stands_beside_what_it_has() {
        let memory = GpuMemory { total: 80, reserved: 1, used: 5 };
        let gpu = Gpu { uuid: "GPU-a".to_owned(), memory, ..Gpu::default() };
        let listed = json!({"memory": {"asked": 12, "used": 7}, "shares": 2, "isAlone": false});
        let shown = card(&gpu, Some(&listed));
        assert_eq!(
            shown["memory"],
            json!({"total": 80, "reserved": 1, "used": 5, "asked": 12}),
            "what is measured is of one moment"
        );
        assert_eq!((&shown["shares"], &shown["isAlone"]), (&json!(2), &json!(false)));
        let unknown = card(&gpu, None);
        assert_eq!(unknown["memory"], json!({"total": 80, "reserved": 1, "used": 5}));
        assert!(unknown.get("shares").is_none() && unknown.get("isAlone").is_none());
    }
}
