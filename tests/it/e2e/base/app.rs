//! Apps of Berth on the base image.

use super::super::{
    engine,
    program::{Network, Program},
    stage::{Stage, eventually, get},
};
use super::*;

fn manifest(key: &str) -> String {
    let image = image();
    format!(
        "apiVersion: berth/v1
kind: Secret
metadata: {{name: team}}
spec: {{variable: BERTH_SECRET_TEAM}}
---
apiVersion: berth/v1
kind: App
metadata: {{name: lab}}
spec:
  image: {image}
  run: python3 -m http.server 7860 --directory /data
  port: 7860
  env: {{RCLONE_CONFIG_NAS_TYPE: alias, RCLONE_CONFIG_NAS_REMOTE: /srv, GPU_COUNT: \"1\"}}
  mounts: [{{path: /data/nas, rclone: {{remote: \"nas:\", cache: full}}}}]
  workspace: {{uid: 4321}}
  access: {{ssh: {{authorizedKeys: [{key}, {{secret: team}}]}}}}
---
apiVersion: berth/v1
kind: App
metadata: {{name: door}}
spec:
  image: {image}
  run: sleep 600
  security: {{profile: restricted}}
  workspace: {{acl: false}}
  access: {{ssh: {{authorizedKeys: [{key}]}}}}
---
apiVersion: berth/v1
kind: App
metadata: {{name: shut}}
spec:
  image: {image}
  run: sleep 600
  mounts: [{{path: /data/nas, rclone: \"nas:\"}}]
---
apiVersion: berth/v1
kind: App
metadata: {{name: bare}}
spec:
  image: {}
  run: sleep 600
  access: {{ssh: {{authorizedKeys: [{key}]}}}}
",
        engine::TINY
    )
}

async fn status(port: u16, app: &str) -> serde_json::Value {
    let answer = get(port, &format!("/api/v1/apps/{app}")).await.unwrap_or_default();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(body).unwrap_or_default()["status"].clone()
}

/// Waits for an app's reason; answers its message.
pub(in crate::e2e) async fn until_reason(port: u16, app: &str, reasons: &[&str]) -> String {
    let start = Instant::now();
    loop {
        let status = status(port, app).await;
        if reasons.iter().any(|reason| status["reason"] == *reason) {
            return status["message"].as_str().unwrap().to_owned();
        }
        assert!(start.elapsed() < PATIENCE, "{app} is never {reasons:?}: {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

type Ssh<'a> = dyn Fn(&Keys, &str, &str) -> (bool, String) + 'a;

/// What `berth ssh` does and says.
fn berth_ssh(port: u16, home: &Path, key: &Keys, app: &str, line: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_berth"))
        .args(["--server", &format!("http://127.0.0.1:{port}"), "ssh", app, "-i"])
        .arg(&key.0)
        .arg(line)
        .env("XDG_STATE_HOME", home)
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let said = if output.status.success() { &output.stdout } else { &output.stderr };
    (output.status.success(), text(said))
}

/// What somebody gets to see who is let in, once sshd is up.
fn once_in(ssh: &Ssh<'_>, key: &Keys, app: &str, line: &str) -> String {
    until(&format!("in by ssh: {app}"), || {
        let (is_in, said) = ssh(key, app, line);
        is_in.then_some(said)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_asks_for_ssh_and_remotes_and_gets_what_the_operator_allows() {
    must_have_the_image();
    let stage = Stage::new();
    let _network = Network(stage.instance.clone());
    let folder = tempfile::tempdir().unwrap();
    let (own, team) = (Keys::make(folder.path(), "own"), Keys::make(folder.path(), "team"));
    stage.write("lab.yaml", &manifest(&own.public()));
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let secret_files = memory.path().join("files").display().to_string();
    let mut program = Program::start_with(&stage, &engine::host(), "auto", |command| {
        command.args(["--allow-fuse", "lab", "--secret-files", &secret_files]);
        command.env("BERTH_SECRET_TEAM", team.public());
    });
    let address = program.address().await;
    let port: u16 = address.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    let ssh = |key: &Keys, app: &str, line: &str| berth_ssh(port, folder.path(), key, app, line);

    let refused = until_reason(port, "shut", &["NotAllowed"]).await;
    assert!(refused.contains("--allow-fuse shut"), "{refused}");
    let refused = until_reason(port, "bare", &["InvalidManifest"]).await;
    assert!(refused.contains("needs an image of Berth's base family"), "{refused}");
    let (is_in, said) = ssh(&own, "bare", "true");
    assert!(!is_in && said.contains("does not listen at present"), "{said}");

    // As tight as can be, without a file that may be written but its workspace: not root.
    until_reason(port, "door", &["RunningUnchecked"]).await;
    assert_eq!(once_in(&ssh, &own, "door", "id -un; echo $SKIP_ACL"), "nonroot\ntrue");
    assert!(!ssh(&team, "door", "true").0);
    let door = stage.container("door");
    for more in ["CapAdd", "Devices"] {
        let given = &door.0["HostConfig"][more];
        assert!(given.as_array().is_none_or(Vec::is_empty), "{more}: {given}");
    }

    if Path::new("/dev/fuse").exists() {
        remotes(&stage, port, &ssh, (&own, &team)).await;
    } else {
        println!("this host has no /dev/fuse: the app with a remote is not started");
        until("the refusal", || stage.containers("lab").is_empty().then_some(()));
    }
    assert!(program.stop().await);
}

async fn remotes(stage: &Stage, port: u16, ssh: &Ssh<'_>, (own, team): (&Keys, &Keys)) {
    until_reason(port, "lab", &["Healthy"]).await;
    let lab = stage.container("lab");
    assert_eq!(lab.0.pointer("/HostConfig/CapAdd"), Some(&serde_json::json!(["SYS_ADMIN"])));
    let line = "cat /proc/1/comm; mountpoint -q /data/nas && echo far >/data/nas/file; \
                echo $CUDA_VISIBLE_DEVICES; getfacl -cpn /workspace | grep default:user:4321";
    // It asked for no GPU: that is not undone by a count.
    let said = "docker-init\n\ndefault:user:4321:rwx";
    for key in [own, team] {
        assert_eq!(once_in(ssh, key, "lab", line), said);
    }
    let status = status(port, "lab").await;
    let bound = status["ports"].as_array().unwrap();
    let web = bound.iter().find(|port| port["containerPort"] == 7860).unwrap();
    assert_eq!(status["url"], format!("http://127.0.0.1:{}/", web["hostPort"]));
    let web = u16::try_from(web["hostPort"].as_u64().unwrap()).unwrap();
    let far = get(web, "/nas/file").await.unwrap();
    assert!(far.ends_with("far\n"), "{far}");
    // Made anew it is the same host to whoever knows it, and nothing but the exit code of its own
    // command is seen outside.
    docker(&["rm", "--force", &lab.id()]);
    let is_new = || stage.containers("lab").iter().any(|new| new.id() != lab.id());
    assert!(eventually(is_new).await);
    until_reason(port, "lab", &["Healthy"]).await;
    assert_eq!(once_in(ssh, own, "lab", line), said);
    let id = stage.container("lab").id();
    let is_told = || engine::log_of(&id).contains("[sshd] Accepted publickey");
    assert!(eventually(is_told).await, "{}", engine::log_of(&id));
    let readme = stage.path("state").join("compose/lab/README.md");
    assert!(eventually(|| readme.exists()).await);
    let text = fs::read_to_string(readme).unwrap();
    assert!(!text.contains("{{") && text.contains("`berth ssh lab` gets you in"), "{text}");
    assert!(text.contains("- `/data/nas`") && text.contains("| 7860 | the app's own"), "{text}");
}
