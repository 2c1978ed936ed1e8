//! Every change in the table, only tried: nothing is different afterwards.

use std::{collections::BTreeMap, fs};

use berth::{auth::Needs, server};

use super::{Gate, code};
use crate::api::stage::{Answer, MANIFEST};

/// A file of a form, with all its names.
fn form() -> String {
    let named = [("project_id", "p"), ("app_name", "a"), ("version", "2"), ("model_name", "m")];
    let field = |(name, value): &(&str, &str)| {
        let file = if *name == "file" { "; filename=\"m.bin\"" } else { "" };
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n")
    };
    named.iter().chain(&[("file", "content")]).map(field).collect::<String>() + "--x--\r\n"
}

/// What a route takes, so that it would do something.
fn request(method: &str, path: &str) -> (String, &'static str, String) {
    let yaml = "application/yaml";
    let lease = r#"{"holder": "t", "ttl": "5m"}"#;
    let (at, kind, body) = match (method, path) {
        ("POST", "/models/upload") => (path.to_owned(), "multipart/form-data; boundary=x", form()),
        ("PUT", "/models/{project}/{app}/{version}/{model}") => {
            (path.to_owned(), "application/octet-stream", "content".to_owned())
        }
        ("POST", "/models/{project}/{app}/{version}/{model}") => {
            (path.replace("{model}", "freeze"), "application/json", String::new())
        }
        ("PUT", "/models/{project}/{app}/aliases/{alias}") => {
            (path.to_owned(), "application/json", r#"{"version": "1"}"#.to_owned())
        }
        ("POST", "/uploads") => {
            let names = "?project_id=p&app_name=a&version=3&model_name=m";
            (format!("{path}{names}"), "application/octet-stream", String::new())
        }
        ("PATCH", "/uploads/{id}") => {
            (path.to_owned(), "application/partial-upload", "more".to_owned())
        }
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
    let at = at.replace("{project}/{app}/{version}", "p/a/1").replace("{model}", "m");
    let at = at.replace("{project}/{app}", "p/a").replace("{alias}", "prod");
    (at.replace("{name}", "chat"), kind, body)
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

/// A change: method, path, a header; the status, and what the answer says.
type Case<'a> = (&'a str, &'a str, (&'a str, &'a str), u16, &'a str);

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
    let upload = fill(&gate).await;
    let known = || (files(gate.stage.folder.path()), files(gate.state.path()));
    let (before, mut planned, mut refused) = (known(), Vec::new(), Vec::new());
    for (method, path, needs) in server::routes().filter(|(method, ..)| method != "GET") {
        let (at, kind, body) = request(&method, path);
        let at = at.replace("{id}", if at.starts_with("/uploads") { &upload } else { "gpu-1" });
        let join = if at.contains('?') { '&' } else { '?' };
        let at = format!("{at}{join}dryRun=true");
        let route = format!("{method} {path}");
        for accept in ["application/json", "text/plain"] {
            let mut headers = vec![
                ("authorization", bearer.as_str()),
                ("content-type", kind),
                ("accept", accept),
            ];
            if path.starts_with("/uploads") {
                headers.extend([("upload-complete", "?0"), ("upload-offset", "0")]);
            }
            let answer = gate.ask(&method, &at, &headers, &body).await;
            match code(&answer).as_str() {
                "request.no-dry-run" => {
                    assert!(server::why_not_tried(&method, path).is_some(), "{route}");
                    refused.push(route.clone());
                }
                "hook.no-secret" => assert_eq!(needs, Needs::Signature, "{route}"),
                "model.nothing" => assert!(path.contains("/trash/"), "{route}"),
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
    assert!(40 <= planned.len(), "{planned:?}");
    // Whoever adds a change that can't be tried says why, and a client of ours is not among them.
    let ours = [" /api/v1/", " /models/", " /uploads", " /containers"];
    // A terminal is talked with: what would come of that nobody knows.
    let ours = |route: &&String| {
        !route.ends_with("/terminal") && ours.iter().any(|start| route.contains(start))
    };
    assert_eq!(refused.iter().filter(ours).collect::<Vec<_>>(), Vec::<&String>::new());
    let answer = gate.ask("POST", "/sign-out?dryRun=true", &[("authorization", &bearer)], "").await;
    assert!(answer.body.contains("there is nothing to plan"), "{answer:?}");
}

/// A store with something in it: a model, an alias, and an upload that has begun, whose id is told.
async fn fill(gate: &Gate) -> String {
    let bearer = format!("Bearer {}", gate.admin);
    let ask = async |method, path, headers: &[(&str, &str)], body| {
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        gate.ask(method, path, &headers, body).await
    };
    assert_eq!(ask("PUT", "/models/p/a/1/m", &[], "content").await.status, 201);
    assert_eq!(ask("PUT", "/models/p/a/aliases/prod?version=1", &[], "").await.status, 200);
    // What is in it is looked into beside all else.
    let inside = "/api/v1/models/inspections/p/a/1/m";
    while ask("GET", inside, &[], "").await.json()["inspection"]["status"] != "done" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let names = "/uploads?project_id=p&app_name=a&version=4&model_name=m";
    let begun = ask("POST", names, &[("upload-complete", "?0")], "").await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let all = ask("GET", "/uploads", &[], "").await.json();
    all["items"][0]["id"].as_str().unwrap().to_owned()
}

/// What the store would refuse is refused, in the words in which it would be.
#[tokio::test]
async fn a_change_of_the_store_that_is_only_tried_is_looked_at_as_if_it_were_made() {
    let gate = Gate::start().await;
    let upload = fill(&gate).await;
    let bearer = format!("Bearer {}", gate.admin);
    let other = "0".repeat(64);
    let cases: &[Case<'_>] = &[
        ("PUT", "/models/p/a/1/m", ("x-none", ""), 200, "would store p/a/1/m, 4 bytes in place"),
        ("PUT", "/models/p/a/2/m", ("x-none", ""), 200, "would store p/a/2/m, 4 bytes"),
        ("PUT", "/models/p/a/1/m", ("if-none-match", "*"), 412, "is there already"),
        ("PUT", "/models/p/a/2/m", ("x-checksum-sha256", &other), 400, "not what was announced"),
        ("PUT", "/models/p/a/prod/m", ("x-none", ""), 409, "is an alias"),
        ("DELETE", "/models/p/a/1/m", ("x-none", ""), 200, "would put p/a/1/m into the trash"),
        ("DELETE", "/models/p/a/1/x", ("x-none", ""), 404, "not found"),
        ("POST", "/models/p/a/1/freeze", ("x-none", ""), 200, "would freeze p/a/1"),
        ("POST", "/models/p/a/1/unfreeze", ("x-none", ""), 200, "p/a/1 is not frozen"),
        ("POST", "/models/p/a/9/freeze", ("x-none", ""), 404, "no version `9`"),
        ("PUT", "/models/p/a/aliases/next?version=1", ("x-none", ""), 200, "would stand for 1"),
        ("PUT", "/models/p/a/aliases/prod?version=1", ("x-none", ""), 200, "stands for 1 already"),
        ("PUT", "/models/p/a/aliases/next?version=9", ("x-none", ""), 404, "no version `9`"),
        ("PUT", "/models/p/a/aliases/latest?version=1", ("x-none", ""), 409, "newest"),
        ("DELETE", "/models/p/a/aliases/prod", ("x-none", ""), 200, "no longer stand for 1"),
        ("DELETE", "/models/p/a/aliases/next", ("x-none", ""), 404, "no alias is `next`"),
    ];
    for (method, path, header, status, words) in cases {
        let join = if path.contains('?') { '&' } else { '?' };
        let headers = [("authorization", bearer.as_str()), *header];
        let body = if path.contains("/aliases/") { "" } else { "more" };
        let answer = gate.ask(method, &format!("{path}{join}dryRun=true"), &headers, body).await;
        assert_eq!(answer.status, *status, "{method} {path}: {answer:?}");
        let said = answer.body.to_lowercase();
        assert!(said.contains(&words.to_lowercase()), "{method} {path}: {words}: {answer:?}");
    }
    let gone = gate.by(&gate.admin, "DELETE", &format!("/uploads/{upload}?dryRun=true")).await;
    assert!(gone.body.contains("would give up the upload of p/a/4/m"), "{gone:?}");
    // A part that does not fit is refused, and the upload is as it was.
    let path = format!("/uploads/{upload}?dryRun=true");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/partial-upload"),
        ("upload-complete", "?0"),
        ("upload-offset", "7"),
    ];
    assert_eq!(gate.ask("PATCH", &path, &headers, "x").await.status, 409);
    let left = gate.by(&gate.admin, "GET", "/uploads").await.json();
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
    assert_eq!(gate.by(&gate.admin, "GET", "/models/p/a/1").await.json()["total_models"], 1);
    // What is used is not deleted, frozen is not changed: as without the flag.
    assert_eq!(gate.by(&gate.admin, "POST", "/models/p/a/1/freeze").await.status, 200);
    for method in ["PUT", "DELETE"] {
        let answer = gate.by(&gate.admin, method, "/models/p/a/1/m?dryRun=true").await;
        assert_eq!(answer.status, 409, "{method}: {answer:?}");
    }
    assert_eq!(gate.by(&gate.viewer, "DELETE", "/models/p/a/1/m?dryRun=true").await.status, 403);
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
