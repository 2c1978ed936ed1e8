//! A real Prometheus, on a port and in a folder of its own.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use berth::server::client::{Client, Method};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net,
};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a state is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// A Prometheus that runs; it ends with this.
pub(crate) struct Prometheus {
    process: Child,
    client: Client,
    folder: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// One that scrapes this Berth, and the apps that it names, so often.
    pub(crate) async fn watching(address: &str, interval: &str) -> Self {
        let config = format!(
            "global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}\n\
             scrape_configs:\n\
             - {{job_name: berth, static_configs: [{{targets: ['{address}']}}]}}\n\
             - job_name: berth-apps\n  \
               http_sd_configs: [{{url: 'http://{address}/sd/prometheus', refresh_interval: 1s}}]\n"
        );
        Self::start(&config).await
    }

    /// One that scrapes as `config` says.
    pub(crate) async fn start(config: &str) -> Self {
        Self::start_beside(config, &[]).await
    }

    /// The same with these files beside its configuration: names and texts.
    pub(crate) async fn start_beside(config: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).unwrap();
        promtool(&["check", "config", file.to_str().unwrap()]);
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={free}"))
            .args(["--storage.tsdb.retention.time=1h", "--log.level=warn"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is missing: run `make prometheus`");
        let client = Client::new(&format!("http://{free}")).unwrap();
        let this = Self { process, client, folder };
        this.until("it is ready", async || {
            let answer = this.client.ask(Method::GET, "/-/ready", None).await;
            answer.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        this
    }

    /// Waits until something holds; fails with Prometheus' log when it never does.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let wait = async {
            while !holds().await {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
            let targets = self.get("/api/v1/targets").await;
            panic!("never came to pass: {what}\n{targets:#}\n{log}");
        }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.ask(Method::GET, path, None).await.unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The samples that a query gives, with their labels.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let answer = self.get(&format!("/api/v1/query?query={}", encoded(query))).await;
        match &answer["data"]["result"] {
            // A number or a text is one value.
            Value::Array(all) if answer["data"]["resultType"] == "scalar" => {
                Ok(vec![all[1].clone()])
            }
            Value::Array(all) => Ok(all.clone()),
            _ => Err(answer["error"].as_str().unwrap_or("no answer").to_owned()),
        }
    }

    /// The only value that a query gives.
    pub(crate) async fn value(&self, query: &str) -> Option<f64> {
        let all = self.query(query).await.unwrap();
        let [only] = all.as_slice() else { return None };
        only["value"][1].as_str()?.parse().ok()
    }

    /// The targets of a job, each with its health and its last error.
    pub(crate) async fn targets(&self, job: &str) -> Vec<(String, String)> {
        let answer = self.get("/api/v1/targets?state=active").await;
        let targets = answer["data"]["activeTargets"].as_array().unwrap();
        let of_job = targets.iter().filter(|target| target["labels"]["job"] == job);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        of_job.map(|target| (text(&target["health"]), text(&target["lastError"]))).collect()
    }

    /// The rules that it has: the alert of each, and what it says of its health.
    pub(crate) async fn rules(&self) -> Vec<(String, String)> {
        let answer = self.get("/api/v1/rules?type=alert").await;
        let groups = answer["data"]["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let health = |rule: &Value| text(&rule["health"]) + &text(&rule["lastError"]);
        rules.map(|rule| (text(&rule["name"]), health(rule))).collect()
    }

    /// How an alert stands, and its summary; none while it is quiet.
    pub(crate) async fn alert(&self, name: &str) -> Option<(String, String)> {
        let answer = self.get("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().unwrap();
        let found = alerts.iter().find(|alert| alert["labels"]["alertname"] == name)?;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Some((text(&found["state"]), text(&found["annotations"]["summary"])))
    }

    /// The types of metrics, as they were scraped.
    pub(super) async fn kind(&self, metric: &str) -> Value {
        let answer = self.get(&format!("/api/v1/metadata?metric={metric}")).await;
        answer["data"][metric][0]["type"].clone()
    }
}

fn encoded(text: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric();
    let code = |byte: u8| {
        if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(code).collect()
}

/// Runs promtool; it must be content. Answers what it said.
#[track_caller]
pub(super) fn promtool(args: &[&str]) -> String {
    let (is_good, said) = try_promtool(args, "");
    assert!(is_good, "promtool {args:?}: {said}");
    said
}

/// Runs promtool with this input. Answers whether it is content, and what it said.
pub(super) fn try_promtool(args: &[&str], input: &str) -> (bool, String) {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, input.as_bytes()).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let output = Command::new("promtool")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(file)
        .output()
        .expect("promtool is missing: run `make prometheus`");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A program of an app, which answers every request with figures.
pub(super) async fn app() -> SocketAddr {
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let body = "# TYPE chat_answers_total counter\nchat_answers_total 5\n";
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\n";
                let answer = format!(
                    "{head}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    address
}
