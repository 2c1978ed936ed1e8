//! Commit statuses: what a forge is told, how often, and that nothing waits for it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use berth::{
    forge::{
        Account, Secrets,
        status::{Reporter, State, statement},
    },
    model::{AppName, Phase, Reason},
    record::{Entry, Record},
    telemetry::Metrics,
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::stage::entry;

const OLD: &str = "abcdef0123456789abcdef0123456789abcdef01";
const NEW: &str = "1111111111222222222233333333334444444444";
const PATIENCE: Duration = Duration::from_secs(30);

/// What a forge was told: path, authorization, body.
pub(super) type Told = (String, String, Value);

/// A forge that remembers what it was told, and answers as it is told to.
pub(super) struct Forge {
    told: Arc<Mutex<Vec<Told>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    pub(super) port: u16,
}

impl Forge {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let answers: Arc<Mutex<VecDeque<u16>>> = Arc::default();
        let (book, script) = (Arc::clone(&told), Arc::clone(&answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (book, script) = (Arc::clone(&book), Arc::clone(&script));
                let service = service_fn(move |request| {
                    note(request, Arc::clone(&book), Arc::clone(&script))
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { told, answers, port }
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// Waits until it was told so much.
    pub(super) async fn until(&self, count: usize) -> Vec<Told> {
        let wait = async {
            while self.told().len() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        assert!(came, "never told {count} times: {:?}", self.told());
        self.told()
    }
}

impl Forge {
    /// Waits until it was told such a thing.
    pub(super) async fn until_told(&self, is_it: impl Fn(&Told) -> bool) -> Told {
        let wait = async {
            loop {
                if let Some(found) = self.told().iter().find(|told| is_it(told)) {
                    return found.clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("never told: {:?}", self.told()))
    }
}

async fn note(
    request: Request<Incoming>,
    book: Arc<Mutex<Vec<Told>>>,
    script: Arc<Mutex<VecDeque<u16>>>,
) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let login = request.headers().get("authorization").map_or("", |v| v.to_str().unwrap());
    let login = login.to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    book.lock().unwrap().push((path, login, serde_json::from_slice(&body).unwrap()));
    let status = script.lock().unwrap().pop_front().unwrap_or(201);
    let mut answer = Response::builder().status(status);
    if status == 302 {
        answer = answer.header("location", "http://127.0.0.1:1/elsewhere");
    }
    Ok(answer.body(Full::default()).unwrap())
}

struct Desk {
    record: Arc<Record>,
    metrics: Arc<Metrics>,
    forge: Forge,
    fetched: Arc<Mutex<String>>,
    stop: CancellationToken,
}

impl Desk {
    async fn start(kind: &str) -> Self {
        let forge = Forge::start().await;
        let account = format!("git.example.com={kind}:forge@http://127.0.0.1:{}", forge.port);
        let record = Arc::new(Record::default());
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let fetched = Arc::new(Mutex::new(OLD.to_owned()));
        let stop = CancellationToken::new();
        let commit = Arc::clone(&fetched);
        let reporter = Reporter {
            record: Arc::clone(&record),
            fetched: Arc::new(move |_: &AppName| Some(commit.lock().unwrap().clone())),
            accounts: vec![Account::parse(&account).unwrap()],
            secrets: Secrets::new(|_| Ok(b"t0ken\n".to_vec())),
            base_url: Some("https://berth.example.com".to_owned()),
            metrics: Arc::clone(&metrics),
            pauses: (Duration::from_millis(10), Duration::from_millis(40)),
        };
        tokio::spawn(reporter.run(stop.clone()));
        Self { record, metrics, forge, fetched, stop }
    }

    fn put(&self, phase: Phase, reason: Reason, message: &str) {
        self.record.write(state(phase, reason, message));
    }

    /// Waits until a figure is so high.
    async fn until_counted(&self, outcome: &str, count: usize) {
        let begin = format!("berth_commit_statuses_total{{outcome=\"{outcome}\"}} ");
        let is_there = || {
            let text = self.metrics.render();
            let figure = text.lines().find_map(|line| line.strip_prefix(&begin)?.parse().ok());
            figure.is_some_and(|figure: usize| count <= figure)
        };
        let wait = async {
            while !is_there() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, wait).await.is_ok();
        assert!(came, "never counted: {begin}{count}\n{}", self.metrics.render());
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn state(phase: Phase, reason: Reason, message: &str) -> Entry {
    let mut entry = entry("chat");
    entry.status.phase = phase;
    entry.status.reason = reason;
    message.clone_into(&mut entry.status.message);
    entry
}

#[tokio::test]
async fn a_forge_is_told_each_change_once() {
    let desk = Desk::start("gitea").await;
    desk.put(Phase::Running, Reason::Healthy, "it answers");
    let told = desk.forge.until(1).await;
    let (path, login, body) = &told[0];
    assert_eq!(path, &format!("/repos/acme/chat/statuses/{OLD}"));
    assert_eq!(login, "token t0ken");
    assert_eq!(body["state"], "success");
    assert_eq!(body["context"], "berth/chat");
    assert_eq!(body["target_url"], "https://berth.example.com/");

    // The same once more, in other words: not told. Another commit: told.
    desk.put(Phase::Running, Reason::Healthy, "it answers still");
    NEW.clone_into(&mut desk.fetched.lock().unwrap());
    desk.put(Phase::Installing, Reason::Building, "step 3 of 9");
    let told = desk.forge.until(2).await;
    assert_eq!(told[1].0, format!("/repos/acme/chat/statuses/{NEW}"));
    assert_eq!(told[1].2["state"], "pending");
    desk.put(Phase::Installing, Reason::Building, "step 4 of 9");
    let long = format!("it said\n{}", "no ".repeat(200));
    desk.put(Phase::Degraded, Reason::BuildFailed, &long);
    let told = desk.forge.until(3).await;
    let description = told[2].2["description"].as_str().unwrap();
    assert_eq!(told[2].2["state"], "failure");
    assert!(description.starts_with("BuildFailed: it said no no"), "{description}");
    assert!(description.chars().count() <= 140 && description.ends_with('…'));
    desk.until_counted("sent", 3).await;
    assert_eq!(desk.forge.told().len(), 3);
}

#[tokio::test]
async fn github_is_told_in_its_own_way() {
    let desk = Desk::start("github").await;
    desk.put(Phase::Running, Reason::Healthy, "it answers");
    assert_eq!(desk.forge.until(1).await[0].1, "Bearer t0ken");
}

#[tokio::test]
async fn what_fails_is_tried_again_and_what_is_refused_is_not() {
    let desk = Desk::start("gitea").await;
    desk.forge.answers.lock().unwrap().extend([500, 429, 503]);
    desk.put(Phase::Running, Reason::Healthy, "it answers");
    desk.forge.until(4).await;
    desk.until_counted("sent", 1).await;
    desk.until_counted("retried", 3).await;
    for (status, reason) in
        [(401, Reason::Building), (404, Reason::BuildFailed), (302, Reason::RolledBack)]
    {
        desk.forge.answers.lock().unwrap().push_back(status);
        desk.put(Phase::Degraded, reason, "so");
    }
    desk.until_counted("refused", 1).await;
    // What was overtaken before it was sent is not sent; the latest always is, and once.
    let is_latest = |told: &Told| {
        told.2["description"].as_str().is_some_and(|text| text.starts_with("RolledBack"))
    };
    desk.forge.until_told(is_latest).await;
    let count = desk.forge.told().len();
    desk.put(Phase::Running, Reason::Healthy, "it answers");
    let told = desk.forge.until(count + 1).await;
    assert_eq!(told[count].2["description"], "running and healthy");
    assert_eq!(desk.forge.told().iter().filter(|told| is_latest(told)).count(), 1);
}

#[tokio::test]
async fn what_never_works_is_given_up() {
    let desk = Desk::start("gitea").await;
    desk.forge.answers.lock().unwrap().extend([500; 100]);
    desk.put(Phase::Running, Reason::Healthy, "it answers");
    desk.until_counted("given_up", 1).await;
    assert_eq!(desk.forge.told().len(), 8);
}

/// Whoever writes the record waits for nobody: here nobody answers.
#[tokio::test]
async fn a_forge_that_hangs_holds_up_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let account = format!("git.example.com=forge@http://127.0.0.1:{port}");
    let record = Arc::new(Record::default());
    let stop = CancellationToken::new();
    let reporter = Reporter {
        record: Arc::clone(&record),
        fetched: Arc::new(|_: &AppName| Some(OLD.to_owned())),
        accounts: vec![Account::parse(&account).unwrap()],
        secrets: Secrets::new(|_| Ok(b"t".to_vec())),
        base_url: None,
        metrics: Arc::new(Metrics::new("test").unwrap()),
        pauses: Reporter::PAUSES,
    };
    let running = tokio::spawn(reporter.run(stop.clone()));
    record.write(state(Phase::Running, Reason::Healthy, "it answers"));
    let (held, _) = listener.accept().await.unwrap();
    for number in 0..2_000 {
        record.write(state(Phase::Installing, Reason::Building, &number.to_string()));
    }
    // It still hears, and ends at once when told to.
    stop.cancel();
    tokio::time::timeout(PATIENCE, running).await.unwrap().unwrap();
    drop(held);
}

#[test]
fn a_statement_is_about_the_commit_that_it_concerns() {
    let said = |phase, reason, fetched| {
        let said = statement(&state(phase, reason, "so"), fetched, None)?;
        Some((said.commit == NEW, said.state))
    };
    let (new, old) = (Some(NEW), Some(OLD));
    for (phase, reason, fetched, expected) in [
        (Phase::Running, Reason::Healthy, old, Some((false, State::Success))),
        (Phase::Running, Reason::Healthy, new, Some((true, State::Pending))),
        (Phase::Running, Reason::RunningUnchecked, None, Some((false, State::Success))),
        (Phase::Degraded, Reason::RolledBack, new, Some((true, State::Failure))),
        (Phase::Degraded, Reason::CrashLoop, new, Some((false, State::Failure))),
        (Phase::Failed, Reason::BuildFailed, new, Some((true, State::Failure))),
        (Phase::Degraded, Reason::GitUnreachable, new, None),
        (Phase::Paused, Reason::Paused, new, None),
        (Phase::Unknown, Reason::EngineUnreachable, new, None),
        (Phase::Degraded, Reason::InvalidManifest, new, None),
    ] {
        assert_eq!(said(phase, reason, fetched), expected, "{phase} {reason} {fetched:?}");
    }
}
