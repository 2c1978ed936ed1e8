//! Apps as documents.

use serde_json::{Value, json};

use super::{
    API_VERSION, certificate, engine, plan::summary, rollout::rollout, source, spec::spec,
};
use crate::model::{Condition, MountedModel, PortBinding};
use crate::record::{Entry, Overview};
use crate::status::Status;

/// All apps, with what is known about everything else.
pub(crate) fn apps<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    revision: u64,
    overview: &Overview,
) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "AppList",
        "metadata": { "revision": revision },
        "source": source(overview),
        "engine": engine(overview),
        "certificate": certificate(overview),
        "items": entries.into_iter().map(app).collect::<Vec<_>>(),
    })
}

/// One app.
pub(crate) fn app(entry: &Entry) -> Value {
    let app = entry.app.as_deref();
    json!({
        "apiVersion": API_VERSION,
        "kind": "App",
        "metadata": {
            "name": entry.name,
            "labels": app.map(|app| &app.labels),
            "annotations": app.map(|app| &app.annotations),
            "generation": entry.generation,
            "revision": entry.revision,
            "origin": app.map(|app| json!({ "file": app.origin.file, "line": app.origin.line })),
        },
        "spec": app.map(|app| spec(&app.spec)),
        "status": status(entry, &entry.status),
    })
}

fn status(entry: &Entry, status: &Status) -> Value {
    let mut shown = json!({
        "phase": status.phase,
        "reason": status.reason,
        "message": status.message,
        "url": status.url,
        "conditions": status.conditions.iter().map(condition).collect::<Vec<_>>(),
        "observedGeneration": status.observed_generation,
        "revision": status.revision,
        "commit": status.commit,
        "image": status.image,
        "imageDigest": status.image_digest,
        "containerId": status.container_id,
        "ports": status.ports.iter().map(port).collect::<Vec<_>>(),
        "gpus": status.gpus,
        "gpuWay": status.gpu_way,
        "models": models(status),
        "restarts": status.restarts,
        "since": status.since,
        "rollout": status.rollout.as_ref().map(rollout),
        "plan": summary(&entry.plan),
    });
    if let Some(behind) = &status.commits_behind {
        shown["commitsBehind"] = json!(behind.commits);
        if behind.is_more {
            shown["commitsBehindIsMinimum"] = json!(true);
        }
    }
    shown
}

/// What is mounted of the model store.
fn models(status: &Status) -> Vec<Value> {
    let one = |(path, mounted): (&String, &MountedModel)| {
        json!({
            "path": path,
            "model": mounted.model,
            "version": mounted.version,
            "file": mounted.file,
            "sha256": mounted.digest,
        })
    };
    status.models.iter().map(one).collect()
}

fn condition(condition: &Condition) -> Value {
    json!({
        "type": condition.kind,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition,
    })
}

fn port(port: &PortBinding) -> Value {
    json!({
        "hostIp": port.host_ip,
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": port.protocol,
    })
}
