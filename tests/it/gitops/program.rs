//! The real program, from a push of manifests to a running app, and from a push of the app to what
//! the git server is told about its commit.

use std::{process::Stdio, time::Duration};

use berth::server::client::{Client, Method};
use git2::Repository;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use super::{
    grove::{bare, commit},
    hooks::digest,
    statuses::Forge,
};
use crate::git_server::{Answers, Server};

const PATIENCE: Duration = Duration::from_secs(60);

/// The program on an engine in memory, with one repository of manifests; its address.
async fn start(top: &std::path::Path, git: &Server, forge: &Forge) -> (Child, String) {
    let flag = |name: &str, value: String| format!("--{name}={value}");
    let secrets = top.join("secrets");
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.args(["run", "--engine=fake", "--listen=127.0.0.1:0", "--log-format=json"]);
    command.args([
        "--log=info",
        "--hook-secret=hook",
        "--source-interval=2h",
        "--git-hosts=127.0.0.1",
    ]);
    command
        .arg(flag("source", format!("git+http://127.0.0.1:{}/acme/apps.git#main:prod", git.port)))
        .arg(flag("state-dir", top.join("state").display().to_string()))
        .arg(flag("workspaces", top.join("workspaces").display().to_string()))
        .arg(flag("secrets-dir", secrets.display().to_string()))
        .arg(flag("instance", format!("gitops-{}", std::process::id())))
        .arg(flag("commit-status", format!("127.0.0.1=forge@http://127.0.0.1:{}", forge.port)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().expect("it ended before it was running");
        if line.contains("berth is running") {
            let line: Value = serde_json::from_str(&line).unwrap();
            assert!(line["manifests"].as_str().unwrap().starts_with("git+http://"), "{line}");
            break line["address"].as_str().unwrap().trim_end_matches('/').to_owned();
        }
    };
    // What it says further on is not needed, but has to go somewhere; no secret is in it.
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            assert!(!line.contains("hush") && !line.contains("t0ken"), "{line}");
        }
    });
    (child, address)
}

async fn hook(address: &str, url: &str) -> String {
    let body = json!({"ref": "refs/heads/main", "repository": {"clone_url": url}}).to_string();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /api/v1/hooks/git HTTP/1.1\r\nhost: public.example\r\nconnection: close\r\n\
         content-type: application/json\r\nx-gitea-event: push\r\n\
         x-gitea-signature: {}\r\ncontent-length: {}\r\n\r\n{body}",
        digest("hush", &body),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

/// Waits until the app runs this commit.
async fn until_it_runs(client: &Client, commit: &str) {
    let wait = async {
        loop {
            let answer = client.ask(Method::GET, "/api/v1/apps/chat", None).await.unwrap();
            let app: Value = serde_json::from_slice(&answer.body).unwrap();
            let status = &app["status"];
            if status["phase"] == "Running" && status["commit"] == commit {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        let answer = client.ask(Method::GET, "/api/v1/apps", None).await.unwrap();
        panic!("{commit} never ran: {}", String::from_utf8_lossy(&answer.body));
    }
}

/// What the audit log says of the first deed of this kind.
async fn until_recorded(state: &std::path::Path, action: &str) -> berth::audit::Deed {
    let look = async {
        loop {
            let page = berth::audit::page(state, None, 9, |r| r.deed.action == action);
            if let Some(record) = page.ok().and_then(|(records, _)| records.into_iter().next()) {
                return record.deed;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("no {action}"))
}

fn push(repository: &Repository, files: &[(&str, &str)]) -> String {
    let parent = repository.head().and_then(|head| head.peel_to_commit()).ok();
    commit(repository, files, &parent.iter().collect::<Vec<_>>()).to_string()
}

#[tokio::test]
async fn a_push_runs_and_the_git_server_is_told() {
    let top = tempfile::tempdir().unwrap();
    let served = top.path().join("served");
    let git = Server::start(Answers::Git(served.clone()));
    let forge = Forge::start().await;
    let secrets = berth::secret::Secrets::new(top.path().join("secrets"));
    for (name, value) in [("hook", "hush\n"), ("forge", "t0ken\n")] {
        secrets.set(name, None, &berth::secret::Value::new(value)).unwrap();
    }
    let (apps, chat) = (bare(&served.join("acme/apps.git")), bare(&served.join("acme/chat.git")));
    let url = format!("http://127.0.0.1:{}/acme/chat.git", git.port);
    let first = push(&chat, &[("Dockerfile", "FROM scratch\nCOPY app.py /\n"), ("app.py", "one")]);
    let manifest = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: chat}}\nspec:\n  \
         source: {{git: '{url}'}}\n  run: python app.py\n"
    );
    let written = push(&apps, &[("prod/chat.yaml", &manifest)]);

    let (child, address) = start(top.path(), &git, &forge).await;
    let client = Client::new(&address).unwrap();
    until_it_runs(&client, &first).await;
    let is_done = |told: &super::statuses::Told, commit: &str| {
        told.0 == format!("/repos/acme/chat/statuses/{commit}") && told.2["state"] == "success"
    };
    let told = forge.until_told(|told| is_done(told, &first)).await;
    assert_eq!(told.1, "token t0ken");
    // What took effect names the repository, the commit and the file.
    let added = until_recorded(&top.path().join("state"), "manifest.added").await;
    assert_eq!((added.who.kind.as_str(), added.object.as_str()), ("git", "app/chat"));
    let words: Vec<_> = added.who.name.split(' ').collect();
    assert!(words[0].contains("acme/apps.git"), "{words:?}");
    assert_eq!((words[1], words[2]), (written.as_str(), "chat.yaml"));

    let second = push(&chat, &[("Dockerfile", "FROM scratch\nCOPY app.py /\n"), ("app.py", "two")]);
    let said = hook(&address, &url).await;
    assert!(said.starts_with("HTTP/1.1 202") && said.contains(r#""queued":["chat"]"#), "{said}");
    until_it_runs(&client, &second).await;
    forge.until_told(|told| is_done(told, &second)).await;
    drop(child);
}
