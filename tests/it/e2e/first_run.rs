//! From a manifest to an app that answers.

use std::{fs, sync::Arc};

use berth::{
    model::{ConditionStatus, ConditionType, Phase, Reason},
    record::Change,
    status::Status,
};

use crate::git_server::{Answers, Server};

use super::{
    repository::Repository,
    stage::{Stage, get, httpd, name, project_file},
};

/// An app that takes a moment before it answers.
const APP: &str = r#"
import http.server, os, time
import six

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"six {six.__version__} in {os.environ['WORKSPACE']}".encode())

time.sleep(2)
open(os.path.join(os.environ["WORKSPACE"], "kept"), "w").write("kept")
http.server.HTTPServer(("", 7860), Handler).serve_forever()
"#;

/// Fault B04, and what the first page of the documentation promises.
#[tokio::test(flavor = "multi_thread")]
async fn a_short_manifest_of_a_repository_becomes_an_app_that_answers() {
    let stage = Stage::new();
    let repository = Repository::bare(&stage.path("served/app.git"));
    let commit = repository.commit(&[("requirements.txt", "six\n"), ("app.py", APP)]);
    let server = Server::start(Answers::Git(stage.path("served")));
    let berth = stage.start();
    let (_, _, mut changes) = berth.record.subscribe();
    let text = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata:\n  name: chat\nspec:\n  source:\n    \
         git: {}\n  run: python app.py\n  port: 7860\n",
        server.url()
    );
    assert_eq!(text.lines().count(), 9);
    stage.write("chat.yaml", &text);

    let first_with_url = async {
        let mut before: Vec<Status> = Vec::new();
        loop {
            let Change::Upsert(entry) = changes.recv().await.unwrap() else { continue };
            if entry.status.url.is_some() {
                return (
                    before,
                    Arc::clone(&entry),
                    get(entry.status.ports[0].host_port, "/").await,
                );
            }
            before.push(entry.status.clone());
        }
    };
    let running = berth.until_running("chat");
    let ((before, first, answer), status) = tokio::join!(first_with_url, running);
    assert!(answer.unwrap().contains("in /workspace"), "a URL is said once it answers");
    assert_eq!(first.status.phase, Phase::Running);
    assert!(before.iter().all(|status| status.phase != Phase::Running), "{before:#?}");
    for reason in [Reason::Fetching, Reason::Building, Reason::Probing] {
        assert!(before.iter().any(|status| status.reason == reason), "{reason}: {before:#?}");
    }

    assert_eq!(status.commit.as_deref(), Some(commit.as_str()));
    assert!(stage.ports.contains(status.ports[0].host_port));
    let is_true = |c: &berth::model::Condition| {
        c.status == ConditionStatus::True || c.kind == ConditionType::Progressing
    };
    assert!(status.conditions.iter().all(is_true), "{:#?}", status.conditions);
    assert_eq!(fs::read_to_string(stage.workspace("chat", "code/app.py")).unwrap(), APP);
    assert_eq!(fs::read_to_string(stage.workspace("chat", "data/kept")).unwrap(), "kept");
    let log = fs::read_to_string(stage.workspace("chat", ".berth/build.log")).unwrap();
    // Another build may have installed it a moment ago.
    let is_installed = ["Successfully installed six", "(cached)", "Using cache"];
    assert!(log.contains("pip install"), "{log}");
    assert!(is_installed.iter().any(|words| log.contains(words)), "{log}");
    let metadata = fs::read_to_string(stage.workspace("chat", "metadata.json")).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["checkout"]["commit"], commit);
    assert_eq!(metadata["url"], status.url.unwrap());
}

/// The manifest and the app that come with Berth, as they are.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_that_comes_with_berth_runs() {
    let stage = Stage::new();
    let repository = Repository::with_folder(&stage.path(""));
    let files = ["main.py", "requirements.txt"].map(|file| {
        let path = format!("examples/base-api-server/{file}");
        let text = project_file(&path);
        (path, text)
    });
    repository.commit(&files.each_ref().map(|(path, text)| (path.as_str(), text.as_str())));
    stage.write("base-api-server.yaml", &project_file("manifests/base-api-server.yaml"));
    let berth = stage.start();
    let status = berth.until_running("base-api-server").await;
    let port = status.ports[0].host_port;
    assert!(get(port, "/health").await.unwrap().contains(r#"{"status":"healthy"}"#));
    assert!(get(port, "/").await.unwrap().contains("Hello from Berth"));
    assert_eq!(status.url, Some(format!("http://127.0.0.1:{port}/")));
}

/// Faults D21, D31, D36: what a container is given whether anybody asks for it or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_hardened_and_says_whose_it_is() {
    let stage = Stage::new();
    stage.write("web.yaml", &httpd("web", "resources: {memory: 32Mi, cpus: 500m}"));
    let berth = stage.start();
    let status = berth.until_running("web").await;
    let seen = stage.container("web");
    let host = &seen.0["HostConfig"];
    assert_eq!(host["SecurityOpt"], serde_json::json!(["no-new-privileges"]));
    assert_eq!(host["CapDrop"], serde_json::json!(["NET_RAW"]));
    assert_eq!(host["Privileged"], false);
    assert_eq!(host["PidsLimit"], 4096);
    assert_eq!((&host["Memory"], &host["MemorySwap"]), (&(32 << 20).into(), &(32 << 20).into()));
    assert_eq!(host["NanoCpus"], 500_000_000);
    assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped");
    assert_eq!(host["NetworkMode"], stage.network);
    assert_eq!(host["Init"], true);
    let log = &host["LogConfig"];
    assert_eq!(
        (&log["Type"], &log["Config"]["mode"]),
        (&"json-file".into(), &"non-blocking".into())
    );
    assert_eq!(
        (&log["Config"]["max-size"], &log["Config"]["max-file"]),
        (&"10m".into(), &"3".into())
    );
    let binding = &seen.0["NetworkSettings"]["Ports"]["8080/tcp"];
    let port = status.ports[0].host_port.to_string();
    assert_eq!(*binding, serde_json::json!([{ "HostIp": "127.0.0.1", "HostPort": port }]));

    let project = format!("berth-{}", stage.instance);
    for (key, value) in [
        ("dev.berth.instance", stage.instance.as_str()),
        ("dev.berth.app", "web"),
        ("dev.berth.generation", "1"),
        ("com.docker.compose.project", project.as_str()),
        ("com.docker.compose.service", "web"),
        ("com.docker.compose.container-number", "1"),
        ("com.docker.compose.oneoff", "False"),
    ] {
        assert_eq!(seen.label(key), value, "{key}");
    }
    let by_project = super::engine::labelled(&[format!("com.docker.compose.project={project}")]);
    assert_eq!(by_project.len(), 1);
    assert!(berth.record.entry(&name("web")).unwrap().status.container_id == Some(seen.id()));
}
