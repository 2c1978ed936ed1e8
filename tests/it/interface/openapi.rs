//! The `OpenAPI` document: every route is in it, and live answers are as it says.

use std::{collections::BTreeSet, path::Path};

use berth::{
    model::Digest,
    server::{self, openapi},
};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::api::stage::{Answer, MANIFEST, Stage};

#[test]
fn every_route_is_described_and_nothing_else() {
    assert_eq!(openapi::undescribed(), Vec::<String>::new());
    let document = openapi::document();
    let mut ids = BTreeSet::new();
    for (method, path, _) in server::routes().filter(|(_, path, _)| !path.starts_with("/ui/")) {
        let op = &document["paths"][path.replace("{*", "{")][method.to_ascii_lowercase()];
        let route = format!("{method} {path}");
        for word in ["operationId", "summary", "description", "x-berth-role"] {
            assert!(
                op[word].as_str().is_some_and(|text| !text.trim().is_empty()),
                "{route}: {word}"
            );
        }
        assert!(ids.insert(op["operationId"].as_str().unwrap()), "{route}: its id is another's");
        let answers = op["responses"].as_object().unwrap();
        let is_good = |status: &String| status.starts_with(['2', '3']) || status == "101";
        assert!(answers.keys().any(is_good), "{route}");
        let named = op["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "path");
        assert_eq!(named.count(), path.matches('{').count(), "{route}");
    }
}

/// The document as a file, so that a change of the interface is seen. `BLESS=1` writes it.
#[test]
fn the_document_is_the_one_that_was_looked_at() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let text = serde_json::to_string_pretty(&openapi::document()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == text, "the interface is another than docs/openapi.json: look, then BLESS=1");
}

#[test]
fn every_schema_is_one_and_every_reference_leads_somewhere() {
    let document = openapi::document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert!(40 <= schemas.len());
    for name in schemas.keys() {
        let _ = validator(&document, &json!({ "$ref": format!("#/components/schemas/{name}") }));
    }
    let text = document.to_string();
    for part in text.split("\"$ref\":\"").skip(1) {
        let target = part.split('"').next().unwrap();
        assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
    }
}

fn validator(document: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{error}: {schema}"))
}

/// What of an answer is not as the document says.
pub(crate) fn mistakes(
    document: &Value,
    (method, path): (&str, &str),
    answer: &Answer,
) -> impl Iterator<Item = String> + use<> {
    let op = &document["paths"][path][method.to_ascii_lowercase()];
    let place = format!("{method} {path}: {answer:?}");
    let known = &op["responses"][answer.status.to_string()];
    let kind = answer.head.lines().find_map(|line| line.strip_prefix("content-type: "));
    let kind = kind.map(|kind| kind.split(';').next().unwrap());
    let schema = kind.map(|kind| &known["content"][kind]["schema"]);
    let mut found = Vec::new();
    match (kind, schema) {
        _ if !known.is_object() => found.push("a status that is not in the document".to_owned()),
        (Some(_), Some(schema)) if !schema.is_object() && *schema != true => {
            found.push("a kind that is not in the document".to_owned());
        }
        (Some(kind), Some(schema)) if kind.ends_with("json") && schema.is_object() => {
            let body = answer.json();
            let errors = validator(document, schema);
            let errors = errors.iter_errors(&body);
            found.extend(errors.map(|e| format!("{}: {e}", e.instance_path())));
        }
        (Some(_), _) => {}
        // The first part of an upload may be the last: then the answer is a document.
        (None, _) if known.get("content").is_none() || path == "/uploads" => {
            found.extend((!answer.body.is_empty()).then(|| "a body without a kind".to_owned()));
        }
        (None, _) => found.push("no kind, and one is in the document".to_owned()),
    }
    found.into_iter().map(move |why| format!("{why}: {place}"))
}

/// Holds an answer against the document.
fn check(document: &Value, place: (&str, &str), answer: &Answer) {
    assert_eq!(mistakes(document, place, answer).collect::<Vec<_>>(), Vec::<String>::new());
}

/// A request: method, path in the table, query or name in its place, content type, body.
const MODEL_INSPECTION: &str = "/api/v1/models/inspections/{project}/{app}/{version}/{model}";

const REGISTRY: [&str; 6] = [
    "/v2",
    "/v2/_catalog",
    "/v2/{project}/{app}/tags/list",
    "/v2/{project}/{app}/manifests/{reference}",
    "/v2/{project}/{app}/blobs/{digest}",
    "/v2/{project}/{app}/referrers/{digest}",
];

type Asked = (&'static str, &'static str, &'static str, &'static str, String);

/// Requests that meet every route at least once with success, and many that fail.
fn requests() -> Vec<Asked> {
    const ONE: &str = "/api/v1/apps/{name}";
    let other = MANIFEST.replace("name: chat\n", "name: web\n");
    let mut all: Vec<Asked> = Vec::new();
    let mut ask = |method, path, more, kind, body: &str| {
        all.push((method, path, more, kind, body.to_owned()));
    };
    for path in [
        "/",
        "/sign-in",
        "/health",
        "/livez",
        "/readyz",
        "/metrics",
        "/sd/prometheus",
        "/api/v1/apps",
        ONE,
        "/api/v1/apps/{name}/logs",
        "/api/v1/apps/{name}/usage",
        "/api/v1/apps/{name}/scan",
        "/api/v1/apps/{name}/sbom",
        "/api/v1/scans",
        "/api/v1/apps/{name}/plan",
        "/api/v1/apps/{name}/revisions",
        "/api/v1/gpus",
        "/api/v1/gpus/leases",
        "/api/v1/capacity",
        "/api/v1/images",
        "/api/v1/notifications",
        "/api/v1/models/trash",
        "/api/v1/models/health",
        MODEL_INSPECTION,
        "/uploads",
        "/api/v1/models/pulls",
        "/api/v1/ports",
        "/api/v1/host",
        "/api/v1/plan",
        "/api/v1/events/recent",
        "/api/v1/audit",
        "/api/v1/schema",
        "/openapi.json",
    ] {
        ask("GET", path, "", "", "");
    }
    ask("GET", "/api/v1/apps", "?limit=1", "", "");
    ask("GET", "/api/v1/apps", "?limit=0", "", "");
    ask("GET", "/api/v1/host", "?group=state", "", "");
    ask("GET", "/api/v1/host", "?group=all", "", "");
    ask("PUT", ONE, "?expectPlan=00000000", "application/yaml", MANIFEST);
    ask("GET", "/api/v1/apps/{name}/logs", "?source=build", "", "");
    ask("GET", "/api/v1/apps/{name}/logs", "?tail=x", "", "");
    ask("POST", "/api/v1/apps", "?dryRun=true", "application/yaml", &other);
    ask("POST", "/api/v1/apps", "", "application/yaml", &other);
    ask("POST", "/api/v1/apps", "", "application/yaml", &other);
    ask("POST", "/api/v1/apps", "", "application/yaml", "kind: App\n");
    ask("POST", "/api/v1/apps", "", "application/json", r#"{"name": "x"}"#);
    ask("POST", "/api/v1/apps", "", "text/csv", "x");
    ask("PUT", ONE, "", "application/yaml", MANIFEST);
    ask("PUT", ONE, "", "application/yaml", &MANIFEST.replace("8010", "8012"));
    ask("PUT", ONE, "?dryRun=true", "application/yaml", MANIFEST);
    ask("PATCH", ONE, "", "application/merge-patch+json", r#"{"spec": {"suspend": true}}"#);
    ask("PATCH", ONE, "?dryRun=true", "application/merge-patch+json", "{}");
    ask("PATCH", ONE, "", "application/merge-patch+json", "[");
    ask("DELETE", ONE, "?dryRun=true", "", "");
    ask("DELETE", ONE, "", "", "");
    ask("DELETE", ONE, "", "", "");
    all.extend(REGISTRY.map(|path| ("GET", path, "", "", String::new())));
    all.extend(actions());
    all
}

/// Requests for something to be done.
fn actions() -> Vec<Asked> {
    const JSON: &str = "application/json";
    const FORM: &str = "application/x-www-form-urlencoded";
    let mut all: Vec<Asked> = Vec::new();
    let mut ask = |path, more, kind, body: &str| {
        all.push(("POST", path, more, kind, body.to_owned()));
    };
    for path in [
        "/api/v1/apps/{name}/start",
        "/api/v1/apps/{name}/stop",
        "/api/v1/apps/{name}/restart",
        "/api/v1/apps/{name}/install",
        "/api/v1/apps/{name}/rebuild",
        "/api/v1/apps/{name}/reconcile",
        "/api/v1/apps/{name}/undo",
        "/api/v1/apps/{name}/rollback",
    ] {
        ask(path, "", "", "");
        ask(path, "?dryRun=true", "", "");
        ask(path, "?dryRun=x", "", "");
    }
    ask("/api/v1/apps/{name}/terminal", "", "", "");
    ask("/api/v1/apps/{name}/terminal", "", JSON, r#"{"cols": 80}"#);
    all.push(("GET", "/api/v1/terminals/{id}", "", "", String::new()));
    let mut ask = |path, more, kind, body: &str| {
        all.push(("POST", path, more, kind, body.to_owned()));
    };
    ask("/api/v1/apps/{name}/undo", "", JSON, r#"{"revision": 9}"#);
    ask("/api/v1/apps/{name}/undo", "", JSON, r#"{"revision": 1}"#);
    ask("/api/v1/apps/{name}/rollback", "", JSON, r#"{"revision": 9}"#);
    ask("/api/v1/gpus/leases", "", JSON, r#"{"holder": "t", "ttl": "5m"}"#);
    ask("/api/v1/gpus/leases", "", JSON, r#"{"holder": "late", "ttl": "5m"}"#);
    ask("/api/v1/gpus/leases", "", JSON, "{}");
    ask("/api/v1/gpus/leases/{id}/renew", "", JSON, r#"{"fence": 7, "ttl": "5m"}"#);
    ask("/api/v1/models/verify/{project}/{app}/{version}/{model}", "", "", "");
    ask("/api/v1/models/verify/{project}/{app}/{version}/{model}", "?dryRun=true", "", "");
    ask("/uploads", "?project_id=p", "", "");
    let pull = r#"{"from": "https://192.0.2.1/m", "as": "p/a@1/m"}"#;
    ask("/api/v1/models/pull", "", JSON, pull);
    ask("/api/v1/models/pull", "?dryRun=true", JSON, pull);
    ask("/api/v1/models/pull", "", JSON, "{}");
    ask("/api/v1/models/gc", "", "", "");
    ask("/api/v1/models/gc", "?dryRun=true", "", "");
    ask("/api/v1/gc", "", "", "");
    ask("/api/v1/gc", "?dryRun=true&grace=1h&withData=true", "", "");
    ask("/api/v1/gc", "?grace=soon", "", "");
    ask("/api/v1/notifications/test", "", "", "");
    ask("/api/v1/notifications/test", "?dryRun=true&target=ops", "", "");
    ask("/api/v1/notifications/test", "?target=nobody", "", "");
    ask("/api/v1/images/gc", "", "", "");
    ask("/api/v1/images/gc", "?dryRun=true", "", "");
    ask("/api/v1/confirm", "", "", "");
    ask("/api/v1/rescan", "", "", "");
    ask("/api/v1/rescan", "?dryRun=true", "", "");
    ask("/api/v1/hooks/git", "", JSON, "{}");
    ask("/sign-in", "", FORM, "token=x&form=y");
    ask("/sign-out", "", FORM, "form=y");
    for more in ["?fence=7", "?fence=6", "?fence=7&dryRun=true"] {
        all.push(("DELETE", "/api/v1/gpus/leases/{id}", more, "", String::new()));
    }
    all
}

#[tokio::test]
async fn live_answers_are_as_the_document_says() {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |_| ());
    stage.put("bare", |entry| entry.app = None);
    stage.tell("chat", "it answers");
    std::fs::write(stage.manifests().join("chat.yaml"), MANIFEST).unwrap();
    std::fs::write(stage.manifests().join("bad.yaml"), "kind: [").unwrap();
    let document = stage.get("/openapi.json").await.json();
    assert_eq!(document, openapi::document());
    assert_eq!(stage.ask("PUT", "/models/p/a/1/m", &[], "content").await.status, 201);
    let mut met = BTreeSet::new();
    for (method, path, more, kind, body) in requests() {
        let at = path.replace("{name}", "chat").replace("{id}", "gpu-1") + more;
        let at = at.replace("{project}/{app}/{version}/{model}", "p/a/1/m");
        let digest = format!("sha256:{}", Digest::of_bytes(b"content"));
        let at = at.replace("{project}/{app}", "p/a").replace("{reference}", "1");
        let at = at.replace("{digest}", &digest);
        let headers: &[(&str, &str)] =
            if kind.is_empty() { &[] } else { &[("content-type", kind)] };
        let answer = stage.ask(method, &at, headers, &body).await;
        check(&document, (method, path), &answer);
        if answer.status < 400 {
            met.insert(format!("{method} {path}"));
        }
    }
    // These succeed in tests of their own: a stream, a signed webhook, a held removal, a form, a
    // model that comes back, a container to get into.
    let elsewhere = [
        "GET /api/v1/events",
        "POST /api/v1/hooks/git",
        "POST /api/v1/confirm",
        "POST /sign-in",
        "POST /api/v1/models/trash/{id}/restore",
        "POST /uploads",
        "GET /uploads/{id}",
        "PATCH /uploads/{id}",
        "DELETE /uploads/{id}",
        "POST /api/v1/apps/{name}/terminal",
        "GET /api/v1/terminals/{id}",
    ];
    let native = |path: &str| {
        let families = [
            "/containers",
            "/models",
            "/blobs",
            "/ports",
            "/system",
            "/ui",
            "/{ns}",
            "/_lfs",
            "/xet",
            "/api/models",
            "/api/repos",
            "/api/whoami",
            "/api/validate",
        ];
        !families.iter().any(|family| path.starts_with(family))
    };
    for (method, path, _) in server::routes().filter(|(_, path, _)| native(path)) {
        let route = format!("{method} {path}");
        let is_met = met.contains(&route) || elsewhere.contains(&route.as_str());
        assert!(is_met, "{route} never succeeded here");
    }
    for path in ["/api/v1/plan", "/api/v1/apps/{name}/plan"] {
        let at = path.replace("{name}", "chat");
        let answer = stage.ask("GET", &at, &[("accept", "text/plain")], "").await;
        check(&document, ("GET", path), &answer);
    }
}

/// Parts that are put together.
async fn joined_as_the_document_says(stage: &Stage, document: &Value) {
    const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
    let path = "/uploads?project_id=p&app_name=a&version=1&model_name=joined";
    let part = [
        TUS,
        ("content-type", "application/offset+octet-stream"),
        ("upload-length", "3"),
        ("upload-concat", "partial"),
    ];
    let begun = stage.ask("POST", path, &part, "abc").await;
    assert_eq!(begun.status, 201, "{begun:?}");
    check(document, ("POST", "/uploads"), &begun);
    let all = stage.get("/uploads").await.json();
    let mut items = all["items"].as_array().unwrap().iter();
    let url = items.find(|item| item["concat"] == "partial").unwrap()["url"].as_str().unwrap();
    let whole = format!("final;{url}");
    for (concat, status) in [("final;/uploads/none", 404), (&whole, 201), (&whole, 404)] {
        let answer = stage.ask("POST", path, &[TUS, ("upload-concat", concat)], "").await;
        assert_eq!(answer.status, status, "{answer:?}");
        check(document, ("POST", "/uploads"), &answer);
    }
}

/// Uploads in parts, whose protocols have answers of their own.
#[tokio::test]
async fn uploads_answer_as_the_document_says() {
    const ALL: &str = "/uploads";
    const ONE: &str = "/uploads/{id}";
    const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
    const OLD: (&str, &str) = ("tus-resumable", "0.2.2");
    const PART: (&str, &str) = ("content-type", "application/offset+octet-stream");
    let stage = Stage::start().await;
    let document = openapi::document();
    let query = |model| format!("?project_id=p&app_name=a&version=1&model_name={model}");
    let begin: [(&[_], &str, u16); 5] = [
        (&[TUS, ("upload-length", "6")], "", 201),
        (&[("upload-complete", "?1")], "abc", 201),
        (
            &[
                TUS,
                PART,
                ("upload-length", "3"),
                ("upload-checksum", "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            ],
            "abc",
            460,
        ),
        (&[OLD, ("upload-length", "6")], "", 412),
        (&[TUS], "", 400),
    ];
    for (at, (headers, body, status)) in begin.iter().enumerate() {
        let path = format!("{ALL}{}", query(at.to_string()));
        let answer = stage.ask("POST", &path, headers, body).await;
        assert_eq!(answer.status, *status, "{headers:?}: {answer:?}");
        check(&document, ("POST", ALL), &answer);
    }
    let all = stage.get(ALL).await;
    check(&document, ("GET", ALL), &all);
    joined_as_the_document_says(&stage, &document).await;
    let place = all.json()["items"][0]["url"].as_str().unwrap().to_owned();
    let at = |offset| ("upload-offset", offset);
    let asked: [(&str, &[_], &str, u16); 13] = [
        ("GET", &[TUS], "", 200),
        ("GET", &[OLD], "", 412),
        ("HEAD", &[TUS], "", 200),
        ("HEAD", &[OLD], "", 412),
        ("PATCH", &[TUS, PART, at("0")], "abc", 204),
        ("PATCH", &[TUS, PART, at("9")], "abc", 409),
        (
            "PATCH",
            &[TUS, PART, at("3"), ("upload-checksum", "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA=")],
            "abc",
            460,
        ),
        ("PATCH", &[TUS, PART, at("3")], "too much", 413),
        ("PATCH", &[TUS, at("3")], "abc", 415),
        ("PATCH", &[OLD, PART, at("3")], "abc", 412),
        ("DELETE", &[OLD], "", 412),
        ("DELETE", &[TUS], "", 204),
        ("GET", &[], "", 404),
    ];
    for (method, headers, body, status) in asked {
        let answer = stage.ask(method, &place, headers, body).await;
        assert_eq!(answer.status, status, "{method} {headers:?}: {answer:?}");
        if method == "HEAD" {
            let known = &document["paths"][ONE]["get"]["responses"][status.to_string()];
            assert!(known.is_object(), "{answer:?}");
        } else {
            check(&document, (method, ONE), &answer);
        }
    }
}
