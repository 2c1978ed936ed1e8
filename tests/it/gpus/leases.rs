//! Leases: programs outside Berth take part.

use std::time::Duration;

use berth::{
    model::{GpuAsk, GpuShare},
    record::{Command, CommandError, LeaseOrder},
    state::GpuLease,
};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    GIB,
    scenes::{host, put, until_waits},
};
use crate::rig::Berth;

const TTL: Duration = Duration::from_secs(60);

async fn order(berth: &Berth, order: LeaseOrder) -> Result<Value, &'static str> {
    match berth.command(Command::Lease(order)).await {
        Ok(document) => Ok(serde_json::from_str(&document).unwrap()),
        Err(CommandError::Gpu { code, message }) => {
            assert!(!message.is_empty());
            Err(code)
        }
        Err(other) => panic!("{other}"),
    }
}

async fn acquire(berth: &Berth, ask: GpuAsk) -> Result<(String, u64), &'static str> {
    let holder = "trainer".to_owned();
    let lease = order(berth, LeaseOrder::Acquire { holder, ask, ttl: TTL }).await?;
    Ok((lease["id"].as_str().unwrap().to_owned(), lease["fence"].as_u64().unwrap()))
}

async fn release(berth: &Berth, (id, token): (String, u64)) -> Result<Value, &'static str> {
    order(berth, LeaseOrder::Release { id, token }).await
}

/// Apps respect leases, leases respect apps, and both respect who waits longer.
#[tokio::test(start_paused = true)]
async fn a_lease_holds_what_an_app_would_get() {
    let rig = host(1);
    let berth = rig.start();
    let first = acquire(&berth, GpuAsk::whole(1)).await.unwrap();
    put(&berth, "chat", "shop/app:1", "1");
    let why = until_waits(&berth, "chat").await;
    assert_eq!(why, "needs 1 GPU for itself; GPU-a held by trainer (a lease)");
    assert_eq!(acquire(&berth, GpuAsk::whole(1)).await, Err("gpu.busy"));
    assert_eq!(acquire(&berth, GpuAsk::whole(2)).await, Err("gpu.none"));
    assert_eq!(release(&berth, (first.0.clone(), first.1 - 1)).await, Err("gpu.fenced"));
    release(&berth, first.clone()).await.unwrap();
    let released = Instant::now();
    // Nobody takes it before the app, which has waited.
    assert_eq!(acquire(&berth, GpuAsk::whole(1)).await, Err("gpu.busy"));
    berth.until("it starts", |_| 0 < rig.count("start", "chat")).await;
    assert!(released.elapsed() < Duration::from_secs(2), "{:?}", released.elapsed());
    berth.until_running("chat").await;
    assert_eq!(release(&berth, first).await, Err("gpu.no-lease"));
    assert_eq!(acquire(&berth, GpuAsk::whole(1)).await, Err("gpu.busy"));
}

/// Who does not renew loses it, and the token of the next one is larger.
#[tokio::test(start_paused = true)]
async fn a_lease_ends_by_itself_unless_it_is_renewed() {
    let rig = host(1);
    let berth = rig.start();
    let (id, token) = acquire(&berth, GpuAsk::whole(1)).await.unwrap();
    put(&berth, "chat", "shop/app:1", "1");
    until_waits(&berth, "chat").await;
    for _ in 0..3 {
        tokio::time::sleep(TTL / 2).await;
        let renewed = order(&berth, LeaseOrder::Renew { id: id.clone(), token, ttl: TTL }).await;
        assert_eq!(renewed.unwrap()["fence"], token);
    }
    assert_eq!(rig.count("create", "chat"), 0);
    let begin = Instant::now();
    berth.until("it starts", |_| 0 < rig.count("start", "chat")).await;
    let passed = begin.elapsed();
    assert!(TTL <= passed && passed < TTL + Duration::from_secs(2), "{passed:?}");
    let late = LeaseOrder::Renew { id, token, ttl: TTL };
    assert_eq!(order(&berth, late).await, Err("gpu.no-lease"));
    berth.manifests.remove("chat.yaml");
    berth.until_gone("chat").await;
    let next = acquire(&berth, GpuAsk::whole(1)).await.unwrap();
    assert!(token < next.1);
}

/// However many programs forget to give theirs back, Berth keeps so many and no more.
#[tokio::test(start_paused = true)]
async fn there_is_an_end_of_leases() {
    let mut rig = host(1);
    let berth = rig.start();
    let share = GpuAsk { share: GpuShare::Memory, memory_bytes: Some(1), ..GpuAsk::whole(1) };
    let first = acquire(&berth, share.clone()).await.unwrap();
    rig.kept = berth.stop().await;
    let lease = rig.kept.leases.list[&first.0].clone();
    for nth in 1..1000 {
        let id = format!("gpu-{nth}");
        rig.kept.leases.list.insert(id.clone(), GpuLease { id, ..lease.clone() });
    }
    let berth = rig.start();
    let listed = order(&berth, LeaseOrder::List).await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1000);
    assert_eq!(acquire(&berth, share.clone()).await, Err("gpu.too-many-leases"));
    release(&berth, first).await.unwrap();
    acquire(&berth, share).await.unwrap();
}

/// A lease is on the disk before it is given, so a restart of Berth knows it; shares lie beside
/// each other.
#[tokio::test(start_paused = true)]
async fn a_lease_outlives_berth() {
    let mut rig = host(1);
    let berth = rig.start();
    let share =
        |gib| GpuAsk { share: GpuShare::Memory, memory_bytes: Some(gib * GIB), ..GpuAsk::whole(1) };
    let first = acquire(&berth, share(16)).await.unwrap();
    acquire(&berth, share(4)).await.unwrap();
    assert_eq!(acquire(&berth, share(5)).await, Err("gpu.busy"));
    rig.kept = berth.stop().await;
    let berth = rig.start();
    let listed = order(&berth, LeaseOrder::List).await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    put(&berth, "chat", "shop/app:1", "{share: memory, memory: 5Gi}");
    let why = until_waits(&berth, "chat").await;
    assert!(why.contains("needs 5 GiB on 1 GPU; largest free 4 GiB on GPU-a"), "{why}");
    let book = berth.command(Command::ListGpus).await.unwrap();
    let book: Value = serde_json::from_str(&book).unwrap();
    assert_eq!(book["gpus"][0]["holders"].as_array().unwrap().len(), 2, "{book}");
    assert_eq!(book["queue"][0]["app"], "chat");
    assert_eq!(book["queue"][0]["message"], Value::from(why));
    release(&berth, first).await.unwrap();
    berth.until_running("chat").await;
}
