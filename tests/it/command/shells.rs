//! What shells ask for: candidates, names of apps included.

use super::desk::Desk;

/// What bash would be offered for these words.
fn candidates(desk: &Desk, words: &[&str]) -> Vec<String> {
    candidates_with(desk, words, &[])
}

fn candidates_with(desk: &Desk, words: &[&str], more: &[(&str, &str)]) -> Vec<String> {
    let index = (words.len() - 1).to_string();
    let env = [
        ("BERTH_COMPLETE", "bash"),
        ("_CLAP_COMPLETE_INDEX", index.as_str()),
        ("_CLAP_COMPLETE_COMP_TYPE", "9"),
        ("_CLAP_COMPLETE_SPACE", "true"),
        ("_CLAP_IFS", "\n"),
    ];
    let mut args = vec!["--"];
    args.extend(words);
    let ended = desk.run_with(&args, &[&env[..], more].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn verbs_flags_values_and_apps_are_completed() {
    let desk = Desk::start();
    let verbs = candidates(&desk, &["berth", "des"]);
    assert_eq!(verbs, ["describe"], "{verbs:?}");
    assert!(candidates(&desk, &["berth", "get", "-o", ""]).contains(&"yaml".to_owned()));
    assert_eq!(candidates(&desk, &["berth", "restart", "c"]), ["chat"]);
    assert_eq!(candidates(&desk, &["berth", "describe", "app/c"]), ["app/chat"]);
    assert!(candidates(&desk, &["berth", "plan", "--f"]).contains(&"--filename".to_owned()));
    assert_eq!(candidates(&desk, &["berth", "get", "mod"]), ["models"]);
    assert_eq!(candidates(&desk, &["berth", "get", "ch"]), ["chat"]);
    desk.write("weights", "x");
    let pushed = desk.run(&["models", "push", "weights", "demo/llm/1.0.0/m"]);
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert_eq!(candidates(&desk, &["berth", "models", "info", "demo/"]), ["demo/llm/1.0.0/m"]);
}

/// Names of backups come from the folder where they are, and of targets from who tells them.
#[test]
fn backups_and_targets_are_completed() {
    let file = "targets: [{name: ops, webhook: 'http://127.0.0.1:1/'}]\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.yaml");
    std::fs::write(&path, file).unwrap();
    let desk = Desk::with(&["--notifications", path.to_str().unwrap()]);
    assert_eq!(candidates(&desk, &["berth", "notify", "test", "o"]), ["ops"]);
    let made = desk.run(&["backup", "create", "--at", "kept"]);
    assert_eq!(made.code, 0, "{made:?}");
    let env = [("BERTH_BACKUP_TO", "kept")];
    let listed = desk.run_with(&["backup", "ls", "-o", "json"], &env);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let name = listed["items"][0]["name"].as_str().unwrap().to_owned();
    let asked = candidates_with(&desk, &["berth", "backup", "restore", &name[..4]], &env);
    assert_eq!(asked, [name]);
}

#[test]
fn every_shell_gets_a_script_that_asks_back() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ended =
            super::desk::ended(super::desk::program(folder.path()).args(["completion", shell]));
        assert!(ended.code == 0 && ended.out.contains("BERTH_COMPLETE"), "{shell}: {ended:?}");
    }
    // bash itself takes it.
    let mut bash = std::process::Command::new("bash");
    let script = "source <(\"$0\" completion bash) && complete -p berth";
    let ended = super::desk::ended(bash.args(["-c", script, env!("CARGO_BIN_EXE_berth")]));
    assert!(ended.code == 0 && ended.out.contains("complete "), "{ended:?}");
}
