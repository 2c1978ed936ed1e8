//! Every route, asked in every way in which it must refuse (fault H05).

use std::time::Duration;

use berth::{
    auth::{Mode, Needs, Role},
    server,
};
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Gate, PATIENCE, code};
use crate::api::stage::Answer;

type Route = (String, String, Needs);

/// Every route in every spelling, with an app's name in its path, and a word in the place of a
/// model's.
fn routes() -> Vec<Route> {
    let named = |(method, path, needs): (String, String, Needs)| {
        let path = path.replace("{name}", "chat").replace("/containers/{id}", "/containers/chat");
        (method, path.replace("{model}", "freeze"), needs)
    };
    server::spelled_routes().map(named).collect()
}

fn role(needs: Needs) -> Option<Role> {
    match needs {
        Needs::Role(role) => Some(role),
        Needs::Metrics | Needs::Store(Mode::Read) | Needs::StorePart(Mode::Read) => {
            Some(Role::Viewer)
        }
        Needs::Store(Mode::Write) | Needs::StorePart(Mode::Write) => Some(Role::Operator),
        Needs::Public | Needs::Signature => None,
    }
}

/// Families that other systems' clients know say a text and no code.
fn is_family(answer: &Answer) -> bool {
    answer.body.starts_with("{\"detail\":\"") || answer.body.starts_with("{\"errors\":[")
}

fn is_refused(answer: &Answer, status: u16, wanted: &str) -> bool {
    answer.status == status && (code(answer) == wanted || is_family(answer))
}

impl Gate {
    fn token_of(&self, role: Role) -> &str {
        match role {
            Role::Viewer => &self.viewer,
            Role::Operator => &self.operator,
            Role::Admin => &self.admin,
        }
    }
}

#[tokio::test]
async fn no_token_a_wrong_one_an_expired_one_and_one_for_something_else_open_nothing() {
    let gate = Gate::start().await;
    let wrong = format!("hf_{}", "x".repeat(40));
    for (method, path, needs) in routes() {
        let place = format!("{method} {path}");
        let bare = gate.ask(&method, &path, &[], "").await;
        let tried = [
            (gate.by(&wrong, &method, &path).await, 401, "auth.wrong-token"),
            (gate.by(&gate.expired, &method, &path).await, 401, "auth.expired"),
            (gate.by(&gate.scoped, &method, &path).await, 403, "auth.scope"),
        ];
        if role(needs).is_none() {
            for answer in tried.iter().map(|(answer, ..)| answer).chain([&bare]) {
                assert!(!code(answer).starts_with("auth."), "{place}: {answer:?}");
                // No token is a signature.
                let is_kept_out = [401, 403].contains(&answer.status);
                assert_eq!(is_kept_out, needs == Needs::Signature, "{place}: {answer:?}");
            }
            continue;
        }
        assert!(is_refused(&bare, 401, "auth.required"), "{place}: {bare:?}");
        let scheme = if path.starts_with("/v2") { "basic" } else { "bearer" };
        let challenge = format!("www-authenticate: {scheme} realm=\"berth\"");
        assert!(bare.has(&challenge), "{place}: {bare:?}");
        for (answer, status, wanted) in tried {
            if wanted == "auth.scope" && matches!(needs, Needs::StorePart(_)) {
                assert!(![401, 403].contains(&answer.status), "{place}: {answer:?}");
                continue;
            }
            assert!(is_refused(&answer, status, wanted), "{place}: {wanted}: {answer:?}");
        }
        for scheme in ["Basic Y2hpZWY6eA==", "Bearer", "bearer\t"] {
            let answer = gate.ask(&method, &path, &[("authorization", scheme)], "").await;
            assert_eq!(answer.status, 401, "{place}: {scheme}: {answer:?}");
        }
    }
    assert_eq!(gate.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_role_opens_what_it_is_for_and_nothing_above() {
    let gate = Gate::start().await;
    for (method, path, needs) in routes() {
        let Some(needed) = role(needs) else { continue };
        for own in [Role::Viewer, Role::Operator, Role::Admin] {
            let answer = gate.by(gate.token_of(own), &method, &path).await;
            let place = format!("{method} {path} by {own}: {answer:?}");
            if own < needed {
                assert!(is_refused(&answer, 403, "auth.role"), "{place}");
            } else {
                assert!(!code(&answer).starts_with("auth."), "{place}");
                // The names of models and apps in the paths of the store are those of nothing.
                let of_models = ["/uploads/", "/api/v1/models/", "/ui/models/", "/v2/"];
                let is_store = matches!(needs, Needs::Store(_))
                    || of_models.iter().any(|begin| path.starts_with(begin));
                let is_none = answer.status == 404 && (is_store || method == "DELETE");
                assert!(![401, 403, 404, 405].contains(&answer.status) || is_none, "{place}");
            }
        }
    }
    assert!(gate.asked().iter().any(|asked| asked.starts_with("Stop")), "{:?}", gate.asked());
}

#[tokio::test]
async fn other_hosts_other_sites_and_tokens_in_addresses_are_refused_whoever_asks() {
    let gate = Gate::start().await;
    let bearer = format!("Bearer {}", gate.admin);
    for (method, path, needs) in routes() {
        let ask = async |name: &'static str, value: &'static str| {
            let headers = [("authorization", bearer.as_str()), (name, value)];
            gate.ask(&method, &path, &headers, "").await
        };
        let place = format!("{method} {path}");
        if needs != Needs::Signature {
            let answer = ask("host", "rebound.example:8000").await;
            assert!(is_refused(&answer, 403, "request.host"), "{place}: {answer:?}");
        }
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let answer = ask(name, value).await;
            let is_origin = code(&answer) == "request.origin"
                || answer.body == r#"{"detail":"another site may not change anything here"}"#;
            assert_eq!(is_origin, method != "GET", "{place}: {name}: {value}: {answer:?}");
        }
        for query in ["token=x", "access_token=x", &format!("a={}", gate.admin)] {
            let path = format!("{path}?{query}");
            let answer = gate.ask(&method, &path, &[("authorization", &bearer)], "").await;
            assert!(is_refused(&answer, 400, "auth.token-in-url"), "{place}: {answer:?}");
            assert!(!answer.body.contains(&gate.admin), "{place}");
        }
    }
    // What another site may have read by a browser that keeps the answer from it is no change.
    let is_look = |asked: &str| ["ListGpus", "Lease(List)"].contains(&asked);
    let is_change = |asked: &String| !is_look(asked) && !asked.starts_with("Suppose(");
    let changes: Vec<_> = gate.asked().into_iter().filter(is_change).collect();
    assert_eq!(changes, Vec::<String>::new());
}

#[tokio::test]
async fn nothing_changes_by_get_and_no_other_method_is_known() {
    let gate = Gate::start().await;
    let routes = routes();
    for (_, path, _) in &routes {
        let known: Vec<_> = routes.iter().filter(|(_, other, _)| other == path).collect();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            let is_answered = method == "OPTIONS" && path == "/uploads";
            if is_answered || known.iter().any(|(known, ..)| known == method) {
                continue;
            }
            let bare = gate.ask(method, path, &[], "").await;
            assert!(is_refused(&bare, 401, "auth.required"), "{method} {path}: {bare:?}");
            let answer = gate.by(&gate.admin, method, path).await;
            assert!(is_refused(&answer, 405, "request.method"), "{method} {path}: {answer:?}");
        }
    }
    for path in ["/nowhere", "/api/v1", "/api/v1/apps/", "//api/v1/apps", "/api/v1/apps/a/b/c"] {
        let bare = gate.ask("GET", path, &[], "").await;
        assert!(is_refused(&bare, 401, "auth.required"), "{path}: {bare:?}");
        let answer = gate.by(&gate.viewer, "GET", path).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
    assert_eq!(gate.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn heads_that_are_too_large_or_too_slow_are_cut_off() {
    // Time enough for all of them to send what they have.
    let gate = Gate::with(|settings| settings.header_timeout = Duration::from_secs(5)).await;
    let long = "x".repeat(128 * 1024);
    for (method, path, _) in routes() {
        let answer = gate.ask(&method, &path, &[("x-long", &long)], "").await;
        assert_eq!(answer.status, 431, "{method} {path}: {answer:?}");
    }
    let slow = routes().into_iter().map(|(method, path, _)| {
        let address = gate.stage.address;
        async move {
            let mut stream = super::connect([127, 2, 0, 1].into(), address).await;
            let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-slow: ");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            let reading = stream.read_to_end(&mut rest);
            let ended = tokio::time::timeout(PATIENCE, reading).await;
            assert!(ended.is_ok(), "{method} {path} holds its connection");
            let said = String::from_utf8_lossy(&rest);
            assert!(said.starts_with("HTTP/1.1 408 "), "{method} {path}: {said}");
            assert!(said.contains("connection: close") && said.ends_with('}'), "{said}");
        }
    });
    join_all(slow).await;
    assert_eq!(gate.asked(), Vec::<String>::new());
}

/// A route comes from the table or not at all, so that the walk above meets all of them.
#[test]
fn routes_are_registered_by_the_table_only() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server");
    let (mut open, mut found, mut files) = (vec![root.clone()], Vec::new(), 0);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            files += 1;
            for word in [".route(", ".nest(", ".merge(", ".route_service(", ".nest_service("] {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                let count = text.matches(word).count();
                found.extend(std::iter::repeat_n((name, word), count));
            }
        }
    }
    assert!(100 <= files, "{files}");
    assert_eq!(found, [("routes.rs".to_owned(), ".route(")]);
    let known = routes();
    assert!(190 <= known.len(), "{}", known.len());
    for spelling in ["/hf/api/models", "/containers/", "/hf/{ns}/chat/info/lfs/objects/batch"] {
        assert!(known.iter().any(|(_, path, _)| path == spelling), "{spelling}");
    }
    for (at, (method, path, _)) in known.iter().enumerate() {
        let is_twice = known[..at].iter().any(|(m, p, _)| (m, p) == (method, path));
        assert!(!is_twice, "{method} {path} is there twice");
    }
}

/// Fault H04: guessing is slowed down, and only for who guesses.
#[tokio::test]
async fn an_address_that_fails_often_is_held_up_and_no_other() {
    let gate = Gate::start().await;
    let guess = |from| {
        let gate = &gate;
        async move {
            let headers = [("authorization", "Bearer hf_guess")];
            gate.ask_from(from, "GET", "/api/v1/apps", &headers, "").await
        }
    };
    let mut limited = None;
    for _ in 0..40 {
        let answer = guess([127, 3, 0, 1]).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let limited = limited.expect("nobody held it up");
    assert_eq!(code(&limited), "auth.limited");
    assert!(limited.head.contains("\nretry-after: "), "{limited:?}");
    assert_eq!(guess([127, 3, 0, 2]).await.status, 401);
    let good = format!("Bearer {}", gate.viewer);
    let headers = [("authorization", good.as_str())];
    let answer = gate.ask_from([127, 3, 0, 1], "GET", "/api/v1/apps", &headers, "").await;
    assert_eq!(answer.status, 200, "a good token is good from everywhere");
}

#[tokio::test]
async fn tokens_count_from_when_they_are_made_until_they_are_revoked() {
    let state = tempfile::tempdir().unwrap();
    let tokens = std::sync::Arc::new(berth::auth::Tokens::new(state.path()));
    let access = super::access(&state, &tokens);
    let stage = crate::api::stage::Stage::with(|settings| settings.access = access).await;
    assert_eq!(stage.get("/api/v1/apps").await.status, 200, "nobody signs in here yet");
    let stale = [("authorization", "Bearer hf_of_another")];
    assert_eq!(stage.ask("GET", "/api/v1/apps", &stale, "").await.status, 200);
    let dir = state.path().display().to_string();
    let make = ["token", "create", "ci", "--role", "viewer", "-q", "--state-dir", dir.as_str()];
    let made = stage.run(&make).await;
    assert_eq!(made.code, 0, "{made:?}");
    let bearer = format!("Bearer {}", made.out.trim());
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(stage.get("/api/v1/apps").await.status, 401, "now everybody does");
    assert_eq!(stage.get("/health").await.status, 200);
    assert_eq!(stage.ask("GET", "/api/v1/apps", &headers, "").await.status, 200);
    let gone = stage.run(&["token", "revoke", "ci", "--state-dir", &dir]).await;
    assert_eq!(gone.code, 0, "{gone:?}");
    assert_eq!(stage.ask("GET", "/api/v1/apps", &headers, "").await.status, 401);
    assert_eq!(stage.get("/api/v1/apps").await.status, 401, "no token left is not no sign-in");
    let verdict = berth::audit::verify(state.path()).unwrap();
    assert_eq!((verdict.records, verdict.flaws), (2, Vec::new()));
}

#[tokio::test]
async fn figures_are_public_when_the_operator_says_so() {
    let gate = Gate::with(|settings| settings.access.are_metrics_public = true).await;
    assert_eq!(gate.ask("GET", "/metrics", &[], "").await.status, 200);
    assert_eq!(gate.ask("GET", "/api/v1/apps", &[], "").await.status, 401);
    let gate = Gate::start().await;
    assert_eq!(gate.ask("GET", "/metrics", &[], "").await.status, 401);
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_others_have_theirs() {
    let gate = Gate::with(|settings| {
        settings.connections_per_address = Some(2);
        settings.header_timeout = Duration::from_secs(60);
    })
    .await;
    let from = [127, 4, 0, 1];
    let one = super::connect(from.into(), gate.stage.address).await;
    let two = super::connect(from.into(), gate.stage.address).await;
    let answer = gate.ask_from(from, "GET", "/health", &[], "").await;
    assert_eq!((answer.status, code(&answer).as_str()), (429, "server.too-many-connections"));
    assert!(answer.has("retry-after: 1"), "{answer:?}");
    assert_eq!(gate.ask("GET", "/health", &[], "").await.status, 200);
    drop((one, two));
    let freed =
        async { while gate.ask_from(from, "GET", "/health", &[], "").await.status != 200 {} };
    tokio::time::timeout(PATIENCE, freed).await.expect("its places are not given back");
}
