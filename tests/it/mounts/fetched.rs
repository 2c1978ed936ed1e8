//! Models that Berth fetches from elsewhere: from another Berth, an address, a server that speaks as
//! the Hub does; never half, never other than announced, never from where it may not.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use berth::{
    model::Digest,
    store::name_of,
    workspace::{Access, Reach},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::api::stage::{Answer, Stage};

/// A Berth that may fetch from this machine.
async fn near() -> Stage {
    Stage::with(|settings| settings.reach = near_reach()).await
}

fn near_reach() -> Reach {
    let access = Access {
        schemes: vec!["https".to_owned(), "http".to_owned()],
        is_private_allowed: true,
        is_loopback_allowed: true,
        ..Access::default()
    };
    Reach::of(access)
}

impl Stage {
    async fn begin(&self, asked: &Value) -> Answer {
        let kind = [("content-type", "application/json")];
        self.ask("POST", "/api/v1/models/pull", &kind, &asked.to_string()).await
    }

    /// Fetches, and answers how it stands once it is over.
    async fn fetched(&self, asked: Value) -> Value {
        let begun = self.begin(&asked).await;
        assert_eq!(begun.status, 202, "{asked}: {begun:?}");
        let id = begun.json()["id"].clone();
        for _ in 0..600 {
            let all = self.get("/api/v1/models/pulls").await.json();
            let one = all["items"].as_array().unwrap().iter().find(|pull| pull["id"] == id);
            if let Some(over) = one.filter(|pull| !pull["finishedAt"].is_null()) {
                return over.clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it never ends: {asked}");
    }

    async fn names(&self) -> Vec<String> {
        let all = self.get("/models/list").await.json();
        let name = |model: &Value| {
            ["project_id", "app_name", "version", "model_name"]
                .map(|part| model[part].as_str().unwrap().to_owned())
                .join("/")
        };
        all["models"].as_array().unwrap().iter().map(name).collect()
    }
}

/// A server with these contents, that cuts its first answer to some of them in the middle.
#[derive(Clone, Default)]
struct Other {
    contents: Arc<BTreeMap<String, String>>,
    /// What still is to be cut.
    cut: Arc<Mutex<Vec<String>>>,
    /// What was asked: the path, the range, who signed in.
    asked: Arc<Mutex<Vec<(String, String, bool)>>>,
    redirect: Option<String>,
}

impl Other {
    async fn serve(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().answer(stream));
            }
        });
        address
    }

    async fn answer(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let header = |name: &str| {
            let line = head.lines().find(|line| line.to_lowercase().starts_with(name));
            line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
        };
        let (range, is_signed) = (header("range:"), header("authorization:").is_some());
        self.asked.lock().unwrap().push((
            path.clone(),
            range.clone().unwrap_or_default(),
            is_signed,
        ));
        if let Some(to) = &self.redirect {
            let text = format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
            let _ = stream.write_all(text.as_bytes()).await;
            return;
        }
        let Some(content) = self.contents.get(&path) else {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
            return;
        };
        let start =
            range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let start: usize = start.unwrap_or(0);
        let part = match start {
            0 => String::new(),
            _ => {
                format!("content-range: bytes {start}-{}/{}\r\n", content.len() - 1, content.len())
            }
        };
        let status = if start == 0 { "200 OK" } else { "206 Partial Content" };
        let length = content.len() - start;
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{part}etag: \"e\"\r\nconnection: close\r\n\r\n"
        );
        let mut body = &content[start..];
        let is_cut = {
            let mut cut = self.cut.lock().unwrap();
            let at = cut.iter().position(|it| *it == path);
            at.map(|at| cut.remove(at)).is_some()
        };
        if is_cut {
            body = &body[..body.len() / 2];
        }
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(body.as_bytes()).await;
    }
}

fn other(contents: &[(&str, &str)]) -> Other {
    let contents = contents.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
    Other { contents: Arc::new(contents.collect()), ..Other::default() }
}

fn sha(text: &str) -> String {
    Digest::of_bytes(text.as_bytes()).to_string()
}

#[tokio::test]
async fn a_version_of_another_berth_is_fetched_whole_by_its_alias() {
    let (there, here) = (Stage::start().await, near().await);
    for (path, content) in [("1.0.0/m", "old"), ("2.0.0/m", "weights"), ("2.0.0/config", "{}")] {
        let answer = there.ask("PUT", &format!("/models/demo/llm/{path}"), &[], content).await;
        assert_eq!(answer.status, 201);
    }
    let from = |what: &str| format!("berth+{}/demo/llm@{what}", there.base());
    let done = here.fetched(json!({ "from": from("latest"), "as": "mine/llm@main" })).await;
    assert_eq!(
        (&done["phase"], &done["files"], &done["bytes"]),
        (&json!("done"), &json!(2), &json!(9))
    );
    assert_eq!(here.names().await, ["mine/llm/main/config", "mine/llm/main/m"]);
    assert_eq!(here.get("/models/mine/llm/main/m").await.body, "weights");
    let one = json!({ "from": from("^1/m"), "as": "mine/llm@one/renamed", "sha256": sha("old") });
    assert_eq!(here.fetched(one).await["phase"], "done");
    assert_eq!(here.get("/models/mine/llm/one/renamed").await.body, "old");
    // An address of its own is as good: the answer says the digest.
    let url = format!("{}/models/demo/llm/2.0.0/m", there.base());
    assert_eq!(here.fetched(json!({ "from": url, "as": "mine/llm@url/m" })).await["phase"], "done");
    let again = json!({ "from": url, "as": "mine/llm@url/m", "createOnly": true });
    let refused = here.fetched(again).await;
    assert!(refused["error"].as_str().unwrap().contains("there already"), "{refused}");
    let none = here.fetched(json!({ "from": from("^9"), "as": "mine/x@1" })).await;
    assert_eq!(none["phase"], "failed");
    let told: Vec<_> = here.record.events(None).iter().map(|event| event.message.clone()).collect();
    assert!(told.iter().any(|told| told.contains("mine/llm@main from berth+")), "{told:?}");
}

#[tokio::test]
async fn what_is_not_as_announced_is_never_seen() {
    let address = other(&[("/m?token=s3cret", "weights")]).serve().await;
    let here = near().await;
    let from = format!("http://{address}/m?token=s3cret");
    let ask = |sha256: Value| json!({ "from": from, "as": "p/a@1/m", "sha256": sha256 });
    let wrong = here.fetched(ask(json!(sha("other")))).await;
    assert!(wrong["error"].as_str().unwrap().contains("not what was announced"), "{wrong}");
    let none = here.fetched(ask(Value::Null)).await;
    assert!(none["error"].as_str().unwrap().contains("`sha256`"), "{none}");
    assert_eq!(here.names().await, Vec::<String>::new());
    assert!(!none.to_string().contains("s3cret"), "{none}");
    let gone = json!({ "from": format!("http://{address}/x"), "as": "p/a@1/m", "sha256": sha("") });
    assert!(here.fetched(gone).await["error"].as_str().unwrap().contains("404"));
    assert_eq!(here.fetched(ask(json!(sha("weights")))).await["phase"], "done");
    assert_eq!(here.names().await, ["p/a/1/m"]);
}

/// The small files of a repository have only the id that git gives their contents.
#[tokio::test]
async fn a_repository_is_fetched_by_its_commit_and_gone_on_with_after_a_break() {
    let (weights, commit) = ("0123456789".repeat(500), "c".repeat(40));
    let long = format!("{}m.bin", "a-folder-of-some-length/".repeat(8));
    let about = json!({
        "id": "acme/llm",
        "sha": commit,
        "siblings": [
            { "rfilename": "config.json", "size": 2, "blobId": "9e26dfeeb6e641a33dae4961196235bdb965b21b" },
            { "rfilename": "onnx/m.onnx", "size": 5000, "lfs": { "sha256": sha(&weights), "size": 5000 } },
            { "rfilename": long, "size": 4, "lfs": { "sha256": sha("deep"), "size": 4 } },
        ],
    })
    .to_string();
    let file = |path: &str| format!("/acme/llm/resolve/{commit}/{path}");
    let (config, onnx) = (file("config.json"), file("onnx/m.onnx"));
    let hub = other(&[
        ("/api/models/acme/llm/revision/main?blobs=true", &about),
        (&config, "{}"),
        (&onnx, &weights),
        (&file(&long), "deep"),
    ]);
    hub.cut.lock().unwrap().push(onnx.clone());
    let asked = Arc::clone(&hub.asked);
    let address = hub.clone().serve().await;
    let here = near().await;
    let ask = |more: &str| {
        let from = format!("hf://acme/llm@main{more}");
        json!({
            "from": from, "as": "acme/llm@main", "endpoint": format!("http://{address}"),
            "token": "hf_s3cret",
        })
    };
    let done = here.fetched(ask("")).await;
    assert_eq!((&done["phase"], &done["filesDone"]), (&json!("done"), &json!(3)), "{done}");
    let names = here.names().await;
    let deep = format!("acme/llm/main/{}", name_of(&long));
    assert_eq!(names, [deep.as_str(), "acme/llm/main/config.json", "acme/llm/main/onnx%2Fm.onnx"]);
    // It is shown as it is called there.
    let tree = here.get("/api/models/acme/llm/revision/main").await.json();
    assert_eq!(tree["siblings"][0]["rfilename"], long.as_str(), "{tree}");
    assert_eq!(here.get("/models/acme/llm/main/onnx%252Fm.onnx").await.body, weights);
    let asked = std::mem::take(&mut *asked.lock().unwrap());
    let ranges: Vec<_> = asked
        .iter()
        .filter(|(path, ..)| *path == onnx)
        .map(|(_, range, _)| range.as_str())
        .collect();
    assert_eq!(ranges, ["", "bytes=2500-"], "what had come was not asked for again");
    assert!(asked.iter().all(|(_, _, is_signed)| *is_signed));
    assert!(!here.get("/api/v1/models/pulls").await.body.contains("s3cret"));
}

/// Another content under a git id, and a file that the listing does not have.
#[tokio::test]
async fn one_bad_file_of_a_repository_keeps_all_of_it_out() {
    let about = json!({ "sha": "c".repeat(40), "siblings": [
        { "rfilename": "good", "size": 4, "lfs": { "sha256": sha("good"), "size": 4 } },
        { "rfilename": "bad", "size": 2, "blobId": "9e26dfeeb6e641a33dae4961196235bdb965b21b" },
        { "rfilename": "../../etc/passwd", "size": 2, "blobId": "0".repeat(40) },
    ]});
    let below = format!("/a/b/resolve/{}", "c".repeat(40));
    let hub = other(&[
        ("/api/models/a/b/revision/main?blobs=true", &about.to_string()),
        (&format!("{below}/good"), "good"),
        (&format!("{below}/bad"), "[]"),
    ]);
    let address = hub.serve().await;
    let here = near().await;
    let ask = json!({ "from": "hf://a/b", "as": "a/b@1", "endpoint": format!("http://{address}") });
    let failed = here.fetched(ask).await;
    assert_eq!((&failed["phase"], &failed["files"]), (&json!("failed"), &json!(2)), "{failed}");
    assert_eq!(here.names().await, Vec::<String>::new());
}

/// Another file of the version can't be put in its place: what came is not the version.
#[tokio::test]
async fn a_part_of_a_version_is_not_mounted() {
    let there = Stage::start().await;
    for (path, content) in [("2.0.0/a", "aa"), ("2.0.0/b", "bbbbbbbb")] {
        let answer = there.ask("PUT", &format!("/models/demo/llm/{path}"), &[], content).await;
        assert_eq!(answer.status, 201);
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = berth::store::Settings {
        project_max: Some(9),
        ..berth::store::Settings::new(folder.path().join("models"))
    };
    let depot = Arc::new(berth::store::Depot::new(settings));
    let reach = |settings: &mut berth::server::Settings| settings.reach = near_reach();
    let here = Stage::kept_in(Arc::clone(&depot), reach).await;
    let from = format!("berth+{}/demo/llm@2.0.0", there.base());
    let failed = here.fetched(json!({ "from": from, "as": "mine/llm@2" })).await;
    assert!(failed["error"].as_str().unwrap().contains("may have 9 bytes"), "{failed}");
    assert_eq!(here.names().await, ["mine/llm/2/a"]);
    let wanted = berth::model::ModelRef::parse("mine/llm@2").unwrap();
    let told = depot.store().unwrap().view(&wanted).unwrap_err().to_string();
    assert!(told.contains("only a part of mine/llm@2 came"), "{told}");
}

/// Faults G05, T12.
#[tokio::test]
async fn only_hosts_that_the_operator_allows_are_asked() {
    let here = Stage::start().await;
    for (from, why) in [
        (format!("{}/models/p/a/1/m", here.base()), "this machine"),
        ("http://192.168.1.5/m".to_owned(), "git-private-addresses"),
        ("http://169.254.169.254/latest/meta-data".to_owned(), "not the address"),
        ("http://[::ffff:169.254.169.254]/x".to_owned(), "not the address"),
    ] {
        let refused = here.begin(&json!({ "from": from, "as": "p/a@1/m" })).await;
        assert_eq!(refused.status, 422, "{from}: {refused:?}");
        assert!(refused.body.contains(why), "{from}: {refused:?}");
    }
    let hub = json!({ "from": "hf://a/b", "as": "p/a@1", "endpoint": "http://10.0.0.1" });
    assert_eq!(here.begin(&hub).await.status, 422);
    for bad in [
        json!({ "from": "file:///etc/passwd", "as": "p/a@1/m" }),
        json!({ "from": "https://h/m", "as": "nonsense" }),
        json!({ "from": "https://h/m", "as": "p/a@1/m", "sha256": "abc" }),
        json!({ "from": "https://h/m", "as": "p/a@1/m", "token": "a\nb" }),
        json!({ "from": "https://h/m" }),
    ] {
        assert_eq!(here.begin(&bad).await.status, 400, "{bad}");
    }
    // What an allowed host leads to is judged like the first; a token goes no further.
    let last = other(&[("/m", "weights")]);
    let asked = Arc::clone(&last.asked);
    let to = format!("http://{}/m", last.serve().await);
    let near = near().await;
    for (to, phase) in [(to, "done"), ("http://169.254.169.254/x".to_owned(), "failed")] {
        let first = Other { redirect: Some(to), ..Other::default() }.serve().await;
        let ask = json!({
            "from": format!("http://{first}/x"), "as": "p/a@1/m", "sha256": sha("weights"),
            "token": "hf_s3cret",
        });
        assert_eq!(near.fetched(ask).await["phase"], phase);
    }
    let asked = asked.lock().unwrap();
    assert!(asked.len() == 1 && !asked[0].2, "{asked:?}");
}

#[tokio::test]
async fn the_command_line_waits_and_says_what_came_of_it() {
    let address = other(&[("/m", "weights")]).serve().await;
    let here = near().await;
    let from = format!("http://{address}/m");
    let done =
        here.run(&["models", "fetch", &from, "--as", "p/a@1/m", "--sha256", &sha("weights")]).await;
    let said = format!("p/a@1 is {from}: 1 files, 7\n");
    assert_eq!((done.code, done.out.as_str()), (0, said.as_str()), "{done:?}");
    let failed = here.run(&["models", "fetch", &from, "--as", "p/a@2/m"]).await;
    assert!(failed.code == 1 && failed.err.contains("digest"), "{failed:?}");
    let wrong = here.run(&["models", "fetch", "ftp://h/m", "--as", "p/a@1/m"]).await;
    assert_eq!(wrong.code, 2, "{wrong:?}");
}
