//! Secrets on a real engine: a marker is planted as each value, and looked for in everything that
//! Berth writes or answers.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use berth::{
    secret::{Secrets, Value},
    server,
};
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    engine::{docker, host, try_docker},
    program::{Network, Program},
    stage::{Stage, eventually, get, tiny},
};

/// The words that no trace of may be found.
const MARKERS: [&str; 5] =
    ["m4rk-f0lder", "m4rk-armoured", "m4rk-systemd", "m4rk-variable", "m4rk-changed"];

/// Routes that certainly have an answer; all others are asked, too, as they are in the table.
const ANSWERED: [&str; 35] = [
    "/",
    "/ui/live",
    "/ui/plan",
    "/ui/gpus",
    "/ui/models",
    "/ui/host",
    "/ui/events",
    "/ui/audit",
    "/ui/settings",
    "/ui/register",
    "/ui/apps/{name}",
    "/ui/apps/{name}/plan",
    "/ui/apps/{name}/logs",
    "/ui/apps/{name}/manifest",
    "/ui/apps/{name}/metrics",
    "/ui/apps/{name}/history",
    "/metrics",
    "/api/v1/apps",
    "/api/v1/apps/{name}",
    "/api/v1/apps/{name}/plan",
    "/api/v1/apps/{name}/revisions",
    "/api/v1/apps/{name}/logs",
    "/api/v1/apps/{name}/usage",
    "/api/v1/events",
    "/api/v1/events/recent",
    "/api/v1/audit",
    "/api/v1/plan",
    "/api/v1/images",
    "/api/v1/capacity",
    "/api/v1/host",
    "/api/v1/ports",
    "/containers",
    "/containers/running",
    "/containers/{id}",
    "/ports",
];

/// A value as people write it, so that nothing else looks like it.
fn marked(nth: usize) -> String {
    format!("{}-{}", MARKERS[nth], std::process::id())
}

/// A folder of credentials, a folder in memory, and all secrets in their places.
struct Vault {
    secrets: Secrets,
    credentials: PathBuf,
    memory: TempDir,
}

impl Vault {
    fn fill(stage: &Stage) -> Self {
        let secrets = Secrets::new(stage.path("state").join("secrets"));
        secrets.set("db", None, &Value::new(marked(0) + "\n")).unwrap();
        let key = stage.path("state").join("age.key");
        let made = Command::new("age-keygen").arg("-o").arg(&key).output();
        assert!(made.expect("age is there: run `make age`").status.success());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let shown = Command::new("age-keygen").arg("-y").arg(&key).output().unwrap();
        let recipient = String::from_utf8(shown.stdout).unwrap();
        let mut age = Command::new("age")
            .args(["--armor", "--recipient", recipient.trim()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        age.stdin.take().unwrap().write_all(marked(1).as_bytes()).unwrap();
        let armour = String::from_utf8(age.wait_with_output().unwrap().stdout).unwrap();
        let block = armour.trim().replace('\n', "\n    ");
        let text = format!(
            "apiVersion: berth/v1\nkind: Secret\nmetadata: {{name: armoured}}\nspec:\n  age: |\n    {block}\n"
        );
        stage.write("armoured.yaml", &text);
        let credentials = stage.path("served").join("credentials");
        fs::create_dir(&credentials).unwrap();
        fs::write(credentials.join("by-systemd"), marked(2)).unwrap();
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        Self { secrets, credentials, memory }
    }

    fn start(&self, stage: &Stage) -> Program {
        let files = self.memory.path().join("berth");
        Program::start_with(stage, &host(), "auto", |command| {
            command
                .args(["--secret-files", &files.display().to_string()])
                .env("CREDENTIALS_DIRECTORY", &self.credentials)
                .env("BERTH_SECRET_BY_VARIABLE", marked(3))
                .env("BERTH_LOG", "trace");
        })
    }
}

fn manifest() -> String {
    let env = "env:\n  DB: {secret: db}\n  ARMOURED: {secret: armoured}\n  \
               SYSTEMD: {secret: by-systemd}\n  VARIABLE: {secret: by-variable}\n";
    let mounts = "mounts: [{path: /run/secrets/db, secret: db}]\n";
    // It prints all that it was given.
    let command = "[sh, -c, \"env; cat /run/secrets/db; exec httpd -f -p 8080 -h /www\"]";
    tiny("vault", command, &format!("port: 8080\n{env}{mounts}health: {{interval: 1s}}\n"))
}

/// Where markers are found in a text, if there are any.
fn found(what: &str, text: &str) -> Option<String> {
    let marker = MARKERS.iter().find(|marker| text.contains(**marker))?;
    let at = text.find(*marker).unwrap_or_default();
    let from = text[..at].char_indices().rev().nth(80).map_or(0, |(from, _)| from);
    Some(format!("{what}: …{}", &text[from..at]))
}

/// Everything below a folder but what is meant to hold values.
fn found_below(folder: &Path, but: &[PathBuf], all: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if but.contains(&path) {
            continue;
        }
        if kind.is_dir() {
            found_below(&path, but, all);
        } else if kind.is_file() {
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
            all.extend(found(&path.display().to_string(), &text));
        }
    }
}

/// What the container itself sees.
fn inside(stage: &Stage) -> Option<String> {
    let containers = stage.containers("vault");
    let running = containers.iter().rfind(|container| container.is_running())?.id();
    let line = "echo $DB $ARMOURED $SYSTEMD $VARIABLE; cat /run/secrets/db; \
                echo x 2>/dev/null > /run/secrets/db || echo kept";
    try_docker(&["exec", &running, "sh", "-c", line]).ok()
}

/// An answer; of a stream, what comes first.
async fn ask(port: u16, (method, path): (&str, &str), accept: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nAccept: {accept}\r\n\
         Content-Type: application/merge-patch+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let reading = async {
        let mut part = vec![0; 64 << 10];
        loop {
            let length = stream.read(&mut part).await.unwrap_or(0);
            seen.extend_from_slice(&part[..length]);
            let text = String::from_utf8_lossy(&seen);
            let is_stream = text.contains("text/event-stream") && !path.contains("/logs");
            if length == 0 || (is_stream && text.contains("\n\n")) {
                return;
            }
        }
    };
    // A stream may have nothing more to say.
    let _ = tokio::time::timeout(Duration::from_secs(30), reading).await;
    String::from_utf8_lossy(&seen).into_owned()
}

/// Every way to look, and a change that is only tried.
async fn look_everywhere(stage: &Stage, port: u16, leaks: &mut Vec<String>) {
    let id = stage.container("vault").id();
    let fill = |path: &str| path.replace("{name}", "vault").replace("{id}", &id);
    let mut good = 0;
    for (_, route, _) in server::routes().filter(|(method, ..)| method == "GET") {
        let path = fill(route);
        let is_page = route == "/" || route.starts_with("/ui/");
        let accepts: &[&str] = if is_page { &["text/html", "*/*"] } else { &["application/json"] };
        for accept in accepts {
            let answer = ask(port, ("GET", &path), accept, "").await;
            let is_good = answer.split(' ').nth(1) == Some("200");
            assert!(is_good || !ANSWERED.contains(&route), "{path} as {accept}: {answer}");
            good += usize::from(is_good);
            leaks.extend(found(&path, &answer));
        }
    }
    assert!(ANSWERED.len() < good, "{good}");
    let printed = "/api/v1/apps/vault/logs?tail=all";
    for accept in ["text/plain", "text/event-stream"] {
        let answer = ask(port, ("GET", printed), accept, "").await;
        for variable in ["DB=***", "ARMOURED=***", "SYSTEMD=***", "VARIABLE=***"] {
            assert!(answer.contains(variable), "{variable}: {answer}");
        }
        leaks.extend(found(printed, &answer));
    }
    let built = "/api/v1/apps/vault/logs?source=build";
    leaks.extend(found(built, &ask(port, ("GET", built), "text/plain", "").await));
    for accept in ["application/json", "text/plain"] {
        let path = "/api/v1/apps/vault?dryRun=true";
        let patch = r#"{"spec": {"env": {"DB": null, "MORE": {"secret": "armoured"}}}}"#;
        let answer = ask(port, ("PATCH", path), accept, patch).await;
        assert_eq!(answer.split(' ').nth(1), Some("200"), "{answer}");
        leaks.extend(found(path, &answer));
    }
}

async fn app(port: u16) -> Json {
    let answer = get(port, "/api/v1/apps/vault").await.unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    serde_json::from_str(&body).unwrap_or_default()
}

async fn until_status(port: u16, what: &str, holds: impl Fn(&Json) -> bool) -> Json {
    for _ in 0..600 {
        let app = app(port).await;
        if holds(&app["status"]) {
            return app;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never came to pass: {what}: {}", app(port).await);
}

/// All that the engine was told but the environment, where a container's own values are.
fn told_to_the_engine(stage: &Stage, all: &mut Vec<String>) {
    for container in stage.containers("vault") {
        let mut seen = container.0.clone();
        seen["Config"]["Env"] = Json::Null;
        all.extend(found("inspect", &seen.to_string()));
        let image = container.text("/Config/Image");
        let history = docker(&["history", "--no-trunc", "--format", "{{json .}}", &image]);
        all.extend(found("history", &history));
        let labels = docker(&["image", "inspect", &image]);
        all.extend(found("image", &labels));
    }
}

/// Faults B08, G16, H10.
#[tokio::test]
async fn no_value_is_found_in_anything_that_berth_writes_or_answers() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let vault = Vault::fill(&stage);
    stage.write("vault.yaml", &manifest());
    let mut program = vault.start(&stage);
    let address = program.address().await;
    let port: u16 = address.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    until_status(port, "it runs", |status| status["phase"] == "Running").await;
    let all: Vec<_> = (0..4).map(marked).collect();
    let seen = inside(&stage).unwrap();
    assert_eq!(seen, format!("{}\n{}\nkept", all.join(" "), all[0]));
    let before = stage.container("vault").id();

    // Another value rolls it.
    vault.secrets.set("db", None, &Value::new(marked(4))).unwrap();
    let changed = marked(4);
    let is_new = || inside(&stage).is_some_and(|seen| seen.starts_with(&changed));
    assert!(eventually(is_new).await, "{:?}", inside(&stage));
    assert!(eventually(|| stage.containers("vault").len() == 1).await);
    let after = stage.container("vault").id();
    assert_ne!(before, after);
    until_status(port, "it runs again", |status| status["phase"] == "Running").await;

    // One that is gone is said, and what runs goes on.
    vault.secrets.remove("db", None).unwrap();
    let gone = |status: &Json| status["reason"] == "SecretUnavailable";
    let app = until_status(port, "it is missed", gone).await;
    assert!(app["status"]["message"].as_str().unwrap().contains("`db`"), "{app}");
    assert_eq!(app["spec"]["env"]["DB"], serde_json::json!({"secret": "db"}), "{app}");
    assert_eq!(stage.container("vault").id(), after);
    assert!(stage.container("vault").is_running());

    let mut leaks = Vec::new();
    look_everywhere(&stage, port, &mut leaks).await;
    told_to_the_engine(&stage, &mut leaks);
    assert!(program.stop().await);
    let log = program.rest().await;
    leaks.extend(found("log", &log));
    let state = stage.path("state");
    let but = [state.join("secrets"), vault.credentials.clone()];
    found_below(state.parent().unwrap(), &but, &mut leaks);
    assert!(leaks.is_empty(), "{leaks:#?}");
    let compose = fs::read_to_string(state.join("compose/vault/docker-compose.yaml")).unwrap();
    assert!(compose.contains("${DB:?set DB}") && compose.contains("SECRET_FILE_DB"), "{compose}");
}
