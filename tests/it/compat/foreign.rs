//! Containers that are not ours: seen by all, touched by nobody but who asks for it.

use std::{cell::RefCell, collections::BTreeMap};

use berth::{
    engine::{Engine as _, ResolvedCall, fake::Fake},
    model::{AppName, Command, PortBinding, Protocol, Resources, RestartPolicy, SpecHash},
    plan::{Call, ContainerSpec, Shape},
    state::{ContainerState, container_name},
};
use serde_json::json;

use super::Stage;

fn port(host_port: u16) -> PortBinding {
    let host_ip = "0.0.0.0".to_owned();
    PortBinding { host_ip, host_port, container_port: 5432, protocol: Protocol::Tcp }
}

#[tokio::test]
async fn a_foreign_container_is_listed_and_acted_on_by_request_and_recorded() {
    let stage = Stage::with(|fake| drop(fake.add_foreign("db", vec![port(5432)])), |_| ()).await;
    let all = stage.good("GET", "/containers", "").await;
    let short = all[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&all[0]["name"], &all[0]["managed"]), (&json!("db"), &json!(false)));
    assert_eq!(all[0]["ports"], json!({ "5432/tcp": "0.0.0.0:5432" }));
    assert!(all[0].get("app").is_none() && all[0].get("url").is_none());
    let told = stage.good("POST", "/containers/db/stop", "").await;
    assert_eq!(told, json!({ "message": "Container db stopped successfully" }));
    assert_eq!(stage.good("GET", "/containers/db", "").await["state"], "exited");
    stage.good("POST", "/containers/db/stop", "").await;
    stage.good("POST", &format!("/containers/{short}/start"), "").await;
    assert_eq!(stage.good("GET", "/containers/db", "").await["state"], "running");
    stage.good("POST", "/containers/db/start", "").await;
    stage.good("DELETE", "/containers/db", "").await;
    assert_eq!(stage.good("GET", "/containers", "").await, json!([]));
    let object = format!("container/db ({short})");
    let trail = stage.trail().await;
    assert_eq!(trail.len(), 5, "{trail:?}");
    assert!(trail.iter().all(|row| row.0 == object && row.3 == "done"), "{trail:?}");
    let states: Vec<_> = trail.iter().map(|row| (row.1.as_str(), row.2.as_str())).collect();
    assert_eq!(states[0], (r#"{"state":"running"}"#, r#"{"state":"exited"}"#));
    assert_eq!(states[4], (r#"{"state":"running"}"#, r#"{"state":"removed"}"#));
    stage.end().await;
}

/// A port that somebody else holds keeps a foreign container from starting; it is said so.
#[tokio::test]
async fn what_the_engine_refuses_is_said() {
    let stage = Stage::with(
        |fake| {
            fake.add_foreign("db", vec![port(5432)]);
            fake.stop_foreign("db");
            fake.take_port((Protocol::Tcp, 5432));
        },
        |_| (),
    )
    .await;
    let (status, detail) = stage.refused("POST", "/containers/db/start", "").await;
    assert_eq!(status, 409, "{detail}");
    assert!(detail.contains("port"), "{detail}");
    stage.end().await;
}

/// Faults D22, D23: another Berth would undo it, and Berth must not end itself.
#[tokio::test]
async fn another_berths_containers_and_our_own_one_are_left_alone() {
    let own = RefCell::new(None);
    let stage = Stage::with(
        |fake| *own.borrow_mut() = Some(fake.add_foreign("berth", Vec::new())),
        |parts| parts.compat.own_container.clone_from(&own.borrow()),
    )
    .await;
    let theirs = made_by_another_berth(&stage.fake).await;
    let before = stage.fake.journal().len();
    for verb in ["start", "stop", ""] {
        let method = if verb.is_empty() { "DELETE" } else { "POST" };
        for (name, words) in [
            ("berth", "berth is the container that Berth itself runs in"),
            (theirs.as_str(), "belongs to another Berth, the instance `rival`"),
        ] {
            let path = format!("/containers/{name}/{verb}");
            let (status, detail) = stage.refused(method, &path, "").await;
            assert_eq!((status, detail.contains(words)), (409, true), "{method} {path}: {detail}");
        }
    }
    assert_eq!(stage.fake.journal().len(), before);
    let seen = stage.good("GET", "/containers", "").await;
    assert!(seen.as_array().unwrap().iter().all(|one| one["managed"] == false), "{seen}");
    stage.end().await;
}

/// Makes a container as another instance does; answers its name.
async fn made_by_another_berth(fake: &Fake) -> String {
    let shape = Shape {
        image: "shop/app:1".to_owned(),
        command: Command::Image,
        env: BTreeMap::new(),
        ports: Vec::new(),
        mounts: Vec::new(),
        resources: Resources::default(),
        restart: RestartPolicy::Always,
        network: "theirs".to_owned(),
        gpus: None,
        secrets: BTreeMap::new(),
        restricted: None,
        models: BTreeMap::new(),
        services: None,
    };
    let (app, spec_hash) = (AppName::new("chat").unwrap(), SpecHash::of(&shape));
    let name = container_name(&app, &spec_hash);
    let spec = ContainerSpec {
        name: name.clone(),
        instance: "rival".to_owned(),
        app,
        generation: 1,
        spec_hash,
        build: None,
        commit: None,
        fields: String::new(),
        grace_s: 1,
        gpu_way: None,
        shape,
    };
    let call = Call::Create(Box::new(spec));
    fake.apply(&ResolvedCall { call: &call, id: None, given: berth::secret::Given::default() })
        .await
        .unwrap();
    name
}

#[tokio::test]
async fn passes_leave_foreign_containers_as_they_are() {
    let stage = Stage::with(|fake| drop(fake.add_foreign("db", vec![port(19_001)])), |_| ()).await;
    let made = stage.good("POST", "/containers/create", r#"{"name": "web"}"#).await;
    assert_eq!(made["ports"]["5000/udp"], "127.0.0.1:19001", "another protocol is another port");
    stage.good("DELETE", "/containers/web", "").await;
    let world = stage.fake.world();
    assert_eq!(world.containers.len(), 1);
    assert_eq!(world.containers[0].state, ContainerState::Running);
    let touched = stage.fake.journal().iter().any(|line| line.ends_with(" db"));
    assert!(!touched, "{:?}", stage.fake.journal());
    stage.end().await;
}
