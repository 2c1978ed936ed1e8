//! What clients of the replaced orchestration service send, as its documentation wrote it: each
//! command is run by a shell against a Berth on the real engine, and its answer is checked field by
//! field. Only the port, the id and the place of the image differ from what was written.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use super::{
    engine::{TINY, docker, try_docker},
    program::{Network, Program},
    stage::Stage,
};

/// The documented commands.
const CREATE: &str = r#"curl -X POST "http://localhost:9000/containers/create" \
  -H "Content-Type: application/json" \
  -d '{"name": "my-api-server", "image": "base-api-server:latest"}'"#;
const LIST: &str = r#"curl "http://localhost:9000/containers""#;
const RUNNING: &str = r#"curl "http://localhost:9000/containers/running""#;
const STATS: &str = r#"curl "http://localhost:9000/containers/abc123/stats""#;
const STOP: &str = r#"curl -X POST "http://localhost:9000/containers/abc123/stop""#;
const PORTS: &str = r#"curl "http://localhost:8000/ports""#;
const HEALTH: &str = r#"curl "http://localhost:8000/health""#;
/// The routes of its tables for which it wrote no command, in the form of the others.
const ROOT: &str = r#"curl "http://localhost:9000/""#;
const ONE: &str = r#"curl "http://localhost:9000/containers/abc123""#;
const START: &str = r#"curl -X POST "http://localhost:9000/containers/abc123/start""#;
const REMOVE: &str = r#"curl -X DELETE "http://localhost:9000/containers/abc123""#;
const SYSTEM: &str = r#"curl "http://localhost:9000/system/stats""#;

/// A Berth for these commands, and an image that listens on 5000.
struct Client {
    // In the order in which they end: nothing is made any more once the rest is removed.
    program: Program,
    stage: Stage,
    address: String,
    image: Image,
}

/// An image's name. It is gone with the test.
struct Image(String);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = try_docker(&["rmi", "--force", &self.0]);
    }
}

impl Client {
    async fn start() -> Self {
        let stage = Stage::new();
        let image = Image(format!("berth-t/{}/base-api-server:latest", stage.instance));
        build(&stage, &image.0).await;
        let mut program = Program::start(&stage);
        let address = program.address().await;
        Self { program, stage, address, image }
    }

    /// Runs a command as it is written, but for the port, the id and the place of the image.
    /// Answers the status and the document.
    async fn run(&self, written: &str, id: &str) -> (u16, Value) {
        let port = self.address.rsplit(':').next().unwrap().trim_end_matches('/');
        let line = written
            .replace("localhost:9000", &format!("localhost:{port}"))
            .replace("localhost:8000", &format!("localhost:{port}"))
            .replace("abc123", id)
            .replace("base-api-server:latest", &self.image.0);
        let script = format!("{line} --silent --show-error --write-out '\n%{{http_code}}'");
        let output = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{script}: {complaint}");
        let (body, status) = text.rsplit_once('\n').unwrap();
        let document =
            serde_json::from_str(body).unwrap_or_else(|e| panic!("{script}: {e}: {body}"));
        (status.parse().unwrap(), document)
    }

    /// What is answered with 200.
    async fn good(&self, written: &str, id: &str) -> Value {
        let (status, document) = self.run(written, id).await;
        assert_eq!(status, 200, "{written}: {document}");
        document
    }
}

async fn build(stage: &Stage, image: &str) {
    let folder = stage.path("served");
    let text = format!(
        "FROM {TINY}\nRUN mkdir -p /www && echo '{{\"status\":\"healthy\"}}' > /www/health\n\
         EXPOSE 5000\nCMD [\"httpd\", \"-f\", \"-p\", \"5000\", \"-h\", \"/www\"]\n"
    );
    std::fs::write(folder.join("Dockerfile"), text).unwrap();
    let (image, folder) = (image.to_owned(), folder.display().to_string());
    let built = tokio::task::spawn_blocking(move || {
        docker(&["build", "--quiet", "--tag", &image, &folder])
    });
    built.await.unwrap();
}

/// The kinds of a document's fields, as `name kind`, in the order of the names.
fn shape(document: &Value) -> Vec<String> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    let fields = document.as_object().unwrap_or_else(|| panic!("no object: {document}"));
    let mut shape: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name} {}", kind(value))).collect();
    shape.sort();
    shape
}

/// A container of ours. `url` is there while it answers.
fn check_container(info: &Value, is_running: bool) {
    let url = if is_running { "url string" } else { "url null" };
    let wanted = [
        "app string",
        "created string",
        "id string",
        "image string",
        "managed bool",
        "name string",
        "ports object",
        "state string",
        "status string",
        url,
    ];
    assert_eq!(shape(info), wanted, "{info}");
    assert_eq!(info["name"], "my-api-server");
    assert_eq!(info["status"], info["state"]);
    let created = info["created"].as_str().unwrap();
    assert!(berth::model::Timestamp::parse(created).is_some(), "RFC 3339: {created}");
}

/// `45.23 MB`
fn megabytes(value: &Value) -> f64 {
    let text = value.as_str().unwrap();
    let number = text.strip_suffix(" MB").unwrap_or_else(|| panic!("{text}"));
    assert_eq!(number.split_once('.').unwrap().1.len(), 2, "{text}");
    number.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_commands_work_as_written() {
    let mut client = Client::start().await;
    let _network = Network(client.stage.instance.clone());
    let made = client.good(CREATE, "").await;
    check_container(&made, true);
    assert_eq!(made["state"], "running");
    assert_eq!(made["image"], client.image.0);
    let bound = made["ports"]["5000/tcp"].as_str().unwrap().to_owned();
    let port: u16 = bound.rsplit(':').next().unwrap().parse().unwrap();
    assert!(client.stage.ports.contains(port), "{made}");
    let app = super::stage::get(port, "/health").await.unwrap();
    assert!(app.contains("healthy"), "it answers once it is said to run: {app}");
    let id = made["id"].as_str().unwrap();
    let seen = client.stage.container("my-api-server");
    let binding = &seen.0["NetworkSettings"]["Ports"]["5000/tcp"][0];
    let real = format!("{}:{}", binding["HostIp"].as_str().unwrap(), port);
    assert_eq!(bound, real, "the address is the one that the engine bound");
    assert!(seen.id().starts_with(id));

    for list in [LIST, RUNNING] {
        let all = client.good(list, "").await;
        let mine: Vec<_> = all.as_array().unwrap().iter().filter(|one| one["id"] == id).collect();
        assert_eq!(mine, [&made], "{list}");
    }
    for name in [id, "my-api-server", &seen.id()] {
        assert_eq!(client.good(ONE, name).await, made, "{name}");
    }
    check_stats(&client, id).await;
    check_host(&client, port).await;

    let told = client.good(STOP, id).await;
    assert_eq!(told, json!({ "message": format!("Container {id} stopped successfully") }));
    let stopped = client.good(ONE, id).await;
    check_container(&stopped, false);
    assert_eq!((&stopped["state"], &stopped["ports"]), (&json!("exited"), &json!({})));
    let running = client.good(RUNNING, "").await;
    assert!(running.as_array().unwrap().iter().all(|one| one["id"] != id));
    let told = client.good(START, id).await;
    assert_eq!(told, json!({ "message": format!("Container {id} started successfully") }));
    assert_eq!(client.good(ONE, id).await["ports"]["5000/tcp"], bound, "the port is its own");
    let told = client.good(REMOVE, id).await;
    assert_eq!(told, json!({ "message": format!("Container {id} removed successfully") }));
    for written in [ONE, STATS, STOP, START, REMOVE] {
        let refused = client.run(written, id).await;
        assert_eq!(refused, (404, json!({ "detail": "Container not found" })), "{written}");
    }
    assert!(client.stage.containers("my-api-server").is_empty());
    assert!(client.program.stop().await);
}

async fn check_stats(client: &Client, id: &str) {
    let stats = client.good(STATS, id).await;
    assert_eq!(
        shape(&stats),
        [
            "container_id string",
            "cpu_percent float",
            "memory_limit string",
            "memory_percent float",
            "memory_usage string",
            "name string",
            "network_rx string",
            "network_tx string",
            "timestamp float",
        ]
    );
    assert_eq!((&stats["container_id"], &stats["name"]), (&json!(id), &json!("my-api-server")));
    assert!(megabytes(&stats["memory_usage"]) <= megabytes(&stats["memory_limit"]), "{stats}");
    assert!(0.0 <= megabytes(&stats["network_rx"]) && 0.0 <= megabytes(&stats["network_tx"]));
    assert!((0.0..=100.0).contains(&stats["memory_percent"].as_f64().unwrap()), "{stats}");
}

async fn check_host(client: &Client, port: u16) {
    let system = client.good(SYSTEM, "").await;
    assert_eq!(
        shape(&system),
        [
            "cpu_percent float",
            "disk_usage_percent float",
            "gpus list",
            "memory_percent float",
            "memory_total string",
            "memory_used string",
            "timestamp float",
        ]
    );
    assert!(megabytes(&system["memory_used"]) < megabytes(&system["memory_total"]), "{system}");
    let ports = client.good(PORTS, "").await;
    let wanted =
        ["allocations list", "available_range string", "total_ports int", "used_ports list"];
    assert_eq!(shape(&ports), wanted);
    assert_eq!(ports["available_range"], client.stage.ports.to_string());
    assert!(ports["used_ports"].as_array().unwrap().contains(&json!(port)), "{ports}");
    let own =
        json!({ "port": port, "app": "my-api-server", "container_port": 5000, "protocol": "tcp" });
    assert_eq!(ports["allocations"], json!([own]));
    let health = client.good(HEALTH, "").await;
    let wanted = [
        "docker string",
        "status string",
        "storage_path string",
        "time string",
        "timestamp float",
        "version string",
    ];
    assert_eq!(shape(&health), wanted);
    assert_eq!((&health["status"], &health["docker"]), (&json!("healthy"), &json!("healthy")));
    let root = client.good(ROOT, "").await;
    let wanted = ["endpoints list", "message string", "service string", "version string"];
    assert_eq!(shape(&root), wanted);
    for endpoint in ["POST /containers/create", "GET /containers/{id}/stats", "GET /ports"] {
        assert!(root["endpoints"].as_array().unwrap().contains(&json!(endpoint)), "{endpoint}");
    }
}
