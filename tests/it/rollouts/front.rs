//! Rollouts as the interface and the command line show them.

use std::sync::Arc;

use berth::{
    model::{App, RolloutOrder, SpecHash, Timestamp},
    record::Past,
    state::{Asked, Revision, RevisionOutcome},
    status::{Held, RolloutStatus},
};
use serde_json::{Value, json};

use crate::api::stage::Stage;

const SECRET: &str = "swordfish";

fn revision(number: u64, app: &App) -> Revision {
    let mut run = app.spec.run_spec();
    run.env.insert("TOKEN".to_owned(), SECRET.to_owned());
    Revision {
        number,
        generation: number,
        spec_digest: "d".repeat(64),
        spec_hash: SpecHash::from_label("v1:0123456789abcdef"),
        image: format!("berth/chat:{number}"),
        image_id: format!("sha256:{number}"),
        build: None,
        commit: Some("abcdef0123456789abcdef0123456789abcdef01".to_owned()),
        run: Some(run),
        by: if number == 3 { Asked::Undo } else { Asked::Manifest },
        again: (number == 3).then_some(1),
        order: Some(RolloutOrder::StopFirst),
        started: Timestamp::from_millis(1_800_000_000_000),
        replaces_running: Some(true),
        down_since: None,
        finished: Some(Timestamp::from_millis(1_800_000_002_000)),
        outcome: if number == 2 { RevisionOutcome::Restored } else { RevisionOutcome::Succeeded },
        reason: None,
        message: (number == 2).then(|| "it never answered".to_owned()),
        downtime_ms: (number != 1).then_some(812),
    }
}

/// An app that is held at revision 1 of three, of which the second one's image is gone.
async fn stage() -> Stage {
    let stage = Stage::start().await;
    stage.put("chat", |entry| {
        let app = Arc::clone(entry.app.as_ref().unwrap());
        let past = |number| Past {
            revision: revision(number, &app),
            is_image_here: number != 2,
            is_held: number == 1,
        };
        entry.past = Arc::new((1..=3).map(past).collect());
        let since = Timestamp::from_millis(1_800_000_000_000);
        let held = Held { revision: 1, since, message: "held at revision 1".to_owned() };
        entry.status.rollout = Some(RolloutStatus::of(&revision(3, &app), Some(held)));
    });
    stage
}

#[tokio::test]
async fn a_status_and_a_history_show_all_but_secrets() {
    let stage = stage().await;
    let app = stage.get("/api/v1/apps/chat").await.json();
    let held = json!({
        "revision": 1, "since": "2027-01-15T08:00:00.000Z", "message": "held at revision 1",
    });
    let expected = json!({
        "revision": 3,
        "result": "succeeded",
        "by": "undo",
        "order": "stop-first",
        "started": "2027-01-15T08:00:00.000Z",
        "finished": "2027-01-15T08:00:02.000Z",
        "downtimeMs": 812,
        "message": null,
        "held": held,
    });
    assert_eq!(app["status"]["rollout"], expected);
    let answer = stage.get("/api/v1/apps/chat/revisions").await;
    assert_eq!(answer.status, 200);
    assert!(!format!("{answer:?}").contains(SECRET));
    let list = answer.json();
    assert_eq!((&list["kind"], &list["held"]), (&json!("RevisionList"), &held));
    let column = |name: &str| -> Vec<Value> {
        list["items"].as_array().unwrap().iter().map(|item| item[name].clone()).collect()
    };
    assert_eq!(column("revision"), [1, 2, 3]);
    assert_eq!(column("imagePresent"), [true, false, true]);
    assert_eq!(column("held"), [true, false, false]);
    assert_eq!(column("downtimeMs"), [Value::Null, 812.into(), 812.into()]);
    assert_eq!(column("again"), [Value::Null, Value::Null, 1.into()]);
    let none = stage.get("/api/v1/apps/nobody/revisions").await;
    assert_eq!((none.status, &none.json()["code"]), (404, &json!("app.not-found")));
}

#[tokio::test]
async fn undo_takes_a_number_or_nothing_and_says_where_one_can_go() {
    let stage = stage().await;
    let undo = async |body: &str| {
        let answer = stage.ask("POST", "/api/v1/apps/chat/undo", &[], body).await;
        (answer.status, answer.json())
    };
    let (status, told) = undo("").await;
    let revision = stage.get("/api/v1/apps").await.json()["metadata"]["revision"].clone();
    assert_eq!((status, &told["metadata"]["revision"]), (202, &revision));
    assert_eq!(undo("{\"revision\": 2}").await.0, 202);
    let other = stage.ask("POST", "/api/v1/apps/chat/rollback", &[], "{\"revision\": 2}").await;
    assert_eq!(other.status, 202);
    let asked = stage.asked.lock().unwrap().clone();
    assert_eq!(asked[..2], ["Undo(\"chat\", None)", "Undo(\"chat\", Some(2))"]);
    assert_eq!(asked[2..], asked[1..2]);
    for wrong in ["[]", "{\"revision\": \"2\"}", "{\"to\": 2}", "2", "{"] {
        let (status, body) = undo(wrong).await;
        assert_eq!((status, &body["code"]), (400, &json!("request.invalid")), "{wrong}");
    }
    for (number, status, code, there) in [
        (9, 404, "rollout.no-such-revision", json!([1, 2])),
        (1, 409, "rollout.image-gone", json!([2])),
    ] {
        let (seen, body) = undo(&json!({ "revision": number }).to_string()).await;
        assert_eq!((seen, &body["code"], &body["revisions"]), (status, &json!(code), &there));
    }
}

#[tokio::test]
async fn the_command_line_shows_rollouts_and_goes_back() {
    let stage = stage().await;
    let status = stage.run(&["rollout", "status", "chat"]).await;
    assert_eq!(status.code, 0, "{status:?}");
    let first = status.out.lines().next().unwrap();
    assert_eq!(first, "revision 3: succeeded (by an undo, stop-first), down for 812 ms");
    let history = stage.run(&["rollout", "history", "chat"]).await;
    let lines: Vec<_> = history.out.lines().collect();
    assert_eq!(lines.len(), 4, "{history:?}");
    for (line, parts) in lines[1..].iter().zip([
        ["1 (held)", "succeeded", "manifest", "yes"],
        ["2", "restored", "it never answered", "no"],
        ["3", "succeeded", "undo to 1", "812 ms"],
    ]) {
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    }
    assert!(history.err.contains("held at revision 1"), "{history:?}");
    let undone = stage.run(&["rollout", "undo", "chat", "--to-revision", "3"]).await;
    assert_eq!((undone.code, undone.out.as_str()), (0, "app/chat: on its way\n"));
    let gone = stage.run(&["rollout", "undo", "chat", "--to-revision", "1"]).await;
    assert!(gone.code == 6 && gone.err.contains("is gone"), "{gone:?}");
    let unknown = stage.run(&["rollout", "undo", "chat", "--to-revision", "9"]).await;
    assert_eq!(unknown.code, 3, "{unknown:?}");
    // A rollout that is on its way, or failed, is no success.
    for outcome in [RevisionOutcome::Progressing, RevisionOutcome::Restored] {
        stage.put("chat", |entry| {
            let app = Arc::clone(entry.app.as_ref().unwrap());
            let last = Revision { outcome, ..revision(2, &app) };
            entry.status.rollout = Some(RolloutStatus::of(&last, None));
        });
        assert_eq!(stage.run(&["rollout", "status", "chat"]).await.code, 1, "{outcome:?}");
    }
}
