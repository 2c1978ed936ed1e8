//! The audit log, as the interface writes and shows it.

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::{Gate, PATIENCE, code};
use crate::api::stage::MANIFEST;

impl Gate {
    async fn audit(&self, query: &str) -> Value {
        let answer = self.by(&self.operator, "GET", &format!("/api/v1/audit{query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    async fn send(&self, token: &str, method: &str, path: &str, body: &str) -> u16 {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/yaml")];
        self.ask(method, path, &headers, body).await.status
    }
}

#[tokio::test]
async fn every_change_is_recorded_with_who_what_and_how_it_went() {
    let gate = Gate::start().await;
    let manifest = MANIFEST.replace("name: chat\n", "name: web\n");
    let path = "/api/v1/apps/web";
    assert_eq!(gate.send(&gate.operator, "POST", "/api/v1/apps", &manifest).await, 201);
    let other = manifest.replace("hunter2", "hunter3").replace("8010", "8011");
    assert_eq!(gate.send(&gate.admin, "PUT", path, &other).await, 200);
    assert_eq!(gate.send(&gate.admin, "DELETE", path, "").await, 200);
    assert_eq!(gate.send(&gate.operator, "POST", "/api/v1/apps/chat/stop", "").await, 202);
    assert_eq!(gate.send(&gate.admin, "POST", "/api/v1/apps/chat/stop", "").await, 202);
    assert_eq!(gate.send(&gate.viewer, "DELETE", path, "").await, 403);
    assert_eq!(gate.send(&gate.admin, "POST", "/api/v1/apps/nobody/stop", "").await, 404);
    assert_eq!(gate.by(&gate.viewer, "GET", "/api/v1/apps").await.status, 200);

    let page = gate.audit("").await;
    // The refusal is written beside its answer; it may come last.
    let items = page["items"].as_array().unwrap();
    let find = |action: &str, name: &str| {
        let is_it = |item: &&Value| item["action"] == action && item["who"]["name"] == name;
        items.iter().find(is_it).unwrap_or_else(|| panic!("{action} by {name} is not in {page:#}"))
    };
    let made = find("POST /api/v1/apps", "mover");
    assert_eq!((&made["object"], &made["outcome"]), (&"app/web".into(), &"done".into()));
    assert_eq!(made["who"]["kind"], "token");
    assert_eq!(made["who"]["role"], "operator");
    assert!(made["from"].as_str().unwrap().starts_with("127."));
    assert_eq!(made["after"]["env.API_KEY"], "(set)");
    let changed = find("PUT /api/v1/apps/{name}", "chief");
    assert_eq!(changed["before"]["ports.0.host_port"], 8010, "{changed:#}");
    assert_eq!(changed["after"]["ports.0.host_port"], 8011);
    assert_eq!(changed["after"]["env.API_KEY"], "(set otherwise)");
    assert_eq!(changed["after"]["build.args.CODE"], "(set otherwise)");
    assert!(find("DELETE /api/v1/apps/{name}", "chief")["after"].is_null());
    let stopped = find("POST /api/v1/apps/{name}/stop", "mover");
    assert_eq!(
        (&stopped["object"], &stopped["before"]["phase"]),
        (&"app/chat".into(), &"Running".into())
    );
    assert!(!page.to_string().contains("hunter"), "fault H10");
    let outcomes: Vec<_> = items.iter().map(|item| item["outcome"].as_str().unwrap()).collect();
    assert!(outcomes.contains(&"app.not-found"), "{outcomes:?}");
    let verdict = berth::audit::verify(gate.state.path()).unwrap();
    assert_eq!(verdict.flaws, []);
}

impl Gate {
    /// Waits until something is so.
    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_so(self) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "never: {what}");
    }

    fn records(&self) -> u64 {
        berth::audit::verify(self.state.path()).unwrap().records
    }

    fn has_open(&self, number: u32) -> bool {
        let line = format!("berth_http_connections{{kind=\"plain\"}} {number}");
        self.stage.metrics.render().lines().any(|shown| shown == line)
    }

    /// Asks for a change, and hangs up once the controller has heard of it. The controller answers
    /// when what this answers is dropped.
    async fn ask_and_go(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        let held = self.stage.held.write().await;
        let mut stream = super::connect([127, 6, 0, 1].into(), self.stage.address).await;
        let head = format!(
            "POST /api/v1/apps/chat/stop HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: 0\r\n\r\n",
            self.admin
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        self.until("it is asked", |gate| gate.asked().len() == 1).await;
        assert!(self.has_open(1));
        drop(stream);
        held
    }
}

#[tokio::test]
async fn a_change_whose_client_hangs_up_is_recorded_as_it_went() {
    let gate = Gate::start().await;
    let held = gate.ask_and_go().await;
    gate.until("its connection has ended", |gate| gate.has_open(0)).await;
    assert_eq!(gate.records(), 0);
    drop(held);
    gate.until("it is recorded", |gate| gate.records() == 1).await;
    let page = gate.audit("").await;
    assert_eq!(page["items"][0]["action"], "POST /api/v1/apps/{name}/stop");
    assert_eq!(
        (&page["items"][0]["outcome"], page["items"].as_array().unwrap().len()),
        (&"done".into(), 1)
    );
}

/// Who stops Berth meanwhile loses no record either, known outcome or not.
#[tokio::test]
async fn a_change_that_berth_is_stopped_during_is_recorded() {
    let mut gate = Gate::start().await;
    let held = gate.ask_and_go().await;
    gate.stage.stop.cancel();
    gate.until("it is given up", |gate| gate.records() == 1).await;
    drop(held);
    let served = &mut gate.stage.served;
    tokio::time::timeout(PATIENCE, served).await.expect("it does not end").unwrap();
    assert_eq!(gate.records(), 1);
    let (items, _) = berth::audit::page(gate.state.path(), None, 9, |_| true).unwrap();
    assert_eq!(items[0].deed.outcome, "server.stopping");
}

#[tokio::test]
async fn the_log_is_read_in_pages_by_those_who_may() {
    let gate = Gate::start().await;
    for _ in 0..5 {
        assert_eq!(gate.by(&gate.operator, "POST", "/api/v1/rescan").await.status, 202);
    }
    assert_eq!(gate.by(&gate.operator, "POST", "/api/v1/apps/chat/start").await.status, 202);
    assert_eq!(code(&gate.by(&gate.viewer, "GET", "/api/v1/audit").await), "auth.role");
    let seqs = |page: &Value| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()).collect()
    };
    let first = gate.audit("?limit=4").await;
    assert_eq!((seqs(&first), first["next"].as_u64()), (vec![6, 5, 4, 3], Some(3)));
    let second = gate.audit("?limit=4&before=3").await;
    assert_eq!((seqs(&second), second["next"].as_u64()), (vec![2, 1], None));
    assert_eq!(seqs(&gate.audit("?app=chat").await), [6]);
    for bad in ["?limit=x", "?app=No%20name", "?after=3"] {
        let path = format!("/api/v1/audit{bad}");
        assert_eq!(gate.by(&gate.admin, "GET", &path).await.status, 400, "{bad}");
    }
}

/// What can't be recorded is not done.
#[tokio::test]
async fn without_a_log_nothing_is_changed() {
    let gate = Gate::start().await;
    let folder = gate.state.path().join("audit");
    std::fs::write(&folder, "a file stands in the way").unwrap();
    let answer = gate.by(&gate.admin, "POST", "/api/v1/apps/chat/stop").await;
    assert_eq!((answer.status, code(&answer).as_str()), (503, "audit.unwritable"));
    assert_eq!(gate.asked(), Vec::<String>::new());
    assert_eq!(gate.by(&gate.viewer, "GET", "/api/v1/apps").await.status, 200);
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(gate.by(&gate.admin, "POST", "/api/v1/apps/chat/stop").await.status, 202);
}
