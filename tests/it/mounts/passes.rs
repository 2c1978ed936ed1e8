//! What passes do about stored models: wait, mount, follow, keep.

use std::sync::Arc;

use berth::{
    model::{Phase, Reason},
    plan::render,
    store::{Depot, Require},
};

use super::{depot, key, now, put, stable};
use crate::{
    rig::{Berth, RESYNC, Rig, is, manifest, name},
    sim::{Sim, image_app},
};

const AT: &str = "mounts: [{path: /models/llm, model: demo/llm@stable}]";

/// A rig whose apps have a model store.
fn rig(rest: &str) -> (Rig, Arc<Depot>, tempfile::TempDir) {
    let (depot, folder) = depot();
    let mut rig = Rig::new();
    rig.models = Some(Arc::clone(&depot));
    rig.files.insert("chat.yaml".to_owned(), manifest("chat", "shop/app:1", rest));
    (rig, depot, folder)
}

fn version(berth: &Berth) -> Option<String> {
    let models = berth.status("chat")?.models;
    models.get("/models/llm").map(|mounted| mounted.version.clone())
}

async fn until_version(berth: &Berth, wanted: &str) {
    let what = format!("{wanted} is mounted");
    berth
        .until(&what, |record| {
            is(record, "chat", |s| {
                s.phase == Phase::Running
                    && s.models.get("/models/llm").is_some_and(|it| it.version == wanted)
            })
        })
        .await;
}

/// An app whose alias was moved from 1.0.0 to 2.0.0, and that follows.
async fn moved() -> (Rig, Arc<Depot>, tempfile::TempDir, Berth) {
    let (rig, depot, folder) = rig(AT);
    let store = Arc::clone(depot.store().unwrap());
    for version in ["1.0.0", "2.0.0"] {
        put(&depot, &format!("demo/llm/{version}/m"), version);
    }
    stable(&store, "1.0.0");
    let berth = rig.start();
    until_version(&berth, "1.0.0").await;
    stable(&store, "2.0.0");
    until_version(&berth, "2.0.0").await;
    berth.until("the old one is gone", |_| rig.count("remove", "chat") == 1).await;
    (rig, depot, folder, berth)
}

#[tokio::test(start_paused = true)]
async fn an_app_waits_for_its_model_and_starts_as_soon_as_that_is_there() {
    let (rig, depot, _folder) = rig(AT);
    let berth = rig.start();
    let waits = |s: &berth::status::Status| s.reason == Reason::ModelMissing;
    berth.until("it waits", |record| is(record, "chat", waits)).await;
    let status = berth.status("chat").unwrap();
    assert_eq!(status.phase, Phase::Installed);
    assert!(status.message.contains("demo/llm@stable can't be mounted"), "{}", status.message);
    assert_eq!(rig.count("create", "chat"), 0);
    put(&depot, "demo/llm/1.0.0/m", "one");
    stable(depot.store().unwrap(), "1.0.0");
    // The store's change wakes it: no resync is waited for.
    let begun = tokio::time::Instant::now();
    until_version(&berth, "1.0.0").await;
    assert!(begun.elapsed() < RESYNC / 2, "{:?}", begun.elapsed());
    let entry = berth.record.entry(&name("chat")).unwrap();
    let text = render(&entry.plan);
    assert!(text.contains("/models/llm: model demo/llm@1.0.0 sha256:"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_moved_alias_and_a_changed_version_roll_the_app_and_equal_words_do_not() {
    let (rig, depot, _folder, berth) = moved().await;
    // The version by its own name is the same thing.
    let exact = AT.replace("@stable", "@2.0.0");
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:1", &exact));
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!(rig.count("create", "chat"), 2);
    // Another content under the same name is another thing.
    put(&depot, "demo/llm/2.0.0/m", "changed");
    berth.until("it rolls", |_| rig.count("remove", "chat") == 2).await;
    until_version(&berth, "2.0.0").await;
    assert_eq!(rig.count("create", "chat"), 3);
}

#[tokio::test(start_paused = true)]
async fn what_runs_goes_on_when_its_model_is_gone() {
    let (rig, depot, _folder) = rig(AT);
    let store = Arc::clone(depot.store().unwrap());
    put(&depot, "demo/llm/1.0.0/m", "one");
    stable(&store, "1.0.0");
    let berth = rig.start();
    until_version(&berth, "1.0.0").await;
    store.delete(&key("demo/llm/1.0.0/m"), &Require::Nothing, now()).unwrap();
    berth.until("it says so", |r| is(r, "chat", |s| s.reason == Reason::ModelMissing)).await;
    tokio::time::sleep(RESYNC * 3).await;
    assert_eq!((rig.count("create", "chat"), rig.count("stop", "chat")), (1, 0));
    assert_eq!(version(&berth).as_deref(), Some("1.0.0"));
    // There again with the same content, it is the same.
    put(&depot, "demo/llm/1.0.0/m", "one");
    until_version(&berth, "1.0.0").await;
    assert_eq!((rig.count("create", "chat"), rig.count("stop", "chat")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_app_that_does_not_follow_keeps_what_it_runs_and_says_what_is_newer() {
    let rest = format!("{AT}\nmodels: {{follow: false}}");
    let (mut rig, depot, _folder) = rig(&rest);
    let store = Arc::clone(depot.store().unwrap());
    for version in ["1.0.0", "2.0.0"] {
        put(&depot, &format!("demo/llm/{version}/m"), version);
    }
    stable(&store, "1.0.0");
    let berth = rig.start();
    until_version(&berth, "1.0.0").await;
    stable(&store, "2.0.0");
    let tells = |s: &berth::status::Status| s.message.contains("demo/llm@stable is 2.0.0");
    berth.until("it says so", |record| is(record, "chat", tells)).await;
    assert_eq!((rig.count("create", "chat"), version(&berth).as_deref()), (1, Some("1.0.0")));
    // Nor does a restart of Berth, nor a change of something else, take the newer one.
    rig.kept = berth.stop().await;
    let changed = format!("{rest}\nenv: {{A: \"1\"}}");
    rig.files.insert("chat.yaml".to_owned(), manifest("chat", "shop/app:1", &changed));
    let berth = rig.start();
    berth.until("it rolls", |_| rig.count("remove", "chat") == 1).await;
    until_version(&berth, "1.0.0").await;
    // Asked for in other words, it is looked up anew.
    let other = changed.replace("@stable", "@latest");
    berth.manifests.put("chat.yaml", &manifest("chat", "shop/app:1", &other));
    until_version(&berth, "2.0.0").await;
}

#[tokio::test(start_paused = true)]
async fn an_undo_brings_back_the_model_that_ran_whatever_the_alias_means_now() {
    let (_rig, _depot, _folder, berth) = moved().await;
    berth.command(berth::record::Command::Undo(name("chat"), None)).await.unwrap();
    until_version(&berth, "1.0.0").await;
    tokio::time::sleep(RESYNC * 2).await;
    assert_eq!(version(&berth).as_deref(), Some("1.0.0"));
}

#[test]
fn a_plan_names_both_versions() {
    use berth::state::ModelSeen;
    let app = image_app("chat", "x:1", &format!("{AT}\nhealth: none"));
    let mut sim = Sim::new(&app).has_image("x:1");
    let here = |version: &str| ModelSeen::Here {
        version: version.to_owned(),
        digest: berth::model::Digest::of_bytes(version.as_bytes()),
    };
    sim.state.models.insert("/models/llm".to_owned(), here("1.0.0"));
    sim.settle();
    sim.state.models.insert("/models/llm".to_owned(), here("2.0.0"));
    sim.let_time_pass(std::time::Duration::from_mins(5));
    let text = render(&sim.plan());
    assert!(text.contains("~ model./models/llm: demo/llm@1.0.0 sha256:"), "{text}");
    assert!(text.contains("-> demo/llm@2.0.0 sha256:"), "{text}");
    let missing = ModelSeen::Missing("gone".to_owned());
    sim.state.models.insert("/models/llm".to_owned(), missing);
    let plan = sim.plan();
    assert!(plan.steps.is_empty(), "{}", render(&plan));
    assert_eq!(plan.waits[0].reason, Reason::ModelMissing);
}

/// The address comes from the operator; what an app is given besides is nobody's to read.
#[test]
fn an_app_that_asks_for_the_hub_gets_its_address_and_a_sealed_token() {
    use berth::{model::HUB_TOKEN, state::SecretSeen};
    let app = image_app("chat", "x:1", "models: {hub: true}\nhealth: none");
    let mut sim = Sim::new(&app).has_image("x:1");
    let plan = sim.plan();
    assert_eq!(plan.refusals[0].reason, Reason::NotAllowed);
    assert!(plan.refusals[0].message.contains("--hub-url"), "{}", render(&plan));
    sim.policy.hub = Some("http://172.17.0.1:8000".to_owned());
    let missing = sim.plan();
    assert_eq!(missing.refusals[0].reason, Reason::SecretUnavailable);
    let seal = SecretSeen::Sealed("a".repeat(32));
    sim.state.secrets.insert("env.HF_TOKEN".to_owned(), seal);
    let plan = sim.plan();
    let shape = &plan.container.as_ref().unwrap().shape;
    assert_eq!(shape.env["HF_ENDPOINT"], "http://172.17.0.1:8000");
    let wanted = &shape.secrets["env.HF_TOKEN"].wanted;
    assert_eq!((wanted.secret.as_str(), wanted.key()), (HUB_TOKEN, "chat"));
    // Who brings an own one keeps it.
    let own = "models: {hub: true}\nenv: {HF_ENDPOINT: \"http://h\", HF_TOKEN: \"\"}\nhealth: none";
    let mut sim = Sim::new(&image_app("chat", "x:1", own)).has_image("x:1");
    let plan = sim.plan();
    let shape = &plan.container.as_ref().unwrap().shape;
    assert!(shape.secrets.is_empty() && shape.env["HF_ENDPOINT"] == "http://h");
}
