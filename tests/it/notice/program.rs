//! The real program: a file of targets, its verbs, its figures, and what its log may not say.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::inbox::Inbox;

/// Two targets at this port, and their secrets.
fn write_files(folder: &Path, port: u16) {
    let path = |part: &str| folder.join(part).display().to_string();
    fs::create_dir(path("manifests")).unwrap();
    fs::create_dir(path("secrets")).unwrap();
    fs::write(path("secrets/key"), "hush-hush").unwrap();
    fs::write(path("secrets/url"), format!("http://127.0.0.1:{port}/t0ken")).unwrap();
    for (name, mode) in [("secrets", 0o700), ("secrets/key", 0o600), ("secrets/url", 0o600)] {
        fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
    }
    let text = format!(
        "targets:\n- {{name: ops, webhook: 'http://127.0.0.1:{port}/hook', secret: key}}\n\
         - {{name: chat, slack: true, secret: url}}\n"
    );
    fs::write(path("targets.yaml"), text).unwrap();
}

#[tokio::test]
async fn the_program_tells_its_targets_and_keeps_their_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = |part: &str| folder.path().join(part).display().to_string();
    let mut inbox = Inbox::start().await;
    write_files(folder.path(), inbox.port);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_berth"));
    command
        .args(["run", "--engine=fake", "--listen=127.0.0.1:0", "--log-format=json"])
        .args(["--log=debug", "--manifests", &path("manifests"), "--state-dir", &path("state")])
        .args(["--workspaces", &path("workspaces"), "--model-store", &path("models")])
        .args(["--secrets-dir", &path("secrets"), "--notifications", &path("targets.yaml")])
        .args(["--instance", &format!("notify-{}", std::process::id())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().expect("it ended before it was running");
        let said: serde_json::Value = serde_json::from_str(&line).unwrap();
        if said["message"] == "berth is running" {
            break said["address"].as_str().unwrap().to_owned();
        }
    };
    let log = tokio::spawn(async move {
        let mut all = String::new();
        while let Ok(Some(line)) = lines.next_line().await {
            all += &line;
        }
        all
    });
    let ask = |args: &'static [&'static str]| {
        let server = address.clone();
        tokio::task::spawn_blocking(move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
            let done = command.args(args).args(["--server", &server]).output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (done.status.code(), text(&done.stdout) + &text(&done.stderr))
        })
    };
    let (code, said) = ask(&["notify", "ls"]).await.unwrap();
    assert!(code == Some(0) && said.contains("never"), "{said}");
    let (code, said) = ask(&["notify", "test", "ops"]).await.unwrap();
    assert_eq!((code, said.as_str()), (Some(0), "ops: sent\n"));
    assert!(inbox.next().await.header("x-hub-signature-256").is_some());
    inbox.answer(&[500]);
    let (code, said) = ask(&["notify", "test", "chat"]).await.unwrap();
    assert!(code == Some(1) && said.contains("it answers 500"), "{code:?} {said}");
    assert_eq!(inbox.next().await.path, "/t0ken");
    let (code, said) = ask(&["notify", "test", "nobody"]).await.unwrap();
    assert!(code != Some(0) && said.contains("no such target"), "{said}");
    let (_, listed) = ask(&["notify", "ls", "-o", "json"]).await.unwrap();
    let kept = fs::read_to_string(path("state/notifications.json")).unwrap_or_default();
    child.kill().await.unwrap();
    for text in [&listed, &kept, &log.await.unwrap()] {
        assert!(!text.contains("hush-hush") && !text.contains("t0ken"), "{text}");
    }
}
