//! Mistakes, each of which ends in a sentence that helps, and none of which holds anybody up.

use std::{net::TcpListener, time::Duration};

use berth::model::{ConditionStatus, ConditionType, Phase, Reason};
use tokio::time::Instant;

use crate::git_server::{Answers, Server};

use super::{
    repository::Repository,
    stage::{Berth, Stage, httpd, tiny},
};

/// A bad app: its name, its phase, its reason, and what its message says.
type Expected = (&'static str, Phase, Reason, &'static [&'static str]);

const EXPECTED: &[Expected] = &[
    ("unreachable", Phase::Failed, Reason::GitUnreachable, &["can't reach host", "127.0.0.1:"]),
    ("private", Phase::Failed, Reason::GitAuth, &["no access to http://127.0.0.1:"]),
    ("no-ref", Phase::Failed, Reason::RefNotFound, &["`v9`", "main"]),
    ("no-path", Phase::Failed, Reason::PathNotFound, &["no folder `server`"]),
    (
        "nothing",
        Phase::Failed,
        Reason::NothingToBuild,
        &["looked for: Dockerfile, requirements.txt, pyproject.toml", "build.dockerfile"],
    ),
    ("bad-pip", Phase::Failed, Reason::BuildFailed, &["No matching distribution found for nosuch"]),
    ("no-base", Phase::Failed, Reason::BaseImageMissing, &["127.0.0.1:1/none:1"]),
    ("no-image", Phase::Failed, Reason::PullFailed, &["127.0.0.1:1/none:2"]),
    ("taken", Phase::Failed, Reason::PortTaken, &["a program of this host", "hostPort"]),
    ("exits", Phase::Failed, Reason::CrashLoop, &["exits with code 3", "berth logs"]),
    ("no-program", Phase::Failed, Reason::CrashLoop, &["exits with code 127"]),
    ("never", Phase::Degraded, Reason::ProbeDeadline, &["within 2s", "404"]),
];

/// Longer than any of them takes.
const DEADLINE: Duration = Duration::from_secs(180);

fn from_git(app: &str, url: &str, rest: &str) -> String {
    format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {app}}}\nspec:\n  \
         source: {{git: {{url: {url}{rest}}}}}\n  run: sleep 3600\n"
    )
}

/// Writes every bad manifest. What is answered must be kept.
fn write_all(stage: &Stage) -> (Server, TcpListener) {
    let repository = |name: &str, files: &[(&str, &str)]| {
        let repository = Repository::bare(&stage.path("served").join(name));
        repository.commit(files);
        repository.url()
    };
    let empty = repository("empty.git", &[("README.md", "nothing")]);
    let bad_pip = repository("pip.git", &[("requirements.txt", "--no-index\nnosuch==1.0\n")]);
    let private = Server::start(Answers::Status(401, None));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let write = |app: &str, text: String| stage.write(&format!("{app}.yaml"), &text);
    let git = |app: &str, url: &str, rest: &str| write(app, from_git(app, url, rest));
    git("unreachable", &format!("http://{closed}/app.git"), "");
    git("private", &private.url(), "");
    git("no-ref", &empty, ", ref: v9");
    git("no-path", &empty, ", path: server");
    git("nothing", &empty, "");
    git("bad-pip", &bad_pip, "");
    let no_base = from_git("no-base", &bad_pip, "") + "  build: {base: '127.0.0.1:1/none:1'}\n";
    write("no-base", no_base);
    let no_image =
        tiny("no-image", "[sleep]", "").replace(super::engine::TINY, "127.0.0.1:1/none:2");
    write("no-image", no_image);
    let fixed = format!("ports: [{{containerPort: 80, hostPort: {port}}}]");
    write("taken", tiny("taken", "[sleep, \"3600\"]", &fixed));
    write("exits", tiny("exits", "[sh, -c, 'exit 3']", "port: 8080"));
    write("no-program", tiny("no-program", "[/no/such/program]", ""));
    write("never", httpd("never", "health: {http: {path: /nope}, startPeriod: 2s}"));
    (private, taken)
}

/// How long new, good apps take from their manifests to their URLs: the fastest of five.
async fn fastest(stage: &Stage, berth: &Berth, kind: &str) -> Duration {
    let mut fastest = Duration::MAX;
    for nth in 0..5 {
        let app = format!("{kind}-{nth}");
        let start = Instant::now();
        stage.write(&format!("{app}.yaml"), &httpd(&app, ""));
        berth.until_running(&app).await;
        fastest = fastest.min(start.elapsed());
    }
    fastest
}

/// Faults T06, G02, G03, B06, B07, P02, H01: nothing hides, and nobody waits for a neighbour.
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_said_in_time_and_holds_nobody_up() {
    let stage = Stage::new();
    let berth = stage.start();
    let alone = fastest(&stage, &berth, "alone").await;
    let start = Instant::now();
    let _kept = write_all(&stage);
    let among = fastest(&stage, &berth, "among").await;
    // A neighbour that is waited for costs its time-out: 30 seconds and more.
    assert!(among < alone * 3 + Duration::from_secs(5), "{among:?}, {alone:?} without bad apps");

    for (app, phase, reason, parts) in EXPECTED {
        let what = format!("{phase}, {reason}");
        let is_said =
            |status: &berth::status::Status| (status.phase, status.reason) == (*phase, *reason);
        let status = berth.until_status(app, &what, is_said).await;
        for part in *parts {
            assert!(status.message.contains(part), "{app}: {part}: {}", status.message);
        }
        let ready = status.condition(ConditionType::Ready).unwrap();
        assert_eq!((ready.status, ready.reason), (ConditionStatus::False, *reason), "{app}");
        assert_eq!(ready.message, status.message);
        assert_eq!(status.url, None, "{app}");
        assert!(start.elapsed() < DEADLINE, "{app}: {:?}", start.elapsed());
    }
    for app in ["alone-0", "among-2"] {
        assert_eq!(berth.status(app).unwrap().phase, Phase::Running);
        assert_eq!(stage.container(app).0["RestartCount"], 0);
    }
}

/// Fault W05: a manifest that can't be read changes nothing, and is heard of.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_manifest_leaves_its_app_as_it_was() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(1);
    stage.write("web.yaml", &httpd("web", ""));
    let berth = stage.start();
    berth.until_running("web").await;
    let life = stage.container("web").life();
    stage.write("web.yaml", &httpd("web", "prot: 5"));
    let status = berth.until_said("web", Phase::Degraded, Reason::InvalidManifest).await;
    assert!(status.message.contains("prot"), "{}", status.message);
    berth.rounds(2).await;
    assert_eq!(stage.container("web").life(), life);
    assert!(berth.status("web").unwrap().url.is_some(), "it still answers");
}
