//! What is done to secrets by hand at this machine is in the audit log, and no value of theirs.

use std::fs::{self, File};

use super::desk::{Ended, ended, program};

/// Faults G16, H10.
#[test]
fn who_sets_and_removes_secrets_is_recorded_and_no_value_is() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::write(folder.path().join("value"), "m4rk-by-hand").unwrap();
    let run = |args: &[&str]| -> Ended {
        let value = File::open(folder.path().join("value")).unwrap();
        ended(program(folder.path()).args(args).stdin(value))
    };
    for args in [
        &["secrets", "set", "db"][..],
        &["secrets", "set", "site", "--key", "url"],
        &["secrets", "rm", "db"],
    ] {
        let done = run(args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
    }
    assert_ne!(run(&["secrets", "rm", "nothing"]).code, 0, "what was not done is not recorded");
    let read = || berth::audit::page(&state, None, 9, |_| true).unwrap().0;
    let deeds: Vec<_> = read()
        .into_iter()
        .rev()
        .map(|record| {
            format!("{} {} {}", record.deed.who.kind, record.deed.action, record.deed.object)
        })
        .collect();
    let wanted = [
        "cli secret.set secret/db",
        "cli secret.set secret/site:url",
        "cli secret.removed secret/db",
    ];
    assert_eq!(deeds, wanted);
    assert!(!format!("{:?}", read()).contains("m4rk"), "{:?}", read());
    assert_eq!(run(&["audit", "verify"]).code, 0);

    // What can't be recorded is not done; and a log that is gone is not whole.
    fs::remove_dir_all(state.join("audit")).unwrap();
    fs::write(state.join("tokens.json"), "{}").unwrap();
    let told = run(&["audit", "verify"]);
    assert!(told.code == 1 && told.out.contains("tokens.json"), "{told:?}");
    fs::write(state.join("audit"), "in the way").unwrap();
    assert_ne!(run(&["secrets", "set", "late"]).code, 0);
    assert!(!run(&["secrets", "ls"]).out.contains("late"));
}
