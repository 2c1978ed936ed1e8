//! The socket for users of this machine: the real program, and its command line without an address.

use std::{
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    process::{Output, Stdio},
};

use berth::server::client::{Client, Method};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use super::PATIENCE;

const MANIFEST: &str = "apiVersion: berth/v1\nkind: App\nmetadata: {name: web}\nspec:\n  image: berth/tiny:1\n  env: {KEY: hunter2}\n";

struct Program {
    top: tempfile::TempDir,
    child: Child,
    address: String,
}

impl Program {
    fn command(top: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        command.env_clear().env("BERTH_STATE_DIR", top.join("state")).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    async fn start() -> Self {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("apps")).unwrap();
        let (child, address) = Self::launch(top.path()).await;
        Self { top, child, address }
    }

    async fn launch(top: &Path) -> (Child, String) {
        let mut command = Self::command(
            top,
            &["run", "--engine=fake", "--listen=127.0.0.1:0", "--log-format=json"],
        );
        let name = top.file_name().unwrap().to_string_lossy().to_lowercase();
        let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { 'x' };
        let name: String = name.chars().map(legal).collect();
        command.env("BERTH_INSTANCE", format!("socket-{name}"));
        command.env("BERTH_MANIFESTS", top.join("apps"));
        command.env("BERTH_WORKSPACES", top.join("ws"));
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("it ended before it ran");
                if line.contains("berth is running") {
                    let line: Value = serde_json::from_str(&line).unwrap();
                    assert!(line["socket"].as_str().unwrap().ends_with("/berth.sock"), "{line}");
                    break line["address"].as_str().unwrap().trim_end_matches('/').to_owned();
                }
            }
        };
        let address = tokio::time::timeout(PATIENCE, address).await.expect("it does not start");
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        (child, address)
    }

    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } =
            Self::command(self.top.path(), args).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// The audit log once it has a record of this action.
    async fn until(&self, action: &str) -> Vec<Value> {
        let looking = async {
            loop {
                let (code, out, err) = self.run(&["audit", "list", "-o", "json"]).await;
                assert_eq!(code, 0, "{err}");
                let page: Value = serde_json::from_str(&out).unwrap();
                let items = page["items"].as_array().unwrap().clone();
                if items.iter().any(|item| item["action"] == action) {
                    return items;
                }
            }
        };
        tokio::time::timeout(PATIENCE, looking).await.expect("it was not recorded")
    }

    /// Ends it, and looks at what it said of itself.
    async fn is_recorded_to_end(&mut self) {
        // Two began, and the one that was killed said nothing of its end.
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(ended.success(), "{ended}");
        let own = |record: &berth::audit::Record| record.deed.who.kind == "berth";
        let (own, _) = berth::audit::page(&self.top.path().join("state"), None, 9, own).unwrap();
        let actions: Vec<_> = own.iter().map(|record| record.deed.action.as_str()).collect();
        assert_eq!(actions, ["berth.stopped", "berth.started", "berth.started"]);
        assert_eq!(own[1].deed.after["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[tokio::test]
async fn this_machines_users_ask_by_the_socket_whatever_tokens_there_are() {
    let mut program = Program::start().await;
    let path = program.top.path().join("state/berth.sock");
    let seen = std::fs::symlink_metadata(&path).unwrap();
    assert!(seen.file_type().is_socket() && seen.permissions().mode() & 0o777 == 0o600);
    let (code, token, err) =
        program.run(&["token", "create", "far", "--role", "viewer", "-q"]).await;
    assert!(code == 0 && err.is_empty(), "{err}");

    // By HTTP one signs in now; by the socket this user is admin.
    let (code, _, err) = program.run(&["get", "--server", &program.address]).await;
    assert!(code == 6 && err.contains("auth.required"), "{code}: {err}");
    assert_eq!(program.run(&["get"]).await.0, 0);
    let file = program.top.path().join("token");
    std::fs::write(&file, &token).unwrap();
    let file = file.display().to_string();
    let far = ["--server", program.address.as_str(), "--token-file", file.as_str()];
    assert_eq!(program.run(&[&["get"][..], &far].concat()).await.0, 0);
    let manifest = program.top.path().join("web.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    let apply = ["apply", "-f", manifest.to_str().unwrap()];
    let (code, _, err) = program.run(&[&apply[..], &far].concat()).await;
    assert!(code == 6 && err.contains("auth.role"), "{code}: {err}");
    let (code, _, err) = program.run(&apply).await;
    assert_eq!(code, 0, "{err}");

    // Who did it, and what took effect.
    let items = program.until("manifest.added").await;
    let find = |action: &str| items.iter().find(|item| item["action"] == action).unwrap();
    let asked = items.iter().find(|item| item["outcome"] == "done" && item["who"]["kind"] == "uid");
    assert_eq!(asked.unwrap()["after"]["env.KEY"], "(set)");
    let effect = find("manifest.added");
    assert_eq!(
        (&effect["who"]["kind"], &effect["who"]["name"]),
        (&"file".into(), &"web.yaml".into())
    );
    assert_eq!(effect["object"], "app/web");
    assert_eq!(find("token.created")["object"], "token/far");
    assert!(
        items.iter().any(|item| item["outcome"] == "auth.role" && item["who"]["name"] == "far")
    );
    assert!(!items.iter().any(|item| item.to_string().contains("hunter2")));

    // A Berth that was killed leaves its socket; the next one takes the place, and goes on counting.
    program.child.kill().await.unwrap();
    assert!(path.exists());
    std::fs::write(
        program.top.path().join("apps/web.yaml"),
        MANIFEST.replace("tiny:1", "tiny:2").replace("hunter2", "hunter3"),
    )
    .unwrap();
    (program.child, program.address) = Program::launch(program.top.path()).await;
    let items = program.until("manifest.changed").await;
    let changed = items.iter().find(|item| item["action"] == "manifest.changed").unwrap();
    assert_eq!(changed["after"]["env.KEY"], "(set otherwise)");
    assert_eq!(items.iter().filter(|item| item["action"] == "manifest.added").count(), 1);
    let (code, out, err) = program.run(&["audit", "verify"]).await;
    assert!(code == 0 && out.starts_with("whole: "), "{out}{err}");

    program.is_recorded_to_end().await;
}

/// A token that the Berth one has in mind does not know lets nobody in, and turns no sign-in on.
#[tokio::test]
async fn a_token_for_another_berth_is_said_to_be_one() {
    let program = Program::start().await;
    let other = program.top.path().join("other").display().to_string();
    let stray = ["token", "create", "far", "--role", "viewer", "--state-dir", other.as_str()];
    let (code, _, err) = program.run(&stray).await;
    assert!(code == 0 && err.contains("no Berth runs with its state in"), "{err}");
    let quiet = ["token", "create", "so", "--role", "viewer", "-q", "--state-dir", other.as_str()];
    let (code, _, err) = program.run(&quiet).await;
    assert!(code == 0 && err.is_empty(), "{err}");
    let named = [&quiet[..2], &["too"], &quiet[3..], &["--server", &program.address]].concat();
    let (code, _, err) = program.run(&named).await;
    assert!(code == 0 && err.contains("no Berth runs with its state in"), "{err}");
}

/// Another user of the machine is nobody, even where the socket lets that one in.
#[tokio::test]
async fn the_kernel_says_who_is_at_the_other_end() {
    let program = Program::start().await;
    assert_eq!(program.run(&["token", "create", "x", "--role", "viewer", "-q"]).await.0, 0);
    let path = program.top.path().join("state/berth.sock");
    for folder in [program.top.path().to_owned(), program.top.path().join("state")] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let script = format!(
        "import socket\ns=socket.socket(socket.AF_UNIX)\ns.connect({:?})\n\
         s.sendall(b'GET /api/v1/apps HTTP/1.1\\r\\nhost: localhost\\r\\nconnection: close\\r\\n\\r\\n')\n\
         print(s.makefile().read())",
        path.display().to_string()
    );
    let ask = |uid: u32| {
        let script = script.clone();
        async move {
            let mut command = Command::new("python3");
            let output = command.args(["-c", &script]).uid(uid).output().await.unwrap();
            String::from_utf8(output.stdout).unwrap()
        }
    };
    let own = rustix::process::getuid();
    let mine = ask(own.as_raw()).await;
    assert!(mine.starts_with("HTTP/1.1 200"), "{mine}");
    assert!(
        own.is_root(),
        "another user is played here, which only root can: run the tests as root"
    );
    let theirs = ask(65_534).await;
    assert!(theirs.starts_with("HTTP/1.1 403") && theirs.contains("auth.no-role"), "{theirs}");
}

#[tokio::test]
async fn a_file_that_is_no_socket_and_a_socket_that_answers_are_left_alone() {
    let top = tempfile::tempdir().unwrap();
    let path = top.path().join("s");
    std::fs::write(&path, "mine").unwrap();
    let socket = berth::server::Socket { path: path.clone(), group: None, is_required: false };
    let with = |socket: berth::server::Socket| {
        crate::api::stage::Stage::with(|settings| settings.socket = Some(socket))
    };
    let stage = with(socket.clone()).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(stage.get("/health").await.status, 200, "it need not have one");
    std::fs::remove_file(&path).unwrap();
    let first = with(socket.clone()).await;
    let second = with(socket).await;
    let client = Client::of_socket(&path);
    assert_eq!(client.ask(Method::GET, "/api/v1/apps", None).await.unwrap().status, 200);
    first.put("chat", |_| ());
    let answer = client.ask(Method::GET, "/api/v1/apps/chat", None).await.unwrap();
    assert_eq!(answer.status, 200, "the first one still answers there");
    drop(second);
}
