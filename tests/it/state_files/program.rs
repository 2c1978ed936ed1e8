//! The real program and its state folder, on an engine in memory.

#![expect(clippy::disallowed_methods, reason = "other programs are waited for, without a runtime")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::folder::Mounted;

/// Longer than anything takes that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir(home.path("manifests")).unwrap();
        let text =
            "apiVersion: berth/v1\nkind: App\nmetadata: {name: chat}\nspec: {image: none:1}\n";
        fs::write(home.path("manifests/chat.yaml"), text).unwrap();
        home
    }

    fn path(&self, part: &str) -> PathBuf {
        self.0.path().join(part)
    }

    fn command(&self, state: &Path, instance: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.args([
            "run",
            "--engine",
            "fake",
            "--listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ]);
        command.args(["--log", "info", "--instance", instance]);
        for part in ["manifests", "workspaces"] {
            command.arg(format!("--{part}")).arg(self.path(part));
        }
        command.arg("--state-dir").arg(state).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// What it complains about, and that it ends; nobody is asked to end it.
    fn refusal(&self, state: &Path, instance: &str) -> String {
        let output = self.command(state, instance).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn start(&self, state: &Path, instance: &str) -> Program {
        let mut child = self.command(state, instance).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut program = Program { child, log, server: String::new() };
        let line = program.until_said("berth is running");
        line["address"].as_str().unwrap().clone_into(&mut program.server);
        program
    }
}

/// A name that no other test process has.
fn instance(test: &str) -> String {
    format!("{test}-{}", std::process::id())
}

struct Program {
    child: Child,
    log: BufReader<ChildStderr>,
    server: String,
}

impl Program {
    /// Waits for a line of its log. The test's own time limit ends a wait for what never comes.
    fn until_said(&mut self, message: &str) -> Value {
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "its log has ended without `{message}`");
            if line.contains(message) {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    fn ask(&self, args: &[&str]) {
        let output = self.asked(args);
        assert!(output.status.success(), "{output:?}");
    }

    fn asked(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.args(args).args(["--server", &self.server]).output().unwrap()
    }

    /// What a command complains about that did not do what was asked.
    fn refusal(&self, args: &[&str]) -> String {
        let output = self.asked(args);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Waits until it knows its app.
    fn until_it_knows(&self, app: &str) {
        until("it knows its app", || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
            let output = command.args(["get", app, "--server", &self.server]).output().unwrap();
            output.status.success()
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never came to pass: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

// D22: the second refuses, and the first does not even notice.
#[test]
fn the_second_berth_refuses_to_start() {
    let home = Home::new();
    let (state, other) = (home.path("state"), home.path("other"));
    let (mine, another) = (instance("two"), instance("three"));
    let mut first = home.start(&state, &mine);
    let said = home.refusal(&state, &mine);
    assert!(said.contains("another Berth runs on the state folder"), "{said}");
    assert!(said.contains("--state-dir"), "{said}");
    let said = home.refusal(&other, &mine);
    assert!(said.contains("runs on this engine") && said.contains("--instance"), "{said}");
    assert!(first.child.try_wait().unwrap().is_none());
    drop(home.start(&other, &another));
    // Killed, it holds nothing any more.
    drop(first);
    drop(home.start(&state, &mine));
}

// T02: what a newer Berth has written is not touched, and nothing is done without it.
#[test]
fn a_newer_state_stops_the_program_at_once() {
    let home = Home::new();
    let state = home.path("state");
    fs::create_dir(&state).unwrap();
    let text = r#"{"format": 7, "apps": {"chat": {"isPaused": true}}}"#;
    fs::write(state.join("state.json"), text).unwrap();
    let said = home.refusal(&state, &instance("newer"));
    assert!(said.contains("written by a newer Berth (format 7"), "{said}");
    assert!(said.contains("install that version"), "{said}");
    assert_eq!(fs::read_to_string(state.join("state.json")).unwrap(), text);
    assert!(!home.path("workspaces").exists());
}

// D41, D42: a full disk is told once, and what could not be written is written once there is room.
#[test]
fn what_a_full_disk_kept_from_being_written_is_written_later() {
    let home = Home::new();
    let state = home.path("state");
    fs::create_dir(&state).unwrap();
    let _mounted = Mounted::at(&state, "32k").expect("a file system of its own takes root");
    let mut program = home.start(&state, &instance("full"));
    program.until_it_knows("chat");
    let is_paused = |text: &str| text.contains(r#""isPaused":true"#);
    let read = || fs::read_to_string(state.join("state.json")).unwrap_or_default();
    until("the state is written", || read().contains("chat"));
    let filler = state.join("filler");
    let _ = fs::write(&filler, vec![0; 1 << 20]);
    let said = program.refusal(&["stop", "chat"]);
    assert!(said.contains("is not on the disk") && said.contains("could not be written"), "{said}");
    program.until_said("state not written");
    assert!(read().contains("chat") && !is_paused(&read()), "the old state stays whole");
    fs::remove_file(&filler).unwrap();
    program.until_said("state written again");
    assert!(is_paused(&read()));
}

// D42, T01: killed as soon as a command is answered, it knows of it when it is started again.
#[test]
fn what_was_answered_outlives_a_kill_of_the_program() {
    let home = Home::new();
    let (state, mine) = (home.path("state"), instance("kept"));
    let is_paused = || {
        let text = fs::read_to_string(state.join("state.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["apps"]["chat"]["isPaused"] == true
    };
    for round in 0..8 {
        let program = home.start(&state, &mine);
        program.until_it_knows("chat");
        let is_stop = round % 2 == 0;
        program.ask(&[if is_stop { "stop" } else { "start" }, "chat"]);
        drop(program);
        assert_eq!(is_paused(), is_stop, "round {round}");
    }
}
