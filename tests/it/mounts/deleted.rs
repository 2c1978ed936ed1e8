//! What apps mount is not deleted by mistake.

use berth::model::{Digest, MountedModel};

use crate::api::stage::Stage;

fn mounted(version: &str, file: Option<&str>) -> MountedModel {
    MountedModel {
        model: "demo/llm".to_owned(),
        version: version.to_owned(),
        file: file.map(str::to_owned),
        digest: Digest::of_bytes(b"x"),
        reference: None,
        source: String::new(),
    }
}

#[tokio::test]
async fn what_is_mounted_is_only_deleted_when_that_is_said() {
    let stage = Stage::start().await;
    for path in ["1.0.0/m", "1.0.0/other", "2.0.0/m"] {
        let answer = stage.ask("PUT", &format!("/models/demo/llm/{path}"), &[], "x").await;
        assert_eq!(answer.status, 201);
    }
    let use_it = |app: &str, it: MountedModel| {
        stage.put(app, |entry| {
            entry.status.models.insert("/models/llm".to_owned(), it);
        });
    };
    use_it("chat", mounted("1.0.0", Some("m")));
    use_it("other", mounted("2.0.0", None));
    let delete =
        async |path: &str| stage.ask("DELETE", &format!("/models/demo/llm/{path}"), &[], "").await;
    let refused = delete("1.0.0/m").await;
    assert_eq!(refused.status, 409, "{refused:?}");
    let told = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(told.contains("app/chat") && told.contains("force=true"), "{told}");
    assert!(!told.contains("app/other"), "{told}");
    assert_eq!(delete("2.0.0/m").await.status, 409, "all of that version is mounted");
    assert_eq!(delete("1.0.0/other").await.status, 200, "nobody uses this file");
    let ended = stage.run(&["models", "rm", "demo/llm/1.0.0/m"]).await;
    assert!(ended.code == 6 && ended.err.contains("app/chat"), "{ended:?}");
    let ended = stage.run(&["models", "rm", "--force", "demo/llm/1.0.0/m"]).await;
    assert_eq!((ended.code, ended.out.as_str()), (0, "model/demo/llm/1.0.0/m deleted\n"));
    assert_eq!(delete("2.0.0/m?force=true").await.status, 200);
    // A file in a folder is mounted by its path.
    let answer = stage.ask("PUT", "/models/demo/llm/3.0.0/onnx%252Fm", &[], "x").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    use_it("chat", mounted("3.0.0", Some("onnx/m")));
    assert_eq!(delete("3.0.0/onnx%252Fm").await.status, 409);
}

#[tokio::test]
async fn the_status_says_what_is_mounted() {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |entry| {
        entry.status.models.insert("/models/llm".to_owned(), mounted("1.0.0", None));
    });
    let app = stage.get("/api/v1/apps/chat").await.json();
    let models = &app["status"]["models"];
    assert_eq!(models[0]["path"], "/models/llm");
    assert_eq!(models[0]["version"], "1.0.0");
    assert_eq!(models[0]["sha256"], Digest::of_bytes(b"x").as_str());
    let shown = stage.run(&["status", "chat"]).await.out;
    assert!(shown.contains("Models     /models/llm is demo/llm@1.0.0 sha256:"), "{shown}");
}
