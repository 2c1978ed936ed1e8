//! The model store as clients of the Hugging Face Hub meet it: the real ones, and by hand.

mod care;
mod chunks;
mod clients;
mod crash;
mod kept;
mod moved;
mod moved_crash;
mod wire;

use std::{sync::Arc, time::Duration};

use berth::{
    audit::Log,
    auth::{New, Role, Tokens},
    server::Access,
    store::{Depot, Happening, Settings},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::broadcast::Receiver,
};

use crate::api::stage::{Answer, Stage, now};

/// A Berth with a model store, and a token that writes to one namespace.
struct Hub {
    stage: Stage,
    models: Arc<Depot>,
    scoped: String,
    all: String,
    /// Where the store and the tokens are.
    folder: tempfile::TempDir,
}

impl Hub {
    async fn start() -> Self {
        Self::start_as(|_| {}).await.0
    }

    /// Starts it with a store of its own kind; what happens in that is heard.
    async fn start_as(change_store: impl FnOnce(&mut Settings)) -> (Self, Receiver<Happening>) {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Arc::new(Tokens::new(&folder.path().join("state")));
        let make = |name: &str, scopes: &[&str]| {
            let scopes = scopes.iter().map(|text| text.parse().unwrap()).collect();
            let new = New { name: name.to_owned(), role: Role::Operator, expires: None, scopes };
            tokens.create(new, now()).unwrap().secret.reveal().to_owned()
        };
        let scoped = make("scoped", &["store:conformance/*:write"]);
        let all = make("all", &[]);
        let state = folder.path().join("state");
        let access = Access {
            tokens: Some(Arc::clone(&tokens)),
            audit: Some(Arc::new(Log::new(&state))),
            state_dir: state,
            ..Access::default()
        };
        // Parts are short, so that files of a test have some.
        let root = folder.path().join("models");
        let mut settings = Settings { part_size: 5 << 20, ..Settings::new(root) };
        change_store(&mut settings);
        let models = Arc::new(Depot::new(settings));
        let happenings = models.listen();
        let change = |settings: &mut berth::server::Settings| {
            settings.access = access;
            settings.header_timeout = Duration::from_secs(30);
        };
        let stage = Stage::kept_in(Arc::clone(&models), change).await;
        (Self { stage, models, scoped, all, folder }, happenings)
    }

    /// Asks by a token of its own; bytes may be sent, and text is answered.
    async fn by(&self, token: &str, method: &str, path: &str, body: &[u8]) -> Answer {
        self.with(&[("authorization", &format!("Bearer {token}"))], method, path, body).await
    }

    async fn ask(&self, method: &str, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.by(&self.all, method, path, body.as_ref()).await
    }

    async fn with(
        &self,
        headers: &[(&str, &str)],
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Answer {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nconnection: close\r\nhost: {}\r\n",
            self.stage.address
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        let mut stream = TcpStream::connect(self.stage.address).await.unwrap();
        // A server that refuses a body may hang up while it is still being sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(body).await;
        let mut bytes = Vec::new();
        let reading = stream.read_to_end(&mut bytes);
        let ended = tokio::time::timeout(Duration::from_secs(60), reading).await;
        assert!(ended.is_ok(), "{method} {path} did not end");
        Answer::read(&String::from_utf8_lossy(&bytes))
    }

    /// Makes a repository with some files.
    async fn repo(&self, id: &str, files: &[(&str, &str)]) -> String {
        let (ns, name) = id.split_once('/').unwrap();
        let body = format!(r#"{{"name":"{name}","organization":"{ns}"}}"#);
        let made = self.ask("POST", "/api/repos/create", body).await;
        assert!([200, 409].contains(&made.status), "{made:?}");
        let lines: Vec<_> = files.iter().map(|(path, text)| file(path, text)).collect();
        let made = self.commit(id, "main", &lines).await;
        assert_eq!(made.status, 200, "{made:?}");
        made.json()["commitOid"].as_str().unwrap().to_owned()
    }

    async fn commit(&self, id: &str, branch: &str, lines: &[String]) -> Answer {
        let head = r#"{"key":"header","value":{"summary":"a change","description":""}}"#;
        let body = [&[head.to_owned()], lines].concat().join("\n");
        self.ask("POST", &format!("/api/models/{id}/commit/{branch}"), body).await
    }

    /// What lies in the store's folder for what is on its way.
    fn uploads(&self) -> Vec<String> {
        let folder = self.folder.path().join("models/.store/uploads");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect()
    }
}

/// A line of a commit: a file with its text.
fn file(path: &str, text: &str) -> String {
    let value = serde_json::json!({ "path": path, "content": text, "encoding": "utf-8" });
    serde_json::json!({ "key": "file", "value": value }).to_string()
}

fn line(key: &str, value: &serde_json::Value) -> String {
    serde_json::json!({ "key": key, "value": value }).to_string()
}
