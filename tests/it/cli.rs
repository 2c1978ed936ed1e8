//! The command line, as a user runs it: the built program against a server.

use std::{
    path::Path,
    process::{Output, Stdio},
    sync::Arc,
    time::Duration,
};

use berth::{
    model::{AppName, ConditionStatus, Phase, Reason},
    plan::Refusal,
    state::Hold,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
};

use crate::api::stage::{MANIFEST, Stage};

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn command(server: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.env_clear().env("BERTH_SERVER", server).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Asks a server.
pub(crate) async fn ask(server: &str, args: &[&str]) -> Ended {
    ended(command(server, args).output().await.unwrap())
}

/// Runs a command that needs no server.
async fn alone(args: &[&str]) -> Ended {
    ended(command("http://127.0.0.1:1", args).output().await.unwrap())
}

impl Stage {
    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        ended(command(&self.base(), args).output().await.unwrap())
    }

    /// Runs a command that goes on, and answers its lines.
    fn watch(&self, args: &[&str]) -> (Child, BufReader<tokio::process::ChildStdout>) {
        let mut child = command(&self.base(), args).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        (child, lines)
    }
}

async fn line(lines: &mut BufReader<tokio::process::ChildStdout>) -> String {
    let mut line = String::new();
    let reading = lines.read_line(&mut line);
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("no line came").unwrap();
    line.trim_end().to_owned()
}

#[tokio::test]
async fn get_lists_the_apps_in_every_form() {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |_| ());
    stage.put("other", |entry| entry.status.phase = Phase::Failed);
    let table = stage.run(&["get"]).await;
    assert_eq!((table.code, table.err.as_str()), (0, ""), "{table:?}");
    let lines: Vec<_> = table.out.lines().collect();
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(ToOwned::to_owned).collect() };
    assert_eq!(
        words(lines[0]),
        ["NAME", "READY", "STATUS", "REASON", "GPU", "VRAM", "URL", "REVISION", "SINCE"]
    );
    let chat = words(lines[1]);
    assert_eq!(
        chat[..6],
        ["chat", "yes", "Running", "Healthy", "http://127.0.0.1:8010", "abcdef0"]
    );
    assert!(chat[6].ends_with('Z'), "times are absolute where no terminal is: {chat:?}");
    assert_eq!(words(lines[2])[2], "Failed");

    let wide = stage.run(&["get", "chat", "-o", "wide"]).await.out;
    assert!(wide.contains("apps/chat.yaml:1") && wide.contains("cccccccccccc"), "{wide}");
    let names = stage.run(&["get", "-o", "name"]).await.out;
    assert_eq!(names, "app/chat\napp/other\n");
    let json: Value =
        serde_json::from_str(&stage.run(&["get", "app/chat", "-o", "json"]).await.out)
            .expect("it is JSON");
    assert_eq!(json, stage.get("/api/v1/apps/chat").await.json(), "it is the API's document");
    let yaml = stage.run(&["get", "chat", "-o", "yaml"]).await.out;
    let reading = berth::manifest::read_file("chat.yaml", yaml.as_bytes());
    assert_eq!(reading.names, ["chat"], "{yaml}");
}

#[tokio::test]
async fn every_exit_code_means_what_is_documented() {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |_| ());
    stage.put("stubborn", |entry| entry.status.phase = Phase::Degraded);
    for (args, code) in [
        (&["status", "chat"][..], 0),
        (&["status", "stubborn"], 1),
        (&["get", "chat", "-o", "poem"], 2),
        (&["get", "Not-A-Name"], 2),
        (&["no-such-verb"], 2),
        (&["get", "nobody"], 3),
        (&["logs", "nobody"], 3),
        (&["restart", "nobody"], 3),
        (&["wait", "stubborn", "--for", "delete", "--timeout", "100ms"], 4),
        (&["stop", "stubborn"], 6),
        (&["confirm"], 6),
    ] {
        let ended = stage.run(args).await;
        assert_eq!(ended.code, code, "{args:?}: {ended:?}");
        assert_eq!(ended.err.is_empty(), code < 2, "{args:?}: {ended:?}");
    }
    let away = alone(&["get"]).await;
    assert_eq!((away.code, away.out.as_str()), (5, ""), "{away:?}");
    for part in ["error: no Berth answers at http://127.0.0.1:1", "help: start it with `berth run`"]
    {
        assert!(away.err.contains(part), "{away:?}");
    }
    let bad = alone(&["--server", "localhost:1", "get"]).await;
    assert!(bad.code == 2 && bad.err.contains("http://host:port"), "{bad:?}");
}

#[tokio::test]
async fn plan_says_by_its_exit_code_whether_something_differs() {
    let stage = Stage::start().await;
    stage.settle();
    stage.put("chat", |_| ());
    let same = stage.run(&["plan"]).await;
    assert_eq!((same.code, same.out.as_str()), (0, "Everything is as wanted.\n"), "{same:?}");
    stage.put("other", |entry| {
        let refusal = Refusal { reason: Reason::PortTaken, message: "8010 is taken".into() };
        Arc::make_mut(&mut entry.plan).refusals.push(refusal);
    });
    let differs = stage.run(&["plan"]).await;
    assert!(differs.code == 1 && differs.out.contains("8010 is taken"), "{differs:?}");
    assert_eq!(stage.run(&["plan", "chat"]).await.code, 0);
    let json = stage.run(&["plan", "other", "-o", "json"]).await;
    assert!(json.code == 1 && json.out.contains("\"hasDifferences\": true"), "{json:?}");

    stage.put("chat", |entry| entry.status.reason = Reason::InvalidManifest);
    assert_eq!(stage.run(&["plan", "chat"]).await.code, 2);
    stage.record.update_overview(|overview| {
        overview.hold = Some(Hold::Unreadable("no permission".to_owned()));
        overview.source_error = Some("no permission".to_owned());
    });
    let trouble = stage.run(&["plan"]).await;
    assert!(
        trouble.code == 2 && trouble.err.contains("warning: nothing is removed"),
        "{trouble:?}"
    );
    stage.record.update_overview(|overview| overview.engine = None);
    assert_eq!(stage.run(&["plan"]).await.code, 5);
}

#[tokio::test]
async fn validate_shows_every_mistake_with_its_line_and_needs_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (folder.path().join("good.yaml"), folder.path().join("bad.yaml"));
    std::fs::write(&good, MANIFEST).unwrap();
    let ended = alone(&["validate", good.to_str().unwrap()]).await;
    assert_eq!((ended.code, ended.out.as_str()), (0, "1 app in 1 file is valid\n"), "{ended:?}");

    let text = "apiVersion: berth/v1\nkind: App\nmetadata: {name: Bad!}\nspec:\n  imagee: x\n";
    std::fs::write(&bad, text).unwrap();
    let ended = alone(&["validate", folder.path().to_str().unwrap()]).await;
    assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{ended:?}");
    for part in ["bad.yaml:5:3", "imagee", "image", "bad.yaml:3:", "errors, "] {
        assert!(ended.err.contains(part), "{part} is not in {}", ended.err);
    }
    assert!(!ended.err.contains('\u{1b}'), "no colour without a terminal");
    let ended = alone(&["--color", "always", "validate", bad.to_str().unwrap()]).await;
    assert!(ended.err.contains('\u{1b}'), "{ended:?}");

    let copy = folder.path().join("copy.yaml");
    std::fs::write(&copy, MANIFEST).unwrap();
    std::fs::remove_file(&bad).unwrap();
    let ended = alone(&["validate", folder.path().to_str().unwrap()]).await;
    assert!(ended.code == 2 && ended.err.contains("good.yaml"), "two files, one name: {ended:?}");
    assert_eq!(alone(&["validate", "/nowhere"]).await.code, 2);
}

#[tokio::test]
async fn apply_creates_and_replaces_and_delete_removes() {
    let stage = Stage::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("apps.yaml");
    let other = MANIFEST.replace("name: chat\n", "name: other\n");
    std::fs::write(&file, format!("{MANIFEST}---\n{other}")).unwrap();
    let path = file.to_str().unwrap();
    let dry = stage.run(&["apply", "--dry-run", "-f", path]).await;
    assert!(dry.code == 0 && !stage.manifests().join("chat.yaml").exists(), "{dry:?}");
    let made = stage.run(&["apply", "-f", path]).await;
    assert_eq!(made.out, "app/chat created (chat.yaml)\napp/other created (other.yaml)\n");
    assert_eq!(made.code, 0, "{made:?}");
    let again = stage.run(&["apply", "-f", path]).await;
    assert_eq!(again.out, "app/chat unchanged (chat.yaml)\napp/other unchanged (other.yaml)\n");

    let mut child = command(&stage.base(), &["apply", "-f", "-"]);
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    let text = MANIFEST.replace("7860", "7861");
    child.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let replaced = ended(child.wait_with_output().await.unwrap());
    assert_eq!(replaced.out, "app/chat replaced (chat.yaml)\n", "{replaced:?}");

    std::fs::write(&file, "apiVersion: berth/v1\nkind: Appp\n").unwrap();
    let bad = stage.run(&["apply", "-f", path]).await;
    assert!(bad.code == 2 && bad.err.contains("nothing was applied"), "{bad:?}");

    let unasked = stage.run(&["delete", "chat"]).await;
    assert!(unasked.code == 2 && unasked.err.contains("help: pass --yes"), "{unasked:?}");
    let gone = stage.run(&["delete", "--yes", "chat", "nobody", "other"]).await;
    assert_eq!(gone.out, "app/chat removed (chat.yaml)\napp/other removed (other.yaml)\n");
    assert_eq!(gone.code, 3, "the one that does not exist is told: {gone:?}");
    assert_eq!(std::fs::read_dir(stage.manifests()).unwrap().count(), 0);
}

#[tokio::test]
async fn actions_are_sent_on_and_their_answer_is_shown() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    for verb in ["start", "stop", "restart", "rebuild", "reconcile"] {
        let ended = stage.run(&[verb, "chat"]).await;
        assert_eq!((ended.code, ended.out.as_str()), (0, "app/chat: on its way\n"), "{ended:?}");
    }
    assert_eq!(stage.asked.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn wait_ends_when_the_condition_holds_or_can_not_hold_any_more() {
    let stage = Stage::start().await;
    stage.put("chat", |entry| entry.status.conditions[0].status = ConditionStatus::False);
    let waiting = async {
        // Registered late, and ready even later: both are waited for.
        let ended = stage.run(&["wait", "late", "--for", "condition=Ready"]).await;
        assert_eq!((ended.code, ended.out.as_str()), (0, "app/late is Ready\n"), "{ended:?}");
    };
    let becoming = async {
        let late = |status| {
            move |entry: &mut berth::record::Entry| entry.status.conditions[0].status = status
        };
        stage.put("late", late(ConditionStatus::False));
        tokio::task::yield_now().await;
        stage.put("late", late(ConditionStatus::True));
    };
    tokio::join!(waiting, becoming);
    let late = stage.run(&["wait", "chat", "--timeout", "50ms"]).await;
    assert!(late.code == 4 && late.err.contains("berth status chat"), "{late:?}");
    stage.put("chat", |entry| {
        entry.status.conditions[0].status = ConditionStatus::False;
        entry.status.phase = Phase::Failed;
        entry.status.message = "exit code 1".to_owned();
    });
    let failed = stage.run(&["wait", "chat"]).await;
    assert!(failed.code == 1 && failed.err.contains("exit code 1"), "{failed:?}");
    let (mut child, mut lines) = stage.watch(&["wait", "chat", "--for", "delete"]);
    stage.record.forget(&AppName::new("chat").unwrap());
    assert_eq!(line(&mut lines).await, "app/chat is gone");
    assert!(child.wait().await.unwrap().success());
    assert_eq!(stage.run(&["wait", "chat", "--timeout", "50ms"]).await.code, 3);
}

#[tokio::test]
async fn status_is_one_screen_and_nothing_on_it_steers_the_terminal() {
    let stage = Stage::start().await;
    stage.put("chat", |entry| entry.status.message = "see \u{1b}[2Jhere".to_owned());
    stage.tell("chat", "title \u{1b}]0;x\u{7}");
    let ended = stage.run(&["--color", "never", "status", "chat"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    for part in
        ["chat: Running (Healthy)", "http://127.0.0.1:8010", "abcdef0", "Ready", "title", "new log"]
    {
        assert!(ended.out.contains(part), "{part} is not in {}", ended.out);
    }
    // Fault H07: what apps and manifests say is shown, never obeyed.
    assert!(!ended.out.contains('\u{1b}') && ended.out.contains("\\u{1b}[2J"), "{}", ended.out);
}

#[tokio::test]
async fn events_are_listed_and_followed() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    stage.tell("chat", "first");
    let table = stage.run(&["events", "chat"]).await;
    assert!(table.code == 0 && table.out.contains("first"), "{table:?}");
    let (_child, mut lines) = stage.watch(&["events", "-w", "-o", "json"]);
    let first: Value = serde_json::from_str(&line(&mut lines).await).unwrap();
    assert_eq!(first["message"], "first");
    stage.tell("chat", "second");
    let second: Value = serde_json::from_str(&line(&mut lines).await).unwrap();
    assert_eq!((&second["message"], &second["app"]), (&"second".into(), &"chat".into()));
}

#[tokio::test]
async fn logs_come_as_they_are_and_can_be_followed() {
    let stage = Stage::start().await;
    stage.put("chat", |_| ());
    let ended = stage.run(&["logs", "chat", "--tail", "5"]).await;
    assert_eq!(
        ended.out, "new log, tail 5\n\u{1b}[2Jcleared\n",
        "a pipe gets the bytes: {ended:?}"
    );
    assert!(stage.run(&["logs", "chat", "--previous"]).await.out.starts_with("old log"));
    let (mut child, mut lines) = stage.watch(&["logs", "-f", "chat"]);
    assert_eq!(line(&mut lines).await, "new log, tail 1000");
    stage.stop.cancel();
    line(&mut lines).await;
    assert!(child.wait().await.unwrap().success(), "the end of the log is the end");
}

#[tokio::test]
async fn run_refuses_a_wrong_configuration_with_all_that_is_wrong() {
    let ended =
        alone(&["run", "--listen", "0.0.0.0:8000", "--ports", "9-1", "--engine", "podman"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    for part in ["refusing to listen on 0.0.0.0:8000", "`ports` (flag)", "`engine` (flag)"] {
        assert!(ended.err.contains(part), "{part} is not in {}", ended.err);
    }
}

#[tokio::test]
async fn config_view_shows_each_value_and_its_origin() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("berth")).unwrap();
    let file = home.path().join("berth/config.yaml");
    std::fs::write(&file, "workers: 3\n").unwrap();
    let view = |args: &[&str], home: &Path| {
        let mut command = command("http://127.0.0.1:1", args);
        command.env("XDG_CONFIG_HOME", home).env("SERVER_PORT", "9000");
        command
    };
    let args = ["config", "view", "--origin", "--resync", "1m"];
    let table = ended(view(&args, home.path()).output().await.unwrap());
    assert_eq!(table.code, 0, "{table:?}");
    let row = |name: &str| {
        let row = table.out.lines().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("resync"), "resync 1m flag");
    assert_eq!(row("workers"), format!("workers 3 file {}", file.display()));
    assert_eq!(row("listen"), "listen 127.0.0.1:9000 environment SERVER_PORT");
    assert_eq!(row("engine"), "engine docker default");

    // Without origins the YAML form is a configuration file itself.
    let args = ["config", "view", "-o", "yaml"];
    let yaml = ended(view(&args, home.path()).output().await.unwrap()).out;
    std::fs::write(&file, &yaml).unwrap();
    let again = ended(view(&args, home.path()).output().await.unwrap());
    assert_eq!((again.code, again.out), (0, yaml), "{}", again.err);
}

#[tokio::test]
async fn schema_and_version_need_no_server() {
    let schema = alone(&["schema"]).await;
    let schema: Value = serde_json::from_str(&schema.out).unwrap();
    assert!(schema["$schema"].is_string(), "{schema}");
    assert!(alone(&["version"]).await.out.starts_with("berth "));
    let version: Value =
        serde_json::from_str(&alone(&["version", "-o", "json"]).await.out).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    let help = alone(&["run", "--help"]).await;
    let page = include_str!("../../docs/cli.md");
    for option in berth::config::OPTIONS {
        assert!(help.out.contains(&format!("--{}", option.name)), "{}", option.name);
        let starts = [' ', '`'].map(|end| format!("| `--{}{end}", option.name));
        let is_it = |line: &&str| starts.iter().any(|start| line.starts_with(start.as_str()));
        let row = page.lines().find(is_it);
        let row = row.unwrap_or_else(|| panic!("{} is not in docs/cli.md", option.name));
        let mut said = option.env.iter().copied().chain([option.default]);
        assert!(said.all(|text| row.contains(text)), "{row}");
    }
}

#[tokio::test]
async fn a_compose_file_is_imported_and_nothing_is_overwritten() {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("docker-compose.yml");
    std::fs::write(
        &file,
        "services:\n  My_App:\n    image: ${I}:1\n    restart: always\n    tty: true\n",
    )
    .unwrap();
    let (file, out) = (file.to_str().unwrap(), top.path().join("out"));
    let args = ["import", "compose", file, "-d", out.to_str().unwrap()];
    let bare = alone(&args).await;
    assert_eq!(bare.code, 2, "{}", bare.err);
    assert!(
        bare.err.contains("docker-compose.yml:3") && bare.err.contains("variable I"),
        "{}",
        bare.err
    );
    std::fs::write(top.path().join(".env"), "I=acme\n").unwrap();

    let strict = alone(&[&args[..], &["--strict"]].concat()).await;
    assert_eq!((strict.code, out.exists()), (6, false), "{}", strict.err);
    let done = alone(&args).await;
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.err.contains(":5") && done.err.contains("services.My_App.tty"), "{}", done.err);
    let manifest = std::fs::read_to_string(out.join("my-app.yaml")).unwrap();
    assert!(manifest.contains("image: \"acme:1\""), "{manifest}");
    assert_eq!(alone(&["validate", out.to_str().unwrap()]).await.code, 0);
    assert_eq!(alone(&args).await.code, 6);
    let forced = alone(&[&args[..], &["--force", "--name", "mine", "-o", "json"]].concat()).await;
    let said: Value = serde_json::from_str(&forced.out).unwrap();
    assert_eq!(said["manifests"][0]["app"], "mine");
    assert_eq!(said["findings"][0]["level"], "lost");
    assert!(out.join("mine.yaml").exists());
}
