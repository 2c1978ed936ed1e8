//! Tokens that are for parts of the model store.

use super::{Gate, code};
use crate::api::stage::Answer;

const FORM: &str = "multipart/form-data; boundary=X";

fn form(parts: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (head, content) in parts {
        body += &format!("--X\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n");
    }
    body + "--X--\r\n"
}

impl Gate {
    async fn upload(&self, query: &str, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.scoped);
        let headers = [("authorization", bearer.as_str()), ("content-type", FORM)];
        self.ask("POST", &format!("/models/upload?{query}"), &headers, body).await
    }
}

#[tokio::test]
async fn a_scoped_token_reaches_its_own_projects_wherever_they_are_named() {
    let gate = Gate::start().await;
    let file = ("name=\"file\"; filename=\"f\"", "content");
    let names = "app_name=a&version=1&model_name=m";
    let field = |project| ("name=\"project_id\"", project);
    for (project, status) in [("vision", 201), ("text", 403), ("visio", 403), ("vision2", 403)] {
        let in_query = gate.upload(&format!("project_id={project}&{names}"), &form(&[file])).await;
        assert_eq!(in_query.status, status, "{project}: {in_query:?}");
        for parts in [[field(project), file], [file, field(project)]] {
            let in_field = gate.upload(names, &form(&parts)).await;
            assert_eq!(in_field.status, status, "{project}: {in_field:?}");
        }
        // The query wins: a field can't lead elsewhere.
        let (query, body) =
            (format!("project_id={project}&{names}"), form(&[field("vision"), file]));
        assert_eq!(gate.upload(&query, &body).await.status, status);
    }
    for (method, path, status) in [
        ("GET", "/models/vision", 200),
        ("GET", "/models/visi%6Fn/a", 200),
        ("GET", "/models/text", 403),
        ("GET", "/models/vision%2F..%2Ftext", 403),
        ("GET", "/models/text/a/1/m", 403),
        ("GET", "/models/vision/a/1/m", 200),
        ("DELETE", "/models/text/a/1/m", 403),
        ("POST", "/models/text/a/1/freeze", 403),
        ("POST", "/models/vision/a/1/freeze", 200),
        ("POST", "/models/vision/a/1/unfreeze", 200),
        ("GET", "/models/vision/", 307),
        ("GET", "/api/v1/models/trash", 403),
        ("GET", "/api/v1/apps", 403),
    ] {
        let answer = gate.by(&gate.scoped, method, path).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let others = gate.by(&gate.admin, "PUT", "/models/text/a/1/m").await;
    assert_eq!(others.status, 201, "{others:?}");
    let list = |token| gate.by(token, "GET", "/models/list");
    assert_eq!(list(&gate.scoped).await.json()["total_models"], 1);
    assert_eq!(list(&gate.viewer).await.json()["total_models"], 2);
    let denied = gate.by(&gate.viewer, "DELETE", "/models/text/a/1/m").await;
    assert_eq!((denied.status, code(&denied).as_str()), (403, "auth.role"));
    assert!(denied.body.starts_with("{\"detail\":\"this takes the role operator"), "{denied:?}");
}

#[tokio::test]
async fn changes_of_models_are_in_the_audit_log_with_their_digests() {
    let gate = Gate::start().await;
    assert_eq!(gate.by(&gate.operator, "PUT", "/models/text/a/1/m").await.status, 201);
    assert_eq!(gate.by(&gate.operator, "DELETE", "/models/text/a/1/m").await.status, 200);
    let page = gate.by(&gate.operator, "GET", "/api/v1/audit").await.json();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let (deleted, put) = (&page["items"][0], &page["items"][1]);
    assert_eq!((&put["object"], &put["outcome"]), (&"model/text/a/1/m".into(), &"done".into()));
    assert_eq!(put["after"]["sha256"], empty, "{put:#}");
    assert_eq!((&deleted["before"]["sha256"], &deleted["after"]), (&empty.into(), &().into()));
}

#[tokio::test]
async fn what_everybody_may_read_is_read_without_signing_in_and_nothing_else() {
    let open = |settings: &mut berth::server::Settings| {
        settings.access.open_models = vec!["store:vision/*:read".parse().unwrap()];
    };
    let gate = Gate::with(open).await;
    for project in ["vision", "text"] {
        let put = gate.by(&gate.operator, "PUT", &format!("/models/{project}/a/1/m")).await;
        assert_eq!(put.status, 201, "{put:?}");
    }
    for (method, path, status) in [
        ("GET", "/models/vision/a/1/m", 200),
        ("HEAD", "/models/vision/a/1/m", 200),
        ("GET", "/models/vision/a/1/m/info", 200),
        ("GET", "/vision/a/resolve/1/m", 200),
        ("GET", "/hf/api/models/vision/a", 200),
        ("GET", "/v2/", 200),
        ("GET", "/v2/vision/a/tags/list", 200),
        ("GET", "/models/text/a/1/m", 401),
        ("GET", "/api/models/text/a", 401),
        ("GET", "/v2/text/a/tags/list", 401),
        ("PUT", "/models/vision/a/1/m", 401),
        ("DELETE", "/models/vision/a/1/m", 401),
        ("POST", "/uploads", 401),
        ("GET", "/api/whoami-v2", 401),
        ("GET", "/api/v1/apps", 401),
        ("GET", "/api/v1/models/trash", 401),
        ("GET", "/metrics", 401),
        ("GET", "/", 401),
    ] {
        let answer = gate.ask(method, path, &[], "").await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let list = gate.ask("GET", "/models/list", &[], "").await.json();
    assert_eq!(
        (&list["total_models"], &list["models"][0]["project_id"]),
        (&1.into(), &"vision".into())
    );
    assert_eq!(gate.ask("GET", "/sign-in", &[], "").await.status, 200, "one may sign in still");
    // A token that is no good is not nobody.
    let wrong = [("authorization", "Bearer nothing")];
    assert_eq!(gate.ask("GET", "/models/vision/a/1/m", &wrong, "").await.status, 401);
    let closed = Gate::start().await;
    assert_eq!(closed.ask("GET", "/models/vision/a/1/m", &[], "").await.status, 401);
}

/// Parts of others are not put together to a model of one's own.
#[tokio::test]
async fn only_parts_of_a_project_that_one_may_write_are_put_together() {
    const TUS: (&str, &str) = ("tus-resumable", "1.0.0");
    let gate = Gate::start().await;
    let (operator, scoped) =
        (format!("Bearer {}", gate.operator), format!("Bearer {}", gate.scoped));
    let path = |project| format!("/uploads?project_id={project}&app_name=a&version=1&model_name=m");
    let begin = [
        TUS,
        ("authorization", operator.as_str()),
        ("content-type", "application/offset+octet-stream"),
        ("upload-length", "3"),
        ("upload-concat", "partial"),
    ];
    let begun = gate.ask("POST", &path("text"), &begin, "abc").await;
    assert_eq!(begun.status, 201, "{begun:?}");
    let all = gate.by(&gate.operator, "GET", "/uploads").await.json();
    let theirs = all["items"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(
        gate.by(&gate.scoped, "GET", "/uploads").await.json()["items"],
        serde_json::json!([])
    );
    let concat = format!("final;{theirs}");
    for project in ["vision", "text"] {
        let join = [TUS, ("authorization", scoped.as_str()), ("upload-concat", concat.as_str())];
        let refused = gate.ask("POST", &path(project), &join, "").await;
        assert_eq!((refused.status, code(&refused).as_str()), (403, "auth.scope"), "{refused:?}");
    }
    let join = [TUS, ("authorization", operator.as_str()), ("upload-concat", concat.as_str())];
    let refused = gate.ask("POST", &path("vision"), &join, "").await;
    assert_eq!((refused.status, code(&refused).as_str()), (409, "model.conflict"), "{refused:?}");
    assert!(refused.body.contains("is for the project `text`"), "{refused:?}");
    let joined = gate.ask("POST", &path("text"), &join, "").await;
    assert_eq!(joined.status, 201, "{joined:?}");
    let page = gate.by(&gate.operator, "GET", "/api/v1/audit").await.json();
    let entry =
        page["items"].as_array().unwrap().iter().find(|it| it["after"]["sha256"].is_string());
    assert_eq!(entry.unwrap()["object"], "model/text/a/1/m", "{page:#}");
}
