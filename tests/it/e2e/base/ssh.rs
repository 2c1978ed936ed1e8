//! Getting in by ssh: who may, who may not, and that the host stays the one that clients know.

use super::*;

const UP: &str = "[sshd] Server listening on 0.0.0.0 port 22.";

#[test]
fn a_key_lets_in_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let (own, other) = (Keys::make(folder.path(), "own"), Keys::make(folder.path(), "other"));
    let noise = format!("SSH_PUBKEY=no key at all\n{}\n", own.public());
    let options = ["-e", &noise, "-e", "GPU_COUNT=2", "-e", "RCLONE_CONFIG_NAS_TYPE=memory"];
    let place = Box::start(&options, &[]);
    let log = place.until_logged(&[UP]);
    assert!(log.contains("a line of SSH_PUBKEY is not a public key"), "{log}");
    let host = place.address();
    // What a session sees is what the container's programs see.
    let said = own.ssh("root", &host, "id -u; echo $CUDA_VISIBLE_DEVICES; rclone listremotes");
    assert_eq!(said.unwrap(), "0\n0,1\nnas:");
    let refused = other.ssh("root", &host, "true").unwrap_err();
    assert!(refused.contains("Permission denied (publickey)"), "{refused}");
    for way in ["password", "keyboard-interactive", "hostbased", "none"] {
        let way = format!("PreferredAuthentications={way}");
        let refused = ssh(&["-o", &way, "-o", "BatchMode=no"], "root", &host, "true");
        let refused = refused.unwrap_err();
        assert!(refused.contains("Permission denied (publickey)"), "{way}: {refused}");
    }
    let refused = own.ssh("berth", &host, "true").unwrap_err();
    assert!(refused.contains("Permission denied"), "{refused}");
}

#[test]
fn without_a_key_there_is_no_sshd() {
    let place = Box::start(&[], &[]);
    let log = place.until_logged(&["spawned: 'logtail'", "sshd is not started"]);
    assert!(!log.contains("[sshd]"), "{log}");
    let processes = place.exec("ps -eo comm");
    assert!(!processes.contains("sshd"), "{processes}");
    assert!(std::net::TcpStream::connect((place.address(), 22)).is_err());
}

/// Keys come from the mounted configuration and from a home too, and the host key outlives the
/// container with its workspace.
#[test]
fn keys_of_files_let_in_and_the_host_key_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    fs::create_dir(&config).unwrap();
    let keys: Vec<_> =
        ["file", "home", "secret"].iter().map(|name| Keys::make(folder.path(), name)).collect();
    fs::write(config.join("authorized_keys"), format!("# mine\n{}\r\n", keys[0].public())).unwrap();
    let shared = Shared::new();
    let start = || {
        let at = |path: &Path, target: &str| format!("{}:{target}:ro", path.display());
        let options = [
            "-v".to_owned(),
            at(&config, "/config"),
            "-v".to_owned(),
            at(&keys[1].0.with_extension("pub"), "/root/.ssh/authorized_keys"),
            "-v".to_owned(),
            at(&keys[2].0.with_extension("pub"), "/etc/berth/ssh/0.pub"),
            "-v".to_owned(),
            shared.mount(),
        ];
        let place = Box::start(&options.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        place.until_logged(&[UP, "3 key(s)"]);
        place
    };
    let scan = |place: &Box| {
        let output = Command::new("ssh-keyscan").args(["-t", "ed25519", &place.address()]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.split(' ').nth(2).map(ToOwned::to_owned).unwrap_or_default()
    };
    let first = start();
    for key in &keys {
        assert_eq!(key.ssh("root", &first.address(), "echo in"), Ok("in".to_owned()));
    }
    let known = scan(&first);
    assert!(known.starts_with("AAAA"), "{known}");
    // Its owner outside has no business with it.
    let mode = first.exec("stat -c %a /workspace/.ssh-host/ssh_host_ed25519_key");
    assert_eq!(mode, "600");
    drop(first);
    assert_eq!(scan(&start()), known);
}

/// As somebody other than root, and as Berth holds an app of the profile `restricted`.
#[test]
fn sshd_needs_no_root() {
    let folder = tempfile::tempdir().unwrap();
    let key = Keys::make(folder.path(), "own");
    let pubkey = format!("SSH_PUBKEY={}", key.public());
    let loose = ["-e", &pubkey, "--user", "1000:1000"];
    let tight =
        ["-e", &pubkey, "--user", "65532:65532", "--cap-drop=ALL", "--read-only", "--tmpfs=/tmp"];
    for (options, user) in [(loose.as_slice(), "berth"), (tight.as_slice(), "nonroot")] {
        let place = Box::start(options, &["sleep", "600"]);
        place.until_logged(&[UP]);
        assert_eq!(key.ssh(user, &place.address(), "id -un"), Ok(user.to_owned()));
        assert!(key.ssh("root", &place.address(), "true").is_err());
        place.until("/opt/berth/health.sh");
    }
}
