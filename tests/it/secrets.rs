//! Secrets of apps: where they come from, what their absence and their change do, and that a
//! manifest never holds one.

mod documents;
mod sources;

use std::{path::Path, sync::Arc};

use berth::{
    model::{Phase, Reason},
    secret::{Book, Secrets, Settings, Value},
    state::SecretSeen,
};

use crate::{
    rig::{Rig, is, manifest},
    sim::{Sim, image_app},
};

/// The folder of secrets below this one.
fn folder(top: &Path) -> Secrets {
    Secrets::new(top.join("secrets"))
}

fn settings(top: &Path) -> Settings {
    Settings::new(folder(top), top, "/dev/shm/not-used")
}

/// A rig whose apps get secrets from its own folder.
fn rig() -> (Rig, Secrets) {
    let mut rig = Rig::new();
    let secrets = folder(rig.folder.path());
    rig.book = Arc::new(Book::new(settings(rig.folder.path())).unwrap());
    (rig, secrets)
}

fn set(secrets: &Secrets, value: &str) {
    secrets.set("db", None, &Value::new(value)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_named_and_once_it_is_there_the_app_runs() {
    let (mut rig, secrets) = rig();
    let text = manifest("chat", "shop/app:1", "env: {DB: {secret: db}}");
    rig.files.insert("chat.yaml".to_owned(), text);
    let berth = rig.start();
    let is_missing = |reason| reason == Reason::SecretUnavailable;
    berth.until("it is missing", |r| is(r, "chat", |s| is_missing(s.reason))).await;
    let told = berth.status("chat").unwrap().message;
    assert!(told.contains("there is no secret `db`"), "{told}");
    assert!(told.contains("berth secrets set db") && told.contains("BERTH_SECRET_DB"), "{told}");
    assert_eq!(rig.count("create", "chat"), 0);
    set(&secrets, "one");
    berth.until_running("chat").await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_value_rolls_the_apps_that_use_it_and_one_that_is_gone_stops_nothing() {
    let (mut rig, secrets) = rig();
    set(&secrets, "one");
    let text = manifest("chat", "shop/app:1", "env: {DB: {secret: db}}");
    rig.files.insert("chat.yaml".to_owned(), text);
    let rig = rig.has("other", "shop/app:1");
    let berth = rig.start();
    berth.until_running("chat").await;
    berth.until_running("other").await;
    set(&secrets, "two");
    berth.until("the old one is gone", |_| rig.count("remove", "chat") == 1).await;
    berth.until_running("chat").await;
    assert_eq!((rig.count("create", "chat"), rig.count("create", "other")), (2, 1));
    // The same value again is no change.
    set(&secrets, "two");
    tokio::time::sleep(crate::rig::RESYNC * 3).await;
    assert_eq!(rig.count("create", "chat"), 2);
    secrets.remove("db", None).unwrap();
    let is_missing = |reason| reason == Reason::SecretUnavailable;
    berth.until("it is missing", |r| is(r, "chat", |s| is_missing(s.reason))).await;
    tokio::time::sleep(crate::rig::RESYNC * 3).await;
    let stopped = (rig.count("stop", "chat"), rig.count("create", "chat"));
    assert_eq!(stopped, (1, 2), "what runs goes on");
    assert_ne!(berth.status("chat").unwrap().phase, Phase::Running);
}

/// A restart of Berth knows by the seals that nothing has changed.
#[tokio::test(start_paused = true)]
async fn a_restart_of_berth_restarts_nothing() {
    let (mut rig, secrets) = rig();
    set(&secrets, "one");
    let text = manifest("chat", "shop/app:1", "env: {DB: {secret: db}}");
    rig.files.insert("chat.yaml".to_owned(), text);
    let berth = rig.start();
    berth.until_running("chat").await;
    rig.kept = berth.stop().await;
    rig.book = Arc::new(Book::new(settings(rig.folder.path())).unwrap());
    let berth = rig.start();
    berth.until_running("chat").await;
    tokio::time::sleep(crate::rig::RESYNC * 2).await;
    assert_eq!((rig.count("create", "chat"), rig.count("stop", "chat")), (1, 0));
}

#[test]
fn a_plan_names_the_secret_that_has_changed_and_shows_no_seal() {
    let app = image_app("chat", "x:1", "env: {DB: {secret: db, key: url}}\nhealth: none");
    let mut sim = Sim::new(&app).has_image("x:1");
    let seal = |digit: &str| SecretSeen::Sealed(digit.repeat(32));
    sim.state.secrets.insert("env.DB".to_owned(), seal("a"));
    let first = sim.pass(None);
    assert!(first.steps.iter().any(|step| format!("{step:?}").contains("Create")));
    sim.state.secrets.insert("env.DB".to_owned(), seal("b"));
    let text = berth::plan::render(&sim.plan());
    assert!(text.contains("secret.env.DB: as it was -> (secret, changed)"), "{text}");
    assert!(!text.contains(&"b".repeat(8)) && !text.contains(&"a".repeat(8)), "{text}");
    let why = SecretSeen::Missing("there is no secret `db`".to_owned());
    sim.state.secrets.insert("env.DB".to_owned(), why);
    let plan = sim.plan();
    assert!(plan.steps.is_empty(), "{}", berth::plan::render(&plan));
    assert_eq!(plan.refusals[0].reason, Reason::SecretUnavailable);
}

/// How tightly an app is held is part of its shape, and nobody goes below the operator.
#[test]
fn the_tight_profile_is_the_operators_or_the_apps_and_never_less() {
    use berth::model::Profile;
    let of = |rest: &str, profile: Profile| {
        let app = image_app("chat", "x:1", &format!("health: none\n{rest}"));
        let mut sim = Sim::new(&app).has_image("x:1");
        sim.policy.profile = profile;
        let plan = sim.plan();
        let refused = plan.refusals.first().map(|refusal| refusal.reason);
        (plan.container.as_ref().and_then(|made| made.shape.restricted), refused)
    };
    let (base, tight) = (Profile::Baseline, Profile::Restricted);
    assert_eq!(of("", base), (None, None));
    assert_eq!(of("", tight), (Some(65532), None));
    assert_eq!(of("security: {profile: restricted}", base), (Some(65532), None));
    let owned = "security: {profile: restricted}\nworkspace: {uid: 1000}";
    assert_eq!(of(owned, base), (Some(1000), None));
    let refused = (None, Some(Reason::NotAllowed));
    assert_eq!(of("security: {profile: baseline}", tight), refused);
    assert_eq!(of("workspace: {uid: 0}", tight), refused);
}
