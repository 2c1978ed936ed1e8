//! Webhooks: who is heard, what is looked at, and what is refused.

use std::{sync::Arc, time::Duration};

use berth::{
    clock::Clock,
    forge::{Repositories, Secrets},
    manifest,
    server::{Figures, Parts, Server, Settings},
    source::git::{Bell, Place},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::grove::{Berth, Grove, NEVER};
use crate::api::stage::{Answer, Stage};

pub(super) const PATH: &str = "/api/v1/hooks/git";
pub(super) const SECRET: &str = "it is a secret";
const PLACE: &str = "git+ssh://git@git.example.com:2222/acme/chat.git#main:apps";

pub(super) fn repositories(names: &[&str]) -> Repositories {
    let secrets = Secrets::new(|name| match name {
        "hook" => Ok(format!("{SECRET}\n").into_bytes()),
        "older" => Ok(b"an older one".to_vec()),
        _ => Err(format!("there is no secret `{name}`")),
    });
    Repositories {
        sources: vec![(Place::parse(PLACE).unwrap(), Bell::default())],
        hook_secrets: names.iter().map(|name| (*name).to_owned()).collect(),
        secrets,
        ..Repositories::default()
    }
}

/// A stage with two apps of one repository, one of another branch, and one of a tag.
async fn stage() -> Stage {
    let stage = Stage::with_repositories(repositories(&["hook", "older"])).await;
    for (name, from, to) in [
        ("chat", "", ""),
        ("dev", "ref: main", "ref: dev"),
        ("tagged", "ref: main", "ref: v1.0.0"),
        ("other", "acme/chat.git", "acme/other.git"),
    ] {
        let text = crate::api::stage::MANIFEST
            .replace("name: chat\n", &format!("name: {name}\n"))
            .replace(from, to);
        let reading = manifest::read_file("apps/x.yaml", text.as_bytes());
        stage.put(name, |entry| entry.app = Some(Arc::clone(&reading.apps[0])));
    }
    stage
}

pub(super) fn digest(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let code = mac.finalize().into_bytes();
    let digits: Vec<_> = code.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

pub(super) fn github(reference: &str) -> String {
    json!({
        "ref": reference,
        "after": "a1".repeat(20),
        "repository": {
            "default_branch": "main",
            "clone_url": "https://GIT.example.com/acme/chat.git",
            "ssh_url": "git@git.example.com:acme/chat.git",
        },
    })
    .to_string()
}

async fn send(stage: &Stage, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut all = vec![("host", "berth.example.com"), ("content-type", "application/json")];
    all.retain(|(name, _)| !headers.iter().any(|(other, _)| other == name));
    all.extend(headers);
    stage.ask("POST", PATH, &all, body).await
}

/// Sends a push as GitHub does.
async fn push(stage: &Stage, reference: &str, delivery: &str) -> Answer {
    let body = github(reference);
    let signature = format!("sha256={}", digest(SECRET, &body));
    let headers = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-event", "push"),
        ("x-github-delivery", delivery),
    ];
    send(stage, &headers, &body).await
}

fn asked(stage: &Stage) -> Vec<String> {
    std::mem::take(&mut *stage.asked.lock().unwrap())
}

async fn figure(stage: &Stage, outcome: &str) -> bool {
    let text = stage.get("/metrics").await.body;
    text.contains(&format!("berth_hooks_total{{outcome=\"{outcome}\"}}"))
}

#[tokio::test]
async fn each_forge_s_signature_is_known() {
    let stage = stage().await;
    let body = github("refs/heads/main");
    let (plain, old) = (digest(SECRET, &body), digest("an older one", &body));
    let prefixed = format!("sha256={plain}");
    for headers in [
        [("x-hub-signature-256", prefixed.as_str()), ("x-github-event", "push")],
        [("x-gitea-signature", &plain), ("x-gitea-event", "push")],
        [("x-forgejo-signature", &plain), ("x-forgejo-event", "push")],
        [("x-gitlab-token", SECRET), ("x-gitlab-event", "Push Hook")],
        [("x-gitea-signature", &old), ("x-gitea-event", "push")],
    ] {
        let answer = send(&stage, &headers, &body).await;
        assert_eq!(answer.status, 202, "{headers:?}: {answer:?}");
        let said = answer.json();
        assert_eq!(said["queued"], json!(["chat"]), "{headers:?}");
        assert_eq!(said["sources"], json!([PLACE]), "{headers:?}");
        assert_eq!(asked(&stage), ["Pushed([\"chat\"])"], "{headers:?}");
    }
    assert!(figure(&stage, "queued").await);
}

/// A signed one that is only tried says what would be looked at, and is none of the deliveries.
#[tokio::test]
async fn a_hook_that_is_only_tried_has_nothing_looked_at() {
    let stage = stage().await;
    let body = github("refs/heads/main");
    let signature = format!("sha256={}", digest(SECRET, &body));
    let headers = [
        ("host", "berth.example.com"),
        ("content-type", "application/json"),
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-event", "push"),
        ("x-github-delivery", "tried"),
    ];
    let tried = stage.ask("POST", &format!("{PATH}?dryRun=true"), &headers, &body).await;
    assert_eq!((tried.status, &tried.json()["dryRun"]), (200, &json!(true)), "{tried:?}");
    assert_eq!(tried.json()["queued"], json!(["chat"]));
    assert_eq!(asked(&stage), Vec::<String>::new());
    assert_eq!(push(&stage, "refs/heads/main", "tried").await.json()["queued"], json!(["chat"]));
    assert_eq!(asked(&stage), ["Pushed([\"chat\"])"]);
}

#[tokio::test]
async fn only_those_that_follow_what_was_pushed_are_looked_at() {
    let stage = stage().await;
    for (reference, queued) in [
        ("refs/heads/main", json!(["chat"])),
        ("refs/heads/dev", json!(["dev"])),
        ("refs/tags/v1.0.0", json!(["tagged"])),
        ("refs/heads/else", json!([])),
    ] {
        let answer = push(&stage, reference, reference).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.json()["queued"], queued, "{reference}");
    }
    assert_eq!(asked(&stage).len(), 3);
    assert!(figure(&stage, "unmatched").await);
}

#[tokio::test]
async fn what_is_not_signed_with_the_secret_is_refused() {
    let stage = stage().await;
    let body = github("refs/heads/main");
    let good = digest(SECRET, &body);
    let wrong = format!("sha256={}", digest("another secret", &body));
    let moved = format!("sha256={}", digest(SECRET, &github("refs/heads/dev")));
    let (sha1, bare) = ("sha1=0000", good.as_str());
    for (header, value) in [
        ("x-hub-signature-256", wrong.as_str()),
        ("x-hub-signature-256", moved.as_str()),
        ("x-hub-signature-256", bare),
        ("x-hub-signature-256", ""),
        ("x-hub-signature", sha1),
        ("x-gitea-signature", &good[1..]),
        ("x-gitlab-token", "it is a secre"),
        ("x-gitlab-token", ""),
        ("authorization", "Bearer it is a secret"),
    ] {
        let headers = [(header, value), ("x-github-event", "push")];
        let answer = send(&stage, &headers, &body).await;
        assert_eq!(answer.status, 403, "{header}: {value}: {answer:?}");
        assert!(answer.has("content-type: application/problem+json"));
        assert!(!answer.body.contains(SECRET) && !answer.body.contains(&good));
    }
    assert_eq!(asked(&stage), Vec::<String>::new());
    assert!(figure(&stage, "refused").await && figure(&stage, "unsigned").await);
}

#[tokio::test]
async fn without_a_secret_it_says_how_to_set_one() {
    for (names, status, word) in
        [(&[][..], 403, "--hook-secret"), (&["missing"][..], 503, "can't be read")]
    {
        let stage = Stage::with_repositories(repositories(names)).await;
        let answer = push(&stage, "refs/heads/main", "1").await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{answer:?}");
    }
}

/// Fault H12.
#[tokio::test]
async fn a_delivery_counts_once() {
    let stage = stage().await;
    assert_eq!(push(&stage, "refs/heads/main", "one").await.json()["queued"], json!(["chat"]));
    let again = push(&stage, "refs/heads/main", "one").await;
    assert_eq!((again.status, &again.json()["queued"]), (202, &json!([])));
    assert!(again.json()["message"].as_str().unwrap().contains("before"));
    // An id is not signed: one that was seen does not silence another message.
    assert_eq!(push(&stage, "refs/heads/dev", "one").await.json()["queued"], json!(["dev"]));
    assert_eq!(push(&stage, "refs/heads/main", "two").await.json()["queued"], json!(["chat"]));
    assert!(figure(&stage, "duplicate").await);
}

#[tokio::test]
async fn other_messages_are_answered_and_nothing_is_looked_at() {
    let stage = stage().await;
    let body = json!({"zen": "Keep it logically awesome."}).to_string();
    let signature = format!("sha256={}", digest(SECRET, &body));
    for (event, status) in [("ping", 200), ("issues", 200), ("push", 400)] {
        let headers = [("x-hub-signature-256", signature.as_str()), ("x-github-event", event)];
        let answer = send(&stage, &headers, &body).await;
        assert_eq!(answer.status, status, "{event}: {answer:?}");
    }
    let answer = send(&stage, &[("x-hub-signature-256", &signature)], &body).await;
    assert_eq!(answer.status, 400, "no event: {answer:?}");
    let form = [
        ("x-hub-signature-256", signature.as_str()),
        ("x-github-event", "push"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    assert_eq!(send(&stage, &form, &body).await.status, 415);
    assert_eq!(stage.ask("GET", PATH, &[], "").await.status, 405);
    assert_eq!(asked(&stage), Vec::<String>::new());
}

/// Faults H01, H02: any name of the host may be said here, and no browser is heard.
#[tokio::test]
async fn the_guard_lets_in_servers_and_no_browsers() {
    let stage = stage().await;
    assert_eq!(push(&stage, "refs/heads/main", "x").await.status, 202);
    let body = github("refs/heads/main");
    let signature = format!("sha256={}", digest(SECRET, &body));
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "http://berth.example.com"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let headers = [
            ("x-hub-signature-256", signature.as_str()),
            ("x-github-event", "push"),
            (name, value),
        ];
        let answer = send(&stage, &headers, &body).await;
        assert_eq!(answer.status, 403, "{name}: {value}");
        assert!(answer.body.contains("request.origin"), "{answer:?}");
    }
    // No other route, and no other method, may be asked for by that name.
    let foreign = [("host", "berth.example.com"), ("content-type", "application/json")];
    for (method, path) in [
        ("GET", PATH),
        ("POST", "/api/v1/hooks/git/"),
        ("POST", "/api/v1/hooks/git/../../rescan"),
        ("POST", "/api/v1/rescan"),
        ("GET", "/api/v1/apps"),
    ] {
        let answer = stage.ask(method, path, &foreign, "").await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
    }
}

// H08
#[tokio::test]
async fn a_huge_body_is_not_read_and_a_slow_one_holds_up_nobody() {
    let stage = stage().await;
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: berth.example.com\r\ncontent-type: application/json\r\n\
         x-github-event: push\r\nx-gitlab-token: {SECRET}\r\n"
    );
    // Said to be huge: refused before any of it comes.
    let mut huge = TcpStream::connect(stage.address).await.unwrap();
    huge.write_all(format!("{head}content-length: 1048577\r\n\r\n").as_bytes()).await.unwrap();
    let mut seen = vec![0; 4096];
    let length = huge.read(&mut seen).await.unwrap();
    assert!(String::from_utf8_lossy(&seen[..length]).starts_with("HTTP/1.1 413"), "{length}");
    // Not said to be huge: cut when it is.
    let mut endless = TcpStream::connect(stage.address).await.unwrap();
    endless
        .write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let flood = async {
        // The server hangs up while it is still being sent.
        while endless.write_all(chunk.as_bytes()).await.is_ok() {}
    };
    tokio::time::timeout(Duration::from_secs(30), flood).await.expect("it was read for ever");
    // Slow ones wait while others are answered.
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        stream.write_all(format!("{head}content-length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(push(&stage, "refs/heads/main", "x").await.status, 202);
    assert!(figure(&stage, "invalid").await);
}

#[tokio::test]
async fn a_client_that_sends_too_many_is_told_to_wait() {
    let stage = stage().await;
    let mut limited = 0;
    for _ in 0..90 {
        let answer = send(&stage, &[], "{}").await;
        match answer.status {
            429 => limited += 1,
            status => assert_eq!(status, 403),
        }
    }
    assert!(0 < limited, "none of 90 was held up");
    assert_eq!(stage.get("/api/v1/apps").await.status, 200, "nothing else is");
    assert!(figure(&stage, "limited").await);
}

/// The interface of a Berth.
async fn serve(grove: &Grove, berth: &Berth) -> (String, CancellationToken, JoinHandle<()>) {
    let folder = grove.top.path();
    let parts = Parts {
        record: Arc::clone(&berth.record),
        engine: Arc::new(grove.rig.fake.clone()),
        commands: berth.commands.clone(),
        metrics: Arc::clone(&berth.metrics),
        usage: crate::usage::history(&crate::usage::of(&berth.record)),
        figures: Figures::default(),
        clock: Clock::System,
        manifests: folder.join("apps"),
        repositories: Repositories {
            sources: berth.bells.clone(),
            has_folder: false,
            ..repositories(&["hook"])
        },
        compat: crate::compat::without_hands(),
        workspaces: folder.join("workspaces"),
        models: Arc::new(berth::store::Depot::new(berth::store::Settings::new(
            folder.join("models"),
        ))),
        book: Arc::default(),
        resync: Duration::from_secs(30),
        version: "0.0.0".to_owned(),
        schema: manifest::schema,
    };
    let bound = Server::bind(Settings::new("127.0.0.1:0".parse().unwrap()), parts).await.unwrap();
    let (base, stop) = (format!("http://{}", bound.address()), CancellationToken::new());
    let served = tokio::spawn(bound.run(stop.clone()));
    (base, stop, served)
}

/// From a push to a running app, with an interval that never passes.
#[tokio::test]
async fn a_push_hook_has_the_manifests_looked_at() {
    let mut grove = Grove::with(&["api"]);
    let server = crate::git_server::Server::start(crate::git_server::Answers::Git(
        grove.top.path().join("served"),
    ));
    grove.places = vec![format!("git+{}#main:prod", server.url())];
    grove.interval = NEVER;
    let berth = grove.start_well(&["api"]).await;
    let (base, stop, served) = serve(&grove, &berth).await;
    let client = berth::server::client::Client::new(&base).unwrap();

    grove.push_apps(&["api", "chat"]);
    let body = json!({
        "ref": "refs/heads/main",
        "repository": {"clone_url": server.url(), "default_branch": "main"},
    })
    .to_string();
    let signature = format!("sha256={}", digest(SECRET, &body));
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: public.example\r\nconnection: close\r\ncontent-type: application/json\r\n\
         x-gitea-event: push\r\nx-hub-signature-256: {signature}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 202"), "{said}");
    berth.until_well(&["api", "chat"]).await;

    // What comes from a repository is not written here, and the answer says where to.
    let text = super::grove::app("web");
    let kind = ("application/yaml", text.into_bytes());
    let method = berth::server::client::Method::POST;
    let refused = client.ask(method, "/api/v1/apps", Some(kind)).await.unwrap();
    let problem: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!((refused.status, problem["code"].as_str()), (409, Some("source.read-only")));
    assert!(problem["detail"].as_str().unwrap().contains(&grove.places[0]), "{problem}");
    let method = berth::server::client::Method::DELETE;
    let refused = client.ask(method, "/api/v1/apps/chat", None).await.unwrap();
    let problem: Value = serde_json::from_slice(&refused.body).unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("chat.yaml in git+http://"), "{detail}");
    let list = client.ask(berth::server::client::Method::GET, "/api/v1/apps", None).await.unwrap();
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!(list["source"]["sources"][0]["name"], grove.places[0].as_str());
    assert_eq!(list["source"]["sources"][0]["commit"].as_str().unwrap().len(), 40);
    stop.cancel();
    let _ = served.await;
    berth.stop().await;
}
