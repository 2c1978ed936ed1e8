//! The clients that are out there, as they are installed: `compose/setup/oci-clients.sh` fetches
//! them once.

use std::{path::PathBuf, time::Duration};

use berth::model::Digest;
use serde_json::Value;
use tokio::process::Command;

use super::{Registry, layers};

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

async fn made(client: &str) {
    let script = top().join("compose/setup/oci-clients.sh");
    let made = Command::new(script).arg(client).status().await.unwrap();
    assert!(made.success(), "{client} can't be had");
}

async fn run(command: &mut Command) -> String {
    command.kill_on_drop(true);
    let ran = tokio::time::timeout(Duration::from_secs(120), command.output()).await;
    let ran = ran.expect("the client did not end").unwrap();
    let (out, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    format!("{} {out}{error}", ran.status.code().unwrap_or(-1))
}

async fn skopeo(words: &[&str]) -> String {
    run(Command::new("skopeo").args(words)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_lists_looks_and_copies() {
    made("skopeo").await;
    let registry = Registry::start().await;
    registry.model().await;
    let repository = format!("docker://{}/team/chat", registry.stage.address);
    let tagged = format!("{repository}:1.0");
    let creds = format!("anybody:{}", registry.scoped);
    let plain = ["--tls-verify=false", "--creds", creds.as_str()];
    let listed = skopeo(&[&["list-tags"], &plain[..], &[repository.as_str()]].concat()).await;
    assert!(listed.starts_with('0') && listed.contains("\"1.0\""), "{listed}");
    let raw = skopeo(&[&["inspect", "--raw"], &plain[..], &[tagged.as_str()]].concat()).await;
    let manifest: Value = serde_json::from_str(raw.strip_prefix("0 ").unwrap()).unwrap();
    let to = registry.folder.path().join("copy");
    let target = format!("dir:{}", to.display());
    let copy = |creds: &str| {
        let words = ["copy", "--src-tls-verify=false", "--src-creds", creds, &tagged, &target];
        words.map(str::to_owned)
    };
    let wrong = copy("anybody:hf_wrong");
    let refused = skopeo(&wrong.each_ref().map(String::as_str)).await;
    assert!(
        refused.starts_with('1') && refused.to_lowercase().contains("unauthorized"),
        "{refused}"
    );
    let words = copy(&creds);
    let copied = skopeo(&words.each_ref().map(String::as_str)).await;
    assert!(copied.starts_with('0'), "{copied}");
    assert_eq!(layers(&manifest).len(), 4);
    for (_, digest) in layers(&manifest) {
        let hex = digest.strip_prefix("sha256:").unwrap();
        let bytes = std::fs::read(to.join(hex)).unwrap();
        assert_eq!(Digest::of_bytes(&bytes).as_str(), hex);
    }
    let kept: Value =
        serde_json::from_slice(&std::fs::read(to.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(kept, manifest);
    // Another way round it says that this is not what one does here.
    let dest = format!("docker://{}/team/chat:2.0", registry.stage.address);
    let words = ["copy", "--dest-tls-verify=false", "--dest-creds", creds.as_str(), &target, &dest];
    let pushed = skopeo(&words).await;
    assert!(pushed.starts_with('1') && pushed.contains("only reads"), "{pushed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn oras_pulls_the_files_under_their_names() {
    made("oras").await;
    let registry = Registry::start().await;
    registry.model().await;
    let to = registry.folder.path().join("pulled");
    let script = "import sys, oras.client\n\
        client = oras.client.OrasClient(insecure=True, auth_backend='basic')\n\
        client.auth.set_basic_auth('anybody', sys.argv[2])\n\
        client.pull(target=sys.argv[1] + '/team/chat:1.0', outdir=sys.argv[3])\n";
    let python = top().join("target/oci-clients/oras/bin/python3");
    let mut command = Command::new(python);
    command.args(["-c", script, &registry.stage.address.to_string(), &registry.scoped]);
    command.arg(&to).env("HOME", registry.folder.path());
    let said = run(&mut command).await;
    assert!(said.starts_with("0 "), "{said}");
    let weights = super::safetensors();
    for (path, text) in [("onnx/m.onnx", "not really"), ("model.safetensors", weights.as_str())] {
        let kept =
            std::fs::read(to.join(path)).unwrap_or_else(|error| panic!("{path}: {error}: {said}"));
        assert_eq!(kept, text.as_bytes(), "{path}");
    }
}
