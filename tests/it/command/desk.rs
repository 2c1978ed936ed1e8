//! A Berth of one's own, and what its command line says.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::Instant;

/// What an app of these tests is made from.
pub(super) const CHAT: &str = "# The chat of the tests.
apiVersion: berth/v1
kind: App
metadata:
  name: chat
  labels: {team: vision}
spec:
  image: example.com/chat:1
  run: python app.py
  port: 7860
  health: none   # nobody listens
  resources: {memory: 1Gi}
";

/// What a command did.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

/// A running Berth.
pub(super) struct Desk {
    daemon: Child,
    pub(super) folder: tempfile::TempDir,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Desk {
    /// One with the app `chat`, which runs.
    pub(super) fn start() -> Self {
        let desk = Self::empty();
        desk.write("chat.yaml", CHAT);
        let applied = desk.run(&["apply", "-f", "chat.yaml"]);
        assert_eq!(applied.code, 0, "{applied:?}");
        desk.settle("chat");
        desk
    }

    /// Waits until an app runs and nothing is left to be done for it.
    pub(super) fn settle(&self, name: &str) {
        let waited = self.run(&["wait", name, "--timeout", "60s"]);
        assert_eq!(waited.code, 0, "{waited:?}");
        self.until("nothing is left to do", |desk| desk.run(&["plan"]).code == 0);
    }

    /// One without an app.
    pub(super) fn empty() -> Self {
        Self::with(&[])
    }

    /// One without an app, with more options.
    pub(super) fn with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["manifests", "state", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut command = program(folder.path());
        let log = fs::File::create(folder.path().join("log")).unwrap();
        command.args(["run", "--engine", "fake", "--listen", "127.0.0.1:0", "--model-store"]);
        command
            .arg(folder.path().join("models"))
            .args(["--resync", "1s", "--ports", "20000-29999"])
            .args(options);
        command.stdout(Stdio::null()).stderr(log);
        let daemon = command.spawn().unwrap();
        let desk = Self { daemon, folder };
        desk.until("Berth answers", |desk| desk.run(&["get"]).code == 0);
        desk
    }

    /// Waits until something is so.
    pub(super) fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}\n{}", log());
            // The answer of a command takes a while: nothing else is waited for.
            std::thread::yield_now();
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The command line, as it is run in the desk's folder.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = program(self.folder.path());
        command.args(args);
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Ended {
        ended(&mut self.command(args))
    }

    pub(super) fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ended {
        let mut command = self.command(args);
        command.envs(env.iter().copied());
        ended(&mut command)
    }
}

/// Runs a command to its end.
pub(super) fn ended(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The built program, which knows of nothing but this folder.
pub(super) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.env_clear().current_dir(folder).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let at = |name: &str| folder.join(name);
    for (name, path) in [
        ("HOME", at("home")),
        ("BERTH_STATE_DIR", at("state")),
        ("BERTH_MANIFESTS", at("manifests")),
        ("BERTH_WORKSPACES", at("work")),
    ] {
        command.env(name, path);
    }
    command
        .env("PATH", "/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .env("BERTH_INSTANCE", instance(folder));
    command
}

/// An instance that no other test has.
fn instance(folder: &Path) -> String {
    let name = folder.file_name().unwrap().to_string_lossy();
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("t{}", name.to_ascii_lowercase())
}
