//! The tutorial, as a person goes through it: every command of it, on a real engine.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use tokio::time::Instant;

use super::{
    engine,
    program::Network,
    stage::{PATIENCE, Stage},
};
use crate::command::docs::blocks;

/// A Berth that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a shell is told in the reader's folder. What differs from a reader's machine is said by the
/// environment, so that the commands are the tutorial's own.
fn shell(stage: &Stage, folder: &Path, script: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_berth")).parent().unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", script]).current_dir(folder).stdin(Stdio::null());
    shell.env_clear().env("PATH", format!("{}:/usr/bin:/bin", program.display()));
    shell.env("HOME", stage.path("home")).env("LANG", "C.UTF-8");
    for who in ["AUTHOR", "COMMITTER"] {
        shell.env(format!("GIT_{who}_NAME"), "reader").env(format!("GIT_{who}_EMAIL"), "r@example");
    }
    shell
        .env("BERTH_INSTANCE", &stage.instance)
        .env("BERTH_PORTS", format!("{}-{}", stage.ports.first, stage.ports.last))
        .env("BERTH_LISTEN", "127.0.0.1:0")
        .env("BERTH_DOCKER_HOST", engine::host())
        .env("BERTH_BASE_IMAGE", engine::BASE)
        .env("BERTH_STATE_DIR", folder.join(".berth/state"))
        .env("BERTH_MODEL_STORE", stage.path("models"));
    shell
}

#[test]
fn every_command_of_the_tutorial_does_what_it_says() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let folder = stage.path("reader");
    fs::create_dir(&folder).unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tutorial.md");
    let mut berth = None;
    let mut ran = 0;
    for (language, block) in blocks(&fs::read_to_string(page).unwrap()) {
        assert_eq!(language, "sh", "{block}");
        ran += block.lines().count();
        if block.starts_with("berth run") {
            let log = fs::File::create(stage.path("log")).unwrap();
            let mut run = shell(&stage, &folder, &format!("exec {block}"));
            berth = Some(Running(run.stdout(Stdio::null()).stderr(log).spawn().unwrap()));
            until(&stage, "Berth answers", || succeeds(&stage, &folder, "berth get"));
            continue;
        }
        let ended = shell(&stage, &folder, &block).output().unwrap();
        let log = || fs::read_to_string(stage.path("log")).unwrap_or_default();
        assert!(ended.status.success(), "{block}\n{ended:?}\n{}", log());
        if block.contains("curl") {
            let answer = String::from_utf8_lossy(&ended.stdout).into_owned();
            assert!(answer.contains("app.py"), "the app answers with its folder: {answer}");
        }
    }
    assert!(20 < ran && berth.is_some(), "only {ran} lines were found");
    until(&stage, "the app is gone", || stage.containers("hello").is_empty());
    assert!(folder.join(".berth/work/hello/data").is_dir(), "the data stays");
}

fn succeeds(stage: &Stage, folder: &Path, script: &str) -> bool {
    shell(stage, folder, script).output().unwrap().status.success()
}

fn until(stage: &Stage, what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        let log = || fs::read_to_string(stage.path("log")).unwrap_or_default();
        assert!(begun.elapsed() < PATIENCE, "never: {what}\n{}", log());
    }
}
