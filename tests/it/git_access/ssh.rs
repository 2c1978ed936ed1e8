//! Logins over ssh, with a real server.

use std::{fs, time::Duration};

use berth::{model::Reason, workspace::Error};

use super::{
    Yard, is_written, source,
    sshd::{Sshd, make_key, make_key_of},
};

fn serve(yard: &Yard) -> Sshd {
    let folder = yard.folder.path().join("sshd");
    fs::create_dir_all(&folder).unwrap();
    Sshd::start(&folder, &yard.served())
}

fn know(yard: &Yard, text: &str) {
    fs::write(yard.folder.path().join("known_hosts"), text).unwrap();
}

#[tokio::test]
async fn a_repository_is_fetched_by_ssh_with_a_key_and_a_known_host() {
    let yard = Yard::new();
    let sshd = serve(&yard);
    know(&yard, &sshd.known());
    // As editors leave it: without the last line end.
    yard.keep("deploy", &[("ssh-privatekey", sshd.client_key().trim_end())]);
    let at = source(&sshd.url(), Some("deploy"));
    yard.fetch(&at).await.unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()));
    assert_eq!(yard.read("a"), "1");
    yard.commit(&[("a", "2")]);
    yard.fetch(&at).await.unwrap();
    assert_eq!(yard.read("a"), "2");
    // Fault G15: the key lies in its secret and nowhere else.
    let line = sshd.client_key().lines().nth(2).unwrap().to_owned();
    assert!(!is_written(&yard.folder.path().join("workspaces"), &line));
}

#[tokio::test]
async fn a_key_with_a_passphrase_and_a_secret_with_its_own_known_hosts_do() {
    let yard = Yard::new();
    let folder = yard.folder.path().join("sshd");
    fs::create_dir_all(&folder).unwrap();
    make_key(&folder.join("client"), "open sesame");
    let sshd = Sshd::start(&folder, &yard.served());
    let key = sshd.client_key();
    let known = sshd.known();
    yard.keep("deploy", &[("ssh-privatekey", &key), ("known_hosts", &known)]);
    let at = source(&sshd.url(), Some("deploy"));
    let error = yard.fetch(&at).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GitAuth, "{error}");
    assert!(error.to_string().contains("`deploy`"), "{error}");
    yard.keep("deploy", &[("passphrase", "open sesame\n")]);
    yard.fetch(&at).await.unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()));
}

/// Fault G03: no trust on first use, and none after a change.
#[tokio::test]
async fn a_host_is_believed_only_when_its_key_is_known() {
    let yard = Yard::new();
    let sshd = serve(&yard);
    yard.keep("deploy", &[("ssh-privatekey", &sshd.client_key())]);
    let at = source(&sshd.url(), Some("deploy"));
    let unknown = yard.fetch(&at).await.unwrap_err();
    assert_eq!((unknown.reason(), unknown.is_permanent()), (Reason::GitHostKey, true), "{unknown}");
    assert!(
        !sshd.log().contains("Accepted") && !sshd.log().contains("Postponed"),
        "{}",
        sshd.log()
    );
    // What it says to do, done as it says.
    let told = unknown.to_string();
    let command = &told[told.find("echo '").unwrap()..];
    let done = std::process::Command::new("sh").args(["-c", command]).status().unwrap();
    assert!(done.success());
    let line = fs::read_to_string(yard.folder.path().join("known_hosts")).unwrap();
    assert_eq!(line.trim(), sshd.known().trim());
    let fingerprint = std::process::Command::new("ssh-keygen")
        .args(["-l", "-f"])
        .arg(yard.folder.path().join("sshd/host.pub"))
        .output()
        .unwrap();
    let fingerprint = String::from_utf8(fingerprint.stdout).unwrap();
    let fingerprint = fingerprint.split_whitespace().nth(1).unwrap();
    assert!(told.contains(fingerprint), "{told} does not say {fingerprint}");
    yard.fetch(&at).await.unwrap();

    let other = yard.folder.path().join("other");
    make_key(&other, "");
    let key = fs::read_to_string(other.with_extension("pub")).unwrap();
    know(&yard, &format!("[127.0.0.1]:{} {key}", sshd.port));
    let changed = yard.fetch(&at).await.unwrap_err();
    assert_eq!(changed.reason(), Reason::GitHostKey);
    let told = changed.to_string();
    assert!(told.contains("CHANGED") && told.contains("(line 1)"), "{told}");
}

/// The host offers several keys, of which one is known.
#[tokio::test]
async fn a_host_is_asked_for_the_key_that_is_known() {
    let yard = Yard::new();
    let folder = yard.folder.path().join("sshd");
    fs::create_dir_all(&folder).unwrap();
    make_key_of("ecdsa", &folder.join("second"), "");
    let sshd = Sshd::start(&folder, &yard.served());
    yard.keep("deploy", &[("ssh-privatekey", &sshd.client_key())]);
    let at = source(&sshd.url(), Some("deploy"));
    let second = fs::read_to_string(folder.join("second.pub")).unwrap();
    for known in [sshd.known(), format!("[127.0.0.1]:{} {second}", sshd.port)] {
        know(&yard, &known);
        yard.fetch(&at).await.unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()));
    }
}

/// Faults G02, G16.
#[tokio::test]
async fn a_key_that_may_not_log_in_is_offered_once_and_told_by_its_name() {
    let yard = Yard::new();
    let sshd = serve(&yard);
    know(&yard, &sshd.known());
    let error = yard.fetch(&source(&sshd.url(), None)).await.unwrap_err();
    assert!(error.to_string().contains("--key ssh-privatekey"), "{error}");
    let other = yard.folder.path().join("other");
    make_key(&other, "");
    yard.keep("deploy", &[("ssh-privatekey", &fs::read_to_string(&other).unwrap())]);
    let at = source(&sshd.url(), Some("deploy"));
    let error = yard.fetch(&at).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), (Reason::GitAuth, true), "{error}");
    assert!(error.to_string().contains("key of the secret `deploy`"), "{error}");
    yard.keep("deploy", &[("ssh-privatekey", "-----BEGIN rubbish")]);
    let error = yard.fetch(&at).await.unwrap_err();
    assert_eq!(error.reason(), Reason::GitAuth, "{error}");
    yard.keep("deploy", &[("ssh-privatekey", &sshd.client_key())]);
    yard.fetch(&at).await.unwrap();
    let gone = sshd.url().replace("app.git", "gone.git");
    let error = yard.fetch(&source(&gone, Some("deploy"))).await.unwrap_err();
    assert!(matches!(error, Error::NoRepository { .. }), "{error}");
}

/// Fault G01: the host accepts the connection and says nothing.
#[tokio::test]
async fn an_ssh_host_that_hangs_is_given_up_at_the_deadline() {
    let yard = Yard::with(|settings| settings.idle = Duration::from_secs(1));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    yard.keep("deploy", &[("ssh-privatekey", "-----BEGIN x")]);
    let url = format!("ssh://git@{}/a", silent.local_addr().unwrap());
    let error = yard.fetch(&source(&url, Some("deploy"))).await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { seconds: 1, .. }), "{error}");
}
