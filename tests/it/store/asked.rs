//! What clients ask of models beside their names: by digest, only what is safe, how often it was
//! loaded, where the Hub has it, and long lists.

use std::{sync::Arc, time::Duration};

use berth::{
    model::Digest,
    store::{Depot, Key, Query, Settings},
};
use serde_json::{Value, json};

use crate::api::stage::{Answer, Stage};

/// Loading it runs a program.
const DANGEROUS: &str = "cos\nsystem\n(S'true'\ntR.";

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let begins = format!("{name}: ");
    answer.head.lines().find_map(|line| line.strip_prefix(&begins)).map(str::trim)
}

async fn put(stage: &Stage, path: &str, content: &str) {
    let answer = stage.ask("PUT", path, &[], content).await;
    assert_eq!(answer.status, 201, "{path}: {answer:?}");
}

/// Asks until the store has looked into what it has.
async fn once_known(stage: &Stage, path: &str) -> Answer {
    for _ in 0..6000 {
        let answer = stage.get(path).await;
        if answer.status != 503 {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody looks into {path}");
}

#[tokio::test]
async fn only_what_is_safe_is_sent_to_who_asks_for_that() {
    let stage = Stage::start().await;
    put(&stage, "/models/p/a/1/config.json", "{}").await;
    put(&stage, "/models/p/a/1/m.pkl", DANGEROUS).await;
    for path in ["/models/p/a/1/config.json", "/p/a/resolve/1/config.json"] {
        let good = once_known(&stage, &format!("{path}?require=safe")).await;
        assert_eq!((good.status, good.body.as_str()), (200, "{}"), "{path}: {good:?}");
    }
    let blob = format!("/blobs/sha256:{}", Digest::of_bytes(DANGEROUS.as_bytes()));
    for path in ["/models/p/a/1/m.pkl", "/p/a/resolve/1/m.pkl", &blob] {
        let bad = once_known(&stage, &format!("{path}?require=safe")).await;
        assert_eq!(bad.status, 403, "{path}: {bad:?}");
        assert!(bad.body.contains("is dangerous to load, and only what is safe was asked for"));
        let head = stage.ask("HEAD", &format!("{path}?require=safe"), &[], "").await;
        assert_eq!(head.status, 403, "{path}: {head:?}");
        assert_eq!(stage.get(path).await.status, 200, "{path}: who does not ask gets it");
        let unclear = stage.get(&format!("{path}?require=best")).await;
        assert_eq!(unclear.status, 400, "{path}: {unclear:?}");
        assert!(unclear.body.contains("`require` is `safe`"), "{unclear:?}");
    }
}

#[tokio::test]
async fn a_content_is_found_by_its_digest_whatever_it_is_called() {
    let stage = Stage::start().await;
    put(&stage, "/models/p/a/1/m", "0123456789").await;
    let digest = Digest::of_bytes(b"0123456789");
    for path in [format!("/blobs/sha256:{digest}"), format!("/blobs/{digest}")] {
        let head = stage.ask("HEAD", &path, &[], "").await;
        assert_eq!((head.status, header(&head, "content-length")), (200, Some("10")), "{head:?}");
        assert_eq!(header(&head, "content-location"), Some("/models/p/a/1/m"));
        let part = stage.ask("GET", &path, &[("range", "bytes=2-4")], "").await;
        assert_eq!((part.status, part.body.as_str()), (206, "234"));
    }
    let other = stage.get(&format!("/blobs/sha256:{}", Digest::of_bytes(b"x"))).await;
    assert_eq!(other.status, 404, "{other:?}");
    let bad = stage.get("/blobs/sha256:12").await;
    assert_eq!(bad.status, 400);
    assert!(bad.body.contains("write `sha256:` and 64 hexadecimal digits"), "{bad:?}");
}

#[tokio::test]
async fn digests_are_told_as_they_are_wanted_and_requests_are_called_what_clients_call_them() {
    let stage = Stage::start().await;
    put(&stage, "/models/p/a/1/m", "0123456789").await;
    let told = async |headers: &[(&str, &str)]| {
        let answer = stage.ask("GET", "/models/p/a/1/m", headers, "").await;
        let [of_sent, of_whole] = ["content-digest", "repr-digest"];
        (header(&answer, of_sent).is_some(), header(&answer, of_whole).is_some())
    };
    assert_eq!(told(&[]).await, (false, true));
    assert_eq!(told(&[("want-content-digest", "sha-512=3, sha-256=10")]).await, (true, true));
    assert_eq!(told(&[("want-content-digest", "sha-256=0")]).await, (false, true));
    assert_eq!(told(&[("want-repr-digest", "sha-256=0")]).await, (false, false));
    assert_eq!(told(&[("want-repr-digest", "sha-512=5")]).await, (false, true));
    // Of a part nobody knows it without reading all of that.
    let part = [("want-content-digest", "sha-256=1"), ("range", "bytes=0-1")];
    assert_eq!(told(&part).await, (false, true));

    let long = "x".repeat(300);
    for path in ["/models/p/a/1/m", "/p/a/resolve/1/none", "/api/v1/none", "/livez"] {
        let named = [("x-request-id", "r-1"), ("x-amzn-trace-id", "Root=1-2")];
        let answer = stage.ask("GET", path, &named, "").await;
        assert_eq!(header(&answer, "x-request-id"), Some("r-1"), "{path}");
        assert_eq!(header(&answer, "x-amzn-trace-id"), Some("root=1-2"), "{path}");
        let answer = stage.ask("GET", path, &[("x-request-id", &long)], "").await;
        assert_eq!(header(&answer, "x-request-id"), None, "{path}");
    }
}

#[tokio::test]
async fn downloads_are_counted_once_each_and_outlast_berth() {
    let folder = tempfile::tempdir().unwrap();
    let settings = || Settings::new(folder.path().join("models"));
    let depot = Arc::new(Depot::new(settings()));
    let stage = Stage::kept_in(Arc::clone(&depot), |_| {}).await;
    put(&stage, "/models/p/a/main/m", "0123456789").await;
    put(&stage, "/models/p/a/2/m", "2").await;
    let info = stage.get("/models/p/a/main/m/info").await.json();
    assert_eq!((&info["downloads"], &info["hf_id"]), (&json!(0), &json!("p/a")));
    assert_eq!(info["tags"], json!([]));
    let commit = stage.get("/api/models/p/a").await.json()["sha"].clone();
    assert_eq!(info["commit"], commit);
    for (path, headers) in [
        ("/models/p/a/main/m", &[][..]),
        ("/models/p/a/main/m", &[("range", "bytes=0-3")]),
        // The rest of one.
        ("/models/p/a/main/m", &[("range", "bytes=4-")]),
        ("/p/a/resolve/main/m", &[]),
        ("/models/p/a/latest/m", &[]),
    ] {
        assert!(stage.ask("GET", path, headers, "").await.status < 300, "{path}");
    }
    assert_eq!(stage.ask("HEAD", "/models/p/a/main/m", &[], "").await.status, 200);
    let path = format!("/p/a/resolve/{}/m", commit.as_str().unwrap());
    assert_eq!(stage.get(&path).await.status, 200);
    let count = async |stage: &Stage, version: &str| {
        stage.get(&format!("/models/p/a/{version}/m/info")).await.json()["downloads"].clone()
    };
    assert_eq!((count(&stage, "main").await, count(&stage, "2").await), (json!(3), json!(1)));
    let of_all =
        async |stage: &Stage| stage.get("/api/models/p/a").await.json()["downloads"].clone();
    assert_eq!(of_all(&stage).await, json!(5), "those by commit are of the repository");
    depot.store().unwrap().keep_downloads().unwrap();
    stage.stop.cancel();
    stage.served.await.unwrap();
    drop(depot);
    let again = Depot::new(settings());
    // What was answered last may hold the root for a moment.
    while again.store().is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let store = again.store().unwrap();
    assert_eq!(store.downloads_of(&Key::new("p", "a", "main", "m").unwrap()), 3);
    assert_eq!(store.all_downloads_of(("p", "a")), 5);
}

/// A list of thousands is sent piece by piece, and is what a short one is.
#[tokio::test]
async fn a_long_list_is_one_document_with_its_length() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("models");
    for number in 0..350 {
        let model = root.join(format!("p{}/app/1/m{number:03}", number % 2));
        std::fs::create_dir_all(&model).unwrap();
        std::fs::write(model.join("model"), format!("content {number}")).unwrap();
        let text = format!("{{\"description\": \"ü \\\"{number}\\\"\", \"framework\": \"Onnx\"}}");
        std::fs::write(model.join("metadata.json"), text).unwrap();
    }
    let depot = Arc::new(Depot::new(Settings::new(root)));
    let store = Arc::clone(depot.store().unwrap());
    for key in store.unread().iter().take(120) {
        store.hash(key, || true).unwrap();
    }
    let stage = Stage::kept_in(depot, |_| {}).await;
    for (path, count) in
        [("/models/list", 350), ("/models/p1", 175), ("/models/list?limit=201", 201)]
    {
        let answer = stage.get(path).await;
        let length = header(&answer, "content-length").unwrap().parse();
        assert_eq!(length, Ok(answer.body.len()), "{path}");
        let models = answer.json()["models"].as_array().unwrap().clone();
        assert_eq!(models.len(), count, "{path}");
        let query = Query { limit: Some(usize::MAX), ..Query::default() };
        for entry in store.list(&query).entries.iter().step_by(29) {
            let listed: Value = serde_json::from_str(&entry.listed()).unwrap();
            let key = &entry.key;
            let is_this = |model: &&Value| {
                (model["project_id"].as_str(), model["model_name"].as_str())
                    == (Some(key.project.as_str()), Some(key.model.as_str()))
            };
            assert!(models.iter().find(is_this).is_none_or(|model| *model == listed), "{listed}");
        }
    }
    let found = stage.get("/models/list?search=ONNX%20%22349").await.json();
    assert_eq!(found["models"][0]["model_name"], "m349", "what it says of itself is looked for");
    assert_eq!(found["total_models"], 1);
}
