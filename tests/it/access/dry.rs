//! Every change in the table, only tried: nothing is different afterwards.

use std::{collections::BTreeMap, fs};

use berth::{auth::Needs, server};

use super::{Gate, code};
use crate::api::stage::{Answer, MANIFEST};

/// What a route takes, so that it would do something.
fn request(method: &str, path: &str) -> (String, &'static str, String) {
    let yaml = "application/yaml";
    let lease = r#"{"holder": "t", "ttl": "5m"}"#;
    let (at, kind, body) = match (method, path) {
        ("POST", "/api/v1/apps") => {
            (path.to_owned(), yaml, MANIFEST.replace("name: chat\n", "name: new\n"))
        }
        ("PUT", "/api/v1/apps/{name}") => (path.to_owned(), yaml, MANIFEST.replace("8010", "8011")),
        ("PATCH", _) => {
            let patch = r#"{"spec": {"suspend": true}}"#.to_owned();
            (path.to_owned(), "application/merge-patch+json", patch)
        }
        ("POST", "/api/v1/gpus/leases") => (path.to_owned(), "application/json", lease.to_owned()),
        ("POST", "/api/v1/models/pull") => {
            let pull = r#"{"from": "https://192.0.2.1/m", "as": "p/a@1/m"}"#.to_owned();
            (path.to_owned(), "application/json", pull)
        }
        ("POST", "/api/v1/gpus/leases/{id}/renew") => {
            let renew = r#"{"fence": 7, "ttl": "5m"}"#.to_owned();
            (path.to_owned(), "application/json", renew)
        }
        ("DELETE", "/api/v1/gpus/leases/{id}") => {
            (format!("{path}?fence=7"), "application/json", String::new())
        }
        _ => (path.to_owned(), "application/json", String::new()),
    };
    (at.replace("{name}", "chat").replace("{id}", "gpu-1"), kind, body)
}

/// All files of a folder, with what is in them.
fn files(folder: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                all.insert(path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    all
}

/// An answer that says what would come of a change, as it was asked for.
fn check(route: &str, accept: &str, answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{route}: {answer:?}");
    assert!(answer.head.contains(&format!("content-type: {accept}")), "{route}: {answer:?}");
    let is_said = accept == "text/plain" || answer.json()["dryRun"] == true;
    assert!(is_said, "{route}: {answer:?}");
    route.to_owned()
}

#[tokio::test]
async fn a_change_that_is_only_tried_changes_nothing_and_no_route_does_it_instead() {
    let gate = Gate::start().await;
    fs::write(gate.stage.manifests().join("chat.yaml"), MANIFEST).unwrap();
    let bearer = format!("Bearer {}", gate.admin);
    // The store is opened by whoever asks first.
    assert_eq!(gate.by(&gate.admin, "GET", "/models/list").await.status, 200);
    let known = || (files(gate.stage.folder.path()), files(gate.state.path()));
    let (before, mut planned, mut refused) = (known(), Vec::new(), Vec::new());
    for (method, path, needs) in server::routes().filter(|(method, ..)| method != "GET") {
        let (at, kind, body) = request(&method, path);
        let join = if at.contains('?') { '&' } else { '?' };
        let at = format!("{at}{join}dryRun=true");
        let route = format!("{method} {path}");
        for accept in ["application/json", "text/plain"] {
            let headers =
                [("authorization", bearer.as_str()), ("content-type", kind), ("accept", accept)];
            let answer = gate.ask(&method, &at, &headers, &body).await;
            match code(&answer).as_str() {
                "request.no-dry-run" => refused.push(route.clone()),
                "hook.no-secret" => assert_eq!(needs, Needs::Signature, "{route}"),
                "model.nothing" | "model.not-found" => {
                    assert!(path.starts_with("/api/v1/models/"), "{route}");
                }
                "source.nothing-held" => assert_eq!(path, "/api/v1/confirm"),
                // There is no engine, and so no container.
                _ if path.starts_with("/containers/") => {
                    assert!([404, 500].contains(&answer.status), "{route}: {answer:?}");
                }
                _ => planned.push(check(&route, accept, &answer)),
            }
        }
        assert_eq!(known(), before, "{route}");
    }
    // What only looks is all that the controller was asked.
    let mut asked = gate.asked();
    asked.retain(|asked| !asked.starts_with("Suppose("));
    assert_eq!(asked, Vec::<String>::new());
    assert!(26 <= planned.len(), "{planned:?}");
    // Whoever adds a change says here that it can't be tried, or lets it be.
    let native: Vec<_> = refused.iter().filter(|route| route.contains(" /api/v1/")).collect();
    assert_eq!(native, Vec::<&String>::new());
}

#[tokio::test]
async fn who_may_not_change_something_may_not_try_it_and_a_wrong_flag_is_refused() {
    let gate = Gate::start().await;
    let answer = gate.by(&gate.viewer, "POST", "/api/v1/apps/chat/stop?dryRun=true").await;
    assert_eq!((answer.status, code(&answer).as_str()), (403, "auth.role"));
    for bad in ["dryRun=maybe", "dryRun=true&dryRun=x", "dryRun=TRUE"] {
        let path = format!("/api/v1/apps/chat/stop?{bad}");
        let answer = gate.by(&gate.admin, "POST", &path).await;
        assert_eq!((answer.status, code(&answer).as_str()), (400, "request.invalid"), "{bad}");
    }
    let answer = gate.by(&gate.admin, "POST", "/sign-out?dryRun=true").await;
    assert_eq!((answer.status, code(&answer).as_str()), (400, "request.no-dry-run"));
    assert_eq!(gate.asked(), Vec::<String>::new());
    let answer = gate.by(&gate.admin, "POST", "/api/v1/apps/chat/stop?dryRun=false").await;
    assert_eq!((answer.status, gate.asked().len()), (202, 1));
}

/// What would be brought back is named; what is not there, or in use again, is refused as it would be.
#[tokio::test]
async fn a_model_that_would_come_back_does_not_come_back() {
    let gate = Gate::start().await;
    let ask = |method, path| gate.by(&gate.admin, method, path);
    assert_eq!(ask("PUT", "/models/p/a/1/m").await.status, 201);
    assert_eq!(ask("DELETE", "/models/p/a/1/m").await.status, 200);
    let trash = ask("GET", "/api/v1/models/trash").await.json();
    let restore =
        format!("/api/v1/models/trash/{}/restore", trash["items"][0]["id"].as_str().unwrap());
    let tried = format!("{restore}?dryRun=true");
    let answer = ask("POST", &tried).await;
    assert_eq!(
        (answer.status, &answer.json()["message"]),
        (200, &"would bring p/a/1/m back".into())
    );
    assert_eq!(ask("GET", "/models/p/a/1/m").await.status, 404);
    assert_eq!(ask("PUT", "/models/p/a/1/m").await.status, 201);
    assert_eq!(ask("POST", &tried).await.status, 409, "it is there again");
    assert_eq!(ask("DELETE", "/models/p/a/1/m").await.status, 200);
    assert_eq!(ask("POST", &restore).await.status, 200);
    assert_eq!(ask("POST", &tried).await.status, 404);
}
