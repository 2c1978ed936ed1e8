//! The real program with cards, and without.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use super::{Fake, THREE};

/// Longer than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// `berth run` on an engine in memory.
struct Program {
    _child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    /// The log so far.
    said: Vec<Value>,
    server: String,
}

impl Program {
    async fn start(fake: &Fake, library: &str) -> Self {
        let folder = |part: &str| fake.path(part).display().to_string();
        std::fs::create_dir(fake.path("manifests")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_berth"))
            .args(["run", "--engine", "fake", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--manifests", &folder("manifests"), "--state-dir", &folder("state-dir")])
            .args(["--workspaces", &folder("workspaces"), "--nvml-library", &folder(library)])
            .args(["--instance", &format!("gpu-{}", std::process::id()), "--log", "info"])
            .env("PATH", "/nowhere")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut program = Self { _child: child, lines, said: Vec::new(), server: String::new() };
        let line = program.until_said("berth is running").await;
        line["address"].as_str().unwrap().clone_into(&mut program.server);
        program
    }

    /// A line of its log with this in its message, past or to come.
    async fn until_said(&mut self, message: &str) -> Value {
        let has = |line: &&Value| line["message"].as_str().is_some_and(|m| m.contains(message));
        let reading = async {
            loop {
                if let Some(line) = self.said.iter().find(has) {
                    return line.clone();
                }
                let line = self.lines.next_line().await.unwrap().expect("its log has ended");
                self.said.push(serde_json::from_str(&line).unwrap_or_default());
            }
        };
        let read = tokio::time::timeout(PATIENCE, reading).await;
        read.unwrap_or_else(|_| panic!("it never says `{message}`: {:#?}", self.said))
    }

    /// Runs a verb against it: exit code, output, complaints.
    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.env_clear().env("BERTH_SERVER", &self.server).args(args).stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    async fn until_gpus(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let asking = async {
            loop {
                let (code, out, err) = self.run(&["gpu", "ls", "-o", "json"]).await;
                assert_eq!((code, err.as_str()), (0, ""));
                let document = serde_json::from_str(&out).unwrap();
                if holds(&document) {
                    return document;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, asking).await;
        found.unwrap_or_else(|_| panic!("never: {what}"))
    }

    /// Waits until the engine's side has looked at an app of this name.
    async fn until_known(&self, app: &str) {
        let asking = async {
            while self.run(&["get", app]).await.0 != 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap();
    }
}

fn manifest(app: &str) -> String {
    format!("apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec: {{image: none:1}}\n")
}

#[tokio::test]
async fn cards_are_listed_with_units_holders_and_health() {
    let fake = Fake::new(THREE);
    let mut program = Program::start(&fake, "libnvidia-ml.so.1").await;
    program.until_said("GPU 2 (NVIDIA H200, GPU-c) is there").await;
    let all = program.until_gpus("three cards", |all| all["gpus"][2].is_object()).await;
    assert_eq!(
        (&all["driver"], &all["cuda"], &all["by"]),
        (&"550.54.15".into(), &"12.4".into(), &"nvml".into())
    );
    assert_eq!((&all["isStale"], &all["queue"]), (&false.into(), &serde_json::json!([])));
    let first = &all["gpus"][0];
    assert_eq!(first["memory"]["total"], 143_771_u64 << 20);
    assert_eq!(first["memory"]["free"], (143_771_u64 - 600 - 10_240) << 20);
    assert_eq!((&first["powerWatts"], &first["energyJoules"]), (&312.5.into(), &123_456.into()));
    assert_eq!(first.get("fanPercent"), None, "absent is absent");
    assert_eq!(first["holders"][0]["kind"], "process");
    assert_eq!(all["gpus"][2]["parts"][0]["profile"], "1g.18gb");
    let (code, table, _) = program.run(&["gpu", "ls"]).await;
    let lines: Vec<_> = table.lines().collect();
    assert_eq!((code, lines.len()), (0, 4), "{table}");
    for part in ["GPU-a", "NVIDIA H200", "10Gi", "87%", "61°C", "312W", "process 4711", "well"] {
        assert!(lines[1].contains(part), "{part} is not in:\n{table}");
    }
    // Who waits is said below the cards.
    let queued = manifest("queued").replace("none:1", "none:1, gpus: {ids: [GPU-a]}");
    fake.write("manifests/queued.yaml", &queued);
    program.until_gpus("one waits", |all| all["queue"][0]["message"].is_string()).await;
    let (code, _, told) = program.run(&["gpu", "ls"]).await;
    assert_eq!((code, told.lines().count()), (0, 1), "{told}");
    let words = ["queued waits: needs 1 GPU", "(10 GiB)"];
    assert!(words.iter().all(|word| told.contains(word)), "{told}");
    // One falls off the bus: told once, listed as what it was, and well again later.
    let lost = THREE.replace("gpu 1 uuid=GPU-b", "gpu 1 error=15 uuid=GPU-b");
    fake.say(&lost);
    program.until_said("GPU 1 (NVIDIA H200, GPU-b) is given to nobody: it is lost").await;
    let seen = program.until_gpus("it is lost", |all| all["gpus"][1]["health"]["isWell"] == false);
    assert_eq!(seen.await["gpus"][0]["health"]["isWell"], true);
    fake.say(THREE);
    program.until_said("GPU 1 (NVIDIA H200, GPU-b) is well again").await;
    let events = program.run(&["events"]).await.1;
    assert_eq!(events.matches("GPU-b").count(), 2, "{events}");
}

/// Fault U08: the driver hangs for good; apps go on.
#[tokio::test]
async fn a_hanging_driver_holds_nobody_up() {
    let fake = Fake::new(THREE);
    let mut program = Program::start(&fake, "libnvidia-ml.so.1").await;
    program.until_gpus("three cards", |all| all["gpus"][2].is_object()).await;
    fake.say(&format!("{THREE}\nhang nvmlDeviceGetCount_v2\n"));
    program.until_said("has not answered").await;
    fake.write("manifests/chat.yaml", &manifest("chat"));
    program.until_known("chat").await;
    let (code, table, told) = program.run(&["gpu", "ls"]).await;
    assert_eq!((code, table.lines().count()), (0, 4), "what was known is still shown: {table}");
    assert!(told.contains("has not answered"), "{told}");
}

#[tokio::test]
async fn without_gpus_it_says_why_once_and_is_ready() {
    let fake = Fake::new("sys init=9\n");
    let mut program = Program::start(&fake, "libnvidia-ml.so.1").await;
    program.until_said("no GPUs: the kernel module of NVIDIA's driver is not loaded").await;
    fake.write("manifests/chat.yaml", &manifest("chat"));
    program.until_known("chat").await;
    let (code, table, told) = program.run(&["gpu", "ls"]).await;
    assert_eq!((code, table.as_str()), (0, ""));
    assert!(told.contains("has no GPUs") && told.contains("is not loaded"), "{told}");
    let (code, names, _) = program.run(&["gpu", "ls", "-o", "name"]).await;
    assert_eq!((code, names.as_str()), (0, ""));
}
