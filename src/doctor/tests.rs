//! Checks on places that are made up.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

fn place(folder: &std::path::Path) -> Place {
    let at = |name: &str| folder.join(name);
    Place {
        state: at("state"),
        manifests: Some(at("manifests")),
        workspaces: at("work"),
        models: at("models"),
        secrets: at("state/secrets"),
        listen: "127.0.0.1:0".parse().unwrap(),
        ports: PortRange { first: 8001, last: 8999 },
        docker_host: Some(format!("unix://{}", at("docker.sock").display())),
        proc: at("proc"),
        cgroup: at("cgroup"),
        version: "1.0.0".to_owned(),
        ..Place::default()
    }
}

async fn look(place: Place, code: &str) -> Report {
    let reports = examine(&Arc::new(place), None).await;
    reports.into_iter().find(|report| report.code == code).unwrap()
}

#[tokio::test]
async fn every_check_answers_and_has_a_code_of_its_own_in_the_order_of_groups() {
    let folder = tempfile::tempdir().unwrap();
    let reports = examine(&Arc::new(place(folder.path())), None).await;
    assert!(25 < reports.len());
    assert!(reports.is_sorted_by_key(|report| report.group));
    for (at, report) in reports.iter().enumerate() {
        assert!(!report.hint.is_empty(), "{} is in no table", report.code);
        assert!(!report.evidence.is_empty(), "{report:?}");
        let is_trouble = matches!(report.outcome, Outcome::Warning | Outcome::Error);
        assert_eq!(is_trouble, !report.fix.is_empty(), "{report:?}");
        assert!(!reports[..at].iter().any(|other| other.code == report.code), "{report:?}");
    }
    let only = examine(&Arc::new(place(folder.path())), Some(Group::State)).await;
    assert!(only.iter().all(|report| report.group == Group::State) && 3 < only.len());
}

#[tokio::test]
async fn a_socket_that_is_missing_closed_or_forbidden_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let missing = look(place(folder.path()), "doctor.reachable").await;
    assert_eq!(missing.outcome, Outcome::Error);
    assert!(missing.fix.contains("install Docker"), "{missing:?}");
    let path = folder.path().join("docker.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let closed = look(place(folder.path()), "doctor.reachable").await;
    assert!(closed.fix.contains("systemctl start"), "{closed:?}");
    fs::remove_file(&path).unwrap();
    let _open = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let open = look(place(folder.path()), "doctor.reachable").await;
    assert_eq!(open.outcome, Outcome::Good, "{open:?}");
}

#[tokio::test]
async fn what_can_be_mended_is_mended_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let folders = look(place(folder.path()), "doctor.folders").await;
    assert!(folders.outcome == Outcome::Warning && folders.is_mendable(), "{folders:?}");
    folders.mend().unwrap();
    let folders = look(place(folder.path()), "doctor.folders").await;
    assert_eq!(folders.outcome, Outcome::Good, "{folders:?}");

    let secret = folder.path().join("state/secrets/work");
    fs::create_dir_all(secret.parent().unwrap()).unwrap();
    fs::set_permissions(secret.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(&secret, "x").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let secrets = look(place(folder.path()), "doctor.secrets").await;
    assert_eq!(secrets.outcome, Outcome::Error, "{secrets:?}");
    assert_eq!(secrets.mend().unwrap().len(), 1);
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let secrets = look(place(folder.path()), "doctor.secrets").await;
    assert_eq!(secrets.outcome, Outcome::Good, "{secrets:?}");
}

#[tokio::test]
async fn limits_of_the_machine_are_read_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let limits = folder.path().join("proc/sys/fs/inotify");
    fs::create_dir_all(&limits).unwrap();
    fs::create_dir_all(folder.path().join("manifests/a/b")).unwrap();
    for (watches, outcome) in [("5", Outcome::Warning), ("6", Outcome::Good)] {
        fs::write(limits.join("max_user_watches"), watches).unwrap();
        fs::write(limits.join("max_user_instances"), "128\n").unwrap();
        let found = look(place(folder.path()), "doctor.watches").await;
        assert_eq!(found.outcome, outcome, "{found:?}");
    }
    fs::create_dir_all(folder.path().join("cgroup")).unwrap();
    assert_eq!(look(place(folder.path()), "doctor.kernel").await.outcome, Outcome::Warning);
    fs::write(folder.path().join("cgroup/cgroup.controllers"), "").unwrap();
    assert_eq!(look(place(folder.path()), "doctor.kernel").await.outcome, Outcome::Good);
}

#[tokio::test]
async fn what_the_controller_says_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let day = 24 * 3600 * 1000;
    let with =
        |controller: Controller| Place { controller: Some(controller), ..place(folder.path()) };
    let now = Timestamp::from_millis(0);
    let waits = |apps: u64, seconds: u64| Some((apps, Duration::from_secs(seconds)));
    let ours = || Controller { version: "1.0.0".to_owned(), ..Controller::default() };
    let late = look(with(Controller { queue: waits(3, 45), ..ours() }), "doctor.queue").await;
    assert_eq!(late.evidence, "3 apps in the queue, the oldest has been due for 45s");
    for (controller, code, outcome) in [
        (ours(), "doctor.controller", Outcome::Good),
        (
            Controller { version: "0.9.0".to_owned(), ..ours() },
            "doctor.controller",
            Outcome::Warning,
        ),
        (Controller { reasons: vec!["x".to_owned()], ..ours() }, "doctor.passes", Outcome::Error),
        (Controller { differing: 1, ..ours() }, "doctor.drift", Outcome::Warning),
        (ours(), "doctor.queue", Outcome::Skipped),
        (Controller { queue: waits(0, 0), ..ours() }, "doctor.queue", Outcome::Good),
        (Controller { queue: waits(40, 12), ..ours() }, "doctor.queue", Outcome::Good),
        (Controller { queue: waits(3, 45), ..ours() }, "doctor.queue", Outcome::Warning),
        (Controller { queue: waits(1, 400), ..ours() }, "doctor.queue", Outcome::Error),
        (ours(), "doctor.reading", Outcome::Skipped),
        (Controller { read_at: Some(now), ..ours() }, "doctor.reading", Outcome::Good),
        (
            Controller {
                read_at: Some(now),
                unreadable: Some("no such folder".to_owned()),
                ..ours()
            },
            "doctor.reading",
            Outcome::Error,
        ),
        (ours(), "doctor.drift", Outcome::Good),
        (
            Controller { certificate: Some(Timestamp::from_millis(31 * day)), ..ours() },
            "doctor.certificate",
            Outcome::Good,
        ),
        (
            Controller { certificate: Some(Timestamp::from_millis(29 * day)), ..ours() },
            "doctor.certificate",
            Outcome::Warning,
        ),
    ] {
        let found = look(with(controller), code).await;
        assert_eq!(found.outcome, outcome, "{found:?}");
    }
}

/// Fault D35: a check that hangs holds up no other.
#[tokio::test(start_paused = true)]
async fn a_host_that_never_answers_ends_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    // 192.0.2.0/24 is nobody's.
    let hosts = vec![Host { name: "192.0.2.1".to_owned(), port: 443, is_tls: true }];
    let found = look(Place { git_hosts: hosts, ..place(folder.path()) }, "doctor.git-hosts").await;
    assert_eq!(found.outcome, Outcome::Error, "{found:?}");
}
