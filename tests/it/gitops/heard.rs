//! Webhooks in the audit log.

use std::sync::Arc;

use berth::{
    audit::{self, Log},
    auth::{New, Role, Tokens},
    server::{Access, Figures},
};
use serde_json::json;

use super::hooks::{PATH, SECRET, digest, github, repositories};
use crate::api::stage::{Stage, now};

struct Desk {
    stage: Stage,
    state: tempfile::TempDir,
}

impl Desk {
    /// One where people sign in, so that what can't be recorded is refused.
    async fn open() -> Self {
        let state = tempfile::tempdir().unwrap();
        let tokens = Tokens::new(state.path());
        let (name, scopes) = ("a".to_owned(), Vec::new());
        tokens.create(New { name, role: Role::Viewer, expires: None, scopes }, now()).unwrap();
        let access = Access {
            tokens: Some(Arc::new(tokens)),
            audit: Some(Arc::new(Log::new(state.path()))),
            state_dir: state.path().to_owned(),
            ..Access::default()
        };
        let places = repositories(&["hook", "older"]);
        let stage =
            Stage::of(|settings| settings.access = access, places, Figures::default()).await;
        Self { stage, state }
    }

    async fn send(&self, signature: Option<&str>, event: &str, body: &str) -> u16 {
        let signed = signature.map(|digest| format!("sha256={digest}"));
        let mut headers = vec![("content-type", "application/json"), ("x-github-event", event)];
        headers.extend(signed.as_ref().map(|digest| ("x-hub-signature-256", digest.as_str())));
        self.stage.ask("POST", PATH, &headers, body).await.status
    }

    fn records(&self) -> Vec<audit::Record> {
        let (mut records, _) = audit::page(self.state.path(), None, 1000, |_| true).unwrap();
        records.reverse();
        records
    }
}

#[tokio::test]
async fn each_is_recorded_with_its_secret_its_repository_and_how_it_went() {
    let desk = Desk::open().await;
    desk.stage.put("chat", |_| ());
    let body = github("refs/heads/main");
    assert_eq!(desk.send(Some(&digest(SECRET, &body)), "push", &body).await, 202);
    let elsewhere = body.replace("acme/chat", "acme/other");
    assert_eq!(desk.send(Some(&digest("an older one", &elsewhere)), "push", &elsewhere).await, 202);
    assert_eq!(desk.send(Some(&digest("wrong", &body)), "push", &body).await, 403);
    assert_eq!(desk.send(None, "push", &body).await, 403);
    let records = desk.records();
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            let deed = &record.deed;
            assert_eq!((deed.who.kind.as_str(), deed.from.as_deref()), ("hook", Some("127.0.0.1")));
            assert_eq!(deed.action, "POST /api/v1/hooks/git");
            (deed.who.name.as_str(), deed.object.as_str(), deed.outcome.as_str())
        })
        .collect();
    let expected = [
        ("hook", "repository/git.example.com/acme/chat", "queued"),
        ("older", "repository/git.example.com/acme/other", "unmatched"),
        ("unsigned", "repository", "refused"),
        ("unsigned", "repository", "unsigned"),
    ];
    assert_eq!(told, expected);
    let after = &records[0].deed.after;
    assert_eq!(after["ref"], "refs/heads/main");
    assert_eq!(after["looked at"]["apps"], json!(["chat"]));
    assert_eq!(after["looked at"]["sources"].as_array().unwrap().len(), 1);
    let text = format!("{records:?}");
    assert!(!text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn a_flood_of_them_does_not_push_others_out_of_the_log() {
    let desk = Desk::open().await;
    for _ in 0..50 {
        assert_eq!(desk.send(None, "push", "{}").await, 403);
    }
    // Ten a minute, and a minute may end in between.
    assert!((10..=20).contains(&desk.records().len()), "{}", desk.records().len());
    let body = github("refs/heads/main");
    assert_eq!(desk.send(Some(&digest(SECRET, &body)), "push", &body).await, 202);
    assert_eq!(desk.records().last().unwrap().deed.outcome, "queued", "its place is not theirs");
}

#[tokio::test]
async fn what_can_t_be_recorded_is_not_looked_at() {
    let desk = Desk::open().await;
    desk.stage.put("chat", |_| ());
    // A file where the log's folder should be.
    std::fs::write(desk.state.path().join(audit::FOLDER), "").unwrap();
    let body = github("refs/heads/main");
    assert_eq!(desk.send(Some(&digest(SECRET, &body)), "push", &body).await, 503);
    assert!(desk.stage.asked.lock().unwrap().is_empty(), "nobody would know why");
}
