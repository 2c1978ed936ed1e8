//! A stored model in a real container: read where it lies, rolled when its alias moves, kept while
//! it is used.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, process::Command};

use serde_json::Value as Json;

use super::{
    engine::{BASE, docker, host, try_docker},
    program::{Network, Program},
    stage::{Stage, eventually, get, httpd},
};
use crate::cli;

async fn status(port: u16) -> Json {
    let answer = get(port, "/api/v1/apps/reader").await.unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str::<Json>(body).unwrap_or_default()["status"].clone()
}

async fn until(port: u16, what: &str, holds: impl Fn(&Json) -> bool) -> Json {
    for _ in 0..900 {
        let status = status(port).await;
        if holds(&status) {
            return status;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("never came to pass: {what}\n{:#}", status(port).await);
}

fn runs(status: &Json, version: &str) -> bool {
    status["phase"] == "Running"
        && status["reason"] == "Healthy"
        && status["models"][0]["version"] == version
}

/// What the app answers: the model's first line, as it reads it.
async fn read(status: &Json) -> String {
    let port = u16::try_from(status["ports"][0]["hostPort"].as_u64().unwrap()).unwrap();
    let answer = get(port, "/weights.txt").await.unwrap_or_default();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn manifest() -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: reader}}\nspec:\n  image: {BASE}\n  \
         command: [python3, -m, http.server, \"8080\", --directory, /models/llm]\n  port: 8080\n  \
         mounts: [{{path: /models/llm, model: demo/llm@stable}}]\n  \
         health: {{http: {{path: /weights.txt}}, interval: 1s, startPeriod: 60s}}\n  \
         stopGracePeriod: 1s\n"
    )
}

/// What an app that runs as root could try on a model that others read, too (fault S16).
const WAYS_TO_WRITE: [&str; 12] = [
    "echo x >> weights.txt",
    "truncate -s 0 weights.txt",
    "dd if=/dev/zero of=weights.txt conv=notrunc bs=1 count=1",
    "touch weights.txt",
    "touch new",
    "rm weights.txt",
    "mv weights.txt other",
    "chmod 666 weights.txt",
    "chown 1:1 weights.txt",
    "ln weights.txt /tmp/w",
    "mount -o remount,rw /models/llm",
    "umount /models/llm",
];

fn nothing_is_written(container: &str, stored: &Path) {
    let looks = || {
        let seen = fs::metadata(stored).unwrap();
        let time = (seen.mtime(), seen.mtime_nsec());
        (seen.len(), seen.mode(), seen.uid(), seen.nlink(), time, fs::read(stored).unwrap())
    };
    let before = looks();
    for way in WAYS_TO_WRITE {
        let line = format!("cd /models/llm && {way} && echo changed || echo refused");
        let told = docker(&["exec", container, "sh", "-c", &line]);
        assert_eq!(told.trim(), "refused", "{way}");
        assert_eq!(looks(), before, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_reads_its_model_where_it_lies_and_rolls_when_the_alias_moves() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let mut program = Program::start_with(&stage, &host(), "auto", |_| {});
    let address = program.address().await;
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let server = format!("http://127.0.0.1:{port}");
    let berth = async |args: &[&str]| {
        let ended = cli::ask(&server, args).await;
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
    };
    stage.write("reader.yaml", &manifest());
    let waits = until(port, "it waits", |s| s["reason"] == "ModelMissing").await;
    assert!(waits["message"].as_str().unwrap().contains("demo/llm@stable"), "{waits}");
    for version in ["1.0.0", "2.0.0"] {
        let file = stage.path("drafts").join(version);
        fs::write(&file, format!("weights of {version}")).unwrap();
        let name = format!("demo/llm/{version}/weights.txt");
        berth(&["models", "push", &file.display().to_string(), &name]).await;
    }
    berth(&["models", "alias", "demo/llm", "stable", "1.0.0"]).await;
    let first = until(port, "it runs", |s| runs(s, "1.0.0")).await;
    assert_eq!(read(&first).await, "weights of 1.0.0");

    // Not a copy, and nothing that the app could change.
    let digest = first["models"][0]["sha256"].as_str().unwrap();
    let mounted = stage.path("models/.store/mounts").join(digest).join("weights.txt");
    let stored = stage.path("models/demo/llm/1.0.0/weights.txt/model");
    assert_eq!(fs::metadata(&mounted).unwrap().ino(), fs::metadata(&stored).unwrap().ino());
    let id = stage.container("reader").id();
    nothing_is_written(&id, &stored);
    assert_eq!(fs::read_dir(mounted.parent().unwrap()).unwrap().count(), 1, "nothing is new");
    let label =
        docker(&["inspect", "--format", "{{index .Config.Labels \"dev.berth.models\"}}", &id]);
    assert!(label.contains("\"version\":\"1.0.0\"") && label.contains(digest), "{label}");

    let refused = cli::ask(&server, &["models", "rm", "demo/llm/1.0.0/weights.txt"]).await;
    assert!(refused.code == 6 && refused.err.contains("app/reader"), "{refused:?}");

    berth(&["models", "alias", "demo/llm", "stable", "2.0.0"]).await;
    let second = until(port, "it rolled", |s| runs(s, "2.0.0")).await;
    assert_eq!(read(&second).await, "weights of 2.0.0");
    berth(&["models", "rm", "demo/llm/1.0.0/weights.txt"]).await;

    // Forced, what runs keeps its files, also over a restart of the container.
    berth(&["models", "rm", "--force", "demo/llm/2.0.0/weights.txt"]).await;
    berth(&["models", "gc"]).await;
    let gone = until(port, "it says so", |s| s["reason"] == "ModelMissing").await;
    assert_eq!(read(&gone).await, "weights of 2.0.0");
    docker(&["restart", "--time", "1", &stage.container("reader").id()]);
    // It is up before its server listens.
    let mut tries = 0;
    while read(&gone).await != "weights of 2.0.0" {
        tries += 1;
        assert!(tries < 120, "it does not read its model any more");
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    }
    assert!(program.stop().await);
}

/// Under the umask of the unit, an app that is not root reads its model and gets at its own data,
/// and so does a user of the host.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_not_root_reads_its_model_whatever_the_umask() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    // The stage's own folder is made by the test, and open.
    fs::remove_dir(stage.path("workspaces")).unwrap();
    let mut program = Program::start_closed(&stage);
    let address = program.address().await;
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let server = format!("http://127.0.0.1:{port}");
    let file = stage.path("drafts/weights.txt");
    fs::write(&file, "weights").unwrap();
    let push = ["models", "push", &file.display().to_string(), "demo/llm/1.0.0/weights.txt"];
    for args in [&push[..], &["models", "alias", "demo/llm", "stable", "1.0.0"]] {
        let ended = cli::ask(&server, args).await;
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
    }
    let rest = "  security: {profile: restricted}\n  workspace: {path: /work, uid: 65532}\n";
    stage.write("reader.yaml", &format!("{}{rest}", manifest()));
    let status = until(port, "it runs", |s| runs(s, "1.0.0")).await;
    assert_eq!(read(&status).await, "weights");
    let id = stage.container("reader").id();
    docker(&["exec", &id, "sh", "-c", "test $(id -u) = 65532 && echo kept >/work/kept"]);
    for part in ["workspaces", "workspaces/reader", "workspaces/reader/data"] {
        let mode = fs::metadata(stage.path(part)).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o755, "{part}: {mode:o}");
    }
    let state = fs::metadata(stage.path("state/state.json")).unwrap().mode() & 0o777;
    assert_eq!(state, 0o600, "what is Berth's own stays closed");
    assert!(program.stop().await);
}

/// What the store answers to whoever has this token.
async fn answer(port: u16, method: &str, path: &str, token: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-length: 1\r\nconnection: close\r\n\r\nx"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text).await;
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_asks_gets_a_token_that_reads_models_and_ends_with_it() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let state = stage.path("state").display().to_string();
    let made = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["token", "create", "boss", "--role", "admin", "-q", "--state-dir", &state])
        .output()
        .unwrap();
    let boss = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    assert!(boss.starts_with("hf_"), "{made:?}");
    let hub = "http://172.17.0.1:8000";
    let mut program = Program::start_with(&stage, &host(), "auto", |command| {
        command.args(["--hub-url", hub]).env("BERTH_LOG", "debug");
    });
    let address = program.address().await;
    let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
    stage.write("loader.yaml", &httpd("loader", "models: {hub: true}\nhealth: {interval: 1s}\n"));
    let inside = || {
        let all = stage.containers("loader");
        let id = all.iter().rfind(|container| container.is_running())?.id();
        try_docker(&["exec", &id, "env"]).ok()
    };
    let runs = eventually(|| inside().is_some_and(|env| env.contains("HF_TOKEN=hf_"))).await;
    assert!(runs, "{}", program.rest().await);
    let env = inside().unwrap();
    assert!(env.contains(&format!("HF_ENDPOINT={hub}")), "{env}");
    let token = env.lines().find_map(|line| line.strip_prefix("HF_TOKEN=")).unwrap().to_owned();
    for (method, path, status) in [
        ("GET", "/models/list", 200),
        ("PUT", "/models/demo/llm/1.0.0/m", 403),
        ("GET", "/api/v1/apps", 403),
    ] {
        assert_eq!(answer(port, method, path, &token).await, status, "{method} {path}");
    }
    // Nobody but the container is told.
    let labels = docker(&[
        "inspect",
        "--format",
        "{{json .Config.Labels}}",
        &stage.container("loader").id(),
    ]);
    let mut told = vec![labels, program.rest().await];
    for part in ["state/compose", "workspaces/loader"] {
        let out = Command::new("grep").args(["-r", &token]).arg(stage.path(part)).output().unwrap();
        told.push(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    let server = format!("http://127.0.0.1:{port}");
    let file = stage.path("drafts").join("boss");
    fs::write(&file, &boss).unwrap();
    for args in [&["get", "loader", "-o", "yaml"][..], &["plan"], &["status", "loader"]] {
        let args = [args, &["--token-file", file.to_str().unwrap()]].concat();
        let ended = cli::ask(&server, &args).await;
        assert!(!ended.out.is_empty(), "{args:?}: {ended:?}");
        told.push(ended.out);
    }
    assert!(told.iter().all(|text| !text.contains(&token)), "the token is told");

    stage.erase("loader.yaml");
    for _ in 0..600 {
        if answer(port, "GET", "/models/list", &token).await == 401 {
            assert!(program.stop().await);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the token of an app that is gone is still good");
}
