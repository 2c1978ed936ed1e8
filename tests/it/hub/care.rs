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

/// What a client asks of a model in shards comes in one answer.
#[tokio::test]
async fn the_headers_of_all_shards_are_told_at_once() {
    let hub = Hub::start().await;
    let shard = |name: &str| {
        let head =
            format!("{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}}}");
        let mut bytes = u64::try_from(head.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(head.as_bytes());
        bytes.extend([0; 4]);
        bytes
    };
    let index = |last: &str| {
        let map = json!({ "a": "one.safetensors", "b": last, "c": "one.safetensors" });
        json!({ "metadata": { "total_size": 8 }, "weight_map": map }).to_string()
    };
    let [good, gone, odd] = ["two.safetensors", "three.safetensors", "odd.json"].map(index);
    let files = [("sub/i.json", good.as_str()), ("sub/gone.json", &gone), ("sub/bad.json", &odd)];
    hub.repo("conformance/a", &files).await;
    hub.repo("conformance/a", &[("sub/odd.json", "{}"), ("sub/none.json", "[]")]).await;
    for name in ["one", "two"] {
        let path = format!("/models/conformance/a/main/sub%2F{name}.safetensors");
        let path = path.replace("%2F", "%252F");
        assert_eq!(hub.ask("PUT", &path, shard(name)).await.status, 201);
    }
    let asked = "/api/models/conformance/a/safetensors-metadata/sub";
    let told = hub.ask("GET", &format!("{asked}/i.json"), "").await;
    assert_eq!(told.status, 200, "{told:?}");
    let tensor = json!({ "dtype": "F32", "shape": [1], "data_offsets": [0, 4] });
    let wanted = json!({
        "index": { "metadata": { "total_size": 8 } },
        "headers": { "one.safetensors": { "one": tensor }, "two.safetensors": { "two": tensor } },
    });
    assert_eq!(told.json(), wanted);
    for (name, status, why) in [
        ("gone.json", 404, "names `sub/three.safetensors`, which is not there"),
        ("bad.json", 400, "`sub/odd.json` is no file of safetensors"),
        ("none.json", 400, "`sub/none.json` is no index of safetensors"),
        ("other.json", 404, "Entry not found"),
    ] {
        let refused = hub.ask("GET", &format!("{asked}/{name}"), "").await;
        assert_eq!(refused.status, status, "{name}: {refused:?}");
        assert!(refused.body.contains(why), "{name}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_refused_at_the_hubs_door_is_counted() {
    let hub = Hub::start().await;
    hub.repo("conformance/a", &[("m", "1")]).await;
    let count = || hub.models.figures().refusals.load(std::sync::atomic::Ordering::Relaxed);
    let before = count();
    assert_eq!(hub.ask("GET", "/conformance/a/resolve/main/none", "").await.status, 404);
    assert_eq!(
        hub.ask("POST", "/api/models/other/b/preupload/main", "{\"files\":[]}").await.status,
        404
    );
    assert_eq!(count(), before, "nothing was to be changed");
    let gone = line("deletedFile", &json!({ "path": "none" }));
    let refused = hub.commit("conformance/a", "other", &[gone]).await;
    assert!(400 <= refused.status, "{refused:?}");
    assert_eq!(
        hub.by(&hub.scoped, "POST", "/api/models/other/b/tag/main", b"{}").await.status,
        403
    );
    assert_eq!(count(), before + 2);
}

/// Where `main` has only shown the latest version, a commit to it makes it one of its own: that is said.
#[tokio::test]
async fn who_parts_main_from_latest_is_told_once() {
    let hub = Hub::start().await;
    assert_eq!(hub.ask("PUT", "/models/conformance/a/1.0.0/m", "1").await.status, 201);
    let first = hub.commit("conformance/a", "main", &[file("n", "2")]).await;
    let told = "x-hf-warning: versions; `main` is a version of its own now";
    assert!(first.head.contains(told), "{first:?}");
    let second = hub.commit("conformance/a", "main", &[file("n", "3")]).await;
    assert_eq!(second.status, 200, "{second:?}");
    assert!(!second.head.contains("x-hf-warning"), "{second:?}");
    assert_eq!(hub.ask("GET", "/models/conformance/a/main/m", "").await.body, "1");
}
