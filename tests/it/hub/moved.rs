//! A repository gets another name, with all that it has, or stays where it is.

use berth::model::{Digest, MountedModel};
use serde_json::{Value, json};

use super::Hub;
use crate::api::stage::Answer;

async fn move_as(hub: &Hub, token: &str, at: &str, from: &str, to: &str) -> Answer {
    let body = json!({ "fromRepo": from, "toRepo": to, "type": "model" }).to_string();
    hub.by(token, "POST", at, body.as_bytes()).await
}

async fn rename(hub: &Hub, from: &str, to: &str) -> Answer {
    move_as(hub, &hub.all, "/api/repos/move", from, to).await
}

async fn info(hub: &Hub, id: &str) -> (u16, Value) {
    let answer = hub.ask("GET", &format!("/api/models/{id}"), "").await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_repository_moves_with_all_that_it_has() {
    let hub = Hub::start().await;
    let first = hub.repo("conformance/a", &[("onnx/m", "one"), ("config.json", "{}")]).await;
    let second = hub.repo("conformance/a", &[("onnx/m", "two")]).await;
    let put = hub.ask("PUT", "/models/conformance/a/1.0/w", "weights").await;
    assert_eq!(put.status, 201, "{put:?}");
    let tag = format!("/api/models/conformance/a/tag/{first}");
    assert_eq!(hub.ask("POST", &tag, r#"{"tag":"v1"}"#).await.status, 201);
    let alias = "/models/conformance/a/aliases/stable?version=1.0";
    assert_eq!(hub.ask("PUT", alias, "").await.status, 200);
    assert_eq!(hub.ask("GET", "/conformance/a/resolve/main/config.json", "").await.status, 200);
    let before = info(&hub, "conformance/a").await.1;
    assert_eq!((&before["sha"], &before["downloads"]), (&json!(second), &json!(1)));
    let moved = move_as(&hub, &hub.all, "/hf/api/repos/move", "conformance/a", "other/b").await;
    assert_eq!(moved.status, 200, "{moved:?}");
    let url = format!("http://{}/hf/other/b", hub.stage.address);
    assert_eq!(moved.json(), json!({ "url": url, "name": "other/b", "id": "other/b" }));
    assert_eq!(info(&hub, "conformance/a").await.0, 404);
    let after = info(&hub, "other/b").await.1;
    assert_eq!(after["downloads"], 1, "{after}");
    assert_eq!(after["createdAt"], before["createdAt"]);
    for (revision, path, text) in [
        ("main", "onnx/m", "two"),
        (second.as_str(), "onnx/m", "two"),
        (first.as_str(), "onnx/m", "one"),
        ("v1", "onnx/m", "one"),
        ("1.0", "w", "weights"),
        ("stable", "w", "weights"),
    ] {
        let got = hub.ask("GET", &format!("/other/b/resolve/{revision}/{path}"), "").await;
        assert_eq!((got.status, got.body.as_str()), (200, text), "{revision}: {got:?}");
    }
    let list = hub.ask("GET", "/models/other/b", "").await.json();
    assert_eq!(list["total_models"], 3, "{list}");
    assert_eq!(hub.ask("GET", "/models/conformance", "").await.json()["total_models"], 0);
    let log = hub.ask("GET", "/api/models/other/b/commits/main", "").await.json();
    assert_eq!(log.as_array().unwrap().len(), 3, "with the first one, without files: {log}");
    assert_eq!(log[0]["id"], after["sha"]);
    let root = hub.folder.path().join("models");
    assert!(!root.join("conformance").exists(), "nothing is left of the old name");
    let said = std::fs::read(root.join("other/b/1.0/w/metadata.json")).unwrap();
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!((&said["project_id"], &said["app_name"]), (&json!("other"), &json!("b")));
    assert_eq!(hub.uploads(), Vec::<String>::new());
    let page = hub.ask("GET", "/api/v1/audit", "").await.json();
    let entry = page["items"].as_array().unwrap().iter();
    let entry = entry.clone().find(|it| it["object"] == "repository/conformance/a");
    let entry = entry.unwrap_or_else(|| panic!("{page:#}"));
    assert_eq!(entry["before"]["name"], "conformance/a", "{entry:#}");
    assert_eq!(entry["after"]["name"], "other/b", "{entry:#}");
    // It goes on where it is; the old name is free, and the same files there are others' commits.
    let next = hub.repo("other/b", &[("onnx/m", "three")]).await;
    assert_eq!(info(&hub, "other/b").await.1["sha"], json!(next));
    let again = hub.repo("conformance/a", &[("onnx/m", "one"), ("config.json", "{}")]).await;
    assert_eq!(again, first, "the same name and files are the same commit");
    for repo in ["conformance/a", "other/b"] {
        let got = hub.ask("GET", &format!("/{repo}/resolve/{first}/onnx/m"), "").await;
        assert_eq!((got.status, got.body.as_str()), (200, "one"), "{repo}");
    }
    // Once more, and what commits were called at first is known still.
    assert_eq!(rename(&hub, "other/b", "other/c").await.status, 200);
    let got = hub.ask("GET", &format!("/other/c/resolve/{first}/onnx/m"), "").await;
    assert_eq!((got.status, got.body.as_str()), (200, "one"));
}

#[tokio::test]
async fn what_may_not_move_stays_as_it_is() {
    let (hub, _) = Hub::start_as(|settings| settings.project_models_max = Some(2)).await;
    let sha = hub.repo("conformance/a", &[("m", "m"), ("n", "n")]).await;
    hub.repo("conformance2/b", &[("m", "other")]).await;
    let all = &hub.all;
    for (token, from, to, status, code) in [
        (all, "conformance/a", "conformance2/b", 409, "model.conflict"),
        (all, "conformance/a", "conformance/a", 409, "model.conflict"),
        (all, "conformance/a", "conformance2/c", 413, "model.too-large"),
        (all, "conformance/none", "conformance/c", 404, "model.repository"),
        (all, "conformance/..", "conformance/c", 404, "model.repository"),
        (all, "conformance/a", "conformance/..", 400, "request.invalid"),
        (all, "conformance/a", "api/a", 400, "request.invalid"),
        (all, "conformance/a", "a", 400, "request.invalid"),
        (all, "conformance/a", "conformance/a/b", 400, "request.invalid"),
        (&hub.scoped, "conformance/a", "other/a", 403, "auth.scope"),
        (&hub.scoped, "conformance2/b", "conformance/b", 403, "auth.scope"),
    ] {
        let refused = move_as(&hub, token, "/api/repos/move", from, to).await;
        let told = refused.json()["code"].as_str().unwrap_or_default().to_owned();
        assert_eq!((refused.status, told.as_str()), (status, code), "{from} {to}: {refused:?}");
        if status == 404 {
            assert!(refused.has("x-error-code: reponotfound"), "{refused:?}");
        }
    }
    let taken = rename(&hub, "conformance/a", "conformance2/b").await;
    let url = format!("http://{}/conformance2/b", hub.stage.address);
    assert_eq!(taken.json()["url"], url);
    let body = json!({ "fromRepo": "conformance/a", "toRepo": "conformance/c", "type": "dataset" });
    assert_eq!(hub.ask("POST", "/api/repos/move", body.to_string()).await.status, 400);
    assert_eq!(hub.ask("POST", "/api/repos/move", "{}").await.status, 400);
    for app in ["chat", "draw"] {
        let mounted = MountedModel {
            model: "conformance/a".to_owned(),
            version: "main".to_owned(),
            file: None,
            digest: Digest::of_bytes(b"x"),
            reference: None,
            source: String::new(),
        };
        hub.stage.put(app, |entry| {
            entry.status.models.insert("/models/a".to_owned(), mounted);
        });
    }
    let refused = rename(&hub, "conformance/a", "conformance/c").await;
    assert_eq!(refused.status, 409, "{refused:?}");
    assert!(refused.body.contains("app/chat, app/draw"), "{refused:?}");
    for app in ["chat", "draw"] {
        hub.stage.put(app, |entry| entry.status.models.clear());
    }
    assert_eq!(hub.ask("POST", "/models/conformance/a/main/freeze", "").await.status, 200);
    let refused = rename(&hub, "conformance/a", "conformance/c").await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("model.immutable")));
    assert_eq!(info(&hub, "conformance/a").await.1["sha"], json!(sha), "nothing has changed");
    assert_eq!(hub.ask("POST", "/models/conformance/a/main/unfreeze", "").await.status, 200);
    // An alias that is left keeps its name; within a project, no quota counts.
    let scoped = move_as(&hub, &hub.scoped, "/api/repos/move", "conformance/a", "conformance/c");
    let scoped = scoped.await;
    assert_eq!(scoped.status, 200, "{scoped:?}");
    assert_eq!(hub.ask("GET", "/conformance/c/resolve/main/m", "").await.body, "m");
}

/// A repository without a commit, and one that only the store knows, move too.
#[tokio::test]
async fn what_has_no_history_moves_too() {
    let hub = Hub::start().await;
    let made = hub.ask("POST", "/api/repos/create", r#"{"name":"e","organization":"conformance"}"#);
    assert_eq!(made.await.status, 200);
    assert_eq!(rename(&hub, "conformance/e", "conformance/f").await.status, 200);
    assert_eq!(info(&hub, "conformance/f").await.0, 200);
    assert_eq!(info(&hub, "conformance/e").await.0, 404);
    assert_eq!(hub.ask("PUT", "/models/conformance/g/1/m", "m").await.status, 201);
    assert_eq!(rename(&hub, "conformance/g", "conformance/h").await.status, 200);
    assert_eq!(hub.ask("GET", "/models/conformance/h/1/m", "").await.body, "m");
    assert_eq!(hub.ask("GET", "/models/conformance/g/1/m", "").await.status, 404);
    // The trash has what was deleted under its old name.
    assert_eq!(hub.ask("DELETE", "/models/conformance/h/1/m", "").await.status, 200);
    assert_eq!(rename(&hub, "conformance/h", "conformance/i").await.status, 404);
}
