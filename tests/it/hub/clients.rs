//! The clients that are out there, as they are installed: `compose/setup/hub-clients.sh` fetches
//! them once.

use std::{path::PathBuf, time::Duration};

use tokio::process::Command;

use super::Hub;

/// The folder of a client, with its Python.
async fn client(version: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("target/hub-clients").join(version);
    if !folder.join("ready").exists() {
        let script = root.join("compose/setup/hub-clients.sh");
        let made = Command::new(script).arg(version).status().await.unwrap();
        assert!(made.success(), "huggingface_hub {version} can't be had");
    }
    folder
}

/// Runs the whole check; what it printed.
async fn check(version: &str, below: &str, is_scoped: bool, more: &[&str]) -> String {
    let (hub, folder) = (Hub::start().await, client(version).await);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/hub/client_check.py");
    let token = if is_scoped { &hub.scoped } else { &hub.all };
    let mut command = Command::new(folder.join("bin/python3"));
    command.arg(script).arg(hub.stage.base() + below).arg(token);
    command.args(["--big-mb", "12"]).args(more).env("TMPDIR", hub.folder.path());
    command.kill_on_drop(true);
    let ran = tokio::time::timeout(Duration::from_secs(280), command.output()).await;
    let ran = ran.expect("the check did not end").unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains(&format!("huggingface_hub {version}")), "{said}");
    assert!(said.trim_end().ends_with(", 0 failed"), "{said}");
    assert_eq!(hub.uploads(), Vec::<String>::new(), "{said}");
    said
}

fn passed(said: &str) -> u32 {
    said.trim_end().lines().last().unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// With the `hf` command, and with transformers.
async fn newest(transport: &str) {
    let said = check("2.4.0", "/hf", true, &["--transport", transport]).await;
    assert!(53 <= passed(&said), "{said}");
    for name in
        ["cli: hf download", "cli: hf upload", "transformers: AutoConfig", "safetensors: open"]
    {
        assert!(said.contains(&format!("PASS  {name}")), "{name}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_client_does_everything_that_it_can() {
    newest("default").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_client_does_everything_without_chunks() {
    newest("lfs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_the_last_major_version_does_too() {
    let said = check("1.33.0", "", false, &["--no-cli", "--transport", "both"]).await;
    assert!(96 <= passed(&said), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_the_version_before_that_does_too() {
    let said = check("0.36.2", "", false, &["--no-cli", "--transport", "both"]).await;
    assert!(96 <= passed(&said), "{said}");
}
