//! Answers of the model store and of the Hub's routes are as the `OpenAPI` document says.

use std::collections::BTreeSet;

use berth::{
    model::Digest,
    server::{self, openapi},
};
use serde_json::{Value, json};

use super::openapi::mistakes;
use crate::api::stage::Stage;

/// A request: the route, how it is spelled, headers, body.
struct Ask {
    route: (&'static str, &'static str),
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn ask(route: (&'static str, &'static str), path: &str) -> Ask {
    Ask { route, path: path.to_owned(), headers: Vec::new(), body: String::new() }
}

impl Ask {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn sends(mut self, kind: &'static str, body: impl Into<String>) -> Self {
        self.body = body.into();
        self.with("content-type", kind)
    }

    fn json(self, body: &Value) -> Self {
        self.sends("application/json", body.to_string())
    }
}

const MODEL: &str = "/models/{project}/{app}/{version}/{model}";
const ALIAS: &str = "/models/{project}/{app}/aliases/{alias}";
const FORM: &str = "multipart/form-data; boundary=x";

fn form(fields: &[(&str, &str)]) -> String {
    let field = |(name, value): &(&str, &str)| {
        let file = if *name == "file" { "; filename=\"m.bin\"" } else { "" };
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n")
    };
    fields.iter().map(field).collect::<String>() + "--x--\r\n"
}

/// Models come, are read, are named, frozen, tried and deleted.
fn models() -> Vec<Ask> {
    let put = |path: &str| ask(("PUT", MODEL), path).sends("application/octet-stream", "content");
    let named = [("project_id", "p"), ("app_name", "a"), ("version", "2"), ("model_name", "f")];
    let whole = form(&[&named[..], &[("file", "bytes")]].concat());
    let upload = || ask(("POST", "/models/upload"), "/models/upload");
    let get = |path: &str| ask(("GET", MODEL), path);
    let version = json!({ "version": "1" });
    let mut all = vec![
        put("/models/p/a/1/m"),
        put("/models/p/a/1/m"),
        ask(("GET", "/blobs/{digest}"), &format!("/blobs/sha256:{}", Digest::of_bytes(b"content"))),
        ask(("GET", "/blobs/{digest}"), "/blobs/sha256:12"),
        put("/models/p/a/1/m?dryRun=true"),
        put("/models/p/a/1/m").with("if-none-match", "*"),
        put("/models/p/a/1/m?dryRun=true").with("if-none-match", "*"),
        put("/models/p/a/1/n").with("x-checksum-sha256", "0".repeat(64)),
        put("/models/p/a/..1/n"),
        upload().sends(FORM, whole.clone()),
        ask(("POST", "/models/upload"), "/models/upload?dryRun=true").sends(FORM, whole),
        upload().sends(FORM, form(&named)),
        upload().sends(FORM, form(&[("file", "bytes")])),
        upload().sends("text/plain", "x"),
        ask(("GET", "/models/list"), "/models/list"),
        ask(("GET", "/models/list"), "/models/list?limit=1"),
        ask(("GET", "/models/{project}"), "/models/p"),
        ask(("GET", "/models/{project}"), "/models/nobody"),
        ask(("GET", "/models/{project}/{app}"), "/models/p/a"),
        ask(("GET", "/models/{project}/{app}/{version}"), "/models/p/a/1"),
        get("/models/p/a/1/m"),
        get("/models/p/a/1/m").with("range", "bytes=0-2"),
        get("/models/p/a/1/m").with("range", "bytes=90-"),
        get("/models/p/a/1/m").with("if-match", "\"other\""),
        get("/models/p/a/1/none"),
        ask(("GET", "/models/{project}/{app}/{version}/{model}/info"), "/models/p/a/1/m/info"),
        ask(("GET", "/models/{project}/{app}/{version}/{model}/info"), "/models/p/a/1/x/info"),
        ask(("PUT", ALIAS), "/models/p/a/aliases/prod?dryRun=true").json(&version),
        ask(("PUT", ALIAS), "/models/p/a/aliases/prod").json(&version),
        ask(("PUT", ALIAS), "/models/p/a/aliases/prod").json(&json!({})),
        ask(("PUT", ALIAS), "/models/p/a/aliases/prod?version=9"),
        ask(("PUT", ALIAS), "/models/p/a/aliases/latest?version=1"),
        ask(("GET", "/models/{project}/{app}/aliases"), "/models/p/a/aliases"),
        ask(("GET", ALIAS), "/models/p/a/aliases/prod"),
        ask(("GET", ALIAS), "/models/p/a/aliases/none"),
        ask(("DELETE", ALIAS), "/models/p/a/aliases/prod?dryRun=true"),
        ask(("DELETE", ALIAS), "/models/p/a/aliases/prod"),
        ask(("DELETE", ALIAS), "/models/p/a/aliases/prod"),
    ];
    for path in ["1/freeze?dryRun=true", "1/freeze", "9/freeze", "1/thaw"] {
        all.push(ask(("POST", MODEL), &format!("/models/p/a/{path}")));
    }
    for path in ["m?dryRun=true", "m"] {
        all.push(ask(("DELETE", MODEL), &format!("/models/p/a/1/{path}")));
    }
    all.push(ask(("POST", MODEL), "/models/p/a/1/unfreeze"));
    for path in ["m?dryRun=true", "m", "m", "m?dryRun=true"] {
        all.push(ask(("DELETE", MODEL), &format!("/models/p/a/1/{path}")));
    }
    all
}

const REPO: &str = "/api/models/{ns}/{name}";

fn commit(summary: &str, path: &str) -> String {
    let head = json!({ "key": "header", "value": { "summary": summary, "description": "" } });
    let value = json!({ "path": path, "content": "text", "encoding": "utf-8" });
    format!("{head}\n{}", json!({ "key": "file", "value": value }))
}

/// A repository comes, gets a file, a branch and a tag, is read, and goes.
fn repositories() -> Vec<Ask> {
    const CREATE: (&str, &str) = ("POST", "/api/repos/create");
    const COMMIT: (&str, &str) = ("POST", "/api/models/{ns}/{name}/commit/{rev}");
    const BRANCH: &str = "/api/models/{ns}/{name}/branch/{rev}";
    const TAG: &str = "/api/models/{ns}/{name}/tag/{rev}";
    const TREE: &str = "/api/models/{ns}/{name}/tree/{rev}";
    let create = |body: &Value| ask(CREATE, "/api/repos/create").json(body);
    let repo = |end: &str| format!("/api/models/n/r{end}");
    let commit = |summary: &str, path: &str| {
        ask(COMMIT, &repo("/commit/main")).sends("application/x-ndjson", commit(summary, path))
    };
    let files = json!({ "files": [{ "path": "a/b.txt", "size": 4, "sample": "" }] });
    vec![
        create(&json!({ "name": "r", "organization": "n" })),
        create(&json!({ "name": "r", "organization": "n" })),
        create(&json!({ "name": "--", "organization": "n" })),
        create(&json!({ "name": "r", "organization": "models" })),
        ask(("POST", "/api/models/{ns}/{name}/preupload/{rev}"), &repo("/preupload/main"))
            .json(&files),
        commit("a file", "a/b.txt"),
        commit("", "a/b.txt"),
        commit("a file", "../b.txt"),
        ask(COMMIT, "/api/models/n/none/commit/main").sends("application/x-ndjson", "{}"),
        ask(("GET", "/api/models"), "/api/models?full=true&limit=5"),
        ask(("GET", "/api/models/{ns}"), "/api/models/n"),
        ask(("GET", REPO), &repo("")),
        ask(("GET", REPO), "/api/models/n/none"),
        ask(("GET", "/api/models/{ns}/{name}/auth-check"), &repo("/auth-check")),
        ask(("GET", "/api/models/{ns}/{name}/revision/{rev}"), &repo("/revision/main")),
        ask(("GET", "/api/models/{ns}/{name}/revision/{rev}"), &repo("/revision/none")),
        ask(("GET", TREE), &repo("/tree/main?recursive=true&expand=true")),
        ask(("GET", TREE), &repo("/tree/none")),
        ask(("GET", "/api/models/{ns}/{name}/tree/{rev}/{*path}"), &repo("/tree/main/a")),
        ask(("POST", "/api/models/{ns}/{name}/paths-info/{rev}"), &repo("/paths-info/main"))
            .json(&json!({ "paths": ["a/b.txt", "none"] })),
        ask(("GET", "/api/models/{ns}/{name}/refs"), &repo("/refs")),
        ask(("GET", "/api/models/{ns}/{name}/commits/{rev}"), &repo("/commits/main")),
        ask(("PUT", "/api/models/{ns}/{name}/settings"), &repo("/settings"))
            .json(&json!({ "private": true })),
        ask(("POST", BRANCH), &repo("/branch/next")).json(&json!({})),
        ask(("POST", BRANCH), &repo("/branch/next")).json(&json!({})),
        ask(("DELETE", BRANCH), &repo("/branch/next")),
        ask(("DELETE", BRANCH), &repo("/branch/main")),
        ask(("POST", TAG), &repo("/tag/main")).json(&json!({ "tag": "v1" })),
        ask(("POST", TAG), &repo("/tag/main")).json(&json!({ "tag": "v1" })),
        ask(("DELETE", TAG), &repo("/tag/v1")),
        ask(("DELETE", TAG), &repo("/tag/v1")),
        ask(("GET", "/{ns}/{name}/resolve/{rev}/{*path}"), "/n/r/resolve/main/a/b.txt"),
        ask(("GET", "/{ns}/{name}/resolve/{rev}/{*path}"), "/n/r/resolve/main/none"),
        ask(("GET", "/api/whoami-v2"), "/api/whoami-v2"),
        ask(("POST", "/api/validate-yaml"), "/api/validate-yaml")
            .json(&json!({ "repoType": "model", "content": "---\n" })),
    ]
}

fn moved(from: &str, to: &str) -> Ask {
    let wish = json!({ "fromRepo": from, "toRepo": to, "type": "model" });
    ask(("POST", "/api/repos/move"), "/api/repos/move").json(&wish)
}

/// Large files and chunks, and the end of the repository.
fn transfers() -> Vec<Ask> {
    const LFS: &str = "application/vnd.git-lfs+json";
    let oid = Digest::of_bytes(b"large").to_string();
    let object = json!({ "oid": oid, "size": 5 });
    let batch = json!({ "operation": "upload", "transfers": ["basic"], "objects": [object] });
    let hash = "0".repeat(64);
    let xet =
        |route: (&'static str, &'static str), end: &str| ask(route, &format!("/xet/1/v1{end}"));
    vec![
        ask(("POST", "/{ns}/{name}/info/lfs/objects/batch"), "/n/r.git/info/lfs/objects/batch")
            .sends(LFS, batch.to_string()),
        ask(("POST", "/{ns}/{name}/info/lfs/objects/batch"), "/n/r.git/info/lfs/objects/batch")
            .sends(LFS, "{}"),
        ask(("POST", "/{ns}/{name}/info/lfs/objects/verify"), "/n/r.git/info/lfs/objects/verify")
            .sends(LFS, object.to_string()),
        ask(("PUT", "/_lfs/{ns}/{oid}"), &format!("/_lfs/n/{oid}")),
        ask(("PUT", "/_lfs/{ns}/{oid}/{part}"), &format!("/_lfs/n/{oid}/1")),
        ask(("POST", "/_lfs/{ns}/{oid}/{part}"), &format!("/_lfs/n/{oid}/join")),
        ask(
            ("GET", "/api/models/{ns}/{name}/xet-write-token/{rev}"),
            "/api/models/n/r/xet-write-token/main",
        ),
        xet(("GET", "/xet/{gen}/v1/chunks/{prefix}/{hash}"), &format!("/chunks/default/{hash}")),
        xet(
            ("POST", "/xet/{gen}/v1/xorb-grants/{prefix}/{hash}"),
            &format!("/xorb-grants/default/{hash}"),
        ),
        xet(("POST", "/xet/{gen}/v1/xorbs/{prefix}/{hash}"), &format!("/xorbs/default/{hash}")),
        xet(("POST", "/xet/{gen}/v1/shards"), "/shards"),
        ask(("POST", "/xet/{gen}/v2/shards"), "/xet/1/v2/shards"),
        xet(("POST", "/xet/{gen}/v1/telemetry"), "/telemetry"),
        moved("n/r", "n/r"),
        moved("n/none", "n/other"),
        moved("n/r", "n/other"),
        moved("n/other", "n/r"),
        ask(("DELETE", "/api/repos/delete"), "/api/repos/delete")
            .json(&json!({ "name": "r", "organization": "n" })),
        ask(("DELETE", "/api/repos/delete"), "/api/repos/delete")
            .json(&json!({ "name": "r", "organization": "n" })),
    ]
}

/// Asks all, one after the other. What is wrong, and which routes answered that it is done.
async fn walk(stage: &Stage, all: Vec<Ask>) -> (Vec<String>, BTreeSet<String>) {
    let document = openapi::document();
    let (mut wrong, mut met) = (Vec::new(), BTreeSet::new());
    for Ask { route, path, headers, body } in all {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = stage.ask(route.0, &path, &headers, &body).await;
        let known = route.1.replace("{*", "{");
        wrong.extend(
            mistakes(&document, (route.0, &known), &answer).map(|why| format!("{path}: {why}")),
        );
        if answer.status < 400 {
            met.insert(format!("{} {}", route.0, route.1));
        }
    }
    (wrong, met)
}

/// Routes of these that nobody asked with success, but for those that are named.
fn unmet(met: &BTreeSet<String>, is_one: impl Fn(&str) -> bool, but: &[&str]) -> Vec<String> {
    let all = server::routes().filter(|(_, path, _)| is_one(path));
    let all = all.map(|(method, path, _)| format!("{method} {path}"));
    all.filter(|route| !met.contains(route) && !but.contains(&&**route)).collect()
}

#[tokio::test]
async fn the_model_store_answers_as_the_document_says() {
    let stage = Stage::start().await;
    let (wrong, met) = walk(&stage, models()).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(
        unmet(&met, |path| path.starts_with("/models") || path.starts_with("/blobs"), &[]),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn the_hub_answers_as_the_document_says() {
    let stage = Stage::start().await;
    let mut all = repositories();
    all.extend(transfers());
    let (wrong, met) = walk(&stage, all).await;
    assert!(wrong.is_empty(), "{wrong:#?}");
    let is_hub = |path: &str| {
        let starts = [
            "/api/models",
            "/api/repos",
            "/api/whoami",
            "/api/validate",
            "/{ns}/",
            "/_lfs",
            "/xet",
        ];
        starts.iter().any(|start| path.starts_with(start))
    };
    // What is signed succeeds in tests of its own (`hub::wire`, `hub::chunks`), and so do the headers of
    // shards (`hub::care`); two never do.
    let but = [
        "GET /api/models/{ns}",
        "GET /api/models/{ns}/{name}/safetensors-metadata/{*path}",
        "POST /{ns}/{name}/info/lfs/objects/verify",
        "PUT /_lfs/{ns}/{oid}",
        "PUT /_lfs/{ns}/{oid}/{part}",
        "POST /_lfs/{ns}/{oid}/{part}",
        "GET /xet/{gen}/v1/chunks/{prefix}/{hash}",
        "POST /xet/{gen}/v1/xorb-grants/{prefix}/{hash}",
        "POST /xet/{gen}/v1/xorbs/{prefix}/{hash}",
        "POST /xet/{gen}/v1/shards",
        "POST /xet/{gen}/v2/shards",
        "POST /xet/{gen}/v1/telemetry",
    ];
    assert_eq!(unmet(&met, is_hub, &but), Vec::<String>::new());
}
