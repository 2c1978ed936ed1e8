//! The model store as its clients meet it: paths, documents, errors, conditions, parts.

use berth::model::Digest;
use serde_json::{Value, json};

use crate::api::stage::{Answer, Stage};

const FORM: &str = "multipart/form-data; boundary=XX";

fn form(parts: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (head, content) in parts {
        body += &format!("--XX\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n");
    }
    body + "--XX--\r\n"
}

impl Stage {
    async fn send(&self, query: &str, parts: &[(&str, &str)]) -> Answer {
        let path = format!("/models/upload{query}");
        self.ask("POST", &path, &[("content-type", FORM)], &form(parts)).await
    }

    /// What is known of a model once somebody has looked into it.
    async fn inspected(&self, path: &str) -> Value {
        for _ in 0..6000 {
            let info = self.get(&format!("{path}/info")).await.json();
            if info["inspection"]["status"] == "done" && info["safety"].is_string() {
                return info;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("nobody looks into {path}");
    }

    async fn stored(&self, project: &str, version: &str, content: &str) {
        let path = format!("/models/{project}/a/{version}/m");
        let answer = self.ask("PUT", &path, &[], content).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

const FILE: (&str, &str) = ("name=\"file\"; filename=\"my model.onnx\"", "0123456789");
const WHERE: &str = "?project_id=p&app_name=a&version=1.0.0&model_name=m";

#[tokio::test]
async fn what_is_uploaded_is_listed_told_sent_and_deleted_as_it_always_was() {
    let stage = Stage::start().await;
    let answer = stage.send(&format!("{WHERE}&framework=onnx"), &[FILE]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let told = answer.json();
    let root = stage.folder.path().join("models");
    let file = root.join("p/a/1.0.0/m/model");
    assert_eq!(told["message"], "Model uploaded successfully");
    assert_eq!((&told["size"], &told["path"]), (&json!(10), &json!(file.to_str().unwrap())));
    let digest = Digest::of_bytes(b"0123456789").to_string();
    assert_eq!(told["sha256"], digest);
    assert_eq!(
        keys(&told)[..7],
        ["message", "project_id", "app_name", "version", "model_name", "size", "path"]
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"0123456789");
    let text = std::fs::read_to_string(file.with_file_name("metadata.json")).unwrap();
    assert!(text.starts_with("{\n  \"project_id\": \"p\",\n  \"app_name\": \"a\",\n"), "{text}");
    let kept: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(kept["original_filename"], "my model.onnx");
    assert_eq!((&kept["framework"], kept.get("description")), (&json!("onnx"), None));

    let mut info = stage.inspected("/models/p/a/1.0.0/m").await;
    let inspection = info.as_object_mut().unwrap().remove("inspection").unwrap();
    assert_eq!(inspection["format"], "onnx", "as its name says");
    // What lists do not say.
    for name in ["downloads", "tags", "hf_id", "commit"] {
        assert!(info.as_object_mut().unwrap().remove(name).is_some(), "{name}");
    }
    assert_eq!((&info["exists"], &info["size"]), (&json!(true), &json!(10)));
    assert_eq!(info["upload_timestamp"], kept["upload_timestamp"]);
    for (path, more) in [
        ("/models/list", json!({})),
        ("/models/p", json!({ "project_id": "p" })),
        ("/models/p/a", json!({ "project_id": "p", "app_name": "a" })),
        ("/models/p/a/1.0.0", json!({ "project_id": "p", "app_name": "a", "version": "1.0.0" })),
    ] {
        let mut wanted = more;
        wanted["total_models"] = json!(1);
        wanted["models"] = json!([info]);
        assert_eq!(stage.get(path).await.json(), wanted, "{path}");
    }
    let nothing = stage.get("/models/nobody").await;
    let wanted = r#"{"project_id":"nobody","total_models":0,"models":[]}"#;
    assert_eq!((nothing.status, nothing.body.as_str()), (200, wanted));

    let sent = stage.get("/models/p/a/1.0.0/m").await;
    assert_eq!((sent.status, sent.body.as_str()), (200, "0123456789"));
    for header in [
        "content-type: application/octet-stream",
        "content-disposition: attachment; filename=\"p_a_1.0.0_m\"",
        // Fault S18: a browser takes it for nothing else, and runs nothing of it.
        "x-content-type-options: nosniff",
        "accept-ranges: bytes",
        "content-length: 10",
        &format!("etag: \"{digest}\""),
        "repr-digest: sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:",
    ] {
        assert!(sent.has(&header.to_lowercase()), "{header}: {sent:?}");
    }
    assert!(sent.head.contains("\nlast-modified: "), "{sent:?}");

    let gone = stage.ask("DELETE", "/models/p/a/1.0.0/m", &[], "").await;
    let wanted = r#"{"message":"Model deleted successfully","project_id":"p","app_name":"a","version":"1.0.0","model_name":"m"}"#;
    assert_eq!((gone.status, gone.body.as_str()), (200, wanted));
    assert!(!root.join("p").exists(), "empty folders are left");
    it_is_missing(&stage).await;
}

async fn it_is_missing(stage: &Stage) {
    let missing = r#"{"detail":"Model not found: project_id='p', app_name='a', version='1.0.0', model_name='m'"}"#;
    for (method, path) in [
        ("GET", "/models/p/a/1.0.0/m"),
        ("GET", "/models/p/a/1.0.0/m/info"),
        ("DELETE", "/models/p/a/1.0.0/m"),
    ] {
        let answer = stage.ask(method, path, &[], "").await;
        assert_eq!((answer.status, answer.body.as_str()), (404, missing), "{method} {path}");
    }
}

#[tokio::test]
async fn what_a_form_lacks_is_said_as_its_clients_know_it() {
    let stage = Stage::start().await;
    let missing = |place: &str, name: &str| json!({ "type": "missing", "loc": [place, name], "msg": "Field required", "input": null });
    let answer = stage.send("?project_id=p&model_name=m", &[FILE]).await;
    let wanted = json!({ "detail": [missing("query", "app_name"), missing("query", "version")] });
    assert_eq!((answer.status, answer.json()), (422, wanted));
    let answer = stage.send(WHERE, &[("name=\"framework\"", "onnx")]).await;
    assert_eq!(
        (answer.status, answer.json()),
        (422, json!({ "detail": [missing("body", "file")] }))
    );
    let answer = stage.ask("POST", &format!("/models/upload{WHERE}"), &[], "").await;
    assert_eq!(
        (answer.status, answer.json()),
        (422, json!({ "detail": [missing("body", "file")] }))
    );
    let answer = stage.send(WHERE, &[("name=\"file\"", "text")]).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "file"]));
    let headers = [("content-type", FORM)];
    let path = format!("/models/upload{WHERE}");
    for broken in ["", "--XX", "--XX\r\nno head\r\n\r\nabc", "--YY--\r\n", &form(&[FILE])[..80]] {
        let answer = stage.ask("POST", &path, &headers, broken).await;
        let wanted = r#"{"detail":"There was an error parsing the body"}"#;
        assert_eq!((answer.status, answer.body.as_str()), (400, wanted), "{broken:?}");
    }
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
}

/// Fields serve as well as the query, in any order; the query wins.
#[tokio::test]
async fn a_form_says_where_to_by_fields_too() {
    let stage = Stage::start().await;
    let fields = [
        ("name=\"version\"", "1"),
        FILE,
        ("name=\"project_id\"", "p"),
        ("name=\"app_name\"", "other"),
        ("name=\"model_name\"", "m"),
        ("name=\"description\"", "by a field"),
    ];
    let answer = stage.send("?app_name=a", &fields).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let info = stage.get("/models/p/a/1/m/info").await.json();
    assert_eq!(info["description"], "by a field");
}

/// Faults S07, S08: names are no paths, and what could look like another name is none.
#[tokio::test]
async fn names_that_are_none_are_refused_and_nothing_is_stored() {
    let stage = Stage::start().await;
    let long = "x".repeat(129);
    let bad = [
        "..",
        ".",
        ".store",
        "..%2Fx",
        "a%2Fb",
        "a%5Cb",
        "%00",
        "a%0Ab",
        "%E2%80%AEx",
        "",
        "%20a",
        "a%7F",
        &long,
        "%2E%2E",
        "a%C2%85",
    ];
    for name in bad {
        for part in ["project_id", "app_name", "version", "model_name"] {
            let mut query = String::from("?");
            for other in ["project_id", "app_name", "version", "model_name"] {
                query += &format!("{other}={}&", if other == part { name } else { "ok" });
            }
            let answer = stage.send(query.trim_end_matches('&'), &[FILE]).await;
            assert_eq!(answer.status, 422, "{part}={name}: {answer:?}");
            let detail = &answer.json()["detail"][0];
            assert_eq!(detail["loc"], json!(["query", part]), "{answer:?}");
        }
        let path = format!("/models/p/a/1/{name}");
        for method in ["PUT", "GET", "DELETE"] {
            let answer = stage.ask(method, &path, &[], "x").await;
            let is_refused = [307, 404, 405, 422].contains(&answer.status);
            assert!(is_refused, "{method} {path}: {answer:?}");
        }
    }
    for version in ["aliases", "@1"] {
        let answer = stage.ask("PUT", &format!("/models/p/a/{version}/m"), &[], "x").await;
        assert!([404, 422].contains(&answer.status) || version == "aliases", "{answer:?}");
    }
    assert_eq!(stage.get("/models/list").await.json()["total_models"], 0);
    let names = |folder| {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(stage.folder.path().join("models")), [".store"]);
    assert_eq!(names(stage.folder.path().join("models/.store/uploads")), Vec::<String>::new());
}

/// Fault S05, for who says what is to be there; and S13: what is sent again is not stored twice.
#[tokio::test]
async fn conditions_decide_before_anything_is_changed() {
    let stage = Stage::start().await;
    stage.stored("p", "1", "first").await;
    let path = "/models/p/a/1/m";
    let etag = format!("\"{}\"", Digest::of_bytes(b"first"));
    let other = format!("\"{}\"", Digest::of_bytes(b"other"));
    let both = format!("{other}, W/{etag}");
    for (method, header, value, status) in [
        ("PUT", "if-none-match", "*", 412),
        ("PUT", "if-match", other.as_str(), 412),
        ("DELETE", "if-match", &other, 412),
        ("GET", "if-match", &other, 412),
        ("GET", "if-match", &etag, 200),
        ("GET", "if-none-match", &other, 200),
        ("GET", "if-none-match", &etag, 304),
        ("HEAD", "if-none-match", &both, 304),
        ("GET", "if-none-match", "*", 304),
        ("GET", "if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT", 304),
        ("GET", "if-modified-since", "Thu, 01 Jan 1970 00:00:10 GMT", 200),
        ("GET", "if-unmodified-since", "Thu, 01 Jan 1970 00:00:10 GMT", 412),
        ("PUT", "x-checksum-sha256", other.trim_matches('"'), 400),
        ("PUT", "repr-digest", "sha-256=:hNiYd/DUBB77a/kaFqAkjy/Vc+avBcGfr7bxn4gvMII=:", 400),
        ("PUT", "content-encoding", "gzip", 415),
        ("PUT", "content-range", "bytes 0-4/10", 400),
    ] {
        let answer = stage.ask(method, path, &[(header, value)], "second").await;
        assert_eq!(answer.status, status, "{method} {header}: {value}: {answer:?}");
        if status == 304 {
            assert!(answer.has(&format!("etag: {etag}")) && answer.body.is_empty(), "{answer:?}");
        }
    }
    assert_eq!(stage.get(path).await.body, "first");
    let wrong = stage.send(&format!("{WHERE}&sha256={}", "0".repeat(64)), &[FILE]).await;
    assert_eq!(wrong.status, 400, "{wrong:?}");
    assert_eq!(stage.get("/models/p").await.json()["total_models"], 1);
    let answer = stage.ask("PUT", path, &[("if-match", &etag)], "second").await;
    assert_eq!(answer.status, 201);
    assert_eq!(stage.get(path).await.body, "second");
    let head = stage.ask("HEAD", path, &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.has("content-length: 6") && head.has("accept-ranges: bytes"), "{head:?}");
}

/// Fault S10.
#[tokio::test]
async fn parts_are_sent_as_they_are_asked_for() {
    let stage = Stage::start().await;
    let content: String = "abcdefghijklmnopqrstuvw".chars().cycle().take(300_000).collect();
    stage.stored("p", "1", &content).await;
    let path = "/models/p/a/1/m";
    for (range, from, to) in [
        ("0-0", 0, 1),
        ("100-199", 100, 200),
        ("299999-", 299_999, 300_000),
        ("-7", 299_993, 300_000),
        ("0-", 0, 300_000),
        ("70000-290000", 70_000, 290_001),
    ] {
        let answer = stage.ask("GET", path, &[("range", &format!("bytes={range}"))], "").await;
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.has(&format!("content-range: bytes {from}-{}/300000", to - 1)), "{range}");
        assert!(answer.body == content[from..to], "{range}");
    }
    let answer = stage.ask("GET", path, &[("range", "bytes=0-4,299990-")], "").await;
    assert_eq!(answer.status, 206);
    let kind =
        answer.head.lines().find(|line| line.starts_with("content-type: multipart")).unwrap();
    // Names are case-sensitive in a body, and the head is read in lower case.
    let boundary = answer.body.lines().next().unwrap().trim_start_matches("--");
    assert!(kind.ends_with(&boundary.to_lowercase()), "{kind}");
    let wanted = format!(
        "--{boundary}\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes 0-4/300000\r\n\r\nabcde\r\n--{boundary}\r\ncontent-type: application/octet-stream\r\ncontent-range: bytes 299990-299999/300000\r\n\r\n{}\r\n--{boundary}--\r\n",
        &content[299_990..]
    );
    assert_eq!(answer.body, wanted);
    assert!(answer.has(&format!("content-length: {}", wanted.len())), "{}", answer.head);
    let etag = format!("\"{}\"", Digest::of_bytes(content.as_bytes()));
    for (condition, status) in
        [(etag.as_str(), 206), ("\"other\"", 200), ("Thu, 01 Jan 1970 00:00:10 GMT", 200)]
    {
        let headers = [("range", "bytes=0-4"), ("if-range", condition)];
        assert_eq!(stage.ask("GET", path, &headers, "").await.status, status, "{condition}");
    }
    for (range, status) in
        [("bytes=300000-", 416), ("bytes=a-", 400), ("bytes=5-4", 400), ("lines=1-2", 200)]
    {
        let answer = stage.ask("GET", path, &[("range", range)], "").await;
        assert_eq!(answer.status, status, "{range}");
        assert_eq!(answer.has("content-range: bytes */300000"), status == 416, "{range}");
    }
    let abuse = format!("bytes={}", "0-,".repeat(100));
    assert_eq!(stage.ask("GET", path, &[("range", &abuse)], "").await.status, 416);
}

#[tokio::test]
async fn a_slash_too_much_is_sent_to_the_right_place() {
    let stage = Stage::start().await;
    let answer = stage.get("/models/list/?limit=1").await;
    assert_eq!(answer.status, 307, "{answer:?}");
    assert!(answer.has("location: /models/list?limit=1"), "{answer:?}");
    let answer = stage.get("/models/a/b/c/d/e/f").await;
    assert_eq!((answer.status, answer.body.as_str()), (404, r#"{"detail":"Not Found"}"#));
}

#[tokio::test]
async fn versions_are_found_by_other_words_and_can_be_frozen() {
    let stage = Stage::start().await;
    for version in ["1.0.0", "1.2.0", "2.0.0-rc.1"] {
        stage.stored("p", version, &format!("content of {version}")).await;
    }
    let put = stage.ask("PUT", "/models/p/a/aliases/stable", &[], r#"{"version":"1.0.0"}"#).await;
    assert_eq!(put.status, 200, "{put:?}");
    for (word, version) in [
        ("latest", "1.2.0"),
        ("@latest", "1.2.0"),
        ("stable", "1.0.0"),
        ("@%5E1", "1.2.0"),
        ("@~1.0", "1.0.0"),
        ("@%3E=1,%3C1.2", "1.0.0"),
    ] {
        let answer = stage.get(&format!("/models/p/a/{word}/m")).await;
        assert_eq!(answer.body, format!("content of {version}"), "{word}: {answer:?}");
        assert!(answer.has(&format!("x-resolved-version: {version}")), "{answer:?}");
        assert!(answer.has(&format!("content-location: /models/p/a/{version}/m")), "{answer:?}");
    }
    assert_eq!(stage.get("/models/p/a/%5E1/m").await.status, 404, "a range must be asked for");
    assert_eq!(stage.get("/models/p/a/%5E1/m/info?resolve=1").await.json()["version"], "1.2.0");
    assert_eq!(stage.get("/models/p/a/aliases/latest").await.json()["version"], "1.2.0");
    for (alias, version, status) in [
        ("1.2.0", "1.0.0", 409),
        ("latest", "1.0.0", 409),
        ("next", "9", 404),
        ("..", "1.0.0", 422),
    ] {
        let path = format!("/models/p/a/aliases/{alias}?version={version}");
        assert_eq!(stage.ask("PUT", &path, &[], "").await.status, status, "{path}");
    }
    let taken = stage.ask("PUT", "/models/p/a/stable/m", &[], "x").await;
    assert_eq!(taken.status, 409, "{taken:?}");

    assert_eq!(stage.ask("POST", "/models/p/a/1.2.0/freeze", &[], "").await.status, 200);
    for method in ["PUT", "DELETE"] {
        let answer = stage.ask(method, "/models/p/a/1.2.0/m", &[], "x").await;
        let wanted = r#"{"detail":"Version is immutable"}"#;
        assert_eq!((answer.status, answer.body.as_str()), (409, wanted), "{method}");
    }
    assert_eq!(stage.ask("PUT", "/models/p/a/1.2.0/other", &[], "x").await.status, 409);
    assert_eq!(stage.ask("POST", "/models/p/a/1.2.0/unfreeze", &[], "").await.status, 200);
    assert_eq!(stage.ask("PUT", "/models/p/a/1.2.0/m", &[], "x").await.status, 201);
    assert_eq!(stage.ask("DELETE", "/models/p/a/aliases/stable", &[], "").await.status, 200);
    assert_eq!(stage.get("/models/p/a/aliases").await.json()["aliases"], json!({}));
}

#[tokio::test]
async fn what_was_deleted_comes_back_until_it_is_swept() {
    let stage = Stage::start().await;
    stage.stored("p", "1", "content").await;
    assert_eq!(stage.ask("DELETE", "/models/p/a/1/m", &[], "").await.status, 200);
    let trash = stage.get("/api/v1/models/trash").await.json();
    assert_eq!(
        (&trash["items"][0]["project_id"], &trash["items"][0]["size"]),
        (&json!("p"), &json!(7))
    );
    let path =
        format!("/api/v1/models/trash/{}/restore", trash["items"][0]["id"].as_str().unwrap());
    assert_eq!(stage.ask("POST", &path, &[], "").await.status, 200);
    assert_eq!(stage.get("/models/p/a/1/m").await.body, "content");
    assert_eq!(stage.ask("POST", &path, &[], "").await.status, 404);
    let swept = stage.ask("POST", "/api/v1/models/gc?dryRun=true", &[], "").await.json();
    assert_eq!(
        swept,
        json!({ "dryRun": true, "trashed": 0, "blobs": 0, "bytes": 0, "historyBytes": 0 })
    );
}

#[tokio::test]
async fn lists_are_searched_and_paged() {
    let stage = Stage::start().await;
    for version in 0..5 {
        stage.stored("p", &format!("{version}"), &format!("{version}")).await;
    }
    let mut path = "/models/p?limit=2".to_owned();
    let mut versions = Vec::new();
    loop {
        let page = stage.get(&path).await.json();
        assert_eq!(page["total_models"], 5);
        let models = page["models"].as_array().unwrap();
        versions.extend(models.iter().map(|model| model["version"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/models/p?limit=2&after={next}");
    }
    assert_eq!(versions, ["0", "1", "2", "3", "4"]);
    assert_eq!(stage.get("/models/list?search=P%203").await.json()["total_models"], 1);
    assert_eq!(stage.get("/models/list?search=nothing").await.json()["total_models"], 0);
    assert_eq!(stage.get("/models/p?after=x").await.status, 400);
}
