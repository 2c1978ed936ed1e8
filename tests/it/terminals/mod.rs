//! Terminals, over the interface: who gets one, what goes through it, and how it ends. What has an
//! engine to do is held against the fake and a real one.

mod ends;
mod guards;
mod talks;

use std::{sync::Arc, time::Duration};

use berth::{
    audit::Log,
    auth::{New, Role, Secret, Tokens},
    model::PortRange,
    server::{
        Access, Compat, Settings,
        client::{Client, Input, Method, Opened, Output, Told},
    },
    state::ContainerId,
};
use serde_json::{Value, json};

use crate::{
    api::stage::{Answer, Stage, now},
    engine_contract::bench::Bench,
};

const PATIENCE: Duration = Duration::from_secs(20);
const JSON: (&str, &str) = ("content-type", "application/json");

/// A server over one container of `chat`, which runs.
struct Hall {
    stage: Stage,
    bench: Bench,
    container: ContainerId,
    state: tempfile::TempDir,
    tokens: Arc<Tokens>,
    operator: String,
    other: String,
    viewer: String,
}

impl Hall {
    async fn new(bench: Bench, change: impl FnOnce(&mut Settings)) -> Self {
        let container = bench.run(&bench.spec("chat")).await.unwrap();
        let state = tempfile::tempdir().unwrap();
        let tokens = Arc::new(Tokens::new(state.path()));
        let make = |name: &str, role| {
            let new = New { name: name.to_owned(), role, expires: None, scopes: Vec::new() };
            tokens.create(new, now()).unwrap().secret.reveal().to_owned()
        };
        let (operator, other) = (make("mover", Role::Operator), make("shaker", Role::Operator));
        let viewer = make("looker", Role::Viewer);
        let access = Access {
            tokens: Some(Arc::clone(&tokens)),
            audit: Some(Arc::new(Log::new(state.path()))),
            state_dir: state.path().to_owned(),
            ..Access::default()
        };
        let stage = Stage::on(
            |settings| {
                settings.access = access;
                change(settings);
            },
            |parts| {
                parts.engine = Arc::clone(&bench.engine);
                let range = PortRange { first: 29_001, last: 29_020 };
                parts.compat = Compat::new(Arc::clone(&bench.hands), &bench.instance, range);
            },
        )
        .await;
        stage.settle();
        stage.put("chat", |entry| {
            entry.status.container_id = Some(container.as_str().to_owned());
        });
        Self { stage, bench, container, state, tokens, operator, other, viewer }
    }

    async fn usual(bench: Bench) -> Self {
        Self::new(bench, |_| ()).await
    }

    fn client(&self, token: &str) -> Client {
        Client::new(&self.stage.base()).unwrap().with_token(Some(Secret::given(token)))
    }

    /// Asks for a terminal.
    async fn ask(&self, token: &str, order: &Value) -> (u16, Value) {
        let content = ("application/json", order.to_string().into_bytes());
        let path = "/api/v1/apps/chat/terminal";
        let answer = self.client(token).ask(Method::POST, path, Some(content)).await.unwrap();
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// The path of a terminal that was asked for.
    async fn path(&self, order: &Value) -> String {
        let (status, told) = self.ask(&self.operator, order).await;
        assert_eq!(status, 201, "{told}");
        assert_eq!(told["container"], self.container.as_str());
        told["path"].as_str().unwrap().to_owned()
    }

    async fn open(&self, token: &str, path: &str) -> Result<Line, (u16, String)> {
        match self.client(token).terminal(path).await.unwrap() {
            Opened::Talk(talk) => {
                let (input, output) = (talk.input, talk.output);
                Ok(Line { input: Some(input), output, seen: String::new(), wrong: String::new() })
            }
            Opened::Refused(answer) => {
                let problem: Value = serde_json::from_slice(&answer.body).unwrap();
                Err((answer.status, problem["code"].as_str().unwrap().to_owned()))
            }
        }
    }

    /// A terminal that is open.
    async fn line(&self, order: &Value) -> Line {
        let path = self.path(order).await;
        self.open(&self.operator, &path).await.unwrap()
    }

    /// Asks for a websocket with headers of one's own.
    async fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {}", self.operator);
        let usual = [
            ("authorization", bearer.as_str()),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ];
        let all: Vec<_> = usual.into_iter().chain(headers.iter().copied()).collect();
        self.stage.ask("GET", path, &all, "").await
    }

    /// What was recorded, the newest first.
    async fn audit(&self) -> Vec<Value> {
        let bearer = format!("Bearer {}", self.operator);
        let headers = [("authorization", bearer.as_str())];
        let answer = self.stage.ask("GET", "/api/v1/audit", &headers, "").await;
        answer.json()["items"].as_array().unwrap().clone()
    }

    /// The record of a terminal's end, once it is there.
    async fn ended(&self) -> Value {
        let look = async {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            loop {
                tick.tick().await;
                let records = self.audit().await;
                let mut ends = records.into_iter().filter(|one| one["action"] == "terminal ended");
                if let Some(end) = ends.next() {
                    return end;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("no end was recorded")
    }

    /// Waits until no process in the container is this command.
    async fn until_gone(&self, words: &str) {
        let count = format!("ps | grep -v grep | grep -c '{words}'");
        let command = ["sh", "-c", &count].map(ToOwned::to_owned);
        let look = async {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            loop {
                tick.tick().await;
                let done = self.bench.engine.exec(&self.container, &command, PATIENCE).await;
                if done.unwrap().1 == "0" {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("it goes on");
    }
}

/// A terminal, as who has it sees it.
struct Line {
    input: Option<Input>,
    output: Output,
    seen: String,
    /// What was written to the output for errors.
    wrong: String,
}

impl Line {
    async fn send(&mut self, text: &str) {
        self.input.as_mut().unwrap().send(text.as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> Option<Told> {
        let told = tokio::time::timeout(PATIENCE, self.output.next()).await;
        let told = told.unwrap_or_else(|_| panic!("nothing comes after {:?}", self.seen)).unwrap();
        match &told {
            Some(Told::Out(bytes)) => self.seen.push_str(&String::from_utf8_lossy(bytes)),
            Some(Told::Err(bytes)) => self.wrong.push_str(&String::from_utf8_lossy(bytes)),
            _ => {}
        }
        told
    }

    /// Reads until this was written.
    async fn until(&mut self, text: &str) {
        while !self.seen.contains(text) {
            let told = self.next().await;
            assert!(
                !matches!(told, None | Some(Told::End(_))),
                "{told:?} before {text:?}: {:?}",
                self.seen
            );
        }
    }

    /// Reads to the end; answers how it ended.
    async fn end(&mut self) -> Value {
        let mut end = None;
        while let Some(told) = self.next().await {
            if let Told::End(status) = told {
                end = Some(status);
            }
        }
        end.unwrap_or_else(|| panic!("no end was told after {:?}", self.seen))
    }

    /// The same, as an exit code.
    async fn code(&mut self) -> String {
        let end = self.end().await;
        if end["status"] == "Success" {
            return "0".to_owned();
        }
        let code = &end["details"]["causes"][0];
        assert_eq!(code["reason"], "ExitCode", "{end}");
        code["message"].as_str().unwrap().to_owned()
    }
}

fn shell(tty: bool) -> Value {
    json!({ "command": ["sh"], "tty": tty })
}
