//! Answers of these routes are as the `OpenAPI` document says.

use std::collections::BTreeSet;

use berth::server::{self, openapi};

use super::Stage;
use crate::interface::openapi::mistakes;

const ONE: &str = "/containers/{id}";

#[tokio::test]
async fn containers_answer_as_the_document_says() {
    let stage = Stage::with(|fake| drop(fake.add_foreign("other", Vec::new())), |_| ()).await;
    let document = openapi::document();
    let (mut wrong, mut met) = (Vec::new(), BTreeSet::new());
    for (method, route, path, body) in [
        ("POST", "/containers/create", "/containers/create?dryRun=true", r#"{"name": "web"}"#),
        ("POST", "/containers/create", "/containers/create", r#"{"name": "web"}"#),
        ("POST", "/containers/create", "/containers/create", r#"{"name": "web"}"#),
        ("POST", "/containers/create", "/containers/create", r#"{"image": "none:1"}"#),
        ("POST", "/containers/create", "/containers/create", "["),
        ("GET", "/containers", "/containers/", ""),
        ("GET", "/containers/running", "/containers/running", ""),
        ("GET", ONE, "/containers/web", ""),
        ("GET", ONE, "/containers/none", ""),
        ("GET", "/containers/{id}/stats", "/containers/web/stats", ""),
        ("GET", "/containers/{id}/stats", "/containers/none/stats", ""),
        ("GET", "/system/stats", "/system/stats", ""),
        ("GET", "/ports", "/ports", ""),
        ("POST", "/containers/{id}/stop", "/containers/web/stop?dryRun=true", ""),
        ("POST", "/containers/{id}/stop", "/containers/web/stop", ""),
        ("POST", "/containers/{id}/start", "/containers/web/start?dryRun=true", ""),
        ("POST", "/containers/{id}/start", "/containers/web/start", ""),
        ("POST", "/containers/{id}/stop", "/containers/other/stop", ""),
        ("POST", "/containers/{id}/stop", "/containers/none/stop", ""),
        ("DELETE", ONE, "/containers/web?dryRun=true", ""),
        ("DELETE", ONE, "/containers/web", ""),
        ("DELETE", ONE, "/containers/web", ""),
    ] {
        let answer = stage.ask(method, path, body).await;
        let told = mistakes(&document, (method, route), &answer);
        wrong.extend(told.map(|why| format!("{path}: {why}")));
        if answer.status < 400 {
            met.insert(format!("{method} {route}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let starts = ["/containers", "/system", "/ports"];
    let all = server::routes().filter(|(_, path, _)| starts.iter().any(|it| path.starts_with(it)));
    let all: BTreeSet<_> = all.map(|(method, path, _)| format!("{method} {path}")).collect();
    assert_eq!(met, all);
    stage.end().await;
}
