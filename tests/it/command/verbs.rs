//! What the newer verbs do, beyond what they write.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::Stdio,
};

use serde_json::Value;

use super::desk::{CHAT, Desk, ended, program};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn suspend_and_resume_change_one_line_of_the_manifest() {
    let desk = Desk::start();
    let before = desk.read("manifests/chat.yaml");
    assert_eq!(desk.run(&["suspend", "chat"]).code, 0);
    let suspended = desk.read("manifests/chat.yaml");
    assert!(suspended.contains("suspend: true"), "{suspended}");
    assert!(suspended.contains("# The chat of the tests."), "comments stay: {suspended}");
    assert!(suspended.contains("# nobody listens"), "comments stay: {suspended}");
    desk.until("it is stopped", |desk| desk.run(&["status", "chat"]).code == 1);
    assert_eq!(desk.run(&["resume", "chat"]).code, 0);
    assert_eq!(desk.read("manifests/chat.yaml"), before, "it is as it was");
    desk.settle("chat");
    let again = desk.run(&["resume", "chat"]);
    assert_eq!((again.code, again.out.as_str()), (0, "app/chat is not suspended\n"));
    // Whoever is fast is not told what was so a moment ago.
    for _ in 0..5 {
        assert_eq!(desk.run(&["suspend", "chat"]).code, 0);
        assert_eq!(desk.run(&["resume", "chat"]).code, 0);
        assert_eq!(desk.read("manifests/chat.yaml"), before);
    }
}

/// A plan that was looked at is applied; another one is not.
#[test]
fn a_stale_plan_is_refused_and_nothing_is_written() {
    let desk = Desk::start();
    desk.write("next.yaml", &CHAT.replace("chat:1", "chat:2"));
    let plan = desk.run(&["plan", "-f", "next.yaml", "-o", "json"]);
    assert_eq!(plan.code, 1, "{plan:?}");
    let id = json(&plan.out)["id"].as_str().unwrap().to_owned();
    let shown = desk.run(&["plan", "-f", "next.yaml"]);
    assert!(shown.out.contains(&format!("plan {id}")), "{shown:?}");
    // Somebody is faster.
    desk.write("other.yaml", &CHAT.replace("1Gi", "2Gi"));
    assert_eq!(desk.run(&["apply", "-f", "other.yaml"]).code, 0);
    desk.settle("chat");
    let before = desk.read("manifests/chat.yaml");
    let stale = desk.run(&["apply", "-f", "next.yaml", "--expect-plan", &id]);
    assert_eq!(stale.code, 6, "{stale:?}");
    assert!(stale.err.contains("error[plan.stale]"), "{stale:?}");
    assert_eq!(desk.read("manifests/chat.yaml"), before);
    let again = desk.run(&["plan", "-f", "next.yaml", "-o", "json"]);
    let id = json(&again.out)["id"].as_str().unwrap().to_owned();
    let applied = desk.run(&["apply", "-f", "next.yaml", "--expect-plan", &id]);
    assert_eq!(applied.code, 0, "{applied:?}");
    assert!(desk.read("manifests/chat.yaml").contains("chat:2"));
}

#[test]
fn differences_are_shown_by_another_program_when_one_is_named() {
    let desk = Desk::start();
    desk.write("next.yaml", &CHAT.replace("chat:1", "chat:2"));
    let args = ["diff", "-f", "next.yaml", "-o", "unified"];
    let own = desk.run(&args);
    assert_eq!(own.code, 1, "{own:?}");
    assert!(own.out.contains("-image: example.com/chat:1\n+image: example.com/chat:2"), "{own:?}");
    let shown = desk.run_with(&args, &[("BERTH_EXTERNAL_DIFF", "diff -r")]);
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.out.contains("> image: example.com/chat:2"), "{shown:?}");
    let same = desk.run_with(
        &["diff", "-f", "chat.yaml", "-o", "unified"],
        &[("BERTH_EXTERNAL_DIFF", "diff -r")],
    );
    assert_eq!((same.code, same.out.as_str()), (0, ""), "{same:?}");
    for program in ["false-is-not-a-program", "sh -c 'exit 7'"] {
        let failed = desk.run_with(&args, &[("BERTH_EXTERNAL_DIFF", program)]);
        assert_eq!(failed.code, 2, "{failed:?}");
    }
}

#[test]
fn an_address_is_opened_only_for_a_person() {
    let desk = Desk::start();
    let opener = desk.path("opener");
    fs::write(&opener, "#!/bin/sh\necho \"$1\" > opened.new && mv opened.new opened\n").unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    let program = opener.to_str().unwrap();
    let piped = desk.run_with(&["open", "chat"], &[("BROWSER", program)]);
    assert!(piped.code == 0 && piped.out.starts_with("http://"), "{piped:?}");
    let mut command = desk.command(&["open", "chat"]);
    let (code, seen) = super::terminal::on_terminal(command.env("BROWSER", program), 80);
    assert_eq!(code, 0, "{seen}");
    desk.until("it is opened", |desk| desk.path("opened").exists());
    assert_eq!(desk.read("opened"), piped.out, "the pipe opened nothing, the terminal this");
}

/// What is watched is shown at first, and again as it changes, until it is gone.
#[test]
fn apps_are_watched_line_by_line() {
    let desk = Desk::start();
    let mut command = desk.command(&["get", "-w", "-o", "json"]);
    let mut watching = command.spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut until = |what: &str, is_it: &dyn Fn(&Value) -> bool| loop {
        let line = lines.next().unwrap_or_else(|| panic!("it ended before {what}")).unwrap();
        if is_it(&json(&line)) {
            return;
        }
    };
    let phase = |event: &Value| event["app"]["status"]["phase"].as_str().map(ToOwned::to_owned);
    until("it runs", &|event| phase(event).as_deref() == Some("Running"));
    assert_eq!(desk.run(&["stop", "chat"]).code, 0);
    until("it is stopped", &|event| phase(event).as_deref() == Some("Paused"));
    assert_eq!(desk.run(&["delete", "chat", "--yes"]).code, 0);
    until("it is gone", &|event| event["event"] == "delete" && event["name"] == "chat");
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert_eq!(desk.run(&["get", "nobody", "-w"]).code, 3);
}

/// Faults H07 and H10 for the two screens that show the most.
#[test]
fn nothing_that_an_app_says_steers_the_terminal_and_no_value_is_shown() {
    let desk = Desk::empty();
    let text = CHAT.replace("  labels: {team: vision}", "  annotations: {note: \"a\\e[2Jb\"}");
    desk.write("chat.yaml", &text.replace("  resources:", "  env: {TOKEN: hunter2}\n  resources:"));
    assert_eq!(desk.run(&["apply", "-f", "chat.yaml"]).code, 0);
    desk.settle("chat");
    for verb in ["describe", "tree", "status"] {
        let shown = desk.run(&[verb, "chat"]);
        assert!(!shown.out.contains('\u{1b}'), "{verb}: {shown:?}");
        assert!(!shown.out.contains("hunter2"), "{verb}: {shown:?}");
    }
}

#[test]
fn init_writes_a_manifest_that_can_be_applied_and_overwrites_none() {
    let desk = Desk::empty();
    desk.write("My_App/requirements.txt", "fastapi\n");
    desk.write(
        "My_App/main.py",
        "from fastapi import FastAPI\napp = FastAPI()\n@app.get('/health')\n",
    );
    desk.write(
        "My_App/.git/config",
        "[remote \"origin\"]\n\turl = https://git.example.com/a/b.git\n",
    );
    let only = desk.run(&["init", "My_App", "--print"]);
    assert!(only.code == 0 && !desk.path("my-app.yaml").exists(), "{only:?}");
    let made = desk.run(&["init", "My_App"]);
    assert_eq!((made.code, made.out.as_str()), (0, "my-app.yaml is written\n"), "{made:?}");
    let text = desk.read("my-app.yaml");
    assert_eq!(text, only.out);
    assert!(text.starts_with("# yaml-language-server: $schema=berth.schema.json\n"), "{text}");
    for line in [
        "git: https://git.example.com/a/b.git",
        "uvicorn main:app",
        "port: 8000",
        "{path: /health}",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let schema = json(&desk.read("berth.schema.json"));
    assert_eq!(schema, json(&desk.run(&["schema"]).out));
    assert_eq!(desk.run(&["validate", "my-app.yaml"]).code, 0);
    let again = desk.run(&["init", "My_App"]);
    assert_eq!(again.code, 6, "{again:?}");
    assert_eq!(desk.read("my-app.yaml"), text);
    assert_eq!(desk.run(&["init", "nowhere"]).code, 3);
}

#[test]
fn init_looks_into_a_repository() {
    let desk = Desk::empty();
    desk.write("code/Dockerfile", "FROM x\nEXPOSE 9000\nCMD [\"x\"]\n");
    let git = |args: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.current_dir(desk.path("code")).args(["-c", "user.name=t", "-c", "user.email=t@t"]);
        let done = ended(git.args(args).stdout(Stdio::piped()));
        assert_eq!(done.code, 0, "{done:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "first"]);
    let url = format!("file://{}", desk.path("code").display());
    let made = desk.run(&["init", &url, "--name", "web"]);
    assert_eq!(made.code, 0, "{made:?}");
    let text = desk.read("web.yaml");
    assert!(
        text.contains("port: 9000") && text.contains(url.trim_start_matches("file://")),
        "{text}"
    );
    let gone = desk.run(&["init", &format!("{url}x"), "--name", "gone"]);
    assert!(gone.code == 1 && gone.err.contains("berth explain git."), "{gone:?}");
}

#[test]
fn the_manual_is_what_man_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let written = ended(program(folder.path()).args(["man", "-d", "pages"]));
    assert_eq!(written.code, 0, "{written:?}");
    let count = fs::read_dir(folder.path().join("pages")).unwrap().count();
    assert!(written.out.starts_with(&format!("{count} pages")) && 40 < count, "{written:?}");
    for (args, part) in [
        (&["man"][..], "berth"),
        (&["man", "plan"], "unified"),
        (&["man", "rollout", "undo"], "revision"),
        (&["man", "manifest"], "spec.gpus.share"),
        (&["man", "config"], "BERTH_WORKERS"),
    ] {
        let page = ended(program(folder.path()).args(args));
        let plain = page.out.replace("\\-", "-");
        assert!(page.code == 0 && plain.contains(part), "{args:?}: {page:?}");
    }
    assert_eq!(ended(program(folder.path()).args(["man", "nothing"])).code, 3);
}

/// `--color` over `NO_COLOR` over `CLICOLOR_FORCE` over `CLICOLOR`, and a dumb terminal has none.
#[test]
fn colours_follow_the_flag_then_the_environment_then_the_terminal() {
    let desk = Desk::start();
    let piped = |flags: &[&str], env: &[(&str, &str)]| {
        let args = [flags, &["get"]].concat();
        desk.run_with(&args, env).out.contains("\u{1b}[")
    };
    assert!(!piped(&[], &[]));
    assert!(piped(&["--color", "always"], &[("NO_COLOR", "1")]));
    assert!(piped(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!piped(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(!piped(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    let shown = |env: &[(&str, &str)], term: &str| {
        let mut script = std::process::Command::new("env");
        let own = desk.command(&[]);
        let vars = own.get_envs().filter_map(|(name, value)| Some((name, value?)));
        script.env_clear().envs(vars).envs(env.iter().copied()).current_dir(desk.folder.path());
        script.arg(format!("TERM={term}")).arg(env!("CARGO_BIN_EXE_berth")).arg("get");
        super::terminal::on_terminal(&mut script, 80).1.contains("\u{1b}[")
    };
    assert!(shown(&[], "xterm"));
    assert!(!shown(&[], "dumb"));
    assert!(!shown(&[("CLICOLOR", "0")], "xterm"));
    assert!(!shown(&[("NO_COLOR", "1")], "xterm"));
}
