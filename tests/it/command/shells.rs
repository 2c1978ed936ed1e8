//! What shells ask for: candidates, names of apps included.

use super::desk::Desk;

/// What bash would be offered for these words.
fn candidates(desk: &Desk, words: &[&str]) -> Vec<String> {
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
    let ended = desk.run_with(&args, &env);
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
