//! `spec.metrics`: where an app tells figures is no part of its container.

use std::sync::Arc;

use berth::{model::MetricsSpec, plan::render};

use crate::{
    api::stage::{Stage, entry},
    rig::{Rig, manifest, name},
    sim::{Sim, image_app},
};

const FIELD: &str = "metrics: {port: 9100, path: /figures}";

#[tokio::test(start_paused = true)]
async fn a_change_of_it_restarts_nothing() {
    let rig = Rig::new().has("chat", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    let before = berth.status("chat").unwrap();
    for (rest, port) in [(FIELD, Some(9100)), ("metrics: {port: 9101}", Some(9101)), ("", None)] {
        berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:1", rest));
        let is_known = |record: &berth::record::Record| {
            let entry = record.entry(&name("chat")).unwrap();
            let told = entry.app.as_ref().unwrap().spec.metrics.as_ref();
            told.map(|metrics| metrics.port) == port
                && entry.status.observed_generation == entry.generation
        };
        berth.until("the manifest was read", is_known).await;
        berth.until_running("chat").await;
    }
    let generation = berth.record.entry(&name("chat")).unwrap().generation;
    assert_eq!(generation, 4, "each change was seen");
    assert_eq!(berth.status("chat").unwrap().container_id, before.container_id);
    for verb in ["create", "stop", "remove"] {
        assert_eq!(rig.count(verb, "chat"), usize::from(verb == "create"), "{verb}");
    }
    berth.stop().await;
}

/// The hash of a container says nothing of it, and an app without it is what it always was.
#[test]
fn it_is_no_part_of_the_containers_hash() {
    let (without, with) = (image_app("chat", "web:1", ""), image_app("chat", "web:1", FIELD));
    let mut sim = Sim::new(&without).has_image("web:1");
    sim.settle();
    sim.want = berth::state::Want::Present(Arc::clone(&with));
    let plan = sim.plan();
    assert!(plan.is_empty(), "{}", render(&plan));
    let json = |app: &berth::model::App| serde_json::to_string(&app.spec).unwrap();
    assert!(json(&with).contains("\"metrics\"") && !json(&without).contains("\"metrics\""));
}

#[tokio::test]
async fn it_is_shown_in_the_manifests_words() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    assert!(stage.get("/api/v1/apps/chat").await.json()["spec"]["metrics"].is_null());
    let metrics = MetricsSpec { port: 9100, path: "/figures".to_owned() };
    stage.put("chat", |_| ());
    let mut told = entry("chat");
    Arc::make_mut(told.app.as_mut().unwrap()).spec.metrics = Some(metrics);
    stage.record.write(told);
    let shown = stage.get("/api/v1/apps/chat").await.json();
    let again = serde_json::json!({
        "apiVersion": shown["apiVersion"], "kind": shown["kind"],
        "metadata": {"name": "chat"}, "spec": shown["spec"],
    });
    let read = berth::manifest::read_file("again.yaml", again.to_string().as_bytes());
    assert_eq!(read.diagnostics, []);
    let metrics = read.apps[0].spec.metrics.as_ref().unwrap();
    assert_eq!((metrics.port, metrics.path.as_str()), (9100, "/figures"));
}
