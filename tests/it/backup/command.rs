//! `berth backup`, and a Berth that makes backups by itself.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use age::secrecy::ExposeSecret as _;

use super::yard::Yard;

fn berth(yard: &Yard, machine: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    let folder = |root: &str| yard.path(machine).join(root);
    command
        .arg("backup")
        .args(args)
        .arg("--at")
        .arg(yard.path("at"))
        .arg("--state-dir")
        .arg(folder("state"))
        .arg("--manifests")
        .arg(folder("manifests"))
        .arg("--workspaces")
        .arg(folder("workspaces"))
        .arg("--model-store")
        .arg(folder("models"))
        .arg("--secrets-dir")
        .arg(folder("secrets"))
        .env_remove("BERTH_BACKUP_PASSPHRASE")
        .env("HOME", yard.path("home"))
        .env("BERTH_INSTANCE", "backups-of-tests")
        .stdin(Stdio::null());
    command
}

#[track_caller]
fn ended(mut command: Command, code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(code), "{out}\n{err}");
    (out, err)
}

#[test]
fn backups_are_made_listed_verified_pruned_and_restored_by_hand() {
    let yard = Yard::filled();
    let run = |args: &[&str], code| ended(berth(&yard, "old", args), code);
    let (plan, _) = run(&["create", "--dry-run"], 0);
    assert!(plan.contains("workspaces: ") && plan.contains("left out: "), "{plan}");
    let (_, said) = run(&["create"], 0);
    assert!(said.contains("only an encrypted backup holds secrets"), "{said}");
    run(&["create", "--no-data"], 0);
    let (list, _) = run(&["ls", "-o", "json"], 0);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let first = list["items"][0]["name"].as_str().unwrap();
    let (whole, _) = run(&["verify"], 0);
    assert!(whole.starts_with("whole: 2 backups"), "{whole}");
    let (_, full) = run(&["restore", first], 6);
    assert!(full.contains("backup.not-empty") && full.contains("--over"), "{full}");
    let (plan, _) = ended(berth(&yard, "new", &["restore", first, "--dry-run"]), 0);
    assert!(plan.contains("workspaces: ") && !yard.path("new").exists(), "{plan}");
    ended(berth(&yard, "new", &["restore", first]), 0);
    assert!(yard.path("new/workspaces/chat/data/db").exists());
    let (again, _) = ended(berth(&yard, "new", &["restore", first]), 0);
    assert!(again.contains("restored before"), "{again}");
    let (gone, _) = run(&["prune", "--keep", "1"], 0);
    assert!(gone.contains(first), "{gone}");
    run(&["restore", first], 3);
    run(&["schedule"], 1);
}

/// A name with a mistake would keep nothing, and nobody would hear of it.
#[test]
fn an_app_that_is_not_there_is_refused() {
    let yard = Yard::filled();
    for option in ["--pause", "--data"] {
        let (_, said) = ended(berth(&yard, "old", &["create", option, "chta"]), 3);
        assert!(said.contains("no app `chta`"), "{said}");
    }
    ended(berth(&yard, "old", &["create", "--data", "chat"]), 0);
}

/// The passphrase comes by a file, by standard input or by the environment; a key by a file.
#[test]
fn a_passphrase_is_never_an_argument() {
    let yard = Yard::filled();
    let file = yard.path("words");
    fs::write(&file, "correct horse\n").unwrap();
    let mut by_input = berth(&yard, "old", &["create", "--passphrase-file", "-"]);
    by_input.stdin(fs::File::open(&file).unwrap());
    ended(by_input, 0);
    let (_, refused) = ended(berth(&yard, "old", &["ls"]), 6);
    assert!(refused.contains("backup.no-key"), "{refused}");
    let mut by_env = berth(&yard, "old", &["ls"]);
    by_env.env("BERTH_BACKUP_PASSPHRASE", "correct horse");
    ended(by_env, 0);
    let key = age::x25519::Identity::generate();
    fs::write(&file, key.to_string().expose_secret()).unwrap();
    let words = file.display().to_string();
    let (_, refused) = ended(berth(&yard, "old", &["ls", "--identity", &words]), 6);
    assert!(refused.contains("backup.no-key"), "{refused}");
    fs::remove_dir_all(yard.path("at")).unwrap();
    ended(berth(&yard, "old", &["create", "--identity", &words]), 0);
    ended(berth(&yard, "old", &["verify", "--identity", &words]), 0);
}

/// A Berth on an engine in memory.
struct Running(Child);

impl Running {
    fn start(yard: &Yard, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.args(["run", "--engine", "fake", "--listen", "127.0.0.1:0", "--instance"]);
        // The machine has one of each name.
        command.arg(format!("b-{}", std::process::id()));
        for (option, part) in [
            ("--state-dir", "state"),
            ("--manifests", "manifests"),
            ("--workspaces", "workspaces"),
            ("--model-store", "models"),
        ] {
            command.arg(option).arg(yard.path("old").join(part));
        }
        command.arg("--backup-to").arg(yard.path("at")).args(args);
        let log = fs::File::create(yard.path("log")).unwrap();
        Self(command.stdin(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn until(what: &str, log: &Path, holds: impl Fn() -> bool) {
    for _ in 0..1200 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}\n{}", fs::read_to_string(log).unwrap());
}

#[tokio::test]
async fn a_berth_makes_backups_by_itself_and_refuses_a_state_that_is_half_restored() {
    let yard = Yard::filled();
    let snapshots = yard.path("at/snapshots");
    let count = || fs::read_dir(&snapshots).map_or(0, Iterator::count);
    let log = yard.path("log");
    {
        let _berth = Running::start(&yard, &["--backup-every", "1h"]);
        until("no backup was made", &log, || count() == 1).await;
        let told = || fs::read_to_string(&log).unwrap().contains("backed up");
        until("it is not told", &log, told).await;
    }
    {
        // One is there that is young enough.
        let _berth = Running::start(&yard, &["--backup-every", "1h"]);
        let runs = || fs::read_to_string(&log).unwrap().contains("berth is running");
        until("it does not start", &log, runs).await;
        assert_eq!(count(), 1);
    }
    {
        // One that can't be read keeps older ones from going, and makes the new one no failure.
        let one = fs::read_dir(&snapshots).unwrap().next().unwrap().unwrap().path();
        fs::write(one, "{").unwrap();
        let _berth = Running::start(&yard, &["--backup-every", "1h"]);
        let told = || fs::read_to_string(&log).unwrap().contains("backups are not tidied up");
        until("it is not told", &log, told).await;
        assert_eq!(count(), 2);
        let said = fs::read_to_string(&log).unwrap();
        assert!(said.contains("backed up") && !said.contains("no backup was made"), "{said}");
    }
    {
        // The disk is not mounted: its folder is empty, and stays so.
        fs::remove_dir_all(yard.path("at")).unwrap();
        fs::create_dir(yard.path("at")).unwrap();
        let _berth = Running::start(&yard, &["--backup-every", "1h"]);
        let told = || fs::read_to_string(&log).unwrap().contains("mount its disk");
        until("it is not told", &log, told).await;
        assert_eq!(fs::read_dir(yard.path("at")).unwrap().count(), 0);
    }
    for root in ["state", "manifests"] {
        let stage = yard.old(root).join(".berth-restore");
        fs::create_dir(&stage).unwrap();
        let mut half = Running::start(&yard, &[]);
        assert!(!half.0.wait().unwrap().success());
        let said = fs::read_to_string(&log).unwrap();
        assert!(said.contains("did not end"), "{said}");
        fs::remove_dir(stage).unwrap();
    }
}

/// Who made, pruned or restored backups, and how it went; what only looks is nobody's deed.
#[test]
fn the_audit_log_has_what_was_done_by_hand() {
    let yard = Yard::filled();
    // A log without records: a Berth ran here.
    fs::remove_file(yard.path("old/state/audit/audit.jsonl")).unwrap();
    let run = |args: &[&str], code| ended(berth(&yard, "old", args), code);
    for args in [&["create"][..], &["ls"], &["create", "--dry-run"], &["verify"], &["create"]] {
        run(args, 0);
    }
    run(&["prune", "--keep", "1", "--dry-run"], 0);
    run(&["prune", "--keep", "1"], 0);
    run(&["restore"], 6);
    let deeds = |machine: &str| -> Vec<(String, String, String)> {
        let text = fs::read_to_string(yard.path(machine).join("state/audit/audit.jsonl")).unwrap();
        let read = |line: &str| {
            let deed: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(deed["who"]["kind"], "cli");
            assert!(deed["after"]["at"].is_string(), "{deed}");
            let field = |name: &str| deed[name].as_str().unwrap().to_owned();
            (field("action"), field("object"), field("outcome"))
        };
        text.lines().map(read).collect()
    };
    let done = deeds("old");
    let said: Vec<_> =
        done.iter().map(|(action, _, outcome)| (action.as_str(), outcome.as_str())).collect();
    let made = ("backup.create", "done");
    assert_eq!(said, [made, made, ("backup.prune", "done"), ("backup.restore", "failed")]);
    assert!(done[0].1.starts_with("backup/20") && done[0].1 != done[1].1, "{done:?}");
    // A folder that is to be restored to stays empty until then; what came back goes on.
    ended(berth(&yard, "new", &["restore", "none"]), 3);
    assert!(!yard.path("new").exists());
    ended(berth(&yard, "new", &["restore"]), 0);
    let (first, last) = (&deeds("new")[0], deeds("new").pop().unwrap());
    assert_eq!(first, &done[0]);
    assert_eq!(
        (last.0.as_str(), last.1, last.2.as_str()),
        ("backup.restore", done[1].1.clone(), "done")
    );
    for machine in ["old", "new"] {
        let state = yard.path(machine).join("state").display().to_string();
        let mut verify = Command::new(env!("CARGO_BIN_EXE_berth"));
        verify.args(["audit", "verify", "--state-dir", &state]);
        ended(verify, 0);
    }
}
