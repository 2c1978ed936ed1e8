//! Whether Berth says that it is stuck when it is, and that it goes on when it does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use berth::{
    engine::fault::{Fault, Faulty},
    model::Timestamp,
    server::client::{Client, Method},
};
use tokio_util::sync::CancellationToken;

use super::{
    served::serve,
    stage::{Answer, Stage, now},
};
use crate::rig::{RESYNC, Rig};

/// How long the engine keeps silent: longer than anybody waits.
const HOUR: Duration = Duration::from_secs(3600);

/// Lets time pass, while nobody waits for the network.
async fn pass(time: Duration) {
    tokio::time::pause();
    for _ in 0..4 {
        tokio::time::advance(time / 4).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::resume();
}

async fn until(client: &Client, status: u16) -> String {
    for _ in 0..200 {
        // A connection may have ended while time passed.
        let answer = client.ask(Method::GET, "/livez", None).await.ok();
        if let Some(answer) = answer.filter(|answer| answer.status == status) {
            return String::from_utf8_lossy(&answer.body).into_owned();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("/livez never answered {status}");
}

/// Fault H15: the loop hangs in a call that never ends, and goes on when it does.
#[tokio::test]
async fn a_loop_that_hangs_is_not_alive_until_it_goes_on() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let is_stuck = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_stuck);
    let engine = Faulty::new(Arc::new(rig.fake.clone()), move |call| {
        let is_it = call.kind == "observe" && asked.load(Ordering::Relaxed);
        if is_it { Fault::Stall(HOUR) } else { Fault::Pass }
    });
    let berth = rig.start_on(Arc::new(engine));
    berth.until("it has looked", |record| record.overview().resynced_at.is_some()).await;
    let stop = CancellationToken::new();
    let address = serve(&rig, &berth, &stop).await;
    let client = Client::new(&format!("http://{address}")).unwrap();
    assert!(until(&client, 200).await.contains("alive"));
    // Silence alone is not death: it goes on looking meanwhile.
    pass(RESYNC * 8).await;
    assert!(until(&client, 200).await.contains("alive"));
    is_stuck.store(true, Ordering::Relaxed);
    pass(RESYNC * 8).await;
    let told = until(&client, 503).await;
    assert!(told.contains("the controller has done nothing for"), "{told}");
    is_stuck.store(false, Ordering::Relaxed);
    pass(HOUR).await;
    assert!(until(&client, 200).await.contains("alive"));
    stop.cancel();
    berth.stop().await;
}

/// Fault H15: a health endpoint must not lie.
#[tokio::test]
async fn ready_is_said_only_while_the_engine_answers_and_looks_are_fresh() {
    let stage = Stage::start().await;
    let reasons = |answer: &Answer| answer.json()["reasons"].as_array().unwrap().len();
    let answer = stage.get("/readyz").await;
    assert_eq!((answer.status, reasons(&answer)), (503, 2), "{answer:?}");
    assert_eq!(stage.get("/livez").await.status, 200);
    stage.settle();
    assert_eq!(stage.get("/readyz").await.status, 200);
    stage.record.update_overview(|overview| {
        let old = now().as_millis() - 90_000;
        overview.resynced_at = Some(Timestamp::from_millis(old));
    });
    let answer = stage.get("/readyz").await;
    assert_eq!((answer.status, reasons(&answer)), (503, 1), "{answer:?}");
    stage.settle();
    stage.record.update_overview(|overview| {
        overview.engine_error = Some("refused".to_owned());
    });
    let answer = stage.get("/readyz").await;
    assert!(answer.status == 503 && answer.body.contains("refused"), "{answer:?}");
    assert_eq!(stage.get("/health").await.json()["docker"], "unhealthy");
    let text = stage.get("/metrics").await.body;
    assert!(text.contains("\nberth_engine_up 0\n"), "who it was stays known: {text}");
}
