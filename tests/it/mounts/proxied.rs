//! What Berth fetches through a proxy that its environment names, and what past it.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use berth::model::Digest;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
};

const PATIENCE: Duration = Duration::from_secs(60);
const CONTENT: &str = "what is far away";

/// What servers were asked: the first lines.
type Asked = Arc<Mutex<Vec<String>>>;

/// A proxy that stands for all of the world; asked as a server, it is one.
async fn world() -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Asked::default());
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&seen)));
        }
    });
    (address, asked)
}

async fn answer(mut stream: TcpStream, asked: Asked) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let first = String::from_utf8_lossy(&head).lines().next().unwrap().to_owned();
        let is_tunnel = first.starts_with("CONNECT ");
        asked.lock().unwrap().push(first);
        let length = CONTENT.len();
        let text = if is_tunnel {
            "HTTP/1.1 200 OK\r\n\r\n".to_owned()
        } else {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{CONTENT}")
        };
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A Berth of its own process, whose environment names a proxy; and where it is.
async fn berth(folder: &std::path::Path, proxy: SocketAddr) -> (Child, String) {
    let part = |name: &str| folder.join(name).display().to_string();
    std::fs::create_dir(folder.join("manifests")).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["run", "--engine", "fake", "--listen", "127.0.0.1:0", "--log-format", "json"])
        .args(["--manifests", &part("manifests"), "--state-dir", &part("state")])
        .args(["--workspaces", &part("workspaces"), "--model-store", &part("models")])
        .args(["--instance", &format!("proxy-{}", std::process::id()), "--log", "info"])
        .args(["--git-schemes", "http", "--allow-local-git", "--api-socket", "off"])
        .env("HTTP_PROXY", format!("http://{proxy}"))
        .env("http_proxy", format!("http://{proxy}"))
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let reading = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("its log has ended");
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"].as_str().is_some_and(|text| text.contains("berth is running")) {
                return line["address"].as_str().unwrap().to_owned();
            }
        }
    };
    let server = tokio::time::timeout(PATIENCE, reading).await.expect("it does not start");
    // Nobody waits for what it says, and it may say on.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, server)
}

#[tokio::test]
async fn models_are_fetched_through_the_proxy_that_the_environment_names() {
    let folder = tempfile::tempdir().unwrap();
    let (proxy, asked) = world().await;
    let (_child, server) = berth(folder.path(), proxy).await;
    let digest = Digest::of_bytes(CONTENT.as_bytes()).to_string();
    let fetch = async |url: &str, name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.env_clear().env("BERTH_SERVER", &server).stdin(Stdio::null());
        command.args(["models", "fetch", url, "--as", name, "--sha256", &digest]);
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{url}: {said} {:?}", asked.lock().unwrap());
        std::mem::take(&mut *asked.lock().unwrap())
    };
    // No name server knows it: only the proxy does.
    let through = fetch("http://files.example.invalid/far", "p/a@1/far").await;
    assert!(through[0].contains("files.example.invalid"), "{through:?}");
    assert_ne!(through[0], "GET /far HTTP/1.1", "it was asked as a proxy");
    let past = fetch(&format!("http://{proxy}/near"), "p/a@1/near").await;
    assert_eq!(past, ["GET /near HTTP/1.1"], "NO_PROXY counts");
    for name in ["far", "near"] {
        let path = folder.path().join("models/p/a/1").join(name).join("model");
        assert_eq!(std::fs::read_to_string(path).unwrap(), CONTENT);
    }
}
