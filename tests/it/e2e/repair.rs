//! What others do to containers, and what Berth does about it.

use std::{fs, time::Duration};

use berth::{
    engine::{Engine as _, LogOptions},
    model::{Phase, Reason},
    state::ContainerId,
};
use futures_util::StreamExt as _;

use super::{
    engine::{self, docker, inspect},
    repository::Repository,
    stage::{PATIENCE, Stage, get, httpd, tiny},
};

/// Faults D30, D31, P01.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_killed_or_removed_by_hand_is_back_with_its_port() {
    let mut stage = Stage::new();
    // Nobody looks at everything meanwhile: the engine's word brings it back.
    stage.resync = Duration::from_secs(3600);
    stage.write("web.yaml", &httpd("web", ""));
    let berth = stage.start();
    let port = berth.until_running("web").await.ports[0].host_port;
    let first = stage.container("web");
    for verb in [["kill", "--signal=KILL"], ["stop", "--time=1"], ["rm", "--force"]] {
        let before = stage.container("web").life();
        docker(&[verb[0], verb[1], &before.0]);
        let is_back = || {
            let all = stage.containers("web");
            all.iter().any(|seen| seen.is_running() && seen.life() != before)
        };
        berth.until("it runs again", is_back).await;
        berth.until_status("web", "has its port", |s| s.url.is_some()).await;
        assert_eq!(berth.until_running("web").await.ports[0].host_port, port);
        // The status may still be that of before for a moment.
        let serves = async {
            while !get(port, "/").await.is_some_and(|body| body.ends_with("ok\n")) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, serves).await.expect("it serves again");
        let is_same = stage.container("web").id() == before.0;
        assert_eq!(is_same, verb[0] != "rm", "{verb:?}");
    }
    assert_eq!(stage.container("web").name(), first.name());
}

/// Fault D28.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_goes_with_its_manifest_and_leaves_its_files() {
    let stage = Stage::new();
    let repository = Repository::bare(&stage.path("served/app.git"));
    repository.commit(&[("Dockerfile", "FROM berth/tiny:offline\nRUN echo x > /made\n")]);
    let app = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: store}}\nspec:\n  \
         source: {{git: {}}}\n  run: echo kept > /workspace/file; httpd -f -p 8080\n  port: 8080\n",
        repository.url()
    );
    stage.write("store.yaml", &app);
    stage.write("web.yaml", &httpd("web", ""));
    let berth = stage.start();
    berth.until_running("store").await;
    berth.until_running("web").await;
    let other = stage.container("web").life();
    assert_eq!(stage.images("store").len(), 1);

    stage.erase("store.yaml");
    berth.until_gone("store").await;
    assert!(stage.containers("store").is_empty());
    assert!(stage.images("store").is_empty());
    assert_eq!(fs::read_to_string(stage.workspace("store", "data/file")).unwrap(), "kept\n");
    assert_eq!(stage.container("web").life(), other);
}

/// Fault N01: the app's name is its name on the network.
#[tokio::test(flavor = "multi_thread")]
async fn apps_reach_each_other_by_name() {
    let stage = Stage::new();
    stage.write("web.yaml", &httpd("web", ""));
    let client = tiny(
        "client",
        "[sleep, \"3600\"]",
        "dependsOn: [web]\nhealth: {exec: [wget, -q, -O, /dev/null, 'http://web:8080/']}",
    );
    stage.write("client.yaml", &client);
    let berth = stage.start();
    berth.until_running("client").await;
    let id = stage.container("client").id();
    assert_eq!(docker(&["exec", &id, "wget", "-q", "-O", "-", "http://web:8080/"]), "ok");
}

/// Faults D20, D21, P02.
#[tokio::test(flavor = "multi_thread")]
async fn containers_of_others_are_avoided_and_never_touched() {
    let mut stage = Stage::new();
    stage.resync = Duration::from_secs(1);
    let first = stage.ports.first;
    let publish = format!("127.0.0.1:{first}:80");
    let server = stage.make_by_hand(
        &["run", "--detach"],
        &["--publish", &publish, engine::TINY, "sleep", "3600"],
    );
    let before = inspect(&[&server])[0].life();
    stage.write("plain.yaml", &tiny("plain", "[sleep, \"3600\"]", ""));
    let berth = stage.start();
    berth.until_running("plain").await;
    let ours = stage.container("plain").name();

    // Their port is not ours, whether we choose or are told.
    stage.write("auto.yaml", &httpd("auto", ""));
    assert_eq!(berth.until_running("auto").await.ports[0].host_port, first + 1);
    let fixed = format!("ports: [{{containerPort: 80, hostPort: {first}}}]");
    stage.write("fixed.yaml", &tiny("fixed", "[sleep, \"3600\"]", &fixed));
    let status = berth.until_said("fixed", Phase::Failed, Reason::PortTaken).await;
    let holder = inspect(&[&server])[0].name();
    assert!(status.message.contains(&holder), "{}", status.message);

    // Nor is their name, although it is the one that we would choose.
    stage.erase("plain.yaml");
    berth.until_gone("plain").await;
    let label = format!("dev.berth.instance={}", stage.instance);
    let impostor = stage.make_by_hand(
        &["create"],
        &["--name", &ours, "--label", &label, "--label", "dev.berth.app=plain", engine::TINY],
    );
    stage.write("plain.yaml", &tiny("plain", "[sleep, \"3600\"]", ""));
    let status = berth.until_said("plain", Phase::Failed, Reason::NameConflict).await;
    assert!(status.message.contains(&ours), "{}", status.message);
    docker(&["rm", &impostor]);
    berth.until_running("plain").await;
    assert_eq!(stage.container("plain").name(), ours);
    assert_eq!(inspect(&[&server])[0].life(), before);
}

/// Fault D37: what a container says before and after it was started again is one log.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_followed_and_goes_on_after_a_restart() {
    let stage = Stage::new();
    let command = "[sh, -c, 'echo up; echo trouble >&2; exec sleep 3600']";
    stage.write("talk.yaml", &tiny("talk", command, ""));
    let berth = stage.start();
    berth.until_running("talk").await;
    let (id, started) = stage.container("talk").life();
    let container = ContainerId::new(id.clone());
    let follow = |count: usize| {
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let mut log = berth.engine.logs(&container, options);
        async move {
            let mut text = String::new();
            while text.lines().count() < count || !text.ends_with('\n') {
                text.push_str(std::str::from_utf8(&log.next().await.unwrap().unwrap()).unwrap());
            }
            (log, text)
        }
    };
    let limit = Duration::from_secs(20);
    let (mut log, text) = tokio::time::timeout(limit, follow(2)).await.unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["trouble", "up"]);
    docker(&["kill", &id]);
    let kill = tokio::time::Instant::now();
    // The engine ends a stream with its container; nobody waits for ever.
    let rest = async { while log.next().await.is_some() {} };
    tokio::time::timeout(limit, rest).await.unwrap();
    berth
        .until("it runs again", || stage.container("talk").text("/State/StartedAt") != started)
        .await;
    // Long before anybody looks at everything: the engine tells of an end before it lists it.
    assert!(kill.elapsed() < Duration::from_secs(10), "{:?}", kill.elapsed());
    let (_, text) = tokio::time::timeout(limit, follow(4)).await.unwrap();
    assert_eq!(text.matches("up").count(), 2);
}
