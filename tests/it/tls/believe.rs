//! Whom the command line believes.

use std::{os::unix::process::ExitStatusExt as _, process::Output};

use openssl::x509::X509;

use super::{Authority, Harbour};

/// Runs `berth`, with nothing of this machine's settings.
async fn berth(words: Vec<String>) -> (i32, String) {
    let run = move || {
        std::process::Command::new(env!("CARGO_BIN_EXE_berth"))
            .args(words)
            .env_clear()
            .env("SSL_CERT_FILE", "/dev/null")
            .output()
            .unwrap()
    };
    let Output { status, stdout, stderr } = tokio::task::spawn_blocking(run).await.unwrap();
    assert_eq!(status.signal(), None);
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.code().unwrap(), text)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn a_controller_is_believed_by_its_root_or_its_fingerprint_and_never_just_so() {
    let harbour = Harbour::start().await;
    let url = format!("https://{}", harbour.stage.address);
    let pem = std::fs::read(harbour.path("cert.pem")).unwrap();
    let shown = X509::from_pem(&pem).unwrap().to_der().unwrap();
    let digits = berth::model::Digest::of_bytes(&shown).as_str().to_owned();
    let root = harbour.path("root.pem");
    std::fs::write(&root, harbour.authority.pem()).unwrap();
    let root = root.display().to_string();
    let strange = harbour.path("strange.pem");
    std::fs::write(&strange, Authority::new("strange").pem()).unwrap();
    let strange = strange.display().to_string();
    let get = ["--server", &url, "get", "-o", "name"];
    let with = |more: &[&str]| berth(words(&[more, &get[..]].concat()));

    assert_eq!(with(&["--tls-ca", &root]).await, (0, "app/chat\n".to_owned()));
    assert_eq!(with(&["--tls-fingerprint", &digits]).await, (0, "app/chat\n".to_owned()));
    let (code, said) = with(&[]).await;
    assert_eq!(code, 5, "{said}");
    assert!(said.contains(&format!("--tls-fingerprint {digits}")), "{said}");
    let (code, said) = with(&["--tls-ca", &strange]).await;
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("does not lead to one in"), "{said}");
    let (code, said) = with(&["--tls-fingerprint", &"ab".repeat(32)]).await;
    assert_eq!(code, 5, "{said}");
    assert!(said.contains(&digits), "{said}");
    for bad in [["--tls-fingerprint", "abc"], ["--tls-ca", "/no/such/file"]] {
        let (code, said) = with(&bad).await;
        assert_eq!(code, 2, "{said}");
    }
    // A name that the certificate is not for.
    let elsewhere = format!("https://127.0.0.2:{}", harbour.stage.address.port());
    let listens_there = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    drop(listens_there);
    let (code, said) = berth(words(&["--tls-ca", &root, "--server", &elsewhere, "get"])).await;
    assert_eq!(code, 5, "{said}");
}

#[tokio::test]
async fn the_wrong_scheme_is_named() {
    let harbour = Harbour::start().await;
    let plain = format!("http://{}", harbour.stage.address);
    let (code, said) = berth(words(&["--server", &plain, "get"])).await;
    assert_ne!(code, 0);
    assert!(said.contains("https"), "{said}");
    let other = crate::api::stage::Stage::start().await;
    let secure = format!("https://{}", other.address);
    let (code, said) = berth(words(&["--server", &secure, "get"])).await;
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("speaks https"), "{said}");
}

/// The whole program: a certificate of its own, found by what its log says, and a second start.
#[tokio::test]
async fn a_first_try_takes_one_flag_and_one_number() {
    let top = tempfile::tempdir().unwrap();
    std::fs::create_dir(top.path().join("manifests")).unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (mut child, said) = run(top.path()).await;
        let (address, sha256) = (&said["address"], &said["sha256"]);
        let (address, sha256) = (address.as_str().unwrap(), sha256.as_str().unwrap().to_owned());
        assert!(address.starts_with("https://127.0.0.1:"), "{said}");
        let get = words(&["--server", address, "--tls-fingerprint", &sha256, "get", "-o", "json"]);
        let (code, list) = berth(get).await;
        assert_eq!(code, 0, "{list}");
        assert!(list.contains(&sha256), "{list}");
        let socket = top.path().join("state/berth.sock");
        assert!(socket.exists(), "this machine's users need no certificate");
        seen.push(sha256);
        child.kill().await.unwrap();
    }
    assert_eq!(seen[0], seen[1]);
}

/// Starts the program, and gives what its log says of itself.
async fn run(top: &std::path::Path) -> (tokio::process::Child, serde_json::Value) {
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_berth"));
    command.args(["run", "--engine", "fake", "--tls-self-signed", "--listen", "127.0.0.1:0"]);
    let instance = format!("tls-{}", std::process::id());
    command.args(["--log-format", "json", "--instance", &instance]);
    for name in ["manifests", "state-dir", "workspaces", "model-store"] {
        let folder = name.split('-').next().unwrap();
        command.arg(format!("--{name}")).arg(top.join(folder));
    }
    command.env_clear().stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let starting = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("it ended");
            if line.contains("berth is running") {
                return serde_json::from_str(&line).unwrap();
            }
        }
    };
    let said = tokio::time::timeout(super::PATIENCE * 3, starting).await.expect("it never ran");
    // Somebody has to read what it says from now on.
    tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
    (child, said)
}
