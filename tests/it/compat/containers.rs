//! The life of a container that a client asks for.

use std::time::Duration;

use berth::{
    engine::{
        Load,
        fake::{Behaviour, Script},
    },
    model::{ImageRef, Phase, Protocol},
    server::Parts,
};
use serde_json::{Value, json};

use super::{RANGE, Stage, USUAL};

/// The fields of a container that is ours, and their kinds.
fn check_info(info: &Value) {
    for field in ["id", "name", "status", "image", "created", "state"] {
        assert!(info[field].is_string(), "{field}: {info}");
    }
    assert_eq!(info["id"].as_str().unwrap().len(), 12, "{info}");
    assert!(info["ports"].is_object() && info["managed"].is_boolean(), "{info}");
    let created = info["created"].as_str().unwrap();
    assert!(berth::model::Timestamp::parse(created).is_some(), "{created}");
}

#[tokio::test]
async fn a_container_is_made_stopped_started_and_removed_as_its_app() {
    let stage = Stage::start().await;
    let wish = r#"{"name": "my-api-server", "image": "base-api-server:latest", "more": 1}"#;
    let made = stage.good("POST", "/containers/create", wish).await;
    check_info(&made);
    assert_eq!((&made["name"], &made["state"]), (&json!("my-api-server"), &json!("running")));
    assert_eq!((&made["status"], &made["image"]), (&json!("running"), &json!(USUAL)));
    assert_eq!((&made["app"], &made["managed"]), (&json!("my-api-server"), &json!(true)));
    let port = format!("127.0.0.1:{}", RANGE.first);
    assert_eq!(made["ports"], json!({ "5000/udp": port }));
    assert_eq!(stage.files(), ["my-api-server.yaml"]);

    let metadata = stage.folder.path().join("workspaces/my-api-server/metadata.json");
    let metadata: Value = serde_json::from_slice(&std::fs::read(metadata).unwrap()).unwrap();
    assert_eq!((&metadata["port"], &metadata["image"]), (&json!(RANGE.first), &json!(USUAL)));
    assert_eq!(metadata["health"], "RunningUnchecked");
    let short = made["id"].as_str().unwrap();
    let full = stage.fake.world().containers[0].id.as_str().to_owned();
    let engine_name = stage.fake.world().containers[0].name.clone();
    for id in [short, &full, "my-api-server", &engine_name, &full[..5]] {
        for path in [format!("/containers/{id}"), format!("/containers/{id}/")] {
            assert_eq!(stage.good("GET", &path, "").await["id"], short, "{path}");
        }
    }
    for path in ["/containers", "/containers/", "/containers/running", "/containers/running/"] {
        let all = stage.good("GET", path, "").await;
        assert_eq!(all.as_array().unwrap().len(), 1, "{path}");
        assert_eq!(all[0]["id"], short, "{path}");
    }

    let told = stage.good("POST", &format!("/containers/{short}/stop"), "").await;
    assert_eq!(told, json!({ "message": format!("Container {short} stopped successfully") }));
    assert_eq!(stage.good("GET", "/containers/running", "").await, json!([]));
    let info = stage.good("GET", "/containers/my-api-server", "").await;
    assert_eq!((&info["state"], &info["ports"]), (&json!("exited"), &json!({})));
    assert_eq!(stage.record.entries()[0].status.phase, Phase::Paused);
    let again = stage.good("POST", "/containers/my-api-server/stop/", "").await;
    assert_eq!(again["message"], "Container my-api-server stopped successfully");

    let told = stage.good("POST", "/containers/my-api-server/start", "").await;
    assert_eq!(told, json!({ "message": "Container my-api-server started successfully" }));
    let info = stage.good("GET", "/containers/my-api-server", "").await;
    assert_eq!((&info["id"], &info["ports"]), (&json!(short), &json!({ "5000/udp": port })));

    let told = stage.good("DELETE", &format!("/containers/{full}"), "").await;
    assert_eq!(told, json!({ "message": format!("Container {full} removed successfully") }));
    assert_eq!(stage.good("GET", "/containers", "").await, json!([]));
    assert!(stage.files().is_empty() && stage.record.entries().is_empty());
    for (method, path) in [("GET", ""), ("POST", "/start"), ("POST", "/stop"), ("GET", "/stats")] {
        let path = format!("/containers/{short}{path}");
        let refused = stage.refused(method, &path, "").await;
        assert_eq!(refused, (404, "Container not found".to_owned()), "{method} {path}");
    }
    let objects: Vec<_> = stage.trail().await.into_iter().map(|row| (row.0, row.3)).collect();
    assert!(objects.iter().take(5).all(|(object, _)| object == "app/my-api-server"), "{objects:?}");
    assert!(objects.iter().take(5).all(|(_, outcome)| outcome == "done"), "{objects:?}");
    stage.end().await;
}

#[tokio::test]
async fn one_that_was_stopped_and_removed_can_be_made_again_at_once() {
    let stage = Stage::start().await;
    for _ in 0..3 {
        let made = stage.good("POST", "/containers/create/", r#"{"name": "web"}"#).await;
        assert_eq!(made["state"], "running", "{made}");
        assert_eq!(made["ports"]["5000/udp"], format!("127.0.0.1:{}", RANGE.first));
        stage.good("POST", "/containers/web/stop", "").await;
        stage.good("DELETE", "/containers/web/", "").await;
    }
    stage.end().await;
}

#[tokio::test]
async fn what_is_only_tried_is_told_and_not_done() {
    let stage = Stage::start().await;
    stage.good("POST", "/containers/create", r#"{"name": "web"}"#).await;
    stage.fake.add_foreign("db", Vec::new());
    let before = (stage.files(), stage.fake.journal(), stage.trail().await.len());
    for (method, path, message) in [
        ("POST", "/containers/web/stop?dryRun=true", "the app `web` would be stopped"),
        ("POST", "/containers/web/start?dryRun=true", "the app `web` would be started"),
        ("DELETE", "/containers/web?dryRun=true", "the app `web` would be removed"),
        ("POST", "/containers/db/stop?dryRun=true", "db would be stopped"),
        ("DELETE", "/containers/db/?dryRun=true", "db would be removed"),
    ] {
        let told = stage.good(method, path, "").await;
        assert_eq!((&told["dryRun"], &told["message"]), (&json!(true), &json!(message)), "{told}");
        let is_ours = path.contains("/web");
        assert_eq!(told["items"].as_array().unwrap().len(), usize::from(is_ours), "{told}");
    }
    for (image, step) in [("shop/app:1", "create"), ("far/away:1", "pull")] {
        let body = json!({ "name": "new", "image": image }).to_string();
        let told = stage.good("POST", "/containers/create?dryRun=true", &body).await;
        assert_eq!((&told["name"], &told["dryRun"]), (&json!("new"), &json!(true)), "{told}");
        let steps = told["items"][0]["text"].as_str().unwrap();
        assert!(steps.contains(step), "{steps}");
    }
    let nobody = stage.refused("POST", "/containers/nobody/stop?dryRun=true", "").await;
    assert_eq!(nobody, (404, "Container not found".to_owned()));
    let after = (stage.files(), stage.fake.journal(), stage.trail().await.len());
    assert_eq!(after, before);
    stage.end().await;
}

/// What an app has kept goes only for who says so, and only that app's.
#[tokio::test]
async fn a_workspace_goes_with_its_app_when_somebody_asks_for_that() {
    let stage = Stage::start().await;
    let workspaces = stage.folder.path().join("workspaces");
    let kept = |app: &str| workspaces.join(app).join("data/kept");
    let keep = |app: &str| {
        std::fs::create_dir_all(workspaces.join(app).join("data")).unwrap();
        std::fs::write(kept(app), "x").unwrap();
    };
    keep("other");
    for (path, stays) in [
        ("/containers/web", true),
        ("/containers/web?keepWorkspace=true", true),
        ("/containers/web?keepWorkspace=false", false),
        ("/api/v1/apps/web", true),
        ("/api/v1/apps/web?keepWorkspace=false", false),
    ] {
        stage.good("POST", "/containers/create", r#"{"name": "web"}"#).await;
        keep("web");
        let wrong = format!("{}?keepWorkspace=perhaps", path.split('?').next().unwrap());
        assert_eq!(stage.ask("DELETE", &wrong, "").await.status, 400, "{path}");
        assert!(stage.files().contains(&"web.yaml".to_owned()), "{path}");
        let told = stage.good("DELETE", path, "").await;
        assert_eq!(kept("web").exists(), stays, "{path}: {told}");
        assert!(kept("other").exists(), "{path}");
        if !stays {
            assert!(!workspaces.join("web").exists(), "{path}");
        }
        let gone = async {
            while !stage.record.entries().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(super::PATIENCE, gone).await.expect("it is not gone");
    }
    let trail = stage.trail().await;
    assert!(trail.iter().any(|row| row.2.contains("workspace")), "{trail:?}");
    stage.end().await;
}

#[tokio::test]
async fn who_names_nothing_gets_a_name_the_usual_image_and_ports_of_its_own() {
    let stage = Stage::start().await;
    let mut seen = std::collections::BTreeSet::new();
    for body in ["", "{}", "null", r#"{"name": null, "image": ""}"#] {
        let made = stage.good("POST", "/containers/create", body).await;
        assert_eq!(made["image"], USUAL, "{body}");
        assert!(made["name"].as_str().unwrap().starts_with("base-api-server-x"), "{made}");
        seen.insert(made["ports"]["5000/udp"].to_string());
    }
    assert_eq!(seen.len(), 4, "each has its own port: {seen:?}");
    stage.end().await;
}

/// Names that an engine takes and no app can have.
#[tokio::test]
async fn a_client_finds_its_container_by_the_name_that_it_gave() {
    let stage = Stage::start().await;
    let made = stage.good("POST", "/containers/create", r#"{"name": "My_Server.1"}"#).await;
    assert_eq!(made["name"], "My_Server.1");
    assert!(made["app"].as_str().unwrap().starts_with("my-server-1-x"), "{made}");
    let found = stage.good("GET", "/containers/My_Server.1", "").await;
    assert_eq!(found["id"], made["id"]);
    for name in ["My_Server.1", made["app"].as_str().unwrap()] {
        let again = format!(r#"{{"name": "{name}"}}"#);
        let (status, detail) = stage.refused("POST", "/containers/create", &again).await;
        assert_eq!(status, 409, "{name}: {detail}");
    }
    stage.good("DELETE", "/containers/My_Server.1", "").await;
    assert!(stage.files().is_empty());
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let stage = Stage::with(
        |fake| {
            fake.add_foreign("db", Vec::new());
            fake.add_remote(
                &ImageRef::parse("far/away:1").unwrap(),
                Script::takes(Duration::from_millis(10)),
                Behaviour::default(),
            );
        },
        |_| (),
    )
    .await;
    for (body, status, words) in [
        (r#"{"name": "db"}"#, 409, "the name `db` is in use by container "),
        (r#"{"name": "a b"}"#, 422, "`name`: use letters"),
        (r#"{"name": "-x"}"#, 422, "`name`: use letters"),
        (r#"{"name": 7}"#, 422, "send JSON such as"),
        ("[1]", 422, "send JSON such as"),
        ("{", 422, "send JSON such as"),
        (r#"{"name": "x", "image": "Not An Image"}"#, 422, "`image`: "),
        (r#"{"name": "x", "image": "no/such:1"}"#, 404, "failed to pull image"),
    ] {
        let (code, detail) = stage.refused("POST", "/containers/create", body).await;
        assert_eq!(code, status, "{body}: {detail}");
        assert!(detail.contains(words), "{body}: {detail}");
    }
    assert!(stage.files().is_empty(), "{:?}", stage.files());
    let made =
        stage.good("POST", "/containers/create", r#"{"name": "far", "image": "far/away:1"}"#);
    let made = made.await;
    assert_eq!((&made["state"], &made["ports"]), (&json!("running"), &json!({})), "it was pulled");
    stage.end().await;
}

/// Fault P08: the range is used up; what is there goes on.
#[tokio::test]
async fn no_port_left_is_said_and_nothing_stays_behind() {
    let ports: Vec<_> = (0..21).map(|nth| (6000 + nth, Protocol::Udp)).collect();
    let stage = Stage::with(
        |fake| {
            fake.add_image("wide:1", Behaviour::default());
            fake.expose("wide:1", &ports[..15]);
        },
        |_| (),
    )
    .await;
    let first = r#"{"name": "one", "image": "wide:1"}"#;
    let made = stage.good("POST", "/containers/create", first).await;
    assert_eq!(made["ports"].as_object().unwrap().len(), 15);
    let second = r#"{"name": "two", "image": "wide:1"}"#;
    let (status, detail) = stage.refused("POST", "/containers/create", second).await;
    assert_eq!(status, 503, "{detail}");
    assert!(detail.contains("no host port of 19001-19020 is free"), "{detail}");
    assert_eq!(stage.files(), ["one.yaml"]);
    stage.good("POST", "/containers/create", r#"{"name": "three"}"#).await;
    stage.end().await;
}

/// Where manifests come from repositories only, nothing is written, and it is said where to.
#[tokio::test]
async fn without_a_folder_containers_are_not_made_and_not_removed() {
    let stage =
        Stage::with(|_| (), |parts: &mut Parts| parts.repositories.has_folder = false).await;
    let text =
        "apiVersion: berth/v1\nkind: App\nmetadata: {name: web}\nspec: {image: shop/app:1}\n";
    std::fs::write(stage.folder.path().join("manifests/web.yaml"), text).unwrap();
    let running = async {
        while !stage.record.entries().iter().any(|entry| entry.status.phase == Phase::Running) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, running).await.unwrap();
    let (status, detail) = stage.refused("POST", "/containers/create", "{}").await;
    assert_eq!(status, 409, "{detail}");
    let (status, detail) = stage.refused("DELETE", "/containers/web", "").await;
    assert_eq!(status, 409, "{detail}");
    assert!(detail.contains("change them there and push"), "{detail}");
    assert_eq!(stage.good("GET", "/containers/running", "").await.as_array().unwrap().len(), 1);
    stage.end().await;
}

#[tokio::test]
async fn use_is_told_in_the_units_that_clients_read() {
    let stage = Stage::start().await;
    let made = stage.good("POST", "/containers/create", r#"{"name": "web"}"#).await;
    let id = stage.fake.world().containers[0].id.clone();
    let load = Load {
        cpu_percent: 2.504,
        memory: 47_427_092,
        memory_limit: 512 << 20,
        received: 1_310_720,
        sent: 786_432,
    };
    stage.fake.uses(&id, load);
    let mut stats = stage.good("GET", "/containers/web/stats", "").await;
    assert!(stats["timestamp"].take().as_f64().is_some_and(|at| 1.7e9 < at));
    assert_eq!(
        stats,
        json!({
            "container_id": made["id"], "name": "web", "cpu_percent": 2.5,
            "memory_usage": "45.23 MB", "memory_limit": "512.00 MB", "memory_percent": 8.83,
            "network_rx": "1.25 MB", "network_tx": "0.75 MB", "timestamp": null,
        })
    );
    stage.good("POST", "/containers/web/stop", "").await;
    let stats = stage.good("GET", "/containers/web/stats/", "").await;
    assert_eq!((&stats["memory_usage"], &stats["cpu_percent"]), (&json!("0.00 MB"), &json!(0.0)));
    let host = stage.good("GET", "/system/stats", "").await;
    for field in ["cpu_percent", "memory_percent", "disk_usage_percent"] {
        let figure = host[field].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&figure), "{field}: {figure}");
    }
    for field in ["memory_used", "memory_total"] {
        let figure = host[field].as_str().unwrap().strip_suffix(" MB").unwrap();
        assert!(0.0 < figure.parse::<f64>().unwrap(), "{field}: {figure}");
    }
    assert!(host["gpus"].is_array() && host["timestamp"].is_f64());
    stage.end().await;
}

#[tokio::test]
async fn an_engine_that_is_away_is_said_in_the_known_words() {
    let stage = Stage::start().await;
    stage.good("POST", "/containers/create", r#"{"name": "web"}"#).await;
    stage.fake.set_down(true);
    for (method, path) in [
        ("GET", "/containers"),
        ("GET", "/containers/running"),
        ("GET", "/containers/web"),
        ("GET", "/containers/web/stats"),
        ("GET", "/ports"),
        ("POST", "/containers/create"),
        ("POST", "/containers/web/start"),
        ("POST", "/containers/web/stop"),
        ("DELETE", "/containers/web"),
    ] {
        let refused = stage.refused(method, path, "").await;
        assert_eq!(refused, (500, "Docker service not available".to_owned()), "{method} {path}");
    }
    assert_eq!(stage.files(), ["web.yaml"]);
    let health = stage.good("GET", "/health", "").await;
    assert_eq!(health["status"], "healthy", "that is about Berth");
    stage.end().await;
}

/// What was stopped by another way is started here, and the other way round.
#[tokio::test]
async fn a_manifest_that_says_suspend_is_not_overruled() {
    let stage = Stage::start().await;
    let text = "apiVersion: berth/v1\nkind: App\nmetadata: {name: web}\nspec: {image: shop/app:1, suspend: true}\n";
    std::fs::write(stage.folder.path().join("manifests/web.yaml"), text).unwrap();
    let known = async {
        while stage.record.entries().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(super::PATIENCE, known).await.unwrap();
    let (status, detail) = stage.refused("POST", "/containers/web/start", "").await;
    assert_eq!((status, detail.contains("suspend: true")), (409, true), "{detail}");
    stage.end().await;
}
