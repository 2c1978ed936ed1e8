//! Repositories behind real servers that want a login, built on a real engine, and what is said when
//! a server or a commit turns bad while a good version runs.

use std::{fs, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use berth::{
    model::{Phase, Reason},
    record::Command,
    secret::{Secrets, Value},
    status::Status,
    workspace::Access,
};

use super::{
    engine::TINY,
    repository::Repository,
    stage::{Berth, Stage, get, name},
};
use crate::{
    git_access::sshd::{Sshd, make_key},
    git_server::{Answers, Server},
};

/// How long a server may be silent here.
const SILENCE: Duration = Duration::from_secs(6);
const PASSWORD: &str = "hunter2-e2e";

/// A stage whose fetches have secrets and known hosts, and little patience.
fn stage() -> (Stage, Secrets, PathBuf) {
    let mut stage = Stage::new();
    let secrets = Secrets::new(stage.path("secrets"));
    let known_hosts = stage.path("known_hosts");
    let access = Access {
        secrets: Some(secrets.clone()),
        known_hosts: known_hosts.clone(),
        ..Access::default()
    };
    stage.tune = Box::new(move |settings| {
        settings.access = access.clone();
        settings.idle = SILENCE;
    });
    (stage, secrets, known_hosts)
}

fn manifest(app: &str, url: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  \
         source: {{git: {{url: '{url}', auth: {{secret: deploy}}}}, interval: 1s}}\n  \
         run: httpd -f -p 8080 -h /www\n  port: 8080\n"
    )
}

fn dockerfile() -> String {
    format!("FROM {TINY}\nCOPY . /www/\n")
}

async fn until_at(berth: &Berth, app: &str, commit: &str) {
    let is_there = |status: &Status| {
        status.phase == Phase::Running && status.commit.as_ref().is_some_and(|at| *at == *commit)
    };
    berth.until_status(app, &format!("runs {commit}"), is_there).await;
}

async fn said(berth: &Berth, app: &str, path: &str) -> String {
    let port = berth.status(app).unwrap().ports[0].host_port;
    let answer = get(port, path).await.expect("nothing answers");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// 20,000 files by authenticated HTTP, into an image by `COPY`.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_repository_behind_a_login_is_built() {
    let (stage, secrets, _) = stage();
    secrets.set("deploy", Some("token"), &Value::new(PASSWORD)).unwrap();
    let login = format!("Basic {}", STANDARD.encode(format!("x-access-token:{PASSWORD}")));
    let served = stage.path("served");
    let repository = Repository::bare(&served.join("app.git"));
    let text = |nth: usize| format!("{nth}-{}", "x".repeat(nth % 1000));
    let mut files: Vec<_> =
        (0..20_000).map(|nth| (format!("d{}/f{nth}", nth % 200), text(nth))).collect();
    files.push(("Dockerfile".to_owned(), dockerfile()));
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let at = repository.commit(&files);
    let server = Server::start(Answers::Private(served, login));
    stage.write("large.yaml", &manifest("large", &server.url()));
    let berth = stage.start();
    until_at(&berth, "large", &at).await;
    for nth in [0, 777, 19_999] {
        let path = format!("/d{}/f{nth}", nth % 200);
        assert_eq!(said(&berth, "large", &path).await, text(nth));
    }
    let count = "find /www -type f -name 'f*' | wc -l";
    let id = stage.container("large").id();
    assert_eq!(super::engine::docker(&["exec", &id, "sh", "-c", count]), "20000");
}

/// What one bad turn is: what is done, what is undone, and what the status must say.
type Turn<'a> = (&'a dyn Fn(), &'a dyn Fn(), Reason, &'a str);

/// Faults G01, G02, G03, B01, B07: by ssh, with what goes wrong around a version that runs on.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_turns_bad_is_said_and_what_runs_goes_on() {
    let (stage, secrets, known_hosts) = stage();
    let folder = stage.path("sshd");
    fs::create_dir_all(&folder).unwrap();
    let served = stage.path("served");
    let repository = Repository::bare(&served.join("app.git"));
    let page =
        |text: &str| repository.commit(&[("Dockerfile", &dockerfile()), ("index.html", text)]);
    let at = page("one");
    let sshd = Sshd::start(&folder, &served);
    fs::write(&known_hosts, sshd.known()).unwrap();
    secrets.set("deploy", Some("ssh-privatekey"), &Value::new(sshd.client_key())).unwrap();
    stage.write("page.yaml", &manifest("page", &sshd.url()));
    let berth = stage.start();
    until_at(&berth, "page", &at).await;
    berth.until_running("page").await;
    let life = stage.container("page").life();

    let (authorized, script) = (folder.join("authorized"), folder.join("serve"));
    let kept = [&authorized, &script].map(|path| fs::read(path).unwrap());
    let restore = || {
        for (path, bytes) in [&authorized, &script].into_iter().zip(&kept) {
            fs::write(path, bytes).unwrap();
        }
        fs::write(&known_hosts, sshd.known()).unwrap();
    };
    let other = stage.path("other-host");
    make_key(&other, "");
    let other = fs::read_to_string(other.with_extension("pub")).unwrap();
    let (host, _) =
        sshd.known().split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let base = super::engine::BASE;
    let old = [("requirements.txt", ""), (".python-version", "3.6\n")];
    let bad = [("requirements.txt", "--no-index\nnosuch==1.0\n")];
    let turns: [Turn<'_>; 5] = [
        (&|| fs::write(&authorized, "").unwrap(), &restore, Reason::GitAuth, "`deploy`"),
        (
            &|| fs::write(&known_hosts, format!("{host} {other}")).unwrap(),
            &restore,
            Reason::GitHostKey,
            "CHANGED",
        ),
        (
            &|| fs::write(&script, "#!/bin/sh\nexec sleep 30\n").unwrap(),
            &restore,
            Reason::GitUnreachable,
            "",
        ),
        (&|| drop(repository.commit(&old)), &|| {}, Reason::BuildFailed, base),
        (&|| drop(repository.commit(&bad)), &|| {}, Reason::BuildFailed, "nosuch"),
    ];
    for (spoil, mend, reason, words) in turns {
        spoil();
        berth.command(Command::Reconcile(name("page"))).await;
        let is_said = |status: &Status| {
            status.conditions.iter().any(|one| one.reason == reason && one.message.contains(words))
        };
        let status = berth.until_status("page", &format!("{reason} {words}"), is_said).await;
        assert!(status.url.is_some(), "{status:?}");
        assert_eq!(stage.container("page").life(), life, "{reason}");
        assert_eq!(said(&berth, "page", "/").await, "one");
        mend();
    }
    let at = page("two");
    berth.command(Command::Reconcile(name("page"))).await;
    until_at(&berth, "page", &at).await;
    assert_eq!(said(&berth, "page", "/").await, "two");
}
