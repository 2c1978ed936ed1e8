//! What holds for the store's own doors holds for the Hub's: what is dangerous, what rots, what apps
//! mount, and what is told of it.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use berth::{
    model::{Digest, MountedModel},
    store::{Danger, What},
};
use serde_json::json;

use super::{Hub, file, line};

/// Loading it runs a program.
const DANGEROUS: &str = "cos\nsystem\n(S'true'\ntR.";

#[tokio::test]
async fn dangerous_files_are_refused_and_not_given_where_they_are_blocked() {
    let (hub, _) = Hub::start_as(|settings| {
        settings.policy.projects.insert("conformance".to_owned(), Danger::Block);
    })
    .await;
    let before = hub.repo("conformance/a", &[("config.json", "{}")]).await;
    let refused =
        hub.commit("conformance/a", "main", &[file("m.pkl", DANGEROUS), file("x", "x")]).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.body.contains("takes no such files"), "{refused:?}");
    let info = hub.ask("GET", "/api/models/conformance/a", "").await.json();
    assert_eq!(info["sha"], before, "all of the commit is refused");
    let good = hub.ask("GET", "/conformance/a/resolve/main/config.json", "").await;
    assert_eq!((good.status, good.body.as_str()), (200, "{}"), "it is known to be good");
    // What one project has is not brought into another that takes no such files.
    hub.repo("other/b", &[("m.pkl", DANGEROUS)]).await;
    let digest = Digest::of_bytes(DANGEROUS.as_bytes());
    let known = line("lfsFile", &json!({ "path": "m.pkl", "algo": "sha256", "oid": digest }));
    assert_eq!(hub.commit("conformance/a", "main", &[known]).await.status, 403);
    assert_eq!(hub.uploads(), Vec::<String>::new());
}

#[tokio::test]
async fn commits_are_told_and_what_they_bring_is_looked_into() {
    let (hub, mut happenings) = Hub::start_as(|_| {}).await;
    hub.repo("conformance/a", &[("m.pkl", DANGEROUS)]).await;
    assert_eq!(hub.commit("conformance/a", "main", &[file("m.pkl", "new")]).await.status, 200);
    let gone = line("deletedFile", &json!({ "path": "m.pkl" }));
    assert_eq!(hub.commit("conformance/a", "main", &[gone]).await.status, 200);
    let mut told = Vec::new();
    while told.last() != Some(&"model.deleted") {
        let next = tokio::time::timeout(Duration::from_secs(60), happenings.recv()).await;
        let happening = next.expect("it is not told").unwrap();
        if !matches!(happening.what, What::Scanned { .. }) {
            told.push(happening.what.word());
        }
    }
    assert_eq!(told, ["version.created", "version.changed", "model.deleted"]);
    hub.repo("conformance/b", &[("n.pkl", &format!("{DANGEROUS} "))]).await;
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), happenings.recv()).await;
        let happening = next.expect("it is not looked into").unwrap();
        if let What::Scanned { key, .. } = happening.what
            && key.model == "n.pkl"
        {
            break;
        }
    }
    let info = hub.ask("GET", "/models/conformance/b/main/n.pkl/info", "").await.json();
    assert_eq!(info["safety"], "dangerous", "{info}");
    let asked = "/api/models/conformance/b?securityStatus=true";
    let info = hub.ask("GET", asked, "").await.json();
    let issues = json!([{ "path": "n.pkl", "level": "unsafe" }]);
    assert_eq!(info["securityRepoStatus"]["filesWithIssues"], issues, "{info:#}");
    let tree = hub.ask("GET", "/api/models/conformance/b/tree/main?expand=true", "").await.json();
    let status = &tree[0]["securityFileStatus"];
    assert_eq!(status["status"], "unsafe", "{tree:#}");
    assert_eq!(
        status["pickleImportScan"]["imports"],
        json!([{ "module": "os", "name": "system", "safety": "dangerous" }])
    );
    let sent = hub.ask("GET", "/conformance/b/resolve/main/n.pkl", "").await;
    assert!(sent.status == 200 && sent.has("x-model-safety: dangerous"), "{sent:?}");
}

#[tokio::test]
async fn what_has_rotted_is_not_given_and_not_committed_again() {
    let hub = Hub::start().await;
    hub.repo("conformance/a", &[("m", "0123456789"), ("other", "another")]).await;
    let path = hub.folder.path().join("models/conformance/a/main/m/model");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, "01234!6789").unwrap();
    let found = hub.ask("POST", "/api/v1/models/verify/conformance/a/main/m", "").await;
    assert!(found.body.contains("quarantined"), "{found:?}");
    for method in ["GET", "HEAD"] {
        let got = hub.ask(method, "/conformance/a/resolve/main/m", "").await;
        assert_eq!(got.status, 410, "{method}: {got:?}");
    }
    assert_eq!(hub.ask("GET", "/conformance/a/resolve/main/other", "").await.status, 200);
    let copy = json!({ "path": "n", "srcPath": "m", "srcRevision": "main" });
    let again = hub.commit("conformance/a", "main", &[line("copyFile", &copy)]).await;
    assert_eq!(again.status, 410, "{again:?}");
    assert_eq!(hub.commit("conformance/a", "main", &[file("n", "0123456789")]).await.status, 200);
    let got = hub.ask("GET", "/conformance/a/resolve/main/n", "").await;
    assert_eq!((got.status, got.body.as_str()), (200, "0123456789"));
}

/// An app mounts a file of a version, or all of it.
fn mount(hub: &Hub, app: &str, version: &str, file: Option<&str>) {
    let mounted = MountedModel {
        model: "conformance/a".to_owned(),
        version: version.to_owned(),
        file: file.map(str::to_owned),
        digest: Digest::of_bytes(b"x"),
        reference: None,
        source: String::new(),
    };
    hub.stage.put(app, |entry| {
        entry.status.models.insert("/models/a".to_owned(), mounted);
    });
}

#[tokio::test]
async fn files_that_apps_mount_are_not_deleted_by_a_commit() {
    let hub = Hub::start().await;
    let files = [("onnx/m", "m"), ("onnx/n", "n"), ("free", "x")];
    let before = hub.repo("conformance/a", &files).await;
    mount(&hub, "chat", "main", Some("onnx/m"));
    for (key, path) in [("deletedFile", "onnx/m"), ("deletedFolder", "onnx/")] {
        let lines = [file("new", "new"), line(key, &json!({ "path": path }))];
        let refused = hub.commit("conformance/a", "main", &lines).await;
        assert_eq!(refused.status, 409, "{refused:?}");
        assert!(refused.body.contains("app/chat"), "{refused:?}");
    }
    let info = hub.ask("GET", "/api/models/conformance/a", "").await.json();
    assert_eq!(info["sha"], before, "nothing of a refused commit happens");
    let free = ["free", "onnx/n"].map(|path| line("deletedFile", &json!({ "path": path })));
    assert_eq!(hub.commit("conformance/a", "main", &free).await.status, 200);
}

#[tokio::test]
async fn branches_and_repositories_that_apps_mount_are_not_deleted() {
    let hub = Hub::start().await;
    hub.repo("conformance/a", &[("m", "m"), ("n", "n")]).await;
    let branch = |name: &str| format!("/api/models/conformance/a/branch/{name}");
    for name in ["used", "free"] {
        assert_eq!(hub.ask("POST", &branch(name), "").await.status, 201);
    }
    mount(&hub, "chat", "used", None);
    let body = r#"{"name":"a","organization":"conformance"}"#;
    let delete = async || hub.ask("DELETE", "/api/repos/delete", body).await;
    for refused in [hub.ask("DELETE", &branch("used"), "").await, delete().await] {
        assert_eq!(refused.status, 409, "{refused:?}");
        assert!(refused.body.contains("app/chat"), "{refused:?}");
    }
    for revision in ["main", "used", "free"] {
        for path in ["m", "n"] {
            let at = format!("/conformance/a/resolve/{revision}/{path}");
            assert_eq!(hub.ask("GET", &at, "").await.status, 200, "{at} is still there");
        }
    }
    assert_eq!(hub.ask("DELETE", &branch("free"), "").await.status, 200);
    mount(&hub, "chat", "elsewhere", None);
    assert_eq!(delete().await.status, 200);
    assert_eq!(hub.ask("GET", "/api/models/conformance/a", "").await.status, 404);
}

/// What files say of themselves is in the document of their repository.
#[tokio::test]
async fn a_repository_tells_its_parameters_and_its_card() {
    let hub = Hub::start().await;
    let head = r#"{"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}"#;
    let mut weights = u64::try_from(head.len()).unwrap().to_le_bytes().to_vec();
    weights.extend(head.as_bytes());
    weights.extend([0; 12]);
    let card = "---\nlicense: mit\ntags: [chat]\npipeline_tag: text-generation\n---\n# A model\n";
    hub.repo("conformance/a", &[("README.md", card)]).await;
    let path = "/models/conformance/a/main/model.safetensors";
    assert_eq!(hub.ask("PUT", path, &weights).await.status, 201);
    let mut info = serde_json::Value::Null;
    for _ in 0..600 {
        info = hub.ask("GET", "/api/models/conformance/a?securityStatus=true", "").await.json();
        if info["securityRepoStatus"]["scansDone"] == true {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(info["securityRepoStatus"], json!({ "scansDone": true, "filesWithIssues": [] }));
    assert_eq!(info["safetensors"], json!({ "parameters": { "BF16": 6 }, "total": 6 }));
    assert_eq!(info["tags"], json!(["chat", "license:mit", "safetensors"]));
    assert_eq!(info["pipeline_tag"], "text-generation");
    assert_eq!(info["cardData"]["license"], "mit");
}
