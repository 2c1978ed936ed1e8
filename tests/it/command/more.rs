//! What the other verbs write: those of stores, of the machine and of those who ask. Expected texts
//! as in [`super::golden`].

use std::process::Stdio;

use super::{
    desk::{CHAT, Desk, ended},
    golden::Page,
};

/// Runs git in a folder of the desk.
fn git(desk: &Desk, args: &[&str]) {
    let mut git = std::process::Command::new("git");
    git.current_dir(desk.path("code")).args(["-c", "user.name=t", "-c", "user.email=t@t"]);
    let done = ended(git.args(args).stdout(Stdio::piped()));
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn what_happens() {
    let desk = Desk::start();
    let mut page = Page::new(&desk, "events");
    page.everywhere(&["events", "chat", "--limit", "2"]);
    page.piped(&["events", "nobody"]);
    page.piped(&["events", "--limit", "x"]);
    drop(page);
    let mut page = Page::new(&desk, "wait");
    page.piped(&["wait", "chat", "--progress", "quiet"]);
    page.piped(&["wait", "chat"]);
    page.piped(&["wait", "chat", "-q"]);
    let steps = desk.run(&["wait", "chat", "--progress", "json"]).err;
    let step: serde_json::Value = serde_json::from_str(steps.lines().next().unwrap()).unwrap();
    assert_eq!((&step["app"], &step["phase"]), (&"chat".into(), &"Running".into()), "{steps}");
    page.everywhere(&["wait", "chat", "--progress", "quiet", "--for", "delete", "--timeout", "0s"]);
    page.piped(&["wait", "nobody", "--timeout", "0s"]);
    page.piped(&["wait", "chat", "--for", "happiness"]);
    desk.write("same.yaml", CHAT);
    page.piped(&["apply", "-f", "same.yaml", "--wait", "30s", "--progress", "quiet"]);
    drop(page);
    let mut page = Page::new(&desk, "rollout");
    page.everywhere(&["rollout", "status", "chat"]);
    page.everywhere(&["rollout", "history", "chat"]);
    page.piped(&["rollout", "history", "nobody"]);
    drop(page);
    let mut page = Page::new(&desk, "audit");
    page.only(&["audit", "list", "--limit", "2"], &["SEQ"]);
    page.roughly(&["audit", "verify"]);
    page.piped(&["audit", "list", "--app", "nobody"]);
}

/// Figures of the machine are left out of these.
#[test]
fn the_machine() {
    let desk = Desk::start();
    let mut page = Page::new(&desk, "top-all");
    page.only(&["top", "--once"], &["NAME", "chat"]);
    page.piped(&["top", "--once", "-o", "name"]);
    page.piped(&["top", "--sort", "beauty"]);
    drop(page);
    let mut page = Page::new(&desk, "doctor");
    let place = ["--model-store", "models", "--workspaces", "work", "--state-dir", "state"];
    for group in ["state", "certificates"] {
        page.roughly(&[&["doctor", "--only", group][..], &place].concat());
    }
    page.piped(&[&["doctor", "--only", "controller"][..], &place].concat());
    page.piped(&["doctor", "--only", "weather"]);
    let elsewhere = ["--model-store", "nowhere", "--workspaces", "work", "--state-dir", "state"];
    page.roughly(&[&["doctor", "--only", "state", "--fix", "-n"][..], &elsewhere].concat());
    assert!(!desk.path("nowhere").exists(), "it was a dry run");
    drop(page);
    let mut page = Page::new(&desk, "gpu");
    page.everywhere(&["gpu", "ls"]);
    page.piped(&["gpu", "ls", "-o", "name"]);
    drop(page);
    let mut page = Page::new(&desk, "config");
    let wanted = ["OPTION", "listen", "manifests", "ports", "workers"];
    page.only(&["config", "view", "--origin"], &wanted);
    page.only(&["config", "view", "--origin", "--workers", "3"], &wanted);
    page.piped(&["config", "view", "--workers", "many"]);
    page.piped(&["config", "view", "-o", "nothing"]);
    drop(page);
    let mut page = Page::new(&desk, "gc");
    page.only(&["gc", "--dry-run"], &["0 would"]);
    page.piped(&["gc", "--dry-run", "-o", "name"]);
    page.piped(&["gc", "--grace", "soon"]);
    drop(page);
    let mut page = Page::new(&desk, "scan");
    page.everywhere(&["scan"]);
    page.piped(&["scan", "chat"]);
    page.piped(&["sbom", "chat"]);
    page.piped(&["sbom", "nobody"]);
    drop(page);
    let mut page = Page::new(&desk, "notify");
    page.everywhere(&["notify", "ls"]);
    page.piped(&["notify", "test"]);
    page.piped(&["notify", "test", "Nobody!"]);
}

#[test]
fn stores() {
    let desk = Desk::start();
    desk.write("weights.bin", "0123456789\n");
    let mut page = Page::new(&desk, "models");
    let name = "demo/llm/1.0.0/weights.bin";
    page.piped(&["models", "push", "weights.bin", name, "--description", "of the tests"]);
    page.piped(&["models", "push", "weights.bin", name, "--create-only"]);
    page.everywhere(&["models", "ls"]);
    page.piped(&["models", "ls", "-o", "name"]);
    page.piped(&["models", "pull", name, "back.bin", "--progress", "quiet"]);
    page.piped(&["models", "verify", name, "back.bin"]);
    page.piped(&["models", "alias", "demo/llm", "stable", "1.0.0"]);
    page.piped(&["models", "alias", "demo/llm"]);
    page.piped(&["models", "rm", "demo/llm/1.0.0/nothing"]);
    page.piped(&["models", "rm", name]);
    page.piped(&["models", "push", "nothing.bin", name]);
    drop(page);
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = memory.path().join("secrets").display().to_string();
    let mut page = Page::new(&desk, "secrets");
    page.hidden(&at, "SECRETS");
    page.given(&["secrets", "set", "api", "--secrets-dir", &at], "s3cr3t-of-the-tests");
    page.given(&["secrets", "set", "site", "--key", "url", "--secrets-dir", &at], "x");
    page.piped(&["secrets", "ls", "--secrets-dir", &at]);
    page.piped(&["secrets", "rm", "api", "--secrets-dir", &at]);
    page.piped(&["secrets", "rm", "nothing", "--secrets-dir", &at]);
    page.piped(&["secrets", "set", "Not a name", "--secrets-dir", &at]);
    drop(page);
    let mut page = Page::new(&desk, "backup");
    let there = ["--at", "backups", "--secrets-dir", at.as_str()];
    page.hidden(&at, "SECRETS");
    for verb in [&["backup", "create", "--dry-run"][..], &["backup", "create"]] {
        page.roughly(&[verb, &there].concat());
    }
    page.only(&[&["backup", "ls"][..], &there].concat(), &["BACKUP"]);
    page.roughly(&[&["backup", "verify"][..], &there].concat());
    page.roughly(&[&["backup", "prune", "--keep", "1", "--dry-run"][..], &there].concat());
    page.piped(&["backup", "schedule"]);
    page.piped(&[&["backup", "restore", "nothing"][..], &there].concat());
}

#[test]
fn who_asks() {
    let desk = Desk::empty();
    let mut page = Page::new(&desk, "token");
    page.piped(&["token", "list"]);
    page.secret(&["token", "create", "ci", "--role", "operator"]);
    page.secret(&["token", "create", "ci", "--role", "viewer"]);
    page.piped(&["token", "create", "x", "--role", "king"]);
    page.everywhere(&["token", "list"]);
    page.piped(&["get"]);
    page.piped(&["token", "revoke", "nobody"]);
    page.piped(&["token", "revoke", "ci"]);
}

#[test]
fn making() {
    let desk = Desk::with(&["--allow-local-git"]);
    desk.write("code/requirements.txt", "flask\n");
    desk.write(
        "code/app.py",
        "from flask import Flask\napp = Flask(__name__)\napp.run(port=5000)\n",
    );
    desk.write(
        "code/Dockerfile",
        "FROM example.com/base:1\nCOPY . /app\nCMD [\"python\", \"/app/app.py\"]\n",
    );
    let mut page = Page::new(&desk, "init");
    page.everywhere(&["init", "code", "--name", "site", "--print"]);
    page.piped(&["init", "code", "--name", "site"]);
    page.piped(&["init", "code", "--name", "site"]);
    page.piped(&["init", "nowhere"]);
    page.piped(&["validate", "site.yaml"]);
    page.piped(&["validate", "."]);
    drop(page);
    let mut page = Page::new(&desk, "import");
    desk.write(
        "docker-compose.yml",
        "services:\n  web:\n    image: example.com/web:1\n    ports: ['8080:80']\n    privileged: true\n",
    );
    page.everywhere(&["import", "compose", "docker-compose.yml"]);
    page.piped(&["import", "compose", "docker-compose.yml", "-d", "made", "--strict"]);
    page.piped(&["import", "compose", "nothing.yml"]);
    drop(page);
    let mut page = Page::new(&desk, "schema");
    page.only(&["schema"], &["  \"$schema\"", "  \"title\"", "  \"type\""]);
    page.piped(&["completion", "tcsh"]);
    drop(page);
    for args in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "first"]] {
        git(&desk, args);
    }
    let source = format!("  source: {{git: {}}}", desk.path("code").display());
    let site =
        CHAT.replace("name: chat", "name: site").replace("  image: example.com/chat:1", &source);
    desk.write("manifests/site.yaml", &site);
    desk.until("it is built", |desk| desk.run(&["status", "site"]).code == 0);
    desk.settle("site");
    let mut page = Page::new(&desk, "logs");
    desk.write(
        "work/site/.berth/build.log",
        "Step 1/2 : FROM base\nstep 2/2 : RUN \u{1b}[32mpip\u{1b}[0m\n",
    );
    page.everywhere(&["logs", "site", "--build"]);
    page.everywhere(&["logs", "site", "--build", "--grep", "step 1"]);
    page.piped(&["logs", "site", "--build", "--grep", "Step"]);
    page.piped(&["logs", "site", "--build", "--grep", "no such words"]);
    page.piped(&["logs", "site"]);
    page.piped(&["logs", "site", "--build", "--previous"]);
    page.everywhere(&["images", "ls"]);
    page.piped(&["ssh", "site"]);
    page.piped(&["ssh", "nobody"]);
}
