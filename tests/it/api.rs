//! The HTTP interface, as a client sees it.

mod alive;
mod listed;
mod logs;
mod served;
pub(crate) mod stage;

use std::{sync::Arc, time::Duration};

use berth::{
    engine::About,
    manifest,
    model::{AppName, Phase, Reason},
    plan::Refusal,
    server::{self, Settings},
    state::Hold,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use stage::{MANIFEST, Stage, entry};

#[tokio::test]
async fn every_route_to_read_answers_in_its_form() {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |_| ());
    stage.tell("chat", "it answers");
    for (path, form) in [
        ("/", "application/json"),
        ("/health", "application/json"),
        ("/readyz", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/api/v1/apps", "application/json"),
        ("/api/v1/apps/chat", "application/json"),
        ("/api/v1/apps/chat/plan", "application/json"),
        ("/api/v1/apps/chat/logs", "text/plain; charset=utf-8"),
        ("/api/v1/plan", "application/json"),
        ("/api/v1/events/recent?app=chat&limit=1", "application/json"),
        ("/api/v1/schema", "application/json"),
    ] {
        let answer = stage.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.has(&format!("content-type: {form}")), "{path}: {answer:?}");
        for header in ["x-content-type-options: nosniff", "cache-control: no-store"] {
            assert!(answer.has(header), "{path}: {answer:?}");
        }
        assert!(answer.head.contains("content-security-policy: default-src 'none'"), "{path}");
        assert!(!answer.head.contains("script-src"), "{path}");
    }
    let root = stage.get("/").await.json();
    assert_eq!((&root["service"], &root["version"]), (&json!("berth"), &json!("0.0.0")));
    let health = stage.get("/health").await.json();
    assert_eq!((&health["status"], &health["docker"]), (&json!("healthy"), &json!("healthy")));
    let models = stage.folder.path().join("models");
    assert_eq!(health["storage_path"], models.to_str().unwrap());
    assert!(health["timestamp"].is_f64() && health["time"].is_string());
}

#[tokio::test]
async fn the_reference_pages_name_every_route_and_every_metric() {
    let stage = Stage::start().await;
    let page = include_str!("../../docs/api.md");
    let root = stage.get("/").await.json();
    for route in root["endpoints"].as_array().unwrap().iter().map(|route| route.as_str().unwrap()) {
        assert!(page.contains(&format!("| `{route}` |")), "{route} is not in docs/api.md");
        let path = route.replace("{name}", "chat").replace("{model}", "freeze");
        let (method, path) = path.split_once(' ').unwrap();
        if path == "/api/v1/events" {
            continue; // it never ends; other tests read it
        }
        let answer = stage.ask(method, path, &[], "").await;
        let is_missing = answer.status == 405 || answer.body.contains("request.not-found");
        assert!(!is_missing, "{route} is listed but does not exist");
    }
    let metrics = stage.get("/metrics").await.body;
    let page = include_str!("../../docs/metrics.md");
    for name in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = name.split(' ').next().unwrap();
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in docs/metrics.md");
    }
}

#[tokio::test]
async fn an_error_is_a_problem_document_with_a_code() {
    let stage = Stage::start().await;
    stage.put("chat", |entry| entry.status.container_id = Some("gone".to_owned()));
    for (method, path, status, code) in [
        ("GET", "/nowhere", 404, "request.not-found"),
        ("GET", "/api/v1/apps/other", 404, "app.not-found"),
        ("GET", "/api/v1/apps/Not%20a%20name", 404, "app.not-found"),
        ("GET", "/api/v1/apps/..%2fchat", 404, "app.not-found"),
        ("GET", "/api/v1/apps/other/plan", 404, "app.not-found"),
        ("GET", "/api/v1/apps/chat/logs", 404, "app.no-container"),
        ("GET", "/api/v1/apps/chat/logs?source=build", 404, "app.no-build-log"),
        ("GET", "/api/v1/apps/chat/logs?source=other", 400, "request.invalid"),
        ("GET", "/api/v1/apps/chat/logs?tail=few", 400, "request.invalid"),
        ("GET", "/api/v1/apps/chat/logs?follow=maybe", 400, "request.invalid"),
        ("GET", "/api/v1/apps/chat/logs?lines=3", 400, "request.invalid"),
        ("GET", "/api/v1/events/recent?app=Nobody", 400, "request.invalid"),
        ("POST", "/health", 405, "request.method"),
        ("PATCH", "/api/v1/apps", 405, "request.method"),
        ("POST", "/api/v1/apps/other/stop", 404, "app.not-found"),
        ("POST", "/api/v1/confirm", 409, "source.nothing-held"),
        ("POST", "/api/v1/apps", 415, "request.media-type"),
        ("DELETE", "/api/v1/apps/other", 404, "app.not-found"),
    ] {
        let answer = stage.ask(method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert!(answer.has("content-type: application/problem+json"), "{method} {path}");
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{method} {path}");
        assert_eq!(problem["type"], format!("urn:berth:problem:{code}"), "{method} {path}");
        assert_eq!(problem["status"], status, "{method} {path}");
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    }
    let answer = stage.ask("DELETE", "/health", &[], "").await;
    assert!(answer.has("allow: get,head"), "{answer:?}");
}

/// Fault H01: a name that an attacker's DNS points here must not reach the API.
#[tokio::test]
async fn a_request_that_names_another_host_is_refused() {
    let stage = Stage::start().await;
    for good in ["localhost", "127.0.0.1:1234", "[::1]:8000"] {
        assert_eq!(stage.ask("GET", "/health", &[("host", good)], "").await.status, 200, "{good}");
    }
    for bad in ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "10.0.0.1", ""] {
        let answer = stage.ask("GET", "/api/v1/apps", &[("host", bad)], "").await;
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("request.host")), "{bad}");
    }
    let answer = stage.ask("GET", "http://evil.example/health", &[], "").await;
    assert_eq!(answer.status, 403, "an absolute target counts too");
}

/// Fault H02: a page that the user happens to visit must not change anything.
#[tokio::test]
async fn a_page_of_another_site_cannot_change_anything() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    let own = format!("http://{}", stage.address);
    let path = "/api/v1/apps/chat/stop";
    for headers in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://localhost:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = stage.ask("POST", path, &[headers], "").await;
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("request.origin")));
    }
    assert_eq!(stage.asked.lock().unwrap().len(), 0, "nothing reached the controller");
    let same = [("origin", own.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(stage.ask("POST", path, &same, "").await.status, 202);
}

#[tokio::test]
async fn an_app_is_shown_in_words_that_a_manifest_may_use() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    let app = stage.get("/api/v1/apps/chat").await.json();
    assert_eq!((&app["apiVersion"], &app["kind"]), (&json!("berth/v1"), &json!("App")));
    assert_eq!(app["metadata"]["origin"], json!({"file": "apps/chat.yaml", "line": 1}));
    assert_eq!(app["status"]["phase"], "Running");
    assert_eq!(app["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(app["status"]["plan"]["hasDifferences"], false);

    let again = json!({
        "apiVersion": app["apiVersion"], "kind": app["kind"],
        "metadata": {"name": "chat", "labels": app["metadata"]["labels"]}, "spec": app["spec"],
    });
    let again = manifest::read_file("again.yaml", again.to_string().as_bytes());
    assert_eq!(again.diagnostics, []);
    let mut wanted = entry("chat").app.unwrap().spec.clone();
    for value in wanted.env.values_mut().chain(wanted.build.args.values_mut()) {
        "(set)".clone_into(value);
    }
    assert_eq!(again.apps[0].spec, wanted);
}

/// Fault H10: values of the environment are shown nowhere.
#[tokio::test]
async fn no_route_shows_values_of_the_environment() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    let html = [("accept", "text/html")];
    for (path, headers) in [
        ("/api/v1/apps", &[][..]),
        ("/api/v1/apps/chat", &[]),
        ("/api/v1/plan", &[]),
        ("/metrics", &[]),
        ("/", &html),
    ] {
        let answer = stage.ask("GET", path, headers, "").await;
        assert_eq!(answer.status, 200);
        assert!(!answer.body.contains("hunter2"), "{path} shows a value");
    }
    let mut events = stage.open("/api/v1/events", "").await;
    events.until("event: snapshot").await;
    assert!(events.seen.contains("API_KEY") && !events.seen.contains("hunter2"));
}

#[tokio::test]
async fn a_manifest_is_created_replaced_and_removed_in_the_folder() {
    let stage = Stage::start().await;
    let file = stage.manifests().join("chat.yaml");
    let made = stage.put_manifest("/api/v1/apps", "POST", MANIFEST).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert!(made.has("location: /api/v1/apps/chat"), "{made:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), MANIFEST);

    let twice = stage.put_manifest("/api/v1/apps", "POST", MANIFEST).await;
    assert_eq!((twice.status, &twice.json()["code"]), (409, &json!("manifest.duplicate-name")));

    let same = stage.put_manifest("/api/v1/apps/chat", "PUT", MANIFEST).await;
    assert_eq!((same.status, &same.json()["result"]), (200, &json!("unchanged")));
    let text = MANIFEST.replace("7860", "7861");
    let other = stage.put_manifest("/api/v1/apps/chat", "PUT", &text).await;
    assert_eq!((other.status, &other.json()["result"]), (200, &json!("replaced")));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);

    let renamed = stage.put_manifest("/api/v1/apps/other", "PUT", MANIFEST).await;
    assert_eq!((renamed.status, &renamed.json()["code"]), (422, &json!("manifest.other-name")));

    let removed = stage.ask("DELETE", "/api/v1/apps/chat", &[], "").await;
    assert_eq!(removed.status, 200, "{removed:?}");
    assert!(!file.exists());
    assert_eq!(*stage.asked.lock().unwrap(), ["Rescan", "Rescan", "Rescan"]);
}

#[tokio::test]
async fn a_manifest_with_mistakes_is_refused_with_all_of_them() {
    let stage = Stage::start().await;
    let text = "apiVersion: berth/v1\nkind: App\nmetadata: {name: Chat!}\nspec: {imagee: x}\n";
    let answer = stage.put_manifest("/api/v1/apps", "POST", text).await;
    assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("manifest.invalid")));
    let problem = answer.json();
    let mistakes = problem["errors"].as_array().unwrap();
    assert!(2 <= mistakes.len(), "{mistakes:?}");
    assert!(mistakes.iter().all(|m| m["line"].is_u64() && m["message"].is_string()));
    assert_eq!(std::fs::read_dir(stage.manifests()).unwrap().count(), 0);

    let large = format!("{MANIFEST}# {}\n", "x".repeat(1024 * 1024));
    let answer = stage.put_manifest("/api/v1/apps", "POST", &large).await;
    assert_eq!(answer.status, 413);
    let two = format!("{MANIFEST}---\n{}", MANIFEST.replace("name: chat\n", "name: other\n"));
    let answer = stage.put_manifest("/api/v1/apps", "POST", &two).await;
    assert_eq!((answer.status, &answer.json()["code"]), (422, &json!("manifest.not-one-app")));
}

#[tokio::test]
async fn a_file_with_several_apps_is_left_to_its_owner() {
    let stage = Stage::start().await;
    let two = format!("{MANIFEST}---\n{}", MANIFEST.replace("name: chat\n", "name: other\n"));
    std::fs::create_dir(stage.manifests().join("team")).unwrap();
    let file = stage.manifests().join("team/both.yaml");
    std::fs::write(&file, &two).unwrap();
    for answer in [
        stage.put_manifest("/api/v1/apps/chat", "PUT", MANIFEST).await,
        stage.ask("DELETE", "/api/v1/apps/chat", &[], "").await,
    ] {
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("manifest.shared-file")));
        assert!(answer.body.contains("team/both.yaml"), "{answer:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), two);
    std::fs::write(&file, MANIFEST).unwrap();
    let answer = stage.ask("DELETE", "/api/v1/apps/chat", &[], "").await;
    assert_eq!((answer.status, file.exists()), (200, false), "alone in its file it may go");
}

#[tokio::test]
async fn a_broken_file_of_the_app_is_repaired_by_put_and_kept_by_post() {
    let stage = Stage::start().await;
    let file = stage.manifests().join("chat.yaml");
    std::fs::write(&file, "apiVersion: [").unwrap();
    let posted = stage.put_manifest("/api/v1/apps", "POST", MANIFEST).await;
    assert_eq!((posted.status, &posted.json()["code"]), (409, &json!("manifest.file-exists")));
    let put = stage.put_manifest("/api/v1/apps/chat", "PUT", MANIFEST).await;
    assert_eq!((put.status, std::fs::read_to_string(&file).unwrap().as_str()), (200, MANIFEST));
}

#[tokio::test]
async fn a_command_reaches_the_controller_and_its_answer_comes_back() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    stage.put("stubborn", |_| ());
    for action in ["start", "stop", "restart", "rebuild", "reconcile"] {
        let answer = stage.ask("POST", &format!("/api/v1/apps/chat/{action}"), &[], "").await;
        assert_eq!((answer.status, &answer.json()["message"]), (202, &json!("on its way")));
    }
    let asked = stage.asked.lock().unwrap().clone();
    let words = ["Start", "Stop", "Restart", "Rebuild", "Reconcile"];
    assert_eq!(asked, words.map(|word| format!("{word}(\"chat\")")));
    let answer = stage.ask("POST", "/api/v1/apps/stubborn/stop", &[], "").await;
    assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("app.refused")));
}

#[tokio::test]
async fn a_plan_is_text_or_a_document() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    stage.put("other", |entry| {
        let refusal = Refusal { reason: Reason::PortTaken, message: "8010 is taken".into() };
        Arc::make_mut(&mut entry.plan).refusals.push(refusal);
    });
    let text = [("accept", "text/plain")];
    let all = stage.ask("GET", "/api/v1/plan", &text, "").await;
    assert!(all.body.contains("app/other") && all.body.contains("8010 is taken"), "{all:?}");
    assert!(!all.body.contains("app/chat"), "what is as wanted is not part of the text");
    let one = stage.ask("GET", "/api/v1/apps/chat/plan", &text, "").await;
    assert!(one.body.contains("app/chat"), "{one:?}");
    let document = stage.get("/api/v1/plan").await.json();
    assert_eq!(document["hasDifferences"], true);
    assert_eq!(document["items"][1]["refusals"][0]["reason"], "PortTaken");
}

#[tokio::test]
async fn logs_are_the_apps_the_previous_ones_or_the_builds() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    let path = "/api/v1/apps/chat/logs";
    assert!(stage.get(path).await.body.starts_with("new log, tail 1000\n"));
    assert!(stage.get(&format!("{path}?tail=7&since=10m")).await.body.contains("tail 7\n"));
    assert!(stage.get(&format!("{path}?previous")).await.body.starts_with("old log"));

    let area = stage.folder.path().join("ws/chat/.berth");
    std::fs::create_dir_all(&area).unwrap();
    std::fs::write(area.join("build.log"), "step 1\nstep 2\n").unwrap();
    let build = stage.get(&format!("{path}?source=build&tail=1")).await;
    assert_eq!(build.body, "step 2\n");

    let mut follower = stage.open(&format!("{path}?source=build&follow=true"), "").await;
    follower.until("step 2").await;
    let mut log = std::fs::OpenOptions::new().append(true).open(area.join("build.log")).unwrap();
    std::io::Write::write_all(&mut log, b"step 3\n").unwrap();
    follower.until("step 3").await;
    std::fs::write(area.join("build.log"), "anew\n").unwrap();
    follower.until("anew").await;
}

#[tokio::test]
async fn metrics_show_the_record_as_it_is_now() {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |_| ());
    stage.put("other", |entry| entry.status.phase = Phase::Failed);
    let text = stage.get("/metrics").await.body;
    for line in [
        "berth_apps{phase=\"Running\"} 1",
        "berth_apps{phase=\"Failed\"} 1",
        "berth_engine_up 1",
        "berth_removals_held 0",
        "berth_manifest_errors 0",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
}

/// Fault H06: what others chose to call their things must not become part of the page.
#[tokio::test]
async fn the_page_escapes_everything_and_shows_what_needs_attention() {
    let stage = Stage::start().await;
    let html = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
    let empty = stage.ask("GET", "/", &html, "").await;
    assert!(empty.has("content-type: text/html; charset=utf-8"), "{empty:?}");
    let quickstart = empty.body.split("<code>").find(|part| part.starts_with("apiVersion"));
    let quickstart = quickstart.and_then(|part| part.split("</code>").next()).unwrap();
    let reading = manifest::read_file("hello.yaml", quickstart.as_bytes());
    assert_eq!((reading.apps.len(), reading.diagnostics.len()), (1, 0), "{quickstart}");
    assert_eq!(quickstart.trim().lines().count(), 9);

    let evil = "<script>alert(1)</script>\"'&";
    stage.put("chat", |entry| {
        entry.status.message = evil.to_owned();
        entry.status.commit = Some(evil.to_owned());
        entry.status.url = Some("javascript:alert(1)".to_owned());
    });
    stage.tell("chat", evil);
    stage.record.update_overview(|overview| {
        overview.source = evil.to_owned();
        overview.source_error = Some(evil.to_owned());
        overview.hold = Some(Hold::Unreadable(evil.to_owned()));
        let bad = manifest::read_file("<b>.yaml", b"apiVersion: [");
        overview.diagnostics = Arc::new(bad.diagnostics);
        let api_version = evil.to_owned();
        overview.engine = Some(About { id: evil.into(), version: evil.into(), api_version });
    });
    let page = stage.ask("GET", "/", &html, "").await.body;
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    let others = ["javascript:", "<b>.yaml", "alert(1)</"];
    assert!(!others.iter().any(|text| page.contains(text)), "{page}");
    for text in ["Needs attention", "Removals are held back", "In the manifests", "Running"] {
        assert!(page.contains(text), "{text} is not in {page}");
    }
}

#[tokio::test]
async fn events_are_a_snapshot_and_then_every_change_of_it() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    let mut all = stage.open("/api/v1/events", "").await;
    let mut one = stage.open("/api/v1/events?app=chat", "").await;
    all.until("event: snapshot").await;
    one.until("event: snapshot").await;
    assert!(all.seen.contains("text/event-stream") && all.seen.contains("retry: 2000"));

    stage.put("other", |_| ());
    stage.tell("other", "it came to be");
    stage.put("chat", |entry| entry.status.phase = Phase::Failed);
    stage.record.forget(&AppName::new("other").unwrap());
    stage.tell("chat", "the end");
    all.until("the end").await;
    one.until("the end").await;

    let names = |events: &[Value]| -> Vec<Value> {
        events.iter().map(|app| app["metadata"]["name"].clone()).collect()
    };
    assert_eq!(all.events("snapshot")[0]["items"].as_array().unwrap().len(), 1);
    assert_eq!(names(&all.events("upsert")), ["other", "chat"]);
    assert_eq!(all.events("upsert")[1]["status"]["phase"], "Failed");
    assert_eq!(all.events("delete"), [json!({"name": "other"})]);
    assert_eq!(all.events("event").len(), 2);
    assert_eq!(names(&one.events("upsert")), ["chat"]);
    assert_eq!((one.events("delete").len(), one.events("event").len()), (0, 1));
    assert!(all.last_id().ends_with("-4"), "the id names the revision: {}", all.last_id());
}

#[tokio::test]
async fn a_client_that_comes_back_gets_a_bookmark_or_everything_again() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    let mut first = stage.open("/api/v1/events", "").await;
    first.until("event: snapshot").await;
    let seen = format!("last-event-id: {}\r\n", first.last_id());

    let mut same = stage.open("/api/v1/events", &seen).await;
    same.until("event: bookmark").await;
    assert_eq!(same.events("snapshot").len(), 0, "nothing was missed");
    stage.put("other", |_| ());
    let mut late = stage.open("/api/v1/events", &seen).await;
    late.until("event: snapshot").await;
    assert_eq!(late.events("resync").len(), 1);
    let mut other = stage.open("/api/v1/events", "last-event-id: otherboot-2\r\n").await;
    other.until("event: snapshot").await;
    assert_eq!(other.events("resync").len(), 1, "another boot counts anew");
}

/// Fault H08: what a slow reader missed is not kept for it.
#[tokio::test]
async fn a_client_that_is_too_slow_is_told_so_and_gets_everything_again() {
    let stage = Stage::start().await;
    let mut slow = stage.open("/api/v1/events", "").await;
    slow.until("event: snapshot").await;
    // The test's only thread does not yield here, so the stream can't keep up.
    for restarts in 0..1500 {
        stage.put("chat", |entry| entry.status.restarts = restarts);
    }
    stage.tell("chat", "the end");
    slow.until("event: resync").await;
    stage.tell("chat", "the very end");
    slow.until("the very end").await;
    let snapshot = &slow.events("snapshot")[1];
    assert_eq!(snapshot["items"][0]["status"]["restarts"], 1499);
}

#[tokio::test]
async fn silence_is_broken_by_comments_or_by_a_bookmark_after_changes_of_others() {
    let stage = Stage::with(|s| s.keep_alive = Duration::from_millis(20)).await;
    stage.put("chat", |_| ());
    let mut one = stage.open("/api/v1/events?app=chat", "").await;
    one.until(": still here").await;
    stage.put("other", |_| ());
    one.until("event: bookmark").await;
    assert!(one.last_id().ends_with("-2"), "{}", one.seen);
}

#[tokio::test]
async fn only_so_many_streams_are_open_at_once() {
    let stage = Stage::with(|settings| settings.streams_max = 1).await;
    stage.put("chat", |_| ());
    let mut first = stage.open("/api/v1/events", "").await;
    first.until("event: snapshot").await;
    for path in ["/api/v1/events", "/api/v1/apps/chat/logs?follow"] {
        let answer = stage.get(path).await;
        assert_eq!(answer.json()["code"], "server.too-many-streams", "{path}");
        assert!(answer.status == 503 && answer.has("retry-after: 2"), "{answer:?}");
    }
    drop(first);
    let opened = async {
        while stage.open("/api/v1/events", "").await.stream.read(&mut [0; 12]).await.is_err() {}
        while stage.ask("GET", "/api/v1/events/recent", &[], "").await.status != 200 {}
    };
    tokio::time::timeout(Duration::from_secs(20), opened).await.unwrap();
}

/// The drain must not wait for streams that never end by themselves.
#[tokio::test]
async fn the_server_ends_with_streams_open() {
    let mut stage = Stage::with(|settings| settings.drain_timeout = Duration::from_secs(600)).await;
    stage.put("chat", |_| ());
    let mut events = stage.open("/api/v1/events", "").await;
    let mut logs = stage.open("/api/v1/apps/chat/logs?follow", "").await;
    let mut idle = tokio::net::TcpStream::connect(stage.address).await.unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(0 < idle.read(&mut [0; 4096]).await.unwrap());
    events.until("event: snapshot").await;
    logs.until("new log").await;
    stage.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(60), &mut stage.served).await;
    ended.expect("the server hangs").unwrap();
    let mut rest = Vec::new();
    events.stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream has a clean end");
}

#[tokio::test]
async fn a_client_that_does_not_send_its_request_is_cut_off() {
    let stage = Stage::with(|settings| settings.header_timeout = Duration::from_millis(300)).await;
    for start in ["", "GET / HTTP/1.1\r\nhost: loc"] {
        let mut slow = tokio::net::TcpStream::connect(stage.address).await.unwrap();
        slow.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let reading = slow.read_to_end(&mut rest);
        let ended = tokio::time::timeout(Duration::from_secs(60), reading).await;
        assert!(ended.is_ok(), "a client that sent {start:?} holds its connection");
    }
    assert_eq!(stage.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let stage = Stage::start().await;
    let long = "x".repeat(128 * 1024);
    assert_eq!(stage.ask("GET", "/health", &[("x-long", &long)], "").await.status, 431);
    let many: Vec<_> = (0..100).map(|_| ("x-more", "1")).collect();
    assert_eq!(stage.ask("GET", "/health", &many, "").await.status, 431);
    assert_eq!(stage.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_handler_that_panics_answers_500_and_the_server_lives_on() {
    let stage = Stage::start().await;
    stage.put("chat", |entry| entry.status.container_id = Some("panic".to_owned()));
    let answer = stage.get("/api/v1/apps/chat/logs").await;
    assert_eq!((answer.status, &answer.json()["code"]), (500, &json!("server.failed")));
    assert!(!answer.body.contains("defect of the engine"), "internals stay inside (H11)");
    assert_eq!(stage.get("/health").await.status, 200);
}

#[tokio::test]
async fn who_comes_when_all_places_are_taken_is_told_so() {
    let stage =
        Stage::with(|s| (s.connections_max, s.header_timeout) = (1, Duration::from_secs(60)));
    let stage = stage.await;
    let held = tokio::net::TcpStream::connect(stage.address).await.unwrap();
    let answer = stage.get("/health").await;
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("server.full")));
    assert!(answer.has("retry-after: 2"), "{answer:?}");
    assert!(stage.metrics.render().contains("turned_away_total{reason=\"full\"} 1"));
    drop(held);
    let waiting = async { while stage.get("/health").await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("its place is lost");
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    for address in ["0.0.0.0:0", "192.0.2.1:8000", "[::]:0"] {
        let settings = Settings::new(address.parse().unwrap());
        let text = server::check_address(settings.listen, false).unwrap_err().to_string();
        assert!(text.contains("refusing to listen") && text.contains("127.0.0.1"), "{text}");
    }
}
