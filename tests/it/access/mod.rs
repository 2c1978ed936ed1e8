//! Who may do what, and who did what, as a client meets it.

mod dry;
mod proxies;
mod session;
mod socket;
mod store;
mod trail;
mod walk;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use berth::{
    audit::Log,
    auth::{New, Role, Tokens},
    server::{Access, Settings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::api::stage::{Answer, Stage, now};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that asks for tokens, with one of each kind.
struct Gate {
    stage: Stage,
    state: tempfile::TempDir,
    tokens: Arc<Tokens>,
    viewer: String,
    operator: String,
    admin: String,
    expired: String,
    scoped: String,
    /// Each request may come from an address of its own, so that none pays for another's failures.
    next: AtomicU32,
}

impl Gate {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let state = tempfile::tempdir().unwrap();
        let tokens = Arc::new(Tokens::new(state.path()));
        let make = |name: &str, role, past: i64, scopes: &[&str]| {
            let expires = (past != 0).then(|| now().moved(-past));
            let scopes = scopes.iter().map(|text| text.parse().unwrap()).collect();
            let made = tokens.create(New { name: name.to_owned(), role, expires, scopes }, now());
            made.unwrap().secret.reveal().to_owned()
        };
        let viewer = make("looker", Role::Viewer, 0, &[]);
        let operator = make("mover", Role::Operator, 0, &[]);
        let admin = make("chief", Role::Admin, 0, &[]);
        let expired = make("former", Role::Admin, 1000, &[]);
        let scoped = make("store", Role::Admin, 0, &["store:vision/*:write"]);
        let access = access(&state, &tokens);
        let stage = Stage::with(|settings| {
            settings.access = access;
            change(settings);
        })
        .await;
        stage.settle();
        stage.put("chat", |_| ());
        let next = AtomicU32::new(0);
        Self { stage, state, tokens, viewer, operator, admin, expired, scoped, next }
    }

    /// Asks from an address that nobody has used before.
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let number = self.next.fetch_add(1, Ordering::SeqCst).to_be_bytes();
        self.ask_from([127, 1, number[2], number[3].max(1)], method, path, headers, body).await
    }

    async fn ask_from(
        &self,
        from: [u8; 4],
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.stage.address);
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = connect(from.into(), self.stage.address).await;
        // A server that refuses a large head may hang up while it is still being sent.
        let _ = stream.write_all(head.as_bytes()).await;
        Answer::read(&read(&mut stream).await)
    }

    /// Asks with a token.
    async fn by(&self, token: &str, method: &str, path: &str) -> Answer {
        self.ask(method, path, &[("authorization", &format!("Bearer {token}"))], "").await
    }

    /// What was asked of the controller, what only looks aside.
    fn asked(&self) -> Vec<String> {
        let mut asked = self.stage.asked.lock().unwrap().clone();
        asked.retain(|asked| !asked.contains("is_dry: true"));
        asked
    }
}

fn access(state: &tempfile::TempDir, tokens: &Arc<Tokens>) -> Access {
    Access {
        tokens: Some(Arc::clone(tokens)),
        audit: Some(Arc::new(Log::new(state.path()))),
        state_dir: state.path().to_owned(),
        ..Access::default()
    }
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Everything until the connection ends; of an event stream, its head.
async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        loop {
            let mut part = vec![0; 16_000];
            let Ok(length) = stream.read(&mut part).await else { return };
            bytes.extend_from_slice(&part[..length]);
            let is_stream = bytes.windows(17).any(|seen| seen == b"text/event-stream");
            if length == 0 || (is_stream && bytes.windows(4).any(|seen| seen == b"\r\n\r\n")) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the answer did not end");
    String::from_utf8(bytes).unwrap()
}

fn code(answer: &Answer) -> String {
    let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let code = problem["code"].as_str().or_else(|| meant(problem["detail"].as_str()?));
    code.unwrap_or_default().to_owned()
}

/// The code of what routes of other systems say in words only.
fn meant(detail: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 11] = [
        ("send a token: ", "auth.required"),
        ("this is no token of this Berth", "auth.wrong-token"),
        ("the token has expired", "auth.expired"),
        ("this takes the role ", "auth.role"),
        ("the scopes of ", "auth.scope"),
        ("a token in the address ", "auth.token-in-url"),
        (" is not a name of this machine", "request.host"),
        ("another site may not change anything here", "request.origin"),
        (" does not take ", "request.method"),
        ("too many sign-ins ", "auth.limited"),
        ("can't be tried, and was not done", "request.no-dry-run"),
    ];
    WORDS.iter().find(|(words, _)| detail.contains(words)).map(|(_, code)| *code)
}
