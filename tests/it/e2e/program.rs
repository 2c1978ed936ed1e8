//! The `berth` program as a process that can be killed.

use std::{
    os::unix::process::ExitStatusExt as _, path::Path, process::Stdio, sync::Arc, time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, timeout, timeout_at},
};

use super::{
    engine,
    stage::{PATIENCE, Stage},
};
use crate::proxy::Hook;

/// The network of the real program; its name is not to be chosen.
const NETWORK: &str = "berth";

/// The `berth` program, running.
pub(super) struct Program {
    child: Child,
    /// Its log. It is read as it comes: a program that nobody listens to stands still once the
    /// pipe is full.
    lines: UnboundedReceiver<String>,
    started: Instant,
}

impl Program {
    pub(super) fn start(stage: &Stage) -> Self {
        Self::start_at(stage, &engine::host(), "auto")
    }

    /// Starts it on the engine at this address, with this builder.
    pub(super) fn start_at(stage: &Stage, engine: &str, builder: &str) -> Self {
        Self::start_with(stage, engine, builder, |_| {})
    }

    /// Starts it with more arguments or another environment.
    pub(super) fn start_with(
        stage: &Stage,
        engine: &str,
        builder: &str,
        more: impl FnOnce(&mut Command),
    ) -> Self {
        let own = Command::new(env!("CARGO_BIN_EXE_berth"));
        Self::start_command(own, stage, engine, builder, more)
    }

    /// Starts a program that may be of another version.
    pub(super) fn start_other(program: &Path, stage: &Stage) -> Self {
        Self::start_command(Command::new(program), stage, &engine::host(), "auto", |_| {})
    }

    /// Starts it under the umask of its unit.
    pub(super) fn start_closed(stage: &Stage) -> Self {
        let mut own = Command::new("sh");
        let line = "umask 077; exec \"$0\" \"$@\"";
        own.args(["-c", line, env!("CARGO_BIN_EXE_berth")]);
        Self::start_command(own, stage, &engine::host(), "auto", |_| {})
    }

    fn start_command(
        mut command: Command,
        stage: &Stage,
        engine: &str,
        builder: &str,
        more: impl FnOnce(&mut Command),
    ) -> Self {
        let folder = |part: &str| stage.path(part).display().to_string();
        command
            .args(["run", "--manifests", &folder("manifests"), "--state-dir", &folder("state")])
            .args(["--workspaces", &folder("workspaces"), "--model-store", &folder("models")])
            .args(["--listen", "127.0.0.1:0", "--docker-host", engine])
            .args(["--builder", builder])
            .args(["--base-image", engine::BASE, "--instance", &stage.instance])
            .args(["--ports", &format!("{}-{}", stage.ports.first, stage.ports.last)])
            .args(["--allow-local-git", "--resync", "2s", "--log-format", "json"])
            .env("BERTH_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        more(&mut command);
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let (tell, lines) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = log.next_line().await {
                let _ = tell.send(line);
            }
        });
        Self { child, lines, started: Instant::now() }
    }

    /// Lets it work for a time that differs with `nth`, by its log or by the clock, and kills it.
    pub(super) async fn kill_somewhere(mut self, nth: usize) {
        let step = u64::try_from(nth).unwrap();
        let until = self.started + Duration::from_millis(20 * (step % 30));
        if nth.is_multiple_of(2) {
            let latest = self.started + Duration::from_millis(800);
            for _ in 0..=(nth / 2 % 9) {
                let _ = timeout_at(latest, self.lines.recv()).await;
            }
        } else {
            tokio::time::sleep_until(until).await;
        }
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "it ended by itself: {}",
            self.rest().await
        );
        self.child.kill().await.unwrap();
    }

    /// What ends it as a power cut does, at once and from anywhere.
    pub(super) fn killer(&self) -> Hook {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        Arc::new(move || {
            let _ = kill_process(pid, Signal::KILL);
        })
    }

    /// Whether it was killed. That it ends by itself is never right.
    pub(super) fn was_killed(&mut self) -> bool {
        let Some(status) = self.child.try_wait().unwrap() else { return false };
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "it ended by itself: {status}");
        true
    }

    /// Has it stand still, as one that hangs.
    pub(super) fn freeze(&self) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
    }

    /// Ends it, unless it has ended.
    pub(super) async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Waits for a line of its log.
    pub(super) async fn until_it_says(&mut self, message: &str) {
        let read = async {
            while let Some(line) = self.lines.recv().await {
                if line.contains(message) {
                    return;
                }
            }
            panic!("its log has ended without `{message}`");
        };
        timeout(PATIENCE, read).await.unwrap();
    }

    /// Waits until it listens; answers where.
    pub(super) async fn address(&mut self) -> String {
        let read = async {
            while let Some(line) = self.lines.recv().await {
                let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if said["message"] == "listening" {
                    return said["address"].as_str().unwrap().to_owned();
                }
            }
            panic!("its log has ended before it listened");
        };
        timeout(PATIENCE, read).await.unwrap()
    }

    /// Asks it to end; answers whether it did so in good order.
    pub(super) async fn stop(&mut self) -> bool {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap().success()
    }

    /// What is left to read of its log.
    pub(super) async fn rest(&mut self) -> String {
        let mut text = String::new();
        let read = async {
            while let Some(line) = self.lines.recv().await {
                text.push_str(&line);
                text.push('\n');
            }
        };
        let _ = timeout(Duration::from_secs(1), read).await;
        text
    }
}

/// Removes the program's network, as far as it is ours.
pub(super) struct Network(pub(super) String);

impl Drop for Network {
    fn drop(&mut self) {
        engine::clean(&self.0, NETWORK);
    }
}
