//! Leases of GPUs, for programs that Berth does not run.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    Shared, actions,
    dry::{self, Dry},
    models::Asker,
    once,
    problem::Problem,
    request::Asked,
};
use crate::model::{GpuAsk, GpuShare, GpuVendor, parse_bytes, parse_duration};
use crate::record::{Command, LeaseOrder};

const LEASES: &str = "/api/v1/gpus/leases";
/// The longest body that makes sense.
const BODY_MAX: usize = 16 * 1024;
/// How long a lease may be, in seconds; whoever needs it longer renews it.
const TTL_S: (u64, u64) = (1, 24 * 3600);
const COUNT_MAX: u32 = 64;

type Answer = Result<Response, Problem>;

/// What is asked for.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Acquire {
    /// What it calls itself, for people.
    #[schemars(length(min = 1, max = 100))]
    holder: String,
    /// How many. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 64))]
    count: u32,
    /// Which, by UUID. Default: any.
    #[serde(default)]
    ids: Vec<String>,
    /// How much memory of each, like `12Gi`.
    memory: Option<String>,
    /// Whether others may use them meanwhile. Default: `exclusive`.
    #[serde(default)]
    #[schemars(with = "String")]
    share: GpuShare,
    /// Their model.
    model: Option<String>,
    /// Their vendor.
    #[schemars(with = "Option<String>")]
    vendor: Option<GpuVendor>,
    /// The profile of a MIG instance.
    mig: Option<String>,
    /// Who goes first; the highest does.
    #[serde(default)]
    #[schemars(range(min = -100, max = 100))]
    priority: i32,
    /// For how long: from `1s` to `24h`.
    ttl: String,
}

/// What is renewed.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Renew {
    /// The lease's own.
    fence: u64,
    /// For how long from now.
    ttl: String,
}

/// Whose lease it is that is released.
#[derive(Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Release {
    /// The lease's own.
    fence: u64,
}

fn one() -> u32 {
    1
}

/// `GET /api/v1/gpus/leases`
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Answer {
    Ok((StatusCode::OK, Json(ask(&shared, LeaseOrder::List).await?)).into_response())
}

/// `POST /api/v1/gpus/leases`
pub(super) async fn acquire(
    State(shared): State<Arc<Shared>>,
    dry: Dry,
    asker: Asker,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let bytes = whole(body).await?;
    let wanted: Acquire = parse(&bytes)?;
    let ttl = ttl(&wanted.ttl)?;
    let holder = wanted.holder.trim().to_owned();
    if holder.is_empty() || 100 < holder.len() || holder.contains(char::is_control) {
        return Err(Problem::bad_request("`holder` is a name of 1 to 100 bytes, for people"));
    }
    let gpus = gpu_ask(wanted)?;
    let order = LeaseOrder::Acquire { holder, ask: gpus, ttl };
    if dry.0 {
        return dry::lease(&shared, &headers, order, "would be given").await;
    }
    let key = once::key(&headers, asker.identity(), LEASES)?;
    let asking = Arc::clone(&shared);
    let work = async move { Ok((StatusCode::CREATED, ask(&asking, order).await?)) };
    let ((status, lease), is_again) = shared.once.done(key, &bytes, work).await?;
    let location = format!("{LEASES}/{}", lease["id"].as_str().unwrap_or_default());
    let response = (status, [(header::LOCATION, location)], Json(lease)).into_response();
    Ok(once::replayed(response, is_again))
}

/// `POST /api/v1/gpus/leases/{id}/renew`
pub(super) async fn renew(
    State(shared): State<Arc<Shared>>,
    dry: Dry,
    headers: HeaderMap,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let Renew { fence: token, ttl: text } = read(body).await?;
    let order = LeaseOrder::Renew { id, token, ttl: ttl(&text)? };
    if dry.0 {
        return dry::lease(&shared, &headers, order, "would be renewed").await;
    }
    Ok((StatusCode::OK, Json(ask(&shared, order).await?)).into_response())
}

/// `DELETE /api/v1/gpus/leases/{id}?fence=N`
pub(super) async fn release(
    State(shared): State<Arc<Shared>>,
    dry: Dry,
    headers: HeaderMap,
    Path(id): Path<String>,
    Asked(Release { fence: token }): Asked<Release>,
) -> Answer {
    let order = LeaseOrder::Release { id, token };
    if dry.0 {
        return dry::lease(&shared, &headers, order, "would be released").await;
    }
    Ok((StatusCode::OK, Json(ask(&shared, order).await?)).into_response())
}

async fn ask(shared: &Shared, order: LeaseOrder) -> Result<Value, Problem> {
    let document = actions::ask(shared, Command::Lease(order)).await?;
    Ok(serde_json::from_str(&document).unwrap_or_else(|_| json!({})))
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    parse(&whole(body).await?)
}

async fn whole(body: Body) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, BODY_MAX).await.map_err(|error| unexpected(&error))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| unexpected(&error))
}

fn unexpected(why: &dyn std::fmt::Display) -> Problem {
    Problem::bad_request(format!("the body is not as expected: {why}"))
}

fn ttl(text: &str) -> Result<Duration, Problem> {
    let (min, max) = TTL_S;
    let wrong =
        || Problem::bad_request(format!("`ttl` is a duration from {min}s to {max}s, like `5m`"));
    let ttl = parse_duration(text).map_err(|_| wrong())?;
    if (min..=max).contains(&ttl.as_secs()) { Ok(ttl) } else { Err(wrong()) }
}

fn gpu_ask(wanted: Acquire) -> Result<GpuAsk, Problem> {
    let wrong = |why: &str| Err(Problem::bad_request(why));
    let memory = wanted.memory.as_deref().map(parse_bytes).transpose();
    let Ok(memory_bytes) = memory else {
        return wrong("`memory` is a size, like `12Gi`");
    };
    let named = u32::try_from(wanted.ids.len()).unwrap_or(u32::MAX);
    let count = if wanted.ids.is_empty() { wanted.count } else { named };
    if !(1..=COUNT_MAX).contains(&count) {
        return wrong("`count` is a number from 1 to 64");
    }
    let is_uuid = |id: &String| id.starts_with("GPU-") || id.starts_with("MIG-");
    let mut ids = wanted.ids.clone();
    ids.sort();
    ids.dedup();
    if !wanted.ids.iter().all(is_uuid) || ids.len() != wanted.ids.len() {
        return wrong(
            "`ids` are UUIDs of GPUs, each once: an index may name another card after the next boot",
        );
    }
    if wanted.share == GpuShare::Memory && memory_bytes.is_none_or(|bytes| bytes == 0) {
        return wrong("`share: memory` needs `memory`: how much is promised");
    }
    if wanted.share == GpuShare::Memory && wanted.mig.is_some() {
        return wrong("a MIG instance can't be shared");
    }
    if !(-100..=100).contains(&wanted.priority) {
        return wrong("`priority` is a number from -100 to 100");
    }
    Ok(GpuAsk {
        count,
        ids: wanted.ids,
        memory_bytes,
        share: wanted.share,
        model: wanted.model,
        vendor: wanted.vendor,
        mig: wanted.mig,
        capabilities: Vec::new(),
        priority: wanted.priority,
    })
}
