//! The disaster drill: a machine with apps, data and a model is wiped, and comes back from its
//! backup.

use std::{collections::BTreeMap, fs, process::Command};

use age::secrecy::ExposeSecret as _;
use serde_json::Value as Json;

use super::{
    engine::{self, host},
    program::{Network, Program},
    stage::{Stage, eventually, get, httpd, tiny},
};
use crate::cli;

const APPS: [&str; 3] = ["web", "another", "reader"];

/// `berth backup` on this stage's folders.
fn backup(stage: &Stage, args: &[&str]) -> String {
    let (code, out, err) = backup_ended(stage, args);
    assert_eq!(code, Some(0), "{args:?}: {out}\n{err}");
    out
}

/// How it ended, and what it said.
fn backup_ended(stage: &Stage, args: &[&str]) -> (Option<i32>, String, String) {
    let folder = |part: &str| stage.path(part).display().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.arg("backup").args(args).args(["--at", &folder("backup")]);
    for (option, part) in [
        ("--state-dir", "state"),
        ("--manifests", "manifests"),
        ("--workspaces", "workspaces"),
        ("--model-store", "models"),
    ] {
        command.args([option, &folder(part)]);
    }
    command.env("BERTH_INSTANCE", &stage.instance).env("BERTH_DOCKER_HOST", host());
    command.env("BERTH_BACKUP_IDENTITY", stage.path("drafts/backup.key"));
    let ended = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
}

async fn app(port: u16, name: &str) -> Json {
    let answer = get(port, &format!("/api/v1/apps/{name}")).await.unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str::<Json>(body).unwrap_or_default()["status"].clone()
}

/// The host port of each app, once all of them run.
async fn ports(port: u16) -> BTreeMap<&'static str, u64> {
    let mut last = BTreeMap::new();
    for _ in 0..1200 {
        last.clear();
        for name in APPS {
            last.insert(name, app(port, name).await);
        }
        let runs = |status: &Json| status["phase"] == "Running" && status["reason"] == "Healthy";
        if last.values().all(runs) {
            let port = |status: &Json| status["ports"][0]["hostPort"].as_u64().unwrap();
            return last.iter().map(|(name, status)| (*name, port(status))).collect();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("they never ran: {last:#?}");
}

async fn answer(port: u64, path: &str) -> String {
    let answer = get(u16::try_from(port).unwrap(), path).await.unwrap_or_default();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

async fn start(stage: &Stage) -> (Program, u16) {
    let mut program = Program::start_with(stage, &host(), "auto", |_| {});
    let address = program.address().await;
    (program, address.rsplit_once(':').unwrap().1.parse().unwrap())
}

/// The apps: one that gets the first port though its name comes last, one with data of its own, one with a model.
async fn fill(stage: &Stage, port: u16) -> BTreeMap<&'static str, u64> {
    let server = format!("http://127.0.0.1:{port}");
    let file = stage.path("drafts").join("weights");
    fs::write(&file, "weights ".repeat(100_000)).unwrap();
    let file = file.display().to_string();
    let pushed = cli::ask(&server, &["models", "push", &file, "demo/llm/1.0.0/weights.txt"]).await;
    assert_eq!(pushed.code, 0, "{pushed:?}");
    let alias = cli::ask(&server, &["models", "alias", "demo/llm", "stable", "1.0.0"]).await;
    assert_eq!(alias.code, 0, "{alias:?}");
    stage.write("web.yaml", &httpd("web", "health: {interval: 1s}"));
    let runs = || stage.containers("web").iter().any(engine::Seen::is_running);
    assert!(eventually(runs).await, "web never ran");
    stage.write("another.yaml", &httpd("another", "health: {interval: 1s}"));
    let mount = "port: 8080\nmounts: [{path: /models/llm, model: demo/llm@stable}]\n\
                 health: {http: {path: /weights.txt}, interval: 1s}";
    let command = "[httpd, -f, -p, \"8080\", -h, /models/llm]";
    stage.write("reader.yaml", &tiny("reader", command, mount));
    let ports = ports(port).await;
    let data = stage.workspace("another", "data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("rows"), "what the app has written").unwrap();
    ports
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_machine_comes_back_with_its_apps_ports_data_and_models() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let key = age::x25519::Identity::generate();
    fs::write(stage.path("drafts/backup.key"), key.to_string().expose_secret()).unwrap();
    let (mut program, port) = start(&stage).await;
    let before = fill(&stage, port).await;
    let weights = answer(before["reader"], "/weights.txt").await;
    assert_eq!(weights.len(), 800_000);
    let stored = stage.path("models/demo/llm/1.0.0/weights.txt/model");
    let digest = berth::model::Digest::of_bytes(&fs::read(&stored).unwrap());

    // While everything runs; one app stands still while it is read, and goes on.
    let made = backup(&stage, &["create", "--pause", "another"]);
    assert!(made.contains("is at"), "{made}");
    assert!(stage.containers("another").iter().all(engine::Seen::is_running));
    assert_eq!(answer(before["another"], "/").await, answer(before["web"], "/").await);
    assert!(backup(&stage, &["verify"]).starts_with("whole: 1 backups"));

    // The machine is gone: no container, no folder.
    assert!(program.stop().await);
    engine::clean(&stage.instance, &stage.network);
    for part in ["manifests", "state", "workspaces", "models", "compose"] {
        let _ = fs::remove_dir_all(stage.path(part));
    }
    assert!(APPS.iter().all(|app| stage.containers(app).is_empty()));

    backup(&stage, &["restore"]);
    let (mut program, port) = start(&stage).await;
    let after = ports(port).await;
    assert_eq!(after, before, "apps are at other ports");
    for (name, port) in &after {
        assert!(
            !answer(*port, if *name == "reader" { "/weights.txt" } else { "/" }).await.is_empty()
        );
    }
    assert_eq!(answer(after["reader"], "/weights.txt").await, weights);
    assert_eq!(berth::model::Digest::of_bytes(&fs::read(&stored).unwrap()), digest);
    let rows = fs::read_to_string(stage.workspace("another", "data/rows")).unwrap();
    assert_eq!(rows, "what the app has written");
    assert!(program.stop().await);
}

/// What stands still for a backup that was killed goes on, and what somebody paused does not; and
/// nobody takes the folders from under what runs.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_neither_left_standing_nor_robbed_of_its_folders() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let key = age::x25519::Identity::generate();
    fs::write(stage.path("drafts/backup.key"), key.to_string().expose_secret()).unwrap();
    for app in ["left", "paused"] {
        stage.write(&format!("{app}.yaml"), &tiny(app, "[sleep, \"3600\"]", "health: none"));
    }
    let (mut program, _) = start(&stage).await;
    let runs = |app: &str| stage.containers(app).iter().any(engine::Seen::is_running);
    assert!(eventually(|| runs("left") && runs("paused")).await, "they never ran");
    let db = stage.workspace("left", "data").join("db");
    fs::write(&db, "old").unwrap();
    backup(&stage, &["create", "--pause", "left"]);
    assert_eq!(fs::metadata(stage.path("state/.backup-paused")).unwrap().len(), 0);
    assert!(program.stop().await);

    // As a backup that was killed leaves it.
    let ids = ["left", "paused"].map(|app| stage.container(app).id());
    for id in &ids {
        engine::docker(&["pause", id]);
    }
    fs::write(stage.path("state/.backup-paused"), format!("+{} left\n", ids[0])).unwrap();
    let (mut program, _) = start(&stage).await;
    let state = |nth: usize| engine::inspect(&[&ids[nth]])[0].text("/State/Status");
    assert!(eventually(|| state(0) == "running").await, "it stands still");
    assert_eq!(state(1), "paused");
    assert!(program.stop().await);

    fs::write(&db, "new").unwrap();
    let over = ["restore", "--only", "workspaces", "--over"];
    let (code, _, said) = backup_ended(&stage, &over);
    assert!(code == Some(6) && said.contains("left, paused run on"), "{code:?} {said}");
    assert_eq!(fs::read_to_string(&db).unwrap(), "new");
    backup(&stage, &[&over[..], &["--stop-apps"]].concat());
    assert!(!runs("left") && fs::read_to_string(&db).unwrap() == "old");
    // It is started again, on what came back.
    let (mut program, _) = start(&stage).await;
    assert!(eventually(|| runs("left")).await, "it is not started");
    let id = stage.container("left").id();
    assert_eq!(engine::docker(&["exec", &id, "cat", "/workspace/db"]).trim(), "old");
    assert!(program.stop().await);
}
