//! Rollouts as documents.

use serde_json::{Value, json};

use super::API_VERSION;
use crate::model::RolloutOrder;
use crate::record::{Entry, Past};
use crate::status::{Held, RolloutStatus};

/// The rollouts of an app, oldest first.
pub(crate) fn revisions(entry: &Entry) -> Value {
    let status = entry.status.rollout.as_ref();
    json!({
        "apiVersion": API_VERSION,
        "kind": "RevisionList",
        "app": entry.name,
        "held": status.and_then(|status| status.held.as_ref()).map(held),
        "items": entry.past.iter().map(revision).collect::<Vec<_>>(),
    })
}

/// A rollout within a status.
pub(super) fn rollout(status: &RolloutStatus) -> Value {
    json!({
        "revision": status.revision,
        "started": status.started,
        "finished": status.finished,
        "downtimeMs": status.downtime_ms,
        "order": status.order.map(order),
        "by": status.by,
        "result": status.outcome,
        "message": status.message,
        "held": status.held.as_ref().map(held),
    })
}

fn held(held: &Held) -> Value {
    json!({ "revision": held.revision, "since": held.since, "message": held.message })
}

/// A revision. Its environment is not among what is shown (fault H10).
fn revision(past: &Past) -> Value {
    let Past { revision, is_image_here, is_held } = past;
    json!({
        "revision": revision.number,
        "generation": revision.generation,
        "specHash": revision.spec_hash,
        "image": revision.image,
        "imageId": revision.image_id,
        "imagePresent": is_image_here,
        "commit": revision.commit,
        "by": revision.by,
        "again": revision.again,
        "order": revision.order.map(order),
        "started": revision.started,
        "finished": revision.finished,
        "result": revision.outcome,
        "reason": revision.reason,
        "message": revision.message,
        "downtimeMs": revision.downtime_ms,
        "held": is_held,
    })
}

fn order(order: RolloutOrder) -> &'static str {
    match order {
        RolloutOrder::Auto => "auto",
        RolloutOrder::StopFirst => "stop-first",
        RolloutOrder::StartFirst => "start-first",
    }
}
