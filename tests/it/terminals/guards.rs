//! Who gets a terminal, and who does not.

use std::time::Duration;

use serde_json::json;

use super::{Bench, Hall, JSON, PATIENCE, shell};

#[tokio::test]
async fn a_viewer_gets_none() {
    let hall = Hall::usual(Bench::fake()).await;
    let (status, told) = hall.ask(&hall.viewer, &shell(true)).await;
    assert_eq!((status, &told["code"]), (403, &json!("auth.role")));
    let path = hall.path(&shell(true)).await;
    let refused = hall.open(&hall.viewer, &path).await.err();
    assert_eq!(refused, Some((403, "auth.role".to_owned())));
    let bare = hall.stage.ask("POST", "/api/v1/apps/chat/terminal", &[JSON], "{}").await;
    assert_eq!(bare.status, 401);
    let page = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("accept", "text/html")];
        hall.stage.ask("GET", "/ui/apps/chat/terminal", &headers, "").await.body
    };
    let (viewers, operators) = (page(&hall.viewer).await, page(&hall.operator).await);
    assert!(
        viewers.contains("A terminal takes the role operator, and you are viewer"),
        "{viewers}"
    );
    assert!(!viewers.contains("id=\"terminal\""));
    assert!(
        operators.contains("id=\"terminal\"") && operators.contains("<noscript>"),
        "{operators}"
    );
}

/// Fault H02: a browser lets any site open a websocket.
#[tokio::test]
async fn another_site_gets_neither_a_ticket_nor_a_socket() {
    let hall = Hall::usual(Bench::fake()).await;
    let bearer = format!("Bearer {}", hall.operator);
    let path = hall.path(&shell(false)).await;
    for foreign in
        [("origin", "http://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let headers = [("authorization", bearer.as_str()), JSON, foreign];
        let asked = hall.stage.ask("POST", "/api/v1/apps/chat/terminal", &headers, "{}").await;
        assert_eq!((asked.status, &asked.json()["code"]), (403, &json!("request.origin")));
        let opened = hall.upgrade(&path, &[foreign]).await;
        assert_eq!(opened.json()["code"], "request.origin", "{foreign:?}: {opened:?}");
    }
    // The ticket was not used up by that.
    assert!(hall.open(&hall.operator, &path).await.is_ok());
}

#[tokio::test]
async fn a_ticket_opens_one_terminal_for_its_owner_alone() {
    let hall = Hall::usual(Bench::fake()).await;
    let path = hall.path(&shell(false)).await;
    let none = Some((404, "terminal.no-ticket".to_owned()));
    assert_eq!(hall.open(&hall.other, &path).await.err(), none, "of somebody else");
    let mut line = hall.open(&hall.operator, &path).await.unwrap();
    assert_eq!(hall.open(&hall.operator, &path).await.err(), none, "twice");
    line.send("exit 0\n").await;
    assert_eq!(line.code().await, "0");
    assert_eq!(hall.open(&hall.operator, &path).await.err(), none, "afterwards");
    let made_up = "/api/v1/terminals/0123456789abcdef0123456789abcdef";
    assert_eq!(hall.open(&hall.operator, made_up).await.err(), none);
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so_and_uses_up_nothing() {
    let hall = Hall::usual(Bench::fake()).await;
    let path = hall.path(&shell(false)).await;
    let bearer = format!("Bearer {}", hall.operator);
    let plain = hall.stage.ask("GET", &path, &[("authorization", &bearer)], "").await;
    assert_eq!((plain.status, &plain.json()["code"]), (426, &json!("terminal.upgrade")));
    // The tests' requests say that the connection ends with the answer.
    let closed = hall.upgrade(&path, &[]).await;
    assert_eq!(closed.status, 426, "{closed:?}");
    assert!(hall.open(&hall.operator, &path).await.is_ok());
}

/// Only the running container of an app of this Berth is got into, whatever its neighbours are called.
#[tokio::test]
async fn a_container_of_others_is_not_got_into() {
    let bench = Bench::fake();
    let mut spec = bench.spec("guest");
    spec.instance.push_str("-other");
    bench.run(&spec).await.unwrap();
    let hall = Hall::usual(bench).await;
    hall.stage.put("guest", |_| ());
    let bearer = format!("Bearer {}", hall.operator);
    let headers = [("authorization", bearer.as_str()), JSON];
    for (app, status, code) in [
        ("guest", 409, "app.not-running"),
        ("nobody", 404, "app.not-found"),
        ("..", 404, "app.not-found"),
    ] {
        let path = format!("/api/v1/apps/{app}/terminal");
        let answer = hall.stage.ask("POST", &path, &headers, "{}").await;
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{app}");
    }
    hall.bench.stop(&hall.container).await.unwrap();
    let (status, told) = hall.ask(&hall.operator, &shell(true)).await;
    assert_eq!((status, &told["code"]), (409, &json!("app.not-running")), "it is stopped");
}

#[tokio::test]
async fn there_are_so_many_and_no_more() {
    let hall = Hall::new(Bench::fake(), |settings| settings.terminals_max = 1).await;
    let early = hall.path(&shell(false)).await;
    let mut line = hall.line(&shell(false)).await;
    let full = (503, "terminal.full".to_owned());
    assert_eq!(hall.open(&hall.operator, &early).await.err(), Some(full));
    let (status, told) = hall.ask(&hall.operator, &shell(false)).await;
    assert_eq!((status, &told["code"]), (503, &json!("terminal.full")));
    line.send("exit 0\n").await;
    assert_eq!(line.code().await, "0");
    let again = async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while hall.open(&hall.operator, &early).await.is_err() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("its place is not free again");
    let hall = Hall::new(Bench::fake(), |settings| settings.terminals_max = 0).await;
    let (status, told) = hall.ask(&hall.operator, &shell(false)).await;
    assert_eq!((status, &told["code"]), (403, &json!("terminal.off")));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_runs() {
    let hall = Hall::usual(Bench::fake()).await;
    for (order, words) in [
        (json!({"command": [""]}), "its name is empty"),
        (json!({"command": ["a\0b"]}), "zero byte"),
        (json!({"command": "ls"}), "command"),
        (json!({"cols": 80}), "together"),
        (json!({"cols": 0, "rows": 24}), "columns"),
        (json!({"cols": 80, "rows": 24, "tty": false}), "tty"),
        (json!({"privileged": true}), "privileged"),
        (json!({"user": "root"}), "user"),
        (json!({"command": vec!["x"; 513]}), "512 words"),
    ] {
        let (status, told) = hall.ask(&hall.operator, &order).await;
        assert_eq!((status, &told["code"]), (400, &json!("request.invalid")), "{order}");
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{order}: {detail}");
    }
    let bearer = format!("Bearer {}", hall.operator);
    let headers = [("authorization", bearer.as_str()), ("content-type", "text/plain")];
    let text = hall.stage.ask("POST", "/api/v1/apps/chat/terminal", &headers, "{}").await;
    assert_eq!(text.status, 415);
}
