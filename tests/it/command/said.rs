//! What `status`, `describe` and `get` say of an app that is not as it should be: each cause once,
//! and how far what runs is behind.

use std::process::Stdio;

use super::desk::{Desk, ended};

fn app(repository: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: chat}}\nspec:\n  source: {{git: '{repository}'}}\n  \
         run: python app.py\n  health: none\n"
    )
}

/// A desk where repositories of this machine may be used.
fn desk() -> Desk {
    Desk::with(&["--allow-local-git"])
}

fn git(desk: &Desk, args: &[&str]) {
    let mut git = std::process::Command::new("git");
    git.current_dir(desk.path("code")).args(["-c", "user.name=t", "-c", "user.email=t@t"]);
    let done = ended(git.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()));
    assert_eq!(done.code, 0, "{done:?}");
}

fn commit(desk: &Desk, text: &str) {
    desk.write("code/requirements.txt", text);
    git(desk, &["add", "."]);
    git(desk, &["commit", "-qm", text]);
}

#[test]
fn what_is_wrong_is_read_once_on_a_screen() {
    let desk = desk();
    let nowhere = desk.path("nowhere").display().to_string();
    desk.write("manifests/chat.yaml", &app(&nowhere));
    let cause = "No such file or directory";
    desk.until("it failed", |desk| desk.run(&["status", "chat"]).out.contains(cause));
    let status = desk.run(&["status", "chat"]);
    assert_eq!(status.code, 1, "{status:?}");
    assert_eq!(status.out.matches(cause).count(), 1, "{}", status.out);
    for part in ["Ready         False   ", "(as above)", "Events:"] {
        assert!(status.out.contains(part), "{part}: {}", status.out);
    }
    let described = desk.run(&["describe", "chat"]).out;
    assert_eq!(described.matches(cause).count(), 1, "{described}");
    assert!(described.contains("refused: (as above) ("), "{described}");
    // Programs get every condition's own words.
    let document = desk.run(&["get", "chat", "-o", "json"]).out;
    assert!(3 <= document.matches(cause).count(), "{document}");
    // One failure is one event.
    let events = desk.run(&["events", "chat", "-o", "json"]).out;
    let count = |reason: &str| events.matches(&format!("\"reason\":\"{reason}\"")).count();
    assert!(0 < count("FetchFailed"), "{events}");
    assert_eq!(count("FetchFailed"), count("Fetching"), "{events}");
}

#[test]
fn how_far_what_runs_is_behind_is_said() {
    let desk = desk();
    desk.write("code/requirements.txt", "");
    git(&desk, &["init", "-q", "-b", "main"]);
    commit(&desk, "one");
    desk.write("manifests/chat.yaml", &app(&desk.path("code").display().to_string()));
    desk.settle("chat");
    let behind = |desk: &Desk| {
        let said = desk.run(&["get", "chat", "-o", "jsonpath={.status.commitsBehind}"]).out;
        said.trim().to_owned()
    };
    assert_eq!(behind(&desk), "0");
    assert!(!desk.run(&["status", "chat"]).out.contains("behind"), "it is the newest");
    // Two more commits, of which the last is what runs; then the first again.
    commit(&desk, "two");
    commit(&desk, "three");
    assert_eq!(desk.run(&["reconcile", "chat"]).code, 0);
    let is_second = |desk: &Desk| desk.run(&["rollout", "history", "chat"]).out.contains("\n2 ");
    desk.until("the newest runs", |desk| is_second(desk) && behind(desk) == "0");
    desk.settle("chat");
    assert_eq!(desk.run(&["rollout", "undo", "chat"]).code, 0);
    desk.until("the first runs", |desk| behind(desk) == "2");
    let status = desk.run(&["status", "chat"]).out;
    assert!(status.contains(", 2 commits behind its source\n"), "{status}");
    let described = desk.run(&["describe", "chat"]).out;
    assert!(described.contains("Behind       2 commits\n"), "{described}");
    let wide = desk.run(&["get", "-o", "wide"]).out;
    let (header, row) = wide.split_once('\n').unwrap();
    let cell = &row[header.find("BEHIND").unwrap()..];
    assert!(cell.starts_with("2 "), "{wide}");
}
