//! Manifests written by HTTP: by form, by patch, by two at the same time; and lists by pages.

use berth::model::Phase;
use serde_json::{Value, json};

use crate::api::stage::{Answer, Stage};

const CHAT: &str = "/api/v1/apps/chat";
const PATCH: (&str, &str) = ("content-type", "application/merge-patch+json");
const COMMENTED: &str = "# The chat.
apiVersion: berth/v1
kind: App
metadata:
  name: chat   # as the house calls it

spec:
  image: 'shop/app:1'   # pinned on purpose
  # where it listens
  port: 7860
  env:
    API_KEY: hunter2
    MODE: \"fast\"
";

fn tag(answer: &Answer) -> String {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("etag: "));
    line.unwrap_or_else(|| panic!("no tag: {answer:?}")).to_owned()
}

fn code(answer: &Answer) -> String {
    answer.json()["code"].as_str().unwrap_or_default().to_owned()
}

fn on_disk(stage: &Stage) -> String {
    std::fs::read_to_string(stage.manifests().join("chat.yaml")).unwrap()
}

async fn with_chat(text: &str) -> Stage {
    let stage = Stage::start().await;
    std::fs::write(stage.manifests().join("chat.yaml"), text).unwrap();
    stage.put("chat", |_| ());
    stage
}

#[tokio::test]
async fn of_two_writers_who_have_seen_the_same_one_is_told_so() {
    let stage = with_chat(COMMENTED).await;
    let (one, two) = (tag(&stage.get(CHAT).await), tag(&stage.get(CHAT).await));
    assert_eq!(one, two);
    let patch = async |tag: &str, port: u16| {
        let body = json!({"spec": {"port": port}}).to_string();
        stage.ask("PATCH", CHAT, &[PATCH, ("if-match", tag)], &body).await
    };
    let first = patch(&one, 1111).await;
    assert_eq!(first.status, 200, "{first:?}");
    let late = patch(&two, 2222).await;
    assert_eq!((late.status, code(&late).as_str()), (412, "manifest.changed"), "{late:?}");
    assert_eq!(tag(&late), tag(&first), "the answer says what is there");
    assert_eq!(late.json()["etag"].as_str().unwrap(), tag(&first));
    assert!(on_disk(&stage).contains("port: 1111"));
    // A status that moved on meanwhile refuses nobody.
    let seen = tag(&stage.get(CHAT).await);
    stage.put("chat", |entry| entry.status.phase = Phase::Degraded);
    assert_ne!(tag(&stage.get(CHAT).await), seen);
    assert_eq!(patch(&seen, 3333).await.status, 200);
    for (method, header, value, status) in [
        ("PUT", "if-match", seen.as_str(), 412),
        ("PUT", "if-match", "W/\"x\"", 412),
        ("PUT", "if-none-match", "*", 412),
        ("DELETE", "if-match", seen.as_str(), 412),
        ("DELETE", "if-match", "\"a\", *", 200),
        ("PUT", "if-match", "*", 412),
        ("PUT", "if-none-match", "*", 201),
    ] {
        let headers = [("content-type", "application/yaml"), (header, value)];
        let answer = stage.ask(method, CHAT, &headers, COMMENTED).await;
        assert_eq!(answer.status, status, "{method} {header}: {value}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_known_already_is_not_sent_again() {
    let stage = with_chat(COMMENTED).await;
    stage.settle();
    for path in [CHAT, "/api/v1/apps", "/openapi.json"] {
        let known = tag(&stage.get(path).await);
        let again = stage.ask("GET", path, &[("if-none-match", &known)], "").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        assert_eq!(tag(&again), known);
        let other = stage.ask("GET", path, &[("if-none-match", "\"other\"")], "").await;
        assert_eq!(other.status, 200, "{path}");
    }
    let known = tag(&stage.get("/api/v1/apps").await);
    stage.put("chat", |entry| entry.status.restarts = 7);
    let news = stage.ask("GET", "/api/v1/apps", &[("if-none-match", &known)], "").await;
    assert_eq!(news.status, 200);
    stage.record.update_overview(|overview| overview.engine_error = Some("gone".to_owned()));
    assert_ne!(tag(&stage.get("/api/v1/apps").await), tag(&news));
}

#[tokio::test]
async fn a_patch_changes_what_it_says_and_keeps_the_comments() {
    let stage = with_chat(COMMENTED).await;
    let patch = async |body: Value| stage.ask("PATCH", CHAT, &[PATCH], &body.to_string()).await;
    let answer = patch(json!({"spec": {"port": 80, "env": {"MODE": null, "NEW": "a: b"}}})).await;
    assert_eq!((answer.status, &answer.json()["result"]), (200, &json!("replaced")), "{answer:?}");
    let expected = COMMENTED
        .replace("port: 7860", "port: 80")
        .replace("    MODE: \"fast\"\n", "    NEW: \"a: b\"\n");
    assert_eq!(on_disk(&stage), expected);
    assert_eq!(patch(json!({"spec": {"port": 80}})).await.json()["result"], "unchanged");
    for (body, status, wanted) in [
        (json!({"spec": {"port": "x"}}), 422, "manifest.invalid"),
        (json!({"spec": null}), 422, "manifest.invalid"),
        (json!({"metadata": {"name": "other"}}), 422, "manifest.other-name"),
        (json!("x"), 422, "manifest.not-one-app"),
    ] {
        let answer = patch(body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(code(&answer) == wanted || code(&answer) == "manifest.invalid", "{answer:?}");
        assert_eq!(on_disk(&stage), expected, "{body}");
    }
    let answer = stage.ask("PATCH", CHAT, &[PATCH], "{").await;
    assert_eq!((answer.status, code(&answer).as_str()), (400, "request.invalid"));
    let answer =
        stage.ask("PATCH", CHAT, &[("content-type", "application/json-patch+json")], "[]").await;
    assert_eq!(answer.status, 415);
    let answer = stage.ask("PATCH", "/api/v1/apps/other", &[PATCH], "{}").await;
    assert_eq!((answer.status, code(&answer).as_str()), (404, "app.not-found"));
}

/// Fault H10: who sends back what was shown does not overwrite what was not.
#[tokio::test]
async fn a_document_that_is_put_keeps_comments_and_values_that_were_not_shown() {
    let stage = with_chat(COMMENTED).await;
    let put = async |body: &str| {
        stage.ask("PUT", CHAT, &[("content-type", "application/json")], body).await
    };
    let document = json!({
        "apiVersion": "berth/v1", "kind": "App", "metadata": {"name": "chat"},
        "spec": {"image": "shop/app:2", "port": 7860, "env": {"API_KEY": "(set)", "MODE": "slow"}},
    });
    let answer = put(&document.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = COMMENTED.replace("shop/app:1", "shop/app:2").replace("fast", "slow");
    assert_eq!(on_disk(&stage), expected);
    // A person's own text, with comments of its own, is taken as it is.
    let own = "# mine\n".to_owned() + &expected.replace("# The chat.\n", "");
    let answer = stage.put_manifest(CHAT, "PUT", &own).await;
    assert_eq!((answer.status, on_disk(&stage)), (200, own));
}

#[tokio::test]
async fn five_fields_register_an_app_however_they_are_sent() {
    let form = "name=web&repository=https%3A%2F%2Fgit.example.com%2Fweb.git&requirements_file=requirements.txt&start_command=python+app.py&port=7860";
    let fields = json!({
        "name": "web", "repository": "https://git.example.com/web.git",
        "requirements_file": "requirements.txt", "start_command": "python app.py", "port": 7860,
    });
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let multipart: String = fields
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| part(name, value.as_str().unwrap_or("7860")))
        .collect::<String>()
        + "--b--\r\n";
    let mut texts = Vec::new();
    for (kind, body) in [
        ("application/json", fields.to_string()),
        ("application/x-www-form-urlencoded", form.to_owned()),
        ("multipart/form-data; boundary=b", multipart),
    ] {
        let stage = Stage::start().await;
        let made = stage.ask("POST", "/api/v1/apps", &[("content-type", kind)], &body).await;
        assert_eq!(made.status, 201, "{kind}: {made:?}");
        assert!(made.has("location: /api/v1/apps/web"), "{made:?}");
        texts.push(std::fs::read_to_string(stage.manifests().join("web.yaml")).unwrap());
        let twice = stage.ask("POST", "/api/v1/apps", &[("content-type", kind)], &body).await;
        assert_eq!((twice.status, code(&twice).as_str()), (409, "manifest.duplicate-name"));
    }
    assert_eq!(texts[0].lines().count(), 9, "{}", texts[0]);
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:#?}");
}

#[tokio::test]
async fn a_form_is_refused_with_everything_that_is_wrong_with_it() {
    let stage = Stage::start().await;
    let ask = async |body: Value| {
        let kind = [("content-type", "application/json")];
        stage.ask("POST", "/api/v1/apps", &kind, &body.to_string()).await
    };
    let answer = ask(json!({
        "name": "Web!", "repository": "ftp://x", "start_command": " ", "port": "http", "prot": 1,
    }))
    .await;
    assert_eq!((answer.status, code(&answer).as_str()), (422, "manifest.invalid"), "{answer:?}");
    let problem = answer.json();
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["field"].as_str().unwrap_or("?"))
        .collect();
    for field in ["name", "repository", "start_command", "port", "prot"] {
        assert!(fields.contains(&field), "{field} is not among {fields:?}: {problem:#}");
    }
    for (body, field) in [
        (json!({"name": "web"}), "repository"),
        (
            json!({"port": 70_000, "name": "w", "repository": "https://x.example/y", "start_command": "z"}),
            "port",
        ),
        (
            json!({"port": 80, "name": ["w"], "repository": "https://x.example/y", "start_command": "z"}),
            "name",
        ),
    ] {
        let answer = ask(body).await.json();
        let has = answer["errors"].as_array().unwrap().iter().any(|e| e["field"] == field);
        assert!(has, "{field}: {answer:#}");
    }
    let broken = [("content-type", "multipart/form-data")];
    assert_eq!(stage.ask("POST", "/api/v1/apps", &broken, "x").await.status, 400);
    assert_eq!(std::fs::read_dir(stage.manifests()).unwrap().count(), 0);
}

/// Follows `Link` from page to page; answers the names on each.
async fn pages(stage: &Stage, first: &str, names: fn(&Value) -> Vec<String>) -> Vec<Vec<String>> {
    let (mut path, mut all) = (first.to_owned(), Vec::new());
    loop {
        let answer = stage.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        all.push(names(&answer.json()));
        let link = answer.head.lines().find_map(|line| line.strip_prefix("link: <"));
        let Some((next, kind)) = link.and_then(|link| link.split_once('>')) else { return all };
        assert_eq!(kind, "; rel=\"next\"");
        next.clone_into(&mut path);
    }
}

#[tokio::test]
async fn lists_are_read_by_pages_and_by_what_apps_are() {
    let stage = Stage::start().await;
    for name in ["a", "b", "c", "d", "e"] {
        stage.put(name, |entry| {
            if name == "b" {
                entry.status.phase = Phase::Failed;
            }
        });
        stage.tell(name, "it answers");
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|app| app["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = pages(&stage, "/api/v1/apps?limit=2", names).await;
    assert_eq!(all, [vec!["a", "b"], vec!["c", "d"], vec!["e"]]);
    let first = stage.get("/api/v1/apps?limit=2").await.json();
    assert_eq!(first["metadata"]["continue"], "b");
    assert!(stage.get("/api/v1/apps").await.json()["metadata"].get("continue").is_none());
    for (query, wanted) in [
        ("?phase=Failed", vec!["b"]),
        ("?phase=running,failed&limit=1&continue=a", vec!["b"]),
        ("?labelSelector=team%3Dvision,!old&continue=c", vec!["d", "e"]),
        ("?labelSelector=team!=vision", vec![]),
    ] {
        let list = stage.get(&format!("/api/v1/apps{query}")).await;
        assert_eq!(names(&list.json()), wanted, "{query}");
    }
    for bad in
        ["?limit=0", "?limit=1001", "?limit=x", "?phase=Good", "?labelSelector=%3D", "?page=2"]
    {
        let answer = stage.get(&format!("/api/v1/apps{bad}")).await;
        assert_eq!((answer.status, code(&answer).as_str()), (400, "request.invalid"), "{bad}");
    }
    let events = |list: &Value| -> Vec<String> {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["app"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = pages(&stage, "/api/v1/events/recent?limit=2", events).await;
    assert_eq!(all, [vec!["d", "e"], vec!["b", "c"], vec!["a"]]);
}

#[tokio::test]
async fn an_action_with_a_key_is_done_once() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    let restart = async |path: &str, key: &str, body: &str| {
        stage.ask("POST", path, &[("idempotency-key", key)], body).await
    };
    let path = "/api/v1/apps/chat/restart";
    let first = restart(path, "k-1", "").await;
    let again = restart(path, "k-1", "").await;
    assert_eq!((first.status, again.status, &first.body), (202, 202, &again.body));
    assert!(!first.has("idempotency-replayed: true") && again.has("idempotency-replayed: true"));
    let both = tokio::join!(restart(path, "k-2", ""), restart(path, "k-2", ""));
    assert_eq!((both.0.status, both.1.status), (202, 202));
    assert_eq!(restart("/api/v1/apps/chat/stop", "k-1", "").await.status, 202);
    let undo = "/api/v1/apps/chat/undo";
    assert_eq!(restart(undo, "k-1", "").await.status, 202);
    let other = restart(undo, "k-1", "{\"revision\": 2}").await;
    assert_eq!((other.status, code(&other).as_str()), (422, "request.key-reused"));
    assert_eq!(restart("/api/v1/apps/nobody/stop", "k-9", "").await.status, 404);
    // A lease, and a fetch, are begun once, too.
    let leases = || stage.asked.lock().unwrap().iter().filter(|a| a.starts_with("Lease(")).count();
    let (path, body) = ("/api/v1/gpus/leases", r#"{"holder": "t", "ttl": "5m"}"#);
    for is_again in [false, true] {
        let lease = restart(path, "k-1", body).await;
        assert_eq!((lease.status, lease.has("idempotency-replayed: true")), (201, is_again));
        assert!(lease.has("location: /api/v1/gpus/leases/gpu-1"), "{lease:?}");
    }
    assert_eq!(leases(), 1);
    let other = restart(path, "k-1", r#"{"holder": "u", "ttl": "5m"}"#).await;
    assert_eq!((other.status, code(&other).as_str()), (422, "request.key-reused"));
    let pull = r#"{"from": "https://192.0.2.1/m", "as": "p/a@1/m"}"#;
    let first = restart("/api/v1/models/pull", "k-1", pull).await;
    let again = restart("/api/v1/models/pull", "k-1", pull).await;
    assert_eq!((first.status, first.json()["id"].clone()), (202, again.json()["id"].clone()));
    assert!(!first.has("idempotency-replayed: true") && again.has("idempotency-replayed: true"));
    assert_eq!(restart(path, "", "").await.status, 400);
    let asked = stage.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|asked| asked.starts_with("Restart")).count(), 2, "{asked:?}");
}
