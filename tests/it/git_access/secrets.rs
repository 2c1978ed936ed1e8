//! `berth secrets`, as a user runs it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Stdio};

use tokio::{io::AsyncWriteExt as _, process::Command};

const VALUE: &str = "hunter2-token";

async fn berth(state: &Path, args: &[&str], input: &str) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_berth"))
        .env_clear()
        .env("BERTH_STATE_DIR", state)
        .arg("secrets")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing may be gone by now.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let out = child.wait_with_output().await.unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn secrets_are_kept_listed_and_removed_without_a_server_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    let (code, text) = berth(state, &["set", "site", "--key", "token"], VALUE).await;
    assert_eq!(code, 0, "{text}");
    assert_eq!(berth(state, &["set", "plain"], VALUE).await.0, 0);
    let path = state.join("secrets/site/token");
    assert_eq!(fs::read_to_string(&path).unwrap(), VALUE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, list) = berth(state, &["ls"], "").await;
    assert_eq!(code, 0);
    let words: Vec<_> = list.split_whitespace().collect();
    assert_eq!(words, ["NAME", "KEYS", "USED", "BY", "plain", "value", "site", "token"]);
    assert!(!(text + &list).contains(VALUE));
    assert_eq!(berth(state, &["rm", "site", "--key", "token"], "").await.0, 0);
    assert_eq!(berth(state, &["rm", "site"], "").await.0, 3);
    assert_eq!(berth(state, &["rm", "plain"], "").await.0, 0);
    assert_eq!(fs::read_dir(state.join("secrets")).unwrap().count(), 0);
}

/// The apps of the folder of manifests that use a secret, directly or by a document; and Berth.
#[tokio::test]
async fn who_uses_a_secret_is_said_when_it_is_listed_and_when_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let (state, manifests) = (folder.path(), folder.path().join("manifests"));
    fs::create_dir(&manifests).unwrap();
    let app = |name: &str, rest: &str| {
        let text = format!(
            "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {name}}}\nspec: {{image: 'x:1', {rest}}}\n"
        );
        fs::write(manifests.join(format!("{name}.yaml")), text).unwrap();
    };
    app("chat", "env: {DB: {secret: db}}");
    app("shop", "mounts: [{path: /run/db, secret: alias}]");
    let alias = "apiVersion: berth/v1\nkind: Secret\nmetadata: {name: alias}\nspec: {folder: db}\n";
    fs::write(manifests.join("alias.yaml"), alias).unwrap();
    for name in ["db", "idle"] {
        assert_eq!(berth(state, &["set", name], VALUE).await.0, 0);
    }
    let at = manifests.display().to_string();
    let (code, list) = berth(state, &["ls", "--manifests", &at], "").await;
    assert_eq!(code, 0, "{list}");
    let line = |name: &str| list.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("db").contains("chat, shop"), "{list}");
    assert_eq!(line("idle").split_whitespace().count(), 2, "{list}");
    let (code, text) = berth(state, &["rm", "db", "--manifests", &at], "").await;
    assert!(code == 0 && text.contains("still used by chat, shop"), "{text}");
    let (code, text) = berth(state, &["rm", "idle", "--manifests", &at], "").await;
    assert!(code == 0 && !text.contains("used by"), "{text}");
}

#[tokio::test]
async fn what_is_wrong_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path();
    for (args, input, exit, told) in [
        (&["set", "../x"] as &[&str], VALUE, 2, "not a secret's name"),
        (&["set", "site"], "", 2, "standard input is empty"),
        (&["rm", "gone"], "", 3, "no secret `gone`"),
    ] {
        let (code, text) = berth(state, args, input).await;
        assert_eq!(code, exit, "{text}");
        assert!(text.contains(told), "{text}");
    }
    berth(state, &["set", "site"], VALUE).await;
    fs::set_permissions(state.join("secrets"), fs::Permissions::from_mode(0o755)).unwrap();
    for args in [&["ls"] as &[&str], &["set", "other"]] {
        let (code, text) = berth(state, args, VALUE).await;
        assert_eq!(code, 6, "{text}");
        assert!(text.contains("chmod 700"), "{text}");
    }
}
