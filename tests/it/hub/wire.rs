//! The Hub protocol by hand: what clients rely on, what is refused, and that both sides agree.

use berth::model::Digest;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{Hub, file, line};

const CODES: [(&str, &str); 3] = [
    ("/conformance/none/resolve/main/x", "RepoNotFound"),
    ("/conformance/a/resolve/none/x", "RevisionNotFound"),
    ("/conformance/a/resolve/main/none", "EntryNotFound"),
];

/// What llama.cpp asks for, in its order.
#[tokio::test]
async fn a_program_that_asks_for_refs_a_tree_and_parts_gets_them() {
    let hub = Hub::start().await;
    let text = "0123456789".repeat(20);
    let id = hub.repo("conformance/a", &[("model-Q4_K_M.gguf", &text), ("x/y.txt", "y")]).await;
    for below in ["", "/hf"] {
        let refs = hub.ask("GET", &format!("{below}/api/models/conformance/a/refs"), "").await;
        assert_eq!(
            refs.json()["branches"][0],
            json!({ "name": "main", "ref": "refs/heads/main", "targetCommit": id })
        );
        let path = format!("{below}/api/models/conformance/a/tree/{id}?recursive=true");
        let tree = hub.ask("GET", &path, "").await.json();
        let entry =
            tree.as_array().unwrap().iter().find(|e| e["path"] == "model-Q4_K_M.gguf").unwrap();
        let digest = Digest::of_bytes(text.as_bytes()).to_string();
        assert_eq!((&entry["type"], &entry["lfs"]["oid"]), (&json!("file"), &json!(digest)));
        let at = format!("{below}/conformance/a/resolve/{id}/model-Q4_K_M.gguf");
        let head = hub.ask("HEAD", &at, "").await;
        for header in [
            "content-length: 200",
            "accept-ranges: bytes",
            &format!("etag: \"{digest}\""),
            &format!("x-repo-commit: {id}"),
        ] {
            assert!(head.has(header), "{header}: {head:?}");
        }
        let bearer = format!("Bearer {}", hub.all);
        let headers = [("authorization", bearer.as_str()), ("range", "bytes=190-")];
        let part = hub.with(&headers, "GET", &at, b"").await;
        assert_eq!((part.status, part.body.as_str()), (206, "0123456789"));
        let headers =
            [("authorization", bearer.as_str()), ("if-none-match", &format!("\"{digest}\""))];
        let same = hub.with(&headers, "HEAD", &at, b"").await;
        assert_eq!(same.status, 304);
        assert!(
            same.has(&format!("x-repo-commit: {id}")) && same.has(&format!("etag: \"{digest}\""))
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_apart_by_its_code() {
    let hub = Hub::start().await;
    let id = hub.repo("conformance/a", &[("a", "a")]).await;
    for (path, code) in CODES {
        for method in ["GET", "HEAD"] {
            let answer = hub.ask(method, path, "").await;
            let wanted = format!("x-error-code: {}", code.to_lowercase());
            assert!(answer.status == 404 && answer.has(&wanted), "{method} {path}: {answer:?}");
        }
    }
    let absent = hub.ask("GET", "/conformance/a/resolve/main/none", "").await;
    assert!(absent.has(&format!("x-repo-commit: {id}")), "{absent:?}");
    assert!(absent.json()["error"].as_str().unwrap().contains("none"), "{absent:?}");
    let bare = hub.with(&[], "GET", "/api/models/conformance/a", b"").await;
    assert!(bare.status == 401 && bare.has("x-error-code: reponotfound"), "{bare:?}");
    let other = hub.by(&hub.scoped, "GET", "/api/models/other/a", b"").await;
    assert_eq!(other.status, 403, "{other:?}");
    let body = br#"{"name":"x","organization":"other"}"#;
    assert_eq!(hub.by(&hub.scoped, "POST", "/api/repos/create", body).await.status, 403);
    let listed = hub.by(&hub.scoped, "GET", "/api/models", b"").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

/// What is put in through one door is seen through the other, at once.
#[tokio::test]
async fn the_store_and_the_hub_show_the_same_models() {
    let hub = Hub::start().await;
    let first = hub.repo("conformance/a", &[("onnx/m.onnx", "one"), (".hidden", "dot")]).await;
    let listed = hub.ask("GET", "/models/conformance/a/main", "").await.json();
    let names: Vec<_> = listed["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["model_name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["%2Ehidden", "onnx%2Fm.onnx"]);
    let got = hub.ask("GET", "/models/conformance/a/main/onnx%252Fm.onnx", "").await;
    assert_eq!((got.status, got.body.as_str()), (200, "one"));

    assert_eq!(hub.ask("PUT", "/models/conformance/a/main/weights", "two").await.status, 201);
    let info = hub.ask("GET", "/api/models/conformance/a", "").await.json();
    let files: Vec<_> = info["siblings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["rfilename"].as_str().unwrap())
        .collect();
    assert_eq!(files, [".hidden", "onnx/m.onnx", "weights"]);
    let second = info["sha"].as_str().unwrap().to_owned();
    assert_ne!(second, first);
    let old = hub.ask("GET", &format!("/conformance/a/resolve/{first}/weights"), "").await;
    assert_eq!(old.status, 404, "the commit before has it not");
    let line = line("deletedFile", &json!({ "path": "weights" }));
    let third = hub.commit("conformance/a", "main", &[line]).await;
    assert_eq!(third.json()["commitOid"], first, "the same files are the same commit");
    let log = hub.ask("GET", "/api/models/conformance/a/commits/main", "").await.json();
    let ids: Vec<_> = log.as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(ids[..3], [first.as_str(), second.as_str(), first.as_str()], "{log}");
    assert_eq!(hub.ask("GET", "/models/conformance/a/main/weights", "").await.status, 404);
    let still = hub.ask("GET", &format!("/conformance/a/resolve/{second}/weights"), "").await;
    assert_eq!((still.status, still.body.as_str()), (200, "two"), "its commit is kept");

    // Versions that nobody made as branches are branches, and aliases are tags.
    assert_eq!(hub.ask("PUT", "/models/conformance/b/1.0.0/m", "m").await.status, 201);
    assert_eq!(hub.ask("PUT", "/models/conformance/b/2.0.0/m", "n").await.status, 201);
    let alias = hub.ask("PUT", "/models/conformance/b/aliases/stable?version=1.0.0", "").await;
    assert!(alias.status < 300, "{alias:?}");
    for (revision, text) in [("1.0.0", "m"), ("2.0.0", "n"), ("main", "n"), ("stable", "m")] {
        let got = hub.ask("GET", &format!("/conformance/b/resolve/{revision}/m"), "").await;
        assert_eq!((got.status, got.body.as_str()), (200, text), "{revision}");
    }
    let refs = hub.ask("GET", "/api/models/conformance/b/refs", "").await.json();
    let names = |kind: &str| -> Vec<String> {
        refs[kind]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("branches")[0], "main");
    assert_eq!((names("branches").len(), names("tags")), (3, vec!["stable".to_owned()]));
    let listed = hub.ask("GET", "/api/models?author=conformance", "").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    // A first commit to `main` begins with what it showed.
    assert_eq!(hub.commit("conformance/b", "main", &[file("x", "x")]).await.status, 200);
    let got = hub.ask("GET", "/models/conformance/b/main/m", "").await;
    assert_eq!((got.status, got.body.as_str()), (200, "n"));
}

/// A path that one project's name lets in is not read as another's.
#[tokio::test]
async fn the_first_parts_of_other_paths_are_no_namespaces() {
    let hub = Hub::start().await;
    let put = hub.ask("PUT", "/models/models/conformance/main/a%252Fb", "secret").await;
    assert_eq!(put.status, 201, "{put:?}");
    for token in [&hub.scoped, &hub.all] {
        for path in [
            "/models/conformance/resolve/main/a/b",
            "/hf/models/conformance/resolve/main/a/b",
            "/api/models/models/conformance",
        ] {
            let answer = hub.by(token, "GET", path, b"").await;
            assert!([403, 404].contains(&answer.status), "{path}: {answer:?}");
            assert_ne!(answer.body, "secret", "{path}");
        }
    }
    for ns in ["models", "api", "hf", "ui", "containers"] {
        let body = json!({ "name": "x", "organization": ns }).to_string();
        assert_eq!(hub.ask("POST", "/api/repos/create", body).await.status, 400, "{ns}");
    }
}

#[tokio::test]
async fn commits_that_make_no_sense_change_nothing() {
    let hub = Hub::start().await;
    let id = hub.repo("conformance/a", &[("a", "a"), ("d/e", "e")]).await;
    let digest = Digest::of_bytes(b"never sent").to_string();
    let bad: Vec<(u16, Vec<String>)> = vec![
        (400, vec![file("../x", "x")]),
        (400, vec![file("/x", "x")]),
        (400, vec![file("a/../../x", "x")]),
        (400, vec![file("a\\b", "x")]),
        (400, vec![file("a\u{0}b", "x")]),
        (400, vec![file("", "x")]),
        (400, vec![file(&"x".repeat(1025), "x")]),
        (400, vec![file("a/b", "a file can't be a folder")]),
        (400, vec![file("d", "a folder can't be a file")]),
        (400, vec![line("lfsFile", &json!({ "path": "x", "algo": "sha256", "oid": digest }))]),
        (400, vec![line("lfsFile", &json!({ "path": "x", "oid": "../../../etc/passwd" }))]),
        (404, vec![line("deletedFile", &json!({ "path": "none" }))]),
        (400, vec![line("file", &json!({ "path": "x", "content": "%%%", "encoding": "base64" }))]),
        (400, vec![line("unknown", &json!({ "path": "x" }))]),
        (400, vec!["{".to_owned()]),
        (400, vec![file("good", "good"), file("../x", "x")]),
    ];
    for (status, lines) in bad {
        let answer = hub.commit("conformance/a", "main", &lines).await;
        assert_eq!(answer.status, status, "{lines:?}: {answer:?}");
    }
    let stale =
        json!({ "key": "header", "value": { "summary": "x", "parentCommit": "0".repeat(40) } });
    let body = format!("{stale}\n{}", file("x", "x"));
    let path = "/api/models/conformance/a/commit/main";
    assert_eq!(hub.ask("POST", path, body).await.status, 412);
    // Names are counted before anything is made of them.
    let path_of = |at: usize| format!("{at:06}{}", "x".repeat(1000));
    let names = (0..40_000).map(|at| line("deletedFile", &json!({ "path": path_of(at) })));
    let many = hub.commit("conformance/a", "main", &names.collect::<Vec<_>>()).await;
    assert_eq!(many.status, 413, "{many:?}");
    for line in [
        line("lfsFile", &json!({ "path": "x".repeat(1025), "oid": digest })),
        line("deletedFile", &json!({ "path": "x".repeat(1025) })),
        line("copyFile", &json!({ "path": "x", "srcPath": "a", "srcRevision": "x".repeat(1025) })),
    ] {
        assert_eq!(hub.commit("conformance/a", "main", &[line]).await.status, 400);
    }
    let long =
        format!("{}\n{}", r#"{"key":"header","value":{"summary":"x"}}"#, "x".repeat(49 << 20));
    assert_eq!(hub.ask("POST", path, long).await.status, 413);
    let info = hub.ask("GET", "/api/models/conformance/a", "").await.json();
    assert_eq!((&info["sha"], info["siblings"].as_array().unwrap().len()), (&json!(id), 2));
    for name in ["-a", "a--b", "..", "a/b/c", "x.git"] {
        let body = json!({ "name": name, "organization": "conformance" }).to_string();
        assert_eq!(hub.ask("POST", "/api/repos/create", body).await.status, 400, "{name}");
    }
    let body = json!({ "name": "x", "organization": "models" }).to_string();
    assert_eq!(hub.ask("POST", "/api/repos/create", body).await.status, 400);
    assert_eq!(hub.uploads(), Vec::<String>::new());
}

fn target(href: &Value) -> String {
    let href = href.as_str().unwrap();
    href.split_once("://").unwrap().1.split_once('/').map(|(_, path)| format!("/{path}")).unwrap()
}

#[tokio::test]
async fn large_files_come_by_addresses_that_are_good_for_them_alone() {
    let hub = Hub::start().await;
    hub.repo("conformance/a", &[]).await;
    let batch = async |token: &str, repo: &str, content: &[u8], transfers: Value| {
        let object = json!({ "oid": Digest::of_bytes(content), "size": content.len() });
        let body = json!({ "operation": "upload", "transfers": transfers, "objects": [object] });
        let path = format!("/{repo}.git/info/lfs/objects/batch");
        hub.by(token, "POST", &path, body.to_string().as_bytes()).await.json()
    };
    let content = b"large".repeat(100);
    let told = batch(&hub.all, "conformance/a", &content, json!(["basic"])).await;
    let href = target(&told["objects"][0]["actions"]["upload"]["href"]);
    let put = async |path: &str, body: &[u8]| hub.with(&[], "PUT", path, body).await.status;
    assert_eq!(put(&href, &b"wrong".repeat(100)).await, 400);
    assert_eq!(put(&href, &content[1..]).await, 400);
    assert_eq!(put(&href, &b"larger than it may be".repeat(100)).await, 413);
    // One that does not say how long it is ends where it has sent too much.
    let mut endless = TcpStream::connect(hub.stage.address).await.unwrap();
    let head = format!("PUT {href} HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n");
    endless.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", 400, "x".repeat(400));
    for _ in 0..3 {
        endless.write_all(chunk.as_bytes()).await.unwrap();
    }
    let mut answer = [0; 12];
    endless.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(endless);
    assert_eq!(put(&href.replace("size=500", "size=501"), &content).await, 403);
    assert_eq!(put(&href.replace("conformance", "other"), &content).await, 403);
    assert_eq!(put(&format!("{href}0"), &content).await, 403);
    assert_eq!(put(&href, &content).await, 200);
    let again = batch(&hub.all, "conformance/a", &content, json!(["basic"])).await;
    assert_eq!(again["objects"][0].get("actions"), None, "it is there");

    // What is in another project is no secret that a digest opens.
    hub.repo("other/b", &[("secret", &"s".repeat(2000))]).await;
    let secret = "s".repeat(2000);
    let told = batch(&hub.scoped, "conformance/a", secret.as_bytes(), json!(["basic"])).await;
    assert!(told["objects"][0]["actions"]["upload"]["href"].is_string(), "{told}");
    let line = line("lfsFile", &json!({ "path": "x", "oid": Digest::of_bytes(secret.as_bytes()) }));
    let body = format!("{}\n{line}", r#"{"key":"header","value":{"summary":"x"}}"#);
    let path = "/api/models/conformance/a/commit/main";
    assert_eq!(hub.by(&hub.scoped, "POST", path, body.as_bytes()).await.status, 400);

    // In parts: out of order, one of them twice, and not before all have come.
    let content: Vec<u8> = (0..11_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let told = batch(&hub.all, "conformance/a", &content, json!(["basic", "multipart"])).await;
    assert_eq!(told["transfer"], "multipart");
    let upload = &told["objects"][0]["actions"]["upload"];
    assert_eq!(upload["header"]["chunk_size"], (5 << 20).to_string());
    let part = |number: usize| target(&upload["header"][format!("{number:05}")]);
    let pieces: Vec<_> = content.chunks(5 << 20).collect();
    assert_eq!(put(&part(2), pieces[1]).await, 200);
    let join = target(&upload["href"]);
    assert_eq!(hub.with(&[], "POST", &join, b"{}").await.status, 400, "two parts are missing");
    for number in [3, 1, 1] {
        assert_eq!(put(&part(number), pieces[number - 1]).await, 200);
    }
    assert_eq!(put(&part(1).replace("/1?", "/9?"), pieces[0]).await, 403);
    assert_eq!(hub.with(&[], "POST", &join, b"{}").await.status, 200);
    assert_eq!(hub.with(&[], "POST", &join, b"{}").await.status, 200, "and once more");
    let verify = target(&told["objects"][0]["actions"]["verify"]["href"]);
    let body = json!({ "oid": Digest::of_bytes(&content), "size": content.len() }).to_string();
    assert_eq!(hub.ask("POST", &verify, body).await.status, 200);
    assert_eq!(hub.uploads(), Vec::<String>::new());
}

/// What comes by addresses that were signed is recorded, with who had them signed; and what a
/// commit removes is counted.
#[tokio::test]
async fn what_is_sent_to_signed_addresses_is_recorded() {
    let hub = Hub::start().await;
    hub.repo("conformance/a", &[("gone", "gone"), ("kept", "kept")]).await;
    let content = b"large".repeat(100);
    let digest = Digest::of_bytes(&content);
    let object = json!({ "oid": digest, "size": content.len() });
    let body = json!({ "operation": "upload", "transfers": ["basic"], "objects": [object] });
    let path = "/conformance/a.git/info/lfs/objects/batch";
    let told = hub.by(&hub.scoped, "POST", path, body.to_string().as_bytes()).await.json();
    let href = target(&told["objects"][0]["actions"]["upload"]["href"]);
    assert_eq!(
        hub.with(&[], "PUT", &href.replace("by=scoped", "by=all"), &content).await.status,
        403
    );
    assert_eq!(hub.with(&[], "PUT", &href, &content).await.status, 200);
    let last = hub.ask("GET", "/api/v1/audit?limit=1", "").await.json()["items"][0].clone();
    assert_eq!(last["who"], json!({ "kind": "link", "name": "scoped" }), "{last:#}");
    assert_eq!(last["object"], format!("content/conformance/{digest}"));
    assert_eq!(last["action"], "PUT /_lfs/{ns}/{oid}");
    assert_eq!(last["after"], json!({ "sha256": digest, "size": content.len() }));

    let deletions = || hub.models.figures().deletions.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(deletions(), 0);
    let gone = line("deletedFile", &json!({ "path": "gone" }));
    assert_eq!(hub.commit("conformance/a", "main", &[gone, file("kept", "new")]).await.status, 200);
    assert_eq!(deletions(), 1);
}

/// What waits for its commit may be as much as a project may have.
#[tokio::test]
async fn what_is_on_its_way_has_a_limit_too() {
    let (hub, _) = Hub::start_as(|settings| settings.project_max = Some(1000)).await;
    hub.repo("conformance/a", &[]).await;
    let content = |at: u8| vec![at; 600];
    let batch = async |at: u8| {
        let object = json!({ "oid": Digest::of_bytes(&content(at)), "size": 600 });
        let body = json!({ "operation": "upload", "transfers": ["basic"], "objects": [object] });
        let path = "/conformance/a.git/info/lfs/objects/batch";
        hub.ask("POST", path, body.to_string()).await.json()["objects"][0].clone()
    };
    let (one, two) = (batch(1).await, batch(2).await);
    let href = |told: &Value| target(&told["actions"]["upload"]["href"]);
    assert_eq!(hub.with(&[], "PUT", &href(&one), &content(1)).await.status, 200);
    let refused = hub.with(&[], "PUT", &href(&two), &content(2)).await;
    assert_eq!(refused.status, 413, "{refused:?}");
    assert!(refused.body.contains("may have 1000 bytes on their way"), "{refused:?}");
    assert_eq!(batch(3).await["error"]["code"], 413);
    let oid = Digest::of_bytes(&content(1));
    let lfs = line("lfsFile", &json!({ "path": "x", "oid": oid }));
    assert_eq!(hub.commit("conformance/a", "main", &[lfs]).await.status, 200);
    assert_eq!(hub.with(&[], "PUT", &href(&two), &content(2)).await.status, 200);
}
