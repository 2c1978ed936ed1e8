//! A backup to a remote of rclone while an app writes without a pause: the app stands still while its
//! data is read, goes on, and what comes back elsewhere is of one moment.

use std::{fs, process::Command};

use super::{
    engine::{self, host},
    program::{Network, Program},
    stage::{Stage, eventually, tiny},
};
use crate::backup::remote::Served;

/// Writes one number into two files, one after the other, and a line of a third that grows.
const WRITER: &str = "i=0; cd /workspace; while :; do i=$((i+1)); echo $i >a; echo $i >b; \
                      echo row $i of those that are written >>rows; sleep 0.01; done";

/// `berth backup` on the folders of a machine, as another instance where it is another machine.
fn backup(stage: &Stage, machine: &str, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.arg("backup").args(args);
    for (option, part) in [
        ("--state-dir", "state"),
        ("--manifests", "manifests"),
        ("--workspaces", "workspaces"),
        ("--model-store", "models"),
    ] {
        command.arg(option).arg(stage.path(machine).join(part));
    }
    let instance = format!("{}{}", stage.instance, machine.replace('.', ""));
    command.env("BERTH_INSTANCE", instance).env("BERTH_DOCKER_HOST", host());
    let ended = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ended.status.success(), "{args:?}: {}", text(&ended.stderr));
    text(&ended.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_writes_is_kept_at_a_remote_as_of_one_moment() {
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let served = Served::of(&stage.path("server"));
    let remote = served.remote("deep/berth");
    stage.write("writer.yaml", &tiny("writer", &format!("[sh, -c, \"{WRITER}\"]"), "health: none"));
    let mut program = Program::start(&stage);
    program.address().await;
    let rows = stage.workspace("writer", "data/rows");
    let written = || fs::metadata(&rows).map_or(0, |found| found.len());
    assert!(eventually(|| 10_000 < written()).await, "it never wrote");

    // Not torn: exit code 0 says so.
    let made = backup(&stage, "", &["create", "--at", &remote, "--pause", "writer"]);
    assert!(made.contains("is at rclone:"), "{made}");
    let then = written();
    assert!(eventually(|| then < written()).await, "it does not go on");
    assert!(stage.containers("writer").iter().all(engine::Seen::is_running));
    assert!(backup(&stage, "", &["verify", "--at", &remote]).starts_with("whole: 1 backups"));

    backup(&stage, "new", &["restore", "--at", &remote]);
    let read = |file: &str| {
        fs::read_to_string(stage.path("new/workspaces/writer/data").join(file)).unwrap()
    };
    let number = |file: &str| read(file).trim().parse::<u64>().unwrap_or_default();
    // The file that is written just then may be empty: the shell has emptied it, and not written.
    let (first, second, lines) = (number("a"), number("b"), read("rows"));
    let last = u64::try_from(lines.lines().count()).unwrap();
    let is_of_one_moment = |number: u64| number == 0 || (last..=last + 1).contains(&number);
    assert!(is_of_one_moment(first) && is_of_one_moment(second), "{first} {second} {last}");
    assert!(lines.ends_with("written\n") && 100 < last, "{last}");
    for (nth, line) in lines.lines().enumerate() {
        assert_eq!(line, format!("row {} of those that are written", nth + 1));
    }
    assert!(program.stop().await);
}
